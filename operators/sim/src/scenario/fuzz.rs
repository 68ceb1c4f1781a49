//! Edits that nobody planned, and their undoing.

use serde_json::Value;

use super::{Complaints, Scenario, cluster, condition, expect_rest, expect_running, runs, sample};
use crate::exchange::lock;
use crate::fuzz::Edits;
use crate::sim::Sim;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "fuzz-undo",
            about: "drawn edits of a running Cluster, then its first spec again",
            script: |sim, complaints| Box::pin(undo(sim, complaints)),
            like: Some("create-minimal"),
        },
        Scenario {
            name: "fuzz-path",
            about: "drawn edits of a running Cluster: only the last spec matters",
            script: |sim, complaints| Box::pin(path(sim, complaints)),
            like: None,
        },
        Scenario {
            name: "create-as",
            about: "a Cluster with the spec that another run ended with",
            script: |sim, complaints| Box::pin(create_as(sim, complaints)),
            like: None,
        },
    ]
}

/// Makes drawn edits, as many as are accepted by the API within some tries.
async fn edit(sim: &Sim, most: u64) {
    let edits = Edits::of_clusters(sim.chance());
    let count = sim.chance().between(1, most, &["edits"]);
    let mut made = 0;
    for number in 0..30 {
        let drawn = edits.draw(number);
        sim.say("user", format!("{drawn}"));
        let accepted = sim.edit(&cluster("minimal"), |cluster| drawn.apply(&mut cluster["spec"])).is_ok();
        if accepted {
            made += 1;
            // Sometimes the next edit comes before the last one is carried out.
            let pause = sim.chance().between(0, 40_000, &["pause", &number.to_string()]);
            sim.until(pause, |_| false).await;
        }
        if made == count {
            break;
        }
    }
}

async fn undo(sim: &Sim, complaints: &Complaints) {
    expect_running(sim, complaints, sample("minimal")).await;
    let first = sim.meta.get(&cluster("minimal")).unwrap_or_default();
    sim.begin();
    edit(sim, 3).await;
    let undone = sim.edit(&cluster("minimal"), |cluster| cluster["spec"] = first["spec"].clone());
    if undone.is_err() {
        // The API itself does not let it go back (a minor version, say): then it must run as it is.
        sim.say("script", "the API refuses the way back".into());
        sim.forget_likeness();
        expect_rest(sim, complaints, "it rests somewhere", |_| true).await;
        return;
    }
    expect_rest(sim, complaints, "the undone edits leave nothing behind", |sim| runs(sim, "minimal")).await;
}

async fn path(sim: &Sim, complaints: &Complaints) {
    expect_running(sim, complaints, sample("minimal")).await;
    sim.begin();
    edit(sim, 3).await;
    expect_rest(sim, complaints, "it rests somewhere", |_| true).await;
    let last = sim.meta.get(&cluster("minimal")).unwrap_or_default();
    let refused = condition(&last, "Valid") == "False";
    if refused && condition(&last, "Available") != "True" && last["spec"].get("paused").is_none() {
        lock(complaints).push("a refused spec stopped the cluster".into());
    }
}

async fn create_as(sim: &Sim, complaints: &Complaints) {
    sim.begin();
    let mut like = sample("minimal");
    if let Some(spec) = sim.given() {
        like["spec"] = spec.clone();
    }
    if let Err(status) = sim.create(like) {
        lock(complaints).push(format!("refused: {}", status.message));
    }
    expect_rest(sim, complaints, "it rests somewhere", |_| true).await;
}

/// Whether a Cluster is as declared, told from its object alone.
pub fn object_runs(cluster: &Value) -> bool {
    cluster.pointer("/status/phase").and_then(Value::as_str) == Some("Running")
        && condition(cluster, "UpToDate") == "True"
}
