//! Texts that a shell would take for its own arrive as data, in every field that can hold them.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod world;

use std::time::Duration;

use kok_plan::host::{
    BinaryFact, Content, Endpoint, Expect, FactsQuery, FileFact, NamedProbe, Operation, OperationOutcome,
    Reach, Refusal, Secret, Step,
};
use world::{World, operation, owner, sha256};

fn corpus() -> Vec<String> {
    let mut corpus: Vec<String> = [
        "; touch /pwned",
        "$(touch /pwned)",
        "`touch /pwned`",
        "a\ntouch /pwned\nend",
        "end",
        "\nend\n",
        "| touch /pwned",
        "&& touch /pwned",
        "> /pwned",
        "'",
        "\"",
        "'; touch /pwned; '",
        "\"; touch /pwned; \"",
        "*",
        "/*",
        "?[a-z]{a,b}",
        "~",
        "~root",
        "$HOME",
        "${IFS}",
        "-rf",
        "--version",
        "-e",
        "\\",
        "\\c",
        "\\0101",
        "\\x41\\n",
        "%s%n%d",
        "!!",
        "#",
        " leading and trailing ",
        "\t",
        "\r\n",
        "\u{1}\u{7f}",
        "ünïcödé 漢字 \u{202e}",
        "=",
        "--",
        "content:x",
        "step 1 run 1000 touch /pwned",
    ]
    .map(str::to_owned)
    .into();
    corpus.push("x".repeat(255));
    corpus
}

/// As a name of a file: without slashes, and not longer than one may be.
fn as_file_name(text: &str) -> String {
    let name: String = text.replace('/', "_").chars().take(200).collect();
    format!("_{name}")
}

const RECORD: &str = "#!/bin/sh\nprintf '%s\\0' \"$@\" >>/fake/arguments\n";

#[test]
fn hostile_texts_in_steps_arrive_as_data() {
    let world = World::new();
    world.fake("record", RECORD);
    for (index, text) in corpus().into_iter().enumerate() {
        let path = format!("/srv/{}/file", as_file_name(&text));
        let link = format!("/srv/{}/link", as_file_name(&text));
        let removed = format!("/srv/removed/{}", as_file_name(&text));
        world.write(&removed, "x");
        world.write("/fake/arguments", "");
        let mut hostile = operation(
            &format!("hostile-{index}"),
            vec![
                Step::Directory {
                    path: format!("/srv/{}", as_file_name(&text)),
                    mode: 0o700,
                },
                Step::WriteFile {
                    path: path.clone(),
                    content: Content::Text(text.clone()),
                    mode: 0o600,
                    uid: 0,
                    gid: 0,
                },
                Step::WriteFile {
                    path: format!("{path}-secret"),
                    content: Content::Filled {
                        slot: text.clone(),
                        secret: Secret::new(text.clone()),
                    },
                    mode: 0o600,
                    uid: 0,
                    gid: 0,
                },
                Step::Link {
                    path: link.clone(),
                    target: text.clone(),
                },
                Step::RemovePath {
                    path: removed.clone(),
                },
                Step::Run {
                    argv: vec!["/fake/record".into(), text.clone(), String::new(), text.clone()],
                    within: Duration::from_secs(5),
                },
                Step::Probe {
                    argv: vec!["printf".into(), "before %s after".into(), text.clone()],
                    expect: Expect::Output(text.clone()),
                    within: Duration::from_secs(1),
                },
            ],
        );
        hostile.owner.label = text.clone();
        let result = world.apply(&hostile);
        assert_eq!(result.outcome, OperationOutcome::Done, "{text:?}: {result:#?}");
        assert_eq!(world.read(&path), text);
        assert_eq!(world.read(&format!("{path}-secret")), text);
        let target = world.path(&link).read_link().unwrap();
        assert_eq!(target.to_str(), Some(text.as_str()));
        assert!(!world.path(&removed).exists(), "{text:?}");
        assert_eq!(world.read("/fake/arguments"), format!("{text}\0\0{text}\0"));
        // And once more: recognised as what is there already, also with its odd name.
        hostile.id = format!("hostile-again-{index}");
        let changed = world.done(&hostile);
        assert_eq!(changed[1..6], [false; 5], "{text:?}");
        assert!(!world.path("/pwned").exists(), "{text:?}");
    }
}

#[test]
fn hostile_labels_come_back_as_they_are() {
    for text in corpus() {
        let world = World::new();
        let mut first = operation("first", vec![]);
        first.owner.label = text.clone();
        world.done(&first);
        let facts = world.facts(&FactsQuery::default()).unwrap();
        assert_eq!(facts.owner.unwrap().label, text);
        let mut second = operation("second", vec![]);
        second.owner.machine = "m-2".into();
        let OperationOutcome::Refused(Refusal::Conflict(held)) = world.apply(&second).outcome else {
            panic!("{text:?}");
        };
        assert_eq!(held, owner());
        assert_eq!(held.label, text);
        assert!(!world.path("/pwned").exists());
    }
}

#[test]
fn hostile_texts_in_questions_arrive_as_data() {
    let world = World::new();
    let corpus = corpus();
    let mut query = FactsQuery {
        hash_binaries: true,
        ..FactsQuery::default()
    };
    for (index, text) in corpus.iter().enumerate() {
        let path = format!("/srv/{}", as_file_name(text));
        world.write(&path, text);
        query.files.insert(path.clone());
        query.binaries.insert(path);
        query.files.insert(format!("/srv/absent/{}", as_file_name(text)));
        query.disks.insert(format!("/srv/{}", as_file_name(text)));
        query.probes.push(NamedProbe {
            name: format!("{index} {text}"),
            argv: vec!["printf".into(), "%s.".into(), text.clone()],
        });
        query.probes.push(NamedProbe {
            name: format!("{index} program"),
            argv: vec![format!("/nope/{text}")],
        });
    }
    let facts = world.facts(&query).unwrap();
    for (index, text) in corpus.iter().enumerate() {
        let path = format!("/srv/{}", as_file_name(text));
        let FileFact::File {
            sha256: Some(hash), ..
        } = &facts.files[&path]
        else {
            panic!("{text:?}");
        };
        assert_eq!(*hash, sha256(text.as_bytes()));
        assert!(matches!(
            &facts.binaries[&path],
            BinaryFact::File { sha256: Some(_), .. }
        ));
        assert_eq!(
            facts.files[&format!("/srv/absent/{}", as_file_name(text))],
            FileFact::Absent
        );
        let probe = &facts.probes[&format!("{index} {text}")];
        // Blanks before the exit code, and bytes that are no text, are not kept.
        assert_eq!(
            (probe.exit, probe.output.trim_end()),
            (0, format!("{text}.").as_str())
        );
        assert_eq!(facts.probes[&format!("{index} program")].exit, 127, "{text:?}");
    }
    assert!(!world.path("/pwned").exists());
}

#[test]
fn hostile_endpoints_are_only_names_that_do_not_resolve() {
    let world = World::new();
    let query = FactsQuery {
        endpoints: ["; touch /pwned", "$(touch /pwned)", "a/../../../dev/null", "x\ny"]
            .map(|host| Endpoint {
                host: host.into(),
                port: 1,
            })
            .into(),
        ..FactsQuery::default()
    };
    let facts = world.facts(&query).unwrap();
    assert_eq!(facts.endpoints.len(), 4);
    for (endpoint, reach) in &facts.endpoints {
        assert!(matches!(reach, Reach::Failed(_)), "{endpoint}: {reach:?}");
    }
    assert!(!world.path("/pwned").exists());
}

#[test]
fn secrets_are_in_no_argument_environment_or_journal() {
    const SECRET: &str = "s3cr3t-hunter2-s3cr3t";
    let world = World::new();
    // Every program that handles the file shows what it was started with.
    for name in [
        "base64",
        "sha256sum",
        "chown",
        "chmod",
        "mv",
        "sync",
        "mkdir",
        "rm",
    ] {
        world.fake(
            name,
            "#!/bin/sh\n{ printf '%s ' \"$0\" \"$@\"; /usr/bin/env; } >>/fake/seen\n\
             /usr/bin/cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ >>/fake/seen 2>/dev/null\n\
             exec \"/usr/bin/${0##*/}\" \"$@\"\n",
        );
    }
    let secret: Operation = operation(
        "secret",
        vec![
            Step::WriteFile {
                path: "/etc/kok/token".into(),
                content: Content::Filled {
                    slot: "token".into(),
                    secret: Secret::new(SECRET),
                },
                mode: 0o600,
                uid: 0,
                gid: 0,
            },
            Step::Run {
                argv: ["sh", "-c", "cat /etc/kok/token >&2; exit 1"]
                    .map(str::to_owned)
                    .into(),
                within: Duration::from_secs(5),
            },
        ],
    );
    let result = world.apply(&secret);
    assert!(matches!(result.outcome, OperationOutcome::Failed { step: 2 }));
    assert_eq!(result.steps[2].tail, "[redacted]");
    assert_eq!(world.read("/etc/kok/token"), SECRET);
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, SECRET);
    let seen = std::fs::read(world.path("/fake/seen")).unwrap();
    let seen = String::from_utf8_lossy(&seen);
    assert!(seen.contains("/etc/kok/token.kok-new"), "the programs were seen");
    let journal = world.read("/var/lib/kube-on-kube/journal");
    for hidden in [SECRET, &encoded] {
        assert!(!seen.contains(hidden));
        assert!(!journal.contains(hidden));
        assert!(!format!("{secret:?} {result:?}").contains(hidden));
    }
}
