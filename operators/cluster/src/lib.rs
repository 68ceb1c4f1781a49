//! The cluster operator: observes a Cluster, lets `kok-plan` decide, carries the plan out and writes the status.

pub mod connect;
pub mod controller;
pub mod etcd;
pub mod execute;
pub mod observe;
pub mod operator;
pub mod settled;

use kok_plan::kind::Kind;
use kube::api::ApiResource;

/// The resource of a kind, as a client of unknown types wants it.
pub(crate) fn resource(kind: &Kind) -> ApiResource {
    ApiResource {
        group: kind.group.into(),
        version: kind.version.into(),
        api_version: kind.api_version(),
        kind: kind.kind.into(),
        plural: kind.plural.into(),
    }
}
