//! Real sshds on loopback, each on a host of its own below an overlay.

#![allow(clippy::unwrap_used, clippy::panic, dead_code)] // shared by tests; its helpers fail the test

use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kok_host::target::{Hop, HostKey, Method, Ssh, Sudo};
use kok_host::{OpenSsh, Target};
use kok_plan::host::Secret;

use crate::world::World;

/// Password of the user `admin` on the hosts.
pub(crate) const PASSWORD: &str = "pa55'w$rd \"with\" blanks";

/// Whether there is an sshd; says so when not.
pub(crate) fn is_there() -> bool {
    let there = Path::new("/usr/sbin/sshd").exists();
    if !there {
        eprintln!("SKIPPED: no /usr/sbin/sshd; apt-get install openssh-server to run this test");
    }
    there
}

/// A key pair.
pub(crate) struct Key {
    pub(crate) private: String,
    pub(crate) public: String,
}

impl Key {
    pub(crate) fn new(kind: &str, passphrase: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-N", passphrase, "-C", "", "-f"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
        Self {
            private: std::fs::read_to_string(path).unwrap(),
            public: public.trim().to_owned(),
        }
    }
}

/// An sshd. Ended when dropped.
pub(crate) struct Sshd {
    pub(crate) world: World,
    pub(crate) port: u16,
    pub(crate) host_key: Key,
    pub(crate) user_key: Key,
    log: Arc<Mutex<String>>,
    process: Child,
}

impl Sshd {
    pub(crate) fn start() -> Self {
        Self::with(Key::new("ed25519", ""), "")
    }

    /// `sudoers` is what the user `admin` may do.
    pub(crate) fn with(host_key: Key, sudoers: &str) -> Self {
        let world = World::new();
        let user_key = Key::new("ed25519", "");
        world.write("/etc/kok-sshd/host_key", &host_key.private);
        world.write("/etc/kok-sshd/authorized", &user_key.public);
        add_admin(&world, sudoers);
        world.write("/run/sshd/.keep", "");
        world.write("/run/sudo/.keep", "");
        let port = {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().port()
        };
        world.write(
            "/etc/kok-sshd/config",
            &format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey /etc/kok-sshd/host_key\nPidFile none\nUsePAM no\n\
                 StrictModes no\nAuthorizedKeysFile /etc/kok-sshd/authorized\nPasswordAuthentication no\n\
                 PermitRootLogin prohibit-password\nLogLevel VERBOSE\nAllowTcpForwarding yes\n"
            ),
        );
        for secret in ["/etc/kok-sshd/host_key", "/etc/shadow"] {
            let made = Command::new("chmod")
                .arg("600")
                .arg(world.path(secret))
                .status()
                .unwrap();
            assert!(made.success());
        }
        let mut process = world
            .enter(&["/usr/sbin/sshd", "-D", "-e", "-f", "/etc/kok-sshd/config"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, copy) = (process.stderr.take().unwrap(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                copy.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        let sshd = Self {
            world,
            port,
            host_key,
            user_key,
            log,
            process,
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "sshd does not listen: {}", sshd.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        sshd
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// How many commands were run.
    pub(crate) fn commands(&self) -> usize {
        self.log().matches("Starting session: command").count()
    }

    /// Kills the sshd processes of all connections.
    pub(crate) fn cut_connections(&self) {
        let id = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let killed = Command::new("kill")
            .arg("-9")
            .args(children.split_whitespace())
            .status()
            .unwrap();
        assert!(killed.success());
    }

    pub(crate) fn hop(&self, host_key: HostKey) -> Hop {
        Hop {
            address: "127.0.0.1".into(),
            port: self.port,
            user: "root".into(),
            key: Secret::new(self.user_key.private.clone()),
            host_key,
        }
    }

    pub(crate) fn pinned(&self) -> HostKey {
        HostKey::Pinned(vec![self.host_key.public.clone()])
    }

    /// As root, with the right key pinned.
    pub(crate) fn ssh(&self) -> Ssh {
        Ssh {
            hop: self.hop(self.pinned()),
            jumps: vec![],
            sudo: Sudo::None,
        }
    }

    /// As the user who may become root.
    pub(crate) fn as_admin(&self, sudo: Sudo) -> Ssh {
        let mut ssh = self.ssh();
        ssh.hop.user = "admin".into();
        ssh.sudo = sudo;
        ssh
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A user who is not root, with a password.
fn add_admin(world: &World, sudoers: &str) {
    let machine = |path: &str| std::fs::read_to_string(path).unwrap();
    let hash = Command::new("perl")
        .args(["-e", "print crypt($ARGV[0], '$6$kubeonkube$')", PASSWORD])
        .output()
        .unwrap();
    let hash = String::from_utf8(hash.stdout).unwrap();
    world.write(
        "/etc/passwd",
        &(machine("/etc/passwd") + "admin:x:4242:4242::/tmp:/bin/sh\n"),
    );
    world.write("/etc/group", &(machine("/etc/group") + "admin:x:4242:\n"));
    world.write(
        "/etc/shadow",
        &(machine("/etc/shadow") + &format!("admin:{hash}:19000:0:99999:7:::\n")),
    );
    world.write("/etc/sudoers.d/admin", sudoers);
}

pub(crate) fn target(ssh: Ssh) -> Target {
    Target {
        name: "node1".into(),
        idc: "a".into(),
        method: Method::Ssh(ssh),
    }
}

/// A directory for sessions, in memory.
pub(crate) struct Base {
    directory: tempfile::TempDir,
}

impl Base {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("kok")
            .tempdir_in("/dev/shm")
            .unwrap();
        Self { directory }
    }

    pub(crate) fn transport(&self) -> OpenSsh {
        OpenSsh::new(&self.path()).unwrap()
    }

    pub(crate) fn path(&self) -> PathBuf {
        // tempfile's own names begin with a dot, which is fine, too.
        self.directory.path().join("s")
    }

    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = vec![];
        let mut directories = vec![self.path()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    files.push(path);
                }
            }
        }
        files
    }

    /// Command lines of the processes that serve sessions of this directory.
    pub(crate) fn processes(&self) -> Vec<String> {
        let base = self.path().display().to_string();
        every_process("cmdline")
            .into_iter()
            .filter(|line| line.contains(&base))
            .collect()
    }

    /// Waits a moment until nothing is left.
    pub(crate) async fn assert_nothing_left(&self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !(self.processes().is_empty() && self.files().is_empty()) {
            assert!(
                Instant::now() < deadline,
                "left: {:?} {:?}",
                self.processes(),
                self.files()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A file of /proc for every process, with blanks for NULs.
pub(crate) fn every_process(file: &str) -> Vec<String> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            path.file_name()?.to_str()?.parse::<u32>().ok()?;
            let content = std::fs::read(path.join(file)).ok()?;
            Some(String::from_utf8_lossy(&content).replace('\0', " "))
        })
        .collect()
}
