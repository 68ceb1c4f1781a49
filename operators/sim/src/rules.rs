//! What a single call must keep to, whatever else happens: it changes what it means to change, and only a leader writes.

use std::sync::Mutex;

use bytes::Bytes;
use serde_json::Value;

use crate::api::{ApiServer, Key};
use crate::call::{Call, Verb};
use crate::exchange::lock;
use crate::process::Process;
use crate::sim::OPERATOR_NAMESPACE;
use crate::time::Millis;
use crate::world::text;

/// So long after it lost its lease a leader may still send what it was about to send.
const LAST_WORDS: Millis = 1_000;

/// The object that the operator means: as it was when it was read.
pub(crate) struct Meant {
    uid: String,
    version: String,
}

impl Meant {
    /// As the operator says it, before anything is changed on the way.
    pub(crate) fn by(call: &Call, body: &Bytes) -> Self {
        let body: Value = if call.verb.writes() {
            serde_json::from_slice(body).unwrap_or_default()
        } else {
            Value::Null
        };
        let at = if call.verb == Verb::Delete {
            "/preconditions"
        } else {
            "/metadata"
        };
        Self {
            uid: text(&body, &format!("{at}/uid")).to_owned(),
            version: text(&body, &format!("{at}/resourceVersion")).to_owned(),
        }
    }

    /// What is wrong with a write that succeeded on `target`.
    pub(crate) fn broken_by(&self, call: &Call, target: Option<&Value>) -> Vec<String> {
        let mut broken = Vec::new();
        if call.verb == Verb::Delete && (self.uid.is_empty() || self.version.is_empty()) {
            broken.push(format!(
                "{call}: invariant 3: a delete without the uid and the version that it means"
            ));
        }
        let Some(target) = target else { return broken };
        for (meant, field) in [(&self.uid, "uid"), (&self.version, "resourceVersion")] {
            let is = text(target, &format!("/metadata/{field}"));
            if !meant.is_empty() && meant != is {
                broken.push(format!(
                    "{call}: invariant 3: it meant {field} {meant} and hit {is}"
                ));
            }
        }
        broken
    }
}

/// Who leads, and since when.
#[derive(Default)]
pub(crate) struct Leadership {
    holder: Mutex<(String, Millis)>,
}

impl Leadership {
    /// The lease may have changed hands.
    pub(crate) fn see(&self, meta: &ApiServer, now: Millis) {
        let key = Key::new(
            "leases.coordination.k8s.io",
            Some(OPERATOR_NAMESPACE),
            "cluster-operator",
        );
        let lease = meta.get(&key).unwrap_or_default();
        let holder = text(&lease, "/spec/holderIdentity");
        let mut known = lock(&self.holder);
        if known.0 != holder {
            *known = (holder.to_owned(), now);
        }
    }

    /// Whether a process asked to write when another led already.
    pub(crate) fn stale(&self, process: &Process, since: Millis) -> bool {
        let (holder, leads_since) = lock(&self.holder).clone();
        holder != process.replica && !process.deceived() && since > leads_since + LAST_WORDS
    }
}
