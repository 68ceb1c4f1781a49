//! Invariants of plans, kept apart from the code that makes them (docs/invariants.md). Run in tests and debug builds.

use kok_api::names;

use super::view::ClusterView;
use super::{Action, DeleteReason, Plan, pod_ready};
use crate::kind::{CLAIM, NAMESPACE, POD, SECRET};
use crate::object::{Live, ObjectKey};

/// Every invariant that `plan` breaks; empty for a good plan.
pub fn violations(view: &ClusterView, plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    let deleting = view.cluster.metadata.deletion_timestamp.is_some();
    let mut pods_replaced = Vec::new();
    for action in &plan.actions {
        if let Action::Delete { key, reason, .. } = action {
            if key.kind == CLAIM || (key.kind == NAMESPACE && !deleting) {
                found.push(format!("invariant 2: {key} is deleted without a deleted Cluster"));
            }
            if key.kind == SECRET && !key.name.starts_with("user-") {
                found.push(format!("invariant 2: {key} may hold a key"));
            }
            if key.kind == POD && *reason != DeleteReason::PodEnded {
                pods_replaced.push(key);
            }
            if key.kind != NAMESPACE && key.namespace.as_deref() != Some(view.namespace_name().as_str()) {
                found.push(format!("invariant 10: {key} is not this Cluster's"));
            }
        }
        if let Action::Mint(mint) = action
            && mint.recipe.material.irreplaceable()
            && (mint.replaces.is_some() || view.secrets.contains_key(&mint.recipe.name))
        {
            found.push(format!(
                "invariant 2: key in Secret {} would be replaced",
                mint.recipe.name
            ));
        }
    }
    found.extend(quorum_broken(view, &pods_replaced));
    if !deleting && plan.actions.contains(&Action::RemoveFinalizer) {
        found.push("the finalizer is removed from a Cluster that is not deleted".into());
    }
    found
}

/// Invariant 1: one etcd pod at a time, and one that is ready only while the ready ones that stay are a quorum of all.
fn quorum_broken(view: &ClusterView, replaced: &[&ObjectKey]) -> Option<String> {
    let [key] = replaced else {
        return (replaced.len() > 1)
            .then(|| format!("invariant 1: {} etcd pods are deleted at once", replaced.len()));
    };
    let members: Vec<(&ObjectKey, &Live)> = view
        .objects
        .iter()
        .filter(|(key, live)| key.kind == POD && live.label(names::MEMBER_LABEL).is_some())
        .collect();
    let serving = |live: &Live| pod_ready(live) && !live.deleting;
    let victim_serves = view.objects.get(key).is_some_and(serving);
    let staying = members
        .iter()
        .filter(|(other, live)| other != key && serving(live))
        .count();
    let alone = members.len() == 1;
    (victim_serves && !alone && staying <= members.len() / 2)
        .then(|| format!("invariant 1: {key} is deleted and only {staying} ready members stay"))
}
