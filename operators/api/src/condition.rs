//! Conditions: types and reasons are closed sets, so that people can build alerts on them.

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

/// Condition types of a Machine. All of them are present from the first pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MachineCondition {
    /// The host answered the latest look.
    Reachable,
    /// The host proved by its key that it is the one that is meant.
    HostKeyVerified,
    /// The host is fit to be a node, and nobody else has it.
    PreflightPassed,
    /// Every package is as desired: version, configuration, units.
    PackagesInSync,
    /// The host's Node exists and was registered with this Machine's credentials.
    Joined,
    /// The Node is Ready.
    NodeReady,
    /// The Node ceased to be Ready and is being repaired. Not positive: False is good.
    Repairing,
    /// The Node is Ready and takes pods.
    Ready,
}

impl MachineCondition {
    /// All types, in the order in which they are shown.
    pub const ALL: [Self; 8] = [
        Self::Reachable,
        Self::HostKeyVerified,
        Self::PreflightPassed,
        Self::PackagesInSync,
        Self::Joined,
        Self::NodeReady,
        Self::Repairing,
        Self::Ready,
    ];

    /// The name in `status.conditions[].type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reachable => "Reachable",
            Self::HostKeyVerified => "HostKeyVerified",
            Self::PreflightPassed => "PreflightPassed",
            Self::PackagesInSync => "PackagesInSync",
            Self::Joined => "Joined",
            Self::NodeReady => "NodeReady",
            Self::Repairing => "Repairing",
            Self::Ready => "Ready",
        }
    }
}

/// Condition types of a ClusterPackageVersion. All of them are present from the first pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PackageVersionCondition {
    /// The packages can be installed. When False, machines follow the last accepted ones.
    Valid,
    /// Every machine runs what is desired for it.
    InSync,
    /// Repairs go on; False when so many machines fail together that the cause is not on them.
    RepairsEnabled,
}

impl PackageVersionCondition {
    /// The name in `status.conditions[].type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "Valid",
            Self::InSync => "InSync",
            Self::RepairsEnabled => "RepairsEnabled",
        }
    }
}
