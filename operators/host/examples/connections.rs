//! What a connection costs on this side, and how many a second there can be.
//!
//! `cargo run --release --example connections -- 100 500 1000` starts one sshd on loopback, opens so many sessions
//! at once through `OpenSsh`, runs a command in each, and prints a line for each number. The sshd shares the
//! machine, so the rate is of both sides together; the CPU and memory are of this side alone. Needs root.

use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kok_host::target::{Hop, HostKey, Method, Ssh, Sudo};
use kok_host::transport::{Exit, Session, Transport as _};
use kok_host::{OpenSsh, Target};
use kok_plan::host::Secret;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A tick of the clock that /proc counts CPU time in.
const TICK: Duration = Duration::from_millis(10);

#[tokio::main]
async fn main() -> Result<()> {
    let counts: Vec<u32> = std::env::args()
        .skip(1)
        .map(|count| count.parse())
        .collect::<std::result::Result<_, _>>()?;
    let directory = tempfile::tempdir_in("/dev/shm")?;
    let sshd = Sshd::start(directory.path())?;
    let transport = OpenSsh::new(&directory.path().join("s"))?;
    let mut out = io::stdout();
    writeln!(
        out,
        "in flight  all connected  connections/s  CPU here  of it ssh  CPU of sshd  memory here"
    )?;
    for count in counts {
        let measured = measure(&transport, &sshd, count).await?;
        writeln!(out, "{measured}")?;
    }
    Ok(())
}

async fn measure(transport: &OpenSsh, sshd: &Sshd, count: u32) -> Result<String> {
    let target = sshd.target();
    let (own, children, server) = (cpu("self", 11)?, cpu("self", 13)?, sshd.cpu()?);
    let started = Instant::now();
    let deadline = tokio::time::Instant::now() + Duration::from_mins(3);
    let connecting = (0..count).map(|_| transport.connect(&target, deadline));
    let mut sessions: Vec<Box<dyn Session>> = futures::future::try_join_all(connecting).await?;
    let took = started.elapsed();
    let memory = memory_of_ssh()? / u64::from(count);
    let argv = ["true".to_owned()];
    let nothing = Secret::new("");
    let runs = sessions
        .iter_mut()
        .map(|session| session.run(&argv, &nothing, Duration::from_mins(3)));
    for output in futures::future::join_all(runs).await {
        if output.exit != Exit::Code(0) {
            return Err(format!("{:?}", output.exit).into());
        }
    }
    futures::future::join_all(sessions.into_iter().map(Session::close)).await;
    let sessions = f64::from(count);
    let per_connection = |ticks: u64| -> Result<f64> {
        let ticks = f64::from(u32::try_from(ticks)?);
        Ok(TICK.as_secs_f64() * 1000.0 * ticks / sessions)
    };
    let (own, children) = (cpu("self", 11)? - own, cpu("self", 13)? - children);
    Ok(format!(
        "{count:9}  {:11.1} s  {:13.0}  {:5.1} ms  {:6.1} ms  {:8.1} ms  {:8} KiB",
        took.as_secs_f64(),
        sessions / took.as_secs_f64(),
        per_connection(own + children)?,
        per_connection(children)?,
        per_connection(sshd.cpu()? - server)?,
        memory,
    ))
}

/// User and system ticks of a process, or, two fields further, of its children that have ended.
fn cpu(process: &str, field: usize) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |index: usize| {
        fields
            .get(index)
            .ok_or("short stat")?
            .parse::<u64>()
            .map_err(Box::<dyn Error>::from)
    };
    Ok(ticks(field)? + ticks(field + 1)?)
}

/// Memory of all processes below us but the sshd's, shared pages counted by their share, in KiB.
fn memory_of_ssh() -> Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        if !matches!(name.trim(), "ssh" | "timeout") {
            continue;
        }
        let rollup = fs::read_to_string(path.join("smaps_rollup")).unwrap_or_default();
        total += rollup
            .lines()
            .find_map(|line| {
                line.strip_prefix("Pss:")?
                    .split_whitespace()
                    .next()?
                    .parse::<u64>()
                    .ok()
            })
            .unwrap_or(0);
    }
    Ok(total)
}

/// An sshd on loopback, for as long as this lives.
struct Sshd {
    process: Child,
    port: u16,
    host_key: String,
    user_key: Secret,
}

impl Sshd {
    fn start(directory: &Path) -> Result<Self> {
        for name in ["host_key", "user_key"] {
            Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
                .arg(directory.join(name))
                .status()?;
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = directory.join("sshd_config");
        fs::write(
            &config,
            format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {0}/host_key\nAuthorizedKeysFile {0}/user_key.pub\n\
                 PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\n\
                 MaxStartups 4000:30:4000\nLogLevel ERROR\n",
                directory.display()
            ),
        )?;
        fs::create_dir_all("/run/sshd")?;
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .spawn()?;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Self {
            process,
            port,
            host_key: fs::read_to_string(directory.join("host_key.pub"))?
                .trim()
                .to_owned(),
            user_key: Secret::new(fs::read(directory.join("user_key"))?),
        })
    }

    /// Ticks of it and of the connections that have ended.
    fn cpu(&self) -> Result<u64> {
        let id = self.process.id().to_string();
        Ok(cpu(&id, 11)? + cpu(&id, 13)?)
    }

    fn target(&self) -> Target {
        Target {
            name: "sshd".into(),
            idc: "here".into(),
            method: Method::Ssh(Ssh {
                hop: Hop {
                    address: "127.0.0.1".into(),
                    port: self.port,
                    user: "root".into(),
                    key: self.user_key.clone(),
                    host_key: HostKey::Pinned(vec![self.host_key.clone()]),
                },
                jumps: vec![],
                sudo: Sudo::None,
            }),
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // It is gone already when that fails.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
