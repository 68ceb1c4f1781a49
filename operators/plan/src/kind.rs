//! The kinds that we may write, by name. What is not in these tables cannot be written.

use serde::Serialize;

/// A kind of Kubernetes object as its API knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Plural, as in the URL.
    pub plural: &'static str,
    /// Whether objects of it live in a namespace.
    pub namespaced: bool,
}

impl Kind {
    const fn namespaced(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Self {
        Self {
            group,
            version,
            kind,
            plural,
            namespaced: true,
        }
    }

    const fn cluster(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Self {
        Self {
            group,
            version,
            kind,
            plural,
            namespaced: false,
        }
    }

    /// `apiVersion` of objects of this kind.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.into()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// Namespace.
pub const NAMESPACE: Kind = Kind::cluster("", "v1", "Namespace", "namespaces");
/// Secret.
pub const SECRET: Kind = Kind::namespaced("", "v1", "Secret", "secrets");
/// ConfigMap.
pub const CONFIG_MAP: Kind = Kind::namespaced("", "v1", "ConfigMap", "configmaps");
/// Service.
pub const SERVICE: Kind = Kind::namespaced("", "v1", "Service", "services");
/// Pod.
pub const POD: Kind = Kind::namespaced("", "v1", "Pod", "pods");
/// PersistentVolumeClaim.
pub const CLAIM: Kind = Kind::namespaced("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims");
/// ServiceAccount.
pub const SERVICE_ACCOUNT: Kind = Kind::namespaced("", "v1", "ServiceAccount", "serviceaccounts");
/// Deployment.
pub const DEPLOYMENT: Kind = Kind::namespaced("apps", "v1", "Deployment", "deployments");
/// StatefulSet.
pub const STATEFUL_SET: Kind = Kind::namespaced("apps", "v1", "StatefulSet", "statefulsets");
/// PodDisruptionBudget.
pub const BUDGET: Kind = Kind::namespaced("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets");
/// NetworkPolicy.
pub const NETWORK_POLICY: Kind =
    Kind::namespaced("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies");

/// Kinds that we read and write in a Cluster's namespace of the meta cluster, besides Secrets, which are
/// observed apart so that their content never enters a view.
pub const META: &[Kind] = &[
    CONFIG_MAP,
    SERVICE,
    POD,
    CLAIM,
    SERVICE_ACCOUNT,
    DEPLOYMENT,
    STATEFUL_SET,
    BUDGET,
    NETWORK_POLICY,
];

/// Kinds that a template with placement Meta may name: workload and its configuration, no rights, no secrets.
pub const META_EXTENSION: &[Kind] = &[
    CONFIG_MAP,
    SERVICE,
    SERVICE_ACCOUNT,
    DEPLOYMENT,
    STATEFUL_SET,
    BUDGET,
];

/// Kinds that a template with placement Business may name. The cluster-scoped ones are an allow-list.
pub const BUSINESS: &[Kind] = &[
    CONFIG_MAP,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    DEPLOYMENT,
    STATEFUL_SET,
    BUDGET,
    NETWORK_POLICY,
    Kind::namespaced("apps", "v1", "DaemonSet", "daemonsets"),
    Kind::namespaced("batch", "v1", "Job", "jobs"),
    Kind::namespaced("batch", "v1", "CronJob", "cronjobs"),
    Kind::namespaced("", "v1", "Endpoints", "endpoints"),
    Kind::namespaced("", "v1", "LimitRange", "limitranges"),
    Kind::namespaced("", "v1", "ResourceQuota", "resourcequotas"),
    Kind::namespaced("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
    Kind::namespaced("rbac.authorization.k8s.io", "v1", "Role", "roles"),
    Kind::namespaced("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
    Kind::namespaced(
        "autoscaling",
        "v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
    ),
    NAMESPACE,
    Kind::cluster("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles"),
    Kind::cluster(
        "rbac.authorization.k8s.io",
        "v1",
        "ClusterRoleBinding",
        "clusterrolebindings",
    ),
    Kind::cluster("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses"),
    Kind::cluster("storage.k8s.io", "v1", "StorageClass", "storageclasses"),
    Kind::cluster("storage.k8s.io", "v1", "CSIDriver", "csidrivers"),
    Kind::cluster("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses"),
    Kind::cluster("networking.k8s.io", "v1", "IngressClass", "ingressclasses"),
    Kind::cluster(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
    ),
];

/// Kinds in the order in which objects are applied: what others refer to comes first.
pub fn apply_rank(kind: &Kind) -> u8 {
    match kind.kind {
        "Namespace" | "CustomResourceDefinition" => 0,
        "ServiceAccount" | "ConfigMap" | "Secret" | "ClusterRole" | "Role" => 1,
        "ClusterRoleBinding" | "RoleBinding" | "Service" => 2,
        _ => 3,
    }
}
