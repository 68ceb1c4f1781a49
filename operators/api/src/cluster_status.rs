//! Status of a `Cluster`: what the operator sees.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator sees; written by it alone.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Printed summary; conditions say more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// URL by which clients outside reach the apiserver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// SHA-256 of the cluster CA's public key, as `kubeadm join --discovery-token-ca-cert-hash` wants it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_hash: Option<String>,
    /// Declared and current Kubernetes version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionStatus>,
    /// The control-plane components.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub components: Vec<ComponentStatus>,
    /// etcd as its members report it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdStatus>,
    /// Certificates and when they end.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub certificates: Vec<CertificateStatus>,
    /// Extra users and where their kubeconfigs are.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub users: Vec<UserStatus>,
    /// Extensions.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub extensions: Vec<ExtensionStatus>,
    /// Nodes of the business cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodesStatus>,
    /// What the business cluster's nodes offer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesStatus>,
    /// Short texts for `kubectl get`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// metav1 conditions; all types are present from the first pass.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Printed summary of a Cluster.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The spec is refused and nothing runs yet.
    Invalid,
    /// The control plane is being made.
    Creating,
    /// Something is being changed.
    Updating,
    /// As declared.
    Running,
    /// Running, but something is wrong.
    Degraded,
    /// Nothing is changed until `spec.paused` is removed.
    Paused,
    /// Being taken away.
    Deleting,
}

/// Declared and current Kubernetes version.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct VersionStatus {
    /// Declared by the spec.
    pub desired: String,
    /// The oldest that an apiserver runs; absent until one answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// Latest ten versions, newest first.
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub history: Vec<VersionHistory>,
}

/// One version that the control plane had.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VersionHistory {
    /// The version.
    pub version: String,
    /// Whether every component reached it.
    pub state: VersionState,
    /// When it was first declared.
    pub started_at: Time,
    /// When every component ran it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
}

/// Whether every component reached a version.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// Not all components run it.
    Partial,
    /// All components run it.
    Completed,
}

/// One control-plane component.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// Name, for example `kube-apiserver`.
    pub name: String,
    /// Declared version.
    pub version: String,
    /// Declared replicas.
    pub desired: i32,
    /// Replicas that are ready and up to date.
    pub ready: i32,
    /// What is being waited for; empty when ready.
    pub message: String,
}

/// etcd as its members report it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct EtcdStatus {
    /// Id of the etcd cluster, hexadecimal. Once recorded, no member is ever started as `new` again.
    #[serde(rename = "clusterID", skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// The members.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub members: Vec<EtcdMemberStatus>,
}

/// One etcd member.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EtcdMemberStatus {
    /// Name: also of its Pod, claim and Service.
    pub name: String,
    /// Member id, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Role in the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<EtcdRole>,
    /// Version that it reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether it answers.
    pub ready: bool,
    /// Size of its database, rounded up to steps of 16Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub db_size: Option<String>,
    /// Name of its claim or kind of its volume.
    pub volume: String,
}

/// Role of an etcd member.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum EtcdRole {
    /// Leads.
    Leader,
    /// Votes.
    Follower,
    /// Catches up, without a vote.
    Learner,
}

/// One certificate.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// Name of the certificate; that of its Secret.
    pub name: String,
    /// End of its validity.
    pub not_after: Time,
    /// Serial number of the certificate in the Secret.
    pub issued_serial: String,
}

/// One extra user.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct UserStatus {
    /// The user's name.
    pub name: String,
    /// Secret with key `kubeconfig`, in the cluster's namespace.
    pub secret: String,
    /// End of the certificate's validity.
    pub expires: Time,
}

/// One extension.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ExtensionStatus {
    /// The extension's name.
    pub name: String,
    /// Declared version.
    pub version: String,
    /// Whether all of its objects are applied as rendered.
    pub ready: bool,
    /// What is being waited for; empty when ready.
    pub message: String,
}

/// Nodes of the business cluster.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct NodesStatus {
    /// All nodes.
    pub total: i32,
    /// Nodes with condition Ready.
    pub ready: i32,
    /// Oldest kubelet version among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_kubelet: Option<String>,
}

/// What the business cluster's nodes offer.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ResourcesStatus {
    /// What pods can have of all nodes together.
    pub allocatable: ResourceTotals,
}

/// Sums over all nodes, as Kubernetes writes quantities.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ResourceTotals {
    /// CPU, in cores.
    pub cpu: String,
    /// Memory, in whole Mi.
    pub memory: String,
}

/// Short texts for `kubectl get`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Summary {
    /// Ready of declared etcd members, `3/3`.
    pub etcd: String,
    /// Ready of declared apiservers.
    pub apiserver: String,
    /// Ready of declared controller-managers and schedulers together.
    pub controllers: String,
    /// Ready of all nodes.
    pub nodes: String,
    /// When the first certificate expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates_not_after: Option<Time>,
}
