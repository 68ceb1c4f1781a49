//! Observe: everything that a plan for one Cluster is made from, by reads alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Secret, Service};
use k8s_openapi::api::storage::v1::StorageClass;
use kok_api::Cluster;
use kok_api::cluster::{ClusterSpec, EndpointType};
use kok_api::names;
use kok_plan::Observed;
use kok_plan::cluster::endpoint::EXTERNAL_SERVICE;
use kok_plan::cluster::endpoint::Endpoints;
use kok_plan::cluster::view::{
    ClusterView, EtcdFacts, ExternalAnswer, NodeFacts, OperatorFacts, Refusal, SecretFacts, StorageClassFacts,
};
use kok_plan::cluster::{ACCEPTED_SPEC, proposal, secrets};
use kok_plan::kind::{self, Kind, POD, SERVICE};
use kok_plan::object::{Live, ObjectKey};
use kok_plan::version::Version;
use kok_render::sha256_hex;
use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client, ResourceExt};

use crate::connect::{Clock, Connect, DEADLINE};
use crate::etcd::EtcdCredentials;
use crate::resource;
use crate::settled::Settled;

/// Annotation: digest of a Secret's content as we wrote it.
pub(crate) const DATA_HASH: &str = "kubeonkube.io/data-hash";
/// Annotation: digest of the recipe that a Secret was made by.
pub(crate) const RECIPE_HASH: &str = "kubeonkube.io/recipe-hash";

/// Nodes of a business cluster are read in pages of this size.
const NODES_AT_ONCE: u32 = 250;

/// Reads what a plan needs.
pub struct Observer {
    /// Client of the meta cluster.
    pub client: Client,
    /// Facts about this operator.
    pub operator: OperatorFacts,
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
            Some(_) => tokio::try_join!(self.objects(name, &namespace_name), self.secrets(&namespace_name))?,
            None => (BTreeMap::new(), BTreeMap::new()),
        };
        let accepted = accepted_spec(&objects, &namespace_name);
        let (templates, storage_classes, node_port_holder) = tokio::try_join!(
            self.templates(&cluster.spec, accepted.as_ref()),
            self.storage_classes(),
            self.node_port_holder(&cluster.spec, &objects, &namespace_name),
        )?;
        let spec = accepted.clone().unwrap_or_else(|| cluster.spec.clone());
        let mut view = ClusterView {
            now: (self.clock)(),
            operator: self.operator.clone(),
            node_port_holder,
            refusals: Vec::new(),
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
        let (etcd, external, objects, nodes, refusals) = tokio::join!(
            self.etcd(&spec, &view, &raw_secrets),
            external(admin.as_ref(), &view),
            self.business(name, business.as_ref(), &view),
            nodes(business.as_ref(), &view),
            self.refusals(&view),
        );
        (view.etcd, view.external, view.business, view.nodes) = (etcd, external, objects, nodes);
        view.refusals = refusals?;
        Ok(Some(Observation { view, business }))
    }

    async fn namespace(&self, cluster: &str, name: &str) -> Result<Option<Live>, kube::Error> {
        let namespace = Api::<Namespace>::all(self.client.clone()).get_opt(name).await?;
        Ok(namespace.and_then(|namespace| {
            let body = serde_json::to_value(&namespace).ok()?;
            Some(self.live(cluster, &namespace, body))
        }))
    }

    /// Everything in the Cluster's namespace: an object is found by its name, also when somebody took our label off.
    async fn objects(
        &self,
        cluster: &str,
        namespace: &str,
    ) -> Result<BTreeMap<ObjectKey, Live>, kube::Error> {
        let all = ListParams::default();
        let lists = kind::META
            .iter()
            .map(|kind| self.list(&self.client, cluster, kind, Some(namespace), &all));
        Ok(try_join_all(lists).await?.into_iter().flatten().collect())
    }

    async fn list(
        &self,
        client: &Client,
        cluster: &str,
        kind: &Kind,
        namespace: Option<&str>,
        params: &ListParams,
    ) -> Result<Vec<(ObjectKey, Live)>, kube::Error> {
        let list = kok_runtime::apply::api(client, &resource(kind), namespace)
            .list(params)
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

    async fn secrets(&self, namespace: &str) -> Result<BTreeMap<String, Secret>, kube::Error> {
        let list = Api::<Secret>::namespaced(self.client.clone(), namespace)
            .list(&ListParams::default())
            .await?;
        Ok(list
            .items
            .into_iter()
            .map(|secret| (secret.name_any(), secret))
            .collect())
    }

    /// Template ConfigMaps of both specs: the accepted one is kept running while the submitted one is refused.
    async fn templates(
        &self,
        submitted: &ClusterSpec,
        accepted: Option<&ClusterSpec>,
    ) -> Result<BTreeMap<String, Option<BTreeMap<String, String>>>, kube::Error> {
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), &self.operator.namespace);
        let extensions = [Some(submitted), accepted]
            .into_iter()
            .flatten()
            .flat_map(|spec| &spec.extensions);
        let wanted: BTreeSet<String> = extensions
            .filter_map(|extension| extension.template.config_map.clone())
            .collect();
        try_join_all(wanted.into_iter().map(|name| {
            let api = api.clone();
            async move {
                let found = api.get_opt(&name).await?;
                Ok((name, found.map(|config| config.data.unwrap_or_default())))
            }
        }))
        .await
        .map(|found| found.into_iter().collect())
    }

    /// The Service of somebody else that has the node port which `spec` names. Not looked for while our own has it.
    async fn node_port_holder(
        &self,
        spec: &ClusterSpec,
        objects: &BTreeMap<ObjectKey, Live>,
        namespace: &str,
    ) -> Result<Option<String>, kube::Error> {
        let port = spec
            .endpoint
            .port
            .filter(|_| spec.endpoint.type_ == EndpointType::NodePort);
        let Some(port) = port else { return Ok(None) };
        let ours = ObjectKey {
            kind: SERVICE,
            namespace: Some(namespace.into()),
            name: EXTERNAL_SERVICE.into(),
        };
        let held = |live: &Live| live.number("/spec/ports/0/nodePort") == i64::from(port);
        if objects.get(&ours).is_some_and(held) {
            return Ok(None);
        }
        let services = Api::<Service>::all(self.client.clone())
            .list(&ListParams::default())
            .await?;
        let has_port = |service: &&Service| {
            let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
            ports.into_iter().any(|one| one.node_port == Some(port))
        };
        Ok(services.items.iter().find(has_port).map(|service| {
            format!(
                "Service {}/{}",
                service.namespace().unwrap_or_default(),
                service.name_any()
            )
        }))
    }

    /// What the API server would refuse of a spec that is not accepted yet.
    async fn refusals(&self, view: &ClusterView) -> Result<Vec<Refusal>, kube::Error> {
        let trials = proposal(view).into_iter().map(|manifest| async move {
            let object: DynamicObject =
                serde_json::from_value(manifest.body).map_err(kube::Error::SerdeError)?;
            let (kind, namespace) = (resource(&manifest.key.kind), manifest.key.namespace.as_deref());
            let refusal =
                kok_runtime::apply::refusal(&self.client, names::FIELD_MANAGER, &kind, namespace, &object)
                    .await?;
            Ok::<_, kube::Error>(refusal.map(|message| Refusal {
                key: manifest.key,
                message,
            }))
        });
        Ok(try_join_all(trials).await?.into_iter().flatten().collect())
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
        let ours = ListParams::default().labels(&format!(
            "{}={},{}={cluster}",
            names::MANAGED_BY_LABEL,
            names::MANAGED_BY,
            names::CLUSTER_LABEL
        ));
        let lists = kind::BUSINESS
            .iter()
            .map(|kind| self.list(client, cluster, kind, None, &ours));
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
    match tokio::time::timeout(DEADLINE, count_nodes(client)).await {
        Ok(Ok(facts)) => Observed::Known(facts),
        Ok(Err(error)) => Observed::Unknown(error.to_string()),
        Err(_) => Observed::Unknown(format!("no answer within {} s", DEADLINE.as_secs())),
    }
}

/// Page by page: the Node objects of a large cluster are many megabytes.
async fn count_nodes(client: &Client) -> Result<NodeFacts, kube::Error> {
    let api = Api::<Node>::all(client.clone());
    let mut params = ListParams::default().limit(NODES_AT_ONCE);
    let mut facts = NodeFacts::default();
    let mut oldest: Option<Version> = None;
    loop {
        let page = api.list(&params).await?;
        for node in &page.items {
            facts.counts.total += 1;
            facts.counts.ready += i32::from(is_ready(node));
            facts.allocatable.cpu_millis += allocatable(node, "cpu");
            facts.allocatable.memory_bytes += allocatable(node, "memory") / 1000;
            let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
            let kubelet = info.and_then(|info| info.kubelet_version.parse::<Version>().ok());
            oldest = [oldest, kubelet].into_iter().flatten().min();
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    facts.counts.oldest_kubelet = oldest.map(|version| version.to_string());
    Ok(facts)
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What pods can have of a node's resource, in thousandths.
fn allocatable(node: &Node, resource: &str) -> u64 {
    let status = node.status.as_ref();
    let amount = status.and_then(|status| status.allocatable.as_ref()?.get(resource));
    amount
        .and_then(|amount| u64::try_from(kok_plan::object::quantity(&amount.0)?).ok())
        .unwrap_or(0)
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
        ours: secret.labels().get(names::MANAGED_BY_LABEL).map(String::as_str) == Some(names::MANAGED_BY),
        public_key_hash: certificate.as_ref().map(|facts| facts.public_key_sha256.clone()),
        certificate,
    }
}
