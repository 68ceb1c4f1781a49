//! The core: pure functions from what was observed to what shall be done, and why.
//!
//! Nothing here waits, reads a clock, draws a random number or talks to anybody. A plan makes every choice;
//! the operators only carry it out.

pub mod cluster;
pub mod host;
pub mod kind;
pub mod machine;
pub mod network;
pub mod object;
pub mod version;

use serde::Serialize;

/// A fact that may not be known. Unknown is a value: it is never taken for Absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Observed<T> {
    /// It was looked for and is not there, or it was not yet time to look.
    Absent,
    /// It could not be found out; why.
    Unknown(String),
    /// What was seen.
    Known(T),
}

impl<T> Observed<T> {
    /// The fact, when it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(fact) => Some(fact),
            Self::Absent | Self::Unknown(_) => None,
        }
    }
}

/// Something that must wait, and for what. Not an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gate {
    /// Reason in UpperCamelCase, as in a condition.
    pub reason: &'static str,
    /// What is waited for, and what to do when it does not come.
    pub message: String,
}
