//! The cluster operator's binary: arguments, the admin port, and then one replica of the operator.

use std::net::Ipv4Addr;
use std::sync::Arc;

use clap::Parser;
use jiff::Timestamp;
use kok_cluster::connect::Network;
use kok_cluster::operator::Operator;
use kok_plan::cluster::view::OperatorFacts;
use kok_runtime::admin::{Admin, PlanBook, Readiness};
use kok_runtime::metrics::Metrics;
use kok_runtime::retry::RetryBudget;
use kok_runtime::shutdown::Shutdown;
use kok_runtime::telemetry::{self, LogFormat};
use kube::Client;
use tokio::net::TcpListener;

/// Runs the control planes of business clusters as pods.
#[derive(Parser)]
struct Arguments {
    /// Port of /healthz, /readyz, /metrics and /debug/plan/<cluster>.
    #[arg(long, default_value_t = 8080)]
    admin_port: u16,
    /// Form of the log: json or text.
    #[arg(long, default_value = "json")]
    log_format: LogFormat,
    /// Where the control planes' images come from.
    #[arg(long, default_value = "registry.k8s.io")]
    image_repository: String,
    /// Namespace that this operator runs in: its lease, and the ConfigMaps that extensions name.
    #[arg(long, env = "POD_NAMESPACE", default_value = "kubeonkube-system")]
    namespace: String,
    /// Name of this replica in the leader election.
    #[arg(long, env = "POD_NAME", default_value = "cluster-operator")]
    identity: String,
}

/// Plans of so many Clusters are kept for /debug/plan.
const PLANS: usize = 200;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    telemetry::init(arguments.log_format)?;
    let shutdown = Shutdown::on_signals()?;
    let client = Client::try_default().await?;
    let metrics = Metrics::new();
    let plans = PlanBook::new(PLANS);
    let readiness = Readiness::new(&[kok_runtime::crds::READINESS_CHECK]);
    let admin = Admin {
        readiness: readiness.clone(),
        metrics: metrics.clone(),
        plans: plans.clone(),
    };
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, arguments.admin_port)).await?;
    let admin = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { admin.serve(listener, &shutdown).await }
    });

    tokio::select! {
        () = kok_runtime::crds::wait_for_crds(&client, &["clusters.kubeonkube.io"], &readiness) => {}
        () = shutdown.requested() => return Ok(()),
    }
    let operator = Operator {
        client,
        identity: arguments.identity,
        facts: OperatorFacts {
            namespace: arguments.namespace,
            image_repository: arguments.image_repository,
        },
        metrics,
        plans,
        connect: Arc::new(Network),
        clock: Arc::new(Timestamp::now),
        retries: RetryBudget::new(),
    };
    operator.run(&shutdown).await?;
    admin.await??;
    Ok(())
}
