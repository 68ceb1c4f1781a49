//! One signal to stop, seen by everything that runs.

use std::{future::Future, io, sync::Arc};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tracing::info;

/// A request to stop that may come once. Cheap to clone; every clone sees it, however late it looks.
#[derive(Debug, Clone)]
pub struct Shutdown {
    requested: watch::Receiver<bool>,
    // A request can only come while a sender lives, so each clone keeps it alive.
    sender: Arc<watch::Sender<bool>>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// Only requested by [`Shutdown::request`].
    pub fn new() -> Self {
        let (sender, requested) = watch::channel(false);
        Self {
            requested,
            sender: Arc::new(sender),
        }
    }

    /// Requested by SIGTERM (Kubernetes) or SIGINT (Ctrl-C) too. Call it once, inside the runtime.
    pub fn on_signals() -> io::Result<Self> {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let shutdown = Self::new();
        let on_signal = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => info!("SIGTERM: stopping"),
                _ = interrupt.recv() => info!("SIGINT: stopping"),
            }
            on_signal.request();
        });
        Ok(shutdown)
    }

    /// Asks everything to stop.
    pub fn request(&self) {
        self.sender.send_replace(true);
    }

    /// Waits until stopping is asked for. The future is `'static`, as kube's `graceful_shutdown_on` wants it.
    pub fn requested(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let mut shutdown = self.clone();
        async move {
            // The sender lives inside `shutdown`, so this cannot fail.
            let _ = shutdown.requested.wait_for(|requested| *requested).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_sees_the_request_also_afterwards() {
        let shutdown = Shutdown::new();
        let early = tokio::spawn(shutdown.requested());
        tokio::task::yield_now().await;
        assert!(!early.is_finished(), "nobody asked yet");
        shutdown.clone().request();
        early.await.unwrap();
        shutdown.requested().await;
    }
}
