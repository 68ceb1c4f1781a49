//! Invariants of plans, kept apart from the code that makes them (docs/invariants.md). Run in tests and debug builds.

use kok_api::machine_status::OperationKind;

use super::conflict::{self, Claim};
use super::view::{Host, MachineView};
use super::{Action, Plan, Run};
use crate::host::{Content, Secret, Step, UnitAction};

/// Every invariant that `plan` breaks; empty for a good plan.
pub fn violations(view: &MachineView, plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    let mut runs = 0;
    for action in &plan.actions {
        match action {
            Action::Run(run) => {
                runs += 1;
                found.extend(of_run(view, plan, run));
            }
            Action::DeleteNode { uid, .. } => {
                let ours = view.own_node().is_some_and(|node| node.uid == *uid);
                if !view.deleting() || !ours {
                    found.push("invariant 3: a Node is deleted that is not this deleted Machine's".into());
                }
            }
            Action::PatchNode { patch, .. } => {
                if view.own_node().is_none_or(|node| node.uid != patch.uid) {
                    found.push(format!("invariant 9: Node {} is not this Machine's", patch.name));
                }
            }
            Action::DecideRequest {
                approve: true, name, ..
            } if view.deleting() => {
                found.push(format!("request {name} of a deleted Machine is approved"));
            }
            Action::RemoveFinalizer if !view.deleting() => {
                found.push("the finalizer is removed from a Machine that is not deleted".into());
            }
            Action::AddFinalizer
            | Action::RemoveFinalizer
            | Action::MintToken(_)
            | Action::DeleteToken { .. }
            | Action::DecideRequest { .. }
            | Action::Evict { .. } => {}
        }
    }
    if runs > 1 {
        found.push(format!("{runs} operations are begun on one host"));
    }
    found
}

fn of_run(view: &MachineView, plan: &Plan, run: &Run) -> Vec<String> {
    let mut found = Vec::new();
    let Host::Answered(answer) = &view.host else {
        return vec!["an operation is begun on a host that did not answer".into()];
    };
    let announced = plan.status.operation.as_ref().map(|it| it.id.as_str());
    if announced != Some(run.operation.id.as_str()) {
        found.push(format!(
            "operation {} is not announced in the status",
            run.operation.id
        ));
    }
    if view.spec().paused.is_some() && !view.deleting() {
        found.push("an operation is begun although the Machine is paused".into());
    }
    let claims = matches!(run.operation.steps.first(), Some(Step::Claim { .. }));
    match conflict::claim(view, &answer.facts) {
        Claim::Ours => {}
        Claim::Free { .. } if claims => {}
        Claim::Free { .. } | Claim::Peer(_) | Claim::Foreign(_) => {
            found.push("invariant 9: an operation is begun on a host that is not this Machine's".into());
        }
    }
    if run.operation.owner != view.owner() || run.operation.generation != view.operator.generation {
        found.push("invariant 9: an operation is not signed by this Machine and this operator".into());
    }
    if run.kind == OperationKind::Reset && !view.deleting() {
        found.push("invariant 2: a host is reset whose Machine is not deleted".into());
    }
    if let Some(what) = secret_in(run) {
        found.push(format!("invariant 8: {what}"));
    }
    found.extend(budget(view, run));
    let mut filled = run.operation.clone();
    let placeholder = Secret::new("placeholder");
    run.secrets
        .keys()
        .for_each(|slot| filled.fill(slot, &placeholder));
    if let Err(invalid) = filled.check() {
        found.push(format!("operation {}: {invalid}", run.operation.id));
    }
    found
}

/// A plan knows no secret, so none of its steps may hold one, and the files that will are readable by root alone.
fn secret_in(run: &Run) -> Option<String> {
    run.operation.steps.iter().find_map(|step| match step {
        Step::WriteFile {
            path,
            content: Content::Filled { .. },
            ..
        } => Some(format!("{path} holds a secret already")),
        Step::WriteFile {
            path,
            content: Content::Slot(slot),
            mode,
            ..
        } if *mode != 0o600 || !run.secrets.contains_key(slot) => Some(format!(
            "secret {slot} of {path} has no source, or others may read it"
        )),
        _ => None,
    })
}

/// Whoever stops what runs on a Node that works has a place among those that may.
fn budget(view: &MachineView, run: &Run) -> Vec<String> {
    let serves = view
        .own_node()
        .is_some_and(|node| node.is_ready() && !node.unschedulable);
    let runs = |name: &String| {
        let unit = view.facts().and_then(|facts| facts.units.get(name));
        unit.is_some_and(|unit| unit.active == "active")
    };
    let disturbs = run.operation.steps.iter().any(|step| match step {
        Step::Unit {
            name,
            action: UnitAction::Stop | UnitAction::Restart,
        } => runs(name),
        Step::Reboot { .. } | Step::KillCgroup { .. } => true,
        _ => false,
    });
    if !serves || !disturbs || view.deleting() {
        return Vec::new();
    }
    match (run.reservation.and_then(|it| it.max_unavailable), &view.defaults) {
        (Some(limit), Some(defaults)) => {
            let allowance = view.fleet.allowance(&defaults.max_unavailable);
            let wanted = view.fleet.unavailable + 1;
            if wanted > allowance || limit > allowance {
                return vec![format!(
                    "invariant 5: {wanted} machines would be unavailable, {allowance} may be"
                )];
            }
            Vec::new()
        }
        _ => vec![format!(
            "invariant 5: a Node that serves is disturbed without a reservation ({})",
            run.reason
        )],
    }
}
