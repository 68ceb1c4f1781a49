//! The plan of one Cluster: observe (a [`view::ClusterView`]) -> validate -> plan -> status, all pure.

pub mod endpoint;
pub mod etcd;
pub mod extensions;
pub mod flags;
pub mod gate;
pub mod lint;
pub mod manifests;
pub mod secrets;
pub mod status;
pub mod validate;
pub mod view;

use kok_api::cluster::{ClusterSpec, ClusterStatus};
use kok_api::names;
use serde::Serialize;
use serde_json::json;

use self::gate::{Gate, GateReason};
use self::manifests::{APISERVER, CONTROLLER_MANAGER, ComponentPlan, ManifestError, Renderer, SCHEDULER};
use self::secrets::{Mint, SecretsPlan};
use self::view::ClusterView;
use crate::Observed;
use crate::kind::{CLAIM, CONFIG_MAP, DEPLOYMENT, POD, SECRET};
use crate::object::{Live, Manifest, ObjectKey};

/// Name of the ConfigMap that keeps the last valid spec.
pub const ACCEPTED_SPEC: &str = "accepted-spec";

/// One effect. The executor carries it out as it stands and chooses nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Action {
    /// Put our finalizer on the Cluster.
    AddFinalizer,
    /// Take it off again: nothing of the Cluster is left.
    RemoveFinalizer,
    /// Create an object that must not exist yet.
    Create(Manifest),
    /// Server-side apply.
    Apply {
        /// What is sent.
        manifest: Manifest,
        /// Why: `Missing`, or the field that differs.
        reason: String,
    },
    /// Make a Secret: draws keys and signs.
    Mint(Mint),
    /// Delete exactly this object.
    Delete {
        /// Which object.
        key: ObjectKey,
        /// Precondition.
        uid: String,
        /// Precondition: it was not changed since it was seen.
        resource_version: String,
        /// Why.
        reason: DeleteReason,
    },
    /// Server-side apply in the business cluster.
    ApplyBusiness {
        /// What is sent.
        manifest: Manifest,
        /// Why: `Missing`, or the field that differs.
        reason: String,
    },
    /// Delete exactly this object of the business cluster.
    DeleteBusiness {
        /// Which object.
        key: ObjectKey,
        /// Precondition.
        uid: String,
        /// Precondition: it was not changed since it was seen.
        resource_version: String,
        /// The extension that it was an object of.
        extension: String,
    },
}

/// Why an object of the meta cluster is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, strum::Display)]
pub enum DeleteReason {
    /// A bare pod that succeeded or failed: nothing else starts it again.
    PodEnded,
    /// A pod that is not as declared: it is made again.
    PodOutdated,
    /// No spec asks for it any more.
    NotWanted,
    /// The Cluster is deleted.
    ClusterDeleted,
}

impl Action {
    fn delete(manifest: &Manifest, live: &Live, reason: DeleteReason) -> Self {
        Self::Delete {
            key: manifest.key.clone(),
            uid: live.uid.clone(),
            resource_version: live.resource_version.clone(),
            reason,
        }
    }

    /// The extension whose object this is; None for the control plane itself.
    pub fn extension(&self) -> Option<&str> {
        match self {
            Self::Apply { manifest, .. } | Self::ApplyBusiness { manifest, .. } => manifest.extension(),
            Self::DeleteBusiness { extension, .. } => Some(extension),
            _ => None,
        }
    }

    /// The action's name, for metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AddFinalizer => "AddFinalizer",
            Self::RemoveFinalizer => "RemoveFinalizer",
            Self::Create(_) => "Create",
            Self::Apply { .. } => "Apply",
            Self::Mint(_) => "Mint",
            Self::Delete { .. } => "Delete",
            Self::ApplyBusiness { .. } => "ApplyBusiness",
            Self::DeleteBusiness { .. } => "DeleteBusiness",
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AddFinalizer | Self::RemoveFinalizer => write!(formatter, "{}", self.name()),
            Self::Create(manifest) => write!(formatter, "Create {}", manifest.key),
            Self::Apply { manifest, reason } | Self::ApplyBusiness { manifest, reason } => {
                write!(formatter, "{} {} ({reason})", self.name(), manifest.key)
            }
            Self::Mint(mint) => write!(formatter, "Mint Secret {} ({})", mint.recipe.name, mint.reason),
            Self::Delete { key, reason, .. } => write!(formatter, "Delete {key} ({reason})"),
            Self::DeleteBusiness { key, extension, .. } => {
                write!(
                    formatter,
                    "DeleteBusiness {key} (extension {extension} does not give it any more)"
                )
            }
        }
    }
}

/// What to do for one Cluster now, why the rest waits, and what its status says.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// In order. A failure ends the pass, but for one that is an extension's own: the other extensions go on.
    pub actions: Vec<Action>,
    /// What is waited for.
    pub gates: Vec<Gate>,
    /// The status to be written.
    pub status: ClusterStatus,
    /// Seconds until the next look when no watch says more.
    pub next_look_seconds: u64,
}

/// How often a converged Cluster is looked at: its external endpoint cannot be watched.
const CONVERGED_LOOK: u64 = 60;
/// How often a Cluster is looked at while something is waited for that no watch tells: at first every second, less
/// often the longer it takes.
const WAITING_LOOK: std::ops::RangeInclusive<u64> = 1..=30;

/// Decides everything about one Cluster.
pub fn plan(view: &ClusterView) -> Plan {
    let mut draft = Draft::default();
    if view.cluster.metadata.deletion_timestamp.is_some() {
        if !view.deletion_is_held_back() {
            return deletion(view);
        }
        draft.gates.push(Gate {
            reason: GateReason::DeletionProtected,
            message: "the Cluster is to be deleted but spec.deletionProtection is true; it is kept running: set it to false to go on".into(),
        });
    } else if !view.has_finalizer() {
        draft.actions.push(Action::AddFinalizer);
    }
    if let Some(conflict) = foreign_namespace(view) {
        draft.conflict = true;
        draft.findings.push(conflict);
        return draft.finish(view, None);
    }
    draft.findings = validate::validate(&view.cluster.spec, view);
    let accepted = if draft.findings.is_empty() {
        Some(&view.cluster.spec)
    } else {
        view.accepted.as_ref()
    };
    let Some(spec) = accepted.cloned() else {
        return draft.finish(view, None);
    };
    if view.cluster.spec.paused.is_some() {
        draft.actions.clear();
        return draft.finish(view, Some(&spec));
    }
    if let Err(error) = draft.control_plane(&spec, view) {
        draft.gates.push(Gate {
            reason: GateReason::TemplateDefect,
            message: error.to_string(),
        });
    }
    draft.finish(view, Some(&spec))
}

/// A namespace of our name that is not ours: another user's, or another meta cluster's Cluster of this name.
fn foreign_namespace(view: &ClusterView) -> Option<String> {
    let namespace = view.namespace.as_ref()?;
    (!namespace.owned_by(view.uid())).then(|| {
        format!(
            "namespace {} exists and does not belong to this Cluster: remove it, or give the Cluster another name",
            view.namespace_name()
        )
    })
}

fn deletion(view: &ClusterView) -> Plan {
    let mut draft = Draft {
        deleting: true,
        ..Draft::default()
    };
    match view.own_namespace() {
        _ if !view.has_finalizer() => {}
        Some(namespace) if namespace.deleting => draft.gates.push(Gate {
            reason: GateReason::NamespaceTerminating,
            message: namespace_terminating(view, namespace),
        }),
        Some(namespace) => draft.actions.push(Action::Delete {
            key: ObjectKey {
                kind: crate::kind::NAMESPACE,
                namespace: None,
                name: view.namespace_name(),
            },
            uid: namespace.uid.clone(),
            resource_version: namespace.resource_version.clone(),
            reason: DeleteReason::ClusterDeleted,
        }),
        None => draft.actions.push(Action::RemoveFinalizer),
    }
    draft.finish(view, None)
}

fn namespace_terminating(view: &ClusterView, namespace: &Live) -> String {
    let left: Vec<String> = view.objects.keys().map(ToString::to_string).take(5).collect();
    let why = namespace
        .body
        .pointer("/status/conditions")
        .and_then(serde_json::Value::as_array)
        .into_iter()
        .flatten()
        .find(|condition| condition.get("status") == Some(&json!("True")))
        .and_then(|condition| condition.get("message"))
        .and_then(serde_json::Value::as_str)
        .unwrap_or("its objects are being removed");
    format!(
        "namespace {} is terminating: {why}; left: {}",
        view.namespace_name(),
        left.join(", ")
    )
}

/// What the spec declares for the Deployments of the control plane, in the order in which an upgrade reaches them.
fn declared_components(spec: &ClusterSpec) -> [ComponentPlan; 3] {
    let replicas = i32::from(spec.mode.replicas());
    let component = |name, own: &Option<String>, replicas| ComponentPlan {
        name,
        version: own.clone().unwrap_or_else(|| spec.version.clone()),
        replicas,
        running_args: None,
    };
    [
        component(
            APISERVER,
            &spec.apiserver.version,
            spec.apiserver.replicas.unwrap_or(replicas),
        ),
        component(CONTROLLER_MANAGER, &spec.controller_manager.version, replicas),
        component(SCHEDULER, &spec.scheduler.version, replicas),
    ]
}

/// The Secrets that a component reads: its pods roll when one of them changes.
fn secrets_of(component: &str) -> &'static [&'static str] {
    match component {
        APISERVER => &[
            secrets::CA,
            secrets::ETCD_CA,
            secrets::FRONT_PROXY_CA,
            secrets::SERVICE_ACCOUNT_KEY,
            secrets::ENCRYPTION,
            "apiserver",
            "apiserver-kubelet-client",
            "apiserver-etcd-client",
            "front-proxy-client",
        ],
        CONTROLLER_MANAGER => &[
            secrets::CA,
            secrets::FRONT_PROXY_CA,
            secrets::SERVICE_ACCOUNT_KEY,
            "controller-manager-kubeconfig",
        ],
        _ => &["scheduler-kubeconfig"],
    }
}

/// The ConfigMaps among `apiserver_config` that a component reads.
fn configs_of<'a>(component: &str, apiserver_config: &'a [Manifest]) -> &'a [Manifest] {
    if component == APISERVER {
        apiserver_config
    } else {
        &[]
    }
}

/// What would be written if the submitted spec were accepted, for the API server to try before anything is changed: it
/// knows quantities, node ports, quotas and the like better than any rule of ours. Empty when there is nothing to try.
pub fn proposal(view: &ClusterView) -> Vec<Manifest> {
    let spec = &view.cluster.spec;
    let possible = view.own_namespace().is_some_and(|namespace| !namespace.deleting)
        && view.cluster.metadata.deletion_timestamp.is_none()
        && spec.paused.is_none();
    if !possible || view.accepted.as_ref() == Some(spec) || !validate::validate(spec, view).is_empty() {
        return Vec::new();
    }
    // A template of ours that does not render is told by the plan itself.
    let manifests = proposed(spec, view).unwrap_or_default();
    manifests
        .into_iter()
        .filter(|manifest| manifest.difference(view.objects.get(&manifest.key)).is_some())
        .collect()
}

fn proposed(spec: &ClusterSpec, view: &ClusterView) -> Result<Vec<Manifest>, ManifestError> {
    let renderer = Renderer::new(spec, view);
    let mut manifests = renderer.network()?;
    let config = renderer.apiserver_config()?;
    for component in declared_components(spec) {
        let inputs = manifests::inputs_hash(
            view,
            secrets_of(component.name),
            configs_of(component.name, &config),
        );
        manifests.extend(renderer.deployment(&component, &inputs.unwrap_or_default())?);
    }
    manifests.extend(config);
    manifests.extend(renderer.budgets()?);
    manifests.extend(extensions::render_all(spec, view, &[]).meta);
    // Pods and claims cannot be changed, so new ones are tried. The first member stands for all.
    let member = renderer.etcd_member(0, true)?;
    let outdated = member.iter().any(|manifest| {
        let live = view.objects.get(&manifest.key);
        live.is_none_or(|live| {
            manifest.key.kind == POD && live.annotation(names::APPLIED_HASH) != manifest.seal()
        })
    });
    if outdated {
        manifests.extend(member.iter().map(|manifest| manifest.renamed("etcd-trial")));
    }
    Ok(manifests)
}

/// A plan in the making.
#[derive(Default)]
pub(crate) struct Draft {
    actions: Vec<Action>,
    gates: Vec<Gate>,
    findings: Vec<String>,
    /// Whether the finding is a namespace that is another's.
    conflict: bool,
    secrets: SecretsPlan,
    /// Every object of the namespace that shall exist.
    wanted: Vec<Manifest>,
    /// Components with the version that is planned for them now.
    components: Vec<ComponentPlan>,
    /// Extensions whose templates do not render now, with the reason.
    broken_extensions: Vec<(String, String)>,
    deleting: bool,
}

impl Draft {
    fn control_plane(&mut self, spec: &ClusterSpec, view: &ClusterView) -> Result<(), ManifestError> {
        let renderer = Renderer::new(spec, view);
        self.converge(renderer.namespace()?, view);
        if view.namespace.is_none() {
            // What goes into it is tried there first.
            return Ok(());
        }
        self.accept(spec, view);
        if let Some(gate) = endpoint::pending(spec, view) {
            self.gates.push(gate);
            self.converge(renderer.network()?, view);
            return Ok(());
        }

        self.secrets = secrets::plan(&secrets::recipes(spec, view), view);
        self.gates.extend(self.secrets.gates.clone());
        self.actions
            .extend(self.secrets.mints.iter().cloned().map(Action::Mint));

        let etcd = etcd::plan(spec, view, &renderer)?;
        self.actions.extend(etcd.actions);
        self.gates.extend(etcd.gates);
        self.wanted.extend(etcd.wanted);

        self.converge(renderer.network()?, view);
        let config = renderer.apiserver_config()?;
        self.converge(config.clone(), view);
        self.deployments(spec, view, &renderer, &config)?;
        self.converge(renderer.budgets()?, view);

        let business = self.extensions(spec, view);
        self.prune(spec, view);
        self.actions.extend(business);
        Ok(())
    }

    /// Applies what differs and remembers all of it as wanted.
    fn converge(&mut self, manifests: Vec<Manifest>, view: &ClusterView) {
        for manifest in manifests {
            let live = if manifest.key.kind == crate::kind::NAMESPACE {
                view.namespace.as_ref()
            } else {
                view.objects.get(&manifest.key)
            };
            if let Some(reason) = manifest.difference(live) {
                let manifest = manifest.clone();
                self.actions.push(Action::Apply { manifest, reason });
            }
            self.wanted.push(manifest);
        }
    }

    /// Keeps the last valid spec, so that a later invalid one changes nothing.
    fn accept(&mut self, spec: &ClusterSpec, view: &ClusterView) {
        let key = ObjectKey {
            kind: CONFIG_MAP,
            namespace: Some(view.namespace_name()),
            name: ACCEPTED_SPEC.into(),
        };
        let text = serde_json::to_string(spec).unwrap_or_default();
        let mut manifest = Manifest {
            body: json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {
                    "name": ACCEPTED_SPEC,
                    "namespace": view.namespace_name(),
                    "labels": {
                        names::MANAGED_BY_LABEL: names::MANAGED_BY,
                        names::CLUSTER_LABEL: view.name(),
                    },
                },
                "data": {"spec.json": text},
            }),
            key,
        };
        manifest.own(&manifests::owner_reference(view));
        let hash = manifest.hash();
        self.converge(vec![manifest.sealed(&hash)], view);
    }

    fn deployments(
        &mut self,
        spec: &ClusterSpec,
        view: &ClusterView,
        renderer: &Renderer<'_>,
        config: &[Manifest],
    ) -> Result<(), ManifestError> {
        // etcd before apiservers before controllers; what has no predecessor in flight starts at once.
        let mut may_move = self.etcd_settled(spec, view);
        for mut component in declared_components(spec) {
            let name = component.name;
            let live = view.object(DEPLOYMENT, name);
            if name == APISERVER {
                component.replicas = first_alone(component.replicas, view);
            }
            if let (None, Some(gate)) = (live, waits_to_start(name, spec, view)) {
                self.gates.push(gate);
                self.components.push(component);
                continue;
            }
            if let Some((live, running)) = live.and_then(|live| Some((live, running_version(live)?)))
                && running != component.version
                && !may_move
            {
                self.gates.push(Gate {
                    reason: GateReason::WaitingForItsTurn,
                    message: format!(
                        "{name} stays at {running} until what comes before it in the upgrade is done"
                    ),
                });
                // Flags may be new in the new version: the old one keeps its own.
                component.running_args = live
                    .body
                    .pointer("/spec/template/spec/containers/0/args")
                    .cloned();
                component.version = running;
            }
            self.components.push(component.clone());
            match manifests::inputs_hash(view, secrets_of(name), configs_of(name, config)) {
                Some(hash) => {
                    let manifests = renderer.deployment(&component, &hash)?;
                    let current = manifests.iter().all(|manifest| {
                        view.objects
                            .get(&manifest.key)
                            .is_some_and(|live| manifest.agrees_with(live) && rolled_out(live))
                    });
                    may_move = may_move && current;
                    self.converge(manifests, view);
                }
                None => self.keep(ObjectKey {
                    kind: DEPLOYMENT,
                    namespace: Some(view.namespace_name()),
                    name: name.into(),
                }),
            }
        }
        Ok(())
    }

    /// Whether every etcd member runs what is declared.
    fn etcd_settled(&self, spec: &ClusterSpec, view: &ClusterView) -> bool {
        (0..spec.mode.replicas()).map(names::etcd_member).all(|name| {
            let wanted = self
                .wanted
                .iter()
                .find(|manifest| manifest.key.kind == POD && manifest.key.name == name);
            view.object(POD, &name).is_some_and(|live| {
                !live.deleting
                    && live.annotation(names::APPLIED_HASH) == wanted.and_then(Manifest::seal)
                    && pod_ready(live)
            })
        })
    }

    /// Applies what extensions put beside the control plane, and gives the actions of the business cluster.
    fn extensions(&mut self, spec: &ClusterSpec, view: &ClusterView) -> Vec<Action> {
        let rendered = extensions::render_all(spec, view, &self.wanted);
        self.converge(rendered.meta, view);
        self.broken_extensions = rendered.broken;
        match &view.business {
            Observed::Known(live) => {
                let broken: Vec<&str> = self
                    .broken_extensions
                    .iter()
                    .map(|(name, _)| name.as_str())
                    .collect();
                extensions::converge_business(&rendered.business, live, &broken)
            }
            Observed::Absent | Observed::Unknown(_) => Vec::new(),
        }
    }

    /// Deletes what we once made in the namespace and what no spec asks for any more. Never claims, pods or keys.
    fn prune(&mut self, spec: &ClusterSpec, view: &ClusterView) {
        for (key, live) in &view.objects {
            let kept = [POD, CLAIM].contains(&key.kind)
                || live.deleting
                || live.label(names::MANAGED_BY_LABEL) != Some(names::MANAGED_BY)
                || live.label(names::EXTENSION_LABEL).is_some_and(|extension| {
                    self.broken_extensions
                        .iter()
                        .any(|(broken, _)| broken == extension)
                })
                || live.label(names::MEMBER_LABEL).is_some();
            if !kept && !self.wanted.iter().any(|manifest| &manifest.key == key) {
                self.actions.push(Action::Delete {
                    key: key.clone(),
                    uid: live.uid.clone(),
                    resource_version: live.resource_version.clone(),
                    reason: DeleteReason::NotWanted,
                });
            }
        }
        let wanted: Vec<String> = spec
            .users
            .iter()
            .map(|user| names::user_secret(&user.name))
            .collect();
        for (name, facts) in &view.secrets {
            let of_a_user = facts.ours && name.starts_with("user-") && name.ends_with("-kubeconfig");
            if of_a_user && !wanted.contains(name) {
                self.actions.push(Action::Delete {
                    key: ObjectKey {
                        kind: SECRET,
                        namespace: Some(view.namespace_name()),
                        name: name.clone(),
                    },
                    uid: facts.uid.clone(),
                    resource_version: facts.resource_version.clone(),
                    reason: DeleteReason::NotWanted,
                });
            }
        }
    }

    /// An object that stays as it is for now.
    fn keep(&mut self, key: ObjectKey) {
        self.wanted.push(Manifest {
            key,
            body: serde_json::Value::Null,
        });
    }

    fn finish(self, view: &ClusterView, spec: Option<&ClusterSpec>) -> Plan {
        let status = status::status(&self, view, spec);
        let settled = self.actions.is_empty() && self.gates.is_empty() && status::is_available(&status);
        let renewal = self
            .secrets
            .next_renewal
            .and_then(|at| u64::try_from(at.duration_since(view.now).as_secs()).ok())
            .map_or(CONVERGED_LOOK, |seconds| seconds.clamp(1, CONVERGED_LOOK));
        let idle = spec.is_none() && !self.deleting || view.cluster.spec.paused.is_some();
        let next_look_seconds = if settled || idle {
            renewal
        } else {
            waiting_look(&status, view.now)
        };
        let plan = Plan {
            actions: self.actions,
            gates: self.gates,
            status,
            next_look_seconds,
        };
        debug_assert_eq!(lint::violations(view, &plan), Vec::<String>::new());
        plan
    }
}

fn waiting_look(status: &ClusterStatus, now: jiff::Timestamp) -> u64 {
    let since = status
        .conditions
        .iter()
        .filter(|condition| {
            ["Available", "UpToDate"].contains(&condition.type_.as_str()) && condition.status != "True"
        })
        .map(|condition| condition.last_transition_time.0)
        .max();
    let waited = since
        .and_then(|since| u64::try_from(now.duration_since(since).as_secs()).ok())
        .unwrap_or(0);
    (waited / 8).clamp(*WAITING_LOOK.start(), *WAITING_LOOK.end())
}

/// Why a component is not created yet (docs/adr/0008-start-order.md): an apiserver without etcd and controllers without
/// an apiserver only fail, are held back longer and longer by the kubelet, and take the CPU that the others start with.
fn waits_to_start(component: &str, spec: &ClusterSpec, view: &ClusterView) -> Option<Gate> {
    if component == APISERVER {
        let members = usize::from(spec.mode.replicas());
        let started = etcd::started(spec, view);
        return (started <= members / 2).then(|| Gate {
            reason: GateReason::WaitingForEtcd,
            message: format!(
                "{component} is created when a quorum of etcd runs: {started} of {members} members do"
            ),
        });
    }
    let ready = view
        .object(DEPLOYMENT, APISERVER)
        .is_some_and(|live| live.number("/status/readyReplicas") > 0);
    (!ready).then(|| Gate {
        reason: GateReason::WaitingForApiserver,
        message: format!("{component} is created when a {APISERVER} is ready"),
    })
}

/// Replicas of the apiserver now: the very first one starts alone and writes what all of them start with, then the
/// others follow (docs/adr/0008-start-order.md). Only while the Cluster never ran: nothing is ever scaled down by this.
fn first_alone(replicas: i32, view: &ClusterView) -> i32 {
    let status = view.cluster.status.as_ref();
    let ran = status
        .and_then(|status| status.version.as_ref())
        .is_some_and(|version| version.current.is_some());
    let alone = view
        .object(DEPLOYMENT, APISERVER)
        .is_none_or(|live| live.number("/spec/replicas") <= 1 && live.number("/status/readyReplicas") == 0);
    if !ran && alone { 1 } else { replicas }
}

/// Version of the image that a Deployment asks for.
fn running_version(deployment: &Live) -> Option<String> {
    let image = deployment.text("/spec/template/spec/containers/0/image")?;
    image.rsplit_once(":v").map(|(_, version)| version.to_owned())
}

/// Whether every replica of a Deployment is up to date and available, and no other is left.
pub(crate) fn rolled_out(deployment: &Live) -> bool {
    let wanted = deployment.number("/spec/replicas");
    deployment.number("/status/observedGeneration") >= deployment.number("/metadata/generation")
        && deployment.number("/status/updatedReplicas") == wanted
        && deployment.number("/status/replicas") == wanted
        && deployment.number("/status/availableReplicas") == wanted
}

/// Whether a pod has condition Ready.
pub(crate) fn pod_ready(pod: &Live) -> bool {
    pod.body
        .pointer("/status/conditions")
        .and_then(serde_json::Value::as_array)
        .into_iter()
        .flatten()
        .any(|condition| {
            condition.get("type") == Some(&json!("Ready")) && condition.get("status") == Some(&json!("True"))
        })
}
