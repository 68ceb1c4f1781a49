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
/// Each wait is by this part of it longer or shorter at most.
const SPREAD: f64 = 0.5;
/// What lost a race is read again at once, so often in a row.
const CONFLICTS_AT_ONCE: u32 = 3;
/// The wait before that.
const AT_ONCE: Duration = Duration::from_millis(50);
/// What can never succeed as it is, or is ours to fix, is tried this rarely; a change of the object comes before.
const HOPELESS: Duration = Duration::from_mins(1);

/// Where chance comes from: a number from 0 to 1 for an object and the count of its failures.
pub type Jitter = Box<dyn Fn(&str, u32) -> f64 + Send + Sync>;

/// How long to wait before an object is tried again: about 1 s, 2 s, 4 s ... up to 5 minutes, each half as
/// much longer or shorter by chance, so that objects that failed together do not return together.
///
/// Holds an entry only for objects that are failing.
pub struct RetryBudget {
    failing: Mutex<HashMap<String, Failing>>,
    jitter: Jitter,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new()
    }
}

struct Failing {
    backoff: ExponentialBackoff,
    failures: u32,
}

impl RetryBudget {
    /// No object is failing.
    pub fn new() -> Self {
        Self::with_jitter(Box::new(|_, _| fastrand::f64()))
    }

    /// No object is failing, and chance comes from `jitter`: a run that is to be repeated gives its own.
    pub fn with_jitter(jitter: Jitter) -> Self {
        Self {
            failing: Mutex::default(),
            jitter,
        }
    }

    /// Records a failure of `key` and says how long to wait.
    pub fn after(&self, key: &str, class: ErrorClass) -> Duration {
        self.with(|failing| {
            let entry = failing.entry(key.to_owned()).or_insert_with(Failing::new);
            entry.failures = entry.failures.saturating_add(1);
            if class == ErrorClass::Conflict && entry.failures <= CONFLICTS_AT_ONCE {
                return AT_ONCE;
            }
            let middle = entry.backoff.next_backoff().unwrap_or(LONGEST);
            let factor = 1.0 - SPREAD + 2.0 * SPREAD * (self.jitter)(key, entry.failures).clamp(0.0, 1.0);
            let wait = middle.mul_f64(factor).min(LONGEST);
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
            .with_randomization_factor(0.0) // ours comes on top
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
    fn the_same_chance_gives_the_same_waits() {
        let waits = |jitter: f64| {
            let budget = RetryBudget::with_jitter(Box::new(move |_, _| jitter));
            [(); 3].map(|()| budget.after("a", ErrorClass::Transient).as_millis())
        };
        assert_eq!(waits(0.5), [1000, 2000, 4000]);
        assert_eq!(waits(0.0), [500, 1000, 2000]);
        assert_eq!(waits(1.0), [1500, 3000, 6000]);
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
