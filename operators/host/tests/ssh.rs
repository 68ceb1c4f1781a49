//! Sessions with real sshds.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod sshd;
mod world;

use std::io::Write as _;
use std::net::TcpListener;
use std::time::Duration;

use kok_host::target::{HostKey, Sudo};
use kok_host::transport::{ConnectError, Exit, Session, Transport as _};
use kok_host::{OpenSsh, Target};
use kok_plan::host::Secret;
use sshd::{Base, Key, PASSWORD, Sshd, every_process, target};
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(20);

async fn connect(transport: &OpenSsh, target: &Target) -> Result<Box<dyn Session>, ConnectError> {
    transport.connect(target, Instant::now() + PATIENCE).await
}

fn words(argv: &[&str]) -> Vec<String> {
    argv.iter().map(|word| (*word).to_owned()).collect()
}

async fn run(session: &mut Box<dyn Session>, argv: &[&str], stdin: &str) -> (Exit, String, String) {
    let output = session
        .run(&words(argv), &Secret::new(stdin), Duration::from_secs(20))
        .await;
    (
        output.exit,
        String::from_utf8(output.stdout).unwrap(),
        output.stderr,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_host_runs_commands_and_nothing_is_left() {
    if !sshd::is_there() {
        return;
    }
    let (sshd, base) = (Sshd::start(), Base::new());
    let transport = base.transport();
    let target = target(sshd.ssh());
    let mut session = connect(&transport, &target).await.unwrap();
    assert_eq!(session.new_host_keys(), []);
    let text = "in\n'put'\0 $(x)\n".repeat(20_000);
    let (exit, stdout, stderr) = run(&mut session, &["sh", "-c", "cat; echo err >&2; exit 7"], &text).await;
    assert_eq!((exit, stderr.trim()), (Exit::Code(7), "err"));
    assert_eq!(stdout, text);
    let hostile = [
        "printf", "%s|", "a b", "$(id)", "`id`", "'", "\"", "\n", "*", "", "!x", "~", "\\",
    ];
    let (exit, stdout, _) = run(&mut session, &hostile, "").await;
    assert_eq!(exit, Exit::Code(0));
    assert_eq!(stdout, "a b|$(id)|`id`|'|\"|\n|*||!x|~|\\|");
    assert_eq!(
        run(&mut session, &["/no/such/program"], "").await.0,
        Exit::Code(127)
    );
    assert_eq!(
        run(&mut session, &["sh", "-c", "exit 255"], "").await.0,
        Exit::Code(255)
    );
    assert_eq!(
        sshd.log().matches("Accepted publickey").count(),
        1,
        "one connection for all"
    );
    session.close().await;
    base.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_trusted_on_first_use_is_told_and_can_be_pinned() {
    if !sshd::is_there() {
        return;
    }
    let (sshd, base) = (Sshd::start(), Base::new());
    let transport = base.transport();
    let mut ssh = sshd.ssh();
    ssh.hop.host_key = HostKey::TrustOnFirstUse;
    let session = connect(&transport, &target(ssh.clone())).await.unwrap();
    let seen = session.new_host_keys().to_vec();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].key, sshd.host_key.public);
    assert_eq!(seen[0].address, "127.0.0.1");
    assert!(seen[0].fingerprint.starts_with("SHA256:"));
    session.close().await;
    ssh.hop.host_key = HostKey::Pinned(vec![seen[0].key.clone()]);
    let session = connect(&transport, &target(ssh)).await.unwrap();
    assert_eq!(session.new_host_keys(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_host_key_ends_it_before_any_login() {
    if !sshd::is_there() {
        return;
    }
    let (sshd, base) = (Sshd::start(), Base::new());
    let transport = base.transport();
    // Another key of the same type, and one of a type that the host does not have.
    for other in [Key::new("ed25519", ""), Key::new("ecdsa", "")] {
        let mut ssh = sshd.ssh();
        ssh.hop.host_key = HostKey::Pinned(vec![other.public]);
        let Err(error) = connect(&transport, &target(ssh)).await else {
            panic!("connected");
        };
        let ConnectError::HostKeyChanged { hop, seen } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(hop, "127.0.0.1");
        if let Some(seen) = seen {
            assert!(
                seen.starts_with("SHA256:") && error.to_string().contains(seen.as_str()),
                "{error}"
            );
        }
        assert!(!error.may_pass());
    }
    assert!(!sshd.log().contains("Accepted"), "{}", sshd.log());
    assert_eq!(sshd.commands(), 0);
    base.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_do_not_fit_or_cannot_be_used_are_told_apart() {
    if !sshd::is_there() {
        return;
    }
    let (sshd, base) = (Sshd::start(), Base::new());
    let transport = base.transport();
    let with_key = |private: String| {
        let mut ssh = sshd.ssh();
        ssh.hop.key = Secret::new(private);
        target(ssh)
    };
    let stranger = connect(&transport, &with_key(Key::new("ed25519", "").private)).await;
    assert_eq!(
        stranger.err(),
        Some(ConnectError::NotAuthenticated {
            hop: "127.0.0.1".into(),
            user: "root".into()
        })
    );
    let connections = sshd.log().matches("Connection from").count();
    for unusable in [Key::new("ed25519", "passphrase").private, "no key".into()] {
        let error = connect(&transport, &with_key(unusable)).await.err();
        assert!(
            matches!(error, Some(ConnectError::UnusableKey { .. })),
            "{error:?}"
        );
    }
    assert_eq!(sshd.log().matches("Connection from").count(), connections);
    // Other formats, and a key without the last line end.
    for kind in ["ecdsa", "rsa"] {
        let key = Key::new(kind, "");
        sshd.world.write(
            "/etc/kok-sshd/authorized",
            &format!("{}\n{}", sshd.user_key.public, key.public),
        );
        let session = connect(&transport, &with_key(key.private.trim_end().to_owned())).await;
        assert!(session.is_ok(), "{kind}: {:?}", session.err());
    }
    base.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_deadline_for_everything_up_to_the_login() {
    if !sshd::is_there() {
        return;
    }
    let base = Base::new();
    let transport = base.transport();
    let sshd = Sshd::start();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let banner = TcpListener::bind("127.0.0.1:0").unwrap();
    let (silent_port, banner_port) = (
        silent.local_addr().unwrap().port(),
        banner.local_addr().unwrap().port(),
    );
    std::thread::spawn(move || {
        let kept: Vec<_> = banner
            .incoming()
            .map(|stream| {
                let mut stream = stream.unwrap();
                let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n");
                stream
            })
            .collect();
        drop(kept);
    });
    for port in [silent_port, banner_port] {
        let mut ssh = sshd.ssh();
        ssh.hop.port = port;
        let started = Instant::now();
        let result = transport
            .connect(&target(ssh), started + Duration::from_secs(3))
            .await;
        let took = started.elapsed();
        assert!(
            matches!(result, Err(ConnectError::TimedOut { .. })),
            "{:?}",
            result.err()
        );
        assert!(
            took > Duration::from_millis(1500) && took < Duration::from_millis(3500),
            "{took:?}"
        );
        base.assert_nothing_left().await;
    }
    // An sshd that hangs after the key exchange: it looks for the keys in a pipe that nobody writes to.
    std::fs::remove_file(sshd.world.path("/etc/kok-sshd/authorized")).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(sshd.world.path("/etc/kok-sshd/authorized"))
        .status()
        .unwrap();
    assert!(made.success());
    let started = Instant::now();
    let result = transport
        .connect(&target(sshd.ssh()), started + Duration::from_secs(3))
        .await;
    assert!(result.is_err());
    assert!(started.elapsed() < Duration::from_millis(3500));
    base.assert_nothing_left().await;
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_answer_and_what_is_no_sshd_are_told_apart() {
    if !sshd::is_there() {
        return;
    }
    let (sshd, base) = (Sshd::start(), Base::new());
    let transport = base.transport();
    let closes = TcpListener::bind("127.0.0.1:0").unwrap();
    let closes_port = closes.local_addr().unwrap().port();
    std::thread::spawn(move || closes.incoming().for_each(drop));
    let mut ssh = sshd.ssh();
    ssh.hop.port = closes_port;
    let error = connect(&transport, &target(ssh.clone())).await.err();
    assert!(matches!(error, Some(ConnectError::Closed(_))), "{error:?}");
    ssh.hop.port = 1;
    let error = connect(&transport, &target(ssh.clone())).await.err();
    assert!(
        matches!(&error, Some(ConnectError::Unreachable(why)) if why.contains("Connection refused")),
        "{error:?}"
    );
    ssh.hop.address = "no-such-host.invalid".into();
    let error = connect(&transport, &target(ssh.clone())).await.err();
    assert!(matches!(error, Some(ConnectError::Unreachable(_))), "{error:?}");
    ssh.hop.address = "-oProxyCommand=touch /pwned".into();
    let error = connect(&transport, &target(ssh)).await.err();
    assert!(matches!(error, Some(ConnectError::Invalid(_))), "{error:?}");
    base.assert_nothing_left().await;
}

fn is_running(pid: &str) -> bool {
    // A zombie has no command line.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_killed_on_the_host_when_its_time_is_over() {
    if !sshd::is_there() {
        return;
    }
    let base = Base::new();
    let transport = base.transport();
    let sshd = Sshd::with(Key::new("ed25519", ""), "admin ALL=(ALL) NOPASSWD: ALL\n");
    for ssh in [sshd.ssh(), sshd.as_admin(Sudo::Passwordless)] {
        let mut session = connect(&transport, &target(ssh)).await.unwrap();
        // With a child, and deaf to TERM.
        for script in [
            "sleep 600 & echo $$ $!; wait",
            "trap '' TERM; echo $$ $$; while :; do sleep 1; done",
        ] {
            let started = Instant::now();
            let output = session
                .run(
                    &words(&["sh", "-c", script]),
                    &Secret::new(""),
                    Duration::from_secs(2),
                )
                .await;
            assert_eq!(output.exit, Exit::TimedOut, "{script}: {}", output.stderr);
            assert!(
                started.elapsed() < Duration::from_secs(12),
                "{:?}",
                started.elapsed()
            );
            let pids = String::from_utf8(output.stdout).unwrap();
            assert_eq!(
                pids.split_whitespace().count(),
                2,
                "what was written before counts"
            );
            for pid in pids.split_whitespace() {
                assert!(!is_running(pid), "{script}");
            }
        }
        let (exit, stdout, _) = run(&mut session, &["echo", "still there"], "").await;
        assert_eq!((exit, stdout.as_str()), (Exit::Code(0), "still there\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_session_is_not_an_answer_and_the_command_ends_all_the_same() {
    if !sshd::is_there() {
        return;
    }
    let (sshd, base) = (Sshd::start(), Base::new());
    let transport = base.transport();
    let mut session = connect(&transport, &target(sshd.ssh())).await.unwrap();
    let script = words(&["sh", "-c", "echo $$; exec sleep 600"]);
    let secret = Secret::new("");
    let command = session.run(&script, &secret, Duration::from_secs(4));
    let cut = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        sshd.cut_connections();
    };
    let (output, ()) = tokio::join!(command, cut);
    assert!(matches!(output.exit, Exit::Lost(_)), "{:?}", output.exit);
    let pid = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    assert!(is_running(&pid), "not yet");
    let deadline = Instant::now() + Duration::from_secs(15);
    while is_running(&pid) {
        assert!(Instant::now() < deadline, "orphaned");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(session);
    base.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sudo_with_and_without_a_password() {
    if !sshd::is_there() {
        return;
    }
    let base = Base::new();
    let transport = base.transport();
    let password = || Sudo::Password(Secret::new(PASSWORD));
    let asks = Sshd::with(Key::new("ed25519", ""), "admin ALL=(ALL) ALL\n");
    let asks_not = Sshd::with(Key::new("ed25519", ""), "admin ALL=(ALL) NOPASSWD: ALL\n");
    // Whether sudo asks or not, the command gets its input and nothing else. On a terminal of sudo's own, too.
    let pty = Sshd::with(Key::new("ed25519", ""), "Defaults use_pty\nadmin ALL=(ALL) ALL\n");
    for (sshd, sudo) in [
        (&asks, password()),
        (&pty, password()),
        (&asks_not, password()),
        (&asks_not, Sudo::Passwordless),
    ] {
        let mut session = connect(&transport, &target(sshd.as_admin(sudo))).await.unwrap();
        for _ in 0..2 {
            let (exit, stdout, stderr) = run(&mut session, &["sh", "-c", "id -u; cat"], "input\n").await;
            assert_eq!(
                (exit, stdout.as_str(), stderr.as_str()),
                (Exit::Code(0), "0\ninput\n", "")
            );
        }
        assert_eq!(
            run(&mut session, &["sh", "-c", "exit 1"], "").await.0,
            Exit::Code(1)
        );
    }
    for (sudo, why) in [
        (Sudo::Passwordless, "password is required"),
        (Sudo::Password(Secret::new("wrong")), "incorrect password"),
    ] {
        let mut session = connect(&transport, &target(asks.as_admin(sudo))).await.unwrap();
        let (exit, stdout, _) = run(&mut session, &["id"], "input\n").await;
        assert!(
            matches!(&exit, Exit::NoPrivileges(text) if text.contains(why)),
            "{exit:?}"
        );
        assert_eq!(stdout, "");
        assert!(!format!("{exit:?}").contains("wrong"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn through_jump_hosts_each_with_its_own_key() {
    if !sshd::is_there() {
        return;
    }
    let base = Base::new();
    let transport = base.transport();
    let (first, second, host) = (Sshd::start(), Sshd::start(), Sshd::start());
    let mut ssh = host.ssh();
    ssh.jumps = vec![first.hop(first.pinned()), second.hop(HostKey::TrustOnFirstUse)];
    let mut session = connect(&transport, &target(ssh.clone())).await.unwrap();
    assert_eq!(session.new_host_keys().len(), 1);
    assert_eq!(session.new_host_keys()[0].key, second.host_key.public);
    assert_eq!(run(&mut session, &["cat"], "hi").await.1, "hi");
    assert_eq!((first.commands(), second.commands(), host.commands()), (0, 0, 1));
    session.close().await;
    base.assert_nothing_left().await;

    // A changed key on the way is as hard a stop as one at the end, and neither lets anything reach the host.
    let logins = host.log().matches("Accepted").count();
    ssh.jumps[1].host_key = first.pinned();
    let error = connect(&transport, &target(ssh.clone())).await.err();
    assert!(
        matches!(error, Some(ConnectError::HostKeyChanged { .. })),
        "{error:?}"
    );
    ssh.jumps[1].host_key = second.pinned();
    ssh.hop.host_key = second.pinned();
    let error = connect(&transport, &target(ssh.clone())).await.err();
    assert!(
        matches!(error, Some(ConnectError::HostKeyChanged { .. })),
        "{error:?}"
    );
    assert_eq!(host.log().matches("Accepted").count(), logins);
    // The jump host's user is refused.
    ssh.hop.host_key = host.pinned();
    ssh.jumps[0].key = Secret::new(Key::new("ed25519", "").private);
    let error = connect(&transport, &target(ssh.clone())).await.err();
    assert!(
        matches!(error, Some(ConnectError::NotAuthenticated { .. })),
        "{error:?}"
    );
    // The host behind the jump host does not answer.
    ssh.jumps[0].key = Secret::new(first.user_key.private.clone());
    ssh.hop.port = 1;
    let error = connect(&transport, &target(ssh)).await.err();
    assert!(matches!(error, Some(ConnectError::Unreachable(_))), "{error:?}");
    base.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_however_a_session_ends() {
    if !sshd::is_there() {
        return;
    }
    let (jump, sshd, base) = (Sshd::start(), Sshd::start(), Base::new());
    let transport = std::sync::Arc::new(base.transport());
    let mut ssh = sshd.ssh();
    ssh.jumps = vec![jump.hop(jump.pinned())];
    let target = target(ssh);
    // Dropped in the middle of a command.
    let mut session = connect(&transport, &target).await.unwrap();
    assert!(base.processes().len() >= 2, "{:?}", base.processes());
    let (script, nothing) = (words(&["sleep", "600"]), Secret::new(""));
    let command = session.run(&script, &nothing, Duration::from_secs(2));
    assert!(
        tokio::time::timeout(Duration::from_millis(500), command)
            .await
            .is_err()
    );
    drop(session);
    base.assert_nothing_left().await;
    // Given up while connecting.
    for pause in [0, 5, 20, 60, 150] {
        let connecting = connect(&transport, &target);
        let _ = tokio::time::timeout(Duration::from_millis(pause), connecting).await;
        base.assert_nothing_left().await;
    }
    // A panic.
    let (theirs, aim) = (std::sync::Arc::clone(&transport), target.clone());
    let panicked = tokio::spawn(async move {
        let _session = connect(&theirs, &aim).await.unwrap();
        panic!("as asked for");
    })
    .await;
    assert!(panicked.unwrap_err().is_panic());
    base.assert_nothing_left().await;
    // What another process left, because it was killed, goes when the next one starts.
    std::fs::create_dir_all(base.path().join("stale")).unwrap();
    std::fs::write(base.path().join("stale/key-0"), "secret").unwrap();
    drop(base.transport());
    base.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_in_no_process_list_and_not_on_disk_while_connected() {
    if !sshd::is_there() {
        return;
    }
    let base = Base::new();
    let transport = base.transport();
    let sshd = Sshd::with(Key::new("ed25519", ""), "admin ALL=(ALL) ALL\n");
    let mut session = connect(
        &transport,
        &target(sshd.as_admin(Sudo::Password(Secret::new(PASSWORD)))),
    )
    .await
    .unwrap();
    let (script, input) = (
        words(&["sh", "-c", "cat >/dev/null; exec sleep 3"]),
        Secret::new("s3cr3t-input"),
    );
    let command = session.run(&script, &input, Duration::from_secs(20));
    let look = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        (every_process("cmdline"), every_process("environ"))
    };
    let (output, (lines, environments)) = tokio::join!(command, look);
    assert_eq!(output.exit, Exit::Code(0));
    assert!(
        lines.iter().any(|line| line.contains("exec sleep 3")),
        "the command was seen"
    );
    let key_line = sshd.user_key.private.lines().nth(2).unwrap();
    for text in lines.iter().chain(&environments) {
        for secret in [PASSWORD, "s3cr3t-input", key_line] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    for file in base.files() {
        let content = std::fs::read(&file).unwrap_or_default();
        assert!(
            !String::from_utf8_lossy(&content).contains(key_line),
            "{}",
            file.display()
        );
    }
}
