//! Ten Clusters, some of them broken: the others do not notice.

use serde_json::json;

use super::{Complaints, Scenario, cluster, condition, expect_rest, runs, sample};
use crate::sim::Sim;

pub(super) fn all() -> Vec<Scenario> {
    vec![Scenario {
        name: "ten",
        about: "ten Clusters at once: one refused, one whose pods never start",
        script: |sim, complaints| Box::pin(ten(sim, complaints)),
        like: None,
    }]
}

/// The one whose flags are refused, and the one whose pods find no node.
const REFUSED: usize = 3;
const STUCK: usize = 5;

async fn ten(sim: &Sim, complaints: &Complaints) {
    sim.begin();
    sim.trouble(|trouble| trouble.unschedulable = vec![format!("cluster-c{STUCK}/")]);
    for number in 0..10 {
        let mut one = sample("minimal");
        one["metadata"]["name"] = json!(format!("c{number}"));
        one["spec"]["endpoint"]["port"] = json!(30_500 + number);
        one["spec"]["extensions"] = json!([]);
        if number == REFUSED {
            one["spec"]["apiserver"] = json!({"args": {"anonymous-auth": "true"}});
        }
        let _ = sim.create(one);
    }
    expect_rest(sim, complaints, "eight run, two say what is wrong", |sim| {
        (0..10).all(|number| {
            let name = format!("c{number}");
            let status = sim.meta.get(&cluster(&name)).unwrap_or_default();
            match number {
                REFUSED => condition(&status, "Valid") == "False",
                STUCK => condition(&status, "EtcdReady") == "False" && condition(&status, "Valid") == "True",
                _ => runs(sim, &name),
            }
        })
    })
    .await;
}
