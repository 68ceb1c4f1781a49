//! Whether a certificate must be replaced: a chain of small rules, the first that is broken wins. The same
//! answer serves the plan ("issue"), the condition ("why") and the next look ("when"). The idea is
//! cert-manager's (`internal/controller/certificates/policies`).

use std::{fmt, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{BACKDATE, CertFacts, CertSpec, issue::seconds, spec::sorted};

/// What to do about a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Keep it.
    Good {
        /// When to look again; at this instant it becomes due for renewal, if nothing else changes.
        renew_at: Timestamp,
    },
    /// Issue a new one now.
    Issue(Reason),
    /// A new one is wanted but issuing it now would not help. Say so and wait.
    Blocked(Obstacle),
}

/// Why a certificate must be issued. `Display` is the condition reason, a metric label and an event reason.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    strum::Display,
    strum::IntoStaticStr,
    strum::EnumIter,
)]
pub enum Reason {
    /// There is none, or it cannot be read.
    Missing,
    /// It was signed by another CA than the present one.
    WrongIssuer,
    /// CN or O differ from the specification.
    SubjectChanged,
    /// DNS names or IP addresses differ from the specification.
    NamesChanged,
    /// It is for the other side of a connection.
    UsageChanged,
    /// Its end has passed.
    Expired,
    /// Its end is near.
    DueForRenewal,
}

/// Why issuing a certificate would not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Obstacle {
    /// The CA or the present certificate starts in the future, so our clock jumped back, or was ahead before.
    /// Replacing everything by a wrong clock would restart every control plane; waiting costs nothing.
    ClockBehind {
        /// Start of that certificate.
        valid_from: Timestamp,
    },
    /// The CA itself has ended; it must be rotated first.
    CaExpired {
        /// End of the CA.
        since: Timestamp,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClockBehind { valid_from } => {
                write!(
                    f,
                    "certificates start at {valid_from}: the clock is behind, or was ahead when they were issued"
                )
            }
            Self::CaExpired { since } => write!(f, "the CA expired at {since} and must be rotated first"),
        }
    }
}

/// Judges `found` against `spec`, its issuer `ca` and the clock.
///
/// Renewal is due `renew_before` ahead of the end. Three bounds keep that from turning into a loop or a storm:
/// - never earlier than a third of the certificate's life, whatever `renew_before` says;
/// - each certificate gets up to 5 % of `renew_before` earlier than that, by a hash of its serial, so that
///   those issued together are not renewed together;
/// - not while a new one would end no later than the present one (the CA ends first, or `validity` was cut).
pub fn check(
    found: Option<&CertFacts>,
    spec: &CertSpec,
    ca: &CertFacts,
    renew_before: Duration,
    now: Timestamp,
) -> Verdict {
    if now < ca.not_before {
        return Verdict::Blocked(Obstacle::ClockBehind {
            valid_from: ca.not_before,
        });
    }
    let issue = |reason| {
        if now < ca.not_after {
            Verdict::Issue(reason)
        } else {
            Verdict::Blocked(Obstacle::CaExpired { since: ca.not_after })
        }
    };
    let Some(found) = found else {
        return issue(Reason::Missing);
    };
    if let Some(reason) = mismatch(found, spec, ca) {
        return issue(reason);
    }
    if now < found.not_before {
        return Verdict::Blocked(Obstacle::ClockBehind {
            valid_from: found.not_before,
        });
    }
    let renew_at = renewal(found, spec, ca, renew_before);
    if now >= found.not_after {
        issue(Reason::Expired)
    } else if now >= renew_at {
        issue(Reason::DueForRenewal)
    } else {
        Verdict::Good { renew_at }
    }
}

/// What `found` says that it should not say, time apart.
fn mismatch(found: &CertFacts, spec: &CertSpec, ca: &CertFacts) -> Option<Reason> {
    let spec = spec.clone().normalized();
    let rules = [
        (Reason::WrongIssuer, found.names_issuer(ca)),
        (
            Reason::SubjectChanged,
            found.common_name == spec.common_name
                && sorted(found.organizations.clone()) == spec.organizations,
        ),
        (
            Reason::NamesChanged,
            sorted(found.dns_names.clone()) == spec.dns_names
                && sorted(found.ip_addresses.clone()) == spec.ip_addresses,
        ),
        (Reason::UsageChanged, found.usage == Some(spec.usage)),
    ];
    rules
        .into_iter()
        .find(|(_, holds)| !holds)
        .map(|(reason, _)| reason)
}

/// The instant from which renewal is due. Whole seconds, as in certificates.
fn renewal(found: &CertFacts, spec: &CertSpec, ca: &CertFacts, renew_before: Duration) -> Timestamp {
    let end = found.not_after.as_second();
    let issued = found.not_before.as_second() + seconds(BACKDATE);
    let life = (end - issued).max(0);

    // 60 % and its jitter of 5 % stay below two thirds of the life.
    let ahead = seconds(renew_before).min(life / 5 * 3);
    let planned = end - ahead - jitter(&found.serial, ahead / 20);

    // A certificate issued at t ends at min(t + validity, end of the CA): when does that pass our end?
    let later_than_ours = if ca.not_after > found.not_after {
        end.saturating_sub(seconds(spec.validity))
    } else {
        end
    };

    let instant = planned.max(later_than_ours).min(end);
    Timestamp::from_second(instant).unwrap_or(found.not_after)
}

/// A number from 0 to `at_most` that depends only on the serial.
fn jitter(serial: &str, at_most: i64) -> i64 {
    let hash = ring::digest::digest(&ring::digest::SHA256, serial.as_bytes());
    let mut first = [0; 8];
    first[4..].copy_from_slice(&hash.as_ref()[..4]);
    i64::from_be_bytes(first) % (at_most + 1)
}
