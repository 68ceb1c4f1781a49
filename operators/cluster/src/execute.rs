//! Execute: carries out the actions of a plan, in order. It makes no choice. Keys and serial numbers are drawn here.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kok_api::Cluster;
use kok_api::cluster::EncryptionProvider;
use kok_api::names;
use kok_pki::{Ca, Key, KubeconfigFiles, Serial};
use kok_plan::cluster::manifests::owner_reference;
use kok_plan::cluster::secrets::{Kubeconfig, Material, Mint};
use kok_plan::cluster::view::ClusterView;
use kok_plan::cluster::{Action, Plan};
use kok_plan::object::Manifest;
use kok_runtime::error::{ErrorClass, classify};
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;
use tracing::info;

use crate::observe::{DATA_HASH, Observation, RECIPE_HASH, data_digest, text};
use crate::resource;
use crate::settled::Settled;

/// Why an action failed: which one, and what the other side said.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// An API server refused.
    #[error("{action}: {source}")]
    Api {
        /// What was tried.
        action: String,
        /// What it said.
        source: Box<kube::Error>,
    },
    /// A key or certificate could not be made.
    #[error("{action}: {source}")]
    Pki {
        /// What was tried.
        action: String,
        /// Why.
        source: kok_pki::Error,
    },
    /// A Secret that is signed with is not there or not readable.
    #[error("{action}: the CA in Secret {ca} cannot be read")]
    NoCa {
        /// What was tried.
        action: String,
        /// Secret of the CA.
        ca: &'static str,
    },
    /// An action of the business cluster was planned without credentials for it.
    #[error("{action}: there are no credentials for the business cluster")]
    NoBusinessClient {
        /// What was tried.
        action: String,
    },
}

impl ExecuteError {
    /// What it means for the next try.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Api { source, .. } => classify(source),
            Self::Pki { .. } | Self::NoCa { .. } => ErrorClass::Invalid,
            Self::NoBusinessClient { .. } => ErrorClass::Transient,
        }
    }

    /// Whether an API server answered: then the next request may well succeed.
    fn was_answered(&self) -> bool {
        matches!(self, Self::Api { source, .. } if matches!(**source, kube::Error::Api(_)))
    }
}

/// What became of a plan.
#[derive(Debug, Default)]
pub struct Execution {
    /// Names of the actions that were carried out.
    pub done: Vec<&'static str>,
    /// What failed.
    pub failures: Vec<Failure>,
}

/// An action that failed.
#[derive(Debug)]
pub struct Failure {
    /// The extension that it belongs to.
    pub extension: Option<String>,
    /// Why.
    pub error: ExecuteError,
}

/// Carries out plans.
pub struct Executor {
    /// Client of the meta cluster.
    pub client: Client,
    /// What our own writes left behind.
    pub settled: Arc<Settled>,
}

impl Executor {
    /// Carries out the actions of `plan` and gives those that failed; the next pass starts from what is then observed.
    ///
    /// The first failure ends the pass. Only what is wrong with one extension's object stops that extension alone.
    pub async fn execute(&self, plan: &Plan, observation: &Observation) -> Execution {
        let mut cas = BTreeMap::new();
        let mut execution = Execution::default();
        for action in &plan.actions {
            let extension = action.extension();
            if extension.is_some()
                && execution
                    .failures
                    .iter()
                    .any(|it| it.extension.as_deref() == extension)
            {
                continue;
            }
            info!(%action, "acting");
            match self.act(action, observation, &mut cas).await {
                Ok(()) => execution.done.push(action.name()),
                Err(error) => {
                    let goes_on = extension.is_some() && error.was_answered();
                    execution.failures.push(Failure {
                        extension: extension.map(str::to_owned),
                        error,
                    });
                    if !goes_on {
                        break;
                    }
                }
            }
        }
        execution
    }

    async fn act(
        &self,
        action: &Action,
        observation: &Observation,
        cas: &mut BTreeMap<&'static str, Ca>,
    ) -> Result<(), ExecuteError> {
        let view = &observation.view;
        let failed = |source: kube::Error| ExecuteError::Api {
            action: action.to_string(),
            source: Box::new(source),
        };
        let business = || {
            observation
                .business
                .as_ref()
                .ok_or_else(|| ExecuteError::NoBusinessClient {
                    action: action.to_string(),
                })
        };
        match action {
            Action::AddFinalizer => self
                .finalizers(view, |names| names.push(names::CLEANUP_FINALIZER.into()))
                .await
                .map_err(failed),
            Action::RemoveFinalizer => self
                .finalizers(view, |names| {
                    names.retain(|name| name != names::CLEANUP_FINALIZER);
                })
                .await
                .map_err(failed),
            Action::Create(manifest) => create(&self.client, manifest).await.map_err(failed),
            Action::Apply { manifest, .. } => self
                .apply(&self.client, view.name(), manifest)
                .await
                .map_err(failed),
            Action::ApplyBusiness { manifest, .. } => self
                .apply(business()?, view.name(), manifest)
                .await
                .map_err(failed),
            Action::Delete {
                key,
                uid,
                resource_version,
                ..
            } => kok_runtime::apply::delete(
                &self.client,
                &resource(&key.kind),
                key.namespace.as_deref(),
                &key.name,
                uid,
                Some(resource_version),
            )
            .await
            .map(|_| ())
            .map_err(failed),
            Action::DeleteBusiness {
                key,
                uid,
                resource_version,
                ..
            } => kok_runtime::apply::delete(
                business()?,
                &resource(&key.kind),
                key.namespace.as_deref(),
                &key.name,
                uid,
                Some(resource_version),
            )
            .await
            .map(|_| ())
            .map_err(failed),
            Action::Mint(mint) => self.mint(mint, action, view, cas).await,
        }
    }

    /// Changes the Cluster's finalizers, provided that nobody changed the Cluster since it was seen.
    async fn finalizers(
        &self,
        view: &ClusterView,
        change: impl FnOnce(&mut Vec<String>),
    ) -> Result<(), kube::Error> {
        let mut finalizers = view.cluster.metadata.finalizers.clone().unwrap_or_default();
        change(&mut finalizers);
        let patch = json!({"metadata": {
            "finalizers": finalizers,
            "uid": view.uid(),
            "resourceVersion": view.cluster.metadata.resource_version,
        }});
        Api::<Cluster>::all(self.client.clone())
            .patch(view.name(), &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map(|_| ())
    }

    async fn apply(&self, client: &Client, cluster: &str, manifest: &Manifest) -> Result<(), kube::Error> {
        let object: DynamicObject =
            serde_json::from_value(manifest.body.clone()).map_err(kube::Error::SerdeError)?;
        let (kind, namespace) = (resource(&manifest.key.kind), manifest.key.namespace.as_deref());
        let applied =
            kok_runtime::apply::apply(client, names::FIELD_MANAGER, &kind, namespace, &object).await?;
        if let (Some(uid), Some(version), Some(hash)) =
            (applied.uid(), applied.resource_version(), manifest.seal())
        {
            self.settled.record(cluster, &uid, &version, hash);
        }
        Ok(())
    }

    async fn mint(
        &self,
        mint: &Mint,
        action: &Action,
        view: &ClusterView,
        cas: &mut BTreeMap<&'static str, Ca>,
    ) -> Result<(), ExecuteError> {
        let pki = |source| ExecuteError::Pki {
            action: action.to_string(),
            source,
        };
        let failed = |source: kube::Error| ExecuteError::Api {
            action: action.to_string(),
            source: Box::new(source),
        };
        let api = Api::<Secret>::namespaced(self.client.clone(), &view.namespace_name());
        if let Material::Leaf { ca, .. } = &mint.recipe.material
            && !cas.contains_key(ca)
        {
            let secret = api.get(ca).await.map_err(failed)?;
            let loaded = text(&secret, "tls.crt")
                .zip(text(&secret, "tls.key"))
                .and_then(|(certificate, key)| Ca::load(&certificate, &key).ok());
            cas.insert(
                ca,
                loaded.ok_or_else(|| ExecuteError::NoCa {
                    action: action.to_string(),
                    ca,
                })?,
            );
        }
        let data = make(&mint.recipe.material, cas, view).map_err(pki)?;
        let secret = secret(mint, data, view);
        match &mint.replaces {
            None => api
                .create(&PostParams::default(), &secret)
                .await
                .map_err(failed)?,
            Some(_) => api
                .replace(&mint.recipe.name, &PostParams::default(), &secret)
                .await
                .map_err(failed)?,
        };
        Ok(())
    }
}

async fn create(client: &Client, manifest: &Manifest) -> Result<(), kube::Error> {
    let object: DynamicObject =
        serde_json::from_value(manifest.body.clone()).map_err(kube::Error::SerdeError)?;
    let params = PostParams {
        field_manager: Some(names::FIELD_MANAGER.into()),
        ..PostParams::default()
    };
    kok_runtime::apply::api(
        client,
        &resource(&manifest.key.kind),
        manifest.key.namespace.as_deref(),
    )
    .create(&params, &object)
    .await
    .map(|_| ())
}

/// Draws keys and signs: the content of a Secret.
fn make(
    material: &Material,
    cas: &BTreeMap<&'static str, Ca>,
    view: &ClusterView,
) -> Result<BTreeMap<String, Vec<u8>>, kok_pki::Error> {
    // The clock by which it was decided that a certificate is due.
    let now = view.now;
    let mut data = BTreeMap::new();
    let mut put = |key: &str, value: &str| data.insert(key.to_owned(), value.as_bytes().to_vec());
    match material {
        Material::Ca(spec) => {
            let ca = Ca::issue(spec, Key::generate()?, Serial::random()?, now)?;
            put("tls.crt", ca.cert_pem());
            put("tls.key", &ca.key_pem());
        }
        Material::SigningKey => {
            let key = Key::generate()?;
            put("sa.key", &key.to_pem());
            put("sa.pub", &key.public_key_pem());
        }
        Material::Encryption(provider) => {
            let key = STANDARD.encode(random_key()?);
            put("encryption.yaml", &encryption_configuration(*provider, &key));
        }
        Material::Leaf {
            ca, spec, kubeconfig, ..
        } => {
            // Loaded by the caller, which names the Secret when it cannot.
            let Some(ca) = cas.get(ca) else { return Ok(data) };
            let key = Key::generate()?;
            let leaf = ca.issue_leaf(spec, &key, Serial::random()?, now)?;
            put("tls.crt", &leaf.cert_pem);
            put("tls.key", &key.to_pem());
            put("ca.crt", ca.cert_pem());
            match kubeconfig {
                None => {}
                Some(Kubeconfig::Embedded { server }) => {
                    put(
                        "kubeconfig",
                        &kok_pki::kubeconfig_embedded(
                            view.name(),
                            server,
                            ca.cert_pem(),
                            &spec.common_name,
                            &leaf.cert_pem,
                            &key.to_pem(),
                        ),
                    );
                }
                Some(Kubeconfig::Files { server, directory }) => {
                    let files = KubeconfigFiles {
                        ca: format!("{directory}/ca.crt"),
                        cert: format!("{directory}/tls.crt"),
                        key: format!("{directory}/tls.key"),
                    };
                    put(
                        "kubeconfig",
                        &kok_pki::kubeconfig_files(view.name(), server, &spec.common_name, &files),
                    );
                }
            }
        }
    }
    Ok(data)
}

/// 32 random bytes: a key for either encryption provider.
fn random_key() -> Result<[u8; 32], kok_pki::Error> {
    let mut key = [0; 32];
    SystemRandom::new()
        .fill(&mut key)
        .map_err(|_| kok_pki::Error::Randomness)?;
    Ok(key)
}

fn encryption_configuration(provider: EncryptionProvider, key: &str) -> String {
    let provider = match provider {
        EncryptionProvider::Secretbox => "secretbox",
        EncryptionProvider::Aescbc => "aescbc",
    };
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{
            "resources": ["secrets"],
            "providers": [{provider: {"keys": [{"name": "key1", "secret": key}]}}, {"identity": {}}],
        }],
    })
    .to_string()
}

fn secret(mint: &Mint, data: BTreeMap<String, Vec<u8>>, view: &ClusterView) -> Secret {
    let digest = data_digest(&data);
    let mut secret = Secret {
        type_: Some("Opaque".into()),
        ..Secret::default()
    };
    secret.metadata.name = Some(mint.recipe.name.clone());
    secret.metadata.namespace = Some(view.namespace_name());
    secret.metadata.resource_version.clone_from(&mint.replaces);
    secret.metadata.owner_references = serde_json::from_value(json!([owner_reference(view)])).ok();
    secret.metadata.labels = Some(BTreeMap::from([
        (names::MANAGED_BY_LABEL.into(), names::MANAGED_BY.into()),
        (names::CLUSTER_LABEL.into(), view.name().into()),
    ]));
    secret.metadata.annotations = Some(BTreeMap::from([
        (RECIPE_HASH.into(), mint.recipe.hash()),
        (DATA_HASH.into(), digest),
    ]));
    secret.data = Some(
        data.into_iter()
            .map(|(key, value)| (key, ByteString(value)))
            .collect(),
    );
    secret
}
