//! How a host joins: a bootstrap token of its own with minutes to live, and the requests that its kubelet then makes.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kok_api::names;
use kok_render::package::{Join, Package};
use serde::Serialize;
use serde_json::json;

use super::csr::{self, Identity, Verdict};
use super::diff::{has_text, is_there};
use super::status::time;
use super::steps::write;
use super::view::{ClusterFacts, MachineView, NodeFacts, TokenFacts};
use super::{Action, Draft, paths};
use crate::Observed;
use crate::host::{Content, FileFact, HostFacts, Secret, Step};

/// How long a token lives.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_mins(15);
/// A token with less than that left is not given to a host any more.
const TOKEN_USABLE: SignedDuration = SignedDuration::from_mins(3);
/// Name of the secret that the bootstrap kubeconfig is.
pub const BOOTSTRAP_SLOT: &str = "bootstrap-kubeconfig";

/// A bootstrap token to be made: whoever carries it out draws its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenMint {
    /// Token id. It is no secret; a token of that id must not exist yet.
    pub id: String,
    /// The Machine that it is for.
    pub machine: String,
    /// Uid of that Machine.
    pub machine_uid: String,
    /// When it expires.
    pub expires: Timestamp,
}

/// The Secret that makes a token known to the apiserver. `secret` is 16 lower-case letters and digits.
pub fn token_secret(mint: &TokenMint, secret: &str) -> k8s_openapi::api::core::v1::Secret {
    let text = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    k8s_openapi::api::core::v1::Secret {
        metadata: ObjectMeta {
            name: Some(names::bootstrap_token_secret(&mint.id)),
            namespace: Some("kube-system".into()),
            labels: Some(BTreeMap::from([
                text(names::MANAGED_BY_LABEL, names::MANAGED_BY),
                text(names::MACHINE_LABEL, &mint.machine),
            ])),
            annotations: Some(BTreeMap::from([text(names::MACHINE_UID, &mint.machine_uid)])),
            ..ObjectMeta::default()
        },
        type_: Some("bootstrap.kubernetes.io/token".into()),
        string_data: Some(BTreeMap::from([
            text("token-id", &mint.id),
            text("token-secret", secret),
            text("expiration", &mint.expires.to_string()),
            text("usage-bootstrap-authentication", "true"),
            text("auth-extra-groups", names::BOOTSTRAP_GROUP),
            text("description", &format!("Machine {} joins with it", mint.machine)),
        ])),
        ..k8s_openapi::api::core::v1::Secret::default()
    }
}

/// A secret that an operation needs, and where whoever carries it out gets it from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum SecretSource {
    /// [`bootstrap_kubeconfig`] with the token of this id.
    BootstrapKubeconfig {
        /// Token id.
        token: String,
    },
}

/// A kubeconfig by which a kubelet asks for its first certificate; the token makes it a secret.
pub fn bootstrap_kubeconfig(cluster: &ClusterFacts, token_id: &str, token_secret: &str) -> Secret {
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster.name, "cluster": {
            "server": cluster.endpoint,
            "certificate-authority-data": STANDARD.encode(&cluster.ca),
        }}],
        "users": [{"name": "bootstrap", "user": {"token": format!("{token_id}.{token_secret}")}}],
        "contexts": [{"name": "bootstrap", "context": {"cluster": cluster.name, "user": "bootstrap"}}],
        "current-context": "bootstrap",
    });
    Secret::new(text.to_string())
}

/// What the host needs so that its kubelet can ask for a certificate.
#[derive(Clone, Debug, Default)]
pub(super) struct Bootstrap {
    /// Files to write, or to take away when they have done their work.
    pub steps: Vec<Step>,
    /// What the steps need.
    pub secrets: BTreeMap<String, SecretSource>,
    /// The token that must be made first.
    pub mint: Option<TokenMint>,
    /// Whether the kubelet must be started again to see them.
    pub restart: bool,
}

/// Plans the bootstrap files. `anew` gives a new certificate to a host that has one already.
pub(super) fn bootstrap(
    view: &MachineView,
    facts: &HostFacts,
    agent: (&Package, &Join),
    anew: bool,
) -> Bootstrap {
    let (package, join) = agent;
    let mark = paths::token(&package.name);
    let is_file = |path: &str| matches!(facts.files.get(path), Some(FileFact::File { .. }));
    if has_credentials(view, facts, join) && !anew {
        // Once the Node is Ready: an earlier operation for it would only delay that.
        let ready = view.own_node().is_some_and(NodeFacts::is_ready);
        let spent = ready && is_file(&join.bootstrap_kubeconfig);
        let steps = spent.then(|| Step::RemovePath {
            path: join.bootstrap_kubeconfig.clone(),
        });
        return Bootstrap {
            steps: steps.into_iter().collect(),
            ..Bootstrap::default()
        };
    }
    let usable = usable_token(view);
    let on_host =
        |id: &str| is_file(&join.bootstrap_kubeconfig) && has_text(facts, &mark, &format!("{id}\n"));
    if let Some(token) = usable.filter(|token| !anew && on_host(&token.id)) {
        // It is there; the kubelet has not used it yet.
        return Bootstrap {
            secrets: BTreeMap::from([(BOOTSTRAP_SLOT.into(), source(&token.id))]),
            ..Bootstrap::default()
        };
    }
    let mint = usable.is_none().then(|| mint(view));
    let id = match (&mint, usable) {
        (Some(mint), _) => mint.id.clone(),
        (None, Some(token)) => token.id.clone(),
        (None, None) => return Bootstrap::default(),
    };
    let mut steps = Vec::new();
    if is_file(&join.kubeconfig) {
        steps.push(Step::RemovePath {
            path: join.kubeconfig.clone(),
        });
    }
    if is_there(facts, &join.client_certificate) {
        steps.push(Step::RemovePath {
            path: join.client_certificate.clone(),
        });
    }
    steps.push(Step::WriteFile {
        path: join.bootstrap_kubeconfig.clone(),
        content: Content::Slot(BOOTSTRAP_SLOT.into()),
        mode: 0o600,
        uid: 0,
        gid: 0,
    });
    steps.push(write(paths::CLUSTER_MARK, cluster_mark(view)));
    // Last: it says that all of this is there.
    steps.push(write(&mark, format!("{id}\n")));
    Bootstrap {
        steps,
        secrets: BTreeMap::from([(BOOTSTRAP_SLOT.into(), source(&id))]),
        mint,
        restart: true,
    }
}

/// Whether the host's kubelet got a certificate of this cluster. What another cluster left there is none, and neither is the
/// kubeconfig alone: a kubelet writes it while it waits for its certificate.
pub(super) fn has_credentials(view: &MachineView, facts: &HostFacts, join: &Join) -> bool {
    matches!(facts.files.get(&join.kubeconfig), Some(FileFact::File { .. }))
        && is_there(facts, &join.client_certificate)
        && has_text(facts, paths::CLUSTER_MARK, &cluster_mark(view))
}

fn cluster_mark(view: &MachineView) -> String {
    format!("{}\n", view.cluster.uid)
}

fn source(token: &str) -> SecretSource {
    SecretSource::BootstrapKubeconfig { token: token.into() }
}

/// The token of this Machine that lives longest, if it is worth giving to a host.
fn usable_token(view: &MachineView) -> Option<&TokenFacts> {
    let enough = view.now + TOKEN_USABLE;
    valid_tokens(view)
        .filter(|token| token.expires.is_some_and(|expires| expires > enough))
        .max_by_key(|token| (token.expires, token.id.clone()))
}

/// Tokens that were made for exactly this Machine and have not expired.
fn valid_tokens(view: &MachineView) -> impl Iterator<Item = &TokenFacts> {
    view.tokens
        .known()
        .into_iter()
        .flatten()
        .filter(|token| token.machine_uid.as_deref() == Some(view.uid()))
        .filter(|token| token.expires.is_some_and(|expires| expires > view.now))
}

fn mint(view: &MachineView) -> TokenMint {
    TokenMint {
        id: token_id(view),
        machine: view.name().into(),
        machine_uid: view.uid().into(),
        // Whole seconds, as the token controller reads them.
        expires: time(view.now).0 + TOKEN_LIFE,
    }
}

/// Six letters and digits that follow from the Machine and the time, so that the same plan names the same token.
fn token_id(view: &MachineView) -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let seed = format!("{} {}", view.uid(), view.now.as_second());
    let digest = kok_render::sha256_hex(seed.as_bytes());
    let mut number = u64::from_str_radix(&digest[..15], 16).unwrap_or_default();
    let mut id = String::new();
    for _ in 0..6 {
        let index = usize::try_from(number % 36).unwrap_or_default();
        id.push(char::from(ALPHABET[index]));
        number /= 36;
    }
    id
}

/// Takes away tokens that have expired, or have done their work. `needed` are those that an operation is about to use.
pub(super) fn retire_tokens(draft: &mut Draft, view: &MachineView, joined: bool, needed: &[String]) {
    let Observed::Known(tokens) = &view.tokens else {
        return;
    };
    for token in tokens.iter().filter(|token| !needed.contains(&token.id)) {
        let reason = if token.expires.is_none_or(|expires| expires <= view.now) {
            "it has expired"
        } else if token.machine_uid.as_deref() != Some(view.uid()) {
            "it was made for an older Machine of this name"
        } else if joined {
            "the host has joined"
        } else {
            continue;
        };
        draft.actions.push(Action::DeleteToken {
            id: token.id.clone(),
            uid: token.uid.clone(),
            resource_version: token.resource_version.clone(),
            reason: reason.into(),
        });
    }
}

/// Approves or denies the requests that this Machine's kubelet made.
pub(super) fn decide_requests(draft: &mut Draft, view: &MachineView) {
    let tokens: Vec<&str> = valid_tokens(view).map(|token| token.id.as_str()).collect();
    let identity = Identity {
        hostname: &view.spec().hostname,
        address: &view.spec().address,
        tokens: &tokens,
        has_node: view.own_node().is_some(),
    };
    for request in view.requests.known().into_iter().flatten() {
        let (approve, reason) = match csr::verdict(request, identity) {
            Verdict::Approve => (true, "every name in it is the Machine's".to_owned()),
            Verdict::Deny(why) => (false, why),
            Verdict::Leave => continue,
        };
        draft.actions.push(Action::DecideRequest {
            name: request.name.clone(),
            uid: request.uid.clone(),
            resource_version: request.resource_version.clone(),
            approve,
            reason,
        });
    }
}
