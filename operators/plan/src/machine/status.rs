//! The status of a Machine, from what was observed and what is planned.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kok_api::condition::MachineCondition as Type;
use kok_api::machine_status::{MachinePhase, MachineStatus, MachineSummary, OperationKind, RepairAction};

use super::upkeep::is_conflict;
use super::view::{Host, MachineView, NodeFacts, NodeReady, Silence};
use super::{Draft, look};
use crate::Observed;

/// Longest message of a condition or record: long enough to act upon, short enough to read.
pub(super) const MESSAGE_LIMIT: usize = 1000;

/// Writes into a status that an action failed, so that its user sees why nothing moves.
pub fn tell_failure(status: &mut MachineStatus, message: &str) {
    let ready = status.conditions.iter_mut();
    for condition in ready.filter(|it| it.type_ == Type::Ready.as_str() && it.status != "True") {
        "ActionFailed".clone_into(&mut condition.reason);
        condition.message = message.chars().take(MESSAGE_LIMIT).collect();
    }
}

/// Times in a status have seconds, as metav1 has them: a finer one would differ from what is read back.
pub(super) fn time(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// What a condition shall say.
struct Fact {
    status: &'static str,
    reason: String,
    message: String,
}

fn is(status: bool, reason: impl Into<String>, message: impl Into<String>) -> Fact {
    Fact {
        status: if status { "True" } else { "False" },
        reason: reason.into(),
        message: message.into(),
    }
}

fn unknown(reason: impl Into<String>, message: impl Into<String>) -> Fact {
    Fact {
        status: "Unknown",
        reason: reason.into(),
        message: message.into(),
    }
}

/// The status that follows from a draft plan.
pub(super) fn status(draft: &Draft, view: &MachineView) -> MachineStatus {
    let previous = view.status();
    if look::is_passed_over(view) && !previous.conditions.is_empty() {
        // Nothing was learnt that the status speaks of.
        return previous;
    }
    let facts = view.facts();
    let node = view.own_node();
    let conditions = conditions(draft, view, &previous);
    let (host_key, fingerprint) = host_key(view, &previous);
    MachineStatus {
        observed_generation: view.machine.metadata.generation,
        phase: Some(phase(draft, view, &conditions)),
        node_name: node.map(|node| node.name.clone()).or(previous.node_name.clone()),
        boot_id: facts.map(|it| it.boot_id.clone()).or(previous.boot_id.clone()),
        machine_id: facts
            .map(|it| it.machine_id.clone())
            .or(previous.machine_id.clone()),
        os: facts.map(|it| it.os.pretty.clone()).or(previous.os.clone()),
        architecture: facts
            .map(|it| it.os.arch.clone())
            .or(previous.architecture.clone()),
        host_key,
        host_key_fingerprint: fingerprint,
        packages: draft.packages.clone(),
        operation: draft.ledger.current.clone(),
        last_operations: draft.ledger.records.clone(),
        drain: draft.drain.clone(),
        repair: draft.repair.clone(),
        summary: Some(summary(draft, node, previous.summary.as_ref())),
        conditions,
    }
}

/// The key that was seen, and its fingerprint. Once recorded, the key is only replaced by one that the spec pins.
fn host_key(view: &MachineView, previous: &MachineStatus) -> (Option<String>, Option<String>) {
    let seen = match &view.host {
        Host::Answered(answer) => answer.key.as_ref(),
        Host::NotAsked | Host::Silent { .. } => None,
    };
    match seen {
        Some(seen) => (Some(seen.key.clone()), Some(seen.fingerprint.clone())),
        None => (previous.host_key.clone(), previous.host_key_fingerprint.clone()),
    }
}

fn summary(draft: &Draft, node: Option<&NodeFacts>, previous: Option<&MachineSummary>) -> MachineSummary {
    let in_sync = draft.packages.iter().filter(|package| package.in_sync).count();
    MachineSummary {
        kubelet: node
            .map(|node| node.kubelet_version.trim_start_matches('v').to_owned())
            .or_else(|| previous.and_then(|it| it.kubelet.clone())),
        runtime: node
            .map(|node| node.runtime_version.replace("://", " "))
            .or_else(|| previous.and_then(|it| it.runtime.clone())),
        sync: format!("{in_sync}/{}", draft.packages.len()),
    }
}

fn conditions(draft: &Draft, view: &MachineView, previous: &MachineStatus) -> Vec<Condition> {
    Type::ALL
        .into_iter()
        .map(|type_| {
            let before = previous.conditions.iter().find(|it| it.type_ == type_.as_str());
            let fact = match fact(type_, draft, view) {
                Some(fact) => fact,
                // Nothing new was learnt.
                None => match before {
                    Some(before) => return with_generation(before, view),
                    None => unknown("NotLookedAt", "the host was not asked yet"),
                },
            };
            let since = before
                .filter(|before| before.status == fact.status)
                .map_or_else(|| time(view.now), |before| before.last_transition_time.clone());
            Condition {
                type_: type_.as_str().into(),
                status: fact.status.into(),
                reason: fact.reason,
                message: fact.message.chars().take(MESSAGE_LIMIT).collect(),
                observed_generation: view.machine.metadata.generation,
                last_transition_time: since,
            }
        })
        .collect()
}

fn with_generation(before: &Condition, view: &MachineView) -> Condition {
    Condition {
        observed_generation: view.machine.metadata.generation,
        ..before.clone()
    }
}

/// What a condition shall say; None when nothing new was learnt.
fn fact(type_: Type, draft: &Draft, view: &MachineView) -> Option<Fact> {
    match type_ {
        Type::Reachable => reachable(draft, view),
        Type::HostKeyVerified => host_key_verified(view),
        Type::PreflightPassed => preflight_passed(draft),
        Type::PackagesInSync => packages_in_sync(draft),
        Type::Joined => joined(view),
        Type::NodeReady => Some(node_ready(view)),
        Type::Repairing => Some(repairing(draft, view)),
        Type::Ready => Some(ready(draft, view)),
    }
}

fn reachable(draft: &Draft, view: &MachineView) -> Option<Fact> {
    match &view.host {
        Host::Answered(_) => Some(is(true, "Answers", "the host answers")),
        Host::Silent { reason, message } => Some(is(false, <&str>::from(*reason), advice(*reason, message))),
        Host::NotAsked => draft
            .refused
            .as_ref()
            .map(|gate| unknown(gate.reason, format!("the host is not asked: {}", gate.message))),
    }
}

/// What the connection said, and what to do.
fn advice(reason: Silence, message: &str) -> String {
    let what = match reason {
        Silence::Unreachable => {
            "see that it runs, that sshd listens, and that the network lets the operator through"
        }
        Silence::AuthenticationFailed => {
            "put the public key into authorized_keys of spec.ssh.user on the host"
        }
        Silence::HostKeyMismatch => {
            "nothing was sent to it; if the host was installed anew, put its new key into spec.ssh.hostKey (policy Pinned)"
        }
        Silence::PrivilegeMissing => {
            "correct spec.ssh.sudo, the credential's sudo-password, or sudoers on the host"
        }
        Silence::CredentialUnusable => "the credential must hold an OpenSSH private key without a passphrase",
        Silence::JumpHostFailed => "see to the jump host first",
        Silence::CloudRefused => "see to the access key's rights and the instance's agent",
    };
    format!("{message}; {what}")
}

fn host_key_verified(view: &MachineView) -> Option<Fact> {
    match &view.host {
        Host::Answered(answer) => Some(match &answer.key {
            Some(key) => is(true, "KeyTrusted", format!("the host showed {}", key.fingerprint)),
            None => is(true, "NotNeeded", "the connection has no host key"),
        }),
        Host::Silent {
            reason: Silence::HostKeyMismatch,
            message,
        } => Some(is(
            false,
            "HostKeyMismatch",
            advice(Silence::HostKeyMismatch, message),
        )),
        Host::Silent { .. } | Host::NotAsked => None,
    }
}

fn preflight_passed(draft: &Draft) -> Option<Fact> {
    if let Some(gate) = &draft.refused {
        return Some(is(false, gate.reason, &gate.message));
    }
    if !draft.compared && draft.findings.is_empty() {
        return None;
    }
    Some(if draft.findings.is_empty() {
        is(true, "Fit", "the host is fit to be a node")
    } else {
        is(false, "Unfit", draft.findings.join("; "))
    })
}

fn packages_in_sync(draft: &Draft) -> Option<Fact> {
    if !draft.package_findings.is_empty() {
        return Some(is(false, "PackagesInvalid", draft.package_findings.join("; ")));
    }
    if !draft.compared {
        return None;
    }
    Some(if draft.differences.is_empty() {
        let count = draft.packages.len();
        is(true, "AsDesired", format!("{count} packages are as desired"))
    } else {
        let waits = draft.gates.iter().find(|gate| {
            [
                "WaitingForBudget",
                "WaitingForRetry",
                "DrainBlocked",
                "DrainTimedOut",
                "Draining",
            ]
            .contains(&gate.reason)
        });
        let reason = waits.map_or("Differs", |gate| gate.reason);
        let why = waits
            .map(|gate| format!(" ({})", gate.message))
            .unwrap_or_default();
        is(false, reason, format!("{}{why}", draft.differences.join("; ")))
    })
}

fn joined(view: &MachineView) -> Option<Fact> {
    match &view.node {
        Observed::Unknown(_) => None,
        Observed::Known(node) if view.owns(node) => Some(is(
            true,
            "NodeRegistered",
            format!("Node {} is this host's", node.name),
        )),
        Observed::Known(node) => Some(is(
            false,
            "NodeOfAnotherHost",
            format!("Node {} is another host's", node.name),
        )),
        Observed::Absent if view.has_joined() => {
            Some(is(false, "NodeMissing", "the Node is not there any more"))
        }
        Observed::Absent => Some(is(false, "NotJoined", "the host has not joined yet")),
    }
}

fn node_ready(view: &MachineView) -> Fact {
    match &view.node {
        Observed::Unknown(why) => unknown("NodeUnknown", format!("the Node could not be read: {why}")),
        Observed::Known(node) if view.owns(node) => match node.ready {
            NodeReady::True => is(true, "NodeReady", "the kubelet reports that it is ready"),
            NodeReady::False => is(false, "NodeNotReady", &node.ready_message),
            NodeReady::Unknown => unknown("KubeletSilent", &node.ready_message),
        },
        Observed::Known(_) | Observed::Absent => is(false, "NoNode", "there is no Node of this host"),
    }
}

fn repairing(draft: &Draft, view: &MachineView) -> Fact {
    let Some(ailment) = &draft.ailment else {
        let ran = view.running.is_some() || matches!(view.host, Host::NotAsked);
        let before = view.status().conditions;
        let before = before.iter().find(|it| it.type_ == Type::Repairing.as_str());
        return match before {
            // An operation runs: whether it helped is seen afterwards.
            Some(before) if ran && before.status == "True" => {
                is(true, before.reason.clone(), before.message.clone())
            }
            _ => is(false, "Healthy", "nothing ails the Node"),
        };
    };
    if let Some(gate) = draft.gates.iter().find(|gate| gate.reason == "RepairsFrozen") {
        return is(false, gate.reason, format!("{ailment}; {}", gate.message));
    }
    if matches!(view.host, Host::Silent { .. }) {
        return is(false, "HostUnreachable", ailment);
    }
    match draft.repair.as_ref().map(|repair| repair.last_action) {
        Some(RepairAction::GiveUp) => is(
            false,
            "RepairsExhausted",
            "every repair was tried; see condition Ready for what the host says, and change the spec to try again",
        ),
        Some(action) => is(true, format!("{action:?}"), ailment),
        None => is(true, "Diagnosed", ailment),
    }
}

fn ready(draft: &Draft, view: &MachineView) -> Fact {
    if view.deleting() {
        return is(
            false,
            "Removing",
            waiting_for(draft, "what was installed is being removed"),
        );
    }
    match view.own_node() {
        Some(node) if node.is_ready() && !node.unschedulable => {
            return is(true, "NodeReady", "the Node is Ready and takes pods");
        }
        Some(node) if node.is_ready() => {
            return is(
                false,
                "Cordoned",
                waiting_for(draft, "the Node takes no new pods"),
            );
        }
        Some(_) | None => {}
    }
    if let Some(gate) = &draft.refused {
        return is(false, gate.reason, &gate.message);
    }
    if let (Host::Silent { reason, message }, false) = (&view.host, view.own_node().is_some()) {
        return is(false, "HostUnreachable", advice(*reason, message));
    }
    if let Some(evidence) = exhausted(draft, view) {
        return is(false, "RepairsExhausted", evidence);
    }
    if let Some(ailment) = &draft.ailment {
        let gates = waiting_for(draft, "");
        let told = if gates.is_empty() || gates.contains(ailment) {
            ailment.clone()
        } else {
            format!("{ailment}; {gates}")
        };
        return is(false, "NodeNotReady", told);
    }
    if let Some(current) = &draft.ledger.current {
        return is(false, "OperationRunning", &current.step);
    }
    match draft.gates.first() {
        Some(gate) => is(false, gate.reason, &gate.message),
        None => is(false, "NodeNotReady", "waiting for the Node"),
    }
}

/// What the host told when the last repair had been tried: as it was then, so that it is not written anew at each look.
fn exhausted(draft: &Draft, view: &MachineView) -> Option<String> {
    draft
        .repair
        .as_ref()
        .filter(|repair| repair.last_action == RepairAction::GiveUp && draft.ailment.is_some())?;
    let before = view.status().conditions;
    let told = before.into_iter().find(|it| {
        it.type_ == Type::Ready.as_str() && it.reason == "RepairsExhausted" && !it.message.is_empty()
    });
    told.map(|it| it.message).or_else(|| draft.evidence.clone())
}

fn waiting_for(draft: &Draft, otherwise: &str) -> String {
    let gates: Vec<&str> = draft.gates.iter().map(|gate| gate.message.as_str()).collect();
    if gates.is_empty() {
        otherwise.into()
    } else {
        gates.join("; ")
    }
}

fn phase(draft: &Draft, view: &MachineView, conditions: &[Condition]) -> MachinePhase {
    let status_of = |type_: Type| {
        let condition = conditions.iter().find(|it| it.type_ == type_.as_str());
        condition.map_or("Unknown", |it| it.status.as_str())
    };
    let refused = draft.refused.as_ref();
    let current = draft.ledger.current.as_ref().map(|operation| operation.kind);
    if view.deleting() {
        MachinePhase::Removing
    } else if view.spec().paused.is_some() {
        MachinePhase::Paused
    } else if refused.is_some_and(is_conflict) {
        MachinePhase::Conflict
    } else if refused.is_some() || !draft.package_findings.is_empty() && !view.has_joined() {
        MachinePhase::Invalid
    } else if status_of(Type::Ready) == "True" {
        if current == Some(OperationKind::Converge) || status_of(Type::PackagesInSync) == "False" {
            MachinePhase::Updating
        } else {
            MachinePhase::Ready
        }
    } else if status_of(Type::Reachable) == "Unknown" {
        MachinePhase::Pending
    } else if status_of(Type::Reachable) == "False" {
        MachinePhase::Unreachable
    } else if !view.has_joined() {
        if status_of(Type::PreflightPassed) == "False" {
            MachinePhase::PreflightFailed
        } else if current.is_some() || status_of(Type::PackagesInSync) != "True" {
            MachinePhase::Installing
        } else {
            MachinePhase::Joining
        }
    } else if failed(draft) {
        MachinePhase::Failed
    } else if draft.ailment.is_some() || current == Some(OperationKind::Repair) {
        MachinePhase::Repairing
    } else if view.own_node().is_some_and(|node| node.unschedulable)
        || status_of(Type::PackagesInSync) == "False"
    {
        MachinePhase::Updating
    } else {
        MachinePhase::Joining
    }
}

fn failed(draft: &Draft) -> bool {
    let exhausted = draft
        .repair
        .as_ref()
        .is_some_and(|repair| repair.last_action == RepairAction::GiveUp);
    exhausted && draft.ailment.is_some()
}
