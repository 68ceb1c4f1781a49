//! Mistakes that only a real API server or kubelet can see: what runs is untouched, and correcting the spec is enough.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

use kok_e2e::{Cluster, apply, eventually, kubectl, minimal, must};
use serde_json::json;

#[test]
#[ignore = "needs the lab"]
fn a_control_plane_that_cannot_start_is_corrected_by_its_spec() {
    let mut spec = minimal(30470);
    spec["etcd"]["version"] = json!("3.6.99");
    let cluster = Cluster::submit("corrected", &spec);
    eventually("the missing image is told", 60, || {
        let told = cluster.condition("EtcdReady");
        if told.contains("Image") || told.contains("ErrImage") {
            Ok(())
        } else {
            Err(told)
        }
    });
    spec["etcd"]["version"] = json!("3.6.14");
    cluster.edit(&spec);
    cluster.wait("Available", "True", 120);
    cluster.wait("UpToDate", "True", 120);
    cluster.delete_and_see_it_gone();
}

#[test]
#[ignore = "needs the lab"]
fn what_the_api_server_would_refuse_is_refused_before_anything_changes() {
    let good = minimal(30471);
    let cluster = Cluster::submit("tried", &good);
    cluster.wait("Available", "True", 120);
    cluster.wait("UpToDate", "True", 120);
    let pods = || {
        must(&[
            "get",
            "pods",
            "-n",
            "cluster-tried",
            "-o",
            "jsonpath={.items[*].metadata.uid}",
        ])
    };
    let before = pods();
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "taker", "namespace": "default"},
        "spec": {"type": "NodePort", "selector": {"app": "none"}, "ports": [{"port": 80, "nodePort": 30472}]},
    });
    apply(&service);
    let edits = [
        (
            "a quantity",
            "/etcd/resources",
            json!({"requests": {"cpu": "abc"}}),
            "etcd-trial",
        ),
        (
            "more requested than allowed",
            "/etcd/resources",
            json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
            "etcd-trial",
        ),
        (
            "a taken port",
            "/endpoint/port",
            json!(30472),
            "taken by Service default/taker",
        ),
    ];
    for (what, pointer, value, words) in edits {
        let mut wrong = good.clone();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        wrong.pointer_mut(parent).unwrap()[field] = value;
        cluster.edit(&wrong);
        cluster.wait("Valid", "False", 30);
        let told = cluster.condition("Valid");
        assert!(told.contains(words), "{what}: no {words:?} in: {told}");
        assert_eq!(pods(), before, "{what}: a pod was replaced");
        cluster.edit(&good);
        cluster.wait("Valid", "True", 30);
    }
    assert!(
        cluster
            .business("admin-kubeconfig", &["get", "--raw", "/readyz"])
            .is_ok()
    );
    let _ = kubectl(&["delete", "service", "taker", "-n", "default"]);
    cluster.wait("UpToDate", "True", 60);
    assert_eq!(pods(), before);
    cluster.delete_and_see_it_gone();
}
