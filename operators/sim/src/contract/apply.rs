//! Server-side apply: what is merged, what is removed, and what is refused.

use kok_runtime::apply as runtime;
use kok_runtime::error::{ErrorClass, classify};
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use super::stage::{Answer, Expect, ensure, meta, same};
use super::{Outcome, Stage, behaviours, specs};

behaviours![
    apply_creates_what_is_absent,
    applying_the_same_again_writes_nothing,
    what_is_not_applied_any_more_is_removed,
    what_others_own_too_stays,
    what_nobody_applied_stays,
    items_of_keyed_lists_are_merged,
    items_of_sets_are_merged,
    atomic_lists_are_replaced,
    ports_are_told_apart_by_port_and_protocol,
    an_emptied_map_is_removed,
    unknown_fields_cannot_be_applied,
    repeated_keys_cannot_be_applied,
    an_absent_object_of_a_uid_is_a_conflict,
    an_old_version_is_a_conflict,
    another_uid_is_invalid,
    a_manager_must_be_named,
    a_uid_is_no_precondition_of_a_status,
    a_version_is_a_precondition_of_a_status,
    a_forced_apply_of_the_runtime_corrects_others,
];

async fn apply_creates_what_is_absent(stage: &Stage) -> Outcome {
    let applied = stage
        .apply("configmaps/a", "m", &stage.config("a", &json!({"k": "v"})))
        .await?;
    same(applied["data"].clone(), json!({"k": "v"}))?;
    ensure(!meta(&applied, "uid").is_empty(), || applied.to_string())
}

async fn applying_the_same_again_writes_nothing(stage: &Stage) -> Outcome {
    let longhand = {
        let mut pod = stage.pod("a");
        pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1000m"}});
        pod
    };
    for object in [
        stage.config("a", &json!({"k": "v"})),
        longhand,
        with_port_twice(),
        specs::claim("a"),
    ] {
        let what = format!(
            "{}s/a",
            object["kind"].as_str().unwrap_or_default().to_lowercase()
        );
        let mut first = stage.apply(&what, "m", &object).await?;
        if what == "persistentvolumeclaims/a" {
            // Of a new claim the server stores less than it shows, so the second write is one.
            let second = stage.apply(&what, "m", &object).await?;
            ensure(
                meta(&second, "resourceVersion") != meta(&first, "resourceVersion"),
                || first.to_string(),
            )?;
            first = second;
        }
        // Times of ownership are in seconds.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        let second = stage.apply(&what, "m", &object).await?;
        ensure(
            meta(&second, "resourceVersion") == meta(&first, "resourceVersion"),
            || format!("{first} became {second}"),
        )?;
    }
    Ok(())
}

/// A Service with one port over TCP and over UDP.
fn with_port_twice() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [
        {"name": "udp", "port": 53, "protocol": "UDP"}, {"name": "tcp", "port": 53}]}})
}

async fn what_is_not_applied_any_more_is_removed(stage: &Stage) -> Outcome {
    stage
        .apply(
            "configmaps/a",
            "m",
            &stage.config("a", &json!({"k": "v", "l": "w"})),
        )
        .await?;
    let applied = stage
        .apply("configmaps/a", "m", &stage.config("a", &json!({"l": "w"})))
        .await?;
    same(applied["data"].clone(), json!({"l": "w"}))?;
    let mut labelled = stage.config("a", &json!({"l": "w"}));
    labelled["metadata"]["labels"] = json!({"x": "1"});
    stage.apply("configmaps/a", "m", &labelled).await?;
    let applied = stage
        .apply("configmaps/a", "m", &stage.config("a", &json!({"l": "w"})))
        .await?;
    same(applied["metadata"].get("labels"), None)
}

async fn what_others_own_too_stays(stage: &Stage) -> Outcome {
    let both = stage.config("a", &json!({"k": "v"}));
    stage.apply("configmaps/a", "m", &both).await?;
    stage.apply("configmaps/a", "n", &both).await?;
    let applied = stage
        .apply("configmaps/a", "m", &stage.config("a", &json!({"l": "w"})))
        .await?;
    same(applied["data"].clone(), json!({"k": "v", "l": "w"}))?;
    let applied = stage
        .apply("configmaps/a", "n", &stage.config("a", &json!({"m": "x"})))
        .await?;
    same(applied["data"].clone(), json!({"l": "w", "m": "x"}))
}

async fn what_nobody_applied_stays(stage: &Stage) -> Outcome {
    stage
        .post("configmaps", &stage.config("a", &json!({"k": "v"})))
        .await?;
    let applied = stage
        .apply("configmaps/a", "m", &stage.config("a", &json!({"l": "w"})))
        .await?;
    same(applied["data"].clone(), json!({"k": "v", "l": "w"}))
}

async fn items_of_keyed_lists_are_merged(stage: &Stage) -> Outcome {
    let with = |containers: Value| {
        let mut deployment = specs::deployment("a");
        deployment["spec"]["template"]["spec"]["containers"] = containers;
        deployment
    };
    let container = |name: &str| json!({"name": name, "image": "example.org/main:1"});
    stage
        .apply(
            "deployments.apps/a",
            "m",
            &with(json!([container("a"), container("b")])),
        )
        .await?;
    let other = with(json!([{"name": "b", "env": [{"name": "K", "value": "v"}]}, container("c")]));
    let applied = stage.apply("deployments.apps/a", "n", &other).await?;
    same(containers(&applied), ["a", "b", "c"].map(String::from).to_vec())?;
    same(
        applied["spec"]["template"]["spec"]["containers"][1]["image"].clone(),
        json!("example.org/main:1"),
    )?;
    let applied = stage
        .apply("deployments.apps/a", "m", &with(json!([container("b")])))
        .await?;
    same(containers(&applied), ["b", "c"].map(String::from).to_vec())?;
    let env = applied["spec"]["template"]["spec"]["containers"][0]["env"].clone();
    same(env, json!([{"name": "K", "value": "v"}]))
}

fn containers(deployment: &Value) -> Vec<String> {
    let containers = deployment["spec"]["template"]["spec"]["containers"].as_array();
    let names = containers
        .into_iter()
        .flatten()
        .filter_map(|it| it["name"].as_str());
    names.map(str::to_owned).collect()
}

async fn items_of_sets_are_merged(stage: &Stage) -> Outcome {
    let with = |finalizers: &[&str]| {
        let mut object = stage.config("a", &json!({"k": "v"}));
        object["metadata"]["finalizers"] = json!(finalizers);
        object
    };
    stage
        .apply("configmaps/a", "m", &with(&["example.org/a"]))
        .await?;
    let applied = stage
        .apply("configmaps/a", "n", &with(&["example.org/b"]))
        .await?;
    same(
        applied["metadata"]["finalizers"].clone(),
        json!(["example.org/a", "example.org/b"]),
    )?;
    let applied = stage.apply("configmaps/a", "m", &with(&[])).await?;
    same(
        applied["metadata"]["finalizers"].clone(),
        json!(["example.org/b"]),
    )?;
    stage
        .patch("configmaps/a", &json!({"metadata": {"finalizers": null}}))
        .await?;
    let cluster = |sans: Value| {
        let mut cluster = specs::cluster("sans");
        cluster["spec"]["endpoint"]["extraSANs"] = sans;
        cluster
    };
    stage
        .apply("clusters.kubeonkube.io/sans", "m", &cluster(json!(["a"])))
        .await?;
    let applied = stage
        .apply("clusters.kubeonkube.io/sans", "n", &cluster(json!(["b"])))
        .await?;
    same(
        applied["spec"]["endpoint"]["extraSANs"].clone(),
        json!(["a", "b"]),
    )
}

async fn atomic_lists_are_replaced(stage: &Stage) -> Outcome {
    let with = |args: Value| {
        let mut pod = stage.pod("a");
        pod["spec"]["containers"][0]["args"] = args;
        pod["kind"] = json!("Deployment");
        pod["apiVersion"] = json!("apps/v1");
        pod["spec"] = json!({"selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": pod["spec"]}});
        pod
    };
    stage
        .apply("deployments.apps/a", "m", &with(json!(["a", "b"])))
        .await?;
    let applied = stage
        .apply("deployments.apps/a", "m", &with(json!(["b", "c"])))
        .await?;
    same(
        applied["spec"]["template"]["spec"]["containers"][0]["args"].clone(),
        json!(["b", "c"]),
    )?;
    let text = ".spec.template.spec.containers[name=\"main\"].args";
    stage
        .apply("deployments.apps/a", "n", &with(json!(["d"])))
        .await
        .refused(409, "Conflict", text)?;
    Ok(())
}

async fn ports_are_told_apart_by_port_and_protocol(stage: &Stage) -> Outcome {
    let applied = stage.apply("services/a", "m", &with_port_twice()).await?;
    same(applied["spec"]["ports"].as_array().map(Vec::len), Some(2))?;
    let keys: Vec<String> = applied["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:ports"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key.clone())
        .collect();
    let key = |protocol: &str| format!("k:{{\"port\":53,\"protocol\":\"{protocol}\"}}");
    same(keys, vec![key("TCP"), key("UDP")])
}

async fn an_emptied_map_is_removed(stage: &Stage) -> Outcome {
    let mut pod = specs::deployment("a");
    pod["spec"]["template"]["spec"]["nodeSelector"] = json!({"a": "b"});
    stage.apply("deployments.apps/a", "m", &pod).await?;
    let applied = stage
        .apply("deployments.apps/a", "m", &specs::deployment("a"))
        .await?;
    same(applied["spec"]["template"]["spec"].get("nodeSelector"), None)?;
    let mut cluster = specs::cluster("emptied");
    cluster["spec"]["paused"] = json!({"reason": "why not"});
    stage
        .apply("clusters.kubeonkube.io/emptied", "m", &cluster)
        .await?;
    let applied = stage
        .apply("clusters.kubeonkube.io/emptied", "m", &specs::cluster("emptied"))
        .await?;
    same(applied["spec"].get("paused"), None)
}

async fn unknown_fields_cannot_be_applied(stage: &Stage) -> Outcome {
    let mut pod = stage.pod("a");
    pod["spec"]["containers"][0]["imag"] = json!("x");
    let text = ".spec.containers[name=\"main\"].imag: field not declared in schema";
    undeclared(stage.apply("pods/a", "m", &pod).await, text)?;
    undeclared(
        stage.apply("pods/a", "m&fieldValidation=Strict", &pod).await,
        text,
    )?;
    let mut cluster = specs::cluster("strange");
    cluster["spec"]["mod"] = json!("Minimal");
    let text = ".spec.mod: field not declared in schema";
    undeclared(
        stage.apply("clusters.kubeonkube.io/strange", "m", &cluster).await,
        text,
    )
}

/// The server calls it its own error.
fn undeclared(answer: Answer, text: &str) -> Outcome {
    answer.refused(500, "", text).map(|_| ())
}

async fn repeated_keys_cannot_be_applied(stage: &Stage) -> Outcome {
    let mut cluster = specs::cluster("repeated");
    cluster["spec"]["users"] = json!([{"name": "alice"}, {"name": "alice"}]);
    let text = ".spec.users: duplicate entries for key [name=\"alice\"]";
    undeclared(
        stage
            .apply("clusters.kubeonkube.io/repeated", "m", &cluster)
            .await,
        text,
    )
}

async fn an_absent_object_of_a_uid_is_a_conflict(stage: &Stage) -> Outcome {
    let mut object = stage.config("a", &json!({}));
    object["metadata"]["uid"] = json!("other");
    let text = "uid mismatch: the provided object specified uid other, and no existing object was found";
    stage
        .apply("configmaps/a", "m", &object)
        .await
        .refused(409, "Conflict", text)?;
    Ok(())
}

async fn an_old_version_is_a_conflict(stage: &Stage) -> Outcome {
    let old = stage
        .apply("configmaps/a", "m", &stage.config("a", &json!({"k": "v"})))
        .await?;
    stage
        .apply("configmaps/a", "m", &stage.config("a", &json!({"k": "w"})))
        .await?;
    let mut object = stage.config("a", &json!({"k": "x"}));
    object["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
    stage.apply("configmaps/a", "m", &object).await.refused(
        409,
        "Conflict",
        "the object has been modified",
    )?;
    Ok(())
}

async fn another_uid_is_invalid(stage: &Stage) -> Outcome {
    stage
        .apply("configmaps/a", "m", &stage.config("a", &json!({})))
        .await?;
    let mut object = stage.config("a", &json!({"k": "v"}));
    object["metadata"]["uid"] = json!("other");
    let text = "metadata.uid: Invalid value: \"other\": field is immutable";
    stage
        .apply("configmaps/a", "m", &object)
        .await
        .refused(422, "Invalid", text)?;
    Ok(())
}

async fn a_manager_must_be_named(stage: &Stage) -> Outcome {
    let url = stage.url("configmaps/a");
    let object = stage.config("a", &json!({}));
    let answer = stage
        .send("PATCH", &url, "application/apply-patch+yaml", &object)
        .await;
    answer.refused(
        422,
        "Invalid",
        "fieldManager: Required value: is required for apply patch",
    )?;
    Ok(())
}

/// What is written to the status of a custom resource takes everything else from what is there, also the uid.
async fn a_uid_is_no_precondition_of_a_status(stage: &Stage) -> Outcome {
    stage
        .post("clusters.kubeonkube.io", &specs::cluster("reborn"))
        .await?;
    let mut status = specs::cluster("reborn");
    status["metadata"]["uid"] = json!("other");
    status["status"] = json!({"phase": "Running"});
    let applied = stage
        .apply("clusters.kubeonkube.io/reborn/status", "m", &status)
        .await?;
    ensure(meta(&applied, "uid") != "other", || applied.to_string())?;
    same(applied["status"]["phase"].clone(), json!("Running"))
}

async fn a_version_is_a_precondition_of_a_status(stage: &Stage) -> Outcome {
    let created = stage
        .post("clusters.kubeonkube.io", &specs::cluster("older"))
        .await?;
    stage
        .patch(
            "clusters.kubeonkube.io/older",
            &json!({"spec": {"mode": "Standard"}}),
        )
        .await?;
    let mut status = specs::cluster("older");
    status["metadata"]["resourceVersion"] = created["metadata"]["resourceVersion"].clone();
    status["status"] = json!({"phase": "Running"});
    let answer = stage
        .apply("clusters.kubeonkube.io/older/status", "m", &status)
        .await;
    answer.refused(409, "Conflict", "the object has been modified")?;
    Ok(())
}

async fn a_forced_apply_of_the_runtime_corrects_others(stage: &Stage) -> Outcome {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    let object: DynamicObject = serde_json::from_value(stage.config("a", &json!({"k": "v"})))?;
    let apply = || runtime::apply(&stage.client, "m", &kind, Some(&stage.namespace), &object);
    apply().await?;
    stage
        .patch("configmaps/a", &json!({"data": {"k": "w", "l": "x"}}))
        .await?;
    let applied = apply().await?;
    same(applied.data["data"].clone(), json!({"k": "v", "l": "x"}))?;
    let mut strange = object.clone();
    strange.data["dat"] = json!({});
    let refused = runtime::apply(&stage.client, "m", &kind, Some(&stage.namespace), &strange).await;
    let class = refused.as_ref().err().map(classify);
    // As the server answers with 500, nobody can tell it from a passing failure.
    same(class, Some(ErrorClass::Transient))?;
    let absent = Stage {
        namespace: "absent".into(),
        ..stage.clone()
    };
    let object: DynamicObject = serde_json::from_value(absent.config("a", &json!({})))?;
    let refused = runtime::apply(&stage.client, "m", &kind, Some("absent"), &object).await;
    same(refused.as_ref().err().map(classify), Some(ErrorClass::Conflict))
}
