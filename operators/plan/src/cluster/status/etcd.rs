//! etcd: its members as they report themselves, and whether they are a quorum.

use kok_api::cluster::{EtcdMemberStatus, EtcdRole, EtcdStatus};
use kok_api::condition::ClusterCondition as Type;
use kok_api::names;

use super::super::gate::GateReason;
use super::condition::{Fact, fact, held_by, unknown};
use super::{Inputs, Reason, Stance, pods};
use crate::Observed;
use crate::kind::POD;

/// Steps of a database's size in the status: a finer one would be written again and again (docs/adr/0009).
const SIZE_STEP_MIB: u64 = 16;

/// Names of the declared members that do not answer, or have no vote yet.
pub(super) fn silent(inputs: &Inputs<'_>) -> Vec<String> {
    (0..inputs.spec.mode.replicas())
        .map(names::etcd_member)
        .filter(|name| {
            inputs
                .view
                .etcd
                .known()
                .and_then(|etcd| etcd.members.get(name))
                .is_none_or(|member| member.answer.is_none() || member.learner)
        })
        .collect()
}

/// What these members wait for.
pub(super) fn waiting(inputs: &Inputs<'_>, silent: &[String]) -> String {
    let silent: Vec<String> = silent
        .iter()
        .map(|name| match inputs.view.object(POD, name) {
            None => format!("{name} (no pod)"),
            Some(pod) => format!("{name} ({})", pods::state(pod, inputs.view.now)),
        })
        .collect();
    format!("waiting for members: {}", silent.join(", "))
}

/// Condition EtcdReady.
pub(super) fn fact_of(inputs: &Inputs<'_>) -> Fact {
    let no = |reason, message: String| fact(Type::EtcdReady, false, reason, message);
    if inputs.stance == Stance::Deleting {
        return unknown(Type::EtcdReady, Reason::Deleting, "the Cluster is being deleted");
    }
    let lost = |reason| [GateReason::QuorumLost, GateReason::MemberDataLost].contains(&reason);
    if let Some(gate) = inputs.draft.gates.iter().find(|gate| lost(gate.reason)) {
        return held_by(Type::EtcdReady, gate);
    }
    let silent = silent(inputs);
    let founded = inputs
        .previous
        .etcd
        .as_ref()
        .is_some_and(|etcd| etcd.cluster_id.is_some());
    match &inputs.view.etcd {
        Observed::Known(etcd) if !etcd.quorum => {
            no(Reason::NoQuorum, "no member answers a linearizable read".into())
        }
        Observed::Known(_) if silent.is_empty() => {
            let members = inputs.spec.mode.replicas();
            fact(
                Type::EtcdReady,
                true,
                Reason::AllMembersReady,
                format!("{members} of {members} members answer"),
            )
        }
        Observed::Known(_) => no(Reason::MembersMissing, waiting(inputs, &silent)),
        Observed::Unknown(why) if founded => no(
            Reason::NoAnswer,
            format!("no member answers: {why}; {}", waiting(inputs, &silent)),
        ),
        Observed::Absent | Observed::Unknown(_) if inputs.stance == Stance::NotStarted => no(
            Reason::NotStarted,
            "nothing is made until the spec is valid; see condition Valid".into(),
        ),
        Observed::Absent | Observed::Unknown(_) => no(Reason::Starting, waiting(inputs, &silent)),
    }
}

/// `status.etcd`.
pub(super) fn etcd(inputs: &Inputs<'_>) -> EtcdStatus {
    let known = inputs.view.etcd.known();
    let recorded = inputs
        .previous
        .etcd
        .as_ref()
        .and_then(|etcd| etcd.cluster_id.clone());
    EtcdStatus {
        cluster_id: recorded.or_else(|| {
            known
                .filter(|etcd| etcd.quorum)
                .map(|etcd| etcd.cluster_id.clone())
        }),
        members: (0..inputs.spec.mode.replicas())
            .map(|ordinal| member(inputs, names::etcd_member(ordinal)))
            .collect(),
    }
}

fn member(inputs: &Inputs<'_>, name: String) -> EtcdMemberStatus {
    let known = inputs.view.etcd.known();
    let member = known.and_then(|etcd| etcd.members.get(&name));
    let answer = member.and_then(|member| member.answer.as_ref());
    EtcdMemberStatus {
        id: member.map(|member| member.id.clone()),
        role: member.map(
            |member| match (member.learner, answer.is_some_and(|answer| answer.leader)) {
                (true, _) => EtcdRole::Learner,
                (false, true) => EtcdRole::Leader,
                (false, false) => EtcdRole::Follower,
            },
        ),
        version: answer.map(|answer| answer.version.clone()),
        ready: answer.is_some(),
        db_size: answer.map(|answer| rounded(answer.db_size)),
        volume: if inputs.spec.etcd.storage.claim_template.is_some() {
            name.clone()
        } else {
            "emptyDir".into()
        },
        name,
    }
}

/// A size in bytes, rounded up.
fn rounded(bytes: u64) -> String {
    let steps = bytes.div_ceil(SIZE_STEP_MIB << 20).max(1);
    format!("{}Mi", steps * SIZE_STEP_MIB)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, "16Mi")]
    #[case(20_480, "16Mi")]
    #[case(16 << 20, "16Mi")]
    #[case((16 << 20) + 1, "32Mi")]
    #[case(2 << 30, "2048Mi")]
    fn sizes_are_rounded_up_to_steps(#[case] bytes: u64, #[case] shown: &str) {
        assert_eq!(rounded(bytes), shown);
    }
}
