//! Services: defaults, addresses and node ports.

use std::collections::BTreeSet;

use kube::core::Status;
use serde_json::{Value, json};

use super::refusal::FieldError;
use super::resource::Resource;
use super::state::State;
use super::{object, refusal};

/// First node port, and the one after the last.
const NODE_PORTS: std::ops::Range<i64> = 30000..32768;

/// Defaults that depend on other fields.
pub(super) fn derive(service: &mut Value) {
    let Some(spec) = service.get_mut("spec") else {
        return;
    };
    let type_ = spec
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        if port.get("targetPort").is_none_or(Value::is_null) {
            port["targetPort"] = port["port"].clone();
        }
    }
    if has_node_ports(&type_) && spec.get("externalTrafficPolicy").is_none() {
        spec["externalTrafficPolicy"] = json!("Cluster");
    }
    if type_ != "ExternalName" && spec.get("internalTrafficPolicy").is_none() {
        spec["internalTrafficPolicy"] = json!("Cluster");
    }
    if type_ == "LoadBalancer" && spec.get("allocateLoadBalancerNodePorts").is_none() {
        spec["allocateLoadBalancerNodePorts"] = json!(true);
    }
}

fn has_node_ports(type_: &str) -> bool {
    matches!(type_, "NodePort" | "LoadBalancer")
}

impl State {
    /// Gives a Service its addresses and node ports, or refuses those that it asks for.
    pub(super) fn admit_service(
        &self,
        resource: &Resource,
        old: Option<&Value>,
        service: &mut Value,
    ) -> Result<(), Status> {
        let name = object::name(service).to_owned();
        let refuse = |error: FieldError| Err(refusal::invalid(resource, &name, &[error]));
        let uid = old.map(object::uid).unwrap_or_default();
        let others: Vec<&Value> = self
            .list("services", None)
            .map(|(_, other)| &**other)
            .filter(|other| uid.is_empty() || object::uid(other) != uid)
            .collect();
        let type_ = object::at(service, "/spec/type")
            .unwrap_or("ClusterIP")
            .to_owned();
        keep(old, service, &type_);
        if type_ == "ExternalName" {
            return Ok(());
        }
        let taken: BTreeSet<&str> = others
            .iter()
            .filter_map(|it| object::at(it, "/spec/clusterIP"))
            .collect();
        let address = match object::at(service, "/spec/clusterIP") {
            Some("None") => "None".to_owned(),
            Some(wanted) if !wanted.is_empty() => {
                if taken.contains(wanted) {
                    let why = format!("failed to allocate IP {wanted}: provided IP is already allocated");
                    return refuse(FieldError::invalid(
                        "spec.clusterIPs",
                        &format!("[{wanted:?}]"),
                        &why,
                    ));
                }
                wanted.to_owned()
            }
            _ => free_address(&taken),
        };
        let spec = &mut service["spec"];
        spec["clusterIP"] = json!(address);
        spec["clusterIPs"] = json!([address]);
        spec["ipFamilies"] = json!(["IPv4"]);
        spec["ipFamilyPolicy"] = json!("SingleStack");
        let mut used: BTreeSet<i64> = others.iter().flat_map(|other| node_ports(other)).collect();
        let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
        for (index, port) in ports.into_iter().flatten().enumerate() {
            let path = format!("spec.ports[{index}].nodePort");
            let wanted = port
                .get("nodePort")
                .and_then(Value::as_i64)
                .filter(|port| *port != 0);
            if !has_node_ports(&type_) {
                if wanted.is_some() {
                    return refuse(FieldError::forbidden(
                        &path,
                        "may not be used when `type` is 'ClusterIP'",
                    ));
                }
                continue;
            }
            let chosen = match wanted {
                Some(wanted) if !NODE_PORTS.contains(&wanted) => {
                    let why = format!(
                        "provided port is not in the valid range. The range of valid ports is {}-{}",
                        NODE_PORTS.start,
                        NODE_PORTS.end - 1
                    );
                    return refuse(FieldError::invalid(&path, &wanted.to_string(), &why));
                }
                Some(wanted) if used.contains(&wanted) => {
                    let why = "provided port is already allocated";
                    return refuse(FieldError::invalid(&path, &wanted.to_string(), why));
                }
                Some(wanted) => wanted,
                // From the upper end: people ask for the lower one.
                None => NODE_PORTS
                    .rev()
                    .find(|port| !used.contains(port))
                    .unwrap_or(NODE_PORTS.start),
            };
            used.insert(chosen);
            port["nodePort"] = json!(chosen);
        }
        Ok(())
    }
}

/// What an update does not mention stays, as long as the type needs it; what the new type has no use for goes.
fn keep(old: Option<&Value>, service: &mut Value, type_: &str) {
    let Some(old) = old.and_then(|old| old.get("spec")) else {
        return;
    };
    let spec = &mut service["spec"];
    if type_ != "ExternalName" && spec.get("clusterIP").is_none_or(|address| *address == json!("")) {
        spec["clusterIP"] = old["clusterIP"].clone();
    }
    let unchanged_type = old.get("type").and_then(Value::as_str) == Some(type_);
    let old_ports = old.get("ports").and_then(Value::as_array);
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        let before = old_ports.into_iter().flatten().find(|before| {
            before.get("port") == port.get("port") && before.get("protocol") == port.get("protocol")
        });
        let before = before.and_then(|before| before.get("nodePort"));
        if has_node_ports(type_) {
            if port.get("nodePort").is_none()
                && let Some(before) = before
            {
                port["nodePort"] = before.clone();
            }
        } else if !unchanged_type && port.get("nodePort") == before {
            super::admission::set(port, "nodePort", None);
        }
    }
    if !has_node_ports(type_) {
        super::admission::set(spec, "externalTrafficPolicy", None);
        super::admission::set(spec, "allocateLoadBalancerNodePorts", None);
    }
}

fn node_ports(service: &Value) -> Vec<i64> {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array);
    let ports = ports.into_iter().flatten();
    ports.filter_map(|port| port.get("nodePort")?.as_i64()).collect()
}

/// The lowest free address of 10.96.0.0/16, but for the first, which is that of the API itself.
fn free_address(taken: &BTreeSet<&str>) -> String {
    let addresses = (2..u16::MAX).map(|number| format!("10.96.{}.{}", number >> 8, number & 255));
    let mut free = addresses.filter(|address| !taken.contains(address.as_str()));
    free.next().unwrap_or_default()
}
