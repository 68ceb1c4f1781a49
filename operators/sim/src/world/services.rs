//! Addresses of Services, and which control plane answers behind an address.

use serde_json::{Value, json};

use super::{Mirror, Scene, number, text};
use crate::time::Millis;

const EXTERNAL: &str = "apiserver-external";
const BALANCING_TAKES: Millis = 700;

pub(super) fn step(scene: &mut Scene<'_>) {
    let services: Vec<_> = scene.objects.all("services").collect();
    for (index, (key, service)) in services.into_iter().enumerate() {
        let balanced = service.pointer("/status/loadBalancer/ingress").is_some();
        if text(service, "/spec/type") != "LoadBalancer" || balanced {
            continue;
        }
        let created = scene.objects.born(service);
        if scene.is_due(created + BALANCING_TAKES) {
            let address = format!("10.88.0.{}", index % 250 + 1);
            let _ = scene.server.update_status("cloud-controller", key, |service| {
                service["status"]["loadBalancer"]["ingress"] = json!([{"ip": address}]);
            });
        }
    }
}

/// The namespace of the control plane that answers at `host:port`.
pub(super) fn behind(objects: &Mirror, host: &str, port: u16) -> Option<String> {
    // A name inside the meta cluster: <service>.<namespace>.svc.
    if let Some((service, namespace)) = host.strip_suffix(".svc").and_then(|name| name.split_once('.')) {
        let service = objects.get("services", Some(namespace), service)?;
        return serves(service, port).then(|| namespace.to_owned());
    }
    objects
        .all("services")
        .filter(|(key, _)| key.name == EXTERNAL)
        .find(|(key, service)| answers_at(objects, key.namespace.as_deref(), service, host, port))
        .and_then(|(key, _)| key.namespace.clone())
}

fn serves(service: &Value, port: u16) -> bool {
    number(service, "/spec/ports/0/port") == i64::from(port)
}

fn answers_at(objects: &Mirror, namespace: Option<&str>, service: &Value, host: &str, port: u16) -> bool {
    let declared = || {
        objects.all("clusters.kubeonkube.io").any(|(key, cluster)| {
            namespace == Some(kok_api::names::cluster_namespace(&key.name).as_str())
                && text(cluster, "/spec/endpoint/host") == host
        })
    };
    match text(service, "/spec/type") {
        // Every node answers.
        "NodePort" => number(service, "/spec/ports/0/nodePort") == i64::from(port),
        "LoadBalancer" => {
            let address = text(service, "/status/loadBalancer/ingress/0/ip");
            serves(service, port) && !address.is_empty() && (address == host || declared())
        }
        _ if text(service, "/spec/clusterIP") == "None" => serves(service, port) && declared(),
        _ => serves(service, port) && text(service, "/spec/clusterIP") == host,
    }
}
