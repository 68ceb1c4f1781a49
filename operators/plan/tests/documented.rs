//! docs/operations.md names every reason of a condition and of a gate, and none that does not exist.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

use std::collections::BTreeSet;

use kok_plan::cluster::gate::GateReason;
use kok_plan::cluster::status::Reason;
use strum::IntoEnumIterator;

/// The words in code type of one column of the table below a heading.
fn column(heading: &str, column: usize) -> BTreeSet<String> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");
    let text = std::fs::read_to_string(file).unwrap();
    let (_, section) = text
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("no heading {heading:?}"));
    let section = section.split("\n## ").next().unwrap();
    section
        .lines()
        .filter(|line| line.starts_with('|'))
        .flat_map(|line| {
            line.split('|')
                .nth(column + 1)
                .unwrap()
                .split('`')
                .skip(1)
                .step_by(2)
        })
        .map(String::from)
        .collect()
}

#[test]
fn every_reason_of_a_condition_is_documented() {
    let gates_too = GateReason::iter().map(<&str>::from);
    let shown_by_conditions: BTreeSet<String> = [
        "QuorumLost",
        "MemberDataLost",
        "SecretLost",
        "SecretAltered",
        "CertificateBlocked",
    ]
    .map(String::from)
    .into();
    assert!(
        shown_by_conditions
            .iter()
            .all(|name| gates_too.clone().any(|gate| gate == name))
    );
    let reasons: BTreeSet<String> = Reason::iter()
        .map(|reason| <&str>::from(reason).to_owned())
        .chain(shown_by_conditions)
        .collect();
    assert_eq!(column("Conditions: reasons and what to do", 1), reasons);
}

#[test]
fn every_gate_is_documented() {
    let gates: BTreeSet<String> = GateReason::iter().map(|gate| gate.as_str().to_owned()).collect();
    assert_eq!(column("Gates", 0), gates);
}
