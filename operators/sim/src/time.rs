//! Virtual time: tokio's paused clock, counted in milliseconds, and the times of day that follow from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, Sleep};

use crate::api::Clock;

/// Milliseconds since the run began.
pub type Millis = u64;

/// When every run begins.
const DAY_ONE: &str = "2026-01-01T00:00:00Z";

/// The clock of one run. Clones are the same clock.
#[derive(Clone)]
pub struct Time {
    began: Instant,
    day_one: Timestamp,
    /// Milliseconds by which the operator's clock is off.
    operator_is_off: Arc<AtomicI64>,
}

impl Time {
    /// A clock that begins now. Needs a runtime with a paused clock.
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
            day_one: DAY_ONE.parse().unwrap_or(Timestamp::UNIX_EPOCH),
            operator_is_off: Arc::default(),
        }
    }

    /// Now.
    pub fn now(&self) -> Millis {
        Millis::try_from(self.began.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }

    /// Waits until a time.
    pub async fn reach(&self, at: Millis) {
        self.timer(at).await;
    }

    /// A timer that ends at a time.
    pub fn timer(&self, at: Millis) -> Sleep {
        tokio::time::sleep_until(self.began + Duration::from_millis(at))
    }

    /// The time of day at a time of the run.
    pub fn of_day(&self, at: Millis) -> Timestamp {
        let since = SignedDuration::from_millis(i64::try_from(at).unwrap_or(i64::MAX));
        self.day_one.checked_add(since).unwrap_or(Timestamp::MAX)
    }

    /// The clock of API servers.
    pub fn server_clock(&self) -> Clock {
        let time = self.clone();
        Arc::new(move || time.of_day(time.now()))
    }

    /// The clock of the host that the operator runs on.
    pub fn operator_clock(&self) -> Clock {
        let time = self.clone();
        Arc::new(move || {
            let off = SignedDuration::from_millis(time.operator_is_off.load(Ordering::Relaxed));
            let now = time.of_day(time.now());
            now.checked_add(off).unwrap_or(now)
        })
    }

    /// Moves the operator's clock by so much, forward or back.
    pub fn jump(&self, by: SignedDuration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or_default();
        self.operator_is_off.fetch_add(millis, Ordering::Relaxed);
    }
}

/// A time as people read it: `12.345 s`.
pub fn seconds(at: Millis) -> String {
    format!("{}.{:03} s", at / 1000, at % 1000)
}
