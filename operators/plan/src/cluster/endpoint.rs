//! Names, addresses and ports of a control plane.

use std::net::{IpAddr, Ipv4Addr};

use kok_api::cluster::{ClusterSpec, EndpointType};

use super::gate::{Gate, GateReason};
use super::view::ClusterView;
use crate::kind::SERVICE;
use crate::object::Live;

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
    /// Address or name that the meta cluster gave the external Service.
    pub assigned: Option<String>,
}

impl Endpoints {
    /// The endpoints that follow from a spec and from what the meta cluster assigned.
    pub fn of(spec: &ClusterSpec, view: &ClusterView) -> Self {
        let namespace = view.namespace_name();
        let port = spec.endpoint.port.unwrap_or(6443);
        let internal_names = vec![format!("apiserver.{namespace}.svc"), external_name(view)];
        let external_host = external_host(spec, view).unwrap_or_else(|| external_name(view));
        Self {
            port,
            internal_url: format!("https://apiserver.{namespace}.svc:{port}"),
            internal_names,
            external_url: format!("https://{external_host}:{port}"),
            shared_ip: external_host
                .parse()
                .ok()
                .filter(|_| spec.endpoint.type_ != EndpointType::DNSRoundRobin),
            external_host,
            assigned: assigned(spec, view).map(String::from),
            namespace,
        }
    }

    /// Name by which an etcd member is reached.
    pub fn etcd_host(&self, member: &str) -> String {
        format!("{member}.{}.svc", self.namespace)
    }
}

/// Why certificates, flags and kubeconfigs cannot be made yet: they name the load balancer's address.
pub fn pending(spec: &ClusterSpec, view: &ClusterView) -> Option<Gate> {
    external_host(spec, view).is_none().then(|| Gate {
        reason: GateReason::WaitingForLoadBalancer,
        message: format!(
            "Service {EXTERNAL_SERVICE} has no address yet: the meta cluster's load balancer gives it one; if it has none, use another spec.endpoint.type"
        ),
    })
}

/// Host by which clients outside reach the apiserver; None while the load balancer that decides it has not.
fn external_host(spec: &ClusterSpec, view: &ClusterView) -> Option<String> {
    match (&spec.endpoint.host, spec.endpoint.type_) {
        (Some(host), _) => Some(host.clone()),
        // A Service that was made again has no address for a while; the last one stays until then.
        (None, EndpointType::LoadBalancer) => {
            assigned(spec, view).or_else(|| recorded(view)).map(String::from)
        }
        (None, _) => Some(external_name(view)),
    }
}

/// Name of the external Service inside the meta cluster.
fn external_name(view: &ClusterView) -> String {
    format!("{EXTERNAL_SERVICE}.{}.svc", view.namespace_name())
}

/// What the meta cluster gave the external Service.
fn assigned<'a>(spec: &ClusterSpec, view: &'a ClusterView) -> Option<&'a str> {
    let service = view.object(SERVICE, EXTERNAL_SERVICE)?;
    match spec.endpoint.type_ {
        EndpointType::ClusterIP => service
            .text("/spec/clusterIP")
            .filter(|address| address.parse::<IpAddr>().is_ok()),
        EndpointType::LoadBalancer => balanced(service),
        EndpointType::NodePort | EndpointType::DNSRoundRobin => None,
    }
}

/// The first IPv4 address of a Service's load balancer, or else its name.
fn balanced(service: &Live) -> Option<&str> {
    let ingress = service.body.pointer("/status/loadBalancer/ingress")?.as_array()?;
    let given = |field: &'static str| ingress.iter().filter_map(move |entry| entry.get(field)?.as_str());
    let address = given("ip").find(|address| address.parse::<Ipv4Addr>().is_ok());
    address.or_else(|| given("hostname").next())
}

/// The host of the URL in the Cluster's status.
fn recorded(view: &ClusterView) -> Option<&str> {
    let url = view.cluster.status.as_ref()?.endpoint.as_deref()?;
    let (host, _) = url.strip_prefix("https://")?.rsplit_once(':')?;
    Some(host)
}
