//! A list of steps that belong together, and what became of them.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::check::InvalidStep;
use super::secret::Secret;
use super::step::{Content, Step};

/// Steps for one host, in order. The first that fails ends the operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Operation {
    /// Names the operation in the host's journal. Given again with the same id and steps, an operation goes on
    /// where it stopped; the same id with other steps is refused.
    pub id: String,
    /// Who may order what: a host refuses everything below the highest generation that it has seen.
    pub generation: u64,
    /// On whose behalf.
    pub owner: Owner,
    /// What to do.
    pub steps: Vec<Step>,
    /// How long all of it may take. At the end everything that runs on the host for it is killed.
    pub deadline: Duration,
}

/// Who a host belongs to. A second claimant is refused, whoever it is.
#[derive(Clone, Debug, Serialize)]
pub struct Owner {
    /// Uid of the Cluster (for the meta cluster's own workers, of its `kube-system` namespace).
    pub cluster: String,
    /// Uid of the Machine.
    pub machine: String,
    /// For people: `<cluster>/<machine>`. Not part of the identity.
    pub label: String,
}

impl PartialEq for Owner {
    fn eq(&self, other: &Self) -> bool {
        self.cluster == other.cluster && self.machine == other.machine
    }
}

impl Eq for Owner {}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} (cluster {}, machine {})",
            self.label, self.cluster, self.machine
        )
    }
}

impl Operation {
    /// Checks everything that the host relies on. An operation that fails here is a defect of the plan or of
    /// package data, and is never sent.
    pub fn check(&self) -> Result<(), InvalidStep> {
        super::check::operation(self)
    }

    /// Names of the secrets that are still to be put in.
    pub fn slots(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match step {
            Step::WriteFile {
                content: Content::Slot(slot),
                ..
            } => Some(slot.as_str()),
            _ => None,
        })
    }

    /// Puts a secret in wherever its slot is named.
    pub fn fill(&mut self, name: &str, secret: &Secret) {
        for step in &mut self.steps {
            if let Step::WriteFile { content, .. } = step
                && matches!(content, Content::Slot(slot) if slot == name)
            {
                *content = Content::Filled {
                    slot: name.into(),
                    secret: secret.clone(),
                };
            }
        }
    }
}

/// What the host's journal says about the operation that it last took up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JournalRecord {
    /// Id of the operation.
    pub operation: String,
    /// Its generation.
    pub generation: u64,
    /// Whether all of its steps were done.
    pub finished: bool,
    /// Steps that were begun, in order.
    pub steps: Vec<JournalStep>,
}

/// A step in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JournalStep {
    /// Which, from 0.
    pub index: usize,
    /// [`Step::kind`].
    pub kind: String,
    /// How far it came.
    pub state: JournalState,
    /// What was there before: a file's SHA-256, a link's target, a package's version; empty when nothing.
    pub before: String,
    /// What was there afterwards; of a failed step, the reason.
    pub after: String,
}

/// How far a step in the journal came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum JournalState {
    /// It was begun, and then the host crashed, the session was lost, or it still runs.
    Begun,
    /// Its effect is there.
    Done,
    /// It failed.
    Failed,
}

/// What became of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OperationResult {
    /// Id of the operation.
    pub operation: String,
    /// All in all.
    pub outcome: OperationOutcome,
    /// Each step, in order; as many as the operation has.
    pub steps: Vec<StepResult>,
    /// Wall time, with connecting.
    pub duration: Duration,
}

/// What became of an operation, all in all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum OperationOutcome {
    /// Every step's effect is there.
    Done,
    /// This step failed; those after it were not begun.
    Failed {
        /// Index of the step.
        step: usize,
    },
    /// The host reboots; give the operation again when it is back.
    Rebooting,
    /// The host refused it and did nothing.
    Refused(Refusal),
    /// The session was lost. Neither done nor undone: ask for facts, the journal tells.
    Unknown(String),
}

/// Why a host refuses an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Refusal {
    /// The host belongs to somebody else.
    Conflict(Owner),
    /// Nobody has claimed the host, and the operation does not begin with a claim.
    NotClaimed,
    /// The host has seen a higher generation.
    OlderGeneration {
        /// The one it has seen.
        seen: u64,
    },
    /// Another operation runs.
    Busy,
    /// An operation of this id with other steps is in the journal.
    IdReused,
    /// The runner is not root.
    NotRoot,
    /// The host's state directory cannot be written: read-only or full.
    StateUnwritable(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict(owner) => write!(formatter, "the host belongs to {owner}; release it there first"),
            Self::NotClaimed => formatter.write_str("the host is not claimed"),
            Self::OlderGeneration { seen } => {
                write!(
                    formatter,
                    "the host has already seen generation {seen}; a newer operator is at work"
                )
            }
            Self::Busy => formatter.write_str("another operation runs on the host"),
            Self::IdReused => {
                formatter.write_str("an operation of this id with other steps is in the host's journal")
            }
            Self::NotRoot => formatter.write_str("steps need root: log in as root, or set spec.ssh.sudo"),
            Self::StateUnwritable(why) => {
                write!(
                    formatter,
                    "/var/lib/kube-on-kube cannot be written on the host: {why}"
                )
            }
        }
    }
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepResult {
    /// The step, for people.
    pub step: String,
    /// [`Step::kind`].
    pub kind: String,
    /// How it ended.
    pub outcome: StepOutcome,
    /// How long it took.
    pub duration: Duration,
    /// Last 2 KiB of what it wrote, without secrets.
    pub tail: String,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum StepOutcome {
    /// Its effect is there.
    Done {
        /// Whether that took a change.
        changed: bool,
    },
    /// The journal says that it was done when the operation was given before.
    DoneBefore,
    /// It failed.
    Failed {
        /// Why, as far as it was recognised.
        reason: FailureReason,
        /// Exit code of the command that failed.
        exit: i32,
    },
    /// It made the host reboot.
    Rebooting,
    /// It was not begun.
    NotRun,
    /// The session was lost before it told.
    Unknown,
}

/// Why a step failed.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, strum::IntoStaticStr, strum::EnumString, strum::EnumIter,
)]
pub enum FailureReason {
    /// No URL could be downloaded.
    DownloadFailed,
    /// The content is not what was declared. Nothing was changed.
    Sha256Mismatch,
    /// The host has neither curl, wget nor apt-helper.
    NoDownloader,
    /// No space or no inodes left.
    DiskFull,
    /// The file system is read-only.
    ReadOnly,
    /// Another process holds the package database.
    PackagesLocked,
    /// dpkg or apt failed.
    PackageFailed,
    /// systemd could not do it, or the unit failed.
    UnitFailed,
    /// The probe was not content in time.
    ProbeFailed,
    /// It took too long.
    TimedOut,
    /// The path is outside the removable roots, or the step is malformed.
    NotAllowed,
    /// Anything else; the tail tells.
    CommandFailed,
}

impl FailureReason {
    /// Whether the same step may succeed later without anybody changing the Machine or its packages.
    pub fn may_pass(self) -> bool {
        match self {
            Self::DownloadFailed
            | Self::DiskFull
            | Self::PackagesLocked
            | Self::PackageFailed
            | Self::UnitFailed
            | Self::ProbeFailed
            | Self::TimedOut
            | Self::CommandFailed => true,
            Self::Sha256Mismatch | Self::NoDownloader | Self::ReadOnly | Self::NotAllowed => false,
        }
    }
}
