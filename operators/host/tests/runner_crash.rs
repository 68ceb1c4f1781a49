//! The script is killed at any point, given again, and leads to the same end: no half-written file, no leftover.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod world;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kok_host::runner::{Call, random_nonce};
use kok_plan::host::{Content, Operation, OperationOutcome, Secret, Step, UnitAction};
use world::{World, operation, serve, sha256, write};

/// Programs by which the script changes something. Each is replaced by one that counts, and kills the whole process
/// group when the count is reached: before or after it did its work.
const COUNTED: &[&str] = &[
    "base64", "chmod", "chown", "curl", "ln", "mkdir", "mv", "rm", "sync", "tar", "timeout",
];

/// The points are tried side by side: most of the time is spent in starting programs.
const WORKERS: usize = 4;

const COUNTER: &str = r#"#!/bin/sh
name=${0##*/}
real=/usr/bin/$name
read -r count </fake/count
read -r victim when </fake/kill
count=$((count + 1))
echo "$count" >/fake/count
if [ "$count" = "$victim" ] && [ "$when" = before ]; then kill -9 0; fi
"$real" "$@"
code=$?
if [ "$count" = "$victim" ] && [ "$when" = after ]; then kill -9 0; fi
exit $code
"#;

fn counting(world: &World) {
    for name in COUNTED {
        world.fake(name, COUNTER);
    }
    arm(world, 0, "never");
}

fn arm(world: &World, victim: usize, when: &str) {
    world.write("/fake/count", "0\n");
    world.write("/fake/kill", &format!("{victim} {when}\n"));
}

/// One of everything that changes something.
fn install(mirror: &str, archive: &[u8]) -> Operation {
    let unit = |action| Step::Unit {
        name: "kubelet.service".into(),
        action,
    };
    operation(
        "install",
        vec![
            Step::Directory {
                path: "/var/lib/kubelet".into(),
                mode: 0o700,
            },
            Step::Fetch {
                urls: vec![format!("{mirror}/cni.tar")],
                sha256: sha256(archive),
                dest: "/var/cache/kok/cni.tar".into(),
                mode: 0o644,
            },
            Step::Unpack {
                archive: "/var/cache/kok/cni.tar".into(),
                dest: "/opt/kok/cni/1.5.0".into(),
                strip: 0,
            },
            Step::RemovePath {
                path: "/var/cache/kok".into(),
            },
            Step::Link {
                path: "/opt/kok/cni/current".into(),
                target: "1.5.0".into(),
            },
            write("/etc/kok/kubelet.yaml", "new configuration\n"),
            Step::WriteFile {
                path: "/etc/kok/token".into(),
                content: Content::Filled {
                    slot: "token".into(),
                    secret: Secret::new("abcdef.0123456789abcdef"),
                },
                mode: 0o600,
                uid: 0,
                gid: 0,
            },
            Step::DaemonReload,
            unit(UnitAction::Enable),
            unit(UnitAction::Restart),
            Step::Run {
                argv: vec!["touch".into(), "/opt/kok/ran".into()],
                within: Duration::from_secs(5),
            },
        ],
    )
}

fn prepared() -> World {
    let world = World::new();
    counting(&world);
    world.write("/etc/kok/kubelet.yaml", "old configuration\n");
    world.write("/etc/kok/token", "old");
    std::os::unix::fs::symlink("1.4.0", {
        std::fs::create_dir_all(world.path("/opt/kok/cni")).unwrap();
        world.path("/opt/kok/cni/current")
    })
    .unwrap();
    world
}

fn archive() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("bridge"), "bridge".repeat(1000)).unwrap();
    std::fs::write(directory.path().join("host-local"), "host-local").unwrap();
    let output = std::process::Command::new("tar")
        .args(["-c", "-C"])
        .arg(directory.path())
        .args(["bridge", "host-local"])
        .output()
        .unwrap();
    output.stdout
}

/// What may be at a path while an operation is under way: what was there before, or what is there in the end.
fn assert_nothing_half(world: &World, before: &BTreeSet<(String, String)>, end: &BTreeSet<(String, String)>) {
    for (path, what) in world.tree() {
        let passing = what.starts_with("directory")
            || path.contains(".kok-new")
            || path.starts_with("/var/cache/kok/cni.tar")
            || path.starts_with("/var/lib/kube-on-kube/");
        let known = (path.clone(), what.clone());
        assert!(
            passing || before.contains(&known) || end.contains(&known),
            "{path} is {what}, neither as before nor as in the end"
        );
    }
}

#[test]
fn killed_at_any_program_and_given_again_it_ends_the_same() {
    let archive = archive();
    let mirror = serve(vec![("/cni.tar", archive.clone())]);
    let install = install(&mirror, &archive);

    let world = prepared();
    let before = pairs(&world);
    world.done(&install);
    let end = pairs(&world);
    let programs: usize = world.read("/fake/count").trim().parse().unwrap();
    assert!(programs > 40, "the programs are counted: {programs}");
    assert_eq!(restarts(&world), 1);

    let left = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (install, before, end, left) = (&install, &before, &end, &left);
            scope.spawn(move || {
                for victim in (1..=programs).filter(|victim| victim % WORKERS == worker) {
                    for when in ["before", "after"] {
                        let point = format!("killed {when} program {victim} of {programs}");
                        let world = prepared();
                        arm(&world, victim, when);
                        let run = world.run(&Call::operation(install, &random_nonce()));
                        assert_eq!(run.code, None, "{point}, ended at {}", world.read("/fake/count"));
                        assert_nothing_half(&world, before, end);
                        left.fetch_add(leftovers(&world), Ordering::Relaxed);
                        arm(&world, 0, "never");
                        if when == "after" {
                            // Another operation comes first: it clears up behind the killed one.
                            world.done(&operation("other", vec![]));
                            assert_eq!(leftovers(&world), 0, "{point}");
                        }
                        let result = world.apply(install);
                        assert_eq!(result.outcome, OperationOutcome::Done, "{point}: {result:#?}");
                        assert_eq!(pairs(&world), *end, "{point}");
                        assert!((1..=2).contains(&restarts(&world)), "{point}");
                        assert!(!world.path("/run/kube-on-kube").exists(), "{point}");
                    }
                }
            });
        }
    });
    assert!(
        left.into_inner() > 5,
        "some of the kills came while a temporary path was there"
    );
}

fn pairs(world: &World) -> BTreeSet<(String, String)> {
    world.tree().into_iter().collect()
}

fn leftovers(world: &World) -> usize {
    world
        .tree()
        .keys()
        .filter(|path| path.ends_with(".kok-new"))
        .count()
}

fn restarts(world: &World) -> usize {
    let log = world.systemctl_log();
    log.iter().filter(|line| line.starts_with("restart")).count()
}
