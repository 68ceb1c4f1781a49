//! What differs between a host and the packages that it shall have.

use kok_api::package::Disruption;
use kok_render::package::{Package, Rendered, Source};
use kok_render::sha256_hex;

use super::paths;
use super::view::Hashed;
use super::wanted::{Payload, Wanted, major_and_minor};
use crate::host::{BinaryFact, FileFact, HostFacts, UnitFact};

/// What differs in one package.
#[derive(Clone, Debug)]
pub struct PackageDiff<'w, 'a> {
    /// The package as it shall be.
    pub wanted: &'w Wanted<'a>,
    /// The version that is in use.
    pub installed: Option<String>,
    /// How the payload differs.
    pub payload: PayloadDiff,
    /// An archive that was unpacked and not removed.
    pub leftover: Option<String>,
    /// Links that point elsewhere.
    pub links: Vec<&'w (String, String)>,
    /// Files whose content or mode differs.
    pub files: Vec<&'w Rendered>,
    /// Units that do not start at boot.
    pub disabled: Vec<&'w str>,
    /// Units that do not run.
    pub down: Vec<&'w str>,
    /// Units that run with something else than what is there.
    pub outdated: bool,
    /// systemd has not read the unit files that are there.
    pub needs_reload: bool,
}

/// How the payload of a package differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadDiff {
    /// Not at all.
    None,
    /// It is not there.
    Missing,
    /// Something else is in its place.
    Wrong,
    /// A large file changed since it was hashed: its content must be looked at.
    Unverified,
}

impl PackageDiff<'_, '_> {
    /// Whether something must be written. Units that do not run are another matter: repairs see to them.
    pub fn is_empty(&self) -> bool {
        !self.fetches()
            && self.leftover.is_none()
            && self.links.is_empty()
            && self.files.is_empty()
            && self.disabled.is_empty()
            && !self.outdated
            && !self.needs_reload
    }

    /// Whether something is downloaded.
    pub fn fetches(&self) -> bool {
        matches!(self.payload, PayloadDiff::Missing | PayloadDiff::Wrong)
    }

    /// Whether version, configuration and units are as they shall be.
    pub fn in_sync(&self) -> bool {
        self.is_empty() && self.down.is_empty()
    }

    /// Whether all that is missing can be fetched without touching what runs.
    pub fn prefetchable(&self) -> bool {
        self.payload == PayloadDiff::Missing && !matches!(self.wanted.payload, Payload::Deb { .. })
    }

    /// What bringing the package to what it shall be does to pods.
    pub fn disruption(&self) -> Disruption {
        let Some(installed) = &self.installed else {
            // What was not there has no pods.
            return Disruption::None;
        };
        let wanted = self.wanted;
        let mut disruption = Disruption::None;
        let switches = !self.links.is_empty() || self.fetches();
        if switches {
            let declared = wanted.package.disruption;
            let same_minor = major_and_minor(installed) == major_and_minor(&wanted.version);
            let own = if same_minor {
                declared.patch
            } else {
                declared.minor
            };
            disruption = wanted.disruption.unwrap_or(own);
        }
        let of_files = self.files.iter().map(|file| file.disruption).max();
        disruption = disruption.max(of_files.unwrap_or_default());
        if self.outdated {
            disruption = disruption.max(Disruption::Restart);
        }
        disruption
    }

    /// What differs, for people.
    pub fn summary(&self) -> String {
        let name = &self.wanted.package.name;
        let mut parts = Vec::new();
        match (&self.installed, self.fetches() || !self.links.is_empty()) {
            (Some(before), true) if *before != self.wanted.version => {
                parts.push(format!("{before} instead of {}", self.wanted.version));
            }
            (Some(_), true) => parts.push("its files are not as installed".into()),
            (None, true) => parts.push("not installed".into()),
            (_, false) => {}
        }
        parts.extend(self.files.iter().map(|file| format!("{} differs", file.path)));
        parts.extend(self.disabled.iter().map(|unit| format!("{unit} is not enabled")));
        parts.extend(self.down.iter().map(|unit| format!("{unit} does not run")));
        if self.outdated && parts.is_empty() {
            parts.push("its units run with an older version or configuration".into());
        }
        if (self.needs_reload || self.leftover.is_some()) && parts.is_empty() {
            parts.push("an operation did not end".into());
        }
        format!("{name}: {}", parts.join(", "))
    }
}

/// What differs in each of `wanted`, in order. `hashed` is what the large files were when they were hashed last.
pub fn diff<'w, 'a>(
    wanted: &'w [Wanted<'a>],
    facts: &HostFacts,
    hashed: Option<&Hashed>,
) -> Vec<PackageDiff<'w, 'a>> {
    wanted.iter().map(|each| package(each, facts, hashed)).collect()
}

fn package<'w, 'a>(
    wanted: &'w Wanted<'a>,
    facts: &HostFacts,
    hashed: Option<&Hashed>,
) -> PackageDiff<'w, 'a> {
    let unit = |name: &str| facts.units.get(name);
    let names = || wanted.package.units.iter().map(|unit| unit.name.as_str());
    let stamp = paths::stamp(&wanted.package.name);
    let leftover = match &wanted.payload {
        Payload::Archive { archive, .. } if is_there(facts, archive) => Some(archive.clone()),
        _ => None,
    };
    PackageDiff {
        wanted,
        installed: installed_version(wanted.package, facts),
        payload: payload(wanted, facts, hashed),
        leftover,
        links: wanted
            .links
            .iter()
            .filter(|(path, target)| {
                !matches!(facts.binaries.get(path), Some(BinaryFact::Link { target: found }) if found == target)
            })
            .collect(),
        files: wanted.files.iter().filter(|file| !as_rendered(file, facts)).collect(),
        disabled: names()
            .filter(|name| unit(name).is_none_or(|unit| unit.enabled != "enabled"))
            .collect(),
        down: names().filter(|name| !unit(name).is_some_and(runs)).collect(),
        outdated: wanted
            .stamp
            .as_ref()
            .is_some_and(|text| !has_text(facts, &stamp, text)),
        needs_reload: names().any(|name| unit(name).is_some_and(|unit| unit.needs_daemon_reload)),
    }
}

/// Whether a unit runs or is about to.
fn runs(unit: &UnitFact) -> bool {
    matches!(unit.active.as_str(), "active" | "reloading")
        || unit.active == "activating" && unit.sub == "start"
}

/// Whether anything is at `path`.
pub fn is_there(facts: &HostFacts, path: &str) -> bool {
    facts
        .binaries
        .get(path)
        .is_some_and(|fact| *fact != BinaryFact::Absent)
}

/// Whether the file at `path` holds exactly `text`.
pub fn has_text(facts: &HostFacts, path: &str, text: &str) -> bool {
    matches!(
        facts.files.get(path),
        Some(FileFact::File { sha256: Some(found), .. }) if *found == sha256_hex(text.as_bytes())
    )
}

fn as_rendered(file: &Rendered, facts: &HostFacts) -> bool {
    has_text(facts, &file.path, &file.text)
        && matches!(
            facts.files.get(&file.path),
            Some(FileFact::File { mode, uid, gid, .. })
                if *mode == file.mode && *uid == file.owner && *gid == file.owner
        )
}

/// The version of a package that is in use: what its links point to, or what dpkg says.
pub fn installed_version(package: &Package, facts: &HostFacts) -> Option<String> {
    if let Source::Deb { name } = &package.source {
        return facts.debs.get(name)?.version.clone();
    }
    package
        .links
        .keys()
        .find_map(|path| match facts.binaries.get(path) {
            Some(BinaryFact::Link { target }) => paths::version_of(&package.name, target).map(Into::into),
            _ => None,
        })
}

fn payload(wanted: &Wanted<'_>, facts: &HostFacts, hashed: Option<&Hashed>) -> PayloadDiff {
    let found = match &wanted.payload {
        Payload::File { path, sha256, .. } => file(facts, path, Some(sha256), hashed),
        Payload::Archive {
            directory, binaries, ..
        } => match facts.binaries.get(directory) {
            None | Some(BinaryFact::Absent) => PayloadDiff::Missing,
            Some(BinaryFact::Directory) => binaries
                .iter()
                .map(|path| match file(facts, path, None, hashed) {
                    PayloadDiff::Missing => PayloadDiff::Wrong,
                    other => other,
                })
                .max_by_key(|diff| severity(*diff))
                .unwrap_or(PayloadDiff::None),
            Some(_) => PayloadDiff::Wrong,
        },
        Payload::Deb { name, .. } => match facts.debs.get(name) {
            Some(deb) if deb.version.as_ref() == Some(&wanted.version) && deb.status == "installed" => {
                // Without the hold, others would upgrade it.
                if deb.hold {
                    PayloadDiff::None
                } else {
                    PayloadDiff::Wrong
                }
            }
            _ => PayloadDiff::Missing,
        },
    };
    if found == PayloadDiff::None && tells_another_version(wanted, facts) {
        PayloadDiff::Wrong
    } else {
        found
    }
}

fn severity(diff: PayloadDiff) -> u8 {
    match diff {
        PayloadDiff::None => 0,
        PayloadDiff::Unverified => 1,
        PayloadDiff::Missing => 2,
        PayloadDiff::Wrong => 3,
    }
}

/// A large file: by its digest where it was hashed now, else by size, time and inode against the last time that it was.
/// Where no digest is declared, the first one that was seen counts.
fn file(facts: &HostFacts, path: &str, declared: Option<&String>, hashed: Option<&Hashed>) -> PayloadDiff {
    let Some(BinaryFact::File {
        size,
        mtime_ns,
        inode,
        sha256,
        ..
    }) = facts.binaries.get(path)
    else {
        return match facts.binaries.get(path) {
            None | Some(BinaryFact::Absent) => PayloadDiff::Missing,
            Some(_) => PayloadDiff::Wrong,
        };
    };
    let before = hashed.and_then(|hashed| match hashed.binaries.get(path) {
        Some(BinaryFact::File {
            size,
            mtime_ns,
            inode,
            sha256: Some(sha256),
            ..
        }) => Some((size, mtime_ns, inode, sha256)),
        _ => None,
    });
    let expected = declared.or(before.map(|(.., sha256)| sha256));
    match (sha256, expected, before) {
        (Some(found), Some(expected), _) if found != expected => PayloadDiff::Wrong,
        (Some(_), ..) => PayloadDiff::None,
        (None, Some(expected), Some((.., sha256))) if sha256 != expected => PayloadDiff::Unverified,
        (None, _, Some(before)) if (before.0, before.1, before.2) == (size, mtime_ns, inode) => {
            PayloadDiff::None
        }
        (None, ..) => PayloadDiff::Unverified,
    }
}

/// Whether the program itself says that it is another version, or cannot be run at all.
fn tells_another_version(wanted: &Wanted<'_>, facts: &HostFacts) -> bool {
    const CANNOT_BE_RUN: [i32; 2] = [126, 127];
    let Some(output) = &wanted.version_output else {
        return false;
    };
    let linked = installed_version(wanted.package, facts).as_ref() == Some(&wanted.version);
    facts
        .probes
        .get(&paths::version_probe(&wanted.package.name))
        .is_some_and(|probe| {
            linked
                && (probe.exit == 0 && !probe.output.contains(output) || CANNOT_BE_RUN.contains(&probe.exit))
        })
}

/// What to remember of the large files from now on.
pub fn remember(diffs: &[PackageDiff<'_, '_>], facts: &HostFacts, before: Option<&Hashed>) -> Option<Hashed> {
    let unverified = diffs.iter().any(|diff| diff.payload == PayloadDiff::Unverified);
    let was_hashed = |fact: &BinaryFact| matches!(fact, BinaryFact::File { sha256: Some(_), .. });
    if !facts.binaries.values().any(was_hashed) {
        let due = |hashed: &Hashed| Hashed {
            due: hashed.due || unverified,
            ..hashed.clone()
        };
        let nothing = || Hashed {
            at: facts.taken_at,
            due: unverified,
            binaries: std::collections::BTreeMap::new(),
        };
        return Some(before.map_or_else(nothing, due));
    }
    let mut binaries: std::collections::BTreeMap<String, BinaryFact> = facts
        .binaries
        .iter()
        .filter(|(_, fact)| was_hashed(fact))
        .map(|(path, fact)| (path.clone(), fact.clone()))
        .collect();
    // What was found wrong is not what the file shall be.
    for diff in diffs.iter().filter(|diff| diff.payload == PayloadDiff::Wrong) {
        let kept = before.map(|hashed| &hashed.binaries);
        let directory = format!("{}/", paths::package(&diff.wanted.package.name));
        binaries.retain(|path, _| !path.starts_with(&directory));
        let old = kept
            .into_iter()
            .flatten()
            .filter(|(path, _)| path.starts_with(&directory));
        binaries.extend(old.map(|(path, fact)| (path.clone(), fact.clone())));
    }
    Some(Hashed {
        at: facts.taken_at,
        due: false,
        binaries,
    })
}

/// Packages that are on the host and not among `wanted`.
pub fn obsolete<'a>(packages: &'a [Package], wanted: &[Wanted<'_>], facts: &HostFacts) -> Vec<&'a Package> {
    packages
        .iter()
        .filter(|package| !wanted.iter().any(|each| each.package.name == package.name))
        .filter(|package| is_there(facts, &paths::package(&package.name)))
        .collect()
}
