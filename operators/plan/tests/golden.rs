//! Every object that the samples lead to, as it is sent: a change of a template or of rendering code shows here.
//! `KOK_GOLDEN=write cargo test -p kok-plan --test golden` writes the files again; read the difference before you commit.
//! The lab's tests check the same files against the schemas of a real API server (`hack/conform`).

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod world;

use std::fmt::Write;
use std::path::PathBuf;

use kok_plan::cluster::Action;
use kok_plan::object::Manifest;
use world::{World, sample};

/// Manifests by cluster: of the meta cluster, of the business cluster. The last one of each object counts.
fn manifests(actions: Vec<Action>) -> [Vec<Manifest>; 2] {
    let mut found = [Vec::new(), Vec::new()];
    for action in actions {
        let (cluster, manifest) = match action {
            Action::Create(manifest) | Action::Apply { manifest, .. } => (0, manifest),
            Action::ApplyBusiness { manifest, .. } => (1, manifest),
            _ => continue,
        };
        let list: &mut Vec<Manifest> = &mut found[cluster];
        list.retain(|other| other.key != manifest.key);
        list.push(manifest);
    }
    found
}

#[test]
fn rendered_objects_are_as_recorded() {
    for name in ["minimal", "standard", "everything"] {
        let actions = World::new(sample(name)).settle();
        for (cluster, manifests) in ["meta", "business"].into_iter().zip(manifests(actions)) {
            assert!(manifests.len() > 10, "{name} {cluster}");
            let mut text = String::new();
            for manifest in manifests {
                let document = kok_render::to_yaml(&manifest.body).unwrap();
                write!(text, "---\n{document}").unwrap();
            }
            let file =
                PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}-{cluster}.yaml"));
            if std::env::var_os("KOK_GOLDEN").is_some() {
                std::fs::write(&file, &text).unwrap();
            }
            let recorded = std::fs::read_to_string(&file).unwrap_or_default();
            let difference = text
                .lines()
                .zip(recorded.lines())
                .position(|(now, then)| now != then);
            assert!(
                text == recorded,
                "{} differs at line {:?}: if that is intended, run KOK_GOLDEN=write cargo test -p kok-plan --test golden",
                file.display(),
                difference.map(|line| line + 1)
            );
        }
    }
}
