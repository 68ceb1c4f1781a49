//! Which operations a host accepts: whose, which generation, one at a time, and only whole.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod world;

use std::io::BufRead as _;

use kok_plan::host::{FactsQuery, Operation, OperationOutcome, Owner, Refusal, Secret, Step, StepOutcome};
use world::{World, operation, owner, write};

fn refused(world: &World, operation: &Operation) -> Refusal {
    let before = world.tree();
    let result = world.apply(operation);
    assert_eq!(world.tree(), before, "refused, and nothing was written");
    assert!(
        result
            .steps
            .iter()
            .all(|step| step.outcome == StepOutcome::NotRun)
    );
    match result.outcome {
        OperationOutcome::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_host_has_one_owner_and_heeds_no_older_generation() {
    let world = World::new();
    let mut unclaimed = operation("x", vec![write("/opt/x", "1")]);
    unclaimed.steps.remove(0);
    assert_eq!(refused(&world, &unclaimed), Refusal::NotClaimed);

    world.done(&operation("first", vec![write("/opt/x", "1")]));
    world.done(&unclaimed);
    let other = Owner {
        cluster: "c-2".into(),
        ..owner()
    };
    let mut theirs = operation("theirs", vec![write("/opt/x", "2")]);
    theirs.owner = other.clone();
    theirs.generation = 100;
    let refusal = refused(&world, &theirs);
    assert_eq!(refusal, Refusal::Conflict(owner()));
    assert!(refusal.to_string().contains("payments/node 1"), "{refusal}");

    let mut older = operation("older", vec![write("/opt/x", "2")]);
    older.generation = 6;
    assert_eq!(refused(&world, &older), Refusal::OlderGeneration { seen: 7 });
    let reused = operation("x", vec![write("/opt/x", "3")]);
    assert_eq!(refused(&world, &reused), Refusal::IdReused);

    // Released by its owner's word, it may be taken over, whatever generation that owner counted.
    theirs.generation = 1;
    theirs.steps[0] = Step::Claim {
        replaces: Some(owner()),
    };
    world.done(&theirs);
    assert_eq!(world.facts(&FactsQuery::default()).unwrap().owner, Some(other));
    let ours = operation("mine", vec![]);
    assert!(matches!(refused(&world, &ours), Refusal::Conflict(_)));
}

#[test]
fn a_released_host_is_as_it_was() {
    let world = World::new();
    let mut release = operation("leave", vec![Step::Release]);
    world.done(&release);
    let left: Vec<String> = world
        .tree()
        .into_keys()
        .filter(|path| path.contains("kube-on-kube"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(world.facts(&FactsQuery::default()).unwrap().owner, None);
    release.steps.remove(0);
    assert_eq!(refused(&world, &release), Refusal::NotClaimed);
}

#[test]
fn operations_never_overlap_even_when_the_first_runner_is_dead() {
    let world = World::new();
    world.done(&operation("claim", vec![]));
    let path = world.path("/run/lock/kube-on-kube.lock");
    // What a killed runner had started still holds the lock.
    let mut orphan = std::process::Command::new("sh")
        .args([
            "-c",
            "exec 9>>\"$1\" && flock 9 && echo locked && exec sleep 600",
            "sh",
        ])
        .arg(&path)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(orphan.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let refusal = refused(&world, &operation("second", vec![write("/opt/x", "1")]));
    let busy = world.facts(&FactsQuery::default()).unwrap().busy;
    orphan.kill().unwrap();
    orphan.wait().unwrap();
    assert_eq!(refusal, Refusal::Busy);
    assert!(busy);
    world.done(&operation("second", vec![write("/opt/x", "1")]));
}

#[test]
fn a_request_that_was_cut_off_does_nothing() {
    let world = World::new();
    let operation = operation("cut", vec![write("/opt/x", "1"), write("/opt/y", "1")]);
    let call = kok_host::runner::Call::operation(&operation, "n");
    let whole = call.stdin.expose().to_vec();
    let script = whole.len() - 600;
    let before = world.tree();
    for end in [10, script / 2, script, whole.len() - 5] {
        let cut = kok_host::runner::Call {
            argv: call.argv.clone(),
            stdin: Secret::new(&whole[..end]),
            nonce: "n".into(),
        };
        let run = world.run(&cut);
        assert_ne!(run.code, Some(0), "cut at {end} of {}", whole.len());
        assert_eq!(world.tree(), before);
    }
    world.done(&operation);
}
