//! Steps that change files, against real tools: each does what it says, a second time it changes nothing, and it
//! fails clearly.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod world;

use std::time::Duration;

use kok_plan::host::{
    Content, FailureReason, Operation, OperationOutcome, OperationResult, Refusal, Secret, Step, StepOutcome,
};
use world::{World, failed, operation, run, serve, sha256, twice, write};

#[test]
fn files_links_and_directories() {
    let world = World::new();
    world.write("/etc/kok/old", "old");
    let steps = [
        write("/etc/kok/old", "new\n"),
        Step::WriteFile {
            path: "/etc/kok/deep/secret".into(),
            content: Content::Filled {
                slot: "token".into(),
                secret: Secret::new(vec![0, 255, b'\n', b'\\']),
            },
            mode: 0o600,
            uid: 65534,
            gid: 65533,
        },
        write("/etc/kok/empty", ""),
        Step::Link {
            path: "/opt/kok/current".into(),
            target: "versions/1.2.3".into(),
        },
        Step::Directory {
            path: "/srv/a/b".into(),
            mode: 0o711,
        },
    ];
    assert_eq!(twice(&world, &steps), (vec![true; 5], vec![false; 5]));
    assert_eq!(world.read("/etc/kok/old"), "new\n");
    assert_eq!(
        std::fs::read(world.path("/etc/kok/deep/secret")).unwrap(),
        [0, 255, b'\n', b'\\']
    );
    assert!(world.tree()["/etc/kok/deep/secret"].starts_with("file 600 65534:65533 "));
    assert_eq!(
        world.mode("/etc/kok/deep"),
        0o755,
        "directories in between are open"
    );
    assert_eq!(world.mode("/srv/a/b"), 0o711);
    assert_eq!(
        world.path("/opt/kok/current").read_link().unwrap().to_str(),
        Some("versions/1.2.3")
    );
    // A changed mode alone is put right; a link in place of a file gives way.
    std::process::Command::new("chmod")
        .arg("666")
        .arg(world.path("/etc/kok/old"))
        .status()
        .unwrap();
    std::fs::remove_file(world.path("/etc/kok/empty")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", world.path("/etc/kok/empty")).unwrap();
    let third = world.done(&operation("third", steps.to_vec()));
    assert_eq!(third[1..], [true, false, true, false, false]);
    assert_eq!(world.mode("/etc/kok/old"), 0o644);
    assert!(world.path("/etc/kok/empty").symlink_metadata().unwrap().is_file());
    assert!(
        !world.path("/etc/passwd").exists(),
        "what the link pointed at is untouched"
    );
    assert!(!world.path("/run/kube-on-kube").exists());
    assert!(!world.path("/var/lib/kube-on-kube/pending").exists());
}

#[test]
fn a_file_is_fetched_with_whatever_the_host_has() {
    let content = b"binary \0 content".repeat(1000);
    let mirror = serve(vec![
        ("/kubelet", content.clone()),
        ("/other", b"not it".to_vec()),
    ]);
    let fetch = |paths: &[&str]| Step::Fetch {
        urls: paths.iter().map(|path| format!("{mirror}{path}")).collect(),
        sha256: sha256(&content),
        dest: "/opt/kok/kubelet/1.36.3/kubelet".into(),
        mode: 0o755,
    };
    // Also from the second mirror, when the first has nothing or something else.
    for (tools, paths) in [
        (&["curl", "wget"][..], &["/nope", "/other", "/kubelet"][..]),
        (&["wget"], &["/nope", "/kubelet"]),
        (&[], &["/other", "/kubelet"]),
    ] {
        let world = World::new();
        for hidden in ["curl", "wget"].iter().filter(|tool| !tools.contains(tool)) {
            world.hide(&format!("/usr/bin/{hidden}"));
        }
        if tools == ["wget"] && !std::path::Path::new("/usr/bin/wget").exists() {
            continue;
        }
        assert_eq!(
            twice(&world, &[fetch(paths)]),
            (vec![true], vec![false]),
            "{tools:?}"
        );
        let dest = "/opt/kok/kubelet/1.36.3/kubelet";
        assert_eq!(std::fs::read(world.path(dest)).unwrap(), content);
        assert_eq!(world.mode(dest), 0o755);
        assert_eq!(
            std::fs::read_dir(world.path("/opt/kok/kubelet/1.36.3"))
                .unwrap()
                .count(),
            1
        );
    }
}

#[test]
fn wrong_content_and_dead_mirrors_change_nothing() {
    let mirror = serve(vec![("/kubelet", b"evil".to_vec())]);
    let world = World::new();
    world.write("/opt/kok/kubelet", "running");
    let fetch = |path: &str| Step::Fetch {
        urls: vec![format!("{mirror}{path}"), "http://127.0.0.1:1/x".into()],
        sha256: sha256(b"good"),
        dest: "/opt/kok/kubelet".into(),
        mode: 0o755,
    };
    let (reason, step) = failed(&world, fetch("/kubelet"));
    assert_eq!(reason, FailureReason::Sha256Mismatch);
    assert!(
        step.tail.contains(&sha256(b"evil")) && step.tail.contains(&sha256(b"good")),
        "{}",
        step.tail
    );
    let world_tree = world.tree();
    assert_eq!(world.read("/opt/kok/kubelet"), "running");
    assert!(!world_tree.contains_key("/opt/kok/kubelet.kok-new"));
    let world = World::new();
    world.write("/opt/kok/kubelet", "running");
    let (reason, _) = failed(&world, fetch("/nope"));
    assert_eq!(reason, FailureReason::DownloadFailed);
    assert_eq!(world.read("/opt/kok/kubelet"), "running");
}

#[test]
fn an_archive_is_unpacked_whole_into_a_directory_of_its_version() {
    let world = World::new();
    world.write("/srv/pack/cni/bin/bridge", "bridge");
    world.write("/srv/pack/cni/LICENSE", "text");
    let packed = std::process::Command::new("tar")
        .args(["-czf"])
        .arg(world.path("/srv/cni.tgz"))
        .arg("-C")
        .arg(world.path("/srv/pack"))
        .arg("cni")
        .status()
        .unwrap();
    assert!(packed.success());
    let unpack = |archive: &str| Step::Unpack {
        archive: archive.into(),
        dest: "/opt/kok/cni/1.5.0".into(),
        strip: 1,
    };
    let (_, step) = failed(&world, unpack("/srv/pack/cni/LICENSE"));
    assert!(step.tail.contains("tar"), "{}", step.tail);
    assert!(!world.path("/opt/kok/cni/1.5.0").exists());
    assert_eq!(
        twice(&world, &[unpack("/srv/cni.tgz")]),
        (vec![true], vec![false])
    );
    assert_eq!(world.read("/opt/kok/cni/1.5.0/bin/bridge"), "bridge");
    assert!(
        !world.path("/opt/kok/cni/1.5.0.kok-new").exists(),
        "also what the failed one left"
    );
}

#[test]
fn removal_takes_mounts_along_and_stays_below_its_roots() {
    let world = World::new();
    world.write("/var/lib/kubelet/pods/a/file", "x");
    world.write("/var/lib/kubelet/keep me", "x");
    world.write("/opt/outside", "stays");
    std::os::unix::fs::symlink("/opt", world.path("/var/lib/kubelet/link")).unwrap();
    let remove = |path: &str| Step::RemovePath { path: path.into() };
    let result = world.done(&operation(
        "remove",
        vec![
            run(&["mkdir", "-p", "/var/lib/kubelet/pods/a/vol ume\\1"]),
            run(&[
                "mount",
                "-t",
                "tmpfs",
                "none",
                "/var/lib/kubelet/pods/a/vol ume\\1",
            ]),
            remove("/var/lib/kubelet"),
            remove("/var/lib/kubelet"),
        ],
    ));
    assert_eq!(result, [true, true, true, true, false]);
    assert!(!world.path("/var/lib/kubelet").exists());
    assert_eq!(world.read("/opt/outside"), "stays");

    // A mount point itself is emptied and stays.
    let result = world.done(&operation(
        "remove-mount-point",
        vec![
            run(&["mkdir", "-p", "/var/lib/containerd"]),
            run(&["mount", "-t", "tmpfs", "none", "/var/lib/containerd"]),
            run(&["touch", "/var/lib/containerd/x"]),
            remove("/var/lib/containerd"),
            run(&["mountpoint", "/var/lib/containerd"]),
            run(&["test", "!", "-e", "/var/lib/containerd/x"]),
        ],
    ));
    assert_eq!(result, [false, true, true, true, true, true, true]);
}

#[test]
fn the_runner_itself_refuses_to_remove_what_holds_the_system() {
    let world = World::new();
    world.write("/home/user/file", "x");
    let paths = [
        "/home/user",
        "/etc",
        "/opt/../home/user",
        "/opt/./x",
        "/opt//x",
        "/usr/bin",
    ];
    for (index, path) in paths.into_iter().enumerate() {
        // Past the check that a plan's operation goes through.
        let operation = operation(
            &format!("remove-{index}"),
            vec![Step::RemovePath { path: path.into() }],
        );
        let call = kok_host::runner::Call::operation(&operation, "n");
        let run = world.run(&call);
        let result = kok_host::runner::parse_result(&operation, &run.stdout, "n", None, Duration::ZERO);
        let StepOutcome::Failed { reason, .. } = result.steps[1].outcome else {
            panic!("{path}: {result:#?}");
        };
        assert_eq!(reason, FailureReason::NotAllowed, "{path}");
    }
    assert_eq!(world.read("/home/user/file"), "x");
}

/// Puts a file system of its own at a path, for one run.
fn apply_with_mount(world: &World, operation: &Operation, options: &str, path: &str) -> OperationResult {
    let script = format!("mount -t tmpfs -o {options} none {path} && exec \"$@\"");
    world.apply_inside(operation, &["sh", "-c", &script, "sh"])
}

#[test]
fn a_full_or_read_only_disk_is_named() {
    let world = World::new();
    world.done(&operation("claim", vec![]));
    world.write("/opt/.keep", "");
    let big = |id: &str| operation(id, vec![write("/opt/kok/file", &"x".repeat(200_000))]);
    for (options, expected) in [
        ("size=64k", FailureReason::DiskFull),
        ("ro", FailureReason::ReadOnly),
    ] {
        let id = options.replace('=', "-");
        let result = apply_with_mount(&world, &big(&id), options, "/opt");
        let StepOutcome::Failed { reason, .. } = result.steps[1].outcome else {
            panic!("{result:#?}");
        };
        assert_eq!(reason, expected, "{result:#?}");
    }
    let refused = apply_with_mount(&world, &operation("no-state", vec![]), "ro", "/var/lib");
    assert!(
        matches!(&refused.outcome, OperationOutcome::Refused(Refusal::StateUnwritable(why)) if why.contains("Read-only")),
        "{refused:#?}"
    );
}
