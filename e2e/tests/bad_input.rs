//! Bad input is rejected at submission or shown as `Valid=False`; what runs keeps running, and other Clusters go on.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

use kok_e2e::{Cluster, apply, document, eventually, kubectl, kubectl_with, minimal, must};
use serde_json::{Value, json};

const PORT: u16 = 30450;

/// A Minimal Cluster's spec with some fields set, each by its path.
fn with(fields: &[(&str, Value)]) -> Value {
    let mut spec = minimal(PORT);
    spec["network"] = json!({"podCIDR": "10.32.0.0/12", "serviceCIDR": "10.112.0.0/16"});
    for (path, value) in fields {
        let at = path.split('/').fold(&mut spec, |at, part| &mut at[part]);
        *at = value.clone();
    }
    spec
}

fn claim(fields: &Value) -> Value {
    let mut claim = json!({"resources": {"requests": {"storage": "1Gi"}}});
    claim
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    with(&[("etcd/storage", json!({"claimTemplate": claim}))])
}

fn refused_at_submission(name: &str, spec: &Value, words: &str) {
    let answer = kubectl_with(&document(name, spec), &["create", "--dry-run=server", "-f", "-"]);
    let message = answer.expect_err(&format!("{name} {spec} was accepted"));
    assert!(message.contains(words), "no {words:?} in: {message}");
}

fn all_refused_at_submission(cases: &[(Value, &str)]) {
    for (spec, words) in cases {
        refused_at_submission("c", spec, words);
    }
}

#[test]
#[ignore = "needs the lab"]
fn bad_names_versions_and_flags_are_refused_at_submission() {
    let set = |path: &str, value: Value| with(&[(path, value)]);
    let version = |text: &str| set("version", json!(text));
    let flags = |args: Value| set("apiserver/args", args);
    let many: serde_json::Map<_, _> = (0..51).map(|flag| (format!("flag-{flag}"), json!("1"))).collect();
    all_refused_at_submission(&[
        (version("1.36"), r#"spec.version: Invalid value: "1.36""#),
        (version("latest"), r#"spec.version: Invalid value: "latest""#),
        (version("1.36.007"), r#"spec.version: Invalid value: "1.36.007""#),
        (version("v1.36.3"), r#"spec.version: Invalid value: "v1.36.3""#),
        (
            set("scheduler/version", json!("1.036.3")),
            "spec.scheduler.version: Invalid",
        ),
        (
            set("etcd/version", json!("3.6")),
            r#"spec.etcd.version: Invalid value: "3.6""#,
        ),
        (set("mode", json!("Twin")), r#"Unsupported value: "Twin""#),
        (set("apiserver/replicas", json!(2)), "replicas must be odd"),
        (
            set("apiserver/replicas", json!(0)),
            "should be greater than or equal to 1",
        ),
        (
            flags(json!({"anonymous_auth": "true"})),
            "flags are named without leading dashes",
        ),
        (
            flags(json!({"--v": "2"})),
            "flags are named without leading dashes",
        ),
        (flags(Value::Object(many)), "must have at most 50 items"),
        (
            flags(json!({"feature-gates": "x".repeat(2001)})),
            "may not be more than 2000",
        ),
    ]);
    refused_at_submission(&"a".repeat(41), &with(&[]), "at most 40 characters");
    refused_at_submission("9lives", &with(&[]), "starts with a letter");
    // The base of all these is good.
    kubectl_with(
        &document("c", &with(&[])),
        &["create", "--dry-run=server", "-f", "-"],
    )
    .unwrap();
}

#[test]
#[ignore = "needs the lab"]
fn bad_networks_and_endpoints_are_refused_at_submission() {
    let pods = |text: &str| with(&[("network/podCIDR", json!(text))]);
    let services = |text: &str| with(&[("network/serviceCIDR", json!(text))]);
    let endpoint = |endpoint: Value| with(&[("endpoint", endpoint)]);
    let host = |host: &str| with(&[("endpoint/host", json!(host))]);
    let sans = |name: &str| with(&[("endpoint/extraSANs", json!([name]))]);
    let no_host = "host must be a DNS name or an IPv4 address";
    all_refused_at_submission(&[
        (pods("10.96.0.0/11"), "podCIDR and serviceCIDR overlap"),
        (services("10.33.0.0/16"), "podCIDR and serviceCIDR overlap"),
        (pods("10.32.0.0/99"), "podCIDR must be a network such as"),
        (pods("10.32.0.1/12"), "podCIDR must be a network such as"),
        (pods("10.32.0.0/25"), "podCIDR must be a /24 or larger"),
        (pods("fd00::/56"), "podCIDR must be an IPv4 network"),
        (
            services("10.112.0.0/29"),
            "serviceCIDR must have 16 to 2^20 addresses",
        ),
        (services("fd00::/112"), "serviceCIDR must be an IPv4 network"),
        (
            with(&[("network/dnsDomain", json!("Cluster_local"))]),
            "spec.network.dnsDomain: Invalid",
        ),
        (host("1:2"), no_host),
        (host("fd00::1"), no_host),
        (host("10.77.0.256"), no_host),
        (host("127.0.0.1"), no_host),
        (endpoint(json!({"type": "DNSRoundRobin"})), "host is required"),
        (
            endpoint(json!({"type": "DNSRoundRobin", "host": "10.77.0.11"})),
            "type DNSRoundRobin needs a DNS name",
        ),
        (
            with(&[("endpoint/port", json!(6443))]),
            "needs port within 30000-32767",
        ),
        (sans("1:2"), "extraSANs must be DNS names or IP addresses"),
        (sans("10.0.0"), "extraSANs must be DNS names or IP addresses"),
        (
            with(&[("nodeOperator", json!({"allowedCIDRs": ["10.0.0.1/8"]}))]),
            "allowedCIDRs must be networks",
        ),
    ]);
}

#[test]
#[ignore = "needs the lab"]
fn bad_users_and_extensions_are_refused_at_submission() {
    let users = |users: Value| with(&[("users", users)]);
    let group = |group: &str| users(json!([{"name": "eve", "groups": [group]}]));
    let extension = |name: &str| json!({"name": name, "version": "1", "template": {"builtin": "coredns"}});
    let extensions = |extensions: Value| with(&[("extensions", extensions)]);
    let validity = |text: &str| with(&[("certificates", json!({"validity": text, "renewBefore": "1m"}))]);
    all_refused_at_submission(&[
        (
            validity("30m1h"),
            r#"spec.certificates.validity: Invalid value: "30m1h""#,
        ),
        (validity("1m"), "validity must be between 5m and 87600h"),
        (
            users(json!([{"name": "a", "validity": "30m1h"}])),
            "spec.users[0].validity: Invalid",
        ),
        (
            users(json!([{"name": "a", "validity": "1m"}])),
            "validity must be between 5m and 87600h",
        ),
        (
            users(json!([{"name": "a"}, {"name": "a"}])),
            "spec.users[1]: Duplicate value",
        ),
        (
            users(json!([{"name": "kubeonkube:kubelet-client"}])),
            "spec.users[0].name: Invalid",
        ),
        (group("system:masters"), "group system:masters is refused"),
        (group("system:nodes"), "groups system:* are refused"),
        (
            group("kubeonkube:node-operators"),
            "groups kubeonkube:* are refused",
        ),
        (
            extensions(json!([extension("a"), extension("a")])),
            "spec.extensions[1]: Duplicate value",
        ),
        (
            extensions(json!([extension("bootstrap")])),
            "name bootstrap is taken",
        ),
    ]);
}

#[test]
#[ignore = "needs the lab"]
fn bad_storage_and_placement_are_refused_at_submission() {
    let storage = |storage: Value| with(&[("etcd/storage", storage)]);
    let placement = |placement: Value| with(&[("placement", placement)]);
    let snapshot = json!({"dataSource": {"kind": "PersistentVolumeClaim", "name": "a"}});
    all_refused_at_submission(&[
        (
            storage(json!({})),
            "set exactly one of claimTemplate and volumeSource",
        ),
        (
            storage(json!({"claimTemplate": {}})),
            "claimTemplate needs resources.requests.storage",
        ),
        (
            storage(json!({"volumeSource": {"hostPath": {"path": "/"}}})),
            "volumeSource.hostPath",
        ),
        (
            claim(&json!({"volumeName": "pv"})),
            "claimTemplate must not set volumeName",
        ),
        (
            claim(&snapshot),
            "claimTemplate must not set volumeName, dataSource",
        ),
        (
            claim(&json!({"volumeMode": "Block"})),
            "claimTemplate.volumeMode must be Filesystem",
        ),
        (
            claim(&json!({"accessModes": ["ReadOnlyMany"]})),
            "must not have ReadOnlyMany",
        ),
        (
            placement(json!({"topologyKey": "a b"})),
            "spec.placement.topologyKey: Invalid",
        ),
        (
            placement(json!({"nodeSelector": {"a b": "c"}})),
            "nodeSelector must name labels",
        ),
    ]);
}

/// A ConfigMap with one template in the operator's namespace; gone with the test.
struct Template(&'static str);

impl Template {
    fn new(name: &'static str, text: &str) -> Self {
        apply(&json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "kubeonkube-system"},
            "data": {"own.yaml.j2": text},
        }));
        Self(name)
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        let _ = kubectl(&["delete", "configmap", "-n", "kubeonkube-system", self.0]);
    }
}

fn told(cluster: &Cluster, words: &str) {
    eventually(&format!("Valid=False with {words:?}"), 20, || {
        let valid = cluster.condition("Valid");
        if valid.starts_with("False ") && valid.contains(words) {
            Ok(())
        } else {
            Err(valid)
        }
    });
}

/// The Cluster is reconciled: what is deleted returns.
fn goes_on(cluster: &Cluster) {
    let namespace = cluster.namespace();
    must(&["delete", "configmap", "-n", &namespace, "apiserver-config"]);
    eventually("the deleted ConfigMap is there again", 20, || {
        kubectl(&["get", "configmap", "-n", &namespace, "apiserver-config"])
    });
}

/// The spec that is acted upon and the identity of the etcd member: what must stay when an edit is refused.
fn acted_upon(cluster: &Cluster) -> String {
    let namespace = cluster.namespace();
    let look = |object: &str, field: &str| {
        let path = format!("jsonpath={{{field}}}");
        eventually(&format!("{object} is there"), 30, || {
            kubectl(&["get", object, "-n", &namespace, "-o", &path])
        })
    };
    look("configmap/accepted-spec", ".metadata.resourceVersion") + &look("pod/etcd-0", ".metadata.uid")
}

#[test]
#[ignore = "needs the lab"]
fn the_operator_says_what_is_wrong_and_other_clusters_go_on() {
    let good = Cluster::submit("beside", &with(&[("endpoint/port", json!(30449))]));
    good.wait("Valid", "True", 20);
    let extension = |template: &str| {
        let extension = json!({"name": "own", "version": "1", "template": {"configMap": template}});
        with(&[("extensions", json!([extension]))])
    };
    let _templates = [
        Template::new(
            "bad-undefined",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ no.such.thing }}}\n",
        ),
        Template::new("bad-kind", "apiVersion: v1\nkind: Node\nmetadata: {name: own}\n"),
    ];
    let cases = [
        (
            "minor",
            with(&[("version", json!("1.99.0"))]),
            "spec.version 1.99.0 is of a minor that this operator does not know",
        ),
        (
            "etcd",
            with(&[("etcd/version", json!("3.9.1"))]),
            "spec.etcd.version 3.9.1 is of a minor that this operator does not know",
        ),
        (
            "skew",
            with(&[("apiserver/version", json!("1.35.4"))]),
            "kube-scheduler at 1.36.3 cannot work with an apiserver at 1.35.4",
        ),
        (
            "flag",
            with(&[("apiserver/args", json!({"no-such-flag": "1"}))]),
            "spec.apiserver.args.no-such-flag: kube-apiserver 1.36.3 has no such flag",
        ),
        (
            "refused",
            with(&[("apiserver/args", json!({"anonymous-auth": "true"}))]),
            "spec.apiserver.args.anonymous-auth is refused",
        ),
        (
            "mask",
            with(&[("controllerManager/args", json!({"node-cidr-mask-size": "8"}))]),
            "must be a number from 12 to 30",
        ),
        (
            "class",
            claim(&json!({"storageClassName": "none"})),
            "the meta cluster has no StorageClass \"none\"",
        ),
        (
            "port",
            with(&[("endpoint/port", json!(30449))]),
            "spec.endpoint.port 30449 is taken by",
        ),
        (
            "absent",
            extension("absent"),
            "ConfigMap \"absent\" is not in namespace kubeonkube-system",
        ),
        (
            "undefined",
            extension("bad-undefined"),
            "template bad-undefined/own.yaml.j2 does not render",
        ),
        (
            "kind",
            extension("bad-kind"),
            "Node (v1) is not among the kinds that a template may name",
        ),
    ];
    let bad: Vec<Cluster> = cases
        .iter()
        .map(|(name, spec, _)| Cluster::submit(&format!("bad-{name}"), spec))
        .collect();
    for (cluster, (_, _, words)) in bad.iter().zip(&cases) {
        told(cluster, words);
        assert!(
            kubectl(&["get", "namespace", &cluster.namespace()]).is_err(),
            "something was made for {}",
            cluster.namespace()
        );
    }
    goes_on(&good);
}

#[test]
#[ignore = "needs the lab"]
fn a_bad_edit_changes_nothing_that_runs() {
    let base = with(&[]);
    let cluster = Cluster::submit("edited", &base);
    cluster.wait("Valid", "True", 20);
    let before = acted_upon(&cluster);

    let rejected = [
        (
            with(&[("network/podCIDR", json!("10.16.0.0/12"))]),
            "network is immutable",
        ),
        (
            with(&[("network/serviceCIDR", json!("10.114.0.0/16"))]),
            "network is immutable",
        ),
        (
            with(&[("network/dnsDomain", json!("other.example"))]),
            "network is immutable",
        ),
        (
            with(&[("etcd/storage", json!({"volumeSource": {"emptyDir": {}}}))]),
            "storage cannot change between claimTemplate and volumeSource",
        ),
    ];
    for (spec, words) in rejected {
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        let message = kubectl_with(&document("edited", &spec), &apply).expect_err(words);
        assert!(message.contains(words), "no {words:?} in: {message}");
    }
    let told_later = [
        (
            with(&[("scheduler/version", json!("1.35.4"))]),
            "kube-scheduler cannot go from 1.36.3 to 1.35.4",
        ),
        (
            with(&[("mode", json!("Standard"))]),
            "spec.mode cannot go from Minimal to Standard",
        ),
        (
            claim(&json!({"resources": {"requests": {"storage": "2Gi"}}})),
            "spec.etcd.storage cannot change",
        ),
        (
            with(&[(
                "endpoint",
                json!({"type": "DNSRoundRobin", "host": "api.example"}),
            )]),
            "spec.endpoint.type cannot go from NodePort to DNSRoundRobin",
        ),
        (
            with(&[("apiserver/encryption", json!({"provider": "aescbc"}))]),
            "spec.apiserver.encryption.provider cannot go",
        ),
        (
            with(&[("etcd/replacePolicy", json!("OnPodDelete"))]),
            "OnPodDelete is not supported yet",
        ),
    ];
    for (spec, words) in told_later {
        cluster.edit(&spec);
        told(&cluster, words);
        goes_on(&cluster);
    }
    assert_eq!(acted_upon(&cluster), before, "a refused edit was acted upon");
    cluster.edit(&base);
    cluster.wait("Valid", "True", 20);
    assert_eq!(acted_upon(&cluster), before);
}
