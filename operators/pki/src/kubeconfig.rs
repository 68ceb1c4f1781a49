//! Kubeconfig texts. Two forms, because clients reload only what they read from files: components get
//! [`kubeconfig_files`] and pick up renewed certificates without a restart (client-go re-reads certificate
//! files since Kubernetes 1.17 and CA files since 1.36), people get [`kubeconfig_embedded`], one file to carry.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

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
    render(
        cluster_name,
        &json!({"server": server_url, "certificate-authority-data": STANDARD.encode(ca_pem)}),
        user,
        &json!({
            "client-certificate-data": STANDARD.encode(cert_pem),
            "client-key-data": STANDARD.encode(key_pem),
        }),
    )
}

/// A kubeconfig that names files; the text itself is not secret.
pub fn kubeconfig_files(cluster_name: &str, server_url: &str, user: &str, files: &KubeconfigFiles) -> String {
    render(
        cluster_name,
        &json!({"server": server_url, "certificate-authority": files.ca}),
        user,
        &json!({"client-certificate": files.cert, "client-key": files.key}),
    )
}

/// The schema is client-go's `tools/clientcmd/api/v1`.
fn render(cluster_name: &str, cluster: &Value, user_name: &str, user: &Value) -> String {
    let context = format!("{user_name}@{cluster_name}");
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster_name, "cluster": cluster}],
        "users": [{"name": user_name, "user": user}],
        "contexts": [{"name": context, "context": {"cluster": cluster_name, "user": user_name}}],
        "current-context": context,
    });
    // YAML for people; JSON, which is YAML too, if that should ever fail.
    serde_saphyr::to_string(&config).unwrap_or_else(|_| config.to_string())
}
