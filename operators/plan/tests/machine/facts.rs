//! What a host answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use kok_plan::host::{
    BinaryFact, DebFact, DiskFact, DpkgFact, FactsQuery, FileFact, HostFacts, JournalRecord, OsFact,
    ProbeFact, Reach, UnitFact,
};
use kok_render::sha256_hex;

use super::host::Host;

impl Host {
    /// Answers a question.
    pub fn facts(&self, query: &FactsQuery, now: Timestamp) -> HostFacts {
        let mut binaries = BTreeMap::new();
        for path in &query.binaries {
            binaries.insert(path.clone(), self.binary(path, query.hash_binaries));
        }
        let probes = query
            .probes
            .iter()
            .map(|probe| (probe.name.clone(), self.probe(&probe.argv)));
        HostFacts {
            taken_at: now,
            clock_skew: self.clock_skew,
            clock_skew_within: Duration::ZERO,
            os: debian(),
            hostname: self.hostname.clone(),
            machine_id: self.machine_id.clone(),
            boot_id: self.boot_id(),
            uptime: Duration::from_mins(5),
            cgroup: self.cgroup,
            swap: false,
            systemd: true,
            euid: self.euid,
            cpus: 2,
            memory: 4 << 30,
            addresses: BTreeSet::from([self.address.clone()]),
            disks: query
                .disks
                .iter()
                .map(|path| {
                    let disk = DiskFact {
                        available: self.free,
                        total: 100 << 30,
                        inodes: 1_000_000,
                        writable: true,
                    };
                    (path.clone(), disk)
                })
                .collect(),
            listening: query.ports.intersection(&self.listening).copied().collect(),
            files: query
                .files
                .iter()
                .map(|path| (path.clone(), self.file(path)))
                .collect(),
            binaries,
            units: query
                .units
                .iter()
                .map(|name| (name.clone(), self.unit(name)))
                .collect(),
            debs: query
                .debs
                .iter()
                .map(|name| {
                    let version = self.debs.get(name).cloned();
                    let fact = DebFact {
                        status: if version.is_some() {
                            "installed"
                        } else {
                            "not-installed"
                        }
                        .into(),
                        hold: version.is_some(),
                        version,
                    };
                    (name.clone(), fact)
                })
                .collect(),
            dpkg: DpkgFact {
                present: true,
                interrupted: false,
                locked: false,
            },
            probes: probes.collect(),
            endpoints: query
                .endpoints
                .iter()
                .map(|endpoint| {
                    let reach = if self.endpoint_reachable {
                        Reach::Connected
                    } else {
                        Reach::Failed("No route to host".into())
                    };
                    (endpoint.to_string(), reach)
                })
                .collect(),
            runtime_sockets: BTreeSet::new(),
            owner: self.owner.clone().filter(|_| self.euid == 0),
            journal: self.journal.as_ref().map(|journal| JournalRecord {
                operation: journal.id.clone(),
                generation: self.highest_generation,
                finished: journal.finished,
                steps: Vec::new(),
            }),
            busy: false,
        }
    }

    fn file(&self, path: &str) -> FileFact {
        match self.files.get(path) {
            Some(file) => FileFact::File {
                sha256: Some(sha256_hex(file.content.as_bytes())),
                mode: file.mode,
                uid: 0,
                gid: 0,
            },
            None if self.links.contains_key(path) => FileFact::Other,
            None => FileFact::Absent,
        }
    }

    fn binary(&self, path: &str, hash: bool) -> BinaryFact {
        if let Some(target) = self.links.get(path) {
            return BinaryFact::Link {
                target: target.clone(),
            };
        }
        if let Some(file) = self.files.get(path) {
            return BinaryFact::File {
                size: file.content.len() as u64,
                mtime_ns: i64::try_from(file.inode).unwrap(),
                inode: file.inode,
                mode: file.mode,
                sha256: hash.then(|| sha256_hex(file.content.as_bytes())),
            };
        }
        let below = format!("{path}/");
        let mut all = self
            .files
            .keys()
            .chain(self.links.keys())
            .chain(&self.directories);
        if all.any(|it| it.starts_with(&below) || it == path) {
            BinaryFact::Directory
        } else {
            BinaryFact::Absent
        }
    }

    fn unit(&self, name: &str) -> UnitFact {
        let unit = self.units.get(name).cloned().unwrap_or_default();
        let known = self.unit_is_known(name);
        let file = self.text(&format!("/etc/systemd/system/{name}"));
        UnitFact {
            load: if known { "loaded" } else { "not-found" }.into(),
            active: if unit.active { "active" } else { "inactive" }.into(),
            sub: if unit.active { "running" } else { "dead" }.into(),
            enabled: if unit.enabled { "enabled" } else { "disabled" }.into(),
            since: None,
            restarts: 0,
            result: "success".into(),
            needs_daemon_reload: file.is_some()
                && unit.read.as_deref().is_some_and(|read| Some(read) != file),
        }
    }

    pub fn probe(&self, argv: &[String]) -> ProbeFact {
        let program = argv[0].as_str();
        let (exit, output) = match program {
            "grep" => (i32::from(!self.resource_capability), String::new()),
            "test" => (1, String::new()),
            "openssl" => {
                let there = self
                    .links
                    .contains_key("/var/lib/kubelet/pki/kubelet-client-current.pem");
                (i32::from(!there || self.certificate_expired), String::new())
            }
            "journalctl" => (0, "a line of the journal\n".into()),
            _ => match self.links.get(program).map(|target| self.text(target)) {
                Some(Some(content)) => (0, content.into()),
                _ => (127, String::new()),
            },
        };
        ProbeFact { exit, output }
    }
}

fn debian() -> OsFact {
    OsFact {
        id: "debian".into(),
        version: "12".into(),
        pretty: "Debian GNU/Linux 12 (bookworm)".into(),
        codename: "bookworm".into(),
        arch: "amd64".into(),
        kernel: "6.1.0".into(),
    }
}
