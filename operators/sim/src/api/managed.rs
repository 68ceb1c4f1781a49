//! Who owns which field of an object: `metadata.managedFields`, server-side apply and its conflicts
//! (Kubernetes: structured-merge-diff/merge, apimachinery/managedfields).

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fields::{Fields, Step};
use super::schema::At;
use super::seconds;
use super::typed::{compare, fields, merge, remove};

/// How a manager came to own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    Apply,
    Update,
}

/// One owner of fields. One name may be several owners: by apply and by update, and for the status.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Manager {
    operation: Operation,
    name: String,
    version: String,
    subresource: String,
}

/// Fields by owner, and since when.
struct Managers {
    owned: BTreeMap<Manager, Fields>,
    times: BTreeMap<Manager, String>,
}

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

/// A field that somebody else applied otherwise.
#[derive(Debug)]
pub(super) struct Conflict {
    pub(super) manager: String,
    pub(super) fields: Vec<String>,
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

/// Records that `new` was written over `live` (null for a creation) by create, replace or patch.
pub(super) fn update(live: &Value, new: &mut Value, write: Write<'_>) {
    let given = Managers::read(new);
    let mut managers = if given.owned.is_empty() {
        Managers::read(live)
    } else {
        given
    };
    clear(new);
    let before = write.before(live);
    let unreachable = write.unreachable();
    let found = compare(&before, new, write.at);
    let changed = found.modified.union(&found.added).without(&unreachable);
    let removed = found.removed.without(&unreachable);
    for owned in managers.owned.values_mut() {
        *owned = owned.difference(&changed).difference(&removed);
    }
    managers.owned.retain(|_, owned| !owned.is_empty());
    if !changed.is_empty() {
        let id = write.id(Operation::Update);
        managers.owned.entry(id.clone()).or_default().add(&changed);
        managers.times.insert(id.clone(), seconds(write.now));
        managers.strip(&id);
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
    let mut managers = Managers::read(live);
    let base = &*write.before(live);
    if managers.owned.is_empty() && !live.is_null() {
        // What was there before anybody applied belongs to nobody who applies.
        let before = Write {
            manager: "before-first-apply",
            ..write
        };
        let found = compare(&write.before(&Value::Null), base, write.at);
        let id = before.id(Operation::Update);
        managers
            .owned
            .insert(id.clone(), found.added.without(&before.unreachable()));
        managers.times.insert(id.clone(), seconds(write.now));
        managers.strip(&id);
    }
    let merged = merge(base, config, Some(write.at));
    let unreachable = write.unreachable();
    let last = managers.owned.remove(&id);
    let mine = fields(config, write.at).without(&unreachable);
    let dropped = last.filter(|last| !last.difference(&mine).is_empty());
    managers.owned.insert(id.clone(), mine);
    let mut new = match dropped {
        Some(last) => prune(&merged, &last, &managers, write.at),
        None => merged,
    };
    let found = compare(base, &new, write.at);
    let changed = found.modified.union(&found.added).without(&unreachable);
    let removed = found.removed.without(&unreachable);
    let mut conflicts = Vec::new();
    for (manager, owned) in managers.owned.iter_mut().filter(|(manager, _)| **manager != id) {
        let conflict = owned.intersection(&changed);
        if !conflict.is_empty() {
            conflicts.push(Conflict {
                manager: manager.describe(managers.times.get(manager)),
                fields: conflict.paths(),
            });
            *owned = owned.difference(&conflict);
        }
        *owned = owned.difference(&removed);
    }
    if !force && !conflicts.is_empty() {
        return Err(conflicts);
    }
    managers.owned.retain(|_, owned| !owned.is_empty());
    if *base != new {
        managers.times.insert(id.clone(), seconds(write.now));
    }
    managers.strip(&id);
    managers.store(&mut new);
    Ok(new)
}

/// Removes what the manager applied last time and not this time, unless somebody else owns it.
fn prune(merged: &Value, last: &Fields, managers: &Managers, at: At<'_>) -> Value {
    let last = last.with_parents(Some(at));
    let all = fields(merged, at).with_parents(Some(at));
    let kept = |object: &Value| fields(object, at).with_parents(Some(at));
    let pruned = remove(merged, &last, Some(at));
    let owned = managers.owned.values().fold(Fields::default(), Fields::union);
    let wanted = kept(&pruned).union(&owned.with_parents(Some(at)));
    let pruned = remove(merged, &all.difference(&wanted), Some(at));
    // What nobody owns was never this manager's to remove.
    let gone = all.difference(&kept(&pruned)).intersection(&last);
    remove(merged, &gone, Some(at))
}

/// An object that is not there yet. Of a built-in kind it has the parts that cannot be absent in Go: nobody owns those.
fn blank(at: At<'_>) -> Value {
    const ALWAYS: [&str; 6] = [
        "metadata",
        "spec",
        "status",
        "template",
        "strategy",
        "updateStrategy",
    ];
    let parts = ALWAYS
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), blank(at.property(name)?))));
    Value::Object(parts.collect())
}

/// Removes `metadata.managedFields`.
pub(super) fn clear(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

impl Manager {
    fn describe(&self, time: Option<&String>) -> String {
        let mut text = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            text = format!("{text} with subresource {:?}", self.subresource);
        }
        match (self.operation, time) {
            (Operation::Apply, _) => text,
            (Operation::Update, None) => format!("{text} using {}", self.version),
            (Operation::Update, Some(time)) => format!("{text} using {} at {time}", self.version),
        }
    }
}

impl Managers {
    fn read(object: &Value) -> Self {
        let mut managers = Self {
            owned: BTreeMap::new(),
            times: BTreeMap::new(),
        };
        let entries = object
            .pointer("/metadata/managedFields")
            .and_then(Value::as_array);
        for entry in entries.into_iter().flatten() {
            let text = |name: &str| {
                entry
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let manager = Manager {
                operation: if text("operation") == "Apply" {
                    Operation::Apply
                } else {
                    Operation::Update
                },
                name: text("manager"),
                version: text("apiVersion"),
                subresource: text("subresource"),
            };
            let fields = Fields::from_json(entry.get("fieldsV1").unwrap_or(&Value::Null));
            if let Some(time) = entry.get("time").and_then(Value::as_str) {
                managers.times.insert(manager.clone(), time.to_owned());
            }
            managers.owned.insert(manager, fields);
        }
        managers
    }

    /// What identifies an object belongs to nobody.
    fn strip(&mut self, id: &Manager) {
        const SYSTEM: &[&str] = &[
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "clusterName",
            "generation",
            "managedFields",
            "resourceVersion",
        ];
        let field = |name: &str| Step::Field(name.into());
        let mut nobody = Fields::default();
        for name in ["apiVersion", "kind", "metadata"] {
            nobody.insert(&[field(name)]);
        }
        for name in SYSTEM {
            nobody.insert(&[field("metadata"), field(name)]);
        }
        if let Some(owned) = self.owned.get_mut(id) {
            *owned = owned.difference(&nobody);
            if owned.is_empty() {
                self.owned.remove(id);
            }
        }
    }

    fn store(&self, object: &mut Value) {
        // Who came to own what was there already has no time, and comes first.
        let time = |manager: &Manager| self.times.get(manager).cloned();
        let mut entries: Vec<(&Manager, &Fields)> = self.owned.iter().collect();
        entries.sort_by_key(|(manager, _)| (manager.operation, time(manager), (*manager).clone()));
        let entries: Vec<Value> = entries
            .into_iter()
            .map(|(manager, fields)| {
                let mut entry = json!({
                    "manager": manager.name,
                    "operation": format!("{:?}", manager.operation),
                    "apiVersion": manager.version,
                    "fieldsType": "FieldsV1",
                    "fieldsV1": fields.to_json(),
                });
                if let Some(time) = time(manager) {
                    entry["time"] = json!(time);
                }
                if !manager.subresource.is_empty() {
                    entry["subresource"] = json!(manager.subresource);
                }
                entry
            })
            .collect();
        clear(object);
        if !entries.is_empty() {
            object["metadata"]["managedFields"] = Value::Array(entries);
        }
    }
}
