//! Bad input is rejected at submission or shown as `Valid=False`; what runs keeps running.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

use kok_e2e::{Cluster, document, kubectl_with, minimal};
use serde_json::{Value, json};

fn with(path: &str, value: Value) -> Value {
    let mut spec = minimal(30450);
    let mut at = &mut spec;
    for part in path.split('/') {
        at = &mut at[part];
    }
    *at = value;
    spec
}

#[test]
#[ignore = "needs the lab"]
fn the_api_server_rejects_and_says_why() {
    let user = |name: &str, groups: &[&str]| json!([{"name": name, "groups": groups}]);
    let extension = json!({"name": "dns", "version": "1.0.0", "template": {"builtin": "coredns"}});
    let long = "a".repeat(41);
    let cases = [
        ("c", with("version", json!("1.36")), "version"),
        ("c", with("version", json!("latest")), "version"),
        ("c", with("mode", json!("Twin")), "mode"),
        ("c", with("network/podCIDR", json!("10.96.0.0/12")), "overlap"),
        ("c", with("network/podCIDR", json!("10.96.0.0/99")), "CIDR"),
        ("c", with("apiserver/replicas", json!(0)), "replicas"),
        (
            "c",
            with("users", user("eve", &["system:masters"])),
            "system:masters",
        ),
        (
            "c",
            with("users", json!([{"name": "a"}, {"name": "a"}])),
            "uplicate",
        ),
        ("c", with("extensions", json!([extension, extension])), "uplicate"),
        (long.as_str(), minimal(30450), "40"),
    ];
    for (name, spec, word) in cases {
        let answer = kubectl_with(&document(name, &spec), &["create", "--dry-run=server", "-f", "-"]);
        let message = answer.expect_err(&format!("{name} {spec} was accepted"));
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
}

#[test]
#[ignore = "needs the lab"]
fn the_operator_says_what_is_wrong_and_other_clusters_go_on() {
    let cases = [
        (
            "flag",
            with("apiserver/args", json!({"no-such-flag": "1"})),
            "no such flag",
        ),
        (
            "refused",
            with("apiserver/args", json!({"anonymous-auth": "true"})),
            "refused",
        ),
        (
            "class",
            with("etcd/storage/claimTemplate/storageClassName", json!("none")),
            "no StorageClass",
        ),
        (
            "template",
            with(
                "extensions",
                json!([{"name": "own", "version": "1", "template": {"configMap": "absent"}}]),
            ),
            "absent",
        ),
    ];
    for (name, spec, word) in cases {
        let cluster = Cluster::submit(&format!("bad-{name}"), &spec);
        cluster.wait("Valid", "False", 20);
        let valid = cluster.condition("Valid");
        assert!(valid.contains(word), "no {word:?} in: {valid}");
    }
}
