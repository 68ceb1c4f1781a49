//! Server-side apply: who owns which field, and when that is a conflict.

use serde_json::{Value, json};

use super::stage::{Expect, JSON, details, ensure, same};
use super::{Outcome, Stage, behaviours, specs};

behaviours![
    another_value_of_an_owned_field_is_a_conflict,
    force_takes_a_field_from_its_owner,
    the_same_value_is_owned_together,
    a_field_that_was_updated_conflicts_too,
    creation_owns_fields_as_an_update,
    an_update_takes_a_field_from_its_owner,
    ownership_is_recorded_by_manager_operation_and_fields,
    defaults_are_owned_by_nobody_who_applied,
    the_status_is_owned_apart,
    an_empty_map_is_taken_for_absent,
    what_was_there_before_the_first_apply_is_owned_apart,
];

async fn another_value_of_an_owned_field_is_a_conflict(stage: &Stage) -> Outcome {
    stage
        .apply(
            "configmaps/a",
            "m",
            &stage.config("a", &json!({"k": "v", "l": "w"})),
        )
        .await?;
    let status = stage
        .apply("configmaps/a", "n", &stage.config("a", &json!({"k": "x"})))
        .await
        .refused(
            409,
            "Conflict",
            "Apply failed with 1 conflict: conflict with \"m\": .data.k",
        )?;
    let causes = details(status)?.causes;
    let cause = causes.first().map(|cause| {
        (
            cause.reason.as_str(),
            cause.message.as_str(),
            cause.field.as_str(),
        )
    });
    same(
        cause,
        Some(("FieldManagerConflict", "conflict with \"m\"", ".data.k")),
    )?;
    let both = stage.config("a", &json!({"k": "x", "l": "y"}));
    let text = "Apply failed with 2 conflicts: conflicts with \"m\":\n- .data.k\n- .data.l";
    stage
        .apply("configmaps/a", "n", &both)
        .await
        .refused(409, "Conflict", text)?;
    Ok(())
}

async fn force_takes_a_field_from_its_owner(stage: &Stage) -> Outcome {
    stage
        .apply(
            "configmaps/a",
            "m",
            &stage.config("a", &json!({"k": "v", "l": "w"})),
        )
        .await?;
    stage
        .apply(
            "configmaps/a",
            "n&force=true",
            &stage.config("a", &json!({"k": "x"})),
        )
        .await?;
    // It is not the first manager's to remove any more.
    let applied = stage
        .apply("configmaps/a", "m", &stage.config("a", &json!({"l": "w"})))
        .await?;
    same(applied["data"].clone(), json!({"k": "x", "l": "w"}))
}

async fn the_same_value_is_owned_together(stage: &Stage) -> Outcome {
    let object = stage.config("a", &json!({"k": "v"}));
    stage.apply("configmaps/a", "m", &object).await?;
    let applied = stage.apply("configmaps/a", "n", &object).await?;
    // Whoever changed nothing owns it since no time, and comes first.
    same(
        managers(&applied),
        vec!["n Apply".to_owned(), "m Apply".to_owned()],
    )
}

async fn a_field_that_was_updated_conflicts_too(stage: &Stage) -> Outcome {
    let url = format!("{}?fieldManager=someone", stage.url("configmaps"));
    let object = stage.config("a", &json!({"k": "v"}));
    stage.send("POST", &url, JSON, &object).await?;
    let text = "conflict with \"someone\" using v1";
    let other = stage.config("a", &json!({"k": "w"}));
    stage
        .apply("configmaps/a", "m", &other)
        .await
        .refused(409, "Conflict", text)?;
    Ok(())
}

async fn creation_owns_fields_as_an_update(stage: &Stage) -> Outcome {
    let url = format!("{}?fieldManager=m", stage.url("configmaps"));
    let object = stage.config("a", &json!({"k": "v"}));
    let created = stage.send("POST", &url, JSON, &object).await?;
    same(managers(&created), vec!["m Update".to_owned()])?;
    same(
        created["metadata"]["managedFields"][0]["fieldsV1"].clone(),
        json!({"f:data": {".": {}, "f:k": {}}}),
    )?;
    // The same name by apply is another owner: what it created is not its to remove.
    let applied = stage
        .apply("configmaps/a", "m", &stage.config("a", &json!({"k": "v"})))
        .await?;
    same(
        managers(&applied),
        vec!["m Apply".to_owned(), "m Update".to_owned()],
    )?;
    let applied = stage
        .apply("configmaps/a", "m", &stage.config("a", &json!({})))
        .await?;
    same(applied["data"].clone(), json!({"k": "v"}))
}

async fn an_update_takes_a_field_from_its_owner(stage: &Stage) -> Outcome {
    stage
        .apply("configmaps/a", "m", &stage.config("a", &json!({"k": "v"})))
        .await?;
    let url = format!("{}?fieldManager=n", stage.url("configmaps/a"));
    let patch = json!({"data": {"k": "w"}});
    let patched = stage
        .send("PATCH", &url, "application/merge-patch+json", &patch)
        .await?;
    same(managers(&patched), vec!["n Update".to_owned()])?;
    let object = stage.config("a", &json!({"k": "v"}));
    stage.apply("configmaps/a", "m", &object).await.refused(
        409,
        "Conflict",
        "conflict with \"n\" using v1",
    )?;
    let forced = stage.apply("configmaps/a", "m&force=true", &object).await?;
    same(
        (forced["data"].clone(), managers(&forced)),
        (json!({"k": "v"}), vec!["m Apply".to_owned()]),
    )
}

async fn ownership_is_recorded_by_manager_operation_and_fields(stage: &Stage) -> Outcome {
    let mut pod = stage.pod("a");
    pod["metadata"]["labels"] = json!({"x": "1"});
    pod["metadata"]["finalizers"] = json!(["example.org/f"]);
    let applied = stage.apply("pods/a", "m", &pod).await?;
    let mut entry = applied["metadata"]["managedFields"][0].clone();
    let time = entry.as_object_mut().and_then(|entry| entry.remove("time"));
    ensure(
        time.as_ref()
            .and_then(Value::as_str)
            .is_some_and(|time| time.ends_with('Z')),
        || entry.to_string(),
    )?;
    let fields = json!({
        "f:metadata": {"f:finalizers": {"v:\"example.org/f\"": {}}, "f:labels": {"f:x": {}}},
        "f:spec": {
            "f:automountServiceAccountToken": {},
            "f:containers": {"k:{\"name\":\"main\"}": {".": {}, "f:image": {}, "f:name": {}}},
        },
    });
    let expected = json!({"manager": "m", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": fields});
    same(entry, expected)?;
    stage
        .patch("pods/a", &json!({"metadata": {"finalizers": null}}))
        .await?;
    Ok(())
}

async fn defaults_are_owned_by_nobody_who_applied(stage: &Stage) -> Outcome {
    let applied = stage
        .apply("deployments.apps/a", "m", &specs::deployment("a"))
        .await?;
    let spec = &applied["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"];
    same(
        (applied["spec"]["replicas"].clone(), spec.get("f:replicas")),
        (json!(1), None),
    )
}

async fn the_status_is_owned_apart(stage: &Stage) -> Outcome {
    stage
        .apply("clusters.kubeonkube.io/owned", "m", &specs::cluster("owned"))
        .await?;
    let mut status = specs::cluster("owned");
    status["spec"] = json!({"mode": "Standard"});
    status["status"] = json!({"phase": "Running"});
    let applied = stage
        .apply("clusters.kubeonkube.io/owned/status", "m", &status)
        .await?;
    same(
        (
            applied["spec"]["mode"].clone(),
            applied["status"]["phase"].clone(),
        ),
        (json!("Minimal"), json!("Running")),
    )?;
    let entries = applied["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let of_status = entries
        .iter()
        .find(|entry| entry["subresource"] == json!("status"));
    same(
        of_status.map(|entry| entry["fieldsV1"].clone()),
        Some(json!({"f:status": {"f:phase": {}}})),
    )?;
    // The next apply of the rest leaves it alone.
    let applied = stage
        .apply("clusters.kubeonkube.io/owned", "m", &specs::cluster("owned"))
        .await?;
    same(applied["status"]["phase"].clone(), json!("Running"))?;
    let mut status = specs::cluster("absent");
    status["status"] = json!({"phase": "Running"});
    stage
        .apply("clusters.kubeonkube.io/absent/status", "m", &status)
        .await
        .refused(404, "NotFound", "")?;
    Ok(())
}

/// The server drops it, so that who applies it after another adds it, and takes it from its owner.
async fn an_empty_map_is_taken_for_absent(stage: &Stage) -> Outcome {
    let object = stage.config("a", &json!({}));
    let applied = stage.apply("configmaps/a", "m", &object).await?;
    same(applied.get("data"), None)?;
    stage
        .apply("configmaps/a", "n", &object)
        .await
        .refused(409, "Conflict", "conflict with \"m\": .data")?;
    Ok(())
}

async fn what_was_there_before_the_first_apply_is_owned_apart(stage: &Stage) -> Outcome {
    // An object of which nothing is applied but its name has no owner.
    let what = format!("namespaces/{}-x", stage.namespace);
    let mut object = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": format!("{}-x", stage.namespace)}});
    let applied = stage.apply(&what, "m", &object).await?;
    same(applied["metadata"].get("managedFields"), None)?;
    object["metadata"]["labels"] = json!({"x": "1"});
    let applied = stage.apply(&what, "m", &object).await?;
    same(
        managers(&applied),
        vec!["m Apply".to_owned(), "before-first-apply Update".to_owned()],
    )
}

/// Managers of an object, with how they came to own fields.
fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array();
    let entries = entries.into_iter().flatten().map(|entry| {
        let text = |field: &str| entry[field].as_str().unwrap_or_default();
        format!("{} {}", text("manager"), text("operation"))
    });
    entries.collect()
}
