//! Kubernetes events: what `kubectl describe` shows under an object.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tracing::warn;

use crate::deadline::{self, within};

/// The API server refuses longer notes (`NoteLengthLimit` in its event validation), in bytes.
const MAX_NOTE: usize = 1024;

/// Publishes events in the name of one controller. Events are help for people: one that cannot be written is
/// logged and forgotten, never a reason to fail. Repeats of the same reason and action within six minutes are
/// counted on the first event instead of creating another. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl Events {
    /// `controller` is who reports (`kubeonkube.io/cluster-operator`), `instance` which of its replicas
    /// (the pod name).
    pub fn new(client: Client, controller: &str, instance: &str) -> Self {
        let reporter = Reporter {
            controller: controller.to_owned(),
            instance: Some(instance.to_owned()),
        };
        Self {
            recorder: Recorder::new(client, reporter),
        }
    }

    /// Something happened as it should: `reason` is a word in upper camel case (`CertificateIssued`), `action`
    /// what was being done (`IssueCertificate`), `note` a sentence for people.
    pub async fn normal(&self, regarding: &ObjectReference, reason: &str, action: &str, note: &str) {
        self.publish(EventType::Normal, regarding, reason, action, note)
            .await;
    }

    /// Something needs attention. Arguments as for [`Events::normal`].
    pub async fn warning(&self, regarding: &ObjectReference, reason: &str, action: &str, note: &str) {
        self.publish(EventType::Warning, regarding, reason, action, note)
            .await;
    }

    async fn publish(
        &self,
        type_: EventType,
        regarding: &ObjectReference,
        reason: &str,
        action: &str,
        note: &str,
    ) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(shorten(note).to_owned()),
            action: action.to_owned(),
            secondary: None,
        };
        let written = within(deadline::REQUEST, self.recorder.publish(&event, regarding)).await;
        if let Err(error) = written {
            warn!(reason, object = regarding.name, error = %error, "event not written");
        }
    }
}

/// The longest beginning of `note` that the API server accepts, cut between characters.
fn shorten(note: &str) -> &str {
    &note[..note.floor_char_boundary(MAX_NOTE)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_notes_are_cut_between_characters() {
        assert_eq!(shorten("short"), "short");
        let long = "é".repeat(MAX_NOTE); // two bytes each
        assert_eq!(shorten(&long).len(), MAX_NOTE);
        let odd = format!("x{long}");
        assert_eq!(shorten(&odd).len(), MAX_NOTE - 1);
    }
}
