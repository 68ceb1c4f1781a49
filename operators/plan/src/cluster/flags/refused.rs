//! The flags that users may not set, and why.

const IDENTITY: &str = "the operator sets it, and members or clients depend on its value";
const CREDENTIALS: &str = "the operator issues and rotates the files that it names";
const FILES: &str = "it names a file, and the pod has none but the operator's";
const AUTHENTICATION: &str = "it would let requests in without proof of who sends them";
const AUTHORIZATION: &str = "it would change who may do what; Node and RBAC are always on";
const EXPOSURE: &str = "it would open a port or a handler that the network policies and probes do not expect";
const DURABILITY: &str = "it would risk the data";
const NETWORKS: &str = "it follows from spec.network or spec.endpoint";
const VERSIONS: &str =
    "it would make the component act as another version than the declared one, on which upgrades depend";
const LOGS: &str = "what components log then has the bodies of requests, with Secrets in them";
const LEADER: &str = "several replicas must not act at once";
const ENDS: &str = "the component would do no more than that, and end";

/// Component (`*`: all of them), flags, reason. One `*` in a flag stands for any text.
pub(super) const REFUSED: &[(&str, &[&str], &str)] = &[
    (
        "*",
        &[
            "emulated-version",
            "emulation-forward-compatible",
            "min-compatibility-version",
            "runtime-config-emulation-forward-compatible",
        ],
        VERSIONS,
    ),
    ("*", &["profiling", "contention-profiling"], EXPOSURE),
    ("*", &["vmodule"], LOGS),
    ("*", &["help", "version"], ENDS),
    // kube-apiserver
    (
        "kube-apiserver",
        &[
            "anonymous-auth",
            "token-auth-file",
            "authentication-token-webhook-*",
            "service-account-lookup",
        ],
        AUTHENTICATION,
    ),
    (
        "kube-apiserver",
        &[
            "authorization-*",
            "admission-control",
            "disable-admission-plugins",
        ],
        AUTHORIZATION,
    ),
    (
        "kube-apiserver",
        &["authentication-config", "oidc-*"],
        "use spec.apiserver.oidc",
    ),
    (
        "kube-apiserver",
        &["audit-log-path", "audit-policy-file", "audit-webhook-*"],
        "use spec.apiserver.audit",
    ),
    (
        "kube-apiserver",
        &["encryption-provider-config*"],
        "use spec.apiserver.encryption",
    ),
    (
        "kube-apiserver",
        &[
            "cert-dir",
            "client-ca-file",
            "etcd-cafile",
            "etcd-certfile",
            "etcd-keyfile",
            "kubelet-certificate-authority",
            "kubelet-client-*",
            "proxy-client-*",
            "requestheader-*",
            "service-account-key-file",
            "service-account-signing-*",
            "tls-cert-file",
            "tls-private-key-file",
            "tls-sni-cert-key",
        ],
        CREDENTIALS,
    ),
    (
        "kube-apiserver",
        &[
            "admission-control-config-file",
            "egress-selector-config-file",
            "peer-ca-file",
            "tracing-config-file",
        ],
        FILES,
    ),
    (
        "kube-apiserver",
        &[
            "advertise-address",
            "bind-address",
            "enable-bootstrap-token-auth",
            "endpoint-reconciler-type",
            "etcd-prefix",
            "etcd-servers*",
            "external-hostname",
            "kubernetes-service-node-port",
            "peer-advertise-*",
            "secure-port",
            "service-account-issuer",
            "service-cluster-ip-range",
        ],
        NETWORKS,
    ),
    (
        "kube-apiserver",
        &["debug-socket-path", "enable-logs-handler"],
        EXPOSURE,
    ),
    // kube-controller-manager
    (
        "kube-controller-manager",
        &[
            "authentication-kubeconfig",
            "authorization-kubeconfig",
            "cert-dir",
            "client-ca-file",
            "cluster-signing-*-file",
            "kubeconfig",
            "requestheader-*",
            "root-ca-file",
            "service-account-private-key-file",
            "tls-cert-file",
            "tls-private-key-file",
            "tls-sni-cert-key",
        ],
        CREDENTIALS,
    ),
    ("kube-controller-manager", &["authentication-*"], AUTHENTICATION),
    (
        "kube-controller-manager",
        &["authorization-*", "use-service-account-credentials"],
        AUTHORIZATION,
    ),
    (
        "kube-controller-manager",
        &[
            "cloud-config",
            "leader-migration-config",
            "pv-recycler-pod-template-filepath-*",
        ],
        FILES,
    ),
    (
        "kube-controller-manager",
        &[
            "allocate-node-cidrs",
            "bind-address",
            "cluster-cidr",
            "cluster-name",
            "master",
            "node-cidr-mask-size-ipv6",
            "secure-port",
            "service-cluster-ip-range",
        ],
        NETWORKS,
    ),
    (
        "kube-controller-manager",
        &["leader-elect", "leader-elect-resource-*"],
        LEADER,
    ),
    (
        "kube-controller-manager",
        &["controllers"],
        "nodes join with the help of every controller",
    ),
    // kube-scheduler
    (
        "kube-scheduler",
        &[
            "authentication-kubeconfig",
            "authorization-kubeconfig",
            "cert-dir",
            "client-ca-file",
            "kubeconfig",
            "requestheader-*",
            "tls-cert-file",
            "tls-private-key-file",
            "tls-sni-cert-key",
        ],
        CREDENTIALS,
    ),
    ("kube-scheduler", &["authentication-*"], AUTHENTICATION),
    ("kube-scheduler", &["authorization-*"], AUTHORIZATION),
    ("kube-scheduler", &["config"], FILES),
    (
        "kube-scheduler",
        &["bind-address", "master", "secure-port"],
        NETWORKS,
    ),
    (
        "kube-scheduler",
        &["leader-elect", "leader-elect-resource-*"],
        LEADER,
    ),
    ("kube-scheduler", &["write-config-to"], ENDS),
    // etcd
    (
        "etcd",
        &[
            "advertise-client-urls",
            "data-dir",
            "discovery",
            "discovery-*",
            "initial-advertise-peer-urls",
            "initial-cluster",
            "initial-cluster-*",
            "listen-client-*",
            "listen-peer-urls",
            "name",
            "wal-dir",
        ],
        IDENTITY,
    ),
    (
        "etcd",
        &[
            "auto-tls",
            "cert-file",
            "client-cert-*",
            "client-crl-file",
            "client-key-file",
            "key-file",
            "peer-*-file",
            "peer-auto-tls",
            "peer-cert-allowed-*",
            "peer-client-cert-auth",
            "*peer-skip-client-san-verification",
            "trusted-ca-file",
        ],
        CREDENTIALS,
    ),
    (
        "etcd",
        &[
            "*compact-hash-check-enabled",
            "experimental-initial-corrupt-check",
            "feature-gates",
            "force-new-cluster",
            "strict-reconfig-check",
            "unsafe-no-fsync",
            "v2-deprecation",
        ],
        DURABILITY,
    ),
    ("etcd", &["enable-pprof", "listen-metrics-urls"], EXPOSURE),
];

/// Whether `flag` is what `pattern` names.
pub(super) fn names(pattern: &str, flag: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == flag,
        Some((start, end)) => {
            flag.len() >= start.len() + end.len() && flag.starts_with(start) && flag.ends_with(end)
        }
    }
}
