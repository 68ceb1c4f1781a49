//! Where a host is, how to log in, and what of that is well-formed.

use std::net::IpAddr;

use kok_plan::host::Secret;

/// A host to connect to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Names the host in limits and messages: the Machine's name.
    pub name: String,
    /// Data centre; connections are shared out fairly among them.
    pub idc: String,
    /// How to reach it.
    pub method: Method,
}

/// How a host is reached.
#[derive(Clone, Debug)]
pub enum Method {
    /// SSH.
    Ssh(Ssh),
    /// The run-command API of a cloud.
    Cloud(CloudInstance),
}

/// A login over SSH.
#[derive(Clone, Debug)]
pub struct Ssh {
    /// The host itself.
    pub hop: Hop,
    /// Hosts to go through, the first one first.
    pub jumps: Vec<Hop>,
    /// How to become root.
    pub sudo: Sudo,
}

/// One sshd on the way, or at the end of it.
#[derive(Clone, Debug)]
pub struct Hop {
    /// IP address or DNS name.
    pub address: String,
    /// Port.
    pub port: u16,
    /// User to log in as.
    pub user: String,
    /// Private key in PEM or OpenSSH's format, without a passphrase.
    pub key: Secret,
    /// Which host keys to accept.
    pub host_key: HostKey,
}

/// Which host keys to accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKey {
    /// Only these, each `<type> <base64>` as in a `.pub` file.
    Pinned(Vec<String>),
    /// Whatever the host shows, this once. The session tells the key; it must be pinned from then on.
    TrustOnFirstUse,
}

/// How to become root.
#[derive(Clone, Debug)]
pub enum Sudo {
    /// Not at all: the user is root.
    None,
    /// `sudo` asks nothing.
    Passwordless,
    /// `sudo` asks for this password.
    Password(Secret),
}

/// An instance of a cloud that takes commands by its API.
#[derive(Clone, Debug)]
pub struct CloudInstance {
    /// Region.
    pub region: String,
    /// Instance.
    pub instance: String,
    /// Access key.
    pub access_key_id: String,
    /// Its secret.
    pub access_key_secret: Secret,
}

/// Something about a target is malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} is malformed")]
pub struct InvalidTarget {
    /// Which field.
    pub what: &'static str,
    /// What it says.
    pub text: String,
}

impl Target {
    /// The sshd that is connected to first: it sees all connections to the hosts behind it.
    pub fn first_jump(&self) -> Option<&Hop> {
        match &self.method {
            Method::Ssh(ssh) => ssh.jumps.first(),
            Method::Cloud(_) => None,
        }
    }
}

impl Ssh {
    /// All hops, the host itself last.
    pub fn hops(&self) -> impl Iterator<Item = &Hop> {
        self.jumps.iter().chain([&self.hop])
    }

    /// Checks everything that goes into a configuration file.
    pub fn check(&self) -> Result<(), InvalidTarget> {
        self.hops().try_for_each(Hop::check)
    }
}

impl CloudInstance {
    /// Checks what goes into a host name or a request.
    pub fn check(&self) -> Result<(), InvalidTarget> {
        let is_id = |text: &str| {
            (1..=128).contains(&text.len())
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        };
        require(is_id(&self.region), "region", &self.region)?;
        require(is_id(&self.instance), "instance", &self.instance)?;
        require(is_id(&self.access_key_id), "access key id", &self.access_key_id)
    }
}

impl Hop {
    fn check(&self) -> Result<(), InvalidTarget> {
        require(is_address(&self.address), "address", &self.address)?;
        require(self.port != 0, "port", "0")?;
        require(is_user(&self.user), "user", &self.user)?;
        match &self.host_key {
            HostKey::Pinned(keys) => {
                require(!keys.is_empty(), "list of host keys", "")?;
                keys.iter()
                    .try_for_each(|key| require(is_public_key(key), "host key", key))
            }
            HostKey::TrustOnFirstUse => Ok(()),
        }
    }
}

fn require(holds: bool, what: &'static str, text: &str) -> Result<(), InvalidTarget> {
    if holds {
        Ok(())
    } else {
        Err(InvalidTarget {
            what,
            text: text.chars().take(100).collect(),
        })
    }
}

/// An IP address or a DNS name.
fn is_address(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.starts_with(|c: char| c.is_ascii_alphanumeric())
            && label.ends_with(|c: char| c.is_ascii_alphanumeric())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    text.parse::<IpAddr>().is_ok() || (text.len() <= 253 && text.split('.').all(label))
}

fn is_user(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// `<type> <base64>`, with nothing behind it.
fn is_public_key(text: &str) -> bool {
    let mut words = text.split(' ');
    let kind = words.next().unwrap_or_default();
    let blob = words.next().unwrap_or_default();
    words.next().is_none()
        && (1..=64).contains(&kind.len())
        && kind
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '@' | '.'))
        && (16..=8192).contains(&blob.len())
        && blob
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '='))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn hop() -> Hop {
        Hop {
            address: "10.0.0.1".into(),
            port: 22,
            user: "root".into(),
            key: Secret::new("hunter2"),
            host_key: HostKey::TrustOnFirstUse,
        }
    }

    #[rstest]
    #[case("10.0.0.1", true)]
    #[case("fd00::1", true)]
    #[case("node-1.example.com", true)]
    #[case("", false)]
    #[case("-oProxyCommand=x", false)]
    #[case("a b", false)]
    #[case("a\nProxyCommand x", false)]
    #[case("a\"", false)]
    #[case("a%h", false)]
    #[case("$(x)", false)]
    #[case("a..b", false)]
    fn addresses(#[case] address: &str, #[case] valid: bool) {
        let hop = Hop {
            address: address.into(),
            ..hop()
        };
        assert_eq!(hop.check().is_ok(), valid);
    }

    #[rstest]
    #[case("root", true)]
    #[case("svc.kok_1-a", true)]
    #[case("", false)]
    #[case("-l", false)]
    #[case("a b", false)]
    #[case("a\nPort 1", false)]
    #[case("a@b", false)]
    fn users(#[case] user: &str, #[case] valid: bool) {
        let hop = Hop {
            user: user.into(),
            ..hop()
        };
        assert_eq!(hop.check().is_ok(), valid);
    }

    #[rstest]
    #[case("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA", true)]
    #[case("sk-ssh-ed25519@openssh.com AAAAC3NzaC1lZDI1NTE5AAAAIA", true)]
    #[case("ssh-ed25519", false)]
    #[case("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA a comment", false)]
    #[case("* ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA", false)]
    #[case("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5\n* ssh-rsa", false)]
    fn pinned_keys(#[case] key: &str, #[case] valid: bool) {
        let hop = Hop {
            host_key: HostKey::Pinned(vec![key.into()]),
            ..hop()
        };
        assert_eq!(hop.check().is_ok(), valid);
    }

    #[test]
    fn no_key_and_no_pin_are_refused_and_no_secret_is_shown() {
        let unpinned = Hop {
            host_key: HostKey::Pinned(vec![]),
            ..hop()
        };
        assert!(unpinned.check().is_err());
        assert!(Hop { port: 0, ..hop() }.check().is_err());
        let target = Target {
            name: "node1".into(),
            idc: "a".into(),
            method: Method::Ssh(Ssh {
                hop: hop(),
                jumps: vec![hop()],
                sudo: Sudo::Password(Secret::new("hunter2")),
            }),
        };
        assert!(!format!("{target:?}").contains("hunter2"));
    }
}
