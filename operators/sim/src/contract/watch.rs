//! Watches.

use serde_json::{Value, json};

use super::stage::{JSON, ensure, meta, same};
use super::{Outcome, Stage, behaviours, specs};

behaviours![
    a_watch_tells_what_happens_after_a_version,
    a_watch_without_a_version_begins_with_what_is_there,
    a_watch_ends_after_its_time_with_a_bookmark,
    an_object_that_leaves_the_selector_is_deleted_for_the_watch,
    a_watch_of_all_namespaces_tells_of_each,
    a_watch_of_metadata_tells_nothing_else,
    a_streaming_list_marks_the_end_of_what_is_there,
    a_deleted_object_is_told_as_it_was,
    a_graceful_deletion_is_told_twice,
    #[alone]
    a_forgotten_version_is_gone,
];

async fn a_watch_tells_what_happens_after_a_version(stage: &Stage) -> Outcome {
    let old = stage.post("configmaps", &stage.config("a", &json!({}))).await?;
    let since = meta(&old, "resourceVersion");
    stage.post("configmaps", &stage.config("b", &json!({}))).await?;
    let mut events = stage
        .watch("configmaps", &format!("resourceVersion={since}"))
        .await?;
    events.expect("ADDED", "b").await?;
    let changed = stage.patch("configmaps/a", &json!({"data": {"k": "v"}})).await?;
    same(events.expect("MODIFIED", "a").await?, changed.clone())?;
    stage.delete("configmaps/b", &Value::Null).await?;
    let deleted = events.expect("DELETED", "b").await?;
    let number = |object: &Value| meta(object, "resourceVersion").parse::<u64>().unwrap_or_default();
    ensure(number(&deleted) > number(&changed), || {
        "the version of a deletion is its own".into()
    })
}

async fn a_watch_without_a_version_begins_with_what_is_there(stage: &Stage) -> Outcome {
    let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}});
    let created = stage.post("secrets", &object).await?;
    for query in ["", "resourceVersion=0"] {
        let mut events = stage.watch("secrets", query).await?;
        same(events.expect("ADDED", "a").await?, created.clone())?;
    }
    Ok(())
}

async fn a_watch_ends_after_its_time_with_a_bookmark(stage: &Stage) -> Outcome {
    let object = stage.post("configmaps", &stage.config("a", &json!({}))).await?;
    let since = meta(&object, "resourceVersion");
    let query = format!("resourceVersion={since}&timeoutSeconds=4&allowWatchBookmarks=true");
    let mut events = stage.watch("configmaps", &query).await?;
    let bookmark = events.expect("BOOKMARK", "").await?;
    same(
        (bookmark["kind"].clone(), bookmark["apiVersion"].clone()),
        (json!("ConfigMap"), json!("v1")),
    )?;
    let number = |object: &Value| meta(object, "resourceVersion").parse::<u64>().unwrap_or_default();
    ensure(number(&bookmark) >= number(&object), || bookmark.to_string())?;
    while let Some((type_, _)) = events.next().await? {
        same(type_.as_str(), "BOOKMARK")?;
    }
    Ok(())
}

async fn an_object_that_leaves_the_selector_is_deleted_for_the_watch(stage: &Stage) -> Outcome {
    let mut object = stage.config("a", &json!({}));
    object["metadata"]["labels"] = json!({"x": "1"});
    let created = stage.post("configmaps", &object).await?;
    let since = meta(&created, "resourceVersion");
    let query = format!("resourceVersion={since}&labelSelector=x%3D1");
    let mut events = stage.watch("configmaps", &query).await?;
    stage.patch("configmaps/a", &json!({"data": {"k": "v"}})).await?;
    events.expect("MODIFIED", "a").await?;
    let left = stage
        .patch("configmaps/a", &json!({"metadata": {"labels": {"x": "2"}}}))
        .await?;
    let told = events.expect("DELETED", "a").await?;
    same(told["metadata"]["labels"].clone(), json!({"x": "1"}))?;
    same(meta(&told, "resourceVersion"), meta(&left, "resourceVersion"))?;
    stage.patch("configmaps/a", &json!({"data": {"k": "w"}})).await?;
    stage
        .patch("configmaps/a", &json!({"metadata": {"labels": {"x": "1"}}}))
        .await?;
    events.expect("ADDED", "a").await.map(|_| ())
}

async fn a_watch_of_all_namespaces_tells_of_each(stage: &Stage) -> Outcome {
    let query = "resourceVersion=0&labelSelector=watched%3Deverywhere";
    let url = format!("/api/v1/configmaps?watch=true&{query}");
    let mut events = stage.watch_url(&url, JSON).await?;
    for namespace in [stage.namespace.as_str(), "default"] {
        let stage = Stage {
            namespace: namespace.into(),
            ..stage.clone()
        };
        let mut object = stage.config("watched-everywhere", &json!({}));
        object["metadata"]["labels"] = json!({"watched": "everywhere"});
        stage.post("configmaps", &object).await?;
        let told = events.expect("ADDED", "watched-everywhere").await?;
        same(meta(&told, "namespace"), namespace)?;
    }
    Ok(())
}

async fn a_watch_of_metadata_tells_nothing_else(stage: &Stage) -> Outcome {
    let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"},
        "data": {"k": "dg=="}});
    let created = stage.post("secrets", &object).await?;
    let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let query = "resourceVersion=0&allowWatchBookmarks=true&timeoutSeconds=4";
    let mut events = stage.watch_as("secrets", query, accept).await?;
    let told = events.expect("ADDED", "a").await?;
    let kind = |object: &Value| (object["kind"].clone(), object["apiVersion"].clone());
    let partial = (json!("PartialObjectMetadata"), json!("meta.k8s.io/v1"));
    same(kind(&told), partial.clone())?;
    same(
        (told.get("data"), &told["metadata"]),
        (None, &created["metadata"]),
    )?;
    stage.delete("secrets/a", &Value::Null).await?;
    same(events.expect("DELETED", "a").await?.get("data"), None)?;
    same(kind(&events.expect("BOOKMARK", "").await?), partial)
}

async fn a_streaming_list_marks_the_end_of_what_is_there(stage: &Stage) -> Outcome {
    let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}});
    stage.post("secrets", &object).await?;
    let query =
        "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion=0";
    let mut events = stage.watch("secrets", query).await?;
    events.expect("ADDED", "a").await?;
    let bookmark = events.expect("BOOKMARK", "").await?;
    same(
        bookmark["metadata"]["annotations"]["k8s.io/initial-events-end"].clone(),
        json!("true"),
    )?;
    stage.delete("secrets/a", &Value::Null).await?;
    events.expect("DELETED", "a").await.map(|_| ())
}

async fn a_deleted_object_is_told_as_it_was(stage: &Stage) -> Outcome {
    let mut object = stage.config("a", &json!({"k": "v"}));
    object["metadata"]["finalizers"] = json!(["example.org/f"]);
    let created = stage.post("configmaps", &object).await?;
    let since = meta(&created, "resourceVersion");
    let mut events = stage
        .watch("configmaps", &format!("resourceVersion={since}"))
        .await?;
    stage.delete("configmaps/a", &Value::Null).await?;
    let marked = events.expect("MODIFIED", "a").await?;
    ensure(!meta(&marked, "deletionTimestamp").is_empty(), || {
        marked.to_string()
    })?;
    stage
        .patch(
            "configmaps/a",
            &json!({"metadata": {"finalizers": null}, "data": {"k": "w"}}),
        )
        .await?;
    let told = events.expect("DELETED", "a").await?;
    // As it was stored last: the write that removed the last finalizer was none.
    same(told["data"].clone(), json!({"k": "v"}))
}

async fn a_graceful_deletion_is_told_twice(stage: &Stage) -> Outcome {
    stage.post("pods", &stage.pod("a")).await?;
    stage.bind("a").await?;
    let since = meta(&stage.get("pods/a").await?, "resourceVersion").to_owned();
    let mut events = stage.watch("pods", &format!("resourceVersion={since}")).await?;
    stage.delete("pods/a", &Value::Null).await?;
    events.expect("MODIFIED", "a").await?;
    stage.delete("pods/a", &json!({"gracePeriodSeconds": 0})).await?;
    // The end of the grace is written before the object goes.
    let mut told = events.next().await?;
    while told.as_ref().is_some_and(|(type_, _)| type_ == "MODIFIED") {
        told = events.next().await?;
    }
    same(told.map(|(type_, _)| type_), Some("DELETED".to_owned()))
}

/// Of our own kind: the server remembers its history since the kind is served, and not from the beginning.
async fn a_forgotten_version_is_gone(stage: &Stage) -> Outcome {
    stage
        .post("clusters.kubeonkube.io", &specs::cluster("remembered"))
        .await?;
    (stage.forget)();
    let mut events = stage.watch("clusters.kubeonkube.io", "resourceVersion=1").await?;
    let Some((type_, status)) = events.next().await? else {
        return ensure(false, || "the watch ended without a word".into());
    };
    same(type_.as_str(), "ERROR")?;
    let said = (
        status["kind"].clone(),
        status["code"].clone(),
        status["reason"].clone(),
    );
    same(said, (json!("Status"), json!(410), json!("Expired")))?;
    ensure(
        status["message"]
            .as_str()
            .is_some_and(|it| it.contains("too old resource version")),
        || status.to_string(),
    )?;
    same(events.next().await?, None)
}
