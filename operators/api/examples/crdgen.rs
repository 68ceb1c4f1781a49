//! Writes `crds/*.yaml` from the types: `cargo run -p kok-api --example crdgen`.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    for file in kok_api::crd_files()? {
        std::fs::write(directory.join(&file.name), &file.yaml)?;
    }
    Ok(())
}
