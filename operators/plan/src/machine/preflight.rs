//! Whether a host is fit to be a node, found out before anything is changed on it.

use std::time::Duration;

use super::look::DISKS;
use super::view::MachineView;
use super::wanted::{Payload, Wanted};
use crate::host::{BinaryFact, Cgroup, HostFacts, Reach};

/// Clocks further apart than this break certificates and tokens.
const MOST_SKEW: Duration = Duration::from_mins(1);
/// Free bytes that an installation needs on each file system that it writes to.
const LEAST_SPACE: u64 = 1 << 30;
/// `/etc` gets a few small files.
const LEAST_SPACE_ETC: u64 = 16 << 20;
/// Free inodes that an installation needs.
const LEAST_INODES: u64 = 5_000;

/// Everything that keeps the host from being a node, each with what to do.
pub(super) fn findings(view: &MachineView, facts: &HostFacts, wanted: &[Wanted<'_>]) -> Vec<String> {
    let mut found = always(view, facts);
    if !view.has_joined() {
        found.extend(before_join(view, facts, wanted));
    }
    found
}

/// Whether commands run as somebody else than root: nothing can be done then, and not much be seen.
pub(super) fn not_root(facts: &HostFacts) -> Option<String> {
    (facts.euid != 0).then(|| {
        format!(
            "commands run with user id {}: log in as root, or set spec.ssh.sudo",
            facts.euid
        )
    })
}

/// What must hold on every host, also on one that has joined.
fn always(view: &MachineView, facts: &HostFacts) -> Vec<String> {
    let mut found = Vec::new();
    let spec = view.spec();
    if !facts.systemd {
        found.push(format!(
            "{} is not started by systemd: use another image",
            os(facts)
        ));
    }
    if facts.hostname != spec.hostname {
        found.push(format!(
            "the host calls itself {:?}, spec.hostname says {:?}: correct the address, or run hostnamectl set-hostname there",
            facts.hostname, spec.hostname
        ));
    }
    if facts.machine_id.is_empty() {
        found.push("the host has no /etc/machine-id: run systemd-machine-id-setup there".into());
    }
    if !facts.addresses.contains(&spec.address) {
        found.push(format!(
            "{} is on no interface of the host (it has {}), and a kubelet does not start with it",
            spec.address,
            facts.addresses.iter().cloned().collect::<Vec<_>>().join(", ")
        ));
    }
    let skew = facts
        .clock_skew
        .unsigned_abs()
        .saturating_sub(facts.clock_skew_within);
    if skew > MOST_SKEW {
        found.push(format!(
            "the host's clock is {} s {}: let it be set by NTP",
            facts.clock_skew.unsigned_abs().as_secs(),
            if facts.clock_skew.is_negative() {
                "behind"
            } else {
                "ahead"
            }
        ));
    }
    found
}

fn before_join(view: &MachineView, facts: &HostFacts, wanted: &[Wanted<'_>]) -> Vec<String> {
    let mut found = Vec::new();
    if facts.cgroup == Cgroup::None {
        found.push("no cgroup hierarchy is mounted at /sys/fs/cgroup".into());
    }
    for path in DISKS {
        let Some(disk) = facts.disks.get(path) else {
            continue;
        };
        let least = if path == "/etc" {
            LEAST_SPACE_ETC
        } else {
            LEAST_SPACE
        };
        if !disk.writable {
            found.push(format!("{path} cannot be written to"));
        } else if disk.available < least {
            found.push(format!(
                "{path} has {} MiB free, {} are needed",
                disk.available >> 20,
                least >> 20
            ));
        } else if disk.inodes < LEAST_INODES && disk.inodes != 0 {
            found.push(format!(
                "{path} has {} inodes free, {LEAST_INODES} are needed",
                disk.inodes
            ));
        }
    }
    for each in wanted {
        found.extend(taken_ports(facts, each));
        if matches!(each.payload, Payload::Deb { .. }) && !facts.dpkg.present {
            found.push(format!(
                "package {} is a Debian package, and {} has no dpkg",
                each.package.name,
                os(facts)
            ));
        }
    }
    for (endpoint, reach) in &facts.endpoints {
        if let Reach::Failed(why) = reach {
            found.push(format!(
                "the host cannot connect to the cluster's endpoint {endpoint}: {why}"
            ));
        }
    }
    found.extend(other_node(view));
    found
}

/// Ports of a package that something else has: our own program would be linked already.
fn taken_ports(facts: &HostFacts, wanted: &Wanted<'_>) -> Vec<String> {
    let installed = wanted
        .links
        .iter()
        .any(|(path, _)| matches!(facts.binaries.get(path), Some(BinaryFact::Link { .. })));
    let taken = wanted
        .package
        .ports
        .iter()
        .filter(|port| facts.listening.contains(port));
    taken
        .filter(|_| !installed)
        .map(|port| {
            format!(
                "something listens on port {port}, which {} needs: stop it (ss -lptn 'sport = :{port}' shows it)",
                wanted.package.name
            )
        })
        .collect()
}

/// A Node of this name that another host registered.
fn other_node(view: &MachineView) -> Option<String> {
    let node = view.node.known().filter(|node| !view.owns(node))?;
    Some(format!(
        "Node {} exists and is another host's: delete it, or give the host another name",
        node.name
    ))
}

fn os(facts: &HostFacts) -> &str {
    if facts.os.pretty.is_empty() {
        "the host"
    } else {
        &facts.os.pretty
    }
}
