//! What was observed about one Cluster: owned data, sorted, with its own "now".

use std::collections::BTreeMap;

use jiff::Timestamp;
use kok_api::Cluster;
use kok_api::cluster::{ClusterSpec, NodesStatus, ResourceTotals};
use kok_pki::CertFacts;
use serde::Serialize;

use crate::Observed;
use crate::kind::Kind;
use crate::object::{Live, ObjectKey};

/// Everything that a plan for one Cluster is made from.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterView {
    /// When this was observed.
    pub now: Timestamp,
    /// The Cluster object.
    pub cluster: Cluster,
    /// Facts about this operator.
    pub operator: OperatorFacts,
    /// Who has the node port that the spec names, when it is not this Cluster's Service: `Service namespace/name`.
    pub node_port_holder: Option<String>,
    /// What the meta cluster's API server would refuse of [`super::proposal`], and why.
    pub refusals: Vec<Refusal>,
    /// Storage classes of the meta cluster.
    pub storage_classes: Vec<StorageClassFacts>,
    /// The Cluster's namespace.
    pub namespace: Option<Live>,
    /// Objects in that namespace, also those of others.
    pub objects: BTreeMap<ObjectKey, Live>,
    /// Secrets in that namespace, also those of others, without their content.
    pub secrets: BTreeMap<String, SecretFacts>,
    /// The cluster CA's certificate, PEM; not secret.
    pub ca_pem: Option<String>,
    /// ConfigMaps that extensions name, from the operator's namespace; None when there is none of that name.
    pub templates: BTreeMap<String, Option<BTreeMap<String, String>>>,
    /// The last spec that was found valid.
    pub accepted: Option<ClusterSpec>,
    /// etcd as its members answer.
    pub etcd: Observed<EtcdFacts>,
    /// What a client with the admin kubeconfig got through the external endpoint.
    pub external: Observed<ExternalAnswer>,
    /// Our objects in the business cluster.
    pub business: Observed<BTreeMap<ObjectKey, Live>>,
    /// Nodes of the business cluster.
    pub nodes: Observed<NodeFacts>,
}

impl ClusterView {
    /// Name of the Cluster.
    pub fn name(&self) -> &str {
        self.cluster.metadata.name.as_deref().unwrap_or_default()
    }

    /// Uid of the Cluster.
    pub fn uid(&self) -> &str {
        self.cluster.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Namespace of the Cluster's objects.
    pub fn namespace_name(&self) -> String {
        kok_api::names::cluster_namespace(self.name())
    }

    /// The Cluster's namespace, when it is this Cluster's and not another's of that name.
    pub fn own_namespace(&self) -> Option<&Live> {
        self.namespace
            .as_ref()
            .filter(|namespace| namespace.owned_by(self.uid()))
    }

    /// Whether our finalizer is on the Cluster.
    pub fn has_finalizer(&self) -> bool {
        let mut finalizers = self.cluster.metadata.finalizers.iter().flatten();
        finalizers.any(|name| name == kok_api::names::CLEANUP_FINALIZER)
    }

    /// Whether the Cluster is to be deleted, and `spec.deletionProtection` keeps it running all the same.
    pub fn deletion_is_held_back(&self) -> bool {
        self.cluster.metadata.deletion_timestamp.is_some()
            && self.cluster.spec.deletion_protection
            && self.has_finalizer()
            && self.own_namespace().is_some_and(|namespace| !namespace.deleting)
    }

    /// An object in the Cluster's namespace.
    pub fn object(&self, kind: Kind, name: &str) -> Option<&Live> {
        self.objects.get(&ObjectKey {
            kind,
            namespace: Some(self.namespace_name()),
            name: name.into(),
        })
    }
}

/// Facts about this operator.
#[derive(Clone, Debug, Serialize)]
pub struct OperatorFacts {
    /// Namespace that it runs in, where template ConfigMaps are looked for.
    pub namespace: String,
    /// Where images come from.
    pub image_repository: String,
}

/// An object that the API server would not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The object.
    pub key: ObjectKey,
    /// What the API server says.
    pub message: String,
}

/// A storage class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StorageClassFacts {
    /// Its name.
    pub name: String,
    /// Whether claims without a class get this one.
    pub default: bool,
}

/// A Secret without its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretFacts {
    /// Its uid.
    pub uid: String,
    /// Its resource version.
    pub resource_version: String,
    /// SHA-256 of its content.
    pub digest: String,
    /// Whether the content is what was written with it.
    pub intact: bool,
    /// Digest of the recipe that it was made by.
    pub recipe: Option<String>,
    /// Whether its label says that it is ours: only then is it ever deleted.
    pub ours: bool,
    /// Facts of its certificate `tls.crt`.
    pub certificate: Option<CertFacts>,
    /// Digest of the public key of `tls.crt`, as `kubeadm join` pins a CA.
    pub public_key_hash: Option<String>,
}

/// etcd as its members answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EtcdFacts {
    /// Id of the cluster, hexadecimal.
    pub cluster_id: String,
    /// Whether a linearizable read was answered: only then is there a quorum.
    pub quorum: bool,
    /// Members by name, as a member lists them and as each one answers.
    pub members: BTreeMap<String, EtcdMemberFacts>,
}

/// One etcd member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EtcdMemberFacts {
    /// Its id, hexadecimal.
    pub id: String,
    /// Whether it has no vote yet.
    pub learner: bool,
    /// Whether it ever ran: a member publishes its client addresses when it starts.
    pub started: bool,
    /// What it answered itself; None when it did not.
    pub answer: Option<EtcdAnswer>,
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EtcdAnswer {
    /// Its version.
    pub version: String,
    /// Whether it leads.
    pub leader: bool,
    /// Size of its database, in bytes.
    pub db_size: u64,
}

/// Nodes of the business cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeFacts {
    /// How many there are.
    pub counts: NodesStatus,
    /// What pods can have of all of them together.
    pub allocatable: Allocatable,
}

/// What pods can have of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Allocatable {
    /// CPU, in thousandths of a core.
    pub cpu_millis: u64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}

impl Allocatable {
    /// As Kubernetes writes it.
    pub fn totals(self) -> ResourceTotals {
        ResourceTotals {
            cpu: match (self.cpu_millis / 1000, self.cpu_millis % 1000) {
                (cores, 0) => cores.to_string(),
                _ => format!("{}m", self.cpu_millis),
            },
            memory: format!("{}Mi", self.memory_bytes >> 20),
        }
    }
}

/// What a client got through the external endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExternalAnswer {
    /// Version that the apiserver told.
    pub version: String,
}
