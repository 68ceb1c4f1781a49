use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose,
    SanType,
};

use crate::{CaSpec, CertFacts, CertSpec, Error, Key, Serial, Usage, der, inspect};

/// How far NotBefore lies before the moment of issue, so that a host whose clock is a little behind accepts a
/// fresh certificate (fault R20 of the fault list; kubeadm does the same).
pub const BACKDATE: Duration = Duration::from_mins(5);

/// The last second that a certificate can express (year 9999).
const LAST_SECOND: i64 = 253_402_300_799;

/// A certificate authority that can sign: certificate and private key, which belong together.
#[derive(Debug)]
pub struct Ca {
    cert_pem: String,
    facts: CertFacts,
    key: Key,
}

/// A certificate as issued. Its private key stays with the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// PEM, one certificate.
    pub cert_pem: String,
}

impl Ca {
    /// A new self-signed CA.
    ///
    /// It carries no path length: a business cluster's CAs are roots that sign leaves directly, and a limit of
    /// zero would only stop an owner who later wants an intermediate below them.
    pub fn issue(spec: &CaSpec, key: Key, serial: Serial, now: Timestamp) -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params.serial_number = Some(serial.to_rcgen());
        params.distinguished_name = common_name(&spec.common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let now = now.as_second();
        set_validity(
            &mut params,
            now - seconds(BACKDATE),
            now.saturating_add(seconds(spec.validity)),
        );

        let cert_pem = params.self_signed(&key.0)?.pem();
        Ok(Self {
            facts: inspect(&cert_pem)?,
            cert_pem,
            key,
        })
    }

    /// A CA that was issued before. `cert_pem` may be a bundle; its first certificate is the one that signs.
    pub fn load(cert_pem: &str, key_pem: &str) -> Result<Self, Error> {
        let facts = inspect(cert_pem)?;
        let key = Key::from_pem(key_pem)?;
        if !facts.is_ca {
            return Err(Error::NotACa(facts.common_name));
        }
        if facts.public_key_sha256 != key.public_key_sha256() {
            return Err(Error::KeyMismatch(facts.common_name));
        }
        Ok(Self {
            cert_pem: cert_pem.to_owned(),
            facts,
            key,
        })
    }

    /// The certificate, PEM, as issued or loaded.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The private key, PKCS#8 PEM. Secret.
    pub fn key_pem(&self) -> String {
        self.key.to_pem()
    }

    /// What the certificate says.
    pub fn facts(&self) -> &CertFacts {
        &self.facts
    }

    /// A certificate for `key`, valid from [`BACKDATE`] before `now` for `spec.validity` after it, but never
    /// outside the CA's own validity.
    ///
    /// Fails with [`Error::CaExpired`] when nothing would be left, and with [`Error::Issue`] when a DNS name
    /// is not ASCII.
    pub fn issue_leaf(
        &self,
        spec: &CertSpec,
        key: &Key,
        serial: Serial,
        now: Timestamp,
    ) -> Result<Leaf, Error> {
        if now >= self.facts.not_after {
            return Err(Error::CaExpired(self.facts.not_after));
        }
        let spec = spec.clone().normalized();
        let mut params = CertificateParams::default();
        params.serial_number = Some(serial.to_rcgen());
        params.is_ca = IsCa::ExplicitNoCa; // rcgen writes the subject key identifier only when asked about CA
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature]; // keyEncipherment is for RSA key exchange
        params.extended_key_usages = match spec.usage {
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::ServerAndClient => {
                vec![
                    ExtendedKeyUsagePurpose::ServerAuth,
                    ExtendedKeyUsagePurpose::ClientAuth,
                ]
            }
        };
        for name in &spec.dns_names {
            params
                .subject_alt_names
                .push(SanType::DnsName(name.as_str().try_into()?));
        }
        params
            .subject_alt_names
            .extend(spec.ip_addresses.iter().copied().map(SanType::IpAddress));
        params.distinguished_name = common_name(&spec.common_name);
        let now = now.as_second();
        set_validity(
            &mut params,
            (now - seconds(BACKDATE)).max(self.facts.not_before.as_second()),
            now.saturating_add(seconds(spec.validity))
                .min(self.facts.not_after.as_second()),
        );

        let issuer = Issuer::from_ca_cert_pem(&self.cert_pem, &self.key.0)?;
        let without_groups = params.signed_by(&key.0, &issuer)?;
        let leaf = der::replace_subject(without_groups.der(), &der::subject(&spec), &self.key)?;
        Ok(Leaf {
            cert_pem: der::certificate_pem(&leaf),
        })
    }
}

fn common_name(name: &str) -> rcgen::DistinguishedName {
    let mut subject = rcgen::DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

/// Writes both ends of the validity, in seconds since 1970.
fn set_validity(params: &mut CertificateParams, from: i64, until: i64) {
    let date = |second: i64| {
        let second = u64::try_from(second.min(LAST_SECOND)).unwrap_or_default();
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(second)
    };
    params.not_before = date(from);
    params.not_after = date(until);
}

pub(crate) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
