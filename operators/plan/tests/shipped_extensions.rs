//! What the shipped extensions put into business clusters.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod world;

use kok_api::ClusterSpec;
use kok_plan::cluster::extensions::{render, render_bootstrap};
use kok_plan::cluster::secrets::{Material, recipes};
use kok_plan::object::Manifest;
use rstest::rstest;
use serde_json::{Value, json};
use world::{World, sample};

fn rendered(world: &World, spec: &ClusterSpec, extension: &str) -> Vec<Manifest> {
    let extension = spec.extensions.iter().find(|it| it.name == extension).unwrap();
    render(spec, extension, &world.view).unwrap()
}

fn find<'a>(manifests: &'a [Manifest], kind: &str, name: &str) -> &'a Value {
    let found = manifests
        .iter()
        .find(|manifest| manifest.key.kind.kind == kind && manifest.key.name == name);
    &found.unwrap().body
}

#[rstest]
#[case(json!({}), Some(r#"forward . "/etc/resolv.conf" {"#))]
#[case(json!({"forward": "1.1.1.1"}), Some(r#"forward . "1.1.1.1" {"#))]
#[case(json!({"forward": "1.1.1.1 tls://9.9.9.9"}), Some(r#"forward . "1.1.1.1" "tls://9.9.9.9" {"#))]
#[case(json!({"forward": ["10.0.0.2", "10.0.0.3"]}), Some(r#"forward . "10.0.0.2" "10.0.0.3" {"#))]
#[case(json!({"forward": "1.1.1.1\n}\nimport"}), Some(r#"forward . "1.1.1.1" "}" "import" {"#))]
#[case(json!({"forward": ""}), None)]
#[case(json!({"forward": []}), None)]
fn coredns_asks_where_it_is_told(#[case] values: Value, #[case] line: Option<&str>) {
    let world = World::new(sample("minimal"));
    let mut spec = world.view.cluster.spec.clone();
    let coredns = spec
        .extensions
        .iter_mut()
        .find(|it| it.name == "coredns")
        .unwrap();
    coredns.values = values.as_object().unwrap().clone();
    let manifests = rendered(&world, &spec, "coredns");
    let corefile = find(&manifests, "ConfigMap", "coredns")["data"]["Corefile"]
        .as_str()
        .unwrap();
    let found = corefile
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("forward"));
    assert_eq!(found, line, "{corefile}");
    assert_eq!(
        corefile.matches('{').count(),
        corefile.matches('}').count() - usize::from(corefile.contains(r#""}""#)),
        "{corefile}"
    );
}

#[test]
fn kube_proxy_rolls_for_what_it_reads_and_not_for_a_patch_of_the_control_plane() {
    let world = World::new(sample("minimal"));
    let spec = &world.view.cluster.spec;
    let pods = |spec: &ClusterSpec| {
        let manifests = rendered(&world, spec, "kube-proxy");
        find(&manifests, "DaemonSet", "kube-proxy")["spec"]["template"].clone()
    };
    let before = pods(spec);
    let mut patched = spec.clone();
    patched.version = "1.36.4".into();
    assert_eq!(pods(&patched), before);
    let edits: [fn(&mut ClusterSpec); 3] = [
        |spec| {
            spec.extensions[0].values.insert("mode".into(), json!("iptables"));
        },
        |spec| spec.extensions[0].version = "1.36.4".into(),
        |spec| spec.endpoint.host = Some("10.77.0.12".into()),
    ];
    for (index, edit) in edits.into_iter().enumerate() {
        let mut edited = spec.clone();
        edit(&mut edited);
        assert_ne!(pods(&edited), before, "edit {index}");
    }
}

#[test]
fn rights_are_given_to_no_name_that_a_user_can_have() {
    let world = World::new(sample("minimal"));
    let manifests = render_bootstrap(&world.view.cluster.spec, &world.view).unwrap();
    let subjects: Vec<Value> = manifests
        .iter()
        .filter_map(|manifest| manifest.body["subjects"].as_array().cloned())
        .flatten()
        .collect();
    assert!(subjects.len() > 10);
    for subject in subjects {
        // Names of users have no colon; groups with these prefixes are refused by the CRD.
        let name = subject["name"].as_str().unwrap();
        assert!(
            name.starts_with("system:") || name.starts_with("kubeonkube:"),
            "{subject}"
        );
    }
    // The certificate that the apiserver shows to kubelets has the name that is bound.
    let recipes = recipes(&world.view.cluster.spec, &world.view);
    let client = recipes
        .iter()
        .find(|recipe| recipe.name == "apiserver-kubelet-client")
        .unwrap();
    let Material::Leaf { spec, .. } = &client.material else {
        panic!("{client:?}");
    };
    let bound = find(&manifests, "ClusterRoleBinding", "kubeonkube:kubelet-client");
    assert_eq!(bound["subjects"][0]["name"], json!(spec.common_name));
}
