//! What the server knows: the objects, and every change that led to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use kube::core::Status;
use serde_json::{Value, json};

use super::{Change, Key, Verb};

#[derive(Default)]
pub(super) struct State {
    objects: BTreeMap<Key, Arc<Value>>,
    log: Vec<Change>,
    revision: u64,
}

impl State {
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    pub(super) fn objects(&self) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.objects.iter()
    }

    pub(super) fn list<'a>(
        &'a self,
        resource: &'a str,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> {
        self.objects.iter().filter(move |(key, _)| {
            key.resource == resource && (namespace.is_none() || key.namespace.as_deref() == namespace)
        })
    }

    pub(super) fn history(&self, since: u64) -> Vec<Change> {
        self.log
            .iter()
            .filter(|change| change.revision > since)
            .cloned()
            .collect()
    }

    fn commit(&mut self, actor: &str, now: Timestamp, key: &Key, after: Option<Value>) {
        self.revision += 1;
        let before = self.objects.get(key).cloned();
        let verb = match (&before, &after) {
            (None, _) => Verb::Create,
            (Some(_), Some(_)) => Verb::Update,
            (Some(_), None) => Verb::Delete,
        };
        match &after {
            Some(after) => self.objects.insert(key.clone(), Arc::new(after.clone())),
            None => self.objects.remove(key),
        };
        self.log.push(Change {
            revision: self.revision,
            at: now,
            actor: actor.into(),
            verb,
            key: key.clone(),
            before: before.map(|before| (*before).clone()),
            after,
        });
    }

    pub(super) fn create(&mut self, actor: &str, now: Timestamp, mut object: Value) -> Result<Value, Status> {
        let key = key_of(&object);
        if self.objects.contains_key(&key) {
            return Err(Status::failure("already exists", "AlreadyExists").with_code(409));
        }
        object["metadata"]["uid"] = json!(format!("uid-{}", self.revision + 1));
        object["metadata"]["resourceVersion"] = json!((self.revision + 1).to_string());
        object["metadata"]["creationTimestamp"] = json!(now);
        self.commit(actor, now, &key, Some(object.clone()));
        Ok(object)
    }

    pub(super) fn apply(&mut self, actor: &str, now: Timestamp, object: Value) -> Result<Value, Status> {
        let key = key_of(&object);
        if self.objects.contains_key(&key) {
            return self.update(actor, now, &key, |live| *live = object);
        }
        self.create(actor, now, object)
    }

    pub(super) fn update(
        &mut self,
        actor: &str,
        now: Timestamp,
        key: &Key,
        change: impl FnOnce(&mut Value),
    ) -> Result<Value, Status> {
        let Some(live) = self.objects.get(key) else {
            return Err(Status::failure("not found", "NotFound").with_code(404));
        };
        let mut object = (**live).clone();
        change(&mut object);
        if object != **live {
            object["metadata"]["resourceVersion"] = json!((self.revision + 1).to_string());
            self.commit(actor, now, key, Some(object.clone()));
        }
        Ok(object)
    }

    pub(super) fn update_status(
        &mut self,
        actor: &str,
        now: Timestamp,
        key: &Key,
        change: impl FnOnce(&mut Value),
    ) -> Result<Value, Status> {
        self.update(actor, now, key, change)
    }

    pub(super) fn delete(&mut self, actor: &str, now: Timestamp, key: &Key) -> Result<(), Status> {
        self.commit(actor, now, key, None);
        Ok(())
    }

    pub(super) fn finish_deletion(&mut self, actor: &str, now: Timestamp, key: &Key) {
        if self.objects.contains_key(key) {
            self.commit(actor, now, key, None);
        }
    }

    pub(super) fn drop_watches(&mut self, _gone: bool) {}
}

fn key_of(object: &Value) -> Key {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let kind = text("/kind").unwrap_or_default().to_lowercase();
    Key::new(
        &format!("{kind}s"),
        text("/metadata/namespace"),
        text("/metadata/name").unwrap_or_default(),
    )
}
