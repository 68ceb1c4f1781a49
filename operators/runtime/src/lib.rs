//! The effects that both operators share. Everything here touches the world: the API server, the clock,
//! signals, sockets. What to do is decided elsewhere (`kok-plan`); this crate only does it and reports.
//!
//! | module | what it gives |
//! |---|---|
//! | [`apply`] | server-side apply, deletes with preconditions |
//! | [`deadline`] | requests that end |
//! | [`lease`] | leader election |
//! | [`retry`] | per-object exponential back-off |
//! | [`error`] | what an error means for the next try |
//! | [`events`] | Kubernetes events |
//! | [`metrics`] | Prometheus metrics |
//! | [`admin`] | the port with `/healthz`, `/readyz`, `/metrics` and `/debug/plan` |
//! | [`crds`] | waiting for our CRDs at start |
//! | [`shutdown`] | SIGTERM and SIGINT |
//! | [`telemetry`] | log output |

pub mod admin;
pub mod apply;
pub mod crds;
pub mod deadline;
pub mod error;
pub mod events;
pub mod lease;
pub mod metrics;
pub mod retry;
pub mod shutdown;
pub mod telemetry;
