//! Runs a plan from the beginning to the end and keeps everything that oracles look at.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::Value;
use tokio::runtime::Builder;

use crate::api::{Change, Key};
use crate::exchange::{EtcdLie, Tamper, lock};
use crate::fault::Plan;
use crate::ledger::Entry;
use crate::logs::Logs;
use crate::scenario::{self, Scenario};
use crate::sim::Sim;
use crate::time::Millis;
use crate::world::Risk;

/// What a test changes in a run.
#[derive(Clone, Default)]
pub struct Options {
    /// Changes requests on their way.
    pub tamper: Option<Tamper>,
    /// Changes what etcd answers.
    pub etcd_lie: Option<EtcdLie>,
    /// The spec that scenario `create-as` creates.
    pub spec: Option<Value>,
}

/// A run that is over.
pub struct Run {
    /// What was run.
    pub plan: Plan,
    /// Every call, and what else happened.
    pub entries: Vec<Entry>,
    /// Calls and writes, and the time, when the part began that faults are planned for.
    pub began: (usize, usize, Millis),
    /// The time of day at which it began.
    pub day_one: Timestamp,
    /// How long it took, in virtual time.
    pub lasted: Millis,
    /// Number of writes.
    pub writes: usize,
    /// Number of calls.
    pub calls: usize,
    /// Every change in the meta cluster.
    pub history: Vec<Change>,
    /// Every change in the business clusters, by namespace of their control planes.
    pub inside: BTreeMap<String, Vec<Change>>,
    /// Objects of the meta cluster at the end.
    pub objects: BTreeMap<Key, Value>,
    /// What the script found wrong.
    pub complaints: Vec<String>,
    /// What must never happen in etcd and did.
    pub disasters: Vec<String>,
    /// Moments at which an etcd cluster lost its quorum because a pod was deleted.
    pub risks: Vec<Risk>,
    /// What a call did that none may do.
    pub violations: Vec<String>,
    /// The scenario that it must end like.
    pub like: Option<&'static str>,
    /// What the operator logged.
    pub logs: String,
    /// What it showed on its admin port.
    pub shown: Vec<String>,
}

impl Run {
    /// How many states of servers it went through.
    pub fn states(&self) -> usize {
        self.history.len() + self.inside.values().map(Vec::len).sum::<usize>()
    }
}

/// Runs a plan.
///
/// # Errors
/// When there is no such scenario.
pub fn run(plan: &Plan, options: &Options) -> Result<Run, String> {
    let scenario = scenario::find(&plan.scenario)?;
    let logs = Logs::default();
    let dispatch = logs.dispatch();
    tracing::dispatcher::with_default(&dispatch, || {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(runtime.block_on(play(plan, options, &scenario, logs.clone())))
    })
}

async fn play(plan: &Plan, options: &Options, scenario: &Scenario, logs: Logs) -> Run {
    let sim = Sim::new(plan, options, logs);
    let complaints: Arc<Mutex<Vec<String>>> = Arc::default();
    scenario::set_stage(&sim);
    let conductor = tokio::spawn(sim.clone().conduct());
    scenario.play(&sim, &complaints).await;
    if conductor.is_finished() {
        lock(&complaints).push("the simulator itself broke down".into());
    }
    conductor.abort();
    let ledger = lock(&sim.ledger);
    let namespaces: Vec<String> = sim
        .meta
        .history()
        .iter()
        .filter(|change| change.key.resource == "namespaces" && change.key.name.starts_with("cluster-"))
        .map(|change| change.key.name.clone())
        .collect();
    let inside = namespaces
        .into_iter()
        .filter_map(|namespace| {
            let server = sim.world(|world| world.business(&namespace))?;
            Some((namespace, server.history()))
        })
        .collect();
    Run {
        plan: plan.clone(),
        entries: ledger.entries.clone(),
        began: ledger.began.unwrap_or_default(),
        day_one: sim.time.of_day(0),
        lasted: sim.time.now(),
        writes: ledger.writes,
        calls: ledger.calls,
        history: sim.meta.history(),
        inside,
        objects: sim.meta.objects(),
        complaints: lock(&complaints).clone(),
        disasters: sim.world(|world| world.etcds().disasters().to_vec()),
        risks: sim.world(|world| world.etcds().risks().to_vec()),
        violations: ledger.violations.clone(),
        like: scenario.like.filter(|_| sim.keeps_likeness()),
        logs: sim.logs.text(),
        shown: sim.shown(),
    }
}
