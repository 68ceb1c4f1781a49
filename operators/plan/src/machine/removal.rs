//! A Machine that shall go: its Node is drained, what was installed is removed, the claim is given up, the Node is deleted.

use kok_api::machine_status::OperationKind;

use super::catalog::Catalog;
use super::conflict::{self, Claim};
use super::drain::{self, Purpose};
use super::view::{Host, MachineView};
use super::{Action, Draft, Order, join, look, preflight, steps};
use crate::Observed;
use crate::host::{HostFacts, Step};

/// Plans for a Machine that is to be deleted.
pub(super) fn plan(draft: &mut Draft, view: &MachineView, catalog: &Catalog) {
    if !view.has_finalizer() {
        return;
    }
    if view.abandons() {
        forget(draft, view);
        return;
    }
    if let Some(gate) = look::refusal(view) {
        if view.running.is_some() || was_touched(view) {
            draft.gates.push(gate);
        } else {
            forget(draft, view);
        }
        return;
    }
    match &view.host {
        Host::NotAsked => {}
        Host::Silent { message, .. } => {
            if was_touched(view) {
                draft.wait(
                    "HostUnreachable",
                    format!(
                        "the host does not answer, so what is on it cannot be removed ({message}): bring it back, or set spec.deletionPolicy: Abandon to leave it as it is"
                    ),
                );
            } else {
                forget(draft, view);
            }
        }
        Host::Answered(answer) => host(draft, view, catalog, &answer.facts),
    }
}

/// Whether anything was ever begun on the host. An operation is announced in the status before it begins.
fn was_touched(view: &MachineView) -> bool {
    let status = view.status();
    view.has_joined() || status.operation.is_some() || !status.last_operations.is_empty()
}

fn host(draft: &mut Draft, view: &MachineView, catalog: &Catalog, facts: &HostFacts) {
    if let Some(finding) = preflight::not_root(facts) {
        // Whose the host is cannot be read either.
        if was_touched(view) {
            draft.wait("PreflightFailed", finding);
        } else {
            forget(draft, view);
        }
        return;
    }
    if facts.busy || draft.ledger.reboots() {
        draft.wait("OperationRunning", "an operation runs on the host");
        return;
    }
    if let Observed::Unknown(why) = &view.node {
        draft.wait("NodeUnknown", format!("the Node could not be read: {why}"));
        return;
    }
    let claim = conflict::claim(view, facts);
    let steps = steps::reset(catalog.packages(), facts);
    // With nothing but the last two steps there is nothing of ours: the directory itself and the claim.
    let holds_something = steps.len() > 2;
    let steps = match claim {
        Claim::Ours => steps,
        // Somebody removed the claim by hand.
        Claim::Free { left_by: None } if holds_something && view.has_joined() => {
            let claim = Step::Claim { replaces: None };
            std::iter::once(claim).chain(steps).collect()
        }
        Claim::Free { .. } | Claim::Peer(_) | Claim::Foreign(_) => {
            forget_with_node(draft, view);
            return;
        }
    };
    let drained = match view.own_node().filter(|node| node.is_ready()) {
        Some(node) => drain::drain(draft, view, node, Purpose::Remove),
        None => true,
    };
    if drained {
        draft.run(
            view,
            Order::new(OperationKind::Reset, steps, "remove what was installed"),
        );
    }
}

/// Nothing of the Machine is on the host: its Node goes, and then the Machine itself.
fn forget_with_node(draft: &mut Draft, view: &MachineView) {
    match view.own_node() {
        Some(node) if node.deleting => draft.wait("NodeDeleting", "the Node is being deleted"),
        Some(node) => draft.actions.push(Action::DeleteNode {
            name: node.name.clone(),
            uid: node.uid.clone(),
            resource_version: node.resource_version.clone(),
            reason: "the Machine is deleted".into(),
        }),
        None => forget(draft, view),
    }
}

/// The Machine goes, with its tokens; host and Node stay as they are.
fn forget(draft: &mut Draft, view: &MachineView) {
    match &view.tokens {
        Observed::Unknown(why) => {
            draft.wait(
                "TokensUnknown",
                format!("bootstrap tokens could not be read: {why}"),
            );
            return;
        }
        Observed::Absent => {}
        Observed::Known(_) => join::retire_tokens(draft, view, true, &[]),
    }
    draft.actions.push(Action::RemoveFinalizer);
}
