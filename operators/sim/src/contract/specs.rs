//! Objects that behaviours begin with.

use serde_json::{Value, json};

/// A valid Cluster.
pub(super) fn cluster(name: &str) -> Value {
    json!({
        "apiVersion": "kubeonkube.io/v1alpha1", "kind": "Cluster", "metadata": {"name": name},
        "spec": {
            "mode": "Minimal", "version": "1.36.3",
            "network": {"podCIDR": "10.32.0.0/12", "serviceCIDR": "10.96.0.0/16"},
            "endpoint": {"type": "NodePort", "host": "10.77.0.11", "port": 30441},
            "etcd": {"version": "3.6.14", "storage": {"claimTemplate": {"resources": {"requests": {"storage": "2Gi"}}}}},
        },
    })
}

/// A Deployment of one container.
pub(super) fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": "a"}},
            "template": {
                "metadata": {"labels": {"app": "a"}},
                "spec": {"containers": [{"name": "main", "image": "example.org/main:1"}]},
            },
        },
    })
}

/// A claim of a volume.
pub(super) fn claim(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none",
            "resources": {"requests": {"storage": "1024Mi"}}},
    })
}
