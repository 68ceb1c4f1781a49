//! The plan of one Machine: observe (a [`view::MachineView`]) -> plan -> status, all pure.
//!
//! One step a pass: what is done on a host is an operation, there is one at a time, and after it the host is asked
//! again. A plan is never the continuation of the one before it.

mod budget;
pub mod catalog;
mod conflict;
pub mod csr;
pub mod defaults;
pub mod diff;
mod drain;
pub mod effective;
pub mod facts;
pub mod fleet;
pub mod join;
pub mod lint;
pub mod look;
mod node;
mod operation;
pub mod paths;
mod preflight;
mod removal;
mod repair;
pub mod status;
mod steps;
mod upkeep;
mod validate;
pub mod view;
pub mod wanted;

use std::collections::BTreeMap;

use jiff::Timestamp;
use kok_api::condition::MachineCondition as Type;
use kok_api::machine_status::{
    DrainStatus, MachineStatus, OperationKind, PackageStatus, RepairAction, RepairStatus,
};
use serde::Serialize;

pub use budget::Reservation;
use catalog::Catalog;
use join::{SecretSource, TokenMint};
pub use node::NodePatch;
use operation::Ledger;
use view::{Hashed, Host, MachineView};

use crate::Gate;
use crate::host::{Operation, Step};

/// One effect. The executor carries it out as it stands and chooses nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Action {
    /// Put our finalizer on the Machine.
    AddFinalizer,
    /// Take it off again: nothing of the Machine is left.
    RemoveFinalizer,
    /// Make a bootstrap token; its secret is drawn. Fails when there is one of that id.
    MintToken(TokenMint),
    /// Delete exactly this bootstrap token.
    DeleteToken {
        /// Token id.
        id: String,
        /// Precondition.
        uid: String,
        /// Precondition: it was not changed since it was seen.
        resource_version: String,
        /// Why.
        reason: String,
    },
    /// Approve or deny a certificate request.
    DecideRequest {
        /// Its name.
        name: String,
        /// Precondition.
        uid: String,
        /// Precondition: it was not changed since it was seen.
        resource_version: String,
        /// Whether it is approved; else it is denied.
        approve: bool,
        /// Why.
        reason: String,
    },
    /// Change the Node.
    PatchNode {
        /// What.
        patch: NodePatch,
        /// The place among the disturbed machines that must be taken first.
        reservation: Option<Reservation>,
        /// Why.
        reason: String,
    },
    /// Evict a pod; its disruption budgets decide whether it goes.
    Evict {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Precondition.
        uid: String,
    },
    /// Delete exactly this Node.
    DeleteNode {
        /// Its name.
        name: String,
        /// Precondition.
        uid: String,
        /// Precondition: it was not changed since it was seen.
        resource_version: String,
        /// Why.
        reason: String,
    },
    /// Carry out an operation on the host. The plan's status announces it, so the status is written first; the reservation is
    /// taken before that. Its result comes back in [`view::Ended`].
    Run(Box<Run>),
}

/// An operation on the host, with all that it needs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// What it is for.
    pub kind: OperationKind,
    /// What to do.
    pub operation: Operation,
    /// Secrets to put in, by the name of their slot.
    pub secrets: BTreeMap<String, SecretSource>,
    /// The place among the disturbed machines that must be taken first.
    pub reservation: Option<Reservation>,
    /// Why.
    pub reason: String,
}

impl Action {
    /// The action's name, for metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AddFinalizer => "AddFinalizer",
            Self::RemoveFinalizer => "RemoveFinalizer",
            Self::MintToken(_) => "MintToken",
            Self::DeleteToken { .. } => "DeleteToken",
            Self::DecideRequest { .. } => "DecideRequest",
            Self::PatchNode { .. } => "PatchNode",
            Self::Evict { .. } => "Evict",
            Self::DeleteNode { .. } => "DeleteNode",
            Self::Run(_) => "Run",
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AddFinalizer | Self::RemoveFinalizer => formatter.write_str(self.name()),
            Self::MintToken(mint) => write!(formatter, "MintToken {} until {}", mint.id, mint.expires),
            Self::DeleteToken { id, reason, .. } => write!(formatter, "DeleteToken {id} ({reason})"),
            Self::DecideRequest {
                name,
                approve,
                reason,
                ..
            } => {
                let verb = if *approve { "Approve" } else { "Deny" };
                write!(formatter, "{verb} request {name} ({reason})")
            }
            Self::PatchNode { patch, reason, .. } => write!(formatter, "PatchNode {} ({reason})", patch.name),
            Self::Evict { namespace, name, .. } => write!(formatter, "Evict {namespace}/{name}"),
            Self::DeleteNode { name, reason, .. } => write!(formatter, "DeleteNode {name} ({reason})"),
            Self::Run(run) => write!(
                formatter,
                "Run {} with {} steps ({})",
                run.operation.id,
                run.operation.steps.len(),
                run.reason
            ),
        }
    }
}

/// What to do for one Machine now, why the rest waits, and what its status says.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// In order. A failure ends the pass.
    pub actions: Vec<Action>,
    /// What is waited for.
    pub gates: Vec<Gate>,
    /// The status to be written.
    pub status: MachineStatus,
    /// What to remember of the host's large files until the next look; it is given back in the view.
    pub hashed: Option<Hashed>,
    /// Seconds until the host is looked at again, if it was looked at for this plan: see [`look::is_due`].
    pub next_look_seconds: u64,
}

/// How often a converged host is looked at: nobody tells of changes on it.
const CONVERGED_LOOK: u64 = 300;
/// How often a host is looked at while something is waited for that no watch tells: at first every second, less often the
/// longer it takes.
const WAITING_LOOK: std::ops::RangeInclusive<u64> = 1..=30;
/// How often a host is looked at that does not answer: less and less often, and never so often that it locks us out.
const SILENT_LOOK: std::ops::RangeInclusive<u64> = 5..=300;
/// How often hosts are looked at that wait for their turn, all of them together: so many seconds for each of so many machines.
/// Few wait for each other without a gap, and many do not look all the time.
const TURN_LOOK: std::ops::RangeInclusive<u64> = 2..=CONVERGED_LOOK;
const MACHINES_A_SECOND: u64 = 16;

/// Decides everything about one Machine.
pub fn plan(view: &MachineView, catalog: &Catalog) -> Plan {
    let mut draft = Draft::of(view);
    if view.deleting() {
        removal::plan(&mut draft, view, catalog);
    } else {
        upkeep::plan(&mut draft, view, catalog);
    }
    draft.finish(view)
}

/// A plan in the making.
#[derive(Debug)]
pub(crate) struct Draft {
    actions: Vec<Action>,
    gates: Vec<Gate>,
    ledger: Ledger,
    /// Why nothing may be done with this host at all.
    refused: Option<Gate>,
    /// What keeps the host from being a node.
    findings: Vec<String>,
    /// Whether the host was compared with what it shall be.
    compared: bool,
    packages: Vec<PackageStatus>,
    /// What differs, for people.
    differences: Vec<String>,
    /// What keeps the packages from being installed.
    package_findings: Vec<String>,
    drain: Option<DrainStatus>,
    repair: Option<RepairStatus>,
    /// What ails the Node.
    ailment: Option<String>,
    /// What the host tells of it.
    evidence: Option<String>,
    hashed: Option<Hashed>,
    /// When something is due that no watch tells.
    due: Option<Timestamp>,
}

impl Draft {
    fn of(view: &MachineView) -> Self {
        let status = view.status();
        Self {
            actions: Vec::new(),
            gates: Vec::new(),
            ledger: Ledger::of(view),
            refused: None,
            findings: Vec::new(),
            compared: false,
            packages: status.packages,
            differences: Vec::new(),
            package_findings: Vec::new(),
            drain: status.drain,
            repair: status.repair,
            ailment: None,
            evidence: None,
            hashed: view.hashed.clone(),
            due: None,
        }
    }

    /// Notes that something is waited for.
    fn wait(&mut self, reason: &'static str, message: impl Into<String>) {
        self.gates.push(Gate {
            reason,
            message: message.into(),
        });
    }

    /// Looks again at `at`, or earlier.
    fn look_at(&mut self, at: Timestamp) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Begins an operation, unless the same one was tried a moment ago. True when it begins.
    fn run(&mut self, view: &MachineView, order: Order) -> bool {
        if order.steps.is_empty() {
            return false;
        }
        if let Some((at, gate)) = self.ledger.waits(&operation::digest(&order.steps), view.now) {
            self.gates.push(gate);
            self.look_at(at);
            return false;
        }
        self.actions.extend(order.mint.map(Action::MintToken));
        let operation = self.ledger.begin(order.kind, order.steps, &order.reason, view);
        self.actions.push(Action::Run(Box::new(Run {
            kind: order.kind,
            operation,
            secrets: order.secrets,
            reservation: order.reservation,
            reason: order.reason,
        })));
        true
    }

    fn finish(self, view: &MachineView) -> Plan {
        let status = status::status(&self, view);
        let next_look_seconds = self.next_look(view, &status);
        let plan = Plan {
            actions: self.actions,
            gates: self.gates,
            status,
            hashed: self.hashed,
            next_look_seconds,
        };
        debug_assert_eq!(lint::violations(view, &plan), Vec::<String>::new());
        plan
    }

    fn next_look(&self, view: &MachineView, status: &MachineStatus) -> u64 {
        let since = |types: &[Type]| {
            let waiting = status
                .conditions
                .iter()
                .filter(|it| it.status != "True" && types.iter().any(|type_| type_.as_str() == it.type_));
            let times = waiting.map(|it| {
                view.now
                    .duration_since(it.last_transition_time.0)
                    .as_secs()
                    .unsigned_abs()
            });
            times.min().unwrap_or(0)
        };
        let clamp =
            |seconds: u64, range: &std::ops::RangeInclusive<u64>| seconds.clamp(*range.start(), *range.end());
        let only = |reasons: &[&str]| {
            let mut gates = self.gates.iter();
            self.actions.is_empty() && !self.gates.is_empty() && gates.all(|it| reasons.contains(&it.reason))
        };
        let usual = if matches!(view.host, Host::Silent { .. }) {
            clamp(since(&[Type::Reachable]) / 4, &SILENT_LOOK)
        } else if only(&["WaitingForBudget"]) {
            clamp(view.fleet.joined as u64 / MACHINES_A_SECOND, &TURN_LOOK)
        } else if self.refused.is_some()
            || view.spec().paused.is_some()
            || only(&["WaitingForRetry", "RepairCoolingDown", "PackagesInvalid"])
            || !self.is_waiting(view)
        {
            CONVERGED_LOOK
        } else if view.running.is_some() {
            *WAITING_LOOK.end()
        } else {
            clamp(since(&[Type::Ready, Type::PackagesInSync]) / 8, &WAITING_LOOK)
        };
        let due = self
            .due
            .map(|due| due.duration_since(view.now).as_secs().max(1).unsigned_abs());
        due.map_or(usual, |due| due.min(usual))
    }

    /// Whether something is going on that no watch tells of.
    fn is_waiting(&self, view: &MachineView) -> bool {
        let gave_up = self
            .repair
            .as_ref()
            .is_some_and(|repair| repair.last_action == RepairAction::GiveUp);
        !self.actions.is_empty()
            || !self.gates.is_empty()
            || self.ledger.current.is_some()
            || self.ailment.is_some() && !gave_up
            || view.node.known().is_none()
    }
}

/// An operation that shall begin.
struct Order {
    kind: OperationKind,
    steps: Vec<Step>,
    secrets: BTreeMap<String, SecretSource>,
    mint: Option<TokenMint>,
    reservation: Option<Reservation>,
    reason: String,
}

impl Order {
    fn new(kind: OperationKind, steps: Vec<Step>, reason: impl Into<String>) -> Self {
        Self {
            kind,
            steps,
            secrets: BTreeMap::new(),
            mint: None,
            reservation: None,
            reason: reason.into(),
        }
    }
}
