//! The state of a run without what differs between two good runs: names that chance gives, times, certificates.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regex::Regex;
use serde_json::{Value, json};

use crate::api::{Change, Key};
use crate::run::Run;
use crate::world::{text, uid};

/// Objects by a title that is the same in every good run.
pub type Masked = BTreeMap<String, Value>;

/// Objects that say nothing about where the system is.
const PASSING: [&str; 3] = ["leases.coordination.k8s.io", "events", "events.events.k8s.io"];

/// Fields that differ by nature, wherever they are.
const TIMES_AND_IDS: &[&str] = &[
    "resourceVersion",
    "creationTimestamp",
    "time",
    "lastTransitionTime",
    "notAfter",
    "certificatesNotAfter",
    "issuedSerial",
    "startedAt",
    "completedAt",
    "expires",
    "caHash",
    "clusterID",
    "id",
    "observedGeneration",
    "clusterIP",
    "clusterIPs",
    "restartCount",
    "volumeName",
];

/// Key of an owner in `fieldsV1`.
const OWNER: &str = "k:{\"uid\":\"";

static HASH: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\b[0-9a-f]{64}\b").ok());
static TIME: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\d{4}-\d\d-\d\dT[\d:.]+Z").ok());
static BASE64: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[A-Za-z0-9+/]{60,}={0,2}").ok());

/// The last state of a run.
pub fn masked(run: &Run) -> Masked {
    let mut masked = Masked::new();
    add(&mut masked, "", &run.objects);
    for (namespace, history) in &run.inside {
        add(&mut masked, &format!("inside {namespace}: "), &last(history));
    }
    masked
}

fn last(history: &[Change]) -> BTreeMap<Key, Value> {
    let mut objects = BTreeMap::new();
    for change in history {
        match &change.after {
            Some(object) => objects.insert(change.key.clone(), object.clone()),
            None => objects.remove(&change.key),
        };
    }
    objects
}

fn add(masked: &mut Masked, place: &str, objects: &BTreeMap<Key, Value>) {
    let names: BTreeMap<&str, String> = objects
        .iter()
        .map(|(key, object)| (uid(object), format!("<uid of {key}>")))
        .collect();
    let mut replicas = BTreeMap::<String, usize>::new();
    for (key, object) in objects {
        if PASSING.contains(&key.resource.as_str()) {
            continue;
        }
        let mut object = object.clone();
        let title = match replica_of(key, &object) {
            None => key.to_string(),
            // How many pods there were before is no matter.
            Some(deployment) => {
                let count = replicas.entry(deployment.clone()).or_default();
                *count += 1;
                object["metadata"]["name"] = json!("<name>");
                object["metadata"]["annotations"] = Value::Null;
                format!("{deployment} replica {count}")
            }
        };
        if key.resource != "clusters.kubeonkube.io" {
            object["metadata"]["generation"] = Value::Null;
        }
        object["metadata"]["uid"] = Value::Null;
        if key.resource == "secrets" {
            summarize(&mut object);
        }
        mask(&mut object, &names);
        masked.insert(format!("{place}{title}"), object);
    }
}

fn replica_of(key: &Key, pod: &Value) -> Option<String> {
    let owner = pod.pointer("/metadata/ownerReferences/0")?;
    let made = key.resource == "pods" && text(owner, "/kind") == "Deployment";
    made.then(|| {
        format!(
            "pods {}/{}",
            key.namespace.as_deref().unwrap_or_default(),
            text(owner, "/name")
        )
    })
}

/// Of what a Secret holds, what it is for.
fn summarize(secret: &mut Value) {
    let Some(data) = secret.get_mut("data").and_then(Value::as_object_mut) else {
        return;
    };
    for (name, value) in data {
        let decoded = value
            .as_str()
            .and_then(|text| STANDARD.decode(text).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .unwrap_or_default();
        *value = match (name.as_str(), kok_pki::inspect(&decoded)) {
            ("tls.crt" | "ca.crt", Ok(facts)) => json!({
                "commonName": facts.common_name,
                "organizations": facts.organizations,
                "dnsNames": facts.dns_names,
                "ipAddresses": facts.ip_addresses,
                "usage": facts.usage,
                "isCA": facts.is_ca,
                "issuer": facts.issuer_common_name,
                "lasts": facts.not_after.duration_since(facts.not_before).as_secs(),
            }),
            ("kubeconfig", _) => {
                let lines = decoded.lines().filter(|line| !line.contains("-data:"));
                json!(lines.collect::<Vec<_>>())
            }
            _ => json!("<secret>"),
        };
    }
}

fn mask(value: &mut Value, names: &BTreeMap<&str, String>) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            // Field managers name owners by their uid.
            let owners: Vec<String> = fields.keys().filter(|name| name.starts_with(OWNER)).cloned().collect();
            for owner in owners {
                let value = fields.remove(&owner).unwrap_or_default();
                fields.insert(format!("{OWNER}<uid>\"}}"), value);
            }
            for (name, value) in fields {
                if TIMES_AND_IDS.contains(&name.as_str()) && value != "None" {
                    *value = json!("<masked>");
                } else if name == "role" && (value == "Leader" || value == "Follower") {
                    *value = json!("<voter>");
                } else if name == "managedFields" {
                    sort_managers(value);
                    mask(value, names);
                } else {
                    mask(value, names);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| mask(item, names)),
        Value::String(text) => *text = masked_text(text, names),
        _ => {}
    }
}

/// Who wrote first is no matter.
fn sort_managers(managers: &mut Value) {
    if let Some(managers) = managers.as_array_mut() {
        managers.sort_by_key(|manager| {
            format!(
                "{} {} {}",
                text(manager, "/manager"),
                text(manager, "/operation"),
                text(manager, "/subresource")
            )
        });
    }
}

fn masked_text(found: &str, names: &BTreeMap<&str, String>) -> String {
    if let Some(name) = names.get(found) {
        return name.clone();
    }
    if let Some(token) = found.strip_prefix("--initial-cluster-token=") {
        return format!("--initial-cluster-token={}", masked_text(token, names));
    }
    // A matter of a member's first start alone.
    if found.starts_with("--initial-cluster-state=") {
        return "--initial-cluster-state=<state>".into();
    }
    if found.len() < 19 {
        return found.to_owned();
    }
    let mut result = found.to_owned();
    for (pattern, name) in [(&*HASH, "<hash>"), (&*TIME, "<time>"), (&*BASE64, "<base64>")] {
        if let Some(pattern) = pattern {
            result = pattern.replace_all(&result, name).into_owned();
        }
    }
    result
}
