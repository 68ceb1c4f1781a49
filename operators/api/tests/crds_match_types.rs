//! `crds/` is generated; this test fails when it was not generated again after a change of the types.

use std::collections::BTreeMap;
use std::path::Path;

#[test]
fn crds_match_the_types() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    for file in kok_api::crd_files().unwrap() {
        let on_disk = std::fs::read_to_string(directory.join(&file.name)).unwrap_or_default();
        assert!(
            on_disk == file.yaml,
            "crds/{} differs from the types; run: cargo run -p kok-api --example crdgen",
            file.name
        );
    }
}

#[test]
fn the_reference_matches_the_types() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    for (name, page) in kok_api::reference_files() {
        let on_disk = std::fs::read_to_string(directory.join(&name)).unwrap_or_default();
        assert!(
            on_disk == page,
            "docs/reference/{name} differs from the types; run: cargo run -p kok-api --example crdgen"
        );
    }
}

#[test]
fn samples_decode() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds/samples");
    let mut seen = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let document: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        let kind = document["kind"].as_str().unwrap().to_owned();
        let decoded = match kind.as_str() {
            "Cluster" => serde_saphyr::from_str::<kok_api::Cluster>(&text).map(|it| it.metadata),
            "Machine" => serde_saphyr::from_str::<kok_api::Machine>(&text).map(|it| it.metadata),
            "ClusterPackageVersion" => {
                serde_saphyr::from_str::<kok_api::ClusterPackageVersion>(&text).map(|it| it.metadata)
            }
            other => panic!("{}: kind {other}", path.display()),
        };
        let metadata = decoded.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(metadata.name.is_some());
        *seen.entry(kind).or_insert(0) += 1;
    }
    assert!(seen["Cluster"] >= 3, "Minimal, Standard and everything set");
    assert!(seen["Machine"] >= 2, "the least and everything set");
    assert_eq!(seen["ClusterPackageVersion"], 1);
}
