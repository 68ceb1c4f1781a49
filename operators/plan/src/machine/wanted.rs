//! Packages rendered for one host: every file, link and unit as it shall be.

use kok_api::machine_status::DesiredFrom;
use kok_api::package::{AptRepository, Disruption};
use kok_render::package::{Module, Package, Rendered, Source};
use kok_render::sha256_hex;
use serde_json::{Value, json};

use super::effective::Effective;
use super::paths;
use super::view::MachineView;
use crate::host::{Cgroup, HostFacts};

/// A package as it shall be on one host.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// What the package is.
    pub package: &'a Package,
    /// Its version.
    pub version: String,
    /// Who decided the version.
    pub from: DesiredFrom,
    /// What is installed.
    pub payload: Payload,
    /// Links: path and target.
    pub links: Vec<(String, String)>,
    /// Rendered files.
    pub files: Vec<Rendered>,
    /// Kernel modules.
    pub modules: Vec<&'a Module>,
    /// Text of the file that says what the units were last started with; None without units.
    pub stamp: Option<String>,
    /// Digest of the rendered files.
    pub config_hash: String,
    /// What stands in the answer to its version probe.
    pub version_output: Option<String>,
    /// What a change of its version does to pods, where the cluster says other than the package.
    pub disruption: Option<Disruption>,
}

/// What is installed, with all that fetching it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// One file.
    File {
        /// Where from.
        url: String,
        /// Of its content.
        sha256: String,
        /// Where it goes.
        path: String,
    },
    /// An archive.
    Archive {
        /// Where from.
        url: String,
        /// Of the archive.
        sha256: String,
        /// Leading path components to leave out.
        strip: u8,
        /// Where it goes while it is unpacked.
        archive: String,
        /// Directory that it is unpacked to.
        directory: String,
        /// Files in it that are watched.
        binaries: Vec<String>,
    },
    /// A Debian package.
    Deb {
        /// Its name.
        name: String,
        /// The sources file that was written for it; None when the host's own sources have it.
        list: Option<String>,
    },
}

/// Renders `packages` for a host.
///
/// # Errors
/// Everything that keeps them from being installed on this host, each with what to do.
pub fn wanted<'a>(
    packages: &[Effective<'a>],
    view: &MachineView,
    facts: &HostFacts,
) -> Result<Vec<Wanted<'a>>, Vec<String>> {
    let mut wrong = Vec::new();
    let mut all = Vec::new();
    let runtime = runtime_endpoint(packages, facts);
    for effective in packages {
        let context = context(effective, view, facts, runtime.as_deref());
        match render(effective, context, facts) {
            Ok(wanted) => all.push(wanted),
            Err(why) => wrong.extend(why),
        }
    }
    if runtime.is_none() {
        wrong.push(
            "the host has no container runtime: add package containerd, or install one that kubelet can use"
                .into(),
        );
    }
    if wrong.is_empty() { Ok(all) } else { Err(wrong) }
}

/// The socket of the container runtime: that of a package, else one that the host has.
fn runtime_endpoint(packages: &[Effective<'_>], facts: &HostFacts) -> Option<String> {
    let own = packages
        .iter()
        .find_map(|effective| effective.package.runtime_endpoint.clone());
    let detected = || {
        facts
            .runtime_sockets
            .iter()
            // Docker's own socket does not speak the kubelet's protocol.
            .find(|socket| !socket.ends_with("/docker.sock"))
            .map(|socket| format!("unix://{socket}"))
    };
    own.or_else(detected)
}

fn context(effective: &Effective<'_>, view: &MachineView, facts: &HostFacts, runtime: Option<&str>) -> Value {
    let detected: serde_json::Map<String, Value> = effective
        .package
        .detect
        .keys()
        .map(|name| {
            (
                name.clone(),
                json!(paths::detected(effective.package, name, facts)),
            )
        })
        .collect();
    let (major, minor) = major_and_minor(&effective.version);
    // On cgroup v1 systemd does not own the hierarchies alone; on v2 it must be the only one who writes them.
    let v1 = facts.cgroup == Cgroup::V1;
    json!({
        "package": {
            "name": effective.package.name,
            "version": effective.version,
            "major": major,
            "minor": minor,
        },
        "host": {
            "arch": facts.os.arch,
            "address": view.spec().address,
            "hostname": view.spec().hostname,
            "cgroup": if v1 { "v1" } else { "v2" },
            "cgroupDriver": if v1 { "cgroupfs" } else { "systemd" },
            "swap": facts.swap,
        },
        "cluster": {
            "name": view.cluster.name,
            "endpoint": view.cluster.endpoint,
            "ca": view.cluster.ca,
            "dnsIP": view.cluster.dns_ip,
            "dnsDomain": view.cluster.dns_domain,
        },
        "node": {"podCIDRs": view.own_node().map(|node| node.pod_cidrs.clone()).unwrap_or_default()},
        "runtime": {"endpoint": runtime.unwrap_or_default()},
        "detected": detected,
    })
}

fn render<'a>(
    effective: &Effective<'a>,
    mut context: Value,
    facts: &HostFacts,
) -> Result<Wanted<'a>, Vec<String>> {
    let package = effective.package;
    let params = package.params(&effective.params, &context)?;
    context["params"] = Value::Object(params);
    let one = |error: kok_render::RenderError| vec![error.to_string()];
    let mut files = apt_files(effective);
    let modules = package.modules(&context).map_err(one)?;
    files.extend(kernel_files(package, &modules));
    files.extend(package.files(&context).map_err(one)?);
    let payload = payload(effective, &context, &facts.os.arch)?;
    let version_output = match &package.version {
        Some(probe) => Some(kok_render::format::words(&probe.output, &context).map_err(one)?),
        None => None,
    };
    let directory = paths::version(&package.name, &effective.version);
    let links = package
        .links
        .iter()
        .map(|(path, target)| (path.clone(), format!("{directory}/{target}")))
        .collect();
    let restarting = files
        .iter()
        .filter(|file| file.disruption >= Disruption::Reload)
        .map(|file| format!("{} {:o} {}", file.path, file.mode, file.text));
    let started_with: Vec<String> = std::iter::once(effective.version.clone())
        .chain(restarting)
        .collect();
    let digest_of = |parts: &[String]| sha256_hex(parts.join("\0").as_bytes());
    let config: Vec<String> = files
        .iter()
        .map(|file| format!("{} {}", file.path, file.text))
        .collect();
    Ok(Wanted {
        package,
        version: effective.version.clone(),
        from: effective.from,
        payload,
        links,
        modules,
        stamp: (!package.units.is_empty()).then(|| format!("{}\n", digest_of(&started_with))),
        config_hash: digest_of(&config)[..12].into(),
        files,
        version_output,
        disruption: effective.disruption,
    })
}

fn payload(effective: &Effective<'_>, context: &Value, arch: &str) -> Result<Payload, Vec<String>> {
    let name = &effective.package.name;
    let directory = paths::version(name, &effective.version);
    let download = |path: &str| -> Result<(String, String), Vec<String>> {
        let path = kok_render::format::words(path, context).map_err(|error| vec![error.to_string()])?;
        let mirror = effective.source.mirror.as_deref().unwrap_or_default();
        let sha256 = effective.source.sha256.get(arch).ok_or_else(|| {
            vec![format!(
                "package {name} {} has no source.sha256 for {arch}, the host's architecture",
                effective.version
            )]
        })?;
        Ok((format!("{}/{path}", mirror.trim_end_matches('/')), sha256.clone()))
    };
    Ok(match &effective.package.source {
        Source::File { path, name: file } => {
            let (url, sha256) = download(path)?;
            Payload::File {
                url,
                sha256,
                path: format!("{directory}/{file}"),
            }
        }
        Source::Archive {
            path,
            strip,
            binaries,
        } => {
            let (url, sha256) = download(path)?;
            Payload::Archive {
                url,
                sha256,
                strip: *strip,
                archive: format!("{directory}.archive"),
                binaries: binaries
                    .iter()
                    .map(|file| format!("{directory}/{file}"))
                    .collect(),
                directory,
            }
        }
        Source::Deb { name: deb } => Payload::Deb {
            name: deb.clone(),
            list: effective.source.apt.as_ref().map(|_| paths::apt_list(name)),
        },
    })
}

/// The files by which apt knows a repository that is not the host's.
fn apt_files(effective: &Effective<'_>) -> Vec<Rendered> {
    let (Some(mirror), Some(apt)) = (&effective.source.mirror, &effective.source.apt) else {
        return Vec::new();
    };
    let AptRepository {
        suite,
        components,
        signing_key,
    } = apt;
    let (list, key) = (
        paths::apt_list(&effective.package.name),
        paths::apt_key(&effective.package.name),
    );
    // A suite that ends in a slash is a directory, and has no components.
    let line = format!(
        "deb [signed-by={key}] {mirror} {suite} {}\n",
        components.join(" ")
    );
    vec![
        generated(key, format!("{}\n", signing_key.trim_end())),
        generated(list, line),
    ]
}

/// The files by which kernel parameters and modules are set again at boot.
fn kernel_files(package: &Package, modules: &[&Module]) -> Vec<Rendered> {
    let mut files = Vec::new();
    if !package.sysctls.is_empty() {
        let lines = package
            .sysctls
            .iter()
            .map(|(key, value)| format!("{key} = {value}\n"));
        files.push(generated(paths::sysctls(&package.name), lines.collect()));
    }
    if !modules.is_empty() {
        let lines = modules.iter().map(|module| format!("{}\n", module.name));
        files.push(generated(paths::modules(&package.name), lines.collect()));
    }
    files
}

fn generated(path: String, text: String) -> Rendered {
    Rendered {
        path,
        text,
        mode: 0o644,
        owner: 0,
        disruption: Disruption::None,
    }
}

/// The first two numbers of a version, for templates: `20.10.24+dfsg1` and `5:20.10.24` are 20 and 10.
pub(super) fn major_and_minor(version: &str) -> (u32, u32) {
    let without_epoch = version.split_once(':').map_or(version, |(_, rest)| rest);
    let mut numbers = without_epoch
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or_default());
    (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    )
}
