//! What the default run consists of. It must end within two minutes on two busy cores: the smallest story is enumerated,
//! of the others every n-th plan is run, and n is printed.

use std::sync::Arc;

use kok_sim::campaign::{References, side_by_side};
use kok_sim::fault::Plan;
use kok_sim::plans::{self, Kind};
use kok_sim::run::{Options, run};
use kok_sim::scenario;

use crate::mutants;
use crate::report::Report;
use crate::soak;

/// Seed of the default run.
const SEED: u64 = 1;
/// Stories of which every plan is run.
const EXHAUSTIVE: [&str; 1] = ["create-minimal"];
/// Plans of one kind for any other story.
const SAMPLED: usize = 3;
/// Seeds of drawn edits.
const FUZZED: std::ops::Range<u64> = 1..13;

/// Runs everything whose name contains `only`. Gives what failed.
pub(crate) fn all(only: Option<&String>) -> Vec<String> {
    let wanted = |name: &str| only.is_none_or(|only| name.contains(only.as_str()));
    let names: Vec<&str> = scenario::all()
        .into_iter()
        .map(|scenario| scenario.name)
        .filter(|name| wanted(name) && !soak::IS_DRAWN.contains(name))
        .collect();
    let references = References::default();
    let mut report = Report::begin();
    println!("scenarios:");
    for scenario in scenario::all().iter().filter(|it| names.contains(&it.name)) {
        println!("  {:<24} {}", scenario.name, scenario.about);
    }
    let quiet: Vec<Plan> = names.iter().map(|name| Plan::quiet(name, SEED)).collect();
    report.add(&references, "nothing goes wrong", "all", &references.judge_all(&quiet));
    let mut twice = quiet.clone();
    for reference in names.iter().take(1).filter_map(|name| references.of(name, SEED).ok()) {
        // With each kind of fault too.
        twice.extend(Kind::ALL.iter().filter_map(|kind| {
            let plans = kind.plans(&reference);
            plans.get(plans.len() / 2).cloned()
        }));
    }
    report.expect("every run repeats exactly", &repeated(&references, &twice));
    for name in &names {
        faults(&mut report, &references, name);
    }
    if wanted("delete-midway") {
        let reference = references.of("create-minimal", SEED).unwrap();
        let plans: Vec<Plan> = Kind::Deleted
            .plans(&reference)
            .into_iter()
            .map(|plan| Plan {
                scenario: "delete-midway".into(),
                ..plan
            })
            .collect();
        let verdicts = side_by_side(&plans, |plan| references.judge_alone(plan));
        report.add(&references, Kind::Deleted.title(), "every write", &verdicts);
    }
    if wanted("fuzz") {
        let drawn: Vec<Plan> = FUZZED
            .flat_map(|seed| soak::IS_DRAWN.map(|name| Plan::quiet(name, seed)))
            .filter(|plan| plan.scenario != "create-as")
            .collect();
        let which = format!("seeds {FUZZED:?}");
        report.add(&references, "drawn edits", &which, &references.judge_all(&drawn));
    }
    if wanted("regressions") {
        let known = soak::regressions();
        report.add(&references, "what once failed", "all", &references.judge_all(&known));
    }
    if wanted("mutants") {
        report.expect("bugs put in from outside are caught", &mutants::escaped());
    }
    report.end(names.len(), SEED)
}

fn faults(report: &mut Report, references: &References, name: &str) {
    let Ok(reference) = references.of(name, SEED) else { return };
    report.title(name);
    for kind in Kind::ALL {
        let all = kind.plans(&reference);
        let (plans, stride) = if EXHAUSTIVE.contains(&name) {
            (all, 1)
        } else {
            plans::strided(all, SAMPLED)
        };
        let which = match stride {
            1 => "all".to_owned(),
            stride => format!("every {stride}."),
        };
        let what = format!("  {}", kind.title());
        report.add(references, &what, &which, &references.judge_all(&plans));
    }
}

/// Plans whose record is another one the second time.
fn repeated(references: &References, plans: &[Plan]) -> Vec<String> {
    let differing = side_by_side(plans, |plan| {
        let first = match plan.faults.as_slice() {
            [] => references.of(&plan.scenario, plan.seed).ok()?,
            _ => Arc::new(run(plan, &Options::default()).ok()?),
        };
        let second = run(plan, &Options::default()).ok()?;
        let differs = first
            .entries
            .iter()
            .zip(&second.entries)
            .find(|(first, second)| first != second)
            .map(|(first, second)| format!("{plan}: {first}, and the second time {second}"));
        let longer = first.entries.len() != second.entries.len();
        differs.or_else(|| longer.then(|| format!("{plan}: one run is longer than the other")))
    });
    differing.into_iter().flatten().collect()
}
