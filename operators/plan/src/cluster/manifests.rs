//! The control plane's objects, rendered from `templates/control-plane/`.

use std::collections::BTreeMap;

use kok_api::cluster::{AuditLevel, ClusterSpec, Oidc};
use kok_api::names;
use kok_render::{RenderError, builtin, sha256_hex};
use serde::Serialize;
use serde_json::{Value, json};

use super::endpoint::Endpoints;
use super::view::ClusterView;
use crate::kind::{Kind, META, NAMESPACE};
use crate::object::{Manifest, Refused};
use crate::version::Version;

/// Name of the etcd component.
pub const ETCD: &str = "etcd";
/// Name of the apiserver component.
pub const APISERVER: &str = "kube-apiserver";
/// Name of the controller-manager component.
pub const CONTROLLER_MANAGER: &str = "kube-controller-manager";
/// Name of the scheduler component.
pub const SCHEDULER: &str = "kube-scheduler";

/// Why the control plane could not be rendered: a defect of the shipped templates, shown rather than hidden.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A template did not render.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// A template named a kind that we may not write.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A template is not compiled in.
    #[error("template control-plane/{0} is not part of this build")]
    NoTemplate(String),
}

/// A Deployment of the control plane as the plan wants it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentPlan {
    /// Component, which is the Deployment's name.
    pub name: &'static str,
    /// Version to run now: while an upgrade waits for its turn, the running one.
    pub version: String,
    /// Replicas.
    pub replicas: i32,
    /// Arguments that it keeps; None for those that the spec declares.
    pub running_args: Option<Value>,
}

/// Renders the control plane of one Cluster.
pub struct Renderer<'a> {
    spec: &'a ClusterSpec,
    view: &'a ClusterView,
    ends: Endpoints,
    base: Value,
}

impl<'a> Renderer<'a> {
    /// A renderer for `spec`, which may be the accepted one rather than the submitted one.
    pub fn new(spec: &'a ClusterSpec, view: &'a ClusterView) -> Self {
        let ends = Endpoints::of(spec, view);
        let base = base_context(spec, view, &ends);
        Self {
            spec,
            view,
            ends,
            base,
        }
    }

    /// The namespace.
    pub fn namespace(&self) -> Result<Vec<Manifest>, ManifestError> {
        self.render("namespace", &[NAMESPACE], "control-plane", &json!({}))
    }

    /// Services and network policies.
    pub fn network(&self) -> Result<Vec<Manifest>, ManifestError> {
        let mut manifests = self.render("services", META, APISERVER, &json!({}))?;
        manifests.extend(self.render("network-policies", META, "control-plane", &json!({}))?);
        Ok(manifests)
    }

    /// Disruption budgets: as many as a quorum must stay; a component of one has no budget, or no node could be
    /// drained.
    pub fn budgets(&self) -> Result<Vec<Manifest>, ManifestError> {
        let mode = i32::from(self.spec.mode.replicas());
        let counts = [
            (ETCD, mode),
            (APISERVER, self.spec.apiserver.replicas.unwrap_or(mode)),
            (CONTROLLER_MANAGER, mode),
            (SCHEDULER, mode),
        ];
        let mut manifests = Vec::new();
        for (component, count) in counts.into_iter().filter(|(_, count)| *count > 1) {
            let budget = json!({"budget": {
                "name": component,
                "minAvailable": count / 2 + 1,
                "selector": selector(self.view.name(), component),
            }});
            manifests.extend(self.render("pod-disruption-budget", META, component, &budget)?);
        }
        Ok(manifests)
    }

    /// Files of the apiserver that hold no secret.
    pub fn apiserver_config(&self) -> Result<Vec<Manifest>, ManifestError> {
        let audit = self
            .spec
            .apiserver
            .audit
            .as_ref()
            .map(|audit| audit_policy(audit.level));
        let oidc = self.spec.apiserver.oidc.as_ref().map(authentication);
        let files = json!({
            "audit": audit.map(|policy| kok_render::to_yaml(&policy)).transpose()?,
            "oidc": oidc.map(|config| kok_render::to_yaml(&config)).transpose()?,
        });
        self.render("apiserver-config", META, APISERVER, &files)
    }

    /// One etcd member: Service, claim and Pod. `founded` says whether the etcd cluster exists already: then a
    /// member only ever joins it.
    pub fn etcd_member(&self, ordinal: u8, founded: bool) -> Result<Vec<Manifest>, ManifestError> {
        let name = names::etcd_member(ordinal);
        let state = if founded { "existing" } else { "new" };
        let rendered = self.render("etcd-member", META, ETCD, &self.member_context(&name, state)?)?;
        // The state is a matter of a pod's first start alone; it must not make running pods look outdated.
        let timeless = self.render(
            "etcd-member",
            META,
            ETCD,
            &self.member_context(&name, "existing")?,
        )?;
        Ok(rendered
            .into_iter()
            .zip(timeless)
            .map(|(manifest, timeless)| manifest.sealed(&timeless.hash()))
            .collect())
    }

    /// The Deployment of a component; `inputs` is the digest of all Secrets and ConfigMaps that it reads.
    pub fn deployment(
        &self,
        component: &ComponentPlan,
        inputs: &str,
    ) -> Result<Vec<Manifest>, ManifestError> {
        let (args, resources) = match component.name {
            APISERVER => (&self.spec.apiserver.args, &self.spec.apiserver.resources),
            CONTROLLER_MANAGER => (
                &self.spec.controller_manager.args,
                &self.spec.controller_manager.resources,
            ),
            _ => (&self.spec.scheduler.args, &self.spec.scheduler.resources),
        };
        let declared = self.flags(component.name, &self.component_flags_context(), args)?;
        let flags = component.running_args.clone().unwrap_or_else(|| json!(declared));
        let selector = selector(self.view.name(), component.name);
        let defaults = match component.name {
            APISERVER => json!({"requests": {"cpu": "100m", "memory": "256Mi"}}),
            CONTROLLER_MANAGER => json!({"requests": {"cpu": "25m", "memory": "64Mi"}}),
            _ => json!({"requests": {"cpu": "10m", "memory": "48Mi"}}),
        };
        let mut labels = selector.clone();
        labels.insert(names::MANAGED_BY_LABEL.into(), names::MANAGED_BY.into());
        let context = json!({"component": {
            "replicas": component.replicas,
            "version": component.version,
            "args": flags,
            "selector": selector,
            "labels": labels,
            "inputsHash": inputs,
            "resources": or_default(resources.as_ref(), defaults),
        }});
        self.render(component.name, META, component.name, &context)
    }

    fn component_flags_context(&self) -> Value {
        json!({
            "audit": self.spec.apiserver.audit.is_some(),
            "oidc": self.spec.apiserver.oidc.is_some(),
        })
    }

    fn member_context(&self, name: &str, state: &str) -> Result<Value, ManifestError> {
        let members = (0..self.spec.mode.replicas()).map(names::etcd_member);
        let initial_cluster: Vec<String> = members
            .map(|member| format!("{member}=https://{}:2380", self.ends.etcd_host(&member)))
            .collect();
        let mut selector = selector(self.view.name(), ETCD);
        selector.insert(names::MEMBER_LABEL.into(), name.into());
        let claim = self.spec.etcd.storage.claim_template.as_ref().map(|template| {
            let mut template = template.clone();
            template
                .access_modes
                .get_or_insert_with(|| vec!["ReadWriteOnce".into()]);
            template
        });
        let mut context = json!({"member": {
            "name": name,
            "host": self.ends.etcd_host(name),
            "initialCluster": initial_cluster.join(","),
            "initialClusterState": state,
            "selector": selector,
            "claim": claim,
        }});
        let args = self.flags(ETCD, &context, &self.spec.etcd.args)?;
        context["member"]["args"] = json!(args);
        Ok(context)
    }

    fn flags(
        &self,
        component: &str,
        own: &Value,
        args: &BTreeMap<String, String>,
    ) -> Result<Vec<String>, ManifestError> {
        let name = format!("{component}.flags");
        let mut flags = kok_render::flags(&template(&name)?, &merged(&self.base, own))?;
        flags.extend(args.clone());
        Ok(flags
            .into_iter()
            .map(|(flag, value)| format!("--{flag}={value}"))
            .collect())
    }

    fn render(
        &self,
        name: &str,
        allowed: &[Kind],
        component: &str,
        own: &Value,
    ) -> Result<Vec<Manifest>, ManifestError> {
        let context = merged(&self.base, own);
        let owner = owner_reference(self.view);
        let labels = BTreeMap::from([
            (names::MANAGED_BY_LABEL, names::MANAGED_BY),
            (names::CLUSTER_LABEL, self.view.name()),
            (names::COMPONENT_LABEL, component),
        ]);
        kok_render::objects(&template(name)?, &context)?
            .into_iter()
            .map(|document| {
                let mut manifest = Manifest::of(document, allowed, &self.ends.namespace)?;
                manifest.label(&labels);
                manifest.own(&owner);
                let hash = manifest.hash();
                Ok(manifest.sealed(&hash))
            })
            .collect()
    }
}

/// Owner reference that makes the Cluster the owner of an object.
pub fn owner_reference(view: &ClusterView) -> Value {
    json!({
        "apiVersion": "kubeonkube.io/v1alpha1",
        "kind": "Cluster",
        "name": view.name(),
        "uid": view.uid(),
        "controller": true,
    })
}

/// Labels that select the pods of one component.
pub fn selector(cluster: &str, component: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (names::CLUSTER_LABEL.into(), cluster.into()),
        (names::COMPONENT_LABEL.into(), component.into()),
    ])
}

fn base_context(spec: &ClusterSpec, view: &ClusterView, ends: &Endpoints) -> Value {
    let etcd_version: Option<Version> = spec.etcd.version.parse().ok();
    let client_urls: Vec<String> = (0..spec.mode.replicas())
        .map(|ordinal| format!("https://{}:2379", ends.etcd_host(&names::etcd_member(ordinal))))
        .collect();
    json!({
        "cluster": view.name(),
        "uid": view.uid(),
        "namespace": ends.namespace,
        "operatorNamespace": view.operator.namespace,
        "images": {"repository": view.operator.image_repository},
        "network": spec.network,
        "endpoint": {
            "type": spec.endpoint.type_,
            "host": ends.external_host,
            "port": ends.port,
            "isIP": ends.shared_ip.is_some(),
        },
        "placement": {
            "nodeSelector": spec.placement.node_selector,
            "tolerations": spec.placement.tolerations,
            "topologyKey": spec.placement.topology_key,
            "whenUnsatisfiable": spec.placement.when_unsatisfiable,
        },
        "selectors": {
            "etcd": selector(view.name(), ETCD),
            "apiserver": selector(view.name(), APISERVER),
        },
        "apiserver": {"port": ends.port},
        "etcd": {
            "version": spec.etcd.version,
            "minor": etcd_version.map_or(6, |version| version.minor),
            "clientURLs": client_urls.join(","),
            "emptyDir": spec.etcd.storage.volume_source.as_ref().and_then(|source| source.empty_dir.clone()).unwrap_or_default(),
            "resources": or_default(spec.etcd.resources.as_ref(), json!({"requests": {"cpu": "50m", "memory": "64Mi"}})),
        },
        "podSecurityContext": {
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containerSecurityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
    })
}

fn or_default(chosen: Option<&impl Serialize>, default: Value) -> Value {
    chosen
        .and_then(|chosen| serde_json::to_value(chosen).ok())
        .unwrap_or(default)
}

fn merged(base: &Value, own: &Value) -> Value {
    let mut merged = base.clone();
    if let (Some(merged), Some(own)) = (merged.as_object_mut(), own.as_object()) {
        merged.extend(own.clone());
    }
    merged
}

fn audit_policy(level: AuditLevel) -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            // Bodies of these hold secrets.
            {"level": "Metadata", "resources": [
                {"group": "", "resources": ["secrets", "serviceaccounts/token"]},
                {"group": "authentication.k8s.io", "resources": ["tokenreviews"]},
            ]},
            {"level": level},
        ],
    })
}

fn authentication(oidc: &Oidc) -> Value {
    let mut claims = json!({"username": {"claim": oidc.username_claim, "prefix": "oidc:"}});
    if let Some(groups) = &oidc.groups_claim {
        claims["groups"] = json!({"claim": groups, "prefix": "oidc:"});
    }
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "jwt": [{
            "issuer": {"url": oidc.issuer_url, "audiences": [oidc.client_id]},
            "claimMappings": claims,
        }],
        // Probes, and `kubeadm join` reading cluster-info.
        "anonymous": {"enabled": true},
    })
}

/// Digest over the named Secrets and ConfigMaps: a pod template that carries it rolls when any of them changes. None
/// while one of the Secrets is not there, or is not as the operator wrote it: pods must not roll onto a wrong key.
pub fn inputs_hash(view: &ClusterView, secrets: &[&str], configs: &[Manifest]) -> Option<String> {
    let mut text = String::new();
    for name in secrets {
        let facts = view.secrets.get(*name).filter(|facts| facts.intact)?;
        text.push_str(name);
        text.push_str(&facts.digest);
    }
    for config in configs {
        text.push_str(&config.hash());
    }
    Some(sha256_hex(text.as_bytes()))
}

fn template(name: &str) -> Result<kok_render::Template, ManifestError> {
    builtin::control_plane(name).ok_or_else(|| ManifestError::NoTemplate(name.into()))
}
