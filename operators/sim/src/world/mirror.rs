//! A copy of what a server knows, kept by its changes: models read it without asking the server.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::{ApiServer, Key};
use crate::time::Millis;

/// See the module.
#[derive(Default)]
pub struct Mirror {
    seen: u64,
    resources: BTreeMap<String, BTreeMap<Key, Value>>,
    /// When an object was first seen, by uid: creation timestamps have seconds only.
    born: BTreeMap<String, Millis>,
}

impl Mirror {
    /// Takes over what changed since the last call; says whether anything did.
    pub fn sync(&mut self, server: &ApiServer, now: Millis) -> bool {
        let changes = server.history_since(self.seen);
        let news = !changes.is_empty();
        for change in changes {
            self.seen = change.revision;
            let objects = self.resources.entry(change.key.resource.clone()).or_default();
            match change.after {
                Some(object) => {
                    self.born.entry(uid(&object).to_owned()).or_insert(now);
                    objects.insert(change.key, object);
                }
                None => {
                    if let Some(gone) = objects.remove(&change.key) {
                        self.born.remove(uid(&gone));
                    }
                }
            }
        }
        news
    }

    /// The revision that this copy is of.
    pub fn revision(&self) -> u64 {
        self.seen
    }

    /// When an object was first seen.
    pub fn born(&self, object: &Value) -> Millis {
        self.born.get(uid(object)).copied().unwrap_or_default()
    }

    /// All objects of a resource.
    pub fn all(&self, resource: &str) -> impl Iterator<Item = (&Key, &Value)> {
        self.resources.get(resource).into_iter().flatten()
    }

    /// All objects of a resource in one namespace.
    pub fn within<'a>(
        &'a self,
        resource: &str,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a Key, &'a Value)> {
        self.resources
            .get(resource)
            .into_iter()
            .flatten()
            .filter(move |(key, _)| key.namespace.as_deref() == Some(namespace))
    }

    /// One object.
    pub fn get(&self, resource: &str, namespace: Option<&str>, name: &str) -> Option<&Value> {
        self.resources
            .get(resource)?
            .get(&Key::new(resource, namespace, name))
    }
}

/// Text at a JSON pointer; empty when there is none.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Number at a JSON pointer; zero when there is none.
pub fn number(object: &Value, pointer: &str) -> i64 {
    object
        .pointer(pointer)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

/// A label.
pub fn label<'a>(object: &'a Value, name: &str) -> &'a str {
    object
        .pointer("/metadata/labels")
        .and_then(|labels| labels.get(name))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Whether the deletion of an object has begun.
pub fn deleting(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some()
}

/// The uid of an object.
pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}
