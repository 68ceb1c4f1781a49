//! An API server in memory.
//!
//! It answers the requests of a [`kube::Client`] as kube-apiserver does, with what belongs to it in a cluster: admission,
//! the garbage collector and the namespace controller. They work inside the commit that gives them work, so that a run
//! depends on nothing but its requests and its clock. Models and oracles use the same server without HTTP.

mod admission;
mod collect;
mod delete;
mod fields;
mod http;
mod managed;
mod managers;
mod object;
mod path;
mod pods;
mod quantity;
mod read;
mod refusal;
mod request;
mod resource;
mod rules;
mod schema;
mod selector;
mod services;
mod state;
mod structure;
mod typed;
mod watch;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use kube::CustomResourceExt;
use kube::core::Status;
use serde_json::{Value, json};
use tokio::sync::watch as channel;

use delete::Deletion;
pub use http::{Answer, Service};
use state::{Caller, State};
use write::Request;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What tells one object from all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Plural and group: `pods`, `deployments.apps`, `clusters.kubeonkube.io`.
    pub resource: String,
    /// Namespace; None for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl Key {
    /// Key of an object.
    pub fn new(resource: &str, namespace: Option<&str>, name: &str) -> Self {
        Self {
            resource: resource.into(),
            namespace: namespace.map(str::to_owned),
            name: name.into(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(formatter, "{} {namespace}/{}", self.resource, self.name),
            None => write!(formatter, "{} {}", self.resource, self.name),
        }
    }
}

/// How an object changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It is new.
    Create,
    /// It is another now.
    Update,
    /// It is gone.
    Delete,
}

/// One committed change.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The object's resourceVersion since then.
    pub revision: u64,
    /// When.
    pub at: Timestamp,
    /// Who asked for it.
    pub actor: String,
    /// What happened.
    pub verb: Verb,
    /// To which object.
    pub key: Key,
    /// The object before; None when it was created.
    pub before: Option<Value>,
    /// The object after; None when it is gone.
    pub after: Option<Value>,
}

/// An API server in memory. Clones are the same server.
#[derive(Clone)]
pub struct ApiServer {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    state: Mutex<State>,
    revision: channel::Sender<u64>,
}

impl ApiServer {
    /// A server with the namespaces of every cluster and our CustomResourceDefinitions. They are older than the run.
    pub fn new(clock: Clock) -> Self {
        static EQUIPPED: LazyLock<State> = LazyLock::new(equipped);
        let state = EQUIPPED.clone();
        Self {
            shared: Arc::new(Shared {
                clock,
                revision: channel::Sender::new(state.revision()),
                state: Mutex::new(state),
            }),
        }
    }

    /// The HTTP face for one caller; `actor` is written into each [`Change`].
    pub fn service(&self, actor: &str) -> Service {
        Service::new(self.clone(), actor)
    }

    /// A client for one caller.
    pub fn client(&self, actor: &str) -> kube::Client {
        kube::Client::new(self.service(actor), "default")
    }

    /// The object, if there is one.
    pub fn get(&self, key: &Key) -> Option<Value> {
        self.read(|state| state.get(key).map(|object| (**object).clone()))
    }

    /// All objects of a resource, of one namespace or of all.
    pub fn list(&self, resource: &str, namespace: Option<&str>) -> Vec<Value> {
        self.read(|state| {
            state
                .list(resource, namespace)
                .map(|(_, object)| (**object).clone())
                .collect()
        })
    }

    /// Creates an object.
    ///
    /// # Errors
    /// As the HTTP face refuses it.
    pub fn create(&self, actor: &str, object: Value) -> Result<Value, Status> {
        let created = self.write(actor, |state, caller| state.create_as(caller, object))?;
        Ok((*created).clone())
    }

    /// Applies an object as `kubectl apply --server-side` does; the field manager is the actor.
    ///
    /// # Errors
    /// As the HTTP face refuses it.
    pub fn apply(&self, actor: &str, object: Value) -> Result<Value, Status> {
        self.write(actor, |state, caller| {
            let resource = state.resource_of(&object)?;
            let key = Key::new(
                &resource.name(),
                object::namespace(&object),
                object::name(&object),
            );
            let written = state.apply(&Request::of(caller), &resource, &key, object, false)?;
            Ok((*written.object).clone())
        })
    }

    /// Changes an object, but not its status. A change that changes nothing writes nothing.
    ///
    /// # Errors
    /// As the HTTP face refuses it.
    pub fn update(&self, actor: &str, key: &Key, change: impl FnOnce(&mut Value)) -> Result<Value, Status> {
        let changed = self.write(actor, |state, caller| {
            state.change(&Request::of(caller), key, change)
        })?;
        Ok((*changed).clone())
    }

    /// Changes the status of an object, and nothing else of it. A change that changes nothing writes nothing.
    ///
    /// # Errors
    /// As the HTTP face refuses it.
    pub fn update_status(
        &self,
        actor: &str,
        key: &Key,
        change: impl FnOnce(&mut Value),
    ) -> Result<Value, Status> {
        let changed = self.write(actor, |state, caller| {
            let request = Request {
                subresource: "status",
                ..Request::of(caller)
            };
            state.change(&request, key, change)
        })?;
        Ok((*changed).clone())
    }

    /// Deletes an object, with the grace that its kind gives it.
    ///
    /// # Errors
    /// As the HTTP face refuses it.
    pub fn delete(&self, actor: &str, key: &Key) -> Result<(), Status> {
        self.write(actor, |state, caller| {
            state.delete(caller, key, &Deletion::default()).map(|_| ())
        })
    }

    /// Ends the grace of an object that is being deleted: what a kubelet does for a pod whose containers ended.
    /// Finalizers still hold it. Nothing happens to any other object.
    pub fn finish_deletion(&self, actor: &str, key: &Key) {
        self.write(actor, |state, caller| state.finish_deletion(caller, key));
    }

    /// Revision of the last change.
    pub fn revision(&self) -> u64 {
        self.read(State::revision)
    }

    /// The revision of each change as it comes.
    pub fn changes(&self) -> channel::Receiver<u64> {
        self.shared.revision.subscribe()
    }

    /// Every change since the server was made.
    pub fn history(&self) -> Vec<Change> {
        self.history_since(0)
    }

    /// Every change after a revision.
    pub fn history_since(&self, revision: u64) -> Vec<Change> {
        self.read(|state| state.history(revision))
    }

    /// All objects.
    pub fn objects(&self) -> BTreeMap<Key, Value> {
        self.read(|state| {
            state
                .objects()
                .map(|(key, object)| (key.clone(), (**object).clone()))
                .collect()
        })
    }

    /// Ends all watches. With `gone`, the history before now is forgotten: a watch or a page from an old
    /// resourceVersion gets 410.
    pub fn drop_watches(&self, gone: bool) {
        self.write("", |state, _| state.drop_watches(gone));
        self.shared.revision.send_modify(|_| {});
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    fn write<T>(&self, actor: &str, change: impl FnOnce(&mut State, &Caller) -> T) -> T {
        let caller = Caller {
            actor: actor.into(),
            now: (self.shared.clock)(),
        };
        let (result, before, after) = {
            let mut state = self.lock();
            let before = state.revision();
            let result = change(&mut state, &caller);
            state.settle(caller.now);
            (result, before, state.revision())
        };
        if before != after {
            self.shared.revision.send_replace(after);
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A time as it is written in metadata.
fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What every server has from the start.
fn equipped() -> State {
    let mut state = State::new();
    let caller = Caller {
        actor: "kube-apiserver".into(),
        now: Timestamp::UNIX_EPOCH,
    };
    let namespaces = ["default", "kube-node-lease", "kube-public", "kube-system"];
    let namespaces =
        namespaces.map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    let definition = serde_json::to_value(kok_api::Cluster::crd()).unwrap_or_default();
    for object in namespaces.into_iter().chain([definition]) {
        if let Err(error) = state.create_as(&caller, object) {
            tracing::error!(%error, "not there from the start");
        }
        state.settle(caller.now);
    }
    state
}
