//! Extensions: those that are declared, `bootstrap`, and what is left of those that were declared.

use std::collections::BTreeSet;

use kok_api::cluster::ExtensionStatus;
use kok_api::condition::ClusterCondition as Type;

use super::super::Action;
use super::condition::{Fact, fact, unknown};
use super::{Inputs, Reason, Stance};
use crate::Observed;

/// `status.extensions`: the declared ones.
pub(super) fn extensions(inputs: &Inputs<'_>) -> Vec<ExtensionStatus> {
    inputs
        .spec
        .extensions
        .iter()
        .map(|extension| {
            let message = waits_for(inputs, &extension.name);
            ExtensionStatus {
                name: extension.name.clone(),
                version: extension.version.clone(),
                ready: message.is_none(),
                message: message.unwrap_or_default(),
            }
        })
        .collect()
}

/// Why an extension is not as declared.
fn waits_for(inputs: &Inputs<'_>, extension: &str) -> Option<String> {
    let broken = inputs
        .draft
        .broken_extensions
        .iter()
        .find(|(name, _)| name == extension);
    match (broken, &inputs.view.business) {
        (Some((_, why)), _) => Some(why.clone()),
        (None, Observed::Unknown(why)) => Some(format!("the business cluster does not answer: {why}")),
        (None, Observed::Absent) => Some("waiting for the apiserver".into()),
        (None, Observed::Known(_)) => pending(inputs, extension),
    }
}

/// What is being written and removed for an extension.
fn pending(inputs: &Inputs<'_>, extension: &str) -> Option<String> {
    let keys = |removed: bool| -> Vec<String> {
        inputs
            .draft
            .actions
            .iter()
            .filter(|action| action.extension() == Some(extension))
            .filter_map(|action| match action {
                Action::ApplyBusiness { manifest, .. } | Action::Apply { manifest, .. } if !removed => {
                    Some(manifest.key.to_string())
                }
                Action::DeleteBusiness { key, .. } if removed => Some(key.to_string()),
                _ => None,
            })
            .collect()
    };
    let parts: Vec<String> = [("applying", keys(false)), ("removing", keys(true))]
        .into_iter()
        .filter(|(_, keys)| !keys.is_empty())
        .map(|(verb, keys)| format!("{verb} {}", keys.join(", ")))
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Condition ExtensionsReady.
pub(super) fn fact_of(inputs: &Inputs<'_>, declared: &[ExtensionStatus]) -> Fact {
    let no = |reason, message: String| fact(Type::ExtensionsReady, false, reason, message);
    let unclear = |reason, message: String| unknown(Type::ExtensionsReady, reason, message);
    match inputs.stance {
        Stance::Deleting => return unclear(Reason::Deleting, "the Cluster is being deleted".into()),
        Stance::NotStarted => {
            return no(
                Reason::NotStarted,
                "none is applied until the spec is valid; see condition Valid".into(),
            );
        }
        Stance::Paused => {
            return unclear(
                Reason::Paused,
                "none is applied until spec.paused is removed".into(),
            );
        }
        Stance::Kept => {}
    }
    let broken = &inputs.draft.broken_extensions;
    if !broken.is_empty() {
        let why: Vec<String> = broken
            .iter()
            .map(|(name, why)| format!("{name}: {why}"))
            .collect();
        return no(Reason::TemplateRefused, why.join("; "));
    }
    match &inputs.view.business {
        Observed::Absent => {
            return no(
                Reason::WaitingForApiserver,
                "there is no business cluster to apply them in yet".into(),
            );
        }
        Observed::Unknown(why) => {
            return unclear(
                Reason::NoAnswer,
                format!("the business cluster does not answer: {why}"),
            );
        }
        Observed::Known(_) => {}
    }
    let touched: BTreeSet<&str> = inputs
        .draft
        .actions
        .iter()
        .filter_map(Action::extension)
        .collect();
    let waiting: Vec<String> = touched
        .into_iter()
        .filter_map(|name| Some(format!("{name}: {}", pending(inputs, name)?)))
        .collect();
    if waiting.is_empty() {
        fact(
            Type::ExtensionsReady,
            true,
            Reason::AllApplied,
            format!("{} extensions are applied", declared.len()),
        )
    } else {
        no(Reason::Applying, waiting.join("; "))
    }
}
