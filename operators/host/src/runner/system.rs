//! What a host tells about itself unasked.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use kok_plan::host::{Cgroup, OsFact};

use super::answer::{Answer, FactsError, malformed};

/// The section `system`.
pub(super) struct System {
    pub(super) hostname: String,
    pub(super) kernel: String,
    pub(super) machine: String,
    pub(super) clock: Timestamp,
    pub(super) euid: u32,
    pub(super) cpus: u32,
    pub(super) boot_id: String,
    pub(super) uptime: Duration,
    pub(super) machine_id: String,
    pub(super) memory: u64,
    pub(super) swap: bool,
    pub(super) cgroup: Cgroup,
    pub(super) systemd: bool,
    pub(super) sockets: BTreeSet<String>,
    pub(super) busy: bool,
}

impl System {
    pub(super) fn parse(answer: &Answer) -> Result<Self, FactsError> {
        let text = answer.text("system")?;
        let lines: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once(' ')).collect();
        let value = |key: &str| {
            lines
                .iter()
                .find(|(name, _)| *name == key)
                .map(|(_, value)| value.trim())
        };
        let wrong = |key: &str| malformed("system", &format!("{key} is {:?}", value(key)));
        let number = |key: &str| {
            value(key)
                .and_then(|value| value.parse::<u64>().ok())
                .ok_or_else(|| wrong(key))
        };
        let small = |key: &str| u32::try_from(number(key)?).map_err(|_| wrong(key));
        let mut kernel = value("kernel").unwrap_or_default().split(' ');
        let mut word = || kernel.next().unwrap_or_default().to_owned();
        let (hostname, kernel, machine) = (word(), word(), word());
        if machine.is_empty() {
            return Err(wrong("kernel"));
        }
        Ok(Self {
            hostname,
            kernel,
            machine,
            clock: value("clock").and_then(unix_time).ok_or_else(|| wrong("clock"))?,
            euid: small("euid")?,
            cpus: small("cpus")?,
            boot_id: value("boot").map(str::to_owned).ok_or_else(|| wrong("boot"))?,
            uptime: Duration::from_millis(number("uptime")?),
            machine_id: value("machine").unwrap_or_default().to_owned(),
            memory: number("memory")? * 1024,
            swap: value("swap").is_some(),
            cgroup: match value("cgroup") {
                Some("v2") => Cgroup::V2,
                Some(_) => Cgroup::V1,
                None => Cgroup::None,
            },
            systemd: value("systemd").is_some(),
            sockets: lines
                .iter()
                .filter(|(name, _)| *name == "socket")
                .map(|(_, path)| (*path).to_owned())
                .collect(),
            busy: value("busy").is_some(),
        })
    }

    pub(super) fn os(&self, os_release: &str) -> OsFact {
        let value = |key: &str| {
            os_release
                .lines()
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| *name == key)
                .map_or(String::new(), |(_, value)| {
                    value.trim().trim_matches(|c| matches!(c, '"' | '\'')).to_owned()
                })
        };
        OsFact {
            id: value("ID"),
            version: value("VERSION_ID"),
            pretty: value("PRETTY_NAME"),
            codename: value("VERSION_CODENAME"),
            arch: match self.machine.as_str() {
                "x86_64" => "amd64".into(),
                "aarch64" => "arm64".into(),
                other => other.into(),
            },
            kernel: self.kernel.clone(),
        }
    }
}

/// `seconds.nanoseconds` since 1970.
fn unix_time(text: &str) -> Option<Timestamp> {
    let (seconds, nanoseconds) = text.split_once('.')?;
    Timestamp::new(seconds.parse().ok()?, nanoseconds.parse().ok()?).ok()
}
