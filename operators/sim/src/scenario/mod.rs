//! Stories of the `Cluster`: what people do, and what they may expect.

mod change;
mod create;
mod delete;
mod etcd;
mod fuzz;
mod many;
mod repair;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::api::Key;
use crate::exchange::lock;
use crate::sim::{OPERATOR_NAMESPACE, Sim};
use crate::world::text;

/// What a script finds wrong.
pub type Complaints = Arc<Mutex<Vec<String>>>;

type Script = for<'a> fn(&'a Sim, &'a Complaints) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A story.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name in plans.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// The scenario that it ends like, if it must end like another one.
    pub like: Option<&'static str>,
    script: Script,
}

impl Scenario {
    /// Plays it to its end.
    pub async fn play(&self, sim: &Sim, complaints: &Complaints) {
        (self.script)(sim, complaints).await;
    }
}

/// All stories.
pub fn all() -> Vec<Scenario> {
    [
        create::all(),
        change::all(),
        repair::all(),
        etcd::all(),
        delete::all(),
        many::all(),
        fuzz::all(),
    ]
    .concat()
}

/// A story by its name.
///
/// # Errors
/// When there is none.
pub fn find(name: &str) -> Result<Scenario, String> {
    let all = all();
    all.iter()
        .find(|scenario| scenario.name == name)
        .copied()
        .ok_or_else(|| {
            let names: Vec<_> = all.iter().map(|scenario| scenario.name).collect();
            format!("there is no scenario {name:?}; there are {}", names.join(", "))
        })
}

/// What every meta cluster has.
pub(crate) fn set_stage(sim: &Sim) {
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OPERATOR_NAMESPACE}}),
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "standard",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "sim.kubeonkube.io/local"}),
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": "kubeonkube-control-plane"}, "value": 1_000_000}),
        // Somebody else's, who must not notice us.
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cluster-bystander"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "bystander", "namespace": "cluster-bystander"}, "data": {"theirs": "yes"}}),
    ];
    for object in objects {
        let name = object["metadata"]["name"].clone();
        if let Err(status) = sim.meta.create("stage", object) {
            lock(&sim.ledger).note(0, "stage", format!("cannot set {name}: {}", status.message));
        }
    }
}

/// Key of a Cluster.
pub fn cluster(name: &str) -> Key {
    Key::new("clusters.kubeonkube.io", None, name)
}

/// One of the samples that users start from.
pub(crate) fn sample(name: &str) -> Value {
    let text = match name {
        "minimal" => include_str!("../../../../crds/samples/minimal.yaml"),
        "standard" => include_str!("../../../../crds/samples/standard.yaml"),
        _ => include_str!("../../../../crds/samples/everything.yaml"),
    };
    serde_saphyr::from_str(text).unwrap_or_default()
}

/// Whether a Cluster is as declared, told from its object alone.
pub use fuzz::object_runs;

/// Whether a Cluster is as its spec declares.
pub(crate) fn runs(sim: &Sim, name: &str) -> bool {
    sim.meta.get(&cluster(name)).is_some_and(|cluster| {
        let current =
            cluster.pointer("/status/observedGeneration") == cluster.pointer("/metadata/generation");
        let truths = [
            "Valid",
            "Available",
            "UpToDate",
            "ExtensionsReady",
            "CertificatesReady",
            "EtcdReady",
        ];
        current
            && truths.iter().all(|type_| condition(&cluster, type_) == "True")
            && text(&cluster, "/status/phase") == "Running"
    })
}

/// Status of a condition of a Cluster.
pub(crate) fn condition<'a>(cluster: &'a Value, type_: &str) -> &'a str {
    let conditions = cluster.pointer("/status/conditions").and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .find(|condition| text(condition, "/type") == type_)
        .map_or("", |condition| text(condition, "/status"))
}

/// Whether nothing is left of a Cluster.
pub(crate) fn gone(sim: &Sim, name: &str) -> bool {
    let namespace = kok_api::names::cluster_namespace(name);
    !sim.meta.objects().iter().any(|(key, object)| {
        *key == cluster(name)
            || key.namespace.as_deref() == Some(namespace.as_str())
            || key.resource == "namespaces" && key.name == namespace
            || crate::world::label(object, kok_api::names::CLUSTER_LABEL) == name
    })
}

/// Creates a Cluster and complains unless it runs.
pub(crate) async fn expect_running(sim: &Sim, complaints: &Complaints, object: Value) {
    let name = text(&object, "/metadata/name").to_owned();
    if let Err(status) = sim.create(object) {
        lock(complaints).push(status.message);
    }
    // What follows begins in the middle of the work if there is more: only the end must be at rest.
    if !sim.until(600_000, |sim| runs(sim, &name)).await {
        lock(complaints).push(format!("{name} does not run after ten minutes"));
    }
}

/// Complains unless the sim comes to rest with `goal`.
pub(crate) async fn expect_rest(sim: &Sim, complaints: &Complaints, what: &str, goal: impl Fn(&Sim) -> bool) {
    if !sim.rest(goal).await {
        lock(complaints).push(format!("never at rest: {what}"));
    }
}
