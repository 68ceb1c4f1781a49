//! Whether something moves, whether it has arrived, and the one word that sums it up.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kok_api::cluster::Phase;
use kok_api::condition::ClusterCondition as Type;

use super::components::Component;
use super::condition::{Fact, fact, find, is, unknown};
use super::{Inputs, Reason, Stance};

/// What is not ready for so long is not on its way any more.
const PATIENCE: SignedDuration = SignedDuration::from_mins(5);

impl Inputs<'_> {
    /// What waits for somebody: gates, and extensions whose templates give nothing.
    fn blocked(&self) -> Vec<String> {
        let gates = self.draft.gates.iter();
        let gates = gates
            .filter(|gate| gate.reason.needs_somebody())
            .map(|gate| gate.message.clone());
        let broken = self.draft.broken_extensions.iter();
        gates
            .chain(broken.map(|(name, why)| format!("extension {name}: {why}")))
            .collect()
    }

    /// What moves or waits for what moves.
    fn moving(&self, components: &[Component]) -> Vec<String> {
        let gates = self.draft.gates.iter();
        let mut moving: Vec<String> = gates
            .filter(|gate| !gate.reason.needs_somebody())
            .map(|gate| gate.message.clone())
            .collect();
        moving.extend(
            components
                .iter()
                .filter(|component| !component.is_up())
                .map(|component| format!("{}: {}", component.status.name, component.status.message)),
        );
        if !self.draft.actions.is_empty() {
            moving.push(format!("{} changes are being applied", self.draft.actions.len()));
        }
        moving
    }
}

/// Condition Progressing. What waits for somebody is no progress, even if pods still come and go beside it.
pub(super) fn progressing(inputs: &Inputs<'_>, components: &[Component]) -> Fact {
    let say = |status, reason, message: String| fact(Type::Progressing, status, reason, message);
    match inputs.stance {
        Stance::Deleting => {
            let gates: Vec<&str> = inputs
                .draft
                .gates
                .iter()
                .map(|gate| gate.message.as_str())
                .collect();
            let message = if gates.is_empty() {
                "the namespace is being removed".into()
            } else {
                gates.join("; ")
            };
            return say(true, Reason::Deleting, message);
        }
        Stance::NotStarted => {
            return say(
                false,
                Reason::InvalidSpec,
                "nothing is done until the spec is valid; see condition Valid".into(),
            );
        }
        Stance::Paused => {
            let why = inputs
                .view
                .cluster
                .spec
                .paused
                .as_ref()
                .map_or("", |paused| &paused.reason);
            return say(
                false,
                Reason::Paused,
                format!("paused: {why}; remove spec.paused to go on"),
            );
        }
        Stance::Kept => {}
    }
    let (mut blocked, moving) = (inputs.blocked(), inputs.moving(components));
    if blocked.is_empty() && moving.is_empty() {
        return say(false, Reason::Converged, "everything is as declared".into());
    }
    let stuck = !blocked.is_empty() && inputs.draft.actions.is_empty();
    blocked.extend(moving);
    let reason = if stuck {
        Reason::Blocked
    } else {
        Reason::Converging
    };
    say(!stuck, reason, blocked.join("; "))
}

/// Condition UpToDate.
pub(super) fn up_to_date(inputs: &Inputs<'_>, components: &[Component]) -> Fact {
    let no = |reason, message: String| fact(Type::UpToDate, false, reason, message);
    let (blocked, moving) = (inputs.blocked(), inputs.moving(components));
    match inputs.stance {
        Stance::Deleting => no(Reason::Deleting, "the Cluster is being deleted".into()),
        Stance::Paused => unknown(
            Type::UpToDate,
            Reason::Paused,
            "what runs is not compared with the spec while paused",
        ),
        Stance::NotStarted => no(Reason::InvalidSpec, "the spec is refused; nothing runs".into()),
        Stance::Kept if !inputs.draft.findings.is_empty() => no(
            Reason::InvalidSpec,
            "the spec is refused; what runs is the last valid one".into(),
        ),
        Stance::Kept if !blocked.is_empty() => no(Reason::Blocked, blocked.join("; ")),
        Stance::Kept if !inputs.draft.actions.is_empty() || !inputs.draft.gates.is_empty() => {
            no(Reason::Converging, moving.join("; "))
        }
        Stance::Kept if !moving.is_empty() => no(Reason::RollingOut, moving.join("; ")),
        Stance::Kept if inputs.view.business.known().is_none() => unknown(
            Type::UpToDate,
            Reason::BusinessClusterUnknown,
            "the business cluster does not answer",
        ),
        Stance::Kept => fact(
            Type::UpToDate,
            true,
            Reason::AsDeclared,
            "all that runs is what the spec declares",
        ),
    }
}

/// The one word for all of it.
pub(super) fn phase(inputs: &Inputs<'_>, components: &[Component], conditions: &[Condition]) -> Phase {
    match inputs.stance {
        Stance::Deleting => return Phase::Deleting,
        Stance::NotStarted => return Phase::Invalid,
        Stance::Paused => return Phase::Paused,
        Stance::Kept => {}
    }
    let available = is(conditions, Type::Available, "True");
    if !available && !inputs.was_created() {
        Phase::Creating
    } else if !available || !is(conditions, Type::Valid, "True") || ails(inputs, components, conditions) {
        Phase::Degraded
    } else if inputs.moving(components).is_empty() {
        Phase::Running
    } else if inputs.was_complete() {
        Phase::Updating
    } else {
        Phase::Creating
    }
}

/// Whether something is wrong that does not mend itself by the ordinary course of an update.
fn ails(inputs: &Inputs<'_>, components: &[Component], conditions: &[Condition]) -> bool {
    let late = |type_| {
        find(conditions, type_).is_some_and(|condition| {
            condition.status != "True"
                && inputs.view.now.duration_since(condition.last_transition_time.0) > PATIENCE
        })
    };
    inputs.draft.gates.iter().any(|gate| gate.reason.degrades())
        || !inputs.draft.broken_extensions.is_empty()
        || inputs.view.business.known().is_none()
        // At first, containers that end because another is not there yet are part of the ordinary course.
        || inputs.was_complete() && components.iter().any(|component| component.ails)
        || [Type::EtcdReady, Type::ApiserverReady, Type::ControllersReady]
            .into_iter()
            .any(late)
}
