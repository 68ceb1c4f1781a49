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
