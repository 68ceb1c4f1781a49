//! Why a condition has its status.

/// Reasons of conditions, beside those of gates ([`super::super::gate::GateReason`]). A closed set: people build alerts
/// on it (docs/operations.md#conditions).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::EnumIter, strum::IntoStaticStr)]
pub enum Reason {
    /// Valid: the spec can be acted upon.
    Accepted,
    /// Valid: the message lists what is wrong.
    InvalidSpec,
    /// Valid: the namespace is another's.
    Conflict,
    /// EtcdReady: every declared member answers.
    AllMembersReady,
    /// EtcdReady: no member has answered yet.
    Starting,
    /// EtcdReady: some members do not answer.
    MembersMissing,
    /// EtcdReady: members answer, and no linearizable read does.
    NoQuorum,
    /// Somebody who once answered does not.
    NoAnswer,
    /// Every replica is ready and up to date.
    AllReplicasReady,
    /// Some are not.
    ReplicasMissing,
    /// CertificatesReady: none is due.
    AllIssued,
    /// CertificatesReady: some are made now.
    Issuing,
    /// CertificatesReady: one has ended and is not renewed.
    Expired,
    /// ExtensionsReady: all are applied as rendered.
    AllApplied,
    /// ExtensionsReady: some are not.
    Applying,
    /// An extension's template gives nothing that may be applied.
    TemplateRefused,
    /// ExtensionsReady: there is no business cluster yet.
    WaitingForApiserver,
    /// NodeOperatorReady: it is not asked for.
    Disabled,
    /// NodeOperatorReady: there is none in this version.
    NotShipped,
    /// Available: a client got an answer.
    EndpointAnswers,
    /// Available: it never was.
    Creating,
    /// Available: no apiserver is ready any more.
    NoApiserver,
    /// Progressing: everything is as declared.
    Converged,
    /// Something is being changed.
    Converging,
    /// UpToDate: pods are on their way.
    RollingOut,
    /// Nothing moves until somebody does something.
    Blocked,
    /// A write failed; it is tried again, less and less often.
    ActionFailed,
    /// UpToDate: the business cluster does not tell.
    BusinessClusterUnknown,
    /// Nothing is made until the spec is valid.
    NotStarted,
    /// Nothing is looked after, as asked.
    Paused,
    /// The Cluster is taken away.
    Deleting,
    /// UpToDate: what runs is what the spec declares.
    AsDeclared,
}
