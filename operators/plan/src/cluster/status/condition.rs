//! Conditions as metav1 has them, from facts.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kok_api::cluster::ClusterStatus;
use kok_api::condition::ClusterCondition as Type;

use super::super::gate::Gate;
use super::{Inputs, Reason};

/// Longest message of a condition: long enough to act upon, short enough to read.
const MESSAGE_LIMIT: usize = 1000;

/// What a condition says now.
pub(super) struct Fact {
    pub(super) type_: Type,
    pub(super) status: &'static str,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// A condition that is known to hold or not to hold.
pub(super) fn fact(type_: Type, status: bool, reason: Reason, message: impl Into<String>) -> Fact {
    Fact {
        type_,
        status: if status { "True" } else { "False" },
        reason: reason.into(),
        message: message.into(),
    }
}

/// A condition of which it is not known whether it holds.
pub(super) fn unknown(type_: Type, reason: Reason, message: impl Into<String>) -> Fact {
    Fact {
        type_,
        status: "Unknown",
        reason: reason.into(),
        message: message.into(),
    }
}

/// A condition that does not hold because of a gate.
pub(super) fn held_by(type_: Type, gate: &Gate) -> Fact {
    Fact {
        type_,
        status: "False",
        reason: gate.reason.as_str(),
        message: gate.message.clone(),
    }
}

/// Whether a condition has this status.
pub(super) fn is(conditions: &[Condition], type_: Type, status: &str) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == status)
}

/// What a condition says; nothing when there is none.
pub(super) fn message_of(conditions: &[Condition], type_: Type) -> &str {
    find(conditions, type_).map_or("", |condition| &condition.message)
}

/// The condition of a type.
pub(super) fn find(conditions: &[Condition], type_: Type) -> Option<&Condition> {
    conditions
        .iter()
        .find(|condition| condition.type_ == type_.as_str())
}

/// Since when a condition has `status`: the time moves only when the status does.
pub(super) fn since(previous: &ClusterStatus, type_: Type, status: &str, now: Timestamp) -> Time {
    find(&previous.conditions, type_)
        .filter(|before| before.status == status)
        .map_or_else(|| time(now), |before| before.last_transition_time.clone())
}

/// Times in a status have seconds, as metav1 has them: a finer one would differ from what is read back.
pub(super) fn time(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// The beginning of a message that is short enough to read.
pub(super) fn shortened(message: &str, limit: usize) -> String {
    message.chars().take(limit).collect()
}

/// A message as conditions have it.
pub(super) fn message(text: &str) -> String {
    shortened(text, MESSAGE_LIMIT)
}

pub(super) fn conditions(facts: Vec<Fact>, inputs: &Inputs<'_>) -> Vec<Condition> {
    facts
        .into_iter()
        .map(|fact| Condition {
            type_: fact.type_.as_str().into(),
            status: fact.status.into(),
            reason: fact.reason.into(),
            message: message(&fact.message),
            observed_generation: inputs.view.cluster.metadata.generation,
            last_transition_time: since(inputs.previous, fact.type_, fact.status, inputs.view.now),
        })
        .collect()
}
