//! The operator's way to business clusters, through the gate.

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::future::BoxFuture;
use kok_cluster::connect::Connect;
use kok_cluster::etcd::EtcdCredentials;
use kok_plan::Observed;
use kok_plan::cluster::view::EtcdFacts;
use kube::Client;
use kube::config::Kubeconfig;

use crate::exchange::lock;
use crate::gate::{self, Gate, Peer};
use crate::process::Process;
use crate::world::Credentials;

/// See the module.
pub(crate) struct Wires {
    gate: Gate,
    process: Process,
    /// Where kubeconfigs lead to: reading certificates takes most of the time of a look otherwise.
    read: Mutex<BTreeMap<String, Option<Peer>>>,
}

impl Wires {
    pub(crate) fn new(gate: Gate, process: Process) -> Self {
        Self {
            gate,
            process,
            read: Mutex::default(),
        }
    }
}

impl Connect for Wires {
    fn business(&self, kubeconfig: &str) -> Option<Client> {
        let to = lock(&self.read)
            .entry(kubeconfig.to_owned())
            .or_insert_with(|| peer(kubeconfig))
            .clone()?;
        Some(self.gate.client(&self.process, to))
    }

    fn etcd<'a>(
        &'a self,
        hosts: &'a [(String, String)],
        credentials: &'a EtcdCredentials,
    ) -> BoxFuture<'a, Observed<EtcdFacts>> {
        let namespace = hosts
            .first()
            .and_then(|(_, host)| host.strip_suffix(".svc")?.split_once('.'))
            .map(|(_, namespace)| namespace.to_owned())
            .unwrap_or_default();
        Box::pin(async move {
            // It trusts the members of this CA alone, and they trust it if the same CA signed it.
            let facts = |pem: &str| kok_pki::inspect(pem).ok();
            let (ca, own) = (facts(&credentials.ca), facts(&credentials.certificate));
            let trusted = ca.zip(own).filter(|(ca, own)| own.names_issuer(ca));
            let ca = trusted.and_then(|(ca, _)| ca.subject_key_id).unwrap_or_default();
            gate::ask_etcd(&self.gate, &self.process, &namespace, hosts.to_vec(), ca).await
        })
    }
}

/// Where a kubeconfig with embedded credentials leads to.
fn peer(kubeconfig: &str) -> Option<Peer> {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).ok()?;
    let cluster = kubeconfig.clusters.first()?.cluster.as_ref()?;
    let user = kubeconfig.auth_infos.first()?.auth_info.as_ref()?;
    let address: http::Uri = cluster.server.as_deref()?.parse().ok()?;
    let ca = decoded(cluster.certificate_authority_data.as_deref()?)?;
    let certificate = decoded(user.client_certificate_data.as_deref()?)?;
    Some(Peer::Business {
        host: address.host()?.trim_matches(['[', ']']).to_owned(),
        port: address.port_u16()?,
        credentials: Box::new(Credentials::of(&ca, &certificate)?),
    })
}

fn decoded(text: &str) -> Option<String> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    String::from_utf8(bytes).ok()
}
