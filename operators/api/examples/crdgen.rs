//! Writes `crds/*.yaml` and `docs/reference/*.md` from the types: `cargo run -p kok-api --example crdgen`.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    for file in kok_api::crd_files()? {
        std::fs::write(directory.join(&file.name), &file.yaml)?;
    }
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    std::fs::create_dir_all(&reference)?;
    for (name, page) in kok_api::reference_files() {
        std::fs::write(reference.join(name), page)?;
    }
    Ok(())
}
