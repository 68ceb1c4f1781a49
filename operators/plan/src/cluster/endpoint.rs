//! Names, addresses and ports of a control plane.

use std::net::IpAddr;

use kok_api::cluster::{ClusterSpec, EndpointType};

use super::view::ClusterView;
use crate::kind::SERVICE;

/// Name of the Service by which clients outside reach the apiserver.
pub const EXTERNAL_SERVICE: &str = "apiserver-external";

/// Names, addresses and ports of a control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Namespace of the control plane.
    pub namespace: String,
    /// Port that the apiserver listens on, which is the one that clients outside use: the endpoints of Service
    /// `kubernetes` inside the business cluster then are the external ones.
    pub port: i32,
    /// URL inside the meta cluster.
    pub internal_url: String,
    /// Names of the apiserver inside the meta cluster.
    pub internal_names: Vec<String>,
    /// Host by which clients outside reach the apiserver.
    pub external_host: String,
    /// URL by which clients outside reach the apiserver.
    pub external_url: String,
    /// Address that the apiservers share, which Service `kubernetes` of the business cluster then leads to. None when
    /// clients use a name: each apiserver then publishes its own address.
    pub shared_ip: Option<IpAddr>,
    /// Address that the meta cluster gave the external Service.
    pub assigned: Option<IpAddr>,
}

impl Endpoints {
    /// The endpoints that follow from a spec and from what the meta cluster assigned.
    pub fn of(spec: &ClusterSpec, view: &ClusterView) -> Self {
        let namespace = view.namespace_name();
        let port = spec.endpoint.port.unwrap_or(6443);
        let external = view.object(SERVICE, EXTERNAL_SERVICE);
        let assigned = external
            .and_then(|service| match spec.endpoint.type_ {
                EndpointType::ClusterIP => service.text("/spec/clusterIP"),
                EndpointType::LoadBalancer => service.text("/status/loadBalancer/ingress/0/ip"),
                EndpointType::NodePort | EndpointType::DNSRoundRobin => None,
            })
            .and_then(|address| address.parse().ok());
        let external_host = spec
            .endpoint
            .host
            .clone()
            .unwrap_or_else(|| format!("apiserver-external.{namespace}.svc"));
        let bracketed = if external_host.contains(':') {
            format!("[{external_host}]")
        } else {
            external_host.clone()
        };
        Self {
            port,
            internal_url: format!("https://apiserver.{namespace}.svc:{port}"),
            internal_names: vec![
                format!("apiserver.{namespace}.svc"),
                format!("apiserver-external.{namespace}.svc"),
            ],
            external_url: format!("https://{bracketed}:{port}"),
            shared_ip: external_host
                .parse()
                .ok()
                .filter(|_| spec.endpoint.type_ != EndpointType::DNSRoundRobin),
            external_host,
            assigned,
            namespace,
        }
    }

    /// Name by which an etcd member is reached.
    pub fn etcd_host(&self, member: &str) -> String {
        format!("{member}.{}.svc", self.namespace)
    }
}
