//! An operation on the wire, and its result.

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kok_plan::host::{
    Content, DebSource, Expect, FailureReason, Operation, OperationOutcome, OperationResult, Owner, Refusal,
    Step, StepOutcome, StepResult, UnitAction,
};
use zeroize::Zeroizing;

use super::frames::frames;
use super::wire::{decode, line, sha256};
use crate::redact::Redactor;

/// The data lines of an operation. They hold its secrets.
pub(super) fn request(operation: &Operation) -> Zeroizing<String> {
    let mut request = Zeroizing::new(String::new());
    let generation = operation.generation.to_string();
    line(
        &mut request,
        "operation",
        [operation.id.as_str(), &generation, &digest(operation)],
    );
    let owner = &operation.owner;
    line(
        &mut request,
        "owner",
        [owner.cluster.as_str(), &owner.machine, &owner.label],
    );
    if let Some(Step::Claim { replaces }) = operation.steps.first() {
        let (cluster, machine) = replaces.as_ref().map_or(("-", "-"), |owner| {
            (owner.cluster.as_str(), owner.machine.as_str())
        });
        line(&mut request, "claim", [cluster, machine]);
    }
    for (index, step) in operation.steps.iter().enumerate() {
        step_line(&mut request, index, step);
    }
    request
}

/// Names the steps. A secret counts by the name of its slot: it may be made anew when the operation is given
/// again.
fn digest(operation: &Operation) -> String {
    let mut text = String::new();
    for (index, step) in operation.steps.iter().enumerate() {
        match step {
            Step::WriteFile {
                path,
                content: Content::Filled { slot, .. } | Content::Slot(slot),
                mode,
                uid,
                gid,
            } => line(
                &mut text,
                "secret",
                [
                    path.as_str(),
                    slot,
                    &mode.to_string(),
                    &uid.to_string(),
                    &gid.to_string(),
                ],
            ),
            _ => step_line(&mut text, index, step),
        }
    }
    sha256(text.as_bytes())
}

fn step_line(request: &mut String, index: usize, step: &Step) {
    let mut fields = vec![index.to_string(), step.kind().to_owned()];
    fields.extend(arguments(step));
    let fields = Zeroizing::new(fields);
    line(request, "step", fields.iter().map(String::as_str));
}

/// The arguments of a step, as `step_<kind>` in the script takes them.
fn arguments(step: &Step) -> Vec<String> {
    let octal = |mode: &u32| format!("{mode:o}");
    let millis = |duration: &Duration| duration.as_millis().to_string();
    match step {
        Step::Claim { .. } | Step::Release | Step::DaemonReload => vec![],
        Step::Directory { path, mode } => vec![path.clone(), octal(mode)],
        Step::Fetch {
            urls,
            sha256,
            dest,
            mode,
        } => [dest.clone(), octal(mode), sha256.clone()]
            .into_iter()
            .chain(urls.iter().cloned())
            .collect(),
        Step::Unpack { archive, dest, strip } => vec![archive.clone(), dest.clone(), strip.to_string()],
        Step::Link { path, target } => vec![path.clone(), target.clone()],
        Step::WriteFile {
            path,
            content,
            mode,
            uid,
            gid,
        } => {
            let bytes = match content {
                Content::Text(text) => text.as_bytes(),
                Content::Filled { secret, .. } => secret.expose(),
                Content::Slot(_) => &[],
            };
            vec![
                path.clone(),
                octal(mode),
                uid.to_string(),
                gid.to_string(),
                sha256(bytes),
                STANDARD.encode(bytes),
            ]
        }
        Step::RemovePath { path } => vec![path.clone()],
        Step::InstallDeb {
            name,
            version,
            source,
            hold,
        } => {
            let hold = if *hold { "yes" } else { "no" };
            let mut fields = vec![name.clone(), version.clone(), hold.into()];
            match source {
                DebSource::Apt { list } => {
                    fields.push("apt".into());
                    fields.extend(list.clone());
                }
                DebSource::File { urls, sha256 } => {
                    fields.extend(["file".into(), sha256.clone()]);
                    fields.extend(urls.iter().cloned());
                }
            }
            fields
        }
        Step::RemoveDeb { name } | Step::LoadModule { name } | Step::KillCgroup { name } => {
            vec![name.clone()]
        }
        Step::Unit { name, action } => vec![name.clone(), action_word(*action).into()],
        Step::WaitActive { name, stable, within } => vec![name.clone(), millis(stable), millis(within)],
        Step::Probe { argv, expect, within } => {
            let expected = match expect {
                Expect::Success => String::new(),
                Expect::Output(text) => text.clone(),
            };
            [millis(within), expected]
                .into_iter()
                .chain(argv.iter().cloned())
                .collect()
        }
        Step::Run { argv, within } => std::iter::once(millis(within))
            .chain(argv.iter().cloned())
            .collect(),
        Step::Sysctl { key, value } => vec![key.clone(), value.clone()],
        Step::Reboot { boot_id } => vec![boot_id.clone()],
    }
}

fn action_word(action: UnitAction) -> &'static str {
    action.into()
}

/// What became of an operation, from what its run wrote. `lost` says why the answer may not be whole: the session
/// ended, or the time was over.
pub fn parse_result(
    operation: &Operation,
    answer: &[u8],
    nonce: &str,
    lost: Option<&str>,
    duration: Duration,
) -> OperationResult {
    let redactor = Redactor::of(operation);
    let frames = frames(answer, nonce);
    let mut reported = BTreeMap::new();
    let mut refusal = None;
    let mut accepted = false;
    let mut whole = false;
    for frame in &frames {
        match frame.words.as_slice() {
            ["accepted"] => accepted = true,
            ["end"] => whole = true,
            ["refused", why @ ..] => refusal = parse_refusal(why),
            ["step", index, rest @ ..] => {
                if let (Ok(index), Some((outcome, took))) = (index.parse::<usize>(), parse_step(rest)) {
                    let tail = redactor.redact(String::from_utf8_lossy(frame.body).trim_end());
                    reported.insert(index, (outcome, took, tail));
                }
            }
            _ => {}
        }
    }
    let silent = if refusal.is_some() || whole {
        StepOutcome::NotRun
    } else {
        StepOutcome::Unknown
    };
    let steps: Vec<StepResult> = operation
        .steps
        .iter()
        .enumerate()
        .map(|(index, step)| {
            let (outcome, duration, tail) = reported
                .remove(&index)
                .unwrap_or_else(|| (silent.clone(), Duration::ZERO, String::new()));
            StepResult {
                step: redactor.redact(&step.to_string()),
                kind: step.kind().into(),
                outcome,
                duration,
                tail,
            }
        })
        .collect();
    let outcome = if let Some(refusal) = refusal {
        OperationOutcome::Refused(refusal)
    } else if !accepted || !whole {
        let why = lost.unwrap_or("the answer was cut off");
        OperationOutcome::Unknown(redactor.redact(why))
    } else if let Some(step) = position(&steps, |outcome| matches!(outcome, StepOutcome::Failed { .. })) {
        OperationOutcome::Failed { step }
    } else if position(&steps, |outcome| *outcome == StepOutcome::Rebooting).is_some() {
        OperationOutcome::Rebooting
    } else {
        OperationOutcome::Done
    };
    OperationResult {
        operation: operation.id.clone(),
        outcome,
        steps,
        duration,
    }
}

fn position(steps: &[StepResult], is: impl Fn(&StepOutcome) -> bool) -> Option<usize> {
    steps.iter().position(|step| is(&step.outcome))
}

fn parse_refusal(why: &[&str]) -> Option<Refusal> {
    Some(match why {
        ["conflict", cluster, machine, label] => Refusal::Conflict(Owner {
            cluster: decode(cluster),
            machine: decode(machine),
            label: decode(label),
        }),
        ["not-claimed"] => Refusal::NotClaimed,
        ["older-generation", seen] => Refusal::OlderGeneration {
            seen: seen.parse().ok()?,
        },
        ["busy"] => Refusal::Busy,
        ["id-reused"] => Refusal::IdReused,
        ["not-root"] => Refusal::NotRoot,
        ["unwritable", why @ ..] => Refusal::StateUnwritable(why.join(" ")),
        _ => return None,
    })
}

fn parse_step(words: &[&str]) -> Option<(StepOutcome, Duration)> {
    let millis = |text: &str| text.parse().ok().map(Duration::from_millis);
    Some(match words {
        ["changed", took] => (StepOutcome::Done { changed: true }, millis(took)?),
        ["unchanged", took] => (StepOutcome::Done { changed: false }, millis(took)?),
        ["before", took] => (StepOutcome::DoneBefore, millis(took)?),
        ["rebooting", took] => (StepOutcome::Rebooting, millis(took)?),
        ["failed", took, reason, exit] => {
            let reason = FailureReason::from_str(reason).unwrap_or(FailureReason::CommandFailed);
            let exit = exit.parse().ok()?;
            (StepOutcome::Failed { reason, exit }, millis(took)?)
        }
        _ => return None,
    })
}
