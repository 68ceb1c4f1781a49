//! Fresh seeds, several faults at once, as long as one likes. What fails is kept as a regression case.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use kok_sim::campaign::References;
use kok_sim::chance::Chance;
use kok_sim::fault::Plan;
use kok_sim::plans::Kind;
use kok_sim::{scenario, shrink};

use crate::report::Report;

/// Scenarios whose story is drawn from the seed.
pub(crate) const IS_DRAWN: [&str; 3] = ["fuzz-undo", "fuzz-path", "create-as"];

/// Plans that run side by side before anything is printed.
const BATCH: usize = 24;

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("regressions.txt")
}

/// Plans that once failed, shortest form.
pub(crate) fn regressions() -> Vec<Plan> {
    let text = std::fs::read_to_string(file()).unwrap_or_default();
    text.lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| line.parse().unwrap_or_else(|error| panic!("regressions.txt: {error}")))
        .collect()
}

/// Goes on for so many minutes. Gives what failed.
pub(crate) fn go_on(minutes: u64) -> Vec<String> {
    let ends = Instant::now() + Duration::from_mins(minutes);
    let first = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(2, |since| since.as_secs() % 1_000_000);
    let mut report = Report::begin();
    let mut seed = first;
    while Instant::now() < ends {
        seed += 1;
        // References of old seeds are not needed any more.
        let references = References::default();
        let plans: Vec<Plan> = (0..BATCH).filter_map(|number| drawn(&references, seed, number)).collect();
        let verdicts = references.judge_all(&plans);
        for verdict in verdicts.iter().filter(|verdict| !verdict.problems.is_empty()) {
            keep(&shrink::shrink(&references, &verdict.plan, &verdict.problems));
        }
        report.add(&references, "drawn plans", &format!("seed {seed}"), &verdicts);
    }
    report.end(scenario::all().len(), first)
}

/// A scenario and up to three faults.
fn drawn(references: &References, seed: u64, number: usize) -> Option<Plan> {
    let chance = Chance(seed).branch(&["soak", &number.to_string()]);
    let scenarios: Vec<_> = scenario::all()
        .into_iter()
        .filter(|scenario| !["create-as", "delete-midway"].contains(&scenario.name))
        .collect();
    let pick = |count: usize, purpose: &str| {
        let count = u64::try_from(count).unwrap_or(1).max(1);
        usize::try_from(chance.between(0, count - 1, &[purpose])).unwrap_or_default()
    };
    // Half of the runs are drawn edits: each seed gives another story.
    let name = match number % 4 {
        0 => "fuzz-undo",
        1 => "fuzz-path",
        _ => scenarios[pick(scenarios.len(), "scenario")].name,
    };
    // Every plan of a drawn story has its own.
    let seed = if IS_DRAWN.contains(&name) { seed * 100 + number as u64 } else { seed };
    let reference = references.of(name, seed).ok()?;
    let mut plan = Plan::quiet(name, seed);
    for fault in 0..=pick(3, "faults") {
        let kind = Kind::ALL[pick(Kind::ALL.len(), &format!("kind {fault}"))];
        let plans = kind.plans(&reference);
        if let Some(drawn) = plans.get(pick(plans.len(), &format!("plan {fault}"))) {
            plan.faults.extend(drawn.faults.clone());
        }
    }
    Some(plan)
}

fn keep(plan: &Plan) {
    if regressions().contains(plan) {
        return;
    }
    if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(file()) {
        let _ = writeln!(file, "{plan}");
    }
}
