//! Applied plans must lead to a world for which the plan is empty, and every state on the way keeps the invariants (the
//! linter runs in debug builds).

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod world;

use std::collections::BTreeMap;

use jiff::Timestamp;
use kok_plan::Observed;
use kok_plan::cluster::gate::GateReason;
use kok_plan::cluster::view::{NodeFacts, Refusal};
use kok_plan::cluster::{Action, Plan, plan, proposal};
use kok_plan::kind::{DEPLOYMENT, POD};
use kok_plan::object::{Live, ObjectKey};
use rstest::rstest;
use serde_json::{Value, json};
use world::{World, names, sample};

#[test]
fn every_sample_comes_to_rest_as_declared() {
    for name in ["minimal", "standard", "everything"] {
        let mut world = World::new(sample(name));
        let actions = world.settle();
        assert!(actions.len() > 40, "{name}: {}", actions.len());
        for type_ in [
            "Valid",
            "EtcdReady",
            "ApiserverReady",
            "ControllersReady",
            "CertificatesReady",
            "ExtensionsReady",
            "Available",
            "UpToDate",
        ] {
            assert_eq!(
                world.condition(type_).0,
                "True",
                "{name} {type_}: {}",
                world.condition(type_).1
            );
        }
        assert_eq!(world.view.cluster.status.as_ref().unwrap().conditions.len(), 10);
        let mut once: Vec<_> = names(&actions);
        once.sort();
        let all = once.len();
        once.dedup();
        assert_eq!(once.len(), all, "{name}: something was written twice on the way");
    }
}

#[test]
fn a_crash_after_any_write_leads_to_the_same_rest() {
    let mut reference = World::new(sample("minimal"));
    let mut wanted = names(&reference.settle());
    wanted.sort();
    for crash_after in 1..wanted.len() {
        let mut world = World::new(sample("minimal"));
        let mut done = Vec::new();
        'run: loop {
            let plan = plan(&world.view);
            for action in &plan.actions {
                world.perform(action);
                done.push(action.to_string());
                if done.len() == crash_after {
                    break 'run;
                }
            }
            world.view.cluster.status = Some(plan.status.clone());
        }
        // The status of the crashed pass was never written.
        done.extend(names(&world.settle()));
        done.sort();
        assert_eq!(done, wanted, "crash after write {crash_after}");
    }
}

#[test]
fn a_deleted_object_returns_and_nothing_else_is_written() {
    let mut world = World::new(sample("standard"));
    world.settle();
    let keys: Vec<ObjectKey> = world
        .view
        .objects
        .keys()
        .filter(|key| key.kind.kind != "PersistentVolumeClaim")
        .cloned()
        .collect();
    for key in keys {
        let gone = world.view.objects.remove(&key).unwrap();
        let again = world.settle();
        assert_eq!(again.len(), 1, "{key}: {:?}", names(&again));
        assert!(world.view.objects.contains_key(&key));
        drop(gone);
    }
}

#[test]
fn a_lost_ca_is_never_made_again() {
    let mut world = World::new(sample("minimal"));
    world.settle();
    for name in ["ca", "etcd-ca", "front-proxy-ca", "sa", "encryption"] {
        let kept = world.view.secrets.remove(name).unwrap();
        let actions = world.pass().actions;
        assert!(
            !actions.iter().any(|action| matches!(action, Action::Mint(_))),
            "{name}: {:?}",
            names(&actions)
        );
        assert_eq!(world.condition("CertificatesReady").0, "False");
        assert!(
            world
                .condition("CertificatesReady")
                .1
                .contains("restore it from a backup")
        );
        world.view.secrets.insert(name.into(), kept);
    }
}

#[test]
fn an_invalid_spec_changes_nothing_and_the_last_valid_one_is_kept_running() {
    let mut world = World::new(sample("standard"));
    world.settle();
    world.view.cluster.metadata.generation = Some(2);
    world
        .view
        .cluster
        .spec
        .apiserver
        .args
        .insert("anonymous-auth".into(), "true".into());
    assert_eq!(names(&world.settle()), Vec::<String>::new());
    let (status, message) = world.condition("Valid");
    assert_eq!(status, "False");
    assert!(message.contains("anonymous-auth"), "{message}");
    assert_eq!(world.condition("Available").0, "True");
    // Self-healing goes on meanwhile.
    world.view.objects.retain(|key, _| key.kind != DEPLOYMENT);
    assert_eq!(world.settle().len(), 3);
    // Undoing the edit leads back.
    world.view.cluster.spec.apiserver.args.clear();
    assert_eq!(names(&world.settle()), Vec::<String>::new());
    assert_eq!(world.condition("Valid").0, "True");
}

#[test]
fn a_removed_user_loses_the_secret() {
    let mut world = World::new(sample("standard"));
    world.settle();
    assert!(world.view.secrets.contains_key("user-alice-kubeconfig"));
    world.view.cluster.spec.users.clear();
    world.settle();
    assert!(!world.view.secrets.contains_key("user-alice-kubeconfig"));
}

#[test]
fn a_removed_extension_is_pruned_from_the_business_cluster() {
    let mut world = World::new(sample("minimal"));
    world.settle();
    let count = |world: &World| {
        world
            .view
            .business
            .known()
            .unwrap()
            .keys()
            .filter(|key| key.name.contains("coredns"))
            .count()
    };
    assert!(count(&world) > 3);
    world
        .view
        .cluster
        .spec
        .extensions
        .retain(|extension| extension.name != "coredns");
    world.settle();
    assert_eq!(count(&world), 0);
}

#[test]
fn etcd_pods_are_replaced_one_at_a_time_and_the_leader_last() {
    let mut world = World::new(sample("standard"));
    world.settle();
    world
        .view
        .cluster
        .spec
        .etcd
        .args
        .insert("quota-backend-bytes".into(), "4294967296".into());
    let mut deleted = Vec::new();
    for _ in 0..10 {
        let plan = world.pass();
        let now: Vec<String> = plan
            .actions
            .iter()
            .filter_map(|action| match action {
                Action::Delete { key, .. } if key.kind == POD => Some(key.name.clone()),
                _ => None,
            })
            .collect();
        assert!(now.len() <= 1, "{now:?}");
        deleted.extend(now);
    }
    assert_eq!(deleted, ["etcd-1", "etcd-2", "etcd-0"]);
}

fn raise_quota(world: &mut World) {
    let args = &mut world.view.cluster.spec.etcd.args;
    args.insert("quota-backend-bytes".into(), "4294967296".into());
}

/// Etcd pods that a plan deletes.
fn replaced(plan: &Plan) -> Vec<String> {
    let deleted = plan.actions.iter().filter_map(|action| match action {
        Action::Delete { key, .. } if key.kind == POD => Some(key.name.clone()),
        _ => None,
    });
    deleted.collect()
}

#[test]
fn an_etcd_pod_is_not_replaced_while_another_one_ends() {
    let mut world = World::new(sample("standard"));
    world.settle();
    raise_quota(&mut world);
    // Evicted by a drain, say; it still answers, and will not for long.
    world.pod("etcd-2").deleting = true;
    let plan = world.pass();
    assert_eq!(replaced(&plan), Vec::<String>::new());
    assert!(
        plan.gates
            .iter()
            .any(|gate| gate.reason == GateReason::QuorumAtRisk),
        "{:?}",
        plan.gates
    );
}

#[test]
fn an_etcd_pod_that_serves_nobody_is_replaced_first_and_others_wait_for_it() {
    let mut world = World::new(sample("standard"));
    world.settle();
    world.break_pod("etcd-0");
    raise_quota(&mut world);
    let plan = plan(&world.view);
    assert_eq!(replaced(&plan), ["etcd-0"]);
}

#[rstest]
#[case("minimal")]
#[case("standard")]
fn an_etcd_that_never_came_up_is_corrected_by_its_spec(#[case] name: &str) {
    let mut cluster = sample(name);
    cluster.spec.etcd.version = "3.6.13".into();
    let mut world = World::new(cluster);
    world.pass();
    world.pass();
    let members: Vec<String> = (0..world.view.cluster.spec.mode.replicas())
        .map(kok_api::names::etcd_member)
        .collect();
    for member in &members {
        world.break_pod(member);
    }
    world.view.cluster.spec.etcd.version = "3.6.14".into();
    let mut done = Vec::new();
    for _ in 0..10 {
        done.extend(replaced(&world.pass()));
    }
    done.sort();
    assert_eq!(done, members);
    world.settle();
    assert_eq!(world.condition("Available").0, "True");
}

#[test]
fn an_altered_key_is_not_rolled_out_and_signs_nothing() {
    for name in ["ca", "etcd-ca", "front-proxy-ca", "sa", "encryption"] {
        let mut world = World::new(sample("minimal"));
        world.settle();
        let altered = world.view.secrets.get_mut(name).unwrap();
        altered.intact = false;
        altered.digest = "another".into();
        world.view.secrets.remove("scheduler-kubeconfig");
        world.view.now += jiff::SignedDuration::from_hours(6000);
        let actions = world.settle();
        let rolled: Vec<String> = names(&actions)
            .into_iter()
            .filter(|action| action.contains("Deployment") && !action.contains("kube-scheduler"))
            .collect();
        let of_apiserver = rolled.iter().any(|action| action.contains("kube-apiserver"));
        assert!(!of_apiserver, "{name}: {rolled:?}");
        let (status, message) = world.condition("CertificatesReady");
        assert_eq!(status, "False");
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn a_lost_ca_stops_no_other_repair() {
    let mut world = World::new(sample("minimal"));
    world.settle();
    world.view.secrets.remove("ca");
    world.view.secrets.remove("admin-kubeconfig");
    world
        .view
        .objects
        .retain(|key, _| key.kind != POD && key.kind != DEPLOYMENT);
    let actions = names(&world.pass().actions);
    assert!(
        !actions.iter().any(|action| action.contains("Mint")),
        "{actions:?}"
    );
    assert!(
        actions.iter().any(|action| action.contains("Create Pod")),
        "{actions:?}"
    );
}

#[test]
fn a_spec_is_tried_before_anything_changes_and_never_again() {
    let mut world = World::new(sample("standard"));
    assert!(
        proposal(&world.view).is_empty(),
        "there is no namespace to try it in"
    );
    world.pass();
    let tried = proposal(&world.view);
    assert!(
        tried
            .iter()
            .any(|manifest| manifest.key.name == "etcd-trial" && manifest.key.kind == POD)
    );
    assert!(
        world.view.objects.is_empty(),
        "something was made before the spec was tried"
    );
    world.settle();
    assert!(proposal(&world.view).is_empty());

    let args = &mut world.view.cluster.spec.scheduler.args;
    args.insert("v".into(), "2".into());
    let tried: Vec<String> = proposal(&world.view)
        .iter()
        .map(|it| it.key.to_string())
        .collect();
    assert_eq!(tried, ["Deployment cluster-standard/kube-scheduler"]);
    world.view.refusals = vec![Refusal {
        key: proposal(&world.view)[0].key.clone(),
        message: "no such thing".into(),
    }];
    assert_eq!(names(&world.settle()), Vec::<String>::new());
    let (status, message) = world.condition("Valid");
    assert_eq!(status, "False");
    assert!(message.contains("kube-scheduler: no such thing"), "{message}");
}

#[test]
fn a_pod_that_lost_its_labels_gets_them_back() {
    let mut world = World::new(sample("minimal"));
    world.settle();
    let labels = world.pod("etcd-0").body["metadata"]["labels"]
        .as_object_mut()
        .unwrap();
    labels.remove("kubeonkube.io/component");
    let actions = world.pass().actions;
    let [Action::Apply { manifest, .. }] = actions.as_slice() else {
        panic!("{:?}", names(&actions));
    };
    assert_eq!(manifest.body.get("spec"), None, "a pod's spec cannot be applied");
}

#[test]
fn a_component_that_waits_for_its_turn_keeps_its_flags() {
    let mut cluster = sample("standard");
    cluster.spec.version = "1.35.4".into();
    let mut world = World::new(cluster);
    world.settle();
    world.view.cluster.spec.version = "1.36.3".into();
    let args = &mut world.view.cluster.spec.scheduler.args;
    args.insert("kube-api-qps".into(), "70".into());
    let first = plan(&world.view);
    let touched: Vec<String> = names(&first.actions)
        .into_iter()
        .filter(|action| action.contains("Deployment"))
        .collect();
    assert!(
        touched.iter().all(|action| action.contains("kube-apiserver")),
        "{touched:?}"
    );
    world.settle();
    let scheduler = world
        .view
        .objects
        .iter()
        .find(|(key, _)| key.name == "kube-scheduler" && key.kind == DEPLOYMENT);
    assert!(
        scheduler
            .unwrap()
            .1
            .body
            .to_string()
            .contains("--kube-api-qps=70")
    );
}

#[test]
fn a_member_without_its_volume_is_not_started() {
    let mut world = World::new(sample("standard"));
    world.settle();
    world
        .view
        .objects
        .retain(|key, _| key.name != "etcd-1" || !["Pod", "PersistentVolumeClaim"].contains(&key.kind.kind));
    let plan = world.pass();
    assert!(
        plan.gates
            .iter()
            .any(|gate| gate.reason == GateReason::MemberDataLost),
        "{:?}",
        plan.gates
    );
    assert!(
        !names(&plan.actions)
            .iter()
            .any(|action| action.contains("Pod") && action.contains("etcd-1"))
    );
}

#[test]
fn controllers_wait_for_the_apiservers_in_an_upgrade() {
    let mut cluster = sample("standard");
    cluster.spec.version = "1.35.4".into();
    let mut world = World::new(cluster);
    world.settle();
    world.view.cluster.spec.version = "1.36.3".into();
    let first = plan(&world.view);
    let images: Vec<Value> = first
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Apply { manifest, .. } if manifest.key.kind == DEPLOYMENT => manifest
                .body
                .pointer("/spec/template/spec/containers/0/image")
                .cloned(),
            _ => None,
        })
        .collect();
    assert_eq!(images, [json!("registry.k8s.io/kube-apiserver:v1.36.3")]);
    world.settle();
    let history = &world
        .view
        .cluster
        .status
        .as_ref()
        .unwrap()
        .version
        .as_ref()
        .unwrap()
        .history;
    assert_eq!(history.len(), 2);
}

#[test]
fn certificates_are_renewed_before_they_end_and_pods_roll() {
    let mut world = World::new(sample("minimal"));
    world.settle();
    world.view.now += jiff::SignedDuration::from_hours(6000);
    let actions = world.settle();
    let minted = actions
        .iter()
        .filter(|action| matches!(action, Action::Mint(_)))
        .count();
    assert!(minted > 8, "{:?}", names(&actions));
    assert!(
        !names(&actions)
            .iter()
            .any(|action| action.starts_with("Mint Secret ca "))
    );
    assert_eq!(
        actions
            .iter()
            .filter(
                |action| matches!(action, Action::Apply { manifest, .. } if manifest.key.kind == DEPLOYMENT)
            )
            .count(),
        3
    );
    let soonest: Timestamp = world
        .view
        .secrets
        .values()
        .filter_map(|secret| secret.certificate.as_ref())
        .map(|it| it.not_after)
        .min()
        .unwrap();
    assert!(soonest > world.view.now);
}

#[test]
fn deletion_ends_from_every_stage() {
    let mut reference = World::new(sample("minimal"));
    let writes = reference.settle().len();
    for stop in 0..writes {
        let mut world = World::new(sample("minimal"));
        let mut done = 0;
        'run: while done < stop {
            for action in plan(&world.view).actions {
                world.perform(&action);
                done += 1;
                if done == stop {
                    break 'run;
                }
            }
        }
        world.view.cluster.metadata.deletion_timestamp = Some(
            k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.view.now),
        );
        world.settle();
        assert!(world.view.namespace.is_none());
        assert_eq!(
            world.view.cluster.metadata.finalizers.clone().unwrap_or_default(),
            Vec::<String>::new()
        );
    }
}

#[test]
fn a_foreign_namespace_is_left_alone() {
    let mut world = World::new(sample("minimal"));
    world.view.namespace = Some(Live {
        uid: "foreign".into(),
        resource_version: "1".into(),
        deleting: false,
        settled: None,
        body: json!({"metadata": {"name": "cluster-minimal"}}),
    });
    world.settle();
    assert_eq!(world.condition("Valid").0, "False");
    world.view.cluster.metadata.deletion_timestamp = Some(
        k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.view.now),
    );
    world.settle();
    assert!(world.view.namespace.is_some(), "another's namespace was deleted");
}

#[test]
fn a_protected_cluster_is_kept_running_although_it_was_deleted() {
    let mut world = World::new(sample("minimal"));
    world.view.cluster.spec.deletion_protection = true;
    world.settle();
    world.view.cluster.metadata.deletion_timestamp = Some(
        k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.view.now),
    );
    world.view.objects.retain(|key, _| key.kind != DEPLOYMENT);
    let repaired = world.settle();
    assert_eq!(repaired.len(), 3, "{:?}", names(&repaired));
    assert!(world.condition("Progressing").1.contains("deletionProtection"));
    world.view.cluster.spec.deletion_protection = false;
    world.settle();
    assert!(world.view.namespace.is_none());
}

type Edit = fn(&mut kok_api::ClusterSpec);

#[test]
fn what_cannot_change_yet_is_refused_and_says_so() {
    let mut world = World::new(sample("minimal"));
    world.settle();
    let before = world.view.cluster.spec.clone();
    let edits: [(&str, Edit); 4] = [
        ("replacePolicy", |spec| {
            spec.etcd.replace_policy = kok_api::cluster::ReplacePolicy::OnPodDelete;
        }),
        ("encryption.provider", |spec| {
            spec.apiserver.encryption.provider = kok_api::cluster::EncryptionProvider::Aescbc;
        }),
        ("etcd.storage", |spec| {
            let claim = spec.etcd.storage.claim_template.as_mut().unwrap();
            claim.storage_class_name = Some("standard".into());
        }),
        ("spec.mode", |spec| spec.mode = kok_api::cluster::Mode::Standard),
    ];
    for (field, edit) in edits {
        edit(&mut world.view.cluster.spec);
        assert_eq!(names(&world.settle()), Vec::<String>::new(), "{field}");
        let (status, message) = world.condition("Valid");
        assert_eq!(status, "False", "{field}");
        assert!(message.contains(field), "{message}");
        world.view.cluster.spec = before.clone();
        assert_eq!(names(&world.settle()), Vec::<String>::new(), "{field} undone");
        assert_eq!(world.condition("Valid").0, "True");
    }
}

#[test]
fn an_apiserver_does_not_leave_old_kubelets_behind() {
    let mut cluster = sample("minimal");
    cluster.spec.version = "1.35.4".into();
    let mut world = World::new(cluster);
    world.settle();
    let kubelets = |oldest: &str| {
        Observed::Known(NodeFacts {
            counts: kok_api::cluster::NodesStatus {
                total: 1,
                ready: 1,
                oldest_kubelet: Some(oldest.into()),
            },
            ..NodeFacts::default()
        })
    };
    world.view.nodes = kubelets("1.32.0");
    world.view.cluster.spec.version = "1.36.3".into();
    assert_eq!(names(&world.settle()), Vec::<String>::new());
    assert!(
        world.condition("Valid").1.contains("1.32.0"),
        "{:?}",
        world.condition("Valid")
    );
    world.view.nodes = kubelets("1.33.0");
    assert!(!world.settle().is_empty());
}

/// A template ConfigMap with these documents, as extension `own`.
fn with_extension(world: &mut World, placement: &str, documents: &str) {
    let files = BTreeMap::from([("own.yaml.j2".to_owned(), documents.to_owned())]);
    world.view.templates.insert("own".into(), Some(files));
    let extension =
        json!({"name": "own", "version": "1", "placement": placement, "template": {"configMap": "own"}});
    world.view.cluster.spec.extensions = vec![serde_json::from_value(extension).unwrap()];
}

#[test]
fn an_extension_gets_no_object_of_the_control_plane() {
    let mut world = World::new(sample("minimal"));
    world.settle();
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: apiserver}\nspec: {ports: [{port: 1}]}\n";
    with_extension(&mut world, "Meta", service);
    let actions = names(&world.settle());
    assert!(
        !actions
            .iter()
            .any(|action| action.contains("cluster-minimal/apiserver")),
        "{actions:?}"
    );
    let (status, message) = world.condition("ExtensionsReady");
    assert_eq!(status, "False");
    assert!(message.contains("the control plane's"), "{message}");
}

#[test]
fn a_failed_action_is_told_in_the_status() {
    let mut world = World::new(sample("minimal"));
    world.settle();
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own, namespace: default}\ndata: {a: b}\n";
    with_extension(&mut world, "Business", map);
    let mut plan = plan(&world.view);
    assert!(
        plan.actions
            .iter()
            .all(|action| action.name() != "ApplyBusiness" || action.extension() == Some("own"))
    );
    kok_plan::cluster::status::tell_failure(&mut plan.status, &world.view, Some("own"), "the server said no");
    let told = plan.status.extensions.iter().find(|it| it.name == "own").unwrap();
    assert_eq!(told.message, "the server said no");
}
