//! Carries calls to their servers and answers back, and lets the faults of the plan happen on the way.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use kok_plan::Observed;
use kok_plan::cluster::view::EtcdFacts;
use kube::client::Body;
use serde_json::{Value, json};
use tower::Service;

use crate::api::ApiServer;
use crate::call::{Call, Verb};
use crate::distort;
use crate::fault::Fault;
use crate::gate::{AnswerBody, Errand, Gate, HttpAnswer, Peer, Waiting};
use crate::ledger::{Ledger, Served};
use crate::process::Process;
use crate::scenario;
use crate::rules::{Leadership, Meant};
use crate::time::Millis;
use crate::watching::Watching;
use crate::world::{Answer, World};

/// What a test changes on the way of a request: a bug that is put in from outside.
pub type Tamper = Arc<dyn Fn(&Call, Bytes) -> Bytes + Send + Sync>;

/// What a test changes in what etcd answers.
pub type EtcdLie = Arc<dyn Fn(Observed<EtcdFacts>) -> Observed<EtcdFacts> + Send + Sync>;

/// See the module.
pub(crate) struct Exchange {
    pub(crate) gate: Gate,
    pub(crate) meta: ApiServer,
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    pub(crate) tamper: Option<Tamper>,
    pub(crate) etcd_lie: Option<EtcdLie>,
    /// Faults that have not happened yet.
    pub(crate) ahead: Arc<Mutex<Vec<Fault>>>,
    /// Until when no server answers.
    pub(crate) down_until: Mutex<Millis>,
    leadership: Leadership,
    /// The lease as a deceived leader believes it.
    believed: Mutex<BTreeMap<String, Value>>,
}

/// How a served call ended for its process.
#[derive(PartialEq, Eq)]
enum End {
    Goes,
    Dies { behind: Option<usize> },
}

impl Exchange {
    pub(crate) fn new(
        gate: Gate,
        meta: ApiServer,
        world: Arc<Mutex<World>>,
        ledger: Arc<Mutex<Ledger>>,
        faults: &[Fault],
    ) -> Self {
        Self {
            gate,
            meta,
            world,
            ledger,
            tamper: None,
            etcd_lie: None,
            ahead: Arc::new(Mutex::new(faults.to_vec())),
            down_until: Mutex::default(),
            leadership: Leadership::default(),
            believed: Mutex::default(),
        }
    }

    /// Serves everything that is due. Gives the processes that died by it, and how far behind their successors read.
    pub(crate) async fn serve_due(&self, now: Millis) -> Vec<(Process, Option<usize>)> {
        let mut dead = Vec::new();
        for (call, together) in self.gate.due(now) {
            let alive: Vec<Waiting> = together
                .into_iter()
                .filter(|waiting| !waiting.process.ended())
                .collect();
            if alive.is_empty() {
                continue;
            }
            let number = {
                let mut ledger = lock(&self.ledger);
                ledger.calls += 1;
                ledger.calls
            };
            let fault = self.before(number, now);
            for waiting in alive {
                let Waiting {
                    process,
                    since,
                    errand,
                } = waiting;
                if process.ended() {
                    continue;
                }
                let served = self.serve(now, since, number, &call, &process, errand, fault.clone());
                match served.await {
                    End::Goes => {}
                    End::Dies { behind } => {
                        process.end();
                        dead.push((process, behind));
                    }
                }
            }
        }
        dead
    }

    /// A fault that happens to a call of this number.
    fn before(&self, number: usize, now: Millis) -> Option<Fault> {
        let down_until = *lock(&self.down_until);
        if now < down_until {
            return Some(Fault::Reset { call: number });
        }
        self.take(|fault| match fault {
            Fault::Refused { call, .. }
            | Fault::Reset { call }
            | Fault::Empty { call }
            | Fault::Half { call } => *call == number,
            _ => false,
        })
    }

    /// Whether a person deletes the Cluster at a write.
    pub(crate) fn deletes_cluster(&self) -> bool {
        let deletes = |fault: &Fault| matches!(fault, Fault::Deleted { .. });
        lock(&self.ahead).iter().any(deletes)
    }

    /// A fault that happens after a write of this number.
    fn after(&self, number: usize) -> Option<Fault> {
        self.take(|fault| match fault {
            Fault::Crash { write }
            | Fault::Lost { write }
            | Fault::Deleted { write }
            | Fault::Stale { write, .. } => *write == number,
            _ => false,
        })
    }

    fn take(&self, wanted: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let mut ahead = lock(&self.ahead);
        let index = ahead.iter().position(wanted)?;
        Some(ahead.remove(index))
    }

    #[allow(clippy::too_many_arguments)] // all that is known about one call
    async fn serve(
        &self,
        now: Millis,
        since: Millis,
        number: usize,
        call: &Call,
        process: &Process,
        errand: Errand,
        mut fault: Option<Fault>,
    ) -> End {
        let (head, body, to, answer) = match errand {
            Errand::Http {
                head,
                body,
                to,
                answer,
            } => (head, body, to, answer),
            Errand::Etcd { hosts, ca, answer } => {
                let facts = match &fault {
                    Some(fault) => Observed::Unknown(format!("etcd gave no answer ({fault})")),
                    None => lock(&self.world).ask_etcd(&hosts, &ca),
                };
                let facts = match &self.etcd_lie {
                    Some(lie) => lie(facts),
                    None => facts,
                };
                let outcome = match &facts {
                    Observed::Known(etcd) => format!(
                        "{} of {} members answer, quorum {}",
                        etcd.members
                            .values()
                            .filter(|member| member.answer.is_some())
                            .count(),
                        etcd.members.len(),
                        etcd.quorum
                    ),
                    Observed::Unknown(why) => why.clone(),
                    Observed::Absent => "none".into(),
                };
                self.write_down(now, number, call, None, outcome, fault);
                let _ = answer.send(facts);
                return End::Goes;
            }
        };
        let meant = Meant::by(call, &body);
        let body = match &self.tamper {
            Some(tamper) => tamper(call, body),
            None => body,
        };
        let server = match self.server(&to) {
            Ok(server) => server,
            Err(refusal) => {
                self.write_down(now, number, call, None, outcome_of(&refusal), fault);
                let _ = answer.send(refusal);
                return End::Goes;
            }
        };
        // Nothing happens on the server.
        if let Some(refusal) = fault.as_ref().and_then(distort::refusal) {
            self.write_down(now, number, call, None, outcome_of(&refusal), fault);
            let _ = answer.send(refusal);
            return End::Goes;
        }
        if process.deceived() && call.is_lease() {
            let response = self.believe(process, &body);
            self.write_down(now, number, call, None, "told that it leads".into(), None);
            let _ = answer.send(response);
            return End::Goes;
        }
        let before = server.api.revision();
        let target = call.verb.writes().then(|| server.api.get(&call.key())).flatten();
        let mut response = self.ask(call, process, &server, *head, body).await;
        let wrote =
            server.api.revision() != before && call.verb.writes() && !call.is_lease() && !call.is_event();
        let mut write = None;
        if call.is_lease() {
            self.leadership.see(&self.meta, now);
        }
        if asked && self.leadership.stale(process, since) {
            let what = format!("{call}: asked for by {}, which leads no more", process.replica);
            lock(&self.ledger).violations.push(what);
        }
        if wrote {
            process.read_first_from(0);
            let broken = meant.broken_by(call, target.as_ref());
            let mut ledger = lock(&self.ledger);
            ledger.writes += 1;
            write = Some(ledger.writes);
            let revision = self.meta.revision();
            ledger.revisions.push(revision);
            ledger.violations.extend(broken);
            drop(ledger);
            fault = fault.or(write.and_then(|write| self.after(write)));
        }
        if matches!(fault, Some(Fault::Deleted { .. })) {
            for cluster in self.meta.list("clusters.kubeonkube.io", None) {
                let name = cluster.pointer("/metadata/name").and_then(Value::as_str);
                let _ = self.meta.delete("user", &scenario::cluster(name.unwrap_or_default()));
            }
        }
        let (end, distorted) = match &fault {
            Some(Fault::Crash { .. }) => (End::Dies { behind: None }, None),
            Some(Fault::Stale { behind, .. }) => (
                End::Dies {
                    behind: Some(*behind),
                },
                None,
            ),
            Some(fault) => {
                response = distort::answer(fault, response).await;
                (End::Goes, Some(outcome_of(&response)))
            }
            None => (End::Goes, None),
        };
        let outcome = distorted.unwrap_or_else(|| outcome_of(&response));
        self.write_down(now, number, call, write, outcome, fault);
        if end == End::Goes {
            let response = response.map(|response| self.watched(call, process, response));
            let _ = answer.send(response);
        }
        end
    }

    /// The server behind an address.
    fn server(&self, to: &Peer) -> Result<Server, HttpAnswer> {
        let Peer::Business {
            host,
            port,
            credentials,
        } = to
        else {
            return Ok(Server {
                api: self.meta.clone(),
                version: None,
            });
        };
        match lock(&self.world).reach(host, *port, credentials) {
            Answer::Server { server, version } => Ok(Server {
                api: server,
                version: Some(version),
            }),
            Answer::Nobody(why) => {
                let refused = io::Error::new(io::ErrorKind::ConnectionRefused, why);
                Err(Err(refused.into()))
            }
            Answer::Unauthorized => Err(Ok(distort::status(StatusCode::UNAUTHORIZED, "Unauthorized"))),
        }
    }

    async fn ask(
        &self,
        call: &Call,
        process: &Process,
        server: &Server,
        head: Parts,
        body: Bytes,
    ) -> HttpAnswer {
        if let Some(version) = &server.version
            && call.name == "/version"
        {
            return Ok(distort::json(&version_info(version)));
        }
        if let Some(revision) = process.reads_from()
            && server.version.is_none()
            && matches!(call.verb, Verb::Get | Verb::List)
            && !call.is_lease()
        {
            return Ok(distort::stale(&self.meta, revision, call));
        }
        let mut request = Request::new(Body::from(body.to_vec()));
        *request.method_mut() = head.method;
        *request.uri_mut() = head.uri;
        *request.headers_mut() = head.headers;
        match server.api.service(&process.replica).call(request).await {
            Ok(response) => Ok(response.map(|body| body.map_err(Into::into).boxed_unsync())),
            Err(never) => match never {},
        }
    }

    /// Events of a watch travel as requests do.
    fn watched(
        &self,
        call: &Call,
        process: &Process,
        response: Response<AnswerBody>,
    ) -> Response<AnswerBody> {
        if call.verb != Verb::Watch || response.status() != StatusCode::OK {
            return response;
        }
        response.map(|body| {
            Watching::new(
                self.gate.clone(),
                process.clone(),
                call.clone(),
                body,
                self.ahead.clone(),
                self.ledger.clone(),
            )
            .boxed_unsync()
        })
    }

    /// What a leader sees that does not know that it lost its lease: its own writes succeed.
    fn believe(&self, process: &Process, body: &Bytes) -> HttpAnswer {
        let mut believed = lock(&self.believed);
        let mut lease = match serde_json::from_slice::<Value>(body) {
            Ok(lease) => lease,
            Err(_) => believed.get(&process.replica).cloned().unwrap_or_default(),
        };
        let version = self.gate.time().now().to_string();
        lease["metadata"]["resourceVersion"] = json!(format!("9{version}"));
        believed.insert(process.replica.clone(), lease.clone());
        Ok(distort::json(&lease))
    }

    fn write_down(
        &self,
        at: Millis,
        number: usize,
        call: &Call,
        write: Option<usize>,
        outcome: String,
        fault: Option<Fault>,
    ) {
        lock(&self.ledger).served(
            at,
            Served {
                number,
                call: call.clone(),
                write,
                outcome,
                fault,
            },
        );
    }
}

struct Server {
    api: ApiServer,
    /// Version that a business cluster's apiserver tells.
    version: Option<String>,
}

fn outcome_of(answer: &HttpAnswer) -> String {
    match answer {
        Ok(response) => response.status().as_u16().to_string(),
        Err(error) => error.to_string(),
    }
}

fn version_info(version: &str) -> Value {
    let minor = version.split('.').nth(1).unwrap_or_default();
    json!({"major": "1", "minor": minor, "gitVersion": format!("v{version}"), "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z", "goVersion": "go1.25", "compiler": "gc", "platform": "linux/amd64"})
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
