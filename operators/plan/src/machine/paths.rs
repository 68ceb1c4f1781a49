//! Where things are on a host, and what is asked about them.

use kok_render::package::Package;

use crate::host::HostFacts;

/// Everything that is installed is below it: `<package>/<version>`.
pub const ROOT: &str = "/opt/kube-on-kube";

/// Holds the boot id of a boot that shall end: while it is the host's boot id, a reboot is due.
pub const REBOOT_MARK: &str = "/opt/kube-on-kube/reboot";

/// Names the cluster that the host's kubelet was given credentials for.
pub const CLUSTER_MARK: &str = "/opt/kube-on-kube/cluster";

/// Directory of a package.
pub fn package(name: &str) -> String {
    format!("{ROOT}/{name}")
}

/// Directory of one version of a package.
pub fn version(name: &str, version: &str) -> String {
    format!("{ROOT}/{name}/{version}")
}

/// The version that a path below [`ROOT`] belongs to.
pub fn version_of<'a>(name: &str, path: &'a str) -> Option<&'a str> {
    path.strip_prefix(&package(name))?
        .strip_prefix('/')?
        .split('/')
        .next()
}

/// Link to the version that a package had before, which is kept so that it can be taken back without a download.
pub fn previous(name: &str) -> String {
    format!("{ROOT}/{name}/previous")
}

/// File that says what the units of a package were last started with.
pub fn stamp(name: &str) -> String {
    format!("{ROOT}/{name}/started-with")
}

/// File that names the bootstrap token that was last put on the host.
pub fn token(name: &str) -> String {
    format!("{ROOT}/{name}/token")
}

/// Sources file of a package's apt repository.
pub fn apt_list(name: &str) -> String {
    format!("/etc/apt/sources.list.d/kube-on-kube-{name}.list")
}

/// Key of a package's apt repository.
pub fn apt_key(name: &str) -> String {
    format!("/etc/apt/keyrings/kube-on-kube-{name}.asc")
}

/// File with a package's kernel parameters.
pub fn sysctls(name: &str) -> String {
    format!("/etc/sysctl.d/90-kube-on-kube-{name}.conf")
}

/// File with a package's kernel modules.
pub fn modules(name: &str) -> String {
    format!("/etc/modules-load.d/kube-on-kube-{name}.conf")
}

/// Every path that a file of a package may have, whatever the host.
pub fn files(package: &Package) -> impl Iterator<Item = String> + '_ {
    let name = &package.name;
    let generated = [apt_key(name), apt_list(name), sysctls(name), modules(name)];
    generated.into_iter().chain(package.file_paths())
}

/// Name of the probe for a package's version.
pub fn version_probe(name: &str) -> String {
    format!("version.{name}")
}

/// Name of the probe for a fact that only one package needs.
pub fn detect_probe(package: &str, fact: &str) -> String {
    format!("detect.{package}.{fact}")
}

/// Name of the probe that reads the end of a unit's journal.
pub fn journal_probe(unit: &str) -> String {
    format!("journal.{unit}")
}

/// Whether a fact that only one package needs was found.
pub fn detected(package: &Package, fact: &str, facts: &HostFacts) -> bool {
    facts
        .probes
        .get(&detect_probe(&package.name, fact))
        .is_some_and(|probe| probe.exit == 0)
}
