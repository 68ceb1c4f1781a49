//! The invariants of docs/invariants.md, looked for in every change of a run.

use std::collections::BTreeMap;

use kok_api::names;
use kok_plan::version::Version;
use serde_json::Value;

use super::compare::{by_operator, effect};
use crate::api::{Change, Key, Verb};
use crate::call::META;
use crate::ledger::{Served, What};
use crate::run::Run;
use crate::world::{deleting, label, text};

/// Secrets that are made once.
const ONCE: [&str; 5] = ["ca", "etcd-ca", "front-proxy-ca", "sa", "encryption"];

/// Every invariant that a run breaks, with the moment.
pub(super) fn broken(run: &Run) -> Vec<String> {
    let mut broken = Vec::new();
    let mut objects: BTreeMap<&Key, &Value> = BTreeMap::new();
    let mut minted: BTreeMap<(Key, String), usize> = BTreeMap::new();
    for change in &run.history {
        if by_operator(change) {
            broken.extend(keys(change, &mut minted));
            broken.extend(deletions(change, &objects));
            broken.extend(versions(change, &objects));
            broken.extend(foreign(change));
        }
        match &change.after {
            Some(object) => objects.insert(&change.key, object),
            None => objects.remove(&change.key),
        };
    }
    for (place, history) in &run.inside {
        let ours = history.iter().filter(|change| by_operator(change));
        broken.extend(
            ours.filter_map(foreign)
                .map(|problem| format!("{problem} inside {place}")),
        );
    }
    for entry in &run.entries {
        if let What::Call(served) = &entry.what {
            broken.extend(stray(served));
        }
    }
    for risk in &run.risks {
        let ended_by = run.history.iter().find(|change| {
            effect(change) == Some("delete")
                && change
                    .before
                    .as_ref()
                    .is_some_and(|pod| text(pod, "/metadata/uid") == risk.pod)
        });
        if ended_by.is_some_and(by_operator) {
            broken.push(format!("invariant 1: {}", risk.what));
        }
    }
    broken
}

/// Invariant 2: no key is made twice or replaced.
fn keys(change: &Change, minted: &mut BTreeMap<(Key, String), usize>) -> Option<String> {
    if change.key.resource != "secrets" || !ONCE.contains(&change.key.name.as_str()) {
        return None;
    }
    let data = |object: &Option<Value>| object.as_ref().and_then(|it| it.get("data").cloned());
    match change.verb {
        Verb::Create => {
            let owner = change
                .after
                .as_ref()
                .map(|secret| text(secret, "/metadata/ownerReferences/0/uid"));
            let count = minted
                .entry((change.key.clone(), owner.unwrap_or_default().to_owned()))
                .or_default();
            *count += 1;
            (*count > 1).then(|| format!("invariant 2: {} is made {count} times", change.key))
        }
        Verb::Update if data(&change.before) != data(&change.after) => {
            Some(format!("invariant 2: the key in {} is replaced", change.key))
        }
        Verb::Delete => Some(format!("invariant 2: the key in {} is deleted", change.key)),
        Verb::Update => None,
    }
}

/// Invariant 2: volumes and namespaces go with their Cluster alone.
fn deletions(change: &Change, objects: &BTreeMap<&Key, &Value>) -> Option<String> {
    if effect(change) != Some("delete") {
        return None;
    }
    let cluster = change
        .before
        .as_ref()
        .map(|object| label(object, names::CLUSTER_LABEL));
    let key = Key::new("clusters.kubeonkube.io", None, cluster.unwrap_or_default());
    let goes = objects.get(&key).is_some_and(|cluster| deleting(cluster));
    let guarded =
        change.key.resource == "persistentvolumeclaims" || change.key.resource == "namespaces" && !goes;
    guarded.then(|| format!("invariant 2: {} is deleted without its Cluster", change.key))
}

/// Invariant 4: one minor at a time, never down a minor, and no controller newer than an apiserver.
fn versions(change: &Change, objects: &BTreeMap<&Key, &Value>) -> Option<String> {
    if change.key.resource != "deployments.apps" {
        return None;
    }
    let version = |object: Option<&Value>| image_version(object?, "/spec/template/spec/containers/0/image");
    let after = version(change.after.as_ref())?;
    if let Some(before) = version(change.before.as_ref())
        && !kok_plan::version::may_move(before, after)
    {
        return Some(format!(
            "invariant 4: {} goes from {before} to {after}",
            change.key
        ));
    }
    if !["kube-controller-manager", "kube-scheduler"].contains(&change.key.name.as_str()) {
        return None;
    }
    let older = objects
        .iter()
        .filter(|(key, pod)| {
            key.resource == "pods"
                && key.namespace == change.key.namespace
                && label(pod, names::COMPONENT_LABEL) == "kube-apiserver"
                && !deleting(pod)
        })
        .filter_map(|(_, pod)| image_version(pod, "/spec/containers/0/image"))
        .find(|apiserver| apiserver.minor < after.minor);
    older.map(|apiserver| {
        format!(
            "invariant 4: {} goes to {after} while an apiserver runs {apiserver}",
            change.key
        )
    })
}

fn image_version(object: &Value, pointer: &str) -> Option<Version> {
    text(object, pointer).rsplit_once(":v")?.1.parse().ok()
}

/// Nothing that is not ours is changed.
fn foreign(change: &Change) -> Option<String> {
    let before = change.before.as_ref()?;
    let ours = change.key.resource == "clusters.kubeonkube.io"
        || label(before, names::MANAGED_BY_LABEL) == names::MANAGED_BY;
    (!ours).then(|| format!("{} is not ours and is changed", change.key))
}

/// A look at one Cluster touches nothing of another.
fn stray(served: &Served) -> Option<String> {
    let call = &served.call;
    served.write?;
    let namespace = names::cluster_namespace(&call.cluster);
    let at_home = if call.server == META {
        call.namespace.as_deref() == Some(namespace.as_str())
            || call.resource == "namespaces" && call.name == namespace
            || call.resource == "clusters.kubeonkube.io" && call.name == call.cluster
    } else {
        call.server == namespace
    };
    (call.cluster.is_empty() || !at_home)
        .then(|| format!("{call}: a write on behalf of Cluster {:?}", call.cluster))
}
