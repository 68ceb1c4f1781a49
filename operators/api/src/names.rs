//! Names, labels and annotations that every part of the system agrees on.

/// API group of all our kinds.
pub const GROUP: &str = "kubeonkube.io";
/// Field manager of the cluster operator's server-side apply.
pub const FIELD_MANAGER: &str = "kubeonkube.io/cluster-operator";
/// Finalizer by which the cluster operator sees a Cluster's deletion through.
pub const CLEANUP_FINALIZER: &str = "clusters.kubeonkube.io/cleanup";

/// Field manager of the node operator's writes.
pub const NODE_FIELD_MANAGER: &str = "kubeonkube.io/node-operator";
/// Finalizer by which the node operator sees a Machine's deletion through.
pub const MACHINE_FINALIZER: &str = "machines.kubeonkube.io/cleanup";

/// Label: name of the Machine that a Node or a bootstrap token belongs to.
pub const MACHINE_LABEL: &str = "kubeonkube.io/machine";
/// Label of Nodes: data centre of the host.
pub const IDC_LABEL: &str = "kubeonkube.io/idc";
/// Annotation of Nodes: keys of the labels that the node operator gave it.
pub const OWNED_LABELS: &str = "kubeonkube.io/owned-labels";
/// Annotation of Nodes: `key:effect` of the taints that the node operator gave it.
pub const OWNED_TAINTS: &str = "kubeonkube.io/owned-taints";
/// Annotation of Nodes: the node operator cordoned it, and may uncordon it.
pub const CORDONED: &str = "kubeonkube.io/cordoned";
/// Annotation of bootstrap token Secrets: uid of the Machine that the token is for.
pub const MACHINE_UID: &str = "kubeonkube.io/machine-uid";
/// Group that a machine's bootstrap token authenticates as: it may ask for certificates, and nobody approves them but the
/// node operator.
pub const BOOTSTRAP_GROUP: &str = "system:bootstrappers:kubeonkube:machines";

/// Label: name of the Cluster that an object belongs to.
pub const CLUSTER_LABEL: &str = "kubeonkube.io/cluster";
/// Label: which component an object belongs to, for example `etcd` or `kube-apiserver`.
pub const COMPONENT_LABEL: &str = "kubeonkube.io/component";
/// Label: name of one etcd member, on its Pod, claim and Service.
pub const MEMBER_LABEL: &str = "kubeonkube.io/member";
/// Label: name of the extension that an object was rendered for.
pub const EXTENSION_LABEL: &str = "kubeonkube.io/extension";
/// Label: who keeps the object converged.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY_LABEL`] on everything that we write.
pub const MANAGED_BY: &str = "kube-on-kube";

/// Annotation: digest of what we last applied, so that a removed field is seen too.
pub const APPLIED_HASH: &str = "kubeonkube.io/applied-hash";
/// Annotation of pod templates: digest of every Secret and ConfigMap that the pod reads.
pub const INPUTS_HASH: &str = "kubeonkube.io/inputs-hash";

/// Name of the Secret, in `kube-system`, of the bootstrap token with this id.
pub fn bootstrap_token_secret(id: &str) -> String {
    format!("bootstrap-token-{id}")
}

/// Namespace in the meta cluster that holds the control plane of Cluster `name`.
pub fn cluster_namespace(name: &str) -> String {
    format!("cluster-{name}")
}

/// Name of the etcd member with ordinal `ordinal`: also of its Pod, claim and Service.
pub fn etcd_member(ordinal: u8) -> String {
    format!("etcd-{ordinal}")
}

/// Name of the Secret with the kubeconfig of the extra user `user`.
pub fn user_secret(user: &str) -> String {
    format!("user-{user}-kubeconfig")
}
