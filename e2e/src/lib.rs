//! What the stories of the lab share: `kubectl` as a user has it, waiting, and evidence when a story fails.
//!
//! Needs `kubectl` on PATH and KUBECONFIG of the lab's meta cluster (`hack/test` sets both).

#![allow(clippy::panic, clippy::missing_panics_doc, clippy::print_stdout)] // a story that cannot go on fails its test and says where it was

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Runs `kubectl` on the meta cluster; the error is what it wrote to stderr.
pub fn kubectl(arguments: &[&str]) -> Result<String, String> {
    run(arguments, None)
}

/// `kubectl ... -f -` with `document` as input.
pub fn kubectl_with(document: &Value, arguments: &[&str]) -> Result<String, String> {
    run(arguments, Some(&document.to_string()))
}

fn run(arguments: &[&str], input: Option<&str>) -> Result<String, String> {
    let mut command = Command::new("kubectl");
    output_of(command.args(arguments), input)
}

/// `hack/lab` with these arguments.
fn lab(arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../hack/lab"));
    output_of(command.args(arguments), None)
}

/// What a command wrote to stdout; the error is what it wrote to stderr.
fn output_of(command: &mut Command, input: Option<&str>) -> Result<String, String> {
    let stdin = if input.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{} cannot be run: {error}", command.get_program().display()))?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin
            .write_all(input.as_bytes())
            .map_err(|error| error.to_string())?;
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// As [`kubectl`], for what must succeed.
pub fn must(arguments: &[&str]) -> String {
    kubectl(arguments).unwrap_or_else(|error| panic!("kubectl {}: {error}", arguments.join(" ")))
}

/// Applies an object that must be accepted.
pub fn apply(document: &Value) {
    kubectl_with(
        document,
        &["apply", "--server-side", "--force-conflicts", "-f", "-"],
    )
    .unwrap_or_else(|error| panic!("apply {document}: {error}"));
}

/// Waits until `look` gives something; panics with its last complaint after `seconds`.
pub fn eventually<T>(what: &str, seconds: u64, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        match look() {
            Ok(found) => return found,
            Err(complaint) if Instant::now() > deadline => {
                panic!("not within {seconds} s: {what}; last seen: {complaint}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(300)),
        }
    }
}

/// One Cluster of a story. Dropped, it deletes the Cluster; when the story failed, it keeps evidence first.
pub struct Cluster {
    name: String,
    /// When the story began.
    since: Instant,
    /// For kubeconfigs; readable by us alone, gone with the story.
    directory: tempfile::TempDir,
}

impl Cluster {
    /// Submits a Cluster of this name with this spec.
    pub fn submit(name: &str, spec: &Value) -> Self {
        let cluster = Self::adopt(name);
        cluster.edit(spec);
        cluster
    }

    /// A Cluster that is submitted otherwise.
    pub fn adopt(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary directory: {error}"));
        Self {
            name: name.into(),
            since: Instant::now(),
            directory,
        }
    }

    /// Submits the Cluster again, with another spec.
    pub fn edit(&self, spec: &Value) {
        apply(&document(&self.name, spec));
    }

    /// Its namespace in the meta cluster.
    pub fn namespace(&self) -> String {
        format!("cluster-{}", self.name)
    }

    /// Waits until a condition has this status.
    pub fn wait(&self, condition: &str, status: &str, seconds: u64) {
        eventually(
            &format!("cluster {} has {condition}={status}", self.name),
            seconds,
            || {
                let found = self.condition(condition);
                if found.starts_with(&format!("{status} ")) {
                    Ok(())
                } else {
                    Err(found)
                }
            },
        );
    }

    /// Status, reason and message of a condition of the current generation.
    pub fn condition(&self, condition: &str) -> String {
        let Ok(text) = kubectl(&["get", "cluster", &self.name, "-o", "json"]) else {
            return "no such Cluster".into();
        };
        let cluster: Value = serde_json::from_str(&text).unwrap_or_default();
        if cluster["status"]["observedGeneration"] != cluster["metadata"]["generation"] {
            return "not observed yet".into();
        }
        cluster["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|found| found["type"] == condition)
            .map_or_else(
                || "absent".into(),
                |found| {
                    format!(
                        "{} {}: {}",
                        text_of(&found["status"]),
                        text_of(&found["reason"]),
                        text_of(&found["message"])
                    )
                },
            )
    }

    /// `kubectl` on the business cluster, with the kubeconfig of a Secret of its namespace.
    pub fn business(&self, secret: &str, arguments: &[&str]) -> Result<String, String> {
        let path = self.kubeconfig(secret)?;
        let path = path.to_string_lossy().into_owned();
        let mut all = vec!["--kubeconfig", path.as_str()];
        all.extend(arguments);
        kubectl(&all)
    }

    /// A file with the kubeconfig of a Secret.
    pub fn kubeconfig(&self, secret: &str) -> Result<PathBuf, String> {
        let template = "go-template={{index .data \"kubeconfig\" | base64decode}}";
        let text = kubectl(&["get", "secret", "-n", &self.namespace(), secret, "-o", template])?;
        let path = self.directory.path().join(secret);
        std::fs::write(&path, text).map_err(|error| error.to_string())?;
        Ok(path)
    }

    /// Deletes the Cluster and waits until nothing of it is left.
    pub fn delete_and_see_it_gone(&self) {
        must(&[
            "delete",
            "cluster",
            &self.name,
            "--ignore-not-found",
            "--timeout=180s",
        ]);
        eventually("the namespace and the volumes are gone", 60, || {
            let namespace = self.namespace();
            if kubectl(&["get", "namespace", &namespace]).is_ok() {
                return Err(format!("namespace {namespace} is there"));
            }
            let volumes = must(&[
                "get",
                "pv",
                "-o",
                "jsonpath={range .items[*]}{.spec.claimRef.namespace}{\"\\n\"}{end}",
            ]);
            if volumes.lines().any(|line| line == namespace) {
                return Err("a volume is there".into());
            }
            Ok(())
        });
    }

    /// Objects, events, logs and host journals, without Secrets, in the directory of evidence.
    fn keep_evidence(&self) {
        let Some(directory) = std::env::var_os("KOK_EVIDENCE").map(PathBuf::from) else {
            return;
        };
        let directory = directory.join(&self.name);
        let namespace = self.namespace();
        let _ = std::fs::create_dir_all(&directory);
        let objects = "pods,deployments,replicasets,services,endpointslices,configmaps,persistentvolumeclaims,networkpolicies";
        let looks: [(&str, Vec<&str>); 5] = [
            ("cluster.yaml", vec!["get", "cluster", &self.name, "-o", "yaml"]),
            (
                "objects.yaml",
                vec!["get", objects, "-n", &namespace, "-o", "yaml"],
            ),
            ("events.txt", vec!["get", "events", "-n", &namespace]),
            (
                "pods.log",
                vec![
                    "logs",
                    "-n",
                    &namespace,
                    "-l",
                    "app.kubernetes.io/managed-by=kube-on-kube",
                    "--tail=200",
                    "--prefix",
                    "--ignore-errors",
                ],
            ),
            (
                "operator.log",
                vec![
                    "logs",
                    "-n",
                    "kubeonkube-system",
                    "-l",
                    "app.kubernetes.io/name=cluster-operator",
                    "--tail=-1",
                    "--prefix",
                ],
            ),
        ];
        for (file, arguments) in looks {
            let text = kubectl(&arguments).unwrap_or_else(|error| error);
            let _ = std::fs::write(directory.join(file), text);
        }
        // Nodes of the meta cluster have their hosts' names.
        let since = format!("-{}s", self.since.elapsed().as_secs() + 10);
        let nodes = kubectl(&["get", "nodes", "-o", "name"]).unwrap_or_default();
        for host in nodes.lines().filter_map(|line| line.strip_prefix("node/")) {
            let arguments = ["ssh", host, "journalctl", "--no-pager", "--since", &since];
            let text = lab(&arguments).unwrap_or_else(|error| error);
            let _ = std::fs::write(directory.join(format!("{host}.journal")), text);
        }
        println!("evidence: {}", directory.display());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep_evidence();
        }
        let _ = kubectl(&[
            "delete",
            "cluster",
            &self.name,
            "--ignore-not-found",
            "--timeout=180s",
        ]);
    }
}

/// A client that asks a business cluster again and again, each time by a new connection.
pub struct Polling {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(usize, Vec<String>)>,
}

impl Polling {
    /// Starts asking with the kubeconfig that a Secret holds now.
    pub fn start(cluster: &Cluster, secret: &str) -> Self {
        let file = cluster
            .kubeconfig(secret)
            .unwrap_or_else(|error| panic!("kubeconfig of {secret}: {error}"));
        let own = file.with_extension("polling");
        std::fs::rename(&file, &own).unwrap_or_else(|error| panic!("{error}"));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut answers, mut failures) = (0, Vec::new());
            let file = own.to_string_lossy().into_owned();
            while !stopped.load(Ordering::Relaxed) {
                match kubectl(&["--kubeconfig", &file, "get", "namespace", "default", "-o", "name"]) {
                    Ok(_) => answers += 1,
                    Err(error) => failures.push(error),
                }
                std::thread::sleep(Duration::from_millis(200));
            }
            (answers, failures)
        });
        Self { stop, thread }
    }

    /// Stops; panics when one request failed, or when there were fewer than `at_least`.
    pub fn stop_without_a_failure(self, at_least: usize) {
        self.stop.store(true, Ordering::Relaxed);
        let (answers, failures) = self.thread.join().unwrap_or_else(|_| panic!("polling ended"));
        assert!(
            failures.is_empty(),
            "{} of {} requests failed: {failures:?}",
            failures.len(),
            answers + failures.len()
        );
        assert!(answers >= at_least, "only {answers} requests");
    }
}

/// The Cluster as a document.
pub fn document(name: &str, spec: &Value) -> Value {
    serde_json::json!({
        "apiVersion": "kubeonkube.io/v1alpha1", "kind": "Cluster", "metadata": {"name": name}, "spec": spec,
    })
}

/// A Minimal Cluster's spec at this node port.
pub fn minimal(port: u16) -> Value {
    serde_json::json!({
        "mode": "Minimal", "version": "1.36.3",
        "network": {"podCIDR": "10.32.0.0/12", "serviceCIDR": "10.96.0.0/16"},
        "endpoint": {"type": "NodePort", "host": "10.77.0.11", "port": port},
        "etcd": {"version": "3.6.14", "storage": {"claimTemplate": {"resources": {"requests": {"storage": "1Gi"}}}}},
    })
}

/// Text of a JSON string.
pub fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
