//! One host has one owner: of two who claim it, the second touches nothing.

use super::view::{MachineView, Peer};
use crate::Gate;
use crate::host::{HostFacts, Owner};

const REASON: &str = "Conflict";

/// Another Machine that has the same address or hostname, and is older. Known before anything is sent to the host.
pub(super) fn with_peer(view: &MachineView) -> Option<Gate> {
    let spec = view.spec();
    older(view).find_map(|peer| {
        let what = if peer.address == spec.address {
            format!("spec.address {}", spec.address)
        } else if peer.hostname == spec.hostname {
            format!("spec.hostname {}", spec.hostname)
        } else {
            return None;
        };
        Some(Gate {
            reason: REASON,
            message: format!(
                "{what} is that of Machine {} already: delete one of the two",
                peer.name
            ),
        })
    })
}

/// Someone else who has the host, as the host itself tells.
pub(super) fn on_host(view: &MachineView, facts: &HostFacts) -> Option<Gate> {
    let gate = |message: String| {
        Some(Gate {
            reason: REASON,
            message,
        })
    };
    match claim(view, facts) {
        Claim::Ours | Claim::Free { .. } => {}
        Claim::Peer(peer) => {
            return gate(format!(
                "the host belongs to Machine {} of this cluster: delete one of the two",
                peer.name
            ));
        }
        Claim::Foreign(owner) => {
            return gate(format!(
                "the host belongs to {owner}: delete that Machine, or if it is gone for good remove /var/lib/kube-on-kube/owner on the host"
            ));
        }
    }
    let id = facts.machine_id.as_str();
    let twin = older(view).find(|peer| !id.is_empty() && peer.machine_id.as_deref() == Some(id))?;
    gate(format!(
        "/etc/machine-id {id} is also that of Machine {}: it is the same host, or a clone of it that must get an id of its own (remove /etc/machine-id and run systemd-machine-id-setup)",
        twin.name
    ))
}

/// Whose the host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim<'a> {
    /// This Machine's.
    Ours,
    /// Nobody's, or that of a Machine of this cluster that is no more.
    Free {
        /// That Machine.
        left_by: Option<&'a Owner>,
    },
    /// Another Machine's of this cluster.
    Peer(&'a Peer),
    /// Another cluster's.
    Foreign(&'a Owner),
}

/// Whose the host is.
pub(super) fn claim<'a>(view: &'a MachineView, facts: &'a HostFacts) -> Claim<'a> {
    let Some(owner) = &facts.owner else {
        return Claim::Free { left_by: None };
    };
    if *owner == view.owner() {
        return Claim::Ours;
    }
    if owner.cluster != view.cluster.uid {
        return Claim::Foreign(owner);
    }
    match view.peers.iter().find(|peer| peer.uid == owner.machine) {
        Some(peer) => Claim::Peer(peer),
        None => Claim::Free { left_by: Some(owner) },
    }
}

fn older(view: &MachineView) -> impl Iterator<Item = &Peer> {
    let created = view
        .machine
        .metadata
        .creation_timestamp
        .as_ref()
        .map(|time| time.0);
    let ours = (created, view.name());
    view.peers
        .iter()
        .filter(move |peer| (peer.created, peer.name.as_str()) < ours)
}
