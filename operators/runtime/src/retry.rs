//! Waiting times between tries, one sequence for each object.
//!
//! This is the only module that uses the crate `backoff`, which is unmaintained (RUSTSEC-2025-0012). Nothing
//! of it shows in our types, so replacing it changes this file only.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::error::ErrorClass;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff as _};

/// First wait, before jitter.
const FIRST: Duration = Duration::from_secs(1);
/// No wait is longer.
const LONGEST: Duration = Duration::from_mins(5);
/// What lost a race is read again at once, so often in a row.
const CONFLICTS_AT_ONCE: u32 = 3;
/// The wait before that.
const AT_ONCE: Duration = Duration::from_millis(50);
/// What can never succeed as it is, or is ours to fix, is tried this rarely; a change of the object comes before.
const HOPELESS: Duration = Duration::from_mins(1);

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
    pub fn after(&self, key: &str, class: ErrorClass) -> Duration {
        self.with(|failing| {
            let entry = failing.entry(key.to_owned()).or_insert_with(Failing::new);
            entry.failures = entry.failures.saturating_add(1);
            if class == ErrorClass::Conflict && entry.failures <= CONFLICTS_AT_ONCE {
                return AT_ONCE;
            }
            let wait = entry.backoff.next_backoff().unwrap_or(LONGEST).min(LONGEST);
            match class {
                ErrorClass::Invalid | ErrorClass::Bug => wait.max(HOPELESS),
                ErrorClass::Transient | ErrorClass::Conflict | ErrorClass::Fenced => wait,
            }
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
            let wait = budget.after("a", ErrorClass::Transient);
            assert!(wait >= middle / 2, "{failure}: {wait:?}");
            assert!(
                wait <= (middle * 3 / 2 + Duration::from_millis(1)).min(LONGEST),
                "{failure}: {wait:?}"
            );
        }
        assert_eq!(budget.failures("a"), 20);
    }

    #[test]
    fn a_lost_race_is_tried_again_at_once_and_the_hopeless_rarely() {
        let budget = RetryBudget::new();
        for _ in 0..CONFLICTS_AT_ONCE {
            assert_eq!(budget.after("a", ErrorClass::Conflict), AT_ONCE);
        }
        assert!(budget.after("a", ErrorClass::Conflict) > AT_ONCE);
        assert!(budget.after("b", ErrorClass::Invalid) >= HOPELESS);
    }

    #[test]
    fn objects_are_counted_apart_and_success_forgets() {
        let budget = RetryBudget::new();
        for _ in 0..10 {
            budget.after("a", ErrorClass::Transient);
        }
        assert!(budget.after("b", ErrorClass::Transient) < FIRST * 2);
        budget.reset("a");
        assert_eq!(budget.failures("a"), 0);
        assert!(budget.after("a", ErrorClass::Transient) < FIRST * 2);
        budget.reset("a");
        budget.reset("b");
        assert!(
            budget.with(|failing| failing.is_empty()),
            "only failing objects take memory"
        );
    }
}
