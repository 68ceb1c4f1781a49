//! The controller: which changes lead to a look at a Cluster, and one reconcile as a story.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kok_api::cluster::{ClusterStatus, Phase};
use kok_api::{Cluster, names};
use kok_plan::cluster::{Plan, plan, status};
use kok_runtime::admin::PlanBook;
use kok_runtime::error::{ErrorClass, classify};
use kok_runtime::events::Events;
use kok_runtime::metrics::Metrics;
use kok_runtime::retry::RetryBudget;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{self, Action, Config, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use tracing::{Instrument, info, info_span, warn};

use crate::execute::{ExecuteError, Executor, Failure};
use crate::observe::Observer;

/// Name of this controller in metrics.
const CONTROLLER: &str = "cluster";
/// How many Clusters are looked at at once: one that hangs delays no other.
const CONCURRENCY: u16 = 16;
/// Watch events of one Cluster within this time lead to one look.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// Longest time for one look; what is not done by then is decided anew. A dead connection must not hold a place for ever.
const LOOK_DEADLINE: Duration = Duration::from_mins(1);
/// An extension's failure is tried again at least this often: it must not keep the look at the rest waiting.
const EXTENSION_RETRY: Duration = Duration::from_mins(1);
/// A write that lost a race this often in a row did not lose it by chance.
const CONFLICTS_BY_CHANCE: u32 = 2;

type Metadata = PartialObjectMeta<Cluster>;

/// What a reconcile works with.
pub struct Context {
    /// Reads.
    pub observer: Observer,
    /// Writes.
    pub executor: Executor,
    /// Events on the Cluster.
    pub events: Events,
    /// Metrics.
    pub metrics: Metrics,
    /// Latest plans, for `/debug/plan/<name>`.
    pub plans: PlanBook,
    /// When a failing Cluster is tried again.
    pub retries: RetryBudget,
}

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The meta cluster could not be read.
    #[error("observe: {0}")]
    Observe(#[source] Box<kube::Error>),
    /// An action failed.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// The status could not be written.
    #[error("write status: {0}")]
    Status(#[source] Box<kube::Error>),
    /// It took too long.
    #[error("not done within {} s", LOOK_DEADLINE.as_secs())]
    Deadline,
}

impl ReconcileError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Observe(error) | Self::Status(error) => classify(error),
            Self::Execute(error) => error.class(),
            Self::Deadline => ErrorClass::Transient,
        }
    }
}

/// Runs until `stop` resolves.
///
/// Only metadata is watched; a reconcile reads what it needs live, so that one Cluster that cannot be decoded does not
/// blind the operator for the others.
pub async fn run(
    client: Client,
    operator_namespace: &str,
    context: Context,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let clusters = Api::<Metadata>::all(client.clone());
    let controller = Controller::new(clusters, watcher::Config::default())
        .with_config(Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY));
    let store = controller.store();
    let controller = watch_owned::<Namespace>(controller, &client);
    let controller = watch_owned::<Secret>(controller, &client);
    let controller = watch_owned::<ConfigMap>(controller, &client);
    let controller = watch_owned::<Service>(controller, &client);
    let controller = watch_owned::<ServiceAccount>(controller, &client);
    let controller = watch_owned::<Pod>(controller, &client);
    let controller = watch_owned::<PersistentVolumeClaim>(controller, &client);
    let controller = watch_owned::<Deployment>(controller, &client);
    let controller = watch_owned::<StatefulSet>(controller, &client);
    let controller = watch_owned::<PodDisruptionBudget>(controller, &client);
    let controller = watch_owned::<NetworkPolicy>(controller, &client);
    // Template ConfigMaps are the user's and carry no label of ours. They change rarely, so all Clusters are looked at.
    let templates = Api::<PartialObjectMeta<ConfigMap>>::namespaced(client, operator_namespace);
    controller
        .watches(templates, watcher::Config::default(), move |_| {
            let clusters = store.state();
            let all: Vec<_> = clusters
                .iter()
                .map(|cluster| ObjectRef::new(&cluster.name_any()))
                .collect();
            all
        })
        .graceful_shutdown_on(stop)
        .run(reconcile, on_error, Arc::new(context))
        .for_each(|result| {
            // A failed reconcile was told by `on_error`.
            if let Err(controller::Error::QueueError(error)) = result {
                warn!(%error, "a watch failed; it is tried again");
            }
            std::future::ready(())
        })
        .await;
}

/// Watches the metadata of our objects of one kind; their label names the Cluster.
fn watch_owned<K>(controller: Controller<Metadata>, client: &Client) -> Controller<Metadata>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static,
{
    let ours =
        watcher::Config::default().labels(&format!("{}={}", names::MANAGED_BY_LABEL, names::MANAGED_BY));
    controller.watches(Api::<PartialObjectMeta<K>>::all(client.clone()), ours, |object| {
        object
            .labels()
            .get(names::CLUSTER_LABEL)
            .map(|cluster| ObjectRef::new(cluster))
    })
}

async fn reconcile(cluster: Arc<Metadata>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let name = cluster.name_any();
    let span = info_span!(
        "reconcile",
        cluster = name,
        generation = cluster.metadata.generation
    );
    let started = Instant::now();
    let look = Box::pin(look(&name, &context)).instrument(span);
    let result = match tokio::time::timeout(LOOK_DEADLINE, look).await {
        Ok(result) => result,
        Err(_) => Err(ReconcileError::Deadline),
    };
    let outcome = result.as_ref().map_or("failed", |look| look.outcome);
    context.metrics.reconciled(CONTROLLER, outcome, started.elapsed());
    result.map(|look| look.next)
}

/// How a reconcile without a failure ended.
struct Look {
    /// `converged`, `acted` or `blocked`.
    outcome: &'static str,
    next: Action,
}

/// Observe, plan, execute, status.
async fn look(name: &str, context: &Context) -> Result<Look, ReconcileError> {
    let observed = context.observer.observe(name).await;
    let Some(observation) = observed.map_err(|error| ReconcileError::Observe(Box::new(error)))? else {
        forget(name, context);
        return Ok(Look {
            outcome: "converged",
            next: Action::await_change(),
        });
    };
    let view = &observation.view;
    let mut plan = plan(view);
    context
        .plans
        .record(name, serde_json::json!({"at": view.now, "plan": &plan}));
    let execution = context.executor.execute(&plan, &observation).await;
    for action in &execution.done {
        context.metrics.acted(CONTROLLER, action);
    }
    for failure in &execution.failures {
        // One conflict is no news: somebody else wrote, and the next look sees what.
        let by_chance = failure.error.class() == ErrorClass::Conflict
            && context.retries.failures(name) < CONFLICTS_BY_CHANCE;
        if !by_chance {
            status::tell_failure(
                &mut plan.status,
                view,
                failure.extension.as_deref(),
                &failure.error.to_string(),
            );
        }
    }
    let gates: Vec<&'static str> = plan.gates.iter().map(|gate| gate.reason.as_str()).collect();
    context.metrics.set_gates(CONTROLLER, name, &gates);
    context.metrics.set_certificates(
        name,
        plan.status
            .certificates
            .iter()
            .map(|certificate| (certificate.name.as_str(), certificate.not_after.0)),
    );
    let removed = plan.actions.contains(&kok_plan::cluster::Action::RemoveFinalizer);
    if !removed {
        write_status(&view.cluster, &plan, context).await?;
    }
    if let Some(failure) = execution.failures.into_iter().next() {
        return failed(name, failure, context);
    }
    context.retries.reset(name);
    if removed {
        forget(name, context);
    }
    let next_look = Duration::from_secs(plan.next_look_seconds);
    let (outcome, next) = match (plan.actions.is_empty(), plan.gates.is_empty()) {
        // What was written is observed before anything else is decided.
        (false, _) => ("acted", DEBOUNCE),
        (true, false) => ("blocked", next_look),
        (true, true) => ("converged", next_look),
    };
    Ok(Look {
        outcome,
        next: Action::requeue(next),
    })
}

/// The control plane's own failures hold the Cluster back longer and longer; an extension's must not.
fn failed(name: &str, failure: Failure, context: &Context) -> Result<Look, ReconcileError> {
    if failure.extension.is_none() {
        return Err(failure.error.into());
    }
    let class = failure.error.class();
    context.metrics.failed(CONTROLLER, class);
    let wait = context.retries.after(name, class).min(EXTENSION_RETRY);
    warn!(class = class.as_str(), error = %failure.error, retry_in = ?wait, "an extension's object is refused");
    Ok(Look {
        outcome: "failed",
        next: Action::requeue(wait),
    })
}

async fn write_status(cluster: &Cluster, plan: &Plan, context: &Context) -> Result<(), ReconcileError> {
    let before = cluster.status.as_ref();
    if before == Some(&plan.status) {
        return Ok(());
    }
    let api = Api::<Cluster>::all(context.executor.client.clone());
    match kok_runtime::apply::apply_status(&api, names::FIELD_MANAGER, cluster, &plan.status).await {
        Ok(_) => {}
        // Gone meanwhile: there is nobody to tell.
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
        Err(error) => return Err(ReconcileError::Status(Box::new(error))),
    }
    let phase = |status: Option<&ClusterStatus>| status.and_then(|status| status.phase);
    let (old, new) = (phase(before), phase(Some(&plan.status)));
    if old != new {
        announce(cluster, new, plan, context).await;
    }
    Ok(())
}

async fn announce(cluster: &Cluster, phase: Option<Phase>, plan: &Plan, context: &Context) {
    let Some(phase) = phase else { return };
    let (regarding, events) = (cluster.object_ref(&()), &context.events);
    let (reason, message) = (format!("{phase:?}"), status::headline(&plan.status));
    info!(?phase, "phase changed");
    match phase {
        Phase::Invalid => events.warning(&regarding, &reason, "Validate", message).await,
        Phase::Degraded => events.warning(&regarding, &reason, "Observe", message).await,
        Phase::Running | Phase::Creating | Phase::Updating | Phase::Paused | Phase::Deleting => {
            events.normal(&regarding, &reason, "Converge", message).await;
        }
    }
}

fn forget(name: &str, context: &Context) {
    context.plans.forget(name);
    context.retries.reset(name);
    context.metrics.set_gates(CONTROLLER, name, &[]);
    context.metrics.set_certificates(name, []);
    context.executor.settled.forget(name);
}

#[allow(clippy::needless_pass_by_value)] // the signature is kube's
fn on_error(cluster: Arc<Metadata>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let name = cluster.name_any();
    let class = error.class();
    context.metrics.failed(CONTROLLER, class);
    let wait = context.retries.after(&name, class);
    warn!(cluster = name, class = class.as_str(), %error, retry_in = ?wait, "reconcile failed");
    Action::requeue(wait)
}
