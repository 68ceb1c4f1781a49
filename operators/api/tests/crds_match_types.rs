//! `crds/` is generated; this test fails when it was not generated again after a change of the types.

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
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name == "kustomization.yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let cluster: kok_api::Cluster =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(cluster.metadata.name.is_some());
        seen += 1;
    }
    assert!(seen >= 3, "the samples are Minimal, Standard and everything set");
}
