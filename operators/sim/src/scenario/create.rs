//! Clusters are created.

use super::{Complaints, Scenario, expect_rest, runs, sample};
use crate::exchange::lock;
use crate::sim::Sim;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "create-minimal",
            about: "a Minimal Cluster with kube-proxy and CoreDNS",
            script: |sim, complaints| Box::pin(create(sim, complaints, "minimal")),
            like: None,
        },
        Scenario {
            name: "create-standard",
            about: "a Standard Cluster with a user, kube-proxy and CoreDNS",
            script: |sim, complaints| Box::pin(create(sim, complaints, "standard")),
            like: None,
        },
    ]
}

async fn create(sim: &Sim, complaints: &Complaints, name: &str) {
    sim.begin();
    if let Err(status) = sim.create(sample(name)) {
        lock(complaints).push(status.message);
    }
    expect_rest(sim, complaints, &format!("{name} runs"), |sim| runs(sim, name)).await;
}
