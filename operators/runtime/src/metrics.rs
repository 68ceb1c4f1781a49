//! Prometheus metrics of an operator. Labels come from closed sets (`&'static str`), except the names of
//! clusters and certificates, whose series are removed with the cluster.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::error::ErrorClass;

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// All metrics of one operator. Cheap to clone; clones share everything.
///
/// | metric | meaning |
/// |---|---|
/// | `kok_reconcile_duration_seconds{controller,outcome}` | histogram of reconciles |
/// | `kok_reconcile_errors_total{controller,class}` | failed reconciles by [`ErrorClass`] |
/// | `kok_plan_actions_total{controller,action}` | actions executed: every write; still when converged |
/// | `kok_gates_blocked{controller,gate}` | how many objects wait at that gate now |
/// | `kok_leader` | 1 while this process leads |
/// | `kok_certificate_expiry_seconds{cluster,certificate}` | end of validity, Unix time |
/// | `process_resident_memory_bytes`, `process_cpu_seconds_total` | from `/proc/self` |
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    durations: Family<Labels<2>, Histogram, fn() -> Histogram>,
    errors: Family<Labels<2>, Counter>,
    actions: Family<Labels<2>, Counter>,
    leader: Gauge,
    objects: Objects,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics, at zero.
    pub fn new() -> Self {
        let durations = Family::new_with_constructor(reconcile_histogram as fn() -> Histogram);
        let (errors, actions) = (Family::default(), Family::default());
        let (leader, objects) = (Gauge::default(), Objects::default());

        let mut registry = Registry::default();
        registry.register(
            "kok_reconcile_duration_seconds",
            "Time a reconcile took",
            durations.clone(),
        );
        registry.register(
            "kok_reconcile_errors",
            "Failed reconciles by class of error",
            errors.clone(),
        );
        registry.register(
            "kok_plan_actions",
            "Actions executed, that is, writes",
            actions.clone(),
        );
        registry.register("kok_leader", "1 while this process leads", leader.clone());
        registry.register_collector(Box::new(objects.clone()));
        registry.register_collector(Box::new(Process));
        Self {
            registry: Arc::new(registry),
            durations,
            errors,
            actions,
            leader,
            objects,
        }
    }

    /// A reconcile ended. `outcome` is a word of a fixed set: `converged`, `acted`, `blocked`, `failed`.
    pub fn reconciled(&self, controller: &'static str, outcome: &'static str, took: Duration) {
        let labels = [("controller", controller), ("outcome", outcome)];
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A reconcile failed.
    pub fn failed(&self, controller: &'static str, class: ErrorClass) {
        self.errors
            .get_or_create(&[("controller", controller), ("class", class.as_str())])
            .inc();
    }

    /// An action of a plan was executed.
    pub fn acted(&self, controller: &'static str, action: &'static str) {
        self.actions
            .get_or_create(&[("controller", controller), ("action", action)])
            .inc();
    }

    /// The gates at which `object` waits now, instead of those reported before. None: it waits nowhere, or it
    /// is gone.
    pub fn set_gates(&self, controller: &'static str, object: &str, gates: &[&'static str]) {
        self.objects.with(|state| {
            let key = (controller, object.to_owned());
            if gates.is_empty() {
                state.gates.remove(&key);
            } else {
                state.gates.insert(key, gates.to_vec());
            }
        });
    }

    /// Whether this process leads.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// The certificates of a cluster with the end of their validity, instead of those reported before. None:
    /// the cluster is gone.
    pub fn set_certificates<'a>(
        &self,
        cluster: &str,
        certificates: impl IntoIterator<Item = (&'a str, Timestamp)>,
    ) {
        let certificates: BTreeMap<_, _> = certificates
            .into_iter()
            .map(|(name, end)| (name.to_owned(), end))
            .collect();
        self.objects.with(|state| {
            if certificates.is_empty() {
                state.certificates.remove(cluster);
            } else {
                state.certificates.insert(cluster.to_owned(), certificates);
            }
        });
    }

    /// Everything in the OpenMetrics text format.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// From 1 ms to 33 s: a converged object takes single milliseconds, a plan with many writes seconds.
fn reconcile_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

/// What is known object by object and counted when someone asks. Unlike a gauge that is added to and taken
/// from, it cannot drift.
#[derive(Clone, Debug, Default)]
struct Objects(Arc<Mutex<ObjectState>>);

#[derive(Debug, Default)]
struct ObjectState {
    /// (controller, object) -> gates
    gates: BTreeMap<(&'static str, String), Vec<&'static str>>,
    /// cluster -> certificate -> end of validity
    certificates: BTreeMap<String, BTreeMap<String, Timestamp>>,
}

impl Objects {
    fn with<T>(&self, f: impl FnOnce(&mut ObjectState) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        self.with(|state| {
            let mut blocked = BTreeMap::<Labels<2>, i64>::new();
            for ((controller, _), gates) in &state.gates {
                for gate in gates {
                    *blocked
                        .entry([("controller", controller), ("gate", gate)])
                        .or_default() += 1;
                }
            }
            let help = "Objects that wait at a gate now";
            gauges(&mut encoder, "kok_gates_blocked", help, blocked.into_iter())?;

            let ends = state.certificates.iter().flat_map(|(cluster, certificates)| {
                certificates.iter().map(move |(name, end)| {
                    (
                        [("cluster", cluster.as_str()), ("certificate", name.as_str())],
                        end.as_second(),
                    )
                })
            });
            let help = "End of validity of a certificate, Unix time";
            gauges(&mut encoder, "kok_certificate_expiry_seconds", help, ends)
        })
    }
}

/// Writes a gauge for each labelled value.
fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (L, i64)>,
) -> fmt::Result {
    let kind = prometheus_client::metrics::MetricType::Gauge;
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// Memory and CPU of this process, read when someone asks.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let read = |file| std::fs::read_to_string(file).unwrap_or_default();
        if let Some(bytes) = resident_bytes(&read("/proc/self/status")) {
            let gauge = ConstGauge::new(bytes);
            let help = "Resident memory of this process";
            let kind = prometheus_client::metrics::MetricType::Gauge;
            gauge.encode(encoder.encode_descriptor("process_resident_memory_bytes", help, None, kind)?)?;
        }
        if let Some(seconds) = cpu_seconds(&read("/proc/self/stat")) {
            let counter = ConstCounter::new(seconds);
            let help = "CPU time of this process, user and system";
            let kind = prometheus_client::metrics::MetricType::Counter;
            counter.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, kind)?)?;
        }
        Ok(())
    }
}

/// `VmRSS` of `/proc/<pid>/status`, which is in KiB.
fn resident_bytes(status: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Fields 14 and 15 (`utime`, `stime`) of `/proc/<pid>/stat`, in hundredths of a second: what Linux shows to
/// user space on every architecture we run on. The second field, the command, may contain spaces.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_command) = stat.rsplit_once(") ")?;
    let mut fields = after_command.split(' ').skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some((f64::from(user) + f64::from(system)) / 100.0)
}
