//! What Kubernetes' own code refuses: names, labels, owners, what cannot change, what is missing.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value, json};

use super::refusal::FieldError;
use super::resource::Resource;
use super::{object, pods};

#[allow(clippy::expect_used)] // a constant
fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern")
}

static LABEL: LazyLock<Regex> = LazyLock::new(|| pattern("^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"));
static SUBDOMAIN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"));
static LABEL_VALUE: LazyLock<Regex> =
    LazyLock::new(|| pattern("^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"));
static QUALIFIED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]$",
    )
});

/// What is wrong with the metadata of an object.
pub(super) fn metadata(resource: &Resource, old: Option<&Value>, new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    name(resource, object::name(new), &mut errors);
    let pairs = |field: &str| {
        let pairs = new.get("metadata").and_then(|metadata| metadata.get(field));
        pairs.and_then(Value::as_object).into_iter().flatten()
    };
    for (label, value) in pairs("labels") {
        let value = value.as_str().unwrap_or_default();
        if !QUALIFIED.is_match(label) {
            errors.push(FieldError::invalid("metadata.labels", &format!("{label:?}"), "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"));
        }
        if value.len() > 63 {
            errors.push(FieldError::invalid(
                "metadata.labels",
                &format!("{value:?}"),
                "must be no more than 63 bytes",
            ));
        } else if !LABEL_VALUE.is_match(value) {
            errors.push(FieldError::invalid("metadata.labels", &format!("{value:?}"), "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"));
        }
    }
    for (annotation, _) in pairs("annotations") {
        if !QUALIFIED.is_match(&annotation.to_lowercase()) {
            errors.push(FieldError::invalid("metadata.annotations", &format!("{annotation:?}"), "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"));
        }
    }
    owners(new, &mut errors);
    for finalizer in object::finalizers(new) {
        if !QUALIFIED.is_match(finalizer) {
            errors.push(FieldError::invalid("metadata.finalizers", &format!("{finalizer:?}"), "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"));
        }
    }
    if let Some(old) = old {
        for field in ["name", "namespace", "uid"] {
            let value = object::text(new, field);
            if value != object::text(old, field) {
                let path = format!("metadata.{field}");
                errors.push(FieldError::invalid(
                    &path,
                    &format!("{value:?}"),
                    "field is immutable",
                ));
            }
        }
        if object::is_deleting(old) {
            let before = object::finalizers(old);
            let added: Vec<&str> = object::finalizers(new)
                .into_iter()
                .filter(|finalizer| !before.contains(finalizer))
                .collect();
            if !added.is_empty() {
                let why = format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    added
                        .iter()
                        .map(|it| format!("{it:?}"))
                        .collect::<Vec<_>>()
                        .join(", ")
                );
                errors.push(FieldError::forbidden("metadata.finalizers", &why));
            }
        }
    }
    errors
}

fn name(resource: &Resource, name: &str, errors: &mut Vec<FieldError>) {
    const LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
    const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
    let (fits, rule) = match resource.name().as_str() {
        "namespaces" | "services" => (LABEL.is_match(name), LABEL_RULE),
        // Names of roles may hold anything that a path can.
        other if other.ends_with("rbac.authorization.k8s.io") => {
            (!name.contains('/') && !name.contains('%'), "")
        }
        _ => (SUBDOMAIN.is_match(name) && name.len() <= 253, SUBDOMAIN_RULE),
    };
    if name.is_empty() {
        errors.push(FieldError::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else if !fits {
        let rule = match rule {
            LABEL_RULE if name.contains('.') => "must not contain dots",
            rule => rule,
        };
        errors.push(FieldError::invalid("metadata.name", &format!("{name:?}"), rule));
    }
}

fn owners(object: &Value, errors: &mut Vec<FieldError>) {
    let owners = object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    let mut controllers = 0;
    for owner in owners.into_iter().flatten() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .is_empty()
            {
                let path = format!("metadata.ownerReferences.{field}");
                errors.push(FieldError::invalid(&path, "\"\"", "must not be empty"));
            }
        }
        controllers += usize::from(owner.get("controller") == Some(&json!(true)));
    }
    if controllers > 1 {
        let why = "Only one reference can have Controller set to true";
        errors.push(FieldError::invalid("metadata.ownerReferences", "[]", why));
    }
}

/// What is wrong with an object of a built-in kind.
pub(super) fn violations(resource: &Resource, old: Option<&Value>, new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    pods::violations(resource, new, &mut errors);
    let immutable: &[&str] = match resource.name().as_str() {
        "deployments.apps" | "replicasets.apps" | "daemonsets.apps" => {
            selector(new, &mut errors);
            &["/spec/selector"]
        }
        "statefulsets.apps" => {
            selector(new, &mut errors);
            &[
                "/spec/selector",
                "/spec/serviceName",
                "/spec/volumeClaimTemplates",
                "/spec/podManagementPolicy",
            ]
        }
        "jobs.batch" => &["/spec/template", "/spec/completionMode"],
        "secrets" => &["/type"],
        "services" => {
            service(old, new, &mut errors);
            &[]
        }
        "pods" => {
            errors.extend(old.and_then(|old| pods::changed(old, new)));
            &[]
        }
        "persistentvolumeclaims" => {
            claim(old, new, &mut errors);
            &[]
        }
        "rolebindings.rbac.authorization.k8s.io" | "clusterrolebindings.rbac.authorization.k8s.io" => {
            &["/roleRef"]
        }
        "priorityclasses.scheduling.k8s.io" => &["/value", "/preemptionPolicy"],
        "storageclasses.storage.k8s.io" => &[
            "/provisioner",
            "/parameters",
            "/reclaimPolicy",
            "/volumeBindingMode",
        ],
        _ => &[],
    };
    let Some(old) = old else { return errors };
    for pointer in immutable {
        if old.pointer(pointer) != new.pointer(pointer) {
            let path = pointer.trim_start_matches('/').replace('/', ".");
            let value = new.pointer(pointer).map(Value::to_string).unwrap_or_default();
            errors.push(FieldError::invalid(&path, &value, "field is immutable"));
        }
    }
    if old.get("immutable") == Some(&json!(true)) {
        for field in ["data", "binaryData", "immutable"] {
            if old.get(field) != new.get(field) {
                errors.push(FieldError::forbidden(
                    field,
                    "field is immutable when `immutable` is set",
                ));
            }
        }
    }
    errors
}

/// A workload selects the pods of its own template.
fn selector(object: &Value, errors: &mut Vec<FieldError>) {
    let wanted = object
        .pointer("/spec/selector/matchLabels")
        .and_then(Value::as_object);
    let expressions = object
        .pointer("/spec/selector/matchExpressions")
        .and_then(Value::as_array);
    if object.pointer("/spec/selector").is_none() {
        errors.push(FieldError::required("spec.selector", ""));
    } else if wanted.is_none_or(serde_json::Map::is_empty) && expressions.is_none_or(Vec::is_empty) {
        let why = "empty selector is invalid for deployment";
        errors.push(FieldError::invalid("spec.selector", "{}", why));
    }
    let labels = object.pointer("/spec/template/metadata/labels");
    let matches =
        |(name, value): (&String, &Value)| labels.and_then(|labels| labels.get(name)) == Some(value);
    if !wanted.into_iter().flatten().all(matches) {
        let labels = labels.map_or_else(|| "null".into(), Value::to_string);
        let why = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid("spec.template.metadata.labels", &labels, why));
    }
}

fn service(old: Option<&Value>, new: &Value, errors: &mut Vec<FieldError>) {
    let ports = new.pointer("/spec/ports").and_then(Value::as_array);
    let ports: Vec<&Value> = ports.into_iter().flatten().collect();
    let type_ = object::at(new, "/spec/type").unwrap_or_default();
    let address = object::at(new, "/spec/clusterIP");
    if ports.is_empty() && type_ != "ExternalName" && address != Some("None") {
        errors.push(FieldError::required("spec.ports", ""));
    }
    let allowed = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"];
    if !allowed.contains(&type_) {
        let mut supported = allowed.map(|type_| format!("{type_:?}")).to_vec();
        supported.sort();
        errors.push(FieldError::unsupported(
            "spec.type",
            &format!("{type_:?}"),
            &supported,
        ));
    }
    if address == Some("None") && matches!(type_, "NodePort" | "LoadBalancer") {
        let why = format!("may not be set to 'None' for {type_} services");
        errors.push(FieldError::invalid("spec.clusterIPs[0]", "\"None\"", &why));
    }
    for (index, port) in ports.iter().enumerate() {
        let number = port.get("port").and_then(Value::as_i64).unwrap_or_default();
        if !(1..=65535).contains(&number) {
            let path = format!("spec.ports[{index}].port");
            let why = "must be between 1 and 65535, inclusive";
            errors.push(FieldError::invalid(&path, &number.to_string(), why));
        }
        if ports.len() > 1 && port.get("name").is_none() {
            errors.push(FieldError::required(format!("spec.ports[{index}].name"), ""));
        }
    }
    let before = old.and_then(|old| object::at(old, "/spec/clusterIP"));
    let was_external = old.and_then(|old| object::at(old, "/spec/type")) == Some("ExternalName");
    if let (Some(before), Some(now)) = (before, address)
        && before != now
        && !was_external
        && type_ != "ExternalName"
    {
        let why = "may not change once set";
        errors.push(FieldError::invalid(
            "spec.clusterIPs[0]",
            &format!("[{now:?}]"),
            why,
        ));
    }
}

fn claim(old: Option<&Value>, new: &Value, errors: &mut Vec<FieldError>) {
    let modes = new.pointer("/spec/accessModes").and_then(Value::as_array);
    if modes.is_none_or(Vec::is_empty) {
        errors.push(FieldError::required(
            "spec.accessModes",
            "at least 1 access mode is required",
        ));
    }
    if new.pointer("/spec/resources/requests/storage").is_none() {
        errors.push(FieldError::required("spec.resources[storage]", ""));
    }
    let Some(old) = old else { return };
    let frozen = |claim: &Value| {
        let mut spec = claim.get("spec").cloned().unwrap_or_default();
        for field in ["resources", "volumeAttributesClassName"] {
            super::admission::set(&mut spec, field, None);
        }
        spec
    };
    let (before, mut after) = (frozen(old), frozen(new));
    // A claim is bound to its volume, and gets its class, once.
    for field in ["volumeName", "storageClassName"] {
        if before.get(field).is_none() {
            super::admission::set(&mut after, field, None);
        }
    }
    if before != after {
        let why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.push(FieldError::forbidden("spec", why));
    }
}
