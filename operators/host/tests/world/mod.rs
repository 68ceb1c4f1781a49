//! A host for the runner: this machine's own system below a throw-away overlay, so that the script runs with
//! real tools and real paths and changes nothing. Needs root and overlayfs, as the lab does. With `KOK_HOST_ROOT`
//! it is another system than this machine's, such as a freshly debootstrapped one.

#![allow(clippy::unwrap_used, clippy::panic, dead_code)] // shared by tests; its helpers fail the test

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use kok_host::runner::{Call, FactsError, parse_facts, parse_result, random_nonce};
use kok_plan::host::{
    Content, FactsQuery, FailureReason, HostFacts, Operation, OperationOutcome, OperationResult, Owner, Step,
    StepOutcome, StepResult,
};

/// Mounts the overlay, and what programs expect beside it, and becomes the command.
const ENTER: &str = r#"
set -e
root=$1; lower=$2; shift 2
mkdir -p "$root/merged"
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$root/upper,workdir=$root/work" "$root/merged"
for each in proc sys dev; do mount --rbind "/$each" "$root/merged/$each"; done
# Not part of the overlay, whose files have other locks in each mount of it.
mount --bind "$root/run" "$root/merged/run"
exec chroot "$root/merged" "$@"
"#;

/// A systemd of files: one directory a unit, one file a property. Every change is written down.
const SYSTEMCTL: &str = r#"#!/bin/sh
units=/fake/units
PATH=/usr/bin:/bin
verb=; unit=; props=; value=
for word in "$@"; do
  case $word in
    --property=*) props="$props $(printf '%s' "${word#--property=}" | tr , ' ')" ;;
    --value) value=1 ;;
    --*) ;;
    *) if [ -z "$verb" ]; then verb=$word; else unit="$unit $word"; fi ;;
  esac
done
get() { cat "$units/$1/$2" 2>/dev/null || case $2 in
  ActiveState) echo inactive ;; SubState) echo dead ;; LoadState) echo not-found ;;
  ActiveEnterTimestampMonotonic|NRestarts) echo 0 ;; NeedDaemonReload) echo no ;; *) echo ;; esac; }
up() { read -r up _ </proc/uptime; printf '%s0000' "$(printf '%s' "$up" | tr -d .)"; }
activate() { mkdir -p "$units/$1"; echo active >"$units/$1/ActiveState"; up >"$units/$1/ActiveEnterTimestampMonotonic"
  up >"$units/$1/StateChangeTimestampMonotonic"; cat /proc/sys/kernel/random/uuid >"$units/$1/InvocationID"; }
case $verb in
  show) first=1
    for one in $unit; do
      [ -n "$first" ] || [ -n "$value" ] || echo
      first=
      for prop in $props; do
        if [ -n "$value" ]; then get "$one" "$prop"; else
          case $prop in Id) echo "Id=$one" ;; *) echo "$prop=$(get "$one" "$prop")" ;; esac; fi
      done
    done
    exit 0 ;;
  status) echo "status of $unit"; exit 3 ;;
  reset-failed) exit 0 ;;
esac
echo "$verb$unit" >>/fake/systemctl.log
set -- $unit
case $verb in
  enable) mkdir -p "$units/$1"; echo enabled >"$units/$1/UnitFileState" ;;
  disable) echo disabled >"$units/$1/UnitFileState" ;;
  start|restart) [ ! -e "$units/$1/broken" ] || { echo "Job for $1 failed" >&2; exit 1; }; activate "$1" ;;
  reload-or-restart) up >"$units/$1/StateChangeTimestampMonotonic" ;;
  stop) echo inactive >"$units/$1/ActiveState" ;;
esac
"#;

pub(crate) struct World {
    directory: tempfile::TempDir,
}

/// What one run of the script wrote.
pub(crate) struct Run {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
}

impl World {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for each in ["upper/fake/units", "run/systemd/system", "work"] {
            std::fs::create_dir_all(directory.path().join(each)).unwrap();
        }
        std::fs::set_permissions(directory.path().join("upper"), PermissionsExt::from_mode(0o755)).unwrap();
        let world = Self { directory };
        world.fake("systemctl", SYSTEMCTL);
        world
    }

    /// A path of the host, where it can be read and changed from outside while nothing runs.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        let base = if path.starts_with("/run/") { "" } else { "upper" };
        self.directory
            .path()
            .join(base)
            .join(path.trim_start_matches('/'))
    }

    pub(crate) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn mode(&self, path: &str) -> u32 {
        std::fs::metadata(self.path(path)).unwrap().mode() & 0o7777
    }

    /// Puts a program before the real one.
    pub(crate) fn fake(&self, name: &str, script: &str) {
        let path = format!("/fake/{name}");
        self.write(&path, script);
        std::fs::set_permissions(self.path(&path), PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// Makes something of the machine absent on the host.
    pub(crate) fn hide(&self, path: &str) {
        let whiteout = self.path(path);
        std::fs::create_dir_all(whiteout.parent().unwrap()).unwrap();
        let made = Command::new("mknod")
            .arg(&whiteout)
            .args(["c", "0", "0"])
            .status()
            .unwrap();
        assert!(made.success());
    }

    pub(crate) fn set_unit(&self, unit: &str, property: &str, value: &str) {
        self.write(&format!("/fake/units/{unit}/{property}"), &format!("{value}\n"));
    }

    /// What systemctl was told, line by line.
    pub(crate) fn systemctl_log(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.path("/fake/systemctl.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    pub(crate) fn run(&self, call: &Call) -> Run {
        self.run_with(call, &[])
    }

    /// A command on the host, without an environment.
    pub(crate) fn enter(&self, argv: &[&str]) -> Command {
        self.enter_with(argv, &[])
    }

    fn enter_with<T: AsRef<std::ffi::OsStr>>(&self, argv: &[T], wrapper: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private"])
            .args(wrapper)
            .args(["sh", "-c", ENTER, "enter"])
            .arg(self.directory.path())
            .arg(std::env::var_os("KOK_HOST_ROOT").unwrap_or("/".into()))
            .args(argv)
            .env_clear()
            .env("PATH", "/fake:/usr/sbin:/usr/bin:/sbin:/bin")
            .process_group(0);
        command
    }

    /// Runs the script in a process group of its own, below what `wrapper` says.
    pub(crate) fn run_with(&self, call: &Call, wrapper: &[&str]) -> Run {
        let mut child = self
            .enter_with(&call.argv, wrapper)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = call.stdin.expose().to_vec();
        // A killed script does not read all of it.
        let feed = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        feed.join().unwrap();
        Run {
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code(),
        }
    }

    pub(crate) fn facts(&self, query: &FactsQuery) -> Result<HostFacts, FactsError> {
        let call = Call::facts(query, &random_nonce());
        let before = Timestamp::now();
        let run = self.run(&call);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert_eq!(run.stderr, "");
        parse_facts(query, &run.stdout, &call.nonce, before, Timestamp::now())
    }

    pub(crate) fn apply(&self, operation: &Operation) -> OperationResult {
        self.apply_with(operation, &[])
    }

    pub(crate) fn apply_with(&self, operation: &Operation, wrapper: &[&str]) -> OperationResult {
        operation.check().unwrap();
        let call = Call::operation(operation, &random_nonce());
        let run = self.run_with(&call, wrapper);
        assert_eq!(run.stderr, "");
        let lost = (run.code != Some(0)).then(|| format!("{:?}", run.code));
        parse_result(
            operation,
            &run.stdout,
            &call.nonce,
            lost.as_deref(),
            Duration::ZERO,
        )
    }

    /// Applies with a command in between that runs inside of the host, such as one that mounts something.
    pub(crate) fn apply_inside(&self, operation: &Operation, inside: &[&str]) -> OperationResult {
        let mut call = Call::operation(operation, &random_nonce());
        let argv = inside.iter().map(|word| (*word).to_owned());
        call.argv = argv.chain(call.argv).collect();
        let run = self.run(&call);
        parse_result(operation, &run.stdout, &call.nonce, None, Duration::ZERO)
    }

    /// Applies, expects success, and returns which steps changed something.
    pub(crate) fn done(&self, operation: &Operation) -> Vec<bool> {
        let result = self.apply(operation);
        assert_eq!(result.outcome, OperationOutcome::Done, "{result:#?}");
        result
            .steps
            .iter()
            .map(|step| step.outcome == StepOutcome::Done { changed: true })
            .collect()
    }

    /// Everything that the host has beyond the machine's own system, but for what differs from run to run.
    pub(crate) fn tree(&self) -> BTreeMap<String, String> {
        let mut tree = BTreeMap::new();
        let root = self.path("/");
        collect(&root, &root, &mut tree);
        tree
    }
}

fn collect(root: &Path, directory: &Path, tree: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("/{}", path.strip_prefix(root).unwrap().display());
        if name == "/fake" || name == "/run" || name == "/var/lib/kube-on-kube/journal" {
            continue;
        }
        let meta = path.symlink_metadata().unwrap();
        let mode = meta.mode() & 0o7777;
        let what = if meta.is_symlink() {
            format!("link to {}", path.read_link().unwrap().display())
        } else if meta.is_dir() {
            collect(root, &path, tree);
            format!("directory {mode:o}")
        } else {
            let mut content = vec![];
            std::fs::File::open(&path)
                .unwrap()
                .read_to_end(&mut content)
                .unwrap();
            let digest = ring::digest::digest(&ring::digest::SHA256, &content);
            format!("file {mode:o} {}:{} {digest:?}", meta.uid(), meta.gid())
        };
        tree.insert(name, what);
    }
}

pub(crate) fn owner() -> Owner {
    Owner {
        cluster: "c-1".into(),
        machine: "m-1".into(),
        label: "payments/node 1".into(),
    }
}

/// An operation of the owner that claims the host first.
pub(crate) fn operation(id: &str, steps: Vec<Step>) -> Operation {
    Operation {
        id: id.into(),
        generation: 7,
        owner: owner(),
        steps: [Step::Claim { replaces: None }]
            .into_iter()
            .chain(steps)
            .collect(),
        deadline: Duration::from_mins(1),
    }
}

pub(crate) fn write(path: &str, text: &str) -> Step {
    Step::WriteFile {
        path: path.into(),
        content: Content::Text(text.into()),
        mode: 0o644,
        uid: 0,
        gid: 0,
    }
}

pub(crate) fn run(argv: &[&str]) -> Step {
    Step::Run {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        within: Duration::from_secs(10),
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest
        .as_ref()
        .iter()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// Serves files over HTTP, for as long as the process lives. Other paths are not found.
pub(crate) fn serve(files: Vec<(&'static str, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = vec![];
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                request.push(byte[0]);
            }
            let line = String::from_utf8_lossy(&request).into_owned();
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            let found = files.iter().find(|(name, _)| *name == path);
            let (status, body): (&str, &[u8]) =
                found.map_or(("404 Not Found", b"no"), |(_, body)| ("200 OK", body));
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(body);
        }
    });
    address
}

/// Applies it under a first name, and under a second: what each changed, without the claim.
pub(crate) fn twice(world: &World, steps: &[Step]) -> (Vec<bool>, Vec<bool>) {
    let first = world.done(&operation("first", steps.to_vec()));
    let second = world.done(&operation("second", steps.to_vec()));
    assert!(!second[0], "claimed already");
    (first[1..].to_vec(), second[1..].to_vec())
}

/// Applies one step that must fail.
pub(crate) fn failed(world: &World, step: Step) -> (FailureReason, StepResult) {
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
