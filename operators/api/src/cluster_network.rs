//! The networks of a business cluster, and how clients reach its apiserver.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The business cluster's networks.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self == oldSelf").message("network is immutable: create another Cluster with the new networks and move the workload"),
    validation = Rule::new("!isCIDR(self.podCIDR) || !isCIDR(self.serviceCIDR) || !(cidr(self.podCIDR).containsCIDR(self.serviceCIDR) || cidr(self.serviceCIDR).containsCIDR(self.podCIDR))")
        .message("podCIDR and serviceCIDR overlap: choose two networks without a common address")
)]
pub struct Network {
    /// IPv4 network of the pods, for example `10.32.0.0/12`. Each node gets a /24 of it, unless
    /// `controllerManager.args` sets `node-cidr-mask-size`.
    #[serde(rename = "podCIDR")]
    #[schemars(length(max = 43))]
    #[x_kube(
        validation = Rule::new("!isCIDR(self) || cidr(self).ip().family() == 4").message("podCIDR must be an IPv4 network: IPv6 is not supported yet"),
        validation = Rule::new("isCIDR(self) && cidr(self) == cidr(self).masked()").message("podCIDR must be a network such as 10.32.0.0/12, with no host bits set"),
        validation = Rule::new("!isCIDR(self) || cidr(self).ip().family() != 4 || cidr(self).prefixLength() <= 24").message("podCIDR must be a /24 or larger: each node gets a /24 of it")
    )]
    pub pod_cidr: String,
    /// IPv4 network of the Services, for example `10.112.0.0/16`; at most 2^20 addresses. Choose one that the meta
    /// cluster does not use: an apiserver reaches its own Services from there.
    #[serde(rename = "serviceCIDR")]
    #[schemars(length(max = 43))]
    #[x_kube(
        validation = Rule::new("!isCIDR(self) || cidr(self).ip().family() == 4").message("serviceCIDR must be an IPv4 network: IPv6 is not supported yet"),
        validation = Rule::new("isCIDR(self) && cidr(self) == cidr(self).masked()").message("serviceCIDR must be a network such as 10.112.0.0/16, with no host bits set"),
        validation = Rule::new("!isCIDR(self) || cidr(self).ip().family() != 4 || (cidr(self).prefixLength() >= 12 && cidr(self).prefixLength() <= 28)").message("serviceCIDR must have 16 to 2^20 addresses: /12 to /28")
    )]
    pub service_cidr: String,
    /// DNS domain of the business cluster.
    #[serde(default = "default_dns_domain")]
    #[schemars(
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
        length(max = 120)
    )]
    pub dns_domain: String,
}

fn default_dns_domain() -> String {
    "cluster.local".into()
}

/// How clients outside the meta cluster reach the apiserver.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.type != 'NodePort' || (has(self.port) && self.port >= 30000 && self.port <= 32767)")
        .message("type NodePort needs port within 30000-32767, the meta cluster's node port range"),
    validation = Rule::new("self.type in ['ClusterIP', 'LoadBalancer'] || has(self.host)")
        .message("host is required: the name or address by which clients reach the apiserver (types ClusterIP and LoadBalancer go without)"),
    validation = Rule::new("self.type != 'DNSRoundRobin' || !has(self.host) || !isIP(self.host)")
        .message("type DNSRoundRobin needs a DNS name as host: the apiservers' addresses are published under it")
)]
pub struct Endpoint {
    /// Kind of the external Service.
    #[serde(rename = "type")]
    pub type_: EndpointType,
    /// IPv4 address or DNS name that clients use; part of the serving certificate. Absent with type LoadBalancer: what the
    /// load balancer is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        regex(
            pattern = r"^([a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)*|[0-9a-fA-F:]+)$"
        ),
        length(max = 253)
    )]
    #[x_kube(validation = Rule::new("!self.contains(':') && (!self.matches('^[0-9.]+$') || (isIP(self) && ip(self).isGlobalUnicast()))")
        .message("host must be a DNS name or an IPv4 address that other machines can reach (IPv6 is not supported yet)"))]
    pub host: Option<String>,
    /// Port that clients use. NodePort: the node port, one of the meta cluster's. Others: the Service's port, 6443 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// More names and addresses for the serving certificate.
    #[serde(default, rename = "extraSANs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(regex(pattern = r"^(\*\.)?([a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)*|[0-9a-fA-F:]+)$"), length(max = 253)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(name, !(name.contains(':') || name.matches('^[0-9.]+$')) || isIP(name))")
        .message("extraSANs must be DNS names or IP addresses"))]
    pub extra_sans: Vec<String>,
}

/// Kind of the Service by which clients outside reach the apiserver.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointType {
    /// A port on every meta node.
    NodePort,
    /// A load balancer of the meta cluster's provider.
    LoadBalancer,
    /// Only inside the meta cluster.
    ClusterIP,
    /// A headless Service; a DNS controller publishes the pods' addresses under `host`.
    DNSRoundRobin,
}
