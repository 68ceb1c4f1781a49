//! The ssh process that holds one connection.
//!
//! The `openssh` crate can start it too, but then it runs in the background, out of reach: it could not be killed
//! at a deadline, and would outlive us. So we start it as our child and let the crate talk to its control socket.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;

use super::config;

/// How often to look whether the control socket is there; ssh makes it when the login is done.
const LOOK: Duration = Duration::from_millis(10);
/// Most of ssh's messages that is kept.
const MOST_LOG: usize = 16 * 1024;
/// How long ssh may take to say goodbye.
const GOODBYE: Duration = Duration::from_millis(500);

/// The files of one session, in a directory that only we can read, in memory. Gone when dropped.
pub(super) struct Files {
    directory: TempDir,
}

impl Files {
    pub(super) fn create_in(base: &Path) -> io::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("s")
            .rand_bytes(8)
            .permissions(PermissionsExt::from_mode(0o700))
            .tempdir_in(base)?;
        Ok(Self { directory })
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path().join(name))?
            .write_all(content)
    }

    pub(super) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap_or_default()
    }

    pub(super) fn remove(&self, name: &str) {
        // It may never have been written, and goes with the directory at the latest.
        let _ = std::fs::remove_file(self.path().join(name));
    }

    fn socket(&self) -> PathBuf {
        self.path().join(config::SOCKET)
    }
}

/// A running ssh. Dropped, it is killed, with everything that it started.
pub(super) struct Master {
    child: Child,
    log: Arc<Mutex<Vec<u8>>>,
    keeper: Option<JoinHandle<()>>,
    // Dropped after the processes that use it.
    files: Files,
}

impl Master {
    /// Starts ssh. It ends by itself after `longest`, should we be killed and never get to end it.
    pub(super) fn spawn(files: Files, longest: Duration) -> io::Result<Self> {
        let mut child = Command::new("timeout")
            .args(["-k", "1", &longest.as_secs().to_string(), "ssh", "-F"])
            .arg(files.path().join(config::CONFIG))
            .args(["-M", "-N", "-S"])
            .arg(files.socket())
            .args(["--", config::HOST])
            .env_clear()
            .env("LC_ALL", "C")
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let log = Arc::default();
        let keeper = child
            .stderr
            .take()
            .map(|stderr| tokio::spawn(keep(stderr, Arc::clone(&log))));
        Ok(Self {
            child,
            log,
            keeper,
            files,
        })
    }

    /// Waits for the login. An error is how ssh ended instead.
    pub(super) async fn logged_in(&mut self) -> Result<(), io::Result<ExitStatus>> {
        let socket = self.files.socket();
        loop {
            match tokio::time::timeout(LOOK, self.child.wait()).await {
                Ok(status) => return Err(status),
                Err(_) if socket.exists() => return Ok(()),
                Err(_) => {}
            }
        }
    }

    /// What ssh wrote so far.
    pub(super) fn log(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&log).into_owned()
    }

    /// All that ssh wrote, once it has ended.
    pub(super) async fn last_words(&mut self) -> String {
        if let Some(keeper) = self.keeper.take() {
            // A process that it started may still hold the other end.
            let _ = tokio::time::timeout(GOODBYE, keeper).await;
        }
        self.log()
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    /// A client of its control socket.
    pub(super) fn client(&self) -> openssh::Session {
        openssh::Session::resume_mux(self.files.socket().into_boxed_path(), None)
    }

    /// Whether it still holds the connection.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends the connection in order, or soon by force.
    pub(super) async fn end(mut self) {
        let client = self.client();
        let goodbye = async {
            // It may have ended already.
            let _ = client.close().await;
            let _ = self.child.wait().await;
        };
        // By force: when dropped.
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        // The id is None once it has been waited for.
        let group = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Keeps the beginning of what ssh writes, and reads on so that it never blocks.
async fn keep(mut stderr: ChildStderr, log: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stderr.read(&mut buffer).await {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST_LOG.saturating_sub(log.len()).min(length);
        log.extend_from_slice(&buffer[..room]);
    }
}
