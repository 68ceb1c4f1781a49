//! Facts: the questions on the wire, and the answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kok_plan::host::{
    BinaryFact, Cgroup, DebFact, DiskFact, DpkgFact, FactsQuery, FileFact, HostFacts, JournalRecord,
    JournalState, JournalStep, OsFact, Owner, ProbeFact, Reach, UnitFact,
};
use zeroize::Zeroizing;

use super::frames::{Frame, frames};
use super::wire::{decode, encode, line};

/// Files up to this size are hashed each time; the script has the same limit.
const HASHED_EACH_TIME: u64 = 4 * 1024 * 1024;

/// The answer cannot be relied on, so there are no facts at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// The session or the time ended before the answer did.
    #[error("the host's answer was cut off")]
    CutOff,
    /// A part is not as it must be.
    #[error("the host's answer about {part} makes no sense: {text}")]
    Malformed {
        /// Which part.
        part: &'static str,
        /// What was there instead.
        text: String,
    },
}

/// The data lines of a query.
pub(super) fn request(query: &FactsQuery) -> Zeroizing<String> {
    let mut request = Zeroizing::new(String::new());
    for disk in &query.disks {
        line(&mut request, "disk", [disk.as_str()]);
    }
    for port in &query.ports {
        line(&mut request, "port", [port.to_string().as_str()]);
    }
    for path in query.files.union(&query.binaries) {
        line(&mut request, "path", [path.as_str()]);
    }
    for path in &query.files {
        line(&mut request, "file", [path.as_str()]);
    }
    if query.hash_binaries {
        for path in &query.binaries {
            line(&mut request, "large", [path.as_str()]);
        }
    }
    for unit in &query.units {
        line(&mut request, "unit", [unit.as_str()]);
    }
    for deb in &query.debs {
        line(&mut request, "deb", [deb.as_str()]);
    }
    for probe in &query.probes {
        line(
            &mut request,
            "probe",
            std::iter::once(probe.name.as_str()).chain(probe.argv.iter().map(String::as_str)),
        );
    }
    for endpoint in &query.endpoints {
        line(
            &mut request,
            "endpoint",
            [endpoint.host.as_str(), &endpoint.port.to_string()],
        );
    }
    request
}

/// The facts, from what a run of the script wrote. `asked_at` and `answered_at` are the operator's clock before
/// and after.
pub fn parse_facts(
    query: &FactsQuery,
    answer: &[u8],
    nonce: &str,
    asked_at: Timestamp,
    answered_at: Timestamp,
) -> Result<HostFacts, FactsError> {
    let frames = frames(answer, nonce);
    if frames.last().is_none_or(|frame| frame.words != ["end"]) {
        return Err(FactsError::CutOff);
    }
    let answer = Answer { frames };
    let system = System::parse(&answer)?;
    let (owner, journal) = owner_and_journal(&answer.text("state")?)?;
    let paths = answer.paths()?;
    let hashes = answer.hashes()?;
    let round_trip = answered_at.duration_since(asked_at).unsigned_abs();
    let middle = asked_at
        .checked_add(SignedDuration::try_from(round_trip / 2).unwrap_or_default())
        .unwrap_or(answered_at);
    Ok(HostFacts {
        taken_at: answered_at,
        clock_skew: system.clock.duration_since(middle),
        clock_skew_within: round_trip / 2,
        os: system.os(&answer.text("os").unwrap_or_default()),
        units: units(query, &answer, &system, answered_at)?,
        hostname: system.hostname,
        machine_id: system.machine_id,
        boot_id: system.boot_id,
        uptime: system.uptime,
        cgroup: system.cgroup,
        swap: system.swap,
        systemd: system.systemd,
        euid: system.euid,
        cpus: system.cpus,
        memory: system.memory,
        addresses: addresses(&answer),
        disks: disks(query, &answer)?,
        listening: listening(&answer)?,
        files: files(query, &paths, &hashes)?,
        binaries: binaries(query, &paths, &hashes)?,
        debs: debs(query, &answer)?,
        dpkg: dpkg(&answer)?,
        probes: probes(query, &answer)?,
        endpoints: endpoints(query, &answer)?,
        runtime_sockets: system.sockets,
        owner,
        journal,
        busy: system.busy,
    })
}

/// A whole answer.
struct Answer<'a> {
    frames: Vec<Frame<'a>>,
}

impl<'a> Answer<'a> {
    /// Body and exit code of a section; None when it was not asked for.
    fn section(&self, name: &str) -> Option<(&'a [u8], i32)> {
        let at = self
            .frames
            .iter()
            .position(|frame| frame.words == ["section", name])?;
        let exit = self.frames[at..]
            .iter()
            .find(|frame| frame.words.first() == Some(&"exit"))
            .and_then(|frame| frame.words.get(1)?.parse().ok())?;
        Some((self.frames[at].body, exit))
    }

    /// Text of a section that must have succeeded; empty when it was not asked for.
    fn text(&self, name: &'static str) -> Result<String, FactsError> {
        match self.section(name) {
            None => Ok(String::new()),
            Some((body, 0)) => Ok(String::from_utf8_lossy(body).into_owned()),
            Some((body, _)) => Err(malformed(name, &String::from_utf8_lossy(body))),
        }
    }

    /// What is at each path that exists.
    fn paths(&self) -> Result<BTreeMap<String, Path>, FactsError> {
        let complaints = self
            .frames
            .iter()
            .find(|frame| frame.words == ["section", "complaints"])
            .map_or(String::new(), |frame| {
                String::from_utf8_lossy(frame.body).into_owned()
            });
        // What could not be looked at is not absent.
        let absent = |complaint: &str| {
            complaint.is_empty()
                || complaint.ends_with(": No such file or directory")
                || complaint.ends_with(": Not a directory")
        };
        if let Some(complaint) = complaints.lines().find(|complaint| !absent(complaint)) {
            return Err(malformed("paths", complaint));
        }
        let body = self.section("paths").map_or(&[][..], |(body, _)| body);
        let text = String::from_utf8_lossy(body);
        let fields: Vec<&str> = text.split('\0').collect();
        fields
            .chunks_exact(9)
            .map(|fields| Path::parse(fields).ok_or_else(|| malformed("paths", &fields.join(" "))))
            .collect()
    }

    /// SHA-256 by path.
    fn hashes(&self) -> Result<BTreeMap<String, String>, FactsError> {
        let mut hashes = BTreeMap::new();
        for name in ["hashes", "large-hashes"] {
            let Some((body, _)) = self.section(name) else {
                continue;
            };
            let text = String::from_utf8_lossy(body);
            for entry in text.split('\0') {
                if let Some((sha256, path)) = entry.split_once("  ") {
                    if sha256.len() != 64 {
                        return Err(malformed("hashes", entry));
                    }
                    hashes.insert(path.to_owned(), sha256.to_owned());
                }
            }
        }
        Ok(hashes)
    }

    /// Frames of a word, with the words behind it.
    fn all(&self, word: &str) -> impl Iterator<Item = (&[&'a str], String)> {
        self.frames
            .iter()
            .filter(move |frame| frame.words.first() == Some(&word))
            .map(|frame| {
                (
                    &frame.words[1..],
                    String::from_utf8_lossy(frame.body).into_owned(),
                )
            })
    }
}

fn malformed(part: &'static str, text: &str) -> FactsError {
    FactsError::Malformed {
        part,
        text: text.trim().chars().take(300).collect(),
    }
}

/// What find tells of a path.
struct Path {
    kind: char,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime_ns: i64,
    inode: u64,
    target: String,
}

impl Path {
    fn parse(fields: &[&str]) -> Option<(String, Self)> {
        let (seconds, fraction) = fields[6].split_once('.')?;
        let nanoseconds: i64 = fraction.get(..9)?.parse().ok()?;
        let path = Self {
            kind: fields[1].chars().next()?,
            mode: u32::from_str_radix(fields[2], 8).ok()?,
            uid: fields[3].parse().ok()?,
            gid: fields[4].parse().ok()?,
            size: fields[5].parse().ok()?,
            mtime_ns: seconds.parse::<i64>().ok()? * 1_000_000_000 + nanoseconds,
            inode: fields[7].parse().ok()?,
            target: fields[8].to_owned(),
        };
        Some((fields[0].to_owned(), path))
    }
}

fn files(
    query: &FactsQuery,
    paths: &BTreeMap<String, Path>,
    hashes: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, FileFact>, FactsError> {
    let fact = |name: &String| {
        let Some(path) = paths.get(name) else {
            return Ok(FileFact::Absent);
        };
        if path.kind != 'f' {
            return Ok(FileFact::Other);
        }
        let sha256 = hashes.get(name).cloned();
        if sha256.is_none() && path.size <= HASHED_EACH_TIME {
            return Err(malformed("hashes", &format!("{name} could not be read")));
        }
        Ok(FileFact::File {
            sha256,
            mode: path.mode,
            uid: path.uid,
            gid: path.gid,
        })
    };
    query
        .files
        .iter()
        .map(|name| Ok((name.clone(), fact(name)?)))
        .collect()
}

fn binaries(
    query: &FactsQuery,
    paths: &BTreeMap<String, Path>,
    hashes: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, BinaryFact>, FactsError> {
    let fact = |name: &String| {
        let Some(path) = paths.get(name) else {
            return Ok(BinaryFact::Absent);
        };
        Ok(match path.kind {
            'f' => {
                let sha256 = hashes.get(name).cloned().filter(|_| query.hash_binaries);
                if query.hash_binaries && sha256.is_none() && path.size > 0 {
                    return Err(malformed("hashes", &format!("{name} could not be read")));
                }
                BinaryFact::File {
                    size: path.size,
                    mtime_ns: path.mtime_ns,
                    inode: path.inode,
                    mode: path.mode,
                    sha256,
                }
            }
            'l' => BinaryFact::Link {
                target: path.target.clone(),
            },
            'd' => BinaryFact::Directory,
            _ => BinaryFact::Other,
        })
    };
    query
        .binaries
        .iter()
        .map(|name| Ok((name.clone(), fact(name)?)))
        .collect()
}

/// The section `system`.
struct System {
    hostname: String,
    kernel: String,
    machine: String,
    clock: Timestamp,
    euid: u32,
    cpus: u32,
    boot_id: String,
    uptime: Duration,
    machine_id: String,
    memory: u64,
    swap: bool,
    cgroup: Cgroup,
    systemd: bool,
    sockets: BTreeSet<String>,
    busy: bool,
}

impl System {
    fn parse(answer: &Answer) -> Result<Self, FactsError> {
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

    fn os(&self, os_release: &str) -> OsFact {
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

fn addresses(answer: &Answer) -> BTreeSet<String> {
    match answer.section("addresses") {
        Some((body, 0)) => String::from_utf8_lossy(body)
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        _ => BTreeSet::new(),
    }
}

fn owner_and_journal(text: &str) -> Result<(Option<Owner>, Option<JournalRecord>), FactsError> {
    let mut owner = None;
    let mut journal: Option<JournalRecord> = None;
    // A crash can leave the last line unfinished.
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let words: Vec<&str> = line.trim_end().split(' ').collect();
        match (words.as_slice(), &mut journal) {
            (["owner", cluster, machine, label], _) => {
                owner = Some(Owner {
                    cluster: decode(cluster),
                    machine: decode(machine),
                    label: decode(label),
                });
            }
            (["operation", id, generation, ..], _) => {
                journal = Some(JournalRecord {
                    operation: decode(id),
                    generation: generation.parse().map_err(|_| malformed("journal", line))?,
                    finished: false,
                    steps: vec![],
                });
            }
            (["step", index, kind, state, before, rest @ ..], Some(journal)) => {
                let index = index.parse().map_err(|_| malformed("journal", line))?;
                let state = match *state {
                    "begun" => JournalState::Begun,
                    "done" => JournalState::Done,
                    _ => JournalState::Failed,
                };
                journal.steps.retain(|step| step.index != index);
                journal.steps.push(JournalStep {
                    index,
                    kind: (*kind).to_owned(),
                    state,
                    before: decode(before),
                    after: rest.first().map_or(String::new(), |after| decode(after)),
                });
            }
            (["finished"], Some(journal)) => journal.finished = true,
            _ => return Err(malformed("journal", line)),
        }
    }
    Ok((owner, journal))
}

fn disks(query: &FactsQuery, answer: &Answer) -> Result<BTreeMap<String, DiskFact>, FactsError> {
    if query.disks.is_empty() {
        return Ok(BTreeMap::new());
    }
    let text = answer.text("disks")?;
    let wrong = || malformed("disks", &text);
    let (writable, lines) = text.split_once('\n').ok_or_else(wrong)?;
    let mut facts = BTreeMap::new();
    let rows = writable.split_whitespace().zip(lines.lines());
    for (path, (writable, line)) in query.disks.iter().zip(rows) {
        let numbers: Vec<u64> = line.split(' ').filter_map(|number| number.parse().ok()).collect();
        let [available, block, total, inodes] = numbers[..] else {
            return Err(wrong());
        };
        facts.insert(
            path.clone(),
            DiskFact {
                available: available.saturating_mul(block),
                total: total.saturating_mul(block),
                inodes,
                writable: writable == "yes",
            },
        );
    }
    if facts.len() == query.disks.len() {
        Ok(facts)
    } else {
        Err(wrong())
    }
}

fn listening(answer: &Answer) -> Result<BTreeSet<u16>, FactsError> {
    let text = answer.text("ports")?;
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            line.split_whitespace()
                .nth(1)
                .and_then(|local| local.rsplit_once(':'))
                .and_then(|(_, port)| u16::from_str_radix(port, 16).ok())
                .ok_or_else(|| malformed("ports", line))
        })
        .collect()
}

fn units(
    query: &FactsQuery,
    answer: &Answer,
    system: &System,
    now: Timestamp,
) -> Result<BTreeMap<String, UnitFact>, FactsError> {
    // Without systemd there are no units, and no systemctl to say so.
    let text = if system.systemd {
        answer.text("units")?
    } else {
        String::new()
    };
    let blocks: Vec<&str> = text
        .trim()
        .split("\n\n")
        .filter(|block| !block.is_empty())
        .collect();
    if system.systemd && blocks.len() != query.units.len() {
        return Err(malformed("units", &text));
    }
    let booted = now
        .checked_sub(SignedDuration::try_from(system.uptime).unwrap_or_default())
        .unwrap_or(now);
    let fact = |block: &str| {
        let value = |key: &str| {
            block
                .lines()
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| *name == key)
                .map_or("", |(_, value)| value)
        };
        let micros: i64 = value("ActiveEnterTimestampMonotonic").parse().unwrap_or(0);
        UnitFact {
            load: value("LoadState").into(),
            active: value("ActiveState").into(),
            sub: value("SubState").into(),
            enabled: value("UnitFileState").into(),
            since: (micros > 0)
                .then(|| booted.checked_add(SignedDuration::from_micros(micros)).ok())
                .flatten(),
            restarts: value("NRestarts").parse().unwrap_or(0),
            result: value("Result").into(),
            needs_daemon_reload: value("NeedDaemonReload") == "yes",
        }
    };
    let none = "LoadState=not-found\nActiveState=inactive\nSubState=dead";
    Ok(query
        .units
        .iter()
        .enumerate()
        .map(|(index, name)| (name.clone(), fact(blocks.get(index).unwrap_or(&none))))
        .collect())
}

fn debs(query: &FactsQuery, answer: &Answer) -> Result<BTreeMap<String, DebFact>, FactsError> {
    let mut facts: BTreeMap<String, DebFact> = query
        .debs
        .iter()
        .map(|name| (name.clone(), DebFact::default()))
        .collect();
    if answer.text("dpkg")?.is_empty() {
        return Ok(facts);
    }
    let text = answer.text("debs")?;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, want, status, version] = fields[..] else {
            return Err(malformed("debs", line));
        };
        let unpacked = !matches!(status, "not-installed" | "config-files") && !version.is_empty();
        if let Some(fact) = facts.get_mut(name) {
            *fact = DebFact {
                version: unpacked.then(|| version.to_owned()),
                status: status.to_owned(),
                hold: want == "hold",
            };
        }
    }
    Ok(facts)
}

fn dpkg(answer: &Answer) -> Result<DpkgFact, FactsError> {
    let text = answer.text("dpkg")?;
    let says = |word: &str| text.lines().any(|line| line == word);
    Ok(DpkgFact {
        present: says("present"),
        interrupted: says("interrupted"),
        locked: says("locked"),
    })
}

fn probes(query: &FactsQuery, answer: &Answer) -> Result<BTreeMap<String, ProbeFact>, FactsError> {
    let mut facts = BTreeMap::new();
    for (words, body) in answer.all("probe") {
        let name = words.first().map_or(String::new(), |name| decode(name));
        let (output, exit) = body
            .trim_end()
            .rsplit_once(' ')
            .and_then(|(output, exit)| Some((output.trim_end(), exit.parse().ok()?)))
            .ok_or_else(|| malformed("probes", &body))?;
        facts.insert(
            name,
            ProbeFact {
                exit,
                output: output.into(),
            },
        );
    }
    match query.probes.iter().find(|probe| !facts.contains_key(&probe.name)) {
        Some(probe) => Err(malformed("probes", &format!("{} is missing", probe.name))),
        None => Ok(facts),
    }
}

fn endpoints(query: &FactsQuery, answer: &Answer) -> Result<BTreeMap<String, Reach>, FactsError> {
    let answers: BTreeMap<String, String> = answer
        .all("endpoint")
        .map(|(words, body)| (words.join(" "), body))
        .collect();
    query
        .endpoints
        .iter()
        .map(|endpoint| {
            let body = answers
                .get(&format!("{} {}", encode(&endpoint.host), endpoint.port))
                .ok_or_else(|| malformed("endpoints", &endpoint.host))?;
            let reach = match body.trim().split_once(' ').unwrap_or((body.trim(), "")) {
                ("connected", _) => Reach::Connected,
                ("failed", why) => Reach::Failed(why.into()),
                _ => Reach::Unknown,
            };
            Ok((endpoint.to_string(), reach))
        })
        .collect()
}
