//! What a status says when an action failed: the plan could not know it.

use jiff::SignedDuration;
use kok_api::cluster::{ClusterStatus, Phase};
use kok_api::condition::ClusterCondition as Type;

use super::super::view::ClusterView;
use super::Reason;
use super::condition::{find, message, since};

/// After failing for so long a Cluster is not being updated, but degraded.
const PATIENCE: SignedDuration = SignedDuration::from_mins(1);

/// Writes into the status of a plan for `view` that one of its actions failed, so that its user sees why nothing moves.
/// `extension` is the one that the action belongs to, `bootstrap` included.
///
/// The same failure in pass after pass gives the same status: it is written once.
pub fn tell_failure(status: &mut ClusterStatus, view: &ClusterView, extension: Option<&str>, why: &str) {
    let told = extension.map_or_else(|| why.to_owned(), |name| format!("extension {name}: {why}"));
    let before = view.cluster.status.clone().unwrap_or_default();
    for type_ in [Type::Progressing, Type::UpToDate] {
        tell(status, &before, view, type_, &told);
    }
    if let Some(extension) = extension {
        tell(status, &before, view, Type::ExtensionsReady, &told);
        for own in status.extensions.iter_mut().filter(|it| it.name == extension) {
            own.ready = false;
            why.clone_into(&mut own.message);
        }
    }
    let lasting = find(&before.conditions, Type::Progressing).is_some_and(|progressing| {
        progressing.reason == <&str>::from(Reason::ActionFailed)
            && view.now.duration_since(progressing.last_transition_time.0) > PATIENCE
    });
    if lasting && matches!(status.phase, Some(Phase::Updating | Phase::Running)) {
        status.phase = Some(Phase::Degraded);
    }
}

fn tell(status: &mut ClusterStatus, before: &ClusterStatus, view: &ClusterView, type_: Type, why: &str) {
    let reason: &str = Reason::ActionFailed.into();
    let conditions = status.conditions.iter_mut();
    for condition in conditions.filter(|condition| condition.type_ == type_.as_str()) {
        // A second failure of the same pass adds to the first.
        condition.message = if condition.reason == reason {
            message(&format!("{}; {why}", condition.message))
        } else {
            message(why)
        };
        condition.reason = reason.into();
        condition.status = "False".into();
        condition.last_transition_time = since(before, type_, "False", view.now);
    }
}
