//! What one round trip to a host asks and returns.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::operation::{JournalRecord, Owner};

/// What to ask a host. What the host always tells (OS, ids, clock, memory, owner, journal) needs no asking.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FactsQuery {
    /// Small rendered files: mode, owner and full SHA-256. Files above 4 MiB are not hashed.
    pub files: BTreeSet<String>,
    /// Large files, links and directories: size, modification time, inode, link target.
    pub binaries: BTreeSet<String>,
    /// Hash the binaries too. Costs a host about half a CPU second, so it is asked rarely.
    pub hash_binaries: bool,
    /// systemd units.
    pub units: BTreeSet<String>,
    /// Debian packages.
    pub debs: BTreeSet<String>,
    /// Commands to run for their exit and output, such as `kubelet --version`. Their argv comes from package
    /// data, never from an object's text, and carries no secret.
    pub probes: Vec<NamedProbe>,
    /// Paths whose file system's free space matters; need not exist yet.
    pub disks: BTreeSet<String>,
    /// TCP ports: does something listen on them?
    pub ports: BTreeSet<u16>,
    /// Can the host open a TCP connection there?
    pub endpoints: BTreeSet<Endpoint>,
}

/// A command that is run for its exit and output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedProbe {
    /// Key of the answer.
    pub name: String,
    /// Program and arguments.
    pub argv: Vec<String>,
}

/// A TCP endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Endpoint {
    /// IP address or DNS name.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(formatter, "[{host}]:{port}")
        } else {
            write!(formatter, "{host}:{port}")
        }
    }
}

/// What a host answered. A host that could not be asked has no facts at all; the maps hold every key that was
/// asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostFacts {
    /// When the answer came, by the operator's clock.
    pub taken_at: Timestamp,
    /// By how much the host's clock is ahead of the operator's.
    pub clock_skew: SignedDuration,
    /// The skew is known to within this: half of the round trip.
    pub clock_skew_within: Duration,
    /// Operating system.
    pub os: OsFact,
    /// `uname -n`.
    pub hostname: String,
    /// `/etc/machine-id`; empty when there is none.
    pub machine_id: String,
    /// Changes with every boot.
    pub boot_id: String,
    /// Since the last boot.
    pub uptime: Duration,
    /// Which cgroup hierarchy is mounted.
    pub cgroup: Cgroup,
    /// Whether any swap is in use.
    pub swap: bool,
    /// Whether systemd is the init system.
    pub systemd: bool,
    /// Effective user id that steps run with, after sudo. Anything but 0 cannot carry out steps, and does not see
    /// `owner` and `journal`.
    pub euid: u32,
    /// Usable CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// IP addresses of the host's interfaces, without loopback and link-local ones.
    pub addresses: BTreeSet<String>,
    /// Free space, by path as asked.
    pub disks: BTreeMap<String, DiskFact>,
    /// Those of the asked ports on which something listens.
    pub listening: BTreeSet<u16>,
    /// Small files, by path.
    pub files: BTreeMap<String, FileFact>,
    /// Large files, links and directories, by path.
    pub binaries: BTreeMap<String, BinaryFact>,
    /// Units, by name as asked.
    pub units: BTreeMap<String, UnitFact>,
    /// Debian packages, by name.
    pub debs: BTreeMap<String, DebFact>,
    /// State of the package database.
    pub dpkg: DpkgFact,
    /// Probes, by name.
    pub probes: BTreeMap<String, ProbeFact>,
    /// Endpoints, as `host:port`.
    pub endpoints: BTreeMap<String, Reach>,
    /// Sockets of container runtimes that exist.
    pub runtime_sockets: BTreeSet<String>,
    /// Who owns the host; None when nobody claimed it.
    pub owner: Option<Owner>,
    /// The operation that the host last took up.
    pub journal: Option<JournalRecord>,
    /// Whether an operation is running on the host right now.
    pub busy: bool,
}

/// Operating system of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OsFact {
    /// `ID` of os-release, such as `debian`.
    pub id: String,
    /// `VERSION_ID`, such as `12`; empty for rolling ones.
    pub version: String,
    /// `PRETTY_NAME`.
    pub pretty: String,
    /// `VERSION_CODENAME`, as apt sources name it.
    pub codename: String,
    /// Architecture by Go's name: `amd64`, `arm64`; else as `uname -m` says.
    pub arch: String,
    /// Kernel release.
    pub kernel: String,
}

/// Which cgroup hierarchy a host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Cgroup {
    /// Legacy or hybrid: controllers are in version 1 hierarchies.
    V1,
    /// Unified.
    V2,
    /// None is mounted at `/sys/fs/cgroup`.
    None,
}

/// Free space of the file system that holds a path, or will hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DiskFact {
    /// Bytes available to root.
    pub available: u64,
    /// Size in bytes.
    pub total: u64,
    /// Free inodes; 0 with `inodes_total` 0 where the file system does not count them.
    pub inodes: u64,
    /// Whether it can be written to.
    pub writable: bool,
}

/// A small file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum FileFact {
    /// Nothing is there.
    Absent,
    /// A regular file.
    File {
        /// Of its content, hex; None when it is too large to be hashed each time.
        sha256: Option<String>,
        /// Permission bits.
        mode: u32,
        /// Owning user.
        uid: u32,
        /// Owning group.
        gid: u32,
    },
    /// Something else is there: a link, a directory, a pipe.
    Other,
}

/// A large file, link or directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum BinaryFact {
    /// Nothing is there.
    Absent,
    /// A regular file. Size, time and inode together change when its content does.
    File {
        /// Bytes.
        size: u64,
        /// Modification time in nanoseconds since 1970.
        mtime_ns: i64,
        /// Inode.
        inode: u64,
        /// Permission bits.
        mode: u32,
        /// Of its content, hex; only when asked.
        sha256: Option<String>,
    },
    /// A symbolic link.
    Link {
        /// Where it points, as written in the link.
        target: String,
    },
    /// A directory.
    Directory,
    /// Something else.
    Other,
}

/// A systemd unit, with systemd's own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnitFact {
    /// `loaded`, `not-found`, `masked`, `bad-setting`, `error`.
    pub load: String,
    /// `active`, `inactive`, `failed`, `activating`, `deactivating`, `reloading`.
    pub active: String,
    /// Such as `running`, `dead`, `auto-restart`.
    pub sub: String,
    /// `enabled`, `disabled`, `static`, `masked`; empty when there is no such unit.
    pub enabled: String,
    /// When it last became active, by the operator's clock; None when it never did since boot.
    pub since: Option<Timestamp>,
    /// How often systemd restarted it by itself.
    pub restarts: u32,
    /// Why it last ended: `success`, `exit-code`, `signal`, `oom-kill`, `start-limit-hit`, ...
    pub result: String,
    /// A unit file, or a drop-in of it, changed after systemd last read it.
    pub needs_daemon_reload: bool,
}

/// A Debian package. All empty when dpkg does not know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DebFact {
    /// Version; None unless it is unpacked at least.
    pub version: Option<String>,
    /// dpkg's status: `installed`, `half-configured`, `config-files`, `not-installed`, ...
    pub status: String,
    /// Whether it is on hold.
    pub hold: bool,
}

/// State of the package database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DpkgFact {
    /// Whether there is a dpkg at all.
    pub present: bool,
    /// A dpkg run was interrupted; `dpkg --configure -a` is due. [`super::Step::InstallDeb`] does it.
    pub interrupted: bool,
    /// Another process holds its lock.
    pub locked: bool,
}

/// How a probe ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProbeFact {
    /// Exit code; 127 when there is no such program, 124 when it took too long.
    pub exit: i32,
    /// Last 4 KiB of what it wrote.
    pub output: String,
}

/// Whether a TCP connection could be opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Reach {
    /// It could.
    Connected,
    /// It could not, and why.
    Failed(String),
    /// The host has nothing to try it with.
    Unknown,
}
