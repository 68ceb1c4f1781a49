//! Pods and pod templates: defaults, what admission sets, and what of a pod can change.

use std::collections::BTreeSet;

use kube::core::Status;
use serde_json::{Value, json};

use super::refusal::FieldError;
use super::resource::Resource;
use super::state::State;
use super::{Key, object, refusal};

/// Where a kind has the spec of a pod.
fn spec_of(resource: &Resource) -> Option<&'static str> {
    Some(match resource.name().as_str() {
        "pods" => "/spec",
        "deployments.apps" | "replicasets.apps" | "statefulsets.apps" | "daemonsets.apps" | "jobs.batch" => {
            "/spec/template/spec"
        }
        "cronjobs.batch" => "/spec/jobTemplate/spec/template/spec",
        _ => return None,
    })
}

/// Defaults that depend on other fields.
pub(super) fn derive(resource: &Resource, object: &mut Value) {
    let Some(spec) = spec_of(resource).and_then(|pointer| object.pointer_mut(pointer)) else {
        return;
    };
    let account = spec
        .get("serviceAccountName")
        .or(spec.get("serviceAccount"))
        .cloned();
    if let Some(account) = account.filter(Value::is_string) {
        spec["serviceAccountName"] = account.clone();
        spec["serviceAccount"] = account;
    }
    for list in ["containers", "initContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if container.get("imagePullPolicy").is_none() {
                let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
                container["imagePullPolicy"] = json!(pull_policy(image));
            }
            if resource.plural == "pods" {
                requests(container);
            }
        }
    }
    if let Some(volumes) = spec.get_mut("volumes").and_then(Value::as_array_mut) {
        for volume in volumes {
            if volume.as_object().is_some_and(|volume| volume.len() == 1) {
                volume["emptyDir"] = json!({});
            }
        }
    }
    if resource.plural == "pods" && spec.get("enableServiceLinks").is_none() {
        spec["enableServiceLinks"] = json!(true);
    }
}

fn pull_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or_default();
    let tag = name
        .split('@')
        .next()
        .unwrap_or_default()
        .split_once(':')
        .map(|(_, tag)| tag);
    match tag {
        None if !name.contains('@') => "Always",
        Some("latest") => "Always",
        _ => "IfNotPresent",
    }
}

/// A limit without a request is a request too.
fn requests(container: &mut Value) {
    let limits = container
        .pointer("/resources/limits")
        .and_then(Value::as_object)
        .cloned();
    for (name, limit) in limits.into_iter().flatten() {
        let request = &mut container["resources"]["requests"][name];
        if request.is_null() {
            *request = limit;
        }
    }
}

/// Quality of service: by whether all, some or no containers say what they need.
pub(super) fn quality(pod: &Value) -> &'static str {
    let containers = ["/spec/containers", "/spec/initContainers"];
    let containers = containers
        .iter()
        .filter_map(|list| pod.pointer(list)?.as_array())
        .flatten();
    let (mut all, mut none) = (true, true);
    for container in containers {
        let of = |kind: &str, name: &str| container.pointer(&format!("/resources/{kind}/{name}"));
        for name in ["cpu", "memory"] {
            let (limit, request) = (of("limits", name), of("requests", name));
            all &= limit.is_some() && request == limit;
            none &= limit.is_none() && request.is_none();
        }
    }
    match (all, none) {
        (_, true) => "BestEffort",
        (true, _) => "Guaranteed",
        _ => "Burstable",
    }
}

impl State {
    /// What admission sets on a new pod: its account, priority and the usual tolerations.
    pub(super) fn admit_pod(&self, resource: &Resource, pod: &mut Value) -> Result<(), Status> {
        let name = object::name(pod).to_owned();
        let namespace = object::namespace(pod).unwrap_or_default().to_owned();
        let forbidden = |why: &str| refusal::forbidden(resource, &name, why, Vec::new());
        let account = object::at(pod, "/spec/serviceAccountName")
            .unwrap_or("default")
            .to_owned();
        if self
            .get(&Key::new("serviceaccounts", Some(&namespace), &account))
            .is_none()
        {
            let why = format!(
                "error looking up service account {namespace}/{account}: serviceaccount {account:?} not found"
            );
            return Err(forbidden(&why));
        }
        let spec = &mut pod["spec"];
        spec["serviceAccountName"] = json!(account);
        spec["serviceAccount"] = json!(account);
        let class = spec
            .get("priorityClassName")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let (priority, preemption) = match class.as_str() {
            "" => (json!(0), json!("PreemptLowerPriority")),
            "system-cluster-critical" => (json!(2_000_000_000), json!("PreemptLowerPriority")),
            "system-node-critical" => (json!(2_000_001_000), json!("PreemptLowerPriority")),
            class => match self.get(&Key::new("priorityclasses.scheduling.k8s.io", None, class)) {
                Some(class) => (class["value"].clone(), class["preemptionPolicy"].clone()),
                None => {
                    return Err(forbidden(&format!(
                        "no PriorityClass with name {class} was found"
                    )));
                }
            },
        };
        spec["priority"] = priority;
        spec["preemptionPolicy"] = preemption;
        tolerate(spec);
        Ok(())
    }
}

/// A pod stays for five minutes on a node that is not ready or unreachable, unless it says otherwise.
pub(super) fn tolerate(spec: &mut Value) {
    let mut tolerations = spec
        .get("tolerations")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covered = tolerations.iter().any(|toleration| {
            let of = |field: &str| toleration.get(field).and_then(Value::as_str).unwrap_or_default();
            ["", key].contains(&of("key")) && ["", "NoExecute"].contains(&of("effect"))
        });
        if !covered {
            tolerations.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": 300}));
        }
    }
    spec["tolerations"] = Value::Array(tolerations);
}

/// What of a pod's spec cannot change. Being bound to a node is a subresource of its own in the HTTP API.
pub(super) fn changed(old: &Value, new: &Value) -> Option<FieldError> {
    let mut allowed = new.get("spec").cloned().unwrap_or_default();
    let old = old.get("spec").cloned().unwrap_or_default();
    if old.get("nodeName").is_none()
        && let Some(spec) = allowed.as_object_mut()
    {
        spec.remove("nodeName");
    }
    for field in [
        "activeDeadlineSeconds",
        "terminationGracePeriodSeconds",
        "tolerations",
    ] {
        super::admission::set(&mut allowed, field, old.get(field).cloned());
    }
    for list in ["containers", "initContainers"] {
        let images = old.get(list).and_then(Value::as_array);
        let images: Vec<Value> = images
            .into_iter()
            .flatten()
            .map(|it| it["image"].clone())
            .collect();
        let containers = allowed.get_mut(list).and_then(Value::as_array_mut);
        for (container, image) in containers.into_iter().flatten().zip(images) {
            container["image"] = image;
        }
    }
    (allowed != old).then(|| {
        FieldError::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        )
    })
}

/// What is missing or wrong in the spec of a pod or of a template.
pub(super) fn violations(resource: &Resource, object: &Value, errors: &mut Vec<FieldError>) {
    let Some(pointer) = spec_of(resource) else { return };
    let path = pointer.trim_start_matches('/').replace('/', ".");
    let empty = json!({});
    let spec = object.pointer(pointer).unwrap_or(&empty);
    let list = |name: &str| spec.get(name).and_then(Value::as_array).into_iter().flatten();
    if list("containers").next().is_none() {
        errors.push(FieldError::required(format!("{path}.containers"), ""));
    }
    let volumes: BTreeSet<&str> = list("volumes")
        .filter_map(|volume| volume.get("name")?.as_str())
        .collect();
    for (index, container) in list("containers").enumerate() {
        let path = format!("{path}.containers[{index}]");
        for field in ["name", "image"] {
            if container
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .is_empty()
            {
                errors.push(FieldError::required(format!("{path}.{field}"), ""));
            }
        }
        let mounts = container.get("volumeMounts").and_then(Value::as_array);
        for (index, mount) in mounts.into_iter().flatten().enumerate() {
            let name = mount.get("name").and_then(Value::as_str).unwrap_or_default();
            if !volumes.contains(name) {
                let path = format!("{path}.volumeMounts[{index}].name");
                errors.push(FieldError::not_found(&path, name));
            }
        }
    }
}
