//! Who claims a host second touches nothing; a host that is not fit is told so; no text of a user becomes anything but data.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod machine;

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use kok_api::machine_status::MachinePhase;
use kok_api::package::{PackageOverride, PackageSource};
use kok_plan::host::{Content, Owner, Step};
use kok_plan::machine::view::MachineView;
use kok_plan::machine::{Action, Plan, look, plan};
use machine::World;
use machine::host::Host;
use machine::mirror::source;
use serde_json::json;

/// Nothing was done on a host, and its Machine says why.
fn assert_untouched(world: &World, index: usize, phase: MachinePhase, told: &str) {
    assert_eq!(world.sites[index].host.changes, Vec::<String>::new());
    assert_eq!(world.status(index).phase, Some(phase));
    let (status, _, message) = world.condition(index, "Ready");
    assert_eq!(status, "False");
    assert!(message.contains(told), "no {told:?} in: {message}");
}

#[test]
fn the_second_machine_of_an_address_or_a_hostname_gets_a_conflict() {
    for edit in [
        (|spec: &mut kok_api::MachineSpec| spec.address = "10.77.0.21".into())
            as fn(&mut kok_api::MachineSpec),
        |spec| spec.hostname = "node1".into(),
    ] {
        let mut world = World::new(1);
        world.settle();
        world.tick(10);
        world.add(2);
        edit(&mut world.sites[1].machine.spec);
        world.settle();
        assert_untouched(&world, 1, MachinePhase::Conflict, "Machine node1");
        assert!(
            look::look(&world.view(1), &world.catalog).host.is_err(),
            "the host is not even asked"
        );
        assert_eq!(world.condition(0, "Ready").0, "True");
        // And it goes without a trace.
        world.delete(1);
        world.settle();
        assert!(!world.sites[1].exists);
        assert_eq!(world.condition(0, "Ready").0, "True");
    }
}

#[test]
fn the_second_machine_of_a_machine_id_gets_a_conflict() {
    let mut world = World::new(1);
    world.settle();
    world.tick(10);
    world.add(2);
    world.sites[1].host.machine_id = "id-of-node1".into();
    world.settle();
    assert_untouched(&world, 1, MachinePhase::Conflict, "machine-id");
    world.sites[1].host.machine_id = "id-of-its-own".into();
    world.settle();
    assert_eq!(world.condition(1, "Ready").0, "True");
}

#[test]
fn a_host_of_another_cluster_is_refused_until_it_is_released() {
    let mut world = World::new(1);
    world.sites[0].host.owner = Some(Owner {
        cluster: "another-cluster".into(),
        machine: "another-machine".into(),
        label: "billing/node1".into(),
    });
    world.settle();
    assert_untouched(&world, 0, MachinePhase::Conflict, "billing/node1");
    let message = world.condition(0, "PreflightPassed").2;
    assert!(message.contains("/var/lib/kube-on-kube/owner"), "{message}");
    // Deleting the Machine touches nothing either.
    let mut deleted = world.clone();
    deleted.delete(0);
    deleted.settle();
    assert!(!deleted.sites[0].exists);
    assert!(deleted.sites[0].host.owner.is_some());
    assert_eq!(deleted.sites[0].host.changes, Vec::<String>::new());
    world.sites[0].host.owner = None;
    world.settle();
    assert_eq!(world.condition(0, "Ready").0, "True");
}

#[test]
fn a_host_that_an_abandoned_machine_of_this_cluster_left_is_taken_over() {
    let mut world = World::new(1);
    world.sites[0].host.owner = Some(Owner {
        cluster: "cluster-uid".into(),
        machine: "uid-of-one-that-is-gone".into(),
        label: "payments/old".into(),
    });
    world.settle();
    assert_eq!(world.condition(0, "Ready").0, "True");
    assert_eq!(world.sites[0].host.owner.as_ref().unwrap().machine, "uid-node1");
}

#[test]
fn credentials_that_another_cluster_left_are_not_used() {
    let mut world = World::new(1);
    world.sites[0]
        .host
        .write(machine::KUBELET_CONF, "kubeconfig of another cluster", 0o600);
    world.settle();
    assert_eq!(world.condition(0, "Ready").0, "True");
    assert_eq!(
        world.sites[0].host.text(machine::KUBELET_CONF),
        Some("kubeconfig of the kubelet")
    );
}

type Unfit = fn(&mut Host);

#[test]
fn a_host_that_is_not_fit_is_told_so_and_not_touched() {
    let cases: [(&str, Unfit); 8] = [
        ("user id 1000", |host| host.euid = 1000),
        ("clock", |host| host.clock_skew = SignedDuration::from_mins(10)),
        ("10250", |host| host.listening = [10250].into()),
        ("MiB free", |host| host.free = 100 << 20),
        ("cannot connect to the cluster's endpoint", |host| {
            host.endpoint_reachable = false;
        }),
        ("calls itself", |host| host.hostname = "localhost".into()),
        ("on no interface", |host| host.address = "10.77.0.99".into()),
        ("machine-id", |host| host.machine_id = String::new()),
    ];
    for (word, unfit) in cases {
        let mut world = World::new(1);
        let good = world.sites[0].host.clone();
        unfit(&mut world.sites[0].host);
        world.settle();
        assert_untouched(&world, 0, MachinePhase::PreflightFailed, word);
        world.sites[0].host = good;
        world.settle();
        assert_eq!(world.condition(0, "Ready").0, "True", "{word}");
    }
}

type Spoil = fn(&mut MachineView);

#[test]
fn bad_specs_are_refused_with_a_reason_before_anything_leaves_the_operator() {
    let mut world = World::new(1);
    let cases: [(&str, Spoil); 5] = [
        ("allowedCIDRs", |view| {
            view.machine.spec.address = "192.0.2.7".into();
        }),
        ("not the address of a host", |view| {
            view.cluster.allowed_cidrs.clear();
            view.machine.spec.address = "169.254.169.254".into();
        }),
        ("create it in its namespace", |view| view.credentials.clear()),
        ("no key ssh-privatekey", |view| {
            view.credentials = BTreeMap::from([("key".into(), BTreeSet::new())]);
        }),
        ("sudo-password", |view| {
            let ssh = view.machine.spec.ssh.as_mut().unwrap();
            ssh.user = "admin".into();
            ssh.sudo = kok_api::machine::Sudo::Password;
        }),
    ];
    world.pass(0).unwrap();
    for (word, edit) in cases {
        let mut view = world.view(0);
        edit(&mut view);
        assert!(look::look(&view, &world.catalog).host.is_err(), "{word}");
        let plan = plan(&view, &world.catalog);
        assert_eq!(plan.actions, [], "{word}");
        let told = json!(plan.status.conditions).to_string();
        assert!(told.contains(word), "no {word:?} in {told}");
    }
}

fn overridden(
    package: &str,
    version: Option<&str>,
    params: &[(&str, &str)],
    source: PackageSource,
) -> PackageOverride {
    PackageOverride {
        name: package.into(),
        version: version.map(Into::into),
        params: params
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        source,
    }
}

#[test]
fn bad_packages_are_refused_and_what_runs_keeps_running() {
    let none = PackageSource::default;
    let cases = [
        (
            overridden("emacs", Some("30.1"), &[], none()),
            "no package \"emacs\"",
        ),
        (
            overridden("kubelet", None, &[("maxpods", "10")], none()),
            "no param \"maxpods\"",
        ),
        (
            overridden("kubelet", None, &[("maxPods", "many")], none()),
            "maxPods",
        ),
        (
            overridden("kubelet", Some("1.36.2"), &[], none()),
            "needs source.sha256",
        ),
        (
            overridden("kubelet", Some("1.37.0"), &[], source("kubelet", "1.37.0")),
            "must not be newer",
        ),
        (
            overridden("kubelet", Some("1.32.0"), &[], source("kubelet", "1.32.0")),
            "three minors",
        ),
    ];
    let joined = World::joined();
    for (package, word) in cases {
        let mut world = joined.clone();
        world.edit(0, |spec| spec.packages = vec![package]);
        world.settle();
        assert_eq!(world.runs(), Vec::<&String>::new());
        let (status, reason, message) = world.condition(0, "PackagesInSync");
        assert_eq!((status.as_str(), reason.as_str()), ("False", "PackagesInvalid"));
        assert!(message.contains(word), "no {word:?} in {message}");
        assert_eq!(world.condition(0, "Ready").0, "True", "what runs keeps running");
        world.edit(0, |spec| spec.packages.clear());
        world.settle();
        assert_eq!(world.condition(0, "PackagesInSync").0, "True");
    }
}

/// What would do harm if it became part of a command, a path or another line of a file.
const METACHARACTERS: &[&str] = &[
    "x;reboot",
    "$(reboot)",
    "`reboot`",
    "x\nExecStartPre=/bin/sh",
    "x y",
    "--privileged",
    "../../etc/shadow",
    "x'y\"z",
    "x\\ny",
    "%h",
    "${HOME}",
    "x|y&z>w",
    "*",
    "é\u{202e}",
    "{{ cluster.ca }}",
];

/// Every text that a step carries but the content of files.
fn words(plan: &Plan) -> Vec<String> {
    let mut words = Vec::new();
    for action in &plan.actions {
        let Action::Run(run) = action else { continue };
        for step in &run.operation.steps {
            let without_content = match step.clone() {
                Step::WriteFile {
                    path, mode, uid, gid, ..
                } => Step::WriteFile {
                    path,
                    content: Content::Text(String::new()),
                    mode,
                    uid,
                    gid,
                },
                other => other,
            };
            words.push(json!(without_content).to_string());
        }
    }
    words
}

type Field = (&'static str, fn(&mut MachineView, &str));

/// Fields of the spec that reach a plan. The CRD refuses most of these texts before; a plan must not rely on it.
const FIELDS: &[Field] = &[
    ("hostname", |view, text| view.machine.spec.hostname = text.into()),
    ("address", |view, text| view.machine.spec.address = text.into()),
    ("idc", |view, text| view.machine.spec.idc = Some(text.into())),
    ("label", |view, text| {
        drop(
            view.machine
                .spec
                .labels
                .insert("example.com/x".into(), text.into()),
        );
    }),
    ("package name", |view, text| {
        view.defaults.as_mut().unwrap().packages[3].name = text.into();
    }),
    ("version", |view, text| {
        view.defaults.as_mut().unwrap().packages[3].version = text.into();
    }),
    ("archive's version", |view, text| {
        view.defaults.as_mut().unwrap().packages[1].version = text.into();
    }),
    ("mirror", |view, text| {
        view.defaults.as_mut().unwrap().packages[3].source.mirror = Some(format!("http://mirror/{text}"));
    }),
    ("sum", |view, text| {
        view.defaults.as_mut().unwrap().packages[3]
            .source
            .sha256
            .insert("amd64".into(), text.into());
    }),
    ("param", |view, text| {
        view.defaults.as_mut().unwrap().packages[1]
            .params
            .insert("sandboxImage".into(), text.into());
    }),
    ("param's name", |view, text| {
        view.defaults.as_mut().unwrap().packages[1]
            .params
            .insert(text.into(), "1".into());
    }),
    ("DNS domain", |view, text| view.cluster.dns_domain = text.into()),
    ("cluster's name", |view, text| view.cluster.name = text.into()),
];

#[test]
fn metacharacters_arrive_as_data_or_not_at_all() {
    let mut world = World::new(1);
    world.pass(0).unwrap();
    let good = world.view(0);
    let benign = plan(&good, &world.catalog);
    assert!(matches!(benign.actions.last(), Some(Action::Run(_))));
    let shape = |plan: &Plan| {
        words(plan)
            .iter()
            .map(|it| it.split('"').nth(1).unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    for (field, set) in FIELDS {
        for evil in METACHARACTERS {
            let mut view = good.clone();
            set(&mut view, evil);
            let made = std::panic::catch_unwind(|| plan(&view, &world.catalog));
            // The linter refuses a step that is malformed; in a release build it would never be sent.
            let Ok(made) = made else { continue };
            let Some(Action::Run(run)) = made.actions.last() else {
                continue;
            };
            // The same steps, and in none of their arguments anything that was not data before.
            assert_eq!(shape(&made), shape(&benign), "{field}: {evil}");
            for step in &run.operation.steps {
                if let Step::Run { argv, .. } | Step::Probe { argv, .. } = step {
                    assert!(!argv.iter().any(|it| it.contains(evil)), "{field}: {evil}");
                }
            }
        }
    }
}

#[test]
fn the_order_of_what_was_observed_changes_no_plan() {
    let mut world = World::new(3);
    world.settle();
    world.defaults.as_mut().unwrap().packages[1] = machine::mirror::declared("containerd", "2.5.0");
    let view = world.fresh_view(0);
    let mut shuffled = view.clone();
    shuffled.peers.reverse();
    shuffled.defaults.as_mut().unwrap().packages.reverse();
    let [one, other] = [view, shuffled].map(|view| plan(&view, &world.catalog));
    assert!(!one.actions.is_empty());
    assert_eq!(one.actions, other.actions);
    assert_eq!(one.status, other.status);
}
