//! How the operator reaches what is not the meta cluster: the apiservers and etcd of business clusters, and the clock.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use kok_plan::Observed;
use kok_plan::cluster::view::EtcdFacts;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::etcd::{self, EtcdCredentials};

/// Longest wait for a business cluster: for the connection, and for each read.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

/// Reaches business clusters.
pub trait Connect: Send + Sync {
    /// A client from a kubeconfig with embedded credentials; None when the text is none. It does not retry: the next
    /// reconcile does.
    fn business(&self, kubeconfig: &str) -> Option<Client>;

    /// Asks etcd members (name, host) who they are.
    fn etcd<'a>(
        &'a self,
        hosts: &'a [(String, String)],
        credentials: &'a EtcdCredentials,
    ) -> BoxFuture<'a, Observed<EtcdFacts>>;
}

/// The time of day, for certificates and statuses.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Over the network.
pub struct Network;

impl Connect for Network {
    fn business(&self, kubeconfig: &str) -> Option<Client> {
        let kubeconfig = Kubeconfig::from_yaml(kubeconfig).ok()?;
        // No file and no network: an embedded kubeconfig is decoded in place.
        let config = futures::executor::block_on(Config::from_custom_kubeconfig(
            kubeconfig,
            &KubeConfigOptions::default(),
        ));
        let mut config = config.ok()?;
        config.connect_timeout = Some(DEADLINE);
        config.read_timeout = Some(DEADLINE);
        config.default_retry = false;
        Client::try_from(config).ok()
    }

    fn etcd<'a>(
        &'a self,
        hosts: &'a [(String, String)],
        credentials: &'a EtcdCredentials,
    ) -> BoxFuture<'a, Observed<EtcdFacts>> {
        Box::pin(etcd::observe(hosts, credentials))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use k8s_openapi::api::core::v1::Namespace;
    use kube::Api;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_business_cluster_that_is_not_ready_is_asked_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                let _ = stream.read(&mut [0; 4096]).await;
                let answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters: [{{name: c, cluster: {{server: \"http://{address}\"}}}}]\n\
             users: [{{name: u, user: {{}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
        );
        let client = Network.business(&kubeconfig).unwrap();
        Api::<Namespace>::all(client).get("kube-system").await.unwrap_err();
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}
