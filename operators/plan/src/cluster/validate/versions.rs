//! Versions: known to this operator, reachable from what runs, and able to work with each other (Kubernetes version skew
//! policy).

use std::collections::BTreeSet;

use kok_api::cluster::ClusterSpec;
use kok_api::names;

use super::super::flags;
use super::super::manifests::{APISERVER, CONTROLLER_MANAGER, ETCD, SCHEDULER};
use super::super::view::ClusterView;
use super::{Component, components};
use crate::kind::{DEPLOYMENT, POD};
use crate::object::Live;
use crate::version::{Version, controller_skew_allowed, kubelet_is_recent_enough, may_move};

pub(super) fn check(spec: &ClusterSpec, view: &ClusterView, findings: &mut Vec<String>) {
    let mut targets = Vec::new();
    for component in components(spec) {
        match target(&component) {
            Ok(version) => targets.push((component.name, version)),
            // Several components may have the same field.
            Err(finding) if !findings.contains(&finding) => findings.push(finding),
            Err(_) => {}
        }
    }
    for (name, version) in &targets {
        findings.extend(unreachable(name, *version, view));
    }
    let of = |name: &str| {
        targets
            .iter()
            .find(|(of, _)| *of == name)
            .map(|(_, version)| *version)
    };
    let Some(apiserver) = of(APISERVER) else { return };
    for controller in [CONTROLLER_MANAGER, SCHEDULER] {
        findings.extend(of(controller).and_then(|version| too_far(controller, version, apiserver)));
        findings.extend(left_behind(controller, apiserver, view));
    }
    findings.extend(kubelets(apiserver, view));
}

/// The declared version, when this operator knows its minor.
fn target(component: &Component<'_>) -> Result<Version, String> {
    let Component {
        name,
        version_field,
        version,
        ..
    } = component;
    let known = flags::minors(name);
    match version.parse::<Version>() {
        Ok(parsed) if known.contains(&parsed.minor_release().as_str()) => Ok(parsed),
        Ok(_) => Err(format!(
            "{version_field} {version} is of a minor that this operator does not know: choose one of {}",
            known.join(", ")
        )),
        Err(error) => Err(format!("{version_field} {error}")),
    }
}

/// Why a component cannot be brought to `target`. What was accepted once is not judged again.
fn unreachable(name: &str, target: Version, view: &ClusterView) -> Option<String> {
    let accepted = accepted(name, view);
    if accepted == Some(target) {
        return None;
    }
    let mut seen = running(name, view);
    seen.extend(accepted);
    let from = seen.into_iter().find(|from| !may_move(*from, target))?;
    Some(format!(
        "{name} cannot go from {from} to {target}: go up one minor at a time, when the last step is done, and never down a minor"
    ))
}

fn too_far(controller: &str, version: Version, apiserver: Version) -> Option<String> {
    (!controller_skew_allowed(version, apiserver)).then(|| {
        format!(
            "{controller} at {version} cannot work with an apiserver at {apiserver}: it must not be newer and at most one minor older"
        )
    })
}

/// The apiservers go first; a controller that is still a minor behind would then be two behind.
fn left_behind(controller: &str, apiserver: Version, view: &ClusterView) -> Option<String> {
    if accepted(APISERVER, view) == Some(apiserver) {
        return None;
    }
    let oldest = running(controller, view).into_iter().next()?;
    (!controller_skew_allowed(oldest, apiserver)).then(|| {
        format!(
            "the apiserver cannot go to {apiserver}: {controller} still runs {oldest}; wait until it is upgraded"
        )
    })
}

/// A kubelet may be at most three minors older than the apiserver.
fn kubelets(apiserver: Version, view: &ClusterView) -> Option<String> {
    let status = view.cluster.status.as_ref();
    let recorded = status.and_then(|status| status.nodes.as_ref());
    let nodes = view.nodes.known().map(|nodes| &nodes.counts).or(recorded)?;
    let oldest: Version = nodes.oldest_kubelet.as_ref()?.parse().ok()?;
    (!kubelet_is_recent_enough(oldest, apiserver)).then(|| {
        format!(
            "the apiserver cannot go to {apiserver}: there is a kubelet at {oldest}, more than three minors older; upgrade or remove that node first"
        )
    })
}

/// The version in the spec that was accepted last.
fn accepted(name: &str, view: &ClusterView) -> Option<Version> {
    let component = components(view.accepted.as_ref()?)
        .into_iter()
        .find(|component| component.name == name)?;
    component.version.parse().ok()
}

/// The versions of a component that run or are about to: its images, and what etcd's members answer.
fn running(name: &str, view: &ClusterView) -> BTreeSet<Version> {
    let images = view
        .objects
        .iter()
        .filter(|(_, live)| live.label(names::COMPONENT_LABEL) == Some(name))
        .filter_map(|(key, live)| match key.kind {
            POD if has_ended(live) => None,
            POD => live.text("/spec/containers/0/image"),
            DEPLOYMENT => live.text("/spec/template/spec/containers/0/image"),
            _ => None,
        })
        .filter_map(|image| image.rsplit_once(':')?.1.parse().ok());
    let answers = view
        .etcd
        .known()
        .filter(|_| name == ETCD)
        .into_iter()
        .flat_map(|etcd| etcd.members.values())
        .filter_map(|member| member.answer.as_ref()?.version.parse().ok());
    images.chain(answers).collect()
}

fn has_ended(pod: &Live) -> bool {
    matches!(pod.text("/status/phase"), Some("Succeeded" | "Failed"))
}
