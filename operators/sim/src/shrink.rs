//! The shortest plan that still fails.

use crate::campaign::References;
use crate::fault::Plan;

/// Takes faults away as long as the run still fails in one of the same ways.
pub fn shrink(references: &References, plan: &Plan, problems: &[String]) -> Plan {
    let mut shortest = plan.clone();
    loop {
        let shorter = (0..shortest.faults.len()).map(|index| {
            let mut shorter = shortest.clone();
            shorter.faults.remove(index);
            shorter
        });
        let failing = shorter
            .filter(|shorter| !shorter.faults.is_empty())
            .find(|shorter| fails_alike(&references.judge(shorter).problems, problems));
        match failing {
            Some(shorter) => shortest = shorter,
            None => return shortest,
        }
    }
}

/// Whether two failures are of one kind: they begin alike.
fn fails_alike(one: &[String], other: &[String]) -> bool {
    let kind = |problem: &String| problem.chars().take(24).collect::<String>();
    one.iter().any(|problem| other.iter().any(|it| kind(it) == kind(problem)))
}
