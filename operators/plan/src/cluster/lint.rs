//! Invariants of plans, kept apart from the code that makes them (docs/invariants.md). Run in tests and debug builds.

use super::view::ClusterView;
use super::{Action, Plan};
use crate::kind::{CLAIM, NAMESPACE, POD, SECRET};

/// Every invariant that `plan` breaks; empty for a good plan.
pub fn violations(view: &ClusterView, plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    let deleting = view.cluster.metadata.deletion_timestamp.is_some();
    let mut pods_deleted = 0;
    for action in &plan.actions {
        if let Action::Delete { key, .. } = action {
            if key.kind == CLAIM || (key.kind == NAMESPACE && !deleting) {
                found.push(format!("invariant 2: {key} is deleted without a deleted Cluster"));
            }
            if key.kind == SECRET && !key.name.starts_with("user-") {
                found.push(format!("invariant 2: {key} may hold a key"));
            }
            if key.kind == POD {
                pods_deleted += 1;
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
    let ended = plan
        .actions
        .iter()
        .filter(|action| matches!(action, Action::Delete { key, reason, .. } if key.kind == POD && reason.contains("ended")))
        .count();
    if pods_deleted > ended + 1 {
        found.push(format!(
            "invariant 1: {pods_deleted} etcd pods are deleted at once"
        ));
    }
    if !deleting && plan.actions.contains(&Action::RemoveFinalizer) {
        found.push("the finalizer is removed from a Cluster that is not deleted".into());
    }
    found
}
