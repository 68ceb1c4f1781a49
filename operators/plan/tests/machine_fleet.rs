//! Many machines: budgets hold whatever comes together, one bad host delays no other, and what is outside of them is not mended
//! on them.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod machine;

use std::sync::LazyLock;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kok_plan::machine::view::Silence;
use machine::World;
use machine::mirror::declared;
use proptest::prelude::*;

fn joined(count: usize) -> World {
    let mut world = World::new(count);
    world.settle();
    world.tick(700);
    world.done.clear();
    world.most_unavailable = 0;
    world
}

fn kubelets(world: &World) -> Vec<String> {
    world
        .nodes
        .values()
        .map(|node| node.kubelet_version.clone())
        .collect()
}

fn limit(world: &mut World, max_unavailable: IntOrString, max_concurrent: i32) {
    let defaults = world.defaults.as_mut().unwrap();
    defaults.max_unavailable = max_unavailable;
    defaults.max_concurrent = max_concurrent;
}

/// Passes of all machines for so many seconds.
fn let_run(world: &mut World, seconds: u64) {
    for _ in 0..seconds / 2 {
        for index in 0..world.sites.len() {
            if world.sites[index].exists {
                world.pass(index).unwrap();
            }
        }
        world.tick(2);
    }
}

#[test]
fn an_update_never_takes_more_machines_than_allowed() {
    let six = joined(6);
    for (max_unavailable, max_concurrent, most) in [
        (IntOrString::Int(1), 10, 1),
        (IntOrString::Int(3), 10, 3),
        (IntOrString::Int(3), 2, 2),
        (IntOrString::String("50%".into()), 10, 3),
    ] {
        let mut world = six.clone();
        limit(&mut world, max_unavailable.clone(), max_concurrent);
        world.defaults.as_mut().unwrap().packages[3] = declared("kubelet", "1.35.4");
        world.settle();
        assert_eq!(kubelets(&world), vec!["v1.35.4"; 6]);
        assert!(
            world.most_unavailable <= most,
            "{max_unavailable:?} {max_concurrent}: {} at once",
            world.most_unavailable
        );
        assert!(world.nodes.values().all(|node| !node.unschedulable));
    }
}

#[test]
fn machines_that_are_down_for_another_reason_take_up_the_budget() {
    let mut world = joined(4);
    limit(&mut world, IntOrString::Int(1), 10);
    world.nodes.get_mut("node3").unwrap().unschedulable = true;
    world.defaults.as_mut().unwrap().packages[1] = declared("containerd", "2.5.0");
    let_run(&mut world, 120);
    let updated = |world: &World, index: usize| {
        world.sites[index]
            .host
            .inputs("containerd.service")
            .contains("2.5.0")
    };
    // The cordoned one takes no pods anyway; the others wait for it.
    assert!(updated(&world, 2));
    assert!(!updated(&world, 0) && !updated(&world, 1) && !updated(&world, 3));
    let (_, reason, message) = world.condition(0, "PackagesInSync");
    assert_eq!(reason, "WaitingForBudget", "{message}");
    world.nodes.get_mut("node3").unwrap().unschedulable = false;
    world.settle();
    assert!((0..4).all(|index| updated(&world, index)));
}

#[test]
fn a_change_that_disturbs_nobody_waits_for_nobody() {
    let mut world = joined(4);
    limit(&mut world, IntOrString::Int(1), 1);
    world.nodes.get_mut("node1").unwrap().unschedulable = true;
    world.defaults.as_mut().unwrap().packages[0] = declared("runc", "1.3.5");
    world.settle();
    for site in &world.sites {
        assert!(site.host.links["/usr/local/sbin/runc"].contains("1.3.5"));
    }
}

#[test]
fn when_many_fail_together_none_is_repaired_until_most_are_back() {
    let mut world = joined(6);
    for index in 0..3 {
        world.sites[index].host.stop("kubelet.service");
    }
    world.tick(2);
    let_run(&mut world, 300);
    assert_eq!(world.runs(), Vec::<&String>::new());
    let (status, reason, message) = world.condition(0, "Repairing");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "RepairsFrozen"));
    assert!(message.contains("3 of 6 machines fail together"), "{message}");
    // Two come back by hand; the third one is repaired then.
    for index in 0..2 {
        world.sites[index]
            .host
            .units
            .get_mut("kubelet.service")
            .unwrap()
            .active = true;
    }
    world.settle();
    assert!(world.sites[2].host.runs("kubelet.service"));
    assert_eq!(world.runs().len(), 1);
}

#[test]
fn in_a_small_cluster_the_one_machine_that_fails_is_repaired() {
    for count in [1, 2] {
        let mut world = joined(count);
        world.sites[0].host.stop("kubelet.service");
        world.tick(2);
        world.settle();
        assert!(world.sites[0].host.runs("kubelet.service"), "of {count}");
    }
}

#[test]
fn one_silent_host_delays_no_other() {
    let mut world = World::new(4);
    world.sites[1].reachable = Some(Silence::Unreachable);
    world.settle();
    for index in [0, 2, 3] {
        assert_eq!(world.condition(index, "Ready").0, "True");
    }
    assert_eq!(world.condition(1, "Reachable").0, "False");
    // It never joined, so it takes no place in the budget either.
    world.defaults.as_mut().unwrap().packages[1] = declared("containerd", "2.5.0");
    world.settle();
    for index in [0, 2, 3] {
        assert!(
            world.sites[index]
                .host
                .inputs("containerd.service")
                .contains("2.5.0")
        );
    }
}

#[test]
fn adding_one_machine_costs_the_others_nothing() {
    let mut world = joined(3);
    world.add(4);
    world.settle();
    assert_eq!(world.condition(3, "Ready").0, "True");
    assert!(
        world.done.iter().all(|it| it.starts_with("node4")),
        "{:#?}",
        world.done
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// Whatever breaks while whatever is updated: the budget holds for what we do, and at the end all is well.
    #[test]
    fn budgets_hold_and_everything_converges(
        faults in prop::collection::vec((0usize..4, 0usize..5, 0u64..40), 0..6),
        update in 0usize..3,
    ) {
        static JOINED: LazyLock<World> = LazyLock::new(|| joined(4));
        let mut world = JOINED.clone();
        limit(&mut world, IntOrString::Int(2), 2);
        world.freeze_percent = 100;
        let packages = &mut world.defaults.as_mut().unwrap().packages;
        match update {
            0 => packages[1] = declared("containerd", "2.5.0"),
            1 => packages[3] = declared("kubelet", "1.35.4"),
            _ => drop(packages[3].params.insert("maxPods".into(), "50".into())),
        }
        for (index, fault, later) in faults {
            let_run(&mut world, later);
            let host = &mut world.sites[index].host;
            match fault {
                0 => host.stop("kubelet.service"),
                1 => host.stop("containerd.service"),
                2 => host.write("/var/lib/kubelet/config.yaml", "x", 0o644),
                3 => host.reboot(),
                _ => host.owner = None,
            }
        }
        world.settle();
        for index in 0..4 {
            let (status, reason, message) = world.condition(index, "Ready");
            prop_assert_eq!(status, "True", "{} {}", reason, message);
            let (status, reason, message) = world.condition(index, "PackagesInSync");
            prop_assert_eq!(status, "True", "{} {}", reason, message);
            let host = &world.sites[index].host;
            for unit in ["kubelet.service", "containerd.service"] {
                prop_assert_eq!(&host.units[unit].started_with, &host.inputs(unit));
            }
        }
        // The plan of an applied plan is empty.
        for index in 0..4 {
            let plan = world.pass(index).unwrap();
            prop_assert_eq!(plan.actions, vec![]);
        }
    }
}
