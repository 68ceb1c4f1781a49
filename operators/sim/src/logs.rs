//! What the operator logs, and whose reconcile is running.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Dispatch, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry, fmt};

/// The log of one run. Clones are the same log.
#[derive(Clone, Default)]
pub struct Logs {
    text: Arc<Mutex<Vec<u8>>>,
}

impl Logs {
    /// Everything logged so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock()).into_owned()
    }

    /// Where this thread's log goes to, filtered as the operator's binary does.
    pub fn dispatch(&self) -> Dispatch {
        let filter = Targets::new().with_default(LevelFilter::INFO).with_targets([
            ("kube", LevelFilter::WARN),
            ("kube_runtime", LevelFilter::WARN),
            ("kube_client", LevelFilter::WARN),
            ("tower", LevelFilter::WARN),
        ]);
        let lines = fmt::layer()
            .without_time()
            .with_ansi(false)
            .with_writer(self.clone())
            .with_filter(filter);
        let ours = Targets::new().with_target("kok_cluster", LevelFilter::INFO);
        Dispatch::new(Registry::default().with(Reconciles.with_filter(ours)).with(lines))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl io::Write for Logs {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.lock().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Logs {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Remembers which Cluster a reconcile's span is about.
struct Reconciles;

struct Cluster(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Reconciles {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != "reconcile" {
            return;
        }
        let mut name = Name(None);
        attributes.record(&mut name);
        if let (Some(span), Some(name)) = (context.span(id), name.0) {
            span.extensions_mut().insert(Cluster(name));
        }
    }
}

struct Name(Option<String>);

impl Visit for Name {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "cluster" {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "cluster" {
            self.0 = Some(format!("{value:?}").trim_matches('"').to_owned());
        }
    }
}

/// The Cluster whose reconcile is running on this thread; empty when none is.
pub(crate) fn current_cluster() -> String {
    let mut found = None;
    tracing::Span::current().with_subscriber(|(id, dispatch)| {
        let registry = dispatch.downcast_ref::<Registry>()?;
        let span = registry.span(id)?;
        found = span.scope().find_map(|span| {
            span.extensions()
                .get::<Cluster>()
                .map(|cluster| cluster.0.clone())
        });
        Some(())
    });
    found.unwrap_or_default()
}
