//! Hosts as the node operator sees them: connect, ask for facts, carry out an operation.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use kok_plan::host::{FactsQuery, HostFacts, InvalidStep, Operation, OperationOutcome, OperationResult};
use tokio::time::Instant;

use crate::pool::{Permit, Pool};
use crate::runner::{Call, FactsError, parse_facts, parse_result, random_nonce};
use crate::target::{Method, Target};
use crate::transport::{ConnectError, Exit, Output, SeenKey, Session, Transport};

/// Reaches hosts. The simulator has its own.
pub trait Hosts: Send + Sync {
    /// Waits for its turn, then connects within the time that connecting may take.
    fn connect<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Box<dyn Host>, ConnectError>>;
}

/// A host with an open session, for one look and one operation.
pub trait Host: Send {
    /// Asks for facts, in one round trip.
    fn facts<'a>(&'a mut self, query: &'a FactsQuery) -> BoxFuture<'a, Result<HostFacts, HostError>>;

    /// Carries an operation out. What the host could not tell comes back as unknown, not as an error.
    fn run<'a>(&'a mut self, operation: &'a Operation) -> BoxFuture<'a, Result<OperationResult, HostError>>;

    /// Keys that were trusted on first use, to be pinned: by hop, the host itself last.
    fn new_host_keys(&self) -> &[SeenKey];

    /// Ends the session and makes room for the next.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// Why a host with a session did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The operation is malformed and was not sent.
    #[error("the operation is malformed: {0}")]
    Invalid(#[from] InvalidStep),
    /// The facts cannot be relied on.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// The session was lost.
    #[error("the session was lost: {0}")]
    Lost(String),
    /// The host did not answer in time.
    #[error("the host did not answer within {0:?}")]
    TimedOut(Duration),
    /// sudo refused.
    #[error("no root on the host: {0}")]
    NoPrivileges(String),
    /// The runner ended as it should not.
    #[error("the host's shell ended with {code}: {stderr}")]
    Shell {
        /// Exit code.
        code: i32,
        /// What it wrote.
        stderr: String,
    },
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Dialling, key exchange, login and sudo, together.
    pub connect: Duration,
    /// Facts.
    pub facts: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            facts: Duration::from_secs(30),
        }
    }
}

/// Hosts over a transport, a bounded number at a time.
pub struct RemoteHosts {
    ssh: Arc<dyn Transport>,
    cloud: Option<Arc<dyn Transport>>,
    pool: Pool,
    deadlines: Deadlines,
}

impl RemoteHosts {
    /// Hosts over SSH and, when given, over a cloud's API.
    pub fn new(
        ssh: Arc<dyn Transport>,
        cloud: Option<Arc<dyn Transport>>,
        pool: Pool,
        deadlines: Deadlines,
    ) -> Self {
        Self {
            ssh,
            cloud,
            pool,
            deadlines,
        }
    }

    async fn open(&self, target: &Target) -> Result<RemoteHost, ConnectError> {
        let transport = match (&target.method, &self.cloud) {
            (Method::Ssh(_), _) => &self.ssh,
            (Method::Cloud(_), Some(cloud)) => cloud,
            (Method::Cloud(_), None) => {
                return Err(ConnectError::Local(
                    "this operator has no cloud to reach hosts through".into(),
                ));
            }
        };
        let jump = target
            .first_jump()
            .map(|hop| format!("{}:{}", hop.address, hop.port));
        let mut permit = self
            .pool
            .acquire(&target.name, &target.idc, jump.as_deref())
            .await;
        let session = permit
            .connecting(|| transport.connect(target, Instant::now() + self.deadlines.connect))
            .await?;
        Ok(RemoteHost {
            session,
            _permit: permit,
            facts_within: self.deadlines.facts,
        })
    }
}

impl Hosts for RemoteHosts {
    fn connect<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Box<dyn Host>, ConnectError>> {
        async move {
            let host = self.open(target).await?;
            Ok(Box::new(host) as Box<dyn Host>)
        }
        .boxed()
    }
}

/// A session with its place in the pool.
struct RemoteHost {
    session: Box<dyn Session>,
    _permit: Permit,
    facts_within: Duration,
}

impl RemoteHost {
    async fn ask(&mut self, query: &FactsQuery) -> Result<HostFacts, HostError> {
        let call = Call::facts(query, &random_nonce());
        let asked_at = Timestamp::now();
        let output = self.session.run(&call.argv, &call.stdin, self.facts_within).await;
        let answered_at = Timestamp::now();
        match output.exit {
            Exit::Code(0) => Ok(parse_facts(
                query,
                &output.stdout,
                &call.nonce,
                asked_at,
                answered_at,
            )?),
            Exit::Code(code) => Err(shell_failed(code, &output)),
            Exit::TimedOut => Err(HostError::TimedOut(self.facts_within)),
            Exit::NoPrivileges(why) => Err(HostError::NoPrivileges(why)),
            Exit::Lost(why) => Err(HostError::Lost(why)),
        }
    }

    async fn carry_out(&mut self, operation: &Operation) -> Result<OperationResult, HostError> {
        operation.check()?;
        let call = Call::operation(operation, &random_nonce());
        let started = Instant::now();
        let output = self
            .session
            .run(&call.argv, &call.stdin, operation.deadline)
            .await;
        let lost = match &output.exit {
            Exit::Code(0) => None,
            Exit::Code(code) => Some(format!("the host's shell ended with {code}")),
            Exit::TimedOut => Some(format!("not done within {:?}", operation.deadline)),
            Exit::Lost(why) => Some(why.clone()),
            Exit::NoPrivileges(why) => return Err(HostError::NoPrivileges(why.clone())),
        };
        let result = parse_result(
            operation,
            &output.stdout,
            &call.nonce,
            lost.as_deref(),
            started.elapsed(),
        );
        match (&output.exit, &result.outcome) {
            // It did not even begin.
            (Exit::Code(code), OperationOutcome::Unknown(_)) if output.stdout.is_empty() => {
                Err(shell_failed(*code, &output))
            }
            _ => Ok(result),
        }
    }
}

fn shell_failed(code: i32, output: &Output) -> HostError {
    HostError::Shell {
        code,
        stderr: output.stderr.trim().chars().take(300).collect(),
    }
}

impl Host for RemoteHost {
    fn facts<'a>(&'a mut self, query: &'a FactsQuery) -> BoxFuture<'a, Result<HostFacts, HostError>> {
        self.ask(query).boxed()
    }

    fn run<'a>(&'a mut self, operation: &'a Operation) -> BoxFuture<'a, Result<OperationResult, HostError>> {
        self.carry_out(operation).boxed()
    }

    fn new_host_keys(&self) -> &[SeenKey] {
        self.session.new_host_keys()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        async move {
            self.session.close().await;
        }
        .boxed()
    }
}
