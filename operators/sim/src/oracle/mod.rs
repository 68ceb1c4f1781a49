//! What must be true of a run: compared with the run in which nothing went wrong, and at every moment.

mod compare;
mod invariants;
mod masked;
mod secrets;

pub use compare::{counts, difference, unlike};
pub use masked::{Masked, masked};

use crate::run::Run;

/// Everything that is wrong with a run. `reference` is the same scenario without faults; a reference itself is judged
/// without one.
pub fn judge(run: &Run, reference: Option<&Run>) -> Vec<String> {
    let mut problems = run.complaints.clone();
    problems.extend(run.disasters.iter().cloned());
    problems.extend(run.violations.iter().cloned());
    problems.extend(invariants::broken(run));
    problems.extend(secrets::leaks(run));
    if let Some(reference) = reference {
        problems.extend(difference(run, reference));
        problems.extend(counts(run, reference));
    }
    problems.sort();
    problems.dedup();
    problems
}
