//! What every step must satisfy before it is sent. The host's runner relies on it, and checks removals again.

use super::operation::{Operation, Owner};
use super::step::{Content, DebSource, Expect, Step};

/// Most bytes that a file may have that is written by a step; larger ones are fetched.
pub const MOST_CONTENT: usize = 512 * 1024;

/// Longest text in any field but a file's content.
const LONGEST_FIELD: usize = 4096;

/// Directories below which steps may remove things.
const REMOVABLE_ROOTS: &[&str] = &[
    "/etc",
    "/opt",
    "/run",
    "/srv",
    "/usr/local",
    "/var/cache",
    "/var/lib",
    "/var/log",
];

/// Directories that many share: what is in them may be removed, they themselves and what holds them may not.
const SHARED: &[&str] = &[
    "/etc/apt/preferences.d",
    "/etc/apt/sources.list.d",
    "/etc/modules-load.d",
    "/etc/sysctl.d",
    "/etc/systemd/system",
    "/run/lock",
    "/usr/local/bin",
    "/usr/local/lib",
    "/usr/local/sbin",
    "/var/cache/apt",
];

/// What the system and the login live on, and our own journal: no step writes or removes anything in these.
const SEALED: &[&str] = &[
    "/etc/pam.d",
    "/etc/ssh",
    "/etc/sudoers.d",
    "/run/systemd",
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/lib/kube-on-kube",
    "/var/lib/systemd",
    "/var/log/journal",
];

/// A step is malformed: a defect of the plan or of package data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step {step}: {what}")]
pub struct InvalidStep {
    /// Index of the step.
    pub step: usize,
    /// What is wrong.
    pub what: String,
}

/// Whether a path is absolute and has no `.`, `..`, empty or over-long component.
pub fn is_absolute_path(path: &str) -> bool {
    path.len() <= LONGEST_FIELD
        && !path.contains('\0')
        && path.strip_prefix('/').is_some_and(|rest| {
            rest.split('/')
                .all(|part| !matches!(part, "" | "." | "..") && part.len() <= 255)
        })
}

/// Whether a step may remove this path.
pub fn is_below_removable_root(path: &str) -> bool {
    is_writable_path(path)
        && REMOVABLE_ROOTS.iter().any(|root| is_below(path, root))
        && !SHARED
            .iter()
            .chain(SEALED)
            .any(|kept| *kept == path || is_below(kept, path))
}

/// Whether a step may write to this path.
fn is_writable_path(path: &str) -> bool {
    is_absolute_path(path)
        && !SEALED
            .iter()
            .any(|sealed| *sealed == path || is_below(path, sealed))
}

fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// Checks an operation as a whole.
pub(super) fn operation(operation: &Operation) -> Result<(), InvalidStep> {
    let whole = |what: String| InvalidStep { step: 0, what };
    if !is_name(&operation.id, 128) {
        return Err(whole(format!("{:?} is no operation id", operation.id)));
    }
    owner(&operation.owner).map_err(whole)?;
    if operation.deadline.as_secs() == 0 {
        return Err(whole("the operation has no time".into()));
    }
    for (index, each) in operation.steps.iter().enumerate() {
        step(each).map_err(|what| InvalidStep { step: index, what })?;
    }
    let misplaced = operation
        .steps
        .iter()
        .enumerate()
        .find_map(|(index, step)| match step {
            Step::Claim { .. } if index > 0 => Some((index, "a claim comes first")),
            Step::Release if index + 1 < operation.steps.len() => Some((index, "a release comes last")),
            _ => None,
        });
    match misplaced {
        Some((step, what)) => Err(InvalidStep {
            step,
            what: what.into(),
        }),
        None => Ok(()),
    }
}

fn step(step: &Step) -> Result<(), String> {
    match step {
        Step::Claim { replaces: None } | Step::Release | Step::DaemonReload => Ok(()),
        Step::Claim {
            replaces: Some(other),
        } => owner(other),
        Step::Directory { path, mode } => writable(path).and_then(|()| permission(*mode)),
        Step::Fetch {
            urls,
            sha256,
            dest,
            mode,
        } => {
            download(urls, sha256)?;
            writable(dest)?;
            permission(*mode)
        }
        Step::Unpack { archive, dest, .. } => absolute(archive).and_then(|()| writable(dest)),
        Step::Link { path, target } => writable(path).and_then(|()| text("link target", target)),
        Step::WriteFile {
            path, content, mode, ..
        } => {
            writable(path)?;
            permission(*mode)?;
            match content {
                Content::Text(text) if text.len() > MOST_CONTENT => Err(format!("{path} is too large")),
                Content::Filled { secret, .. } if secret.expose().len() > MOST_CONTENT => {
                    Err(format!("{path} is too large"))
                }
                Content::Slot(slot) => Err(format!("the secret {slot} was not put into {path}")),
                Content::Text(_) | Content::Filled { .. } => Ok(()),
            }
        }
        Step::RemovePath { path } => require(is_below_removable_root(path), || {
            format!("{path} must not be removed")
        }),
        Step::InstallDeb {
            name,
            version,
            source,
            ..
        } => {
            deb(name)?;
            require(
                version.len() <= 128
                    && version.starts_with(|c: char| c.is_ascii_digit())
                    && version.chars().all(is_version_char),
                || format!("{version:?} is no Debian version"),
            )?;
            match source {
                DebSource::Apt { list: Some(list) } => absolute(list),
                DebSource::Apt { list: None } => Ok(()),
                DebSource::File { urls, sha256 } => download(urls, sha256),
            }
        }
        Step::RemoveDeb { name } => deb(name),
        Step::Unit { name, .. } | Step::WaitActive { name, .. } => unit(name),
        Step::Probe { argv, expect, .. } => {
            arguments(argv)?;
            match expect {
                Expect::Success => Ok(()),
                Expect::Output(wanted) => text("expected output", wanted),
            }
        }
        Step::Run { argv, .. } => arguments(argv),
        Step::Sysctl { key, value } => {
            let parts = || key.split(['.', '/']);
            require(
                parts().count() >= 2 && parts().all(|part| is_name(part, 64)),
                || format!("{key:?} is no kernel parameter"),
            )?;
            text("value", value)
        }
        Step::LoadModule { name } | Step::KillCgroup { name } => {
            require(is_name(name, 64), || format!("{name:?} is no name"))
        }
        Step::Reboot { boot_id } => require(is_name(boot_id, 64), || format!("{boot_id:?} is no boot id")),
    }
}

fn require(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

fn absolute(path: &str) -> Result<(), String> {
    require(is_absolute_path(path), || format!("{path:?} is no absolute path"))
}

fn writable(path: &str) -> Result<(), String> {
    absolute(path)?;
    require(is_writable_path(path), || format!("{path} must not be written"))
}

fn permission(mode: u32) -> Result<(), String> {
    require(mode <= 0o7777, || format!("{mode:o} are no permission bits"))
}

fn text(what: &str, text: &str) -> Result<(), String> {
    require(text.len() <= LONGEST_FIELD && !text.contains('\0'), || {
        format!("the {what} is too long or has a NUL")
    })
}

fn download(urls: &[String], sha256: &str) -> Result<(), String> {
    require(
        sha256.len() == 64 && sha256.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')),
        || format!("{sha256:?} is no SHA-256 in lower-case hex"),
    )?;
    require(!urls.is_empty(), || "there is no URL to fetch from".into())?;
    for url in urls {
        let http = url.starts_with("http://") || url.starts_with("https://");
        let plain = url.len() <= LONGEST_FIELD && url.chars().all(|c| c.is_ascii_graphic());
        require(http && plain, || {
            "a URL is not http(s), or has odd characters".into()
        })?;
    }
    Ok(())
}

fn deb(name: &str) -> Result<(), String> {
    let valid = (2..=128).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    require(valid, || format!("{name:?} is no Debian package name"))
}

fn is_version_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-' | '~' | ':')
}

/// The characters that systemd allows in unit names, and a suffix.
fn unit(name: &str) -> Result<(), String> {
    let valid = name.len() <= 255
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\' | '@'))
        && name.rsplit_once('.').is_some_and(|(stem, suffix)| {
            !stem.is_empty()
                && matches!(
                    suffix,
                    "service" | "socket" | "timer" | "mount" | "path" | "slice" | "scope" | "target"
                )
        });
    require(valid, || format!("{name:?} is no unit"))
}

fn arguments(argv: &[String]) -> Result<(), String> {
    let program = argv.first().map_or("", String::as_str);
    require(!program.is_empty() && !program.starts_with('-'), || {
        "there is no program to run".into()
    })?;
    require(argv.len() <= 64, || "too many arguments".into())?;
    argv.iter().try_for_each(|argument| text("argument", argument))
}

fn owner(owner: &Owner) -> Result<(), String> {
    require(is_name(&owner.cluster, 64) && is_name(&owner.machine, 64), || {
        "the owner's uids are malformed".into()
    })?;
    text("owner's label", &owner.label)
}

/// Letters, digits, `-`, `_` and `.`, not first `-` or `.`.
fn is_name(name: &str, longest: usize) -> bool {
    (1..=longest).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;

    use super::*;
    use crate::host::{Secret, UnitAction};

    fn given(steps: Vec<Step>) -> Operation {
        Operation {
            id: "join-1".into(),
            generation: 1,
            owner: Owner {
                cluster: "c-1".into(),
                machine: "m-1".into(),
                label: "payments/node1".into(),
            },
            steps,
            deadline: Duration::from_mins(1),
        }
    }

    #[rstest]
    #[case("/opt/kube-on-kube", true)]
    #[case("/var/lib/kubelet", true)]
    #[case("/etc/systemd/system/kubelet.service", true)]
    #[case("/etc/apt/sources.list.d/docker.list", true)]
    #[case("/etc", false)]
    #[case("/etc/systemd", false)]
    #[case("/etc/systemd/system", false)]
    #[case("/etc/ssh", false)]
    #[case("/etc/ssh/sshd_config", false)]
    #[case("/var/lib", false)]
    #[case("/var/lib/dpkg/status", false)]
    #[case("/var/lib/kube-on-kube/journal", false)]
    #[case("/usr/bin/env", false)]
    #[case("/home", false)]
    #[case("/", false)]
    #[case("", false)]
    #[case("opt/x", false)]
    #[case("/opt/../etc/passwd", false)]
    #[case("/opt//x", false)]
    #[case("/opt/x/", false)]
    #[case("/optional/x", false)]
    fn removable(#[case] path: &str, #[case] expected: bool) {
        assert_eq!(is_below_removable_root(path), expected);
        let operation = given(vec![Step::RemovePath { path: path.into() }]);
        assert_eq!(operation.check().is_ok(), expected);
    }

    #[test]
    fn malformed_steps_are_named() {
        let sha256 = "a".repeat(64);
        let fetch = |url: &str, sha256: &str| Step::Fetch {
            urls: vec![url.into()],
            sha256: sha256.into(),
            dest: "/opt/x".into(),
            mode: 0o755,
        };
        let write = |content| Step::WriteFile {
            path: "/etc/x".into(),
            content,
            mode: 0o600,
            uid: 0,
            gid: 0,
        };
        let wrong = [
            fetch("file:///etc/shadow", &sha256),
            fetch("http://mirror/a b", &sha256),
            fetch("http://mirror/a", "A"),
            write(Content::Slot("token".into())),
            write(Content::Text("x".repeat(MOST_CONTENT + 1))),
            Step::Unit {
                name: "--now.service".into(),
                action: UnitAction::Start,
            },
            Step::Unit {
                name: "kubelet".into(),
                action: UnitAction::Start,
            },
            Step::RemoveDeb { name: "-y".into() },
            Step::InstallDeb {
                name: "docker-ce".into(),
                version: "5:1; reboot".into(),
                source: DebSource::Apt { list: None },
                hold: true,
            },
            Step::Run {
                argv: vec![],
                within: Duration::from_secs(1),
            },
            Step::Run {
                argv: vec!["echo".into(), "a\0b".into()],
                within: Duration::from_secs(1),
            },
            Step::Sysctl {
                key: "net/../../etc/passwd".into(),
                value: "1".into(),
            },
            Step::LoadModule { name: "-r".into() },
            Step::Link {
                path: "/etc/ssh/x".into(),
                target: "/opt".into(),
            },
        ];
        for step in wrong {
            let operation = given(vec![Step::DaemonReload, step.clone()]);
            let invalid = operation.check().expect_err(&format!("{step:?}"));
            assert_eq!(invalid.step, 1, "{invalid}");
        }
        let right = [
            fetch("https://mirror.example/kubelet", &sha256),
            write(Content::Filled {
                slot: "token".into(),
                secret: Secret::new("x"),
            }),
        ];
        assert_eq!(given(right.into()).check(), Ok(()));
    }

    #[test]
    fn a_claim_is_first_and_a_release_is_last() {
        let claim = Step::Claim { replaces: None };
        assert_eq!(given(vec![claim.clone(), Step::Release]).check(), Ok(()));
        assert!(given(vec![Step::DaemonReload, claim]).check().is_err());
        assert!(given(vec![Step::Release, Step::DaemonReload]).check().is_err());
    }

    #[test]
    fn a_slot_is_filled_by_its_name() {
        let mut operation = given(vec![Step::WriteFile {
            path: "/etc/kubernetes/bootstrap.conf".into(),
            content: Content::Slot("bootstrap".into()),
            mode: 0o600,
            uid: 0,
            gid: 0,
        }]);
        operation.fill("other", &Secret::new("x"));
        assert_eq!(operation.slots().collect::<Vec<_>>(), ["bootstrap"]);
        operation.fill("bootstrap", &Secret::new("x"));
        assert_eq!(operation.slots().count(), 0);
        assert_eq!(operation.check(), Ok(()));
    }
}
