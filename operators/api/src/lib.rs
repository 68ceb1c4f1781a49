//! The API that users see: kinds of group `kubeonkube.io`, version `v1alpha1`.
//!
//! Types only. Rules that CEL can say stand beside the fields they guard; everything that needs more than
//! the object itself is decided in `kok-plan` and shown as condition `Valid`.

// The derive of KubeSchema makes a private twin of each struct, whose fields then look too public.
#[allow(unreachable_pub)]
pub mod cluster;
pub mod condition;
#[allow(unreachable_pub)]
pub mod machine;
pub mod machine_status;
pub mod names;
#[allow(unreachable_pub)]
pub mod package;
mod reference;

pub use cluster::{Cluster, ClusterSpec, ClusterStatus};
pub use machine::{Machine, MachineSpec};
pub use machine_status::MachineStatus;
pub use package::{ClusterPackageVersion, ClusterPackageVersionSpec, ClusterPackageVersionStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// One generated file of `crds/`: its name and its content.
pub struct CrdFile {
    /// File name, as `kubectl` users expect it: `<plural>.<group>.yaml`.
    pub name: String,
    /// The CustomResourceDefinition as YAML.
    pub yaml: String,
}

/// Kinds of the meta cluster.
pub fn meta_crds() -> Vec<CustomResourceDefinition> {
    vec![Cluster::crd()]
}

/// Kinds of every cluster that has a node operator.
pub fn node_crds() -> Vec<CustomResourceDefinition> {
    vec![Machine::crd(), ClusterPackageVersion::crd()]
}

fn all_crds() -> impl Iterator<Item = CustomResourceDefinition> {
    meta_crds().into_iter().chain(node_crds())
}

/// The pages of `docs/reference/`: file name and content.
pub fn reference_files() -> Vec<(String, String)> {
    all_crds()
        .map(|crd| {
            (
                format!("{}.md", crd.spec.names.singular.clone().unwrap_or_default()),
                reference::page(&crd),
            )
        })
        .collect()
}

/// Every CustomResourceDefinition of this crate, as the files that `crds/` holds.
///
/// # Errors
/// Only when a schema cannot be written as YAML, which a test would show first.
pub fn crd_files() -> Result<Vec<CrdFile>, serde_saphyr::ser::Error> {
    all_crds()
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
