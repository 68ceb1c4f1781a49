//! One replica of the operator: it stands for election, and when it leads it runs the controller.

use std::sync::Arc;

use kok_plan::cluster::view::OperatorFacts;
use kok_runtime::admin::PlanBook;
use kok_runtime::events::Events;
use kok_runtime::lease::{self, LeaseConfig};
use kok_runtime::metrics::Metrics;
use kok_runtime::retry::RetryBudget;
use kok_runtime::shutdown::Shutdown;
use kube::Client;
use tracing::{error, info};

use crate::connect::{Clock, Connect};
use crate::controller::{self, Context};
use crate::execute::Executor;
use crate::observe::Observer;
use crate::settled::Settled;

/// Name of the lease, and of the reporter of events.
const NAME: &str = "cluster-operator";

/// One replica.
pub struct Operator {
    /// Client of the meta cluster.
    pub client: Client,
    /// Its name in the election; differs between replicas.
    pub identity: String,
    /// Facts that plans need.
    pub facts: OperatorFacts,
    /// Metrics.
    pub metrics: Metrics,
    /// Latest plans.
    pub plans: PlanBook,
    /// The way to business clusters.
    pub connect: Arc<dyn Connect>,
    /// The time of day.
    pub clock: Clock,
    /// When a failing Cluster is tried again.
    pub retries: RetryBudget,
}

/// Another replica leads now. The process must end, so that no half-done work goes on beside the new leader.
#[derive(Debug, thiserror::Error)]
#[error("leadership was lost")]
pub struct LeadershipLost;

impl Operator {
    /// Waits for leadership, then works until it is asked to stop.
    ///
    /// # Errors
    /// When leadership is lost.
    pub async fn run(self, shutdown: &Shutdown) -> Result<(), LeadershipLost> {
        let leadership = lease::lead(
            self.client.clone(),
            LeaseConfig::new(&self.facts.namespace, NAME, &self.identity),
        );
        tokio::select! {
            biased;
            () = shutdown.requested() => {
                leadership.release().await;
                return Ok(());
            }
            () = leadership.gained() => {}
        }
        self.metrics.set_leader(true);
        info!(identity = self.identity, "leading");
        let lost = leadership.lost();
        tokio::select! {
            biased;
            // First: what comes back from a long pause must not write once more.
            () = lost => {
                error!("leadership was lost; leaving, so that no half-done work goes on beside the new leader");
                Err(LeadershipLost)
            }
            () = self.control(shutdown.requested()) => {
                leadership.release().await;
                Ok(())
            }
        }
    }

    async fn control(self, stop: impl Future<Output = ()> + Send + Sync + 'static) {
        let settled = Arc::new(Settled::default());
        let context = Context {
            observer: Observer {
                client: self.client.clone(),
                operator: self.facts.clone(),
                settled: settled.clone(),
                connect: self.connect,
                clock: self.clock,
            },
            executor: Executor {
                client: self.client.clone(),
                settled,
            },
            events: Events::new(self.client.clone(), NAME, &self.identity),
            metrics: self.metrics,
            plans: self.plans,
            retries: self.retries,
        };
        controller::run(self.client, &self.facts.namespace, context, stop).await;
    }
}
