use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    pem::Pem,
    prelude::FromDer,
    public_key::PublicKey,
    x509::SubjectPublicKeyInfo,
};

use crate::{Error, inspect};

/// What a certificate request asks for, as plain data. Nothing is normalized: who approves must see what will be signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestFacts {
    /// Subject CN, every one of them.
    pub common_names: Vec<String>,
    /// Subject O, every one of them.
    pub organizations: Vec<String>,
    /// Number of further attributes of the subject.
    pub other_subject_attributes: usize,
    /// DNS subject alternative names.
    pub dns_names: Vec<String>,
    /// IP subject alternative names.
    pub ip_addresses: Vec<IpAddr>,
    /// Number of subject alternative names of any other kind: email addresses, URIs, ...
    pub other_names: usize,
    /// The key.
    pub key: RequestKey,
    /// Whether the request was signed by the key that it asks for.
    pub self_signed: bool,
}

/// Kind of a requested key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RequestKey {
    /// ECDSA with a curve of so many bits.
    Ecdsa(usize),
    /// RSA with a modulus of so many bits.
    Rsa(usize),
    /// Anything else.
    Other,
}

/// Reads the first certificate request of a PEM text.
pub fn inspect_request(pem: &str) -> Result<RequestFacts, Error> {
    let wrong = |why: &dyn std::fmt::Display| Error::NotARequest(why.to_string());
    let pem = Pem::iter_from_buffer(pem.as_bytes())
        .next()
        .ok_or_else(|| wrong(&"no PEM block"))?
        .map_err(|error| wrong(&error))?;
    if !["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"].contains(&pem.label.as_str()) {
        // Not echoed: a private key put here by mistake must not reach a log.
        return Err(wrong(&"the PEM block is of another kind"));
    }
    let (rest, request) = X509CertificationRequest::from_der(&pem.contents).map_err(|error| wrong(&error))?;
    if !rest.is_empty() {
        return Err(wrong(&"there is more behind the request"));
    }
    let info = &request.certification_request_info;
    let mut facts = RequestFacts {
        common_names: info.subject.iter_common_name().map(inspect::text).collect(),
        organizations: info.subject.iter_organization().map(inspect::text).collect(),
        other_subject_attributes: 0,
        dns_names: Vec::new(),
        ip_addresses: Vec::new(),
        other_names: 0,
        key: key(&info.subject_pki),
        self_signed: request.verify_signature().is_ok(),
    };
    facts.other_subject_attributes =
        info.subject.iter_attributes().count() - facts.common_names.len() - facts.organizations.len();
    for extension in request.requested_extensions().into_iter().flatten() {
        if let ParsedExtension::SubjectAlternativeName(names) = extension {
            names.general_names.iter().for_each(|name| add(&mut facts, name));
        }
    }
    Ok(facts)
}

fn add(facts: &mut RequestFacts, name: &GeneralName<'_>) {
    match (name, inspect::ip_address(name)) {
        (_, Some(address)) => facts.ip_addresses.push(address),
        (GeneralName::DNSName(name), None) => facts.dns_names.push((*name).to_owned()),
        _ => facts.other_names += 1,
    }
}

fn key(info: &SubjectPublicKeyInfo<'_>) -> RequestKey {
    match info.parsed() {
        Ok(PublicKey::EC(point)) => RequestKey::Ecdsa(point.key_size()),
        Ok(PublicKey::RSA(modulus)) => RequestKey::Rsa(modulus.key_size()),
        _ => RequestKey::Other,
    }
}
