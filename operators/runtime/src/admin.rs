//! The port for people, probes and Prometheus. It changes nothing and shows no secret; it has no
//! authentication, so a NetworkPolicy decides who reaches it.
//!
//! | path | answer |
//! |---|---|
//! | `/healthz` | 200 while the process runs its event loop |
//! | `/readyz` | 200, or 503 with what it waits for |
//! | `/metrics` | see [`crate::metrics`] |
//! | `/debug/plan` | names of all plans kept |
//! | `/debug/plan/{name}` | the last plan made for that object, with its reasons, as JSON |

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::{metrics::Metrics, shutdown::Shutdown};

/// Named things that must be true before the operator counts as ready. Cheap to clone; clones share.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    waiting: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Readiness {
    /// Not ready until each of `checks` was [`set_ready`](Self::set_ready).
    pub fn new(checks: &[&str]) -> Self {
        let waiting = checks
            .iter()
            .map(|check| ((*check).to_owned(), "not started".to_owned()))
            .collect();
        Self {
            waiting: Arc::new(Mutex::new(waiting)),
        }
    }

    /// `check` holds.
    pub fn set_ready(&self, check: &str) {
        self.with(|waiting| waiting.remove(check));
    }

    /// `check` does not hold (any more); `why` is shown on `/readyz`.
    pub fn set_waiting(&self, check: &str, why: &str) {
        self.with(|waiting| waiting.insert(check.to_owned(), why.to_owned()));
    }

    /// What is waited for, `check: why` each. Empty: ready.
    pub fn waiting(&self) -> Vec<String> {
        self.with(|waiting| {
            waiting
                .iter()
                .map(|(check, why)| format!("{check}: {why}"))
                .collect()
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<String, String>) -> T) -> T {
        f(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The last plan made for each object, for people who ask "why does nothing happen?". Bounded: when it is
/// full, the plan written longest ago goes. Cheap to clone; clones share.
#[derive(Debug, Clone)]
pub struct PlanBook {
    capacity: usize,
    plans: Arc<Mutex<Plans>>,
}

#[derive(Debug, Default)]
struct Plans {
    written: u64,
    /// name -> (when it was written, plan)
    by_name: BTreeMap<String, (u64, Value)>,
}

impl PlanBook {
    /// Keeps the plans of at most `capacity` objects.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            plans: Arc::default(),
        }
    }

    /// Keeps `plan` as the last one of the object `name`.
    pub fn record(&self, name: &str, plan: Value) {
        self.with(|plans| {
            plans.written += 1;
            plans.by_name.insert(name.to_owned(), (plans.written, plan));
            if plans.by_name.len() > self.capacity {
                let oldest = plans.by_name.iter().min_by_key(|(_, (written, _))| *written);
                if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                    plans.by_name.remove(&oldest);
                }
            }
        });
    }

    /// The object is gone.
    pub fn forget(&self, name: &str) {
        self.with(|plans| plans.by_name.remove(name));
    }

    /// The last plan of the object `name`.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.with(|plans| plans.by_name.get(name).map(|(_, plan)| plan.clone()))
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.with(|plans| plans.by_name.keys().cloned().collect())
    }

    fn with<T>(&self, f: impl FnOnce(&mut Plans) -> T) -> T {
        f(&mut self.plans.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the admin port shows.
#[derive(Clone)]
pub struct Admin {
    /// Answers `/readyz`.
    pub readiness: Readiness,
    /// Answers `/metrics`.
    pub metrics: Metrics,
    /// Answers `/debug/plan`.
    pub plans: PlanBook,
}

impl Admin {
    /// Serves until shutdown is requested, then ends the requests in flight. Bind the listener first thing in
    /// `main`, so that a port in use stops the process at once.
    pub async fn serve(self, listener: TcpListener, shutdown: &Shutdown) -> io::Result<()> {
        axum::serve(listener, self.router())
            .with_graceful_shutdown(shutdown.requested())
            .await
    }

    fn router(self) -> Router {
        Router::new()
            .route("/healthz", get(async || "ok"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/debug/plan", get(plan_names))
            .route("/debug/plan/{*name}", get(plan))
            .with_state(self)
    }
}

async fn readyz(State(admin): State<Admin>) -> (StatusCode, String) {
    let waiting = admin.readiness.waiting();
    if waiting.is_empty() {
        (StatusCode::OK, "ok".into())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, waiting.join("\n") + "\n")
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match admin.metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn plan_names(State(admin): State<Admin>) -> Json<Vec<String>> {
    Json(admin.plans.names())
}

async fn plan(
    State(admin): State<Admin>,
    Path(name): Path<String>,
) -> Result<Json<Value>, (StatusCode, String)> {
    admin.plans.get(&name).map(Json).ok_or_else(|| {
        let help = format!(
            "no plan of {name:?} here. It was not reconciled since this process started, this process does \
             not lead, or its plan made room for others. /debug/plan lists what is kept.\n"
        );
        (StatusCode::NOT_FOUND, help)
    })
}
