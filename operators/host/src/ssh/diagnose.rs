//! What ssh's messages mean. They are all that it tells about a failed connection.

use std::time::Duration;

use super::config::hop_of;
use crate::target::{Hop, Ssh};
use crate::transport::ConnectError;

/// Beginnings of lines that tell nobody anything.
const NOISE: &[&str] = &[
    "@",
    "Warning: Permanently added",
    "Connection closed by UNKNOWN",
    "stdio forwarding failed",
];

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
        .filter(|line| !line.is_empty() && !NOISE.iter().any(|noise| line.starts_with(noise)))
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

#[cfg(test)]
mod tests {
    use kok_plan::host::Secret;

    use super::*;
    use crate::target::{HostKey, Sudo};

    /// Texts are what OpenSSH 9.2 wrote.
    const CHANGED: &str = "\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
The fingerprint for the ED25519 key sent by the remote host is
SHA256:pobt3UxthBGrkduaMLscvVox90SZdu9Yi9MDNZ9VwyA.
Please contact your system administrator.
Add correct host key in /run/kok/x/known_hosts to get rid of this message.
Host key for NAME has changed and you have requested strict checking.
Host key verification failed.
";

    fn hop(address: &str, user: &str) -> Hop {
        Hop {
            address: address.into(),
            port: 22,
            user: user.into(),
            key: Secret::new(""),
            host_key: HostKey::TrustOnFirstUse,
        }
    }

    fn error(log: &str) -> ConnectError {
        let ssh = Ssh {
            hop: hop("10.0.0.9", "root"),
            jumps: vec![hop("10.0.0.1", "jump")],
            sudo: Sudo::None,
        };
        connect_error(&ssh, log, Duration::from_secs(15))
    }

    #[test]
    fn a_changed_key_is_told_with_its_hop_and_fingerprint() {
        for (name, address) in [("kok-host", "10.0.0.9"), ("kok-jump-0", "10.0.0.1")] {
            let expected = ConnectError::HostKeyChanged {
                hop: address.into(),
                seen: Some("SHA256:pobt3UxthBGrkduaMLscvVox90SZdu9Yi9MDNZ9VwyA".into()),
            };
            let behind = "kex_exchange_identification: Connection closed by remote host\n\
                          Connection closed by UNKNOWN port 65535\n";
            assert_eq!(error(&(CHANGED.replace("NAME", name) + behind)), expected);
        }
        let unknown = "No RSA host key is known for kok-jump-0 and you have requested strict checking.\n\
                       Host key verification failed.\n";
        let expected = ConnectError::HostKeyChanged {
            hop: "10.0.0.1".into(),
            seen: None,
        };
        assert_eq!(error(unknown), expected);
    }

    #[test]
    fn a_refused_login_is_told_with_its_hop_and_user() {
        for (address, user) in [("10.0.0.9", "root"), ("10.0.0.1", "jump")] {
            let log = format!(
                "Warning: Permanently added 'kok-host' (ED25519) to the list of known hosts.\r\n\
                 {user}@{address}: Permission denied (publickey).\r\n"
            );
            let expected = ConnectError::NotAuthenticated {
                hop: address.into(),
                user: user.into(),
            };
            assert_eq!(error(&log), expected);
        }
    }

    #[test]
    fn the_rest_is_told_by_what_it_means_for_the_next_try() {
        let refused = "ssh: connect to host 10.0.0.1 port 22: Connection refused\n\
                       kex_exchange_identification: Connection closed by remote host\n\
                       Connection closed by UNKNOWN port 65535\n";
        let behind = "channel 0: open failed: connect failed: No route to host\nstdio forwarding failed\n";
        for log in [
            refused,
            behind,
            "ssh: Could not resolve hostname x: Name or service not known",
        ] {
            assert!(matches!(error(log), ConnectError::Unreachable(_)), "{log}");
        }
        for log in [
            "Connection timed out during banner exchange\nConnection to 10.0.0.9 port 22 timed out\n",
            "ssh: connect to host 10.0.0.9 port 22: Connection timed out\n",
        ] {
            assert!(matches!(error(log), ConnectError::TimedOut { .. }), "{log}");
        }
        let dropped = "kex_exchange_identification: read: Connection reset by peer\n\
                       Connection reset by 10.0.0.9 port 22\n";
        let ConnectError::Closed(why) = error(dropped) else {
            panic!("{:?}", error(dropped));
        };
        assert_eq!(why, dropped.trim().replace('\n', "; "));
        assert_eq!(error(""), ConnectError::Closed("ssh ended without a word".into()));
    }
}
