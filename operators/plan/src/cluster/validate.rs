//! What CEL cannot say: rules that need other objects, files or tables.

mod change;
mod versions;

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use kok_api::cluster::{ClusterSpec, Extension};

use super::extensions;
use super::flags::{self, FlagVerdict};
use super::manifests::{APISERVER, CONTROLLER_MANAGER, ETCD, SCHEDULER};
use super::view::ClusterView;
use crate::network::prefix_length;

/// Most bytes of a spec: a copy is kept in one ConfigMap, which holds a megabyte.
const SPEC_LIMIT: usize = 500_000;
/// Highest verbosity of a log that shows no bodies of requests.
const VERBOSITY_LIMIT: u32 = 4;
/// Everything that is wrong with a spec, each with what to do; empty when it can be acted upon.
pub fn validate(spec: &ClusterSpec, view: &ClusterView) -> Vec<String> {
    let mut findings = Vec::new();
    size(spec, &mut findings);
    versions::check(spec, view, &mut findings);
    change::check(spec, view, &mut findings);
    component_flags(spec, &mut findings);
    node_networks(spec, &mut findings);
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

/// A component as a spec declares it.
struct Component<'a> {
    /// Name of the component.
    name: &'static str,
    /// Where the spec speaks of it.
    field: &'static str,
    /// Field that has its version.
    version_field: String,
    /// Its version.
    version: &'a str,
    /// The user's flags.
    args: &'a BTreeMap<String, String>,
}

fn components(spec: &ClusterSpec) -> [Component<'_>; 4] {
    let (apiserver, controllers, scheduler) = (&spec.apiserver, &spec.controller_manager, &spec.scheduler);
    [
        (ETCD, "spec.etcd", Some(&spec.etcd.version), &spec.etcd.args),
        (
            APISERVER,
            "spec.apiserver",
            apiserver.version.as_ref(),
            &apiserver.args,
        ),
        (
            CONTROLLER_MANAGER,
            "spec.controllerManager",
            controllers.version.as_ref(),
            &controllers.args,
        ),
        (
            SCHEDULER,
            "spec.scheduler",
            scheduler.version.as_ref(),
            &scheduler.args,
        ),
    ]
    .map(|(name, field, own, args)| Component {
        name,
        field,
        version_field: own.map_or_else(|| "spec.version".into(), |_| format!("{field}.version")),
        version: own.unwrap_or(&spec.version),
        args,
    })
}

fn size(spec: &ClusterSpec, findings: &mut Vec<String>) {
    let size = serde_json::to_string(spec).map_or(0, |text| text.len());
    if size > SPEC_LIMIT {
        findings.push(format!(
            "the spec has {size} bytes, more than {SPEC_LIMIT}: put what extensions need into the ConfigMaps of their templates"
        ));
    }
}

fn component_flags(spec: &ClusterSpec, findings: &mut Vec<String>) {
    for component in components(spec) {
        let Component {
            name, field, version, ..
        } = component;
        for (flag, value) in component.args {
            match flags::verdict(name, version, flag) {
                FlagVerdict::Allowed => {
                    findings.extend(unfit_value(flag, value).map(|why| format!("{field}.args.{flag} {why}")));
                }
                FlagVerdict::Refused(reason) => {
                    findings.push(format!("{field}.args.{flag} is refused: {reason}"));
                }
                FlagVerdict::Unknown => {
                    findings.push(format!("{field}.args.{flag}: {name} {version} has no such flag"));
                }
            }
        }
    }
}

/// Why a flag that users may set must not have this value.
fn unfit_value(flag: &str, value: &str) -> Option<String> {
    match flag {
        "enable-admission-plugins" if !value.split(',').any(|plugin| plugin.trim() == "NodeRestriction") => {
            Some("must name NodeRestriction: without it a node may change other nodes".into())
        }
        "v" if !value.parse().is_ok_and(|level: u32| level <= VERBOSITY_LIMIT) => Some(format!(
            "must be a number up to {VERBOSITY_LIMIT}: above it the bodies of requests are logged, with Secrets in them"
        )),
        _ => None,
    }
}

/// The controller-manager ends at once when a node's pod network does not fit into the pods' network.
fn node_networks(spec: &ClusterSpec, findings: &mut Vec<String>) {
    const FIELD: &str = "spec.controllerManager.args";
    let args = &spec.controller_manager.args;
    let set: Vec<_> = ["node-cidr-mask-size", "node-cidr-mask-size-ipv4"]
        .iter()
        .filter_map(|flag| Some((*flag, args.get(*flag)?)))
        .collect();
    if set.len() > 1 {
        findings.push(format!(
            "{FIELD} must not set both node-cidr-mask-size and node-cidr-mask-size-ipv4"
        ));
    }
    for (flag, mask) in set {
        let pods = prefix_length(&spec.network.pod_cidr).unwrap_or_default();
        if !mask.parse().is_ok_and(|mask: u8| (pods..=30).contains(&mask)) {
            findings.push(format!(
                "{FIELD}.{flag} {mask:?} must be a number from {pods} to 30: each node gets such a part of spec.network.podCIDR {}",
                spec.network.pod_cidr
            ));
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
    let certificates = [
        (
            "spec.certificates.validity".to_owned(),
            &spec.certificates.validity,
        ),
        (
            "spec.certificates.renewBefore".to_owned(),
            &spec.certificates.renew_before,
        ),
    ];
    let users = spec.users.iter().filter_map(|user| {
        Some((
            format!("spec.users, validity of {}", user.name),
            user.validity.as_ref()?,
        ))
    });
    for (field, text) in certificates.into_iter().chain(users) {
        if seconds(text).is_none() {
            findings.push(format!("{field}: {text:?} is no duration such as 8760h or 1h30m"));
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

/// Seconds of a duration such as `8760h` or `1h30m`; None when it is none or too long to count.
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
        // Go takes it; the CRD's pattern does not.
        assert_eq!(seconds("30m1h"), None);
    }
}
