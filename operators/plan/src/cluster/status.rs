//! The status of a Cluster, from what was observed and what is planned.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kok_api::cluster::{
    CertificateStatus, ClusterSpec, ClusterStatus, ComponentStatus, EtcdMemberStatus, EtcdRole, EtcdStatus,
    ExtensionStatus, Phase, Summary, UserStatus, VersionHistory, VersionState, VersionStatus,
};
use kok_api::condition::ClusterCondition as Type;
use kok_api::names;

use super::endpoint::Endpoints;
use super::manifests::{APISERVER, CONTROLLER_MANAGER, ETCD, SCHEDULER};
use super::view::ClusterView;
use super::{Action, Draft, rolled_out};
use crate::Observed;
use crate::kind::{DEPLOYMENT, POD};

/// Longest message of a condition: long enough to act upon, short enough to read.
const MESSAGE_LIMIT: usize = 1000;

/// Whether condition Available is True.
pub fn is_available(status: &ClusterStatus) -> bool {
    status
        .conditions
        .iter()
        .any(|condition| condition.type_ == Type::Available.as_str() && condition.status == "True")
}

/// Writes into a status that an action failed, so that its user sees why nothing moves.
pub fn tell_failure(status: &mut ClusterStatus, extension: Option<&str>, message: &str) {
    let mut tell = |type_: Type, reason: &str| {
        let conditions = status.conditions.iter_mut();
        for condition in conditions.filter(|condition| condition.type_ == type_.as_str()) {
            reason.clone_into(&mut condition.reason);
            condition.message = message.chars().take(MESSAGE_LIMIT).collect();
        }
    };
    match extension {
        None => tell(Type::Progressing, "ActionFailed"),
        Some(extension) => {
            tell(Type::ExtensionsReady, "ActionFailed");
            for told in status.extensions.iter_mut().filter(|it| it.name == extension) {
                message.clone_into(&mut told.message);
            }
        }
    }
}

struct Fact {
    type_: Type,
    status: &'static str,
    reason: String,
    message: String,
}

fn fact(type_: Type, status: bool, reason: &str, message: impl Into<String>) -> Fact {
    Fact {
        type_,
        status: if status { "True" } else { "False" },
        reason: reason.into(),
        message: message.into(),
    }
}

fn unknown(type_: Type, reason: &str, message: impl Into<String>) -> Fact {
    Fact {
        type_,
        status: "Unknown",
        reason: reason.into(),
        message: message.into(),
    }
}

/// The status that follows from a draft plan. `spec` is the one acted upon; None when nothing is.
pub(super) fn status(draft: &Draft, view: &ClusterView, spec: Option<&ClusterSpec>) -> ClusterStatus {
    let previous = view.cluster.status.clone().unwrap_or_default();
    let spec = spec.unwrap_or(&view.cluster.spec);
    let ends = Endpoints::of(spec, view);
    let components = components(draft, view, spec);
    let etcd = etcd(view, spec, &previous);
    let ready = |name: &str| {
        components
            .iter()
            .find(|component| component.name == name)
            .map_or((0, 0), |it| (it.ready, it.desired))
    };
    let (etcd_ready, apiserver, kcm, scheduler) = (
        ready(ETCD),
        ready(APISERVER),
        ready(CONTROLLER_MANAGER),
        ready(SCHEDULER),
    );
    let certificates = certificates(view);
    let extensions = extensions(draft, view, spec);
    let facts = vec![
        valid(draft),
        etcd_fact(draft, view, etcd_ready, &previous),
        component_fact(Type::ApiserverReady, &components, &[APISERVER]),
        component_fact(
            Type::ControllersReady,
            &components,
            &[CONTROLLER_MANAGER, SCHEDULER],
        ),
        certificates_fact(draft, &certificates),
        extensions_fact(view, &extensions),
        node_operator_fact(spec),
        available(draft, view, &ends, &previous),
        progressing(draft, view, &components, &etcd),
        up_to_date(draft, view, &components, &etcd),
    ];
    let all_up = facts
        .iter()
        .any(|fact| fact.type_ == Type::UpToDate && fact.status == "True");
    let conditions = conditions(facts, &previous, view);
    let phase = phase(draft, view, &previous, &conditions, all_up);
    let nodes = view.nodes.known().cloned().or(previous.nodes.clone());
    ClusterStatus {
        observed_generation: view.cluster.metadata.generation,
        phase: Some(phase),
        endpoint: super::endpoint::pending(spec, view)
            .is_none()
            .then_some(ends.external_url),
        ca_hash: previous.ca_hash.clone().or_else(|| ca_hash(view)),
        version: Some(version(view, spec, &previous, all_up)),
        summary: Some(Summary {
            etcd: format!("{}/{}", etcd_ready.0, etcd_ready.1),
            apiserver: format!("{}/{}", apiserver.0, apiserver.1),
            controllers: format!("{}/{}", kcm.0 + scheduler.0, kcm.1 + scheduler.1),
            nodes: nodes
                .as_ref()
                .map_or_else(|| "-".into(), |nodes| format!("{}/{}", nodes.ready, nodes.total)),
            certificates_not_after: certificates
                .iter()
                .map(|certificate| certificate.not_after.clone())
                .min(),
        }),
        components,
        etcd: Some(etcd),
        certificates,
        users: users(view, spec),
        extensions,
        nodes,
        conditions,
    }
}

fn phase(
    draft: &Draft,
    view: &ClusterView,
    previous: &ClusterStatus,
    conditions: &[Condition],
    all_up: bool,
) -> Phase {
    let is = |type_: Type, wanted: &str| {
        conditions
            .iter()
            .any(|condition| condition.type_ == type_.as_str() && condition.status == wanted)
    };
    let was_created = previous
        .version
        .as_ref()
        .is_some_and(|version| version.running.is_some());
    if draft.deleting {
        Phase::Deleting
    } else if view.cluster.spec.paused.is_some() {
        Phase::Paused
    } else if is(Type::Valid, "False") && view.accepted.is_none() {
        Phase::Invalid
    } else if !was_created && !is(Type::Available, "True") {
        Phase::Creating
    } else if !is(Type::Available, "True")
        || is(Type::Valid, "False")
        || is(Type::EtcdReady, "False") && all_up
    {
        Phase::Degraded
    } else if all_up {
        Phase::Running
    } else {
        Phase::Updating
    }
}

/// Names the cluster's CA once everything that is never made twice exists; from then on its absence is a loss.
fn ca_hash(view: &ClusterView) -> Option<String> {
    use super::secrets::{CA, ENCRYPTION, ETCD_CA, FRONT_PROXY_CA, SERVICE_ACCOUNT_KEY};
    let complete = [CA, ETCD_CA, FRONT_PROXY_CA, SERVICE_ACCOUNT_KEY, ENCRYPTION]
        .iter()
        .all(|name| view.secrets.contains_key(*name));
    let hash = view.secrets.get(CA)?.public_key_hash.as_ref()?;
    complete.then(|| format!("sha256:{hash}"))
}

fn components(draft: &Draft, view: &ClusterView, spec: &ClusterSpec) -> Vec<ComponentStatus> {
    let replicas = i32::from(spec.mode.replicas());
    let answering = view.etcd.known().map_or(0, |etcd| {
        etcd.members
            .values()
            .filter(|member| member.answer.is_some() && !member.learner)
            .count()
    });
    let answering = i32::try_from(answering).unwrap_or(i32::MAX).min(replicas);
    let mut components = vec![ComponentStatus {
        name: ETCD.into(),
        version: spec.etcd.version.clone(),
        desired: replicas,
        ready: answering,
        message: if answering == replicas {
            String::new()
        } else {
            waiting_members(view, spec)
        },
    }];
    for (name, own, desired) in [
        (
            APISERVER,
            &spec.apiserver.version,
            spec.apiserver.replicas.unwrap_or(replicas),
        ),
        (CONTROLLER_MANAGER, &spec.controller_manager.version, replicas),
        (SCHEDULER, &spec.scheduler.version, replicas),
    ] {
        let planned = draft.components.iter().find(|component| component.name == name);
        let version = planned
            .map(|component| component.version.clone())
            .or_else(|| own.clone())
            .unwrap_or_else(|| spec.version.clone());
        let live = view.object(DEPLOYMENT, name);
        let (ready, message) = match live {
            None => (0, format!("Deployment {name} is not created yet")),
            Some(live) => {
                let ready = live
                    .number("/status/readyReplicas")
                    .min(live.number("/status/updatedReplicas"));
                let message = if rolled_out(live) && ready >= i64::from(desired) {
                    String::new()
                } else {
                    format!(
                        "{ready} of {desired} replicas are ready and up to date{}",
                        deployment_trouble(live)
                    )
                };
                (i32::try_from(ready).unwrap_or(i32::MAX), message)
            }
        };
        components.push(ComponentStatus {
            name: name.into(),
            version,
            desired,
            ready,
            message,
        });
    }
    components
}

fn deployment_trouble(live: &crate::object::Live) -> String {
    let conditions = live
        .body
        .pointer("/status/conditions")
        .and_then(serde_json::Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .find(|condition| {
            let text = |field: &str| {
                condition
                    .get(field)
                    .and_then(serde_json::Value::as_str)
                    .unwrap_or_default()
            };
            text("type") == "ReplicaFailure" && text("status") == "True"
                || text("type") == "Progressing" && text("status") == "False"
        })
        .and_then(|condition| condition.get("message"))
        .and_then(serde_json::Value::as_str)
        .map(|message| format!(": {message}"))
        .unwrap_or_default()
}

fn waiting_members(view: &ClusterView, spec: &ClusterSpec) -> String {
    let silent: Vec<String> = (0..spec.mode.replicas())
        .map(names::etcd_member)
        .filter(|name| {
            view.etcd
                .known()
                .and_then(|etcd| etcd.members.get(name))
                .is_none_or(|member| member.answer.is_none() || member.learner)
        })
        .map(|name| match view.object(POD, &name) {
            None => format!("{name} (no pod)"),
            Some(pod) => {
                let why = pod_trouble(pod);
                format!(
                    "{name} (pod {}{why})",
                    pod.text("/status/phase").unwrap_or("Pending")
                )
            }
        })
        .collect();
    format!("waiting for members: {}", silent.join(", "))
}

fn pod_trouble(pod: &crate::object::Live) -> String {
    let waiting = pod.text("/status/containerStatuses/0/state/waiting/reason");
    let conditions = pod
        .body
        .pointer("/status/conditions")
        .and_then(serde_json::Value::as_array);
    let unschedulable = conditions.into_iter().flatten().find(|condition| {
        condition.get("reason").and_then(serde_json::Value::as_str) == Some("Unschedulable")
    });
    let message = unschedulable
        .and_then(|it| it.get("message"))
        .and_then(serde_json::Value::as_str);
    waiting
        .or(message)
        .map(|why| format!(", {why}"))
        .unwrap_or_default()
}

fn etcd(view: &ClusterView, spec: &ClusterSpec, previous: &ClusterStatus) -> EtcdStatus {
    let known = view.etcd.known();
    let recorded = previous.etcd.as_ref().and_then(|etcd| etcd.cluster_id.clone());
    EtcdStatus {
        cluster_id: recorded.or_else(|| {
            known
                .filter(|etcd| etcd.quorum)
                .map(|etcd| etcd.cluster_id.clone())
        }),
        members: (0..spec.mode.replicas())
            .map(|ordinal| {
                let name = names::etcd_member(ordinal);
                let member = known.and_then(|etcd| etcd.members.get(&name));
                let answer = member.and_then(|member| member.answer.as_ref());
                EtcdMemberStatus {
                    id: member.map(|member| member.id.clone()),
                    role: member.map(|member| {
                        match (member.learner, answer.is_some_and(|answer| answer.leader)) {
                            (true, _) => EtcdRole::Learner,
                            (false, true) => EtcdRole::Leader,
                            (false, false) => EtcdRole::Follower,
                        }
                    }),
                    version: answer.map(|answer| answer.version.clone()),
                    ready: answer.is_some(),
                    volume: if spec.etcd.storage.claim_template.is_some() {
                        name.clone()
                    } else {
                        "emptyDir".into()
                    },
                    name,
                }
            })
            .collect(),
    }
}

fn valid(draft: &Draft) -> Fact {
    if draft.findings.is_empty() {
        fact(Type::Valid, true, "Accepted", "the spec can be acted upon")
    } else {
        let reason = if draft.conflict { "Conflict" } else { "InvalidSpec" };
        fact(Type::Valid, false, reason, draft.findings.join("; "))
    }
}

fn etcd_fact(
    draft: &Draft,
    view: &ClusterView,
    (ready, desired): (i32, i32),
    previous: &ClusterStatus,
) -> Fact {
    if let Some(gate) = draft
        .gates
        .iter()
        .find(|gate| ["QuorumLost", "MemberDataLost"].contains(&gate.reason))
    {
        return fact(Type::EtcdReady, false, gate.reason, &gate.message);
    }
    match &view.etcd {
        Observed::Known(etcd) if !etcd.quorum => fact(
            Type::EtcdReady,
            false,
            "NoQuorum",
            "no member answers a linearizable read",
        ),
        Observed::Known(_) if ready == desired => fact(
            Type::EtcdReady,
            true,
            "AllMembersReady",
            format!("{ready} of {desired} members answer"),
        ),
        Observed::Known(_) => fact(
            Type::EtcdReady,
            false,
            "MembersMissing",
            waiting_members(view, &view.cluster.spec),
        ),
        Observed::Unknown(why)
            if previous
                .etcd
                .as_ref()
                .is_some_and(|etcd| etcd.cluster_id.is_some()) =>
        {
            fact(
                Type::EtcdReady,
                false,
                "NoAnswer",
                format!("no member answers: {why}"),
            )
        }
        Observed::Absent | Observed::Unknown(_) => fact(
            Type::EtcdReady,
            false,
            "Starting",
            waiting_members(view, &view.cluster.spec),
        ),
    }
}

fn component_fact(type_: Type, components: &[ComponentStatus], wanted: &[&str]) -> Fact {
    let waiting: Vec<String> = components
        .iter()
        .filter(|component| wanted.contains(&component.name.as_str()) && !component.message.is_empty())
        .map(|component| format!("{}: {}", component.name, component.message))
        .collect();
    if waiting.is_empty() {
        fact(
            type_,
            true,
            "AllReplicasReady",
            "all replicas are ready and up to date",
        )
    } else {
        fact(type_, false, "ReplicasMissing", waiting.join("; "))
    }
}

fn certificates(view: &ClusterView) -> Vec<CertificateStatus> {
    view.secrets
        .iter()
        .filter_map(|(name, facts)| {
            let certificate = facts.certificate.as_ref()?;
            Some(CertificateStatus {
                name: name.clone(),
                not_after: Time(certificate.not_after),
                issued_serial: certificate.serial.clone(),
            })
        })
        .collect()
}

fn certificates_fact(draft: &Draft, certificates: &[CertificateStatus]) -> Fact {
    if let Some(gate) = draft
        .gates
        .iter()
        .find(|gate| ["SecretAltered", "SecretLost", "CertificateBlocked"].contains(&gate.reason))
    {
        return fact(Type::CertificatesReady, false, gate.reason, &gate.message);
    }
    let due: Vec<&str> = draft
        .secrets
        .mints
        .iter()
        .map(|mint| mint.recipe.name.as_str())
        .collect();
    if certificates.is_empty() || !due.is_empty() {
        fact(
            Type::CertificatesReady,
            false,
            "Issuing",
            format!("being issued: {}", due.join(", ")),
        )
    } else {
        fact(
            Type::CertificatesReady,
            true,
            "AllIssued",
            format!("{} certificates are issued and none is due", certificates.len()),
        )
    }
}

fn users(view: &ClusterView, spec: &ClusterSpec) -> Vec<UserStatus> {
    spec.users
        .iter()
        .filter_map(|user| {
            let secret = names::user_secret(&user.name);
            let certificate = view.secrets.get(&secret)?.certificate.as_ref()?;
            Some(UserStatus {
                name: user.name.clone(),
                secret,
                expires: Time(certificate.not_after),
            })
        })
        .collect()
}

fn extensions(draft: &Draft, view: &ClusterView, spec: &ClusterSpec) -> Vec<ExtensionStatus> {
    spec.extensions
        .iter()
        .map(|extension| {
            let broken = draft
                .broken_extensions
                .iter()
                .find(|(name, _)| name == &extension.name);
            let pending = pending_objects(draft, &extension.name);
            let message = match (broken, &view.business) {
                (Some((_, why)), _) => why.clone(),
                (None, Observed::Unknown(why)) => format!("the business cluster does not answer: {why}"),
                (None, Observed::Absent) => "waiting for the apiserver".into(),
                (None, Observed::Known(_)) if !pending.is_empty() => {
                    format!("applying {}", pending.join(", "))
                }
                (None, Observed::Known(_)) => String::new(),
            };
            ExtensionStatus {
                name: extension.name.clone(),
                version: extension.version.clone(),
                ready: message.is_empty(),
                message,
            }
        })
        .collect()
}

fn pending_objects(draft: &Draft, extension: &str) -> Vec<String> {
    let label = |manifest: &crate::object::Manifest| {
        manifest
            .body
            .pointer("/metadata/labels")
            .and_then(|labels| labels.get(names::EXTENSION_LABEL))
            .and_then(|it| it.as_str())
            .map(String::from)
    };
    draft
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::ApplyBusiness { manifest, .. } | Action::Apply { manifest, .. }
                if label(manifest).as_deref() == Some(extension) =>
            {
                Some(manifest.key.to_string())
            }
            _ => None,
        })
        .collect()
}

fn extensions_fact(view: &ClusterView, extensions: &[ExtensionStatus]) -> Fact {
    if let Observed::Absent | Observed::Unknown(_) = view.business {
        return fact(
            Type::ExtensionsReady,
            false,
            "WaitingForApiserver",
            "the business cluster does not answer yet",
        );
    }
    let waiting: Vec<String> = extensions
        .iter()
        .filter(|extension| !extension.ready)
        .map(|extension| format!("{}: {}", extension.name, extension.message))
        .collect();
    if waiting.is_empty() {
        fact(
            Type::ExtensionsReady,
            true,
            "AllApplied",
            format!("{} extensions are applied", extensions.len()),
        )
    } else {
        fact(Type::ExtensionsReady, false, "Applying", waiting.join("; "))
    }
}

fn node_operator_fact(spec: &ClusterSpec) -> Fact {
    if spec.node_operator.enabled {
        fact(
            Type::NodeOperatorReady,
            false,
            "NotShipped",
            "this version of Kube-on-Kube ships no node operator yet: join nodes with kubeadm",
        )
    } else {
        fact(
            Type::NodeOperatorReady,
            true,
            "Disabled",
            "spec.nodeOperator.enabled is false",
        )
    }
}

fn available(draft: &Draft, view: &ClusterView, ends: &Endpoints, previous: &ClusterStatus) -> Fact {
    let was_running = previous
        .version
        .as_ref()
        .is_some_and(|version| version.running.is_some());
    match &view.external {
        Observed::Known(answer) => fact(
            Type::Available,
            true,
            "EndpointAnswers",
            format!(
                "a client with the admin kubeconfig got an answer from {} (v{})",
                ends.external_url, answer.version
            ),
        ),
        Observed::Unknown(why) => fact(
            Type::Available,
            false,
            "NoAnswer",
            format!("no answer from {}: {why}", ends.external_url),
        ),
        Observed::Absent if draft.deleting => fact(
            Type::Available,
            false,
            "Deleting",
            "the control plane is being removed",
        ),
        Observed::Absent if was_running => fact(
            Type::Available,
            false,
            "NoApiserver",
            "no apiserver is ready: see conditions EtcdReady and ApiserverReady",
        ),
        Observed::Absent => fact(
            Type::Available,
            false,
            "Creating",
            "waiting for the control plane to start",
        ),
    }
}

fn progressing(draft: &Draft, view: &ClusterView, components: &[ComponentStatus], etcd: &EtcdStatus) -> Fact {
    if let Some(paused) = &view.cluster.spec.paused {
        return fact(
            Type::Progressing,
            false,
            "Paused",
            format!("paused: {}; remove spec.paused to go on", paused.reason),
        );
    }
    if draft.deleting {
        let gates: Vec<&str> = draft.gates.iter().map(|gate| gate.message.as_str()).collect();
        let message = if gates.is_empty() {
            "the namespace is being removed".into()
        } else {
            gates.join("; ")
        };
        return fact(Type::Progressing, true, "Deleting", message);
    }
    if !draft.findings.is_empty() && view.accepted.is_none() {
        return fact(
            Type::Progressing,
            false,
            "InvalidSpec",
            "nothing is done until the spec is valid; see condition Valid",
        );
    }
    let mut waiting: Vec<String> = draft.gates.iter().map(|gate| gate.message.clone()).collect();
    waiting.extend(
        components
            .iter()
            .filter(|it| !it.message.is_empty())
            .map(|it| format!("{}: {}", it.name, it.message)),
    );
    if !draft.actions.is_empty() {
        waiting.push(format!("{} changes are being applied", draft.actions.len()));
    }
    if waiting.is_empty() && etcd.members.iter().all(|member| member.ready) {
        fact(Type::Progressing, false, "Converged", "everything is as declared")
    } else {
        fact(Type::Progressing, true, "Converging", waiting.join("; "))
    }
}

fn up_to_date(draft: &Draft, view: &ClusterView, components: &[ComponentStatus], etcd: &EtcdStatus) -> Fact {
    let reason = if draft.deleting {
        Some(("Deleting", "the Cluster is being deleted"))
    } else if view.cluster.spec.paused.is_some() {
        Some(("Paused", "nothing is changed while paused"))
    } else if !draft.findings.is_empty() {
        Some((
            "InvalidSpec",
            "the spec is refused; what runs is the last valid one",
        ))
    } else if !draft.actions.is_empty() || !draft.gates.is_empty() {
        Some(("Converging", "changes are being applied"))
    } else if components.iter().any(|it| !it.message.is_empty())
        || !etcd.members.iter().all(|member| member.ready)
    {
        Some(("RollingOut", "not every replica runs what is declared"))
    } else if view.business.known().is_none() {
        return unknown(
            Type::UpToDate,
            "BusinessClusterUnknown",
            "the business cluster does not answer",
        );
    } else {
        None
    };
    match reason {
        Some((reason, message)) => fact(Type::UpToDate, false, reason, message),
        None => fact(
            Type::UpToDate,
            true,
            "AsDeclared",
            "all that runs is what the spec declares",
        ),
    }
}

fn version(view: &ClusterView, spec: &ClusterSpec, previous: &ClusterStatus, all_up: bool) -> VersionStatus {
    let before = previous.version.clone().unwrap_or_default();
    let desired = spec.version.clone();
    let running = view
        .external
        .known()
        .map(|answer| answer.version.clone())
        .or(before.running);
    let mut history = before.history;
    if history.first().is_none_or(|latest| latest.version != desired) {
        let entry = VersionHistory {
            version: desired.clone(),
            state: VersionState::Partial,
            started_at: time(view.now),
            completed_at: None,
        };
        history.insert(0, entry);
        history.truncate(10);
    }
    if let Some(latest) = history.first_mut()
        && all_up
        && latest.state == VersionState::Partial
    {
        latest.state = VersionState::Completed;
        latest.completed_at = Some(time(view.now));
    }
    VersionStatus {
        desired,
        running,
        history,
    }
}

/// Times in a status have seconds, as metav1 has them: a finer one would differ from what is read back.
fn time(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

fn conditions(facts: Vec<Fact>, previous: &ClusterStatus, view: &ClusterView) -> Vec<Condition> {
    facts
        .into_iter()
        .map(|fact| {
            let type_ = fact.type_.as_str();
            let before = previous
                .conditions
                .iter()
                .find(|condition| condition.type_ == type_);
            let since = before
                .filter(|before| before.status == fact.status)
                .map_or_else(|| time(view.now), |before| before.last_transition_time.clone());
            Condition {
                type_: type_.into(),
                status: fact.status.into(),
                reason: fact.reason,
                message: fact.message.chars().take(MESSAGE_LIMIT).collect(),
                observed_generation: view.cluster.metadata.generation,
                last_transition_time: since,
            }
        })
        .collect()
}
