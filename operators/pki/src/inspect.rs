use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    pem::Pem,
    prelude::FromDer,
    x509::{AttributeTypeAndValue, X509Name},
};

use crate::{Error, Usage, der, spec::sorted};

/// What a certificate says, as plain data: safe to log, to put into a view and to compare. Lists are sorted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertFacts {
    /// Serial number, lower-case hex.
    pub serial: String,
    /// Subject CN, empty if there is none.
    pub common_name: String,
    /// Subject O, all of them.
    pub organizations: Vec<String>,
    /// CN of the issuer.
    pub issuer_common_name: String,
    /// DNS subject alternative names, lower case.
    pub dns_names: Vec<String>,
    /// IP subject alternative names.
    pub ip_addresses: Vec<IpAddr>,
    /// From the extended key usages; `None` if neither server nor client is among them (a CA, for example).
    pub usage: Option<Usage>,
    /// First moment of validity, whole seconds.
    pub not_before: Timestamp,
    /// Last moment of validity, whole seconds.
    pub not_after: Timestamp,
    /// Whether it may sign other certificates.
    pub is_ca: bool,
    /// Identifier of its own key, hex.
    pub subject_key_id: Option<String>,
    /// Identifier of the key that signed it, hex. Equal to the CA's `subject_key_id`.
    pub authority_key_id: Option<String>,
    /// SHA-256 of the public key (SPKI), hex.
    pub public_key_sha256: String,
}

impl CertFacts {
    /// Whether this certificate names `ca` as its issuer, by name and by key identifier: what a verifier uses
    /// to build the chain. It trusts the text of the certificate; [`signed_by`] checks the signature itself.
    pub fn names_issuer(&self, ca: &CertFacts) -> bool {
        self.authority_key_id.is_some()
            && self.authority_key_id == ca.subject_key_id
            && self.issuer_common_name == ca.common_name
    }
}

/// Reads the first certificate of a PEM text.
pub fn inspect(cert_pem: &str) -> Result<CertFacts, Error> {
    with_certificate(cert_pem, facts)?
}

/// Whether the key of the first certificate in `ca_pem` made the signature of the first one in `leaf_pem`.
/// `false` also when either cannot be read. Says nothing about validity in time.
pub fn signed_by(leaf_pem: &str, ca_pem: &str) -> bool {
    let verified = with_certificate(ca_pem, |ca| {
        with_certificate(leaf_pem, |leaf| {
            leaf.verify_signature(Some(ca.public_key())).is_ok()
        })
    });
    matches!(verified, Ok(Ok(true)))
}

fn with_certificate<T>(pem: &str, read: impl FnOnce(&X509Certificate<'_>) -> T) -> Result<T, Error> {
    let pem = Pem::iter_from_buffer(pem.as_bytes())
        .next()
        .ok_or_else(|| Error::NotACertificate("no PEM block".into()))?
        .map_err(|error| Error::NotACertificate(error.to_string()))?;
    if pem.label != "CERTIFICATE" {
        // Not echoed: a private key put here by mistake must not reach a log.
        return Err(Error::NotACertificate("the PEM block is of another kind".into()));
    }
    let (_, certificate) = X509Certificate::from_der(&pem.contents)
        .map_err(|error| Error::NotACertificate(error.to_string()))?;
    Ok(read(&certificate))
}

fn facts(certificate: &X509Certificate<'_>) -> Result<CertFacts, Error> {
    let mut facts = CertFacts {
        serial: der::hex(certificate.raw_serial()),
        common_name: common_name(certificate.subject()),
        organizations: sorted(certificate.subject().iter_organization().map(text)),
        issuer_common_name: common_name(certificate.issuer()),
        dns_names: Vec::new(),
        ip_addresses: Vec::new(),
        usage: None,
        not_before: timestamp(certificate.validity().not_before.timestamp())?,
        not_after: timestamp(certificate.validity().not_after.timestamp())?,
        is_ca: certificate.is_ca(),
        subject_key_id: None,
        authority_key_id: None,
        public_key_sha256: der::sha256_hex(certificate.public_key().raw),
    };
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => {
                facts.dns_names = sorted(names.general_names.iter().filter_map(dns_name));
                facts.ip_addresses = sorted(names.general_names.iter().filter_map(ip_address));
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                facts.usage = match (usage.server_auth, usage.client_auth) {
                    (true, true) => Some(Usage::ServerAndClient),
                    (true, false) => Some(Usage::Server),
                    (false, true) => Some(Usage::Client),
                    (false, false) => None,
                };
            }
            ParsedExtension::SubjectKeyIdentifier(id) => facts.subject_key_id = Some(der::hex(id.0)),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                facts.authority_key_id = id.key_identifier.as_ref().map(|id| der::hex(id.0));
            }
            _ => {}
        }
    }
    Ok(facts)
}

fn common_name(name: &X509Name<'_>) -> String {
    name.iter_common_name().next().map(text).unwrap_or_default()
}

pub(crate) fn text(attribute: &AttributeTypeAndValue<'_>) -> String {
    attribute.as_str().unwrap_or_default().to_owned()
}

fn dns_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    }
}

pub(crate) fn ip_address(name: &GeneralName<'_>) -> Option<IpAddr> {
    let GeneralName::IPAddress(bytes) = name else {
        return None;
    };
    let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
    let v6 = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
    v4.or(v6).ok()
}

fn timestamp(second: i64) -> Result<Timestamp, Error> {
    Timestamp::from_second(second).map_err(|error| Error::NotACertificate(error.to_string()))
}
