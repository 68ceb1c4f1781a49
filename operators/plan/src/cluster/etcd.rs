//! etcd: one Pod, claim and Service a member; what to create, and which single pod may be replaced now.

use kok_api::cluster::ClusterSpec;
use kok_api::names;

use super::gate::{Gate, GateReason};
use super::manifests::{ManifestError, Renderer};
use super::view::{ClusterView, EtcdFacts, EtcdMemberFacts};
use super::{Action, DeleteReason, pod_ready};
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
/// A pod that is gone is created again with its volume. A pod that is not as declared is deleted, one at a time: first one
/// that serves nobody, then followers, the leader last, and one that serves only while every other member does. A member
/// whose data is gone is never started: it would found a second, empty cluster or be refused by its peers.
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
        plan.actions.extend(pod.and_then(|pod| relabel(&manifests, pod)));
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
                            .push(Action::delete(manifest, live, DeleteReason::PodEnded));
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
/// that is created while the others already are a quorum. A claim in deletion is as good as gone: only a running pod
/// still holds it.
fn data_lost(spec: &ClusterSpec, view: &ClusterView, member: &str) -> bool {
    let never_ran = with_quorum(view)
        .and_then(|etcd| etcd.members.get(member))
        .is_some_and(|listed| !listed.started);
    if never_ran {
        false
    } else if spec.etcd.storage.claim_template.is_some() {
        view.object(CLAIM, member).is_none_or(|claim| claim.deleting)
    } else {
        view.object(POD, member).is_none()
    }
}

/// Puts labels back that a pod has lost: Services and policies find it by them. The rest of a pod cannot be changed.
fn relabel(manifests: &[Manifest], pod: &Live) -> Option<Action> {
    let wanted = manifests.iter().find(|manifest| manifest.key.kind == POD)?;
    let manifest = wanted.labels_alone();
    let reason = manifest.difference(Some(pod)).filter(|_| !pod.deleting)?;
    Some(Action::Apply { manifest, reason })
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

/// Deletes at most one outdated pod, and only while that costs no quorum.
fn replace_one(
    spec: &ClusterSpec,
    view: &ClusterView,
    mut outdated: Vec<(String, Manifest, Live)>,
    plan: &mut EtcdPlan,
) {
    // Members that serve nobody first: replacing them costs nothing. The leader last: fewest elections.
    outdated.sort_by_key(|(name, _, _)| (serves(view, name), leads(view, name), name.clone()));
    let Some((name, manifest, live)) = outdated.into_iter().next() else {
        return;
    };
    match hindrance(spec, view, &name) {
        Some(gate) => plan.gates.push(gate),
        None => plan
            .actions
            .push(Action::delete(&manifest, &live, DeleteReason::PodOutdated)),
    }
}

/// Why the pod of a member must not be replaced now.
fn hindrance(spec: &ClusterSpec, view: &ClusterView, member: &str) -> Option<Gate> {
    let claimed = spec.etcd.storage.claim_template.is_some();
    if founded(view) && (!claimed || data_lost(spec, view, member)) {
        let volume = if claimed {
            "a claim that is being deleted"
        } else {
            "an emptyDir volume"
        };
        return Some(Gate {
            reason: GateReason::DataWouldBeLost,
            message: format!(
                "the pod of etcd member {member} is not as declared, but its data is in {volume}, which ends with the pod: it stays as it is"
            ),
        });
    }
    let others: Vec<String> = (0..spec.mode.replicas())
        .map(names::etcd_member)
        .filter(|other| other != member)
        .collect();
    let gone = |other: &&String| view.object(POD, other).is_none_or(|pod| pod.deleting);
    if let Some(other) = others.iter().find(gone) {
        return Some(at_risk(member, &format!("the pod of {other} is back")));
    }
    // Its volume stays, and nobody is served by it: not even a quorum that is lost gets worse.
    if !serves(view, member) {
        return None;
    }
    let Observed::Known(etcd) = &view.etcd else {
        return Some(Gate {
            reason: GateReason::EtcdUnknown,
            message: format!(
                "the pod of etcd member {member} is to be replaced, which waits until etcd answers"
            ),
        });
    };
    if let Some(other) = others.iter().find(|other| !is_healthy(view, other)) {
        return Some(at_risk(member, &format!("{other} answers and is ready")));
    }
    (!etcd.quorum).then(|| at_risk(member, "there is a quorum"))
}

fn at_risk(member: &str, awaited: &str) -> Gate {
    Gate {
        reason: GateReason::QuorumAtRisk,
        message: format!("the pod of etcd member {member} is to be replaced, which waits until {awaited}"),
    }
}

/// Whether a quorum may be made of a member: its pod is ready, or it answers.
fn serves(view: &ClusterView, member: &str) -> bool {
    view.object(POD, member).is_some_and(pod_ready) || answers(view, member)
}

/// Whether a quorum can count on a member: it answers, and its pod is ready and stays.
fn is_healthy(view: &ClusterView, member: &str) -> bool {
    let stays = |pod: &Live| !pod.deleting && pod_ready(pod);
    view.object(POD, member).is_some_and(stays) && answers(view, member)
}

fn answers(view: &ClusterView, member: &str) -> bool {
    listed(view, member).is_some_and(|listed| listed.answer.is_some())
}

fn leads(view: &ClusterView, member: &str) -> bool {
    listed(view, member)
        .and_then(|listed| listed.answer.as_ref())
        .is_some_and(|answer| answer.leader)
}

fn listed<'a>(view: &'a ClusterView, member: &str) -> Option<&'a EtcdMemberFacts> {
    view.etcd.known()?.members.get(member)
}
