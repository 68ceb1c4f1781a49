//! Whole runs of the operator in virtual time: without faults, and with a crash after each of its writes.
//! `KOK_SIM_REPLAY='create-minimal crash@17 seed=3' cargo test -p kok-sim --test simulate -- --nocapture` tells one run.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a test

use kok_sim::fault::Plan;
use kok_sim::oracle::judge;
use kok_sim::run::{Options, Run, run};

fn play(plan: &str) -> Run {
    let plan: Plan = plan.parse().unwrap();
    run(&plan, &Options::default()).unwrap()
}

/// The story of a run, for a reader.
fn story(run: &Run) -> String {
    let entries: Vec<String> = run.entries.iter().map(ToString::to_string).collect();
    format!("{}\n{}", run.plan, entries.join("\n"))
}

#[test]
fn a_cluster_is_made_without_a_fault() {
    let plan = std::env::var("KOK_SIM_REPLAY").unwrap_or_else(|_| "create-minimal seed=1".into());
    let run = play(&plan);
    println!("{}", story(&run));
    println!(
        "{} calls, {} writes, {} ms of virtual time",
        run.calls, run.writes, run.lasted
    );
    assert_eq!(judge(&run, None), Vec::<String>::new());
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let (first, second) = (play("create-minimal seed=5"), play("create-minimal seed=5"));
    assert_eq!(story(&first), story(&second));
}

#[test]
fn a_crash_after_any_write_leads_to_the_same_cluster() {
    let reference = play("create-minimal seed=1");
    let mut wrong = Vec::new();
    for write in 1..=reference.writes {
        let crashed = play(&format!("create-minimal crash@{write} seed=1"));
        let complaints = judge(&crashed, Some(&reference));
        if !complaints.is_empty() {
            wrong.push(format!("{}: {complaints:?}", crashed.plan));
        }
    }
    println!("{} crashes", reference.writes);
    assert_eq!(wrong, Vec::<String>::new());
}
