//! Sessions over Alibaba Cloud's API, with a server that speaks it.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod ecs;
mod world;

use std::sync::Arc;
use std::time::Duration;

use ecs::{Ecs, INSTANCE, KEY_ID, KEY_SECRET};
use kok_host::pool::{Limits, Pool};
use kok_host::target::{CloudInstance, Method};
use kok_host::transport::{ConnectError, Exit, Session, Transport as _};
use kok_host::{Alibaba, CloudCommand, Deadlines, Hosts as _, RemoteHosts, Target};
use kok_plan::host::{Content, FactsQuery, FileFact, OperationOutcome, Secret, Step};
use tokio::time::Instant;
use world::{operation, owner, sha256, write};

fn target() -> Target {
    Target {
        name: "node1".into(),
        idc: "hangzhou".into(),
        method: Method::Cloud(CloudInstance {
            region: "cn-hangzhou".into(),
            instance: INSTANCE.into(),
            access_key_id: KEY_ID.into(),
            access_key_secret: Secret::new(KEY_SECRET),
        }),
    }
}

fn transport(ecs: &Ecs) -> CloudCommand<Alibaba> {
    CloudCommand::new(Alibaba::new(Some(ecs.endpoint.clone())).unwrap())
}

async fn connect(ecs: &Ecs, target: &Target) -> Result<Box<dyn Session>, ConnectError> {
    transport(ecs)
        .connect(target, Instant::now() + Duration::from_secs(10))
        .await
}

fn words(argv: &[&str]) -> Vec<String> {
    argv.iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_and_operations_go_through_the_cloud() {
    let ecs = Ecs::start().await;
    let hosts = RemoteHosts::new(
        Arc::new(transport(&ecs)),
        Some(Arc::new(transport(&ecs))),
        Pool::new(Limits::default()),
        Deadlines::default(),
    );
    let mut host = hosts.connect(&target()).await.unwrap();
    let mut join = operation(
        "join",
        vec![
            write("/etc/kok/kubelet.yaml", &"maxPods: 200\n".repeat(4000)),
            Step::WriteFile {
                path: "/etc/kok/token".into(),
                content: Content::Slot("token".into()),
                mode: 0o600,
                uid: 0,
                gid: 0,
            },
        ],
    );
    assert!(host.run(&join).await.is_err(), "a slot is not filled");
    join.fill("token", &Secret::new("abcdef.0123456789abcdef"));
    let result = host.run(&join).await.unwrap();
    assert_eq!(result.outcome, OperationOutcome::Done, "{result:#?}");
    let query = FactsQuery {
        files: ["/etc/kok/kubelet.yaml".to_owned(), "/etc/kok/token".to_owned()].into(),
        ..FactsQuery::default()
    };
    let facts = host.facts(&query).await.unwrap();
    let expected = sha256("maxPods: 200\n".repeat(4000).as_bytes());
    assert!(
        matches!(&facts.files["/etc/kok/kubelet.yaml"], FileFact::File { sha256: Some(hash), .. } if *hash == expected)
    );
    assert_eq!(facts.owner, Some(owner()));
    assert!(facts.clock_skew.unsigned_abs() <= facts.clock_skew_within);
    host.close().await;
    assert_eq!(ecs.leftovers(), 0);
    assert!(!ecs.requests().contains(KEY_SECRET));
    assert!(!format!("{:?}", target()).contains(KEY_SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn input_and_output_of_any_size_and_kind_arrive_whole() {
    let ecs = Ecs::start().await;
    let mut session = connect(&ecs, &target()).await.unwrap();
    let echo = words(&[
        "sh",
        "-c",
        "cat; echo 'it'\\''s' \"$1\" >&2; exit 3",
        "sh",
        "$(id) `id` ' \" \n \\",
    ]);
    let inputs: [Vec<u8>; 5] = [
        b"".to_vec(),
        b"line\nEOF\n$(id)\n".to_vec(),
        b"no line end".to_vec(),
        (0..=255).cycle().take(30_000).collect(),
        "long text\n".repeat(10_000).into_bytes(),
    ];
    for input in inputs {
        let output = session
            .run(&echo, &Secret::new(input.clone()), Duration::from_secs(20))
            .await;
        assert_eq!(output.exit, Exit::Code(3), "{}", output.stderr);
        assert!(
            output.stdout == input,
            "{} of {} bytes",
            output.stdout.len(),
            input.len()
        );
        assert_eq!(output.stderr, "it's $(id) `id` ' \" \n \\\n");
        assert_eq!(ecs.leftovers(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_and_nothing_is_run() {
    let ecs = Ecs::start().await;
    let refused = |change: fn(&mut CloudInstance)| {
        let mut target = target();
        let Method::Cloud(instance) = &mut target.method else {
            panic!("not a cloud");
        };
        change(instance);
        target
    };
    for (target, why) in [
        (
            refused(|instance| instance.access_key_secret = Secret::new("wrong")),
            "SignatureDoesNotMatch",
        ),
        (
            refused(|instance| instance.access_key_id = "LTAIother".into()),
            "InvalidAccessKeyId.NotFound",
        ),
        (
            refused(|instance| instance.instance = "i-other".into()),
            "InvalidInstance.NotFound",
        ),
        (
            refused(|instance| instance.region = "cn-beijing".into()),
            "InvalidRegionId.NotFound",
        ),
    ] {
        let error = connect(&ecs, &target).await.err();
        assert!(
            matches!(&error, Some(ConnectError::Cloud(text)) if text.contains(why)),
            "{error:?}"
        );
    }
    let odd = refused(|instance| instance.region = "evil.example/#".into());
    assert!(matches!(
        connect(&ecs, &odd).await.err(),
        Some(ConnectError::Invalid(_))
    ));
    ecs.stop_agent();
    let error = connect(&ecs, &target()).await.err();
    assert!(
        matches!(&error, Some(ConnectError::Cloud(text)) if text.contains("agent")),
        "{error:?}"
    );
    assert_eq!(ecs.calls("RunCommand"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_calls_are_made_again_and_commands_are_not() {
    let ecs = Ecs::start().await;
    ecs.fail_next("DescribeCloudAssistantStatus", "before");
    let mut session = connect(&ecs, &target()).await.unwrap();
    let count = words(&["sh", "-c", "echo x >>/srv-runs; wc -l </srv-runs"]);
    for (action, when) in [
        ("RunCommand", "before"),
        ("RunCommand", "after"),
        ("DescribeInvocationResults", "before"),
        ("DescribeInvocationResults", "after"),
    ] {
        ecs.fail_next(action, when);
        let before = ecs.calls("RunCommand");
        let output = session
            .run(&count, &Secret::new(""), Duration::from_secs(20))
            .await;
        assert_eq!(output.exit, Exit::Code(0));
        assert!(ecs.calls("RunCommand") > before);
    }
    let runs = std::fs::read_to_string(ecs.inner.world.path("/srv-runs")).unwrap();
    assert_eq!(runs.lines().count(), 4, "once each");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_killed_when_its_time_is_over() {
    let ecs = Ecs::start().await;
    let mut session = connect(&ecs, &target()).await.unwrap();
    let script = words(&["sh", "-c", "echo $$; exec sleep 600"]);
    let output = session
        .run(&script, &Secret::new(""), Duration::from_secs(2))
        .await;
    assert_eq!(output.exit, Exit::TimedOut);
    let pid = String::from_utf8(output.stdout).unwrap();
    let line = std::fs::read(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
    assert!(line.is_empty(), "it still runs");
    assert_eq!(ecs.leftovers(), 0);
}

#[tokio::test]
async fn an_api_that_does_not_answer_is_given_up_at_the_deadline() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let transport = CloudCommand::new(Alibaba::new(Some(endpoint)).unwrap());
    let started = Instant::now();
    let result = transport
        .connect(&target(), started + Duration::from_secs(1))
        .await;
    assert!(matches!(result.err(), Some(ConnectError::TimedOut { .. })));
    assert!(started.elapsed() < Duration::from_millis(1500));
}
