//! Status of a `Machine`: what the node operator sees; written by it alone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the node operator sees; written by it alone.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Printed summary; conditions say more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<MachinePhase>,
    /// Name of the Node, once the host has joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Changes with each boot.
    #[serde(rename = "bootID", skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// `/etc/machine-id` of the host.
    #[serde(rename = "machineID", skip_serializing_if = "Option::is_none")]
    pub machine_id: Option<String>,
    /// Operating system, as its `os-release` names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// Architecture, as Debian and Go name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// The host key that was recorded at first use, as `type base64`; no other is trusted from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
    /// SHA-256 fingerprint of the host key, as `ssh-keygen -l` shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_key_fingerprint: Option<String>,
    /// The packages.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub packages: Vec<PackageStatus>,
    /// What is being done on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationStatus>,
    /// Latest five operations, newest first.
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub last_operations: Vec<OperationRecord>,
    /// Pods leaving the Node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainStatus>,
    /// What was tried to make a Node Ready that ceased to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repair: Option<RepairStatus>,
    /// Short texts for `kubectl get`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<MachineSummary>,
    /// metav1 conditions; all types are present from the first pass.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Printed summary of a Machine.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachinePhase {
    /// It was not looked at yet.
    Pending,
    /// The spec cannot be acted upon.
    Invalid,
    /// Another Machine or another cluster has the host.
    Conflict,
    /// The host was not reached yet, or is not reached any more.
    Unreachable,
    /// The host is not fit to join.
    PreflightFailed,
    /// Packages are being installed for the first time.
    Installing,
    /// The Node is awaited.
    Joining,
    /// The Node is Ready and everything is as desired.
    Ready,
    /// Packages are being changed.
    Updating,
    /// The Node was Ready, is not, and is being repaired.
    Repairing,
    /// The Node was Ready, is not, and nothing more is tried.
    Failed,
    /// Nothing is changed until `spec.paused` is removed.
    Paused,
    /// Being taken away.
    Removing,
}

/// One package of a machine.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PackageStatus {
    /// Name of the package.
    pub name: String,
    /// Version that it shall have; absent when the package shall be removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<String>,
    /// Who says so.
    pub desired_from: DesiredFrom,
    /// Version that was found; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
    /// Digest of the configuration that it shall have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_hash: Option<String>,
    /// Whether version, configuration and units are as desired.
    pub in_sync: bool,
    /// When it was last changed by us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Time>,
}

/// Who decided a package's version.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DesiredFrom {
    /// The Machine's own spec.
    Machine,
    /// A PackageRollout that released the machine.
    Rollout,
    /// ClusterPackageVersion `default`.
    Default,
}

/// What an operation is for.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// Take possession of the host, install the packages and let it join.
    Join,
    /// Bring packages to what is desired.
    Converge,
    /// Make a Node Ready that ceased to be.
    Repair,
    /// Remove what was installed.
    Reset,
}

/// An operation on the host.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OperationStatus {
    /// Id, also in the journal on the host.
    pub id: String,
    /// What it is for.
    pub kind: OperationKind,
    /// What is being done, for people.
    pub step: String,
    /// When it was begun.
    pub started_at: Time,
    /// How often in a row an operation of this kind was begun.
    pub attempt: i32,
}

/// An operation that ended.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OperationRecord {
    /// Id, also in the journal on the host.
    pub id: String,
    /// What it was for.
    pub kind: OperationKind,
    /// How it ended.
    pub result: OperationOutcome,
    /// When it was begun.
    pub started_at: Time,
    /// How long it took, for example `12s`.
    pub duration: String,
    /// Why it failed, in one word; absent after a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The step that failed, and the end of what it said, without secrets; absent after a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How an operation ended.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationOutcome {
    /// Every step was done.
    Succeeded,
    /// A step failed; the steps before it were done.
    Failed,
    /// The connection was lost: what was done is read from the host.
    Unknown,
}

/// Pods leaving the Node.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DrainStatus {
    /// Since when.
    pub started_at: Time,
    /// Pods that have not left.
    pub left: i32,
    /// Some of those that may not be evicted now, and why.
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub blocked: Vec<String>,
}

/// What was tried to make a Node Ready that ceased to be.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RepairStatus {
    /// Repairs since the Node was last Ready for long.
    pub attempts: i32,
    /// The last of them.
    pub last_action: RepairAction,
    /// When it was begun.
    pub last_at: Time,
    /// No further one is begun before.
    pub next_allowed_at: Time,
}

/// A repair, from the mildest to the hardest.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RepairAction {
    /// Start units that do not run.
    StartUnits,
    /// Restart container runtime and kubelet.
    RestartUnits,
    /// Verify every installed file by its full digest, write what differs, and restart.
    Reassert,
    /// Let the kubelet ask for a new client certificate with a fresh bootstrap token.
    Rebootstrap,
    /// Nothing more is tried.
    GiveUp,
}

/// Short texts for `kubectl get`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineSummary {
    /// Version of the kubelet that the Node reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubelet: Option<String>,
    /// Container runtime that the Node reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// Packages that are as desired, of all: `4/4`.
    pub sync: String,
}
