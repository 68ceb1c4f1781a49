//! `Cluster`: one business cluster's control plane, run as pods in the meta cluster.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaimSpec, ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

pub use crate::cluster_network::*;
pub use crate::cluster_status::*;

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
    // Against what runs, not against what was declared last: that may have been refused, and must not block the way back.
    validation = Rule::new("self.spec.version == oldSelf.spec.version || !has(oldSelf.status) || !has(oldSelf.status.version) || !has(oldSelf.status.version.current) || !oldSelf.status.version.current.matches('^1[.][0-9]+[.]') || int(self.spec.version.split('.')[1]) - int(oldSelf.status.version.current.split('.')[1]) in [0, 1]")
        .message("spec.version must be of the minor that runs or of the next one: go up one minor at a time, never down a minor"),
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
pub struct ClusterSpec {
    /// Standard: three of each control-plane component. Minimal: one of each.
    pub mode: Mode,
    /// Default version of the Kubernetes components, without a leading `v`, for example `1.36.3`.
    #[schemars(schema_with = "kubernetes_version")]
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

fn kubernetes_version(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": r"^1\.[1-9][0-9]\.(0|[1-9][0-9]{0,2})$", "maxLength": 10})
}

/// Flags by name. The components read `_` as `-`; one way of writing is enough, and no refusal is missed.
fn flags(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 50,
        "additionalProperties": {"type": "string", "maxLength": 2000},
        "x-kubernetes-validations": [{
            "rule": "self.all(flag, size(flag) <= 100 && flag.matches('^[a-z0-9][-a-z0-9]*$'))",
            "message": "flags are named without leading dashes, by small letters, digits and dashes",
        }],
    })
}

/// A Go duration in falling units, as `duration()` in CEL and the operator both read it.
fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": "^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$",
        "minLength": 2,
        "maxLength": 20,
    })
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
    #[schemars(schema_with = "labels")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<Toleration>,
    /// Node label over which the replicas of a component are spread.
    #[serde(default = "default_topology_key")]
    #[schemars(
        regex(
            pattern = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
        ),
        length(max = 200)
    )]
    pub topology_key: String,
    /// What happens when they cannot be spread: `ScheduleAnyway` or `DoNotSchedule`.
    #[serde(default)]
    pub when_unsatisfiable: WhenUnsatisfiable,
}

fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 20,
        "additionalProperties": {
            "type": "string",
            "pattern": "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
            "maxLength": 63,
        },
        "x-kubernetes-validations": [{
            "rule": "self.all(key, size(key) <= 200 && key.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
            "message": "nodeSelector must name labels, such as kubernetes.io/os",
        }],
    })
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

/// The etcd cluster of this control plane; its size follows from `mode`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Etcd {
    /// Version of etcd, without a leading `v`, for example `3.6.14`.
    #[schemars(regex(pattern = r"^3\.[1-9]\.(0|[1-9][0-9]{0,2})$"), length(max = 8))]
    pub version: String,
    /// Where each member keeps its data.
    pub storage: EtcdStorage,
    /// When a member is replaced by a new, empty one.
    #[serde(default)]
    pub replace_policy: ReplacePolicy,
    /// Additional flags, without leading dashes. Some are refused, with the reason in condition `Valid`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "flags")]
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
    #[x_kube(
        validation = Rule::new("has(self.resources) && has(self.resources.requests) && 'storage' in self.resources.requests")
            .message("claimTemplate needs resources.requests.storage: the size of each member's volume"),
        validation = Rule::new("!has(self.volumeName) && !has(self.dataSource) && !has(self.dataSourceRef)")
            .message("claimTemplate must not set volumeName, dataSource or dataSourceRef: it is the same for all members, and each needs an empty volume of its own"),
        validation = Rule::new("!has(self.volumeMode) || self.volumeMode == 'Filesystem'")
            .message("claimTemplate.volumeMode must be Filesystem: etcd keeps files"),
        validation = Rule::new("!has(self.accessModes) || !self.accessModes.exists(mode, mode == 'ReadOnlyMany')")
            .message("claimTemplate.accessModes must not have ReadOnlyMany: etcd writes")
    )]
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
    #[schemars(schema_with = "kubernetes_version")]
    pub version: Option<String>,
    /// Additional flags, without leading dashes. Some are refused, with the reason in condition `Valid`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "flags")]
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
    #[schemars(schema_with = "kubernetes_version")]
    pub version: Option<String>,
    /// Replicas when they differ from the mode's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9))]
    #[x_kube(validation = Rule::new("self % 2 == 1").message("replicas must be odd: 1, 3, 5, 7 or 9"))]
    pub replicas: Option<i32>,
    /// Additional flags, without leading dashes. Some are refused, with the reason in condition `Valid`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "flags")]
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

/// Lifetime of the certificates that the operator issues. Durations are hours, minutes and seconds: `8760h`, `90m`, `1h30m`.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("duration(self.validity) >= duration('5m') && duration(self.validity) <= duration('87600h')").message("validity must be between 5m and 87600h"),
    validation = Rule::new("duration(self.renewBefore) < duration(self.validity) && duration(self.renewBefore) >= duration('1m')").message("renewBefore must be at least 1m and shorter than validity")
)]
pub struct Certificates {
    /// How long an issued certificate is valid.
    #[serde(default = "default_validity")]
    #[schemars(schema_with = "duration")]
    pub validity: String,
    /// How long before its end a certificate is renewed.
    #[serde(default = "default_renew_before")]
    #[schemars(schema_with = "duration")]
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
    /// Groups: the certificate's organizations. RBAC in the business cluster gives them rights; `kubeonkube:cluster-admins` has all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(regex(pattern = r"^[A-Za-z0-9]([A-Za-z0-9:._/-]*[A-Za-z0-9])?$"), length(max = 60)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(
        validation = Rule::new("!self.exists(g, g == 'system:masters')").message("group system:masters is refused: it bypasses all authorization and cannot be revoked; bind a ClusterRole to another group"),
        validation = Rule::new("self.all(g, !g.startsWith('system:') || g in ['system:masters', 'system:monitoring'])").message("groups system:* are refused, but for system:monitoring: they are those of Kubernetes itself, such as nodes"),
        validation = Rule::new("self.all(g, !g.startsWith('kubeonkube:') || g == 'kubeonkube:cluster-admins')").message("groups kubeonkube:* are refused, but for kubeonkube:cluster-admins: they are those of the operators")
    )]
    pub groups: Vec<String>,
    /// How long the certificate is valid; `spec.certificates.validity` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('5m') && duration(self) <= duration('87600h')").message("validity must be between 5m and 87600h"))]
    pub validity: Option<String>,
}

/// A component beyond the control plane.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Extension {
    /// Name, unique within the Cluster.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"), length(max = 40))]
    #[x_kube(validation = Rule::new("self != 'bootstrap'").message("name bootstrap is taken: the operator applies an extension of that name to every business cluster"))]
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

fn free_form_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
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
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct NodeOperator {
    /// Whether it runs.
    #[serde(default)]
    pub enabled: bool,
    /// Machines with an address elsewhere are refused.
    #[serde(default, rename = "allowedCIDRs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(max = 43)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(network, isCIDR(network) && cidr(network) == cidr(network).masked())")
        .message("allowedCIDRs must be networks such as 10.77.0.0/16, with no host bits set"))]
    pub allowed_cidrs: Vec<String>,
}

/// Why a Cluster is paused.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Paused {
    /// Shown in condition `Progressing`.
    #[schemars(length(min = 1, max = 200))]
    pub reason: String,
}
