//! What keeps a pod from working, in words that stay the same as long as nothing changes: no counters, no back-off times,
//! no generated names. A status that repeats them would be written again and again.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::condition::shortened;
use crate::object::Live;

/// Longest text that is taken over from a pod.
const TEXT_LIMIT: usize = 200;
/// How long after its grace period a pod is not thought to be stuck.
const SLACK: SignedDuration = SignedDuration::from_secs(30);

/// What is wrong with a pod; None when it works, starts or ends in the ordinary way.
pub(super) fn trouble(pod: &Live, now: Timestamp) -> Option<String> {
    if pod.deleting {
        return overdue(pod, now);
    }
    unschedulable(pod).or_else(|| containers(pod).find_map(container_trouble))
}

/// How a pod is, in one phrase.
pub(super) fn state(pod: &Live, now: Timestamp) -> String {
    let phase = pod.text("/status/phase").unwrap_or("Pending");
    match trouble(pod, now) {
        Some(trouble) if pod.deleting => format!("pod Terminating, {trouble}"),
        None if pod.deleting => "pod Terminating".into(),
        Some(trouble) => format!("pod {phase}, {trouble}"),
        None if ["Failed", "Succeeded"].contains(&phase) => {
            let reason = pod.text("/status/reason").unwrap_or("its containers ended");
            format!("pod {phase}, {reason}")
        }
        None => format!("pod {phase}"),
    }
}

/// What is wrong with these pods, the same trouble once: `2 pods: ImagePullBackOff`.
pub(super) fn troubles<'a>(pods: impl Iterator<Item = &'a Live>, now: Timestamp) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for trouble in pods.filter_map(|pod| trouble(pod, now)) {
        *counts.entry(trouble).or_default() += 1;
    }
    counts
        .into_iter()
        .map(|(trouble, count)| {
            let pods = if count == 1 { "pod" } else { "pods" };
            format!("{count} {pods}: {trouble}")
        })
        .collect()
}

/// A pod that should have ended: the kubelet that would end it does not answer, or cannot.
fn overdue(pod: &Live, now: Timestamp) -> Option<String> {
    let until: Timestamp = pod.text("/metadata/deletionTimestamp")?.parse().ok()?;
    let node = pod.text("/spec/nodeName").unwrap_or("none");
    (now.duration_since(until) > SLACK).then(|| {
        format!("it should have ended by {until}: see node {node}; if that is gone for good, delete the Node")
    })
}

fn unschedulable(pod: &Live) -> Option<String> {
    let conditions = pod.body.pointer("/status/conditions")?.as_array()?;
    let condition = conditions
        .iter()
        .find(|condition| condition.get("reason").and_then(Value::as_str) == Some("Unschedulable"))?;
    let why = text(condition, "/message").unwrap_or("Unschedulable");
    Some(shortened(why, TEXT_LIMIT))
}

fn containers(pod: &Live) -> impl Iterator<Item = &Value> {
    ["/status/initContainerStatuses", "/status/containerStatuses"]
        .into_iter()
        .filter_map(|path| pod.body.pointer(path)?.as_array())
        .flatten()
}

fn container_trouble(container: &Value) -> Option<String> {
    if container.get("ready") == Some(&Value::Bool(true)) {
        return None;
    }
    let ended = container
        .pointer("/state/terminated")
        .or_else(|| container.pointer("/lastState/terminated"))
        // An init container that did its work.
        .filter(|terminated| terminated.get("exitCode") != Some(&0.into()));
    match text(container, "/state/waiting/reason") {
        Some("ContainerCreating" | "PodInitializing") | None => ended.map(termination),
        // Its message counts the seconds; what matters is how the container ended.
        Some(reason @ "CrashLoopBackOff") => Some(match ended {
            Some(ended) => format!("{reason}, {}", termination(ended)),
            None => reason.into(),
        }),
        Some(reason) => Some(match text(container, "/state/waiting/message") {
            Some(why) => format!("{reason}, {}", shortened(why, TEXT_LIMIT)),
            None => reason.into(),
        }),
    }
}

fn termination(terminated: &Value) -> String {
    let code = terminated.get("exitCode").and_then(Value::as_i64).unwrap_or(-1);
    let reason = text(terminated, "/reason").unwrap_or("Error");
    let last = text(terminated, "/message").map_or_else(String::new, |last| {
        format!(": {}", shortened(last.trim(), TEXT_LIMIT))
    });
    format!("the container ended with exit code {code} ({reason}){last}")
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}
