//! Fault plans: what goes wrong in a run, and when. A plan is written as text, so that one line repeats a run.

use std::fmt;
use std::str::FromStr;

use crate::time::Millis;

/// One thing that goes wrong. Writes and calls are counted from 1, in the order in which servers see them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The operator dies when its n-th write is committed, and starts again.
    Crash {
        /// Which write.
        write: usize,
    },
    /// The n-th write is committed and its answer is lost.
    Lost {
        /// Which write.
        write: usize,
    },
    /// The operator dies after its n-th write; what it reads first when it starts again is as old as some writes before.
    Stale {
        /// Which write.
        write: usize,
        /// How many writes the first reads lag behind.
        behind: usize,
    },
    /// The user deletes the Cluster after the n-th write.
    Deleted {
        /// Which write.
        write: usize,
    },
    /// The n-th call is refused with a status code.
    Refused {
        /// Which call.
        call: usize,
        /// With which code.
        code: u16,
    },
    /// The connection breaks before the n-th call reaches the server.
    Reset {
        /// Which call.
        call: usize,
    },
    /// The n-th call, a list, is answered with an empty one.
    Empty {
        /// Which call.
        call: usize,
    },
    /// The n-th call, a list, is answered with its first half.
    Half {
        /// Which call.
        call: usize,
    },
    /// The n-th event of the watch of a resource never arrives.
    Swallowed {
        /// The watched resource.
        resource: String,
        /// Which event.
        event: usize,
    },
    /// All watches are closed.
    Closed {
        /// When.
        at: Millis,
    },
    /// All watches are closed, and what they could go on from is gone (410).
    Gone {
        /// When.
        at: Millis,
    },
    /// No server answers for a while.
    Down {
        /// Since when.
        at: Millis,
        /// For how long.
        lasts: Millis,
    },
    /// The leader is frozen for a minute: what it asked for arrives after another replica took over.
    Paused {
        /// When.
        at: Millis,
    },
    /// The leader is told that it still leads, though another replica took over.
    Split {
        /// Since when.
        at: Millis,
    },
    /// The clock of the operator's host jumps.
    Clock {
        /// When.
        at: Millis,
        /// By so many hours, forward or back.
        hours: i64,
    },
}

impl Fault {
    /// When it happens, if that is a matter of time.
    pub fn time(&self) -> Option<Millis> {
        match self {
            Self::Closed { at }
            | Self::Gone { at }
            | Self::Down { at, .. }
            | Self::Paused { at }
            | Self::Split { at }
            | Self::Clock { at, .. } => Some(*at),
            _ => None,
        }
    }

    /// Whether it takes two replicas.
    pub fn needs_two(&self) -> bool {
        matches!(self, Self::Paused { .. } | Self::Split { .. })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash { write } => write!(formatter, "crash@{write}"),
            Self::Lost { write } => write!(formatter, "lost@{write}"),
            Self::Stale { write, behind } => write!(formatter, "stale@{write}-{behind}"),
            Self::Deleted { write } => write!(formatter, "deleted@{write}"),
            Self::Refused { call, code } => write!(formatter, "{code}@{call}"),
            Self::Reset { call } => write!(formatter, "reset@{call}"),
            Self::Empty { call } => write!(formatter, "empty@{call}"),
            Self::Half { call } => write!(formatter, "half@{call}"),
            Self::Swallowed { resource, event } => write!(formatter, "swallowed@{resource}#{event}"),
            Self::Closed { at } => write!(formatter, "closed@{at}ms"),
            Self::Gone { at } => write!(formatter, "gone@{at}ms"),
            Self::Down { at, lasts } => write!(formatter, "down@{at}ms+{lasts}ms"),
            Self::Paused { at } => write!(formatter, "paused@{at}ms"),
            Self::Split { at } => write!(formatter, "split@{at}ms"),
            Self::Clock { at, hours } => write!(formatter, "clock{hours:+}h@{at}ms"),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).ok_or_else(|| format!("{text:?} is no fault such as crash@17 or 503@120"))
    }
}

fn parse(text: &str) -> Option<Fault> {
    let (what, whereabouts) = text.split_once('@')?;
    let number = || whereabouts.parse::<usize>().ok();
    let millis = |text: &str| text.strip_suffix("ms")?.parse::<Millis>().ok();
    let at = || millis(whereabouts);
    Some(match what {
        "crash" => Fault::Crash { write: number()? },
        "deleted" => Fault::Deleted { write: number()? },
        "lost" => Fault::Lost { write: number()? },
        "stale" => {
            let (write, behind) = whereabouts.split_once('-')?;
            Fault::Stale {
                write: write.parse().ok()?,
                behind: behind.parse().ok()?,
            }
        }
        "reset" => Fault::Reset { call: number()? },
        "empty" => Fault::Empty { call: number()? },
        "half" => Fault::Half { call: number()? },
        "swallowed" => {
            let (resource, event) = whereabouts.split_once('#')?;
            Fault::Swallowed {
                resource: resource.into(),
                event: event.parse().ok()?,
            }
        }
        "closed" => Fault::Closed { at: at()? },
        "gone" => Fault::Gone { at: at()? },
        "down" => {
            let (at, lasts) = whereabouts.split_once('+')?;
            Fault::Down {
                at: millis(at)?,
                lasts: millis(lasts)?,
            }
        }
        "paused" => Fault::Paused { at: at()? },
        "split" => Fault::Split { at: at()? },
        _ => match what.strip_prefix("clock") {
            Some(hours) => Fault::Clock {
                at: at()?,
                hours: hours.strip_suffix('h')?.parse().ok()?,
            },
            None => Fault::Refused {
                call: number()?,
                code: what.parse().ok()?,
            },
        },
    })
}

/// A run: which scenario, with which seed, and what goes wrong in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Name of the scenario.
    pub scenario: String,
    /// Seed of everything that is left to chance.
    pub seed: u64,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

impl Plan {
    /// A run in which nothing goes wrong.
    pub fn quiet(scenario: &str, seed: u64) -> Self {
        Self {
            scenario: scenario.into(),
            seed,
            faults: Vec::new(),
        }
    }

    /// The same run with one fault more.
    #[must_use]
    pub fn with(&self, fault: Fault) -> Self {
        let mut plan = self.clone();
        plan.faults.push(fault);
        plan
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.scenario)?;
        for fault in &self.faults {
            write!(formatter, " {fault}")?;
        }
        write!(formatter, " seed={}", self.seed)
    }
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let mut plan = Self::quiet(words.next().ok_or("the plan names no scenario")?, 0);
        for word in words {
            match word.strip_prefix("seed=") {
                Some(seed) => {
                    plan.seed = seed.parse().map_err(|_| format!("{word:?} is no seed"))?;
                }
                None => plan.faults.push(word.parse()?),
            }
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_survives_being_written_and_read() {
        let text = "create-minimal crash@17 lost@3 deleted@4 stale@9-4 503@120 reset@1 empty@2 half@3 swallowed@pods#2 closed@5ms \
                    gone@6ms down@7ms+600000ms paused@8ms split@9ms clock+24h@10ms clock-24h@11ms seed=3";
        let plan: Plan = text.parse().unwrap();
        assert_eq!(plan.faults.len(), 16);
        assert_eq!(
            plan.to_string(),
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        );
        for wrong in ["", "a crash@x", "a nothing", "a seed=x", "a crash@1ms"] {
            assert!(wrong.parse::<Plan>().is_err(), "{wrong}");
        }
    }
}
