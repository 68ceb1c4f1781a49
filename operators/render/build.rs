//! Compiles in every directory of `templates/packages/`, so that a new package is a new directory and no code.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../templates/packages")
        .canonicalize()?;
    println!("cargo:rerun-if-changed={}", root.display());
    let mut source = String::from("&[\n");
    for package in entries(&root)?.into_iter().filter(|path| path.is_dir()) {
        println!("cargo:rerun-if-changed={}", package.display());
        let _ = writeln!(source, "({:?}, &[", name(&package));
        for file in entries(&package)?
            .into_iter()
            .chain(entries(&package.join("files"))?)
        {
            if file.is_file() {
                let _ = writeln!(source, "({:?}, include_str!({:?})),", name(&file), file.display());
            }
        }
        source.push_str("]),\n");
    }
    source.push_str("]\n");
    fs::write(
        Path::new(&env::var("OUT_DIR").unwrap_or_default()).join("packages.rs"),
        source,
    )
}

/// What is in a directory, in the order of names; nothing when there is no such directory.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths = fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
