//! Specs change while the Cluster runs.

use serde_json::{Value, json};

use super::{Complaints, Scenario, cluster, expect_rest, expect_running, runs, sample};
use crate::api::Key;
use crate::sim::{OPERATOR_NAMESPACE, Sim};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "change-args",
            about: "new flags for every component of a Standard Cluster",
            script: |sim, complaints| Box::pin(args(sim, complaints)),
            like: None,
        },
        Scenario {
            name: "change-users",
            about: "users come, change their groups and go",
            script: |sim, complaints| Box::pin(users(sim, complaints)),
            like: None,
        },
        Scenario {
            name: "change-extensions",
            about: "extensions come from ConfigMaps, change and go",
            script: |sim, complaints| Box::pin(extensions(sim, complaints)),
            like: None,
        },
        Scenario {
            name: "upgrade",
            about: "a Standard Cluster goes up one minor, etcd a patch",
            script: |sim, complaints| Box::pin(upgrade(sim, complaints)),
            like: None,
        },
        Scenario {
            name: "pause",
            about: "a paused Cluster is edited, and goes on",
            script: |sim, complaints| Box::pin(pause(sim, complaints)),
            like: None,
        },
    ]
}

async fn args(sim: &Sim, complaints: &Complaints) {
    expect_running(sim, complaints, sample("standard")).await;
    sim.begin();
    sim.edit_spec("standard", |spec| {
        spec["apiserver"]["args"] = json!({"max-requests-inflight": "200"});
        spec["controllerManager"] = json!({"args": {"kube-api-qps": "50"}});
        spec["scheduler"] = json!({"args": {"kube-api-qps": "80"}});
        spec["etcd"]["args"] = json!({"quota-backend-bytes": "4294967296"});
    });
    expect_rest(sim, complaints, "the new flags are in force", |sim| runs(sim, "standard")).await;
}

async fn users(sim: &Sim, complaints: &Complaints) {
    expect_running(sim, complaints, sample("minimal")).await;
    sim.begin();
    sim.edit_spec("minimal", |spec| {
        spec["users"] = json!([{"name": "alice", "groups": ["dev"], "validity": "720h"}, {"name": "bob"}]);
    });
    let secret = |name: &str| Key::new("secrets", Some("cluster-minimal"), name);
    sim.until(120_000, |sim| sim.meta.get(&secret("user-bob-kubeconfig")).is_some()).await;
    sim.edit_spec("minimal", |spec| {
        spec["users"] = json!([{"name": "alice", "groups": ["dev", "ops"]}]);
    });
    expect_rest(sim, complaints, "bob has no Secret, alice a new one", |sim| {
        runs(sim, "minimal")
            && sim.meta.get(&secret("user-bob-kubeconfig")).is_none()
            && sim.meta.get(&secret("user-alice-kubeconfig")).is_some()
    })
    .await;
}

async fn extensions(sim: &Sim, complaints: &Complaints) {
    expect_running(sim, complaints, sample("minimal")).await;
    sim.begin();
    let template = |text: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "greeting", "namespace": OPERATOR_NAMESPACE},
            "data": {"defaults.yaml": "text: hello", "10.yaml.j2": text},
        })
    };
    let greeting = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: greeting}\ndata: {text: {{ values.text }}}\n";
    let _ = sim.create(template(greeting));
    let extension = |name: &str, placement: &str| {
        json!({"name": name, "version": "1", "template": {"configMap": "greeting"}, "placement": placement})
    };
    sim.edit_spec("minimal", |spec| {
        let kept: Vec<Value> = spec["extensions"].as_array().cloned().unwrap_or_default();
        let kept = kept.into_iter().filter(|it| it["name"] != "coredns");
        spec["extensions"] = kept
            .chain([extension("inside", "Business"), extension("beside", "Meta")])
            .collect();
    });
    let beside = Key::new("configmaps", Some("cluster-minimal"), "greeting");
    sim.until(180_000, |sim| sim.meta.get(&beside).is_some()).await;
    let config = Key::new("configmaps", Some(OPERATOR_NAMESPACE), "greeting");
    let _ = sim.edit(&config, |config| {
        config["data"]["defaults.yaml"] = json!("text: goodbye");
    });
    let inside = Key::new("configmaps", Some("kube-system"), "greeting");
    let says = |object: Option<Value>| object.is_some_and(|object| object["data"]["text"] == "goodbye");
    expect_rest(sim, complaints, "the changed template is in force", |sim| {
        let business = sim.world(|world| world.business("cluster-minimal"));
        runs(sim, "minimal")
            && says(sim.meta.get(&beside))
            && says(business.and_then(|business| business.get(&inside)))
    })
    .await;
    sim.edit_spec("minimal", |spec| {
        let kept: Vec<Value> = spec["extensions"].as_array().cloned().unwrap_or_default();
        spec["extensions"] = kept.into_iter().filter(|it| it["name"] == "kube-proxy").collect();
    });
    expect_rest(sim, complaints, "what is not asked for any more is gone", |sim| {
        let business = sim.world(|world| world.business("cluster-minimal"));
        let left = business.is_some_and(|business| {
            business.get(&inside).is_some()
                || business
                    .get(&Key::new("deployments.apps", Some("kube-system"), "coredns"))
                    .is_some()
        });
        runs(sim, "minimal") && sim.meta.get(&beside).is_none() && !left
    })
    .await;
}

async fn upgrade(sim: &Sim, complaints: &Complaints) {
    let mut old = sample("standard");
    old["spec"]["version"] = json!("1.35.4");
    old["spec"]["etcd"]["version"] = json!("3.6.12");
    old["spec"]["extensions"] = json!([
        {"name": "kube-proxy", "version": "1.35.4", "template": {"builtin": "kube-proxy"}}]);
    expect_running(sim, complaints, old).await;
    sim.begin();
    sim.edit_spec("standard", |spec| {
        spec["version"] = json!("1.36.3");
        spec["etcd"]["version"] = json!("3.6.14");
        spec["extensions"][0]["version"] = json!("1.36.3");
    });
    expect_rest(sim, complaints, "all of it runs the new version", |sim| {
        let cluster = sim.meta.get(&cluster("standard")).unwrap_or_default();
        runs(sim, "standard") && cluster["status"]["version"]["running"] == "1.36.3"
    })
    .await;
}

async fn pause(sim: &Sim, complaints: &Complaints) {
    expect_running(sim, complaints, sample("minimal")).await;
    sim.begin();
    sim.edit_spec("minimal", |spec| spec["paused"] = json!({"reason": "maintenance"}));
    expect_rest(sim, complaints, "it is paused", |sim| {
        sim.meta.get(&cluster("minimal")).unwrap_or_default()["status"]["phase"] == "Paused"
    })
    .await;
    let scheduler = Key::new("deployments.apps", Some("cluster-minimal"), "kube-scheduler");
    let _ = sim.delete(&scheduler);
    sim.edit_spec("minimal", |spec| spec["scheduler"] = json!({"args": {"kube-api-qps": "80"}}));
    expect_rest(sim, complaints, "nothing is repaired while paused", |sim| {
        sim.meta.get(&scheduler).is_none()
    })
    .await;
    sim.edit_spec("minimal", |spec| {
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("paused");
        }
    });
    expect_rest(sim, complaints, "it goes on", |sim| runs(sim, "minimal")).await;
}
