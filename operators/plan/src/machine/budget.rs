//! How many machines may be disturbed at once. Whoever is unavailable counts, whatever the reason.

use kok_api::package::Disruption;
use serde::Serialize;

use super::view::MachineView;
use crate::Gate;

/// A place among the machines that may be disturbed. Whoever carries a plan out takes it from all machines together, in one step,
/// before it begins; when there is none any more the plan is out of date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reservation {
    /// Most machines that may be unavailable, this one too. None when this one is unavailable anyway.
    pub max_unavailable: Option<usize>,
    /// Most machines that may be disturbed, this one too.
    pub max_disturbed: usize,
}

/// Whether this machine may be disturbed now. None when `disruption` disturbs nobody.
pub(super) fn permit(view: &MachineView, disruption: Disruption) -> Result<Option<Reservation>, Gate> {
    if disruption < Disruption::Restart {
        return Ok(None);
    }
    let Some(defaults) = &view.defaults else {
        return Err(Gate {
            reason: "NoDefaults",
            message:
                "there is no ClusterPackageVersion default, and so no limit of what may be disturbed at once"
                    .into(),
        });
    };
    let fleet = view.fleet;
    let concurrent = usize::try_from(defaults.max_concurrent).unwrap_or(0).max(1);
    if fleet.disturbed >= concurrent {
        return Err(Gate {
            reason: "WaitingForBudget",
            message: format!(
                "{} other machines are being changed; ClusterPackageVersion default allows {concurrent} at once",
                fleet.disturbed
            ),
        });
    }
    let allowance = fleet.allowance(&defaults.max_unavailable);
    let available = view
        .own_node()
        .is_some_and(|node| node.is_ready() && !node.unschedulable);
    if available && fleet.unavailable >= allowance {
        return Err(Gate {
            reason: "WaitingForBudget",
            message: format!(
                "{} other machines are unavailable; ClusterPackageVersion default allows {allowance}",
                fleet.unavailable
            ),
        });
    }
    Ok(Some(Reservation {
        max_unavailable: available.then_some(allowance),
        max_disturbed: concurrent,
    }))
}
