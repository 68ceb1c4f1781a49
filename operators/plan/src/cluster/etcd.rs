//! etcd: one Pod, claim and Service a member; what to create, and which single pod may be replaced now.

use kok_api::cluster::ClusterSpec;
use kok_api::names;

use super::Action;
use super::gate::{Gate, GateReason};
use super::manifests::{ManifestError, Renderer};
use super::view::{ClusterView, EtcdFacts};
use crate::Observed;
use crate::kind::{CLAIM, POD};
use crate::object::{Live, Manifest};

/// What to do about etcd now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EtcdPlan {
    /// In order.
    pub actions: Vec<Action>,
    /// What is waited for.
    pub gates: Vec<Gate>,
    /// Every object that belongs to a declared member, so that none of them is pruned.
    pub wanted: Vec<Manifest>,
}

/// Plans the members of `spec`.
///
/// A pod that is gone is created again with its volume. A pod that is not as declared is deleted, one at a time, the
/// leader last, and only while every other member answers. A member whose data is gone is never started: it would
/// found a second, empty cluster or be refused by its peers.
pub fn plan(
    spec: &ClusterSpec,
    view: &ClusterView,
    renderer: &Renderer<'_>,
) -> Result<EtcdPlan, ManifestError> {
    let founded = founded(view);
    let mut plan = EtcdPlan::default();
    let mut outdated = Vec::new();
    for ordinal in 0..spec.mode.replicas() {
        let name = names::etcd_member(ordinal);
        let manifests = renderer.etcd_member(ordinal, founded)?;
        let pod = view.object(POD, &name);
        let lost = founded && data_lost(spec, view, &name);
        for manifest in &manifests {
            let live = view.objects.get(&manifest.key);
            match (manifest.key.kind, live) {
                (POD | CLAIM, None) if lost => {}
                (POD | CLAIM, None) => plan.actions.push(Action::Create(manifest.clone())),
                // Specs of pods and claims cannot be changed in place.
                (CLAIM, Some(_)) => {}
                (POD, Some(live)) => {
                    if is_over(live) && !live.deleting {
                        plan.actions
                            .push(Action::delete(manifest, live, "the pod has ended"));
                    } else if live.annotation(names::APPLIED_HASH) != manifest.seal() && !live.deleting {
                        outdated.push((name.clone(), manifest.clone(), live.clone()));
                    }
                }
                (_, live) => {
                    if let Some(reason) = manifest.difference(live) {
                        let manifest = manifest.clone();
                        plan.actions.push(Action::Apply { manifest, reason });
                    }
                }
            }
        }
        if lost && pod.is_none_or(|pod| pod.deleting) {
            plan.gates.push(Gate {
                reason: if spec.mode.replicas() == 1 {
                    GateReason::QuorumLost
                } else {
                    GateReason::MemberDataLost
                },
                message: format!(
                    "etcd member {name} has lost its volume; it is not started again, since it would be an empty cluster of its own: restore its claim from a snapshot"
                ),
            });
        }
        plan.wanted.extend(manifests);
    }
    replace_one(spec, view, outdated, &mut plan);
    Ok(plan)
}

/// Whether the etcd cluster was founded, which takes a quorum: from then on no member is started as `new`.
pub fn founded(view: &ClusterView) -> bool {
    let recorded = view
        .cluster
        .status
        .as_ref()
        .and_then(|status| status.etcd.as_ref());
    recorded.is_some_and(|etcd| etcd.cluster_id.is_some()) || with_quorum(view).is_some()
}

fn with_quorum(view: &ClusterView) -> Option<&EtcdFacts> {
    view.etcd.known().filter(|etcd| etcd.quorum)
}

/// Whether a member that once ran has no volume any more. One that never ran has nothing to lose: it may be the last
/// that is created while the others already are a quorum.
fn data_lost(spec: &ClusterSpec, view: &ClusterView, member: &str) -> bool {
    let never_ran = with_quorum(view)
        .and_then(|etcd| etcd.members.get(member))
        .is_some_and(|listed| !listed.started);
    if never_ran {
        false
    } else if spec.etcd.storage.claim_template.is_some() {
        view.object(CLAIM, member).is_none()
    } else {
        view.object(POD, member).is_none()
    }
}

/// Whether a pod has ended for good (a graceful node shutdown leaves such pods; nothing restarts a bare pod).
fn is_over(pod: &Live) -> bool {
    matches!(pod.text("/status/phase"), Some("Succeeded" | "Failed"))
}

/// How many members' containers run. The kubelet tells this at once, readiness only after a probe.
pub fn started(spec: &ClusterSpec, view: &ClusterView) -> usize {
    (0..spec.mode.replicas())
        .filter_map(|ordinal| view.object(POD, &names::etcd_member(ordinal)))
        .filter(|pod| pod.body.pointer("/status/containerStatuses/0/started") == Some(&true.into()))
        .count()
}

/// Deletes at most one outdated pod, and only while that keeps a quorum.
fn replace_one(
    spec: &ClusterSpec,
    view: &ClusterView,
    mut outdated: Vec<(String, Manifest, Live)>,
    plan: &mut EtcdPlan,
) {
    if outdated.is_empty() {
        return;
    }
    if spec.etcd.storage.claim_template.is_none() {
        plan.gates.push(Gate {
            reason: GateReason::DataWouldBeLost,
            message: "etcd pods are not as declared, but their data is in emptyDir volumes, which end with the pods: they stay as they are".into(),
        });
        return;
    }
    let members = usize::from(spec.mode.replicas());
    let Observed::Known(etcd) = &view.etcd else {
        plan.gates.push(Gate {
            reason: GateReason::EtcdUnknown,
            message: "etcd pods are to be replaced, which waits until etcd answers".into(),
        });
        return;
    };
    let answers = |name: &str| {
        etcd.members
            .get(name)
            .is_some_and(|member| member.answer.is_some())
    };
    let leads = |name: &str| {
        etcd.members
            .get(name)
            .and_then(|member| member.answer.as_ref())
            .is_some_and(|answer| answer.leader)
    };
    // Members that do not answer first: replacing them costs nothing. The leader last: fewest elections.
    outdated.sort_by_key(|(name, _, _)| (answers(name), leads(name), name.clone()));
    let Some((name, manifest, live)) = outdated.into_iter().next() else {
        return;
    };
    let others = etcd
        .members
        .keys()
        .filter(|other| **other != name && answers(other))
        .count();
    if members == 1 || (etcd.quorum && others == members - 1) {
        plan.actions
            .push(Action::delete(&manifest, &live, "the pod is not as declared"));
    } else {
        plan.gates.push(Gate {
            reason: GateReason::QuorumAtRisk,
            message: format!(
                "etcd member {name} is to be replaced, which waits until the {} other members answer ({others} do)",
                members - 1
            ),
        });
    }
}
