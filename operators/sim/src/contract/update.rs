//! Replace and merge patch: preconditions, the status apart from the rest, generations.

use serde_json::{Value, json};

use super::stage::{Expect, ensure, meta, same};
use super::{Outcome, Stage, behaviours, specs};

behaviours![
    a_replace_of_an_old_version_is_a_conflict,
    a_replace_without_a_version_replaces_what_is_there,
    a_lease_is_not_replaced_without_its_version,
    a_custom_resource_is_not_replaced_without_its_version,
    a_replace_of_another_uid_is_a_conflict,
    a_lease_that_is_gone_is_made_by_replace,
    a_lease_that_is_gone_is_not_made_again_with_its_uid,
    a_write_that_changes_nothing_keeps_the_version,
    a_patch_of_an_old_version_is_a_conflict,
    a_patch_of_another_uid_is_invalid,
    a_patch_removes_what_is_null,
    names_and_times_cannot_change,
    the_status_is_written_apart_from_the_rest,
    generations_count_changes_of_the_spec,
    pods_count_generations_and_their_spec_cannot_change,
    what_cannot_change_is_invalid,
    only_one_of_two_candidates_gets_the_lease,
];

async fn a_replace_of_an_old_version_is_a_conflict(stage: &Stage) -> Outcome {
    let old = stage.post("configmaps", &stage.config("a", &json!({}))).await?;
    stage.patch("configmaps/a", &json!({"data": {"k": "v"}})).await?;
    stage.put("configmaps/a", &old).await.refused(
        409,
        "Conflict",
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again",
    )?;
    Ok(())
}

async fn a_replace_without_a_version_replaces_what_is_there(stage: &Stage) -> Outcome {
    let old = stage
        .post("configmaps", &stage.config("a", &json!({"k": "v"})))
        .await?;
    let new = stage
        .put("configmaps/a", &stage.config("a", &json!({"l": "w"})))
        .await?;
    same(new["data"].clone(), json!({"l": "w"}))?;
    same(meta(&new, "uid"), meta(&old, "uid"))?;
    same(meta(&new, "creationTimestamp"), meta(&old, "creationTimestamp"))?;
    ensure(
        meta(&new, "resourceVersion") != meta(&old, "resourceVersion"),
        || new.to_string(),
    )
}

fn lease(holder: &str) -> Value {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a"},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15,
            "renewTime": "2026-01-01T00:00:00.000000Z"}})
}

async fn a_lease_is_not_replaced_without_its_version(stage: &Stage) -> Outcome {
    stage.post("leases.coordination.k8s.io", &lease("me")).await?;
    let text = "metadata.resourceVersion: Invalid value";
    stage
        .put("leases.coordination.k8s.io/a", &lease("you"))
        .await
        .refused(422, "Invalid", text)?;
    Ok(())
}

async fn a_custom_resource_is_not_replaced_without_its_version(stage: &Stage) -> Outcome {
    let object = specs::cluster("versioned");
    stage.post("clusters.kubeonkube.io", &object).await?;
    let text = "metadata.resourceVersion: Invalid value";
    stage
        .put("clusters.kubeonkube.io/versioned", &object)
        .await
        .refused(422, "Invalid", text)?;
    Ok(())
}

async fn a_replace_of_another_uid_is_a_conflict(stage: &Stage) -> Outcome {
    stage.post("configmaps", &stage.config("a", &json!({}))).await?;
    let mut object = stage.config("a", &json!({"k": "v"}));
    object["metadata"]["uid"] = json!("other");
    let text = "Precondition failed: UID in precondition: other";
    stage
        .put("configmaps/a", &object)
        .await
        .refused(409, "Conflict", text)?;
    Ok(())
}

async fn a_lease_that_is_gone_is_made_by_replace(stage: &Stage) -> Outcome {
    let made = stage.put("leases.coordination.k8s.io/a", &lease("me")).await?;
    same(made["spec"]["holderIdentity"].clone(), json!("me"))
}

async fn a_lease_that_is_gone_is_not_made_again_with_its_uid(stage: &Stage) -> Outcome {
    let old = stage.post("leases.coordination.k8s.io", &lease("me")).await?;
    stage.delete("leases.coordination.k8s.io/a", &Value::Null).await?;
    stage
        .put("leases.coordination.k8s.io/a", &old)
        .await
        .refused(409, "Conflict", "")?;
    Ok(())
}

async fn a_write_that_changes_nothing_keeps_the_version(stage: &Stage) -> Outcome {
    let object = stage
        .post("configmaps", &stage.config("a", &json!({"k": "v"})))
        .await?;
    let version = meta(&object, "resourceVersion");
    let put = stage.put("configmaps/a", &object).await?;
    same(meta(&put, "resourceVersion"), version)?;
    let patched = stage.patch("configmaps/a", &json!({"data": {"k": "v"}})).await?;
    same(meta(&patched, "resourceVersion"), version)
}

async fn a_patch_of_an_old_version_is_a_conflict(stage: &Stage) -> Outcome {
    let old = stage.post("configmaps", &stage.config("a", &json!({}))).await?;
    stage.patch("configmaps/a", &json!({"data": {"k": "v"}})).await?;
    let version = meta(&old, "resourceVersion");
    let patch = json!({"metadata": {"resourceVersion": version, "finalizers": ["example.org/f"]}});
    stage
        .patch("configmaps/a", &patch)
        .await
        .refused(409, "Conflict", "the object has been modified")?;
    let cluster = stage
        .post("clusters.kubeonkube.io", &specs::cluster("patched"))
        .await?;
    let patch = json!({"metadata": {"finalizers": ["kubeonkube.io/cleanup"], "uid": meta(&cluster, "uid"),
        "resourceVersion": meta(&cluster, "resourceVersion")}});
    let patched = stage.patch("clusters.kubeonkube.io/patched", &patch).await?;
    same(
        patched["metadata"]["finalizers"].clone(),
        json!(["kubeonkube.io/cleanup"]),
    )?;
    let text = "the object has been modified";
    stage
        .patch("clusters.kubeonkube.io/patched", &patch)
        .await
        .refused(409, "Conflict", text)?;
    stage
        .patch(
            "clusters.kubeonkube.io/patched",
            &json!({"metadata": {"finalizers": null}}),
        )
        .await?;
    Ok(())
}

async fn a_patch_of_another_uid_is_invalid(stage: &Stage) -> Outcome {
    stage.post("configmaps", &stage.config("a", &json!({}))).await?;
    let patch = json!({"metadata": {"uid": "other"}, "data": {"k": "v"}});
    let text = "metadata.uid: Invalid value: \"other\": field is immutable";
    stage
        .patch("configmaps/a", &patch)
        .await
        .refused(422, "Invalid", text)?;
    Ok(())
}

async fn a_patch_removes_what_is_null(stage: &Stage) -> Outcome {
    stage
        .post("configmaps", &stage.config("a", &json!({"k": "v", "l": "w"})))
        .await?;
    let patched = stage
        .patch("configmaps/a", &json!({"data": {"k": null, "m": "x"}}))
        .await?;
    same(patched["data"].clone(), json!({"l": "w", "m": "x"}))
}

async fn names_and_times_cannot_change(stage: &Stage) -> Outcome {
    let object = stage.post("configmaps", &stage.config("a", &json!({}))).await?;
    stage
        .patch("configmaps/a", &json!({"metadata": {"name": "b"}}))
        .await
        .refused(400, "BadRequest", "")?;
    let patch = json!({"metadata": {"creationTimestamp": "2001-01-01T00:00:00Z", "generation": 7}});
    let patched = stage.patch("configmaps/a", &patch).await?;
    same(
        meta(&patched, "creationTimestamp"),
        meta(&object, "creationTimestamp"),
    )?;
    same(patched["metadata"].get("generation"), None)
}

async fn the_status_is_written_apart_from_the_rest(stage: &Stage) -> Outcome {
    let mut cluster = specs::cluster("apart");
    cluster["status"] = json!({"phase": "Running"});
    let created = stage.post("clusters.kubeonkube.io", &cluster).await?;
    same(created.get("status"), None)?;
    let patch = json!({"status": {"phase": "Running"}, "spec": {"mode": "Standard"}});
    let main = stage.patch("clusters.kubeonkube.io/apart", &patch).await?;
    same(
        (main.get("status"), main["spec"]["mode"].clone()),
        (None, json!("Standard")),
    )?;
    let patch = json!({"status": {"phase": "Running"}, "spec": {"mode": "Minimal"},
        "metadata": {"labels": {"a": "b"}}});
    let status = stage.patch("clusters.kubeonkube.io/apart/status", &patch).await?;
    same(
        (status["status"]["phase"].clone(), status["spec"]["mode"].clone()),
        (json!("Running"), json!("Standard")),
    )?;
    same(status["metadata"].get("labels"), None)?;
    let deployment = stage.post("deployments.apps", &specs::deployment("a")).await?;
    let patch = json!({"status": {"replicas": 1}, "spec": {"replicas": 5}});
    let status = stage.patch("deployments.apps/a/status", &patch).await?;
    same(
        (status["status"]["replicas"].clone(), status["spec"].clone()),
        (json!(1), deployment["spec"].clone()),
    )
}

async fn generations_count_changes_of_the_spec(stage: &Stage) -> Outcome {
    let generation = |object: &Value| object["metadata"]["generation"].clone();
    let created = stage
        .post("clusters.kubeonkube.io", &specs::cluster("counted"))
        .await?;
    same(generation(&created), json!(1))?;
    let what = "clusters.kubeonkube.io/counted";
    let labelled = stage
        .patch(what, &json!({"metadata": {"labels": {"a": "b"}}}))
        .await?;
    same(generation(&labelled), json!(1))?;
    let changed = stage.patch(what, &json!({"spec": {"mode": "Standard"}})).await?;
    same(generation(&changed), json!(2))?;
    let status = stage
        .patch(
            &format!("{what}/status"),
            &json!({"status": {"phase": "Running"}}),
        )
        .await?;
    same(generation(&status), json!(2))?;
    let deployment = stage.post("deployments.apps", &specs::deployment("a")).await?;
    same(generation(&deployment), json!(1))?;
    let scaled = stage
        .patch("deployments.apps/a", &json!({"spec": {"replicas": 2}}))
        .await?;
    same(generation(&scaled), json!(2))?;
    // Of Deployments, changes of annotations count too.
    let annotated = stage
        .patch(
            "deployments.apps/a",
            &json!({"metadata": {"annotations": {"a": "b"}}}),
        )
        .await?;
    same(generation(&annotated), json!(3))?;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"},
        "spec": {"ports": [{"port": 80}]}});
    let service = stage.post("services", &service).await?;
    same(service["metadata"].get("generation"), None)
}

async fn pods_count_generations_and_their_spec_cannot_change(stage: &Stage) -> Outcome {
    let pod = stage.post("pods", &stage.pod("a")).await?;
    same(pod["metadata"]["generation"].clone(), json!(1))?;
    let patch = json!({"spec": {"restartPolicy": "Never"}});
    let text = "spec: Forbidden: pod updates may not change fields other than";
    stage
        .patch("pods/a", &patch)
        .await
        .refused(422, "Invalid", text)?;
    let mut pod = stage.get("pods/a").await?;
    pod["spec"]["containers"][0]["image"] = json!("example.org/main:2");
    let changed = stage.put("pods/a", &pod).await?;
    same(changed["metadata"]["generation"].clone(), json!(2))
}

async fn what_cannot_change_is_invalid(stage: &Stage) -> Outcome {
    stage.post("deployments.apps", &specs::deployment("a")).await?;
    let patch = json!({"spec": {"selector": {"matchLabels": {"app": "b"}},
        "template": {"metadata": {"labels": {"app": "b"}}}}});
    let text = "spec.selector: Invalid value";
    stage
        .patch("deployments.apps/a", &patch)
        .await
        .refused(422, "Invalid", text)?;
    let mut secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "type": "Opaque"});
    stage.post("secrets", &secret).await?;
    secret["type"] = json!("example.org/other");
    stage
        .put("secrets/a", &secret)
        .await
        .refused(422, "Invalid", "type: Invalid value")?;
    let claim = specs::claim("a");
    stage.post("persistentvolumeclaims", &claim).await?;
    let patch = json!({"spec": {"accessModes": ["ReadWriteMany"]}});
    let text = "spec: Forbidden: spec is immutable after creation";
    stage
        .patch("persistentvolumeclaims/a", &patch)
        .await
        .refused(422, "Invalid", text)?;
    Ok(())
}

async fn only_one_of_two_candidates_gets_the_lease(stage: &Stage) -> Outcome {
    let known = stage.post("leases.coordination.k8s.io", &lease("")).await?;
    let claim = |holder: &str| {
        let mut lease = known.clone();
        lease["spec"]["holderIdentity"] = json!(holder);
        lease
    };
    stage.put("leases.coordination.k8s.io/a", &claim("one")).await?;
    let other = stage.put("leases.coordination.k8s.io/a", &claim("other")).await;
    other.refused(409, "Conflict", "the object has been modified")?;
    let lease = stage.get("leases.coordination.k8s.io/a").await?;
    same(lease["spec"]["holderIdentity"].clone(), json!("one"))
}
