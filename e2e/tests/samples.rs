//! The samples that users start from come up as they are.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

use std::path::PathBuf;

use kok_e2e::{Cluster, must};

#[test]
#[ignore = "needs the lab"]
fn every_sample_comes_up() {
    for name in ["everything", "standard"] {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../crds/samples/{name}.yaml"));
        let cluster = Cluster::adopt(name);
        must(&["apply", "--server-side", "-f", file.to_str().unwrap()]);
        cluster.wait("Available", "True", 180);
        cluster.wait("UpToDate", "True", 240);
        for condition in [
            "Valid",
            "EtcdReady",
            "ApiserverReady",
            "ControllersReady",
            "CertificatesReady",
            "ExtensionsReady",
        ] {
            cluster.wait(condition, "True", 10);
        }
        assert!(
            cluster
                .business("user-alice-kubeconfig", &["auth", "whoami"])
                .is_ok()
        );
        cluster.delete_and_see_it_gone();
    }
}
