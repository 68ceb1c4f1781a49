//! The controllers that belong to the server: the garbage collector, the namespace controller and the protection of
//! claims in use. They work off what a change gave them to look at, before the call that made it returns.

use serde_json::{Value, json};

use super::delete::{Deletion, Propagation};
use super::object;
use super::state::{Caller, State};
use super::{Key, Verb};

const GARBAGE_COLLECTOR: &str = "garbage-collector";
const NAMESPACES: &str = "namespace-controller";
const CLAIM_PROTECTION: &str = "pvc-protection-controller";
const SERVICE_ACCOUNTS: &str = "serviceaccount-controller";

/// Finalizer of a deletion that waits for dependants.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of a deletion that lets dependants live.
pub(super) const ORPHAN: &str = "orphan";
/// Finalizer of a claim that a pod may use.
pub(super) const CLAIM_IN_USE: &str = "kubernetes.io/pvc-protection";

/// Something that a controller of the server has to look at.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Whether the owners of an object are there.
    Owners(Key),
    /// Whether a finalizer of an object that is being deleted has done its work.
    Finalizers(Key),
    /// Whether a namespace that is being deleted is empty.
    Namespace(String),
    /// A new namespace, which gets its ServiceAccount.
    NewNamespace(String),
}

impl State {
    /// Notes what a change gives the controllers to look at.
    pub(super) fn note(&mut self, key: &Key, before: Option<&Value>, after: Option<&Value>) {
        if let Some(after) = after {
            let owned = object::owners(after).next().is_some();
            let changed = before.map(|before| before.pointer("/metadata/ownerReferences"))
                != Some(after.pointer("/metadata/ownerReferences"));
            if owned && changed {
                self.work.push_back(Work::Owners(key.clone()));
            }
            if object::is_deleting(after) {
                self.work.push_back(Work::Finalizers(key.clone()));
            }
            if key.resource == "namespaces" {
                self.work.push_back(match before {
                    None => Work::NewNamespace(key.name.clone()),
                    Some(_) => Work::Namespace(key.name.clone()),
                });
            }
        } else if let Some(before) = before {
            for dependant in self.owned_by(object::uid(before)) {
                self.work.push_back(Work::Owners(dependant));
            }
            for owner in object::owners(before) {
                if let Some(owner) = self.with_uid(owner.uid) {
                    self.work.push_back(Work::Finalizers(owner.clone()));
                }
            }
            if let Some(namespace) = &key.namespace {
                if key.resource == "pods" {
                    let claims = self.list("persistentvolumeclaims", Some(namespace));
                    let claims: Vec<Key> = claims.map(|(key, _)| key.clone()).collect();
                    self.work.extend(claims.into_iter().map(Work::Finalizers));
                }
                self.work.push_back(Work::Namespace(namespace.clone()));
            }
        }
    }

    /// Works off everything that there is to look at.
    pub(super) fn settle(&mut self, now: jiff::Timestamp) {
        while let Some(work) = self.work.pop_front() {
            let caller = |actor: &str| Caller {
                actor: actor.into(),
                now,
            };
            match work {
                Work::Owners(key) => self.check_owners(&caller(GARBAGE_COLLECTOR), &key),
                Work::Finalizers(key) => {
                    self.check_dependants(&caller(GARBAGE_COLLECTOR), &key);
                    self.check_claim(&caller(CLAIM_PROTECTION), &key);
                }
                Work::Namespace(name) => self.empty_namespace(&caller(NAMESPACES), &name),
                Work::NewNamespace(name) => {
                    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
                        "metadata": {"name": "default", "namespace": name}});
                    // It may be there already, or the namespace may be gone again.
                    let _ = self.create_as(&caller(SERVICE_ACCOUNTS), account);
                }
            }
        }
    }

    /// An object whose owners are all gone goes too; references to owners that are gone are removed otherwise.
    fn check_owners(&mut self, caller: &Caller, key: &Key) {
        let Some(object) = self.get(key).cloned() else {
            return;
        };
        let (mut solid, mut waiting, mut gone) = (0, Vec::new(), Vec::new());
        for owner in object::owners(&object) {
            let found = self
                .with_uid(owner.uid)
                .filter(|found| found.namespace.is_none() || found.namespace == key.namespace);
            match found.and_then(|found| self.get(found)) {
                None => gone.push(owner.uid.to_owned()),
                Some(found)
                    if owner.blocks
                        && object::is_deleting(found)
                        && object::finalizers(found).contains(&FOREGROUND) =>
                {
                    waiting.push(owner.uid.to_owned());
                }
                Some(_) => solid += 1,
            }
        }
        if waiting.is_empty() && gone.is_empty() {
            return;
        }
        if solid > 0 {
            gone.extend(waiting);
            let mut object = (*object).clone();
            object::disown(&mut object, &gone);
            self.store(caller, key, object);
            return;
        }
        let propagation = if waiting.is_empty() || self.owned_by(object::uid(&object)).is_empty() {
            Propagation::Background
        } else {
            Propagation::Foreground
        };
        self.delete_as(caller, key, propagation);
    }

    /// Dependants of an object that waits for them, or leaves them.
    fn check_dependants(&mut self, caller: &Caller, key: &Key) {
        let Some(object) = self
            .get(key)
            .filter(|object| object::is_deleting(object))
            .cloned()
        else {
            return;
        };
        let uid = object::uid(&object);
        let finalizers = object::finalizers(&object);
        if finalizers.contains(&ORPHAN) {
            for dependant in self.owned_by(uid) {
                if let Some(mut object) = self.get(&dependant).map(|object| (**object).clone()) {
                    object::disown(&mut object, &[uid.to_owned()]);
                    self.store(caller, &dependant, object);
                }
            }
            self.finalized(caller, key, ORPHAN);
        } else if finalizers.contains(&FOREGROUND) {
            let dependants = self.owned_by(uid);
            let blocks = |dependant: &Key| {
                let dependant = self.get(dependant);
                dependant.is_some_and(|it| object::owners(it).any(|owner| owner.uid == uid && owner.blocks))
            };
            if dependants.iter().any(blocks) {
                let idle = dependants.into_iter().filter(|dependant| {
                    self.get(dependant)
                        .is_some_and(|dependant| !object::is_deleting(dependant))
                });
                let idle: Vec<Work> = idle.map(Work::Owners).collect();
                self.work.extend(idle);
            } else {
                self.finalized(caller, key, FOREGROUND);
            }
        }
    }

    /// A claim goes when no pod on a node uses it.
    fn check_claim(&mut self, caller: &Caller, key: &Key) {
        if key.resource != "persistentvolumeclaims" {
            return;
        }
        let protected = self.get(key).is_some_and(|claim| {
            object::is_deleting(claim) && object::finalizers(claim).contains(&CLAIM_IN_USE)
        });
        let uses = |pod: &Value| {
            let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
            object::at(pod, "/spec/nodeName").is_some()
                && volumes
                    .into_iter()
                    .flatten()
                    .any(|volume| object::at(volume, "/persistentVolumeClaim/claimName") == Some(&key.name))
        };
        if protected
            && !self
                .list("pods", key.namespace.as_deref())
                .any(|(_, pod)| uses(pod))
        {
            self.finalized(caller, key, CLAIM_IN_USE);
        }
    }

    /// Removes a finalizer, and with the last one the object.
    fn finalized(&mut self, caller: &Caller, key: &Key, finalizer: &str) {
        let Some(object) = self.get(key) else { return };
        let mut object = (**object).clone();
        object::remove_finalizer(&mut object, finalizer);
        let done = object::finalizers(&object).is_empty() && object::grace(&object).is_none();
        if done {
            self.remove(caller, key);
        } else {
            self.store(caller, key, object);
        }
    }

    /// Deletes what is in a namespace that is being deleted, and then the namespace.
    fn empty_namespace(&mut self, caller: &Caller, name: &str) {
        let key = Key::new("namespaces", None, name);
        if !self
            .get(&key)
            .is_some_and(|namespace| object::is_deleting(namespace))
        {
            return;
        }
        let namespaced = self.resources.all().filter(|resource| resource.namespaced);
        let mut kinds: Vec<String> = namespaced.map(|resource| resource.name()).collect();
        kinds.sort();
        let inside = |state: &Self| -> Vec<Key> {
            let objects = kinds.iter().flat_map(|kind| state.list(kind, Some(name)));
            objects.map(|(key, _)| key.clone()).collect()
        };
        for key in inside(self) {
            if self.get(&key).is_some_and(|object| !object::is_deleting(object)) {
                self.delete_as(caller, &key, Propagation::Background);
            }
        }
        if inside(self).is_empty()
            && let Some(namespace) = self.get(&key)
        {
            let mut namespace = (**namespace).clone();
            if let Some(spec) = namespace.get_mut("spec").and_then(Value::as_object_mut) {
                spec.remove("finalizers");
            }
            let done = object::finalizers(&namespace).is_empty();
            if done {
                self.remove(caller, &key);
            } else if **self.get(&key).unwrap_or(&std::sync::Arc::default()) != namespace {
                self.store(caller, &key, namespace);
            }
        }
    }

    fn delete_as(&mut self, caller: &Caller, key: &Key, propagation: Propagation) {
        let deletion = Deletion {
            propagation: Some(propagation),
            ..Deletion::default()
        };
        // It may be gone already, or wait for something else.
        let _ = self.delete(caller, key, &deletion);
    }
}

impl Verb {
    /// As a watch calls it.
    pub(super) fn event(self) -> &'static str {
        match self {
            Self::Create => "ADDED",
            Self::Update => "MODIFIED",
            Self::Delete => "DELETED",
        }
    }
}
