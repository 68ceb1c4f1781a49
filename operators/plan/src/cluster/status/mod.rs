//! The status of a Cluster, from what was observed and what is planned.

mod certificates;
mod components;
mod condition;
mod etcd;
mod extensions;
mod failure;
mod pods;
mod progress;
mod reason;
mod version;

pub use self::failure::tell_failure;
pub use self::reason::Reason;

use kok_api::cluster::{ClusterSpec, ClusterStatus, Phase, ResourcesStatus, Summary, VersionState};
use kok_api::condition::ClusterCondition as Type;

use self::components::Component;
use self::condition::{Fact, fact};
use super::Draft;
use super::endpoint::Endpoints;
use super::manifests::{APISERVER, CONTROLLER_MANAGER, ETCD, SCHEDULER};
use super::view::ClusterView;
use crate::Observed;

/// Whether condition Available is True.
pub fn is_available(status: &ClusterStatus) -> bool {
    condition::is(&status.conditions, Type::Available, "True")
}

/// What there is to say about the phase of a Cluster: the message of the condition that explains it.
pub fn headline(status: &ClusterStatus) -> &str {
    let about: &[Type] = match status.phase {
        Some(Phase::Running) => return condition::message_of(&status.conditions, Type::Available),
        Some(Phase::Invalid) => &[Type::Valid],
        Some(Phase::Degraded) => &[
            Type::Available,
            Type::Valid,
            Type::EtcdReady,
            Type::ApiserverReady,
            Type::ControllersReady,
            Type::CertificatesReady,
            Type::ExtensionsReady,
            Type::UpToDate,
        ],
        _ => &[],
    };
    let first = about
        .iter()
        .find(|type_| !condition::is(&status.conditions, **type_, "True"));
    condition::message_of(&status.conditions, *first.unwrap_or(&Type::Progressing))
}

/// What a status is made from.
struct Inputs<'a> {
    draft: &'a Draft,
    view: &'a ClusterView,
    /// The spec that is acted upon; the submitted one when none is.
    spec: &'a ClusterSpec,
    previous: &'a ClusterStatus,
    stance: Stance,
}

/// What is done about a Cluster in this pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stance {
    /// It is taken away.
    Deleting,
    /// Nothing: its spec is refused, and no earlier one was accepted.
    NotStarted,
    /// Nothing, as its user asked.
    Paused,
    /// It is made and kept as declared.
    Kept,
}

impl Inputs<'_> {
    /// Whether its endpoint ever answered.
    fn was_created(&self) -> bool {
        let version = self.previous.version.as_ref();
        version.is_some_and(|version| version.current.is_some())
    }

    /// Whether all of it ever was as declared.
    fn was_complete(&self) -> bool {
        let history = self.previous.version.iter().flat_map(|version| &version.history);
        history
            .into_iter()
            .any(|entry| entry.state == VersionState::Completed)
    }
}

/// The status that follows from a draft plan. `spec` is the one acted upon; None when nothing is.
pub(super) fn status(draft: &Draft, view: &ClusterView, spec: Option<&ClusterSpec>) -> ClusterStatus {
    let previous = view.cluster.status.clone().unwrap_or_default();
    let stance = if draft.deleting {
        Stance::Deleting
    } else if spec.is_none() {
        Stance::NotStarted
    } else if view.cluster.spec.paused.is_some() {
        Stance::Paused
    } else {
        Stance::Kept
    };
    let inputs = &Inputs {
        draft,
        view,
        spec: spec.unwrap_or(&view.cluster.spec),
        previous: &previous,
        stance,
    };
    let ends = Endpoints::of(inputs.spec, view);
    let components = components::components(inputs);
    let certificates = certificates::certificates(view);
    let extensions = extensions::extensions(inputs);
    let up_to_date = progress::up_to_date(inputs, &components);
    let all_up = up_to_date.status == "True";
    let facts = vec![
        valid(draft),
        etcd::fact_of(inputs),
        components::fact_of(Type::ApiserverReady, &components, &[APISERVER]),
        components::fact_of(
            Type::ControllersReady,
            &components,
            &[CONTROLLER_MANAGER, SCHEDULER],
        ),
        certificates::fact_of(inputs, &certificates),
        extensions::fact_of(inputs, &extensions),
        node_operator(inputs.spec),
        available(inputs, &ends),
        progress::progressing(inputs, &components),
        up_to_date,
    ];
    let conditions = condition::conditions(facts, inputs);
    let phase = progress::phase(inputs, &components, &conditions);
    let nodes = view.nodes.known().map(|nodes| nodes.counts.clone());
    let nodes = nodes.or(previous.nodes.clone());
    let resources = view.nodes.known().map(|nodes| ResourcesStatus {
        allocatable: nodes.allocatable.totals(),
    });
    ClusterStatus {
        observed_generation: view.cluster.metadata.generation,
        phase: Some(phase),
        endpoint: super::endpoint::pending(inputs.spec, view)
            .is_none()
            .then_some(ends.external_url),
        ca_hash: previous.ca_hash.clone().or_else(|| certificates::ca_hash(view)),
        version: Some(version::version(inputs, all_up)),
        summary: Some(Summary {
            etcd: ready(&components, &[ETCD]),
            apiserver: ready(&components, &[APISERVER]),
            controllers: ready(&components, &[CONTROLLER_MANAGER, SCHEDULER]),
            nodes: nodes
                .as_ref()
                .map_or_else(|| "-".into(), |nodes| format!("{}/{}", nodes.ready, nodes.total)),
            certificates_not_after: certificates
                .iter()
                .map(|certificate| certificate.not_after.clone())
                .min(),
        }),
        components: components.into_iter().map(|component| component.status).collect(),
        etcd: Some(etcd::etcd(inputs)),
        certificates,
        users: certificates::users(view, inputs.spec),
        extensions,
        nodes,
        resources: resources.or(previous.resources.clone()),
        conditions,
    }
}

/// Ready of declared replicas, `3/3`, of these components together.
fn ready(components: &[Component], names: &[&str]) -> String {
    let (ready, desired) = components
        .iter()
        .filter(|component| names.contains(&component.status.name.as_str()))
        .fold((0, 0), |(ready, desired), component| {
            (ready + component.status.ready, desired + component.status.desired)
        });
    format!("{ready}/{desired}")
}

fn valid(draft: &Draft) -> Fact {
    if draft.findings.is_empty() {
        fact(Type::Valid, true, Reason::Accepted, "the spec can be acted upon")
    } else {
        let reason = if draft.conflict {
            Reason::Conflict
        } else {
            Reason::InvalidSpec
        };
        fact(Type::Valid, false, reason, draft.findings.join("; "))
    }
}

fn node_operator(spec: &ClusterSpec) -> Fact {
    if spec.node_operator.enabled {
        fact(
            Type::NodeOperatorReady,
            false,
            Reason::NotShipped,
            "this version of Kube-on-Kube ships no node operator yet: join nodes with kubeadm",
        )
    } else {
        fact(
            Type::NodeOperatorReady,
            true,
            Reason::Disabled,
            "spec.nodeOperator.enabled is false",
        )
    }
}

fn available(inputs: &Inputs<'_>, ends: &Endpoints) -> Fact {
    let no = |reason, message: String| fact(Type::Available, false, reason, message);
    match &inputs.view.external {
        Observed::Known(answer) => fact(
            Type::Available,
            true,
            Reason::EndpointAnswers,
            format!(
                "a client with the admin kubeconfig got an answer from {} (v{})",
                ends.external_url, answer.version
            ),
        ),
        Observed::Unknown(why) => no(
            Reason::NoAnswer,
            format!("no answer from {}: {why}", ends.external_url),
        ),
        Observed::Absent if inputs.stance == Stance::Deleting => {
            no(Reason::Deleting, "the control plane is being removed".into())
        }
        Observed::Absent if inputs.was_created() => no(
            Reason::NoApiserver,
            "no apiserver is ready: see conditions EtcdReady and ApiserverReady".into(),
        ),
        Observed::Absent => no(Reason::Creating, "waiting for the control plane to start".into()),
    }
}
