//! `Machine`: one host that shall be a Ready node of the cluster that the object is in.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::cluster::Paused;
use crate::machine_status::MachineStatus;
use crate::package::PackageOverride;

/// A host that the node operator turns into a Ready node of this cluster, and keeps so.
///
/// Credentials are named, never held: they are Secrets beside the node operator, outside of this cluster.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "kubeonkube.io",
    version = "v1alpha1",
    kind = "Machine",
    plural = "machines",
    shortname = "mach",
    category = "kubeonkube",
    status = "MachineStatus",
    derive = "PartialEq",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 63")
        .message("metadata.name must be a DNS label of at most 63 characters: it becomes a label of the Node"),
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Node","type":"string","jsonPath":".status.nodeName"}"#,
    printcolumn = r#"{"name":"IP","type":"string","jsonPath":".spec.address"}"#,
    printcolumn = r#"{"name":"IDC","type":"string","jsonPath":".spec.idc"}"#,
    printcolumn = r#"{"name":"Kubelet","type":"string","jsonPath":".status.summary.kubelet"}"#,
    printcolumn = r#"{"name":"Runtime","type":"string","jsonPath":".status.summary.runtime"}"#,
    printcolumn = r#"{"name":"Sync","type":"string","jsonPath":".status.summary.sync","description":"packages that are as desired, of all"}"#,
    printcolumn = r#"{"name":"Operation","type":"string","jsonPath":".status.operation.step","priority":1}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].message","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.address == oldSelf.address").message("address cannot change: delete the Machine and create another one"),
    validation = Rule::new("self.hostname == oldSelf.hostname").message("hostname cannot change, it is the Node's name: delete the Machine and create another one"),
    validation = Rule::new("self.connection == 'SSH' ? has(self.ssh) : has(self.cloud)").message("connection SSH needs ssh, connection CloudCommand needs cloud"),
)]
pub struct MachineSpec {
    /// The host's IP address: where it is reached, and the Node's internal address.
    #[schemars(length(min = 2, max = 45), regex(pattern = r"^[0-9a-fA-F.:]+$"))]
    #[x_kube(validation = Rule::new("isIP(self)").message("address must be an IP address such as 10.77.0.21"))]
    pub address: String,
    /// What the host calls itself; also the Node's name.
    #[schemars(
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
        length(max = 63)
    )]
    pub hostname: String,
    /// Data centre that it stands in; becomes label `kubeonkube.io/idc` of the Node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"),
        length(max = 63)
    )]
    pub idc: Option<String>,
    /// Labels of the Node, beside those that others give it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "node_labels")]
    #[x_kube(
        validation = Rule::new(r"self.all(key, size(key) <= 317 && key.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))").message("keys of labels must be label keys such as example.com/rack"),
        validation = Rule::new("self.all(key, !key.startsWith('kubeonkube.io/') && !(key in ['kubernetes.io/hostname', 'kubernetes.io/os', 'kubernetes.io/arch']))").message("labels kubernetes.io/hostname, kubernetes.io/os, kubernetes.io/arch and kubeonkube.io/... are set by the kubelet and the node operator")
    )]
    pub labels: BTreeMap<String, String>,
    /// Taints of the Node, beside those that others give it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key", "effect"]))]
    pub taints: Vec<NodeTaint>,
    /// How commands reach the host.
    #[serde(default)]
    pub connection: Connection,
    /// Needed for connection SSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<Ssh>,
    /// Needed for connection CloudCommand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<Cloud>,
    /// What this host has differently from ClusterPackageVersion `default`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub packages: Vec<PackageOverride>,
    /// What happens to the host when the Machine is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// How pods leave the Node before it is disturbed or removed.
    #[serde(default)]
    pub drain: Drain,
    /// When set, nothing is changed until it is removed; the host is still looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
}

fn node_labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 50,
        "additionalProperties": {
            "type": "string",
            "maxLength": 63,
            "pattern": "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
        },
    })
}

/// A taint, as in a Node.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeTaint {
    /// Key.
    #[schemars(
        regex(
            pattern = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
        ),
        length(max = 317)
    )]
    #[x_kube(validation = Rule::new("!self.startsWith('node.kubernetes.io/')").message("taints node.kubernetes.io/... are set by Kubernetes"))]
    pub key: String,
    /// Value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        regex(pattern = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"),
        length(max = 63)
    )]
    pub value: Option<String>,
    /// What it does to pods that do not tolerate it.
    pub effect: TaintEffect,
}

/// What a taint does to pods that do not tolerate it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaintEffect {
    /// They are not scheduled to the Node.
    NoSchedule,
    /// They are scheduled elsewhere if possible.
    PreferNoSchedule,
    /// They must leave.
    NoExecute,
}

impl TaintEffect {
    /// The name in a Node's spec.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

/// How commands reach the host.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Connection {
    /// An SSH connection, directly or over jump hosts.
    #[default]
    #[serde(rename = "SSH")]
    Ssh,
    /// The run-command API of a cloud: nothing connects to the host.
    CloudCommand,
}

/// How the host is reached by SSH.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.user == 'root' ? self.sudo == 'None' : self.sudo != 'None'").message("sudo must be None for user root, and Passwordless or Password for any other user"))]
pub struct Ssh {
    /// Port of sshd.
    #[serde(default = "default_ssh_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Login name.
    #[serde(default = "default_user")]
    #[schemars(regex(pattern = r"^[a-z_][a-z0-9_-]{0,31}$"), length(max = 32))]
    pub user: String,
    /// The private key, and the password of sudo if it wants one.
    pub credential: CredentialRef,
    /// How the host proves that it is the one that is meant.
    pub host_key: HostKey,
    /// Hosts to go over, in order; the last one reaches the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3), extend("x-kubernetes-list-type" = "atomic"))]
    pub jump: Vec<JumpHost>,
    /// How the user becomes root.
    #[serde(default)]
    pub sudo: Sudo,
}

fn default_ssh_port() -> i32 {
    22
}

fn default_user() -> String {
    "root".into()
}

/// A Secret beside the node operator, in its own namespace. For SSH it has key `ssh-privatekey` (without a passphrase) and, for sudo with
/// a password, `sudo-password`; for CloudCommand `access-key-id` and `access-key-secret`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CredentialRef {
    /// Name of the Secret.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"), length(max = 63))]
    pub secret: String,
}

/// How a host proves that it is the one that is meant.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[x_kube(validation = Rule::new("self.policy == 'Pinned' ? has(self.keys) && size(self.keys) > 0 : !has(self.keys) || size(self.keys) == 0").message("policy Pinned needs keys (ssh-keyscan HOST shows them; compare them on the host's console), policy TrustOnFirstUse has none"))]
pub struct HostKey {
    /// Which keys are trusted.
    pub policy: HostKeyPolicy,
    /// Public host keys, each as `type base64`, for example `ssh-ed25519 AAAA...`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(regex(pattern = r"^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]{40,}={0,2}$"), length(max = 1500)), extend("x-kubernetes-list-type" = "set"))]
    pub keys: Vec<String>,
}

/// Which host keys are trusted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKeyPolicy {
    /// Only those that are listed.
    Pinned,
    /// The first one that is seen; it is recorded in the status, and from then on no other.
    TrustOnFirstUse,
}

/// A host on the way. Its key is always pinned: what goes through it is only as safe as it is.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct JumpHost {
    /// IP address.
    #[schemars(length(min = 2, max = 45), regex(pattern = r"^[0-9a-fA-F.:]+$"))]
    #[x_kube(validation = Rule::new("isIP(self)").message("address must be an IP address such as 10.77.0.2"))]
    pub address: String,
    /// Port of sshd.
    #[serde(default = "default_ssh_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Login name.
    #[schemars(regex(pattern = r"^[a-z_][a-z0-9_-]{0,31}$"), length(max = 32))]
    pub user: String,
    /// The private key.
    pub credential: CredentialRef,
    /// Public host keys, each as `type base64`.
    #[schemars(length(min = 1, max = 8), inner(regex(pattern = r"^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]{40,}={0,2}$"), length(max = 1500)), extend("x-kubernetes-list-type" = "set"))]
    pub host_keys: Vec<String>,
}

/// How the login user becomes root.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Sudo {
    /// It is root.
    #[default]
    None,
    /// sudo asks for nothing.
    Passwordless,
    /// sudo asks for the password in key `sudo-password` of the credential.
    Password,
}

/// How the host is reached by its cloud's run-command API.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Cloud {
    /// Which cloud.
    pub provider: CloudProvider,
    /// Its region.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"), length(max = 40))]
    pub region: String,
    /// Id of the instance.
    #[serde(rename = "instanceID")]
    #[schemars(
        regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$"),
        length(max = 60)
    )]
    pub instance_id: String,
    /// The access key.
    pub credential: CredentialRef,
}

/// Clouds whose run-command API is spoken.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudProvider {
    /// Alibaba Cloud ECS: RunCommand and DescribeInvocations of Cloud Assistant.
    Alibaba,
}

/// What happens to the host when the Machine is deleted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DeletionPolicy {
    /// The Node is drained and deleted; what was installed is removed from the host.
    #[default]
    Reset,
    /// The Machine is only forgotten: Node and host stay as they are.
    Abandon,
}

/// How pods leave the Node before it is disturbed or removed.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("duration(self.timeout) >= duration('10s') && duration(self.timeout) <= duration('24h')").message("drain.timeout must be between 10s and 24h"))]
pub struct Drain {
    /// How long pods may take. Every pod that does not belong to a DaemonSet or to the host itself is evicted; disruption
    /// budgets are respected.
    #[serde(default = "default_drain_timeout")]
    #[schemars(regex(pattern = r"^([0-9]{1,6}(h|m|s))+$"), length(max = 20))]
    pub timeout: String,
    /// What happens when that time is over.
    #[serde(default)]
    pub on_timeout: OnDrainTimeout,
}

fn default_drain_timeout() -> String {
    "10m".into()
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            timeout: default_drain_timeout(),
            on_timeout: OnDrainTimeout::default(),
        }
    }
}

/// What happens when a drain takes too long.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnDrainTimeout {
    /// It goes on waiting, and says for which pods.
    #[default]
    Wait,
    /// The operation goes on; pods that are left die with their host.
    Proceed,
}
