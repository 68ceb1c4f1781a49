//! The configuration of one session, as ssh reads it: complete, so that nothing of the machine's or the user's
//! own configuration has any say.

use std::fmt::Write as _;
use std::path::Path;

use crate::target::{HostKey, Ssh, Sudo};

/// Name of the host itself in the session's configuration and known hosts.
pub(super) const HOST: &str = "kok-host";

/// Name of a jump host there.
fn jump(index: usize) -> String {
    format!("kok-jump-{index}")
}

/// Name of hop `index` of `Ssh::hops`.
pub(super) fn alias(ssh: &Ssh, index: usize) -> String {
    if index == ssh.jumps.len() {
        HOST.into()
    } else {
        jump(index)
    }
}

/// Index of the hop with this name.
pub(super) fn hop_of(ssh: &Ssh, name: &str) -> Option<usize> {
    (0..=ssh.jumps.len()).find(|index| alias(ssh, *index) == name)
}

/// File of the private key of a hop.
pub(super) fn key_file(index: usize) -> String {
    format!("key-{index}")
}

/// File of the known hosts.
pub(super) const KNOWN_HOSTS: &str = "known_hosts";
/// File of the configuration.
pub(super) const CONFIG: &str = "config";
/// The control socket.
pub(super) const SOCKET: &str = "s";

/// Key exchanges that cost a small part of the CPU of the others, the best first. OpenSSH before 9.9 prefers
/// sntrup761, which takes it 80 ms on either side; without it a login takes 10 ms.
const QUICK_KEX: &[&str] = &["mlkem768x25519-sha256", "curve25519-sha256"];

/// The quick ones of the key exchanges that this machine's ssh knows.
pub(super) fn quick_kex(known: &str) -> String {
    let is_known = |name: &&&str| known.lines().any(|line| line.trim() == **name);
    QUICK_KEX
        .iter()
        .filter(is_known)
        .copied()
        .collect::<Vec<_>>()
        .join(",")
}

/// The configuration. `directory` holds the session's files; its path has no characters that ssh would read as
/// its own, see [`is_plain_path`]. `patience` is for each connection and its key exchange.
///
/// With `quick_kex` a recorded session may be read by a quantum computer of the future. What travels is of no
/// use by then, but for a password of sudo: with one, ssh's own order stands.
pub(super) fn config(ssh: &Ssh, directory: &Path, patience_s: u64, quick_kex: &str) -> String {
    let directory = directory.display();
    let mut config = String::new();
    for (index, hop) in ssh.hops().enumerate() {
        let strict = match hop.host_key {
            HostKey::Pinned(_) => "yes",
            HostKey::TrustOnFirstUse => "accept-new",
        };
        let key = key_file(index);
        let _ = write!(
            config,
            "Host {name}\n\
             HostName {address}\n\
             Port {port}\n\
             User {user}\n\
             HostKeyAlias {name}\n\
             StrictHostKeyChecking {strict}\n\
             IdentityFile {directory}/{key}\n",
            name = alias(ssh, index),
            address = hop.address,
            port = hop.port,
            user = hop.user,
        );
        // Each jump host is reached through the one before it.
        if index > 0 {
            let _ = writeln!(config, "ProxyJump {}", jump(index - 1));
        }
    }
    let _ = write!(
        config,
        "Host *\n\
         UserKnownHostsFile {directory}/{KNOWN_HOSTS}\n\
         GlobalKnownHostsFile /dev/null\n\
         IdentitiesOnly yes\n\
         IdentityAgent none\n\
         PreferredAuthentications publickey\n\
         PubkeyAuthentication yes\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         BatchMode yes\n\
         CheckHostIP no\n\
         HashKnownHosts no\n\
         UpdateHostKeys no\n\
         VerifyHostKeyDNS no\n\
         CanonicalizeHostname no\n\
         ClearAllForwardings yes\n\
         ForwardAgent no\n\
         ForwardX11 no\n\
         PermitLocalCommand no\n\
         RequestTTY no\n\
         EscapeChar none\n\
         Compression no\n\
         TCPKeepAlive yes\n\
         ServerAliveInterval 5\n\
         ServerAliveCountMax 3\n\
         ConnectionAttempts 1\n\
         ConnectTimeout {patience_s}\n\
         LogLevel INFO\n"
    );
    if !quick_kex.is_empty() && !matches!(ssh.sudo, Sudo::Password(_)) {
        let _ = writeln!(config, "KexAlgorithms ^{quick_kex}");
    }
    config
}

/// The known hosts: the pinned keys under the names of the configuration.
pub(super) fn known_hosts(ssh: &Ssh) -> String {
    let mut known = String::new();
    for (index, hop) in ssh.hops().enumerate() {
        if let HostKey::Pinned(keys) = &hop.host_key {
            for key in keys {
                let _ = writeln!(known, "{} {key}", alias(ssh, index));
            }
        }
    }
    known
}

/// Keys that ssh added to the known hosts, by index of their hop.
pub(super) fn added_keys(ssh: &Ssh, known_hosts: &str) -> Vec<(usize, String)> {
    let hops: Vec<_> = ssh.hops().collect();
    known_hosts
        .lines()
        .filter_map(|line| {
            let (name, key) = line.trim().split_once(' ')?;
            let index = hop_of(ssh, name)?;
            (hops[index].host_key == HostKey::TrustOnFirstUse).then(|| (index, key.to_owned()))
        })
        .collect()
}

/// Whether ssh takes a path for what it is: without blanks, quotes, `%` and the like.
pub(super) fn is_plain_path(path: &Path) -> bool {
    path.is_absolute()
        && path.to_str().is_some_and(|text| {
            text.chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-'))
        })
}

#[cfg(test)]
mod tests {
    use kok_plan::host::Secret;

    use super::*;
    use crate::target::Hop;

    fn hop(address: &str, host_key: HostKey) -> Hop {
        Hop {
            address: address.into(),
            port: 2222,
            user: "admin".into(),
            key: Secret::new("hunter2"),
            host_key,
        }
    }

    fn two_jumps() -> Ssh {
        Ssh {
            hop: hop("10.0.0.3", HostKey::TrustOnFirstUse),
            jumps: vec![
                hop("10.0.0.1", HostKey::Pinned(vec!["ssh-ed25519 AAAA1".into()])),
                hop("10.0.0.2", HostKey::TrustOnFirstUse),
            ],
            sudo: Sudo::None,
        }
    }

    #[test]
    fn each_hop_goes_through_the_one_before_and_has_its_own_key() {
        let config = config(&two_jumps(), Path::new("/run/kok/x"), 9, "");
        let blocks: Vec<&str> = config
            .split("Host ")
            .filter(|block| block.contains('\n'))
            .collect();
        let find = |name: &str| {
            *blocks
                .iter()
                .find(|block| block.starts_with(&format!("{name}\n")))
                .unwrap()
        };
        assert!(!find("kok-jump-0").contains("ProxyJump"));
        assert!(find("kok-jump-0").contains("StrictHostKeyChecking yes\nIdentityFile /run/kok/x/key-0\n"));
        assert!(find("kok-jump-1").contains("ProxyJump kok-jump-0\n"));
        assert!(find("kok-host").contains("ProxyJump kok-jump-1\n"));
        assert!(
            find("kok-host").contains("HostName 10.0.0.3\nPort 2222\nUser admin\nHostKeyAlias kok-host\n")
        );
        assert!(
            find("kok-host").contains("StrictHostKeyChecking accept-new\nIdentityFile /run/kok/x/key-2\n")
        );
        assert!(!config.contains("hunter2"));
    }

    #[test]
    fn quick_key_exchanges_come_first_unless_a_password_travels() {
        assert_eq!(
            quick_kex("sntrup761x25519-sha512\ncurve25519-sha256\n"),
            "curve25519-sha256"
        );
        assert_eq!(
            quick_kex("curve25519-sha256\nmlkem768x25519-sha256\n"),
            "mlkem768x25519-sha256,curve25519-sha256"
        );
        assert_eq!(quick_kex("diffie-hellman-group14-sha256\n"), "");
        let mut ssh = two_jumps();
        let config = |ssh: &Ssh, quick: &str| config(ssh, Path::new("/run/kok/x"), 9, quick);
        assert!(config(&ssh, "a,b").ends_with("\nKexAlgorithms ^a,b\n"));
        assert!(!config(&ssh, "").contains("KexAlgorithms"));
        ssh.sudo = Sudo::Password(Secret::new("x"));
        assert!(!config(&ssh, "a,b").contains("KexAlgorithms"));
    }

    #[test]
    fn only_keys_trusted_on_first_use_are_new() {
        let ssh = two_jumps();
        let mut known = known_hosts(&ssh);
        assert_eq!(known, "kok-jump-0 ssh-ed25519 AAAA1\n");
        known.push_str("kok-jump-1 ssh-ed25519 AAAA2\nkok-host ssh-rsa AAAA3\nother ssh-rsa AAAA4\n");
        let added = added_keys(&ssh, &known);
        assert_eq!(
            added,
            [
                (1, "ssh-ed25519 AAAA2".to_owned()),
                (2, "ssh-rsa AAAA3".to_owned())
            ]
        );
    }

    #[test]
    fn paths_that_ssh_would_expand_are_not_plain() {
        assert!(is_plain_path(Path::new("/run/kok/a_b-1.x")));
        for path in ["run", "/run/a b", "/run/%h", "/run/~", "/run/\"", "/run/$x"] {
            assert!(!is_plain_path(Path::new(path)), "{path}");
        }
    }
}
