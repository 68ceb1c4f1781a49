//! Facts: the questions on the wire, and the answer.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use kok_plan::host::{
    DebFact, DiskFact, DpkgFact, FactsQuery, HostFacts, JournalRecord, JournalState, JournalStep, Owner,
    ProbeFact, Reach, UnitFact,
};
use zeroize::Zeroizing;

use super::answer::{Answer, FactsError, binaries, files, malformed};
use super::frames::frames;
use super::system::System;
use super::wire::{decode, encode, line};

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

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "\nN section system\nkernel n1 6.1 x86_64\nclock 1700000000.000000000\neuid 0\ncpus 2\n\
                         boot b\nuptime 5000\nmachine m\nmemory 1024\ncgroup v2\nsystemd yes\n\nN exit 0\n\
                         \nN section state\nowner c m l\noperation o 3 d b\nstep 0 claim done - -\nstep 1 wri\
                         \nN exit 0\n\nN section dpkg\n\nN exit 0\n\nN end\n";

    fn parse(answer: &str) -> Result<HostFacts, FactsError> {
        let second = |second: i64| Timestamp::from_second(1_700_000_000 + second).unwrap();
        parse_facts(
            &FactsQuery::default(),
            answer.as_bytes(),
            "N",
            second(-4),
            second(2),
        )
    }

    #[test]
    fn an_answer_counts_only_when_it_is_whole() {
        assert!(parse(WHOLE).is_ok());
        for end in 0..WHOLE.len() - 6 {
            assert_eq!(parse(&WHOLE[..end]), Err(FactsError::CutOff), "cut at {end}");
        }
        let failed = WHOLE.replacen("exit 0", "exit 1", 1);
        assert!(matches!(
            parse(&failed),
            Err(FactsError::Malformed { part: "system", .. })
        ));
    }

    #[test]
    fn skew_is_measured_from_the_middle_of_the_round_trip() {
        let facts = parse(WHOLE).unwrap();
        assert_eq!(facts.clock_skew, SignedDuration::from_secs(1));
        assert_eq!(facts.clock_skew_within, std::time::Duration::from_secs(3));
    }

    #[test]
    fn a_journal_line_that_a_crash_cut_off_is_not_there() {
        let journal = parse(WHOLE).unwrap().journal.unwrap();
        assert_eq!((journal.generation, journal.steps.len()), (3, 1));
        assert_eq!(journal.steps[0].state, JournalState::Done);
    }
}
