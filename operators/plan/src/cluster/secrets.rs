//! Which Secrets a control plane needs, and which of them must be made now.
//!
//! A plan holds recipes, never keys: the executor draws the keys and writes the Secret.

use std::net::IpAddr;
use std::time::Duration;

use kok_api::cluster::{ClusterSpec, EncryptionProvider, User};
use kok_api::names;
use kok_pki::{CaSpec, CertSpec, Usage, Verdict};
use kok_render::sha256_hex;
use serde::Serialize;

use super::endpoint::Endpoints;
use super::gate::{Gate, GateReason};
use super::validate::seconds;
use super::view::{ClusterView, SecretFacts};
use crate::network::nth_address;

/// Secret with the cluster CA.
pub const CA: &str = "ca";
/// Secret with etcd's CA.
pub const ETCD_CA: &str = "etcd-ca";
/// Secret with the front proxy's CA; must differ from the cluster CA.
pub const FRONT_PROXY_CA: &str = "front-proxy-ca";
/// Secret with the key that signs service account tokens.
pub const SERVICE_ACCOUNT_KEY: &str = "sa";
/// Secret with the apiserver's EncryptionConfiguration.
pub const ENCRYPTION: &str = "encryption";
/// Secret with the admin's kubeconfig.
pub const ADMIN: &str = "admin-kubeconfig";
/// Secret with the operator's own client certificate.
pub const OPERATOR: &str = "operator-kubeconfig";
/// Secret with the operator's client certificate for etcd.
pub const OPERATOR_ETCD: &str = "operator-etcd-client";
/// Group that extension `bootstrap` binds to cluster-admin.
pub const ADMIN_GROUP: &str = "kubeonkube:cluster-admins";

/// The apiserver's own identity towards kubelets, which extension `bootstrap` gives rights on all nodes. No user can have
/// this name: those of `spec.users` have no colon.
const KUBELET_CLIENT: &str = "kubeonkube:kubelet-client";

const CA_VALIDITY: Duration = Duration::from_hours(10 * 365 * 24);

/// A Secret and how it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recipe {
    /// Name of the Secret.
    pub name: String,
    /// What goes into it.
    pub material: Material,
}

/// What goes into a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Material {
    /// A CA: `tls.crt`, `tls.key`.
    Ca(CaSpec),
    /// A certificate: `tls.crt`, `tls.key`, `ca.crt`, and `kubeconfig` when asked for.
    Leaf {
        /// Secret of the CA that signs it.
        ca: &'static str,
        /// The certificate.
        spec: CertSpec,
        /// How long before its end it is renewed.
        renew_before: Duration,
        /// The kubeconfig beside it.
        kubeconfig: Option<Kubeconfig>,
    },
    /// A key pair for service account tokens: `sa.key`, `sa.pub`.
    SigningKey,
    /// An EncryptionConfiguration with a new key: `encryption.yaml`.
    Encryption(EncryptionProvider),
}

/// The form of a kubeconfig.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Kubeconfig {
    /// All in one file: for people.
    Embedded {
        /// URL of the apiserver.
        server: String,
    },
    /// Names files in `directory`, so that a renewed certificate is read without a restart: for components.
    Files {
        /// URL of the apiserver.
        server: String,
        /// Where the Secret is mounted.
        directory: &'static str,
    },
}

impl Material {
    /// Whether losing it cannot be repaired by making a new one.
    pub fn irreplaceable(&self) -> bool {
        !matches!(self, Self::Leaf { .. })
    }
}

impl Recipe {
    /// Digest of what must be the same for a Secret to be kept. Lifetimes are left out: a new lifetime counts from the
    /// next renewal on, and replaces nothing.
    pub fn hash(&self) -> String {
        let essence = match &self.material {
            Material::Leaf {
                ca, spec, kubeconfig, ..
            } => {
                let spec = CertSpec {
                    validity: Duration::ZERO,
                    ..spec.clone()
                };
                serde_json::json!({"ca": ca, "spec": spec, "kubeconfig": kubeconfig})
            }
            // An irreplaceable Secret is never made again because its recipe changed.
            _ => serde_json::json!({"name": self.name}),
        };
        sha256_hex(essence.to_string().as_bytes())
    }
}

/// A Secret that shall be written, and what is there now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mint {
    /// How it is made.
    pub recipe: Recipe,
    /// Resource version of the Secret that it replaces; None when it must not exist yet.
    pub replaces: Option<String>,
    /// Why.
    pub reason: String,
}

/// What became of the wish list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretsPlan {
    /// What to make, CAs first.
    pub mints: Vec<Mint>,
    /// What keeps a Secret from being made.
    pub gates: Vec<Gate>,
    /// When the next certificate is due for renewal.
    pub next_renewal: Option<jiff::Timestamp>,
}

/// Decides which of `recipes` must be made now.
pub fn plan(recipes: &[Recipe], view: &ClusterView) -> SecretsPlan {
    let founded = view
        .cluster
        .status
        .as_ref()
        .is_some_and(|status| status.ca_hash.is_some());
    let mut plan = SecretsPlan::default();
    for recipe in recipes {
        let found = view.secrets.get(&recipe.name);
        let decision = match &recipe.material {
            Material::Leaf {
                ca,
                spec,
                renew_before,
                ..
            } => {
                let ca = view.secrets.get(*ca);
                if can_sign(ca, founded) {
                    leaf(recipe, found, ca, spec, *renew_before, view.now)
                } else {
                    Decision::Keep(None)
                }
            }
            _ => irreplaceable(recipe, found, founded),
        };
        match decision {
            Decision::Keep(renewal) => {
                plan.next_renewal = [plan.next_renewal, renewal].into_iter().flatten().min();
            }
            Decision::Make(reason) => plan.mints.push(Mint {
                recipe: recipe.clone(),
                replaces: found.map(|found| found.resource_version.clone()),
                reason,
            }),
            Decision::Wait(gate) => plan.gates.push(gate),
        }
    }
    plan
}

enum Decision {
    Keep(Option<jiff::Timestamp>),
    Make(String),
    Wait(Gate),
}

fn irreplaceable(recipe: &Recipe, found: Option<&SecretFacts>, founded: bool) -> Decision {
    match found {
        Some(found) if found.intact => Decision::Keep(None),
        Some(_) => Decision::Wait(Gate {
            reason: GateReason::SecretAltered,
            message: format!(
                "Secret {} is not as the operator wrote it, and a new key would cut off every client: restore it from a backup",
                recipe.name
            ),
        }),
        None if founded => Decision::Wait(Gate {
            reason: GateReason::SecretLost,
            message: format!(
                "Secret {} is gone, and a new key would cut off every client: restore it from a backup",
                recipe.name
            ),
        }),
        None => Decision::Make("Missing".into()),
    }
}

/// Whether something may be signed by a CA: one that is lost or altered signs nothing, and its own decision says so. One
/// that is made in this very plan comes before its leaves.
fn can_sign(ca: Option<&SecretFacts>, founded: bool) -> bool {
    ca.map_or(!founded, |ca| ca.intact)
}

fn leaf(
    recipe: &Recipe,
    found: Option<&SecretFacts>,
    ca: Option<&SecretFacts>,
    spec: &CertSpec,
    renew_before: Duration,
    now: jiff::Timestamp,
) -> Decision {
    let Some(found) = found else {
        return Decision::Make("Missing".into());
    };
    // Is made before its leaves are looked at again.
    let Some(ca) = ca.and_then(|ca| ca.certificate.as_ref()) else {
        return Decision::Keep(None);
    };
    if !found.intact {
        return Decision::Make("Altered".into());
    }
    if found.recipe.as_deref() != Some(recipe.hash().as_str()) {
        return Decision::Make("SpecChanged".into());
    }
    match kok_pki::check(found.certificate.as_ref(), spec, ca, renew_before, now) {
        Verdict::Good { renew_at } => Decision::Keep(Some(renew_at)),
        Verdict::Issue(reason) => Decision::Make(reason.to_string()),
        Verdict::Blocked(obstacle) => Decision::Wait(Gate {
            reason: GateReason::CertificateBlocked,
            message: format!("certificate {} cannot be renewed: {obstacle}", recipe.name),
        }),
    }
}

/// All Secrets of a control plane.
pub fn recipes(spec: &ClusterSpec, view: &ClusterView) -> Vec<Recipe> {
    let ends = Endpoints::of(spec, view);
    let lifetime = Lifetime {
        validity: duration(&spec.certificates.validity, Duration::from_hours(8760)),
        renew_before: duration(&spec.certificates.renew_before, Duration::from_hours(2920)),
    };
    let mut recipes = lasting(spec);
    recipes.extend(leaves(spec, &ends, &lifetime));
    recipes.extend(kubeconfigs(&ends, &lifetime));
    recipes.extend(
        spec.users
            .iter()
            .map(|user| user_kubeconfig(user, &ends, &lifetime)),
    );
    recipes
}

/// What is made once and never again: with another one, all that was signed or sealed by it is lost.
fn lasting(spec: &ClusterSpec) -> Vec<Recipe> {
    vec![
        ca(CA, "kubernetes"),
        ca(ETCD_CA, "etcd-ca"),
        ca(FRONT_PROXY_CA, "front-proxy-ca"),
        Recipe {
            name: SERVICE_ACCOUNT_KEY.into(),
            material: Material::SigningKey,
        },
        Recipe {
            name: ENCRYPTION.into(),
            material: Material::Encryption(spec.apiserver.encryption.provider),
        },
    ]
}

/// Certificates that programs read from files: of etcd members, of the apiserver, of their clients.
fn leaves(spec: &ClusterSpec, ends: &Endpoints, lifetime: &Lifetime) -> Vec<Recipe> {
    let client = |secret: &str, ca: &'static str, user: &str| {
        lifetime.leaf(secret, ca, CertSpec::new(user, Usage::Client, lifetime.validity))
    };
    let member = |ordinal| {
        let member = names::etcd_member(ordinal);
        lifetime.leaf(
            &format!("{member}-tls"),
            ETCD_CA,
            CertSpec::new(&member, Usage::ServerAndClient, lifetime.validity)
                .dns_names([ends.etcd_host(&member), "localhost".into()])
                .ip_addresses([IpAddr::from([127, 0, 0, 1])]),
        )
    };
    let mut leaves: Vec<Recipe> = (0..spec.mode.replicas()).map(member).collect();
    leaves.extend([
        lifetime.leaf("apiserver", CA, serving(spec, ends, lifetime.validity)),
        client("apiserver-kubelet-client", CA, KUBELET_CLIENT),
        client("apiserver-etcd-client", ETCD_CA, "apiserver-etcd-client"),
        client(OPERATOR_ETCD, ETCD_CA, OPERATOR_ETCD),
        client("front-proxy-client", FRONT_PROXY_CA, "front-proxy-client"),
    ]);
    leaves
}

/// Kubeconfigs of components (they name files, so that a renewed certificate is read again) and of operators.
fn kubeconfigs(ends: &Endpoints, lifetime: &Lifetime) -> Vec<Recipe> {
    let component = |name: &str, user: &str| {
        lifetime.kubeconfig(
            name,
            CertSpec::new(user, Usage::Client, lifetime.validity),
            Kubeconfig::Files {
                server: ends.internal_url.clone(),
                directory: "/etc/kubernetes/kubeconfig",
            },
        )
    };
    vec![
        component("controller-manager-kubeconfig", "system:kube-controller-manager"),
        component("scheduler-kubeconfig", "system:kube-scheduler"),
        lifetime.embedded(
            ADMIN,
            "kubernetes-admin",
            &[ADMIN_GROUP.into()],
            &ends.external_url,
        ),
        // Sealed in the meta cluster: it makes the very first role bindings, among them the admin's.
        lifetime.embedded(
            OPERATOR,
            "kubeonkube:cluster-operator",
            &["system:masters".into()],
            &ends.internal_url,
        ),
        lifetime.embedded(
            "node-operator-kubeconfig",
            "kubeonkube:node-operator",
            &["kubeonkube:node-operators".into()],
            &ends.internal_url,
        ),
    ]
}

fn user_kubeconfig(user: &User, ends: &Endpoints, lifetime: &Lifetime) -> Recipe {
    let validity = user
        .validity
        .as_deref()
        .map_or(lifetime.validity, |text| duration(text, lifetime.validity));
    let own = Lifetime {
        validity,
        renew_before: lifetime.renew_before.min(validity / 3),
    };
    own.embedded(
        &names::user_secret(&user.name),
        &user.name,
        &user.groups,
        &ends.external_url,
    )
}

struct Lifetime {
    validity: Duration,
    renew_before: Duration,
}

impl Lifetime {
    fn leaf(&self, name: &str, ca: &'static str, spec: CertSpec) -> Recipe {
        Recipe {
            name: name.into(),
            material: Material::Leaf {
                ca,
                spec,
                renew_before: self.renew_before,
                kubeconfig: None,
            },
        }
    }

    fn kubeconfig(&self, name: &str, spec: CertSpec, kubeconfig: Kubeconfig) -> Recipe {
        Recipe {
            name: name.into(),
            material: Material::Leaf {
                ca: CA,
                spec,
                renew_before: self.renew_before,
                kubeconfig: Some(kubeconfig),
            },
        }
    }

    /// A kubeconfig that carries its certificate and key, for somebody outside of the control plane's pods.
    fn embedded(&self, name: &str, user: &str, groups: &[String], server: &str) -> Recipe {
        self.kubeconfig(
            name,
            CertSpec::new(user, Usage::Client, self.validity).organizations(groups.to_vec()),
            Kubeconfig::Embedded {
                server: server.into(),
            },
        )
    }
}

fn ca(name: &str, common_name: &str) -> Recipe {
    Recipe {
        name: name.into(),
        material: Material::Ca(CaSpec::new(common_name, CA_VALIDITY)),
    }
}

fn duration(text: &str, otherwise: Duration) -> Duration {
    seconds(text).map_or(otherwise, Duration::from_secs)
}

/// Names of the apiserver's certificate (Kubernetes: PKI certificates and requirements).
fn serving(spec: &ClusterSpec, ends: &Endpoints, validity: Duration) -> CertSpec {
    let domain = &spec.network.dns_domain;
    let mut dns: Vec<String> = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "localhost",
    ]
    .map(String::from)
    .to_vec();
    dns.push(format!("kubernetes.default.svc.{domain}"));
    dns.extend(ends.internal_names.iter().cloned());
    let mut addresses = vec![IpAddr::from([127, 0, 0, 1])];
    addresses.extend(nth_address(&spec.network.service_cidr, 1));
    let names = [&ends.external_host].into_iter().chain(&ends.assigned);
    for name in names.chain(&spec.endpoint.extra_sans) {
        match name.parse::<IpAddr>() {
            Ok(address) => addresses.push(address),
            Err(_) => dns.push(name.clone()),
        }
    }
    CertSpec::new("kube-apiserver", Usage::Server, validity)
        .dns_names(dns)
        .ip_addresses(addresses)
}
