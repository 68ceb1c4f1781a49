//! What a schema makes of an object: unknown fields, defaults, canonical values, and what is wrong with it.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::path::Path;
use super::quantity;
use super::refusal::FieldError;
use super::schema::{At, ListType, Node, Type};

/// Paths of the fields that the schema does not know.
pub(super) fn unknown(object: &Value, at: At<'_>) -> Vec<String> {
    let mut found = Vec::new();
    walk_unknown(object, at, Path::Root, &mut found);
    found
}

fn walk_unknown(value: &Value, at: At<'_>, path: Path<'_>, found: &mut Vec<String>) {
    match value {
        Value::Object(map) if !is_free(at.node()) => {
            for (name, value) in map {
                let path = Path::Field(&path, name);
                match at.field(name) {
                    Some(below) => walk_unknown(value, below, path, found),
                    None if at.node().open => {}
                    None => found.push(path.to_string()),
                }
            }
        }
        Value::Array(items) => {
            if let Some(at) = at.items() {
                for (index, item) in items.iter().enumerate() {
                    walk_unknown(item, at, Path::Item(&path, index), found);
                }
            }
        }
        _ => {}
    }
}

/// Whether nothing is known about what is inside.
fn is_free(node: &Node) -> bool {
    node.open && node.properties.is_empty() && node.additional.is_none()
}

/// Removes the fields that the schema does not know.
pub(super) fn prune(value: &mut Value, at: At<'_>) {
    match value {
        Value::Object(map) if !is_free(at.node()) => {
            let open = at.node().open;
            map.retain(|name, value| match at.field(name) {
                Some(below) => {
                    prune(value, below);
                    true
                }
                None => open,
            });
        }
        Value::Array(items) => {
            if let Some(at) = at.items() {
                items.iter_mut().for_each(|item| prune(item, at));
            }
        }
        _ => {}
    }
}

/// Fills in the defaults of the schema, and removes nulls where a null is no value.
pub(super) fn default(value: &mut Value, at: At<'_>) {
    match value {
        Value::Object(map) => {
            map.retain(|name, value| {
                let below = if value.is_null() { at.property(name) } else { None };
                below.is_none_or(|below| below.node().nullable && below.default().is_none())
            });
            for name in &at.node().defaulted {
                if !map.contains_key(name)
                    && let Some(default) = at.property(name).and_then(At::default)
                {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in map.iter_mut() {
                if let Some(below) = at.field(name) {
                    default(value, below);
                }
            }
        }
        Value::Array(items) => {
            if let Some(at) = at.items() {
                items.iter_mut().for_each(|item| default(item, at));
            }
        }
        _ => {}
    }
}

/// Brings the values of a built-in kind to the form in which the server writes them: no nulls, no empty maps and lists,
/// short quantities.
pub(super) fn canonicalize(value: &mut Value, at: At<'_>) {
    match value {
        Value::Object(map) => {
            if is_free(at.node()) {
                return;
            }
            map.retain(|name, value| {
                let Some(below) = at.field(name) else { return true };
                canonicalize(value, below);
                // An object says something by being there, a map or a list only by what is in it.
                let says_nothing = match value {
                    Value::Object(map) => map.is_empty() && below.node().additional.is_some(),
                    Value::Array(items) => items.is_empty() && below.node().kind == Type::Array,
                    other => return !other.is_null(),
                };
                !says_nothing || at.node().required.iter().any(|required| required == name)
            });
        }
        Value::Array(items) => {
            if let Some(at) = at.items() {
                items.iter_mut().for_each(|item| canonicalize(item, at));
            }
        }
        Value::String(text) if at.node().kind == Type::Quantity => {
            if let Some(short) = quantity::canonical(text) {
                *text = short;
            }
        }
        Value::Number(number) if at.node().kind == Type::Quantity => {
            let text = number.to_string();
            *value = Value::String(quantity::canonical(&text).unwrap_or(text));
        }
        _ => {}
    }
}

/// Values of the wrong JSON type: what a typed client could not even decode.
pub(super) fn undecodable(value: &Value, at: At<'_>) -> Option<String> {
    let mut found = None;
    walk_types(value, at, Path::Root, &mut |path, expected, value| {
        found.get_or_insert_with(|| {
            format!(
                "json: cannot unmarshal {} into field {path} of type {expected}",
                type_name(value)
            )
        });
    });
    found
}

fn walk_types(value: &Value, at: At<'_>, path: Path<'_>, wrong: &mut impl FnMut(Path<'_>, &str, &Value)) {
    if value.is_null() {
        return;
    }
    if let Some(expected) = mismatch(value, at.node().kind) {
        return wrong(path, expected, value);
    }
    if let Some(text) = value.as_str().filter(|_| at.node().limits.base64)
        && STANDARD.decode(text).is_err()
    {
        return wrong(path, "bytes: illegal base64 data", value);
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                if let Some(below) = at.field(name) {
                    walk_types(value, below, Path::Field(&path, name), wrong);
                }
            }
        }
        Value::Array(items) => {
            if let Some(at) = at.items() {
                for (index, item) in items.iter().enumerate() {
                    walk_types(item, at, Path::Item(&path, index), wrong);
                }
            }
        }
        _ => {}
    }
}

/// The type that a value should have, if it has another.
fn mismatch(value: &Value, kind: Type) -> Option<&'static str> {
    let (fits, name) = match kind {
        Type::Object => (value.is_object(), "object"),
        Type::Array => (value.is_array(), "array"),
        Type::String => (value.is_string(), "string"),
        Type::Integer => (value.is_i64() || value.is_u64(), "integer"),
        Type::Number => (value.is_number(), "number"),
        Type::Boolean => (value.is_boolean(), "boolean"),
        Type::IntOrString => (value.is_i64() || value.is_string(), "integer or string"),
        Type::Quantity => (value.is_number() || value.is_string(), "quantity"),
        Type::Any => (true, ""),
    };
    (!fits).then_some(name)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// What is wrong with a custom resource by its schema, but for its CEL rules.
pub(super) fn violations(object: &Value, at: At<'_>) -> Vec<FieldError> {
    let mut found = Vec::new();
    check(object, at, Path::Root, &mut found);
    found
}

fn check(value: &Value, at: At<'_>, path: Path<'_>, found: &mut Vec<FieldError>) {
    let node = at.node();
    if value.is_null() && node.nullable {
        return;
    }
    if let Some(expected) = mismatch(value, node.kind) {
        let given = type_name(value);
        let why = format!("{path} in body must be of type {expected}: {given:?}");
        found.push(FieldError::wrong_type(path, &format!("{given:?}"), &why));
        return;
    }
    limits(value, node, path, found);
    match value {
        Value::Object(map) => {
            for name in &node.required {
                if !map.contains_key(name) {
                    found.push(FieldError::required(Path::Field(&path, name), ""));
                }
            }
            for (name, value) in map {
                if let Some(below) = at.field(name) {
                    check(value, below, Path::Field(&path, name), found);
                }
            }
        }
        Value::Array(items) => {
            duplicates(items, &node.list, path, found);
            if let Some(at) = at.items() {
                for (index, item) in items.iter().enumerate() {
                    check(item, at, Path::Item(&path, index), found);
                }
            }
        }
        _ => {}
    }
}

fn limits(value: &Value, node: &Node, path: Path<'_>, found: &mut Vec<FieldError>) {
    let limits = &node.limits;
    let invalid = |why: &str| FieldError::invalid(path, &value.to_string(), &format!("{path} in body {why}"));
    if let Some(allowed) = limits.one_of.as_ref().filter(|allowed| !allowed.contains(value)) {
        let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
        found.push(FieldError::unsupported(path, &value.to_string(), &allowed));
    }
    if let Some(number) = value.as_f64() {
        if let Some(least) = limits.minimum.filter(|least| number < *least) {
            found.push(invalid(&format!("should be greater than or equal to {least}")));
        }
        if let Some(most) = limits.maximum.filter(|most| number > *most) {
            found.push(invalid(&format!("should be less than or equal to {most}")));
        }
    }
    if let Some(text) = value.as_str() {
        let length = text.chars().count();
        if let Some(most) = limits.max_length.filter(|most| length > *most) {
            found.push(FieldError::too_long(path, most));
        }
        if let Some(least) = limits.min_length.filter(|least| length < *least) {
            found.push(invalid(&format!("should be at least {least} chars long")));
        }
        if let Some(pattern) = limits.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            found.push(invalid(&format!("should match '{pattern}'")));
        }
        if limits.date_time && text.parse::<jiff::Timestamp>().is_err() {
            found.push(invalid(&format!("must be of type datetime: {text:?}")));
        }
    }
    if let Some(items) = value.as_array() {
        if let Some(most) = limits.max_items.filter(|most| items.len() > *most) {
            found.push(FieldError::too_many(path, items.len(), most));
        }
        if let Some(least) = limits.min_items.filter(|least| items.len() < *least) {
            found.push(invalid(&format!("should have at least {least} items")));
        }
    }
    if let (Some(map), Some(most)) = (value.as_object(), limits.max_properties)
        && map.len() > most
    {
        found.push(FieldError::too_many(path, map.len(), most));
    }
}

/// Items that are the same where the list is a set or a map.
fn duplicates(items: &[Value], list: &ListType, path: Path<'_>, found: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let identity = match list {
            ListType::Atomic => return,
            ListType::Set => item.to_string(),
            ListType::Map(keys) => {
                let keys = keys
                    .iter()
                    .filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
                Value::Object(keys.collect::<Map<_, _>>()).to_string()
            }
        };
        if !seen.insert(identity.clone()) {
            found.push(FieldError::duplicate(Path::Item(&path, index), &identity));
        }
    }
}
