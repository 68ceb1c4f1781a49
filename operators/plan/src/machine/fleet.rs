//! All machines of the cluster together: what disruption budgets and the freeze of repairs are counted from.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kok_api::Machine;
use serde::Serialize;

use super::node::cordoned_by_us;
use super::view::NodeFacts;

/// One machine, as far as the others must know of it.
#[allow(clippy::struct_excessive_bools)] // facts that hold or not, each on its own
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Name of the Machine.
    pub name: String,
    /// Whether its host joined the cluster at some time.
    pub joined: bool,
    /// Whether its Node is Ready.
    pub ready: bool,
    /// Whether its Node takes pods.
    pub schedulable: bool,
    /// Whether we disturb it now: it is drained, or an operation runs that restarts something.
    pub disturbed: bool,
    /// Whether it is being taken away.
    pub leaving: bool,
}

impl Member {
    /// What the others must know of a Machine and its Node.
    pub fn of(machine: &Machine, node: Option<&NodeFacts>) -> Self {
        let status = machine.status.as_ref();
        let joined = status.is_some_and(|it| it.node_name.is_some());
        Self {
            name: machine.metadata.name.clone().unwrap_or_default(),
            joined,
            ready: node.is_some_and(NodeFacts::is_ready),
            schedulable: node.is_some_and(|node| !node.unschedulable),
            disturbed: status.is_some_and(|it| it.operation.is_some()) || node.is_some_and(cordoned_by_us),
            leaving: machine.metadata.deletion_timestamp.is_some(),
        }
    }
}

/// All machines together, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fleet {
    /// Machines that joined. One that never did carries no pods, so it neither counts nor is counted.
    pub joined: BTreeSet<String>,
    /// Those of them that are unavailable, for whatever reason.
    pub unavailable: BTreeSet<String>,
    /// Those that we disturb now.
    pub disturbed: BTreeSet<String>,
    /// Those that are not Ready although we do not disturb them.
    pub failing: BTreeSet<String>,
}

impl Fleet {
    /// The fleet of these machines.
    pub fn of(members: impl IntoIterator<Item = Member>) -> Self {
        let mut fleet = Self::default();
        for member in members.into_iter().filter(|member| member.joined) {
            let name = member.name;
            if !member.ready || !member.schedulable || member.disturbed || member.leaving {
                fleet.unavailable.insert(name.clone());
            }
            if member.disturbed {
                fleet.disturbed.insert(name.clone());
            } else if !member.ready && !member.leaving {
                fleet.failing.insert(name.clone());
            }
            fleet.joined.insert(name);
        }
        fleet
    }

    /// The fleet as one of its machines has to see it.
    pub fn seen_by(&self, name: &str) -> Others {
        let besides = |machines: &BTreeSet<String>| machines.len() - usize::from(machines.contains(name));
        Others {
            joined: self.joined.len(),
            unavailable: besides(&self.unavailable),
            disturbed: besides(&self.disturbed),
            failing: self.failing.len(),
        }
    }
}

/// The fleet as one of its machines has to see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Others {
    /// Machines that joined, this one too.
    pub joined: usize,
    /// Other machines that are unavailable.
    pub unavailable: usize,
    /// Other machines that we disturb.
    pub disturbed: usize,
    /// Machines that fail, this one too.
    pub failing: usize,
}

impl Others {
    /// How many machines may fail together before the cause is taken to be none of them: `percent` of the fleet, at least one.
    pub fn failures_tolerated(self, percent: u32) -> usize {
        self.share(percent)
    }

    /// Whether more machines fail together than that.
    pub fn fail_together(self, percent: u32) -> bool {
        self.failing > self.failures_tolerated(percent)
    }

    /// How many machines `limit` allows to be unavailable: a number, or a percentage of the fleet; at least one.
    pub fn allowance(self, limit: &IntOrString) -> usize {
        match limit {
            IntOrString::Int(number) => usize::try_from(*number).unwrap_or(0).max(1),
            IntOrString::String(text) => self.share(text.trim_end_matches('%').parse().unwrap_or(0)),
        }
    }

    fn share(self, percent: u32) -> usize {
        (self.joined.saturating_mul(percent as usize) / 100).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn members(count: usize, failing: usize) -> Fleet {
        Fleet::of((0..count).map(|number| Member {
            name: format!("m{number}"),
            joined: true,
            ready: number >= failing,
            schedulable: true,
            disturbed: false,
            leaving: false,
        }))
    }

    #[rstest]
    #[case(1, 1, false)]
    #[case(2, 1, false)]
    #[case(2, 2, true)]
    #[case(10, 3, false)]
    #[case(10, 4, true)]
    #[case(5000, 1500, false)]
    #[case(5000, 1501, true)]
    fn a_share_that_fails_together(#[case] count: usize, #[case] failing: usize, #[case] together: bool) {
        assert_eq!(members(count, failing).seen_by("m0").fail_together(30), together);
    }

    #[rstest]
    #[case(IntOrString::Int(3), 3)]
    #[case(IntOrString::Int(-1), 1)]
    #[case(IntOrString::String("10%".into()), 1)]
    #[case(IntOrString::String("25%".into()), 2)]
    #[case(IntOrString::String("100%".into()), 10)]
    #[case(IntOrString::String("nonsense".into()), 1)]
    fn allowances(#[case] limit: IntOrString, #[case] expected: usize) {
        assert_eq!(members(10, 0).seen_by("m0").allowance(&limit), expected);
    }

    #[test]
    fn every_reason_to_be_unavailable_counts_and_what_never_joined_does_not() {
        let member = |name: &str| Member {
            name: name.into(),
            joined: true,
            ready: true,
            schedulable: true,
            disturbed: false,
            leaving: false,
        };
        let fleet = Fleet::of([
            member("good"),
            Member {
                ready: false,
                ..member("not-ready")
            },
            Member {
                schedulable: false,
                ..member("cordoned")
            },
            Member {
                disturbed: true,
                ..member("updating")
            },
            Member {
                leaving: true,
                ..member("leaving")
            },
            Member {
                joined: false,
                ready: false,
                ..member("new")
            },
        ]);
        assert_eq!(fleet.joined.len(), 5);
        assert_eq!(fleet.unavailable.len(), 4);
        assert_eq!(fleet.seen_by("cordoned").unavailable, 3);
        assert_eq!(fleet.seen_by("good").unavailable, 4);
        assert_eq!(fleet.failing, BTreeSet::from(["not-ready".to_owned()]));
        assert_eq!(fleet.disturbed, BTreeSet::from(["updating".to_owned()]));
    }
}
