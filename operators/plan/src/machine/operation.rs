//! Operations on the host: one at a time, each with a name; how it ended is recorded, and what failed is tried again later.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kok_api::machine_status::{OperationKind, OperationOutcome, OperationRecord, OperationStatus};
use kok_render::sha256_hex;

use super::paths;
use super::status::{MESSAGE_LIMIT, time};
use super::view::{Ended, Host, MachineView};
use crate::Gate;
use crate::host::{
    self, Content, FailureReason, HostFacts, Operation, OperationResult, Refusal, Step, StepOutcome,
};

/// Operations that a status remembers.
const REMEMBERED: usize = 5;
/// How long an operation may take: downloads over a slow line are the longest part.
const DEADLINE: Duration = Duration::from_mins(15);
/// How long a host may take to reboot.
const REBOOT_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// When the same operation is tried again: doubled each time.
const FIRST_RETRY: SignedDuration = SignedDuration::from_secs(10);
/// The longest wait between two tries of the same operation.
const LAST_RETRY: SignedDuration = SignedDuration::from_mins(10);
/// When an operation is tried again that cannot succeed unless somebody changes something.
const HOPELESS_RETRY: SignedDuration = SignedDuration::from_mins(30);
/// What the status says of an operation whose host reboots.
const REBOOTING: &str = "waiting for the host to come back from its reboot";

/// What the status says of operations from now on.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    /// The one that is not over.
    pub current: Option<OperationStatus>,
    /// Those that are, newest first.
    pub records: Vec<OperationRecord>,
}

impl Ledger {
    /// What was recorded, brought up to what was observed.
    pub(super) fn of(view: &MachineView) -> Self {
        let status = view.status();
        let mut ledger = Self {
            current: status.operation,
            records: status.last_operations,
        };
        if let Some(running) = &view.running {
            let step = running.step.clone();
            if let Some(current) = ledger.current.as_mut().filter(|current| current.id == running.id) {
                current.step = step.unwrap_or_else(|| current.step.clone());
            }
            return ledger;
        }
        if let Some(ended) = &view.ended {
            ledger.take_in(ended);
        } else {
            ledger.look_after_lost(view);
        }
        ledger
    }

    fn take_in(&mut self, ended: &Ended) {
        let id = &ended.result.operation;
        if self.records.iter().any(|record| record.id == *id) {
            self.current.take_if(|current| current.id == *id);
            return;
        }
        if let Some(current) = self.current.as_mut().filter(|current| current.id == *id)
            && ended.result.outcome == host::OperationOutcome::Rebooting
        {
            current.step = REBOOTING.into();
            return;
        }
        self.current = None;
        self.push(record(ended));
    }

    /// An operation that nobody carries out any more: the operator was stopped meanwhile, or the host reboots.
    fn look_after_lost(&mut self, view: &MachineView) {
        let Some(current) = &self.current else { return };
        let rebooting = current.step == REBOOTING;
        let late = view.now.duration_since(current.started_at.0) > REBOOT_WITHIN;
        let booted = view.facts().is_some_and(|facts| {
            view.status()
                .boot_id
                .is_some_and(|before| before != facts.boot_id)
        });
        let (result, reason) = match (rebooting, booted, &view.host) {
            (true, true, _) => (OperationOutcome::Succeeded, None),
            (true, false, _) if !late => return,
            (true, false, _) => (
                OperationOutcome::Failed,
                Some(("RebootFailed", "the host did not come back from its reboot")),
            ),
            // Until the host was asked, nobody knows whether it still runs.
            (false, _, Host::NotAsked | Host::Silent { .. }) => return,
            (false, _, Host::Answered(answer)) if answer.facts.busy => return,
            (false, _, Host::Answered(answer)) if finished(&answer.facts, &current.id) => {
                (OperationOutcome::Succeeded, None)
            }
            (false, _, Host::Answered(_)) => (
                OperationOutcome::Unknown,
                Some((
                    "OperatorRestarted",
                    "the operator was stopped while it ran; what was done is read from the host",
                )),
            ),
        };
        let record = OperationRecord {
            id: current.id.clone(),
            kind: current.kind,
            result,
            started_at: current.started_at.clone(),
            duration: seconds(view.now.duration_since(current.started_at.0)),
            reason: reason.map(|(reason, _)| reason.into()),
            message: reason.map(|(_, message)| message.into()),
        };
        self.current = None;
        self.push(record);
    }

    fn push(&mut self, record: OperationRecord) {
        self.records.insert(0, record);
        self.records.truncate(REMEMBERED);
    }

    /// Whether the host reboots by our order.
    pub(super) fn reboots(&self) -> bool {
        self.current
            .as_ref()
            .is_some_and(|current| current.step == REBOOTING)
    }

    /// How often in a row an operation with these steps was tried, and when the last one ended.
    fn tries(&self, digest: &str) -> (u32, Option<&OperationRecord>) {
        let same = |record: &&OperationRecord| digest_of(&record.id) == Some(digest);
        let count = self.records.iter().take_while(same).count();
        (
            u32::try_from(count).unwrap_or(u32::MAX),
            self.records.first().filter(same),
        )
    }

    /// Since when an operation with these steps waits for its turn; None when it may begin.
    pub(super) fn waits(&self, digest: &str, now: Timestamp) -> Option<(Timestamp, Gate)> {
        let (count, last) = self.tries(digest);
        let last = last?;
        let ended = last.started_at.0 + last.duration.parse::<SignedDuration>().unwrap_or_default();
        let hopeless = last
            .reason
            .as_deref()
            .and_then(|reason| reason.parse::<FailureReason>().ok())
            .is_some_and(|reason| !reason.may_pass());
        let wait = if hopeless {
            HOPELESS_RETRY
        } else {
            let doublings = (count - 1).min(16);
            FIRST_RETRY.saturating_mul(1 << doublings).min(LAST_RETRY)
        };
        let at = ended + wait;
        (at > now).then(|| {
            let why = match last.result {
                OperationOutcome::Succeeded => {
                    "it was done a moment ago, and the host differs again".to_owned()
                }
                OperationOutcome::Failed | OperationOutcome::Unknown => format!(
                    "it ended with {}: {}",
                    last.reason.as_deref().unwrap_or("an error"),
                    last.message.as_deref().unwrap_or_default()
                ),
            };
            let gate = Gate {
                reason: "WaitingForRetry",
                message: format!("tried {count} times in a row; {why}"),
            };
            (at, gate)
        })
    }

    /// Begins an operation: its name, and what the status says of it.
    pub(super) fn begin(
        &mut self,
        kind: OperationKind,
        steps: Vec<Step>,
        step: &str,
        view: &MachineView,
    ) -> Operation {
        let digest = digest(&steps);
        let id = format!("{}-{digest}-{}", name(kind), view.now.as_second());
        let (count, _) = self.tries(&digest);
        self.current = Some(OperationStatus {
            id: id.clone(),
            kind,
            step: step.into(),
            started_at: time(view.now),
            attempt: i32::try_from(count).unwrap_or(i32::MAX).saturating_add(1),
        });
        Operation {
            id,
            generation: view.operator.generation,
            owner: view.owner(),
            steps,
            deadline: DEADLINE,
        }
    }
}

/// Whether the host's journal says that an operation was carried out to its end.
fn finished(facts: &HostFacts, id: &str) -> bool {
    let journal = facts.journal.as_ref();
    journal.is_some_and(|journal| journal.operation == id && journal.finished)
}

/// Names steps by what they do, not by what differs each time: the token that a host joins with, its boot.
pub(super) fn digest(steps: &[Step]) -> String {
    let texts = steps.iter().map(|step| match step {
        Step::WriteFile {
            path,
            content: Content::Text(text),
            mode,
            ..
        } if !path.starts_with(paths::ROOT) => format!("{step} {mode:o} {text}"),
        Step::Fetch { sha256, .. } => format!("{step} {sha256}"),
        _ => step.to_string(),
    });
    let all: Vec<String> = texts.collect();
    sha256_hex(all.join("\n").as_bytes())[..12].into()
}

fn digest_of(id: &str) -> Option<&str> {
    id.split('-').nth(1)
}

fn name(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Converge => "converge",
        OperationKind::Join => "join",
        OperationKind::Repair => "repair",
        OperationKind::Reset => "reset",
    }
}

fn kind_of(id: &str) -> OperationKind {
    match id.split('-').next() {
        Some("join") => OperationKind::Join,
        Some("repair") => OperationKind::Repair,
        Some("reset") => OperationKind::Reset,
        _ => OperationKind::Converge,
    }
}

fn record(ended: &Ended) -> OperationRecord {
    let result = &ended.result;
    let (outcome, reason, message) = match &result.outcome {
        host::OperationOutcome::Done | host::OperationOutcome::Rebooting => {
            (OperationOutcome::Succeeded, None, None)
        }
        host::OperationOutcome::Failed { step } => {
            let (reason, message) = failure(result, *step);
            (OperationOutcome::Failed, Some(reason), Some(message))
        }
        host::OperationOutcome::Refused(refusal) => (
            OperationOutcome::Failed,
            Some(refusal_name(refusal).to_owned()),
            Some(refusal.to_string()),
        ),
        host::OperationOutcome::Unknown(why) => (
            OperationOutcome::Unknown,
            Some("ConnectionLost".to_owned()),
            Some(format!("{why}; what was done is read from the host")),
        ),
    };
    let duration = SignedDuration::try_from(result.duration).unwrap_or_default();
    OperationRecord {
        id: result.operation.clone(),
        kind: kind_of(&result.operation),
        result: outcome,
        started_at: time(ended.at - duration),
        duration: seconds(duration),
        reason,
        message: message.map(|text| text.chars().take(MESSAGE_LIMIT).collect()),
    }
}

fn failure(result: &OperationResult, step: usize) -> (String, String) {
    let Some(failed) = result.steps.get(step) else {
        return ("CommandFailed".into(), format!("step {step}"));
    };
    let reason = match &failed.outcome {
        StepOutcome::Failed { reason, .. } => <&str>::from(*reason),
        _ => "CommandFailed",
    };
    (reason.into(), format!("{}: {}", failed.step, failed.tail.trim()))
}

fn refusal_name(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Conflict(_) => "Conflict",
        Refusal::NotClaimed => "NotClaimed",
        Refusal::OlderGeneration { .. } => "OlderGeneration",
        Refusal::Busy => "Busy",
        Refusal::IdReused => "IdReused",
        Refusal::NotRoot => "NotRoot",
        Refusal::StateUnwritable(_) => "StateUnwritable",
    }
}

fn seconds(duration: SignedDuration) -> String {
    format!("{}s", duration.as_secs().max(0))
}
