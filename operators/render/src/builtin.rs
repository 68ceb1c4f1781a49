//! The templates that are shipped with the operator, compiled in from `templates/`.

use kok_api::cluster::BuiltinTemplate;

use crate::package::Package;
use crate::{RenderError, Template};

macro_rules! template {
    ($path:literal) => {
        ($path, include_str!(concat!("../../../templates/", $path)))
    };
}

type File = (&'static str, &'static str);

/// `templates/control-plane/`: file name and text.
const CONTROL_PLANE: &[File] = &[
    template!("control-plane/namespace.yaml.j2"),
    template!("control-plane/services.yaml.j2"),
    template!("control-plane/network-policies.yaml.j2"),
    template!("control-plane/pod-disruption-budget.yaml.j2"),
    template!("control-plane/apiserver-config.yaml.j2"),
    template!("control-plane/etcd-member.yaml.j2"),
    template!("control-plane/etcd.flags.yaml.j2"),
    template!("control-plane/kube-apiserver.yaml.j2"),
    template!("control-plane/kube-apiserver.flags.yaml.j2"),
    template!("control-plane/kube-controller-manager.yaml.j2"),
    template!("control-plane/kube-controller-manager.flags.yaml.j2"),
    template!("control-plane/kube-scheduler.yaml.j2"),
    template!("control-plane/kube-scheduler.flags.yaml.j2"),
];

/// An extension's default values and its templates.
#[derive(Clone, Debug)]
pub struct ExtensionSource {
    /// Text of `defaults.yaml`; empty when there is none.
    pub defaults: String,
    /// The templates, in the order in which they are applied.
    pub templates: Vec<Template>,
}

/// The template `templates/control-plane/<name>.yaml.j2`.
///
/// The names are constants of this workspace; a test asks for each of them.
pub fn control_plane(name: &str) -> Option<Template> {
    let path = format!("control-plane/{name}.yaml.j2");
    CONTROL_PLANE
        .iter()
        .find(|(file, _)| *file == path)
        .map(|(file, text)| Template::new(*file, *text))
}

/// The extension that every business cluster gets, so that nodes can join by standard means.
pub fn bootstrap() -> ExtensionSource {
    source(
        template!("extensions/bootstrap/defaults.yaml"),
        &[
            template!("extensions/bootstrap/10-rbac.yaml.j2"),
            template!("extensions/bootstrap/20-config.yaml.j2"),
            template!("extensions/bootstrap/30-kubernetes-endpoints.yaml.j2"),
        ],
    )
}

/// `templates/packages/`: directory name, and name and text of each file. Written by `build.rs`.
const PACKAGES: &[(&str, &[File])] = include!(concat!(env!("OUT_DIR"), "/packages.rs"));

/// The packages of on-host software that are shipped, from the first that is installed to the last.
///
/// # Errors
/// Only by a defect of a shipped `package.yaml`; a test reads all of them.
pub fn packages() -> Result<Vec<Package>, RenderError> {
    let mut packages = PACKAGES
        .iter()
        .map(|(name, files)| Package::parse(name, files.iter().copied()))
        .collect::<Result<Vec<_>, _>>()?;
    packages.sort_by(|one, other| (one.order, &one.name).cmp(&(other.order, &other.name)));
    Ok(packages)
}

/// One of the extensions that users may name.
pub fn extension(template: BuiltinTemplate) -> ExtensionSource {
    match template {
        BuiltinTemplate::Coredns => source(
            template!("extensions/coredns/defaults.yaml"),
            &[template!("extensions/coredns/10-coredns.yaml.j2")],
        ),
        BuiltinTemplate::KubeProxy => source(
            template!("extensions/kube-proxy/defaults.yaml"),
            &[template!("extensions/kube-proxy/10-kube-proxy.yaml.j2")],
        ),
    }
}

fn source(defaults: File, files: &[File]) -> ExtensionSource {
    ExtensionSource {
        defaults: defaults.1.into(),
        templates: files
            .iter()
            .map(|(name, text)| Template::new(*name, *text))
            .collect(),
    }
}
