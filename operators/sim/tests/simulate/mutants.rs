//! Bugs that are put in from outside, on the way between the operator and its servers. Each must be caught: an oracle that
//! never says no says nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use kok_plan::Observed;
use kok_sim::call::{Call, Verb};
use kok_sim::campaign::{References, side_by_side};
use kok_sim::fault::Plan;
use kok_sim::plans::{Kind, strided};
use kok_sim::run::Options;
use serde_json::{Value, json};

struct Mutant {
    name: &'static str,
    options: Options,
    /// The scenario in which it shows, and by which faults.
    scenario: &'static str,
    kind: Option<Kind>,
    /// A part of what an oracle must say.
    caught: &'static str,
}

/// Changes the bodies of some calls.
fn tampered(change: impl Fn(&Call, &mut Value) + Send + Sync + 'static) -> Options {
    Options {
        tamper: Some(Arc::new(move |call: &Call, body: Bytes| {
            match serde_json::from_slice::<Value>(&body) {
                Ok(mut document) if call.verb.writes() => {
                    change(call, &mut document);
                    document.to_string().into()
                }
                _ => body,
            }
        })),
        ..Options::default()
    }
}

fn mutants() -> Vec<Mutant> {
    let counter = AtomicUsize::new(0);
    vec![
        Mutant {
            name: "a delete loses its preconditions",
            options: tampered(|call, body| {
                if call.verb == Verb::Delete {
                    body["preconditions"] = Value::Null;
                }
            }),
            scenario: "change-args",
            kind: Some(Kind::Stale),
            caught: "invariant 3",
        },
        Mutant {
            name: "every write is taken for a new one: uid and version are dropped",
            options: tampered(|call, body| {
                if let Some(metadata) = body["metadata"].as_object_mut().filter(|_| !call.is_lease()) {
                    metadata.remove("uid");
                    metadata.remove("resourceVersion");
                }
            }),
            scenario: "renewal",
            kind: Some(Kind::Stale),
            caught: "invariant 3",
        },
        Mutant {
            name: "etcd is said to be whole whatever it is",
            options: Options {
                etcd_lie: Some(Arc::new(|facts| match facts {
                    Observed::Known(mut etcd) => {
                        let answer = etcd.members.values().find_map(|member| member.answer.clone());
                        for member in etcd.members.values_mut() {
                            member.answer = member.answer.take().or_else(|| answer.clone());
                        }
                        etcd.quorum = true;
                        Observed::Known(etcd)
                    }
                    other => other,
                })),
                ..Options::default()
            },
            scenario: "etcd-roll-one-down",
            kind: None,
            caught: "invariant 1",
        },
        Mutant {
            name: "a status never looks like what was written",
            options: tampered(move |call, body| {
                if call.subresource == "status" {
                    let count = counter.fetch_add(1, Ordering::Relaxed);
                    body["status"]["endpoint"] = json!(format!("https://{count}"));
                }
            }),
            scenario: "create-minimal",
            kind: None,
            caught: "never at rest",
        },
        Mutant {
            name: "a key is copied into a ConfigMap",
            options: leaking(),
            scenario: "create-minimal",
            kind: None,
            caught: "invariant 8",
        },
        Mutant {
            name: "the namespace has no owner and the Cluster no finalizer",
            options: tampered(|call, body| {
                if call.resource == "namespaces" {
                    body["metadata"]["ownerReferences"] = Value::Null;
                }
                if call.resource == "clusters.kubeonkube.io" && call.verb == Verb::Patch {
                    body["metadata"]["finalizers"] = json!([]);
                }
            }),
            scenario: "delete",
            kind: None,
            caught: "never at rest",
        },
        Mutant {
            name: "an object of another Cluster is written",
            options: tampered(|call, body| {
                if call.name == "apiserver-config" {
                    body["metadata"]["labels"]["kubeonkube.io/cluster"] = json!("other");
                }
            }),
            scenario: "create-minimal",
            kind: None,
            caught: "never at rest",
        },
    ]
}

/// Copies the first private key that passes into the next ConfigMap.
fn leaking() -> Options {
    let seen = Arc::new(std::sync::Mutex::new(None::<Value>));
    tampered(move |call, body| {
        let mut seen = seen.lock().unwrap();
        if call.resource == "secrets" && seen.is_none() {
            *seen = body.pointer("/data/tls.key").cloned();
        }
        if call.name == "apiserver-config"
            && let Some(key) = &*seen
        {
            body["data"]["note"] = key.clone();
        }
    })
}

/// Mutants that no oracle caught.
pub(crate) fn escaped() -> Vec<String> {
    let escaped = side_by_side(&mutants(), |mutant| {
        let references = References::changed_by(mutant.options.clone());
        let plans = match mutant.kind {
            None => vec![Plan::quiet(mutant.scenario, 1)],
            Some(kind) => {
                // The plans are those of the healthy run.
                let healthy = References::default().of(mutant.scenario, 1).unwrap();
                strided(kind.plans(&healthy), 12).0
            }
        };
        let problems: Vec<String> = plans.iter().flat_map(|plan| references.judge(plan).problems).collect();
        let caught = problems.iter().any(|problem| problem.contains(mutant.caught));
        (!caught).then(|| format!("{}: not caught; oracles said {problems:?}", mutant.name))
    });
    escaped.into_iter().flatten().collect()
}
