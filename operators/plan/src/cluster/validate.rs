//! What CEL cannot say: rules that need other objects, files or tables.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use kok_api::cluster::{ClusterSpec, Extension, ReplacePolicy};

use super::extensions;
use super::flags::{self, FlagVerdict};
use super::view::ClusterView;
use crate::version::{Version, controller_skew_allowed, kubelet_is_recent_enough, may_move};

/// Everything that is wrong with a spec, each with what to do; empty when it can be acted upon.
pub fn validate(spec: &ClusterSpec, view: &ClusterView) -> Vec<String> {
    let mut findings = Vec::new();
    versions(spec, view, &mut findings);
    kubelets(spec, view, &mut findings);
    unchangeable(spec, view, &mut findings);
    component_flags(spec, &mut findings);
    storage_class(spec, view, &mut findings);
    node_port(spec, view, &mut findings);
    refusals(view, &mut findings);
    durations(spec, &mut findings);
    unique("user", spec.users.iter().map(|user| &user.name), &mut findings);
    unique(
        "extension",
        spec.extensions.iter().map(|extension| &extension.name),
        &mut findings,
    );
    for extension in &spec.extensions {
        if let Some(finding) = extension_renders(spec, extension, view) {
            findings.push(finding);
        }
    }
    findings
}

fn versions(spec: &ClusterSpec, view: &ClusterView, findings: &mut Vec<String>) {
    let Ok(cluster) = spec.version.parse::<Version>() else {
        findings.push(format!(
            "spec.version {:?} is no version such as 1.36.3",
            spec.version
        ));
        return;
    };
    let component = |field: &str, text: Option<&String>, findings: &mut Vec<String>| match text {
        None => Some(cluster),
        Some(text) => {
            let parsed = text.parse::<Version>().ok();
            if parsed.is_none() {
                findings.push(format!(
                    "spec.{field}.version {text:?} is no version such as 1.36.3"
                ));
            }
            parsed
        }
    };
    let apiserver = component("apiserver", spec.apiserver.version.as_ref(), findings);
    let controllers = [
        (
            "controllerManager",
            component(
                "controllerManager",
                spec.controller_manager.version.as_ref(),
                findings,
            ),
        ),
        (
            "scheduler",
            component("scheduler", spec.scheduler.version.as_ref(), findings),
        ),
    ];
    if let Some(server) = apiserver {
        for (field, client) in controllers {
            if let Some(client) = client.filter(|client| !controller_skew_allowed(*client, server)) {
                findings.push(format!(
                    "spec.{field} at {client} cannot work with an apiserver at {server}: it must not be newer and at most one minor older"
                ));
            }
        }
        if let Some(accepted) = &view.accepted {
            let before = accepted.apiserver.version.as_ref().unwrap_or(&accepted.version);
            if before
                .parse::<Version>()
                .is_ok_and(|before| !may_move(before, server))
            {
                findings.push(format!(
                    "the apiserver cannot go from {before} to {server}: go up one minor at a time, never down a minor"
                ));
            }
        }
    }
}

/// A kubelet may be at most three minors older than the apiserver (Kubernetes: version skew policy).
fn kubelets(spec: &ClusterSpec, view: &ClusterView, findings: &mut Vec<String>) {
    let recorded = view
        .cluster
        .status
        .as_ref()
        .and_then(|status| status.nodes.as_ref());
    let oldest = view
        .nodes
        .known()
        .map(|nodes| &nodes.counts)
        .or(recorded)
        .and_then(|nodes| nodes.oldest_kubelet.as_ref());
    let apiserver = spec.apiserver.version.as_ref().unwrap_or(&spec.version);
    if let (Some(Ok(kubelet)), Ok(apiserver)) = (
        oldest.map(|version| version.parse::<Version>()),
        apiserver.parse::<Version>(),
    ) && !kubelet_is_recent_enough(kubelet, apiserver)
    {
        findings.push(format!(
            "the apiserver cannot go to {apiserver}: there is a kubelet at {kubelet}, more than three minors older; upgrade or remove that node first"
        ));
    }
}

/// What this version of the operator cannot change in a running Cluster.
fn unchangeable(spec: &ClusterSpec, view: &ClusterView, findings: &mut Vec<String>) {
    if spec.etcd.replace_policy == ReplacePolicy::OnPodDelete {
        findings.push(
            "spec.etcd.replacePolicy OnPodDelete is not supported yet: use OnDataLoss, which starts a deleted pod again with its data".into(),
        );
    }
    let Some(before) = &view.accepted else { return };
    if before.mode != spec.mode {
        findings.push(format!(
            "spec.mode cannot go from {:?} to {:?}: adding and removing etcd members is not supported yet; set it back to {:?}",
            before.mode, spec.mode, before.mode
        ));
    }
    if before.etcd.storage != spec.etcd.storage {
        findings.push(
            "spec.etcd.storage cannot change: members keep the volumes that they were made with; set it back"
                .into(),
        );
    }
    let (old, new) = (
        before.apiserver.encryption.provider,
        spec.apiserver.encryption.provider,
    );
    if old != new {
        findings.push(format!(
            "spec.apiserver.encryption.provider cannot go from {old:?} to {new:?}: what is stored is sealed by {old:?}; set it back"
        ));
    }
}

fn component_flags(spec: &ClusterSpec, findings: &mut Vec<String>) {
    let version = |own: &Option<String>| own.clone().unwrap_or_else(|| spec.version.clone());
    let components: [(&str, &str, String, &BTreeMap<String, String>); 4] = [
        ("etcd", "etcd", spec.etcd.version.clone(), &spec.etcd.args),
        (
            "apiserver",
            "kube-apiserver",
            version(&spec.apiserver.version),
            &spec.apiserver.args,
        ),
        (
            "controllerManager",
            "kube-controller-manager",
            version(&spec.controller_manager.version),
            &spec.controller_manager.args,
        ),
        (
            "scheduler",
            "kube-scheduler",
            version(&spec.scheduler.version),
            &spec.scheduler.args,
        ),
    ];
    for (field, component, version, args) in components {
        if args.get("enable-admission-plugins").is_some_and(|plugins| {
            !plugins
                .split(',')
                .any(|plugin| plugin.trim() == "NodeRestriction")
        }) {
            findings.push(format!(
                "spec.{field}.args.enable-admission-plugins must name NodeRestriction: without it a node may change other nodes"
            ));
        }
        for flag in args.keys() {
            match flags::verdict(component, &version, flag) {
                FlagVerdict::Allowed => {}
                FlagVerdict::Refused(reason) => {
                    findings.push(format!("spec.{field}.args.{flag} is refused: {reason}"));
                }
                FlagVerdict::Unknown => {
                    findings.push(format!(
                        "spec.{field}.args.{flag}: {component} {version} has no such flag"
                    ));
                }
            }
        }
    }
}

fn storage_class(spec: &ClusterSpec, view: &ClusterView, findings: &mut Vec<String>) {
    let Some(claim) = &spec.etcd.storage.claim_template else {
        return;
    };
    match &claim.storage_class_name {
        Some(name) if name.is_empty() => {}
        Some(name) => {
            if !view.storage_classes.iter().any(|class| &class.name == name) {
                findings.push(format!(
                    "spec.etcd.storage.claimTemplate.storageClassName: the meta cluster has no StorageClass {name:?}; create it or name another"
                ));
            }
        }
        None => {
            if !view.storage_classes.iter().any(|class| class.default) {
                findings.push(
                    "spec.etcd.storage.claimTemplate names no storageClassName and the meta cluster has no default StorageClass".into(),
                );
            }
        }
    }
}

fn node_port(spec: &ClusterSpec, view: &ClusterView, findings: &mut Vec<String>) {
    if let (Some(holder), Some(port)) = (&view.node_port_holder, spec.endpoint.port) {
        findings.push(format!(
            "spec.endpoint.port {port} is taken by {holder}: choose another port"
        ));
    }
}

fn refusals(view: &ClusterView, findings: &mut Vec<String>) {
    findings.extend(view.refusals.iter().map(|refusal| {
        format!(
            "the meta cluster would refuse {}: {}",
            refusal.key, refusal.message
        )
    }));
}

fn durations(spec: &ClusterSpec, findings: &mut Vec<String>) {
    for (field, text) in [
        ("validity", &spec.certificates.validity),
        ("renewBefore", &spec.certificates.renew_before),
    ] {
        if seconds(text).is_none() {
            findings.push(format!(
                "spec.certificates.{field} {text:?} is no duration such as 8760h"
            ));
        }
    }
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a String>, findings: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            findings.push(format!("{what} {name:?} is named twice"));
        }
    }
}

fn extension_renders(spec: &ClusterSpec, extension: &Extension, view: &ClusterView) -> Option<String> {
    extensions::render(spec, extension, view)
        .err()
        .map(|error| format!("extension {:?}: {error}", extension.name))
}

/// Seconds of a Go duration such as `8760h` or `1h30m`; None when it is none or too long to count.
pub fn seconds(text: &str) -> Option<u64> {
    let duration: SignedDuration = text.parse().ok()?;
    u64::try_from(duration.as_secs())
        .ok()
        .filter(|seconds| *seconds > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations() {
        assert_eq!(seconds("8760h"), Some(31_536_000));
        assert_eq!(seconds("1h30m"), Some(5400));
        assert_eq!(seconds("10"), None);
        assert_eq!(seconds(""), None);
    }
}
