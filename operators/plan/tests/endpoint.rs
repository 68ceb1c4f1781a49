//! The way of clients: a load balancer that gives an address late, low ports, and what the control plane makes of them.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod world;

use kok_api::cluster::{EndpointType, EndpointType::LoadBalancer};
use kok_plan::cluster::gate::GateReason;
use kok_plan::cluster::secrets::{Kubeconfig, Material};
use kok_plan::cluster::{Action, plan};
use kok_plan::kind::{DEPLOYMENT, SERVICE};
use serde_json::{Value, json};
use world::{World, names, sample};

fn cluster(type_: EndpointType, host: Option<&str>, port: Option<i32>) -> World {
    let mut cluster = sample("minimal");
    cluster.spec.endpoint.type_ = type_;
    cluster.spec.endpoint.host = host.map(String::from);
    cluster.spec.endpoint.port = port;
    World::new(cluster)
}

/// What the meta cluster's load balancer does.
fn give(world: &mut World, ingress: &Value) {
    let key = world.view.object(SERVICE, "apiserver-external").map(|_| ());
    assert!(key.is_some(), "the Service comes first");
    let (_, service) = world
        .view
        .objects
        .iter_mut()
        .find(|(key, _)| key.kind == SERVICE && key.name == "apiserver-external")
        .unwrap();
    service.body["status"]["loadBalancer"]["ingress"] = ingress.clone();
}

/// The servers that kubeconfigs for people name.
fn servers(actions: &[Action]) -> Vec<String> {
    let mut servers: Vec<String> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Mint(mint) => match &mint.recipe.material {
                Material::Leaf {
                    kubeconfig: Some(Kubeconfig::Embedded { server }),
                    ..
                } if !server.contains(".svc:") => Some(server.clone()),
                _ => None,
            },
            _ => None,
        })
        .collect();
    servers.dedup();
    servers
}

fn apiserver_flags(world: &World) -> Vec<String> {
    let deployment = world.view.object(DEPLOYMENT, "kube-apiserver").unwrap();
    let args = &deployment.body["spec"]["template"]["spec"]["containers"][0]["args"];
    serde_json::from_value(args.clone()).unwrap()
}

#[test]
fn nothing_is_made_with_an_address_that_is_not_known_yet() {
    let mut world = cluster(LoadBalancer, None, Some(443));
    let before = world.settle();
    assert!(
        !names(&before).iter().any(|action| action.starts_with("Mint")),
        "{:?}",
        names(&before)
    );
    let (status, message) = world.condition("Progressing");
    assert_eq!(status, "True");
    assert!(
        message.contains("Service apiserver-external has no address yet"),
        "{message}"
    );
    assert_eq!(world.view.cluster.status.as_ref().unwrap().endpoint, None);

    // An address of the other family does not help; of the rest the first counts.
    give(&mut world, &json!([{"ip": "fd00::1"}]));
    assert!(
        plan(&world.view)
            .gates
            .iter()
            .any(|gate| gate.reason == GateReason::WaitingForLoadBalancer)
    );
    give(
        &mut world,
        &json!([{"ip": "fd00::1"}, {"ip": "192.0.2.7"}, {"ip": "192.0.2.8"}]),
    );
    let after = world.settle();
    assert_eq!(servers(&after), ["https://192.0.2.7:443"]);
    let mut made = names(&after);
    let all = made.len();
    made.sort();
    made.dedup();
    assert_eq!(made.len(), all, "something was made twice");
    let serving = world.view.secrets["apiserver"].certificate.as_ref().unwrap();
    assert!(serving.ip_addresses.contains(&"192.0.2.7".parse().unwrap()));
    assert!(apiserver_flags(&world).contains(&"--advertise-address=192.0.2.7".to_owned()));
    for condition in ["Available", "UpToDate"] {
        assert_eq!(world.condition(condition).0, "True", "{condition}");
    }
}

#[test]
fn a_load_balancer_may_have_a_name() {
    let mut world = cluster(LoadBalancer, None, None);
    world.settle();
    give(&mut world, &json!([{"hostname": "lb-7.cloud.example"}]));
    assert_eq!(servers(&world.settle()), ["https://lb-7.cloud.example:6443"]);
    let serving = world.view.secrets["apiserver"].certificate.as_ref().unwrap();
    assert!(serving.dns_names.contains(&"lb-7.cloud.example".to_owned()));
    assert_eq!(
        world.view.cluster.status.as_ref().unwrap().endpoint.as_deref(),
        Some("https://lb-7.cloud.example:6443")
    );
}

#[test]
fn an_address_that_is_away_for_a_while_changes_nothing() {
    let mut world = cluster(LoadBalancer, None, None);
    world.settle();
    give(&mut world, &json!([{"ip": "192.0.2.7"}]));
    world.settle();
    // The Service was deleted and made again; the rest is kept as it was meanwhile.
    world
        .view
        .objects
        .retain(|key, _| !["apiserver-external", "kube-scheduler"].contains(&key.name.as_str()));
    assert_eq!(
        names(&world.settle()),
        [
            "Apply Service cluster-minimal/apiserver-external (Missing)",
            "Apply Deployment cluster-minimal/kube-scheduler (Missing)"
        ]
    );
    assert_eq!(
        world.view.cluster.status.as_ref().unwrap().endpoint.as_deref(),
        Some("https://192.0.2.7:6443")
    );
    give(&mut world, &json!([{"ip": "192.0.2.9"}]));
    assert_eq!(servers(&world.settle()), ["https://192.0.2.9:6443"]);
}

#[test]
fn a_declared_host_waits_for_no_load_balancer() {
    let mut world = cluster(LoadBalancer, Some("api.example"), None);
    assert_eq!(servers(&world.settle()), ["https://api.example:6443"]);
    assert_eq!(world.condition("UpToDate").0, "True");
}

#[test]
fn a_low_port_needs_the_right_to_listen_on_it_and_no_other_port_gets_it() {
    for (port, sysctls) in [
        (
            443,
            json!([{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]),
        ),
        (6443, Value::Null),
    ] {
        let mut world = cluster(EndpointType::ClusterIP, None, Some(port));
        world.settle();
        let deployment = world.view.object(DEPLOYMENT, "kube-apiserver").unwrap();
        let context = &deployment.body["spec"]["template"]["spec"]["securityContext"];
        assert_eq!(context["sysctls"], sysctls, "{port}");
        assert_eq!(context["runAsNonRoot"], true);
        assert!(apiserver_flags(&world).contains(&format!("--secure-port={port}")));
    }
}
