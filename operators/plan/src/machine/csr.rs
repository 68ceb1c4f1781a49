//! Which certificate requests are approved: those whose every name is the Machine's, and no others
//! (docs/security.md; the rules are those of the Kubernetes documentation of certificate signing requests).

use std::net::IpAddr;

use kok_api::names::BOOTSTRAP_GROUP;
use kok_pki::{RequestFacts, RequestKey};

use super::view::CsrFacts;

/// Signer of kubelets' client certificates.
pub const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Signer of kubelets' serving certificates.
pub const SERVING_SIGNER: &str = "kubernetes.io/kubelet-serving";

const NODES_GROUP: &str = "system:nodes";
const TOKEN_USER: &str = "system:bootstrap:";
/// Longest life that may be asked for: a year.
const LONGEST_LIFE: i32 = 366 * 24 * 3600;

/// Who a Machine's kubelet may be.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// `spec.hostname`.
    pub hostname: &'a str,
    /// `spec.address`.
    pub address: &'a str,
    /// Ids of the bootstrap tokens that are good for this Machine now.
    pub tokens: &'a [&'a str],
    /// Whether the Node is there and is this Machine's.
    pub has_node: bool,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is this Machine's and asks for nothing else.
    Approve,
    /// It was made with this Machine's credentials and asks for more than it may have.
    Deny(String),
    /// It is not ours to decide.
    Leave,
}

/// What becomes of `csr`.
pub fn verdict(csr: &CsrFacts, identity: Identity<'_>) -> Verdict {
    let node_user = format!("system:node:{}", identity.hostname);
    let by_node = csr.username == node_user && identity.has_node;
    let by_token = csr
        .username
        .strip_prefix(TOKEN_USER)
        .is_some_and(|id| identity.tokens.contains(&id));
    let checked = match csr.signer.as_str() {
        CLIENT_SIGNER if by_node => in_group(csr, NODES_GROUP).and_then(|()| client(csr, &node_user)),
        CLIENT_SIGNER if by_token => in_group(csr, BOOTSTRAP_GROUP).and_then(|()| client(csr, &node_user)),
        SERVING_SIGNER if by_node => {
            in_group(csr, NODES_GROUP).and_then(|()| serving(csr, &node_user, identity))
        }
        _ => return Verdict::Leave,
    };
    match checked {
        Ok(()) => Verdict::Approve,
        Err(why) => Verdict::Deny(why),
    }
}

fn in_group(csr: &CsrFacts, group: &str) -> Result<(), String> {
    require(csr.groups.iter().any(|it| it == group), || {
        format!("the requester is not in group {group}")
    })
}

fn client(csr: &CsrFacts, user: &str) -> Result<(), String> {
    let request = common(csr, user, "client auth")?;
    require(
        request.dns_names.is_empty() && request.ip_addresses.is_empty(),
        || "a client certificate has no subject alternative names".into(),
    )
}

fn serving(csr: &CsrFacts, user: &str, identity: Identity<'_>) -> Result<(), String> {
    let request = common(csr, user, "server auth")?;
    require(
        !request.dns_names.is_empty() || !request.ip_addresses.is_empty(),
        || "a serving certificate needs a subject alternative name".into(),
    )?;
    for name in &request.dns_names {
        require(name == identity.hostname, || {
            format!(
                "DNS name {name:?} is not the Machine's hostname {:?}",
                identity.hostname
            )
        })?;
    }
    let own: Option<IpAddr> = identity.address.parse().ok();
    for address in &request.ip_addresses {
        require(Some(*address) == own, || {
            format!(
                "IP address {address} is not the Machine's address {}",
                identity.address
            )
        })?;
    }
    Ok(())
}

/// What both kinds have in common. Gives the request.
fn common<'a>(csr: &'a CsrFacts, user: &str, usage: &str) -> Result<&'a RequestFacts, String> {
    let request = csr.request.as_ref().map_err(Clone::clone)?;
    require(request.common_names == [user], || {
        format!("the subject's common name is not {user:?} alone")
    })?;
    require(request.organizations == [NODES_GROUP], || {
        format!("the subject's organization is not {NODES_GROUP} alone")
    })?;
    require(request.other_subject_attributes == 0, || {
        "the subject has further attributes".into()
    })?;
    require(request.other_names == 0, || {
        "there are subject alternative names that are neither DNS names nor IP addresses".into()
    })?;
    require(request.self_signed, || {
        "it is not signed by the key that it asks for".into()
    })?;
    require(strong(request.key), || {
        format!("key {:?} is too weak", request.key)
    })?;
    // `key encipherment` comes with RSA keys.
    let allowed = |it: &String| ["digital signature", "key encipherment", usage].contains(&it.as_str());
    let needed = ["digital signature", usage];
    let usages = &csr.usages;
    let each_once = usages
        .iter()
        .enumerate()
        .all(|(at, it)| !usages[..at].contains(it));
    require(
        each_once && usages.iter().all(allowed) && needed.iter().all(|it| usages.iter().any(|own| own == it)),
        || format!("usages {usages:?} are not those of a kubelet's certificate for {usage}"),
    )?;
    require(
        csr.expiration_seconds
            .is_none_or(|seconds| (1..=LONGEST_LIFE).contains(&seconds)),
        || format!("it asks for more than {LONGEST_LIFE} seconds"),
    )?;
    Ok(request)
}

fn strong(key: RequestKey) -> bool {
    match key {
        RequestKey::Ecdsa(bits) => bits >= 256,
        RequestKey::Rsa(bits) => bits >= 2048,
        RequestKey::Other => false,
    }
}

fn require(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const USER: &str = "system:node:n1";

    const IDENTITY: Identity<'static> = Identity {
        hostname: "n1",
        address: "10.77.0.13",
        tokens: &["abcdef"],
        has_node: true,
    };

    fn request() -> RequestFacts {
        RequestFacts {
            common_names: vec![USER.into()],
            organizations: vec![NODES_GROUP.into()],
            other_subject_attributes: 0,
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            other_names: 0,
            key: RequestKey::Ecdsa(256),
            self_signed: true,
        }
    }

    fn csr(signer: &str, username: &str, groups: &[&str], usages: &[&str]) -> CsrFacts {
        CsrFacts {
            name: "csr-1".into(),
            uid: "u".into(),
            resource_version: "1".into(),
            signer: signer.into(),
            username: username.into(),
            groups: groups.iter().map(|it| (*it).to_owned()).collect(),
            usages: usages.iter().map(|it| (*it).to_owned()).collect(),
            expiration_seconds: None,
            request: Ok(request()),
        }
    }

    fn first() -> CsrFacts {
        csr(
            CLIENT_SIGNER,
            "system:bootstrap:abcdef",
            &["system:bootstrappers", BOOTSTRAP_GROUP, "system:authenticated"],
            &["digital signature", "client auth"],
        )
    }

    fn renewal() -> CsrFacts {
        csr(
            CLIENT_SIGNER,
            USER,
            &[NODES_GROUP, "system:authenticated"],
            &["digital signature", "client auth"],
        )
    }

    fn serving_request() -> CsrFacts {
        let mut csr = csr(
            SERVING_SIGNER,
            USER,
            &[NODES_GROUP, "system:authenticated"],
            &["digital signature", "server auth"],
        );
        csr.request = Ok(RequestFacts {
            dns_names: vec!["n1".into()],
            ip_addresses: vec!["10.77.0.13".parse().unwrap()],
            ..request()
        });
        csr
    }

    #[rstest]
    #[case::first(first())]
    #[case::renewal(renewal())]
    #[case::serving(serving_request())]
    fn what_a_kubelet_asks_for_is_approved(#[case] csr: CsrFacts) {
        assert_eq!(verdict(&csr, IDENTITY), Verdict::Approve);
        let rsa = CsrFacts {
            usages: [csr.usages.clone(), vec!["key encipherment".into()]].concat(),
            request: csr.request.clone().map(|request| RequestFacts {
                key: RequestKey::Rsa(2048),
                ..request
            }),
            expiration_seconds: Some(86_400),
            ..csr
        };
        assert_eq!(verdict(&rsa, IDENTITY), Verdict::Approve);
    }

    type Spoil = fn(&mut CsrFacts);

    fn spoil_request(csr: &mut CsrFacts, spoil: impl FnOnce(&mut RequestFacts)) {
        if let Ok(request) = &mut csr.request {
            spoil(request);
        }
    }

    /// Every rule that holds for all three kinds.
    const SPOILT: &[(&str, Spoil)] = &[
        ("not a request", |csr| csr.request = Err("garbage".into())),
        ("another node's name", |csr| {
            spoil_request(csr, |it| it.common_names = vec!["system:node:n2".into()]);
        }),
        ("two common names", |csr| {
            spoil_request(csr, |it| it.common_names.push("kubernetes-admin".into()));
        }),
        ("no common name", |csr| {
            spoil_request(csr, |it| it.common_names.clear());
        }),
        ("masters", |csr| {
            spoil_request(csr, |it| it.organizations = vec!["system:masters".into()]);
        }),
        ("nodes and masters", |csr| {
            spoil_request(csr, |it| it.organizations.push("system:masters".into()));
        }),
        ("no organization", |csr| {
            spoil_request(csr, |it| it.organizations.clear());
        }),
        ("further attributes", |csr| {
            spoil_request(csr, |it| it.other_subject_attributes = 1);
        }),
        ("email or URI", |csr| spoil_request(csr, |it| it.other_names = 1)),
        ("a stolen key", |csr| {
            spoil_request(csr, |it| it.self_signed = false);
        }),
        ("a weak key", |csr| {
            spoil_request(csr, |it| it.key = RequestKey::Rsa(1024));
        }),
        ("an odd key", |csr| {
            spoil_request(csr, |it| it.key = RequestKey::Other);
        }),
        ("an odd usage", |csr| csr.usages.push("cert sign".into())),
        ("a usage twice", |csr| csr.usages.push("digital signature".into())),
        ("no usage", |csr| csr.usages.clear()),
        ("the other side's usage", |csr| {
            csr.usages = vec![
                "digital signature".into(),
                "client auth".into(),
                "server auth".into(),
            ];
        }),
        ("too long a life", |csr| {
            csr.expiration_seconds = Some(LONGEST_LIFE + 1);
        }),
        ("a negative life", |csr| csr.expiration_seconds = Some(-1)),
        ("no group", |csr| csr.groups.clear()),
        ("another group", |csr| {
            csr.groups = vec!["system:bootstrappers:kubeadm:default-node-token".into()];
        }),
    ];

    #[rstest]
    #[case::first(first())]
    #[case::renewal(renewal())]
    #[case::serving(serving_request())]
    fn every_rule_is_needed(#[case] good: CsrFacts) {
        for (what, spoil) in SPOILT {
            let mut csr = good.clone();
            spoil(&mut csr);
            assert!(matches!(verdict(&csr, IDENTITY), Verdict::Deny(_)), "{what}");
        }
    }

    #[rstest]
    #[case::dns(|it: &mut RequestFacts| it.dns_names.push("n1".into()))]
    #[case::ip(|it: &mut RequestFacts| it.ip_addresses.push("10.77.0.13".parse().unwrap()))]
    fn a_client_certificate_has_no_names(#[case] spoil: fn(&mut RequestFacts)) {
        for mut csr in [first(), renewal()] {
            spoil_request(&mut csr, spoil);
            assert!(matches!(verdict(&csr, IDENTITY), Verdict::Deny(_)));
        }
    }

    #[rstest]
    #[case::none(|it: &mut RequestFacts| { it.dns_names.clear(); it.ip_addresses.clear(); })]
    #[case::other_host(|it: &mut RequestFacts| it.dns_names.push("n2".into()))]
    #[case::apiserver(|it: &mut RequestFacts| it.dns_names = vec!["kubernetes.default".into()])]
    #[case::upper_case(|it: &mut RequestFacts| it.dns_names = vec!["N1".into()])]
    #[case::wildcard(|it: &mut RequestFacts| it.dns_names = vec!["*".into()])]
    #[case::other_address(|it: &mut RequestFacts| it.ip_addresses.push("10.77.0.14".parse().unwrap()))]
    #[case::loopback(|it: &mut RequestFacts| it.ip_addresses = vec!["127.0.0.1".parse().unwrap()])]
    #[case::mapped(|it: &mut RequestFacts| it.ip_addresses = vec!["::ffff:10.77.0.13".parse().unwrap()])]
    fn a_serving_certificate_has_only_the_machines_names(#[case] spoil: fn(&mut RequestFacts)) {
        let mut csr = serving_request();
        spoil_request(&mut csr, spoil);
        assert!(matches!(verdict(&csr, IDENTITY), Verdict::Deny(_)));
    }

    #[rstest]
    #[case::hostname_alone(|it: &mut RequestFacts| it.ip_addresses.clear())]
    #[case::address_alone(|it: &mut RequestFacts| it.dns_names.clear())]
    fn either_name_is_enough(#[case] change: fn(&mut RequestFacts)) {
        let mut csr = serving_request();
        spoil_request(&mut csr, change);
        assert_eq!(verdict(&csr, IDENTITY), Verdict::Approve);
    }

    #[rstest]
    #[case::client("kubernetes.io/kube-apiserver-client")]
    #[case::legacy("kubernetes.io/legacy-unknown")]
    #[case::own("example.com/signer")]
    #[case::none("")]
    fn other_signers_are_not_ours(#[case] signer: &str) {
        for good in [first(), renewal(), serving_request()] {
            let csr = CsrFacts {
                signer: signer.into(),
                ..good
            };
            assert_eq!(verdict(&csr, IDENTITY), Verdict::Leave);
        }
    }

    #[rstest]
    #[case::other_token("system:bootstrap:ffffff")]
    #[case::other_node("system:node:n2")]
    #[case::prefix("system:node:n11")]
    #[case::admin("kubernetes-admin")]
    #[case::service_account("system:serviceaccount:default:default")]
    #[case::bare_prefix("system:bootstrap:")]
    fn other_requesters_are_not_ours(#[case] username: &str) {
        for good in [first(), renewal(), serving_request()] {
            let csr = CsrFacts {
                username: username.into(),
                ..good
            };
            assert_eq!(verdict(&csr, IDENTITY), Verdict::Leave);
        }
    }

    #[test]
    fn a_token_never_gets_a_serving_certificate() {
        let csr = CsrFacts {
            username: "system:bootstrap:abcdef".into(),
            groups: vec![BOOTSTRAP_GROUP.into()],
            ..serving_request()
        };
        assert_eq!(verdict(&csr, IDENTITY), Verdict::Leave);
    }

    #[test]
    fn without_its_node_or_its_token_nothing_is_approved() {
        let gone = Identity {
            has_node: false,
            tokens: &[],
            ..IDENTITY
        };
        for csr in [first(), renewal(), serving_request()] {
            assert_eq!(verdict(&csr, gone), Verdict::Leave);
        }
    }
}
