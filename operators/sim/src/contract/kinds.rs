//! What the server makes of the built-in kinds that the operators write.

use k8s_openapi::api::core::v1::ObjectReference;
use kok_runtime::events::Events;
use serde_json::{Value, json};

use super::stage::{Expect, ensure, meta, same};
use super::{Outcome, Stage, behaviours, specs};

behaviours![
    a_service_gets_an_address,
    a_headless_service_has_none,
    a_node_port_belongs_to_one_service,
    a_node_port_outside_the_range_is_invalid,
    a_node_port_that_is_not_asked_for_is_chosen,
    a_service_keeps_what_it_was_given,
    a_service_changes_its_type,
    the_address_of_a_service_cannot_change,
    a_deployment_gets_defaults,
    a_pod_gets_defaults,
    a_pod_gets_what_admission_adds,
    a_pod_template_gets_its_own_defaults_only,
    a_pod_needs_its_priority_class,
    a_pod_needs_its_service_account,
    quantities_are_written_short,
    a_selector_must_match_the_template,
    a_workload_needs_containers,
    a_claim_gets_the_default_class,
    a_claim_says_how_much_it_needs,
    texts_of_a_secret_become_data,
    a_network_policy_gets_defaults,
    a_budget_has_a_status_from_the_start,
    an_immutable_config_cannot_change,
    events_are_written_and_counted,
];

fn service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

async fn a_service_gets_an_address(stage: &Stage) -> Outcome {
    let created = stage
        .post("services", &service("a", json!({"ports": [{"port": 80}]})))
        .await?;
    let spec = &created["spec"];
    let address = spec["clusterIP"].as_str().unwrap_or_default();
    ensure(address.starts_with("10.96."), || created.to_string())?;
    same(spec["clusterIPs"].clone(), json!([address]))?;
    same(
        spec["ports"].clone(),
        json!([{"port": 80, "protocol": "TCP", "targetPort": 80}]),
    )?;
    same(
        (spec["type"].clone(), spec["sessionAffinity"].clone()),
        (json!("ClusterIP"), json!("None")),
    )?;
    same(
        (spec["ipFamilies"].clone(), spec["ipFamilyPolicy"].clone()),
        (json!(["IPv4"]), json!("SingleStack")),
    )?;
    same(spec["internalTrafficPolicy"].clone(), json!("Cluster"))?;
    same(created["status"].clone(), json!({"loadBalancer": {}}))
}

async fn a_headless_service_has_none(stage: &Stage) -> Outcome {
    let spec = json!({"clusterIP": "None", "publishNotReadyAddresses": true, "selector": {"app": "a"},
        "ports": [{"name": "https", "port": 6443, "protocol": "TCP", "targetPort": 6443}]});
    let created = stage
        .apply("services/a", "m", &service("a", spec.clone()))
        .await?;
    same(
        (
            created["spec"]["clusterIP"].clone(),
            created["spec"]["clusterIPs"].clone(),
        ),
        (json!("None"), json!(["None"])),
    )?;
    same(created["spec"]["ports"].clone(), spec["ports"].clone())
}

/// A Service of type NodePort.
fn node_port(name: &str, port: Option<i32>) -> Value {
    let mut ports = json!({"name": "https", "port": 6443});
    if let Some(port) = port {
        ports["nodePort"] = json!(port);
    }
    service(name, json!({"type": "NodePort", "ports": [ports]}))
}

async fn a_node_port_belongs_to_one_service(stage: &Stage) -> Outcome {
    let first = stage
        .apply("services/a", "m", &node_port("a", Some(30101)))
        .await?;
    same(first["spec"]["ports"][0]["nodePort"].clone(), json!(30101))?;
    same(first["spec"]["externalTrafficPolicy"].clone(), json!("Cluster"))?;
    let text = "spec.ports[0].nodePort: Invalid value: 30101: provided port is already allocated";
    stage
        .apply("services/b", "m", &node_port("b", Some(30101)))
        .await
        .refused(422, "Invalid", text)?;
    stage.delete("services/a", &Value::Null).await?;
    stage
        .apply("services/b", "m", &node_port("b", Some(30101)))
        .await?;
    Ok(())
}

async fn a_node_port_outside_the_range_is_invalid(stage: &Stage) -> Outcome {
    let text = "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767";
    stage
        .post("services", &node_port("a", Some(80)))
        .await
        .refused(422, "Invalid", text)?;
    Ok(())
}

async fn a_node_port_that_is_not_asked_for_is_chosen(stage: &Stage) -> Outcome {
    let created = stage.post("services", &node_port("a", None)).await?;
    let port = created["spec"]["ports"][0]["nodePort"]
        .as_i64()
        .unwrap_or_default();
    ensure((30000..=32767).contains(&port), || created.to_string())
}

async fn a_service_keeps_what_it_was_given(stage: &Stage) -> Outcome {
    let first = stage.apply("services/a", "m", &node_port("a", None)).await?;
    let mut labelled = node_port("a", None);
    labelled["metadata"]["labels"] = json!({"x": "1"});
    let second = stage.apply("services/a", "m", &labelled).await?;
    same(second["spec"].clone(), first["spec"].clone())?;
    let replaced = stage.put("services/a", &node_port("a", None)).await?;
    same(
        replaced["spec"]["clusterIP"].clone(),
        first["spec"]["clusterIP"].clone(),
    )?;
    same(
        replaced["spec"]["ports"][0]["nodePort"].clone(),
        first["spec"]["ports"][0]["nodePort"].clone(),
    )
}

async fn a_service_changes_its_type(stage: &Stage) -> Outcome {
    stage
        .apply("services/a", "m", &node_port("a", Some(30102)))
        .await?;
    let spec = json!({"type": "LoadBalancer", "ports": [{"name": "https", "port": 6443}]});
    let balanced = stage.apply("services/a", "m", &service("a", spec)).await?;
    same(
        balanced["spec"]["allocateLoadBalancerNodePorts"].clone(),
        json!(true),
    )?;
    ensure(balanced["spec"]["ports"][0]["nodePort"].is_i64(), || {
        balanced.to_string()
    })?;
    let spec = json!({"type": "ClusterIP", "ports": [{"name": "https", "port": 6443}]});
    let inside = stage.apply("services/a", "m", &service("a", spec)).await?;
    same(inside["spec"]["ports"][0].get("nodePort"), None)?;
    same(inside["spec"].get("externalTrafficPolicy"), None)?;
    let spec = json!({"clusterIP": "None", "ports": [{"name": "https", "port": 6443}]});
    let text = "spec.clusterIPs[0]: Invalid value: [\"None\"]: may not change once set";
    stage
        .apply("services/a", "m", &service("a", spec))
        .await
        .refused(422, "Invalid", text)?;
    Ok(())
}

async fn the_address_of_a_service_cannot_change(stage: &Stage) -> Outcome {
    stage
        .post("services", &service("a", json!({"ports": [{"port": 80}]})))
        .await?;
    let patch = json!({"spec": {"clusterIP": "10.96.200.200", "clusterIPs": ["10.96.200.200"]}});
    let text = "spec.clusterIPs[0]: Invalid value: [\"10.96.200.200\"]: may not change once set";
    stage
        .patch("services/a", &patch)
        .await
        .refused(422, "Invalid", text)?;
    Ok(())
}

async fn a_deployment_gets_defaults(stage: &Stage) -> Outcome {
    let created = stage
        .apply("deployments.apps/a", "m", &specs::deployment("a"))
        .await?;
    let mut spec = created["spec"].clone();
    let template = spec.as_object_mut().and_then(|spec| spec.remove("template"));
    same(
        spec,
        json!({"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {"app": "a"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}}),
    )?;
    same(
        template.unwrap_or_default(),
        json!({"metadata": {"labels": {"app": "a"}}, "spec": {
            "containers": [{"name": "main", "image": "example.org/main:1", "imagePullPolicy": "IfNotPresent",
                "resources": {}, "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File"}],
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
            "securityContext": {}, "terminationGracePeriodSeconds": 30}}),
    )?;
    same(created["status"].clone(), json!({}))
}

/// A pod with most of what our pods have.
fn rich_pod(stage: &Stage) -> Value {
    let mut pod = stage.pod("a");
    pod["spec"]["containers"][0] = json!({
        "name": "main", "image": "example.org/main:1",
        "ports": [{"name": "https", "containerPort": 6443}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "https", "scheme": "HTTPS"}},
        "startupProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1, "failureThreshold": 300},
        "volumeMounts": [{"name": "tls", "mountPath": "/tls", "readOnly": true}, {"name": "tmp", "mountPath": "/tmp"}],
        "resources": {"limits": {"memory": "1024Mi"}, "requests": {"cpu": "1000m"}},
    });
    pod["spec"]["volumes"] = json!([
        {"name": "tls", "secret": {"secretName": "tls"}},
        {"name": "all", "projected": {"sources": [{"secret": {"name": "ca"}}]}},
        {"name": "config", "configMap": {"name": "config", "defaultMode": 292}},
        {"name": "tmp", "emptyDir": {}},
    ]);
    pod
}

async fn a_pod_gets_defaults(stage: &Stage) -> Outcome {
    let created = stage.apply("pods/a", "m", &rich_pod(stage)).await?;
    let container = &created["spec"]["containers"][0];
    same(
        container["ports"].clone(),
        json!([{"name": "https", "containerPort": 6443, "protocol": "TCP"}]),
    )?;
    same(
        container["readinessProbe"].clone(),
        json!({"httpGet": {"path": "/readyz", "port": "https", "scheme": "HTTPS"}, "failureThreshold": 3,
            "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1}),
    )?;
    same(
        container["startupProbe"].clone(),
        json!({"exec": {"command": ["true"]}, "failureThreshold": 300, "periodSeconds": 1, "successThreshold": 1,
            "timeoutSeconds": 1}),
    )?;
    same(
        container["resources"].clone(),
        json!({"limits": {"memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}),
    )?;
    same(
        created["spec"]["volumes"].clone(),
        json!([
            {"name": "tls", "secret": {"secretName": "tls", "defaultMode": 420}},
            {"name": "all", "projected": {"sources": [{"secret": {"name": "ca"}}], "defaultMode": 420}},
            {"name": "config", "configMap": {"name": "config", "defaultMode": 292}},
            {"name": "tmp", "emptyDir": {}},
        ]),
    )?;
    same(
        created["status"].clone(),
        json!({"phase": "Pending", "qosClass": "Burstable"}),
    )
}

async fn a_pod_gets_what_admission_adds(stage: &Stage) -> Outcome {
    let mut pod = stage.pod("a");
    pod["spec"]["tolerations"] = json!([{"key": "x", "operator": "Exists", "effect": "NoSchedule"}]);
    let created = stage.apply("pods/a", "m", &pod).await?;
    let spec = &created["spec"];
    let gone = |key: &str| {
        json!({"key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "effect": "NoExecute",
            "tolerationSeconds": 300})
    };
    same(
        spec["tolerations"].clone(),
        json!([{"key": "x", "operator": "Exists", "effect": "NoSchedule"}, gone("not-ready"), gone("unreachable")]),
    )?;
    same(
        (spec["serviceAccountName"].clone(), spec["serviceAccount"].clone()),
        (json!("default"), json!("default")),
    )?;
    same(
        (spec["priority"].clone(), spec["preemptionPolicy"].clone()),
        (json!(0), json!("PreemptLowerPriority")),
    )?;
    same(spec["enableServiceLinks"].clone(), json!(true))?;
    same(created["status"]["qosClass"].clone(), json!("BestEffort"))
}

async fn a_pod_template_gets_its_own_defaults_only(stage: &Stage) -> Outcome {
    let mut deployment = specs::deployment("a");
    let mut spec = rich_pod(stage)["spec"].clone();
    spec["priorityClassName"] = json!("absent");
    deployment["spec"]["template"]["spec"] = spec;
    let created = stage.apply("deployments.apps/a", "m", &deployment).await?;
    let spec = &created["spec"]["template"]["spec"];
    for field in [
        "tolerations",
        "priority",
        "serviceAccountName",
        "enableServiceLinks",
    ] {
        same(spec.get(field), None)?;
    }
    let resources = json!({"limits": {"memory": "1Gi"}, "requests": {"cpu": "1"}});
    same(spec["containers"][0]["resources"].clone(), resources)
}

async fn a_pod_needs_its_priority_class(stage: &Stage) -> Outcome {
    let mut pod = stage.pod("a");
    pod["spec"]["priorityClassName"] = json!("contract");
    let text = "pods \"a\" is forbidden: no PriorityClass with name contract was found";
    stage.post("pods", &pod).await.refused(403, "Forbidden", text)?;
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": {"name": "contract"}, "value": 1000});
    stage.post("priorityclasses.scheduling.k8s.io", &class).await?;
    // The server takes a moment to notice.
    let mut created = stage.post("pods", &pod).await;
    while created.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        created = stage.post("pods", &pod).await;
    }
    same(created?["spec"]["priority"].clone(), json!(1000))
}

async fn a_pod_needs_its_service_account(stage: &Stage) -> Outcome {
    let mut pod = stage.pod("a");
    pod["spec"]["serviceAccountName"] = json!("absent");
    let text = format!(
        "pods \"a\" is forbidden: error looking up service account {}/absent: serviceaccount \"absent\" not found",
        stage.namespace
    );
    stage.post("pods", &pod).await.refused(403, "Forbidden", &text)?;
    Ok(())
}

async fn quantities_are_written_short(stage: &Stage) -> Outcome {
    let created = stage
        .apply("persistentvolumeclaims/a", "m", &specs::claim("a"))
        .await?;
    same(
        created["spec"]["resources"]["requests"]["storage"].clone(),
        json!("1Gi"),
    )?;
    let mut deployment = specs::deployment("a");
    deployment["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({
        "requests": {"cpu": "0.5", "memory": "1000Ki", "ephemeral-storage": "2000"},
        "limits": {"cpu": "1500m", "memory": "0.5Gi", "ephemeral-storage": 4096},
    });
    let created = stage.apply("deployments.apps/a", "m", &deployment).await?;
    same(
        created["spec"]["template"]["spec"]["containers"][0]["resources"].clone(),
        json!({"requests": {"cpu": "500m", "memory": "1000Ki", "ephemeral-storage": "2k"},
            "limits": {"cpu": "1500m", "memory": "512Mi", "ephemeral-storage": "4096"}}),
    )
}

async fn a_selector_must_match_the_template(stage: &Stage) -> Outcome {
    let mut deployment = specs::deployment("a");
    deployment["spec"]["template"]["metadata"]["labels"] = json!({"app": "b"});
    let text = "spec.template.metadata.labels: Invalid value: {\"app\":\"b\"}: `selector` does not match template `labels`";
    stage
        .post("deployments.apps", &deployment)
        .await
        .refused(422, "Invalid", text)?;
    Ok(())
}

async fn a_workload_needs_containers(stage: &Stage) -> Outcome {
    let mut deployment = specs::deployment("a");
    deployment["spec"]["template"]["spec"]["containers"] = json!([]);
    let text = "spec.template.spec.containers: Required value";
    stage
        .post("deployments.apps", &deployment)
        .await
        .refused(422, "Invalid", text)?;
    let mut pod = stage.pod("a");
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "absent", "mountPath": "/x"}]);
    let text = "spec.containers[0].volumeMounts[0].name: Not found: \"absent\"";
    stage.post("pods", &pod).await.refused(422, "Invalid", text)?;
    Ok(())
}

async fn a_claim_gets_the_default_class(stage: &Stage) -> Outcome {
    let mut claim = specs::claim("a");
    if let Some(spec) = claim["spec"].as_object_mut() {
        spec.remove("storageClassName");
    }
    let created = stage.post("persistentvolumeclaims", &claim).await?;
    same(created["spec"].get("storageClassName"), None)?;
    same(created["spec"]["volumeMode"].clone(), json!("Filesystem"))?;
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "example.org/p",
        "metadata": {"name": "contract", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}});
    let class = stage.post("storageclasses.storage.k8s.io", &class).await?;
    same(
        (class["reclaimPolicy"].clone(), class["volumeBindingMode"].clone()),
        (json!("Delete"), json!("Immediate")),
    )?;
    claim["metadata"]["name"] = json!("b");
    // The server takes a moment to notice.
    let mut created = stage.post("persistentvolumeclaims", &claim).await?;
    while created["spec"].get("storageClassName").is_none() {
        stage.delete("persistentvolumeclaims/b", &Value::Null).await?;
        stage.gone("persistentvolumeclaims/b").await?;
        created = stage.post("persistentvolumeclaims", &claim).await?;
    }
    stage
        .delete("storageclasses.storage.k8s.io/contract", &Value::Null)
        .await?;
    same(created["spec"]["storageClassName"].clone(), json!("contract"))
}

async fn a_claim_says_how_much_it_needs(stage: &Stage) -> Outcome {
    let mut claim = specs::claim("a");
    claim["spec"]["resources"] = json!({});
    let text = "spec.resources[storage]: Required value";
    stage
        .post("persistentvolumeclaims", &claim)
        .await
        .refused(422, "Invalid", text)?;
    let mut claim = specs::claim("a");
    claim["spec"]["accessModes"] = json!([]);
    let text = "spec.accessModes: Required value: at least 1 access mode is required";
    stage
        .post("persistentvolumeclaims", &claim)
        .await
        .refused(422, "Invalid", text)?;
    Ok(())
}

async fn texts_of_a_secret_become_data(stage: &Stage) -> Outcome {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"},
        "stringData": {"k": "v"}, "data": {"l": "dw=="}});
    let created = stage.post("secrets", &secret).await?;
    same(created["data"].clone(), json!({"k": "dg==", "l": "dw=="}))?;
    same(
        (created.get("stringData"), created["type"].clone()),
        (None, json!("Opaque")),
    )?;
    let broken = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "b"}, "data": {"k": "?"}});
    stage
        .post("secrets", &broken)
        .await
        .refused(400, "BadRequest", "illegal base64 data")?;
    Ok(())
}

async fn a_network_policy_gets_defaults(stage: &Stage) -> Outcome {
    let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "a"},
        "spec": {"podSelector": {}, "egress": [{"ports": [{"port": 53}]}]}});
    let created = stage
        .apply("networkpolicies.networking.k8s.io/a", "m", &policy)
        .await?;
    same(
        created["spec"].clone(),
        json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
            "egress": [{"ports": [{"port": 53, "protocol": "TCP"}]}]}),
    )?;
    same(created["metadata"]["generation"].clone(), json!(1))
}

async fn a_budget_has_a_status_from_the_start(stage: &Stage) -> Outcome {
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "a"},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "a"}}}});
    let created = stage.apply("poddisruptionbudgets.policy/a", "m", &budget).await?;
    same(created["spec"].clone(), budget["spec"].clone())?;
    same(
        created["status"].clone(),
        json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0}),
    )
}

async fn an_immutable_config_cannot_change(stage: &Stage) -> Outcome {
    let mut object = stage.config("a", &json!({"k": "v"}));
    object["immutable"] = json!(true);
    stage.post("configmaps", &object).await?;
    let text = "data: Forbidden: field is immutable when `immutable` is set";
    stage
        .patch("configmaps/a", &json!({"data": {"k": "w"}}))
        .await
        .refused(422, "Invalid", text)?;
    stage
        .patch("configmaps/a", &json!({"metadata": {"labels": {"x": "1"}}}))
        .await?;
    Ok(())
}

async fn events_are_written_and_counted(stage: &Stage) -> Outcome {
    let events = Events::new(stage.client.clone(), "kubeonkube.io/contract", "contract-0");
    let regarding = ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("ConfigMap".into()),
        name: Some("a".into()),
        namespace: Some(stage.namespace.clone()),
        ..ObjectReference::default()
    };
    let note = "x".repeat(2000);
    for _ in 0..2 {
        events.normal(&regarding, "Checked", "Check", &note).await;
    }
    let list = stage.get("events.events.k8s.io").await?;
    let found: Vec<&Value> = list["items"].as_array().into_iter().flatten().collect();
    same(found.len(), 1)?;
    same(
        (found[0]["reason"].clone(), found[0]["series"]["count"].clone()),
        (json!("Checked"), json!(2)),
    )?;
    same(found[0]["note"].as_str().map(str::len), Some(1024))?;
    ensure(!meta(found[0], "name").is_empty(), || found[0].to_string())
}
