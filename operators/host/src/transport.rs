//! Running commands on a host, whatever carries them there.

use std::time::Duration;

use futures::future::BoxFuture;
use kok_plan::host::Secret;
use tokio::time::Instant;

use crate::target::{InvalidTarget, Target};

/// Opens sessions.
pub trait Transport: Send + Sync {
    /// Reaches the host, and logs in, before the deadline or not at all.
    fn connect<'a>(
        &'a self,
        target: &'a Target,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Box<dyn Session>, ConnectError>>;
}

/// A host that can be told to run commands. Dropped or closed, it leaves nothing behind on this side.
pub trait Session: Send {
    /// Runs a command as root. It is killed on the host when `limit` is over, whatever becomes of the session.
    fn run<'a>(&'a mut self, argv: &'a [String], stdin: &'a Secret, limit: Duration)
    -> BoxFuture<'a, Output>;

    /// Keys that were trusted on first use, for the caller to pin: by hop, the host itself last.
    fn new_host_keys(&self) -> &[SeenKey];

    /// Ends the session.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// How a command ended, and what it wrote.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// Standard output, as far as it arrived.
    pub stdout: Vec<u8>,
    /// The end of standard error.
    pub stderr: String,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// It was killed when its time was over.
    TimedOut,
    /// sudo refused, and why; the command was not begun.
    NoPrivileges(String),
    /// The session ended before it was told how; why. The command may have been begun, or even done.
    Lost(String),
}

/// A host key that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenKey {
    /// Address of the hop.
    pub address: String,
    /// `<type> <base64>`.
    pub key: String,
    /// `SHA256:...`, as ssh shows it.
    pub fingerprint: String,
}

/// Why there is no session. No command was run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// A field of the target is malformed.
    #[error(transparent)]
    Invalid(#[from] InvalidTarget),
    /// The private key cannot be used.
    #[error("the key for {hop} cannot be used: {why}")]
    UnusableKey {
        /// Address of the hop.
        hop: String,
        /// Why.
        why: &'static str,
    },
    /// Nothing answers, or the name does not resolve.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// It took too long, from dialling to the end of the login.
    #[error("no session within {within:?}: {stage}")]
    TimedOut {
        /// How long was waited.
        within: Duration,
        /// How far it came, as far as known.
        stage: String,
    },
    /// The hop shows another host key than the pinned ones. Nothing goes on until a person has looked.
    #[error(
        "the host key of {hop} is {}, which is not pinned; if the host was reinstalled, pin its new key, \
         else somebody may be in between",
        .seen.as_deref().unwrap_or("another")
    )]
    HostKeyChanged {
        /// Address of the hop.
        hop: String,
        /// Fingerprint of the key that it shows.
        seen: Option<String>,
    },
    /// The hop does not accept the key for this user.
    #[error("{hop} does not accept the key for user {user}")]
    NotAuthenticated {
        /// Address of the hop.
        hop: String,
        /// User.
        user: String,
    },
    /// The other side ended the connection before the login: it is overloaded (MaxStartups), shuts us out for a
    /// while after failures (PerSourcePenalties), or is no sshd.
    #[error("the connection was closed before the login: {0}")]
    Closed(String),
    /// sudo refused.
    #[error("no root on the host: {0}")]
    NoPrivileges(String),
    /// The cloud's API refused, or the instance's agent is not there.
    #[error("the cloud does not take commands for the instance: {0}")]
    Cloud(String),
    /// Something is wrong on our side: no ssh, no space.
    #[error("cannot start a session: {0}")]
    Local(String),
}

impl ConnectError {
    /// Whether trying again later may help without anybody changing anything.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::TimedOut { .. }
            | Self::Closed(_)
            | Self::Cloud(_)
            | Self::Local(_) => true,
            Self::Invalid(_)
            | Self::UnusableKey { .. }
            | Self::HostKeyChanged { .. }
            | Self::NotAuthenticated { .. }
            | Self::NoPrivileges(_) => false,
        }
    }
}
