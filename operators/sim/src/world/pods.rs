//! The kubelets: they start the containers of pods, run what is in them, probe it, and end it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::business::Apiserver;
use super::etcd::{Etcds, Start};
use super::volumes::claims_of;
use super::{Scene, deleting, text, uid};
use crate::api::Key;
use crate::time::Millis;

/// The wait before a crashed container starts again doubles from the first to the last.
const RESTART: std::ops::RangeInclusive<Millis> = 10_000..=300_000;

/// See the module.
#[derive(Default)]
pub(super) struct Kubelet {
    /// By uid.
    pods: BTreeMap<String, Sandbox>,
}

/// A pod as its kubelet knows it.
struct Sandbox {
    key: Key,
    state: State,
    restarts: u32,
    /// What the container was started with; None before.
    process: Option<Process>,
}

#[derive(Clone, Copy)]
enum State {
    /// Not scheduled, or something that it mounts is missing.
    Waiting,
    /// Volumes are mounted, the container is created.
    Starting { until: Millis },
    /// The container runs. A probe has succeeded since `ready`.
    Running { since: Millis, ready: Option<Millis> },
    /// The container exited and starts again later.
    BackOff { until: Millis, why: &'static str },
    /// The pod is being ended.
    Ending { until: Millis },
    /// The pod has ended for good, as after a graceful shutdown of its node.
    Over,
}

enum Process {
    Etcd,
    Apiserver(Box<Apiserver>),
    Other,
}

impl Kubelet {
    pub(super) fn step(&mut self, scene: &mut Scene<'_>, etcds: &mut Etcds) {
        let pods: Vec<_> = scene.objects.all("pods").collect();
        // A pod that was removed without its kubelet is killed all the same.
        self.pods.retain(|known, _| {
            let exists = pods.iter().any(|(_, pod)| uid(pod) == known);
            if !exists {
                etcds.stop(known);
            }
            exists
        });
        let objects = scene.objects;
        etcds.forget(|volume| {
            ["persistentvolumeclaims", "pods"]
                .iter()
                .any(|resource| objects.all(resource).any(|(_, object)| uid(object) == volume))
        });
        for (key, pod) in &pods {
            let sandbox = self.pods.entry(uid(pod).to_owned()).or_insert_with(|| Sandbox {
                key: (*key).clone(),
                state: State::Waiting,
                restarts: 0,
                process: None,
            });
            sandbox.step(scene, pod, etcds);
        }
        // Probes see what the other pods of this step made of it.
        for (key, pod) in pods {
            if let Some(sandbox) = self.pods.get_mut(uid(pod)) {
                sandbox.probe(scene, pod, etcds);
                sandbox.report(scene, key, pod);
            }
        }
    }

    /// Foundings of the etcd clusters on which some apiserver is ready.
    pub(super) fn served(&self, etcds: &Etcds) -> Vec<u64> {
        let mut foundings: Vec<u64> = self
            .pods
            .values()
            .filter_map(|sandbox| {
                let apiserver = sandbox.ready_apiserver()?;
                etcds.serving_in(sandbox.key.namespace.as_deref()?, &apiserver.etcd_ca)
            })
            .collect();
        foundings.sort_unstable();
        foundings.dedup();
        foundings
    }

    /// A ready apiserver of a namespace, and the founding of the etcd cluster that it serves from.
    pub(super) fn apiserver(&self, namespace: &str, etcds: &Etcds) -> Option<(&Apiserver, u64)> {
        let mut ready: Vec<_> = self
            .pods
            .values()
            .filter(|sandbox| sandbox.key.namespace.as_deref() == Some(namespace))
            .filter_map(|sandbox| Some((&sandbox.key.name, sandbox.ready_apiserver()?)))
            .collect();
        ready.sort_by_key(|(name, _)| *name);
        ready
            .into_iter()
            .find_map(|(_, apiserver)| Some((apiserver, etcds.serving_in(namespace, &apiserver.etcd_ca)?)))
    }
}

impl Sandbox {
    fn name(&self) -> String {
        format!(
            "{}/{}",
            self.key.namespace.as_deref().unwrap_or_default(),
            self.key.name
        )
    }

    fn ready_apiserver(&self) -> Option<&Apiserver> {
        match (&self.process, self.state) {
            (Some(Process::Apiserver(apiserver)), State::Running { ready: Some(_), .. }) => Some(apiserver),
            _ => None,
        }
    }

    fn step(&mut self, scene: &mut Scene<'_>, pod: &Value, etcds: &mut Etcds) {
        let name = self.name();
        let drawn = |scene: &Scene<'_>, low, high, what| scene.chance.between(low, high, &[&name, what]);
        if matches!(text(pod, "/status/phase"), "Failed" | "Succeeded") {
            etcds.stop(uid(pod));
            self.state = State::Over;
        }
        if deleting(pod) {
            match self.state {
                State::Ending { until } => {
                    if scene.is_due(until) {
                        etcds.stop(uid(pod));
                        scene.server.finish_deletion("kubelet", &self.key);
                    }
                }
                // Nothing runs: nothing to wait for.
                State::Waiting | State::Over => scene.server.finish_deletion("kubelet", &self.key),
                _ => {
                    etcds.ending(uid(pod));
                    let until = scene.now + drawn(scene, 200, 900, "end");
                    self.state = State::Ending { until };
                    scene.call_again(until);
                }
            }
            return;
        }
        match self.state {
            State::Waiting if !scene.trouble.holds_back(&name) && mounts_exist(scene, &self.key, pod) => {
                let until = scene.now + drawn(scene, 300, 800, "start");
                self.state = State::Starting { until };
                scene.call_again(until);
            }
            State::Starting { until } | State::BackOff { until, .. } => {
                if scene.is_due(until) {
                    self.start(scene, pod, etcds);
                }
            }
            State::Running { .. } if scene.trouble.of(&name, pod) == Some("CrashLoopBackOff") => {
                etcds.stop(uid(pod));
                self.fall_back(scene, "CrashLoopBackOff");
            }
            State::Waiting | State::Running { .. } | State::Ending { .. } | State::Over => {}
        }
    }

    fn start(&mut self, scene: &mut Scene<'_>, pod: &Value, etcds: &mut Etcds) {
        if let Some(trouble) = scene.trouble.of(&self.name(), pod) {
            return self.fall_back(scene, trouble);
        }
        let image = text(pod, "/spec/containers/0/image");
        self.process = Some(if image.contains("/etcd:") {
            let Some(start) = etcd_start(scene, &self.key, pod) else {
                return self.fall_back(scene, "CrashLoopBackOff");
            };
            if etcds.start(uid(pod), &start).is_err() {
                return self.fall_back(scene, "CrashLoopBackOff");
            }
            Process::Etcd
        } else if image.contains("/kube-apiserver:") {
            match Apiserver::start(scene.objects, &self.key, image) {
                Some(apiserver) => Process::Apiserver(Box::new(apiserver)),
                None => return self.fall_back(scene, "CrashLoopBackOff"),
            }
        } else {
            Process::Other
        });
        self.state = State::Running {
            since: scene.now,
            ready: None,
        };
    }

    fn fall_back(&mut self, scene: &mut Scene<'_>, why: &'static str) {
        let wait = RESTART.start() << self.restarts.min(5);
        let until = scene.now + wait.min(*RESTART.end());
        self.restarts += 1;
        self.process = None;
        self.state = State::BackOff { until, why };
        scene.call_again(until);
    }

    /// Whether what runs does its work.
    fn probe(&mut self, scene: &mut Scene<'_>, pod: &Value, etcds: &Etcds) {
        let State::Running { since, ready } = self.state else {
            return;
        };
        let namespace = self.key.namespace.as_deref().unwrap_or_default();
        let (works, takes) = match &self.process {
            Some(Process::Etcd) => (etcds.serving(uid(pod)).is_some(), (200, 500)),
            Some(Process::Apiserver(apiserver)) => (
                etcds.serving_in(namespace, &apiserver.etcd_ca).is_some(),
                (1200, 2200),
            ),
            Some(Process::Other) | None => (true, (400, 1200)),
        };
        let takes = scene.chance.between(takes.0, takes.1, &[&self.name(), "ready"]);
        let ready = match ready {
            _ if !works => None,
            Some(at) => Some(at),
            // It works since now, or since it started: the first probe that sees it comes a little later.
            None => scene.is_due(since + takes).then_some(scene.now),
        };
        self.state = State::Running { since, ready };
    }

    fn report(&self, scene: &mut Scene<'_>, key: &Key, pod: &Value) {
        let (phase, ready, started, waiting) = match self.state {
            State::Over | State::Ending { .. } => return,
            State::Waiting if scene.trouble.holds_back(&self.name()) => ("Pending", false, false, None),
            State::Waiting | State::Starting { .. } => ("Pending", false, false, Some("ContainerCreating")),
            State::Running { ready, .. } => {
                // A startup probe must succeed first, where there is one.
                let probed = pod.pointer("/spec/containers/0/startupProbe").is_some();
                ("Running", ready.is_some(), ready.is_some() || !probed, None)
            }
            State::BackOff { why, .. } => ("Running", false, false, Some(why)),
        };
        let truth = |fact: bool| if fact { "True" } else { "False" };
        let mut conditions = vec![json!({"type": "Ready", "status": truth(ready)})];
        if scene.trouble.holds_back(&self.name()) {
            conditions.push(
                json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": "0/3 nodes are available"}),
            );
        }
        let state = match waiting {
            Some(why) => json!({"waiting": {"reason": why}}),
            None => json!({"running": {}}),
        };
        let mut status = json!({"phase": phase, "conditions": conditions});
        if phase == "Running" || waiting.is_some() {
            let name = text(pod, "/spec/containers/0/name");
            status["containerStatuses"] = json!([{"name": name, "ready": ready, "started": started,
                "restartCount": self.restarts, "state": state}]);
        }
        if pod.get("status") != Some(&status) {
            let _ = scene
                .server
                .update_status("kubelet", key, |pod| pod["status"] = status);
        }
    }
}

/// Whether a pod has condition Ready.
pub(super) fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .any(|condition| text(condition, "/type") == "Ready" && text(condition, "/status") == "True")
}

/// Whether everything that a pod mounts is there, and its claims are bound.
fn mounts_exist(scene: &Scene<'_>, key: &Key, pod: &Value) -> bool {
    let namespace = key.namespace.as_deref();
    let exists = |resource: &str, name: &str| scene.objects.get(resource, namespace, name).is_some();
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
    let sources = volumes.into_iter().flatten().flat_map(|volume| {
        let projected = volume.pointer("/projected/sources").and_then(Value::as_array);
        std::iter::once(volume).chain(projected.into_iter().flatten())
    });
    let mut mounted = sources.flat_map(|source| {
        [
            ("secrets", text(source, "/secret/secretName")),
            ("secrets", text(source, "/secret/name")),
            ("configmaps", text(source, "/configMap/name")),
        ]
    });
    let bound = claims_of(pod).all(|name| {
        scene
            .objects
            .get("persistentvolumeclaims", namespace, name)
            .is_some_and(|claim| text(claim, "/status/phase") == "Bound" && !deleting(claim))
    });
    bound && mounted.all(|(resource, name)| name.is_empty() || exists(resource, name))
}

fn etcd_start(scene: &Scene<'_>, key: &Key, pod: &Value) -> Option<Start> {
    let namespace = key.namespace.as_deref();
    let volume = match claims_of(pod).next() {
        Some(claim) => uid(scene.objects.get("persistentvolumeclaims", namespace, claim)?),
        None => uid(pod),
    };
    let flags = pod.pointer("/spec/containers/0/args")?.as_array()?;
    let flags = flags
        .iter()
        .filter_map(|flag| flag.as_str()?.trim_start_matches("--").split_once('='))
        .map(|(flag, value)| (flag.to_owned(), value.to_owned()))
        .collect();
    let secret = scene
        .objects
        .get("secrets", namespace, &format!("{}-tls", key.name))?;
    Some(Start {
        namespace: namespace?.to_owned(),
        name: key.name.clone(),
        volume: volume.to_owned(),
        flags,
        version: super::business::version_of(text(pod, "/spec/containers/0/image")),
        ca: super::business::ca_of(secret)?,
    })
}
