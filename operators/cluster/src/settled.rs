//! Remembers what the API server made of what we applied.
//!
//! A server may normalize an object (`1000m` becomes `1`). Comparing what we want with what is there would then differ
//! for ever. As long as an object is exactly as our own write left it, there is nothing to do.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Uid of an object -> its resource version after our write, and the hash of what we wrote.
type Objects = BTreeMap<String, (String, String)>;

/// What our own writes left behind, by Cluster. Losing it costs one write an object that changes nothing.
#[derive(Debug, Default)]
pub struct Settled {
    clusters: Mutex<BTreeMap<String, Objects>>,
}

impl Settled {
    /// Remembers that applying a manifest with `hash` gave the object `uid` its `resource_version`.
    pub fn record(&self, cluster: &str, uid: &str, resource_version: &str, hash: &str) {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        let objects = clusters.entry(cluster.into()).or_default();
        objects.insert(uid.into(), (resource_version.into(), hash.into()));
    }

    /// Hash of the manifest that made the object what it is; None when somebody else wrote it since.
    pub fn hash(&self, cluster: &str, uid: &str, resource_version: &str) -> Option<String> {
        let clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        let (version, hash) = clusters.get(cluster)?.get(uid)?;
        (version == resource_version).then(|| hash.clone())
    }

    /// Forgets a Cluster.
    pub fn forget(&self, cluster: &str) {
        self.clusters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(cluster);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_somebody_else_wrote_is_not_settled() {
        let settled = Settled::default();
        settled.record("c", "u", "7", "hash");
        assert_eq!(settled.hash("c", "u", "7").as_deref(), Some("hash"));
        assert_eq!(settled.hash("c", "u", "8"), None);
        settled.forget("c");
        assert_eq!(settled.hash("c", "u", "7"), None);
    }
}
