//! One round trip for all facts, against real tools.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod world;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};

use kok_plan::host::{
    BinaryFact, Cgroup, DebFact, Endpoint, FactsQuery, FileFact, JournalState, NamedProbe, ProbeFact, Reach,
};
use world::{World, operation, owner, run, sha256, write};

fn set(items: &[&str]) -> BTreeSet<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

#[test]
fn the_host_tells_about_itself_unasked() {
    let facts = World::new().facts(&FactsQuery::default()).unwrap();
    assert_eq!(facts.os.id, "debian");
    assert!(!facts.os.version.is_empty() && !facts.os.codename.is_empty() && !facts.os.kernel.is_empty());
    assert!(matches!(facts.os.arch.as_str(), "amd64" | "arm64"));
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert_eq!(facts.boot_id, boot_id.trim());
    assert!(facts.clock_skew.unsigned_abs() < facts.clock_skew_within + std::time::Duration::from_millis(50));
    assert!(facts.uptime.as_secs() > 0 && facts.memory > 1 << 20 && facts.cpus > 0);
    assert_eq!(facts.euid, 0);
    assert_ne!(facts.cgroup, Cgroup::None);
    assert!(facts.systemd && facts.dpkg.present && !facts.busy);
    assert_eq!((facts.owner, facts.journal), (None, None));
}

#[test]
fn files_are_hashed_and_binaries_are_not_unless_asked() {
    let world = World::new();
    world.write("/opt/a", "content");
    world.write("/opt/empty", "");
    world.write("/opt/big", &"x".repeat(5 << 20));
    std::fs::set_permissions(world.path("/opt/a"), PermissionsExt::from_mode(0o4750)).unwrap();
    symlink("/opt/a b\nc", world.path("/opt/link")).unwrap();
    std::process::Command::new("mkfifo")
        .arg(world.path("/opt/pipe"))
        .status()
        .unwrap();
    let mut query = FactsQuery {
        files: set(&[
            "/opt/a",
            "/opt/big",
            "/opt/empty",
            "/opt/link",
            "/opt/nope",
            "/opt/a/nope",
            "/opt/pipe",
        ]),
        binaries: set(&[
            "/opt/a",
            "/opt/big",
            "/opt/link",
            "/opt",
            "/opt/nope",
            "/opt/pipe",
        ]),
        ..FactsQuery::default()
    };
    let facts = world.facts(&query).unwrap();
    let file = |content: Option<&str>, mode| FileFact::File {
        sha256: content.map(|content| sha256(content.as_bytes())),
        mode,
        uid: 0,
        gid: 0,
    };
    assert_eq!(facts.files["/opt/a"], file(Some("content"), 0o4750));
    assert_eq!(facts.files["/opt/empty"], file(Some(""), 0o644));
    assert_eq!(
        facts.files["/opt/big"],
        file(None, 0o644),
        "too large for each time"
    );
    assert_eq!(facts.files["/opt/link"], FileFact::Other);
    assert_eq!(
        facts.files["/opt/pipe"],
        FileFact::Other,
        "and nobody waits for it"
    );
    assert_eq!(facts.files["/opt/nope"], FileFact::Absent);
    assert_eq!(facts.files["/opt/a/nope"], FileFact::Absent);
    assert_eq!(
        facts.binaries["/opt/link"],
        BinaryFact::Link {
            target: "/opt/a b\nc".into()
        }
    );
    assert_eq!(facts.binaries["/opt"], BinaryFact::Directory);
    assert_eq!(facts.binaries["/opt/pipe"], BinaryFact::Other);
    assert_eq!(facts.binaries["/opt/nope"], BinaryFact::Absent);
    let BinaryFact::File {
        size,
        sha256: None,
        mtime_ns,
        inode,
        ..
    } = facts.binaries["/opt/big"]
    else {
        panic!("{:?}", facts.binaries["/opt/big"]);
    };
    assert_eq!(size, 5 << 20);

    // Same size, other content: time or inode tell.
    world.write("/opt/big", &"y".repeat(5 << 20));
    query.hash_binaries = true;
    let facts = world.facts(&query).unwrap();
    let BinaryFact::File {
        sha256: Some(hash),
        mtime_ns: later,
        inode: same,
        ..
    } = &facts.binaries["/opt/big"]
    else {
        panic!("{:?}", facts.binaries["/opt/big"]);
    };
    assert_eq!(*hash, sha256("y".repeat(5 << 20).as_bytes()));
    assert!((*later, *same) != (mtime_ns, inode));
}

#[test]
fn units_debs_probes_disks_ports_and_endpoints_are_told() {
    let world = World::new();
    world.set_unit("kubelet.service", "LoadState", "loaded");
    world.set_unit("kubelet.service", "ActiveState", "failed");
    world.set_unit("kubelet.service", "Result", "exit-code");
    world.set_unit("kubelet.service", "NRestarts", "5");
    world.set_unit("kubelet.service", "NeedDaemonReload", "yes");
    world.set_unit("containerd.service", "ActiveState", "active");
    world.set_unit("containerd.service", "ActiveEnterTimestampMonotonic", "1000000");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap().port();
    let closed = {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap().port()
    };
    let probe = |name: &str, argv: &[&str]| NamedProbe {
        name: name.into(),
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
    };
    let endpoint = |port| Endpoint {
        host: "127.0.0.1".into(),
        port,
    };
    let query = FactsQuery {
        units: set(&["kubelet.service", "containerd.service", "nope.service"]),
        debs: set(&["dpkg", "no-such-package"]),
        probes: vec![
            probe("version", &["printf", "%s %s\\n", "v1", "a b"]),
            probe("fails", &["sh", "-c", "echo oops >&2; exit 3"]),
            probe("absent", &["/no/such/program"]),
            probe("hangs", &["sleep", "60"]),
            probe("long", &["sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x"]),
        ],
        disks: set(&["/", "/var/lib/containerd/not/there"]),
        ports: [open, closed].into(),
        endpoints: [endpoint(open), endpoint(closed)].into(),
        ..FactsQuery::default()
    };
    let facts = world.facts(&query).unwrap();
    let kubelet = &facts.units["kubelet.service"];
    assert_eq!(
        (kubelet.load.as_str(), kubelet.active.as_str()),
        ("loaded", "failed")
    );
    assert_eq!(
        (
            kubelet.result.as_str(),
            kubelet.restarts,
            kubelet.needs_daemon_reload
        ),
        ("exit-code", 5, true)
    );
    assert_eq!(kubelet.since, None);
    let boot = facts.taken_at - jiff::SignedDuration::try_from(facts.uptime).unwrap();
    let since = facts.units["containerd.service"].since.unwrap();
    assert!((since - boot).total(jiff::Unit::Second).unwrap() - 1.0 < 1.0);
    assert_eq!(facts.units["nope.service"].load, "not-found");
    assert!(facts.debs["dpkg"].version.is_some());
    assert_eq!(facts.debs["dpkg"].status, "installed");
    assert_eq!(facts.debs["no-such-package"], DebFact::default());
    let told = |exit, output: &str| ProbeFact {
        exit,
        output: output.into(),
    };
    assert_eq!(facts.probes["version"], told(0, "v1 a b"));
    assert_eq!(facts.probes["fails"], told(3, "oops"));
    assert_eq!(facts.probes["absent"].exit, 127);
    assert_eq!(facts.probes["hangs"], told(124, ""));
    assert!((3000..=4096).contains(&facts.probes["long"].output.len()));
    assert!(
        facts
            .disks
            .values()
            .all(|disk| disk.writable && disk.total >= disk.available && disk.available > 0)
    );
    assert_eq!(facts.disks.len(), 2);
    assert_eq!(facts.listening, [open].into());
    assert_eq!(facts.endpoints[&format!("127.0.0.1:{open}")], Reach::Connected);
    assert_eq!(
        facts.endpoints[&format!("127.0.0.1:{closed}")],
        Reach::Failed("Connection refused".into())
    );
}

#[test]
fn owner_and_journal_are_told() {
    let world = World::new();
    world.write("/opt/x", "old");
    let failing = operation(
        "join-1",
        vec![write("/opt/x", "new"), run(&["false"]), run(&["true"])],
    );
    world.apply(&failing);
    let facts = world.facts(&FactsQuery::default()).unwrap();
    assert_eq!(facts.owner, Some(owner()));
    assert_eq!(facts.owner.unwrap().label, "payments/node 1");
    let journal = facts.journal.unwrap();
    assert_eq!(
        (journal.operation.as_str(), journal.generation, journal.finished),
        ("join-1", 7, false)
    );
    let states: Vec<(usize, &str, JournalState)> = journal
        .steps
        .iter()
        .map(|step| (step.index, step.kind.as_str(), step.state))
        .collect();
    assert_eq!(
        states,
        [
            (0, "claim", JournalState::Done),
            (1, "write_file", JournalState::Done),
            (2, "run", JournalState::Failed)
        ]
    );
    assert_eq!(journal.steps[1].before, sha256(b"old"));
    assert_eq!(journal.steps[1].after, sha256(b"new"));
}

#[test]
fn an_interrupted_or_locked_dpkg_is_told() {
    let world = World::new();
    world.write("/var/lib/dpkg/updates/0001", "");
    let facts = world.facts(&FactsQuery::default()).unwrap();
    assert!(facts.dpkg.interrupted && !facts.dpkg.locked);
}

#[test]
fn what_cannot_be_read_is_not_absent() {
    let world = World::new();
    // A tool that fails makes the facts unknown, all of them.
    world.fake(
        "systemctl",
        "#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n",
    );
    let query = FactsQuery {
        units: set(&["kubelet.service"]),
        ..FactsQuery::default()
    };
    let error = world.facts(&query).unwrap_err().to_string();
    assert!(
        error.contains("units") && error.contains("Failed to connect to bus"),
        "{error}"
    );
    world.fake(
        "find",
        "#!/bin/sh\necho \"find: '/opt/a': Input/output error\" >&2\nexit 1\n",
    );
    let query = FactsQuery {
        files: set(&["/opt/a"]),
        ..FactsQuery::default()
    };
    let error = world.facts(&query).unwrap_err().to_string();
    assert!(error.contains("Input/output error"), "{error}");
}
