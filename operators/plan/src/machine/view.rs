//! What was observed about one Machine: owned data, sorted, with its own "now".

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kok_api::Machine;
use kok_api::machine::{DeletionPolicy, MachineSpec};
use kok_api::machine_status::MachineStatus;
use kok_api::names;
use kok_api::package::{DefaultPackage, PackageOverride};
use kok_pki::RequestFacts;
use serde::Serialize;

use super::effective::Layers;
use super::fleet::Others;
use crate::Observed;
use crate::host::{BinaryFact, HostFacts, OperationResult, Owner};

/// Everything that a plan for one Machine is made from.
#[derive(Clone, Debug, Serialize)]
pub struct MachineView {
    /// When this was observed.
    pub now: Timestamp,
    /// The Machine object.
    pub machine: Machine,
    /// Facts about this operator.
    pub operator: OperatorFacts,
    /// The cluster that the machine joins.
    pub cluster: ClusterFacts,
    /// What ClusterPackageVersion `default` asks for, as far as it was accepted; None when there is none.
    pub defaults: Option<Defaults>,
    /// Packages that rollouts released this machine to, by name.
    pub released: BTreeMap<String, PackageOverride>,
    /// Credentials that are mounted: name of the Secret, and its keys. Never their content.
    pub credentials: BTreeMap<String, BTreeSet<String>>,
    /// Those of the other Machines that have the same address, hostname or machine id, or that the host names as its owner.
    pub peers: Vec<Peer>,
    /// All machines together, as this one has to see them.
    pub fleet: Others,
    /// The Node of the Machine's hostname.
    pub node: Observed<NodeFacts>,
    /// Pods on that Node; looked for only when [`super::look::Look`] asks.
    pub pods: Observed<Vec<PodFacts>>,
    /// Certificate requests for that Node that are neither approved nor denied.
    pub requests: Observed<Vec<CsrFacts>>,
    /// Bootstrap tokens of this Machine.
    pub tokens: Observed<Vec<TokenFacts>>,
    /// What the host answered.
    pub host: Host,
    /// The large files of the host when they were hashed last.
    pub hashed: Option<Hashed>,
    /// The operation that this process carries out on the host now.
    pub running: Option<Running>,
    /// The operation that ended last and is not in the status yet.
    pub ended: Option<Ended>,
}

impl MachineView {
    /// Name of the Machine.
    pub fn name(&self) -> &str {
        self.machine.metadata.name.as_deref().unwrap_or_default()
    }

    /// Uid of the Machine.
    pub fn uid(&self) -> &str {
        self.machine.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Spec of the Machine.
    pub fn spec(&self) -> &MachineSpec {
        &self.machine.spec
    }

    /// Status of the Machine as it was read.
    pub fn status(&self) -> MachineStatus {
        self.machine.status.clone().unwrap_or_default()
    }

    /// Whether the Machine is to be deleted.
    pub fn deleting(&self) -> bool {
        self.machine.metadata.deletion_timestamp.is_some()
    }

    /// Whether the host is to be left as it is at deletion.
    pub fn abandons(&self) -> bool {
        self.deleting() && self.spec().deletion_policy == DeletionPolicy::Abandon
    }

    /// Whether our finalizer is on the Machine.
    pub fn has_finalizer(&self) -> bool {
        let mut finalizers = self.machine.metadata.finalizers.iter().flatten();
        finalizers.any(|name| name == names::MACHINE_FINALIZER)
    }

    /// What has a say in the packages of this machine.
    pub fn layers(&self) -> Layers<'_> {
        Layers {
            defaults: self
                .defaults
                .as_ref()
                .map_or(&[], |defaults| defaults.packages.as_slice()),
            released: &self.released,
            overrides: &self.spec().packages,
        }
    }

    /// How this Machine signs on a host.
    pub fn owner(&self) -> Owner {
        Owner {
            cluster: self.cluster.uid.clone(),
            machine: self.uid().into(),
            label: format!("{}/{}", self.cluster.name, self.name()),
        }
    }

    /// What the host answered, if it did.
    pub fn facts(&self) -> Option<&HostFacts> {
        match &self.host {
            Host::Answered(answer) => Some(&answer.facts),
            Host::NotAsked | Host::Silent { .. } => None,
        }
    }

    /// The Node, when it is this Machine's and not another host's of that name.
    pub fn own_node(&self) -> Option<&NodeFacts> {
        self.node.known().filter(|node| self.owns(node))
    }

    /// Whether a Node is this Machine's: we labelled it, or its kubelet runs on this host.
    pub fn owns(&self, node: &NodeFacts) -> bool {
        if let Some(machine) = node.labels.get(names::MACHINE_LABEL) {
            machine == self.name()
        } else {
            let known = self
                .machine
                .status
                .as_ref()
                .and_then(|it| it.machine_id.as_deref());
            let seen = self.facts().map(|facts| facts.machine_id.as_str());
            !node.machine_id.is_empty() && seen.or(known) == Some(node.machine_id.as_str())
        }
    }

    /// Whether the host joined the cluster at some time.
    pub fn has_joined(&self) -> bool {
        self.machine
            .status
            .as_ref()
            .is_some_and(|it| it.node_name.is_some())
            || self.own_node().is_some()
    }
}

/// Facts about this operator.
#[derive(Clone, Debug, Serialize)]
pub struct OperatorFacts {
    /// Grows with every change of leader: hosts refuse operations of an older one.
    pub generation: u64,
    /// Percentage of the machines that may fail together before repairs are frozen.
    pub freeze_percent: u32,
}

/// The cluster that the machine joins.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterFacts {
    /// Its name.
    pub name: String,
    /// Its uid: of the Cluster, or for the meta cluster's own workers of its `kube-system` namespace.
    pub uid: String,
    /// URL of the apiserver, as hosts reach it.
    pub endpoint: String,
    /// CA of the cluster, PEM; not secret.
    pub ca: String,
    /// Address of the DNS Service.
    pub dns_ip: String,
    /// DNS domain.
    pub dns_domain: String,
    /// Version of the oldest apiserver; None when it is not known.
    pub version: Option<String>,
    /// Machines and jump hosts with an address elsewhere are refused; empty allows all.
    pub allowed_cidrs: Vec<String>,
}

/// What ClusterPackageVersion `default` asks for.
#[derive(Clone, Debug, Serialize)]
pub struct Defaults {
    /// The accepted packages.
    pub packages: Vec<DefaultPackage>,
    /// `spec.maxUnavailable`.
    pub max_unavailable: IntOrString,
    /// `spec.maxConcurrent`.
    pub max_concurrent: i32,
}

/// Another Machine, as far as it can collide with this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// `spec.address`.
    pub address: String,
    /// `spec.hostname`.
    pub hostname: String,
    /// `status.machineID`.
    pub machine_id: Option<String>,
    /// When it was created: of two that claim one host the older one has it.
    pub created: Option<Timestamp>,
}

/// A Node.
#[derive(Clone, Debug, Serialize)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its resource version.
    pub resource_version: String,
    /// Whether its deletion has begun.
    pub deleting: bool,
    /// Condition Ready.
    pub ready: NodeReady,
    /// Since when condition Ready is as it is.
    pub ready_since: Option<Timestamp>,
    /// Message of condition Ready.
    pub ready_message: String,
    /// `status.nodeInfo.kubeletVersion`.
    pub kubelet_version: String,
    /// `status.nodeInfo.containerRuntimeVersion`.
    pub runtime_version: String,
    /// `status.nodeInfo.machineID`.
    pub machine_id: String,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
}

impl NodeFacts {
    /// Whether the Node is Ready.
    pub fn is_ready(&self) -> bool {
        self.ready == NodeReady::True
    }
}

/// Status of a Node's condition Ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum NodeReady {
    /// The kubelet says that it is.
    True,
    /// The kubelet says that it is not.
    False,
    /// The kubelet has not reported for a while, or not at all.
    Unknown,
}

/// A pod on the Node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PodFacts {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Whether it stays: a DaemonSet's or the host's own pod, or one that has ended.
    pub stays: bool,
    /// Whether its deletion has begun.
    pub terminating: bool,
    /// What a dry run of its eviction was refused with; None when it was not.
    pub blocked: Option<String>,
}

/// A certificate request that waits for approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CsrFacts {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its resource version.
    pub resource_version: String,
    /// `spec.signerName`.
    pub signer: String,
    /// `spec.username`: who asks, as the apiserver authenticated them.
    pub username: String,
    /// `spec.groups`.
    pub groups: Vec<String>,
    /// `spec.usages`.
    pub usages: Vec<String>,
    /// `spec.expirationSeconds`.
    pub expiration_seconds: Option<i32>,
    /// The request itself; what is wrong when it cannot be read.
    pub request: Result<RequestFacts, String>,
}

/// A bootstrap token without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenFacts {
    /// Token id.
    pub id: String,
    /// Uid of its Secret.
    pub uid: String,
    /// Resource version of its Secret.
    pub resource_version: String,
    /// When it expires.
    pub expires: Option<Timestamp>,
    /// Uid of the Machine that it was made for.
    pub machine_uid: Option<String>,
}

/// What the host answered.
#[derive(Clone, Debug, Serialize)]
pub enum Host {
    /// It was not asked.
    NotAsked,
    /// It answered.
    Answered(Box<Answer>),
    /// It did not.
    Silent {
        /// Why, as far as it was recognised.
        reason: Silence,
        /// What the connection said.
        message: String,
    },
}

/// A host's answer.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// What was asked for.
    pub facts: HostFacts,
    /// The key by which it proved who it is; None for connections without one.
    pub key: Option<SeenKey>,
}

/// A host key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SeenKey {
    /// `type base64`.
    pub key: String,
    /// SHA-256 fingerprint, as `ssh-keygen -l` shows it.
    pub fingerprint: String,
}

/// Why a host did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, strum::IntoStaticStr)]
pub enum Silence {
    /// No connection, or no answer in time.
    Unreachable,
    /// The login was refused.
    AuthenticationFailed,
    /// The host showed a key that is not trusted. Nothing was sent to it.
    HostKeyMismatch,
    /// The login user cannot become root.
    PrivilegeMissing,
    /// The credential cannot be used: no key, a key with a passphrase.
    CredentialUnusable,
    /// A jump host on the way failed.
    JumpHostFailed,
    /// The cloud's API refused.
    CloudRefused,
}

/// The large files of a host when they were hashed.
#[derive(Clone, Debug, Serialize)]
pub struct Hashed {
    /// When.
    pub at: Timestamp,
    /// Something changed since: they are to be hashed again at the next look.
    pub due: bool,
    /// What was found.
    pub binaries: BTreeMap<String, BinaryFact>,
}

/// An operation that is being carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Running {
    /// Its id.
    pub id: String,
    /// What it is at, for people; None when it is not known yet.
    pub step: Option<String>,
}

/// An operation that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// How.
    pub result: OperationResult,
}
