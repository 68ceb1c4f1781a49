//! What users change reaches the hosts: versions, params, packages, labels; with respect for the pods on them.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod machine;

use kok_api::machine_status::OperationOutcome;
use kok_api::package::Disruption;
use kok_plan::machine::view::{PodFacts, Silence};
use machine::World;
use machine::mirror::{declared, source};

#[test]
fn a_mirror_that_is_down_is_tried_less_and_less_often_and_the_running_version_stays() {
    let mut world = World::joined();
    let (path, content) = machine::mirror::published("kubelet", "1.36.4");
    let url = format!("{}/{path}", machine::mirror::MIRROR);
    world.sites[0].host.mirror.remove(&url);
    world.defaults.as_mut().unwrap().packages[3] = declared("kubelet", "1.36.4");
    for _ in 0..300 {
        world.pass(0).unwrap();
        world.tick(2);
    }
    let tries = world.runs().len();
    assert!((4..=8).contains(&tries), "{tries} tries in ten minutes");
    assert_eq!(world.condition(0, "Ready").0, "True");
    let (_, reason, message) = world.condition(0, "PackagesInSync");
    assert_eq!(reason, "WaitingForRetry");
    assert!(message.contains("DownloadFailed"), "{message}");
    world.sites[0].host.mirror.insert(url, content);
    world.settle();
    assert_eq!(world.condition(0, "PackagesInSync").0, "True");
}

#[test]
fn a_wrong_sum_changes_nothing_on_the_host() {
    let mut world = World::joined();
    let before = world.sites[0].host.snapshot();
    let mut wrong = declared("kubelet", "1.36.4");
    wrong.source = source("kubelet", "1.36.3");
    world.defaults.as_mut().unwrap().packages[3] = wrong;
    world.until(|world| {
        !world.status(0).last_operations.is_empty()
            && world.status(0).operation.is_none()
            && world.status(0).last_operations[0].result == OperationOutcome::Failed
    });
    assert_eq!(world.sites[0].host.snapshot(), before);
    let last = world.status(0).last_operations[0].clone();
    assert_eq!(last.reason.as_deref(), Some("Sha256Mismatch"));
    // Nothing will help but a change: it is not tried again soon.
    let tries = world.runs().len();
    for _ in 0..100 {
        world.pass(0).unwrap();
        world.tick(10);
    }
    assert_eq!(world.runs().len(), tries);
    assert_eq!(world.condition(0, "Ready").0, "True", "what runs keeps running");
    // A corrected sum is taken at once.
    world.defaults.as_mut().unwrap().packages[3] = declared("kubelet", "1.36.4");
    world.settle();
    assert!(world.sites[0].host.inputs("kubelet.service").contains("1.36.4"));
}

fn pod(name: &str, blocked: Option<&str>) -> PodFacts {
    PodFacts {
        namespace: "default".into(),
        name: name.into(),
        uid: format!("uid-{name}"),
        stays: false,
        terminating: false,
        blocked: blocked.map(Into::into),
    }
}

#[test]
fn another_minor_drains_first_and_downloads_before_that() {
    let mut world = World::joined();
    world.sites[0].pods = vec![
        pod("web", None),
        PodFacts {
            stays: true,
            ..pod("daemon", None)
        },
    ];
    world.defaults.as_mut().unwrap().packages[3] = declared("kubelet", "1.35.4");
    world.settle();
    let told: Vec<String> = world
        .done
        .iter()
        .map(|it| it.split('(').next().unwrap().trim().to_owned())
        .collect();
    let kinds: Vec<&str> = told
        .iter()
        .map(|it| it.strip_prefix("node1 ").unwrap().split(' ').next().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["Run", "PatchNode", "Evict", "Run", "PatchNode"],
        "{told:#?}"
    );
    assert!(world.done[0].contains("download"));
    assert!(world.done[2].contains("default/web"));
    assert!(!world.nodes["node1"].unschedulable);
    assert_eq!(world.sites[0].pods.len(), 1, "the DaemonSet's pod stays");
    assert_eq!(world.nodes["node1"].kubelet_version, "v1.35.4");
    assert_eq!(world.status(0).drain, None);
}

#[test]
fn a_blocked_drain_leaves_the_node_in_service_and_says_which_pod() {
    let mut world = World::joined();
    world.sites[0].pods = vec![
        pod("db-0", Some("disruption budget db allows none")),
        pod("web", None),
    ];
    world.defaults.as_mut().unwrap().packages[3] = declared("kubelet", "1.35.4");
    world.settle();
    assert!(!world.nodes["node1"].unschedulable, "not cordoned");
    assert_eq!(world.sites[0].pods.len(), 2, "nobody was evicted");
    let (_, reason, message) = world.condition(0, "PackagesInSync");
    assert_eq!(reason, "DrainBlocked");
    assert!(
        message.contains("db-0") && message.contains("budget db"),
        "{message}"
    );
    assert_eq!(world.condition(0, "Ready").0, "True");
    world.sites[0].pods[0].blocked = None;
    world.settle();
    assert_eq!(world.nodes["node1"].kubelet_version, "v1.35.4");
}

#[test]
fn somebody_elses_cordon_is_not_undone() {
    let mut world = World::joined();
    world.nodes.get_mut("node1").unwrap().unschedulable = true;
    world.defaults.as_mut().unwrap().packages[3] = declared("kubelet", "1.35.4");
    world.settle();
    assert_eq!(world.nodes["node1"].kubelet_version, "v1.35.4");
    assert!(world.nodes["node1"].unschedulable);
    assert_eq!(world.condition(0, "Ready").1, "Cordoned");
}

#[test]
fn removal_waits_for_pods_until_its_time_is_over_and_then_as_the_user_decided() {
    let mut world = World::joined();
    world.sites[0].pods = vec![
        pod("db-0", Some("disruption budget db allows none")),
        pod("web", None),
    ];
    world.delete(0);
    world.tick(1);
    for _ in 0..400 {
        world.pass(0).unwrap();
        world.tick(2);
    }
    assert!(world.sites[0].exists);
    assert!(world.nodes["node1"].unschedulable);
    assert_eq!(world.sites[0].pods.len(), 1, "what may leave has left");
    let message = world.condition(0, "Ready").2;
    assert!(
        message.contains("db-0") && message.contains("onTimeout: Proceed"),
        "{message}"
    );
    world.edit(0, |spec| {
        spec.drain.on_timeout = kok_api::machine::OnDrainTimeout::Proceed;
    });
    world.settle();
    assert!(!world.sites[0].exists);
    assert!(world.nodes.is_empty());
}

#[test]
fn an_unreachable_host_blocks_removal_until_the_user_abandons_it() {
    let mut world = World::joined();
    world.sites[0].reachable = Some(Silence::Unreachable);
    world.delete(0);
    world.settle();
    assert!(world.sites[0].exists);
    let message = world.condition(0, "Ready").2;
    assert!(message.contains("deletionPolicy: Abandon"), "{message}");
    let host = world.sites[0].host.snapshot();
    world.edit(0, |spec| {
        spec.deletion_policy = kok_api::machine::DeletionPolicy::Abandon;
    });
    world.settle();
    assert!(!world.sites[0].exists);
    assert_eq!(
        world.sites[0].host.snapshot(),
        host,
        "nothing was done on the host"
    );
    assert!(world.nodes.contains_key("node1"), "and nothing to its Node");
}

#[test]
fn a_machine_that_was_never_reached_just_goes() {
    let mut world = World::new(1);
    world.sites[0].reachable = Some(Silence::Unreachable);
    world.settle();
    world.delete(0);
    world.settle();
    assert!(!world.sites[0].exists);
}

#[test]
fn a_reboot_is_ordered_once_and_waited_for() {
    let mut world = World::joined();
    let mut containerd = declared("containerd", "2.5.0");
    containerd.disruption = Some(Disruption::Reboot);
    world.defaults.as_mut().unwrap().packages[1] = containerd;
    world.settle();
    assert_eq!(world.sites[0].host.boot, 2, "{:#?}", world.done);
    assert_eq!(world.condition(0, "Ready").0, "True");
    assert!(!world.nodes["node1"].unschedulable);
    assert!(world.sites[0].host.inputs("containerd.service").contains("2.5.0"));
    assert_eq!(world.status(0).operation, None);
    world.tick(4000);
    world.settle();
    assert_eq!(world.sites[0].host.boot, 2);
}

#[test]
fn params_reach_the_rendered_config_and_restart_what_reads_it() {
    let mut world = World::joined();
    world.defaults.as_mut().unwrap().packages[3]
        .params
        .insert("maxPods".into(), "200".into());
    world.settle();
    let config = world.sites[0].host.text("/var/lib/kubelet/config.yaml").unwrap();
    assert!(config.contains("maxPods: 200"), "{config}");
    assert_eq!(
        world.sites[0].host.units["kubelet.service"].started_with,
        world.sites[0].host.inputs("kubelet.service")
    );
    assert_eq!(world.runs().len(), 1);
}

#[test]
fn a_package_that_is_added_is_installed_and_one_that_is_taken_out_is_removed() {
    let mut world = World::joined();
    let clean = world.sites[0].host.snapshot();
    let docker = kok_api::package::DefaultPackage {
        name: "docker".into(),
        version: "20.10.24+dfsg1-1+deb12u1".into(),
        params: [("registryMirrors".into(), "https://mirror.example.com".into())].into(),
        source: kok_api::package::PackageSource::default(),
        disruption: None,
    };
    world.defaults.as_mut().unwrap().packages.push(docker);
    world.settle();
    let host = &world.sites[0].host;
    assert_eq!(host.debs["docker.io"], "20.10.24+dfsg1-1+deb12u1");
    assert!(
        host.text("/etc/docker/daemon.json")
            .unwrap()
            .contains("mirror.example.com")
    );
    assert_eq!(
        host.units["docker.service"].started_with,
        host.inputs("docker.service")
    );
    assert_eq!(world.status(0).packages.len(), 5);
    assert_eq!(world.condition(0, "Ready").0, "True");
    world.defaults.as_mut().unwrap().packages.pop();
    world.settle();
    assert_eq!(world.sites[0].host.snapshot(), clean);
    assert_eq!(world.status(0).packages.len(), 4);
}

#[test]
fn the_version_before_is_kept_and_the_one_before_that_is_removed() {
    let mut world = World::joined();
    for version in ["1.36.4", "1.35.4"] {
        world.defaults.as_mut().unwrap().packages[3] = declared("kubelet", version);
        world.settle();
    }
    let has = |world: &World, version: &str| {
        let path = format!("/opt/kube-on-kube/kubelet/{version}/kubelet");
        world.sites[0].host.files.contains_key(&path)
    };
    assert!(has(&world, "1.35.4") && has(&world, "1.36.4") && !has(&world, "1.36.3"));
    // Back again without a download.
    world.sites[0].host.changes.clear();
    world.defaults.as_mut().unwrap().packages[3] = declared("kubelet", "1.36.4");
    world.settle();
    assert!(
        !world.sites[0]
            .host
            .changes
            .iter()
            .any(|it| it.starts_with("fetch"))
    );
    assert!(has(&world, "1.35.4") && has(&world, "1.36.4"));
}

#[test]
fn labels_and_taints_of_ours_follow_the_spec_and_others_stay() {
    use kok_api::machine::{NodeTaint, TaintEffect};
    let mut world = World::joined();
    {
        let node = world.nodes.get_mut("node1").unwrap();
        node.labels.insert("example.com/by-hand".into(), "yes".into());
        node.taints.push(k8s_openapi::api::core::v1::Taint {
            key: "example.com/by-hand".into(),
            effect: "NoSchedule".into(),
            value: None,
            time_added: None,
        });
    }
    let taint = |key: &str| NodeTaint {
        key: key.into(),
        value: Some("true".into()),
        effect: TaintEffect::NoSchedule,
    };
    world.edit(0, |spec| {
        spec.labels = [
            ("example.com/rack".into(), "r1".into()),
            ("example.com/old".into(), "1".into()),
        ]
        .into();
        spec.taints = vec![taint("example.com/gpu"), taint("example.com/old")];
    });
    world.settle();
    world.edit(0, |spec| {
        spec.labels = [("example.com/rack".into(), "r2".into())].into();
        spec.taints = vec![taint("example.com/gpu")];
    });
    world.settle();
    let node = &world.nodes["node1"];
    assert_eq!(node.labels["example.com/rack"], "r2");
    assert_eq!(node.labels["example.com/by-hand"], "yes");
    assert!(!node.labels.contains_key("example.com/old"));
    let keys: Vec<&str> = node.taints.iter().map(|it| it.key.as_str()).collect();
    assert_eq!(keys, ["example.com/by-hand", "example.com/gpu"]);
    assert_eq!(world.runs().len(), 0);
}
