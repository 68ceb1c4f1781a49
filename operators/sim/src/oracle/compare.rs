//! A run beside the run without faults: the same state in the end, and the same objects made, issued and removed on the
//! way.

use std::collections::BTreeMap;

use serde_json::Value;

use super::masked::{Masked, masked};
use crate::api::{Change, Verb};
use crate::run::Run;
use crate::world::deleting;

/// Differences that are told; the rest is counted.
const TOLD: usize = 6;

/// Where the last states differ.
pub fn difference(run: &Run, reference: &Run) -> Vec<String> {
    told(&masked(run), &masked(reference))
}

fn told(is: &Masked, should: &Masked) -> Vec<String> {
    let mut found = Vec::new();
    for (title, object) in should {
        match is.get(title) {
            None => found.push(format!("end state: {title} is missing")),
            Some(other) => compare(title, object, other, &mut found),
        }
    }
    let surplus = is.keys().filter(|title| !should.contains_key(*title));
    found.extend(surplus.map(|title| format!("end state: {title} is too much")));
    let more = found.len().saturating_sub(TOLD);
    found.truncate(TOLD);
    if more > 0 {
        found.push(format!("end state: {more} more differences"));
    }
    found
}

/// Where the last state differs from that of another scenario, whose Cluster has another past.
pub fn unlike(run: &Run, other: &Run) -> Vec<String> {
    let without_past = |run: &Run| {
        let mut masked = masked(run);
        for object in masked.values_mut() {
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove("generation");
                metadata.remove("managedFields");
            }
            if let Some(version) = object.pointer_mut("/status/version").and_then(Value::as_object_mut) {
                version.remove("history");
            }
        }
        masked
    };
    told(&without_past(run), &without_past(other))
}

fn compare(path: &str, should: &Value, is: &Value, found: &mut Vec<String>) {
    match (should, is) {
        (Value::Object(should), Value::Object(is)) => {
            let mut names: Vec<&String> = should.keys().chain(is.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let (should, is) = (should.get(name), is.get(name));
                let nothing = Value::Null;
                compare(
                    &format!("{path} .{name}"),
                    should.unwrap_or(&nothing),
                    is.unwrap_or(&nothing),
                    found,
                );
            }
        }
        (Value::Array(should), Value::Array(is)) if should.len() == is.len() => {
            for (index, (should, is)) in should.iter().zip(is).enumerate() {
                compare(&format!("{path} [{index}]"), should, is, found);
            }
        }
        _ if should != is => found.push(format!(
            "end state: {path} is {}, without faults {}",
            short(is),
            short(should)
        )),
        _ => {}
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(160) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Objects that the operator made, issued or removed another number of times than without faults.
pub fn counts(run: &Run, reference: &Run) -> Vec<String> {
    let (is, should) = (effects(run), effects(reference));
    let mut titles: Vec<&String> = is.keys().chain(should.keys()).collect();
    titles.sort();
    titles.dedup();
    let count = |effects: &BTreeMap<String, usize>, title: &str| effects.get(title).copied().unwrap_or_default();
    titles
        .into_iter()
        .filter(|title| count(&is, title) != count(&should, title))
        .take(TOLD)
        .map(|title| {
            format!(
                "counts: {title} {} times, without faults {}",
                count(&is, title),
                count(&should, title)
            )
        })
        .collect()
}

fn effects(run: &Run) -> BTreeMap<String, usize> {
    let mut effects = BTreeMap::new();
    let inside = run.inside.iter().map(|(place, history)| (place.as_str(), history));
    for (place, history) in std::iter::once(("", &run.history)).chain(inside) {
        for change in history.iter().filter(|change| by_operator(change)) {
            if let Some(effect) = effect(change) {
                *effects.entry(format!("{effect} {place} {}", change.key)).or_default() += 1;
            }
        }
    }
    effects
}

/// Whether the operator made a change, and it is more than a lease or an event.
pub(super) fn by_operator(change: &Change) -> bool {
    change.actor.starts_with("operator-")
        && change.key.resource != "leases.coordination.k8s.io"
        && change.key.resource != "events.events.k8s.io"
}

/// `create`, `delete` or `issue anew`, when a change is one. A deletion counts when it begins.
pub(super) fn effect(change: &Change) -> Option<&'static str> {
    let began = |object: &Option<Value>| object.as_ref().is_some_and(deleting);
    match change.verb {
        Verb::Create => Some("create"),
        Verb::Update if began(&change.after) && !began(&change.before) => Some("delete"),
        Verb::Delete if !began(&change.before) => Some("delete"),
        // A certificate that is issued anew rolls what uses it.
        Verb::Update if change.key.resource == "secrets" => Some("issue anew"),
        Verb::Update | Verb::Delete => None,
    }
}
