//! Kubernetes objects as facts: only what plans are made from, and no secret.

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{Node, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kok_api::names::{MACHINE_UID, bootstrap_token_secret};

use super::view::{CsrFacts, NodeFacts, NodeReady, PodFacts, TokenFacts};

/// Annotation of pods that the kubelet made from a file of its host.
const MIRROR_POD: &str = "kubernetes.io/config.mirror";

/// Name, uid and resource version; None for an object that never was on a server.
fn identity(metadata: &ObjectMeta) -> Option<(String, String, String)> {
    Some((
        metadata.name.clone()?,
        metadata.uid.clone()?,
        metadata.resource_version.clone()?,
    ))
}

impl NodeFacts {
    /// Facts of a Node.
    pub fn of(node: &Node) -> Option<Self> {
        let (name, uid, resource_version) = identity(&node.metadata)?;
        let status = node.status.clone().unwrap_or_default();
        let spec = node.spec.clone().unwrap_or_default();
        let info = status.node_info.unwrap_or_default();
        let ready = status
            .conditions
            .into_iter()
            .flatten()
            .find(|it| it.type_ == "Ready");
        Some(Self {
            name,
            uid,
            resource_version,
            deleting: node.metadata.deletion_timestamp.is_some(),
            ready: match ready.as_ref().map(|it| it.status.as_str()) {
                Some("True") => NodeReady::True,
                Some("False") => NodeReady::False,
                _ => NodeReady::Unknown,
            },
            ready_since: ready
                .as_ref()
                .and_then(|it| it.last_transition_time.as_ref())
                .or(node.metadata.creation_timestamp.as_ref())
                .map(|time| time.0),
            ready_message: ready.and_then(|it| it.message).unwrap_or_default(),
            kubelet_version: info.kubelet_version,
            runtime_version: info.container_runtime_version,
            machine_id: info.machine_id,
            pod_cidrs: spec.pod_cidrs.unwrap_or_default(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            annotations: node.metadata.annotations.clone().unwrap_or_default(),
            taints: spec.taints.unwrap_or_default(),
            unschedulable: spec.unschedulable.unwrap_or_default(),
        })
    }
}

impl PodFacts {
    /// Facts of a pod. `blocked` is what a dry run of its eviction was refused with.
    pub fn of(pod: &Pod, blocked: Option<String>) -> Option<Self> {
        let (name, uid, _) = identity(&pod.metadata)?;
        Some(Self {
            namespace: pod.metadata.namespace.clone()?,
            name,
            uid,
            stays: stays(pod),
            terminating: pod.metadata.deletion_timestamp.is_some(),
            blocked,
        })
    }
}

/// Whether a pod is not drained: a DaemonSet would make it again at once, the host's own pods are not evicted, and what has
/// ended does not run.
pub fn stays(pod: &Pod) -> bool {
    let metadata = &pod.metadata;
    let mut owners = metadata.owner_references.iter().flatten();
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    owners.any(|owner| owner.kind == "DaemonSet" && owner.controller == Some(true))
        || metadata
            .annotations
            .iter()
            .flatten()
            .any(|(name, _)| name == MIRROR_POD)
        || matches!(phase, Some("Succeeded" | "Failed"))
}

impl CsrFacts {
    /// Facts of a certificate request; None for one that was decided already.
    pub fn of(csr: &CertificateSigningRequest) -> Option<Self> {
        let (name, uid, resource_version) = identity(&csr.metadata)?;
        let decided = csr
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        if decided.count() > 0 {
            return None;
        }
        let spec = &csr.spec;
        let pem = String::from_utf8_lossy(&spec.request.0);
        Some(Self {
            name,
            uid,
            resource_version,
            signer: spec.signer_name.clone(),
            username: spec.username.clone().unwrap_or_default(),
            groups: spec.groups.clone().unwrap_or_default(),
            usages: spec.usages.clone().unwrap_or_default(),
            expiration_seconds: spec.expiration_seconds,
            request: kok_pki::inspect_request(&pem).map_err(|error| error.to_string()),
        })
    }
}

impl TokenFacts {
    /// Facts of the Secret of a bootstrap token; None for any other Secret.
    pub fn of(secret: &Secret) -> Option<Self> {
        let (name, uid, resource_version) = identity(&secret.metadata)?;
        let text = |key: &str| {
            let bytes = &secret.data.as_ref()?.get(key)?.0;
            std::str::from_utf8(bytes).ok()
        };
        let id = text("token-id")?;
        (name == bootstrap_token_secret(id)).then(|| Self {
            id: id.into(),
            uid,
            resource_version,
            expires: text("expiration").and_then(|time| time.parse::<Timestamp>().ok()),
            machine_uid: secret
                .metadata
                .annotations
                .as_ref()
                .and_then(|it| it.get(MACHINE_UID).cloned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::join::{TokenMint, token_secret};
    use rstest::rstest;
    use serde_json::json;

    fn object<T: serde::de::DeserializeOwned>(mut body: serde_json::Value) -> T {
        body["metadata"]["name"] = json!("n1");
        body["metadata"]["uid"] = json!("u1");
        body["metadata"]["resourceVersion"] = json!("7");
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn a_node_that_never_reported_is_unknown_since_it_was_made() {
        let node: Node = object(json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}}));
        let facts = NodeFacts::of(&node).unwrap();
        assert_eq!(facts.ready, NodeReady::Unknown);
        assert_eq!(facts.ready_since, "2026-01-01T00:00:00Z".parse().ok());
        let node: Node = object(json!({
            "spec": {"podCIDRs": ["10.32.1.0/24"], "unschedulable": true},
            "status": {"conditions": [
                {"type": "DiskPressure", "status": "True"},
                {"type": "Ready", "status": "False", "message": "no CNI", "lastTransitionTime": "2026-01-02T00:00:00Z"},
            ]},
        }));
        let facts = NodeFacts::of(&node).unwrap();
        assert_eq!(
            (facts.ready, facts.ready_message.as_str()),
            (NodeReady::False, "no CNI")
        );
        assert_eq!(facts.ready_since, "2026-01-02T00:00:00Z".parse().ok());
        assert!(facts.unschedulable);
        assert_eq!(facts.pod_cidrs, ["10.32.1.0/24"]);
    }

    #[rstest]
    #[case::plain(json!({}), false)]
    #[case::replica_set(json!({"metadata": {"ownerReferences": [owner("ReplicaSet", true)]}}), false)]
    #[case::daemon_set(json!({"metadata": {"ownerReferences": [owner("DaemonSet", true)]}}), true)]
    #[case::not_its_controller(json!({"metadata": {"ownerReferences": [owner("DaemonSet", false)]}}), false)]
    #[case::mirror(json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}}), true)]
    #[case::ended(json!({"status": {"phase": "Succeeded"}}), true)]
    #[case::failed(json!({"status": {"phase": "Failed"}}), true)]
    #[case::running(json!({"status": {"phase": "Running"}}), false)]
    fn which_pods_stay(#[case] pod: serde_json::Value, #[case] expected: bool) {
        let mut pod = pod;
        pod["metadata"]["namespace"] = json!("default");
        let facts = PodFacts::of(&object(pod), None).unwrap();
        assert_eq!(facts.stays, expected);
    }

    fn owner(kind: &str, controller: bool) -> serde_json::Value {
        json!({"apiVersion": "apps/v1", "kind": kind, "name": "x", "uid": "y", "controller": controller})
    }

    #[test]
    fn a_decided_request_is_no_fact_and_garbage_is_told_as_such() {
        let body = json!({"spec": {"signerName": "s", "request": "Z2FyYmFnZQ==", "username": "u"}});
        let facts = CsrFacts::of(&object(body.clone())).unwrap();
        assert!(facts.request.unwrap_err().contains("not a certificate request"));
        for type_ in ["Approved", "Denied", "Failed"] {
            let mut decided = body.clone();
            decided["status"] = json!({"conditions": [{"type": type_, "status": "True"}]});
            assert_eq!(CsrFacts::of(&object(decided)), None, "{type_}");
        }
    }

    #[test]
    fn a_token_is_read_back_as_it_was_made_and_without_its_secret() {
        let mint = TokenMint {
            id: "abc123".into(),
            machine: "node1".into(),
            machine_uid: "uid-node1".into(),
            expires: "2026-01-01T00:15:00Z".parse().unwrap(),
        };
        let mut secret = token_secret(&mint, "0123456789abcdef");
        // As the API server stores it.
        let data = secret.string_data.take().unwrap_or_default();
        let bytes = |text: String| k8s_openapi::ByteString(text.into_bytes());
        secret.data = Some(data.into_iter().map(|(key, text)| (key, bytes(text))).collect());
        secret.metadata.uid = Some("u1".into());
        secret.metadata.resource_version = Some("7".into());
        let facts = TokenFacts::of(&secret).unwrap();
        assert_eq!(facts.id, "abc123");
        assert_eq!(facts.expires, Some(mint.expires));
        assert_eq!(facts.machine_uid.as_deref(), Some("uid-node1"));
        assert!(!format!("{facts:?}").contains("0123456789abcdef"));
        secret.metadata.name = Some("bootstrap-token-other1".into());
        assert_eq!(TokenFacts::of(&secret), None);
    }
}
