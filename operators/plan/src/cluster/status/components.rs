//! The control plane's components: how many replicas are ready, and what keeps the others.

use kok_api::cluster::ComponentStatus;
use kok_api::condition::ClusterCondition as Type;
use kok_api::names;
use serde_json::Value;

use super::super::manifests::{APISERVER, CONTROLLER_MANAGER, ETCD, SCHEDULER};
use super::super::view::ClusterView;
use super::super::{pod_ready, rolled_out};
use super::condition::{Fact, fact};
use super::{Inputs, Reason, etcd, pods};
use crate::kind::{DEPLOYMENT, POD};
use crate::object::Live;

/// A component as the status shows it.
pub(super) struct Component {
    pub(super) status: ComponentStatus,
    /// Whether something is wrong with it, rather than on its way.
    pub(super) ails: bool,
}

impl Component {
    /// Whether all of it is ready and up to date.
    pub(super) fn is_up(&self) -> bool {
        self.status.message.is_empty()
    }
}

/// etcd, then the Deployments.
pub(super) fn components(inputs: &Inputs<'_>) -> Vec<Component> {
    let spec = inputs.spec;
    let replicas = i32::from(spec.mode.replicas());
    let deployments = [
        (
            APISERVER,
            &spec.apiserver.version,
            spec.apiserver.replicas.unwrap_or(replicas),
        ),
        (CONTROLLER_MANAGER, &spec.controller_manager.version, replicas),
        (SCHEDULER, &spec.scheduler.version, replicas),
    ];
    let mut components = vec![etcd_members(inputs)];
    components.extend(
        deployments
            .into_iter()
            .map(|(name, own, desired)| deployment(inputs, name, own.as_ref(), desired)),
    );
    components
}

/// The pods of a component.
pub(super) fn pods_of<'a>(view: &'a ClusterView, component: &str) -> impl Iterator<Item = &'a Live> {
    view.objects
        .iter()
        .filter(move |(key, live)| key.kind == POD && live.label(names::COMPONENT_LABEL) == Some(component))
        .map(|(_, live)| live)
}

fn etcd_members(inputs: &Inputs<'_>) -> Component {
    let desired = i32::from(inputs.spec.mode.replicas());
    let silent = etcd::silent(inputs);
    let now = inputs.view.now;
    Component {
        ails: silent.iter().any(|name| match inputs.view.object(POD, name) {
            Some(pod) => pods::trouble(pod, now).is_some(),
            None => false,
        }),
        status: ComponentStatus {
            name: ETCD.into(),
            version: inputs.spec.etcd.version.clone(),
            desired,
            ready: desired - i32::try_from(silent.len()).unwrap_or(desired),
            message: if silent.is_empty() {
                String::new()
            } else {
                etcd::waiting(inputs, &silent)
            },
        },
    }
}

fn deployment(inputs: &Inputs<'_>, name: &str, own: Option<&String>, desired: i32) -> Component {
    let planned = inputs
        .draft
        .components
        .iter()
        .find(|component| component.name == name);
    let version = planned
        .map(|component| &component.version)
        .or(own)
        .unwrap_or(&inputs.spec.version);
    let mut status = ComponentStatus {
        name: name.into(),
        version: version.clone(),
        desired,
        ready: 0,
        message: String::new(),
    };
    let Some(live) = inputs.view.object(DEPLOYMENT, name) else {
        status.message = format!("Deployment {name} is not created yet");
        return Component { status, ails: false };
    };
    let ready = live
        .number("/status/readyReplicas")
        .min(live.number("/status/updatedReplicas"));
    status.ready = i32::try_from(ready).unwrap_or(i32::MAX);
    if rolled_out(live) && ready >= i64::from(desired) {
        return Component { status, ails: false };
    }
    // What has ended is replaced by the Deployment.
    let waiting = pods_of(inputs.view, name)
        .filter(|pod| !pod_ready(pod) && !matches!(pod.text("/status/phase"), Some("Failed" | "Succeeded")));
    let mut troubles = pods::troubles(waiting, inputs.view.now);
    troubles.extend(deployment_trouble(live).map(String::from));
    status.message = format!("{ready} of {desired} replicas are ready and up to date");
    for trouble in &troubles {
        status.message += "; ";
        status.message += trouble;
    }
    Component {
        status,
        ails: !troubles.is_empty(),
    }
}

/// What the Deployment itself says: its pods are refused, or it waits too long for them.
fn deployment_trouble(live: &Live) -> Option<&str> {
    let conditions = live.body.pointer("/status/conditions")?.as_array()?;
    let text = |condition: &'_ Value, field: &str| -> Option<String> {
        condition.get(field)?.as_str().map(String::from)
    };
    conditions
        .iter()
        .find(|condition| {
            let pair = (text(condition, "type"), text(condition, "status"));
            matches!(
                (pair.0.as_deref(), pair.1.as_deref()),
                (Some("ReplicaFailure"), Some("True")) | (Some("Progressing"), Some("False"))
            )
        })?
        .get("message")?
        .as_str()
}

/// The condition about these components.
pub(super) fn fact_of(type_: Type, components: &[Component], names: &[&str]) -> Fact {
    let waiting: Vec<String> = components
        .iter()
        .filter(|component| names.contains(&component.status.name.as_str()) && !component.is_up())
        .map(|component| format!("{}: {}", component.status.name, component.status.message))
        .collect();
    if waiting.is_empty() {
        fact(
            type_,
            true,
            Reason::AllReplicasReady,
            "all replicas are ready and up to date",
        )
    } else {
        fact(type_, false, Reason::ReplicasMissing, waiting.join("; "))
    }
}
