//! The little DER that rcgen leaves to us: a subject with several organizations.
//!
//! rcgen keeps one value per attribute type, but Kubernetes reads each O of a client certificate as one group
//! of the user. So [`replace_subject`] swaps the subject of a finished certificate and signs it again.

use base64::{Engine, engine::general_purpose::STANDARD};
use x509_parser::{asn1_rs::Any, prelude::FromDer};

use crate::{CertSpec, Error, Key};

const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// Object identifiers 2.5.4.3 and 2.5.4.10, as encoded.
const COMMON_NAME: [u8; 3] = [0x55, 4, 3];
const ORGANIZATION: [u8; 3] = [0x55, 4, 10];

/// The subject of a specification: `O=a, O=b, CN=name`, one attribute in each relative distinguished name.
pub(crate) fn subject(spec: &CertSpec) -> Vec<u8> {
    let organizations = spec.organizations.iter().map(|name| (ORGANIZATION, name));
    let attributes = organizations
        .chain([(COMMON_NAME, &spec.common_name)])
        .map(|(oid, value)| {
            let pair = [
                element(OBJECT_IDENTIFIER, &oid),
                element(UTF8_STRING, value.as_bytes()),
            ];
            element(SET, &element(SEQUENCE, &pair.concat()))
        });
    element(SEQUENCE, &attributes.collect::<Vec<_>>().concat())
}

/// The certificate with another subject, signed by `key`, which must be the key that signed it before
/// (the signature algorithm is kept).
pub(crate) fn replace_subject(certificate: &[u8], subject: &[u8], key: &Key) -> Result<Vec<u8>, Error> {
    // Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signature }          (RFC 5280, 4.1)
    let outer = children(certificate)?;
    let [tbs, algorithm, _] = outer[..] else {
        return Err(malformed("certificate"));
    };
    // TBSCertificate ::= SEQUENCE { version, serial, algorithm, issuer, validity, subject, key, extensions }
    let mut fields = children(tbs)?;
    *fields.get_mut(5).ok_or_else(|| malformed("tbsCertificate"))? = subject;

    let tbs = element(SEQUENCE, &fields.concat());
    let signature = [&[0][..], &key.sign(&tbs)?].concat(); // a bit string starts with its count of unused bits
    Ok(element(
        SEQUENCE,
        &[&tbs, algorithm, &element(BIT_STRING, &signature)].concat(),
    ))
}

/// `BEGIN CERTIFICATE` text of a certificate.
pub(crate) fn certificate_pem(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem + "-----END CERTIFICATE-----\n"
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

/// One DER element: tag, length, content.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let header = match (content.len(), u8::try_from(length.len())) {
        (short @ 0..=0x7f, _) => vec![tag, u8::try_from(short).unwrap_or_default()],
        (_, Ok(bytes)) => [&[tag, 0x80 | bytes], length].concat(),
        (_, Err(_)) => unreachable!("a usize has at most 8 bytes"),
    };
    [&header, content].concat()
}

/// The encoded elements inside a constructed element.
fn children(parent: &[u8]) -> Result<Vec<&[u8]>, Error> {
    let (_, parent) = Any::from_der(parent).map_err(|_| malformed("sequence"))?;
    let mut rest = parent.data;
    let mut elements = Vec::new();
    while !rest.is_empty() {
        let (after, _) = Any::from_der(rest).map_err(|_| malformed("sequence"))?;
        let (element, tail) = rest.split_at(rest.len() - after.len());
        elements.push(element);
        rest = tail;
    }
    Ok(elements)
}

fn malformed(what: &str) -> Error {
    Error::NotACertificate(format!("malformed {what}"))
}
