//! Conditions of a Cluster: types and reasons are closed sets, so that people can build alerts on them.

/// Condition types of a Cluster. All of them are present from the first pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClusterCondition {
    /// The spec can be acted upon. When False, the last accepted spec is kept running.
    Valid,
    /// etcd answers a linearizable read, and every declared member is a started voter.
    EtcdReady,
    /// All declared apiservers are ready at the declared version.
    ApiserverReady,
    /// controller-manager and scheduler are ready at the declared version.
    ControllersReady,
    /// Every certificate is present, signed by the right CA and not due for renewal.
    CertificatesReady,
    /// Every extension is applied as rendered.
    ExtensionsReady,
    /// The node operator runs beside the control plane.
    NodeOperatorReady,
    /// A client with the admin kubeconfig got an answer through the external endpoint.
    Available,
    /// Something is being changed towards the declared state.
    Progressing,
    /// All that runs is what the spec declares.
    UpToDate,
}

impl ClusterCondition {
    /// All types, in the order in which they are shown.
    pub const ALL: [Self; 10] = [
        Self::Valid,
        Self::EtcdReady,
        Self::ApiserverReady,
        Self::ControllersReady,
        Self::CertificatesReady,
        Self::ExtensionsReady,
        Self::NodeOperatorReady,
        Self::Available,
        Self::Progressing,
        Self::UpToDate,
    ];

    /// The name in `status.conditions[].type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "Valid",
            Self::EtcdReady => "EtcdReady",
            Self::ApiserverReady => "ApiserverReady",
            Self::ControllersReady => "ControllersReady",
            Self::CertificatesReady => "CertificatesReady",
            Self::ExtensionsReady => "ExtensionsReady",
            Self::NodeOperatorReady => "NodeOperatorReady",
            Self::Available => "Available",
            Self::Progressing => "Progressing",
            Self::UpToDate => "UpToDate",
        }
    }
}
