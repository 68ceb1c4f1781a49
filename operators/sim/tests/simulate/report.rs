//! What is printed about runs: what was run, what was looked at, and the shortest story of what went wrong.

use std::fmt::Write as _;
use std::time::Instant;

use kok_sim::campaign::{References, Verdict};
use kok_sim::run::{Options, run};
use kok_sim::{shrink, story};

/// Failures of one section that are told in full.
const TOLD: usize = 3;

/// A report in the making.
pub(crate) struct Report {
    began: Instant,
    plans: usize,
    states: usize,
    failures: Vec<String>,
}

impl Report {
    pub(crate) fn begin() -> Self {
        Self {
            began: Instant::now(),
            plans: 0,
            states: 0,
            failures: Vec::new(),
        }
    }

    pub(crate) fn title(&self, text: &str) {
        println!("{:>6.1} s  {text}", self.began.elapsed().as_secs_f64());
    }

    /// Adds the verdicts on one kind of plan. `which` says which of all plans of that kind were run.
    pub(crate) fn add(&mut self, references: &References, what: &str, which: &str, verdicts: &[Verdict]) {
        let states: usize = verdicts.iter().map(|verdict| verdict.states).sum();
        let failed: Vec<&Verdict> = verdicts.iter().filter(|it| !it.problems.is_empty()).collect();
        self.plans += verdicts.len();
        self.states += states;
        let mut line = format!("{what:<28} {:>4} plans, {which:<14} {states:>8} states", verdicts.len());
        if !failed.is_empty() {
            let _ = write!(line, "  {} FAILED", failed.len());
        }
        self.title(&line);
        for verdict in failed.iter().take(TOLD) {
            let shortest = shrink::shrink(references, &verdict.plan, &verdict.problems);
            let problems = references.judge(&shortest).problems;
            match run(&shortest, &Options::default()) {
                Ok(run) => println!("\n{}", story::tell(&run, &problems)),
                Err(error) => println!("\n{shortest}: {error}"),
            }
        }
        for verdict in failed {
            self.failures.push(verdict.plan.to_string());
        }
    }

    /// Adds what is no plan.
    pub(crate) fn expect(&mut self, what: &str, problems: &[String]) {
        self.title(&format!(
            "{what}{}",
            if problems.is_empty() { "" } else { "  FAILED" }
        ));
        for problem in problems {
            println!("          ! {problem}");
            self.failures.push(problem.clone());
        }
    }

    /// Prints the sums; gives the plans that failed.
    pub(crate) fn end(self, scenarios: usize, seed: u64) -> Vec<String> {
        self.title(&format!(
            "{scenarios} scenarios, {} plans, {} states, seed {seed}: {} failed",
            self.plans,
            self.states,
            self.failures.len()
        ));
        for failure in &self.failures {
            println!("          {failure}");
        }
        self.failures
    }
}
