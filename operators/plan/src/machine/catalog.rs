//! The packages that exist, read once.

use kok_render::RenderError;
use kok_render::package::{Join, Package};

/// The packages that exist, from the first that is installed to the last.
#[derive(Clone, Debug)]
pub struct Catalog(Vec<Package>);

impl Catalog {
    /// The packages that are shipped.
    ///
    /// # Errors
    /// Only by a defect of a shipped package.
    pub fn shipped() -> Result<Self, RenderError> {
        kok_render::builtin::packages().map(Self)
    }

    /// All of them, in order.
    pub fn packages(&self) -> &[Package] {
        &self.0
    }

    /// The package `name`.
    pub fn get(&self, name: &str) -> Option<&Package> {
        self.0.iter().find(|package| package.name == name)
    }

    /// The package by which a host joins the cluster, and how.
    pub fn agent(&self) -> Option<(&Package, &Join)> {
        self.0
            .iter()
            .find_map(|package| Some((package, package.join.as_ref()?)))
    }

    /// The names of all packages, for messages.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(|package| package.name.as_str()).collect();
        names.join(", ")
    }
}
