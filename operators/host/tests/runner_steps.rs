//! Every step, against real tools: it does what it says, a second time it changes nothing, and it fails clearly.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod world;

use std::io::BufRead as _;
use std::time::Duration;

use kok_plan::host::{
    Content, Expect, FactsQuery, FailureReason, Operation, OperationOutcome, OperationResult, Owner, Refusal,
    Secret, Step, StepOutcome, StepResult, UnitAction,
};
use world::{World, operation, owner, run, serve, sha256, write};

/// Applies it under a first name, and under a second: what each changed, without the claim.
fn twice(world: &World, steps: &[Step]) -> (Vec<bool>, Vec<bool>) {
    let first = world.done(&operation("first", steps.to_vec()));
    let second = world.done(&operation("second", steps.to_vec()));
    assert!(!second[0], "claimed already");
    (first[1..].to_vec(), second[1..].to_vec())
}

/// Applies one step that must fail.
fn failed(world: &World, step: Step) -> (FailureReason, StepResult) {
    let mut operation = operation("fails", vec![step, write("/opt/never", "x")]);
    operation.id = format!("fails-{}", operation.steps[1].kind());
    let result = world.apply(&operation);
    assert_eq!(
        result.outcome,
        OperationOutcome::Failed { step: 1 },
        "{result:#?}"
    );
    assert_eq!(result.steps[2].outcome, StepOutcome::NotRun);
    assert!(!world.path("/opt/never").exists());
    let StepOutcome::Failed { reason, .. } = result.steps[1].outcome else {
        panic!("{result:#?}");
    };
    (reason, result.steps[1].clone())
}

fn unit(name: &str, action: UnitAction) -> Step {
    Step::Unit {
        name: name.into(),
        action,
    }
}

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

#[test]
fn units_are_brought_to_their_state_and_restarted_once() {
    let world = World::new();
    let steps = [
        Step::DaemonReload,
        unit("kubelet.service", UnitAction::Enable),
        unit("kubelet.service", UnitAction::Start),
        unit("kubelet.service", UnitAction::Restart),
        unit("kubelet.service", UnitAction::Reload),
        Step::WaitActive {
            name: "kubelet.service".into(),
            stable: Duration::from_millis(300),
            within: Duration::from_secs(5),
        },
        unit("kubelet.service", UnitAction::Stop),
        unit("kubelet.service", UnitAction::Disable),
    ];
    world.done(&operation("units", steps.to_vec()));
    let once = [
        "daemon-reload",
        "enable kubelet.service",
        "start kubelet.service",
        "restart kubelet.service",
        "reload-or-restart kubelet.service",
        "stop kubelet.service",
        "disable kubelet.service",
    ];
    assert_eq!(world.systemctl_log(), once);
    // Given again, the same operation is done already.
    let again = world.apply(&operation("units", steps.to_vec()));
    assert!(
        again
            .steps
            .iter()
            .all(|step| step.outcome == StepOutcome::DoneBefore)
    );
    assert_eq!(world.systemctl_log(), once);
    // What is as it shall be is not touched.
    let steps = [
        unit("kubelet.service", UnitAction::Stop),
        unit("kubelet.service", UnitAction::Disable),
        unit("nope.service", UnitAction::Stop),
        unit("nope.service", UnitAction::Disable),
    ];
    assert_eq!(world.done(&operation("again", steps.to_vec()))[1..], [false; 4]);
    assert_eq!(world.systemctl_log(), once);
}

#[test]
fn a_unit_that_fails_is_shown() {
    let world = World::new();
    world.write("/fake/units/kubelet.service/broken", "");
    let (reason, step) = failed(&world, unit("kubelet.service", UnitAction::Start));
    assert_eq!(reason, FailureReason::UnitFailed);
    assert!(
        step.tail.contains("Job for kubelet.service failed"),
        "{}",
        step.tail
    );
    assert!(step.tail.contains("status of  kubelet.service"), "{}", step.tail);
    let wait = Step::WaitActive {
        name: "kubelet.service".into(),
        stable: Duration::ZERO,
        within: Duration::from_millis(500),
    };
    let (reason, step) = failed(&world, wait);
    assert_eq!(reason, FailureReason::UnitFailed);
    assert!(step.tail.contains("kubelet.service is inactive"), "{}", step.tail);
    assert!(step.duration >= Duration::from_millis(490) && step.duration < Duration::from_secs(5));
}

#[test]
fn probes_wait_and_commands_run_once() {
    let world = World::new();
    world.fake(
        "flaky",
        "#!/bin/sh\nread -r n </fake/n\necho $((n + 1)) >/fake/n\necho \"try $n\"\n[ \"$n\" -ge 2 ]\n",
    );
    world.write("/fake/n", "0\n");
    let probe = |argv: &[&str], expect, within| Step::Probe {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        expect,
        within: Duration::from_millis(within),
    };
    world.done(&operation(
        "probe",
        vec![probe(&["/fake/flaky"], Expect::Output("try 4".into()), 10_000)],
    ));
    assert_eq!(world.read("/fake/n"), "5\n");
    let (reason, step) = failed(
        &world,
        probe(&["sh", "-c", "echo no; exit 4"], Expect::Success, 400),
    );
    assert_eq!(reason, FailureReason::ProbeFailed);
    assert_eq!(step.tail, "no\n\nexit 4");
    let slow = Step::Run {
        argv: vec!["sleep".into(), "30".into()],
        within: Duration::from_secs(1),
    };
    let (reason, step) = failed(&world, slow);
    assert_eq!(reason, FailureReason::TimedOut);
    assert!(step.duration < Duration::from_secs(5));
}

#[test]
fn kernel_parameters_and_modules() {
    let world = World::new();
    world.fake("modprobe", "#!/bin/sh\necho \"$@\" >>/fake/modprobe.log\n");
    let steps = vec![
        Step::Sysctl {
            key: "net.ipv4.ip_forward".into(),
            value: "1".into(),
        },
        Step::Sysctl {
            key: "net/ipv4/conf/lo/rp_filter".into(),
            value: "2".into(),
        },
        Step::LoadModule {
            name: "no-such_module".into(),
        },
        Step::Sysctl {
            key: "net.ipv4.ip_forward".into(),
            value: "1".into(),
        },
    ];
    let result = world.apply_with(&operation("kernel", steps), &["--net"]);
    assert_eq!(result.outcome, OperationOutcome::Done, "{result:#?}");
    let changed: Vec<bool> = result.steps[1..]
        .iter()
        .map(|step| step.outcome == StepOutcome::Done { changed: true })
        .collect();
    assert_eq!(changed, [true, true, true, false]);
    assert_eq!(world.read("/fake/modprobe.log"), "-- no-such_module\n");
    let (_, step) = failed(
        &world,
        Step::Sysctl {
            key: "net.ipv4.no_such".into(),
            value: "1".into(),
        },
    );
    assert!(step.tail.contains("/proc/sys/net/ipv4/no_such"), "{}", step.tail);
}

#[test]
fn the_processes_of_a_control_group_are_killed() {
    let hierarchy = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"]
        .into_iter()
        .find(|path| std::path::Path::new(path).join("cgroup.procs").exists())
        .expect("no control groups here");
    let name = format!("kok-test-{}", std::process::id());
    let group = std::path::Path::new(hierarchy).join(&name);
    std::fs::create_dir_all(group.join("pod/container")).unwrap();
    let mut victim = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    std::fs::write(group.join("pod/container/cgroup.procs"), victim.id().to_string()).unwrap();
    // Nobody waits for it while the step runs, so it must be reaped beside.
    let waiter = std::thread::spawn(move || victim.wait().unwrap());
    let world = World::new();
    let kill = Step::KillCgroup { name };
    let outcome = twice(&world, &[kill]);
    let status = waiter.join().unwrap();
    for directory in ["pod/container", "pod", ""] {
        std::fs::remove_dir(group.join(directory)).unwrap();
    }
    assert_eq!(outcome, (vec![true], vec![false]));
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
}

#[test]
fn a_reboot_stops_the_operation_and_is_not_repeated() {
    let world = World::new();
    world.fake("systemd-run", "#!/bin/sh\necho \"$@\" >>/fake/reboots\n");
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let reboot = |boot_id: &str| Step::Reboot {
        boot_id: boot_id.trim().into(),
    };
    let steps = |boot_id: &str| {
        vec![
            write("/opt/before", "x"),
            reboot(boot_id),
            write("/opt/after", "x"),
        ]
    };
    let result = world.apply(&operation("upgrade", steps(&boot_id)));
    assert_eq!(result.outcome, OperationOutcome::Rebooting);
    assert_eq!(result.steps[2].outcome, StepOutcome::Rebooting);
    assert_eq!(result.steps[3].outcome, StepOutcome::NotRun);
    assert!(!world.path("/opt/after").exists());
    assert!(world.read("/fake/reboots").ends_with("systemctl reboot\n"));
    // After the boot: pretend that the one that ended was another.
    let ended = "00000000-0000-0000-0000-000000000000";
    let world = World::new();
    world.fake("systemd-run", "#!/bin/sh\nexit 1\n");
    world.write("/var/lib/kube-on-kube/owner", "owner c-1 m-1 x\n");
    let again = operation("upgrade", steps(ended));
    let first = kok_host::runner::Call::operation(&again, "n");
    let text = String::from_utf8(first.stdin.expose().to_vec()).unwrap();
    let digest = text
        .lines()
        .find_map(|line| line.strip_prefix("operation upgrade 7 "))
        .unwrap();
    world.write(
        "/var/lib/kube-on-kube/journal",
        &format!(
            "operation upgrade 7 {digest} {ended}\nstep 0 claim done - -\nstep 1 write_file done - -\n\
             step 2 reboot begun {ended}\n"
        ),
    );
    let result = world.apply(&again);
    assert_eq!(result.outcome, OperationOutcome::Done, "{result:#?}");
    assert_eq!(
        result.steps[1].outcome,
        StepOutcome::DoneBefore,
        "it was flushed before the reboot"
    );
    assert_eq!(result.steps[2].outcome, StepOutcome::Done { changed: false });
    assert_eq!(result.steps[3].outcome, StepOutcome::Done { changed: true });
    // A reboot that was not ours: nothing in the journal is relied on.
    world.write(
        "/var/lib/kube-on-kube/journal",
        &format!("operation upgrade 7 {digest} {ended}\nstep 0 claim done - -\nstep 1 write_file done - -\n"),
    );
    let result = world.apply(&again);
    assert_eq!(result.steps[1].outcome, StepOutcome::Done { changed: true });
    assert_eq!(world.read("/opt/before"), "x");
}

fn refused(world: &World, operation: &Operation) -> Refusal {
    let before = world.tree();
    let result = world.apply(operation);
    assert_eq!(world.tree(), before, "refused, and nothing was written");
    assert!(
        result
            .steps
            .iter()
            .all(|step| step.outcome == StepOutcome::NotRun)
    );
    match result.outcome {
        OperationOutcome::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_host_has_one_owner_and_heeds_no_older_generation() {
    let world = World::new();
    let mut unclaimed = operation("x", vec![write("/opt/x", "1")]);
    unclaimed.steps.remove(0);
    assert_eq!(refused(&world, &unclaimed), Refusal::NotClaimed);

    world.done(&operation("first", vec![write("/opt/x", "1")]));
    world.done(&unclaimed);
    let other = Owner {
        cluster: "c-2".into(),
        ..owner()
    };
    let mut theirs = operation("theirs", vec![write("/opt/x", "2")]);
    theirs.owner = other.clone();
    theirs.generation = 100;
    let refusal = refused(&world, &theirs);
    assert_eq!(refusal, Refusal::Conflict(owner()));
    assert!(refusal.to_string().contains("payments/node 1"), "{refusal}");

    let mut older = operation("older", vec![write("/opt/x", "2")]);
    older.generation = 6;
    assert_eq!(refused(&world, &older), Refusal::OlderGeneration { seen: 7 });
    let reused = operation("x", vec![write("/opt/x", "3")]);
    assert_eq!(refused(&world, &reused), Refusal::IdReused);

    // Released by its owner's word, it may be taken over, whatever generation that owner counted.
    theirs.generation = 1;
    theirs.steps[0] = Step::Claim {
        replaces: Some(owner()),
    };
    world.done(&theirs);
    assert_eq!(world.facts(&FactsQuery::default()).unwrap().owner, Some(other));
    let ours = operation("mine", vec![]);
    assert!(matches!(refused(&world, &ours), Refusal::Conflict(_)));
}

#[test]
fn a_released_host_is_as_it_was() {
    let world = World::new();
    let mut release = operation("leave", vec![Step::Release]);
    world.done(&release);
    let left: Vec<String> = world
        .tree()
        .into_keys()
        .filter(|path| path.contains("kube-on-kube"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(world.facts(&FactsQuery::default()).unwrap().owner, None);
    release.steps.remove(0);
    assert_eq!(refused(&world, &release), Refusal::NotClaimed);
}

#[test]
fn operations_never_overlap_even_when_the_first_runner_is_dead() {
    let world = World::new();
    world.done(&operation("claim", vec![]));
    let path = world.path("/run/lock/kube-on-kube.lock");
    // What a killed runner had started still holds the lock.
    let mut orphan = std::process::Command::new("sh")
        .args([
            "-c",
            "exec 9>>\"$1\" && flock 9 && echo locked && exec sleep 600",
            "sh",
        ])
        .arg(&path)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(orphan.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let refusal = refused(&world, &operation("second", vec![write("/opt/x", "1")]));
    let busy = world.facts(&FactsQuery::default()).unwrap().busy;
    orphan.kill().unwrap();
    orphan.wait().unwrap();
    assert_eq!(refusal, Refusal::Busy);
    assert!(busy);
    world.done(&operation("second", vec![write("/opt/x", "1")]));
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

#[test]
fn a_request_that_was_cut_off_does_nothing() {
    let world = World::new();
    let operation = operation("cut", vec![write("/opt/x", "1"), write("/opt/y", "1")]);
    let call = kok_host::runner::Call::operation(&operation, "n");
    let whole = call.stdin.expose().to_vec();
    let script = whole.len() - 600;
    let before = world.tree();
    for end in [10, script / 2, script, whole.len() - 5] {
        let cut = kok_host::runner::Call {
            argv: call.argv.clone(),
            stdin: Secret::new(&whole[..end]),
            nonce: "n".into(),
        };
        let run = world.run(&cut);
        assert_ne!(run.code, Some(0), "cut at {end} of {}", whole.len());
        assert_eq!(world.tree(), before);
    }
    world.done(&operation);
}
