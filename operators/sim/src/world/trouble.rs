//! What is made to go wrong with pods and volumes.

use serde_json::Value;

use super::text;

/// Troubles that a scenario turns on and off.
#[derive(Clone, Debug, Default)]
pub struct Trouble {
    /// Pods whose namespace and name (`cluster-a/etcd-0`) start so are never scheduled.
    pub unschedulable: Vec<String>,
    /// Pods whose namespace and name start so crash whenever they start.
    pub crashing: Vec<String>,
    /// No claim is bound.
    pub no_volumes: bool,
}

impl Trouble {
    pub(super) fn holds_back(&self, pod: &str) -> bool {
        self.unschedulable.iter().any(|name| pod.starts_with(name))
    }

    /// Why a container of this pod cannot run, whatever it is.
    pub(super) fn of(&self, name: &str, pod: &Value) -> Option<&'static str> {
        let container = "/spec/containers/0";
        if !is_published(text(pod, &format!("{container}/image"))) {
            return Some("ImagePullBackOff");
        }
        let arguments = pod
            .pointer(&format!("{container}/args"))
            .and_then(Value::as_array);
        let refused = arguments
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .any(|argument| argument.ends_with(&format!("={BAD_VALUE}")));
        (refused || self.crashing.iter().any(|crashing| name.starts_with(crashing)))
            .then_some("CrashLoopBackOff")
    }
}

/// A value that no component starts with.
pub const BAD_VALUE: &str = "no-such-value";

/// Whether the registry has an image: the versions that a release line has, and not those that only look like one.
fn is_published(image: &str) -> bool {
    let Some((repository, tag)) = image.rsplit_once(':') else {
        return false;
    };
    let (tag, last_patch) = if repository.ends_with("/etcd") {
        (tag.strip_suffix("-0").unwrap_or(tag), 30)
    } else {
        (tag.strip_prefix('v').unwrap_or(tag), 15)
    };
    let patch = tag
        .rsplit_once('.')
        .and_then(|(_, patch)| patch.parse::<u32>().ok());
    patch.is_some_and(|patch| patch <= last_patch)
}
