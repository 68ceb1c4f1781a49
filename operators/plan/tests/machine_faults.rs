//! What breaks on a host is mended: drift at once, ailments step by step and not for ever.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod machine;

use kok_api::machine_status::{MachinePhase, RepairAction};
use kok_plan::machine::Action;
use kok_plan::machine::view::{NodeReady, Silence};
use machine::host::Host;
use machine::{CNI_CONF, KUBELET_CONF, World};
use rstest::rstest;

const KUBELET: &str = "kubelet.service";
const CONTAINERD: &str = "containerd.service";
const KUBELET_CONFIG: &str = "/var/lib/kubelet/config.yaml";

type Fault = fn(&mut Host);

/// What is done to a host, and the unit that must be restarted for it.
const DRIFT: &[(&str, Fault, &str)] = &[
    (
        "config edited",
        |host| host.write(KUBELET_CONFIG, "maxPods: 1", 0o644),
        KUBELET,
    ),
    (
        "config gone",
        |host| drop(host.files.remove("/etc/containerd/config.toml")),
        CONTAINERD,
    ),
    (
        "mode changed",
        |host| host.files.get_mut(KUBELET_CONFIG).unwrap().mode = 0o666,
        KUBELET,
    ),
    (
        "unit edited",
        |host| host.write("/etc/systemd/system/kubelet.service", "[Service]", 0o644),
        KUBELET,
    ),
    (
        "downgraded",
        |host| {
            let old = "/opt/kube-on-kube/kubelet/1.35.4/kubelet";
            host.links.insert("/usr/local/bin/kubelet".into(), old.into());
        },
        KUBELET,
    ),
    (
        "replaced by a file",
        |host| host.write("/usr/local/bin/containerd", "another", 0o755),
        CONTAINERD,
    ),
    (
        "binary deleted",
        |host| drop(host.files.remove("/opt/kube-on-kube/kubelet/1.36.3/kubelet")),
        KUBELET,
    ),
    (
        "archive damaged",
        |host| drop(host.files.remove("/opt/kube-on-kube/containerd/2.4.2/bin/ctr")),
        CONTAINERD,
    ),
    (
        "disabled",
        |host| host.units.get_mut(KUBELET).unwrap().enabled = false,
        "",
    ),
    (
        "network config gone",
        |host| drop(host.files.remove(CNI_CONF)),
        "",
    ),
    ("claim removed", |host| host.owner = None, ""),
    (
        "kernel parameters gone",
        |host| {
            drop(
                host.files
                    .remove("/etc/sysctl.d/90-kube-on-kube-cni-plugins.conf"),
            );
        },
        "",
    ),
];

#[test]
fn drift_is_undone_in_one_operation() {
    let joined = World::joined();
    let snapshot = |world: &World| {
        let mut all = world.sites[0].host.snapshot();
        // What was in use before is noted, wherever it came from.
        all.retain(|path, _| !path.ends_with("/previous"));
        all
    };
    let before = snapshot(&joined);
    let starts = |world: &World, unit: &str| world.sites[0].host.units[unit].starts;
    for (what, fault, restarted) in DRIFT {
        let mut world = joined.clone();
        fault(&mut world.sites[0].host);
        world.settle();
        assert_eq!(snapshot(&world), before, "{what}");
        assert_eq!(world.runs().len(), 1, "{what}: {:#?}", world.done);
        for unit in [CONTAINERD, KUBELET] {
            let more = starts(&world, unit) - starts(&joined, unit);
            assert_eq!(more, u32::from(unit == *restarted), "{what}: restarts of {unit}");
        }
        assert_eq!(world.condition(0, "Ready").0, "True", "{what}");
    }
}

#[test]
fn a_binary_that_was_overwritten_is_found_by_its_digest_and_replaced() {
    let mut world = World::joined();
    let path = "/opt/kube-on-kube/kubelet/1.36.3/kubelet";
    world.sites[0]
        .host
        .write(path, "Kubernetes v1.36.3 with a back door", 0o755);
    world.settle();
    assert_eq!(world.sites[0].host.text(path), Some("Kubernetes v1.36.3"));
    assert_eq!(world.runs().len(), 1, "{:#?}", world.done);
    // The same for a file out of an archive, whose own digest nobody declares.
    let path = "/opt/kube-on-kube/containerd/2.4.2/bin/containerd-shim-runc-v2";
    world.sites[0].host.write(path, "shim with a back door", 0o755);
    world.settle();
    assert_eq!(world.sites[0].host.text(path), Some("shim 2.4.2"));
}

#[rstest]
#[case("kubelet.service")]
#[case("containerd.service")]
fn a_stopped_unit_is_started_and_nothing_else_is_touched(#[case] unit: &str) {
    let mut world = World::joined();
    world.sites[0].host.stop(unit);
    world.tick(2);
    world.settle();
    assert!(world.sites[0].host.runs(unit));
    let runs = world.runs();
    assert_eq!(runs.len(), 1, "{runs:#?}");
    assert!(runs[0].contains("StartUnits"), "{runs:#?}");
    assert_eq!(world.sites[0].host.changes, [format!("start {unit}")]);
    assert_eq!(world.condition(0, "Ready").0, "True");
    assert_eq!(
        world.status(0).repair,
        None,
        "forgotten once it is healthy for long"
    );
}

/// A node that stays NotReady although everything on the host is as it shall be.
fn ailing() -> World {
    let mut world = World::joined();
    let node = world.nodes.get_mut("node1").unwrap();
    node.ready = NodeReady::False;
    node.ready_since = Some(world.now);
    node.ready_message = "PLEG is not healthy".into();
    world
}

#[test]
fn the_ladder_goes_up_one_rung_at_a_time_with_time_between_and_ends_with_evidence() {
    let mut world = ailing();
    let mut rungs = Vec::new();
    let mut times = Vec::new();
    for _ in 0..1200 {
        // The fault stays whatever is done.
        let node = world.nodes.get_mut("node1").unwrap();
        node.ready = NodeReady::False;
        node.ready_since = Some(node.ready_since.unwrap().min(world.now));
        let plan = world.pass(0).unwrap();
        if let Some(repair) = &plan.status.repair
            && rungs.last() != Some(&repair.last_action)
        {
            rungs.push(repair.last_action);
            times.push(world.now);
        }
        let since = world.nodes["node1"].ready_since;
        world.tick(2);
        world.nodes.get_mut("node1").unwrap().ready_since = since;
    }
    assert_eq!(
        rungs,
        [
            RepairAction::RestartUnits,
            RepairAction::Reassert,
            RepairAction::Rebootstrap,
            RepairAction::GiveUp
        ]
    );
    for pair in times.windows(2) {
        assert!(pair[1].duration_since(pair[0]).as_secs() >= 120, "{times:?}");
    }
    let (status, reason, message) = world.condition(0, "Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "RepairsExhausted"));
    assert!(
        message.contains("PLEG") && message.contains("kubelet.service") && message.contains("MiB free"),
        "{message}"
    );
    assert!(message.contains("a line of the journal"), "{message}");
    assert_eq!(world.status(0).phase, Some(MachinePhase::Failed));
    assert_eq!(world.runs().len(), 3, "{:#?}", world.done);
    // A change of the spec allows all of it again.
    world.edit(0, |spec| spec.idc = Some("hz-b".into()));
    world.nodes.get_mut("node1").unwrap().ready = NodeReady::False;
    let plan = world.pass(0).unwrap();
    assert_eq!(
        plan.status.repair.unwrap().last_action,
        RepairAction::RestartUnits
    );
}

#[test]
fn an_expired_certificate_is_diagnosed_and_replaced_at_once() {
    let mut world = World::joined();
    world.sites[0].host.certificate_expired = true;
    world.tick(2);
    world.tick(70);
    world.until(|world| world.condition(0, "Ready").0 == "True");
    let runs = world.runs();
    assert!(runs[0].contains("Rebootstrap"), "{runs:#?}");
    assert!(world.sites[0].host.text(KUBELET_CONF).is_some());
    world.settle();
    assert!(world.tokens.is_empty());
}

#[test]
fn a_node_object_that_was_deleted_is_registered_again() {
    let mut world = World::joined();
    world.nodes.clear();
    // This kubelet registers again by itself; the Machine must not take its Node's absence for its own end.
    world.tick(2);
    world.settle();
    assert_eq!(world.condition(0, "Ready").0, "True");
    assert_eq!(world.nodes["node1"].labels["kubeonkube.io/machine"], "node1");
    assert!(world.sites[0].host.owner.is_some());
}

#[test]
fn a_silent_host_with_a_ready_node_is_left_alone_and_one_without_says_what_it_is() {
    let mut world = World::joined();
    world.sites[0].reachable = Some(Silence::Unreachable);
    world.settle();
    assert_eq!(world.done, Vec::<String>::new());
    assert_eq!(world.condition(0, "Reachable").0, "False");
    assert_eq!(world.condition(0, "Ready").0, "True", "its node works");
    world.sites[0].host.stop("kubelet.service");
    world.tick(2);
    world.settle();
    assert_eq!(world.runs().len(), 0);
    let (status, _, message) = world.condition(0, "Ready");
    assert_eq!(status, "False");
    assert!(message.contains("does not answer"), "{message}");
    assert_eq!(world.status(0).phase, Some(MachinePhase::Unreachable));
    world.sites[0].reachable = None;
    world.settle();
    assert_eq!(world.condition(0, "Ready").0, "True");
}

#[test]
fn a_changed_host_key_stops_everything_and_says_how_to_accept_it() {
    let mut world = World::joined();
    world.sites[0].host.stop("kubelet.service");
    world.sites[0].reachable = Some(Silence::HostKeyMismatch);
    world.settle();
    assert_eq!(world.runs().len(), 0);
    let (status, reason, message) = world.condition(0, "HostKeyVerified");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "HostKeyMismatch"));
    assert!(
        message.contains("nothing was sent") && message.contains("spec.ssh.hostKey"),
        "{message}"
    );
    assert_eq!(
        world.status(0).host_key.as_deref(),
        Some("ssh-ed25519 AAAA"),
        "the recorded key stays"
    );
}

#[test]
fn a_reboot_by_somebody_else_costs_no_operation() {
    let mut world = World::joined();
    world.sites[0].host.reboot();
    world.tick(2);
    world.settle();
    assert_eq!(world.runs().len(), 0, "{:#?}", world.done);
    assert_eq!(world.condition(0, "Ready").0, "True");
    assert_eq!(world.status(0).boot_id, Some(world.sites[0].host.boot_id()));
}

#[test]
fn a_paused_machine_is_looked_at_and_not_touched() {
    let mut world = World::joined();
    world.edit(0, |spec| {
        spec.paused = Some(kok_api::cluster::Paused {
            reason: "by hand".into(),
        });
    });
    world.sites[0].host.stop("kubelet.service");
    world.sites[0]
        .host
        .write("/var/lib/kubelet/config.yaml", "x", 0o644);
    world.tick(2);
    world.settle();
    assert_eq!(world.done, Vec::<String>::new());
    assert_eq!(world.condition(0, "PackagesInSync").0, "False");
    assert_eq!(world.status(0).phase, Some(MachinePhase::Paused));
    world.edit(0, |spec| spec.paused = None);
    world.settle();
    assert_eq!(world.condition(0, "Ready").0, "True");
}

#[test]
fn a_request_that_asks_for_too_much_is_denied_and_a_strangers_is_left() {
    let mut world = World::joined();
    let mut bad = kok_plan::machine::view::CsrFacts {
        name: "bad".into(),
        uid: "u".into(),
        resource_version: "1".into(),
        signer: "kubernetes.io/kubelet-serving".into(),
        username: "system:node:node1".into(),
        groups: vec!["system:nodes".into()],
        usages: vec!["digital signature".into(), "server auth".into()],
        expiration_seconds: None,
        request: Err("not a certificate request".into()),
    };
    world.requests.insert("bad".into(), bad.clone());
    bad.name = "stranger".into();
    bad.username = "system:node:node2".into();
    world.requests.insert("stranger".into(), bad);
    world.settle();
    assert_eq!(world.decided.get("bad"), Some(&false));
    assert_eq!(world.decided.get("stranger"), None);
    assert!(world.done.iter().all(|it| !it.contains("Approve")));
}

#[test]
fn an_action_tells_what_it_does_without_a_secret() {
    let mut world = World::new(1);
    let mut told = String::new();
    for _ in 0..6 {
        let plan = world.pass(0).unwrap();
        told.push_str(&serde_json::to_string(&plan).unwrap());
        for action in &plan.actions {
            told.push_str(&action.to_string());
            if let Action::Run(run) = action {
                assert_eq!(run.operation.slots().count(), run.secrets.len());
            }
        }
        told.push_str(&serde_json::to_string(&world.view(0)).unwrap());
        world.tick(2);
    }
    assert!(told.contains("bootstrap-kubeconfig"));
    assert!(
        !told.contains("0123456789abcdef"),
        "a token's secret is in a plan or a view"
    );
}

#[test]
fn without_root_nothing_is_concluded_from_what_cannot_be_seen() {
    let mut world = World::joined();
    world.sites[0].host.euid = 1000;
    world.settle();
    assert_eq!(world.done, Vec::<String>::new());
    let (status, _, message) = world.condition(0, "PreflightPassed");
    assert_eq!(status, "False");
    assert!(message.contains("spec.ssh.sudo"), "{message}");
    assert_eq!(world.condition(0, "Ready").0, "True", "its node works");
    // The claim cannot be read, and is not taken for gone.
    world.delete(0);
    world.settle();
    assert!(world.sites[0].exists);
    world.sites[0].host.euid = 0;
    world.settle();
    assert!(!world.sites[0].exists);
    assert_eq!(world.sites[0].host.owner, None);
}
