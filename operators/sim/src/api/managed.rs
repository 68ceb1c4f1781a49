//! What a write makes of the ownership of fields: server-side apply, its conflicts, and all other writes
//! (Kubernetes: structured-merge-diff/merge, apimachinery/managedfields).

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fields::{Fields, Step};
use super::managers::{Conflict, Manager, Managers, Operation, clear, ownable};
use super::schema::At;
use super::typed::{compare, fields, merge, remove};

/// A write, as far as ownership of fields is concerned.
#[derive(Clone, Copy)]
pub(super) struct Write<'a> {
    /// The field manager.
    pub(super) manager: &'a str,
    /// `apiVersion` of the object.
    pub(super) version: &'a str,
    /// `status`, or empty.
    pub(super) subresource: &'a str,
    /// When.
    pub(super) now: Timestamp,
    /// The kind's fields.
    pub(super) at: At<'a>,
    /// Whether the kind has a subresource `status`.
    pub(super) has_status: bool,
    /// Whether the kind is one of a CustomResourceDefinition.
    pub(super) is_custom: bool,
}

impl Write<'_> {
    fn id(&self, operation: Operation) -> Manager {
        Manager {
            operation,
            name: self.manager.into(),
            version: self.version.into(),
            subresource: self.subresource.into(),
        }
    }

    /// What a write starts from.
    fn before<'o>(&self, live: &'o Value) -> Cow<'o, Value> {
        if !live.is_null() {
            Cow::Borrowed(live)
        } else if self.is_custom {
            Cow::Owned(json!({}))
        } else {
            Cow::Owned(blank(self.at))
        }
    }

    /// Fields that this write cannot reach: it neither changes nor owns them.
    fn unreachable(&self) -> Fields {
        let names: &[&str] = match self.subresource {
            "" if self.has_status => &["status"],
            "status" => &["spec", "metadata"],
            _ => &[],
        };
        let mut set = Fields::default();
        for name in names {
            set.insert(&[Step::Field((*name).into())]);
        }
        set
    }
}

/// An object that is not there yet. Of a built-in kind it has the parts that cannot be absent in Go: nobody owns those.
fn blank(at: At<'_>) -> Value {
    const ALWAYS: [&str; 6] = ["metadata", "spec", "status", "template", "strategy", "updateStrategy"];
    let parts = ALWAYS
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), blank(at.property(name)?))));
    Value::Object(parts.collect())
}

/// Records that `new` was written over `live` (null for a creation) by create, replace or patch.
pub(super) fn update(live: &Value, new: &mut Value, write: Write<'_>) {
    let mut managers = Managers::of(new);
    if managers.is_empty() {
        managers = Managers::of(live);
    }
    clear(new);
    let found = compare(&write.before(live), new, write.at);
    let unreachable = write.unreachable();
    let changed = found.modified.union(&found.added).without(&unreachable);
    let removed = found.removed.without(&unreachable);
    managers.take(&changed, None);
    managers.take(&removed, None);
    let id = write.id(Operation::Update);
    let changed = ownable(&changed);
    if !changed.is_empty() {
        let owned = managers.written(&id).map(Fields::from_json).unwrap_or_default();
        managers.set(&id, &owned.union(&changed));
        managers.touch(&id, write.now);
    }
    managers.store(new);
}

/// Applies `config` over `live` (null for a creation): the object with its new owners.
///
/// # Errors
/// When another manager owns a field with another value, and `force` is not set.
pub(super) fn apply(
    live: &Value,
    config: &Value,
    write: Write<'_>,
    force: bool,
) -> Result<Value, Vec<Conflict>> {
    let id = write.id(Operation::Apply);
    let base = &*write.before(live);
    let mut managers = Managers::of(live);
    if managers.is_empty() && !live.is_null() {
        // What was there before anybody applied belongs to nobody who applies.
        let before = Write {
            manager: "before-first-apply",
            ..write
        };
        let id = before.id(Operation::Update);
        let found = compare(&write.before(&Value::Null), base, write.at);
        managers.set(&id, &found.added.without(&before.unreachable()));
        managers.touch(&id, write.now);
    }
    let unreachable = write.unreachable();
    let last = managers.written(&id).map(Fields::from_json);
    let mine = fields(config, write.at).without(&unreachable);
    managers.set(&id, &mine);
    let merged = merge(base, config, Some(write.at));
    let mut new = match last.filter(|last| !last.difference(&mine).is_empty()) {
        Some(last) => prune(&merged, &last, &managers, write.at),
        None => merged,
    };
    let found = compare(base, &new, write.at);
    let changed = found.modified.union(&found.added).without(&unreachable);
    let conflicts = managers.conflicts(&changed, &id);
    if !force && !conflicts.is_empty() {
        return Err(conflicts);
    }
    managers.take(&changed, Some(&id));
    managers.take(&found.removed.without(&unreachable), Some(&id));
    if *base != new {
        managers.touch(&id, write.now);
    }
    managers.store(&mut new);
    Ok(new)
}

/// Removes what the manager applied last time and not this time, unless somebody else owns it.
fn prune(merged: &Value, last: &Fields, managers: &Managers, at: At<'_>) -> Value {
    let last = last.with_parents(Some(at));
    let all = fields(merged, at).with_parents(Some(at));
    let kept = |object: &Value| fields(object, at).with_parents(Some(at));
    let pruned = remove(merged, &last, Some(at));
    let wanted = kept(&pruned).union(&managers.all().with_parents(Some(at)));
    let pruned = remove(merged, &all.difference(&wanted), Some(at));
    // What nobody owns was never this manager's to remove.
    let gone = all.difference(&kept(&pruned)).intersection(&last);
    remove(merged, &gone, Some(at))
}

