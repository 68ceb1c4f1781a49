//! A small world in which plans are carried out as the API server and the kubelets would.

#![allow(clippy::unwrap_used, clippy::panic, dead_code, missing_docs, unreachable_pub)] // shared by tests; its helpers fail the test

use std::collections::BTreeMap;
use std::time::Duration;

use kok_api::Cluster;
use kok_plan::Observed;
use kok_plan::cluster::secrets::Material;
use kok_plan::cluster::view::{
    ClusterView, EtcdAnswer, EtcdFacts, EtcdMemberFacts, ExternalAnswer, OperatorFacts, SecretFacts,
    StorageClassFacts,
};
use kok_plan::cluster::{Action, Plan, plan};
use kok_plan::kind::{CONFIG_MAP, DEPLOYMENT, NAMESPACE, POD};
use kok_plan::object::{Live, Manifest, ObjectKey};
use serde_json::json;

/// See the module.
pub struct World {
    /// What the operator would observe.
    pub view: ClusterView,
    version: u64,
}

/// The endpoints controller copies a Service's labels; what it makes is not ours.
fn endpoints_of(service: &ObjectKey, mut live: Live) -> (ObjectKey, Live) {
    let kind = *kok_plan::kind::BUSINESS
        .iter()
        .find(|kind| kind.kind == "Endpoints")
        .unwrap();
    live.body["metadata"]["annotations"] = json!({});
    let key = ObjectKey {
        kind,
        ..service.clone()
    };
    (key, live)
}

pub fn sample(name: &str) -> Cluster {
    let path = format!("{}/../../crds/samples/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    let mut cluster: Cluster = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    cluster.metadata.uid = Some("cluster-uid".into());
    cluster.metadata.generation = Some(1);
    cluster.metadata.resource_version = Some("1".into());
    cluster
}

impl World {
    pub fn new(cluster: Cluster) -> Self {
        let view = ClusterView {
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            cluster,
            operator: OperatorFacts {
                namespace: "kubeonkube-system".into(),
                image_repository: "registry.k8s.io".into(),
            },
            node_port_holder: None,
            refusals: Vec::new(),
            storage_classes: vec![StorageClassFacts {
                name: "standard".into(),
                default: true,
            }],
            namespace: None,
            objects: BTreeMap::new(),
            secrets: BTreeMap::new(),
            ca_pem: None,
            templates: BTreeMap::new(),
            accepted: None,
            etcd: Observed::Absent,
            external: Observed::Absent,
            business: Observed::Absent,
            nodes: Observed::Absent,
        };
        Self { view, version: 1 }
    }

    pub fn live(&mut self, manifest: &Manifest) -> Live {
        self.version += 1;
        let mut body = manifest.body.clone();
        if manifest.key.kind == DEPLOYMENT {
            let replicas = body.pointer("/spec/replicas").cloned().unwrap();
            body["metadata"]["generation"] = json!(1);
            body["status"] = json!({"observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas,
                "availableReplicas": replicas, "readyReplicas": replicas});
        }
        if manifest.key.kind == POD {
            body["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"started": true}]});
        }
        Live {
            uid: format!("uid-{}", self.version),
            resource_version: self.version.to_string(),
            deleting: false,
            settled: None,
            body,
        }
    }

    pub fn mint(&mut self, mint: &kok_plan::cluster::secrets::Mint) {
        self.version += 1;
        let validity = match &mint.recipe.material {
            Material::Ca(spec) => Some((spec.common_name.clone(), spec.validity, true)),
            Material::Leaf { spec, .. } => Some((spec.common_name.clone(), spec.validity, false)),
            Material::SigningKey | Material::Encryption(_) => None,
        };
        let certificate = validity.map(|(_, validity, is_ca)| {
            let key = kok_pki::Key::generate().unwrap();
            let serial = kok_pki::Serial::random().unwrap();
            let ca = kok_pki::Ca::issue(
                &kok_pki::CaSpec::new("ca", Duration::from_hours(10 * 365 * 24)),
                key,
                serial,
                self.view.now,
            )
            .unwrap();
            let mut facts = kok_pki::inspect(ca.cert_pem()).unwrap();
            facts.is_ca = is_ca;
            facts.not_after = self.view.now + jiff::SignedDuration::try_from(validity).unwrap();
            if let Material::Leaf { ca, spec, .. } = &mint.recipe.material {
                let issuer = self.view.secrets[*ca].certificate.clone().unwrap();
                facts.common_name.clone_from(&spec.common_name);
                facts.organizations.clone_from(&spec.organizations);
                facts.dns_names.clone_from(&spec.dns_names);
                facts.ip_addresses.clone_from(&spec.ip_addresses);
                facts.usage = Some(spec.usage);
                facts.issuer_common_name.clone_from(&issuer.common_name);
                facts.authority_key_id.clone_from(&issuer.subject_key_id);
            }
            facts
        });
        self.view.secrets.insert(
            mint.recipe.name.clone(),
            SecretFacts {
                uid: format!("uid-{}", self.version),
                resource_version: self.version.to_string(),
                digest: format!("digest-{}", self.version),
                intact: true,
                recipe: Some(mint.recipe.hash()),
                ours: true,
                public_key_hash: certificate.as_ref().map(|facts| facts.public_key_sha256.clone()),
                certificate,
            },
        );
    }

    pub fn perform(&mut self, action: &Action) {
        match action {
            Action::AddFinalizer => {
                self.view.cluster.metadata.finalizers = Some(vec![kok_api::names::CLEANUP_FINALIZER.into()]);
            }
            Action::RemoveFinalizer => self.view.cluster.metadata.finalizers = None,
            Action::Create(manifest) | Action::Apply { manifest, .. } => {
                assert!(
                    manifest.key.kind == NAMESPACE || self.view.namespace.is_some(),
                    "{action} before its namespace"
                );
                let live = self.live(manifest);
                if manifest.key.kind == NAMESPACE {
                    self.view.namespace = Some(live);
                } else {
                    self.view.objects.insert(manifest.key.clone(), live);
                }
            }
            Action::Mint(mint) => self.mint(mint),
            Action::Delete { key, .. } => {
                if key.kind == NAMESPACE {
                    self.view.namespace = None;
                    self.view.objects.clear();
                    self.view.secrets.clear();
                } else {
                    self.view.objects.remove(key);
                    self.view.secrets.remove(&key.name);
                }
            }
            Action::ApplyBusiness { manifest, .. } => {
                let live = self.live(manifest);
                if let Observed::Known(objects) = &mut self.view.business {
                    objects.insert(manifest.key.clone(), live.clone());
                    if manifest.key.kind.kind == "Service" {
                        let (key, endpoints) = endpoints_of(&manifest.key, live);
                        objects.insert(key, endpoints);
                    }
                }
            }
            Action::DeleteBusiness { key, .. } => {
                if let Observed::Known(objects) = &mut self.view.business {
                    objects.remove(key);
                }
            }
        }
        self.components_act();
    }

    /// What the controllers and the components do by themselves.
    pub fn components_act(&mut self) {
        let serving: Vec<String> = self
            .view
            .objects
            .iter()
            .filter(|(key, live)| key.kind == POD && !live.deleting && is_ready(live))
            .map(|(key, _)| key.name.clone())
            .collect();
        let members: BTreeMap<String, EtcdMemberFacts> = self
            .view
            .objects
            .keys()
            .filter(|key| key.kind == POD)
            .enumerate()
            .map(|(index, key)| {
                let answer = serving.contains(&key.name).then(|| EtcdAnswer {
                    version: "3.6.14".into(),
                    leader: index == 0,
                    db_size: 1 << 20,
                });
                (
                    key.name.clone(),
                    EtcdMemberFacts {
                        id: format!("{index:x}"),
                        learner: false,
                        started: true,
                        answer,
                    },
                )
            })
            .collect();
        if !members.is_empty() {
            self.view.etcd = if serving.is_empty() {
                Observed::Unknown("nobody answers".into())
            } else {
                Observed::Known(EtcdFacts {
                    cluster_id: "abc".into(),
                    quorum: serving.len() > members.len() / 2,
                    members,
                })
            };
        }
        let apiserver = self
            .view
            .objects
            .keys()
            .any(|key| key.kind == DEPLOYMENT && key.name == "kube-apiserver");
        if apiserver && self.view.business == Observed::Absent {
            self.view.business = Observed::Known(BTreeMap::new());
            self.view.external = Observed::Known(ExternalAnswer {
                version: self.view.cluster.spec.version.clone(),
            });
        }
        self.view.accepted = self.accepted();
    }

    pub fn pod(&mut self, name: &str) -> &mut Live {
        let mut pods = self.view.objects.iter_mut();
        let found = pods.find(|(key, _)| key.kind == POD && key.name == name);
        found.unwrap().1
    }

    /// A pod that cannot start: its image is not there, say.
    pub fn break_pod(&mut self, name: &str) {
        self.pod(name).body["status"] =
            json!({"phase": "Pending", "containerStatuses": [{"started": false}]});
        self.components_act();
    }

    pub fn accepted(&self) -> Option<kok_api::ClusterSpec> {
        let key = ObjectKey {
            kind: CONFIG_MAP,
            namespace: Some(self.view.namespace_name()),
            name: "accepted-spec".into(),
        };
        serde_json::from_str(self.view.objects.get(&key)?.text("/data/spec.json")?).ok()
    }

    /// Passes until a plan is empty; gives every action on the way.
    pub fn settle(&mut self) -> Vec<Action> {
        let mut all = Vec::new();
        for _ in 0..20 {
            let plan = self.pass();
            if plan.actions.is_empty() {
                return all;
            }
            all.extend(plan.actions);
        }
        panic!(
            "no rest after 20 passes; last actions: {:?}",
            all.iter()
                .rev()
                .take(5)
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        );
    }

    pub fn pass(&mut self) -> Plan {
        self.view.now += jiff::SignedDuration::from_secs(1);
        let plan = plan(&self.view);
        for action in &plan.actions {
            self.perform(action);
        }
        self.view.cluster.status = Some(plan.status.clone());
        plan
    }

    pub fn condition(&self, type_: &str) -> (String, String) {
        let conditions = &self.view.cluster.status.as_ref().unwrap().conditions;
        let found = conditions
            .iter()
            .find(|condition| condition.type_ == type_)
            .unwrap();
        (found.status.clone(), found.message.clone())
    }
}

fn is_ready(pod: &Live) -> bool {
    pod.body.pointer("/status/conditions/0/status") == Some(&json!("True"))
}

pub fn names(actions: &[Action]) -> Vec<String> {
    actions.iter().map(ToString::to_string).collect()
}
