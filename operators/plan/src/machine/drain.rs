//! Pods leave the Node before it is disturbed: tried dry first, evicted with respect for disruption budgets, and not for ever.

use jiff::SignedDuration;
use kok_api::machine::OnDrainTimeout;
use kok_api::machine_status::DrainStatus;

use super::budget::Reservation;
use super::node;
use super::status::time;
use super::view::{MachineView, NodeFacts, PodFacts};
use super::{Action, Draft};
use crate::{Gate, Observed};

/// Pods that may not be evicted and are named in the status.
const NAMED: usize = 5;

/// What a drain is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The Node comes back: nothing is begun unless every pod may leave.
    Disturb(Option<Reservation>),
    /// The Node goes: pods that may leave do, the others are waited for.
    Remove,
}

/// Plans the next step of a drain. True when no pod is left that must go, or its time is over and it goes on without.
pub(super) fn drain(draft: &mut Draft, view: &MachineView, node: &NodeFacts, purpose: Purpose) -> bool {
    let started = view.status().drain.map(|drain| drain.started_at);
    let begun = node.unschedulable && started.is_some();
    let mut status = DrainStatus {
        started_at: started.unwrap_or_else(|| time(view.now)),
        left: 0,
        blocked: Vec::new(),
    };
    let pods = match &view.pods {
        Observed::Known(pods) => pods,
        Observed::Absent | Observed::Unknown(_) => {
            let why = match &view.pods {
                Observed::Unknown(why) => format!("the pods of the Node could not be listed: {why}"),
                _ => "looking which pods may leave the Node".into(),
            };
            draft.drain = Some(status);
            draft.wait("Draining", why);
            return false;
        }
    };
    let leaving: Vec<&PodFacts> = pods.iter().filter(|pod| !pod.stays).collect();
    let blocked = leaving.iter().filter(|pod| !pod.terminating).filter_map(|pod| {
        Some(format!(
            "{}/{}: {}",
            pod.namespace,
            pod.name,
            pod.blocked.as_ref()?
        ))
    });
    let blocked: Vec<String> = blocked.collect();
    status.left = i32::try_from(leaving.len()).unwrap_or(i32::MAX);
    status.blocked = blocked.iter().take(NAMED).cloned().collect();
    if !begun
        && let Purpose::Disturb(_) = purpose
        && !blocked.is_empty()
    {
        // The Node is left in service: it would only wait, cordoned, for pods that cannot go.
        draft.drain = Some(status);
        draft.wait(
            "DrainBlocked",
            format!(
                "pods may not be evicted now, so the Node is not cordoned: {}",
                named(&blocked)
            ),
        );
        return false;
    }
    if !begun {
        status.started_at = time(view.now);
        if let Some(patch) = node::cordon(node) {
            draft.actions.push(Action::PatchNode {
                patch,
                reservation: match purpose {
                    Purpose::Disturb(reservation) => reservation,
                    Purpose::Remove => None,
                },
                reason: "its pods leave".into(),
            });
            draft.drain = Some(status);
            draft.wait("Draining", "the Node is cordoned");
            return false;
        }
    }
    let left = status.left;
    let since = view.now.duration_since(status.started_at.0);
    draft.drain = Some(status);
    if leaving.is_empty() {
        return true;
    }
    if since > timeout(view) {
        match view.spec().drain.on_timeout {
            OnDrainTimeout::Proceed => return true,
            OnDrainTimeout::Wait => draft.gates.push(Gate {
                reason: "DrainTimedOut",
                message: format!(
                    "{left} pods have not left the Node in {}: {}; delete them, or set spec.drain.onTimeout: Proceed to go on without",
                    view.spec().drain.timeout,
                    named(&leaving.iter().map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect::<Vec<_>>())
                ),
            }),
        }
    } else {
        let why = if blocked.is_empty() {
            String::new()
        } else {
            format!("; may not be evicted now: {}", named(&blocked))
        };
        draft.wait("Draining", format!("{left} pods are leaving the Node{why}"));
    }
    let evictable = leaving
        .iter()
        .filter(|pod| !pod.terminating && pod.blocked.is_none());
    draft.actions.extend(evictable.map(|pod| Action::Evict {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
    }));
    false
}

fn timeout(view: &MachineView) -> SignedDuration {
    let timeout = view.spec().drain.timeout.parse();
    timeout.unwrap_or(SignedDuration::from_mins(10))
}

fn named(items: &[String]) -> String {
    let mut shown: Vec<&str> = items.iter().take(NAMED).map(String::as_str).collect();
    let more = format!("{} more", items.len().saturating_sub(NAMED));
    if items.len() > NAMED {
        shown.push(&more);
    }
    shown.join(", ")
}
