//! The linter of machine plans finds what it is there for: each good plan is spoilt in one way.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod machine;

use kok_api::machine_status::OperationKind;
use kok_plan::host::{Content, Secret, Step, UnitAction};
use kok_plan::machine::lint::violations;
use kok_plan::machine::view::{Host, MachineView};
use kok_plan::machine::{Action, Plan, Run, plan};
use machine::World;
use machine::mirror::declared;

fn run(plan: &mut Plan) -> &mut Run {
    let run = plan.actions.iter_mut().find_map(|action| match action {
        Action::Run(run) => Some(run),
        _ => None,
    });
    run.unwrap()
}

fn secret_step(plan: &mut Plan) -> &mut Step {
    let mut steps = run(plan).operation.steps.iter_mut();
    steps
        .find(|step| {
            matches!(
                step,
                Step::WriteFile {
                    content: Content::Slot(_),
                    ..
                }
            )
        })
        .unwrap()
}

/// A bare host that is about to join.
fn joining() -> (MachineView, Plan) {
    let mut world = World::new(1);
    world.pass(0).unwrap();
    planned(&world)
}

/// A Node that serves and is about to be restarted.
fn updating() -> (MachineView, Plan) {
    let mut world = World::joined();
    world.defaults.as_mut().unwrap().packages[1] = declared("containerd", "2.5.0");
    planned(&world)
}

fn planned(world: &World) -> (MachineView, Plan) {
    let view = world.fresh_view(0);
    let plan = plan(&view, &world.catalog);
    assert_eq!(violations(&view, &plan), Vec::<String>::new());
    assert!(plan.actions.iter().any(|action| matches!(action, Action::Run(_))));
    (view, plan)
}

type Good = fn() -> (MachineView, Plan);
type Spoil = fn(&mut MachineView, &mut Plan);

const SPOILT: &[(&str, Good, Spoil)] = &[
    ("a secret in a plan", joining, |_, plan| {
        if let Step::WriteFile { content, .. } = secret_step(plan) {
            *content = Content::Filled {
                slot: "bootstrap-kubeconfig".into(),
                secret: Secret::new("x"),
            };
        }
    }),
    ("a secret that others may read", joining, |_, plan| {
        if let Step::WriteFile { mode, .. } = secret_step(plan) {
            *mode = 0o644;
        }
    }),
    ("a secret without a source", joining, |_, plan| {
        run(plan).secrets.clear();
    }),
    ("a host that is not claimed", joining, |_, plan| {
        drop(run(plan).operation.steps.remove(0));
    }),
    ("another owner's host", joining, |view, _| {
        if let Host::Answered(answer) = &mut view.host {
            let mut owner = run(&mut joining().1).operation.owner.clone();
            owner.cluster = "another".into();
            answer.facts.owner = Some(owner);
        }
    }),
    ("signed by another Machine", joining, |_, plan| {
        run(plan).operation.owner.machine = "another".into();
    }),
    ("an older operator", joining, |_, plan| {
        run(plan).operation.generation = 0;
    }),
    ("not announced", joining, |_, plan| plan.status.operation = None),
    ("a host that did not answer", joining, |view, _| {
        view.host = Host::NotAsked;
    }),
    ("two operations at once", joining, |_, plan| {
        let twice = plan.actions.last().unwrap().clone();
        plan.actions.push(twice);
    }),
    ("a paused Machine", joining, |view, _| {
        view.machine.spec.paused = Some(kok_api::cluster::Paused { reason: "x".into() });
    }),
    ("a malformed step", joining, |_, plan| {
        run(plan)
            .operation
            .steps
            .push(Step::RemovePath { path: "/etc".into() });
    }),
    ("a reset of a Machine that stays", updating, |_, plan| {
        run(plan).kind = OperationKind::Reset;
    }),
    ("no reservation", updating, |_, plan| run(plan).reservation = None),
    ("a reservation beyond the budget", updating, |_, plan| {
        run(plan).reservation.as_mut().unwrap().max_unavailable = Some(2);
    }),
    ("no room in the budget", updating, |view, _| {
        view.fleet.unavailable = 1;
    }),
    ("a stop without a reservation", updating, |_, plan| {
        run(plan).reservation = None;
        run(plan).operation.steps = vec![Step::Unit {
            name: "kubelet.service".into(),
            action: UnitAction::Stop,
        }];
    }),
    (
        "a Node deleted under a Machine that stays",
        updating,
        |view, plan| {
            let node = view.own_node().unwrap();
            plan.actions.push(Action::DeleteNode {
                name: node.name.clone(),
                uid: node.uid.clone(),
                resource_version: node.resource_version.clone(),
                reason: String::new(),
            });
        },
    ),
    ("the finalizer of a Machine that stays", updating, |_, plan| {
        plan.actions.push(Action::RemoveFinalizer);
    }),
];

#[test]
fn every_spoilt_plan_is_found() {
    for (what, good, spoil) in SPOILT {
        let (mut view, mut plan) = good();
        spoil(&mut view, &mut plan);
        assert!(!violations(&view, &plan).is_empty(), "{what} goes unnoticed");
    }
}
