//! The kinds that are served: built-in ones, and those of CustomResourceDefinitions.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use kube_cel::CompiledSchema;
use serde_json::Value;

use super::schema::Schema;

/// A kind that is served.
pub(super) struct Resource {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) plural: String,
    pub(super) namespaced: bool,
    /// Whether it has a subresource `status`.
    pub(super) status: bool,
    pub(super) schema: Schema,
    /// Rules of a custom resource; None for a built-in kind.
    pub(super) rules: Option<CompiledSchema>,
    /// Whether a rule looks at the status.
    pub(super) rules_of_status: bool,
}

impl fmt::Debug for Resource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name())
    }
}

impl Resource {
    /// Plural and group: `pods`, `deployments.apps`.
    pub(super) fn name(&self) -> String {
        name(&self.plural, &self.group)
    }

    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    pub(super) fn is_custom(&self) -> bool {
        self.rules.is_some()
    }

    fn custom(crd: &Value) -> Option<Self> {
        let text = |pointer: &str| crd.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let version = crd.pointer("/spec/versions/0")?;
        let schema = version.pointer("/schema/openAPIV3Schema")?;
        Some(Self {
            group: text("/spec/group")?,
            version: version.get("name")?.as_str()?.to_owned(),
            kind: text("/spec/names/kind")?,
            plural: text("/spec/names/plural")?,
            namespaced: text("/spec/scope")? == "Namespaced",
            status: version.pointer("/subresources/status").is_some(),
            schema: Schema::custom(schema),
            rules: Some(kube_cel::compile_schema(schema)),
            rules_of_status: schema
                .pointer("/properties/status")
                .is_some_and(|status| status.to_string().contains("x-kubernetes-validations")),
        })
    }
}

fn name(plural: &str, group: &str) -> String {
    if group.is_empty() {
        plural.to_owned()
    } else {
        format!("{plural}.{group}")
    }
}

/// All kinds that a server serves.
#[derive(Clone)]
pub(super) struct Resources {
    by_name: HashMap<String, Arc<Resource>>,
}

impl Resources {
    pub(super) fn built_in() -> Self {
        Self {
            by_name: BUILT_IN.clone(),
        }
    }

    /// By plural and group, as in [`Key`](super::Key).
    pub(super) fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        self.by_name.get(name)
    }

    /// As a URL names it.
    pub(super) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        let resource = self.by_name.get(&name(plural, group))?;
        (resource.version == version).then_some(resource)
    }

    /// As an object names it.
    pub(super) fn of_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Resource>> {
        let mut all = self.by_name.values();
        all.find(|resource| resource.kind == kind && resource.api_version() == api_version)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.by_name.values()
    }

    /// Serves what a CustomResourceDefinition declares.
    pub(super) fn serve(&mut self, crd: &Value) {
        if let Some(resource) = compiled(crd) {
            self.by_name.insert(resource.name(), resource);
        }
    }

    pub(super) fn stop_serving(&mut self, name: &str) {
        self.by_name.remove(name);
    }
}

/// Compiling schemas and rules takes longer than a whole scenario: it is done once a process for each definition.
fn compiled(crd: &Value) -> Option<Arc<Resource>> {
    static COMPILED: LazyLock<Mutex<HashMap<String, Arc<Resource>>>> = LazyLock::new(Mutex::default);
    let definition = crd.get("spec")?.to_string();
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(resource) = compiled.get(&definition) {
        return Some(resource.clone());
    }
    let resource = Arc::new(Resource::custom(crd)?);
    compiled.insert(definition, resource.clone());
    Some(resource)
}

static BUILT_IN: LazyLock<HashMap<String, Arc<Resource>>> = LazyLock::new(|| {
    KINDS
        .iter()
        .filter_map(|kind| {
            let (group, version) = kind.api_version.split_once('/').unwrap_or(("", kind.api_version));
            let resource = Resource {
                group: group.into(),
                version: version.into(),
                kind: kind.kind.into(),
                plural: kind.plural.into(),
                namespaced: kind.namespaced,
                status: kind.status,
                schema: Schema::built_in(&format!("{}.{}", kind.package, kind.kind))?,
                rules: None,
                rules_of_status: false,
            };
            Some((resource.name(), Arc::new(resource)))
        })
        .collect()
});

struct BuiltIn {
    api_version: &'static str,
    kind: &'static str,
    plural: &'static str,
    package: &'static str,
    namespaced: bool,
    status: bool,
}

const fn built_in(
    api_version: &'static str,
    kind: &'static str,
    plural: &'static str,
    package: &'static str,
) -> BuiltIn {
    BuiltIn {
        api_version,
        kind,
        plural,
        package,
        namespaced: true,
        status: false,
    }
}

impl BuiltIn {
    const fn with_status(self) -> Self {
        Self { status: true, ..self }
    }

    const fn of_cluster(self) -> Self {
        Self {
            namespaced: false,
            ..self
        }
    }
}

const CORE: &str = "io.k8s.api.core.v1";
const APPS: &str = "io.k8s.api.apps.v1";
const RBAC: &str = "io.k8s.api.rbac.v1";
const STORAGE: &str = "io.k8s.api.storage.v1";
const CRD: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1";

const KINDS: &[BuiltIn] = &[
    built_in("v1", "ConfigMap", "configmaps", CORE),
    built_in("v1", "Endpoints", "endpoints", CORE),
    built_in("v1", "LimitRange", "limitranges", CORE),
    built_in("v1", "Namespace", "namespaces", CORE)
        .with_status()
        .of_cluster(),
    built_in("v1", "Node", "nodes", CORE).with_status().of_cluster(),
    built_in("v1", "PersistentVolume", "persistentvolumes", CORE)
        .with_status()
        .of_cluster(),
    built_in("v1", "PersistentVolumeClaim", "persistentvolumeclaims", CORE).with_status(),
    built_in("v1", "Pod", "pods", CORE).with_status(),
    built_in("v1", "ResourceQuota", "resourcequotas", CORE).with_status(),
    built_in("v1", "Secret", "secrets", CORE),
    built_in("v1", "Service", "services", CORE).with_status(),
    built_in("v1", "ServiceAccount", "serviceaccounts", CORE),
    built_in("apps/v1", "DaemonSet", "daemonsets", APPS).with_status(),
    built_in("apps/v1", "Deployment", "deployments", APPS).with_status(),
    built_in("apps/v1", "ReplicaSet", "replicasets", APPS).with_status(),
    built_in("apps/v1", "StatefulSet", "statefulsets", APPS).with_status(),
    built_in(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        "io.k8s.api.autoscaling.v2",
    )
    .with_status(),
    built_in("batch/v1", "CronJob", "cronjobs", "io.k8s.api.batch.v1").with_status(),
    built_in("batch/v1", "Job", "jobs", "io.k8s.api.batch.v1").with_status(),
    built_in(
        "coordination.k8s.io/v1",
        "Lease",
        "leases",
        "io.k8s.api.coordination.v1",
    ),
    built_in(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        "endpointslices",
        "io.k8s.api.discovery.v1",
    ),
    built_in("events.k8s.io/v1", "Event", "events", "io.k8s.api.events.v1"),
    built_in(
        "networking.k8s.io/v1",
        "IngressClass",
        "ingressclasses",
        "io.k8s.api.networking.v1",
    )
    .of_cluster(),
    built_in(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        "networkpolicies",
        "io.k8s.api.networking.v1",
    ),
    built_in(
        "node.k8s.io/v1",
        "RuntimeClass",
        "runtimeclasses",
        "io.k8s.api.node.v1",
    )
    .of_cluster(),
    built_in(
        "policy/v1",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        "io.k8s.api.policy.v1",
    )
    .with_status(),
    built_in(
        "rbac.authorization.k8s.io/v1",
        "ClusterRole",
        "clusterroles",
        RBAC,
    )
    .of_cluster(),
    built_in(
        "rbac.authorization.k8s.io/v1",
        "ClusterRoleBinding",
        "clusterrolebindings",
        RBAC,
    )
    .of_cluster(),
    built_in("rbac.authorization.k8s.io/v1", "Role", "roles", RBAC),
    built_in(
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        "rolebindings",
        RBAC,
    ),
    built_in(
        "scheduling.k8s.io/v1",
        "PriorityClass",
        "priorityclasses",
        "io.k8s.api.scheduling.v1",
    )
    .of_cluster(),
    built_in("storage.k8s.io/v1", "CSIDriver", "csidrivers", STORAGE).of_cluster(),
    built_in("storage.k8s.io/v1", "StorageClass", "storageclasses", STORAGE).of_cluster(),
    built_in(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        CRD,
    )
    .with_status()
    .of_cluster(),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_schema() {
        assert_eq!(BUILT_IN.len(), KINDS.len());
    }
}
