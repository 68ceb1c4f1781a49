//! Steps that change what runs: units, commands, kernel parameters, processes, the boot.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod world;

use std::time::Duration;

use kok_plan::host::{Expect, FailureReason, OperationOutcome, Step, StepOutcome, UnitAction};
use world::{World, failed, operation, twice, write};

fn unit(name: &str, action: UnitAction) -> Step {
    Step::Unit {
        name: name.into(),
        action,
    }
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
