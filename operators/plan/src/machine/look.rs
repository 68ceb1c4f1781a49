//! What the observer has to find out about a host before a plan can be made, and whether it may ask it at all.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use kok_api::machine::{Connection, HostKeyPolicy, Sudo};
use kok_api::machine_status::RepairAction;
use kok_render::package::{Module, Package, Source};

use super::catalog::Catalog;
use super::effective::{Effective, effective};
use super::paths;
use super::view::{Host, MachineView};
use super::{conflict, repair, validate};
use crate::Gate;
use crate::host::{Endpoint, FactsQuery, NamedProbe};

/// Lines of a unit's journal that are read as evidence.
const JOURNAL_LINES: &str = "15";

/// How long hashes of large files are believed while size, time and inode stay the same.
const HASHES_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// Directories whose file systems must have room.
pub const DISKS: [&str; 3] = ["/etc", "/opt", "/var/lib"];

/// What to find out.
#[derive(Clone, Debug)]
pub struct Look {
    /// What to ask the host; or why it is not asked.
    pub host: Result<FactsQuery, Gate>,
    /// Whether to list the pods of the Node, with a dry run of each eviction.
    pub pods: bool,
}

/// What to find out about the host of `view`, whose own field `host` does not matter yet.
pub fn look(view: &MachineView, catalog: &Catalog) -> Look {
    let host = match refusal(view) {
        Some(gate) => Err(gate),
        None => Ok(query(view, catalog)),
    };
    let status = view.machine.status.as_ref();
    Look {
        host,
        pods: view.own_node().is_some() && (view.deleting() || status.is_some_and(|it| it.drain.is_some())),
    }
}

/// When a host was looked at, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// When it is to be looked at again, by [`super::Plan::next_look_seconds`].
    pub due: Timestamp,
    /// [`concerns`] at that look.
    pub concerns: String,
}

/// Whether the host is to be asked now. Watches wake up a Machine often; a host is only asked when its time has come or when
/// something changed that a plan for it depends on.
pub fn is_due(view: &MachineView, last: Option<&Looked>) -> bool {
    last.is_none_or(|last| view.now >= last.due || concerns(view) != last.concerns)
}

/// Whether the host was not asked although it may be: it was not its time.
pub(super) fn is_passed_over(view: &MachineView) -> bool {
    matches!(view.host, Host::NotAsked) && refusal(view).is_none()
}

/// Digest of everything but the host and the time that what is done on the host follows from.
pub fn concerns(view: &MachineView) -> String {
    let node = view.node.known().map(|node| {
        (
            &node.uid,
            node.ready,
            node.unschedulable,
            &node.pod_cidrs,
            node.deleting,
        )
    });
    let metadata = &view.machine.metadata;
    let all = serde_json::json!([
        metadata.uid,
        metadata.generation,
        metadata.deletion_timestamp,
        metadata.finalizers,
        view.defaults,
        view.released,
        view.credentials,
        view.peers,
        node,
        view.cluster,
        view.ended.as_ref().map(|ended| &ended.result.operation),
    ]);
    kok_render::sha256_hex(all.to_string().as_bytes())
}

/// Which host keys are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustedKeys {
    /// These.
    Pinned(Vec<String>),
    /// Any: the one that is seen is recorded.
    FirstUse,
}

/// Which keys the host may prove itself by. Once one was recorded, no other is trusted.
pub fn trusted_keys(view: &MachineView) -> TrustedKeys {
    let recorded = view.machine.status.as_ref().and_then(|it| it.host_key.clone());
    match view.spec().ssh.as_ref().map(|ssh| &ssh.host_key) {
        Some(own) if own.policy == HostKeyPolicy::Pinned => TrustedKeys::Pinned(own.keys.clone()),
        _ => match recorded {
            Some(key) => TrustedKeys::Pinned(vec![key]),
            None => TrustedKeys::FirstUse,
        },
    }
}

/// Why the host is not asked: nothing leaves this process for a Machine that is not to be touched.
pub(super) fn refusal(view: &MachineView) -> Option<Gate> {
    if !view.has_finalizer() {
        return Some(Gate {
            reason: "Accepted",
            message: "the Machine is being taken up".into(),
        });
    }
    if view.abandons() {
        return Some(Gate {
            reason: "Abandoned",
            message: "the host is left as it is".into(),
        });
    }
    if let Some(running) = &view.running {
        return Some(Gate {
            reason: "OperationRunning",
            message: format!(
                "{} is being carried out{}",
                running.id,
                running
                    .step
                    .as_ref()
                    .map(|step| format!(": {step}"))
                    .unwrap_or_default()
            ),
        });
    }
    validate::address(view)
        .or_else(|| conflict::with_peer(view))
        .or_else(|| missing_credential(view))
}

/// A Secret, or a key of it, that is not beside the operator.
fn missing_credential(view: &MachineView) -> Option<Gate> {
    needed_credentials(view).into_iter().find_map(|(secret, key)| {
        let gate = |message: String| {
            Some(Gate {
                reason: "CredentialMissing",
                message,
            })
        };
        match view.credentials.get(&secret) {
            None => gate(format!(
                "Secret {secret} is not among the credentials of the node operator: create it in its namespace"
            )),
            Some(keys) if !keys.contains(key) => gate(format!("Secret {secret} has no key {key}")),
            Some(_) => None,
        }
    })
}

/// Secrets and keys that a connection needs.
fn needed_credentials(view: &MachineView) -> Vec<(String, &'static str)> {
    let spec = view.spec();
    match (spec.connection, &spec.ssh, &spec.cloud) {
        (Connection::Ssh, Some(ssh), _) => {
            let mut needed = vec![(ssh.credential.secret.clone(), "ssh-privatekey")];
            if ssh.sudo == Sudo::Password {
                needed.push((ssh.credential.secret.clone(), "sudo-password"));
            }
            let jumps = ssh.jump.iter();
            needed.extend(jumps.map(|jump| (jump.credential.secret.clone(), "ssh-privatekey")));
            needed
        }
        (Connection::CloudCommand, _, Some(cloud)) => vec![
            (cloud.credential.secret.clone(), "access-key-id"),
            (cloud.credential.secret.clone(), "access-key-secret"),
        ],
        _ => Vec::new(),
    }
}

/// The question to the host: every path, unit and Debian package that any package of the catalog may have put there, so that
/// what is left of one that is not wanted any more is seen too.
fn query(view: &MachineView, catalog: &Catalog) -> FactsQuery {
    let wanted = effective(catalog, view.layers(), None).unwrap_or_default();
    let status = view.machine.status.as_ref();
    let reasserts = repair::upcoming(view) == Some(RepairAction::Reassert);
    let mut query = FactsQuery {
        hash_binaries: reasserts
            || view
                .hashed
                .as_ref()
                .is_none_or(|hashed| hashed.due || view.now.duration_since(hashed.at) > HASHES_KEPT),
        disks: DISKS.map(Into::into).into(),
        files: BTreeSet::from([paths::REBOOT_MARK.into(), paths::CLUSTER_MARK.into()]),
        ..FactsQuery::default()
    };
    for package in catalog.packages() {
        let version = wanted.iter().find(|it| it.package.name == package.name);
        ask_about(&mut query, package, version);
    }
    if !view.has_joined() {
        query.ports = wanted.iter().flat_map(|it| it.package.ports.clone()).collect();
        query.endpoints.extend(endpoint(&view.cluster.endpoint));
    }
    let ails = view.has_joined() && !view.own_node().is_some_and(super::view::NodeFacts::is_ready);
    if ails || status.is_some_and(|it| it.repair.is_some()) {
        for unit in wanted.iter().flat_map(|it| &it.package.units) {
            query.probes.push(journal(&unit.name));
        }
    }
    query
}

fn ask_about(query: &mut FactsQuery, package: &Package, wanted: Option<&Effective<'_>>) {
    let name = &package.name;
    query.files.extend(paths::files(package));
    query.files.extend([paths::stamp(name), paths::token(name)]);
    query
        .binaries
        .extend([paths::package(name), paths::previous(name)]);
    query.binaries.extend(package.links.keys().cloned());
    query
        .binaries
        .extend(package.reset.run.iter().map(|it| it.if_exists.clone()));
    query.binaries.extend(package.reset.paths.iter().cloned());
    query.binaries.extend(package.modules.iter().map(Module::path));
    query
        .units
        .extend(package.units.iter().map(|unit| unit.name.clone()));
    if let Some(join) = &package.join {
        query
            .files
            .extend([join.bootstrap_kubeconfig.clone(), join.kubeconfig.clone()]);
        query.binaries.insert(join.client_certificate.clone());
    }
    if let Source::Deb { name } = &package.source {
        query.debs.insert(name.clone());
    }
    let Some(wanted) = wanted else { return };
    let directory = paths::version(name, &wanted.version);
    match &package.source {
        Source::File { name: file, .. } => {
            query.binaries.insert(format!("{directory}/{file}"));
        }
        Source::Archive { binaries, .. } => {
            query.binaries.insert(format!("{directory}.archive"));
            query
                .binaries
                .extend(binaries.iter().map(|file| format!("{directory}/{file}")));
            query.binaries.insert(directory);
        }
        Source::Deb { .. } => {}
    }
    for (fact, argv) in &package.detect {
        query.probes.push(NamedProbe {
            name: paths::detect_probe(name, fact),
            argv: argv.clone(),
        });
    }
    // A program takes a moment to tell its version, so it is asked as rarely as it is hashed.
    if let Some(probe) = package.version.as_ref().filter(|_| query.hash_binaries) {
        query.probes.push(NamedProbe {
            name: paths::version_probe(name),
            argv: probe.argv.clone(),
        });
    }
}

fn journal(unit: &str) -> NamedProbe {
    let argv = [
        "journalctl",
        "--no-pager",
        "--output=cat",
        "--lines",
        JOURNAL_LINES,
        "--unit",
        unit,
    ];
    NamedProbe {
        name: paths::journal_probe(unit),
        argv: argv.map(Into::into).into(),
    }
}

/// Host and port of a URL of the apiserver.
fn endpoint(url: &str) -> Option<Endpoint> {
    let authority = url.strip_prefix("https://")?.split('/').next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (authority, 443),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some(Endpoint {
        host: host.into(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("https://10.77.0.11:30443", "10.77.0.11", 30443)]
    #[case("https://api.example.com", "api.example.com", 443)]
    #[case("https://[fd00::1]:6443/x", "fd00::1", 6443)]
    #[case("https://[fd00::1]", "fd00::1", 443)]
    fn endpoints(#[case] url: &str, #[case] host: &str, #[case] port: u16) {
        let found = endpoint(url).unwrap();
        assert_eq!((found.host.as_str(), found.port), (host, port));
    }
}
