//! What the CRD's schema cannot refuse becomes a finding, and nothing of it is acted upon.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod world;

use kok_api::ClusterSpec;
use kok_api::cluster::EndpointType;
use kok_plan::Observed;
use kok_plan::cluster::validate::validate;
use kok_plan::kind::{DEPLOYMENT, POD};
use rstest::rstest;
use serde_json::{Value, json};
use world::{World, names, sample};

/// A Minimal Cluster that runs at this version.
fn running(version: &str) -> World {
    let mut cluster = sample("minimal");
    cluster.spec.version = version.into();
    let mut world = World::new(cluster);
    world.settle();
    world
}

/// `spec` with the value at a JSON pointer set.
fn with(spec: &ClusterSpec, pointer: &str, value: &Value) -> ClusterSpec {
    let mut document = serde_json::to_value(spec).unwrap();
    let parts = pointer.split('/').skip(1);
    let at = parts.fold(&mut document, |at, part| match part.parse::<usize>() {
        Ok(index) => &mut at[index],
        Err(_) => &mut at[part],
    });
    *at = value.clone();
    serde_json::from_value(document).unwrap()
}

#[rstest]
#[case("/version", json!("1.99.0"), "spec.version 1.99.0 is of a minor that this operator does not know: choose one of 1.36, 1.35")]
#[case("/version", json!("1.10.0"), "spec.version 1.10.0 is of a minor")]
#[case("/etcd/version", json!("3.9.1"), "spec.etcd.version 3.9.1 is of a minor that this operator does not know: choose one of 3.6")]
#[case("/scheduler/version", json!("1.37.0"), "spec.scheduler.version 1.37.0 is of a minor")]
#[case("/controllerManager/version", json!("1.36.007"), "spec.controllerManager.version \"1.36.007\" is no version")]
#[case("/apiserver/version", json!("1.35.4"), "kube-controller-manager at 1.36.3 cannot work with an apiserver at 1.35.4")]
#[case("/apiserver/args", json!({"no-such-flag": "1"}), "spec.apiserver.args.no-such-flag: kube-apiserver 1.36.3 has no such flag")]
#[case("/apiserver/args", json!({"anonymous_auth": "true"}), "spec.apiserver.args.anonymous_auth is refused: it would let requests in")]
#[case("/scheduler/args", json!({"write-config-to": "/tmp/x"}), "spec.scheduler.args.write-config-to is refused")]
#[case("/apiserver/args", json!({"v": "5"}), "spec.apiserver.args.v must be a number up to 4")]
#[case("/apiserver/args", json!({"enable-admission-plugins": "PodSecurity"}), "must name NodeRestriction")]
#[case("/controllerManager/args", json!({"node-cidr-mask-size": "8"}), "node-cidr-mask-size \"8\" must be a number from 12 to 30")]
#[case("/controllerManager/args", json!({"node-cidr-mask-size-ipv4": "x"}), "must be a number from 12 to 30")]
#[case("/controllerManager/args", json!({"node-cidr-mask-size": "24", "node-cidr-mask-size-ipv4": "24"}), "must not set both")]
#[case("/certificates/validity", json!("30m1h"), "spec.certificates.validity: \"30m1h\" is no duration")]
#[case("/users", json!([{"name": "eve", "validity": "30m1h"}]), "validity of eve: \"30m1h\" is no duration")]
#[case("/users", json!([{"name": "eve"}, {"name": "eve"}]), "user \"eve\" is named twice")]
#[case("/etcd/storage/claimTemplate/storageClassName", json!("none"), "the meta cluster has no StorageClass \"none\"")]
#[case("/extensions/0/values", json!({"text": "x".repeat(500_001)}), "bytes, more than 500000")]
fn a_bad_spec_is_told_and_nothing_is_made(#[case] pointer: &str, #[case] value: Value, #[case] words: &str) {
    let mut world = World::new(sample("minimal"));
    world.view.cluster.spec = with(&world.view.cluster.spec, pointer, &value);
    let actions = world.settle();
    assert_eq!(names(&actions), ["AddFinalizer"]);
    let told = validate(&world.view.cluster.spec, &world.view);
    assert!(told.iter().any(|finding| finding.contains(words)), "{told:?}");
    assert_eq!(world.condition("Valid").0, "False");
}

#[test]
fn one_mistake_is_told_once() {
    let mut world = World::new(sample("minimal"));
    world.view.cluster.spec.version = "1.99.0".into();
    assert_eq!(validate(&world.view.cluster.spec, &world.view).len(), 1);
}

#[test]
fn a_good_flag_is_no_finding() {
    let world = running("1.36.3");
    for (pointer, value) in [
        (
            "/apiserver/args",
            json!({"v": "4", "max-requests-inflight": "10"}),
        ),
        ("/controllerManager/args", json!({"node-cidr-mask-size": "26"})),
        ("/etcd/args", json!({"quota-backend-bytes": "1"})),
    ] {
        let spec = with(&world.view.cluster.spec, pointer, &value);
        assert_eq!(validate(&spec, &world.view), Vec::<String>::new(), "{pointer}");
    }
}

/// What a user is told who edits the version of a Cluster in which one object runs another image.
fn told_with(world: &mut World, kind: &str, name: &str, image: &str, spec: &ClusterSpec) -> Vec<String> {
    let (_, live) = world
        .view
        .objects
        .iter_mut()
        .find(|(key, _)| key.kind.kind == kind && key.name == name)
        .unwrap();
    let container = match kind {
        "Pod" => "/spec/containers/0",
        _ => "/spec/template/spec/containers/0",
    };
    live.body.pointer_mut(container).unwrap()["image"] = json!(image);
    validate(spec, &world.view)
}

#[test]
fn the_next_minor_waits_until_this_one_runs() {
    // 1.35 was accepted, but 1.34 still runs.
    for (component, image) in [
        ("kube-apiserver", "r/kube-apiserver:v1.34.9"),
        ("kube-controller-manager", "r/kube-controller-manager:v1.34.9"),
        ("kube-scheduler", "r/kube-scheduler:v1.34.9"),
    ] {
        let mut world = running("1.35.4");
        let next = with(&world.view.cluster.spec, "/version", &json!("1.36.3"));
        assert_eq!(validate(&next, &world.view), Vec::<String>::new());
        let told = told_with(&mut world, "Deployment", component, image, &next);
        let words = format!("{component} cannot go from 1.34.9 to 1.36.3");
        assert!(told.iter().any(|finding| finding.contains(&words)), "{told:?}");
        // What was accepted goes on.
        assert_eq!(
            validate(&world.view.cluster.spec, &world.view),
            Vec::<String>::new()
        );
    }
}

#[test]
fn an_apiserver_does_not_leave_controllers_two_minors_behind() {
    let mut world = running("1.35.4");
    let mut next = with(&world.view.cluster.spec, "/version", &json!("1.36.3"));
    for controller in [&mut next.controller_manager, &mut next.scheduler] {
        controller.version = Some("1.35.4".into());
    }
    assert_eq!(validate(&next, &world.view), Vec::<String>::new());
    let image = "r/kube-scheduler:v1.34.9";
    let told = told_with(&mut world, "Deployment", "kube-scheduler", image, &next);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("kube-scheduler still runs 1.34.9"), "{told:?}");
}

#[test]
fn an_old_pod_counts_until_it_has_ended() {
    let mut world = running("1.35.4");
    let (key, deployment) = world
        .view
        .objects
        .iter()
        .find(|(key, _)| key.kind == DEPLOYMENT && key.name == "kube-apiserver")
        .map(|(key, live)| (key.clone(), live.clone()))
        .unwrap();
    let mut pod = deployment;
    pod.body["spec"] = pod.body["spec"]["template"]["spec"].take();
    pod.body["spec"]["containers"][0]["image"] = json!("r/kube-apiserver:v1.34.9");
    pod.body["status"] = json!({"phase": "Running"});
    let key = kok_plan::object::ObjectKey { kind: POD, ..key };
    world.view.objects.insert(key.clone(), pod);
    let next = with(&world.view.cluster.spec, "/version", &json!("1.36.3"));
    let told = validate(&next, &world.view);
    assert!(
        told[0].contains("kube-apiserver cannot go from 1.34.9"),
        "{told:?}"
    );
    world.view.objects.get_mut(&key).unwrap().body["status"]["phase"] = json!("Failed");
    assert_eq!(validate(&next, &world.view), Vec::<String>::new());
}

#[test]
fn no_component_goes_down_a_minor() {
    let world = running("1.36.3");
    for (pointer, component) in [
        ("/version", "kube-apiserver"),
        ("/controllerManager/version", "kube-controller-manager"),
        ("/scheduler/version", "kube-scheduler"),
    ] {
        let spec = with(&world.view.cluster.spec, pointer, &json!("1.35.4"));
        let told = validate(&spec, &world.view);
        let words = format!("{component} cannot go from 1.36.3 to 1.35.4");
        assert!(told.iter().any(|finding| finding.contains(&words)), "{told:?}");
        let patch = with(&world.view.cluster.spec, pointer, &json!("1.36.2"));
        let told = validate(&patch, &world.view);
        assert!(
            told.iter().all(|finding| !finding.contains("cannot go")),
            "{told:?}"
        );
    }
}

#[test]
fn etcd_is_held_to_what_runs_and_to_what_was_accepted() {
    // What its member answers, the image of its pod, and the accepted spec: each alone is enough.
    let unsound = |world: &World| {
        let spec = with(&world.view.cluster.spec, "/etcd/version", &json!("3.6.15"));
        let told = validate(&spec, &world.view);
        told.iter()
            .any(|finding| finding.contains("etcd cannot go from 3.4.30 to 3.6.15"))
    };
    let mut world = running("1.36.3");
    assert!(!unsound(&world));
    if let Observed::Known(etcd) = &mut world.view.etcd {
        let member = etcd.members.get_mut("etcd-0").unwrap();
        member.answer.as_mut().unwrap().version = "3.4.30".into();
    }
    assert!(unsound(&world));

    let mut world = running("1.36.3");
    let spec = world.view.cluster.spec.clone();
    told_with(&mut world, "Pod", "etcd-0", "r/etcd:3.4.30-0", &spec);
    assert!(unsound(&world));

    let mut world = running("1.36.3");
    world.view.accepted.as_mut().unwrap().etcd.version = "3.4.30".into();
    assert!(unsound(&world));
}

#[test]
fn a_service_does_not_become_headless() {
    let mut world = running("1.36.3");
    world.view.cluster.spec.endpoint.type_ = EndpointType::DNSRoundRobin;
    world.view.cluster.spec.endpoint.host = Some("api.example".into());
    assert_eq!(names(&world.settle()), Vec::<String>::new());
    let (status, message) = world.condition("Valid");
    assert_eq!(status, "False");
    assert!(
        message.contains("spec.endpoint.type cannot go from NodePort to DNSRoundRobin"),
        "{message}"
    );
}

#[rstest]
#[case("/etcd/args", json!({"quota-backend-bytes": "1"}))]
#[case("/etcd/version", json!("3.6.15"))]
#[case("/placement/nodeSelector", json!({"disk": "ssd"}))]
fn data_in_an_empty_dir_is_not_thrown_away_for_a_change(#[case] pointer: &str, #[case] value: Value) {
    let mut cluster = sample("minimal");
    cluster.spec.etcd.storage = serde_json::from_value(json!({"volumeSource": {"emptyDir": {}}})).unwrap();
    let mut world = World::new(cluster);
    world.settle();
    world.view.cluster.spec = with(&world.view.cluster.spec, pointer, &value);
    assert_eq!(names(&world.settle()), Vec::<String>::new());
    let (status, message) = world.condition("Valid");
    assert_eq!(status, "False");
    assert!(message.contains("emptyDir"), "{message}");
}
