//! The record of a run: every call in the order in which it was served, and what else happened.

use std::fmt;

use crate::call::Call;
use crate::fault::Fault;
use crate::time::{Millis, seconds};

/// One line of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Millis,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The operator called a server.
    Call(Box<Served>),
    /// Something else: who, and what.
    Note(String, String),
}

/// A call and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Its number.
    pub number: usize,
    /// The call.
    pub call: Call,
    /// Its number among the writes that changed something; neither leases nor events count.
    pub write: Option<usize>,
    /// What the caller got.
    pub outcome: String,
    /// What went wrong with it on purpose.
    pub fault: Option<Fault>,
}

impl Served {
    /// Whether it asked for a change: not of a lease, and not an event.
    pub fn asked_to_write(&self) -> bool {
        self.call.verb.writes() && !self.call.is_lease() && !self.call.is_event()
    }
}

/// See the module.
#[derive(Default)]
pub struct Ledger {
    /// In order.
    pub entries: Vec<Entry>,
    /// Calls so far.
    pub calls: usize,
    /// Writes so far.
    pub writes: usize,
    /// When a write was last asked for, whether or not it changed something.
    pub last_write: Millis,
    /// When something last went wrong on purpose.
    pub last_fault: Millis,
    /// Revision of the meta cluster after each write.
    pub revisions: Vec<u64>,
    /// What a call did that none may do.
    pub violations: Vec<String>,
    /// Calls and writes when the part of the story began that faults are planned for.
    pub began: Option<(usize, usize, Millis)>,
}

impl Ledger {
    /// Writes down a call.
    pub fn served(&mut self, at: Millis, served: Served) {
        if served.asked_to_write() {
            self.last_write = at;
        }
        if served.fault.is_some() {
            self.last_fault = at;
        }
        self.entries.push(Entry {
            at,
            what: What::Call(Box::new(served)),
        });
    }

    /// Writes down something else.
    pub fn note(&mut self, at: Millis, who: &str, what: impl Into<String>) {
        self.entries.push(Entry {
            at,
            what: What::Note(who.into(), what.into()),
        });
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:>12}  ", seconds(self.at))?;
        match &self.what {
            What::Note(who, what) => write!(formatter, "{who:<12} {what}"),
            What::Call(served) => {
                write!(
                    formatter,
                    "{:<12} {} -> {}",
                    served.call.actor, served.call, served.outcome
                )?;
                if let Some(write) = served.write {
                    write!(formatter, " [write {write}]")?;
                }
                if let Some(fault) = &served.fault {
                    write!(formatter, " <- {fault}")?;
                }
                Ok(())
            }
        }
    }
}
