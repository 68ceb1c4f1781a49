//! Objects as sets of fields: merge, compare, remove (Kubernetes: structured-merge-diff).
//!
//! A list that is a map by its keys, a set, and a granular map are looked into; an atomic list or map is one field.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::fields::{Fields, Step};
use super::schema::{At, ListType};

/// Fields that differ between two objects.
#[derive(Default)]
pub(super) struct Comparison {
    pub(super) added: Fields,
    pub(super) modified: Fields,
    pub(super) removed: Fields,
}

/// How a value is looked into.
enum Shape<'v, 's> {
    /// Not at all.
    Leaf,
    /// By its fields.
    Map(&'v Map<String, Value>),
    /// By its items, each told apart by a step.
    List(&'v [Value], &'s ListType),
}

fn shape<'v, 's>(value: &'v Value, at: Option<At<'s>>) -> Shape<'v, 's> {
    match value {
        Value::Object(map) if !at.is_some_and(At::is_atomic) => Shape::Map(map),
        Value::Array(items) => match at.map(|at| &at.node().list) {
            Some(list @ (ListType::Set | ListType::Map(_))) => Shape::List(items, list),
            _ => Shape::Leaf,
        },
        _ => Shape::Leaf,
    }
}

/// The step to an item of a list that is a map or a set.
fn step(item: &Value, list: &ListType, at: Option<At<'_>>) -> Step {
    let ListType::Map(keys) = list else {
        return Step::Member(item.to_string());
    };
    let values = keys.iter().filter_map(|key| {
        // An absent key is its default: a port without protocol is one of TCP.
        let default = || at.and_then(|at| at.property(key)?.default().cloned());
        Some((key.clone(), item.get(key).cloned().or_else(default)?))
    });
    Step::Item(Value::Object(values.collect()).to_string())
}

fn steps(items: &[Value], list: &ListType, at: Option<At<'_>>) -> Vec<Step> {
    items.iter().map(|item| step(item, list, at)).collect()
}

/// Why a value is no set of fields: a field that the schema does not know, or two items that are told apart by nothing;
/// and where.
pub(super) fn unfit(value: &Value, at: At<'_>) -> Option<String> {
    match shape(value, Some(at)) {
        Shape::List(items, list) => {
            let below = at.items();
            let mut seen = BTreeSet::new();
            items.iter().find_map(|item| {
                let step = step(item, list, below);
                if seen.contains(&step) {
                    return Some(format!(": duplicate entries for key {step}"));
                }
                let why = unfit(item, below?).map(|why| format!("{step}{why}"));
                seen.insert(step);
                why
            })
        }
        Shape::Map(map) => map.iter().find_map(|(name, value)| {
            let why = match at.field(name) {
                Some(below) => unfit(value, below)?,
                None if at.node().open => return None,
                None => ": field not declared in schema".into(),
            };
            Some(format!(".{name}{why}"))
        }),
        Shape::Leaf => None,
    }
}

/// Every field of an object.
pub(super) fn fields(object: &Value, at: At<'_>) -> Fields {
    below(object, Some(at)).1
}

/// Whether a value is a field by itself, and the fields below it.
fn below(value: &Value, at: Option<At<'_>>) -> (bool, Fields) {
    let mut found = Fields::default();
    match shape(value, at) {
        Shape::Leaf => return (true, found),
        Shape::Map(map) => {
            for (name, value) in map {
                let (leaf, fields) = below(value, at.and_then(|at| at.field(name)));
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                let undeclared = !at.is_some_and(|at| at.property(name).is_some());
                found.put(Step::Field(name.clone()), leaf || empty || undeclared, fields);
            }
        }
        Shape::List(items, list) => {
            let at = at.and_then(At::items);
            for item in items {
                found.put(step(item, list, at), true, below(item, at).1);
            }
        }
    }
    (false, found)
}

/// What `new` changes of `old`.
pub(super) fn compare(old: &Value, new: &Value, at: At<'_>) -> Comparison {
    let mut comparison = Comparison::default();
    difference(Some(old), Some(new), Some(at), &mut Vec::new(), &mut comparison);
    comparison
}

fn difference<'v>(
    old: Option<&'v Value>,
    new: Option<&'v Value>,
    at: Option<At<'_>>,
    path: &mut Vec<Step>,
    found: &mut Comparison,
) {
    if old == new {
        return;
    }
    let shapes = (old.map(|old| shape(old, at)), new.map(|new| shape(new, at)));
    let is_empty = |shape: &Option<Shape<'_, '_>>| match shape {
        None => true,
        Some(Shape::Map(map)) => map.is_empty(),
        Some(Shape::List(items, _)) => items.is_empty(),
        Some(Shape::Leaf) => false,
    };
    if is_empty(&shapes.0) && is_empty(&shapes.1) {
        return mark(old, new, path, found);
    }
    match shapes {
        (None | Some(Shape::Map(_)), None | Some(Shape::Map(_))) => {
            let maps = [old, new].into_iter().flatten().filter_map(Value::as_object);
            let names: BTreeSet<&String> = maps.flat_map(Map::keys).collect();
            for name in names {
                let of = |value: Option<&'v Value>| value.and_then(|value| value.get(name));
                path.push(Step::Field(name.clone()));
                let below = at.and_then(|at| at.field(name));
                difference(of(old), of(new), below, path, found);
                path.pop();
            }
        }
        (None | Some(Shape::List(..)), None | Some(Shape::List(..))) => {
            let below = at.and_then(At::items);
            let items = |value: Option<&'v Value>| -> BTreeMap<Step, &'v Value> {
                match value.map(|value| shape(value, at)) {
                    Some(Shape::List(items, list)) => {
                        items.iter().map(|item| (step(item, list, below), item)).collect()
                    }
                    _ => BTreeMap::new(),
                }
            };
            let (old_items, new_items) = (items(old), items(new));
            let all: BTreeSet<&Step> = old_items.keys().chain(new_items.keys()).collect();
            for step in all {
                path.push(step.clone());
                let (old, new) = (old_items.get(step).copied(), new_items.get(step).copied());
                difference(old, new, below, path, found);
                path.pop();
            }
        }
        _ => return mark(old, new, path, found),
    }
    if old.is_none() || new.is_none() {
        mark(old, new, path, found);
    }
}

fn mark(old: Option<&Value>, new: Option<&Value>, path: &[Step], found: &mut Comparison) {
    match (old, new) {
        (None, Some(_)) => found.added.insert(path),
        (Some(_), None) => found.removed.insert(path),
        _ => found.modified.insert(path),
    }
}

/// `live` with everything of `applied` put over it.
pub(super) fn merge(live: &Value, applied: &Value, at: Option<At<'_>>) -> Value {
    match (shape(live, at), shape(applied, at)) {
        (Shape::Map(old), Shape::Map(new)) if !(old.is_empty() && new.is_empty()) => {
            let mut merged = old.clone();
            for (name, value) in new {
                let below = at.and_then(|at| at.field(name));
                let value = match old.get(name) {
                    Some(live) => merge(live, value, below),
                    None => value.clone(),
                };
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Shape::List(old, list), Shape::List(new, _)) if !(old.is_empty() && new.is_empty()) => {
            merge_lists(old, new, list, at.and_then(At::items))
        }
        _ => applied.clone(),
    }
}

/// Items that both have come in the order of the new list; what only the old list has stays before its next neighbour.
fn merge_lists(old: &[Value], new: &[Value], list: &ListType, at: Option<At<'_>>) -> Value {
    let (old_steps, new_steps) = (steps(old, list, at), steps(new, list, at));
    let mut shared = new_steps.iter().filter(|step| old_steps.contains(step));
    let mut next_shared = shared.next();
    let mut merged = Vec::with_capacity(old.len().max(new.len()));
    let mut done: Vec<&Step> = Vec::new();
    let (mut left, mut right) = (0, 0);
    while left < old.len() || right < new.len() {
        if left < old.len() && right < new.len() {
            let step = &old_steps[left];
            if *step == new_steps[right] {
                done.push(step);
                merged.push(merge(&old[left], &new[right], at));
                (left, right) = (left + 1, right + 1);
                next_shared = shared.next();
                continue;
            }
            if new_steps.contains(step) && next_shared.is_some_and(|next| next != step) {
                left += 1;
                continue;
            }
        }
        if left < old.len() {
            let step = &old_steps[left];
            if !new_steps.contains(step) {
                merged.push(old[left].clone());
                left += 1;
                continue;
            }
            if done.contains(&step) {
                left += 1;
            }
        }
        if right < new.len() {
            let step = &new_steps[right];
            done.push(step);
            let live = old_steps.iter().position(|other| other == step);
            merged.push(live.map_or_else(|| new[right].clone(), |live| merge(&old[live], &new[right], at)));
            right += 1;
            if next_shared == Some(step) {
                next_shared = shared.next();
            }
        }
    }
    Value::Array(merged)
}

/// The object without the fields of `gone`. A map or list that loses everything becomes null.
pub(super) fn remove(value: &Value, gone: &Fields, at: Option<At<'_>>) -> Value {
    match shape(value, at) {
        Shape::Map(map) if !map.is_empty() => {
            let mut kept = Map::new();
            for (name, value) in map {
                let step = Step::Field(name.clone());
                if gone.has(&step) {
                    continue;
                }
                let value = match gone.under(&step) {
                    Some(gone) => remove(value, gone, at.and_then(|at| at.field(name))),
                    None => value.clone(),
                };
                kept.insert(name.clone(), value);
            }
            if kept.is_empty() {
                return Value::Null;
            }
            Value::Object(kept)
        }
        Shape::List(items, list) if !items.is_empty() => {
            let below = at.and_then(At::items);
            let mut kept = Vec::new();
            for item in items {
                let step = step(item, list, below);
                if gone.has(&step) {
                    continue;
                }
                kept.push(match gone.under(&step) {
                    Some(gone) => remove(item, gone, below),
                    None => item.clone(),
                });
            }
            if kept.is_empty() {
                return Value::Null;
            }
            Value::Array(kept)
        }
        _ => value.clone(),
    }
}
