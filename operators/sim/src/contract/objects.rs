//! Create, get, list: and how it is said that something is not there, or not right.

use serde_json::{Value, json};

use super::stage::{Expect, JSON, details, ensure, meta, same};
use super::{Outcome, Stage, behaviours};

behaviours![
    a_created_object_has_what_the_server_gives_it,
    what_exists_is_not_created_again,
    what_is_absent_is_not_found,
    a_kind_that_is_not_served_is_not_found_without_a_status,
    a_namespace_must_be_there,
    bad_names_are_invalid,
    names_are_generated,
    what_clients_cannot_set_is_dropped,
    another_kind_in_the_body_is_a_bad_request,
    another_namespace_in_the_body_is_a_bad_request,
    a_wrong_type_is_a_bad_request,
    unknown_fields_are_dropped_unless_strict,
    a_version_of_a_new_object_is_refused,
    a_dry_run_stores_nothing,
    lists_are_selected_by_labels,
    lists_are_selected_by_fields,
    items_of_builtin_lists_have_no_kind,
    items_of_custom_lists_have_their_kind,
    pages_are_of_one_moment,
    only_metadata_is_given_when_asked_for,
    the_server_says_its_version,
];

async fn a_created_object_has_what_the_server_gives_it(stage: &Stage) -> Outcome {
    let created = stage
        .post("configmaps", &stage.config("a", &json!({"k": "v"})))
        .await?;
    for field in ["uid", "resourceVersion", "creationTimestamp", "namespace", "name"] {
        ensure(!meta(&created, field).is_empty(), || {
            format!("no metadata.{field} in {created}")
        })?;
    }
    same(created["metadata"].get("generation"), None)?;
    same(stage.get("configmaps/a").await?, created)
}

async fn what_exists_is_not_created_again(stage: &Stage) -> Outcome {
    let object = stage.config("a", &json!({}));
    stage.post("configmaps", &object).await?;
    let status = stage.post("configmaps", &object).await.refused(
        409,
        "AlreadyExists",
        "configmaps \"a\" already exists",
    )?;
    let details = details(status)?;
    same(
        (details.name.as_str(), details.kind.as_str()),
        ("a", "configmaps"),
    )
}

async fn what_is_absent_is_not_found(stage: &Stage) -> Outcome {
    let status = stage
        .get("configmaps/a")
        .await
        .refused(404, "NotFound", "configmaps \"a\" not found")?;
    let details = details(status)?;
    same(
        (details.name.as_str(), details.kind.as_str()),
        ("a", "configmaps"),
    )?;
    let text = "deployments.apps \"a\" not found";
    stage
        .get("deployments.apps/a")
        .await
        .refused(404, "NotFound", text)?;
    let text = "clusters.kubeonkube.io \"absent\" not found";
    stage
        .get("clusters.kubeonkube.io/absent")
        .await
        .refused(404, "NotFound", text)?;
    let patch = json!({"data": {"k": "v"}});
    stage
        .patch("configmaps/a", &patch)
        .await
        .refused(404, "NotFound", "\"a\" not found")?;
    stage
        .delete("configmaps/a", &Value::Null)
        .await
        .refused(404, "NotFound", "\"a\" not found")?;
    let object = stage.config("a", &json!({}));
    stage
        .put("configmaps/a", &object)
        .await
        .refused(404, "NotFound", "\"a\" not found")?;
    Ok(())
}

async fn a_kind_that_is_not_served_is_not_found_without_a_status(stage: &Stage) -> Outcome {
    // kube makes a Status of what is none, with this reason.
    let reason = "Failed to parse error data";
    stage
        .get("things.example.org")
        .await
        .refused(404, reason, "404 page not found")?;
    stage
        .get("things.example.org/a")
        .await
        .refused(404, reason, "404 page not found")?;
    Ok(())
}

async fn a_namespace_must_be_there(stage: &Stage) -> Outcome {
    let elsewhere = Stage {
        namespace: "absent".into(),
        ..stage.clone()
    };
    let object = elsewhere.config("a", &json!({}));
    let text = "namespaces \"absent\" not found";
    elsewhere
        .post("configmaps", &object)
        .await
        .refused(404, "NotFound", text)?;
    elsewhere
        .apply("configmaps/a", "m", &object)
        .await
        .refused(404, "NotFound", text)?;
    let list = elsewhere.get("configmaps").await?;
    same(list["items"].clone(), json!([]))
}

async fn bad_names_are_invalid(stage: &Stage) -> Outcome {
    let object = stage.config("Not_A_Name", &json!({}));
    let status = stage.post("configmaps", &object).await.refused(
        422,
        "Invalid",
        "ConfigMap \"Not_A_Name\" is invalid: metadata.name: Invalid value: \"Not_A_Name\": a lowercase RFC 1123 subdomain must consist of",
    )?;
    let causes = details(status)?.causes;
    same(
        causes.first().map(|cause| cause.field.as_str()),
        Some("metadata.name"),
    )?;
    let mut labelled = stage.config("a", &json!({}));
    labelled["metadata"]["labels"] = json!({"k": "not a label!"});
    stage
        .post("configmaps", &labelled)
        .await
        .refused(422, "Invalid", "metadata.labels: Invalid value")?;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a.b"},
        "spec": {"ports": [{"port": 80}]}});
    stage.post("services", &service).await.refused(
        422,
        "Invalid",
        "metadata.name: Invalid value: \"a.b\": must not contain dots",
    )?;
    Ok(())
}

async fn names_are_generated(stage: &Stage) -> Outcome {
    let mut object = stage.config("", &json!({}));
    object["metadata"] = json!({"generateName": "a-"});
    let (one, other) = (
        stage.post("configmaps", &object).await?,
        stage.post("configmaps", &object).await?,
    );
    ensure(
        meta(&one, "name").starts_with("a-") && meta(&one, "name").len() == 7,
        || one.to_string(),
    )?;
    ensure(meta(&one, "name") != meta(&other, "name"), || {
        "two objects of one name".into()
    })
}

async fn what_clients_cannot_set_is_dropped(stage: &Stage) -> Outcome {
    let mut object = stage.config("a", &json!({}));
    object["metadata"]["uid"] = json!("mine");
    object["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
    object["metadata"]["deletionTimestamp"] = json!("2001-01-01T00:00:00Z");
    let created = stage.post("configmaps", &object).await?;
    ensure(meta(&created, "uid") != "mine", || created.to_string())?;
    ensure(!meta(&created, "creationTimestamp").starts_with("2001"), || {
        created.to_string()
    })?;
    same(created["metadata"].get("deletionTimestamp"), None)?;
    let mut pod = stage.pod("a");
    pod["status"] = json!({"phase": "Running"});
    let created = stage.post("pods", &pod).await?;
    same(created["status"]["phase"].clone(), json!("Pending"))
}

async fn another_kind_in_the_body_is_a_bad_request(stage: &Stage) -> Outcome {
    let mut object = stage.config("a", &json!({}));
    object["kind"] = json!("Secret");
    stage
        .post("configmaps", &object)
        .await
        .refused(400, "BadRequest", "")?;
    object = stage.config("a", &json!({}));
    object["apiVersion"] = json!("v2");
    stage
        .post("configmaps", &object)
        .await
        .refused(400, "BadRequest", "")?;
    Ok(())
}

async fn another_namespace_in_the_body_is_a_bad_request(stage: &Stage) -> Outcome {
    let mut object = stage.config("a", &json!({}));
    object["metadata"]["namespace"] = json!("default");
    let text = "the namespace of the provided object does not match the namespace sent on the request";
    stage
        .post("configmaps", &object)
        .await
        .refused(400, "BadRequest", text)?;
    Ok(())
}

async fn a_wrong_type_is_a_bad_request(stage: &Stage) -> Outcome {
    let object = stage.config("a", &json!({"k": 1}));
    let text = "ConfigMap in version \"v1\" cannot be handled as a ConfigMap";
    stage
        .post("configmaps", &object)
        .await
        .refused(400, "BadRequest", text)?;
    Ok(())
}

async fn unknown_fields_are_dropped_unless_strict(stage: &Stage) -> Outcome {
    let mut object = stage.config("a", &json!({}));
    object["dat"] = json!({});
    let url = format!("{}?fieldValidation=Strict", stage.url("configmaps"));
    let text = "strict decoding error: unknown field \"dat\"";
    stage
        .send("POST", &url, JSON, &object)
        .await
        .refused(400, "BadRequest", text)?;
    let created = stage.post("configmaps", &object).await?;
    same(created.get("dat"), None)
}

async fn a_version_of_a_new_object_is_refused(stage: &Stage) -> Outcome {
    let mut object = stage.config("a", &json!({}));
    object["metadata"]["resourceVersion"] = json!("7");
    let answer = stage.post("configmaps", &object).await;
    let text = "resourceVersion should not be set on objects to be created";
    ensure(
        matches!(&answer, Err(kube::Error::Api(status)) if status.code >= 400 && status.message.contains(text)),
        || format!("{answer:?}"),
    )
}

async fn a_dry_run_stores_nothing(stage: &Stage) -> Outcome {
    let url = format!("{}?dryRun=All", stage.url("configmaps"));
    stage
        .send("POST", &url, JSON, &stage.config("a", &json!({})))
        .await?;
    stage.get("configmaps/a").await.refused(404, "NotFound", "")?;
    Ok(())
}

/// Names of the items of a list.
fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().into_iter().flatten();
    items.map(|item| meta(item, "name")).collect()
}

async fn lists_are_selected_by_labels(stage: &Stage) -> Outcome {
    for (name, labels) in [
        ("a", json!({"x": "1"})),
        ("b", json!({"x": "2", "y": "1"})),
        ("c", json!({})),
    ] {
        let mut object = stage.config(name, &json!({}));
        object["metadata"]["labels"] = labels;
        stage.post("configmaps", &object).await?;
    }
    let cases: &[(&str, &[&str])] = &[
        ("x%3D1", &["a"]),
        ("x", &["a", "b"]),
        ("x%2Cy%3D1", &["b"]),
        ("x%20in%20(1%2C2)", &["a", "b"]),
        ("x!%3D1", &["b", "c"]),
        ("!x", &["c"]),
    ];
    for (selector, expected) in cases {
        let url = format!("{}?labelSelector={selector}", stage.url("configmaps"));
        let list = stage.send("GET", &url, JSON, &Value::Null).await?;
        let found: Vec<&str> = names(&list).into_iter().filter(|name| name.len() == 1).collect();
        same(found, expected.to_vec())?;
    }
    Ok(())
}

async fn lists_are_selected_by_fields(stage: &Stage) -> Outcome {
    stage.post("pods", &stage.pod("a")).await?;
    stage.post("pods", &stage.pod("b")).await?;
    stage.bind("b").await?;
    let cases: &[(&str, &[&str])] = &[
        ("metadata.name%3Da", &["a"]),
        ("spec.nodeName%3Dnode-1", &["b"]),
        ("status.phase!%3DRunning", &["a", "b"]),
    ];
    for (selector, expected) in cases {
        let url = format!("{}?fieldSelector={selector}", stage.url("pods"));
        let list = stage.send("GET", &url, JSON, &Value::Null).await?;
        same(names(&list), expected.to_vec())?;
    }
    Ok(())
}

async fn items_of_builtin_lists_have_no_kind(stage: &Stage) -> Outcome {
    stage
        .post(
            "secrets",
            &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}),
        )
        .await?;
    let list = stage.get("secrets").await?;
    same(
        (list["kind"].clone(), list["apiVersion"].clone()),
        (json!("SecretList"), json!("v1")),
    )?;
    ensure(!meta(&list, "resourceVersion").is_empty(), || list.to_string())?;
    same(list["items"][0].get("kind"), None)?;
    same(meta(&list["items"][0], "name"), "a")
}

async fn items_of_custom_lists_have_their_kind(stage: &Stage) -> Outcome {
    stage
        .post("clusters.kubeonkube.io", &super::specs::cluster("listed"))
        .await?;
    let url = format!(
        "{}?fieldSelector=metadata.name%3Dlisted",
        stage.url("clusters.kubeonkube.io")
    );
    let list = stage.send("GET", &url, JSON, &Value::Null).await?;
    same(list["kind"].clone(), json!("ClusterList"))?;
    same(list["items"][0]["kind"].clone(), json!("Cluster"))
}

async fn pages_are_of_one_moment(stage: &Stage) -> Outcome {
    let secret = |name: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
    for name in ["a", "b", "c"] {
        stage.post("secrets", &secret(name)).await?;
    }
    let url = stage.url("secrets");
    let first = stage
        .send("GET", &format!("{url}?limit=2"), JSON, &Value::Null)
        .await?;
    same(names(&first), vec!["a", "b"])?;
    same(first["metadata"]["remainingItemCount"].clone(), json!(1))?;
    stage.delete("secrets/c", &Value::Null).await?;
    stage.post("secrets", &secret("d")).await?;
    let token = meta(&first, "continue");
    let next = stage
        .send(
            "GET",
            &format!("{url}?limit=2&continue={token}"),
            JSON,
            &Value::Null,
        )
        .await?;
    same(names(&next), vec!["c"])?;
    same(meta(&next, "continue"), "")?;
    same(meta(&next, "resourceVersion"), meta(&first, "resourceVersion"))
}

async fn only_metadata_is_given_when_asked_for(stage: &Stage) -> Outcome {
    stage
        .post("configmaps", &stage.config("a", &json!({"k": "v"})))
        .await?;
    let ask = async |what: &str, as_: &str| {
        let request = http::Request::get(stage.url(what))
            .header("accept", format!("application/json;as={as_};g=meta.k8s.io;v=v1"))
            .body(Vec::new())
            .map_err(kube::Error::HttpError)?;
        stage.client.request::<Value>(request).await
    };
    let one = ask("configmaps/a", "PartialObjectMetadata").await?;
    same(
        (one["kind"].clone(), one["apiVersion"].clone()),
        (json!("PartialObjectMetadata"), json!("meta.k8s.io/v1")),
    )?;
    same(one.get("data"), None)?;
    same(meta(&one, "name"), "a")?;
    let list = ask("configmaps", "PartialObjectMetadataList").await?;
    same(list["kind"].clone(), json!("PartialObjectMetadataList"))?;
    let item = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|item| meta(item, "name") == "a");
    let item = item.cloned().unwrap_or_default();
    same(item.get("data"), None)?;
    same(meta(&item, "uid"), meta(&one, "uid"))
}

async fn the_server_says_its_version(stage: &Stage) -> Outcome {
    let version = stage.client.apiserver_version().await?;
    ensure(version.git_version.starts_with("v1."), || {
        version.git_version.clone()
    })
}
