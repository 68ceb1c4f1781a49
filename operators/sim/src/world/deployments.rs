//! The Deployment controller: as many pods of the newest template as asked for, exchanged one by one without a gap
//! (`maxSurge: 1, maxUnavailable: 0`). It makes pods itself; nothing here looks at ReplicaSets.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Scene, deleting, number, text, uid};
use crate::api::Key;

const ACTOR: &str = "deployment-controller";
const REVISION: &str = "sim.kubeonkube.io/revision";

/// See the module.
#[derive(Default)]
pub(super) struct Deployments {
    /// By uid.
    known: BTreeMap<String, Rollout>,
}

#[derive(Default)]
struct Rollout {
    /// The newest pod template and its number.
    template: Value,
    revision: u64,
    /// Pods made so far: part of the next one's name.
    made: u64,
}

struct Replica<'a> {
    key: &'a Key,
    current: bool,
    ready: bool,
    /// Number in its name: the youngest go first when there are too many.
    born: u64,
}

impl Deployments {
    pub(super) fn step(&mut self, scene: &mut Scene<'_>) {
        let deployments: Vec<_> = scene.objects.all("deployments.apps").collect();
        self.known
            .retain(|known, _| deployments.iter().any(|(_, deployment)| uid(deployment) == known));
        for (key, deployment) in deployments {
            if !deleting(deployment) {
                self.known
                    .entry(uid(deployment).to_owned())
                    .or_default()
                    .step(scene, key, deployment);
            }
        }
    }
}

impl Rollout {
    fn step(&mut self, scene: &mut Scene<'_>, key: &Key, deployment: &Value) {
        let template = &deployment["spec"]["template"];
        if &self.template != template {
            self.template = template.clone();
            self.revision += 1;
        }
        let replicas = self.replicas(scene, key, deployment);
        let wanted = usize::try_from(number(deployment, "/spec/replicas")).unwrap_or_default();
        let current = replicas.iter().filter(|replica| replica.current).count();
        let surge = usize::from(current < replicas.len());
        if current < wanted && replicas.len() < wanted + surge.max(1) {
            for _ in 0..(wanted - current).min(wanted + surge - replicas.len()) {
                self.make_pod(scene, key, deployment);
            }
        } else if let Some(surplus) = surplus(&replicas, wanted) {
            let _ = scene.server.delete(ACTOR, surplus);
        }
        report(scene, key, deployment, &replicas);
    }

    fn replicas<'a>(&self, scene: &Scene<'a>, key: &'a Key, deployment: &Value) -> Vec<Replica<'a>> {
        let namespace = key.namespace.as_deref().unwrap_or_default();
        scene
            .objects
            .within("pods", namespace)
            .filter(|(_, pod)| !deleting(pod) && owned_by(pod, uid(deployment)))
            .map(|(key, pod)| Replica {
                key,
                current: text(pod, "/metadata/annotations/sim.kubeonkube.io~1revision")
                    == self.revision.to_string(),
                ready: super::pods::is_ready(pod),
                born: key
                    .name
                    .rsplit_once('-')
                    .and_then(|(_, number)| number.parse().ok())
                    .unwrap_or_default(),
            })
            .collect()
    }

    fn make_pod(&mut self, scene: &mut Scene<'_>, key: &Key, deployment: &Value) {
        self.made += 1;
        let mut pod = self.template.clone();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!(format!("{}-{}", key.name, self.made));
        pod["metadata"]["namespace"] = json!(key.namespace);
        pod["metadata"]["annotations"][REVISION] = json!(self.revision.to_string());
        pod["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "apps/v1", "kind": "Deployment", "name": key.name, "uid": uid(deployment),
            "controller": true, "blockOwnerDeletion": true,
        }]);
        // Refused while the namespace terminates.
        let _ = scene.server.create(ACTOR, pod);
    }
}

fn owned_by(pod: &Value, owner: &str) -> bool {
    text(pod, "/metadata/ownerReferences/0/uid") == owner
}

/// A pod that is too many: of an old template when enough others are ready, or one of more than are wanted.
fn surplus<'a>(replicas: &[Replica<'a>], wanted: usize) -> Option<&'a Key> {
    let ready = replicas.iter().filter(|replica| replica.ready).count();
    let outdated = replicas.iter().filter(|replica| !replica.current);
    let unready = outdated.clone().find(|replica| !replica.ready);
    let exchanged = outdated
        .min_by_key(|replica| replica.born)
        .filter(|_| ready > wanted);
    let excess = || {
        let current = replicas.iter().filter(|replica| replica.current);
        current
            .clone()
            .max_by_key(|replica| (!replica.ready, replica.born))
            .filter(|_| current.count() > wanted)
    };
    unready.or(exchanged).or_else(excess).map(|replica| replica.key)
}

fn report(scene: &mut Scene<'_>, key: &Key, deployment: &Value, replicas: &[Replica<'_>]) {
    let ready = replicas.iter().filter(|replica| replica.ready).count();
    let updated = replicas.iter().filter(|replica| replica.current).count();
    let enough = i64::try_from(ready).unwrap_or(i64::MAX) >= number(deployment, "/spec/replicas");
    let count = |count: usize| (count > 0).then_some(count);
    let status = json!({
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": count(replicas.len()),
        "updatedReplicas": count(updated),
        "readyReplicas": count(ready),
        "availableReplicas": count(ready),
        "conditions": [{"type": "Available", "status": if enough { "True" } else { "False" }}],
    });
    let Value::Object(status) = status else { return };
    let status: Value = status.into_iter().filter(|(_, value)| !value.is_null()).collect();
    if deployment.get("status") != Some(&status) {
        let _ = scene
            .server
            .update_status(ACTOR, key, |deployment| deployment["status"] = status);
    }
}
