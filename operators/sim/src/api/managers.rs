//! `metadata.managedFields`: the owners of an object's fields, as they are written on it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fields::{Fields, Step};
use super::seconds;

/// How a manager came to own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// One owner of fields. One name may be several owners: by apply and by update, and for the status.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Manager {
    pub(super) operation: Operation,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) subresource: String,
}

/// A field that somebody else applied otherwise.
#[derive(Debug)]
pub(super) struct Conflict {
    pub(super) manager: String,
    pub(super) fields: Vec<String>,
}

/// All owners. Their sets of fields stay as they are written until one changes: most writes concern few of them.
pub(super) struct Managers(Vec<Entry>);

struct Entry {
    manager: Manager,
    /// None for who came to own what was there already.
    time: Option<String>,
    /// `fieldsV1`.
    fields: Value,
}

impl Managers {
    /// The owners that are written on an object.
    pub(super) fn of(object: &Value) -> Self {
        let entries = object
            .pointer("/metadata/managedFields")
            .and_then(Value::as_array);
        Self(entries.into_iter().flatten().map(Entry::read).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What an owner owns, as it is written.
    pub(super) fn written(&self, manager: &Manager) -> Option<&Value> {
        let entry = self.0.iter().find(|entry| entry.manager == *manager)?;
        Some(&entry.fields)
    }

    /// What all of them own.
    pub(super) fn all(&self) -> Fields {
        let sets = self.0.iter().map(|entry| Fields::from_json(&entry.fields));
        sets.fold(Fields::default(), |all, set| all.union(&set))
    }

    /// Makes `fields` what an owner owns.
    pub(super) fn set(&mut self, manager: &Manager, fields: &Fields) {
        let fields = ownable(fields);
        let found = self.0.iter().position(|entry| entry.manager == *manager);
        match (found, fields.is_empty()) {
            (Some(found), true) => {
                self.0.remove(found);
            }
            (Some(found), false) => self.0[found].fields = fields.to_json(),
            (None, true) => {}
            (None, false) => self.0.push(Entry {
                manager: manager.clone(),
                time: None,
                fields: fields.to_json(),
            }),
        }
    }

    /// Writes down when an owner wrote last.
    pub(super) fn touch(&mut self, manager: &Manager, now: Timestamp) {
        if let Some(entry) = self.0.iter_mut().find(|entry| entry.manager == *manager) {
            entry.time = Some(seconds(now));
        }
    }

    /// The owners, but for one, that own some of these fields.
    pub(super) fn conflicts(&self, fields: &Fields, but: &Manager) -> Vec<Conflict> {
        let others = self.0.iter().filter(|entry| entry.manager != *but);
        let conflicts = others.filter(|entry| fields.touches(&entry.fields));
        conflicts
            .map(|entry| Conflict {
                manager: entry.describe(),
                fields: Fields::from_json(&entry.fields).intersection(fields).paths(),
            })
            .collect()
    }

    /// Takes fields from all owners but one.
    pub(super) fn take(&mut self, fields: &Fields, but: Option<&Manager>) {
        let others = self.0.iter_mut().filter(|entry| but != Some(&entry.manager));
        for entry in others.filter(|entry| fields.touches(&entry.fields)) {
            entry.fields = Fields::from_json(&entry.fields).difference(fields).to_json();
        }
        let owns = |entry: &Entry| entry.fields.as_object().is_some_and(|fields| !fields.is_empty());
        self.0.retain(owns);
    }

    /// Writes the owners on an object.
    pub(super) fn store(mut self, object: &mut Value) {
        clear(object);
        if self.0.is_empty() {
            return;
        }
        self.0.sort_by(|one, other| {
            let order = |entry: &Entry| (entry.manager.operation, entry.time.clone(), entry.manager.clone());
            order(one).cmp(&order(other))
        });
        let entries: Vec<Value> = self.0.into_iter().map(Entry::write).collect();
        object["metadata"]["managedFields"] = Value::Array(entries);
    }
}

impl Entry {
    fn read(entry: &Value) -> Self {
        let text = |name: &str| entry.get(name).and_then(Value::as_str);
        let owned = |name: &str| text(name).unwrap_or_default().to_owned();
        Self {
            manager: Manager {
                operation: match text("operation") {
                    Some("Apply") => Operation::Apply,
                    _ => Operation::Update,
                },
                name: owned("manager"),
                version: owned("apiVersion"),
                subresource: owned("subresource"),
            },
            time: text("time").map(str::to_owned),
            fields: entry.get("fieldsV1").cloned().unwrap_or_default(),
        }
    }

    fn write(self) -> Value {
        let mut entry = json!({
            "manager": self.manager.name,
            "operation": format!("{:?}", self.manager.operation),
            "apiVersion": self.manager.version,
            "fieldsType": "FieldsV1",
        });
        entry["fieldsV1"] = self.fields;
        if let Some(time) = self.time {
            entry["time"] = json!(time);
        }
        if !self.manager.subresource.is_empty() {
            entry["subresource"] = json!(self.manager.subresource);
        }
        entry
    }

    fn describe(&self) -> String {
        let Manager {
            operation,
            name,
            version,
            subresource,
        } = &self.manager;
        let mut text = format!("{name:?}");
        if !subresource.is_empty() {
            text = format!("{text} with subresource {subresource:?}");
        }
        match (operation, &self.time) {
            (Operation::Apply, _) => text,
            (Operation::Update, None) => format!("{text} using {version}"),
            (Operation::Update, Some(time)) => format!("{text} using {version} at {time}"),
        }
    }
}

/// Removes `metadata.managedFields`.
pub(super) fn clear(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

/// The fields that can be owned: what identifies an object belongs to nobody.
pub(super) fn ownable(fields: &Fields) -> Fields {
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
    let mut identity = Fields::default();
    for name in ["apiVersion", "kind", "metadata"] {
        identity.insert(&[field(name)]);
    }
    for name in SYSTEM {
        identity.insert(&[field("metadata"), field(name)]);
    }
    fields.difference(&identity)
}
