//! Applied plans must lead to a Ready node, and from there to an empty plan; whatever is cut off on the way, the end is the
//! same. The linter runs in debug builds, at every pass.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod machine;

use kok_api::machine_status::OperationOutcome;
use machine::{BOOTSTRAP_CONF, CNI_CONF, Cut, KUBELET_CONF, World};

const CONDITIONS: [(&str, &str); 8] = [
    ("Reachable", "True"),
    ("HostKeyVerified", "True"),
    ("PreflightPassed", "True"),
    ("PackagesInSync", "True"),
    ("Joined", "True"),
    ("NodeReady", "True"),
    ("Repairing", "False"),
    ("Ready", "True"),
];

fn assert_ready(world: &World, index: usize) {
    for (type_, status) in CONDITIONS {
        let (found, reason, message) = world.condition(index, type_);
        assert_eq!(
            found,
            status,
            "{type_}: {reason}: {message}; {:#?}",
            world.status(index).conditions
        );
    }
    let host = &world.sites[index].host;
    for unit in ["containerd.service", "kubelet.service"] {
        assert!(host.runs(unit), "{unit}");
        assert_eq!(
            host.units[unit].started_with,
            host.inputs(unit),
            "{unit} runs with what is there"
        );
    }
    assert_eq!(host.text(BOOTSTRAP_CONF), None, "the bootstrap kubeconfig stays");
}

fn joined(count: usize) -> World {
    let mut world = World::new(count);
    world.settle();
    for index in 0..count {
        assert_ready(&world, index);
    }
    world
}

/// Downloads, unpackings and installations of a host: what must not happen twice.
fn installs(world: &World, index: usize) -> Vec<String> {
    let mut installs: Vec<String> = world.sites[index]
        .host
        .changes
        .iter()
        .filter(|change| {
            ["fetch", "unpack", "install"]
                .iter()
                .any(|verb| change.starts_with(verb))
        })
        .cloned()
        .collect();
    installs.sort();
    installs
}

#[test]
fn a_bare_host_becomes_a_ready_node_and_stays_one_without_a_write() {
    let mut world = joined(1);
    assert!(
        world.tokens.is_empty(),
        "tokens go once they have done their work"
    );
    assert!(
        world.sites[0]
            .host
            .text(CNI_CONF)
            .unwrap()
            .contains("10.32.1.0/24")
    );
    let node = &world.nodes["node1"];
    assert_eq!(node.labels["kubeonkube.io/machine"], "node1");
    assert_eq!(node.labels["kubeonkube.io/idc"], "hz-a");
    let (before, done) = (world.status(0), world.done.len());
    for _ in 0..5 {
        world.tick(300);
        let plan = world.pass(0).unwrap();
        assert_eq!(plan.actions, []);
        assert_eq!(plan.status, before);
    }
    assert_eq!(world.done.len(), done);
}

#[test]
fn a_join_takes_one_operation_and_one_more_for_what_only_the_node_knows() {
    let world = joined(1);
    let runs: Vec<&String> = world.done.iter().filter(|it| it.contains(" Run ")).collect();
    // Install and join; the network's range; the bootstrap kubeconfig goes.
    assert!(runs.len() <= 3, "{runs:#?}");
}

#[test]
fn a_crash_after_any_action_or_step_leads_to_the_same_node() {
    let reference = joined(1);
    let host = reference.sites[0].host.snapshot();
    let cuts = (1..=reference.actions())
        .map(Cut::Action)
        .chain((0..=reference.steps()).map(Cut::Step))
        .chain((1..=reference.operations()).map(Cut::Operation));
    for cut in cuts {
        let mut world = World::new(1);
        world.cut = Some(cut);
        world.settle();
        assert_ready(&world, 0);
        assert_eq!(world.sites[0].host.snapshot(), host, "{cut:?}");
        assert_eq!(
            installs(&world, 0),
            installs(&reference, 0),
            "{cut:?}: installed twice"
        );
        assert!(world.tokens.is_empty(), "{cut:?}: a token stays");
    }
}

#[test]
fn what_became_of_an_operation_whose_operator_died_is_read_from_the_host() {
    for (cut, result) in [
        (Cut::Operation(1), OperationOutcome::Succeeded),
        (Cut::Step(12), OperationOutcome::Unknown),
    ] {
        let mut world = World::new(1);
        world.cut = Some(cut);
        world.settle();
        let records = world.status(0).last_operations;
        assert_eq!(records.last().unwrap().result, result, "{cut:?} {records:#?}");
    }
}

#[test]
fn an_upgrade_survives_any_cut_too() {
    let upgrade = |world: &mut World| {
        let defaults = world.defaults.as_mut().unwrap();
        defaults.packages[1] = machine::mirror::declared("containerd", "2.5.0");
        defaults.packages[3] = machine::mirror::declared("kubelet", "1.35.4");
    };
    let mut reference = joined(1);
    let (actions, steps, operations) = (reference.actions(), reference.steps(), reference.operations());
    upgrade(&mut reference);
    let before = reference.clone();
    reference.settle();
    assert_ready(&reference, 0);
    let host = reference.sites[0].host.snapshot();
    let cuts = (actions + 1..=reference.actions())
        .map(Cut::Action)
        .chain((steps..=reference.steps()).map(Cut::Step))
        .chain((operations + 1..=reference.operations()).map(Cut::Operation));
    let mut tried = 0;
    for cut in cuts {
        let mut world = before.clone();
        world.cut = Some(cut);
        world.settle();
        assert_ready(&world, 0);
        assert_eq!(world.sites[0].host.snapshot(), host, "{cut:?}");
        assert_eq!(
            installs(&world, 0),
            installs(&reference, 0),
            "{cut:?}: installed twice"
        );
        assert!(!world.nodes["node1"].unschedulable, "{cut:?}: left cordoned");
        tried += 1;
    }
    assert!(tried > 15, "{tried}");
}

#[test]
fn removal_survives_any_cut_and_leaves_nothing() {
    let mut reference = joined(1);
    let before = reference.clone();
    let (actions, steps, operations) = (reference.actions(), reference.steps(), reference.operations());
    reference.delete(0);
    reference.settle();
    let gone = |world: &World, what: &str| {
        let site = &world.sites[0];
        assert!(!site.exists, "{what}");
        assert!(world.nodes.is_empty() && world.tokens.is_empty(), "{what}");
        let left = site.host.snapshot();
        assert_eq!(
            left.into_iter().collect::<Vec<_>>(),
            [("owner".to_owned(), "nobody".to_owned())],
            "{what}"
        );
    };
    gone(&reference, "without a cut");
    let cuts = (actions + 1..=reference.actions())
        .map(Cut::Action)
        .chain((steps..=reference.steps()).map(Cut::Step))
        .chain((operations + 1..=reference.operations()).map(Cut::Operation));
    for cut in cuts {
        let mut world = before.clone();
        world.delete(0);
        world.cut = Some(cut);
        world.settle();
        gone(&world, &format!("{cut:?}"));
    }
}

#[test]
fn a_half_joined_host_is_removed_from_every_stage() {
    let reference = joined(1);
    for cut in (1..=reference.actions())
        .map(Cut::Action)
        .chain((0..=reference.steps()).map(Cut::Step))
    {
        let mut world = World::new(1);
        world.cut = Some(cut);
        // Until the cut, and not a pass further.
        for _ in 0..60 {
            let before = world.done.len();
            let cut_off = world.pass(0).is_err();
            let lost = world.done[before..].iter().any(|it| it.contains("Unknown"));
            if cut_off || lost {
                break;
            }
            world.tick(2);
        }
        world.cut = None;
        world.delete(0);
        world.settle();
        let left = world.sites[0].host.snapshot();
        assert!(!world.sites[0].exists, "{cut:?}");
        assert_eq!(left.len(), 1, "{cut:?}: {left:?}");
        assert!(world.nodes.is_empty() && world.tokens.is_empty(), "{cut:?}");
    }
}

#[test]
fn a_host_whose_token_expired_before_anybody_approved_gets_another_one() {
    let mut world = World::new(1);
    world.until(|world| world.done.iter().any(|it| it.contains(" Run join")));
    let first = world.tokens.keys().next().unwrap().clone();
    // Nobody approves for twenty minutes.
    world.tick(2);
    assert_eq!(world.requests.len(), 1);
    assert!(
        world.sites[0].host.text(KUBELET_CONF).is_some(),
        "a kubelet writes it while it waits"
    );
    world.tick(1200);
    world.settle();
    assert_ready(&world, 0);
    let minted: Vec<&String> = world.done.iter().filter(|it| it.contains("MintToken")).collect();
    assert_eq!(minted.len(), 2, "{minted:?}");
    assert!(!minted[1].contains(&first));
    assert!(world.tokens.is_empty());
}

#[test]
fn a_host_that_joins_again_after_it_was_released_becomes_ready() {
    let mut world = joined(1);
    world.delete(0);
    world.settle();
    let host = world.sites[0].host.clone();
    world.sites.clear();
    world.decided.clear();
    world.add(1);
    world.sites[0].host = host;
    world.sites[0].machine.metadata.uid = Some("uid-second".into());
    world.settle();
    assert_ready(&world, 0);
    assert!(world.sites[0].host.text(KUBELET_CONF).is_some());
}
