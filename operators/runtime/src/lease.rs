//! Leader election on a `coordination.k8s.io/v1` Lease: of several replicas one works, the others stand by.
//!
//! How it stays honest:
//! - Every write carries the resourceVersion that was read, so of two candidates one gets a 409.
//! - A foreign lease is judged by how long *we* saw it unchanged on our monotonic clock. The times written in
//!   it come from another host's clock and are only for people.
//! - A leader that could not renew for `renew_deadline` stops, before others may take over at `duration`.
//!
//! What it cannot do: stop a leader that was frozen (a paused VM) and wakes up believing it still leads.
//! Leadership saves work; it is not a lock. Destructive calls carry uid and resourceVersion preconditions, and
//! hosts refuse older generations (invariants 3 and 9 of the design).
//!
//! Needs `get`, `create` and `update` on the Lease.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ObjectMeta, PostParams},
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout_at},
};
use tracing::{debug, info, warn};

/// Which lease, who we are, and the timing.
#[derive(Debug, Clone)]
pub struct LeaseConfig {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease: one for each operator.
    pub name: String,
    /// Who we are. Must differ between replicas and should differ between restarts: the pod's name.
    pub identity: String,
    /// Others wait this long without seeing a renewal before they take over. Whole seconds.
    pub duration: Duration,
    /// A leader that cannot renew for this long stops leading. Must be shorter than `duration`.
    pub renew_deadline: Duration,
    /// Pause between two tries.
    pub retry: Duration,
}

impl LeaseConfig {
    /// The timing of Kubernetes' own components: 15 s, 10 s, 2 s.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// What is known about the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Who holds it; `None` when it was released.
    pub holder: Option<String>,
    /// How long its holder asks others to wait.
    pub duration: Duration,
    /// Since when we see this very version of it.
    pub unchanged_since: Instant,
}

/// What a candidate does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Take the lease: it is free, or its holder fell silent.
    Acquire,
    /// Keep it: it is ours.
    Renew,
    /// Someone else leads, and may be replaced at `until` if silent till then.
    Follow {
        /// On our own clock.
        until: Instant,
    },
}

/// The rule of the election. `observed` is `None` while there is no Lease object.
pub fn decide(now: Instant, observed: Option<&Observed>, me: &str) -> Decision {
    let Some(observed) = observed else {
        return Decision::Acquire;
    };
    let until = observed.unchanged_since + observed.duration;
    match observed.holder.as_deref() {
        None | Some("") => Decision::Acquire,
        Some(holder) if holder == me => Decision::Renew,
        Some(_) if now >= until => Decision::Acquire,
        Some(_) => Decision::Follow { until },
    }
}

/// A running candidacy. Dropping it releases the lease in the background; prefer [`Leadership::release`].
#[derive(Debug)]
pub struct Leadership {
    state: watch::Receiver<State>,
    release: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Following,
    Leading,
    /// Led once and does not any more, or was released. There is no way back: start the process anew, so that
    /// no cache and no half-done work survives from the time before.
    Ended,
}

impl Leadership {
    /// Waits until we lead. The future is `'static` and does not borrow the candidacy.
    pub fn gained(&self) -> impl Future<Output = ()> + Send + use<> {
        wait_for(self.state.clone(), State::Leading)
    }

    /// Waits until leadership ended. Stop writing at once and leave the process. The future is `'static`.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        wait_for(self.state.clone(), State::Ended)
    }

    /// Gives the lease back, so that another replica takes over at once instead of after `duration`. Call it
    /// when all work has stopped: it keeps renewing until then.
    pub async fn release(self) {
        drop(self.release);
        if let Err(error) = self.task.await {
            warn!(%error, "leader election ended abnormally");
        }
    }
}

async fn wait_for(mut state: watch::Receiver<State>, wanted: State) {
    if state.wait_for(|state| *state == wanted).await.is_err() && wanted != State::Ended {
        std::future::pending::<()>().await; // the candidacy ended, so this state will never come
    }
}

/// Starts a candidacy in a task of its own.
pub fn lead(client: Client, config: LeaseConfig) -> Leadership {
    let (state, observer) = watch::channel(State::Following);
    let (release, released) = oneshot::channel();
    let candidate = Candidate {
        leases: Api::namespaced(client, &config.namespace),
        config,
        lease: None,
        observed: None,
        must_read: true,
    };
    let task = tokio::spawn(candidate.run(state, released));
    Leadership {
        state: observer,
        release,
        task,
    }
}

struct Candidate {
    leases: Api<Lease>,
    config: LeaseConfig,
    /// As last read or written, with its resourceVersion.
    lease: Option<Lease>,
    observed: Option<Observed>,
    /// `lease` may be out of date: we follow, or the outcome of our last write is unknown.
    must_read: bool,
}

impl Candidate {
    async fn run(mut self, state: watch::Sender<State>, mut released: oneshot::Receiver<()>) {
        let mut renewed: Option<Instant> = None;
        loop {
            let started = Instant::now();
            let deadline = renewed.unwrap_or(started) + self.config.renew_deadline;
            match timeout_at(deadline, self.step()).await {
                Ok(Ok(Decision::Follow { .. })) => {
                    self.must_read = true;
                    if renewed.is_some() {
                        warn!(holder = ?self.observed.map(|lease| lease.holder), "leadership taken by another");
                        break;
                    }
                }
                Ok(Ok(Decision::Acquire | Decision::Renew)) => {
                    if renewed.is_none() {
                        info!(
                            lease = self.config.name,
                            identity = self.config.identity,
                            "leading"
                        );
                    }
                    renewed = Some(started);
                    state.send_replace(State::Leading);
                }
                // A 409 while following: another candidate was faster.
                Ok(Err(error)) if renewed.is_none() => debug!(%error, "lease not acquired"),
                Ok(Err(error)) => warn!(%error, "lease not renewed"),
                Err(_) => warn!("the API server did not answer about the lease in time"),
            }
            let mut next_try = Instant::now() + self.config.retry;
            if let Some(deadline) = renewed.map(|renewed| renewed + self.config.renew_deadline) {
                if Instant::now() >= deadline {
                    warn!(deadline = ?self.config.renew_deadline, "leadership lost: could not renew");
                    break;
                }
                next_try = next_try.min(deadline);
            }
            tokio::select! {
                () = sleep_until(next_try) => {}
                _ = &mut released => {
                    state.send_replace(State::Ended);
                    if renewed.is_some() {
                        self.give_back().await;
                    }
                    return;
                }
            }
        }
        state.send_replace(State::Ended);
    }

    /// One round: read if needed, decide, write if decided. `Acquire` and `Renew` mean that it is written.
    async fn step(&mut self) -> Result<Decision, kube::Error> {
        if self.must_read {
            let lease = self.leases.get_opt(&self.config.name).await?;
            self.observe(lease);
        }
        let decision = decide(Instant::now(), self.observed.as_ref(), &self.config.identity);
        if !matches!(decision, Decision::Follow { .. }) {
            let spec = self.claim(decision);
            self.write(spec).await?;
        }
        Ok(decision)
    }

    fn observe(&mut self, lease: Option<Lease>) {
        let unchanged = match (&lease, &self.lease) {
            (Some(new), Some(old)) => new.resource_version() == old.resource_version(),
            _ => false,
        };
        let since = self.observed.as_ref().map(|observed| observed.unchanged_since);
        self.observed = lease.as_ref().map(|lease| {
            let spec = lease.spec.clone().unwrap_or_default();
            let seconds = spec
                .lease_duration_seconds
                .and_then(|seconds| u64::try_from(seconds).ok());
            Observed {
                holder: spec.holder_identity,
                duration: seconds.map_or(self.config.duration, Duration::from_secs),
                unchanged_since: since.filter(|_| unchanged).unwrap_or_else(Instant::now),
            }
        });
        self.lease = lease;
    }

    /// The lease in our name.
    fn claim(&self, decision: Decision) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        let before = self
            .lease
            .as_ref()
            .and_then(|lease| lease.spec.clone())
            .unwrap_or_default();
        let mut spec = LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: i32::try_from(self.config.duration.as_secs()).ok(),
            renew_time: now.clone(),
            ..before
        };
        if decision == Decision::Acquire {
            spec.acquire_time = now;
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |count| count.saturating_add(1)));
        }
        spec
    }

    /// Writes over exactly the version that we know, or creates the object if we know of none.
    async fn write(&mut self, spec: LeaseSpec) -> Result<(), kube::Error> {
        self.must_read = true; // until we know how it went
        let params = PostParams::default();
        let name = &self.config.name;
        let written = if let Some(known) = self.lease.clone() {
            let lease = Lease {
                spec: Some(spec),
                ..known
            };
            self.leases.replace(name, &params, &lease).await?
        } else {
            let metadata = ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            };
            let lease = Lease {
                metadata,
                spec: Some(spec),
            };
            self.leases.create(&params, &lease).await?
        };
        self.observe(Some(written));
        self.must_read = false;
        Ok(())
    }

    async fn give_back(&mut self) {
        let Some(known) = self.lease.as_ref().and_then(|lease| lease.spec.clone()) else {
            return;
        };
        let free = LeaseSpec {
            holder_identity: None,
            lease_duration_seconds: Some(1),
            ..known
        };
        let deadline = Instant::now() + self.config.retry;
        if let Ok(Ok(())) = timeout_at(deadline, self.write(free)).await {
            info!(lease = self.config.name, "leadership given back");
        } else {
            warn!("lease not given back: another replica takes over when it runs out");
        }
    }
}

#[cfg(test)]
mod tests;
