//! One re-enterable action on a host.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::operation::Owner;
use super::secret::Secret;

/// One action on a host. Given again after any interruption, it leads to the same end; given where its effect
/// is already there, it changes nothing and says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Step {
    /// Take possession of the host for the operation's owner. Without it an unclaimed host refuses everything.
    Claim {
        /// The present owner, when it was released by the user's word; any other owner is a conflict.
        replaces: Option<Owner>,
    },
    /// Give the host up: removes the claim, the journal and what else is ours below the state directory. Last.
    Release,
    /// Make a directory, with its parents.
    Directory {
        /// Where.
        path: String,
        /// Permission bits.
        mode: u32,
    },
    /// Download a file from the first URL that yields the right content. The file appears whole or not at all.
    Fetch {
        /// Tried in order, http or https.
        urls: Vec<String>,
        /// Of the content, hex.
        sha256: String,
        /// Where the file goes.
        dest: String,
        /// Permission bits.
        mode: u32,
    },
    /// Unpack a tar archive (plain or gzip) into a directory of its own, which appears whole or not at all.
    /// A directory that is there is left as it is: its name must carry the version.
    Unpack {
        /// The archive, fetched before.
        archive: String,
        /// The directory.
        dest: String,
        /// Leading path components to leave out.
        strip: u8,
    },
    /// Point a symbolic link at a target, atomically.
    Link {
        /// The link.
        path: String,
        /// Where it points.
        target: String,
    },
    /// Write a file, atomically.
    WriteFile {
        /// Where.
        path: String,
        /// What.
        content: Content,
        /// Permission bits.
        mode: u32,
        /// Owning user.
        uid: u32,
        /// Owning group.
        gid: u32,
    },
    /// Remove a file, a link or a whole directory. Mounts below it are unmounted first. Only below the removable
    /// roots, see [`super::is_below_removable_root`].
    RemovePath {
        /// What.
        path: String,
    },
    /// Install a Debian package at exactly this version. An interrupted dpkg is recovered first.
    InstallDeb {
        /// Package.
        name: String,
        /// Version as dpkg writes it.
        version: String,
        /// Where from.
        source: DebSource,
        /// Pin the version and hold the package against upgrades by others.
        hold: bool,
    },
    /// Purge a Debian package, its pin and its hold.
    RemoveDeb {
        /// Package.
        name: String,
    },
    /// Let systemd read its unit files again.
    DaemonReload,
    /// Change the state of a unit.
    Unit {
        /// Unit with its suffix, such as `kubelet.service`.
        name: String,
        /// How.
        action: UnitAction,
    },
    /// Wait until a unit is active and has stayed so for a while.
    WaitActive {
        /// Unit.
        name: String,
        /// How long it must have been active.
        stable: Duration,
        /// How long to wait at most.
        within: Duration,
    },
    /// Run a command again and again until it does as expected. The argv comes from package data and carries no
    /// secret.
    Probe {
        /// Program and arguments.
        argv: Vec<String>,
        /// When it is content.
        expect: Expect,
        /// How long to try at most.
        within: Duration,
    },
    /// Run a command once; exit 0 is success. It must be harmless to run it twice. The argv comes from package
    /// data and carries no secret.
    Run {
        /// Program and arguments.
        argv: Vec<String>,
        /// How long it may take.
        within: Duration,
    },
    /// Set a kernel parameter now. To keep it, write a file below `/etc/sysctl.d` too.
    Sysctl {
        /// Such as `net.ipv4.ip_forward`.
        key: String,
        /// Value.
        value: String,
    },
    /// Load a kernel module, unless it is there or built in.
    LoadModule {
        /// Module.
        name: String,
    },
    /// Kill every process of a control group, such as `kubepods`, wherever the hierarchies keep it.
    KillCgroup {
        /// Name of the group below the root, without `.slice`.
        name: String,
    },
    /// Reboot, unless the host has another boot id by now. The rest of the operation is carried out when it is
    /// given again after the boot.
    Reboot {
        /// Boot id of the boot that is to end.
        boot_id: String,
    },
}

/// Content of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Content {
    /// Not secret; plans and diffs show it.
    Text(String),
    /// A secret that a plan cannot know, by a name; whoever carries the operation out puts it in with
    /// [`super::Operation::fill`] just before.
    Slot(String),
    /// A secret that was put in.
    Filled {
        /// Name of the slot.
        slot: String,
        /// The content.
        secret: Secret,
    },
}

/// Where a Debian package comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum DebSource {
    /// From apt. `list` is a sources file that was written before, whose index is fetched first; the distribution's
    /// own sources serve what the package depends on.
    Apt {
        /// Path below `/etc/apt/sources.list.d`; None for what the host is set up with.
        list: Option<String>,
    },
    /// A package file; apt gets what it depends on.
    File {
        /// Tried in order.
        urls: Vec<String>,
        /// Of the file, hex.
        sha256: String,
    },
}

/// How a unit's state is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum UnitAction {
    /// Start at boot.
    Enable,
    /// Do not start at boot.
    Disable,
    /// Start now.
    Start,
    /// Stop now.
    Stop,
    /// Stop and start, once in an operation however often the operation is given.
    Restart,
    /// Read the configuration again, once in an operation; restart where the unit cannot.
    Reload,
}

/// What a probe must do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Expect {
    /// Exit with 0.
    Success,
    /// Exit with 0 and write this text somewhere.
    Output(String),
}

impl Step {
    /// Name of the kind of step: for metric labels and the journal.
    pub fn kind(&self) -> &'static str {
        self.into()
    }
}

/// For people: what the step does, without any secret.
impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim { replaces: None } => formatter.write_str("claim the host"),
            Self::Claim {
                replaces: Some(owner),
            } => write!(formatter, "take the host over from {owner}"),
            Self::Release => formatter.write_str("release the host"),
            Self::Directory { path, .. } => write!(formatter, "make directory {path}"),
            Self::Fetch { urls, dest, .. } => {
                let from = urls.first().map_or(String::new(), |url| without_credentials(url));
                write!(formatter, "fetch {dest} from {from}")
            }
            Self::Unpack { archive, dest, .. } => write!(formatter, "unpack {archive} to {dest}"),
            Self::Link { path, target } => write!(formatter, "link {path} to {target}"),
            Self::WriteFile { path, .. } => write!(formatter, "write {path}"),
            Self::RemovePath { path } => write!(formatter, "remove {path}"),
            Self::InstallDeb { name, version, .. } => write!(formatter, "install package {name} {version}"),
            Self::RemoveDeb { name } => write!(formatter, "remove package {name}"),
            Self::DaemonReload => formatter.write_str("reload systemd's unit files"),
            Self::Unit { name, action } => write!(formatter, "{} {name}", <&str>::from(action)),
            Self::WaitActive { name, .. } => write!(formatter, "wait until {name} is active"),
            Self::Probe { argv, .. } => write!(formatter, "probe {}", argv.join(" ")),
            Self::Run { argv, .. } => write!(formatter, "run {}", argv.join(" ")),
            Self::Sysctl { key, value } => write!(formatter, "set {key} to {value}"),
            Self::LoadModule { name } => write!(formatter, "load kernel module {name}"),
            Self::KillCgroup { name } => write!(formatter, "kill the processes of control group {name}"),
            Self::Reboot { .. } => formatter.write_str("reboot"),
        }
    }
}

/// A URL without what may authenticate: user, password, query and fragment.
fn without_credentials(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    match plain.split_once("://") {
        Some((scheme, rest)) => {
            let authority_end = rest.find('/').unwrap_or(rest.len());
            let host_start = rest[..authority_end].rfind('@').map_or(0, |at| at + 1);
            format!("{scheme}://{}", &rest[host_start..])
        }
        None => plain.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_printed_shows_a_secret() {
        let write = Step::WriteFile {
            path: "/etc/kubernetes/bootstrap.conf".into(),
            content: Content::Filled {
                slot: "bootstrap".into(),
                secret: Secret::new("hunter2"),
            },
            mode: 0o600,
            uid: 0,
            gid: 0,
        };
        let fetch = Step::Fetch {
            urls: vec!["https://user:hunter2@mirror/kubelet?token=hunter2#hunter2".into()],
            sha256: String::new(),
            dest: "/opt/kubelet".into(),
            mode: 0o755,
        };
        let shown = [
            format!("{write} {write:?} {}", serde_json::to_string(&write).unwrap()),
            fetch.to_string(),
        ];
        for text in &shown {
            assert!(!text.contains("hunter2"), "{text}");
        }
        assert_eq!(
            fetch.to_string(),
            "fetch /opt/kubelet from https://mirror/kubelet"
        );
    }

    #[test]
    fn kinds_are_named_for_labels() {
        assert_eq!(Step::DaemonReload.kind(), "daemon_reload");
        let unit = Step::Unit {
            name: "kubelet.service".into(),
            action: UnitAction::Restart,
        };
        assert_eq!(unit.kind(), "unit");
        assert_eq!(unit.to_string(), "restart kubelet.service");
    }
}
