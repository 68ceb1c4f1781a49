//! Many runs, side by side on the machine's cores, each judged against the run of its scenario and seed without faults.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::exchange::lock;
use crate::fault::Plan;
use crate::oracle;
use crate::run::{Options, Run, run};
use crate::scenario;
use crate::sim::message_of;

/// What became of a plan.
pub struct Verdict {
    /// What was run.
    pub plan: Plan,
    /// What is wrong; empty when nothing is.
    pub problems: Vec<String>,
    /// States of the servers that the oracles looked at.
    pub states: usize,
}

/// Runs without faults, by scenario and seed. Clones share.
#[derive(Clone, Default)]
pub struct References {
    runs: Arc<Mutex<BTreeMap<(String, u64), Arc<Run>>>>,
    options: Options,
}

impl References {
    /// No runs yet; all that come are changed in the same way.
    pub fn changed_by(options: Options) -> Self {
        Self {
            runs: Arc::default(),
            options,
        }
    }

    /// The run of this scenario and seed without faults.
    ///
    /// # Errors
    /// When there is no such scenario.
    pub fn of(&self, scenario: &str, seed: u64) -> Result<Arc<Run>, String> {
        let key = (scenario.to_owned(), seed);
        if let Some(known) = lock(&self.runs).get(&key) {
            return Ok(known.clone());
        }
        let run = Arc::new(run(&Plan::quiet(scenario, seed), &self.options)?);
        lock(&self.runs).insert(key, run.clone());
        Ok(run)
    }

    /// Runs and judges one plan.
    pub fn judge(&self, plan: &Plan) -> Verdict {
        let judged = catch_unwind(AssertUnwindSafe(|| {
            let played = run(plan, &self.options)?;
            let reference = match plan.faults.as_slice() {
                [] => None,
                _ => Some(self.of(&plan.scenario, plan.seed)?),
            };
            let mut problems = oracle::judge(&played, reference.as_deref());
            if let Some(like) = played.like {
                problems.extend(oracle::unlike(&played, &*self.of(like, plan.seed)?));
            }
            if plan.scenario == "fuzz-path" {
                problems.extend(self.other_path(&played)?);
            }
            Ok::<_, String>((problems, played.states()))
        }));
        let (problems, states) = match judged {
            Ok(Ok(judged)) => judged,
            Ok(Err(error)) => (vec![error], 0),
            Err(panic) => (vec![format!("the simulator panicked: {}", message_of(&*panic))], 0),
        };
        Verdict {
            plan: plan.clone(),
            problems,
            states,
        }
    }

    /// Runs and judges a plan whose fault is the user's: its end is that of its scenario, its counts are its own.
    pub fn judge_alone(&self, plan: &Plan) -> Verdict {
        let verdict = run(plan, &self.options).map(|run| (oracle::judge(&run, None), run.states()));
        let (problems, states) = verdict.unwrap_or_else(|error| (vec![error], 0));
        Verdict {
            plan: plan.clone(),
            problems,
            states,
        }
    }

    /// Where the end differs from a Cluster that was created with the last spec at once. What does not run, or is not
    /// what its spec says, has nothing to compare.
    fn other_path(&self, played: &Run) -> Result<Vec<String>, String> {
        let cluster = played.objects.get(&scenario::cluster("minimal"));
        let Some(cluster) = cluster.filter(|cluster| scenario::object_runs(cluster)) else {
            return Ok(Vec::new());
        };
        let options = Options {
            spec: cluster.get("spec").cloned(),
            ..self.options.clone()
        };
        let other = run(&Plan::quiet("create-as", played.plan.seed), &options)?;
        Ok(oracle::unlike(played, &other))
    }

    /// Runs and judges all of them.
    pub fn judge_all(&self, plans: &[Plan]) -> Vec<Verdict> {
        side_by_side(plans, |plan| self.judge(plan))
    }
}

/// Does `work` for every item, as many at once as there are cores. Results come in the order of the items.
pub fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores.min(items.len()) {
            scope.spawn(|| {
                while let Some((index, item)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    items.get(index).map(|item| (index, item))
                } {
                    let result = work(item);
                    lock(&results).push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
