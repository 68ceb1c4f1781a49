//! Deletes: preconditions, finalizers, grace.

use kok_runtime::apply::{Deleted, delete};
use kok_runtime::error::{ErrorClass, classify};
use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use super::stage::{Expect, ensure, meta, same};
use super::{Outcome, Stage, behaviours, specs};

behaviours![
    a_delete_of_another_uid_or_version_is_a_conflict,
    a_delete_of_the_runtime_names_what_it_means,
    a_finalizer_holds_an_object,
    the_last_finalizer_removes_an_object_that_is_deleted,
    a_second_delete_writes_nothing,
    no_finalizer_is_added_to_what_is_being_deleted,
    a_deletion_cannot_be_taken_back,
    the_spec_of_what_is_being_deleted_can_change,
    a_pod_on_a_node_gets_its_grace,
    a_pod_on_no_node_goes_at_once,
    grace_can_be_shortened_only,
    a_pod_without_grace_goes_at_once,
    a_finalizer_holds_a_pod_beyond_its_grace,
    a_deletion_counts_as_a_generation,
    a_deletion_answers_with_the_object_or_a_status,
];

async fn a_delete_of_another_uid_or_version_is_a_conflict(stage: &Stage) -> Outcome {
    let object = stage.post("configmaps", &stage.config("a", &json!({}))).await?;
    let (uid, version) = (meta(&object, "uid"), meta(&object, "resourceVersion"));
    let text = "the UID in the precondition (other) does not match the UID in record";
    let other = json!({"preconditions": {"uid": "other"}});
    stage
        .delete("configmaps/a", &other)
        .await
        .refused(409, "Conflict", text)?;
    stage.patch("configmaps/a", &json!({"data": {"k": "v"}})).await?;
    let text = "does not match the ResourceVersion in record";
    let old = json!({"preconditions": {"uid": uid, "resourceVersion": version}});
    stage
        .delete("configmaps/a", &old)
        .await
        .refused(409, "Conflict", text)?;
    stage
        .delete("configmaps/a", &json!({"preconditions": {"uid": uid}}))
        .await?;
    stage.gone("configmaps/a").await
}

async fn a_delete_of_the_runtime_names_what_it_means(stage: &Stage) -> Outcome {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    let object = stage.post("configmaps", &stage.config("a", &json!({}))).await?;
    let namespace = Some(stage.namespace.as_str());
    let (uid, version) = (meta(&object, "uid"), meta(&object, "resourceVersion"));
    let wrong = delete(&stage.client, &kind, namespace, "a", "other", None).await;
    same(wrong.as_ref().err().map(classify), Some(ErrorClass::Conflict))?;
    let right = delete(&stage.client, &kind, namespace, "a", uid, Some(version)).await;
    same(right.ok(), Some(Deleted::Accepted))?;
    stage.gone("configmaps/a").await?;
    let again = delete(&stage.client, &kind, namespace, "a", uid, Some(version)).await;
    same(again.ok(), Some(Deleted::AlreadyGone))?;
    let unknown = ApiResource::from_gvk(&GroupVersionKind::gvk("example.org", "v1", "Thing"));
    let nothing = delete(&stage.client, &unknown, namespace, "a", uid, None).await;
    same(nothing.ok(), Some(Deleted::AlreadyGone))
}

/// A ConfigMap that a finalizer holds.
async fn held(stage: &Stage) -> Result<Value, super::Failure> {
    let mut object = stage.config("a", &json!({}));
    object["metadata"]["finalizers"] = json!(["example.org/f"]);
    Ok(stage.post("configmaps", &object).await?)
}

async fn release(stage: &Stage, what: &str) -> Outcome {
    stage
        .patch(what, &json!({"metadata": {"finalizers": null}}))
        .await?;
    stage.gone(what).await
}

async fn a_finalizer_holds_an_object(stage: &Stage) -> Outcome {
    held(stage).await?;
    let deleted = stage.delete("configmaps/a", &Value::Null).await?;
    ensure(!meta(&deleted, "deletionTimestamp").is_empty(), || {
        deleted.to_string()
    })?;
    same(
        deleted["metadata"]["deletionGracePeriodSeconds"].clone(),
        json!(0),
    )?;
    same(stage.get("configmaps/a").await?, deleted)?;
    release(stage, "configmaps/a").await
}

async fn the_last_finalizer_removes_an_object_that_is_deleted(stage: &Stage) -> Outcome {
    let mut object = stage.config("a", &json!({}));
    object["metadata"]["finalizers"] = json!(["example.org/f", "example.org/g"]);
    stage.post("configmaps", &object).await?;
    stage.delete("configmaps/a", &Value::Null).await?;
    stage
        .patch(
            "configmaps/a",
            &json!({"metadata": {"finalizers": ["example.org/g"]}}),
        )
        .await?;
    stage.get("configmaps/a").await?;
    let last = stage
        .patch("configmaps/a", &json!({"metadata": {"finalizers": []}}))
        .await?;
    same(meta(&last, "name"), "a")?;
    stage.get("configmaps/a").await.refused(404, "NotFound", "")?;
    Ok(())
}

async fn a_second_delete_writes_nothing(stage: &Stage) -> Outcome {
    held(stage).await?;
    let first = stage.delete("configmaps/a", &Value::Null).await?;
    let second = stage.delete("configmaps/a", &Value::Null).await?;
    same(meta(&second, "resourceVersion"), meta(&first, "resourceVersion"))?;
    same(
        meta(&second, "deletionTimestamp"),
        meta(&first, "deletionTimestamp"),
    )?;
    release(stage, "configmaps/a").await
}

async fn no_finalizer_is_added_to_what_is_being_deleted(stage: &Stage) -> Outcome {
    held(stage).await?;
    stage.delete("configmaps/a", &Value::Null).await?;
    let patch = json!({"metadata": {"finalizers": ["example.org/f", "example.org/g"]}});
    let text = "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"example.org/g\"}";
    stage
        .patch("configmaps/a", &patch)
        .await
        .refused(422, "Invalid", text)?;
    release(stage, "configmaps/a").await
}

async fn a_deletion_cannot_be_taken_back(stage: &Stage) -> Outcome {
    held(stage).await?;
    let deleted = stage.delete("configmaps/a", &Value::Null).await?;
    let patched = stage
        .patch("configmaps/a", &json!({"metadata": {"deletionTimestamp": null}}))
        .await?;
    same(
        meta(&patched, "deletionTimestamp"),
        meta(&deleted, "deletionTimestamp"),
    )?;
    release(stage, "configmaps/a").await
}

async fn the_spec_of_what_is_being_deleted_can_change(stage: &Stage) -> Outcome {
    let mut cluster = specs::cluster("leaving");
    cluster["metadata"]["finalizers"] = json!(["kubeonkube.io/cleanup"]);
    stage.post("clusters.kubeonkube.io", &cluster).await?;
    let what = "clusters.kubeonkube.io/leaving";
    stage.delete(what, &Value::Null).await?;
    let patched = stage.patch(what, &json!({"spec": {"mode": "Standard"}})).await?;
    same(patched["spec"]["mode"].clone(), json!("Standard"))?;
    stage
        .patch(
            &format!("{what}/status"),
            &json!({"status": {"phase": "Deleting"}}),
        )
        .await?;
    stage
        .apply(what, "m&force=true", &specs::cluster("leaving"))
        .await?;
    release(stage, what).await
}

async fn a_pod_on_a_node_gets_its_grace(stage: &Stage) -> Outcome {
    stage.post("pods", &stage.pod("a")).await?;
    stage.bind("a").await?;
    let deleted = stage.delete("pods/a", &Value::Null).await?;
    same(
        deleted["metadata"]["deletionGracePeriodSeconds"].clone(),
        json!(30),
    )?;
    ensure(!meta(&deleted, "deletionTimestamp").is_empty(), || {
        deleted.to_string()
    })?;
    let again = stage.delete("pods/a", &Value::Null).await?;
    same(meta(&again, "resourceVersion"), meta(&deleted, "resourceVersion"))?;
    stage.delete("pods/a", &json!({"gracePeriodSeconds": 0})).await?;
    stage.gone("pods/a").await
}

async fn a_pod_on_no_node_goes_at_once(stage: &Stage) -> Outcome {
    stage.post("pods", &stage.pod("a")).await?;
    stage.delete("pods/a", &Value::Null).await?;
    stage.get("pods/a").await.refused(404, "NotFound", "")?;
    Ok(())
}

async fn grace_can_be_shortened_only(stage: &Stage) -> Outcome {
    stage.post("pods", &stage.pod("a")).await?;
    stage.bind("a").await?;
    stage.delete("pods/a", &json!({"gracePeriodSeconds": 20})).await?;
    let longer = stage.delete("pods/a", &json!({"gracePeriodSeconds": 40})).await?;
    same(
        longer["metadata"]["deletionGracePeriodSeconds"].clone(),
        json!(20),
    )?;
    let shorter = stage.delete("pods/a", &json!({"gracePeriodSeconds": 10})).await?;
    same(
        shorter["metadata"]["deletionGracePeriodSeconds"].clone(),
        json!(10),
    )?;
    stage.delete("pods/a", &json!({"gracePeriodSeconds": 0})).await?;
    stage.gone("pods/a").await
}

async fn a_pod_without_grace_goes_at_once(stage: &Stage) -> Outcome {
    let mut pod = stage.pod("a");
    pod["spec"]["terminationGracePeriodSeconds"] = json!(0);
    stage.post("pods", &pod).await?;
    stage.bind("a").await?;
    stage.delete("pods/a", &Value::Null).await?;
    stage.get("pods/a").await.refused(404, "NotFound", "")?;
    stage.post("pods", &stage.pod("b")).await?;
    stage.bind("b").await?;
    stage
        .patch("pods/b/status", &json!({"status": {"phase": "Failed"}}))
        .await?;
    stage.delete("pods/b", &Value::Null).await?;
    stage.get("pods/b").await.refused(404, "NotFound", "")?;
    Ok(())
}

async fn a_finalizer_holds_a_pod_beyond_its_grace(stage: &Stage) -> Outcome {
    let mut pod = stage.pod("a");
    pod["metadata"]["finalizers"] = json!(["example.org/f"]);
    stage.post("pods", &pod).await?;
    stage.bind("a").await?;
    stage.delete("pods/a", &Value::Null).await?;
    let ended = stage.delete("pods/a", &json!({"gracePeriodSeconds": 0})).await?;
    same(ended["metadata"]["deletionGracePeriodSeconds"].clone(), json!(0))?;
    release(stage, "pods/a").await
}

async fn a_deletion_counts_as_a_generation(stage: &Stage) -> Outcome {
    let mut cluster = specs::cluster("counted-out");
    cluster["metadata"]["finalizers"] = json!(["kubeonkube.io/cleanup"]);
    stage.post("clusters.kubeonkube.io", &cluster).await?;
    let deleted = stage
        .delete("clusters.kubeonkube.io/counted-out", &Value::Null)
        .await?;
    same(deleted["metadata"]["generation"].clone(), json!(2))?;
    release(stage, "clusters.kubeonkube.io/counted-out").await?;
    stage.post("pods", &stage.pod("a")).await?;
    stage.bind("a").await?;
    let before = stage.get("pods/a").await?["metadata"]["generation"].as_i64();
    let deleted = stage.delete("pods/a", &Value::Null).await?;
    same(
        deleted["metadata"]["generation"].as_i64(),
        before.map(|before| before + 1),
    )?;
    stage.delete("pods/a", &json!({"gracePeriodSeconds": 0})).await?;
    Ok(())
}

async fn a_deletion_answers_with_the_object_or_a_status(stage: &Stage) -> Outcome {
    let config = stage.post("configmaps", &stage.config("a", &json!({}))).await?;
    let status = stage.delete("configmaps/a", &Value::Null).await?;
    same(
        (status["kind"].clone(), status["status"].clone()),
        (json!("Status"), json!("Success")),
    )?;
    same(
        status["details"]["uid"].clone(),
        config["metadata"]["uid"].clone(),
    )?;
    stage.post("pods", &stage.pod("a")).await?;
    let pod = stage.delete("pods/a", &Value::Null).await?;
    same((pod["kind"].clone(), meta(&pod, "name")), (json!("Pod"), "a"))
}
