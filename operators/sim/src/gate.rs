//! The one door between the operator and everything that it talks to.
//!
//! Each request waits here for a time that depends on the seed and on the request. What is due in one millisecond is
//! served in the order of the requests themselves. So neither a hash map nor the order in which tasks are polled has a say
//! in what happens, and a run can be repeated.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use kok_plan::Observed;
use kok_plan::cluster::view::EtcdFacts;
use kube::client::Body;
use serde::Deserialize;
use tokio::sync::{Notify, oneshot};
use tower::BoxError;

use crate::call::{Call, META, Verb};
use crate::chance::Chance;
use crate::logs;
use crate::process::Process;
use crate::time::{Millis, Time};
use crate::world::Credentials;

/// How long a request takes, in milliseconds.
const LATENCY: (Millis, Millis) = (1, 9);
/// How often kube's client tries a request again that was answered with 429, 503 or 504, and its first wait.
const TRIES_AGAIN: u32 = 15;
const FIRST_WAIT: Duration = Duration::from_millis(5);

/// See the module. Clones are the same gate.
#[derive(Clone)]
pub(crate) struct Gate {
    shared: Arc<Shared>,
}

struct Shared {
    time: Time,
    chance: Chance,
    arrived: Notify,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: BTreeMap<(Millis, Call, u64), Waiting>,
    arrivals: u64,
}

/// A request that waits for its time.
pub(crate) struct Waiting {
    pub(crate) process: Process,
    /// When it was asked for.
    pub(crate) since: Millis,
    pub(crate) errand: Errand,
}

/// What is asked for, and where the answer goes.
pub(crate) enum Errand {
    Http {
        head: Box<Parts>,
        body: Bytes,
        to: Peer,
        answer: oneshot::Sender<HttpAnswer>,
    },
    Etcd {
        hosts: Vec<(String, String)>,
        ca: String,
        answer: oneshot::Sender<Observed<EtcdFacts>>,
    },
}

pub(crate) type HttpAnswer = Result<Response<AnswerBody>, BoxError>;

/// What a response carries: a document, or a watch.
pub(crate) type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

/// Whom a request goes to.
#[derive(Clone)]
pub(crate) enum Peer {
    /// The meta cluster's server.
    Meta,
    /// A business cluster's, as a kubeconfig describes it.
    Business {
        /// Host of its URL.
        host: String,
        /// Port of its URL.
        port: u16,
        /// Who asks, and whom it trusts.
        credentials: Box<Credentials>,
    },
}

impl Peer {
    /// Name of the server in records.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Meta => META.into(),
            Self::Business { host, port, .. } => {
                match host.strip_suffix(".svc").and_then(|it| it.split_once('.')) {
                    Some((_, namespace)) => namespace.to_owned(),
                    None => format!("{host}:{port}"),
                }
            }
        }
    }
}

impl Gate {
    /// A gate with nothing waiting.
    pub(crate) fn new(time: Time, chance: Chance) -> Self {
        Self {
            shared: Arc::new(Shared {
                time,
                chance: chance.branch(&["gate"]),
                arrived: Notify::new(),
                queue: Mutex::default(),
            }),
        }
    }

    /// A client of one process.
    pub(crate) fn client(&self, process: &Process, to: Peer) -> kube::Client {
        let line = Line {
            gate: self.clone(),
            process: process.clone(),
            // As kube's own client stack does by default; `Network::business` turns it off.
            tries_again: matches!(to, Peer::Meta),
            to,
        };
        kube::Client::new(line, "default")
    }

    pub(crate) fn submit(&self, call: Call, waiting: Waiting) {
        let now = self.shared.time.now();
        let latency = self.latency(now, &call.purpose());
        let due = now.max(waiting.process.frozen_until()) + latency;
        let mut queue = self.lock();
        queue.arrivals += 1;
        let arrival = queue.arrivals;
        queue.waiting.insert((due, call, arrival), waiting);
        drop(queue);
        self.shared.arrived.notify_one();
    }

    /// How long something takes that begins now.
    pub(crate) fn latency(&self, now: Millis, purpose: &str) -> Millis {
        self.shared
            .chance
            .between(LATENCY.0, LATENCY.1, &[&now.to_string(), purpose])
    }

    /// When the next request is due.
    pub(crate) fn next(&self) -> Option<Millis> {
        self.lock().waiting.keys().next().map(|(due, _, _)| *due)
    }

    /// Waits for a new request.
    pub(crate) async fn arrival(&self) {
        self.shared.arrived.notified().await;
    }

    /// Makes whoever waits for an arrival look again.
    pub(crate) fn nudge(&self) {
        self.shared.arrived.notify_one();
    }

    /// What is due, in order. Calls that nothing tells apart come together.
    pub(crate) fn due(&self, now: Millis) -> Vec<(Call, Vec<Waiting>)> {
        let mut queue = self.lock();
        let mut due: Vec<(Call, Vec<Waiting>)> = Vec::new();
        while let Some(entry) = queue.waiting.first_entry()
            && entry.key().0 <= now
        {
            let ((_, call, _), waiting) = entry.remove_entry();
            match due.last_mut() {
                Some((last, together)) if *last == call => together.push(waiting),
                _ => due.push((call, vec![waiting])),
            }
        }
        due
    }

    /// Holds back what a process asked for and was not served yet.
    pub(crate) fn hold_back(&self, process: &Process, until: Millis) {
        let mut queue = self.lock();
        let waiting = std::mem::take(&mut queue.waiting);
        for ((due, call, arrival), waiting) in waiting {
            let due = if waiting.process.is(process) {
                due.max(until)
            } else {
                due
            };
            queue.waiting.insert((due, call, arrival), waiting);
        }
    }

    pub(crate) fn time(&self) -> &Time {
        &self.shared.time
    }

    fn chance(&self) -> Chance {
        self.shared.chance
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The line of one process to one server: what stands below a `kube::Client`.
#[derive(Clone)]
struct Line {
    gate: Gate,
    process: Process,
    to: Peer,
    tries_again: bool,
}

impl tower::Service<Request<Body>> for Line {
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = HttpAnswer> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let line = self.clone();
        // kube's buffer calls this inside the span of whoever asks.
        let cluster = logs::current_cluster();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let named = name_in(&head, &body);
            let call = Call::of(
                &line.process.replica,
                &cluster,
                &line.to.name(),
                &head,
                named.as_deref(),
            );
            for attempt in 0.. {
                let response = line.ask(call.clone(), head.clone(), body.clone()).await?;
                let again = line.tries_again && attempt < TRIES_AGAIN && is_temporary(response.status());
                if !again {
                    return Ok(response);
                }
                tokio::time::sleep(line.wait(&call, attempt, &response)).await;
            }
            Err("never reached".into())
        })
    }
}

impl Line {
    async fn ask(&self, call: Call, head: Parts, body: Bytes) -> HttpAnswer {
        let (answer, received) = oneshot::channel();
        let errand = Errand::Http {
            head: Box::new(head),
            body,
            to: self.to.clone(),
            answer,
        };
        let process = self.process.clone();
        let since = self.gate.time().now();
        self.gate.submit(
            call,
            Waiting {
                process,
                since,
                errand,
            },
        );
        match received.await {
            Ok(answer) => answer,
            // The process has ended; nothing of it goes on.
            Err(_) => std::future::pending().await,
        }
    }

    fn wait(&self, call: &Call, attempt: u32, response: &Response<AnswerBody>) -> Duration {
        let after = response
            .headers()
            .get(http::header::RETRY_AFTER)
            .and_then(|seconds| seconds.to_str().ok()?.parse().ok())
            .map_or(Duration::ZERO, Duration::from_secs);
        let now = self.gate.time().now().to_string();
        let jitter = self.gate.chance().fraction(&[&now, &call.purpose(), "again"]);
        let wait = FIRST_WAIT
            .saturating_mul(1 << attempt.min(20))
            .mul_f64(1.0 + jitter);
        wait.max(after)
    }
}

fn is_temporary(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

/// Name of the object that a POST creates.
fn name_in(head: &Parts, body: &Bytes) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        name: String,
    }
    if head.method != http::Method::POST {
        return None;
    }
    let named: Named = serde_json::from_slice(body).ok()?;
    Some(named.metadata.name)
}

/// Asks etcd on behalf of a process.
pub(crate) async fn ask_etcd(
    gate: &Gate,
    process: &Process,
    namespace: &str,
    hosts: Vec<(String, String)>,
    ca: String,
) -> Observed<EtcdFacts> {
    let (answer, received) = oneshot::channel();
    let call = Call {
        actor: process.replica.clone(),
        cluster: logs::current_cluster(),
        server: namespace.to_owned(),
        verb: Verb::AskEtcd,
        resource: String::new(),
        namespace: None,
        name: String::new(),
        subresource: String::new(),
        selector: String::new(),
    };
    let process = process.clone();
    let errand = Errand::Etcd { hosts, ca, answer };
    let since = gate.time().now();
    gate.submit(
        call,
        Waiting {
            process,
            since,
            errand,
        },
    );
    match received.await {
        Ok(facts) => facts,
        Err(_) => std::future::pending().await,
    }
}
