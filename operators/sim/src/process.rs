//! A process of the operator: it lives until it is killed, and may be frozen for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::time::Millis;

/// One start of one replica. Clones are the same process.
#[derive(Clone)]
pub(crate) struct Process {
    /// Name of the replica, which survives its processes.
    pub(crate) replica: String,
    life: Arc<Life>,
}

#[derive(Default)]
struct Life {
    ended: AtomicBool,
    frozen_until: AtomicU64,
    deceived: AtomicBool,
    /// Whether what it reads first is old.
    behind: AtomicU64,
}

impl Process {
    /// A process that starts now.
    pub(crate) fn start(replica: &str) -> Self {
        Self {
            replica: replica.into(),
            life: Arc::default(),
        }
    }

    /// Ends it. Nothing that it asked for is answered any more.
    pub(crate) fn end(&self) {
        self.life.ended.store(true, Ordering::Relaxed);
    }

    /// Whether it was ended.
    pub(crate) fn ended(&self) -> bool {
        self.life.ended.load(Ordering::Relaxed)
    }

    /// Holds back everything between it and the servers until then.
    pub(crate) fn freeze(&self, until: Millis) {
        self.life.frozen_until.store(until, Ordering::Relaxed);
    }

    /// Until when it is frozen.
    pub(crate) fn frozen_until(&self) -> Millis {
        self.life.frozen_until.load(Ordering::Relaxed)
    }

    /// From now on it is told that it holds its lease.
    pub(crate) fn deceive(&self) {
        self.life.deceived.store(true, Ordering::Relaxed);
    }

    /// Whether it is told so.
    pub(crate) fn deceived(&self) -> bool {
        self.life.deceived.load(Ordering::Relaxed)
    }

    /// What it reads first is as it was at this revision of the meta cluster.
    pub(crate) fn read_first_from(&self, revision: u64) {
        self.life.behind.store(revision, Ordering::Relaxed);
    }

    /// The revision that it reads from first; None when it reads what is there.
    pub(crate) fn reads_from(&self) -> Option<u64> {
        let revision = self.life.behind.load(Ordering::Relaxed);
        (revision > 0).then_some(revision)
    }

    /// Whether two are the same process.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.life, &other.life)
    }
}
