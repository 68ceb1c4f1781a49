//! What the server knows: the objects, and every change that led to them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::collect::Work;
use super::object;
use super::resource::Resources;
use super::{Change, Key, Verb};

/// Who writes, and when.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) actor: Arc<str>,
    pub(super) now: Timestamp,
}

/// One committed change. Objects are shared with the store.
#[derive(Clone)]
pub(super) struct Record {
    pub(super) revision: u64,
    pub(super) caller: Caller,
    pub(super) verb: Verb,
    pub(super) key: Key,
    pub(super) before: Option<Arc<Value>>,
    pub(super) after: Option<Arc<Value>>,
}

/// Objects and history of a server.
#[derive(Clone)]
pub(super) struct State {
    pub(super) resources: Resources,
    /// What the controllers of the server have to look at since the last change.
    pub(super) work: VecDeque<Work>,
    objects: BTreeMap<Key, Arc<Value>>,
    log: Vec<Record>,
    revision: u64,
    /// Nothing before it is remembered for watches and pages.
    compacted: u64,
    /// Counts how often all watches were dropped.
    epoch: u64,
    uids: u64,
    by_uid: HashMap<String, Key>,
    by_owner: HashMap<String, BTreeSet<Key>>,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            resources: Resources::built_in(),
            work: VecDeque::new(),
            objects: BTreeMap::new(),
            log: Vec::new(),
            revision: 0,
            compacted: 0,
            epoch: 0,
            uids: 0,
            by_uid: HashMap::new(),
            by_owner: HashMap::new(),
        }
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn compacted(&self) -> u64 {
        self.compacted
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn drop_watches(&mut self, gone: bool) {
        self.epoch += 1;
        if gone {
            self.compacted = self.revision;
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    pub(super) fn objects(&self) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.objects.iter()
    }

    /// Objects of a resource in the order of their keys.
    pub(super) fn list<'a>(
        &'a self,
        resource: &'a str,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> {
        let first = Key::new(resource, namespace, "");
        self.objects
            .range((Bound::Included(first), Bound::Unbounded))
            .take_while(move |(key, _)| {
                key.resource == resource && (namespace.is_none() || key.namespace.as_deref() == namespace)
            })
    }

    /// Objects of a resource as they were at a revision.
    pub(super) fn list_at(
        &self,
        resource: &str,
        namespace: Option<&str>,
        revision: u64,
    ) -> BTreeMap<Key, Arc<Value>> {
        let mut objects: BTreeMap<Key, Arc<Value>> = self
            .list(resource, namespace)
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect();
        for record in self.since(revision).iter().rev() {
            let key = &record.key;
            if key.resource == resource && (namespace.is_none() || key.namespace.as_deref() == namespace) {
                match &record.before {
                    Some(before) => objects.insert(key.clone(), before.clone()),
                    None => objects.remove(key),
                };
            }
        }
        objects
    }

    /// Changes after a revision.
    pub(super) fn since(&self, revision: u64) -> &[Record] {
        let first = self.log.partition_point(|record| record.revision <= revision);
        &self.log[first..]
    }

    pub(super) fn history(&self, revision: u64) -> Vec<Change> {
        let object = |object: &Option<Arc<Value>>| object.as_ref().map(|object| (**object).clone());
        let changes = self.since(revision).iter().map(|record| Change {
            revision: record.revision,
            at: record.caller.now,
            actor: record.caller.actor.as_ref().into(),
            verb: record.verb,
            key: record.key.clone(),
            before: object(&record.before),
            after: object(&record.after),
        });
        changes.collect()
    }

    /// Whether an object is as it was created.
    pub(super) fn is_new(&self, object: &Value) -> bool {
        let revision: u64 = object::resource_version(object).parse().unwrap_or_default();
        let record = self.since(revision.saturating_sub(1)).first();
        record.is_some_and(|record| record.revision == revision && record.verb == Verb::Create)
    }

    /// Key of the object with a uid.
    pub(super) fn with_uid(&self, uid: &str) -> Option<&Key> {
        self.by_uid.get(uid)
    }

    /// Objects that name a uid as their owner.
    pub(super) fn owned_by(&self, uid: &str) -> Vec<Key> {
        self.by_owner.get(uid).into_iter().flatten().cloned().collect()
    }

    /// A uid that no object had before; the same in each run.
    pub(super) fn new_uid(&mut self) -> String {
        self.uids += 1;
        format!("00000000-0000-4000-8000-{:012x}", self.uids)
    }

    /// Stores what an object is now, with a new resourceVersion.
    pub(super) fn store(&mut self, caller: &Caller, key: &Key, mut object: Value) -> Arc<Value> {
        object["metadata"]["resourceVersion"] = json!((self.revision + 1).to_string());
        let object = Arc::new(object);
        self.commit(caller, key, Some(object.clone()));
        object
    }

    /// Removes an object.
    pub(super) fn remove(&mut self, caller: &Caller, key: &Key) {
        self.commit(caller, key, None);
    }

    fn commit(&mut self, caller: &Caller, key: &Key, after: Option<Arc<Value>>) {
        self.revision += 1;
        let before = match &after {
            Some(after) => self.objects.insert(key.clone(), after.clone()),
            None => self.objects.remove(key),
        };
        self.index(key, before.as_deref(), after.as_deref());
        self.note(key, before.as_deref(), after.as_deref());
        self.log.push(Record {
            revision: self.revision,
            caller: caller.clone(),
            verb: match (&before, &after) {
                (None, _) => Verb::Create,
                (Some(_), Some(_)) => Verb::Update,
                (Some(_), None) => Verb::Delete,
            },
            key: key.clone(),
            before,
            after,
        });
    }

    fn index(&mut self, key: &Key, before: Option<&Value>, after: Option<&Value>) {
        if let Some(before) = before {
            for owner in object::owners(before) {
                if let Some(owned) = self.by_owner.get_mut(owner.uid) {
                    owned.remove(key);
                }
            }
            if after.is_none() {
                self.by_uid.remove(object::uid(before));
            }
        }
        if let Some(after) = after {
            for owner in object::owners(after) {
                let owned = self.by_owner.entry(owner.uid.to_owned()).or_default();
                owned.insert(key.clone());
            }
            if before.is_none() {
                self.by_uid.insert(object::uid(after).to_owned(), key.clone());
            }
        }
        if key.resource == "customresourcedefinitions.apiextensions.k8s.io" {
            match after {
                Some(after) => self.resources.serve(after),
                None => self.resources.stop_serving(&key.name),
            }
        }
    }
}
