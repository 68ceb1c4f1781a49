//! Extensions: templates rendered to objects that are kept in the business cluster, or beside its control plane.

use std::collections::BTreeMap;

use kok_api::cluster::{ClusterSpec, Extension, ExtensionPlacement};
use kok_api::names;
use kok_render::builtin::{self, ExtensionSource};
use kok_render::{RenderError, Template};
use serde_json::{Map, Value, json};

use super::Action;
use super::endpoint::Endpoints;
use super::manifests::owner_reference;
use super::view::ClusterView;
use crate::kind::{BUSINESS, META_EXTENSION, apply_rank};
use crate::network::nth_address;
use crate::object::{Live, Manifest, ObjectKey, Refused};

/// Name under which the objects are kept that every business cluster gets.
pub const BOOTSTRAP: &str = "bootstrap";

/// Why an extension gave no objects.
#[derive(Debug, thiserror::Error)]
pub enum ExtensionError {
    /// Its template does not render.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// Its template names something that it may not.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The ConfigMap is not there.
    #[error(
        "ConfigMap {name:?} is not in namespace {namespace}: create it there, with template files as keys that end in .yaml.j2"
    )]
    NoConfigMap {
        /// Name of the ConfigMap.
        name: String,
        /// The operator's namespace.
        namespace: String,
    },
    /// The ConfigMap has no template.
    #[error("ConfigMap {0:?} has no key that ends in .yaml.j2")]
    NoTemplate(String),
    /// Two documents are the same object.
    #[error("the template gives {0} twice")]
    Twice(ObjectKey),
    /// The object is already somebody else's: two who apply one object would undo each other for ever.
    #[error("the template gives {key}, which is {owner}'s: choose another name")]
    Taken {
        /// The object.
        key: String,
        /// Whose it is.
        owner: String,
    },
}

/// The objects of all extensions of a spec.
#[derive(Debug, Default)]
pub struct Rendered {
    /// Objects of the business cluster.
    pub business: Vec<Manifest>,
    /// Objects beside the control plane.
    pub meta: Vec<Manifest>,
    /// Extensions that give no objects now, and why.
    pub broken: Vec<(String, String)>,
}

/// Renders `bootstrap` and then every extension of `spec`. `control_plane` are the objects that no extension may give.
pub fn render_all(spec: &ClusterSpec, view: &ClusterView, control_plane: &[Manifest]) -> Rendered {
    let mut rendered = Rendered::default();
    // Whose every object is, in either cluster.
    let mut owners: BTreeMap<(ExtensionPlacement, ObjectKey), String> = control_plane
        .iter()
        .map(|manifest| {
            (
                (ExtensionPlacement::Meta, manifest.key.clone()),
                "the control plane".to_owned(),
            )
        })
        .collect();
    let bootstrap = (
        BOOTSTRAP,
        ExtensionPlacement::Business,
        render_bootstrap(spec, view),
    );
    let declared = spec.extensions.iter().map(|extension| {
        (
            extension.name.as_str(),
            extension.placement,
            render(spec, extension, view),
        )
    });
    for (name, placement, manifests) in std::iter::once(bootstrap).chain(declared) {
        let own = manifests.and_then(|manifests| {
            let taken = manifests.iter().find_map(|manifest| {
                let owner = owners.get(&(placement, manifest.key.clone()))?;
                Some(ExtensionError::Taken {
                    key: manifest.key.to_string(),
                    owner: owner.clone(),
                })
            });
            taken.map_or(Ok(manifests), Err)
        });
        match own {
            Ok(manifests) => {
                let owner = format!("extension {name}");
                owners.extend(
                    manifests
                        .iter()
                        .map(|manifest| ((placement, manifest.key.clone()), owner.clone())),
                );
                match placement {
                    ExtensionPlacement::Meta => rendered.meta.extend(manifests),
                    ExtensionPlacement::Business => rendered.business.extend(manifests),
                }
            }
            Err(error) => rendered.broken.push((name.to_owned(), error.to_string())),
        }
    }
    rendered
}

/// The objects of one extension of a spec.
///
/// # Errors
/// When the template is missing, does not render, or names something that it may not.
pub fn render(
    spec: &ClusterSpec,
    extension: &Extension,
    view: &ClusterView,
) -> Result<Vec<Manifest>, ExtensionError> {
    let source = match (&extension.template.builtin, &extension.template.config_map) {
        (Some(template), _) => builtin::extension(*template),
        (None, Some(name)) => from_config_map(name, view)?,
        (None, None) => return Err(ExtensionError::NoTemplate(extension.name.clone())),
    };
    from_source(spec, &source, extension, view)
}

/// The objects that every business cluster gets, so that nodes can join by standard means.
///
/// # Errors
/// Only by a defect of the shipped templates.
pub fn render_bootstrap(spec: &ClusterSpec, view: &ClusterView) -> Result<Vec<Manifest>, ExtensionError> {
    let extension = Extension {
        name: BOOTSTRAP.into(),
        version: spec.version.clone(),
        template: kok_api::cluster::TemplateRef {
            builtin: None,
            config_map: None,
        },
        values: Map::new(),
        placement: ExtensionPlacement::Business,
    };
    from_source(spec, &builtin::bootstrap(), &extension, view)
}

fn from_config_map(name: &str, view: &ClusterView) -> Result<ExtensionSource, ExtensionError> {
    let Some(files) = view.templates.get(name).and_then(Option::as_ref) else {
        return Err(ExtensionError::NoConfigMap {
            name: name.into(),
            namespace: view.operator.namespace.clone(),
        });
    };
    let templates: Vec<Template> = files
        .iter()
        .filter(|(file, _)| file.ends_with(".yaml.j2"))
        .map(|(file, text)| Template::new(format!("{name}/{file}"), text.clone()))
        .collect();
    if templates.is_empty() {
        return Err(ExtensionError::NoTemplate(name.into()));
    }
    Ok(ExtensionSource {
        defaults: files.get("defaults.yaml").cloned().unwrap_or_default(),
        templates,
    })
}

fn from_source(
    spec: &ClusterSpec,
    source: &ExtensionSource,
    extension: &Extension,
    view: &ClusterView,
) -> Result<Vec<Manifest>, ExtensionError> {
    let context = context(spec, source, extension, view)?;
    let meta = extension.placement == ExtensionPlacement::Meta;
    let (allowed, namespace) = if meta {
        (META_EXTENSION, view.namespace_name())
    } else {
        (BUSINESS, "kube-system".to_owned())
    };
    let labels = BTreeMap::from([
        (names::MANAGED_BY_LABEL, names::MANAGED_BY),
        (names::CLUSTER_LABEL, view.name()),
        (names::EXTENSION_LABEL, extension.name.as_str()),
    ]);
    let mut manifests: BTreeMap<ObjectKey, Manifest> = BTreeMap::new();
    for template in &source.templates {
        for document in kok_render::objects(template, &context)? {
            let mut manifest = Manifest::of(document, allowed, &namespace)?;
            if meta {
                confine(&manifest, &namespace)?;
                manifest.own(&owner_reference(view));
            }
            manifest.label(&labels);
            let hash = manifest.hash();
            let manifest = manifest.sealed(&hash);
            if let Some(twice) = manifests.insert(manifest.key.clone(), manifest) {
                return Err(ExtensionError::Twice(twice.key));
            }
        }
    }
    let mut manifests: Vec<Manifest> = manifests.into_values().collect();
    manifests.sort_by_key(|manifest| apply_rank(&manifest.key.kind));
    Ok(manifests)
}

/// In the meta cluster an extension stays in its Cluster's namespace.
fn confine(manifest: &Manifest, namespace: &str) -> Result<(), Refused> {
    match &manifest.key.namespace {
        Some(named) if named != namespace => Err(Refused::Namespace {
            kind: manifest.key.kind.kind.into(),
            name: manifest.key.name.clone(),
            namespace: named.clone(),
            allowed: namespace.into(),
        }),
        _ => Ok(()),
    }
}

fn context(
    spec: &ClusterSpec,
    source: &ExtensionSource,
    extension: &Extension,
    view: &ClusterView,
) -> Result<Value, RenderError> {
    let ends = Endpoints::of(spec, view);
    let mut values = if source.defaults.trim().is_empty() {
        Map::new()
    } else {
        kok_render::yaml_map("defaults.yaml", &source.defaults)?
    };
    values.extend(extension.values.clone());
    let mut context = json!({
        "cluster": {
            "name": view.name(),
            "podCIDR": spec.network.pod_cidr,
            "serviceCIDR": spec.network.service_cidr,
            "dnsDomain": spec.network.dns_domain,
            "dnsServiceIP": nth_address(&spec.network.service_cidr, 10).map(|address| address.to_string()),
            "endpoint": {
                "host": ends.external_host,
                "port": ends.port,
                "url": ends.external_url,
                "ip": ends.shared_ip,
            },
            "caPEM": view.ca_pem.clone().unwrap_or_default(),
        },
        "extension": {"name": extension.name, "version": extension.version},
        "images": {"repository": view.operator.image_repository},
        "values": values,
    });
    // For pod templates: pods that read configuration roll when what it is made from changes. A new version of the control
    // plane alone is no reason: an extension has a version of its own.
    context["valuesHash"] = json!(kok_render::sha256_hex(context.to_string().as_bytes()));
    context["cluster"]["version"] = json!(spec.version);
    Ok(context)
}

/// What to do so that the business cluster holds `wanted` and nothing of ours beyond it.
///
/// Objects of an extension in `keep` are left alone: its template does not render just now.
pub fn converge_business(
    wanted: &[Manifest],
    live: &BTreeMap<ObjectKey, Live>,
    keep: &[&str],
) -> Vec<Action> {
    let mut actions: Vec<Action> = wanted
        .iter()
        .filter_map(|manifest| {
            Some(Action::ApplyBusiness {
                reason: manifest.difference(live.get(&manifest.key))?,
                manifest: manifest.clone(),
            })
        })
        .collect();
    for (key, object) in live {
        // Controllers copy labels to what they make (the slices of a Service, say); only what we applied is ours.
        let Some(extension) = object.label(names::EXTENSION_LABEL) else {
            continue;
        };
        let kept = object.annotation(names::APPLIED_HASH).is_none()
            || object.has_controller()
            || object.deleting
            || keep.contains(&extension);
        if !kept && !wanted.iter().any(|manifest| &manifest.key == key) {
            actions.push(Action::DeleteBusiness {
                key: key.clone(),
                uid: object.uid.clone(),
                resource_version: object.resource_version.clone(),
                extension: extension.to_owned(),
            });
        }
    }
    actions
}
