//! A host as data: files, links, units, Debian packages, a journal. It carries steps out as the runner does and answers the
//! questions that plans ask.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::SignedDuration;
use kok_plan::host::{
    Cgroup, Content, FailureReason, Operation, OperationOutcome, OperationResult, Owner, Refusal, Step,
    StepOutcome, StepResult, UnitAction,
};
use kok_render::sha256_hex;

/// A file that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub content: String,
    pub mode: u32,
    pub inode: u64,
}

/// A unit that systemd may know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    pub active: bool,
    pub enabled: bool,
    /// Everything that it read when it was started.
    pub started_with: String,
    /// Its unit file as systemd read it last.
    pub read: Option<String>,
    pub starts: u32,
}

/// The operation that the host last took up.
#[derive(Clone, Debug)]
pub struct Journal {
    pub id: String,
    pub done: usize,
    pub finished: bool,
}

/// What units read when they are started.
const INPUTS: [(&str, &[&str]); 3] = [
    (
        "containerd.service",
        &[
            "/etc/containerd/config.toml",
            "/etc/systemd/system/containerd.service",
            "/usr/local/bin/containerd",
        ],
    ),
    (
        "kubelet.service",
        &[
            "/var/lib/kubelet/config.yaml",
            "/etc/systemd/system/kubelet.service",
            "/usr/local/bin/kubelet",
        ],
    ),
    ("docker.service", &["/etc/docker/daemon.json"]),
];

/// A host.
#[derive(Clone, Debug)]
pub struct Host {
    pub hostname: String,
    pub address: String,
    pub machine_id: String,
    pub boot: u32,
    pub files: BTreeMap<String, File>,
    pub links: BTreeMap<String, String>,
    pub directories: BTreeSet<String>,
    pub units: BTreeMap<String, Unit>,
    pub debs: BTreeMap<String, String>,
    pub owner: Option<Owner>,
    pub highest_generation: u64,
    pub cgroup: Cgroup,
    pub mirror: BTreeMap<String, String>,
    pub listening: BTreeSet<u16>,
    pub clock_skew: SignedDuration,
    pub free: u64,
    pub endpoint_reachable: bool,
    pub certificate_expired: bool,
    pub euid: u32,
    pub resource_capability: bool,
    /// Everything that changed the host, in order.
    pub changes: Vec<String>,
    pub journal: Option<Journal>,
    inodes: u64,
}

impl Host {
    pub fn new(hostname: &str, address: &str) -> Self {
        Self {
            hostname: hostname.into(),
            address: address.into(),
            machine_id: format!("id-of-{hostname}"),
            boot: 1,
            files: BTreeMap::new(),
            links: BTreeMap::new(),
            directories: BTreeSet::new(),
            units: BTreeMap::new(),
            debs: BTreeMap::new(),
            owner: None,
            highest_generation: 0,
            cgroup: Cgroup::V2,
            mirror: BTreeMap::new(),
            listening: BTreeSet::new(),
            clock_skew: SignedDuration::ZERO,
            free: 50 << 30,
            endpoint_reachable: true,
            certificate_expired: false,
            euid: 0,
            resource_capability: true,
            changes: Vec::new(),
            journal: None,
            inodes: 0,
        }
    }

    pub fn boot_id(&self) -> String {
        format!("{}-boot-{}", self.hostname, self.boot)
    }

    pub fn write(&mut self, path: &str, content: &str, mode: u32) {
        self.inodes += 1;
        self.links.remove(path);
        let file = File {
            content: content.into(),
            mode,
            inode: self.inodes,
        };
        self.files.insert(path.into(), file);
    }

    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(|file| file.content.as_str())
    }

    pub fn runs(&self, unit: &str) -> bool {
        self.units.get(unit).is_some_and(|unit| unit.active)
    }

    /// What a unit would read if it were started now.
    pub fn inputs(&self, unit: &str) -> String {
        let paths = INPUTS
            .iter()
            .find(|(name, _)| *name == unit)
            .map_or(&[][..], |(_, paths)| paths);
        let read = |path: &&str| {
            let link = self.links.get(*path).cloned();
            link.or_else(|| self.text(path).map(Into::into))
                .unwrap_or_default()
        };
        paths.iter().map(read).collect::<Vec<_>>().join("\n")
    }

    pub fn reboot(&mut self) {
        self.boot += 1;
        let names: Vec<String> = self.units.keys().cloned().collect();
        for name in names {
            let enabled = self.units[&name].enabled;
            self.units.get_mut(&name).unwrap().active = false;
            if enabled {
                self.start(&name);
            }
        }
    }

    pub fn stop(&mut self, unit: &str) {
        self.units.entry(unit.into()).or_default().active = false;
    }

    fn start(&mut self, name: &str) {
        let inputs = self.inputs(name);
        let unit = self.units.entry(name.into()).or_default();
        unit.active = true;
        unit.started_with = inputs;
        unit.starts += 1;
    }

    pub fn unit_is_known(&self, name: &str) -> bool {
        self.files.contains_key(&format!("/etc/systemd/system/{name}"))
            || name == "docker.service" && self.debs.contains_key("docker.io")
    }

    /// Carries an operation out; after `steps` steps the session is lost and the runner is killed.
    pub fn carry_out(&mut self, operation: &Operation, steps: Option<usize>) -> OperationResult {
        operation.check().unwrap();
        let claims = matches!(operation.steps.first(), Some(Step::Claim { .. }));
        let replaces = match operation.steps.first() {
            Some(Step::Claim { replaces }) => replaces.clone(),
            _ => None,
        };
        let refusal = match &self.owner {
            Some(owner) if *owner != operation.owner && replaces.as_ref() != Some(owner) => {
                Some(Refusal::Conflict(owner.clone()))
            }
            None if !claims => Some(Refusal::NotClaimed),
            _ if operation.generation < self.highest_generation => Some(Refusal::OlderGeneration {
                seen: self.highest_generation,
            }),
            _ => None,
        };
        let result = |outcome, steps| OperationResult {
            operation: operation.id.clone(),
            outcome,
            steps,
            duration: Duration::from_secs(3),
        };
        if let Some(refusal) = refusal {
            return result(OperationOutcome::Refused(refusal), Vec::new());
        }
        self.highest_generation = operation.generation;
        let resumed = self.journal.as_ref().filter(|journal| journal.id == operation.id);
        let done = resumed.map_or(0, |journal| journal.done);
        self.journal = Some(Journal {
            id: operation.id.clone(),
            done,
            finished: false,
        });
        let mut results = Vec::new();
        for (index, step) in operation.steps.iter().enumerate().skip(done) {
            if steps.is_some_and(|limit| index >= limit) {
                return result(OperationOutcome::Unknown("connection reset".into()), results);
            }
            let rebooting = matches!(step, Step::Reboot { .. });
            let outcome = match self.step(step, &operation.owner) {
                Ok(changed) => StepOutcome::Done { changed },
                Err(reason) => StepOutcome::Failed { reason, exit: 1 },
            };
            let failed = matches!(outcome, StepOutcome::Failed { .. });
            results.push(StepResult {
                step: step.to_string(),
                kind: step.kind().into(),
                outcome,
                duration: Duration::from_millis(100),
                tail: String::new(),
            });
            if failed {
                return result(OperationOutcome::Failed { step: index }, results);
            }
            if let Some(journal) = &mut self.journal {
                journal.done = index + 1;
            }
            if rebooting {
                return result(OperationOutcome::Rebooting, results);
            }
        }
        if let Some(journal) = &mut self.journal {
            journal.finished = true;
        }
        result(OperationOutcome::Done, results)
    }

    /// One step; whether it changed anything.
    fn step(&mut self, step: &Step, owner: &Owner) -> Result<bool, FailureReason> {
        let changed = self.change(step, owner)?;
        if changed {
            self.changes.push(step.to_string());
        }
        Ok(changed)
    }

    fn change(&mut self, step: &Step, owner: &Owner) -> Result<bool, FailureReason> {
        match step {
            Step::Fetch { .. }
            | Step::Unpack { .. }
            | Step::Link { .. }
            | Step::WriteFile { .. }
            | Step::Directory { .. }
            | Step::RemovePath { .. } => self.change_files(step),
            Step::Claim { .. } => Ok(self.owner.replace(owner.clone()).as_ref() != Some(owner)),
            Step::Release => {
                self.journal = None;
                Ok(self.owner.take().is_some())
            }
            Step::InstallDeb { name, version, .. } => {
                if name == "docker.io" && !self.runs("docker.service") {
                    self.debs.insert(name.clone(), version.clone());
                    self.units.entry("docker.service".into()).or_default().enabled = true;
                    self.start("docker.service");
                }
                let before = self.debs.insert(name.clone(), version.clone());
                Ok(before.as_ref() != Some(version))
            }
            Step::RemoveDeb { name } => {
                self.units.remove("docker.service");
                Ok(self.debs.remove(name).is_some())
            }
            Step::DaemonReload => {
                for name in self.units.keys().cloned().collect::<Vec<_>>() {
                    self.read_unit(&name);
                }
                Ok(true)
            }
            Step::Unit { name, action } => self.unit_step(name, *action),
            Step::WaitActive { name, .. } => {
                if self.runs(name) {
                    Ok(false)
                } else {
                    Err(FailureReason::ProbeFailed)
                }
            }
            Step::Probe { argv, .. } => {
                if self.probe(argv).exit == 0 {
                    Ok(false)
                } else {
                    Err(FailureReason::ProbeFailed)
                }
            }
            Step::Run { .. } | Step::Sysctl { .. } | Step::LoadModule { .. } | Step::KillCgroup { .. } => {
                Ok(false)
            }
            Step::Reboot { boot_id } => {
                if *boot_id == self.boot_id() {
                    self.reboot();
                }
                Ok(true)
            }
        }
    }

    fn change_files(&mut self, step: &Step) -> Result<bool, FailureReason> {
        match step {
            Step::Directory { path, .. } => Ok(self.directories.insert(path.clone())),
            Step::Fetch {
                urls,
                sha256,
                dest,
                mode,
            } => {
                if self
                    .text(dest)
                    .is_some_and(|text| sha256_hex(text.as_bytes()) == *sha256)
                {
                    return Ok(false);
                }
                let content = urls.iter().find_map(|url| self.mirror.get(url));
                let content = content.ok_or(FailureReason::DownloadFailed)?.clone();
                if sha256_hex(content.as_bytes()) != *sha256 {
                    return Err(FailureReason::Sha256Mismatch);
                }
                self.write(dest, &content, *mode);
                Ok(true)
            }
            Step::Unpack { archive, dest, .. } => {
                if self.directories.contains(dest) {
                    return Ok(false);
                }
                let listing = self.text(archive).ok_or(FailureReason::CommandFailed)?.to_owned();
                // An archive of this world is lines of `<path> <content>`.
                for line in listing.lines() {
                    let (path, content) = line.split_once(' ').unwrap();
                    self.write(&format!("{dest}/{path}"), content, 0o755);
                }
                Ok(self.directories.insert(dest.clone()))
            }
            Step::Link { path, target } => {
                self.files.remove(path);
                Ok(self.links.insert(path.clone(), target.clone()).as_ref() != Some(target))
            }
            Step::WriteFile {
                path, content, mode, ..
            } => {
                let text = match content {
                    Content::Text(text) => text.clone(),
                    Content::Filled { secret, .. } => String::from_utf8(secret.expose().to_vec()).unwrap(),
                    Content::Slot(slot) => panic!("secret {slot} was not put in"),
                };
                if self
                    .files
                    .get(path)
                    .is_some_and(|file| file.content == text && file.mode == *mode)
                {
                    return Ok(false);
                }
                self.write(path, &text, *mode);
                Ok(true)
            }
            Step::RemovePath { path } => Ok(self.remove(path)),
            other => panic!("{other} changes no file"),
        }
    }

    fn read_unit(&mut self, name: &str) {
        let file = self.text(&format!("/etc/systemd/system/{name}")).map(Into::into);
        self.units.entry(name.into()).or_default().read = file;
    }

    fn unit_step(&mut self, name: &str, action: UnitAction) -> Result<bool, FailureReason> {
        let stops = matches!(action, UnitAction::Stop | UnitAction::Disable);
        if !self.unit_is_known(name) && !stops {
            return Err(FailureReason::UnitFailed);
        }
        if self.units.get(name).is_none_or(|unit| unit.read.is_none()) {
            self.read_unit(name);
        }
        let unit = self.units.entry(name.into()).or_default();
        let before = unit.clone();
        match action {
            UnitAction::Enable => unit.enabled = true,
            UnitAction::Disable => unit.enabled = false,
            UnitAction::Stop => unit.active = false,
            UnitAction::Start if unit.active => {}
            UnitAction::Start | UnitAction::Restart | UnitAction::Reload => self.start(name),
        }
        Ok(self.units[name] != before)
    }

    fn remove(&mut self, path: &str) -> bool {
        let below = format!("{path}/");
        let goes = |it: &String| it == path || it.starts_with(&below);
        let before = self.files.len() + self.links.len() + self.directories.len();
        self.files.retain(|it, _| !goes(it));
        self.links.retain(|it, _| !goes(it));
        self.directories.retain(|it| !goes(it));
        before != self.files.len() + self.links.len() + self.directories.len()
    }

    /// Everything that stays the same whatever way led here.
    pub fn snapshot(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for (path, file) in &self.files {
            // Which token it was depends on the time.
            if !path.ends_with("/token") {
                all.insert(path.clone(), format!("{:o} {}", file.mode, file.content));
            }
        }
        all.extend(
            self.links
                .iter()
                .map(|(path, target)| (path.clone(), format!("-> {target}"))),
        );
        all.extend(
            self.debs
                .iter()
                .map(|(name, version)| (format!("deb {name}"), version.clone())),
        );
        for (name, unit) in &self.units {
            if unit.active || unit.enabled {
                let state = format!(
                    "active {} enabled {} with {}",
                    unit.active, unit.enabled, unit.started_with
                );
                all.insert(format!("unit {name}"), state);
            }
        }
        all.insert(
            "owner".into(),
            self.owner.as_ref().map_or("nobody".into(), ToString::to_string),
        );
        all
    }
}
