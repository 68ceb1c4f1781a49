//! What runs in a meta cluster besides the operator: the controllers and kubelets that our objects need, the etcd
//! clusters inside the pods, and the business clusters that they carry.

mod business;
mod deployments;
mod etcd;
mod mirror;
mod pods;
mod services;
mod trouble;
mod volumes;

use std::collections::BTreeMap;

use kok_plan::Observed;
use kok_plan::cluster::view::EtcdFacts;

pub use business::{Answer, Credentials};
pub use etcd::{Etcds, Risk};
pub use mirror::{Mirror, deleting, label, number, text, uid};
pub use trouble::{BAD_VALUE, Trouble};

use crate::api::ApiServer;
use crate::chance::Chance;
use crate::time::{Millis, Time};
use business::Business;
use deployments::Deployments;
use pods::Kubelet;

/// Changes within this time lead to one look of the controllers.
const PACE: Millis = 10;

/// See the module.
pub struct World {
    meta: ApiServer,
    time: Time,
    chance: Chance,
    mirror: Mirror,
    deployments: Deployments,
    kubelet: Kubelet,
    etcds: Etcds,
    businesses: BTreeMap<u64, Business>,
    /// What is made to go wrong with pods.
    pub trouble: Trouble,
    /// When a model wants to be called again.
    wake: Option<Millis>,
    /// When something changed that nobody looked at yet.
    stirred: Option<Millis>,
}

/// What a model sees, and how it asks to be called again.
struct Scene<'a> {
    server: &'a ApiServer,
    objects: &'a Mirror,
    trouble: &'a Trouble,
    chance: Chance,
    now: Millis,
    wake: Option<Millis>,
}

impl Scene<'_> {
    fn call_again(&mut self, at: Millis) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Whether `at` has come; if not, the model is called again then.
    fn is_due(&mut self, at: Millis) -> bool {
        if at > self.now {
            self.call_again(at);
        }
        at <= self.now
    }
}

impl World {
    /// A meta cluster with nothing in it.
    pub fn new(meta: ApiServer, time: Time, chance: Chance) -> Self {
        Self {
            meta,
            time,
            chance: chance.branch(&["world"]),
            mirror: Mirror::default(),
            deployments: Deployments::default(),
            kubelet: Kubelet::default(),
            etcds: Etcds::default(),
            businesses: BTreeMap::new(),
            trouble: Trouble::default(),
            wake: Some(0),
            stirred: None,
        }
    }

    /// When [`World::step`] wants to be called, given what happened since the last one.
    pub fn next(&mut self) -> Option<Millis> {
        if self.stirred.is_none() && self.has_news() {
            self.stirred = Some(self.time.now() + PACE);
        }
        [self.wake, self.stirred].into_iter().flatten().min()
    }

    /// Makes everything look again: something changed that no server knows of.
    pub fn stir(&mut self) {
        self.wake = Some(self.time.now());
    }

    fn has_news(&self) -> bool {
        self.meta.revision() != self.mirror.revision() || self.businesses.values().any(Business::has_news)
    }

    /// Lets every controller and kubelet do what is due.
    pub fn step(&mut self) {
        let now = self.time.now();
        self.stirred = None;
        self.mirror.sync(&self.meta, now);
        let mut scene = Scene {
            server: &self.meta,
            objects: &self.mirror,
            trouble: &self.trouble,
            chance: self.chance,
            now,
            wake: None,
        };
        volumes::step(&mut scene);
        services::step(&mut scene);
        self.deployments.step(&mut scene);
        self.kubelet.step(&mut scene, &mut self.etcds);
        self.wake = scene.wake;
        let carried: Vec<u64> = self.kubelet.served(&self.etcds);
        for founding in carried {
            let clock = self.time.server_clock();
            self.businesses
                .entry(founding)
                .or_insert_with(|| Business::new(clock))
                .step(now);
        }
        // What the models wrote themselves is looked at in the next step.
        if self.has_news() {
            self.stirred = Some(now + PACE);
        }
    }

    /// What etcd's members answer to the operator.
    pub fn ask_etcd(&self, hosts: &[(String, String)], ca: &str) -> Observed<EtcdFacts> {
        self.etcds.observe(hosts, ca)
    }

    /// The business cluster behind an address, for a client with these credentials.
    pub fn reach(&self, host: &str, port: u16, credentials: &Credentials) -> Answer {
        let Some(namespace) = services::behind(&self.mirror, host, port) else {
            return Answer::Nobody(format!("connect to {host}:{port}: no route to host"));
        };
        let now = self.time.of_day(self.time.now());
        match self.kubelet.apiserver(&namespace, &self.etcds) {
            None => Answer::Nobody(format!("connect to {host}:{port}: connection refused")),
            Some((apiserver, founding)) => match credentials.accepted_by(apiserver, host, now) {
                Err(answer) => answer,
                Ok(()) => match self.businesses.get(&founding) {
                    None => Answer::Nobody(format!("connect to {host}:{port}: connection refused")),
                    Some(business) => Answer::Server {
                        server: business.server.clone(),
                        version: apiserver.version.clone(),
                    },
                },
            },
        }
    }

    /// The server of the business cluster whose control plane is in `namespace`, for scripts and oracles.
    pub fn business(&self, namespace: &str) -> Option<ApiServer> {
        let founding = self.etcds.founding_of(namespace)?;
        Some(self.businesses.get(&founding)?.server.clone())
    }

    /// The etcd clusters.
    pub fn etcds(&self) -> &Etcds {
        &self.etcds
    }

    /// What the meta cluster's server knows.
    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }
}
