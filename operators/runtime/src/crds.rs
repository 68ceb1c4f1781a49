//! Waiting for our CRDs. An operator that starts before its CRDs are installed waits and says so, instead of
//! crashing until someone installs them.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    runtime::{conditions::is_crd_established, wait::Condition},
};
use tracing::{info, warn};

use crate::admin::Readiness;
use crate::deadline::{self, within};

/// The readiness check that [`wait_for_crds`] sets.
pub const READINESS_CHECK: &str = "crds";

const POLL: Duration = Duration::from_secs(2);

/// Returns once every CRD of `names` (`clusters.kubeonkube.io`) is established, that is, served. Until then
/// the readiness check `crds` says which are missing. Needs `get` on CustomResourceDefinitions.
///
/// Never fails: an API server that cannot be reached is a reason to wait too. Race it against shutdown.
pub async fn wait_for_crds(client: &Client, names: &[&str], readiness: &Readiness) {
    let crds = Api::<CustomResourceDefinition>::all(client.clone());
    let mut said = String::new();
    let mut missing: BTreeSet<&str> = names.iter().copied().collect();
    loop {
        let mut trouble = String::new();
        for name in missing.clone() {
            match within(deadline::REQUEST, crds.get_opt(name)).await {
                Ok(crd) if is_crd_established().matches_object(crd.as_ref()) => {
                    missing.remove(name);
                }
                Ok(_) => {}
                Err(error) => trouble = format!(" ({error})"),
            }
        }
        if missing.is_empty() {
            readiness.set_ready(READINESS_CHECK);
            info!(crds = ?names, "CRDs are served");
            return;
        }
        let waiting = format!("waiting for CRDs {missing:?}{trouble}");
        if waiting != said {
            warn!("{waiting}");
            readiness.set_waiting(READINESS_CHECK, &waiting);
            said = waiting;
        }
        tokio::time::sleep(POLL).await;
    }
}
