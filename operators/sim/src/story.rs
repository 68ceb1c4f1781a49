//! A run that went wrong, told so that a person understands it.

use std::fmt::Write as _;

use crate::api::Change;
use crate::fault::Plan;
use crate::ledger::{Entry, What};
use crate::run::Run;
use crate::time::{Millis, seconds};
use crate::world::{deleting, text};

/// Lines told before the first thing that goes wrong, after it, and at the end.
const BEFORE: usize = 12;
const AFTER: usize = 80;
const END: usize = 40;

/// The story of a run: what people and the operator did, what went wrong on purpose, what the world made of it.
pub fn tell(run: &Run, problems: &[String]) -> String {
    let mut story = format!("{}\n", run.plan);
    for problem in problems {
        let _ = writeln!(story, "  ! {problem}");
    }
    let _ = writeln!(story, "  repeat it: {}", repeat(&run.plan));
    let mut lines: Vec<(Millis, String)> = run
        .entries
        .iter()
        .filter(|entry| entry.at >= run.began.2 && is_worth_telling(entry))
        .map(|entry| (entry.at, entry.to_string()))
        .collect();
    for change in run.history.iter().filter(|change| by_world(change)) {
        let at = Millis::try_from(change.at.duration_since(run.day_one).as_millis()).unwrap_or_default();
        if let (true, Some(effect)) = (at > run.began.2, effect(change)) {
            lines.push((at, format!("{:>12}  {:<12} {effect}", seconds(at), change.actor)));
        }
    }
    lines.sort_by_key(|(at, _)| *at);
    let wrong = lines.iter().position(|(_, line)| goes_wrong(line)).unwrap_or_default();
    let first = wrong.saturating_sub(BEFORE)..wrong + AFTER;
    let last = lines.len().saturating_sub(END);
    let mut left_out = 0;
    for (number, (_, line)) in lines.iter().enumerate() {
        if first.contains(&number) || number >= last {
            if left_out > 0 {
                let _ = writeln!(story, "{:>14}  ({left_out} lines)", "...");
                left_out = 0;
            }
            let _ = writeln!(story, "  {line}");
        } else {
            left_out += 1;
        }
    }
    story
}

fn goes_wrong(line: &str) -> bool {
    line.contains(" <- ") || line.contains("  fate  ")
}

/// The line that repeats a plan exactly.
pub fn repeat(plan: &Plan) -> String {
    format!("KOK_SIM_REPLAY='{plan}' cargo test -p kok-sim --test simulate")
}

/// Writes, and whatever did not go as it should; not the reads in between.
fn is_worth_telling(entry: &Entry) -> bool {
    match &entry.what {
        What::Note(..) => true,
        What::Call(served) => {
            served.fault.is_some()
                || served.asked_to_write()
                || !(served.outcome.starts_with("20")
                    || served.outcome == "404"
                    || served.outcome.contains("members answer"))
        }
    }
}

fn by_world(change: &Change) -> bool {
    !change.actor.starts_with("operator-") && change.actor != "user" && change.actor != "stage"
}

/// What a change by a controller means for the story; None for what only fills in.
fn effect(change: &Change) -> Option<String> {
    let key = &change.key;
    match (&change.before, &change.after) {
        (None, Some(_)) => Some(format!("makes {key}")),
        (Some(_), None) => Some(format!("removes {key}")),
        (Some(before), Some(after)) => {
            if !deleting(before) && deleting(after) {
                return Some(format!("begins to delete {key}"));
            }
            let state = |object| {
                let waiting = text(object, "/status/containerStatuses/0/state/waiting/reason");
                let ready = object.to_string().contains("\"status\":\"True\",\"type\":\"Ready\"");
                (text(object, "/status/phase").to_owned(), waiting.to_owned(), ready)
            };
            let (was, is) = (state(before), state(after));
            let (phase, waiting, ready) = is.clone();
            (key.resource == "pods" && was != is).then(|| {
                let ready = if ready { ", ready" } else { "" };
                format!("{key} is {phase}{ready} {waiting}").trim_end().to_owned()
            })
        }
        (None, None) => None,
    }
}
