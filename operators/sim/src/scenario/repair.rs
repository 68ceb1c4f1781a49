//! Objects of a Cluster are deleted and edited by hand.

use kok_api::names;
use serde_json::{Value, json};

use super::{Complaints, Scenario, expect_rest, expect_running, runs, sample};
use crate::api::{ApiServer, Key};
use crate::exchange::lock;
use crate::sim::Sim;
use crate::world::{label, text, uid};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "repair-deleted",
            about: "every owned object but keys and volumes is deleted by hand, one after another",
            script: |sim, complaints| Box::pin(deleted(sim, complaints)),
            like: None,
        },
        Scenario {
            name: "repair-edited",
            about: "one owned object of each kind is edited by hand",
            script: |sim, complaints| Box::pin(edited(sim, complaints)),
            like: None,
        },
    ]
}

const NAMESPACE: &str = "cluster-standard";

/// What people must not delete: keys cannot be made again, and a member's volume is its data.
fn is_irreplaceable(key: &Key) -> bool {
    key.resource == "persistentvolumeclaims"
        || key.resource == "secrets"
            && ["ca", "etcd-ca", "front-proxy-ca", "sa", "encryption"].contains(&key.name.as_str())
}

fn ours(server: &ApiServer, within: impl Fn(&Key) -> bool) -> Vec<(Key, Value)> {
    let managed = |object: &Value| {
        label(object, names::MANAGED_BY_LABEL) == names::MANAGED_BY
            && object
                .pointer("/metadata/ownerReferences/0/kind")
                .is_none_or(|kind| kind == "Cluster")
    };
    server
        .objects()
        .into_iter()
        .filter(|(key, object)| within(key) && managed(object) && !is_irreplaceable(key))
        .collect()
}

async fn deleted(sim: &Sim, complaints: &Complaints) {
    expect_running(sim, complaints, sample("standard")).await;
    sim.begin();
    let victims = ours(&sim.meta, |key| key.namespace.as_deref() == Some(NAMESPACE));
    if victims.len() < 30 {
        lock(complaints).push(format!("only {} objects to delete", victims.len()));
    }
    for (key, object) in victims {
        let _ = sim.delete(&key);
        let before = uid(&object).to_owned();
        let again = |sim: &Sim| sim.meta.get(&key).is_some_and(|object| uid(&object) != before);
        if !sim.until(180_000, again).await {
            lock(complaints).push(format!("{key} does not come again"));
        }
    }
    if let Some(business) = sim.world(|world| world.business(NAMESPACE)) {
        for (key, _) in ours(&business, |_| true) {
            let _ = business.delete("user", &key);
        }
    }
    expect_rest(sim, complaints, "all of it is there again", |sim| runs(sim, "standard")).await;
}

async fn edited(sim: &Sim, complaints: &Complaints) {
    expect_running(sim, complaints, sample("standard")).await;
    sim.begin();
    for (key, _) in ours(&sim.meta, |key| key.namespace.as_deref() == Some(NAMESPACE)) {
        let _ = sim.edit(&key, |object| spoil(&key, object));
    }
    if let Some(business) = sim.world(|world| world.business(NAMESPACE)) {
        for (key, _) in ours(&business, |_| true) {
            let _ = business.update("user", &key, |object| spoil(&key, object));
        }
    }
    expect_rest(sim, complaints, "nothing of the edits is left", |sim| {
        let whole = |server: &ApiServer| !server.objects().values().any(is_spoilt);
        let business = sim.world(|world| world.business(NAMESPACE));
        runs(sim, "standard") && whole(&sim.meta) && business.is_none_or(|business| whole(&business))
    })
    .await;
}

/// Changes something that the operator cares for.
fn spoil(key: &Key, object: &mut Value) {
    match key.resource.as_str() {
        "configmaps" => {
            if let Some(data) = object.get_mut("data").and_then(Value::as_object_mut) {
                data.values_mut().for_each(|value| *value = json!("spoilt"));
            }
        }
        "secrets" => object["data"]["tls.crt"] = json!("c3BvaWx0"),
        "services" => object["spec"]["selector"] = json!({"spoilt": "yes"}),
        "deployments.apps" => {
            object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("spoilt:v1.36.3");
        }
        "networkpolicies.networking.k8s.io" => object["spec"]["podSelector"] = json!({"matchLabels": {"spoilt": "yes"}}),
        "poddisruptionbudgets.policy" => object["spec"]["minAvailable"] = json!(0),
        "clusterroles.rbac.authorization.k8s.io" | "roles.rbac.authorization.k8s.io" => {
            object["rules"] = json!([{"apiGroups": ["spoilt"], "resources": ["*"], "verbs": ["get"]}]);
        }
        "clusterrolebindings.rbac.authorization.k8s.io" | "rolebindings.rbac.authorization.k8s.io" => {
            object["subjects"] = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "spoilt"}]);
        }
        _ => object["metadata"]["labels"][names::COMPONENT_LABEL] = json!("spoilt"),
    }
}

fn is_spoilt(object: &Value) -> bool {
    let managed = label(object, names::MANAGED_BY_LABEL) == names::MANAGED_BY;
    managed && (object.to_string().contains("spoilt") || text(object, "/data/tls.crt") == "c3BvaWx0")
}
