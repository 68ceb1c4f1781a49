//! What kok-pki promises to its callers, seen from outside.
#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml frees tests of it, but not their helpers"
)]

use std::{net::IpAddr, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kok_pki::{
    BACKDATE, Ca, CaSpec, CertFacts, CertSpec, Error, Key, Obstacle, Reason, Serial, Usage, Verdict, check,
    inspect, kubeconfig_embedded, signed_by,
};
use proptest::prelude::*;
use rstest::rstest;

const HOUR: Duration = Duration::from_hours(1);
const YEAR: Duration = Duration::from_hours(8760);
const RENEW_BEFORE: Duration = Duration::from_hours(2920);

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn after(time: Duration) -> Timestamp {
    start() + SignedDuration::try_from(time).unwrap()
}

fn before(time: Duration) -> Timestamp {
    start() - SignedDuration::try_from(time).unwrap()
}

fn new_ca(name: &str, validity: Duration) -> Ca {
    let (key, serial) = (Key::generate().unwrap(), Serial::from_bytes([7; 16]));
    Ca::issue(&CaSpec::new(name, validity), key, serial, start()).unwrap()
}

fn issue(ca: &Ca, spec: &CertSpec) -> String {
    let (key, serial) = (Key::generate().unwrap(), Serial::from_bytes([9; 16]));
    ca.issue_leaf(spec, &key, serial, start()).unwrap().cert_pem
}

fn server() -> CertSpec {
    CertSpec::new("kube-apiserver", Usage::Server, YEAR)
        .dns_names(["kubernetes", "kubernetes.default"])
        .ip_addresses(["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()])
}

fn facts(ca: &Ca, spec: &CertSpec) -> CertFacts {
    inspect(&issue(ca, spec)).unwrap()
}

#[rstest]
#[case::fresh(|_: &mut CertSpec| {}, after(HOUR), None)]
#[case::names_in_another_order(|spec: &mut CertSpec| spec.dns_names.reverse(), after(HOUR), None)]
#[case::name_twice(|spec: &mut CertSpec| spec.dns_names.push("kubernetes".into()), after(HOUR), None)]
#[case::other_name(|spec: &mut CertSpec| spec.common_name = "x".into(), after(HOUR), Some(Reason::SubjectChanged))]
#[case::group_added(|spec: &mut CertSpec| spec.organizations.push("g".into()), after(HOUR), Some(Reason::SubjectChanged))]
#[case::dns_added(|spec: &mut CertSpec| spec.dns_names.push("x".into()), after(HOUR), Some(Reason::NamesChanged))]
#[case::ip_gone(|spec: &mut CertSpec| spec.ip_addresses.clear(), after(HOUR), Some(Reason::NamesChanged))]
#[case::other_usage(|spec: &mut CertSpec| spec.usage = Usage::Client, after(HOUR), Some(Reason::UsageChanged))]
#[case::due(|_: &mut CertSpec| {}, after(YEAR.saturating_sub(RENEW_BEFORE)), Some(Reason::DueForRenewal))]
#[case::over(|_: &mut CertSpec| {}, after(YEAR), Some(Reason::Expired))]
fn verdicts(#[case] change: fn(&mut CertSpec), #[case] now: Timestamp, #[case] wanted: Option<Reason>) {
    let ca = new_ca("kubernetes", 10 * YEAR);
    let found = facts(&ca, &server());
    let mut spec = server();
    change(&mut spec);
    let verdict = check(Some(&found), &spec, ca.facts(), RENEW_BEFORE, now);
    match wanted {
        Some(reason) => assert_eq!(verdict, Verdict::Issue(reason)),
        None => assert!(matches!(verdict, Verdict::Good { .. }), "{verdict:?}"),
    }
}

#[test]
fn missing_and_foreign_certificates_are_issued() {
    let (ours, other) = (new_ca("kubernetes", 10 * YEAR), new_ca("kubernetes", 10 * YEAR));
    let judge = |found| check(found, &server(), ours.facts(), RENEW_BEFORE, start());
    assert_eq!(judge(None), Verdict::Issue(Reason::Missing));
    let foreign = facts(&other, &server());
    assert_eq!(judge(Some(&foreign)), Verdict::Issue(Reason::WrongIssuer));
}

#[rstest]
#[case::before_the_ca(before(2 * HOUR), before(BACKDATE))]
#[case::before_the_leaf_only(after(HOUR), after((10 * HOUR).saturating_sub(BACKDATE)))]
fn a_clock_that_jumped_back_replaces_nothing(#[case] now: Timestamp, #[case] valid_from: Timestamp) {
    let ca = new_ca("kubernetes", 10 * YEAR);
    let (key, serial) = (Key::generate().unwrap(), Serial::random().unwrap());
    let leaf = ca.issue_leaf(&server(), &key, serial, after(10 * HOUR)).unwrap();
    let found = inspect(&leaf.cert_pem).unwrap();
    let verdict = check(Some(&found), &server(), ca.facts(), RENEW_BEFORE, now);
    assert_eq!(verdict, Verdict::Blocked(Obstacle::ClockBehind { valid_from }));
}

#[test]
fn an_expired_ca_is_not_asked_to_sign() {
    let ca = new_ca("kubernetes", YEAR);
    let verdict = check(None, &server(), ca.facts(), RENEW_BEFORE, after(YEAR));
    assert!(
        matches!(verdict, Verdict::Blocked(Obstacle::CaExpired { .. })),
        "{verdict:?}"
    );
    let (key, serial) = (Key::generate().unwrap(), Serial::random().unwrap());
    let refused = ca.issue_leaf(&server(), &key, serial, after(YEAR));
    assert_eq!(refused, Err(Error::CaExpired(after(YEAR))));
}

#[test]
fn a_leaf_says_what_was_asked_and_its_ca_signed_it() {
    let ca = new_ca("kubernetes", 10 * YEAR);
    let spec = server().organizations(["system:masters", "second"]);
    let pem = issue(&ca, &spec);
    let found = inspect(&pem).unwrap();
    assert_eq!(found.common_name, spec.common_name);
    assert_eq!(found.organizations, spec.organizations);
    assert_eq!(
        (found.dns_names, found.ip_addresses),
        (spec.dns_names, spec.ip_addresses)
    );
    assert_eq!((found.usage, found.is_ca), (Some(Usage::Server), false));
    assert_eq!(
        (found.not_before, found.not_after),
        (before(BACKDATE), after(YEAR))
    );
    assert!(signed_by(&pem, ca.cert_pem()));
    assert!(
        !signed_by(&pem, new_ca("kubernetes", YEAR).cert_pem()),
        "the same name is not enough"
    );
}

#[test]
fn a_client_without_alternative_names_is_fine() {
    let ca = new_ca("kubernetes", 10 * YEAR);
    let spec = CertSpec::new("admin", Usage::Client, YEAR);
    let found = facts(&ca, &spec);
    assert!(found.dns_names.is_empty() && found.ip_addresses.is_empty());
    assert!(matches!(
        check(Some(&found), &spec, ca.facts(), RENEW_BEFORE, start()),
        Verdict::Good { .. }
    ));
}

#[test]
fn a_loaded_ca_goes_on_as_the_same_issuer() {
    let ca = new_ca("kubernetes", 10 * YEAR);
    let loaded = Ca::load(ca.cert_pem(), &ca.key_pem()).unwrap();
    let pem = issue(&loaded, &server());
    assert!(signed_by(&pem, ca.cert_pem()));
    assert!(inspect(&pem).unwrap().names_issuer(ca.facts()));
}

#[test]
fn a_ca_is_loaded_only_with_its_own_key() {
    let ca = new_ca("kubernetes", YEAR);
    let stranger = Key::generate().unwrap().to_pem();
    assert_eq!(
        Ca::load(ca.cert_pem(), &stranger).unwrap_err(),
        Error::KeyMismatch("kubernetes".into())
    );
    let leaf = Ca::load(&issue(&ca, &server()), &stranger).unwrap_err();
    assert_eq!(leaf, Error::NotACa("kube-apiserver".into()));
}

#[test]
fn no_leaf_outlives_its_ca() {
    let ca = new_ca("kubernetes", YEAR);
    let found = facts(&ca, &CertSpec::new("long", Usage::Client, 10 * YEAR));
    assert_eq!(found.not_after, ca.facts().not_after);
}

#[test]
fn debug_and_errors_show_no_key() {
    let ca = new_ca("kubernetes", YEAR);
    let secret: String = ca
        .key_pem()
        .lines()
        .filter(|line| !line.contains("-----"))
        .collect();
    // Put where a certificate belongs, as happens when two Secret keys are mixed up.
    let mistake = inspect(&ca.key_pem()).unwrap_err();
    for shown in [format!("{ca:?}"), format!("{mistake:?} {mistake}")] {
        assert!(
            !shown.contains("PRIVATE") && !shown.contains(&secret[..16]),
            "{shown}"
        );
    }
}

#[test]
fn kubeconfigs_survive_odd_names() {
    let text = kubeconfig_embedded(
        "a: \"b\"",
        "https://[fd00::1]:6443",
        "CA",
        "system:admin",
        "C",
        "K",
    );
    let read: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(read["clusters"][0]["name"], "a: \"b\"");
    assert_eq!(
        read["clusters"][0]["cluster"]["certificate-authority-data"],
        "Q0E="
    );
    assert_eq!(read["users"][0]["user"]["client-key-data"], "Sw==");
    assert_eq!(read["current-context"], read["contexts"][0]["name"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Otherwise an operator would issue for ever. Also: the renewal instant keeps its bounds.
    #[test]
    fn a_fresh_certificate_is_good(
        name in "[a-z:]{1,100}",
        groups in proptest::collection::vec("[a-z:]{1,20}", 0..4),
        dns in proptest::collection::vec("[a-zA-Z]{1,10}(\\.[a-z]{1,10}){0,2}", 0..5),
        ips in proptest::collection::vec(any::<IpAddr>(), 0..5),
        validity in 1_u64..20_000,
        renew_before in 0_u64..20_000,
    ) {
        let ca = new_ca("kubernetes", 10_000 * HOUR);
        let spec = CertSpec::new(name, Usage::ServerAndClient, Duration::from_hours(validity))
            .organizations(groups).dns_names(dns).ip_addresses(ips);
        let found = facts(&ca, &spec);
        let verdict = check(Some(&found), &spec, ca.facts(), Duration::from_hours(renew_before), start());
        let Verdict::Good { renew_at } = verdict else { panic!("{verdict:?}") };
        let life = found.not_after.as_second() - start().as_second();
        prop_assert!(renew_at.as_second() - start().as_second() >= life / 3);
        prop_assert!(renew_at <= found.not_after);
    }
}
