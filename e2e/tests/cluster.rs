//! The life of a Cluster, as its users see it.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

use std::time::Duration;

use kok_e2e::{Cluster, eventually, kubectl, minimal, must, text_of};
use serde_json::{Value, json};

const ADMIN: &str = "admin-kubeconfig";

#[test]
#[ignore = "needs the lab"]
fn a_cluster_is_made_used_changed_repaired_and_removed() {
    let mut spec = minimal(30451);
    spec["extensions"] =
        json!([{"name": "coredns", "version": "1.14.2", "template": {"builtin": "coredns"}}]);
    let cluster = Cluster::submit("life", &spec);
    cluster.wait("Available", "True", 120);
    cluster.wait("UpToDate", "True", 60);

    controllers_work(&cluster);
    secrets_are_encrypted(&cluster);
    converged_means_no_write(&cluster);
    deleted_objects_return(&cluster);

    spec["users"] = json!([{"name": "alice", "groups": ["dev"]}]);
    cluster.edit(&spec);
    let who = eventually("alice's kubeconfig works", 60, || {
        cluster.business("user-alice-kubeconfig", &["auth", "whoami", "-o", "json"])
    });
    let who: Value = serde_json::from_str(&who).unwrap();
    assert_eq!(text_of(&who["status"]["userInfo"]["username"]), "alice");
    assert!(
        who["status"]["userInfo"]["groups"]
            .as_array()
            .unwrap()
            .contains(&json!("dev"))
    );

    let mut broken = spec.clone();
    broken["apiserver"] = json!({"args": {"no-such-flag": "1"}});
    cluster.edit(&broken);
    cluster.wait("Valid", "False", 30);
    assert!(cluster.business(ADMIN, &["get", "--raw", "/readyz"]).is_ok());

    spec["users"] = json!([]);
    cluster.edit(&spec);
    cluster.wait("Valid", "True", 30);
    eventually("alice's Secret is gone", 30, || {
        match kubectl(&["get", "secret", "-n", "cluster-life", "user-alice-kubeconfig"]) {
            Ok(_) => Err("there".into()),
            Err(_) => Ok(()),
        }
    });
    cluster.delete_and_see_it_gone();
}

fn controllers_work(cluster: &Cluster) {
    let create = ["create", "deployment", "web", "--image=web", "--replicas=2"];
    cluster.business(ADMIN, &create).unwrap();
    eventually("the Deployment's pods appear", 60, || {
        let pods = cluster.business(ADMIN, &["get", "pods", "-l", "app=web", "-o", "name"])?;
        if pods.lines().count() == 2 {
            Ok(())
        } else {
            Err(pods)
        }
    });
}

fn secrets_are_encrypted(cluster: &Cluster) {
    let create = [
        "create",
        "secret",
        "generic",
        "demo",
        "--from-literal=password=plain-to-see",
    ];
    cluster.business(ADMIN, &create).unwrap();
    let namespace = cluster.namespace();
    let stored = must(&[
        "exec",
        "-n",
        &namespace,
        "etcd-0",
        "--",
        "etcdctl",
        "--endpoints=https://127.0.0.1:2379",
        "--cacert=/etc/etcd/tls/ca.crt",
        "--cert=/etc/etcd/tls/tls.crt",
        "--key=/etc/etcd/tls/tls.key",
        "get",
        "/registry/secrets/default/demo",
    ]);
    assert!(stored.contains("k8s:enc:"), "not encrypted");
    assert!(!stored.contains("plain-to-see"), "readable");
}

/// Resource versions of everything that the operator writes: the Cluster, its namespace, its business cluster.
fn versions(cluster: &Cluster) -> Vec<String> {
    let namespace = cluster.namespace();
    let template = "jsonpath={range .items[*]}{.kind}/{.metadata.namespace}/{.metadata.name}={.metadata.resourceVersion}{\"\\n\"}{end}";
    let kinds = "secrets,configmaps,services,deployments,pods,persistentvolumeclaims,poddisruptionbudgets,networkpolicies";
    let business = "configmaps,services,serviceaccounts,deployments,daemonsets,roles,rolebindings,clusterroles,clusterrolebindings";
    let ours = "app.kubernetes.io/managed-by=kube-on-kube";
    let found = [
        must(&["get", kinds, "-n", &namespace, "-o", template]),
        cluster
            .business(ADMIN, &["get", business, "-A", "-l", ours, "-o", template])
            .unwrap(),
        must(&[
            "get",
            "clusters",
            "--field-selector=metadata.name=life",
            "-o",
            template,
        ]),
    ];
    for part in &found {
        assert!(part.contains('='), "nothing was listed: {found:?}");
    }
    found
        .iter()
        .flat_map(|part| part.lines())
        .map(String::from)
        .collect()
}

/// How many actions the leading operator has carried out, for all Clusters together.
fn actions() -> u64 {
    let system = "kubeonkube-system";
    let lease = [
        "get",
        "lease",
        "-n",
        system,
        "cluster-operator",
        "-o",
        "jsonpath={.spec.holderIdentity}",
    ];
    let path = format!(
        "/api/v1/namespaces/{system}/pods/{}:8080/proxy/metrics",
        must(&lease)
    );
    let metrics = must(&["get", "--raw", &path]);
    assert!(metrics.contains("kok_leader 1"), "{path} does not lead");
    metrics
        .lines()
        .filter(|line| line.starts_with("kok_plan_actions_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

fn converged_means_no_write(cluster: &Cluster) {
    // The last readiness of a rollout may still come in.
    std::thread::sleep(Duration::from_secs(5));
    let (before, done) = (versions(cluster), actions());
    assert!(done > 0, "no action was counted");
    // A converged Cluster is looked at every 60 s.
    std::thread::sleep(Duration::from_secs(70));
    let after = versions(cluster);
    let written: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
    assert!(
        written.is_empty(),
        "something was written in a converged Cluster: {written:?}"
    );
    assert_eq!(done, actions(), "something was done in a converged Cluster");
}

fn deleted_objects_return(cluster: &Cluster) {
    let namespace = cluster.namespace();
    for object in [
        "service/apiserver-external",
        "service/etcd-0",
        "configmap/apiserver-config",
        "networkpolicy/default-deny",
        "secret/scheduler-kubeconfig",
        "deployment/kube-scheduler",
        "pod/etcd-0",
    ] {
        let uid = || kubectl(&["get", object, "-n", &namespace, "-o", "jsonpath={.metadata.uid}"]);
        let before = uid().unwrap();
        must(&["delete", object, "-n", &namespace, "--wait=false"]);
        eventually(&format!("{object} returns"), 60, || match uid()? {
            same if same == before => Err("the old one is still there".into()),
            _ => Ok(()),
        });
    }
    cluster.wait("UpToDate", "True", 180);
    cluster.wait("Available", "True", 60);
    assert!(
        cluster.business(ADMIN, &["get", "secret", "demo"]).is_ok(),
        "data was lost"
    );
}

#[test]
#[ignore = "needs the lab"]
fn an_operator_that_dies_at_any_moment_makes_and_removes_the_same_cluster() {
    for (round, moments) in [[300_u64, 900, 2000], [100, 1500, 4000]].into_iter().enumerate() {
        let cluster = Cluster::submit(&format!("killed-{round}"), &minimal(30452));
        for moment in moments {
            std::thread::sleep(Duration::from_millis(moment));
            kill_operators();
        }
        cluster.wait("Available", "True", 180);
        cluster.wait("UpToDate", "True", 120);
        let name = format!("killed-{round}");
        must(&["delete", "cluster", &name, "--wait=false"]);
        std::thread::sleep(Duration::from_millis(moments[0]));
        kill_operators();
        cluster.delete_and_see_it_gone();
    }
}

/// Both replicas at once, without grace.
fn kill_operators() {
    let _ = kubectl(&[
        "delete",
        "pods",
        "-n",
        "kubeonkube-system",
        "-l",
        "app.kubernetes.io/name=cluster-operator",
        "--grace-period=0",
        "--force",
        "--wait=false",
    ]);
}
