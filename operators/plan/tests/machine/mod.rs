//! A world of hosts and a cluster that carries machine plans out: enough of kubelet, controller-manager and apiserver for a
//! host to join, fall over and leave.

#![allow(dead_code, unreachable_pub)] // each test binary uses a part

mod facts;
pub mod host;
mod kubelet;
pub mod mirror;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kok_api::machine_status::MachineStatus;
use kok_api::names;
use kok_plan::Observed;
use kok_plan::host::OperationResult;
use kok_plan::machine::catalog::Catalog;
use kok_plan::machine::fleet::Fleet;
use kok_plan::machine::join::{SecretSource, bootstrap_kubeconfig};
use kok_plan::machine::look::{Looked, concerns, is_due, look};
use kok_plan::machine::view::{
    Answer, ClusterFacts, CsrFacts, Defaults, Ended, Hashed, Host as HostAnswer, MachineView, NodeFacts,
    OperatorFacts, Peer, PodFacts, SeenKey, Silence, TokenFacts,
};
use kok_plan::machine::{Action, NodePatch, Plan, fleet, plan};

use self::host::Host;
use self::mirror::{published, usual_packages};

pub const KUBELET_CONF: &str = "/etc/kubernetes/kubelet.conf";
pub const BOOTSTRAP_CONF: &str = "/etc/kubernetes/bootstrap-kubelet.conf";
pub const CLIENT_CERTIFICATE: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";
pub const CNI_CONF: &str = "/etc/cni/net.d/10-kube-on-kube.conflist";

pub fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// A Machine, its host, and what the operator remembers of them.
#[derive(Clone)]
pub struct Site {
    pub machine: kok_api::Machine,
    /// Whether the object still exists.
    pub exists: bool,
    pub host: Host,
    pub reachable: Option<Silence>,
    pub hashed: Option<Hashed>,
    pub ended: Option<Ended>,
    pub looked: Option<Looked>,
    pub pods: Vec<PodFacts>,
}

/// Where a run is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The operator dies after so many actions.
    Action(usize),
    /// The session is lost after so many steps on hosts, and the runner with it.
    Step(usize),
    /// The operator dies while the so-many-th operation runs; the host finishes it.
    Operation(usize),
}

/// The world.
#[derive(Clone)]
pub struct World {
    pub catalog: Catalog,
    pub now: Timestamp,
    pub cluster: ClusterFacts,
    pub defaults: Option<Defaults>,
    pub sites: Vec<Site>,
    pub nodes: BTreeMap<String, NodeFacts>,
    pub tokens: BTreeMap<String, TokenFacts>,
    pub requests: BTreeMap<String, CsrFacts>,
    pub decided: BTreeMap<String, bool>,
    pub generation: u64,
    pub freeze_percent: u32,
    /// Everything that was done, in order.
    pub done: Vec<String>,
    /// Most machines that were seen unavailable at once, among those that had joined.
    pub most_unavailable: usize,
    pub cut: Option<Cut>,
    was_ready: BTreeSet<String>,
    counted_actions: usize,
    counted_steps: usize,
    counted_operations: usize,
    versions: u64,
}

impl World {
    /// A cluster with `count` bare hosts.
    pub fn new(count: usize) -> Self {
        let mut world = Self {
            catalog: Catalog::shipped().unwrap(),
            now: start(),
            cluster: ClusterFacts {
                name: "payments".into(),
                uid: "cluster-uid".into(),
                endpoint: "https://10.77.0.11:30443".into(),
                ca: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".into(),
                dns_ip: "10.96.0.10".into(),
                dns_domain: "cluster.local".into(),
                version: Some("1.36.3".into()),
                allowed_cidrs: vec!["10.77.0.0/16".into()],
            },
            defaults: Some(Defaults {
                packages: usual_packages(),
                max_unavailable: IntOrString::Int(1),
                max_concurrent: 2,
            }),
            sites: Vec::new(),
            nodes: BTreeMap::new(),
            tokens: BTreeMap::new(),
            requests: BTreeMap::new(),
            decided: BTreeMap::new(),
            generation: 1,
            freeze_percent: 30,
            done: Vec::new(),
            most_unavailable: 0,
            cut: None,
            was_ready: BTreeSet::new(),
            counted_actions: 0,
            counted_steps: 0,
            counted_operations: 0,
            versions: 0,
        };
        for number in 1..=count {
            world.add(number);
        }
        world
    }

    pub fn add(&mut self, number: usize) {
        let name = format!("node{number}");
        let address = format!("10.77.0.{}", 20 + number);
        let text = format!(
            r#"{{"apiVersion": "kubeonkube.io/v1alpha1", "kind": "Machine",
            "metadata": {{"name": "{name}", "uid": "uid-{name}", "generation": 1}},
            "spec": {{"address": "{address}", "hostname": "{name}", "idc": "hz-a",
              "ssh": {{"credential": {{"secret": "key"}}, "hostKey": {{"policy": "TrustOnFirstUse"}}}}}}}}"#
        );
        let mut machine: kok_api::Machine = serde_json::from_str(&text).unwrap();
        machine.metadata.creation_timestamp = Some(Time(self.now));
        let mut host = Host::new(&name, &address);
        for (package, versions) in [
            ("runc", &["1.3.4", "1.3.5"][..]),
            ("containerd", &["2.4.2", "2.5.0", "1.7.24"]),
            ("cni-plugins", &["1.9.1"]),
            ("kubelet", &["1.36.3", "1.36.4", "1.35.4"]),
        ] {
            for version in versions {
                let (path, content) = published(package, version);
                host.mirror.insert(format!("{}/{path}", mirror::MIRROR), content);
            }
        }
        self.sites.push(Site {
            machine,
            exists: true,
            host,
            reachable: None,
            hashed: None,
            ended: None,
            looked: None,
            pods: Vec::new(),
        });
    }

    fn next_version(&mut self) -> String {
        self.versions += 1;
        self.versions.to_string()
    }

    pub fn status(&self, index: usize) -> MachineStatus {
        self.sites[index].machine.status.clone().unwrap_or_default()
    }

    pub fn condition(&self, index: usize, type_: &str) -> (String, String, String) {
        let status = self.status(index);
        let found = status.conditions.iter().find(|it| it.type_ == type_).unwrap();
        (found.status.clone(), found.reason.clone(), found.message.clone())
    }

    /// Serving nodes against all that joined.
    pub fn fleet(&self) -> Fleet {
        Fleet::of(self.sites.iter().filter(|site| site.exists).map(|site| {
            let node = self.nodes.get(&site.machine.spec.hostname);
            fleet::Member::of(&site.machine, node)
        }))
    }

    /// What is observed about one Machine; its host is asked when that is due.
    pub fn view(&self, index: usize) -> MachineView {
        self.observe(index, false)
    }

    /// What is observed about one Machine; its host is asked in any case.
    pub fn fresh_view(&self, index: usize) -> MachineView {
        self.observe(index, true)
    }

    fn observe(&self, index: usize, ask: bool) -> MachineView {
        let site = &self.sites[index];
        let spec = &site.machine.spec;
        let node = self.nodes.get(&spec.hostname).cloned();
        let user = format!("system:node:{}", spec.hostname);
        let tokens: Vec<TokenFacts> = self
            .tokens
            .values()
            .filter(|token| token.machine_uid == site.machine.metadata.uid)
            .cloned()
            .collect();
        let mut view = MachineView {
            now: self.now,
            machine: site.machine.clone(),
            operator: OperatorFacts {
                generation: self.generation,
                freeze_percent: self.freeze_percent,
            },
            cluster: self.cluster.clone(),
            defaults: self.defaults.clone(),
            released: BTreeMap::new(),
            credentials: BTreeMap::from([("key".into(), BTreeSet::from(["ssh-privatekey".into()]))]),
            peers: self.peers(index),
            fleet: self.fleet().seen_by(&site.machine.metadata.name.clone().unwrap()),
            node: node.map_or(Observed::Absent, Observed::Known),
            pods: Observed::Absent,
            requests: Observed::Known(
                self.requests
                    .values()
                    .filter(|csr| {
                        csr.username == user
                            || tokens
                                .iter()
                                .any(|token| csr.username == format!("system:bootstrap:{}", token.id))
                    })
                    .cloned()
                    .collect(),
            ),
            tokens: Observed::Known(tokens),
            host: HostAnswer::NotAsked,
            hashed: site.hashed.clone(),
            running: None,
            ended: site.ended.clone(),
        };
        let look = look(&view, &self.catalog);
        if look.pods {
            view.pods = Observed::Known(site.pods.clone());
        }
        if let Ok(query) = look.host
            && (ask || is_due(&view, site.looked.as_ref()))
        {
            view.host = match site.reachable {
                Some(reason) => HostAnswer::Silent {
                    reason,
                    message: "connection timed out".into(),
                },
                None => HostAnswer::Answered(Box::new(Answer {
                    facts: site.host.facts(&query, self.now),
                    key: Some(SeenKey {
                        key: "ssh-ed25519 AAAA".into(),
                        fingerprint: "SHA256:abc".into(),
                    }),
                })),
            };
        }
        view
    }

    fn peers(&self, index: usize) -> Vec<Peer> {
        let others = self
            .sites
            .iter()
            .enumerate()
            .filter(|(other, site)| *other != index && site.exists);
        others
            .map(|(_, site)| Peer {
                name: site.machine.metadata.name.clone().unwrap(),
                uid: site.machine.metadata.uid.clone().unwrap(),
                address: site.machine.spec.address.clone(),
                hostname: site.machine.spec.hostname.clone(),
                machine_id: site.machine.status.as_ref().and_then(|it| it.machine_id.clone()),
                created: site.machine.metadata.creation_timestamp.as_ref().map(|it| it.0),
            })
            .collect()
    }

    /// One reconcile of one Machine. False when it was cut off.
    pub fn pass(&mut self, index: usize) -> Result<Plan, ()> {
        let view = self.view(index);
        let plan = plan(&view, &self.catalog);
        let site = &mut self.sites[index];
        site.hashed.clone_from(&plan.hashed);
        if !matches!(view.host, HostAnswer::NotAsked) {
            site.looked = Some(Looked {
                due: self.now + SignedDuration::from_secs(i64::try_from(plan.next_look_seconds).unwrap()),
                concerns: concerns(&view),
            });
        }
        let recorded = |ended: &Ended| {
            plan.status
                .last_operations
                .iter()
                .any(|it| it.id == ended.result.operation)
                || plan
                    .status
                    .operation
                    .as_ref()
                    .is_some_and(|it| it.id == ended.result.operation)
        };
        let announces = plan.actions.iter().any(|action| matches!(action, Action::Run(_)));
        if announces {
            site.machine.status = Some(plan.status.clone());
        }
        if site.ended.as_ref().is_some_and(recorded) {
            site.ended = None;
        }
        for action in &plan.actions {
            self.perform(index, action)?;
            self.counted_actions += 1;
            if self.cut == Some(Cut::Action(self.counted_actions)) {
                return Err(());
            }
        }
        if self.sites[index].exists && !announces {
            self.sites[index].machine.status = Some(plan.status.clone());
        }
        Ok(plan)
    }

    fn perform(&mut self, index: usize, action: &Action) -> Result<(), ()> {
        if !matches!(action, Action::Run(_)) {
            self.done
                .push(format!("{} {action}", self.sites[index].host.hostname));
        }
        let version = self.next_version();
        match action {
            Action::AddFinalizer => {
                self.sites[index].machine.metadata.finalizers = Some(vec![names::MACHINE_FINALIZER.into()]);
            }
            Action::RemoveFinalizer => self.sites[index].exists = false,
            Action::MintToken(mint) => {
                let token = TokenFacts {
                    id: mint.id.clone(),
                    uid: format!("uid-{}", mint.id),
                    resource_version: version,
                    expires: Some(mint.expires),
                    machine_uid: Some(mint.machine_uid.clone()),
                };
                assert!(
                    self.tokens.insert(mint.id.clone(), token).is_none(),
                    "a token of that id exists"
                );
            }
            Action::DeleteToken { id, .. } => drop(self.tokens.remove(id)),
            Action::DecideRequest { name, approve, .. } => {
                self.requests.remove(name);
                self.decided.insert(name.clone(), *approve);
            }
            Action::PatchNode { patch, .. } => self.patch_node(patch, &version),
            Action::Evict { namespace, name, .. } => {
                let pods = &mut self.sites[index].pods;
                pods.retain(|pod| pod.namespace != *namespace || pod.name != *name);
            }
            Action::DeleteNode { name, uid, .. } => {
                let node = self.nodes.remove(name).unwrap();
                assert_eq!(node.uid, *uid);
            }
            Action::Run(run) => {
                self.counted_operations += 1;
                let dies = self.cut == Some(Cut::Operation(self.counted_operations));
                let mut operation = run.operation.clone();
                for (slot, source) in &run.secrets {
                    let SecretSource::BootstrapKubeconfig { token } = source;
                    assert!(self.tokens.contains_key(token), "the token was not made");
                    operation.fill(
                        slot,
                        &bootstrap_kubeconfig(&self.cluster, token, "0123456789abcdef"),
                    );
                }
                let limit = match self.cut {
                    Some(Cut::Step(cut)) => cut
                        .checked_sub(self.counted_steps)
                        .filter(|left| *left < operation.steps.len()),
                    _ => None,
                };
                if limit.is_some() {
                    self.cut = None;
                }
                self.counted_steps += operation.steps.len();
                let result = self.sites[index].host.carry_out(&operation, limit);
                self.note_run(index, run.reason.as_str(), &result);
                self.count_unavailable();
                if dies {
                    return Err(());
                }
                self.sites[index].ended = Some(Ended { at: self.now, result });
            }
        }
        self.count_unavailable();
        Ok(())
    }

    fn note_run(&mut self, index: usize, reason: &str, result: &OperationResult) {
        let host = &self.sites[index].host.hostname;
        self.done.push(format!(
            "{host} Run {} ({reason}): {:?}",
            result.operation, result.outcome
        ));
    }

    fn patch_node(&mut self, patch: &NodePatch, version: &str) {
        let node = self.nodes.get_mut(&patch.name).unwrap();
        assert_eq!(
            (&node.uid, &node.resource_version),
            (&patch.uid, &patch.resource_version)
        );
        for (own, changes) in [
            (&mut node.labels, &patch.labels),
            (&mut node.annotations, &patch.annotations),
        ] {
            for (key, value) in changes {
                match value {
                    Some(value) => drop(own.insert(key.clone(), value.clone())),
                    None => drop(own.remove(key)),
                }
            }
        }
        if let Some(taints) = &patch.taints {
            node.taints.clone_from(taints);
        }
        node.unschedulable = patch.unschedulable.unwrap_or(node.unschedulable);
        node.resource_version = version.into();
    }

    /// Nodes that were Ready once and do not serve.
    fn count_unavailable(&mut self) {
        for node in self.nodes.values().filter(|node| node.is_ready()) {
            self.was_ready.insert(node.name.clone());
        }
        let serves = |name: &&String| {
            let node = self.nodes.get(*name);
            node.is_some_and(|node| node.is_ready() && !node.unschedulable)
        };
        let down = self.was_ready.iter().filter(|name| !serves(name)).count();
        self.most_unavailable = self.most_unavailable.max(down);
    }

    /// Kubelets, controller-manager and node lifecycle do what they do in `seconds`.
    pub fn tick(&mut self, seconds: u64) {
        self.now += SignedDuration::from_secs(i64::try_from(seconds).unwrap());
        let now = self.now;
        self.tokens
            .retain(|_, token| token.expires.is_none_or(|expires| expires > now));
        for index in 0..self.sites.len() {
            self.kubelet(index);
        }
        self.count_unavailable();
    }

    /// Reconciles every Machine until nothing is done any more for half an hour. After a cut the operator starts anew.
    pub fn settle(&mut self) {
        let mut quiet = 0;
        for round in 0..400 {
            let before = self.done.len();
            for index in 0..self.sites.len() {
                if self.sites[index].exists && self.pass(index).is_err() {
                    self.restart_operator();
                }
            }
            quiet = if before == self.done.len() { quiet + 1 } else { 0 };
            if quiet == 12 {
                return;
            }
            self.tick(if quiet < 5 { 2 } else { 250 });
            assert!(
                round < 399,
                "no rest: {:#?}",
                self.done.iter().rev().take(20).collect::<Vec<_>>()
            );
        }
    }

    fn restart_operator(&mut self) {
        self.cut = None;
        self.generation += 1;
        for site in &mut self.sites {
            site.hashed = None;
            site.ended = None;
        }
    }

    /// A cluster with one host that has been Ready for a while; what was done until then is forgotten.
    pub fn joined() -> Self {
        let mut world = Self::new(1);
        world.settle();
        world.tick(700);
        world.settle();
        world.done.clear();
        world.sites[0].host.changes.clear();
        world
    }

    /// Passes and time until something holds, at most ten minutes.
    pub fn until(&mut self, holds: impl Fn(&Self) -> bool) {
        for _ in 0..300 {
            self.pass(0).unwrap();
            if holds(self) {
                return;
            }
            self.tick(2);
        }
        panic!("{:#?}\n{:#?}", self.done, self.status(0).conditions);
    }

    /// Operations that were carried out.
    pub fn runs(&self) -> Vec<&String> {
        self.done.iter().filter(|it| it.contains(" Run ")).collect()
    }

    pub fn delete(&mut self, index: usize) {
        self.sites[index].machine.metadata.deletion_timestamp = Some(Time(self.now));
    }

    pub fn edit(&mut self, index: usize, edit: impl FnOnce(&mut kok_api::MachineSpec)) {
        let machine = &mut self.sites[index].machine;
        edit(&mut machine.spec);
        machine.metadata.generation = machine.metadata.generation.map(|it| it + 1);
    }

    pub fn actions(&self) -> usize {
        self.counted_actions
    }

    pub fn steps(&self) -> usize {
        self.counted_steps
    }

    pub fn operations(&self) -> usize {
        self.counted_operations
    }
}
