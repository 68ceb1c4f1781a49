//! Waiting times between tries, one sequence for each object.
//!
//! This is the only module that uses the crate `backoff`, which is unmaintained (RUSTSEC-2025-0012). Nothing
//! of it shows in our types, so replacing it changes this file only.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff as _};

/// First wait, before jitter.
const FIRST: Duration = Duration::from_secs(1);
/// No wait is longer.
const LONGEST: Duration = Duration::from_mins(5);

/// How long to wait before an object is tried again: about 1 s, 2 s, 4 s ... up to 5 minutes, each half as
/// much longer or shorter by chance, so that objects that failed together do not return together.
///
/// Holds an entry only for objects that are failing.
#[derive(Default)]
pub struct RetryBudget {
    failing: Mutex<HashMap<String, Failing>>,
}

struct Failing {
    backoff: ExponentialBackoff,
    failures: u32,
}

impl RetryBudget {
    /// No object is failing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records a failure of `key` and says how long to wait.
    pub fn next(&self, key: &str) -> Duration {
        self.with(|failing| {
            let entry = failing.entry(key.to_owned()).or_insert_with(Failing::new);
            entry.failures = entry.failures.saturating_add(1);
            entry.backoff.next_backoff().unwrap_or(LONGEST).min(LONGEST)
        })
    }

    /// How often `key` failed since it last succeeded.
    pub fn failures(&self, key: &str) -> u32 {
        self.with(|failing| failing.get(key).map_or(0, |entry| entry.failures))
    }

    /// `key` succeeded, or is gone: the next failure starts from the beginning.
    pub fn reset(&self, key: &str) {
        self.with(|failing| failing.remove(key));
    }

    fn with<T>(&self, f: impl FnOnce(&mut HashMap<String, Failing>) -> T) -> T {
        f(&mut self.failing.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Failing {
    fn new() -> Self {
        let backoff = ExponentialBackoffBuilder::new()
            .with_initial_interval(FIRST)
            .with_multiplier(2.0)
            .with_randomization_factor(0.5)
            .with_max_interval(LONGEST)
            .with_max_elapsed_time(None) // never give up
            .build();
        Self { backoff, failures: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_jitter_up_to_the_longest() {
        let budget = RetryBudget::new();
        for failure in 0..20 {
            let middle = FIRST.saturating_mul(1 << failure).min(LONGEST);
            let wait = budget.next("a");
            assert!(wait >= middle / 2, "{failure}: {wait:?}");
            assert!(
                wait <= (middle * 3 / 2 + Duration::from_millis(1)).min(LONGEST),
                "{failure}: {wait:?}"
            );
        }
        assert_eq!(budget.failures("a"), 20);
    }

    #[test]
    fn objects_are_counted_apart_and_success_forgets() {
        let budget = RetryBudget::new();
        for _ in 0..10 {
            budget.next("a");
        }
        assert!(budget.next("b") < FIRST * 2);
        budget.reset("a");
        assert_eq!(budget.failures("a"), 0);
        assert!(budget.next("a") < FIRST * 2);
        budget.reset("a");
        budget.reset("b");
        assert!(
            budget.with(|failing| failing.is_empty()),
            "only failing objects take memory"
        );
    }
}
