//! The version that is declared, the one that runs, and those before it.

use kok_api::cluster::{VersionHistory, VersionState, VersionStatus};

use super::super::manifests::APISERVER;
use super::Inputs;
use super::components::pods_of;
use super::condition::time;
use crate::version::Version;

/// Versions that are remembered.
const HISTORY: usize = 10;

/// `status.version`.
pub(super) fn version(inputs: &Inputs<'_>, all_up: bool) -> VersionStatus {
    let before = inputs.previous.version.clone().unwrap_or_default();
    let now = time(inputs.view.now);
    let desired = inputs.spec.version.clone();
    let mut history = before.history;
    if history.first().is_none_or(|latest| latest.version != desired) {
        let entry = VersionHistory {
            version: desired.clone(),
            state: VersionState::Partial,
            started_at: now.clone(),
            completed_at: None,
        };
        history.insert(0, entry);
        history.truncate(HISTORY);
    }
    if let Some(latest) = history.first_mut()
        && all_up
        && latest.state == VersionState::Partial
    {
        latest.state = VersionState::Completed;
        latest.completed_at = Some(now);
    }
    VersionStatus {
        desired,
        current: current(inputs, before.current),
        history,
    }
}

/// The oldest version among the apiservers, from the first answer of the endpoint on. What one of them answers would go
/// back and forth during an upgrade; this moves once, when the last pod of the old version goes.
fn current(inputs: &Inputs<'_>, before: Option<String>) -> Option<String> {
    let answered = inputs.view.external.known().map(|answer| answer.version.clone());
    if before.is_none() && answered.is_none() {
        return None;
    }
    let oldest = pods_of(inputs.view, APISERVER)
        .filter(|pod| !pod.deleting)
        .filter_map(|pod| {
            let image = pod.text("/spec/containers/0/image")?;
            image.rsplit_once(":v")?.1.parse::<Version>().ok()
        })
        .min();
    oldest.map(|version| version.to_string()).or(before).or(answered)
}
