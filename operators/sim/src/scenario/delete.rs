//! Clusters are deleted.

use serde_json::json;

use super::{Complaints, Scenario, cluster, expect_rest, expect_running, gone, runs, sample};
use crate::api::Key;
use crate::sim::Sim;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "delete",
            about: "a running Cluster is deleted",
            script: |sim, complaints| Box::pin(delete(sim, complaints)),
            like: None,
        },
        Scenario {
            name: "delete-midway",
            about: "a Cluster is deleted while it is created; plans say when: deleted@n",
            script: |sim, complaints| Box::pin(midway(sim, complaints)),
            like: None,
        },
        Scenario {
            name: "delete-protected",
            about: "a protected Cluster is kept until the protection is lifted",
            script: |sim, complaints| Box::pin(protected(sim, complaints)),
            like: None,
        },
        Scenario {
            name: "delete-namespace-first",
            about: "the namespace goes before its Cluster",
            script: |sim, complaints| Box::pin(namespace_first(sim, complaints)),
            like: None,
        },
    ]
}

async fn delete(sim: &Sim, complaints: &Complaints) {
    expect_running(sim, complaints, sample("minimal")).await;
    sim.begin();
    let _ = sim.delete(&cluster("minimal"));
    expect_rest(sim, complaints, "nothing is left", |sim| gone(sim, "minimal")).await;
}

async fn midway(sim: &Sim, complaints: &Complaints) {
    sim.begin();
    let _ = sim.create(sample("minimal"));
    // With no fault that says when, it is deleted as soon as its namespace is there.
    if !sim.is_deleted_by_plan() {
        let namespace = Key::new("namespaces", None, "cluster-minimal");
        sim.until(60_000, |sim| sim.meta.get(&namespace).is_some()).await;
        let _ = sim.delete(&cluster("minimal"));
    }
    expect_rest(sim, complaints, "nothing is left", |sim| gone(sim, "minimal")).await;
}

async fn protected(sim: &Sim, complaints: &Complaints) {
    let mut protected = sample("minimal");
    protected["spec"]["deletionProtection"] = json!(true);
    expect_running(sim, complaints, protected).await;
    sim.begin();
    let _ = sim.delete(&cluster("minimal"));
    expect_rest(sim, complaints, "it is kept running", |sim| {
        let cluster = sim.meta.get(&cluster("minimal")).unwrap_or_default();
        super::condition(&cluster, "Available") == "True"
    })
    .await;
    sim.edit_spec("minimal", |spec| spec["deletionProtection"] = json!(false));
    expect_rest(sim, complaints, "nothing is left", |sim| gone(sim, "minimal")).await;
}

async fn namespace_first(sim: &Sim, complaints: &Complaints) {
    expect_running(sim, complaints, sample("minimal")).await;
    sim.begin();
    let _ = sim.delete(&Key::new("namespaces", None, "cluster-minimal"));
    expect_rest(sim, complaints, "it does not run and says why", |sim| !runs(sim, "minimal")).await;
    let _ = sim.delete(&cluster("minimal"));
    expect_rest(sim, complaints, "nothing is left", |sim| gone(sim, "minimal")).await;
}
