//! The language between a plan and a host: what is asked of a host, what it answers, and what it shall do.
//!
//! Plans are made of these values and read them; `kok-host` carries them to the host and back. A step is one
//! action that may be begun again at any point: interrupted by a crash, a lost session or a reboot, it is
//! simply given once more. There is no step that takes a shell text.

mod check;
mod facts;
mod operation;
mod secret;
mod step;

pub use check::{InvalidStep, MOST_CONTENT, is_absolute_path, is_below_removable_root};
pub use facts::{
    BinaryFact, Cgroup, DebFact, DiskFact, DpkgFact, Endpoint, FactsQuery, FileFact, HostFacts, NamedProbe,
    OsFact, ProbeFact, Reach, UnitFact,
};
pub use operation::{
    FailureReason, JournalRecord, JournalState, JournalStep, Operation, OperationOutcome, OperationResult,
    Owner, Refusal, StepOutcome, StepResult,
};
pub use secret::Secret;
pub use step::{Content, DebSource, Expect, Step, UnitAction};
