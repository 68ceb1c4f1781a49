//! Versions and the rules between them (Kubernetes version skew policy).

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// A version `major.minor.patch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Version {
    /// Major.
    pub major: u32,
    /// Minor.
    pub minor: u32,
    /// Patch.
    pub patch: u32,
}

/// The text is no version `major.minor.patch`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no version such as 1.36.3")]
pub struct NotAVersion(String);

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NotAVersion(text.into());
        let mut parts = text.trim_start_matches('v').split('.').map(str::parse::<u32>);
        let mut next = || parts.next().and_then(Result::ok).ok_or_else(wrong);
        let version = Self {
            major: next()?,
            minor: next()?,
            patch: next()?,
        };
        if parts.next().is_some() {
            Err(wrong())
        } else {
            Ok(version)
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Whether a component that was at `from` may be brought to `to`: same minor or the next one, never a minor back.
pub fn may_move(from: Version, to: Version) -> bool {
    from.major == to.major && (to.minor == from.minor || to.minor == from.minor + 1)
}

/// Whether a controller-manager or scheduler at `client` may talk to an apiserver at `server`: not newer, at most
/// one minor older.
pub fn controller_skew_allowed(client: Version, server: Version) -> bool {
    client.major == server.major && client.minor <= server.minor && client.minor + 1 >= server.minor
}

/// Whether a kubelet may talk to an apiserver at `server`: at most three minors older. (That it must not be newer binds
/// who upgrades kubelets; an apiserver never goes back a minor.)
pub fn kubelet_is_recent_enough(kubelet: Version, server: Version) -> bool {
    kubelet.major == server.major && kubelet.minor + 3 >= server.minor
}

/// Whether a kubelet at `kubelet` may be brought to an apiserver at `server`: not newer, at most three minors older. Patches of
/// one minor go together in either order.
pub fn kubelet_skew_allowed(kubelet: Version, server: Version) -> bool {
    kubelet.minor <= server.minor && kubelet_is_recent_enough(kubelet, server)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[rstest]
    #[case("1.35.4", "1.36.3", true)]
    #[case("1.36.3", "1.36.1", true)]
    #[case("1.36.3", "1.35.4", false)]
    #[case("1.34.4", "1.36.3", false)]
    #[case("1.36.3", "2.36.3", false)]
    fn one_minor_at_a_time(#[case] from: &str, #[case] to: &str, #[case] allowed: bool) {
        assert_eq!(may_move(version(from), version(to)), allowed);
    }

    #[rstest]
    #[case("1.35.4", "1.36.3", true)]
    #[case("1.36.3", "1.36.3", true)]
    #[case("1.36.3", "1.35.4", false)]
    #[case("1.34.4", "1.36.3", false)]
    fn controllers_never_lead(#[case] client: &str, #[case] server: &str, #[case] allowed: bool) {
        assert_eq!(controller_skew_allowed(version(client), version(server)), allowed);
    }

    #[rstest]
    #[case("1.33.9", "1.36.3", true)]
    #[case("1.32.9", "1.36.3", false)]
    #[case("1.36.3", "1.35.4", true)]
    fn kubelets_may_trail_by_three(#[case] kubelet: &str, #[case] server: &str, #[case] allowed: bool) {
        assert_eq!(
            kubelet_is_recent_enough(version(kubelet), version(server)),
            allowed
        );
    }

    #[rstest]
    #[case("1.36.9", "1.36.3", true)]
    #[case("1.33.0", "1.36.3", true)]
    #[case("1.32.9", "1.36.3", false)]
    #[case("1.37.0", "1.36.3", false)]
    #[case("2.36.0", "1.36.3", false)]
    fn kubelets_never_lead(#[case] kubelet: &str, #[case] server: &str, #[case] allowed: bool) {
        assert_eq!(kubelet_skew_allowed(version(kubelet), version(server)), allowed);
    }

    #[rstest]
    #[case("1.36")]
    #[case("1.36.3.1")]
    #[case("1.x.3")]
    #[case("")]
    fn no_version(#[case] text: &str) {
        assert!(text.parse::<Version>().is_err());
    }
}
