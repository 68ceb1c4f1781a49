//! Debian packages, with the real dpkg and apt, on a host below an overlay.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod world;

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use kok_plan::host::{DebSource, FactsQuery, FailureReason, Operation, OperationOutcome, Step, StepOutcome};
use world::{World, operation, serve, sha256};

/// A package with one file, made by dpkg-deb.
fn package(name: &str, version: &str, more: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    std::fs::create_dir_all(root.join("DEBIAN")).unwrap();
    std::fs::create_dir_all(root.join("opt").join(name)).unwrap();
    std::fs::write(root.join("opt").join(name).join("version"), version).unwrap();
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\n\
         Description: test\n{more}"
    );
    std::fs::write(root.join("DEBIAN/control"), control).unwrap();
    let file = directory.path().join("package.deb");
    let made = Command::new("dpkg-deb")
        .args(["--build", "--root-owner-group"])
        .arg(&root)
        .arg(&file)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::read(file).unwrap()
}

/// A host whose apt has no sources of its own: nothing leaves this machine.
fn host() -> World {
    let world = World::new();
    for directory in ["/etc/apt/sources.list.d", "/etc/apt/apt.conf.d"] {
        for entry in std::fs::read_dir(directory).unwrap() {
            world.hide(entry.unwrap().path().to_str().unwrap());
        }
    }
    world.write("/etc/apt/sources.list", "");
    world
}

fn install(id: &str, name: &str, version: &str, source: DebSource) -> Operation {
    operation(
        id,
        vec![Step::InstallDeb {
            name: name.into(),
            version: version.into(),
            source,
            hold: true,
        }],
    )
}

fn file(mirror: &str, path: &str, content: &[u8]) -> DebSource {
    DebSource::File {
        urls: vec![format!("{mirror}{path}")],
        sha256: sha256(content),
    }
}

fn deb(world: &World, name: &str) -> kok_plan::host::DebFact {
    let query = FactsQuery {
        debs: [name.to_owned()].into(),
        ..FactsQuery::default()
    };
    world.facts(&query).unwrap().debs[name].clone()
}

#[test]
fn a_package_file_is_installed_pinned_held_changed_and_removed() {
    let (old, new) = (
        package("kok-test", "1:1.0-1", ""),
        package("kok-test", "1:2.0-1", ""),
    );
    let mirror = serve(vec![("/old.deb", old.clone()), ("/new.deb", new.clone())]);
    let world = host();
    let install_new = install("new", "kok-test", "1:2.0-1", file(&mirror, "/new.deb", &new));
    assert_eq!(world.done(&install_new), [true, true]);
    let fact = deb(&world, "kok-test");
    assert_eq!(
        (fact.version.as_deref(), fact.status.as_str(), fact.hold),
        (Some("1:2.0-1"), "installed", true)
    );
    assert_eq!(world.read("/opt/kok-test/version"), "1:2.0-1");
    assert_eq!(
        world.read("/etc/apt/preferences.d/kube-on-kube-kok-test.pref"),
        "Package: kok-test\nPin: version 1:2.0-1\nPin-Priority: 1001\n"
    );
    assert!(
        !world.path("/var/cache/kube-on-kube").exists(),
        "the download is not kept"
    );
    // Nothing to do; then back, although it is held.
    let same = install("same", "kok-test", "1:2.0-1", file(&mirror, "/new.deb", &new));
    assert_eq!(world.done(&same), [false, false]);
    let back = install("back", "kok-test", "1:1.0-1", file(&mirror, "/old.deb", &old));
    assert_eq!(world.done(&back), [false, true]);
    let fact = deb(&world, "kok-test");
    assert_eq!((fact.version.as_deref(), fact.hold), (Some("1:1.0-1"), true));
    assert_eq!(world.read("/opt/kok-test/version"), "1:1.0-1");
    // A version that the file does not have is noticed.
    let wrong = install("wrong", "kok-test", "1:3.0-1", file(&mirror, "/new.deb", &new));
    let result = world.apply(&wrong);
    assert!(
        matches!(
            result.steps[1].outcome,
            StepOutcome::Failed {
                reason: FailureReason::PackageFailed,
                ..
            }
        ),
        "{result:#?}"
    );
    let remove = operation(
        "remove",
        vec![
            Step::RemoveDeb {
                name: "kok-test".into(),
            },
            Step::RemoveDeb {
                name: "kok-test".into(),
            },
            Step::RemoveDeb {
                name: "never-there".into(),
            },
        ],
    );
    assert_eq!(world.done(&remove), [false, true, false, false]);
    assert_eq!(deb(&world, "kok-test").version, None);
    assert!(
        !world
            .path("/etc/apt/preferences.d/kube-on-kube-kok-test.pref")
            .exists()
    );
    assert!(!world.path("/opt/kok-test/version").exists());
}

#[test]
fn a_wrong_package_file_is_not_installed() {
    let evil = package("kok-test", "1.0", "");
    let mirror = serve(vec![("/a.deb", evil)]);
    let world = host();
    let result = world.apply(&install("x", "kok-test", "1.0", file(&mirror, "/a.deb", b"good")));
    assert!(
        matches!(
            result.steps[1].outcome,
            StepOutcome::Failed {
                reason: FailureReason::Sha256Mismatch,
                ..
            }
        ),
        "{result:#?}"
    );
    assert_eq!(deb(&world, "kok-test").version, None);
}

#[test]
fn a_package_comes_from_an_apt_source_and_takes_its_dependencies_along() {
    let (app, lib) = (
        package("kok-app", "1.0", "Depends: kok-lib (>= 1)\n"),
        package("kok-lib", "1.5", ""),
    );
    let world = host();
    let mut index = String::new();
    for (name, content, more) in [
        ("kok-app", &app, "Depends: kok-lib (>= 1)\n"),
        ("kok-lib", &lib, ""),
    ] {
        std::fs::create_dir_all(world.path("/srv/repo")).unwrap();
        std::fs::write(world.path(&format!("/srv/repo/{name}.deb")), content).unwrap();
        let version = if name == "kok-app" { "1.0" } else { "1.5" };
        write!(
            index,
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\n\
             Filename: ./{name}.deb\nSize: {}\nSHA256: {}\nDescription: test\n{more}\n",
            content.len(),
            sha256(content)
        )
        .unwrap();
    }
    world.write("/srv/repo/Packages", &index);
    world.write(
        "/etc/apt/sources.list.d/kok.list",
        "deb [trusted=yes] file:/srv/repo ./\n",
    );
    let source = DebSource::Apt {
        list: Some("/etc/apt/sources.list.d/kok.list".into()),
    };
    assert_eq!(
        world.done(&install("app", "kok-app", "1.0", source)),
        [true, true]
    );
    assert_eq!(deb(&world, "kok-app").version.as_deref(), Some("1.0"));
    assert_eq!(deb(&world, "kok-lib").version.as_deref(), Some("1.5"));
    assert!(!deb(&world, "kok-lib").hold);
    let unknown = install("unknown", "kok-none", "1.0", DebSource::Apt { list: None });
    let result = world.apply(&unknown);
    assert!(
        matches!(result.outcome, OperationOutcome::Failed { step: 1 }),
        "{result:#?}"
    );
    // What came along goes along; what was there before stays.
    let remove = operation(
        "remove",
        vec![Step::RemoveDeb {
            name: "kok-app".into(),
        }],
    );
    assert_eq!(world.done(&remove), [false, true]);
    assert_eq!(deb(&world, "kok-app").version, None);
    assert_eq!(deb(&world, "kok-lib").version, None);
    assert!(deb(&world, "dpkg").version.is_some());
    assert!(!world.path("/var/lib/kube-on-kube/debs/kok-app").exists());
}

#[test]
fn an_interrupted_dpkg_is_recovered() {
    let content = package("kok-test", "1.0", "");
    let mirror = serve(vec![("/a.deb", content.clone())]);
    let world = host();
    // Unpacked but never configured, as by a crash in the middle.
    world.write("/srv/a.deb", "");
    std::fs::write(world.path("/srv/a.deb"), &content).unwrap();
    let unpacked = world.enter(&["dpkg", "--unpack", "/srv/a.deb"]).output().unwrap();
    assert!(
        unpacked.status.success(),
        "{}",
        String::from_utf8_lossy(&unpacked.stderr)
    );
    assert_eq!(deb(&world, "kok-test").status, "unpacked");
    world.done(&install(
        "a",
        "kok-test",
        "1.0",
        file(&mirror, "/a.deb", &content),
    ));
    assert_eq!(deb(&world, "kok-test").status, "installed");
}

#[test]
fn a_busy_package_database_is_waited_for_and_then_named() {
    let content = package("kok-test", "1.0", "");
    let mirror = serve(vec![("/a.deb", content.clone())]);
    let world = host();
    // Time flies.
    world.fake("sleep", "#!/bin/sh\necho >>/fake/sleeps\n");
    world.fake(
        "dpkg",
        "#!/bin/sh\necho 'dpkg: error: dpkg frontend lock was locked by another process with pid 1' >&2\nexit 2\n",
    );
    let result = world.apply(&install(
        "a",
        "kok-test",
        "1.0",
        file(&mirror, "/a.deb", &content),
    ));
    assert!(
        matches!(
            result.steps[1].outcome,
            StepOutcome::Failed {
                reason: FailureReason::PackagesLocked,
                ..
            }
        ),
        "{result:#?}"
    );
    assert!(result.steps[1].tail.contains("locked by another process"));
    assert_eq!(world.read("/fake/sleeps").lines().count(), 120);
    // It goes on when the lock is free.
    world.write("/fake/sleeps", "");
    world.fake(
        "dpkg",
        "#!/bin/sh\n[ \"$(wc -l </fake/sleeps)\" -ge 3 ] && exec /usr/bin/dpkg \"$@\"\n\
         echo 'dpkg: error: dpkg frontend lock was locked' >&2\nexit 2\n",
    );
    let again = install("b", "kok-test", "1.0", file(&mirror, "/a.deb", &content));
    assert_eq!(world.done(&again), [false, true]);
    let mut killed = install("c", "kok-test", "1.0", DebSource::Apt { list: None });
    killed.deadline = Duration::from_secs(1);
    assert_eq!(world.done(&killed), [false, false], "installed already");
}
