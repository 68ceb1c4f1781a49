//! Deletion: preconditions, grace, finalizers, and what becomes of dependants.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use kube::core::Status;

use super::collect::{FOREGROUND, ORPHAN};
use super::resource::Resource;
use super::state::{Caller, State};
use super::{Key, object, refusal};

/// What becomes of the objects that the deleted one owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// The body of a delete request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Deletion {
    #[serde(rename = "propagationPolicy")]
    pub(super) propagation: Option<Propagation>,
    #[serde(rename = "gracePeriodSeconds")]
    pub(super) grace: Option<i64>,
    pub(super) preconditions: Option<Preconditions>,
    #[serde(default)]
    pub(super) dry_run: Vec<String>,
}

/// Which object is meant, exactly.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

/// How a deletion ended.
pub(super) enum Outcome {
    /// The object is gone; it was this.
    Gone(Arc<Value>),
    /// It stays for a while, as this.
    Waits(Arc<Value>),
}

impl State {
    /// Deletes an object.
    ///
    /// # Errors
    /// When there is none, or not the one that is meant.
    pub(super) fn delete(
        &mut self,
        caller: &Caller,
        key: &Key,
        deletion: &Deletion,
    ) -> Result<Outcome, Status> {
        let resource = self.resource(&key.resource)?;
        let Some(live) = self.get(key).cloned() else {
            return Err(refusal::not_found(&resource, &key.name));
        };
        check(&resource, &live, deletion.preconditions.as_ref())?;
        let mut marked = (*live).clone();
        let had_grace = object::grace(&live);
        let grace = match had_grace {
            // Only shorter grace is given once a deletion has begun.
            Some(left) => match deletion.grace {
                Some(grace) if grace < left => grace.max(0),
                _ => return Ok(Outcome::Waits(Arc::new(marked))),
            },
            None if object::is_deleting(&live) => 0,
            None => grace(&resource, &live, deletion.grace),
        };
        finalizers(&mut marked, deletion.propagation);
        let waits = grace > 0 || !object::finalizers(&marked).is_empty() || key.resource == "namespaces";
        if !waits {
            if deletion.dry_run.is_empty() {
                self.remove(caller, key);
            }
            return Ok(Outcome::Gone(Arc::new(marked)));
        }
        mark(&mut marked, caller, grace);
        if key.resource == "namespaces" {
            marked["status"]["phase"] = json!("Terminating");
            if let Some(metadata) = object::metadata(&mut marked) {
                metadata.remove("deletionGracePeriodSeconds");
            }
        }
        if marked == *live || !deletion.dry_run.is_empty() {
            return Ok(Outcome::Waits(Arc::new(marked)));
        }
        Ok(Outcome::Waits(self.store(caller, key, marked)))
    }

    /// Ends the grace of an object that is being deleted.
    pub(super) fn finish_deletion(&mut self, caller: &Caller, key: &Key) {
        let Some(live) = self.get(key).filter(|live| object::is_deleting(live)) else {
            return;
        };
        let mut object = (**live).clone();
        if object::finalizers(&object).is_empty() {
            if key.resource != "namespaces" {
                self.remove(caller, key);
            }
        } else if object::grace(&object).is_some() {
            object["metadata"]["deletionGracePeriodSeconds"] = json!(0);
            self.store(caller, key, object);
        }
    }
}

fn check(resource: &Resource, live: &Value, wanted: Option<&Preconditions>) -> Result<(), Status> {
    let Some(wanted) = wanted else { return Ok(()) };
    let (uid, version) = (object::uid(live), object::resource_version(live));
    let name = object::name(live);
    if let Some(wanted) = wanted.uid.as_deref().filter(|wanted| *wanted != uid) {
        let why = format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
        );
        return Err(refusal::conflict(resource, name, &why));
    }
    if let Some(wanted) = wanted
        .resource_version
        .as_deref()
        .filter(|wanted| *wanted != version)
    {
        let why = format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({version}). The object might have been modified"
        );
        return Err(refusal::conflict(resource, name, &why));
    }
    Ok(())
}

/// Seconds until an object goes. Only a pod that is on a node and has not ended gets any.
fn grace(resource: &Resource, live: &Value, asked: Option<i64>) -> i64 {
    if resource.name() != "pods" {
        return 0;
    }
    let ended = matches!(object::at(live, "/status/phase"), Some("Succeeded" | "Failed"));
    if object::at(live, "/spec/nodeName").is_none() || ended {
        return 0;
    }
    let own = live
        .pointer("/spec/terminationGracePeriodSeconds")
        .and_then(Value::as_i64);
    match asked.or(own).unwrap_or(0) {
        negative if negative < 0 => 1,
        grace => grace,
    }
}

/// Finalizers by which dependants are waited for, or left.
fn finalizers(object: &mut Value, propagation: Option<Propagation>) {
    let (add, remove): (&[&str], &[&str]) = match propagation {
        None => return,
        Some(Propagation::Background) => (&[], &[FOREGROUND, ORPHAN]),
        Some(Propagation::Foreground) => (&[FOREGROUND], &[ORPHAN]),
        Some(Propagation::Orphan) => (&[ORPHAN], &[FOREGROUND]),
    };
    for name in remove {
        object::remove_finalizer(object, name);
    }
    for name in add {
        object::add_finalizer(object, name);
    }
}

fn mark(object: &mut Value, caller: &Caller, grace: i64) {
    let begun = object::is_deleting(object);
    let generation = object::generation(object);
    let at = caller.now + jiff::SignedDuration::from_secs(grace);
    let Some(metadata) = object::metadata(object) else {
        return;
    };
    let had_grace = metadata.contains_key("deletionGracePeriodSeconds");
    if !begun || grace > 0 {
        metadata.insert("deletionTimestamp".into(), json!(super::seconds(at)));
    }
    if !begun || had_grace {
        metadata.insert("deletionGracePeriodSeconds".into(), json!(grace));
    }
    if !begun && generation > 0 {
        metadata.insert("generation".into(), json!(generation + 1));
    }
}
