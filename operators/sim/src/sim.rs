//! One run: the servers, the world around them, the replicas of the operator, and the conductor that lets all of it
//! happen in an order that the seed decides.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use jiff::SignedDuration;
use kok_cluster::operator::Operator;
use kok_plan::cluster::view::OperatorFacts;
use kok_runtime::admin::PlanBook;
use kok_runtime::metrics::Metrics;
use kok_runtime::retry::RetryBudget;
use kok_runtime::shutdown::Shutdown;
use kube::core::Status;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::api::{ApiServer, Key};
use crate::chance::Chance;
use crate::connect::Wires;
use crate::exchange::{Exchange, lock};
use crate::fault::{Fault, Plan};
use crate::gate::{Gate, Peer};
use crate::ledger::{Ledger, What};
use crate::logs::Logs;
use crate::process::Process;
use crate::run::Options;
use crate::time::{Millis, Time, seconds};
use crate::scenario;
use crate::world::{Trouble, World};

/// Namespace of the operator.
pub const OPERATOR_NAMESPACE: &str = "kubeonkube-system";
/// How long a process that died stays away.
const RESTART_TAKES: Millis = 2_000;
/// How long a frozen leader is frozen.
const FREEZE: Millis = 60_000;
/// Nothing may be written for so long before a state counts as rest: longer than the longest wait between two looks at
/// a converged Cluster.
pub const SILENCE: Millis = 130_000;
/// A story that has no rest after so long has none.
const PATIENCE: Millis = 30 * 60_000;

/// See the module.
pub struct Sim {
    /// The clock.
    pub time: Time,
    /// The meta cluster's server.
    pub meta: ApiServer,
    /// The record.
    pub ledger: Arc<Mutex<Ledger>>,
    /// What the operator logged.
    pub logs: Logs,
    world: Arc<Mutex<World>>,
    gate: Gate,
    exchange: Exchange,
    chance: Chance,
    replicas: Mutex<Vec<Replica>>,
    /// What `/debug/plan` would have shown.
    shown: Mutex<Vec<Value>>,
    ticks: watch::Sender<Millis>,
    timed: Mutex<Vec<(Millis, Fault)>>,
    given: Option<Value>,
    unlike: Mutex<bool>,
}

struct Replica {
    name: String,
    running: Option<Running>,
    /// When it starts again.
    starts_at: Option<Millis>,
    /// How far behind it reads then.
    behind: Option<usize>,
    starts: u32,
}

struct Running {
    process: Process,
    task: AbortHandle,
    plans: PlanBook,
    exited: Arc<Mutex<bool>>,
    metrics: Metrics,
}

impl Sim {
    /// A run of `plan` in which nothing has happened yet. Needs a runtime with a paused clock.
    pub fn new(plan: &Plan, options: &Options, logs: Logs) -> Arc<Self> {
        let time = Time::begin();
        let chance = Chance(plan.seed);
        let meta = ApiServer::new(time.server_clock());
        let world = Arc::new(Mutex::new(World::new(meta.clone(), time.clone(), chance)));
        let gate = Gate::new(time.clone(), chance);
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let mut exchange = Exchange::new(
            gate.clone(),
            meta.clone(),
            world.clone(),
            ledger.clone(),
            &plan.faults,
        );
        exchange.tamper.clone_from(&options.tamper);
        exchange.etcd_lie.clone_from(&options.etcd_lie);
        let timed = plan
            .faults
            .iter()
            .filter_map(|fault| Some((fault.time()?, fault.clone())))
            .collect();
        let count = if plan.faults.iter().any(Fault::needs_two) {
            2
        } else {
            1
        };
        let replicas = (0..count)
            .map(|number| Replica {
                name: format!("operator-{number}"),
                running: None,
                // The first one leads.
                starts_at: Some(number * 100),
                behind: None,
                starts: 0,
            })
            .collect();
        Arc::new(Self {
            time,
            meta,
            ledger,
            logs,
            world,
            gate,
            exchange,
            chance,
            replicas: Mutex::new(replicas),
            shown: Mutex::default(),
            ticks: watch::Sender::new(0),
            timed: Mutex::new(timed),
            given: options.spec.clone(),
            unlike: Mutex::default(),
        })
    }

    /// Lets things happen, for ever.
    pub(crate) async fn conduct(self: Arc<Self>) {
        loop {
            let next = self.next();
            tokio::select! {
                biased;
                () = self.gate.arrival() => continue,
                () = self.time.reach(next) => {}
            }
            let now = self.time.now();
            for (process, behind) in self.exchange.serve_due(now).await {
                self.died(&process, behind, now);
            }
            self.let_faults_happen(now);
            if lock(&self.world).next().is_some_and(|at| at <= now) {
                lock(&self.world).step();
            }
            self.care_for_replicas(now);
            self.ticks.send_replace(now);
        }
    }

    fn next(&self) -> Millis {
        let starts = lock(&self.replicas)
            .iter()
            .filter_map(|replica| match &replica.running {
                Some(running) if *lock(&running.exited) => Some(0),
                _ => replica.starts_at,
            })
            .min();
        let timed = lock(&self.timed).iter().map(|(at, _)| *at).min();
        let world = lock(&self.world).next();
        [self.gate.next(), starts, timed, world]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(Millis::MAX / 2)
    }

    fn died(&self, process: &Process, behind: Option<usize>, now: Millis) {
        lock(&self.ledger).note(now, &process.replica, "dies");
        for replica in lock(&self.replicas).iter_mut() {
            if let Some(running) = replica.running.take_if(|running| running.process.is(process)) {
                running.task.abort();
                replica.starts_at = Some(now + RESTART_TAKES);
                replica.behind = behind;
            }
        }
    }

    /// Notices processes that left by themselves, and starts those whose time has come.
    fn care_for_replicas(&self, now: Millis) {
        let mut starting = Vec::new();
        let told_status = self.told_status(now);
        for (index, replica) in lock(&self.replicas).iter_mut().enumerate() {
            if let Some(running) = &replica.running {
                if told_status {
                    self.keep_shown(&running.plans);
                }
                if *lock(&running.exited) {
                    running.process.end();
                    replica.running = None;
                    replica.starts_at = Some(now + RESTART_TAKES);
                    lock(&self.ledger).note(now, &replica.name, "leaves: it leads no more");
                }
            } else if replica.starts_at.is_some_and(|at| at <= now) {
                replica.starts_at = None;
                replica.starts += 1;
                starting.push((index, replica.name.clone(), replica.starts, replica.behind.take()));
            }
        }
        for (index, name, starts, behind) in starting {
            let running = self.start(&name, starts, behind);
            lock(&self.ledger).note(now, &name, "starts");
            lock(&self.replicas)[index].running = Some(running);
        }
    }

    fn start(&self, name: &str, starts: u32, behind: Option<usize>) -> Running {
        let process = Process::start(name);
        if let Some(behind) = behind {
            let revisions = lock(&self.ledger).revisions.clone();
            let old = revisions.iter().rev().nth(behind).copied().unwrap_or(1);
            process.read_first_from(old);
        }
        let chance = self.chance.branch(&["process", name, &starts.to_string()]);
        // kube's watchers draw their waits from here.
        fastrand::seed(chance.draw(&["fastrand"]));
        let plans = PlanBook::new(200);
        let metrics = Metrics::new();
        let operator = Operator {
            client: self.gate.client(&process, Peer::Meta),
            identity: name.into(),
            facts: OperatorFacts {
                namespace: OPERATOR_NAMESPACE.into(),
                image_repository: "registry.k8s.io".into(),
            },
            metrics: metrics.clone(),
            plans: plans.clone(),
            connect: Arc::new(Wires::new(self.gate.clone(), process.clone())),
            clock: self.time.operator_clock(),
            retries: RetryBudget::with_jitter(Box::new(move |key, failures| {
                chance.fraction(&["retry", key, &failures.to_string()])
            })),
        };
        let exited = Arc::new(Mutex::new(false));
        let gate = self.gate.clone();
        let task = tokio::spawn({
            let exited = exited.clone();
            let ledger = self.ledger.clone();
            async move {
                let shutdown = Shutdown::new();
                let ended = AssertUnwindSafe(operator.run(&shutdown)).catch_unwind().await;
                if let Err(panic) = ended {
                    lock(&ledger).violations.push(format!("the operator panicked: {}", message_of(&*panic)));
                }
                *lock(&exited) = true;
                gate.nudge();
            }
        });
        Running {
            process,
            task: task.abort_handle(),
            plans,
            exited,
            metrics,
        }
    }

    fn let_faults_happen(&self, now: Millis) {
        let due: Vec<Fault> = {
            let mut timed = lock(&self.timed);
            let due = timed
                .iter()
                .filter(|(at, _)| *at <= now)
                .map(|(_, fault)| fault.clone())
                .collect();
            timed.retain(|(at, _)| *at > now);
            due
        };
        for fault in due {
            {
                let mut ledger = lock(&self.ledger);
                ledger.last_fault = now;
                ledger.note(now, "fate", fault.to_string());
            }
            lock(&self.exchange.ahead).retain(|ahead| *ahead != fault);
            match fault {
                Fault::Closed { .. } => self.meta.drop_watches(false),
                Fault::Gone { .. } => self.meta.drop_watches(true),
                Fault::Down { lasts, .. } => *lock(&self.exchange.down_until) = now + lasts,
                Fault::Clock { hours, .. } => self.time.jump(SignedDuration::from_hours(hours)),
                Fault::Paused { .. } => {
                    if let Some(leader) = self.leader() {
                        leader.freeze(now + FREEZE);
                        self.gate.hold_back(&leader, now + FREEZE);
                    }
                }
                Fault::Split { .. } => {
                    if let Some(leader) = self.leader() {
                        leader.deceive();
                    }
                }
                _ => {}
            }
        }
    }

    /// The process that holds the lease.
    fn leader(&self) -> Option<Process> {
        let key = Key::new(
            "leases.coordination.k8s.io",
            Some(OPERATOR_NAMESPACE),
            "cluster-operator",
        );
        let lease = self.meta.get(&key)?;
        let holder = lease.pointer("/spec/holderIdentity")?.as_str()?.to_owned();
        lock(&self.replicas)
            .iter()
            .filter_map(|replica| replica.running.as_ref())
            .find(|running| running.process.replica == holder)
            .map(|running| running.process.clone())
    }

    /// Whether a status was just written: what was planned is shown at that moment.
    fn told_status(&self, now: Millis) -> bool {
        let ledger = lock(&self.ledger);
        ledger.entries.iter().rev().take_while(|entry| entry.at == now).any(|entry| {
            matches!(&entry.what, What::Call(served) if served.write.is_some() && served.call.subresource == "status")
        })
    }

    fn keep_shown(&self, plans: &PlanBook) {
        let mut shown = lock(&self.shown);
        for cluster in self.meta.list("clusters.kubeonkube.io", None) {
            let name = cluster
                .pointer("/metadata/name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if let Some(plan) = plans.get(name)
                && shown.last() != Some(&plan)
            {
                shown.push(plan);
            }
        }
    }

    /// What the operator showed on its admin port: plans, and metrics at last.
    pub fn shown(&self) -> Vec<String> {
        let mut shown: Vec<String> = lock(&self.shown).iter().map(Value::to_string).collect();
        for replica in lock(&self.replicas).iter() {
            shown.extend(replica.running.as_ref().and_then(|it| it.metrics.encode().ok()));
        }
        shown
    }

    /// Chance, for scripts.
    pub fn chance(&self) -> Chance {
        self.chance.branch(&["script"])
    }

    /// Writes something into the record.
    pub fn say(&self, who: &str, what: String) {
        lock(&self.ledger).note(self.time.now(), who, what);
    }

    /// The spec that another run ended with.
    pub fn given(&self) -> Option<&Value> {
        self.given.as_ref()
    }

    /// The run does not end like the scenario that its own is like.
    pub fn forget_likeness(&self) {
        *lock(&self.unlike) = true;
    }

    pub(crate) fn keeps_likeness(&self) -> bool {
        !*lock(&self.unlike)
    }

    /// The world around the operator.
    pub fn world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut lock(&self.world))
    }

    /// A person creates an object.
    pub fn create(&self, object: Value) -> Result<Value, Status> {
        let what = format!("creates {}", title(&object));
        self.person(what, || self.meta.create("user", object))
    }

    /// A person changes an object.
    pub fn edit(&self, key: &Key, change: impl FnOnce(&mut Value)) -> Result<Value, Status> {
        self.person(format!("edits {key}"), || self.meta.update("user", key, change))
    }

    /// A person changes the spec of a Cluster.
    pub fn edit_spec(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let _ = self.edit(&scenario::cluster(name), |cluster| change(&mut cluster["spec"]));
    }

    /// Makes pods fail, or lets them work again.
    pub fn trouble(&self, change: impl FnOnce(&mut Trouble)) {
        let trouble = self.world(|world| {
            change(&mut world.trouble);
            world.stir();
            world.trouble.clone()
        });
        let now = self.time.now();
        let mut ledger = lock(&self.ledger);
        ledger.note(now, "fate", format!("{trouble:?}"));
        ledger.last_fault = now;
        drop(ledger);
        self.gate.nudge();
    }

    /// Whether the plan says when the Cluster is deleted.
    pub fn is_deleted_by_plan(&self) -> bool {
        self.exchange.deletes_cluster()
    }

    /// A person deletes an object.
    pub fn delete(&self, key: &Key) -> Result<(), Status> {
        self.person(format!("deletes {key}"), || self.meta.delete("user", key))
    }

    fn person<T>(&self, what: String, act: impl FnOnce() -> Result<T, Status>) -> Result<T, Status> {
        let result = act();
        let now = self.time.now();
        let what = match &result {
            Ok(_) => what,
            Err(status) => format!("{what}, refused: {}", status.message),
        };
        let mut ledger = lock(&self.ledger);
        ledger.note(now, "user", what);
        ledger.last_fault = now;
        drop(ledger);
        self.gate.nudge();
        result
    }

    /// From here on the story is what faults are planned for.
    pub fn begin(&self) {
        let mut ledger = lock(&self.ledger);
        ledger.began = Some((ledger.calls, ledger.writes, self.time.now()));
    }

    /// Waits until `goal` holds and nothing was written for a while. False when that does not come.
    pub async fn rest(&self, goal: impl Fn(&Self) -> bool) -> bool {
        let began = self.time.now();
        loop {
            let since = {
                let ledger = lock(&self.ledger);
                ledger.last_write.max(ledger.last_fault).max(began)
            };
            let ahead = lock(&self.timed)
                .iter()
                .map(|(at, _)| *at)
                .max()
                .unwrap_or_default();
            let quiet_at = since.max(ahead) + SILENCE;
            let now = self.time.now();
            if now >= quiet_at && goal(self) {
                return true;
            }
            if now >= began.max(ahead) + PATIENCE {
                lock(&self.ledger).note(now, "script", format!("no rest for {}", seconds(now - began)));
                return false;
            }
            self.time.reach(quiet_at.max(now + 10_000)).await;
        }
    }

    /// Waits until `happened`; false when it does not come in time.
    pub async fn until(&self, within: Millis, happened: impl Fn(&Self) -> bool) -> bool {
        let deadline = self.time.now() + within;
        let mut ticks = self.ticks.subscribe();
        loop {
            if happened(self) {
                return true;
            }
            tokio::select! {
                biased;
                _ = ticks.changed() => {}
                () = self.time.reach(deadline) => return false,
            }
        }
    }
}

/// What a panic said.
pub(crate) fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("something").to_owned()
}

fn title(object: &Value) -> String {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    format!("{} {}", text("/kind"), text("/metadata/name"))
}
