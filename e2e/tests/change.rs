//! What changes in a running Cluster: versions, certificates, extensions; clients notice nothing.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kok_e2e::{Cluster, Polling, apply, document, eventually, kubectl, kubectl_with, minimal, must};
use serde_json::{Value, json};

const ADMIN: &str = "admin-kubeconfig";

/// Serial numbers of the certificates that the status lists.
fn serials(name: &str) -> BTreeSet<String> {
    let template = "jsonpath={range .status.certificates[*]}{.name}={.issuedSerial}{\"\\n\"}{end}";
    must(&["get", "cluster", name, "-o", template])
        .lines()
        .map(String::from)
        .collect()
}

#[test]
#[ignore = "needs the lab"]
fn certificates_are_renewed_and_no_client_notices() {
    let mut spec = minimal(30461);
    spec["certificates"] = json!({"validity": "8m", "renewBefore": "7m"});
    let cluster = Cluster::submit("renewal", &spec);
    cluster.wait("Available", "True", 120);
    cluster.wait("UpToDate", "True", 120);
    let first = serials("renewal");
    assert!(first.len() > 10, "{first:?}");
    // The kubeconfig of now stays good for all of its eight minutes.
    let polling = Polling::start(&cluster, ADMIN);
    let since = Instant::now();
    // With eight minutes of life, each is due 178 to 192 s after it was issued.
    eventually("every certificate but the CAs is another one", 240, || {
        let kept: Vec<_> = serials("renewal")
            .intersection(&first)
            .filter(|line| {
                !["ca", "etcd-ca", "front-proxy-ca"].contains(&line.split('=').next().unwrap_or_default())
            })
            .cloned()
            .collect();
        if kept.is_empty() {
            Ok(())
        } else {
            Err(format!("{kept:?}"))
        }
    });
    assert!(
        since.elapsed() > Duration::from_secs(10),
        "they were renewed before it was time"
    );
    cluster.wait("UpToDate", "True", 120);
    // The new serving certificate is what clients get.
    std::thread::sleep(Duration::from_secs(10));
    polling.stop_without_a_failure(100);
    assert!(
        cluster.business(ADMIN, &["get", "--raw", "/readyz"]).is_ok(),
        "the new kubeconfig works"
    );
    cluster.delete_and_see_it_gone();
}

#[test]
#[ignore = "needs the lab"]
fn versions_go_up_one_minor_and_no_client_notices() {
    let mut spec = minimal(30462);
    spec["version"] = json!("1.35.4");
    let cluster = Cluster::submit("upgrade", &spec);
    cluster.wait("Available", "True", 120);
    cluster.wait("UpToDate", "True", 120);
    cluster
        .business(ADMIN, &["create", "configmap", "kept", "--from-literal=a=b"])
        .unwrap();

    let edits = [
        ("/version", json!("1.37.0"), "minor"),
        ("/version", json!("1.34.0"), "minor"),
        ("/network/podCIDR", json!("10.16.0.0/12"), "immutable"),
        ("/network/dnsDomain", json!("other.example"), "immutable"),
    ];
    for (pointer, value, word) in edits {
        let mut wrong = spec.clone();
        match wrong.pointer_mut(pointer) {
            Some(field) => *field = value,
            None => wrong["network"]["dnsDomain"] = value,
        }
        let arguments = ["apply", "--server-side", "--dry-run=server", "-f", "-"];
        let message = kubectl_with(&document("upgrade", &wrong), &arguments).expect_err(pointer);
        assert!(message.contains(word), "{pointer}: no {word:?} in: {message}");
    }

    let polling = Polling::start(&cluster, ADMIN);
    spec["version"] = json!("1.36.3");
    cluster.edit(&spec);
    cluster.wait("UpToDate", "True", 240);
    cluster.wait("Available", "True", 30);
    polling.stop_without_a_failure(10);
    let version = cluster.business(ADMIN, &["version", "-o", "json"]).unwrap();
    let version: Value = serde_json::from_str(&version).unwrap();
    assert_eq!(version["serverVersion"]["gitVersion"], "v1.36.3");
    assert!(
        cluster.business(ADMIN, &["get", "configmap", "kept"]).is_ok(),
        "data was lost"
    );
    let history = must(&[
        "get",
        "cluster",
        "upgrade",
        "-o",
        "jsonpath={.status.version.history[*].version}",
    ]);
    assert_eq!(history, "1.36.3 1.35.4");
    cluster.delete_and_see_it_gone();
}

/// A template ConfigMap in the operator's namespace.
fn template(name: &str, text: &str) {
    apply(&json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "kubeonkube-system"},
        "data": {"objects.yaml.j2": text},
    }));
}

#[test]
#[ignore = "needs the lab"]
fn extensions_follow_their_templates_and_a_refused_one_stops_no_other() {
    let map = |name: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: default}}\ndata: {{who: {{{{ cluster.name }}}}}}\n"
        )
    };
    template("own", &format!("{}---\n{}", map("stays"), map("goes")));
    // The API server refuses it: a Service needs ports.
    template(
        "refused",
        "apiVersion: v1\nkind: Service\nmetadata: {name: refused}\nspec: {type: NodePort}\n",
    );
    let mut spec = minimal(30463);
    spec["extensions"] = json!([
        {"name": "refused", "version": "1", "template": {"configMap": "refused"}},
        {"name": "own", "version": "1", "template": {"configMap": "own"}},
    ]);
    let cluster = Cluster::submit("extended", &spec);
    cluster.wait("Available", "True", 120);
    let look =
        |name: &str| cluster.business(ADMIN, &["get", "configmap", name, "-o", "jsonpath={.data.who}"]);
    let who = eventually("the other extension's objects are there", 60, || look("goes"));
    assert_eq!(who, "extended");
    eventually("the refusal is told", 60, || {
        let told = cluster.condition("ExtensionsReady");
        if told.contains("refused") && told.contains("ports") {
            Ok(())
        } else {
            Err(told)
        }
    });

    template("own", &map("stays"));
    eventually("what left the template is gone", 60, || match look("goes") {
        Ok(_) => Err("it is there".into()),
        Err(_) => Ok(()),
    });
    assert_eq!(look("stays").unwrap(), "extended");

    // A template that does not render is told, and what it gave stays.
    template(
        "own",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ no.such.thing }}}\n",
    );
    cluster.wait("Valid", "False", 60);
    assert!(look("stays").is_ok());
    // Forbidden kinds.
    template("own", "apiVersion: v1\nkind: Node\nmetadata: {name: own}\n");
    eventually("the kind is named", 60, || {
        let told = cluster.condition("Valid");
        if told.contains("Node") { Ok(()) } else { Err(told) }
    });
    spec["extensions"] = json!([]);
    cluster.edit(&spec);
    cluster.wait("UpToDate", "True", 60);
    assert!(look("stays").is_err(), "objects of a removed extension are there");
    for name in ["own", "refused"] {
        must(&["delete", "configmap", "-n", "kubeonkube-system", name]);
    }
    cluster.delete_and_see_it_gone();
}

#[test]
#[ignore = "needs the lab"]
fn a_cluster_that_cannot_start_says_why_and_delays_no_other() {
    let mut broken = minimal(30464);
    broken["placement"] = json!({"nodeSelector": {"no-such-label": "x"}});
    let broken = Cluster::submit("nowhere", &broken);
    let second = Cluster::submit("taken", &minimal(30464));
    let good = Cluster::submit("beside", &minimal(30465));
    good.wait("Available", "True", 60);
    eventually("the scheduler's reason is shown", 30, || {
        let told = broken.condition("EtcdReady");
        if told.contains("node(s)") {
            Ok(())
        } else {
            Err(told)
        }
    });
    let told = second.condition("Valid");
    assert!(told.contains("taken by Service cluster-nowhere/"), "{told}");
    assert!(
        kubectl(&["get", "namespace", "cluster-taken"]).is_err(),
        "a refused Cluster got a namespace"
    );
    broken.delete_and_see_it_gone();
    // The port is free now.
    second.wait("Valid", "True", 90);
    second.delete_and_see_it_gone();
    good.delete_and_see_it_gone();
}
