//! Which flags users may set. Known flags come from the components' own help texts (`templates/flags/`).

use std::collections::BTreeSet;

/// Whether a user may set a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagVerdict {
    /// Yes.
    Allowed,
    /// No, and why.
    Refused(&'static str),
    /// The component has no such flag and would not start.
    Unknown,
}

const IDENTITY: &str = "the operator sets it, and members or clients depend on its value";
const CREDENTIALS: &str = "the operator issues and rotates the files that it names";
const AUTHENTICATION: &str = "it would let requests in without proof of who sends them";
const AUTHORIZATION: &str = "it would change who may do what; Node and RBAC are always on";
const EXPOSURE: &str = "it would open a port or a handler that the network policies and probes do not expect";
const DURABILITY: &str = "it would risk the data";
const NETWORKS: &str = "it follows from spec.network or spec.endpoint";

/// Flags that are refused, by component; `*` stands for all of them.
const REFUSED: &[(&str, &[&str], &str)] = &[
    (
        "kube-apiserver",
        &[
            "anonymous-auth",
            "token-auth-file",
            "authentication-token-webhook-config-file",
        ],
        AUTHENTICATION,
    ),
    (
        "kube-apiserver",
        &[
            "authorization-mode",
            "authorization-config",
            "authorization-webhook-config-file",
            "authorization-policy-file",
            "disable-admission-plugins",
        ],
        AUTHORIZATION,
    ),
    (
        "kube-apiserver",
        &[
            "authentication-config",
            "oidc-issuer-url",
            "oidc-client-id",
            "oidc-username-claim",
            "oidc-groups-claim",
        ],
        "use spec.apiserver.oidc",
    ),
    (
        "kube-apiserver",
        &["audit-log-path", "audit-policy-file", "audit-webhook-config-file"],
        "use spec.apiserver.audit",
    ),
    (
        "kube-apiserver",
        &["encryption-provider-config"],
        "use spec.apiserver.encryption",
    ),
    (
        "kube-apiserver",
        &[
            "client-ca-file",
            "etcd-cafile",
            "etcd-certfile",
            "etcd-keyfile",
            "kubelet-client-certificate",
            "kubelet-client-key",
            "kubelet-certificate-authority",
            "proxy-client-cert-file",
            "proxy-client-key-file",
            "requestheader-client-ca-file",
            "requestheader-allowed-names",
            "requestheader-extra-headers-prefix",
            "requestheader-group-headers",
            "requestheader-username-headers",
            "service-account-key-file",
            "service-account-signing-key-file",
            "tls-cert-file",
            "tls-private-key-file",
            "tls-sni-cert-key",
            "cert-dir",
        ],
        CREDENTIALS,
    ),
    (
        "kube-apiserver",
        &[
            "etcd-servers",
            "etcd-servers-overrides",
            "etcd-prefix",
            "secure-port",
            "bind-address",
            "advertise-address",
            "service-cluster-ip-range",
            "service-account-issuer",
            "endpoint-reconciler-type",
            "enable-bootstrap-token-auth",
        ],
        NETWORKS,
    ),
    (
        "kube-controller-manager",
        &[
            "cluster-cidr",
            "service-cluster-ip-range",
            "cluster-name",
            "allocate-node-cidrs",
            "secure-port",
            "bind-address",
        ],
        NETWORKS,
    ),
    (
        "kube-controller-manager",
        &[
            "kubeconfig",
            "authentication-kubeconfig",
            "authorization-kubeconfig",
            "client-ca-file",
            "requestheader-client-ca-file",
            "cluster-signing-cert-file",
            "cluster-signing-key-file",
            "root-ca-file",
            "service-account-private-key-file",
            "tls-cert-file",
            "tls-private-key-file",
            "cert-dir",
        ],
        CREDENTIALS,
    ),
    ("kube-scheduler", &["secure-port", "bind-address"], NETWORKS),
    (
        "kube-controller-manager",
        &["leader-elect", "controllers"],
        "several replicas must not act at once, and nodes join with the help of every controller",
    ),
    (
        "kube-scheduler",
        &["leader-elect"],
        "several replicas must not act at once",
    ),
    ("kube-apiserver", &["disable-admission-plugins"], AUTHORIZATION),
    (
        "kube-controller-manager",
        &[
            "use-service-account-credentials",
            "authorization-always-allow-paths",
        ],
        AUTHORIZATION,
    ),
    (
        "kube-scheduler",
        &[
            "kubeconfig",
            "authentication-kubeconfig",
            "authorization-kubeconfig",
            "client-ca-file",
            "requestheader-client-ca-file",
            "tls-cert-file",
            "tls-private-key-file",
            "cert-dir",
            "config",
        ],
        CREDENTIALS,
    ),
    (
        "kube-scheduler",
        &["authorization-always-allow-paths"],
        AUTHORIZATION,
    ),
    (
        "etcd",
        &[
            "name",
            "initial-cluster",
            "initial-cluster-state",
            "initial-cluster-token",
            "initial-advertise-peer-urls",
            "advertise-client-urls",
            "listen-client-urls",
            "listen-peer-urls",
            "listen-client-http-urls",
            "discovery",
            "discovery-srv",
            "data-dir",
            "wal-dir",
            "config-file",
        ],
        IDENTITY,
    ),
    (
        "etcd",
        &[
            "cert-file",
            "key-file",
            "trusted-ca-file",
            "client-cert-auth",
            "client-crl-file",
            "peer-cert-file",
            "peer-key-file",
            "peer-trusted-ca-file",
            "peer-client-cert-auth",
            "peer-crl-file",
            "auto-tls",
            "peer-auto-tls",
            "peer-skip-client-san-verification",
            "client-cert-allowed-hostname",
        ],
        CREDENTIALS,
    ),
    (
        "etcd",
        &[
            "force-new-cluster",
            "unsafe-no-fsync",
            "strict-reconfig-check",
            "experimental-initial-corrupt-check",
            "experimental-compact-hash-check-enabled",
            "feature-gates",
        ],
        DURABILITY,
    ),
    (
        "etcd",
        &["listen-metrics-urls", "enable-pprof", "enable-v2"],
        EXPOSURE,
    ),
    ("*", &["profiling", "contention-profiling"], EXPOSURE),
    ("*", &["help", "version"], "it stops the component"),
];

macro_rules! known {
    ($component:literal, $minor:literal) => {
        (
            $component,
            $minor,
            include_str!(concat!(
                "../../../../templates/flags/",
                $component,
                "-",
                $minor,
                ".txt"
            )),
        )
    };
}

/// Component, minor, and its flags, one a line.
const KNOWN: &[(&str, &str, &str)] = &[
    known!("kube-apiserver", "1.36"),
    known!("kube-apiserver", "1.35"),
    known!("kube-controller-manager", "1.36"),
    known!("kube-controller-manager", "1.35"),
    known!("kube-scheduler", "1.36"),
    known!("kube-scheduler", "1.35"),
    known!("etcd", "3.6"),
];

/// Whether a user may set `flag` of `component` at `version`. A minor that we have no list of is not checked for
/// unknown flags.
pub fn verdict(component: &str, version: &str, flag: &str) -> FlagVerdict {
    let refused = REFUSED
        .iter()
        .find(|(of, flags, _)| (*of == component || *of == "*") && flags.contains(&flag));
    if let Some((_, _, reason)) = refused {
        return FlagVerdict::Refused(reason);
    }
    let minor = version.rsplit_once('.').map_or(version, |(minor, _)| minor);
    match KNOWN.iter().find(|(of, at, _)| *of == component && *at == minor) {
        Some((_, _, flags)) if !flags.lines().any(|known| known == flag) => FlagVerdict::Unknown,
        _ => FlagVerdict::Allowed,
    }
}

/// Every refused flag of `component`, for documentation.
pub fn refused(component: &str) -> BTreeSet<(&'static str, &'static str)> {
    REFUSED
        .iter()
        .filter(|(of, _, _)| *of == component || *of == "*")
        .flat_map(|(_, flags, reason)| flags.iter().map(|flag| (*flag, *reason)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("kube-apiserver", "1.36.3", "max-requests-inflight", true)]
    #[case("kube-apiserver", "1.36.3", "anonymous-auth", false)]
    #[case("kube-apiserver", "1.36.3", "cloud-provider", false)]
    #[case("kube-apiserver", "1.99.0", "some-new-flag", true)]
    #[case("etcd", "3.6.14", "quota-backend-bytes", true)]
    #[case("etcd", "3.6.14", "force-new-cluster", false)]
    #[case("kube-scheduler", "1.35.4", "profiling", false)]
    fn flags(#[case] component: &str, #[case] version: &str, #[case] flag: &str, #[case] allowed: bool) {
        assert_eq!(verdict(component, version, flag) == FlagVerdict::Allowed, allowed);
    }

    #[test]
    fn every_refused_flag_exists_somewhere() {
        for (component, flags, _) in REFUSED {
            for flag in *flags {
                let exists = KNOWN.iter().any(|(of, _, known)| {
                    (of == component || *component == "*") && known.lines().any(|line| line == *flag)
                });
                // Not in the lists of flags that a help text prints, or gone in newer versions: refused all the same.
                let gone = [
                    "enable-v2",
                    "wal-dir",
                    "contention-profiling",
                    "version",
                    "help",
                    "config-file",
                ];
                assert!(exists || gone.contains(flag), "{component} has no flag {flag}");
            }
        }
    }
}
