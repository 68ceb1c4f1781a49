//! Enough of a kubelet: it asks for certificates, registers its Node and reports whether it is Ready.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kok_api::names;
use kok_pki::{RequestFacts, RequestKey};
use kok_plan::machine::csr::{CLIENT_SIGNER, SERVING_SIGNER};
use kok_plan::machine::view::{CsrFacts, NodeFacts, NodeReady};

use super::host::Host;
use super::{BOOTSTRAP_CONF, CLIENT_CERTIFICATE, CNI_CONF, KUBELET_CONF, World};

impl World {
    /// What the kubelet of a host does when some time has passed.
    pub fn kubelet(&mut self, index: usize) {
        let version = self.next_version();
        let site = &mut self.sites[index];
        let host = &mut site.host;
        let name = host.hostname.clone();
        let node_ready = host.runs("kubelet.service")
            && host.runs("containerd.service")
            && host.text(CNI_CONF).is_some()
            && !host.certificate_expired;
        if let Some(node) = self.nodes.get_mut(&name) {
            let ready = match (
                host.runs("kubelet.service") && !host.certificate_expired,
                node_ready,
            ) {
                (_, true) => NodeReady::True,
                (true, false) => NodeReady::False,
                (false, false) => NodeReady::Unknown,
            };
            if node.ready != ready {
                node.ready = ready;
                node.ready_since = Some(self.now);
                node.resource_version.clone_from(&version);
            }
            node.kubelet_version
                .clone_from(&format!("v{}", linked(host, "/usr/local/bin/kubelet")));
        }
        if !host.runs("kubelet.service") {
            return;
        }
        let user = format!("system:node:{name}");
        if host.links.contains_key(CLIENT_CERTIFICATE)
            && host.text(KUBELET_CONF).is_some()
            && !host.certificate_expired
        {
            if !self.nodes.contains_key(&name) {
                let node = registered(&name, &host.machine_id, &version, self.now);
                self.nodes.insert(name.clone(), node);
            }
            let csr = format!("serving-{name}");
            if !self.decided.contains_key(&csr) && !self.requests.contains_key(&csr) {
                let mut facts = request(&csr, &version, SERVING_SIGNER, &user, "system:nodes", &user);
                let address = host.address.parse().unwrap();
                if let Ok(request) = &mut facts.request {
                    request.dns_names = vec![name.clone()];
                    request.ip_addresses = vec![address];
                }
                facts.usages = vec!["digital signature".into(), "server auth".into()];
                self.requests.insert(csr, facts);
            }
            return;
        }
        let Some(bootstrap) = host.text(BOOTSTRAP_CONF) else {
            return;
        };
        let Some(token) = self
            .tokens
            .keys()
            .find(|id| bootstrap.contains(&format!("{id}.")))
            .cloned()
        else {
            return;
        };
        // Before it has a certificate.
        host.write(KUBELET_CONF, "kubeconfig of the kubelet", 0o600);
        let csr = format!("client-{name}-{token}");
        match self.decided.get(&csr) {
            Some(true) => {
                host.links
                    .insert(CLIENT_CERTIFICATE.into(), "kubelet-client.pem".into());
                host.certificate_expired = false;
            }
            Some(false) => {}
            None => {
                let by = format!("system:bootstrap:{token}");
                let facts = request(&csr, &version, CLIENT_SIGNER, &by, names::BOOTSTRAP_GROUP, &user);
                self.requests.insert(csr, facts);
            }
        }
    }
}

fn linked(host: &Host, path: &str) -> String {
    let target = host.links.get(path).cloned().unwrap_or_default();
    target.split('/').nth(4).unwrap_or_default().into()
}

fn registered(name: &str, machine_id: &str, version: &str, now: Timestamp) -> NodeFacts {
    NodeFacts {
        name: name.into(),
        uid: format!("node-{name}-{version}"),
        resource_version: version.into(),
        deleting: false,
        ready: NodeReady::False,
        ready_since: Some(now),
        ready_message: "container runtime network not ready".into(),
        kubelet_version: String::new(),
        runtime_version: "containerd://2.4.2".into(),
        machine_id: machine_id.into(),
        pod_cidrs: vec!["10.32.1.0/24".into()],
        labels: BTreeMap::from([("kubernetes.io/hostname".into(), name.into())]),
        annotations: BTreeMap::new(),
        taints: Vec::new(),
        unschedulable: false,
    }
}

fn request(
    name: &str,
    version: &str,
    signer: &str,
    username: &str,
    group: &str,
    common_name: &str,
) -> CsrFacts {
    CsrFacts {
        name: name.into(),
        uid: format!("uid-{name}"),
        resource_version: version.into(),
        signer: signer.into(),
        username: username.into(),
        groups: vec![group.into(), "system:authenticated".into()],
        usages: vec!["digital signature".into(), "client auth".into()],
        expiration_seconds: None,
        request: Ok(RequestFacts {
            common_names: vec![common_name.into()],
            organizations: vec!["system:nodes".into()],
            other_subject_attributes: 0,
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            other_names: 0,
            key: RequestKey::Ecdsa(256),
            self_signed: true,
        }),
    }
}
