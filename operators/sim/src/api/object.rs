//! What every object has: names, owners, finalizers, the marks of deletion.

use serde_json::{Map, Value};

/// A text of the metadata; empty when absent.
pub(super) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object
        .get("metadata")
        .and_then(|metadata| metadata.get(field))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub(super) fn name(object: &Value) -> &str {
    text(object, "name")
}

pub(super) fn namespace(object: &Value) -> Option<&str> {
    Some(text(object, "namespace")).filter(|namespace| !namespace.is_empty())
}

pub(super) fn uid(object: &Value) -> &str {
    text(object, "uid")
}

pub(super) fn resource_version(object: &Value) -> &str {
    text(object, "resourceVersion")
}

pub(super) fn is_deleting(object: &Value) -> bool {
    !text(object, "deletionTimestamp").is_empty()
}

/// Seconds of grace that a deletion leaves; None when it leaves none.
pub(super) fn grace(object: &Value) -> Option<i64> {
    object
        .get("metadata")?
        .get("deletionGracePeriodSeconds")?
        .as_i64()
        .filter(|seconds| *seconds > 0)
}

pub(super) fn generation(object: &Value) -> i64 {
    object
        .pointer("/metadata/generation")
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

pub(super) fn finalizers(object: &Value) -> Vec<&str> {
    let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    finalizers
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// Adds a finalizer that is not there yet.
pub(super) fn add_finalizer(object: &mut Value, name: &str) {
    if !finalizers(object).contains(&name) {
        let finalizers = &mut object["metadata"]["finalizers"];
        match finalizers.as_array_mut() {
            Some(finalizers) => finalizers.push(name.into()),
            None => *finalizers = Value::from(vec![name]),
        }
    }
}

/// Removes a finalizer.
pub(super) fn remove_finalizer(object: &mut Value, name: &str) {
    let kept: Vec<Value> = finalizers(object)
        .into_iter()
        .filter(|finalizer| *finalizer != name)
        .map(Value::from)
        .collect();
    if let Some(metadata) = metadata(object) {
        if kept.is_empty() {
            metadata.remove("finalizers");
        } else {
            metadata.insert("finalizers".into(), kept.into());
        }
    }
}

/// The metadata to write to, if there is any.
pub(super) fn metadata(object: &mut Value) -> Option<&mut Map<String, Value>> {
    object.get_mut("metadata").and_then(Value::as_object_mut)
}

/// An owner reference.
pub(super) struct Owner<'a> {
    pub(super) uid: &'a str,
    pub(super) blocks: bool,
}

pub(super) fn owners(object: &Value) -> impl Iterator<Item = Owner<'_>> {
    let owners = object
        .get("metadata")
        .and_then(|metadata| metadata.get("ownerReferences"));
    let owners = owners.and_then(Value::as_array).into_iter().flatten();
    owners.filter_map(|owner| {
        Some(Owner {
            uid: owner.get("uid")?.as_str()?,
            blocks: owner.get("blockOwnerDeletion") == Some(&Value::Bool(true)),
        })
    })
}

/// Removes owner references by uid.
pub(super) fn disown(object: &mut Value, uids: &[String]) {
    let Some(metadata) = metadata(object) else { return };
    let Some(owners) = metadata.get_mut("ownerReferences").and_then(Value::as_array_mut) else {
        return;
    };
    owners.retain(|owner| {
        let uid = owner.get("uid").and_then(Value::as_str).unwrap_or_default();
        !uids.iter().any(|gone| gone == uid)
    });
    if owners.is_empty() {
        metadata.remove("ownerReferences");
    }
}

/// A text at a JSON pointer.
pub(super) fn at<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer).and_then(Value::as_str)
}
