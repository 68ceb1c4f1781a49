use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

/// What a leaf certificate must say. Names are compared as sets: see [`CertSpec::normalized`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertSpec {
    /// Subject CN: to Kubernetes the user name, to etcd the client name.
    pub common_name: String,
    /// Subject O: to Kubernetes the groups of the user.
    pub organizations: Vec<String>,
    /// DNS subject alternative names.
    pub dns_names: Vec<String>,
    /// IP subject alternative names.
    pub ip_addresses: Vec<IpAddr>,
    /// Which side of a TLS connection the certificate may be used for.
    pub usage: Usage,
    /// Life from the moment of issue; cut short where the CA ends earlier.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub validity: Duration,
}

/// The side of a TLS connection that a certificate may be used for (extended key usage).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Usage {
    /// `serverAuth` only.
    Server,
    /// `clientAuth` only.
    Client,
    /// Both. etcd needs this for its server certificate too, because its gRPC gateway dials itself with it
    /// (etcd issue 9785).
    ServerAndClient,
}

/// What a self-signed CA must say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaSpec {
    /// Subject CN. Verifiers find the issuer by this name and by the key identifier.
    pub common_name: String,
    /// Life from the moment of issue.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub validity: Duration,
}

impl CaSpec {
    /// A CA of that name and life.
    pub fn new(common_name: impl Into<String>, validity: Duration) -> Self {
        Self {
            common_name: common_name.into(),
            validity,
        }
    }
}

impl CertSpec {
    /// A certificate without groups and alternative names; add them with the methods below.
    pub fn new(common_name: impl Into<String>, usage: Usage, validity: Duration) -> Self {
        Self {
            common_name: common_name.into(),
            organizations: Vec::new(),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            usage,
            validity,
        }
    }

    /// Adds groups (O).
    #[must_use]
    pub fn organizations<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.organizations.extend(names.into_iter().map(Into::into));
        self.normalized()
    }

    /// Adds DNS names.
    #[must_use]
    pub fn dns_names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.dns_names.extend(names.into_iter().map(Into::into));
        self.normalized()
    }

    /// Adds IP addresses.
    #[must_use]
    pub fn ip_addresses(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.ip_addresses.extend(addresses);
        self.normalized()
    }

    /// The same specification with every list sorted and free of duplicates and DNS names in lower case, so
    /// that `==` means "asks for the same certificate".
    #[must_use]
    pub fn normalized(self) -> Self {
        Self {
            organizations: sorted(self.organizations),
            dns_names: sorted(self.dns_names.into_iter().map(|name| name.to_ascii_lowercase())),
            ip_addresses: sorted(self.ip_addresses),
            ..self
        }
    }
}

pub(crate) fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    items.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}
