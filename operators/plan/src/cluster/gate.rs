//! Why something about a Cluster waits, and who can end the wait.

use serde::Serialize;

/// Something about a Cluster that must wait.
pub type Gate = crate::Gate<GateReason>;

/// Why something waits. A closed set: people build alerts on it (docs/operations.md#gates).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, strum::EnumIter, strum::IntoStaticStr,
)]
pub enum GateReason {
    /// A component of the upgrade before it is not done.
    WaitingForItsTurn,
    /// A quorum of etcd must run before an apiserver starts.
    WaitingForEtcd,
    /// An apiserver must be ready before the controllers start.
    WaitingForApiserver,
    /// The meta cluster's load balancer must give the external Service an address.
    WaitingForLoadBalancer,
    /// etcd must answer before one of its pods is replaced.
    EtcdUnknown,
    /// The other members must answer before one pod is replaced.
    QuorumAtRisk,
    /// The namespace of a deleted Cluster is being emptied.
    NamespaceTerminating,
    /// A member's volume is gone.
    MemberDataLost,
    /// The only member's volume is gone.
    QuorumLost,
    /// What is declared cannot be had without losing etcd's data.
    DataWouldBeLost,
    /// A Secret that is never made twice is gone.
    SecretLost,
    /// A Secret that is never made twice was changed.
    SecretAltered,
    /// A certificate is due and cannot be issued.
    CertificateBlocked,
    /// A shipped template does not render.
    TemplateDefect,
    /// The Cluster was deleted and is protected from it.
    DeletionProtected,
}

impl GateReason {
    /// The name in conditions and metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether nothing moves until somebody does something about it; the others end by themselves.
    pub fn needs_somebody(self) -> bool {
        match self {
            Self::WaitingForItsTurn
            | Self::WaitingForEtcd
            | Self::WaitingForApiserver
            | Self::WaitingForLoadBalancer
            | Self::EtcdUnknown
            | Self::QuorumAtRisk
            | Self::NamespaceTerminating => false,
            Self::MemberDataLost
            | Self::QuorumLost
            | Self::DataWouldBeLost
            | Self::SecretLost
            | Self::SecretAltered
            | Self::CertificateBlocked
            | Self::TemplateDefect
            | Self::DeletionProtected => true,
        }
    }

    /// Whether the Cluster runs worse than declared while it waits.
    pub fn degrades(self) -> bool {
        self.needs_somebody() && self != Self::DeletionProtected
    }
}
