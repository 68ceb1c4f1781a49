//! What the operators rely on in an API server: found in the simulator's, and in the real one.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a test

use std::fs;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kok_api::Cluster;
use kok_sim::api::ApiServer;
use kok_sim::contract::real::{self, Real};
use kok_sim::contract::{self, Stage};
use kube::CustomResourceExt;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use serde_json::Value;

async fn assert_kept(stage: &Stage) {
    let (kept, broken) = contract::check(stage).await;
    for name in &kept {
        println!("kept    {}", name.replace('_', " "));
    }
    for (name, failure) in &broken {
        println!("BROKEN  {}: {failure}", name.replace('_', " "));
    }
    println!("{} behaviours kept, {} broken", kept.len(), broken.len());
    assert!(
        broken.is_empty(),
        "the server does not behave as the operators rely on"
    );
    assert!(kept.len() > 100, "behaviours were lost");
}

#[tokio::test]
async fn the_simulator_keeps_the_contract() {
    let server = ApiServer::new(Arc::new(Timestamp::now));
    let forgetful = server.clone();
    let stage = Stage::new(
        server.client("contract"),
        Arc::new(move || forgetful.drop_watches(true)),
    );
    assert_kept(&stage).await;
}

#[tokio::test]
#[ignore = "needs etcd, kube-apiserver and kube-controller-manager on PATH or KOK_BIN: KOK_BIN=$(hack/lab bin) cargo test -p kok-sim --test contract -- --include-ignored"]
async fn kubernetes_keeps_the_contract() {
    assert_eq!(
        real::missing_binaries(),
        Vec::<&str>::new(),
        "not on PATH or KOK_BIN"
    );
    let real = Real::start().await.unwrap();
    let definitions = Api::<CustomResourceDefinition>::all(real.client.clone());
    let crd = Cluster::crd();
    let name = "clusters.kubeonkube.io";
    definitions
        .patch(name, &PatchParams::apply("contract"), &Patch::Apply(&crd))
        .await
        .unwrap();
    await_condition(definitions, name, is_crd_established())
        .await
        .unwrap();
    let stage = Stage::new(real.client.clone(), Arc::new(|| {}));
    assert_kept(&stage).await;
    assert_stored_alike(&stage).await;
}

/// Everything that the operator renders for its samples, as the golden files have it.
async fn assert_stored_alike(real: &Stage) {
    let server = ApiServer::new(Arc::new(Timestamp::now));
    let simulated = Stage::new(server.client("contract"), Arc::new(|| {}));
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../plan/tests/golden");
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let mut compared = 0;
    for file in files {
        // Objects of one name in several files: each file is a cluster of its own.
        // Its Services are in another network than the server's.
        if file.ends_with("everything-business.yaml") {
            continue;
        }
        let objects: Vec<Value> = golden(&fs::read_to_string(&file).unwrap());
        for namespace in objects
            .iter()
            .filter_map(|object| object["metadata"]["namespace"].as_str())
        {
            for stage in [real, &simulated] {
                stage.namespace(namespace).await.unwrap();
            }
        }
        for stage in [real, &simulated] {
            stage.priority_class("kubeonkube-control-plane").await.unwrap();
        }
        compared += objects.len();
        let differences = contract::alike::differences(real, &simulated, &objects)
            .await
            .unwrap();
        assert_eq!(differences, Vec::<String>::new(), "{}", file.display());
    }
    println!("{compared} rendered objects are stored alike");
    assert!(compared > 100, "golden files were lost");
}

fn golden(text: &str) -> Vec<Value> {
    let documents = text.split("---\n").filter(|document| !document.trim().is_empty());
    let objects = documents.map(|document| {
        let mut object: Value = serde_saphyr::from_str(document).unwrap();
        // The Cluster that owns them is not there; they would go.
        object["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("ownerReferences");
        object
    });
    objects.collect()
}
