//! Repairs of a Node that ceased to be Ready: from the mildest to the hardest, with time between them, and an end.

use jiff::{SignedDuration, Timestamp};
use kok_api::condition::MachineCondition::Repairing;
use kok_api::machine_status::{RepairAction, RepairStatus};
use kok_render::package::{Join, Package};

use super::diff::{PackageDiff, is_there};
use super::status::time;
use super::view::{MachineView, NodeFacts};
use super::{join, paths};
use crate::host::HostFacts;
use crate::{Gate, Observed};

/// How long a Node may be NotReady before anything is tried: a restart takes that long.
const PATIENCE: SignedDuration = SignedDuration::from_secs(60);
/// How long a kubelet with a certificate may take to register its Node.
const REGISTRATION: SignedDuration = SignedDuration::from_mins(2);
/// How long a Node must have been Ready for its repairs to be forgotten.
const HEALED: SignedDuration = SignedDuration::from_mins(10);
/// Most repairs before it has: one that falls over again and again is not helped by more of the same.
const MOST_REPAIRS: i32 = 10;
/// Most characters of evidence from one unit's journal.
const JOURNAL_LIMIT: usize = 400;

/// What ails a Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ailment {
    /// What is wrong, for people.
    pub cause: String,
    /// Whether units of ours do not run.
    pub units_down: bool,
    /// Whether the kubelet's client certificate is at its end.
    pub certificate_expired: bool,
}

/// What to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// This, now.
    Act(RepairAction),
    /// Nothing until then.
    Wait(Timestamp, Gate),
    /// Nothing any more.
    GiveUp,
}

/// What ails the Node of a host that answers; None when nothing does, or when it may just be coming up.
pub(super) fn ailment(
    view: &MachineView,
    facts: &HostFacts,
    diffs: &[PackageDiff<'_, '_>],
    agent: (&Package, &Join),
) -> Option<Ailment> {
    let down: Vec<&str> = diffs.iter().flat_map(|diff| diff.down.iter().copied()).collect();
    let cause = if down.is_empty() {
        node_trouble(view, facts, agent)?
    } else {
        let told = down.iter().map(|name| {
            let unit = facts.units.get(*name);
            unit.map_or_else(
                || format!("{name} is not there"),
                |unit| format!("{name} is {} ({}, {})", unit.active, unit.sub, unit.result),
            )
        });
        told.collect::<Vec<_>>().join(", ")
    };
    Some(Ailment {
        cause,
        units_down: !down.is_empty(),
        certificate_expired: certificate_expired(facts, agent),
    })
}

fn node_trouble(view: &MachineView, facts: &HostFacts, (_, join): (&Package, &Join)) -> Option<String> {
    match &view.node {
        // Nothing is concluded from what could not be read.
        Observed::Unknown(_) => None,
        Observed::Known(node) if view.owns(node) => {
            let since = node.ready_since.unwrap_or(view.now);
            let late = view.now.duration_since(since) > PATIENCE;
            (!node.is_ready() && late).then(|| format!("the Node is NotReady: {}", node.ready_message))
        }
        Observed::Known(_) | Observed::Absent => {
            if !join::has_credentials(view, facts, join) {
                return None;
            }
            let status = view.status();
            let last = status.last_operations.first();
            let waited = last.is_none_or(|last| view.now.duration_since(last.started_at.0) > REGISTRATION);
            waited.then(|| "the kubelet has a certificate and its Node is not there".into())
        }
    }
}

/// Whether the client certificate is there and at its end. When the host cannot tell, it is not taken for that.
fn certificate_expired(facts: &HostFacts, (package, join): (&Package, &Join)) -> bool {
    let there = is_there(facts, &join.client_certificate);
    let probe = facts
        .probes
        .get(&paths::detect_probe(&package.name, &join.certificate_good));
    there && probe.is_some_and(|probe| probe.exit == 1)
}

/// The repair that would come next, by what was tried before.
pub(super) fn upcoming(view: &MachineView) -> Option<RepairAction> {
    let status = view.machine.status.as_ref()?;
    let repair = in_force(view)?;
    let repairing = status
        .conditions
        .iter()
        .any(|it| it.type_ == Repairing.as_str() && it.status == "True");
    repairing.then(|| harder_than(repair.last_action))
}

/// Whether nothing ailed the Node for a moment after the last repair: then it worked, and this is something new.
fn recovered(view: &MachineView, last: &RepairStatus) -> bool {
    let conditions = view.machine.status.iter().flat_map(|it| &it.conditions);
    conditions
        .filter(|it| it.type_ == Repairing.as_str() && it.status == "False")
        .any(|it| it.last_transition_time.0 >= last.last_at.0)
}

/// The record of repairs, unless the spec changed since: then all of them may be tried again.
pub(super) fn in_force(view: &MachineView) -> Option<RepairStatus> {
    let status = view.machine.status.as_ref()?;
    let unchanged = status.observed_generation == view.machine.metadata.generation;
    status.repair.clone().filter(|_| unchanged)
}

/// The record of repairs of a Node that nothing ails: kept until it has been Ready for a while, so that one that falls over
/// again and again is not treated as new each time.
pub(super) fn fading(view: &MachineView, node: Option<&NodeFacts>) -> Option<RepairStatus> {
    let repair = in_force(view)?;
    let ready_for = node
        .filter(|node| node.is_ready())
        .and_then(|node| node.ready_since)
        .map(|since| view.now.duration_since(since.max(repair.last_at.0)));
    ready_for.is_none_or(|time| time < HEALED).then_some(repair)
}

fn harder_than(action: RepairAction) -> RepairAction {
    match action {
        RepairAction::StartUnits => RepairAction::RestartUnits,
        RepairAction::RestartUnits => RepairAction::Reassert,
        RepairAction::Reassert => RepairAction::Rebootstrap,
        RepairAction::Rebootstrap | RepairAction::GiveUp => RepairAction::GiveUp,
    }
}

/// How long a repair is given to work.
fn cooldown(action: RepairAction) -> SignedDuration {
    SignedDuration::from_secs(match action {
        RepairAction::StartUnits => 60,
        RepairAction::RestartUnits => 120,
        RepairAction::Reassert => 300,
        RepairAction::Rebootstrap | RepairAction::GiveUp => 600,
    })
}

/// What to do about an ailment now.
pub(super) fn remedy(view: &MachineView, ailment: &Ailment) -> Remedy {
    let Some(before) = in_force(view) else {
        return Remedy::Act(first(ailment));
    };
    if before.last_action == RepairAction::GiveUp {
        return Remedy::GiveUp;
    }
    if before.next_allowed_at.0 > view.now {
        let gate = Gate {
            reason: "RepairCoolingDown",
            message: format!(
                "{}; {:?} was tried at {} and is given time to work",
                ailment.cause, before.last_action, before.last_at.0
            ),
        };
        return Remedy::Wait(before.next_allowed_at.0, gate);
    }
    if before.attempts >= MOST_REPAIRS {
        return Remedy::GiveUp;
    }
    if recovered(view, &before) {
        return Remedy::Act(first(ailment));
    }
    let next = harder_than(before.last_action);
    if ailment.certificate_expired && next < RepairAction::Rebootstrap {
        return Remedy::Act(RepairAction::Rebootstrap);
    }
    match next {
        RepairAction::GiveUp => Remedy::GiveUp,
        action => Remedy::Act(action),
    }
}

fn first(ailment: &Ailment) -> RepairAction {
    if ailment.certificate_expired {
        RepairAction::Rebootstrap
    } else if ailment.units_down {
        RepairAction::StartUnits
    } else {
        RepairAction::RestartUnits
    }
}

/// The record after `action` was begun.
pub(super) fn begun(view: &MachineView, action: RepairAction) -> RepairStatus {
    let attempts = in_force(view).map_or(0, |before| before.attempts);
    RepairStatus {
        attempts: attempts.saturating_add(i32::from(action != RepairAction::GiveUp)),
        last_action: action,
        last_at: time(view.now),
        next_allowed_at: time(view.now + cooldown(action)),
    }
}

/// Repairs of many machines together would be repairs of the wrong thing.
pub(super) fn frozen(view: &MachineView) -> Option<Gate> {
    let (fleet, percent) = (view.fleet, view.operator.freeze_percent);
    fleet.fail_together(percent).then(|| Gate {
        reason: "RepairsFrozen",
        message: format!(
            "{} of {} machines fail together, more than {} ({percent} %): the cause is taken to be outside of them (network, apiserver), and none is repaired",
            fleet.failing,
            fleet.joined,
            fleet.failures_tolerated(percent)
        ),
    })
}

/// What the host tells of an ailment: units, disks, the end of the units' journals.
pub(super) fn evidence(facts: &HostFacts) -> String {
    let mut told = Vec::new();
    for (name, unit) in &facts.units {
        if unit.load == "loaded" {
            told.push(format!(
                "{name} {} ({}, {} restarts)",
                unit.active, unit.result, unit.restarts
            ));
        }
    }
    for (path, disk) in &facts.disks {
        told.push(format!("{path} {} MiB free", disk.available >> 20));
    }
    for (name, probe) in &facts.probes {
        if let Some(unit) = name.strip_prefix("journal.").filter(|_| probe.exit == 0) {
            told.push(format!("{unit} says: {}", end_of(&probe.output)));
        }
    }
    told.join("; ")
}

fn end_of(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let all = lines.join(" | ");
    let skipped = all.chars().count().saturating_sub(JOURNAL_LIMIT);
    all.chars().skip(skipped).collect()
}
