//! Facts and operations over SSH, with what can go wrong in the middle.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod sshd;
mod world;

use std::sync::Arc;
use std::time::Duration;

use kok_host::pool::{Limits, Pool};
use kok_host::target::Sudo;
use kok_host::{ConnectError, Deadlines, Host, HostError, Hosts as _, RemoteHosts, Target};
use kok_plan::host::{FactsQuery, FileFact, JournalState, OperationOutcome, Refusal, Secret, StepOutcome};
use sshd::{Base, Key, PASSWORD, Sshd, target};
use world::{operation, owner, run, sha256, write};

fn hosts(base: &Base, limits: Limits) -> RemoteHosts {
    let deadlines = Deadlines {
        connect: Duration::from_secs(20),
        facts: Duration::from_secs(20),
    };
    RemoteHosts::new(Arc::new(base.transport()), None, Pool::new(limits), deadlines)
}

async fn connect(hosts: &RemoteHosts, target: &Target) -> Box<dyn Host> {
    hosts.connect(target).await.unwrap()
}

fn asked(path: &str) -> FactsQuery {
    FactsQuery {
        files: [path.to_owned()].into(),
        ..FactsQuery::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_and_operations_as_root_and_with_sudo() {
    if !sshd::is_there() {
        return;
    }
    let base = Base::new();
    let hosts = hosts(&base, Limits::default());
    let sshd = Sshd::with(Key::new("ed25519", ""), "admin ALL=(ALL) ALL\n");
    let password = Sudo::Password(Secret::new(PASSWORD));
    for (name, ssh) in [("root", sshd.ssh()), ("admin", sshd.as_admin(password))] {
        let mut host = connect(&hosts, &target(ssh)).await;
        let path = format!("/opt/{name}");
        assert_eq!(
            host.facts(&asked(&path)).await.unwrap().files[&path],
            FileFact::Absent
        );
        let result = host
            .run(&operation(name, vec![write(&path, name)]))
            .await
            .unwrap();
        assert_eq!(result.outcome, OperationOutcome::Done, "{result:#?}");
        let facts = host.facts(&asked(&path)).await.unwrap();
        assert_eq!(facts.euid, 0);
        assert_eq!(facts.owner, Some(owner()));
        assert_eq!(
            facts.files[&path],
            FileFact::File {
                sha256: Some(sha256(name.as_bytes())),
                mode: 0o644,
                uid: 0,
                gid: 0
            }
        );
        host.close().await;
    }
    base.assert_nothing_left().await;
    // Without sudo the user is told to be too little, before anything is done.
    let mut host = connect(&hosts, &target(sshd.as_admin(Sudo::None))).await;
    assert_eq!(host.facts(&FactsQuery::default()).await.unwrap().euid, 4242);
    let result = host.run(&operation("x", vec![])).await.unwrap();
    assert_eq!(result.outcome, OperationOutcome::Refused(Refusal::NotRoot));
    let mut host = connect(&hosts, &target(sshd.as_admin(Sudo::Passwordless))).await;
    let error = host.facts(&FactsQuery::default()).await.unwrap_err();
    assert!(matches!(error, HostError::NoPrivileges(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_lost_in_an_operation_is_resolved_by_the_journal() {
    if !sshd::is_there() {
        return;
    }
    let (sshd, base) = (Sshd::start(), Base::new());
    let hosts = hosts(&base, Limits::default());
    let steps = vec![write("/opt/a", "a"), run(&["sleep", "4"]), write("/opt/b", "b")];
    let mut join = operation("join", steps);
    join.deadline = Duration::from_secs(30);
    let mut host = connect(&hosts, &target(sshd.ssh())).await;
    let cut = async {
        while !sshd.world.path("/opt/a").exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        sshd.cut_connections();
    };
    let (result, ()) = tokio::join!(host.run(&join), cut);
    let result = result.unwrap();
    assert!(
        matches!(result.outcome, OperationOutcome::Unknown(_)),
        "{result:#?}"
    );
    assert_eq!(
        result.steps[1].outcome,
        StepOutcome::Done { changed: true },
        "it had told"
    );
    assert_eq!(result.steps[2].outcome, StepOutcome::Unknown);
    drop(host);

    // The runner lives on for a moment. Nobody else may begin, and the journal tells how far it is.
    let mut host = connect(&hosts, &target(sshd.ssh())).await;
    let facts = host.facts(&FactsQuery::default()).await.unwrap();
    assert!(facts.busy);
    let journal = facts.journal.unwrap();
    assert_eq!((journal.operation.as_str(), journal.finished), ("join", false));
    assert_eq!(journal.steps.last().unwrap().state, JournalState::Begun);
    let result = host.run(&join).await.unwrap();
    assert_eq!(result.outcome, OperationOutcome::Refused(Refusal::Busy));
    while host.facts(&FactsQuery::default()).await.unwrap().busy {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let result = host.run(&join).await.unwrap();
    assert_eq!(result.outcome, OperationOutcome::Done, "{result:#?}");
    assert_eq!(result.steps[1].outcome, StepOutcome::DoneBefore);
    assert_eq!(sshd.world.read("/opt/b"), "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_takes_too_long_is_killed_and_can_be_given_again() {
    if !sshd::is_there() {
        return;
    }
    let (sshd, base) = (Sshd::start(), Base::new());
    let hosts = hosts(&base, Limits::default());
    sshd.world.write("/opt/slow", "30");
    let steps = vec![
        write("/opt/a", "a"),
        run(&["sh", "-c", "exec sleep \"$(cat /opt/slow)\""]),
        write("/opt/b", "b"),
    ];
    let mut join = operation("join", steps);
    join.deadline = Duration::from_secs(2);
    let mut host = connect(&hosts, &target(sshd.ssh())).await;
    let result = host.run(&join).await.unwrap();
    let OperationOutcome::Unknown(why) = &result.outcome else {
        panic!("{result:#?}");
    };
    assert!(why.contains("not done within 2s"), "{why}");
    assert_eq!(result.steps[2].outcome, StepOutcome::Unknown);
    assert!(
        !host.facts(&FactsQuery::default()).await.unwrap().busy,
        "killed, with its child"
    );
    sshd.world.write("/opt/slow", "0");
    let result = host.run(&join).await.unwrap();
    assert_eq!(result.outcome, OperationOutcome::Done, "{result:#?}");
    assert_eq!(sshd.world.read("/opt/b"), "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_hang_do_not_hold_up_the_others() {
    if !sshd::is_there() {
        return;
    }
    let (sshd, base) = (Sshd::start(), Base::new());
    let black_hole = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let limits = Limits {
        sessions: 2,
        suspects: 2,
        ..Limits::default()
    };
    let hosts = Arc::new(hosts(&base, limits));
    let hung: Vec<_> = (0..4)
        .map(|index| {
            let mut target = target(sshd.ssh());
            target.name = format!("hung{index}");
            if let kok_host::target::Method::Ssh(ssh) = &mut target.method {
                ssh.hop.port = black_hole.local_addr().unwrap().port();
            }
            let hosts = Arc::clone(&hosts);
            tokio::spawn(async move { hosts.connect(&target).await.err() })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = tokio::time::Instant::now();
    for index in 0..3 {
        let mut target = target(sshd.ssh());
        target.name = format!("good{index}");
        connect(&hosts, &target).await.close().await;
    }
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
    for each in hung {
        each.abort();
        if let Ok(error) = each.await {
            assert!(matches!(error, Some(ConnectError::TimedOut { .. })), "{error:?}");
        }
    }
    base.assert_nothing_left().await;
}
