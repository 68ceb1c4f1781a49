//! Which fault plans a scenario is run with: all of one kind, one after another, from the record of the run without
//! faults. Faults hit the part of a scenario that it is about, not what leads there.

use std::collections::BTreeSet;

use crate::call::Verb;
use crate::fault::{Fault, Plan};
use crate::ledger::{Served, What};
use crate::run::Run;
use crate::time::Millis;

/// A kind of fault, and how its plans are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The operator dies after each write.
    Crash,
    /// The answer to each write is lost.
    Lost,
    /// The operator dies after each write and reads old state first.
    Stale,
    /// The user deletes the Cluster after each write.
    Deleted,
    /// Each call, once, is refused or reset; the code changes from call to call.
    Refused,
    /// Each list, once, is answered empty, and once by half.
    Lists,
    /// An event of each watch is swallowed.
    Events,
    /// All watches are closed, or can go on from nothing they know; nobody answers for ten minutes.
    Watches,
    /// The leader is frozen, or does not know that it lost its lease.
    Leaders,
    /// The clock jumps by a day.
    Clocks,
}

impl Kind {
    /// All kinds that do not change what the story ends with.
    pub const ALL: [Self; 9] = [
        Self::Crash,
        Self::Lost,
        Self::Stale,
        Self::Refused,
        Self::Lists,
        Self::Events,
        Self::Watches,
        Self::Leaders,
        Self::Clocks,
    ];

    /// What it is called in reports.
    pub fn title(self) -> &'static str {
        match self {
            Self::Crash => "crash after a write",
            Self::Lost => "answer lost after a write",
            Self::Stale => "crash, then old reads",
            Self::Deleted => "deleted after a write",
            Self::Refused => "call refused or reset",
            Self::Lists => "list empty or short",
            Self::Events => "event swallowed",
            Self::Watches => "watches closed, 410, down",
            Self::Leaders => "two leaders",
            Self::Clocks => "clock jumps a day",
        }
    }

    /// Every plan of this kind for the scenario of `reference`.
    pub fn plans(self, reference: &Run) -> Vec<Plan> {
        let faults = match self {
            Self::Crash => writes(reference).map(|write| Fault::Crash { write }).collect(),
            Self::Lost => writes(reference).map(|write| Fault::Lost { write }).collect(),
            Self::Deleted => writes(reference).map(|write| Fault::Deleted { write }).collect(),
            Self::Stale => writes(reference)
                .map(|write| Fault::Stale {
                    write,
                    behind: 1 + write % 12,
                })
                .collect(),
            Self::Refused => refused(reference),
            Self::Lists => lists(reference),
            Self::Events => events(reference),
            Self::Watches => moments(reference, 6, |at, number| match number % 3 {
                0 => Fault::Closed { at },
                1 => Fault::Gone { at },
                _ => Fault::Down { at, lasts: 600_000 },
            }),
            Self::Leaders => moments(reference, 8, |at, number| match number % 2 {
                0 => Fault::Paused { at },
                _ => Fault::Split { at },
            }),
            Self::Clocks => moments(reference, 4, |at, number| Fault::Clock {
                at,
                hours: if number % 2 == 0 { 24 } else { -24 },
            }),
        };
        faults.into_iter().map(|fault| reference.plan.with(fault)).collect()
    }
}

fn writes(reference: &Run) -> impl Iterator<Item = usize> {
    reference.began.1 + 1..=reference.writes
}

/// Calls of the part that the scenario is about.
fn calls(reference: &Run) -> impl Iterator<Item = &Served> {
    reference.entries.iter().filter_map(|entry| match &entry.what {
        What::Call(served) if served.number > reference.began.0 => Some(&**served),
        _ => None,
    })
}

/// Each different call, the first time that it is made.
fn first_of_each<'a>(reference: &'a Run, wanted: impl Fn(&Served) -> bool) -> Vec<&'a Served> {
    let mut seen = BTreeSet::new();
    calls(reference)
        .filter(|served| wanted(served) && seen.insert(served.call.kind()))
        .collect()
}

fn refused(reference: &Run) -> Vec<Fault> {
    const CODES: [u16; 6] = [409, 429, 500, 503, 504, 0];
    let seed = usize::try_from(reference.plan.seed).unwrap_or_default();
    first_of_each(reference, |_| true)
        .into_iter()
        .enumerate()
        .map(|(index, served)| match CODES[(index + seed) % CODES.len()] {
            0 => Fault::Reset { call: served.number },
            // A read has no conflicts.
            409 if !served.call.verb.writes() => Fault::Refused {
                call: served.number,
                code: 500,
            },
            code => Fault::Refused {
                call: served.number,
                code,
            },
        })
        .collect()
}

fn lists(reference: &Run) -> Vec<Fault> {
    // Again in the middle of the story: by then there is something in them.
    let lists = first_of_each(reference, |served| served.call.verb == Verb::List);
    let late: Vec<&Served> = {
        let all: Vec<&Served> = calls(reference)
            .filter(|served| served.call.verb == Verb::List && !served.call.cluster.is_empty())
            .collect();
        let mut seen = BTreeSet::new();
        let mut late: Vec<&Served> = all
            .into_iter()
            .rev()
            .filter(|served| seen.insert(served.call.kind()))
            .collect();
        late.reverse();
        late
    };
    lists
        .iter()
        .map(|served| Fault::Empty { call: served.number })
        .chain(late.iter().map(|served| Fault::Empty { call: served.number }))
        .chain(late.iter().map(|served| Fault::Half { call: served.number }))
        .collect()
}

fn events(reference: &Run) -> Vec<Fault> {
    let watched: BTreeSet<&str> = reference
        .entries
        .iter()
        .filter_map(|entry| match &entry.what {
            What::Call(served) if served.call.verb == Verb::Watch => Some(served.call.resource.as_str()),
            _ => None,
        })
        .collect();
    watched
        .into_iter()
        .flat_map(|resource| {
            [1, 2, 3].map(|event| Fault::Swallowed {
                resource: resource.to_owned(),
                event,
            })
        })
        .collect()
}

/// Moments spread over the part that the scenario is about, in which something was written.
fn moments(reference: &Run, count: usize, fault: impl Fn(Millis, usize) -> Fault) -> Vec<Fault> {
    let times: Vec<Millis> = reference
        .entries
        .iter()
        .filter(|entry| {
            matches!(&entry.what, What::Call(served)
                if served.write.is_some() && served.number > reference.began.0)
        })
        .map(|entry| entry.at + 1)
        .collect();
    if times.is_empty() {
        return Vec::new();
    }
    (0..count)
        .map(|number| fault(times[number * (times.len() - 1) / count.max(2).saturating_sub(1)], number))
        .collect()
}

/// Every n-th plan, so that at most `most` are left, and n. Which ones depends on the seed.
pub fn strided(plans: Vec<Plan>, most: usize) -> (Vec<Plan>, usize) {
    let stride = plans.len().div_ceil(most.max(1)).max(1);
    let seed = plans.first().map_or(0, |plan| plan.seed);
    let offset = usize::try_from(seed).unwrap_or_default() % stride;
    (plans.into_iter().skip(offset).step_by(stride).collect(), stride)
}
