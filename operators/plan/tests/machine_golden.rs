//! Every file of every package, as it is written on a host: a change of a template or of rendering code shows here.
//! `KOK_GOLDEN=write cargo test -p kok-plan --test machine_golden` writes the files again; read the difference before you commit.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod machine;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use kok_api::package::{AptRepository, DefaultPackage, PackageSource};
use kok_plan::Observed;
use kok_plan::host::{Cgroup, HostFacts};
use kok_plan::machine::effective::effective;
use kok_plan::machine::view::{Host, MachineView};
use kok_plan::machine::wanted::wanted;
use machine::World;

/// Changes of the packages or of the host's facts, by the name of the golden file.
type Variant = fn(&mut MachineView, &mut HostFacts);

const VARIANTS: &[(&str, Variant)] = &[
    ("defaults", |_, _| {}),
    ("before-the-node", |view, _| view.node = Observed::Absent),
    ("cgroup-v1-with-swap-in-a-container", |_, facts| {
        facts.cgroup = Cgroup::V1;
        facts.swap = true;
        facts
            .probes
            .get_mut("detect.containerd.capSysResource")
            .unwrap()
            .exit = 1;
        facts.probes.get_mut("detect.kubelet.resolved").unwrap().exit = 0;
    }),
    ("older-versions", |view, facts| {
        // containerd 1.x has another form of configuration; kubelet 1.30 has no failCgroupV1.
        facts.cgroup = Cgroup::V1;
        version(view, "containerd", "1.7.24");
        version(view, "kubelet", "1.30.14");
        view.cluster.version = Some("1.33.0".into());
    }),
    ("every-param", |view, _| {
        for (package, name, value) in [
            (
                "containerd",
                "sandboxImage",
                "registry.example.com:5000/pause:3.10",
            ),
            ("containerd", "restrictOomScoreAdj", "true"),
            ("containerd", "registryConfigPath", "/etc/containerd/hosts"),
            ("cni-plugins", "mtu", "1450"),
            ("cni-plugins", "ipMasq", "false"),
            ("cni-plugins", "firewall", "iptables"),
            ("cni-plugins", "bridgeNetfilter", "false"),
            ("kubelet", "maxPods", "200"),
            ("kubelet", "podPidsLimit", "4096"),
            ("kubelet", "systemReserved", "cpu=100m,memory=200Mi"),
            ("kubelet", "kubeReserved", "cpu=200m"),
            ("kubelet", "serializeImagePulls", "false"),
            ("kubelet", "maxParallelImagePulls", "5"),
            ("kubelet", "imageGCHighThresholdPercent", "70"),
            ("kubelet", "imageGCLowThresholdPercent", "60"),
            ("kubelet", "containerLogMaxSize", "50Mi"),
            ("kubelet", "containerLogMaxFiles", "3"),
            ("kubelet", "registryPullQPS", "0"),
            ("kubelet", "resolvConf", "/etc/resolv.conf.pods"),
            ("kubelet", "verbosity", "4"),
        ] {
            param(view, package, name, value);
        }
    }),
    ("two-families", |view, _| {
        if let Observed::Known(node) = &mut view.node {
            node.pod_cidrs = vec!["10.32.1.0/24".into(), "fd00:32:1::/64".into()];
        }
        view.machine.spec.address = "fd00:77::21".into();
    }),
    ("network-by-others", |view, _| {
        param(view, "cni-plugins", "network", "none");
    }),
    ("docker-from-a-repository", |view, _| {
        view.defaults.as_mut().unwrap().packages.push(DefaultPackage {
            name: "docker".into(),
            version: "20.10.24+dfsg1-1+deb12u1".into(),
            params: BTreeMap::from([
                (
                    "registryMirrors".into(),
                    "https://one.example.com,https://two.example.com".into(),
                ),
                ("dataRoot".into(), "/var/lib/docker-data".into()),
                ("liveRestore".into(), "false".into()),
            ]),
            source: PackageSource {
                mirror: Some("http://deb.example.com/debian".into()),
                sha256: BTreeMap::new(),
                apt: Some(AptRepository {
                    suite: "bookworm".into(),
                    components: vec!["main".into(), "contrib".into()],
                    signing_key:
                        "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n-----END PGP PUBLIC KEY BLOCK-----\n"
                            .into(),
                }),
            },
            disruption: None,
        });
    }),
];

fn package<'a>(view: &'a mut MachineView, name: &str) -> &'a mut DefaultPackage {
    let packages = &mut view.defaults.as_mut().unwrap().packages;
    packages.iter_mut().find(|it| it.name == name).unwrap()
}

fn version(view: &mut MachineView, name: &str, version: &str) {
    package(view, name).version = version.into();
}

fn param(view: &mut MachineView, name: &str, param: &str, value: &str) {
    package(view, name).params.insert(param.into(), value.into());
}

fn rendered(variant: Variant) -> String {
    let world = World::joined();
    let mut view = world.fresh_view(0);
    let Host::Answered(answer) = view.host.clone() else {
        panic!("the host does not answer");
    };
    let mut facts = answer.facts;
    variant(&mut view, &mut facts);
    let packages = effective(&world.catalog, view.layers(), view.cluster.version.as_deref()).unwrap();
    let mut text = String::new();
    for each in wanted(&packages, &view, &facts).unwrap() {
        let name = &each.package.name;
        writeln!(
            text,
            "##### {name} {} (config {})",
            each.version, each.config_hash
        )
        .unwrap();
        writeln!(text, "##### payload: {:?}", each.payload).unwrap();
        if !each.modules.is_empty() {
            let modules: Vec<&str> = each.modules.iter().map(|it| it.name.as_str()).collect();
            writeln!(text, "##### modules: {}", modules.join(" ")).unwrap();
        }
        for (path, target) in &each.links {
            writeln!(text, "##### {path} -> {target}").unwrap();
        }
        for file in &each.files {
            writeln!(text, "##### {} {:o} {:?}", file.path, file.mode, file.disruption).unwrap();
            text.push_str(&file.text);
        }
    }
    text
}

#[test]
fn rendered_files_are_as_recorded() {
    for (name, variant) in VARIANTS {
        let text = rendered(*variant);
        let file =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/packages/{name}.txt"));
        if std::env::var_os("KOK_GOLDEN").is_some() {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, &text).unwrap();
        }
        let recorded = std::fs::read_to_string(&file).unwrap_or_default();
        let difference = text
            .lines()
            .zip(recorded.lines())
            .position(|(now, then)| now != then);
        assert!(
            text == recorded,
            "{} differs at line {:?}: if that is intended, run KOK_GOLDEN=write cargo test -p kok-plan --test machine_golden",
            file.display(),
            difference.map(|line| line + 1)
        );
    }
}

#[test]
fn every_shipped_package_and_param_is_in_a_golden_file() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/packages");
    let all: String = VARIANTS
        .iter()
        .map(|(name, _)| std::fs::read_to_string(directory.join(format!("{name}.txt"))).unwrap())
        .collect();
    let world = World::new(0);
    for package in world.catalog.packages() {
        for path in package.file_paths() {
            assert!(all.contains(&format!("##### {path} ")), "{path}");
        }
        assert!(all.contains(&format!("##### {} ", package.name)));
    }
}
