//! What the server makes of an object before it stores it: what clients cannot set, what is derived, what is refused.
//! Kinds with more than a few lines of it have a module of their own.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::core::Status;
use serde_json::{Value, json};

use super::refusal::FieldError;
use super::resource::Resource;
use super::state::State;
use super::structure;
use super::{collect, object, pods, refusal, services};

/// How a request wants fields that the server does not know to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// As an error.
    Refuse,
    /// They are dropped.
    Drop,
}

/// Brings what a client sent into the form in which the server works with it: known fields, defaults, canonical values.
pub(super) fn decode(resource: &Resource, object: &mut Value, unknown: Unknown) -> Result<(), Status> {
    let at = resource.schema.root();
    let cannot = |why: &str| {
        let (kind, version) = (&resource.kind, &resource.version);
        refusal::bad_request(&format!(
            "{kind} in version {version:?} cannot be handled as a {kind}: {why}"
        ))
    };
    if !object.is_object() {
        return Err(cannot("json: cannot unmarshal into an object"));
    }
    if !resource.is_custom()
        && let Some(why) = structure::undecodable(object, at)
    {
        return Err(cannot(&why));
    }
    let strange = structure::unknown(object, at);
    if !strange.is_empty() {
        if unknown == Unknown::Refuse {
            let errors: Vec<String> = strange
                .iter()
                .map(|path| format!("unknown field {path:?}"))
                .collect();
            return Err(cannot(&format!("strict decoding error: {}", errors.join(", "))));
        }
        structure::prune(object, at);
    }
    if !resource.is_custom() {
        structure::canonicalize(object, at);
    }
    structure::default(object, at);
    derive(resource, object);
    Ok(())
}

/// Defaults that depend on other fields.
fn derive(resource: &Resource, object: &mut Value) {
    match resource.name().as_str() {
        "namespaces" => {
            let name = object::name(object).to_owned();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = json!(name);
        }
        "services" => services::derive(object),
        "secrets" => {
            let Some(Value::Object(texts)) = object.as_object_mut().and_then(|it| it.remove("stringData"))
            else {
                return;
            };
            for (key, text) in texts {
                let text = text.as_str().unwrap_or_default();
                object["data"][key] = json!(STANDARD.encode(text));
            }
        }
        "daemonsets.apps" if object::at(object, "/spec/updateStrategy/type") == Some("RollingUpdate") => {
            let rolling = &mut object["spec"]["updateStrategy"]["rollingUpdate"];
            for (field, default) in [("maxUnavailable", 1), ("maxSurge", 0)] {
                if rolling[field].is_null() {
                    rolling[field] = json!(default);
                }
            }
        }
        "deployments.apps" if object::at(object, "/spec/strategy/type") == Some("RollingUpdate") => {
            let rolling = &mut object["spec"]["strategy"]["rollingUpdate"];
            for field in ["maxUnavailable", "maxSurge"] {
                if rolling[field].is_null() {
                    rolling[field] = json!("25%");
                }
            }
        }
        "networkpolicies.networking.k8s.io" => {
            let has = |field: &str| {
                let list = object
                    .get("spec")
                    .and_then(|spec| spec.get(field))
                    .and_then(Value::as_array);
                list.is_some_and(|list| !list.is_empty())
            };
            if !has("policyTypes") {
                let egress = has("egress");
                object["spec"]["policyTypes"] = if egress {
                    json!(["Ingress", "Egress"])
                } else {
                    json!(["Ingress"])
                };
            }
        }
        _ => {}
    }
    pods::derive(resource, object);
}

impl State {
    /// What is set on a new object, and what it needs to find.
    pub(super) fn admit_new(&self, resource: &Resource, object: &mut Value) -> Result<(), Status> {
        if resource.status && resource.plural != "nodes" {
            if let Some(object) = object.as_object_mut() {
                object.remove("status");
            }
            if let Some(status) = first_status(&resource.name(), object) {
                object["status"] = status;
            }
        }
        let generation = counts_generations(resource);
        if let Some(metadata) = object::metadata(object) {
            metadata.remove("generation");
            if generation {
                metadata.insert("generation".into(), json!(1));
            }
        }
        match resource.name().as_str() {
            "namespaces" => object["spec"]["finalizers"] = json!(["kubernetes"]),
            "services" => self.admit_service(resource, None, object)?,
            "pods" => self.admit_pod(resource, object)?,
            "daemonsets.apps" => object["metadata"]["annotations"][TEMPLATE_GENERATION] = json!("1"),
            "persistentvolumeclaims" => {
                object::add_finalizer(object, collect::CLAIM_IN_USE);
                if object.pointer("/spec/storageClassName").is_none()
                    && let Some(class) = self.default_storage_class()
                {
                    object["spec"]["storageClassName"] = json!(class);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What an update of an object, but not of its status, cannot change.
    pub(super) fn admit_update(
        &self,
        resource: &Resource,
        old: &Value,
        new: &mut Value,
    ) -> Result<(), Status> {
        if resource.status && resource.plural != "nodes" {
            set(new, "status", old.get("status").cloned());
        }
        if resource.name() == "services" {
            self.admit_service(resource, Some(old), new)?;
        }
        if resource.name() == "pods" {
            pods::tolerate(&mut new["spec"]);
        }
        if resource.name() == "daemonsets.apps" {
            count_templates(old, new);
        }
        if counts_generations(resource) && counts(resource, old, new) {
            new["metadata"]["generation"] = json!(object::generation(old) + 1);
        }
        Ok(())
    }

    fn default_storage_class(&self) -> Option<String> {
        let mut classes = self.list("storageclasses.storage.k8s.io", None);
        let class = classes.find(|(_, class)| {
            let annotations = class.pointer("/metadata/annotations");
            annotations.and_then(|it| it.get("storageclass.kubernetes.io/is-default-class"))
                == Some(&json!("true"))
        });
        class.map(|(key, _)| key.name.clone())
    }

    /// What an object must be to be stored.
    pub(super) fn validate(resource: &Resource, old: Option<&Value>, new: &Value) -> Result<(), Status> {
        let mut errors = if let Some(rules) = &resource.rules {
            let mut errors = structure::violations(new, resource.schema.root());
            // On what did not change, rules say what they said. It is most writes, and rules take most of their time.
            let known =
                old.is_some_and(|old| old.get("spec") == new.get("spec")) && !resource.rules_of_status;
            // Rules are evaluated on well-formed objects only.
            if errors.is_empty()
                && !known
                && let Err(broken) =
                    kube_cel::validate_compiled(rules, &without_nulls(new), old.map(without_nulls).as_deref())
            {
                errors.extend(broken.iter().map(|error| {
                    let path = if error.field_path.is_empty() {
                        "<nil>"
                    } else {
                        &error.field_path
                    };
                    FieldError::broken_rule(path, at_path(new, &error.field_path), &error.message)
                }));
            }
            errors
        } else {
            super::rules::violations(resource, old, new)
        };
        errors.extend(super::rules::metadata(resource, old, new));
        if errors.is_empty() {
            Ok(())
        } else {
            Err(refusal::invalid(resource, object::name(new), &errors))
        }
    }
}

/// To a rule, a field that is null is not there.
fn without_nulls(object: &Value) -> Cow<'_, Value> {
    fn has_null(value: &Value) -> bool {
        match value {
            Value::Object(map) => map.values().any(|value| value.is_null() || has_null(value)),
            Value::Array(items) => items.iter().any(has_null),
            _ => false,
        }
    }
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|_, value| !value.is_null());
                map.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    if !has_null(object) {
        return Cow::Borrowed(object);
    }
    let mut object = object.clone();
    strip(&mut object);
    Cow::Owned(object)
}

/// The value at a path such as `spec.users[0].name`.
fn at_path<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let pointer = format!("/{}", path.replace('[', "/").replace(']', "").replace('.', "/"));
    object.pointer(&pointer)
}

/// Annotation that counts the templates that a DaemonSet had.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn count_templates(old: &Value, new: &mut Value) {
    let count = old["metadata"]["annotations"][TEMPLATE_GENERATION].as_str();
    let mut count: i64 = count.and_then(|count| count.parse().ok()).unwrap_or_default();
    if old.pointer("/spec/template") != new.pointer("/spec/template") {
        count += 1;
    }
    new["metadata"]["annotations"][TEMPLATE_GENERATION] = json!(count.to_string());
}

/// Sets or removes a field.
pub(super) fn set(object: &mut Value, field: &str, value: Option<Value>) {
    if let Some(object) = object.as_object_mut() {
        match value {
            Some(value) => object.insert(field.into(), value),
            None => object.remove(field),
        };
    }
}

fn first_status(resource: &str, object: &Value) -> Option<Value> {
    Some(match resource {
        "pods" => json!({"phase": "Pending", "qosClass": pods::quality(object)}),
        "namespaces" => json!({"phase": "Active"}),
        "persistentvolumeclaims" | "persistentvolumes" => json!({"phase": "Pending"}),
        "services" => json!({"loadBalancer": {}}),
        "deployments.apps" | "jobs.batch" | "cronjobs.batch" | "resourcequotas" => json!({}),
        "replicasets.apps" => json!({"replicas": 0}),
        "statefulsets.apps" => json!({"replicas": 0, "availableReplicas": 0}),
        "daemonsets.apps" => json!({"currentNumberScheduled": 0, "numberMisscheduled": 0,
            "desiredNumberScheduled": 0, "numberReady": 0}),
        "poddisruptionbudgets.policy" => json!({"disruptionsAllowed": 0, "currentHealthy": 0,
            "desiredHealthy": 0, "expectedPods": 0}),
        "horizontalpodautoscalers.autoscaling" => json!({"desiredReplicas": 0, "currentMetrics": null}),
        "customresourcedefinitions.apiextensions.k8s.io" => established(object),
        _ => return None,
    })
}

/// A definition is served at once.
fn established(crd: &Value) -> Value {
    let condition = |type_: &str, reason: &str, message: &str| {
        json!({"type": type_, "status": "True", "reason": reason, "message": message,
            "lastTransitionTime": crd.pointer("/metadata/creationTimestamp")})
    };
    json!({
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "acceptedNames": crd.pointer("/spec/names"),
        "storedVersions": [crd.pointer("/spec/versions/0/name")],
    })
}

/// Whether a change counts: one of the spec, or of what a kind has in its place.
fn counts(resource: &Resource, old: &Value, new: &Value) -> bool {
    let differs = |pointer: &str| old.pointer(pointer) != new.pointer(pointer);
    let beside_metadata = || {
        let fields = old.as_object().into_iter().chain(new.as_object()).flatten();
        let mut fields = fields.filter(|(name, _)| *name != "metadata");
        fields.any(|(name, _)| old.get(name) != new.get(name))
    };
    match resource.plural.as_str() {
        _ if resource.is_custom() => beside_metadata(),
        "endpointslices" => beside_metadata() || differs("/metadata/labels"),
        "deployments" => differs("/spec") || differs("/metadata/annotations"),
        _ => differs("/spec"),
    }
}

/// Whether `metadata.generation` of a kind counts changes of its spec.
fn counts_generations(resource: &Resource) -> bool {
    resource.is_custom()
        || matches!(
            resource.plural.as_str(),
            "pods"
                | "deployments"
                | "replicasets"
                | "statefulsets"
                | "daemonsets"
                | "jobs"
                | "cronjobs"
                | "poddisruptionbudgets"
                | "networkpolicies"
                | "endpointslices"
                | "ingressclasses"
                | "priorityclasses"
                | "customresourcedefinitions"
        )
}
