//! What there is to install.

use std::collections::BTreeMap;

use kok_api::package::{DefaultPackage, PackageSource};
use kok_render::sha256_hex;

pub const MIRROR: &str = "http://mirror";

/// What the mirror serves for a version of a package: path below the mirror, and content.
pub fn published(package: &str, version: &str) -> (String, String) {
    match package {
        "runc" => (
            format!("v{version}/runc.amd64"),
            format!("runc version {version}"),
        ),
        "kubelet" => (
            format!("v{version}/bin/linux/amd64/kubelet"),
            format!("Kubernetes v{version}"),
        ),
        "containerd" => (
            format!("v{version}/containerd-{version}-linux-amd64.tar.gz"),
            format!(
                "bin/containerd containerd {version}\nbin/containerd-shim-runc-v2 shim {version}\nbin/ctr ctr {version}"
            ),
        ),
        "cni-plugins" => (
            format!("v{version}/cni-plugins-linux-amd64-v{version}.tgz"),
            ["bridge", "host-local", "loopback", "portmap", "ptp"]
                .map(|name| format!("{name} {name} {version}"))
                .join("\n"),
        ),
        other => panic!("nobody publishes {other}"),
    }
}

/// A package as ClusterPackageVersion declares it, with the sum of what is published.
pub fn declared(package: &str, version: &str) -> DefaultPackage {
    DefaultPackage {
        name: package.into(),
        version: version.into(),
        params: BTreeMap::new(),
        source: source(package, version),
        disruption: None,
    }
}

pub fn source(package: &str, version: &str) -> PackageSource {
    let (_, content) = published(package, version);
    PackageSource {
        mirror: Some(MIRROR.into()),
        sha256: BTreeMap::from([("amd64".into(), sha256_hex(content.as_bytes()))]),
        apt: None,
    }
}

pub fn usual_packages() -> Vec<DefaultPackage> {
    vec![
        declared("runc", "1.3.4"),
        declared("containerd", "2.4.2"),
        declared("cni-plugins", "1.9.1"),
        declared("kubelet", "1.36.3"),
    ]
}
