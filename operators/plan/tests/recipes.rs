//! The digest of every Secret's recipe, as recorded: a digest that changes makes the Secret anew in every Cluster and rolls
//! every control plane as soon as the operator is updated.
//! `KOK_GOLDEN=write cargo test -p kok-plan --test recipes` writes them again; say in the changelog what it restarts.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod world;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use kok_plan::cluster::secrets::recipes;
use world::{World, sample};

#[test]
fn digests_of_recipes_are_as_recorded() {
    let mut text = String::new();
    for name in ["minimal", "standard", "everything"] {
        let world = World::new(sample(name));
        let digests: BTreeMap<_, _> = recipes(&world.view.cluster.spec, &world.view)
            .into_iter()
            .map(|recipe| (recipe.name.clone(), recipe.hash()))
            .collect();
        assert!(digests.len() > 10, "{name}");
        for (secret, digest) in digests {
            writeln!(text, "{name} {secret} {digest}").unwrap();
        }
    }
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/recipes.txt");
    if std::env::var_os("KOK_GOLDEN").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let recorded = std::fs::read_to_string(&file).unwrap_or_default();
    let changed: Vec<_> = text
        .lines()
        .filter(|line| !recorded.lines().any(|other| other == *line))
        .collect();
    assert!(text == recorded, "{} differs: {changed:#?}", file.display());
}
