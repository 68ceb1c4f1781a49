//! Observe: everything that a plan for one Cluster is made from, by reads alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Secret};
use k8s_openapi::api::storage::v1::StorageClass;
use kok_api::Cluster;
use kok_api::cluster::{ClusterSpec, EndpointType, NodesStatus};
use kok_api::names;
use kok_plan::Observed;
use kok_plan::cluster::endpoint::Endpoints;
use kok_plan::cluster::view::{
    Allocatable, ClusterView, EtcdFacts, ExternalAnswer, NodeFacts, OperatorFacts, Peer, SecretFacts,
    StorageClassFacts,
};
use kok_plan::cluster::{ACCEPTED_SPEC, secrets};
use kok_plan::kind::{self, Kind, POD};
use kok_plan::object::{Live, ObjectKey};
use kok_render::sha256_hex;
use kube::api::{DynamicObject, ListParams};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;
use kube::{Api, Client, ResourceExt};

use crate::connect::{Clock, Connect, DEADLINE};
use crate::etcd::EtcdCredentials;
use crate::resource;
use crate::settled::Settled;

/// Annotation: digest of a Secret's content as we wrote it.
pub(crate) const DATA_HASH: &str = "kubeonkube.io/data-hash";
/// Annotation: digest of the recipe that a Secret was made by.
pub(crate) const RECIPE_HASH: &str = "kubeonkube.io/recipe-hash";

/// Reads what a plan needs.
pub struct Observer {
    /// Client of the meta cluster.
    pub client: Client,
    /// Facts about this operator.
    pub operator: OperatorFacts,
    /// All Clusters, to find collisions.
    pub clusters: Store<DeserializeGuard<Cluster>>,
    /// What our own writes left behind.
    pub settled: Arc<Settled>,
    /// The way to business clusters.
    pub connect: Arc<dyn Connect>,
    /// The time of day.
    pub clock: Clock,
}

/// A view, and the credentials that were read on the way; they never enter the view.
pub struct Observation {
    /// What plans are made from.
    pub view: ClusterView,
    /// Client of the business cluster, when there are credentials for it.
    pub business: Option<Client>,
}

impl Observer {
    /// Observes Cluster `name`; None when there is none.
    ///
    /// # Errors
    /// When the meta cluster cannot be read. What a business cluster does not answer is Unknown instead.
    pub async fn observe(&self, name: &str) -> Result<Option<Observation>, kube::Error> {
        let Some(cluster) = Api::<Cluster>::all(self.client.clone()).get_opt(name).await? else {
            return Ok(None);
        };
        let namespace_name = names::cluster_namespace(name);
        let namespace = self.namespace(name, &namespace_name).await?;
        let (objects, raw_secrets) = match namespace {
            Some(_) => tokio::try_join!(
                self.objects(name, &namespace_name),
                self.secrets(name, &namespace_name)
            )?,
            None => (BTreeMap::new(), BTreeMap::new()),
        };
        let templates = self.templates(&cluster).await?;
        let storage_classes = self.storage_classes().await?;
        let accepted = accepted_spec(&objects, &namespace_name);
        let spec = accepted.clone().unwrap_or_else(|| cluster.spec.clone());
        let mut view = ClusterView {
            now: (self.clock)(),
            operator: self.operator.clone(),
            peers: self.peers(name),
            storage_classes,
            namespace,
            secrets: raw_secrets
                .iter()
                .map(|(name, secret)| (name.clone(), secret_facts(secret)))
                .collect(),
            ca_pem: raw_secrets
                .get(secrets::CA)
                .and_then(|secret| text(secret, "tls.crt")),
            objects,
            templates,
            accepted,
            etcd: Observed::Absent,
            external: Observed::Absent,
            business: Observed::Absent,
            nodes: Observed::Absent,
            cluster,
        };
        if view.cluster.metadata.deletion_timestamp.is_some() && !view.deletion_is_held_back() {
            return Ok(Some(Observation { view, business: None }));
        }
        let client_of = |name: &str| {
            self.connect
                .business(&text(raw_secrets.get(name)?, "kubeconfig")?)
        };
        let (business, admin) = (client_of(secrets::OPERATOR), client_of(secrets::ADMIN));
        let (etcd, external, objects, nodes) = tokio::join!(
            self.etcd(&spec, &view, &raw_secrets),
            external(admin.as_ref(), &view),
            self.business(name, business.as_ref(), &view),
            nodes(business.as_ref(), &view),
        );
        (view.etcd, view.external, view.business, view.nodes) = (etcd, external, objects, nodes);
        Ok(Some(Observation { view, business }))
    }

    async fn namespace(&self, cluster: &str, name: &str) -> Result<Option<Live>, kube::Error> {
        let namespace = Api::<Namespace>::all(self.client.clone()).get_opt(name).await?;
        Ok(namespace.and_then(|namespace| {
            let body = serde_json::to_value(&namespace).ok()?;
            Some(self.live(cluster, &namespace, body))
        }))
    }

    async fn objects(
        &self,
        cluster: &str,
        namespace: &str,
    ) -> Result<BTreeMap<ObjectKey, Live>, kube::Error> {
        let lists = kind::META
            .iter()
            .map(|kind| self.list(&self.client, cluster, kind, Some(namespace)));
        Ok(try_join_all(lists).await?.into_iter().flatten().collect())
    }

    async fn list(
        &self,
        client: &Client,
        cluster: &str,
        kind: &Kind,
        namespace: Option<&str>,
    ) -> Result<Vec<(ObjectKey, Live)>, kube::Error> {
        let params = ListParams::default().labels(&format!(
            "{}={},{}={cluster}",
            names::MANAGED_BY_LABEL,
            names::MANAGED_BY,
            names::CLUSTER_LABEL
        ));
        let list = kok_runtime::apply::api(client, &resource(kind), namespace)
            .list(&params)
            .await?;
        Ok(list
            .items
            .into_iter()
            .map(|object| self.keyed(cluster, kind, object))
            .collect())
    }

    fn keyed(&self, cluster: &str, kind: &Kind, mut object: DynamicObject) -> (ObjectKey, Live) {
        object.metadata.managed_fields = None;
        let key = ObjectKey {
            kind: *kind,
            namespace: object.namespace(),
            name: object.name_any(),
        };
        let body = serde_json::to_value(&object).unwrap_or_default();
        let live = self.live(cluster, &object, body);
        (key, live)
    }

    fn live<K: ResourceExt>(&self, cluster: &str, object: &K, body: serde_json::Value) -> Live {
        let (uid, resource_version) = (
            object.uid().unwrap_or_default(),
            object.resource_version().unwrap_or_default(),
        );
        Live {
            settled: self.settled.hash(cluster, &uid, &resource_version),
            deleting: object.meta().deletion_timestamp.is_some(),
            uid,
            resource_version,
            body,
        }
    }

    async fn secrets(&self, cluster: &str, namespace: &str) -> Result<BTreeMap<String, Secret>, kube::Error> {
        let params = ListParams::default().labels(&format!(
            "{}={},{}={cluster}",
            names::MANAGED_BY_LABEL,
            names::MANAGED_BY,
            names::CLUSTER_LABEL
        ));
        let list = Api::<Secret>::namespaced(self.client.clone(), namespace)
            .list(&params)
            .await?;
        Ok(list
            .items
            .into_iter()
            .map(|secret| (secret.name_any(), secret))
            .collect())
    }

    async fn templates(
        &self,
        cluster: &Cluster,
    ) -> Result<BTreeMap<String, Option<BTreeMap<String, String>>>, kube::Error> {
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), &self.operator.namespace);
        let wanted = cluster
            .spec
            .extensions
            .iter()
            .filter_map(|extension| extension.template.config_map.clone());
        try_join_all(wanted.map(|name| {
            let api = api.clone();
            async move {
                let found = api.get_opt(&name).await?;
                Ok((name, found.map(|config| config.data.unwrap_or_default())))
            }
        }))
        .await
        .map(|found| found.into_iter().collect())
    }

    async fn storage_classes(&self) -> Result<Vec<StorageClassFacts>, kube::Error> {
        let list = Api::<StorageClass>::all(self.client.clone())
            .list(&ListParams::default())
            .await?;
        let mut classes: Vec<_> = list
            .items
            .into_iter()
            .map(|class| StorageClassFacts {
                default: class
                    .annotations()
                    .get("storageclass.kubernetes.io/is-default-class")
                    .is_some_and(|it| it == "true"),
                name: class.name_any(),
            })
            .collect();
        classes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(classes)
    }

    fn peers(&self, name: &str) -> Vec<Peer> {
        let mut peers: Vec<Peer> = self
            .clusters
            .state()
            .iter()
            .filter_map(|guard| guard.0.as_ref().ok())
            .filter(|peer| peer.name_any() != name)
            .map(|peer| Peer {
                name: peer.name_any(),
                node_port: peer
                    .spec
                    .endpoint
                    .port
                    .filter(|_| peer.spec.endpoint.type_ == EndpointType::NodePort),
                created: peer.metadata.creation_timestamp.as_ref().map(|time| time.0),
            })
            .collect();
        peers.sort_by(|a, b| a.name.cmp(&b.name));
        peers
    }

    async fn etcd(
        &self,
        spec: &ClusterSpec,
        view: &ClusterView,
        secrets: &BTreeMap<String, Secret>,
    ) -> Observed<EtcdFacts> {
        let credentials = secrets.get(secrets::OPERATOR_ETCD).and_then(|secret| {
            Some(EtcdCredentials {
                ca: text(secret, "ca.crt")?,
                certificate: text(secret, "tls.crt")?,
                key: text(secret, "tls.key")?,
            })
        });
        let Some(credentials) = credentials else {
            return Observed::Absent;
        };
        let ends = Endpoints::of(spec, view);
        let names: Vec<String> = (0..spec.mode.replicas()).map(names::etcd_member).collect();
        let running = names
            .iter()
            .any(|name| view.object(POD, name).and_then(|pod| pod.text("/status/phase")) == Some("Running"));
        if !running {
            return Observed::Unknown("no etcd pod is running".into());
        }
        let hosts: Vec<(String, String)> = names
            .into_iter()
            .map(|name| (name.clone(), ends.etcd_host(&name)))
            .collect();
        self.connect.etcd(&hosts, &credentials).await
    }

    async fn business(
        &self,
        cluster: &str,
        client: Option<&Client>,
        view: &ClusterView,
    ) -> Observed<BTreeMap<ObjectKey, Live>> {
        let Some(client) = client.filter(|_| apiserver_started(view)) else {
            return Observed::Absent;
        };
        let lists = kind::BUSINESS
            .iter()
            .map(|kind| self.list(client, cluster, kind, None));
        match tokio::time::timeout(DEADLINE, try_join_all(lists)).await {
            Ok(Ok(lists)) => Observed::Known(lists.into_iter().flatten().collect()),
            Ok(Err(error)) => Observed::Unknown(error.to_string()),
            Err(_) => Observed::Unknown(format!("no answer within {} s", DEADLINE.as_secs())),
        }
    }
}

/// Whether a pod of the apiserver runs: before that, asking it only costs time.
fn apiserver_started(view: &ClusterView) -> bool {
    let name = kok_plan::cluster::manifests::APISERVER;
    view.object(kind::DEPLOYMENT, name)
        .is_some_and(|live| live.number("/status/readyReplicas") > 0)
}

async fn external(admin: Option<&Client>, view: &ClusterView) -> Observed<ExternalAnswer> {
    let Some(client) = admin.filter(|_| apiserver_started(view)) else {
        return Observed::Absent;
    };
    let ask = async {
        Api::<Namespace>::all(client.clone()).get("kube-system").await?;
        client.apiserver_version().await
    };
    match tokio::time::timeout(DEADLINE, ask).await {
        Ok(Ok(info)) => Observed::Known(ExternalAnswer {
            version: info.git_version.trim_start_matches('v').into(),
        }),
        Ok(Err(error)) => Observed::Unknown(error.to_string()),
        Err(_) => Observed::Unknown(format!("no answer within {} s", DEADLINE.as_secs())),
    }
}

async fn nodes(client: Option<&Client>, view: &ClusterView) -> Observed<NodeFacts> {
    let Some(client) = client.filter(|_| apiserver_started(view)) else {
        return Observed::Absent;
    };
    let api = Api::<Node>::all(client.clone());
    let params = ListParams::default();
    match tokio::time::timeout(DEADLINE, api.list(&params)).await {
        Ok(Ok(list)) => Observed::Known(node_facts(&list.items)),
        Ok(Err(error)) => Observed::Unknown(error.to_string()),
        Err(_) => Observed::Unknown(format!("no answer within {} s", DEADLINE.as_secs())),
    }
}

fn node_facts(nodes: &[Node]) -> NodeFacts {
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let ready = |node: &&Node| {
        let conditions = node
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        conditions
            .into_iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    let kubelets = nodes.iter().filter_map(|node| {
        let version = &node.status.as_ref()?.node_info.as_ref()?.kubelet_version;
        version.parse::<kok_plan::version::Version>().ok()
    });
    NodeFacts {
        counts: NodesStatus {
            total: count(nodes.len()),
            ready: count(nodes.iter().filter(ready).count()),
            oldest_kubelet: kubelets.min().map(|version| version.to_string()),
        },
        allocatable: Allocatable {
            cpu_millis: allocatable(nodes, "cpu"),
            memory_bytes: allocatable(nodes, "memory") / 1000,
        },
    }
}

/// What all nodes together have of a resource, in thousandths.
fn allocatable(nodes: &[Node], resource: &str) -> u64 {
    nodes
        .iter()
        .filter_map(|node| node.status.as_ref()?.allocatable.as_ref()?.get(resource))
        .filter_map(|amount| u64::try_from(kok_plan::object::quantity(&amount.0)?).ok())
        .sum()
}

fn accepted_spec(objects: &BTreeMap<ObjectKey, Live>, namespace: &str) -> Option<ClusterSpec> {
    let key = ObjectKey {
        kind: kind::CONFIG_MAP,
        namespace: Some(namespace.into()),
        name: ACCEPTED_SPEC.into(),
    };
    serde_json::from_str(objects.get(&key)?.text("/data/spec.json")?).ok()
}

pub(crate) fn text(secret: &Secret, key: &str) -> Option<String> {
    String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok()
}

/// Digest of a Secret's content.
pub(crate) fn data_digest(data: &BTreeMap<String, Vec<u8>>) -> String {
    let mut text = String::new();
    for (key, value) in data {
        text.push_str(key);
        text.push(':');
        text.push_str(&STANDARD.encode(value));
        text.push(';');
    }
    sha256_hex(text.as_bytes())
}

fn secret_facts(secret: &Secret) -> SecretFacts {
    let data: BTreeMap<String, Vec<u8>> = secret
        .data
        .iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.0.clone()))
        .collect();
    let digest = data_digest(&data);
    let annotation = |name: &str| secret.annotations().get(name).cloned();
    let certificate = text(secret, "tls.crt").and_then(|pem| kok_pki::inspect(&pem).ok());
    SecretFacts {
        uid: secret.uid().unwrap_or_default(),
        resource_version: secret.resource_version().unwrap_or_default(),
        intact: annotation(DATA_HASH).as_deref() == Some(digest.as_str()),
        digest,
        recipe: annotation(RECIPE_HASH),
        public_key_hash: certificate.as_ref().map(|facts| facts.public_key_sha256.clone()),
        certificate,
    }
}
