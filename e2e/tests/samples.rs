//! The samples that users start from come up as they are.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

use kok_e2e::{Cluster, must};
use serde_json::{Value, json};

/// The spec of a sample. Only its node port is another one: the sample itself may run beside.
fn sample(name: &str, port: u16) -> Value {
    let file = format!("{}/../crds/samples/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    let text = must(&["create", "--dry-run=client", "-o", "json", "-f", &file]);
    let document: Value = serde_json::from_str(&text).unwrap();
    let mut spec = document["spec"].clone();
    assert!(spec["endpoint"]["port"].is_u64(), "{spec}");
    spec["endpoint"]["port"] = json!(port);
    spec
}

#[test]
#[ignore = "needs the lab"]
fn every_sample_comes_up() {
    for (name, port) in [("minimal", 30481), ("everything", 30482), ("standard", 30483)] {
        let spec = sample(name, port);
        let cluster = Cluster::submit(&format!("sample-{name}"), &spec);
        cluster.wait("Available", "True", 180);
        cluster.wait("UpToDate", "True", 240);
        for condition in [
            "Valid",
            "EtcdReady",
            "ApiserverReady",
            "ControllersReady",
            "CertificatesReady",
            "ExtensionsReady",
        ] {
            cluster.wait(condition, "True", 10);
        }
        for user in spec["users"].as_array().into_iter().flatten() {
            let secret = format!("user-{}-kubeconfig", user["name"].as_str().unwrap());
            let who = cluster.business(&secret, &["auth", "whoami"]);
            assert!(who.is_ok(), "{name}: {who:?}");
        }
        cluster.delete_and_see_it_gone();
    }
}
