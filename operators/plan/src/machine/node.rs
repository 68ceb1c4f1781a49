//! Labels, taints and cordon of the Node: ours are set and taken away, everybody else's are left alone.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Taint;
use kok_api::names;
use serde::Serialize;

use super::view::{MachineView, NodeFacts};

/// A change of a Node, with its resource version as precondition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodePatch {
    /// Name of the Node.
    pub name: String,
    /// Precondition.
    pub uid: String,
    /// Precondition: nobody changed it since it was seen.
    pub resource_version: String,
    /// Labels to set, and with None to take away.
    pub labels: BTreeMap<String, Option<String>>,
    /// Annotations to set, and with None to take away.
    pub annotations: BTreeMap<String, Option<String>>,
    /// All taints, others' too, when ours differ.
    pub taints: Option<Vec<Taint>>,
    /// Whether it takes no new pods, when that changes.
    pub unschedulable: Option<bool>,
}

impl NodePatch {
    fn of(node: &NodeFacts) -> Self {
        Self {
            name: node.name.clone(),
            uid: node.uid.clone(),
            resource_version: node.resource_version.clone(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            taints: None,
            unschedulable: None,
        }
    }

    fn is_empty(&self) -> bool {
        self.labels.is_empty()
            && self.annotations.is_empty()
            && self.taints.is_none()
            && self.unschedulable.is_none()
    }
}

/// What brings labels and taints of the Node to what the Machine declares; None when they are.
pub(super) fn declared(view: &MachineView, node: &NodeFacts) -> Option<NodePatch> {
    let mut patch = NodePatch::of(node);
    let wanted = labels(view);
    let owned = listed(node, names::OWNED_LABELS);
    let changed = wanted
        .iter()
        .filter(|(key, value)| node.labels.get(*key) != Some(value));
    patch
        .labels
        .extend(changed.map(|(key, value)| (key.clone(), Some(value.clone()))));
    let dropped = owned
        .iter()
        .filter(|key| !wanted.contains_key(*key) && node.labels.contains_key(*key));
    patch.labels.extend(dropped.map(|key| (key.clone(), None)));
    note(&mut patch, node, names::OWNED_LABELS, wanted.keys().cloned());

    let taints = taints(view);
    let all = merged_taints(node, &taints);
    if all != node.taints {
        patch.taints = Some(all);
    }
    note(&mut patch, node, names::OWNED_TAINTS, taints.iter().map(identity));
    (!patch.is_empty()).then_some(patch)
}

fn labels(view: &MachineView) -> BTreeMap<String, String> {
    let mut labels = view.spec().labels.clone();
    labels.insert(names::MACHINE_LABEL.into(), view.name().into());
    if let Some(idc) = &view.spec().idc {
        labels.insert(names::IDC_LABEL.into(), idc.clone());
    }
    labels
}

fn taints(view: &MachineView) -> Vec<Taint> {
    let declared = view.spec().taints.iter();
    declared
        .map(|taint| Taint {
            key: taint.key.clone(),
            value: taint.value.clone(),
            effect: taint.effect.as_str().into(),
            time_added: None,
        })
        .collect()
}

/// Others' taints as they are, then ours.
fn merged_taints(node: &NodeFacts, wanted: &[Taint]) -> Vec<Taint> {
    let owned = listed(node, names::OWNED_TAINTS);
    let wanted_ids: Vec<String> = wanted.iter().map(identity).collect();
    let same = |one: &Taint, other: &Taint| {
        identity(one) == identity(other)
            && one.value.as_deref().unwrap_or_default() == other.value.as_deref().unwrap_or_default()
    };
    let mut all: Vec<Taint> = node
        .taints
        .iter()
        .filter(|taint| {
            let id = identity(taint);
            let kept = !owned.contains(&id) && !wanted_ids.contains(&id);
            kept || wanted.iter().any(|own| same(own, taint))
        })
        .cloned()
        .collect();
    let missing: Vec<Taint> = wanted
        .iter()
        .filter(|own| !all.iter().any(|taint| same(own, taint)))
        .cloned()
        .collect();
    all.extend(missing);
    all
}

fn identity(taint: &Taint) -> String {
    format!("{}:{}", taint.key, taint.effect)
}

/// Names in an annotation, between commas.
fn listed(node: &NodeFacts, annotation: &str) -> BTreeSet<String> {
    let text = node
        .annotations
        .get(annotation)
        .map(String::as_str)
        .unwrap_or_default();
    text.split(',')
        .filter(|it| !it.is_empty())
        .map(Into::into)
        .collect()
}

fn note(patch: &mut NodePatch, node: &NodeFacts, annotation: &str, names: impl Iterator<Item = String>) {
    let names: BTreeSet<String> = names.collect();
    let text = names.into_iter().collect::<Vec<_>>().join(",");
    let before = node
        .annotations
        .get(annotation)
        .map(String::as_str)
        .unwrap_or_default();
    if before != text {
        let value = (!text.is_empty()).then_some(text);
        patch.annotations.insert(annotation.into(), value);
    }
}

/// Whether we cordoned the Node.
pub(super) fn cordoned_by_us(node: &NodeFacts) -> bool {
    node.annotations.contains_key(names::CORDONED)
}

/// Keeps new pods from the Node. A Node that somebody else cordoned stays theirs.
pub(super) fn cordon(node: &NodeFacts) -> Option<NodePatch> {
    (!node.unschedulable).then(|| {
        let mut patch = NodePatch::of(node);
        patch.unschedulable = Some(true);
        patch
            .annotations
            .insert(names::CORDONED.into(), Some("true".into()));
        patch
    })
}

/// Lets new pods come again, if it was us who kept them away.
pub(super) fn uncordon(node: &NodeFacts) -> Option<NodePatch> {
    cordoned_by_us(node).then(|| {
        let mut patch = NodePatch::of(node);
        patch.unschedulable = node.unschedulable.then_some(false);
        patch.annotations.insert(names::CORDONED.into(), None);
        patch
    })
}
