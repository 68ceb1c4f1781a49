//! Certificates, and the users' among them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kok_api::cluster::{CertificateStatus, ClusterSpec, UserStatus};
use kok_api::condition::ClusterCondition as Type;
use kok_api::names;

use super::super::gate::GateReason;
use super::super::secrets::{CA, ENCRYPTION, ETCD_CA, FRONT_PROXY_CA, SERVICE_ACCOUNT_KEY};
use super::super::view::ClusterView;
use super::condition::{Fact, fact, held_by, unknown};
use super::{Inputs, Reason, Stance};

/// Names the cluster's CA once everything that is never made twice exists; from then on its absence is a loss.
pub(super) fn ca_hash(view: &ClusterView) -> Option<String> {
    let complete = [CA, ETCD_CA, FRONT_PROXY_CA, SERVICE_ACCOUNT_KEY, ENCRYPTION]
        .iter()
        .all(|name| view.secrets.contains_key(*name));
    let hash = view.secrets.get(CA)?.public_key_hash.as_ref()?;
    complete.then(|| format!("sha256:{hash}"))
}

/// `status.certificates`.
pub(super) fn certificates(view: &ClusterView) -> Vec<CertificateStatus> {
    view.secrets
        .iter()
        .filter_map(|(name, facts)| {
            let certificate = facts.certificate.as_ref()?;
            Some(CertificateStatus {
                name: name.clone(),
                not_after: Time(certificate.not_after),
                issued_serial: certificate.serial.clone(),
            })
        })
        .collect()
}

/// `status.users`.
pub(super) fn users(view: &ClusterView, spec: &ClusterSpec) -> Vec<UserStatus> {
    spec.users
        .iter()
        .filter_map(|user| {
            let secret = names::user_secret(&user.name);
            let certificate = view.secrets.get(&secret)?.certificate.as_ref()?;
            Some(UserStatus {
                name: user.name.clone(),
                secret,
                expires: Time(certificate.not_after),
            })
        })
        .collect()
}

/// Condition CertificatesReady.
pub(super) fn fact_of(inputs: &Inputs<'_>, certificates: &[CertificateStatus]) -> Fact {
    let no = |reason, message: String| fact(Type::CertificatesReady, false, reason, message);
    let draft = inputs.draft;
    let about_secrets = |reason| {
        [
            GateReason::SecretAltered,
            GateReason::SecretLost,
            GateReason::CertificateBlocked,
        ]
        .contains(&reason)
    };
    if let Some(gate) = draft.gates.iter().find(|gate| about_secrets(gate.reason)) {
        return held_by(Type::CertificatesReady, gate);
    }
    let first = certificates
        .iter()
        .min_by_key(|certificate| &certificate.not_after);
    let expired = first.filter(|first| first.not_after.0 <= inputs.view.now);
    let due: Vec<&str> = draft
        .secrets
        .mints
        .iter()
        .map(|mint| mint.recipe.name.as_str())
        .collect();
    match (inputs.stance, first) {
        (Stance::Deleting, _) => unknown(
            Type::CertificatesReady,
            Reason::Deleting,
            "the Cluster is being deleted",
        ),
        (Stance::Kept, _) if !due.is_empty() => {
            no(Reason::Issuing, format!("being issued: {}", due.join(", ")))
        }
        (Stance::NotStarted, None) => no(
            Reason::NotStarted,
            "none is issued until the spec is valid; see condition Valid".into(),
        ),
        (Stance::Paused, None) => no(
            Reason::NotStarted,
            "none is issued until spec.paused is removed".into(),
        ),
        (Stance::Kept, None) => no(Reason::NotStarted, "none is issued yet".into()),
        (Stance::Paused | Stance::NotStarted | Stance::Kept, Some(first)) if expired.is_some() => {
            let why = match inputs.stance {
                Stance::Paused => ", and none is renewed until spec.paused is removed",
                _ => "",
            };
            no(
                Reason::Expired,
                format!("{} has ended at {}{why}", first.name, first.not_after.0),
            )
        }
        (Stance::Paused, Some(first)) => unknown(
            Type::CertificatesReady,
            Reason::Paused,
            format!(
                "none is renewed until spec.paused is removed; the first to end is {}, at {}",
                first.name, first.not_after.0
            ),
        ),
        (Stance::NotStarted, Some(_)) => unknown(
            Type::CertificatesReady,
            Reason::NotStarted,
            "none is renewed until the spec is valid; see condition Valid",
        ),
        (Stance::Kept, Some(_)) => fact(
            Type::CertificatesReady,
            true,
            Reason::AllIssued,
            format!("{} certificates are issued and none is due", certificates.len()),
        ),
    }
}
