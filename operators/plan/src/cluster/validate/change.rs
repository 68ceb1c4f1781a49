//! What this version of the operator cannot change in a running Cluster.

use kok_api::cluster::{ClusterSpec, EndpointType, ReplacePolicy};

use super::super::view::ClusterView;

pub(super) fn check(spec: &ClusterSpec, view: &ClusterView, findings: &mut Vec<String>) {
    if spec.etcd.replace_policy == ReplacePolicy::OnPodDelete {
        findings.push(
            "spec.etcd.replacePolicy OnPodDelete is not supported yet: use OnDataLoss, which starts a deleted pod again with its data".into(),
        );
    }
    let Some(before) = &view.accepted else { return };
    if before.mode != spec.mode {
        findings.push(format!(
            "spec.mode cannot go from {:?} to {:?}: adding and removing etcd members is not supported yet; set it back to {:?}",
            before.mode, spec.mode, before.mode
        ));
    }
    if before.etcd.storage != spec.etcd.storage {
        findings.push(
            "spec.etcd.storage cannot change: members keep the volumes that they were made with; set it back"
                .into(),
        );
    } else if spec.etcd.storage.claim_template.is_none()
        && (before.etcd != spec.etcd || before.placement != spec.placement)
    {
        findings.push(
            "spec.etcd and spec.placement cannot change: etcd's data is in emptyDir volumes, which end with the pods that the change would replace; set them back, or create another Cluster with a claimTemplate"
                .into(),
        );
    }
    let (old, new) = (
        before.apiserver.encryption.provider,
        spec.apiserver.encryption.provider,
    );
    if old != new {
        findings.push(format!(
            "spec.apiserver.encryption.provider cannot go from {old:?} to {new:?}: what is stored is sealed by {old:?}; set it back"
        ));
    }
    let (old, new) = (before.endpoint.type_, spec.endpoint.type_);
    if old != new && [old, new].contains(&EndpointType::DNSRoundRobin) {
        findings.push(format!(
            "spec.endpoint.type cannot go from {old:?} to {new:?}: a Service cannot become headless or stop being so; set it back, or create another Cluster"
        ));
    }
}
