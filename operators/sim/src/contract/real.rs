//! A real etcd, kube-apiserver and kube-controller-manager as processes on loopback, from their binaries.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kok_pki::Key;
use kube::config::AuthInfo;
use kube::{Client, Config};
use tokio::time::Instant;

use super::stage::Failure;

/// What is run, in this order.
const BINARIES: [&str; 3] = ["etcd", "kube-apiserver", "kube-controller-manager"];
/// The controllers that the simulator's server has in itself.
const CONTROLLERS: &str = "garbage-collector-controller,namespace-controller,persistentvolumeclaim-protection-controller,serviceaccount-controller";
/// Until everything answers.
const PATIENCE: Duration = Duration::from_mins(2);

/// A real control plane. It ends when it is dropped, also by a panic.
pub struct Real {
    processes: Vec<Child>,
    directory: tempfile::TempDir,
    /// A client with all rights.
    pub client: Client,
}

impl Drop for Real {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            // Its data is thrown away: a graceful end would only wait.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A binary of these directories, separated by colons.
fn find(directories: &str, name: &str) -> Option<PathBuf> {
    directories
        .split(':')
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.is_file())
}

/// Names of the binaries that are not in `$KOK_BIN` or `$PATH`.
pub fn missing_binaries() -> Vec<&'static str> {
    BINARIES
        .into_iter()
        .filter(|name| binary(name).is_none())
        .collect()
}

fn binary(name: &str) -> Option<PathBuf> {
    ["KOK_BIN", "PATH"]
        .iter()
        .find_map(|variable| find(&std::env::var(variable).ok()?, name))
}

fn free_ports<const N: usize>() -> io::Result<[u16; N]> {
    // All at once, so that they differ.
    let listeners = std::array::from_fn::<_, N, _>(|_| TcpListener::bind(("127.0.0.1", 0)));
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(listeners) {
        *port = listener?.local_addr()?.port();
    }
    Ok(ports)
}

impl Real {
    /// Starts it, and waits until it answers.
    ///
    /// # Errors
    /// When a binary is missing or a process ends.
    pub async fn start() -> Result<Self, Failure> {
        let directory = tempfile::tempdir().map_err(failed("a directory"))?;
        let [client_port, peer_port, secure_port] = free_ports().map_err(failed("ports"))?;
        let etcd = format!("http://127.0.0.1:{client_port}");
        let peer = format!("http://127.0.0.1:{peer_port}");
        let url = format!("https://127.0.0.1:{secure_port}");
        let file = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
        let write = |name: &str, text: &str| fs::write(file(name), text).map_err(failed(name));
        let key = Key::generate().map_err(|error| Failure(error.to_string()))?;
        write("sa.key", &key.to_pem())?;
        write("sa.pub", &key.public_key_pem())?;
        write("tokens.csv", "contract,contract,contract,system:masters\n")?;
        write("kubeconfig", &kubeconfig(&url))?;
        let mut real = Self {
            processes: Vec::new(),
            client: client(&url)?,
            directory,
        };
        real.run(
            "etcd",
            &[
                format!("--data-dir={}", real.file("etcd")),
                format!("--listen-client-urls={etcd}"),
                format!("--advertise-client-urls={etcd}"),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster=default={peer}"),
            ],
        )?;
        real.run(
            "kube-apiserver",
            &[
                format!("--etcd-servers={etcd}"),
                "--bind-address=127.0.0.1".into(),
                format!("--secure-port={secure_port}"),
                format!("--cert-dir={}", real.file("certificates")),
                "--service-account-issuer=https://contract".into(),
                format!("--service-account-key-file={}", real.file("sa.pub")),
                format!("--service-account-signing-key-file={}", real.file("sa.key")),
                format!("--token-auth-file={}", real.file("tokens.csv")),
                "--authorization-mode=RBAC".into(),
                "--allow-privileged=true".into(),
                "--endpoint-reconciler-type=none".into(),
                "--service-cluster-ip-range=10.96.0.0/16".into(),
            ],
        )?;
        real.until_ready().await?;
        real.run(
            "kube-controller-manager",
            &[
                format!("--kubeconfig={}", real.file("kubeconfig")),
                format!("--controllers={CONTROLLERS}"),
                "--leader-elect=false".into(),
                "--secure-port=0".into(),
                "--use-service-account-credentials=false".into(),
            ],
        )?;
        Ok(real)
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).to_string_lossy().into_owned()
    }

    fn run(&mut self, name: &str, arguments: &[String]) -> Result<(), Failure> {
        let binary = binary(name).ok_or_else(|| Failure(format!("there is no {name} on PATH or KOK_BIN")))?;
        let log = File::create(self.file(&format!("{name}.log"))).map_err(failed(name))?;
        let process = Command::new(binary)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(failed(name))?;
        self.processes.push(process);
        Ok(())
    }

    async fn until_ready(&mut self) -> Result<(), Failure> {
        let started = Instant::now();
        loop {
            let request = http::Request::get("/readyz")
                .body(Vec::new())
                .map_err(kube::Error::HttpError)?;
            let answer = self.client.request_text(request).await;
            if answer.as_deref().is_ok_and(|answer| answer == "ok") {
                return Ok(());
            }
            for (process, name) in self.processes.iter_mut().zip(BINARIES) {
                if let Ok(Some(status)) = process.try_wait() {
                    let log = fs::read_to_string(self.directory.path().join(format!("{name}.log")));
                    let log = log.unwrap_or_default();
                    let end: Vec<&str> = log.lines().rev().take(5).collect();
                    return Err(Failure(format!("{name} ended with {status}: {end:#?}")));
                }
            }
            if started.elapsed() > PATIENCE {
                return Err(Failure(format!("the apiserver is not ready: {answer:?}")));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn failed(what: &str) -> impl Fn(io::Error) -> Failure {
    let what = what.to_owned();
    move |error| Failure(format!("{what}: {error}"))
}

fn client(url: &str) -> Result<Client, Failure> {
    let url = url.parse().map_err(|error| Failure(format!("{url}: {error}")))?;
    let mut config = Config::new(url);
    // Its certificate is one that it made for itself a moment ago.
    config.accept_invalid_certs = true;
    config.auth_info = AuthInfo {
        token: Some("contract".to_owned().into()),
        ..AuthInfo::default()
    };
    Ok(Client::try_from(config)?)
}

fn kubeconfig(url: &str) -> String {
    serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "contract",
        "clusters": [{"name": "contract", "cluster": {"server": url, "insecure-skip-tls-verify": true}}],
        "users": [{"name": "contract", "user": {"token": "contract"}}],
        "contexts": [{"name": "contract", "context": {"cluster": "contract", "user": "contract"}}],
    })
    .to_string()
}
