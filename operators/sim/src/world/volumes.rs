//! Claims are bound to volumes, and stay while a pod uses them.

use serde_json::{Value, json};

use super::{Scene, deleting, text};
use crate::time::Millis;

const CLAIMS: &str = "persistentvolumeclaims";
const PROTECTION: &str = "kubernetes.io/pvc-protection";
const BINDING_TAKES: Millis = 120;

pub(super) fn step(scene: &mut Scene<'_>) {
    let claims: Vec<_> = scene.objects.all(CLAIMS).collect();
    for (key, claim) in claims {
        let in_use = scene
            .objects
            .all("pods")
            .filter(|(pod, _)| pod.namespace == key.namespace)
            .any(|(_, pod)| claims_of(pod).any(|name| name == key.name));
        let protected = claim
            .pointer("/metadata/finalizers")
            .and_then(Value::as_array)
            .is_some_and(|names| names.iter().any(|name| name == PROTECTION));
        let wanted = !deleting(claim) || in_use;
        if protected && !wanted {
            let _ = scene.server.update("pvc-protection-controller", key, |claim| {
                if let Some(names) = claim
                    .pointer_mut("/metadata/finalizers")
                    .and_then(Value::as_array_mut)
                {
                    names.retain(|name| name != PROTECTION);
                }
            });
            continue;
        }
        if !protected && !deleting(claim) {
            let _ = scene.server.update("pvc-protection-controller", key, |claim| {
                claim["metadata"]["finalizers"] = json!([PROTECTION]);
            });
        }
        if text(claim, "/status/phase") != "Bound" && scene.class_exists(claim) && !scene.trouble.no_volumes {
            let created = scene.objects.born(claim);
            if scene.is_due(created + BINDING_TAKES) {
                let size = claim.pointer("/spec/resources/requests/storage").cloned();
                let _ = scene.server.update_status("volume-controller", key, |claim| {
                    claim["status"] = json!({
                        "phase": "Bound",
                        "accessModes": claim["spec"]["accessModes"],
                        "capacity": {"storage": size},
                    });
                });
            }
        }
    }
}

/// Names of the claims that a pod uses.
pub(super) fn claims_of(pod: &Value) -> impl Iterator<Item = &str> {
    pod.pointer("/spec/volumes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|volume| volume.pointer("/persistentVolumeClaim/claimName")?.as_str())
}

impl Scene<'_> {
    fn class_exists(&self, claim: &Value) -> bool {
        let mut classes = self.objects.all("storageclasses.storage.k8s.io");
        match claim.pointer("/spec/storageClassName").and_then(Value::as_str) {
            Some(name) => classes.any(|(key, _)| key.name == name),
            None => classes.next().is_some(),
        }
    }
}
