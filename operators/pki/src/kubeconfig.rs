//! Kubeconfig texts. Two forms, because clients reload only what they read from files: components get
//! [`kubeconfig_files`] and pick up renewed certificates without a restart (client-go re-reads certificate
//! files since Kubernetes 1.17 and CA files since 1.36), people get [`kubeconfig_embedded`], one file to carry.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;

/// Where a component finds its credentials on disk: absolute paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubeconfigFiles {
    /// CA bundle that signs the server's certificate.
    pub ca: String,
    /// Client certificate.
    pub cert: String,
    /// Private key of the client certificate.
    pub key: String,
}

/// A kubeconfig that carries everything inside, private key included: treat the text as a secret.
pub fn kubeconfig_embedded(
    cluster_name: &str,
    server_url: &str,
    ca_pem: &str,
    user: &str,
    cert_pem: &str,
    key_pem: &str,
) -> String {
    let [ca, cert, key] = [ca_pem, cert_pem, key_pem].map(|pem| Some(STANDARD.encode(pem)));
    render(
        cluster_name,
        user,
        Server {
            server: server_url,
            certificate_authority_data: ca,
            certificate_authority: None,
        },
        Credentials {
            client_certificate_data: cert,
            client_key_data: key,
            ..Credentials::default()
        },
    )
}

/// A kubeconfig that names files; the text itself is not secret.
pub fn kubeconfig_files(cluster_name: &str, server_url: &str, user: &str, files: &KubeconfigFiles) -> String {
    render(
        cluster_name,
        user,
        Server {
            server: server_url,
            certificate_authority_data: None,
            certificate_authority: Some(&files.ca),
        },
        Credentials {
            client_certificate: Some(&files.cert),
            client_key: Some(&files.key),
            ..Credentials::default()
        },
    )
}

fn render(cluster_name: &str, user: &str, server: Server<'_>, credentials: Credentials<'_>) -> String {
    let context = format!("{user}@{cluster_name}");
    let config = Config {
        api_version: "v1",
        kind: "Config",
        clusters: [Cluster {
            name: cluster_name,
            cluster: server,
        }],
        users: [User {
            name: user,
            user: credentials,
        }],
        contexts: [Context {
            name: &context,
            context: ContextOf {
                cluster: cluster_name,
                user,
            },
        }],
        current_context: &context,
    };
    // Strings in fixed structs always serialize.
    serde_saphyr::to_string(&config).unwrap_or_default()
}

// The schema is client-go's `tools/clientcmd/api/v1`.

#[derive(Serialize)]
struct Config<'a> {
    #[serde(rename = "apiVersion")]
    api_version: &'a str,
    kind: &'a str,
    clusters: [Cluster<'a>; 1],
    users: [User<'a>; 1],
    contexts: [Context<'a>; 1],
    #[serde(rename = "current-context")]
    current_context: &'a str,
}

#[derive(Serialize)]
struct Cluster<'a> {
    name: &'a str,
    cluster: Server<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Server<'a> {
    server: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_authority: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_authority_data: Option<String>,
}

#[derive(Serialize)]
struct User<'a> {
    name: &'a str,
    user: Credentials<'a>,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "kebab-case")]
struct Credentials<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    client_certificate: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_certificate_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_key_data: Option<String>,
}

#[derive(Serialize)]
struct Context<'a> {
    name: &'a str,
    context: ContextOf<'a>,
}

#[derive(Serialize)]
struct ContextOf<'a> {
    cluster: &'a str,
    user: &'a str,
}
