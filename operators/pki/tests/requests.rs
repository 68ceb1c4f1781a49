//! Certificate requests are shown as they are.
#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml frees tests of it, but not their helpers"
)]

use kok_pki::{Error, RequestKey, inspect_request};
use rcgen::{CertificateParams, CustomExtension, DnType, KeyPair, SanType};

fn params(common_name: &str, organization: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, organization);
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

fn pem(params: &CertificateParams) -> String {
    let key = KeyPair::generate().unwrap();
    params.serialize_request(&key).unwrap().pem().unwrap()
}

#[test]
fn a_request_shows_subject_names_and_key() {
    let mut params = params("system:node:n1", "system:nodes");
    params.subject_alt_names = vec![
        SanType::DnsName("N1".try_into().unwrap()),
        SanType::IpAddress("10.0.0.1".parse().unwrap()),
        SanType::IpAddress("fd00::1".parse().unwrap()),
    ];
    let facts = inspect_request(&pem(&params)).unwrap();
    assert_eq!(facts.common_names, ["system:node:n1"]);
    assert_eq!(facts.organizations, ["system:nodes"]);
    assert_eq!(facts.dns_names, ["N1"], "as written");
    assert_eq!(facts.ip_addresses.len(), 2);
    assert_eq!((facts.other_names, facts.other_subject_attributes), (0, 0));
    assert_eq!(facts.key, RequestKey::Ecdsa(256));
    assert!(facts.self_signed);
}

#[test]
fn names_of_other_kinds_are_counted() {
    let mut params = params("system:node:n1", "system:nodes");
    params.distinguished_name.push(DnType::LocalityName, "somewhere");
    params.subject_alt_names = vec![
        SanType::Rfc822Name("root@n1".try_into().unwrap()),
        SanType::URI("spiffe://n1".try_into().unwrap()),
    ];
    params
        .custom_extensions
        .push(CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]));
    let facts = inspect_request(&pem(&params)).unwrap();
    assert_eq!(facts.other_names, 2);
    assert_eq!(facts.other_subject_attributes, 1);
}

#[test]
fn a_request_of_a_stolen_public_key_is_not_self_signed() {
    let text = pem(&params("system:node:n1", "system:nodes"));
    let other = pem(&params("system:node:n2", "system:nodes"));
    let tampered = splice(&text, &other);
    let facts = inspect_request(&tampered).unwrap();
    assert_eq!(facts.common_names, ["system:node:n1"]);
    assert!(!facts.self_signed);
}

/// The request of `one` with the signature of `other`; both have the same length but for the signature itself.
fn splice(one: &str, other: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let der = |pem: &str| {
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        STANDARD.decode(body).unwrap()
    };
    let (mut one, other) = (der(one), der(other));
    // The last bytes are those of the signature's second number.
    let end = one.len();
    one[end - 8..].copy_from_slice(&other[other.len() - 8..]);
    format!(
        "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
        STANDARD.encode(one)
    )
}

#[test]
fn what_is_no_request_is_refused_without_an_echo() {
    for text in [
        "",
        "hello",
        "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
    ] {
        let error = inspect_request(text).unwrap_err();
        assert!(matches!(error, Error::NotARequest(_)), "{error}");
        assert!(!error.to_string().contains("c2VjcmV0"));
    }
    let text = pem(&params("system:node:n1", "system:nodes"));
    let half = text.lines().take(3).collect::<Vec<_>>().join("\n");
    assert!(inspect_request(&format!("{half}\n-----END CERTIFICATE REQUEST-----\n")).is_err());
}
