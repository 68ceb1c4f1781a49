//! Sessions over OpenSSH's client.

mod config;
mod diagnose;
mod key;
mod master;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use kok_plan::host::Secret;
use openssh::Stdio;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout, timeout_at};

use crate::target::{Method, Ssh, Sudo, Target};
use crate::transport::{ConnectError, Exit, Output, SeenKey, Session, Transport};
use master::{Files, Master};

/// No session lives longer, even if we are killed and cannot end it.
const LONGEST_SESSION: Duration = Duration::from_hours(1);
/// How long a command that does not heed TERM has until KILL.
const KILL_AFTER: Duration = Duration::from_secs(5);
/// How long the news of a command's end may take to get here.
const NEWS: Duration = Duration::from_secs(5);
/// Most that a command may write to standard output.
const MOST_STDOUT: u64 = 8 * 1024 * 1024;
/// The end of standard error that is kept.
const MOST_STDERR: usize = 8 * 1024;
/// The socket's path, and the temporary one that ssh binds first, must fit into an address.
const LONGEST_BASE: usize = 60;

/// Opens sessions with the `ssh` of this machine: one process a host, and one more for each jump host.
pub struct OpenSsh {
    base: PathBuf,
    quick_kex: String,
}

impl OpenSsh {
    /// `base` must be in memory (a tmpfs) and ours alone: what an earlier process of ours left there is removed.
    pub fn new(base: &Path) -> io::Result<Self> {
        let unusable = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, why.to_owned());
        if !config::is_plain_path(base) {
            return Err(unusable(
                "the directory for SSH sessions has odd characters in its path",
            ));
        }
        if base.as_os_str().len() > LONGEST_BASE {
            return Err(unusable(
                "the path of the directory for SSH sessions is too long for a socket",
            ));
        }
        std::fs::create_dir_all(base)?;
        for entry in std::fs::read_dir(base)? {
            std::fs::remove_dir_all(entry?.path())?;
        }
        let known = Command::new("ssh").args(["-Q", "kex"]).output()?;
        Ok(Self {
            base: base.into(),
            quick_kex: config::quick_kex(&String::from_utf8_lossy(&known.stdout)),
        })
    }

    async fn open(&self, target: &Target, deadline: Instant) -> Result<OpenSshSession, ConnectError> {
        let Method::Ssh(ssh) = &target.method else {
            return Err(ConnectError::Local(format!(
                "{} is not reached by SSH",
                target.name
            )));
        };
        ssh.check()?;
        for hop in ssh.hops() {
            key::check_private(hop.key.expose()).map_err(|why| ConnectError::UnusableKey {
                hop: hop.address.clone(),
                why,
            })?;
        }
        let started = Instant::now();
        let within = deadline.saturating_duration_since(started);
        let local = |error: io::Error| ConnectError::Local(error.to_string());
        let files = self.write_files(ssh, within).map_err(local)?;
        let mut master = Master::spawn(files, LONGEST_SESSION).map_err(local)?;
        match timeout_at(deadline, master.logged_in()).await {
            Ok(Ok(())) => {}
            Ok(Err(ended)) => {
                ended.map_err(local)?;
                return Err(diagnose::connect_error(ssh, &master.last_words().await, within));
            }
            Err(_) => {
                return Err(ConnectError::TimedOut {
                    within,
                    stage: diagnose::stage(&master.log()),
                });
            }
        }
        for index in 0..=ssh.jumps.len() {
            master.files().remove(&config::key_file(index));
        }
        let new_keys = new_host_keys(ssh, &master.files().read(config::KNOWN_HOSTS));
        let mut session = OpenSshSession {
            client: master.client(),
            master,
            become_root: BecomeRoot::Already,
            new_keys,
        };
        session.become_root = match &ssh.sudo {
            Sudo::None => BecomeRoot::Already,
            Sudo::Passwordless => BecomeRoot::Sudo,
            Sudo::Password(password) => session.how_to_sudo(password, deadline).await?,
        };
        Ok(session)
    }

    fn write_files(&self, ssh: &Ssh, within: Duration) -> io::Result<Files> {
        let files = Files::create_in(&self.base)?;
        // ssh counts whole seconds. It gives up just before we do, because it can say what it waited for.
        let patience = within.as_secs().max(1);
        let config = config::config(ssh, files.path(), patience, &self.quick_kex);
        files.write(config::CONFIG, config.as_bytes())?;
        files.write(config::KNOWN_HOSTS, config::known_hosts(ssh).as_bytes())?;
        for (index, hop) in ssh.hops().enumerate() {
            let mut key = zeroize::Zeroizing::new(hop.key.expose().to_vec());
            // ssh does not take a key without a line end.
            key.push(b'\n');
            files.write(&config::key_file(index), &key)?;
        }
        Ok(files)
    }
}

impl Transport for OpenSsh {
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

fn new_host_keys(ssh: &Ssh, known_hosts: &str) -> Vec<SeenKey> {
    let hops: Vec<_> = ssh.hops().collect();
    config::added_keys(ssh, known_hosts)
        .into_iter()
        .map(|(index, key)| SeenKey {
            address: hops[index].address.clone(),
            fingerprint: key::fingerprint(&key).unwrap_or_default(),
            key,
        })
        .collect()
}

/// A connection with its ssh process.
struct OpenSshSession {
    client: openssh::Session,
    master: Master,
    become_root: BecomeRoot,
    new_keys: Vec<SeenKey>,
}

/// How commands of a session become root.
enum BecomeRoot {
    Already,
    Sudo,
    SudoWith(Secret),
}

impl BecomeRoot {
    fn words(&self) -> &'static [&'static str] {
        match self {
            Self::Already => &[],
            Self::Sudo => &["sudo", "-n", "--"],
            // -k: asks each time, so that it never leaves the password to the command.
            Self::SudoWith(_) => &["sudo", "-S", "-k", "-p", "", "--"],
        }
    }
}

impl OpenSshSession {
    /// Whether sudo asks this user for a password at all. Where it does not, the password would end up in the
    /// standard input of the command.
    async fn how_to_sudo(
        &mut self,
        password: &Secret,
        deadline: Instant,
    ) -> Result<BecomeRoot, ConnectError> {
        let argv: Vec<String> = ["sudo", "-n", "-k", "--", "true"].map(str::to_owned).into();
        let limit = deadline.saturating_duration_since(Instant::now());
        let output = self.run_plain(&argv, &Secret::new(""), limit).await;
        match output.exit {
            Exit::Code(0) => Ok(BecomeRoot::Sudo),
            Exit::Code(_) => Ok(BecomeRoot::SudoWith(password.clone())),
            Exit::NoPrivileges(why) => Err(ConnectError::NoPrivileges(why)),
            Exit::TimedOut => Err(ConnectError::TimedOut {
                within: limit,
                stage: "sudo did not answer".into(),
            }),
            Exit::Lost(why) => Err(ConnectError::Closed(why)),
        }
    }

    async fn run_as_root(&mut self, argv: &[String], stdin: &Secret, limit: Duration) -> Output {
        // Below sudo: only root can kill what runs as root.
        let seconds = limit.as_secs().max(1).to_string();
        let kill_after = KILL_AFTER.as_secs().to_string();
        let command: Vec<String> = self
            .become_root
            .words()
            .iter()
            .copied()
            .chain(["timeout", "-k", &kill_after, &seconds])
            .map(str::to_owned)
            .chain(argv.iter().cloned())
            .collect();
        let output = match &self.become_root {
            BecomeRoot::SudoWith(password) => {
                let mut bytes = zeroize::Zeroizing::new(password.expose().to_vec());
                bytes.push(b'\n');
                bytes.extend_from_slice(stdin.expose());
                self.run_plain(&command, &Secret::new(bytes.as_slice()), limit + KILL_AFTER)
                    .await
            }
            _ => self.run_plain(&command, stdin, limit + KILL_AFTER).await,
        };
        match (&output.exit, &self.become_root) {
            (Exit::Code(1), BecomeRoot::Sudo | BecomeRoot::SudoWith(_))
                if output.stderr.contains("sudo: ") =>
            {
                Output {
                    exit: Exit::NoPrivileges(output.stderr.trim().replace('\n', "; ")),
                    ..output
                }
            }
            (Exit::Code(124 | 137), _) => Output {
                exit: Exit::TimedOut,
                ..output
            },
            _ => output,
        }
    }

    /// Runs a command as the user who logged in.
    async fn run_plain(&mut self, argv: &[String], stdin: &Secret, limit: Duration) -> Output {
        let started = Instant::now();
        let mut stdout = Vec::new();
        let mut stderr = Vec::new();
        let ended = timeout(
            limit + NEWS,
            communicate(&self.client, argv, stdin, &mut stdout, &mut stderr),
        )
        .await;
        let exit = match ended {
            Err(_) => Exit::Lost(format!("no answer within {:?}", limit + NEWS)),
            Ok(Ok(Some(code))) => Exit::Code(code),
            // A killed command and a lost connection look alike, but for whether ssh is still there.
            Ok(Ok(None)) if self.master.is_alive() && started.elapsed() >= limit => Exit::TimedOut,
            Ok(Ok(None)) if self.master.is_alive() => Exit::Lost("the command was killed on the host".into()),
            Ok(Ok(None)) => Exit::Lost(diagnose::stage(&self.master.log())),
            Ok(Err(error)) => Exit::Lost(error.to_string()),
        };
        Output {
            exit,
            stdout,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }
}

impl Session for OpenSshSession {
    fn run<'a>(
        &'a mut self,
        argv: &'a [String],
        stdin: &'a Secret,
        limit: Duration,
    ) -> BoxFuture<'a, Output> {
        self.run_as_root(argv, stdin, limit).boxed()
    }

    fn new_host_keys(&self) -> &[SeenKey] {
        &self.new_keys
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.master.end().boxed()
    }
}

/// Starts a command, feeds it and collects what it writes. None: it did not end by itself.
async fn communicate(
    client: &openssh::Session,
    argv: &[String],
    stdin: &Secret,
    stdout: &mut Vec<u8>,
    stderr: &mut Vec<u8>,
) -> Result<Option<i32>, openssh::Error> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(openssh::Error::InvalidCommand);
    };
    let mut child = client
        .command(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .await?;
    let input = child.stdin().take();
    let output = child.stdout().take();
    let errors = child.stderr().take();
    let feed = async {
        if let Some(mut input) = input {
            // A command need not read all of it.
            let _ = input.write_all(stdin.expose()).await;
        }
    };
    let collect = async {
        if let Some(output) = output {
            // A lost connection ends the stream; what came before counts.
            let _ = output.take(MOST_STDOUT).read_to_end(stdout).await;
        }
    };
    let tail = async {
        if let Some(errors) = errors {
            keep_end(errors, stderr).await;
        }
    };
    let ((), (), (), ended) = tokio::join!(feed, collect, tail, child.wait());
    match ended {
        Ok(status) => Ok(status.code()),
        Err(openssh::Error::Remote(error)) if error.kind() == io::ErrorKind::NotFound => Ok(Some(127)),
        Err(openssh::Error::RemoteProcessTerminated | openssh::Error::Disconnected) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads to the end and keeps the last part.
async fn keep_end(mut from: impl AsyncRead + Unpin, end: &mut Vec<u8>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        end.extend_from_slice(&buffer[..length]);
        if end.len() > 2 * MOST_STDERR {
            end.drain(..end.len() - MOST_STDERR);
        }
    }
}
