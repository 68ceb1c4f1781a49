//! The API that users see: kinds of group `kubeonkube.io`, version `v1alpha1`.
//!
//! Types only. Rules that CEL can say stand beside the fields they guard; everything that needs more than
//! the object itself is decided in `kok-plan` and shown as condition `Valid`.

// The derive of KubeSchema makes a private twin of each struct, whose fields then look too public.
#[allow(unreachable_pub)]
pub mod cluster;
#[allow(unreachable_pub)]
pub mod cluster_network;
pub mod cluster_status;
pub mod condition;
pub mod names;
mod reference;

pub use cluster::{Cluster, ClusterSpec, ClusterStatus};

use kube::CustomResourceExt;

/// One generated file of `crds/`: its name and its content.
pub struct CrdFile {
    /// File name, as `kubectl` users expect it: `<plural>.<group>.yaml`.
    pub name: String,
    /// The CustomResourceDefinition as YAML.
    pub yaml: String,
}

/// The pages of `docs/reference/`: file name and content.
pub fn reference_files() -> Vec<(String, String)> {
    [Cluster::crd()]
        .iter()
        .map(|crd| {
            (
                format!("{}.md", crd.spec.names.singular.clone().unwrap_or_default()),
                reference::page(crd),
            )
        })
        .collect()
}

/// Every CustomResourceDefinition of this crate, as the files that `crds/` holds.
///
/// # Errors
/// Only when a schema cannot be written as YAML, which a test would show first.
pub fn crd_files() -> Result<Vec<CrdFile>, serde_saphyr::ser::Error> {
    [Cluster::crd()]
        .into_iter()
        .map(|crd| {
            let name = format!("{}.{}.yaml", crd.spec.names.plural, crd.spec.group);
            let yaml = format!(
                "# Generated from operators/api by `cargo run -p kok-api --example crdgen`. Do not edit.\n{}",
                serde_saphyr::to_string(&crd)?
            );
            Ok(CrdFile { name, yaml })
        })
        .collect()
}
