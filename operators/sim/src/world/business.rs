//! Business clusters: an apiserver process answers clients whom it trusts and who trust it, from what its etcd holds.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kok_pki::CertFacts;
use serde_json::{Value, json};

use super::{Mirror, label, uid};
use crate::api::{ApiServer, Clock, Key};
use crate::time::Millis;

/// What an etcd cluster holds for its apiservers, and the controllers inside.
pub(super) struct Business {
    pub(super) server: ApiServer,
    mirror: Mirror,
}

/// A process of kube-apiserver, with the files that it was started with.
pub(super) struct Apiserver {
    pub(super) version: String,
    /// Identifier of etcd's CA that it trusts.
    pub(super) etcd_ca: String,
    ca: CertFacts,
    serving: CertFacts,
}

/// Who a client is and whom it trusts.
#[derive(Clone)]
pub struct Credentials {
    /// The CA that it trusts.
    pub ca: CertFacts,
    /// Its own certificate.
    pub certificate: CertFacts,
}

/// What comes back from an address.
pub enum Answer {
    /// An apiserver.
    Server {
        /// What it serves.
        server: ApiServer,
        /// Its version.
        version: String,
    },
    /// Nobody, and what the connection says.
    Nobody(String),
    /// It does not know the client.
    Unauthorized,
}

impl Apiserver {
    /// Starts with what is mounted now; None when a file cannot be read.
    pub(super) fn start(objects: &Mirror, pod: &Key, image: &str) -> Option<Self> {
        let namespace = pod.namespace.as_deref();
        let certificate = |secret: &str| {
            let secret = objects.get("secrets", namespace, secret)?;
            kok_pki::inspect(&pem(secret, "tls.crt")?).ok()
        };
        let etcd_ca = certificate("etcd-ca")?;
        // It would not be let in by etcd otherwise.
        let own = certificate("apiserver-etcd-client").filter(|own| own.names_issuer(&etcd_ca))?;
        Some(Self {
            version: version_of(image),
            etcd_ca: own.authority_key_id?,
            ca: certificate("ca")?,
            serving: certificate("apiserver")?,
        })
    }
}

impl Credentials {
    /// Of a kubeconfig that carries everything in it.
    pub fn of(ca: &str, certificate: &str) -> Option<Self> {
        Some(Self {
            ca: kok_pki::inspect(ca).ok()?,
            certificate: kok_pki::inspect(certificate).ok()?,
        })
    }

    pub(super) fn accepted_by(
        &self,
        apiserver: &Apiserver,
        host: &str,
        now: Timestamp,
    ) -> Result<(), Answer> {
        let serving = &apiserver.serving;
        let named = match host.parse() {
            Ok(address) => serving.ip_addresses.contains(&address),
            Err(_) => serving.dns_names.iter().any(|name| name == host),
        };
        let valid = |certificate: &CertFacts| certificate.not_before <= now && now <= certificate.not_after;
        if !serving.names_issuer(&self.ca) || !valid(serving) {
            return Err(Answer::Nobody("invalid peer certificate: UnknownIssuer".into()));
        }
        if !named {
            return Err(Answer::Nobody(format!(
                "invalid peer certificate: not valid for name {host}"
            )));
        }
        if !self.certificate.names_issuer(&apiserver.ca) || !valid(&self.certificate) {
            return Err(Answer::Unauthorized);
        }
        Ok(())
    }
}

impl Business {
    /// What the very first apiserver of an etcd cluster makes.
    pub(super) fn new(clock: Clock) -> Self {
        let server = ApiServer::new(clock);
        let kubernetes = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "kubernetes", "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"}},
            "spec": {"ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}]},
        });
        let _ = server.create("kube-apiserver", kubernetes);
        Self {
            server,
            mirror: Mirror::default(),
        }
    }

    pub(super) fn has_news(&self) -> bool {
        self.server.revision() != self.mirror.revision()
    }

    /// The endpoints controller: it copies the labels of a Service to what it makes.
    pub(super) fn step(&mut self, now: Millis) {
        if !self.mirror.sync(&self.server, now) {
            return;
        }
        for (key, service) in self.mirror.all("services") {
            let name = format!("{}-sim", key.name);
            let known = self
                .mirror
                .get("endpointslices.discovery.k8s.io", key.namespace.as_deref(), &name);
            if service.pointer("/spec/selector").is_none() || known.is_some() {
                continue;
            }
            let mut labels: BTreeMap<String, Value> = service
                .pointer("/metadata/labels")
                .and_then(Value::as_object)
                .map(|labels| labels.clone().into_iter().collect())
                .unwrap_or_default();
            labels.insert("kubernetes.io/service-name".into(), json!(key.name));
            let slice = json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": name, "namespace": key.namespace, "labels": labels, "ownerReferences": [{
                    "apiVersion": "v1", "kind": "Service", "name": key.name, "uid": uid(service),
                    "controller": true, "blockOwnerDeletion": true,
                }]},
                "addressType": "IPv4", "endpoints": [], "ports": [],
            });
            let _ = self.server.create("endpointslice-controller", slice);
            let endpoints = json!({
                "apiVersion": "v1", "kind": "Endpoints",
                "metadata": {"name": key.name, "namespace": key.namespace,
                    "labels": service.pointer("/metadata/labels")},
            });
            let _ = self.server.create("endpoint-controller", endpoints);
        }
        // Endpoints have no owner; their controller removes them with their Service.
        for (key, endpoints) in self.mirror.all("endpoints") {
            let service = self.mirror.get("services", key.namespace.as_deref(), &key.name);
            if service.is_none() && label(endpoints, "k8s-app") == "kube-dns" {
                let _ = self.server.delete("endpoint-controller", key);
            }
        }
    }
}

/// A value of a Secret, decoded.
pub(super) fn pem(secret: &Value, name: &str) -> Option<String> {
    use base64::Engine;
    let encoded = secret.get("data")?.get(name)?.as_str()?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
    String::from_utf8(decoded).ok()
}

/// Identifier of the CA in a Secret with a certificate and its CA.
pub(super) fn ca_of(secret: &Value) -> Option<String> {
    let ca = kok_pki::inspect(&pem(secret, "ca.crt")?).ok()?;
    let own = kok_pki::inspect(&pem(secret, "tls.crt")?).ok()?;
    own.names_issuer(&ca).then_some(ca.subject_key_id).flatten()
}

/// Version in the tag of an image: `v1.36.3` or `3.6.14-0`.
pub(super) fn version_of(image: &str) -> String {
    let tag = image.rsplit_once(':').map(|(_, tag)| tag).unwrap_or_default();
    let tag = tag.strip_prefix('v').unwrap_or(tag);
    tag.strip_suffix("-0").unwrap_or(tag).to_owned()
}
