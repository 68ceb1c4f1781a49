//! Sessions over a cloud's run-command API: its agent on the instance runs a script as root and reports later.
//!
//! A cloud is a small adapter, [`CommandApi`]. What every cloud has in common is here: input that is too large for
//! a command goes ahead as files, output that is too large for an answer is read page by page, and the script ends
//! by itself, whatever becomes of us.
//!
//! The cloud keeps commands and files for weeks, readable to whoever may read them in its account. So secrets that
//! go this way must be short-lived, as bootstrap tokens are.

mod alibaba;
mod script;
mod sign;

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use kok_plan::host::Secret;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

pub use alibaba::Alibaba;

use crate::runner::random_nonce;
use crate::target::{CloudInstance, Method, Target};
use crate::transport::{ConnectError, Exit, Output, SeenKey, Session, Transport};
use script::{Answer, Input};

/// First pause between two questions whether a command has ended; each is half as long again.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// How long the cloud may take to bring a command to the instance, and its answer back.
const DELIVERY: Duration = Duration::from_secs(30);
/// Most pages of output.
const MOST_PAGES: usize = 64;

/// What a cloud can carry, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct ApiLimits {
    /// Script of a command.
    pub command: usize,
    /// Content of a file.
    pub file: usize,
    /// Output of a command.
    pub output: usize,
}

/// A cloud's API, as far as it is needed. Each call is one request.
pub trait CommandApi: Send + Sync + 'static {
    /// What it can carry.
    fn limits(&self) -> ApiLimits;

    /// Whether the instance's agent takes commands.
    fn is_listening<'a>(&'a self, instance: &'a CloudInstance) -> BoxFuture<'a, Result<bool, ApiError>>;

    /// Begins to write a file on the instance, with mode 0600, in place of one of that name. Tells its id.
    fn send_file<'a>(
        &'a self,
        instance: &'a CloudInstance,
        directory: &'a str,
        name: &'a str,
        content: &'a [u8],
    ) -> BoxFuture<'a, Result<String, ApiError>>;

    /// Whether the file was written; None as long as it is not known.
    fn file_sent<'a>(
        &'a self,
        instance: &'a CloudInstance,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Result<(), String>>, ApiError>>;

    /// Begins to run a script as root. Called again with the same token, it does not run it again. Tells its id.
    fn start<'a>(
        &'a self,
        instance: &'a CloudInstance,
        script: &'a Secret,
        limit: Duration,
        token: &'a str,
    ) -> BoxFuture<'a, Result<String, ApiError>>;

    /// How the script ended; None as long as it runs.
    fn ended<'a>(
        &'a self,
        instance: &'a CloudInstance,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Ended>, ApiError>>;
}

/// How a script ended.
#[derive(Debug)]
pub enum Ended {
    /// By itself; what it wrote to standard output.
    Finished(Vec<u8>),
    /// The cloud killed it when its time was over.
    TimedOut,
    /// It was not run, or not to the end; why.
    Failed(String),
}

/// A call to the API failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// The API's own word for it.
    pub code: String,
    /// For people.
    pub message: String,
    /// Whether the same call may succeed a little later.
    pub may_pass: bool,
}

/// Opens sessions with instances of a cloud.
pub struct CloudCommand<A> {
    api: std::sync::Arc<A>,
}

impl<A: CommandApi> CloudCommand<A> {
    /// Over this API.
    pub fn new(api: A) -> Self {
        Self {
            api: std::sync::Arc::new(api),
        }
    }

    async fn open(&self, target: &Target, deadline: Instant) -> Result<CloudSession<A>, ConnectError> {
        let Method::Cloud(instance) = &target.method else {
            return Err(ConnectError::Local(format!(
                "{} is not reached through a cloud",
                target.name
            )));
        };
        instance.check()?;
        let within = deadline.saturating_duration_since(Instant::now());
        let listening = retry(deadline, || self.api.is_listening(instance)).await;
        match listening {
            Ok(true) => Ok(CloudSession {
                api: std::sync::Arc::clone(&self.api),
                instance: instance.clone(),
            }),
            Ok(false) => Err(ConnectError::Cloud(format!(
                "the agent of {} does not run; start or install it",
                instance.instance
            ))),
            Err(Failure::Api(error)) => Err(ConnectError::Cloud(error.to_string())),
            Err(Failure::TimedOut(last)) => Err(ConnectError::TimedOut {
                within,
                stage: last.map_or("the cloud's API did not answer".into(), |error| error.to_string()),
            }),
        }
    }
}

impl<A: CommandApi> Transport for CloudCommand<A> {
    fn connect<'a>(
        &'a self,
        target: &'a Target,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Box<dyn Session>, ConnectError>> {
        async move {
            let session = self.open(target, deadline).await?;
            Ok(Box::new(session) as Box<dyn Session>)
        }
        .boxed()
    }
}

/// An instance. There is no connection to it.
struct CloudSession<A> {
    api: std::sync::Arc<A>,
    instance: CloudInstance,
}

/// Why a command has no answer.
enum Failure {
    /// The API refused.
    Api(ApiError),
    /// Until the deadline there was none, and the last error.
    TimedOut(Option<ApiError>),
}

impl<A: CommandApi> CloudSession<A> {
    async fn run_script(&self, argv: &[String], stdin: &Secret, limit: Duration) -> Output {
        let nothing = |exit| Output {
            exit,
            stdout: Vec::new(),
            stderr: String::new(),
        };
        let deadline = Instant::now() + limit + DELIVERY;
        let id = random_nonce();
        let limits = self.api.limits();
        let inline = script::command(&id, argv, &Input::Inline(stdin.expose()), limit, limits.output);
        let command = match inline {
            Some(command) if command.expose().len() <= limits.command => command,
            _ => {
                if let Err(exit) = self.send_parts(&id, stdin.expose(), limits.file, deadline).await {
                    return nothing(exit);
                }
                let parts = script::command(&id, argv, &Input::Parts, limit, limits.output);
                parts.unwrap_or_else(|| Secret::new(""))
            }
        };
        let answer = match self.execute(&command, limit + DELIVERY, deadline).await {
            Ok(bytes) => Answer::parse(&bytes),
            Err(exit) => return nothing(exit),
        };
        let Some(mut answer) = answer else {
            return nothing(Exit::Lost("the instance's answer makes no sense".into()));
        };
        if let Err(exit) = self.fetch_rest(&id, &mut answer, limits.output, deadline).await {
            return Output {
                exit,
                stdout: answer.stdout,
                stderr: answer.stderr,
            };
        }
        Output {
            exit: match answer.code {
                124 | 137 => Exit::TimedOut,
                code => Exit::Code(code),
            },
            stdout: answer.stdout,
            stderr: answer.stderr,
        }
    }

    /// Sends the input ahead.
    async fn send_parts(
        &self,
        id: &str,
        input: &[u8],
        largest: usize,
        deadline: Instant,
    ) -> Result<(), Exit> {
        let directory = script::directory(id);
        for (index, part) in input.chunks(largest).enumerate() {
            let name = script::part(index);
            let sent = retry(deadline, || {
                self.api.send_file(&self.instance, &directory, &name, part)
            })
            .await
            .map_err(lost)?;
            poll(deadline, || self.api.file_sent(&self.instance, &sent))
                .await
                .map_err(lost)?
                .map_err(Exit::Lost)?;
        }
        Ok(())
    }

    /// Runs a script to its end.
    async fn execute(&self, script: &Secret, limit: Duration, deadline: Instant) -> Result<Vec<u8>, Exit> {
        let token = random_nonce();
        let id = retry(deadline, || self.api.start(&self.instance, script, limit, &token))
            .await
            .map_err(lost)?;
        match poll(deadline, || self.api.ended(&self.instance, &id))
            .await
            .map_err(lost)?
        {
            Ended::Finished(output) => Ok(output),
            Ended::TimedOut => Err(Exit::TimedOut),
            Ended::Failed(why) => Err(Exit::Lost(why)),
        }
    }

    /// Reads the pages of output behind the first.
    async fn fetch_rest(
        &self,
        id: &str,
        answer: &mut Answer,
        page: usize,
        deadline: Instant,
    ) -> Result<(), Exit> {
        for _ in 0..MOST_PAGES {
            if answer.stdout.len() >= answer.size {
                return Ok(());
            }
            let script = script::next_page(id, answer.stdout.len(), answer.size, page);
            let output = self.execute(&script, DELIVERY, deadline).await?;
            let more = script::page(&output).filter(|more| !more.is_empty());
            answer
                .stdout
                .extend(more.ok_or_else(|| Exit::Lost("a part of the instance's answer is missing".into()))?);
        }
        Err(Exit::Lost("the command wrote too much".into()))
    }
}

impl<A: CommandApi> Session for CloudSession<A> {
    fn run<'a>(
        &'a mut self,
        argv: &'a [String],
        stdin: &'a Secret,
        limit: Duration,
    ) -> BoxFuture<'a, Output> {
        self.run_script(argv, stdin, limit).boxed()
    }

    fn new_host_keys(&self) -> &[SeenKey] {
        &[]
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        futures::future::ready(()).boxed()
    }
}

fn lost(failure: Failure) -> Exit {
    Exit::Lost(match failure {
        Failure::Api(error) | Failure::TimedOut(Some(error)) => error.to_string(),
        Failure::TimedOut(None) => "no answer through the cloud's API in time".into(),
    })
}

/// Calls until it succeeds, fails for good, or the time is over.
async fn retry<'a, T>(
    deadline: Instant,
    mut call: impl FnMut() -> BoxFuture<'a, Result<T, ApiError>>,
) -> Result<T, Failure> {
    let mut pause = FIRST_PAUSE;
    let mut last = None;
    loop {
        match timeout_at(deadline, call()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) if error.may_pass => last = Some(error),
            Ok(Err(error)) => return Err(Failure::Api(error)),
            Err(_) => return Err(Failure::TimedOut(last)),
        }
        if Instant::now() + pause >= deadline {
            sleep_until(deadline).await;
            return Err(Failure::TimedOut(last));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Asks until there is an answer.
async fn poll<'a, T>(
    deadline: Instant,
    mut ask: impl FnMut() -> BoxFuture<'a, Result<Option<T>, ApiError>>,
) -> Result<T, Failure> {
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(answer) = retry(deadline, &mut ask).await? {
            return Ok(answer);
        }
        sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}
