//! `Cluster`: one business cluster's control plane, run as pods in the meta cluster.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaimSpec, ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A business cluster whose control plane runs as pods in the meta cluster.
///
/// Its objects live in namespace `cluster-<name>`, owned by the Cluster.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "kubeonkube.io",
    version = "v1alpha1",
    kind = "Cluster",
    plural = "clusters",
    shortname = "kok",
    category = "kubeonkube",
    status = "ClusterStatus",
    derive = "PartialEq",
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 40")
        .message("metadata.name must be a DNS label of at most 40 characters that starts with a letter: it becomes part of names and DNS names"),
    printcolumn = r#"{"name":"Mode","type":"string","jsonPath":".spec.mode"}"#,
    printcolumn = r#"{"name":"Version","type":"string","jsonPath":".status.version.current"}"#,
    printcolumn = r#"{"name":"Etcd","type":"string","jsonPath":".status.summary.etcd"}"#,
    printcolumn = r#"{"name":"Api","type":"string","jsonPath":".status.summary.apiserver"}"#,
    printcolumn = r#"{"name":"Ctrl","type":"string","jsonPath":".status.summary.controllers"}"#,
    printcolumn = r#"{"name":"Nodes","type":"string","jsonPath":".status.summary.nodes"}"#,
    printcolumn = r#"{"name":"Certs","type":"string","jsonPath":".status.summary.certificatesNotAfter","description":"when the first certificate expires"}"#,
    printcolumn = r#"{"name":"Endpoint","type":"string","jsonPath":".status.endpoint"}"#,
    printcolumn = r#"{"name":"Available","type":"string","jsonPath":".status.conditions[?(@.type=='Available')].status"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase","priority":1}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.conditions[?(@.type=='Progressing')].message","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("int(self.version.split('.')[1]) - int(oldSelf.version.split('.')[1]) in [0, 1]")
    .message("version must not skip or go down a minor: go up one minor at a time"))]
pub struct ClusterSpec {
    /// Standard: three of each control-plane component. Minimal: one of each.
    pub mode: Mode,
    /// Default version of the Kubernetes components, without a leading `v`, for example `1.36.3`.
    #[schemars(regex(pattern = r"^1\.[0-9]{2}\.[0-9]{1,3}$"), length(max = 12))]
    pub version: String,
    /// Where the control plane's pods run in the meta cluster.
    #[serde(default)]
    pub placement: Placement,
    /// The business cluster's networks. Immutable.
    pub network: Network,
    /// How clients outside the meta cluster reach the apiserver.
    pub endpoint: Endpoint,
    /// The etcd cluster of this control plane.
    pub etcd: Etcd,
    /// kube-apiserver.
    #[serde(default)]
    pub apiserver: Apiserver,
    /// kube-controller-manager.
    #[serde(default)]
    pub controller_manager: Component,
    /// kube-scheduler.
    #[serde(default)]
    pub scheduler: Component,
    /// Lifetime of the certificates that the operator issues.
    #[serde(default)]
    pub certificates: Certificates,
    /// Extra users: each gets a Secret `user-<name>-kubeconfig` in the cluster's namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub users: Vec<User>,
    /// Components beyond the control plane, rendered from templates and kept converged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub extensions: Vec<Extension>,
    /// The node operator that joins Machines to this cluster.
    #[serde(default)]
    pub node_operator: NodeOperator,
    /// When set, nothing is changed until it is removed; deletion still works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// When true, a deleted Cluster keeps running until this is set to false.
    #[serde(default)]
    pub deletion_protection: bool,
}

/// How many of each control-plane component run.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Three etcd members, apiservers, controller-managers and schedulers.
    Standard,
    /// One of each: for tests and small clusters; an update of etcd is a short outage.
    Minimal,
}

impl Mode {
    /// Replicas of each component.
    pub fn replicas(self) -> u8 {
        match self {
            Self::Standard => 3,
            Self::Minimal => 1,
        }
    }
}

/// Where the control plane's pods run in the meta cluster.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Labels that a meta node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<Toleration>,
    /// Node label over which the replicas of a component are spread.
    #[serde(default = "default_topology_key")]
    #[schemars(length(min = 1, max = 253))]
    pub topology_key: String,
    /// What happens when they cannot be spread: `ScheduleAnyway` or `DoNotSchedule`.
    #[serde(default)]
    pub when_unsatisfiable: WhenUnsatisfiable,
}

fn default_topology_key() -> String {
    "kubernetes.io/hostname".into()
}

impl Default for Placement {
    fn default() -> Self {
        Self {
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            topology_key: default_topology_key(),
            when_unsatisfiable: WhenUnsatisfiable::default(),
        }
    }
}

/// Strictness of the spread, as in a pod's `topologySpreadConstraints`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WhenUnsatisfiable {
    /// Spread where possible.
    #[default]
    ScheduleAnyway,
    /// A replica that cannot be spread waits.
    DoNotSchedule,
}

/// The business cluster's networks.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self == oldSelf").message("network is immutable: create another Cluster with the new networks and move the workload"),
    validation = Rule::new("!isCIDR(self.podCIDR) || !isCIDR(self.serviceCIDR) || !(cidr(self.podCIDR).containsCIDR(self.serviceCIDR) || cidr(self.serviceCIDR).containsCIDR(self.podCIDR))")
        .message("podCIDR and serviceCIDR overlap: choose two networks without a common address")
)]
pub struct Network {
    /// Network of the pods, for example `10.32.0.0/12`.
    #[serde(rename = "podCIDR")]
    #[schemars(length(max = 43))]
    #[x_kube(validation = Rule::new("isCIDR(self) && cidr(self) == cidr(self).masked()").message("podCIDR must be a network such as 10.32.0.0/12, with no host bits set"))]
    pub pod_cidr: String,
    /// Network of the Services, for example `10.96.0.0/16`; at most 2^20 addresses.
    #[serde(rename = "serviceCIDR")]
    #[schemars(length(max = 43))]
    #[x_kube(validation = Rule::new("isCIDR(self) && cidr(self) == cidr(self).masked() && (cidr(self).ip().family() == 6 ? cidr(self).prefixLength() >= 108 && cidr(self).prefixLength() <= 124 : cidr(self).prefixLength() >= 12 && cidr(self).prefixLength() <= 28)")
        .message("serviceCIDR must be a network of 16 to 2^20 addresses such as 10.96.0.0/16, with no host bits set"))]
    pub service_cidr: String,
    /// DNS domain of the business cluster.
    #[serde(default = "default_dns_domain")]
    #[schemars(
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
        length(max = 120)
    )]
    pub dns_domain: String,
}

fn default_dns_domain() -> String {
    "cluster.local".into()
}

/// How clients outside the meta cluster reach the apiserver.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.type != 'NodePort' || (has(self.port) && self.port >= 30000 && self.port <= 32767)")
        .message("type NodePort needs port within 30000-32767, the meta cluster's node port range"),
    validation = Rule::new("self.type == 'ClusterIP' || has(self.host)")
        .message("host is required: the name or address by which clients reach the apiserver (only type ClusterIP goes without)")
)]
pub struct Endpoint {
    /// Kind of the external Service.
    #[serde(rename = "type")]
    pub type_: EndpointType,
    /// Address or DNS name that clients use; part of the serving certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        regex(
            pattern = r"^([a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)*|[0-9a-fA-F:]+)$"
        ),
        length(max = 253)
    )]
    pub host: Option<String>,
    /// Port that clients use. NodePort: the node port. Others: the Service's port, 6443 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// More names and addresses for the serving certificate.
    #[serde(default, rename = "extraSANs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(regex(pattern = r"^(\*\.)?([a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)*|[0-9a-fA-F:]+)$"), length(max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub extra_sans: Vec<String>,
}

/// Kind of the Service by which clients outside reach the apiserver.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointType {
    /// A port on every meta node.
    NodePort,
    /// A load balancer of the meta cluster's provider.
    LoadBalancer,
    /// Only inside the meta cluster.
    ClusterIP,
    /// A headless Service; a DNS controller publishes the pods' addresses under `host`.
    DNSRoundRobin,
}

/// The etcd cluster of this control plane; its size follows from `mode`.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("int(self.version.split('.')[1]) - int(oldSelf.version.split('.')[1]) in [0, 1]")
    .message("etcd.version must not skip or go down a minor: go up one minor at a time"))]
pub struct Etcd {
    /// Version of etcd, without a leading `v`, for example `3.6.14`.
    #[schemars(regex(pattern = r"^3\.[5-9]\.[0-9]{1,3}$"), length(max = 8))]
    pub version: String,
    /// Where each member keeps its data.
    pub storage: EtcdStorage,
    /// When a member is replaced by a new, empty one.
    #[serde(default)]
    pub replace_policy: ReplacePolicy,
    /// Additional flags, without leading dashes. Some are refused, with the reason in condition `Valid`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 50))]
    pub args: BTreeMap<String, String>,
    /// Resources of each member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

/// Where a member keeps its data: exactly one of the two.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.claimTemplate) != has(self.volumeSource)").message("set exactly one of claimTemplate and volumeSource"),
    validation = Rule::new("has(self.claimTemplate) == has(oldSelf.claimTemplate)").message("storage cannot change between claimTemplate and volumeSource: create another Cluster")
)]
pub struct EtcdStorage {
    /// Spec of the PersistentVolumeClaim of each member; `accessModes` default to ReadWriteOnce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_template: Option<PersistentVolumeClaimSpec>,
    /// A volume of the pod itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_source: Option<EtcdVolumeSource>,
}

/// A volume that is part of a member's pod.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.emptyDir)").message("set emptyDir; hostPath is refused because Pod Security restricted is enforced: use a claimTemplate with a local StorageClass instead"))]
pub struct EtcdVolumeSource {
    /// Lost with the pod: only for throw-away clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<EmptyDir>,
}

/// An emptyDir volume, as in a pod.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct EmptyDir {
    /// `Memory` for a tmpfs; absent for the node's disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^Memory$"))]
    pub medium: Option<String>,
    /// Most that the volume may hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_limit: Option<Quantity>,
}

/// When an etcd member is replaced by a new, empty one.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ReplacePolicy {
    /// Only when its data is lost or bad. A lost pod with a good volume is just started again.
    #[default]
    OnDataLoss,
    /// Whenever its pod was deleted.
    OnPodDelete,
}

/// A control-plane Deployment.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Version when it differs from `spec.version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^1\.[0-9]{2}\.[0-9]{1,3}$"), length(max = 12))]
    pub version: Option<String>,
    /// Additional flags, without leading dashes. Some are refused, with the reason in condition `Valid`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 50))]
    pub args: BTreeMap<String, String>,
    /// Resources of each pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

/// kube-apiserver.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Apiserver {
    /// Version when it differs from `spec.version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^1\.[0-9]{2}\.[0-9]{1,3}$"), length(max = 12))]
    pub version: Option<String>,
    /// Replicas when they differ from the mode's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9))]
    #[x_kube(validation = Rule::new("self % 2 == 1").message("replicas must be odd: 1, 3, 5, 7 or 9"))]
    pub replicas: Option<i32>,
    /// Additional flags, without leading dashes. Some are refused, with the reason in condition `Valid`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 50))]
    pub args: BTreeMap<String, String>,
    /// Resources of each pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Encryption of Secrets in etcd.
    #[serde(default)]
    pub encryption: Encryption,
    /// Audit log of the apiserver, written to its standard output. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
    /// Login by an OpenID Connect provider. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc: Option<Oidc>,
}

/// Encryption of Secrets in etcd. The key is made by the operator.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Encryption {
    /// Provider of new writes.
    #[serde(default)]
    pub provider: EncryptionProvider,
}

/// Provider in the apiserver's EncryptionConfiguration.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum EncryptionProvider {
    /// XSalsa20 and Poly1305.
    #[default]
    #[serde(rename = "secretbox")]
    Secretbox,
    /// AES in CBC mode with PKCS#7 padding.
    #[serde(rename = "aescbc")]
    Aescbc,
}

/// Audit log of the apiserver.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// How much of each request is logged. Secrets and tokens are never logged beyond Metadata.
    pub level: AuditLevel,
}

/// Level of an audit policy rule.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditLevel {
    /// Who did what and when.
    Metadata,
    /// With request bodies.
    Request,
    /// With request and response bodies.
    RequestResponse,
}

/// Login by an OpenID Connect provider.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Oidc {
    /// The provider's URL; must be https.
    #[serde(rename = "issuerURL")]
    #[schemars(regex(pattern = r"^https://[A-Za-z0-9.:/_~-]+$"), length(max = 300))]
    pub issuer_url: String,
    /// The client id that tokens must be issued for.
    #[serde(rename = "clientID")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9._:@/-]+$"), length(max = 200))]
    pub client_id: String,
    /// Claim that becomes the user name.
    #[serde(default = "default_username_claim")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9._-]+$"), length(max = 60))]
    pub username_claim: String,
    /// Claim that becomes the groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9._-]+$"), length(max = 60))]
    pub groups_claim: Option<String>,
}

fn default_username_claim() -> String {
    "sub".into()
}

/// Lifetime of the certificates that the operator issues. Durations are Go's: `8760h`, `90m`, `1h30m`.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("duration(self.validity) >= duration('5m') && duration(self.validity) <= duration('87600h')").message("validity must be between 5m and 87600h"),
    validation = Rule::new("duration(self.renewBefore) < duration(self.validity) && duration(self.renewBefore) >= duration('1m')").message("renewBefore must be at least 1m and shorter than validity")
)]
pub struct Certificates {
    /// How long an issued certificate is valid.
    #[serde(default = "default_validity")]
    #[schemars(regex(pattern = r"^([0-9]{1,6}(h|m|s))+$"), length(max = 20))]
    pub validity: String,
    /// How long before its end a certificate is renewed.
    #[serde(default = "default_renew_before")]
    #[schemars(regex(pattern = r"^([0-9]{1,6}(h|m|s))+$"), length(max = 20))]
    pub renew_before: String,
}

fn default_validity() -> String {
    "8760h".into()
}

fn default_renew_before() -> String {
    "2920h".into()
}

impl Default for Certificates {
    fn default() -> Self {
        Self {
            validity: default_validity(),
            renew_before: default_renew_before(),
        }
    }
}

/// An extra user of the business cluster.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// User name: the certificate's common name.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"), length(max = 40))]
    pub name: String,
    /// Groups: the certificate's organizations. RBAC in the business cluster gives them rights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(regex(pattern = r"^[A-Za-z0-9]([A-Za-z0-9:._/-]*[A-Za-z0-9])?$"), length(max = 60)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("!self.exists(g, g == 'system:masters')").message("group system:masters is refused: it bypasses all authorization and cannot be revoked; bind a ClusterRole to another group"))]
    pub groups: Vec<String>,
    /// How long the certificate is valid; `spec.certificates.validity` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]{1,6}(h|m|s))+$"), length(max = 20))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('5m') && duration(self) <= duration('87600h')").message("validity must be between 5m and 87600h"))]
    pub validity: Option<String>,
}

/// A component beyond the control plane.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Extension {
    /// Name, unique within the Cluster.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"), length(max = 40))]
    pub name: String,
    /// Version, given to the template.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"), length(max = 40))]
    pub version: String,
    /// Where its template comes from.
    pub template: TemplateRef,
    /// Values given to the template, over its defaults.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    #[schemars(schema_with = "free_form_object")]
    pub values: serde_json::Map<String, serde_json::Value>,
    /// Business: applied inside the business cluster. Meta: applied in the cluster's namespace of the meta cluster.
    #[serde(default)]
    pub placement: ExtensionPlacement,
}

fn free_form_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Where a template comes from: exactly one of the two.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.builtin) != has(self.configMap)").message("set exactly one of builtin and configMap"))]
pub struct TemplateRef {
    /// One of the templates shipped with the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builtin: Option<BuiltinTemplate>,
    /// A ConfigMap in the operator's own namespace; each key that ends in `.yaml.j2` is a template file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"), length(max = 253))]
    pub config_map: Option<String>,
}

/// Templates shipped with the operator.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum BuiltinTemplate {
    /// Cluster DNS.
    Coredns,
    /// Service routing on the nodes.
    KubeProxy,
}

/// Which cluster an extension's objects are applied in.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum ExtensionPlacement {
    /// The business cluster.
    #[default]
    Business,
    /// The cluster's namespace in the meta cluster.
    Meta,
}

/// The node operator of this cluster.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct NodeOperator {
    /// Whether it runs.
    #[serde(default)]
    pub enabled: bool,
    /// Machines with an address elsewhere are refused.
    #[serde(default, rename = "allowedCIDRs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), extend("x-kubernetes-list-type" = "set"))]
    pub allowed_cidrs: Vec<String>,
}

/// Why a Cluster is paused.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Paused {
    /// Shown in condition `Progressing`.
    #[schemars(length(min = 1, max = 200))]
    pub reason: String,
}

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
