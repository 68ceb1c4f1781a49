//! What ssh's messages mean. They are all that it tells about a failed connection.

use std::time::Duration;

use super::config::hop_of;
use crate::target::{Hop, Ssh};
use crate::transport::ConnectError;

/// Why ssh gave up, from what it wrote. `within` is the time that it was given.
pub(super) fn connect_error(ssh: &Ssh, log: &str, within: Duration) -> ConnectError {
    let hops: Vec<&Hop> = ssh.hops().collect();
    let last = message(log);
    if log.contains("REMOTE HOST IDENTIFICATION HAS CHANGED") || log.contains("Host key verification failed")
    {
        return ConnectError::HostKeyChanged {
            hop: named_hop(ssh, log, "Host key for ")
                .or_else(|| named_hop(ssh, log, "host key is known for "))
                .map_or_else(|| ssh.hop.address.clone(), |index| hops[index].address.clone()),
            seen: fingerprint(log),
        };
    }
    if let Some(line) = log.lines().find(|line| line.contains(": Permission denied (")) {
        let hop = ssh
            .hops()
            .find(|hop| line.starts_with(&format!("{}@{}:", hop.user, hop.address)))
            .unwrap_or(&ssh.hop);
        return ConnectError::NotAuthenticated {
            hop: hop.address.clone(),
            user: hop.user.clone(),
        };
    }
    let mentions = |texts: &[&str]| texts.iter().any(|text| log.contains(text));
    if mentions(&[
        "Too many authentication failures",
        "No supported authentication methods",
    ]) {
        return ConnectError::NotAuthenticated {
            hop: ssh.hop.address.clone(),
            user: ssh.hop.user.clone(),
        };
    }
    if mentions(&["timed out", "Timeout, server"]) {
        return ConnectError::TimedOut { within, stage: last };
    }
    if mentions(&[
        "Connection refused",
        "No route to host",
        "Network is unreachable",
        "Host is down",
        "Could not resolve hostname",
        "Name or service not known",
        "open failed: connect failed",
        "open failed: administratively prohibited",
    ]) {
        return ConnectError::Unreachable(last);
    }
    if mentions(&["error in libcrypto", "invalid format", "Load key"]) {
        return ConnectError::UnusableKey {
            hop: ssh.hop.address.clone(),
            why: "ssh cannot read it",
        };
    }
    ConnectError::Closed(last)
}

/// How far a connection came that was still under way when its time was over.
pub(super) fn stage(log: &str) -> String {
    if log.is_empty() {
        "the other side accepted nothing, or said nothing".into()
    } else {
        message(log)
    }
}

/// The lines that say something, on one line.
fn message(log: &str) -> String {
    let lines: Vec<&str> = log
        .lines()
        .map(|line| line.trim().trim_end_matches('\r'))
        .filter(|line| !line.is_empty() && !line.starts_with("Warning: Permanently added"))
        .filter(|line| !line.chars().all(|c| c == '@'))
        .collect();
    let from = lines.len().saturating_sub(3);
    let text = lines[from..].join("; ");
    if text.is_empty() {
        "ssh ended without a word".into()
    } else {
        text.chars().take(400).collect()
    }
}

/// The hop that a message names behind these words.
fn named_hop(ssh: &Ssh, log: &str, before: &str) -> Option<usize> {
    let at = log.find(before)? + before.len();
    hop_of(ssh, log[at..].split_whitespace().next()?)
}

/// The fingerprint that a message shows.
fn fingerprint(log: &str) -> Option<String> {
    let at = log.find("SHA256:")?;
    let end = log[at..]
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, ':' | '+' | '/')))
        .map_or(log.len(), |length| at + length);
    Some(log[at..end].to_owned())
}
