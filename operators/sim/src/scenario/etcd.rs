//! Members, volumes and keys are lost.

use serde_json::json;

use super::{Complaints, Scenario, cluster, condition, expect_rest, expect_running, runs, sample};
use crate::api::Key;
use crate::exchange::lock;
use crate::sim::Sim;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "etcd-roll-one-down",
            about: "new flags for etcd while one member cannot start",
            script: |sim, complaints| Box::pin(roll_one_down(sim, complaints)),
            like: None,
        },
        Scenario {
            name: "etcd-pods-lost",
            about: "two of three members lose their pods, one ends as after a node's shutdown",
            script: |sim, complaints| Box::pin(pods_lost(sim, complaints)),
            like: None,
        },
        Scenario {
            name: "etcd-volume-lost",
            about: "one of three members loses its volume",
            script: |sim, complaints| Box::pin(volume_lost(sim, complaints)),
            like: None,
        },
        Scenario {
            name: "etcd-only-volume-lost",
            about: "the only member loses its volume",
            script: |sim, complaints| Box::pin(only_volume_lost(sim, complaints)),
            like: None,
        },
        Scenario {
            name: "ca-lost",
            about: "the CA is deleted by hand and restored from a backup",
            script: |sim, complaints| Box::pin(ca_lost(sim, complaints)),
            like: None,
        },
        Scenario {
            name: "renewal",
            about: "certificates end and are renewed",
            script: |sim, complaints| Box::pin(renewal(sim, complaints)),
            like: None,
        },
    ]
}

const NAMESPACE: Option<&str> = Some("cluster-standard");

async fn roll_one_down(sim: &Sim, complaints: &Complaints) {
    expect_running(sim, complaints, sample("standard")).await;
    sim.begin();
    sim.trouble(|trouble| trouble.crashing = vec!["cluster-standard/etcd-1".into()]);
    sim.until(30_000, |sim| {
        let cluster = sim.meta.get(&cluster("standard")).unwrap_or_default();
        condition(&cluster, "EtcdReady") == "False"
    })
    .await;
    sim.edit_spec("standard", |spec| spec["etcd"]["args"] = json!({"quota-backend-bytes": "4294967296"}));
    sim.until(120_000, |_| false).await;
    let available = sim.meta.get(&cluster("standard")).unwrap_or_default();
    if condition(&available, "Available") != "True" {
        lock(complaints).push("the cluster does not answer while one of three members is down".into());
    }
    sim.trouble(|trouble| trouble.crashing.clear());
    expect_rest(sim, complaints, "every member has the new flags", |sim| runs(sim, "standard")).await;
}

async fn pods_lost(sim: &Sim, complaints: &Complaints) {
    expect_running(sim, complaints, sample("standard")).await;
    sim.begin();
    let pod = |name: &str| Key::new("pods", NAMESPACE, name);
    let _ = sim.meta.update_status("kubelet", &pod("etcd-2"), |pod| pod["status"]["phase"] = json!("Failed"));
    let _ = sim.delete(&pod("etcd-0"));
    let _ = sim.delete(&pod("etcd-1"));
    expect_rest(sim, complaints, "all members are back with their data", |sim| runs(sim, "standard")).await;
}

async fn volume_lost(sim: &Sim, complaints: &Complaints) {
    expect_running(sim, complaints, sample("standard")).await;
    sim.begin();
    let _ = sim.delete(&Key::new("persistentvolumeclaims", NAMESPACE, "etcd-1"));
    let _ = sim.delete(&Key::new("pods", NAMESPACE, "etcd-1"));
    expect_rest(sim, complaints, "the loss is told and the rest serves", |sim| {
        let cluster = sim.meta.get(&cluster("standard")).unwrap_or_default();
        condition(&cluster, "EtcdReady") == "False" && condition(&cluster, "Available") == "True"
    })
    .await;
}

async fn only_volume_lost(sim: &Sim, complaints: &Complaints) {
    expect_running(sim, complaints, sample("minimal")).await;
    sim.begin();
    let namespace = Some("cluster-minimal");
    let _ = sim.delete(&Key::new("persistentvolumeclaims", namespace, "etcd-0"));
    let _ = sim.delete(&Key::new("pods", namespace, "etcd-0"));
    expect_rest(sim, complaints, "the loss is told and nothing is started over it", |sim| {
        let cluster = sim.meta.get(&cluster("minimal")).unwrap_or_default();
        condition(&cluster, "EtcdReady") == "False"
            && sim.meta.get(&Key::new("pods", namespace, "etcd-0")).is_none()
    })
    .await;
}

async fn ca_lost(sim: &Sim, complaints: &Complaints) {
    expect_running(sim, complaints, sample("minimal")).await;
    sim.begin();
    let key = Key::new("secrets", Some("cluster-minimal"), "ca");
    let Some(backup) = sim.meta.get(&key) else { return };
    let _ = sim.delete(&key);
    expect_rest(sim, complaints, "the loss is told", |sim| {
        let cluster = sim.meta.get(&cluster("minimal")).unwrap_or_default();
        condition(&cluster, "CertificatesReady") == "False" && sim.meta.get(&key).is_none()
    })
    .await;
    let mut restored = backup;
    if let Some(metadata) = restored["metadata"].as_object_mut() {
        metadata.retain(|name, _| ["name", "namespace", "labels", "annotations", "ownerReferences"].contains(&name.as_str()));
    }
    let _ = sim.create(restored);
    expect_rest(sim, complaints, "the restored CA is taken", |sim| runs(sim, "minimal")).await;
}

async fn renewal(sim: &Sim, complaints: &Complaints) {
    let mut short = sample("minimal");
    short["spec"]["certificates"] = json!({"validity": "20m", "renewBefore": "8m"});
    let _ = sim.create(short);
    sim.until(120_000, |sim| runs(sim, "minimal")).await;
    sim.begin();
    // Into the second period, and to a moment at which nothing is due for a while.
    sim.until(27 * 60_000, |_| false).await;
    expect_rest(sim, complaints, "every certificate is a new one", |sim| runs(sim, "minimal")).await;
}
