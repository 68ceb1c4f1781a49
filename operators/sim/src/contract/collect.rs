//! The garbage collector, the end of namespaces, claims in use. Of a real cluster these need kube-controller-manager.

use serde_json::{Value, json};

use super::stage::{Expect, ensure, meta, same};
use super::{Failure, Outcome, Stage, behaviours, specs};

behaviours![
    what_an_object_owns_goes_with_it,
    what_a_cluster_scoped_object_owns_goes_with_it,
    what_has_another_owner_stays,
    what_names_an_absent_owner_goes,
    what_is_owned_goes_with_all_below_it,
    a_deletion_in_the_foreground_waits_for_what_is_owned,
    a_deletion_that_orphans_leaves_what_is_owned,
    a_namespace_goes_with_everything_in_it,
    a_namespace_waits_for_what_a_finalizer_holds,
    nothing_is_created_in_a_namespace_that_goes,
    a_namespace_that_is_owned_goes_with_its_owner,
    a_claim_waits_for_the_pod_that_uses_it,
    an_unused_claim_goes,
];

fn owned_by(mut object: Value, owners: &[&Value]) -> Value {
    let owners: Vec<Value> = owners
        .iter()
        .map(|owner| {
            json!({"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta(owner, "name"),
                "uid": meta(owner, "uid"), "blockOwnerDeletion": true})
        })
        .collect();
    object["metadata"]["ownerReferences"] = json!(owners);
    object
}

async fn config(stage: &Stage, name: &str, owners: &[&Value]) -> Result<Value, Failure> {
    let object = owned_by(stage.config(name, &json!({})), owners);
    Ok(stage.post("configmaps", &object).await?)
}

async fn what_an_object_owns_goes_with_it(stage: &Stage) -> Outcome {
    let owner = config(stage, "owner", &[]).await?;
    config(stage, "owned", &[&owner]).await?;
    stage
        .delete("configmaps/owner", &json!({"propagationPolicy": "Background"}))
        .await?;
    stage.gone("configmaps/owned").await
}

async fn what_a_cluster_scoped_object_owns_goes_with_it(stage: &Stage) -> Outcome {
    let owner = stage
        .post("clusters.kubeonkube.io", &specs::cluster("owner"))
        .await?;
    config(stage, "owned", &[&owner]).await?;
    stage.delete("clusters.kubeonkube.io/owner", &Value::Null).await?;
    stage.gone("configmaps/owned").await
}

async fn what_has_another_owner_stays(stage: &Stage) -> Outcome {
    let (one, other) = (
        config(stage, "one", &[]).await?,
        config(stage, "other", &[]).await?,
    );
    config(stage, "owned", &[&one, &other]).await?;
    stage.delete("configmaps/one", &Value::Null).await?;
    let kept = |found: Option<&Value>| {
        let owners = found.and_then(|found| found["metadata"]["ownerReferences"].as_array());
        owners.is_some_and(|owners| owners.len() == 1)
    };
    let owned = stage
        .eventually("configmaps/owned", kept)
        .await?
        .unwrap_or_default();
    same(
        owned["metadata"]["ownerReferences"][0]["uid"].clone(),
        other["metadata"]["uid"].clone(),
    )
}

async fn what_names_an_absent_owner_goes(stage: &Stage) -> Outcome {
    let owner = config(stage, "owner", &[]).await?;
    stage.delete("configmaps/owner", &Value::Null).await?;
    config(stage, "owned", &[&owner]).await?;
    stage.gone("configmaps/owned").await
}

async fn what_is_owned_goes_with_all_below_it(stage: &Stage) -> Outcome {
    let owner = config(stage, "owner", &[]).await?;
    let owned = config(stage, "owned", &[&owner]).await?;
    config(stage, "below", &[&owned]).await?;
    stage.delete("configmaps/owner", &Value::Null).await?;
    stage.gone("configmaps/below").await?;
    stage.gone("configmaps/owned").await
}

async fn a_deletion_in_the_foreground_waits_for_what_is_owned(stage: &Stage) -> Outcome {
    let owner = config(stage, "owner", &[]).await?;
    let mut held = owned_by(stage.config("held", &json!({})), &[&owner]);
    held["metadata"]["finalizers"] = json!(["example.org/f"]);
    stage.post("configmaps", &held).await?;
    let deleted = stage
        .delete("configmaps/owner", &json!({"propagationPolicy": "Foreground"}))
        .await?;
    same(
        deleted["metadata"]["finalizers"].clone(),
        json!(["foregroundDeletion"]),
    )?;
    stage.eventually("configmaps/held", is_deleting).await?;
    stage.get("configmaps/owner").await?;
    stage
        .patch("configmaps/held", &json!({"metadata": {"finalizers": null}}))
        .await?;
    stage.gone("configmaps/owner").await
}

fn is_deleting(found: Option<&Value>) -> bool {
    found.is_some_and(|found| !meta(found, "deletionTimestamp").is_empty())
}

async fn a_deletion_that_orphans_leaves_what_is_owned(stage: &Stage) -> Outcome {
    let owner = config(stage, "owner", &[]).await?;
    config(stage, "owned", &[&owner]).await?;
    stage
        .delete("configmaps/owner", &json!({"propagationPolicy": "Orphan"}))
        .await?;
    stage.gone("configmaps/owner").await?;
    let owned = stage.get("configmaps/owned").await?;
    same(owned["metadata"].get("ownerReferences"), None)
}

/// A namespace that the behaviour may delete.
async fn another_namespace(stage: &Stage) -> Result<Stage, Failure> {
    let other = Stage {
        namespace: format!("{}-x", stage.namespace),
        ..stage.clone()
    };
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other.namespace}});
    other.post("namespaces", &object).await?;
    other
        .eventually("serviceaccounts/default", |found| found.is_some())
        .await?;
    Ok(other)
}

async fn a_namespace_goes_with_everything_in_it(stage: &Stage) -> Outcome {
    let other = another_namespace(stage).await?;
    let what = format!("namespaces/{}", other.namespace);
    let namespace = other.get(&what).await?;
    same(namespace["status"]["phase"].clone(), json!("Active"))?;
    same(namespace["spec"]["finalizers"].clone(), json!(["kubernetes"]))?;
    same(
        namespace["metadata"]["labels"]["kubernetes.io/metadata.name"].clone(),
        json!(other.namespace),
    )?;
    config(&other, "a", &[]).await?;
    other.post("pods", &other.pod("a")).await?;
    other.post("persistentvolumeclaims", &specs::claim("a")).await?;
    other.post("deployments.apps", &specs::deployment("a")).await?;
    let deleted = other.delete(&what, &Value::Null).await?;
    same(deleted["status"]["phase"].clone(), json!("Terminating"))?;
    other.gone(&what).await?;
    other.get("configmaps/a").await.refused(404, "NotFound", "")?;
    same(other.get("pods").await?["items"].clone(), json!([]))
}

async fn a_namespace_waits_for_what_a_finalizer_holds(stage: &Stage) -> Outcome {
    let other = another_namespace(stage).await?;
    let what = format!("namespaces/{}", other.namespace);
    let mut held = other.config("held", &json!({}));
    held["metadata"]["finalizers"] = json!(["example.org/f"]);
    other.post("configmaps", &held).await?;
    other.delete(&what, &Value::Null).await?;
    other.eventually("configmaps/held", is_deleting).await?;
    let namespace = other.get(&what).await?;
    same(namespace["status"]["phase"].clone(), json!("Terminating"))?;
    other
        .patch("configmaps/held", &json!({"metadata": {"finalizers": null}}))
        .await?;
    other.gone(&what).await
}

async fn nothing_is_created_in_a_namespace_that_goes(stage: &Stage) -> Outcome {
    let other = another_namespace(stage).await?;
    let what = format!("namespaces/{}", other.namespace);
    let mut held = other.config("held", &json!({}));
    held["metadata"]["finalizers"] = json!(["example.org/f"]);
    other.post("configmaps", &held).await?;
    other.delete(&what, &Value::Null).await?;
    let text = format!(
        "configmaps \"new\" is forbidden: unable to create new content in namespace {} because it is being terminated",
        other.namespace
    );
    let object = other.config("new", &json!({}));
    // The server takes a moment to notice.
    let mut status = other.post("configmaps", &object).await;
    while status.is_ok() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        other.delete("configmaps/new", &Value::Null).await?;
        status = other.post("configmaps", &object).await;
    }
    let status = status.refused(403, "Forbidden", &text)?;
    let causes = super::stage::details(status)?.causes;
    same(
        causes.first().map(|cause| cause.reason.as_str()),
        Some("NamespaceTerminating"),
    )?;
    other
        .apply("configmaps/new", "m", &object)
        .await
        .refused(403, "Forbidden", &text)?;
    // What is there can still be changed.
    other
        .patch("configmaps/held", &json!({"data": {"k": "v"}}))
        .await?;
    other
        .patch("configmaps/held", &json!({"metadata": {"finalizers": null}}))
        .await?;
    other.gone(&what).await
}

async fn a_namespace_that_is_owned_goes_with_its_owner(stage: &Stage) -> Outcome {
    let owner = stage
        .post("clusters.kubeonkube.io", &specs::cluster("landlord"))
        .await?;
    let name = format!("{}-x", stage.namespace);
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    stage.post("namespaces", &owned_by(object, &[&owner])).await?;
    stage
        .delete("clusters.kubeonkube.io/landlord", &Value::Null)
        .await?;
    stage.gone(&format!("namespaces/{name}")).await
}

async fn a_claim_waits_for_the_pod_that_uses_it(stage: &Stage) -> Outcome {
    let claim = stage.post("persistentvolumeclaims", &specs::claim("a")).await?;
    same(
        claim["metadata"]["finalizers"].clone(),
        json!(["kubernetes.io/pvc-protection"]),
    )?;
    same(claim["status"]["phase"].clone(), json!("Pending"))?;
    let mut pod = stage.pod("a");
    pod["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "a"}}]);
    stage.post("pods", &pod).await?;
    stage.bind("a").await?;
    stage.delete("persistentvolumeclaims/a", &Value::Null).await?;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let claim = stage.get("persistentvolumeclaims/a").await?;
    ensure(is_deleting(Some(&claim)), || claim.to_string())?;
    stage.delete("pods/a", &json!({"gracePeriodSeconds": 0})).await?;
    stage.gone("persistentvolumeclaims/a").await
}

async fn an_unused_claim_goes(stage: &Stage) -> Outcome {
    stage.post("persistentvolumeclaims", &specs::claim("a")).await?;
    stage.delete("persistentvolumeclaims/a", &Value::Null).await?;
    stage.gone("persistentvolumeclaims/a").await
}
