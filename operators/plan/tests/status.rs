//! What a status says: never that all is well while something failed or waits for somebody, and the same words as long as
//! nothing changes.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod world;

use std::collections::BTreeMap;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kok_api::cluster::{ClusterStatus, Phase};
use kok_plan::Observed;
use kok_plan::cluster::status::{headline, tell_failure};
use kok_plan::cluster::view::{Allocatable, EtcdAnswer, NodeFacts};
use kok_plan::cluster::{Action, plan};
use kok_plan::kind::{CLAIM, DEPLOYMENT, POD};
use kok_plan::object::{Live, ObjectKey};
use rstest::rstest;
use serde_json::{Value, json};
use world::{World, sample};

fn settled(name: &str) -> World {
    let mut world = World::new(sample(name));
    world.settle();
    assert_eq!(status(&world).phase, Some(Phase::Running));
    world
}

fn status(world: &World) -> &ClusterStatus {
    world.view.cluster.status.as_ref().unwrap()
}

fn condition<'a>(status: &'a ClusterStatus, type_: &str) -> &'a Condition {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_)
        .unwrap()
}

/// Asserts status, reason, and a part of the message.
fn expect(status: &ClusterStatus, type_: &str, wanted: (&str, &str, &str)) {
    let found = condition(status, type_);
    assert_eq!(
        (found.status.as_str(), found.reason.as_str()),
        (wanted.0, wanted.1),
        "{type_}: {}",
        found.message
    );
    assert!(found.message.contains(wanted.2), "{type_}: {}", found.message);
}

/// One pass in which every action fails that belongs to `extension`, and the others are carried out.
fn failing_pass(world: &mut World, extension: Option<&str>, why: &str) -> ClusterStatus {
    world.view.now += SignedDuration::from_secs(10);
    let mut plan = plan(&world.view);
    let (fail, work): (Vec<Action>, Vec<Action>) = plan
        .actions
        .into_iter()
        .partition(|action| action.extension() == extension);
    assert!(!fail.is_empty(), "nothing to fail");
    for action in &work {
        world.perform(action);
    }
    tell_failure(&mut plan.status, &world.view, extension, why);
    world.view.cluster.status = Some(plan.status.clone());
    plan.status
}

fn business(world: &mut World) -> &mut BTreeMap<ObjectKey, Live> {
    match &mut world.view.business {
        Observed::Known(objects) => objects,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_failing_object_of_bootstrap_is_told() {
    let mut world = settled("minimal");
    business(&mut world).retain(|_, object| object.label("kubeonkube.io/extension") != Some("bootstrap"));
    let told = failing_pass(&mut world, Some("bootstrap"), "the server said no");
    expect(
        &told,
        "ExtensionsReady",
        ("False", "ActionFailed", "extension bootstrap: the server said no"),
    );
    expect(&told, "UpToDate", ("False", "ActionFailed", "said no"));
    expect(&told, "Progressing", ("False", "ActionFailed", "said no"));
}

#[test]
fn a_failing_removal_of_an_extension_is_told() {
    let mut world = settled("minimal");
    world
        .view
        .cluster
        .spec
        .extensions
        .retain(|it| it.name != "coredns");
    let planned = plan(&world.view).status;
    expect(
        &planned,
        "ExtensionsReady",
        ("False", "Applying", "coredns: removing"),
    );
    let told = failing_pass(&mut world, Some("coredns"), "a webhook said no");
    expect(
        &told,
        "ExtensionsReady",
        ("False", "ActionFailed", "a webhook said no"),
    );
    expect(&told, "UpToDate", ("False", "ActionFailed", "a webhook said no"));
}

#[test]
fn the_same_failure_is_written_once_and_then_degrades() {
    let mut world = settled("minimal");
    world.view.objects.retain(|key, _| key.name != "kube-scheduler");
    let first = failing_pass(&mut world, None, "quota");
    expect(&first, "Progressing", ("False", "ActionFailed", "quota"));
    assert_eq!(first.phase, Some(Phase::Updating));
    let second = failing_pass(&mut world, None, "quota");
    assert_eq!(first, second, "ten seconds later the same is written again");
    for _ in 0..6 {
        failing_pass(&mut world, None, "quota");
    }
    assert_eq!(status(&world).phase, Some(Phase::Degraded));
    world.settle();
    assert_eq!(status(&world).phase, Some(Phase::Running));
    expect(status(&world), "UpToDate", ("True", "AsDeclared", ""));
}

#[test]
fn two_failures_of_one_pass_are_both_told() {
    let mut world = settled("minimal");
    business(&mut world).clear();
    let mut planned = plan(&world.view).status;
    tell_failure(&mut planned, &world.view, Some("coredns"), "one");
    tell_failure(&mut planned, &world.view, Some("kube-proxy"), "two");
    expect(
        &planned,
        "ExtensionsReady",
        (
            "False",
            "ActionFailed",
            "extension coredns: one; extension kube-proxy: two",
        ),
    );
    assert!(planned.extensions.iter().all(|extension| !extension.ready));
}

type Harm = fn(&mut World);

#[rstest]
#[case::secret_lost("SecretLost", "restore it from a backup", Phase::Degraded, |world: &mut World| {
    world.view.secrets.remove("sa");
})]
#[case::secret_altered("SecretAltered", "restore it from a backup", Phase::Degraded, |world: &mut World| {
    world.view.secrets.get_mut("ca").unwrap().intact = false;
})]
#[case::volume_lost("MemberDataLost", "restore its claim", Phase::Degraded, |world: &mut World| {
    world.view.objects.retain(|key, _| key.name != "etcd-1" || ![POD, CLAIM].contains(&key.kind));
})]
#[case::protected("DeletionProtected", "deletionProtection", Phase::Running, |world: &mut World| {
    world.view.cluster.spec.deletion_protection = true;
    world.view.cluster.metadata.deletion_timestamp = Some(Time(world.view.now));
})]
fn what_waits_for_somebody_is_no_progress(
    #[case] gate: &str,
    #[case] way_out: &str,
    #[case] phase: Phase,
    #[case] harm: Harm,
) {
    let mut world = settled("standard");
    harm(&mut world);
    for _ in 0..3 {
        world.pass();
    }
    let plan = world.pass();
    assert!(
        plan.gates.iter().any(|it| it.reason.as_str() == gate),
        "{:?}",
        plan.gates
    );
    expect(status(&world), "Progressing", ("False", "Blocked", way_out));
    expect(status(&world), "UpToDate", ("False", "Blocked", way_out));
    assert_eq!(status(&world).phase, Some(phase));
    if phase == Phase::Degraded {
        assert!(
            headline(status(&world)).contains(way_out),
            "{}",
            headline(status(&world))
        );
    }
}

#[test]
fn a_paused_cluster_does_not_claim_what_it_does_not_look_at() {
    let mut world = settled("minimal");
    world.view.cluster.spec.paused = Some(kok_api::cluster::Paused {
        reason: "a drill".into(),
    });
    world.pass();
    for type_ in ["CertificatesReady", "ExtensionsReady", "UpToDate"] {
        expect(status(&world), type_, ("Unknown", "Paused", ""));
    }
    expect(
        status(&world),
        "CertificatesReady",
        ("Unknown", "Paused", "the first to end is"),
    );
    expect(status(&world), "Progressing", ("False", "Paused", "a drill"));
    world.view.now += SignedDuration::from_hours(9000);
    world.pass();
    expect(
        status(&world),
        "CertificatesReady",
        ("False", "Expired", "spec.paused"),
    );
    assert_eq!(status(&world).phase, Some(Phase::Paused));
}

#[test]
fn a_cluster_that_never_was_accepted_has_not_started() {
    let mut world = World::new(sample("minimal"));
    world
        .view
        .cluster
        .spec
        .apiserver
        .args
        .insert("no-such-flag".into(), "1".into());
    world.settle();
    for type_ in ["EtcdReady", "CertificatesReady", "ExtensionsReady"] {
        expect(status(&world), type_, ("False", "NotStarted", "condition Valid"));
    }
    assert_eq!(status(&world).phase, Some(Phase::Invalid));
}

/// Gives the Deployment one pod that is not ready, with this status.
fn with_pod(world: &mut World, component: &str, pod_status: &Value) {
    let key = |kind, name: &str| ObjectKey {
        kind,
        namespace: Some(world.view.namespace_name()),
        name: name.into(),
    };
    let (deployment, pod) = (key(DEPLOYMENT, component), key(POD, "generated-name"));
    let live = world.view.objects.get_mut(&deployment).unwrap();
    live.body["status"]["readyReplicas"] = json!(0);
    live.body["status"]["availableReplicas"] = json!(0);
    let body = json!({
        "metadata": {"labels": {"kubeonkube.io/component": component}},
        "status": pod_status,
    });
    let live = Live {
        uid: "pod".into(),
        resource_version: "1".into(),
        deleting: false,
        settled: None,
        body,
    };
    world.view.objects.insert(pod, live);
}

#[rstest]
#[case::image(
    json!({"containerStatuses": [{"ready": false, "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]}),
    "1 pod: ImagePullBackOff, no such image"
)]
#[case::crash(
    json!({"containerStatuses": [{"ready": false,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting"}},
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": "unknown flag\n"}}}]}),
    "1 pod: CrashLoopBackOff, the container ended with exit code 1 (Error): unknown flag"
)]
#[case::out_of_memory(
    json!({"containerStatuses": [{"ready": false, "state": {"running": {}},
        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}),
    "1 pod: the container ended with exit code 137 (OOMKilled)"
)]
#[case::unschedulable(
    json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"}]}),
    "1 pod: 0/1 nodes are available"
)]
fn what_keeps_a_pod_is_told(#[case] pod: Value, #[case] told: &str) {
    let mut world = settled("minimal");
    with_pod(&mut world, "kube-scheduler", &pod);
    world.pass();
    expect(
        status(&world),
        "ControllersReady",
        ("False", "ReplicasMissing", told),
    );
    let message = &condition(status(&world), "ControllersReady").message;
    assert!(
        !message.contains("generated-name") && !message.contains("40s"),
        "{message}"
    );
    assert_eq!(status(&world).phase, Some(Phase::Degraded));
}

#[test]
fn a_pod_that_starts_is_an_update_until_it_takes_too_long() {
    let mut world = settled("minimal");
    let creating = json!({"containerStatuses": [{"ready": false, "state": {"waiting": {"reason": "ContainerCreating"}}}]});
    with_pod(&mut world, "kube-apiserver", &creating);
    world.pass();
    assert_eq!(status(&world).phase, Some(Phase::Updating));
    expect(
        status(&world),
        "Progressing",
        ("True", "Converging", "0 of 1 replicas"),
    );
    world.view.now += SignedDuration::from_mins(6);
    world.pass();
    assert_eq!(status(&world).phase, Some(Phase::Degraded));
}

#[test]
fn a_member_on_a_dead_node_is_terminating() {
    let mut world = settled("standard");
    let deleted = world.view.now.to_string();
    let key = world
        .view
        .objects
        .keys()
        .find(|key| key.kind == POD && key.name == "etcd-2")
        .unwrap()
        .clone();
    let pod = world.view.objects.get_mut(&key).unwrap();
    pod.deleting = true;
    pod.body["metadata"]["deletionTimestamp"] = json!(deleted);
    pod.body["spec"]["nodeName"] = json!("dead");
    if let Observed::Known(etcd) = &mut world.view.etcd {
        etcd.members.get_mut("etcd-2").unwrap().answer = None;
    }
    world.pass();
    expect(
        status(&world),
        "EtcdReady",
        ("False", "MembersMissing", "etcd-2 (pod Terminating)"),
    );
    world.view.now += SignedDuration::from_mins(2);
    world.pass();
    expect(
        status(&world),
        "EtcdReady",
        ("False", "MembersMissing", "pod Terminating, it should have ended"),
    );
    assert!(
        condition(status(&world), "EtcdReady")
            .message
            .contains("node dead")
    );
    assert_eq!(status(&world).phase, Some(Phase::Degraded));
}

#[test]
fn a_refused_mode_changes_no_words_about_what_runs() {
    let mut world = settled("minimal");
    world.view.cluster.spec.mode = kok_api::cluster::Mode::Standard;
    if let Observed::Known(etcd) = &mut world.view.etcd {
        etcd.members.get_mut("etcd-0").unwrap().answer = None;
    }
    world.pass();
    let message = &condition(status(&world), "EtcdReady").message;
    assert!(
        message.contains("etcd-0") && !message.contains("etcd-1"),
        "{message}"
    );
}

/// Apiserver pods of these versions.
fn apiservers(world: &mut World, versions: &[&str]) {
    let namespace = world.view.namespace_name();
    let ours = |live: &Live| live.label("kubeonkube.io/component") == Some("kube-apiserver");
    world
        .view
        .objects
        .retain(|key, live| key.kind != POD || !ours(live));
    for (index, version) in versions.iter().enumerate() {
        let key = ObjectKey {
            kind: POD,
            namespace: Some(namespace.clone()),
            name: format!("kube-apiserver-{index}"),
        };
        let body = json!({
            "metadata": {"labels": {"kubeonkube.io/component": "kube-apiserver"}},
            "spec": {"containers": [{"image": format!("registry.k8s.io/kube-apiserver:v{version}")}]},
        });
        let live = Live {
            uid: index.to_string(),
            resource_version: "1".into(),
            deleting: false,
            settled: None,
            body,
        };
        world.view.objects.insert(key, live);
    }
}

#[test]
fn the_current_version_moves_once_in_an_upgrade() {
    let mut cluster = sample("standard");
    cluster.spec.version = "1.35.4".into();
    let mut world = World::new(cluster);
    world.settle();
    world.view.cluster.spec.version = "1.36.3".into();
    let mut seen = Vec::new();
    // The endpoint answers now from an old, now from a new one.
    for (versions, answer) in [
        (["1.35.4", "1.35.4", "1.36.3"], "1.36.3"),
        (["1.35.4", "1.36.3", "1.36.3"], "1.35.4"),
        (["1.35.4", "1.36.3", "1.36.3"], "1.36.3"),
        (["1.36.3", "1.36.3", "1.36.3"], "1.36.3"),
    ] {
        apiservers(&mut world, &versions);
        world.view.external = Observed::Known(kok_plan::cluster::view::ExternalAnswer {
            version: answer.into(),
        });
        world.pass();
        let version = status(&world).version.as_ref().unwrap();
        seen.push(version.current.clone().unwrap());
    }
    assert_eq!(seen, ["1.35.4", "1.35.4", "1.35.4", "1.36.3"]);
}

#[test]
fn sizes_and_resources_are_shown_and_a_growing_database_writes_nothing() {
    let mut world = settled("minimal");
    world.view.nodes = Observed::Known(NodeFacts {
        allocatable: Allocatable {
            cpu_millis: 7500,
            memory_bytes: (32 << 30) + 5,
        },
        ..NodeFacts::default()
    });
    world.pass();
    let before = status(&world).clone();
    let allocatable = &before.resources.as_ref().unwrap().allocatable;
    assert_eq!(allocatable.cpu, "7500m");
    assert_eq!(allocatable.memory, "32768Mi");
    let member = &before.etcd.as_ref().unwrap().members[0];
    assert_eq!(member.db_size.as_deref(), Some("16Mi"));
    if let Observed::Known(etcd) = &mut world.view.etcd {
        let answer: &mut EtcdAnswer = etcd.members.get_mut("etcd-0").unwrap().answer.as_mut().unwrap();
        answer.db_size *= 3;
    }
    world.pass();
    assert_eq!(status(&world), &before);
}

#[test]
fn a_template_that_gives_what_the_control_plane_has_is_no_progress() {
    let mut world = settled("minimal");
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: apiserver}\nspec: {ports: [{port: 1}]}\n";
    let files = BTreeMap::from([("own.yaml.j2".to_owned(), service.to_owned())]);
    world.view.templates.insert("own".into(), Some(files));
    let extension =
        json!({"name": "own", "version": "1", "placement": "Meta", "template": {"configMap": "own"}});
    world.view.cluster.spec.extensions = vec![serde_json::from_value(extension).unwrap()];
    world.settle();
    expect(
        status(&world),
        "ExtensionsReady",
        ("False", "TemplateRefused", "own: "),
    );
    expect(
        status(&world),
        "Progressing",
        ("False", "Blocked", "the control plane's"),
    );
    expect(
        status(&world),
        "UpToDate",
        ("False", "Blocked", "the control plane's"),
    );
}
