//! The fewest steps that bring a host from what it has to what it shall have.

use std::time::Duration;

use kok_api::package::Disruption;
use kok_render::package::{Package, Rendered, Source, UNIT_DIRECTORY};

use super::diff::{PackageDiff, PayloadDiff, installed_version, is_there};
use super::paths;
use super::wanted::{Payload, Wanted};
use crate::host::{BinaryFact, Content, DebSource, Expect, FileFact, HostFacts, Step, UnitAction, UnitFact};

/// How long a unit without a probe of its own must have run to be taken for running.
const STABLE: Duration = Duration::from_secs(1);
/// How long a unit may take to run.
const ACTIVE_WITHIN: Duration = Duration::from_secs(30);
/// How long a command of a reset may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(30);

/// Downloads what is missing and can be put beside what runs; nothing that runs is touched.
pub(super) fn prefetch(diffs: &[PackageDiff<'_, '_>]) -> Vec<Step> {
    diffs
        .iter()
        .filter(|diff| diff.prefetchable())
        .flat_map(|diff| fetch(diff.wanted, diff.payload))
        .collect()
}

/// Everything that differs. `secrets` are files with secrets, written before any unit is started. `anew` names packages whose
/// units are started again whether or not anything differs.
pub(super) fn converge(
    diffs: &[PackageDiff<'_, '_>],
    secrets: Vec<Step>,
    facts: &HostFacts,
    anew: impl Fn(&str) -> bool,
) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let reboots = diffs.iter().any(|diff| diff.disruption() == Disruption::Reboot);
    if reboots {
        // First, so that an operation that is interrupted still ends in a reboot.
        steps.push(write(paths::REBOOT_MARK, format!("{}\n", facts.boot_id)));
    }
    for diff in diffs {
        steps.extend(fetch(diff.wanted, diff.payload));
        steps.extend(diff.leftover.clone().map(|path| Step::RemovePath { path }));
    }
    for diff in diffs {
        steps.extend(kernel(diff, facts));
        steps.extend(diff.files.iter().map(|file| write_rendered(file)));
        if let Payload::Deb { name, list } = &diff.wanted.payload
            && diff.fetches()
        {
            steps.push(Step::InstallDeb {
                name: name.clone(),
                version: diff.wanted.version.clone(),
                source: DebSource::Apt { list: list.clone() },
                hold: true,
            });
        }
        steps.extend(switch(diff, facts));
    }
    steps.extend(secrets);
    if diffs.iter().any(|diff| diff.needs_reload || writes_unit(diff)) {
        steps.push(Step::DaemonReload);
    }
    for diff in diffs {
        steps.extend(units(diff, anew(&diff.wanted.package.name)));
    }
    if reboots {
        steps.push(Step::Reboot {
            boot_id: facts.boot_id.clone(),
        });
    }
    steps
}

fn fetch(wanted: &Wanted<'_>, payload: PayloadDiff) -> Vec<Step> {
    if !matches!(payload, PayloadDiff::Missing | PayloadDiff::Wrong) {
        return Vec::new();
    }
    match &wanted.payload {
        // The runner compares the content: what is wrong is replaced, atomically.
        Payload::File { url, sha256, path } => vec![Step::Fetch {
            urls: vec![url.clone()],
            sha256: sha256.clone(),
            dest: path.clone(),
            mode: 0o755,
        }],
        Payload::Archive {
            url,
            sha256,
            strip,
            archive,
            directory,
            ..
        } => {
            let mut steps = vec![Step::Fetch {
                urls: vec![url.clone()],
                sha256: sha256.clone(),
                dest: archive.clone(),
                mode: 0o644,
            }];
            if payload == PayloadDiff::Wrong {
                // After the download, so that a mirror that is down takes nothing away.
                steps.push(Step::RemovePath {
                    path: directory.clone(),
                });
            }
            steps.push(Step::Unpack {
                archive: archive.clone(),
                dest: directory.clone(),
                strip: *strip,
            });
            steps.push(Step::RemovePath {
                path: archive.clone(),
            });
            steps
        }
        Payload::Deb { .. } => Vec::new(),
    }
}

/// Kernel parameters and modules are set before the files that set them at boot: where those are, the rest was done.
fn kernel(diff: &PackageDiff<'_, '_>, facts: &HostFacts) -> Vec<Step> {
    let name = &diff.wanted.package.name;
    let differs = |path: String| diff.files.iter().any(|file| file.path == path);
    let mut steps = Vec::new();
    if differs(paths::modules(name)) {
        let missing = diff
            .wanted
            .modules
            .iter()
            .filter(|module| !is_there(facts, &module.path()));
        steps.extend(missing.map(|module| Step::LoadModule {
            name: module.name.clone(),
        }));
    }
    if differs(paths::sysctls(name)) {
        let sysctls = diff.wanted.package.sysctls.iter();
        steps.extend(sysctls.map(|(key, value)| Step::Sysctl {
            key: key.clone(),
            value: value.clone(),
        }));
    }
    steps
}

/// Points the links to the version that shall be used. The one before it is kept, the one before that is removed; both first,
/// since afterwards nothing tells which they were.
fn switch(diff: &PackageDiff<'_, '_>, facts: &HostFacts) -> Vec<Step> {
    if diff.links.is_empty() {
        return Vec::new();
    }
    let name = &diff.wanted.package.name;
    let mut steps = Vec::new();
    if let Some(before) = diff.installed.as_ref().filter(|it| **it != diff.wanted.version) {
        let previous = paths::previous(name);
        let stale = match facts.binaries.get(&previous) {
            Some(BinaryFact::Link { target }) => paths::version_of(name, target),
            _ => None,
        };
        if let Some(stale) = stale.filter(|stale| *stale != diff.wanted.version && stale != before) {
            steps.push(Step::RemovePath {
                path: paths::version(name, stale),
            });
        }
        steps.push(Step::Link {
            path: previous,
            target: paths::version(name, before),
        });
    }
    steps.extend(diff.links.iter().map(|(path, target)| Step::Link {
        path: path.clone(),
        target: target.clone(),
    }));
    steps
}

fn writes_unit(diff: &PackageDiff<'_, '_>) -> bool {
    diff.files
        .iter()
        .any(|file| file.path.starts_with(UNIT_DIRECTORY))
}

/// Starts, restarts or reloads the units of a package, sees that they run, and notes what they were started with.
fn units(diff: &PackageDiff<'_, '_>, force: bool) -> Vec<Step> {
    let package = diff.wanted.package;
    let unit = |name: &str, action| Step::Unit {
        name: name.into(),
        action,
    };
    let mut steps: Vec<Step> = diff
        .disabled
        .iter()
        .map(|name| unit(name, UnitAction::Enable))
        .collect();
    let changed = diff.outdated || force || diff.disruption() >= Disruption::Reload;
    for name in package.units.iter().map(|unit| unit.name.as_str()) {
        let down = diff.down.contains(&name);
        let action = match (changed, down) {
            (true, _) if !force && diff.disruption() == Disruption::Reload && !down => UnitAction::Reload,
            (true, _) => UnitAction::Restart,
            (false, true) => UnitAction::Start,
            (false, false) => continue,
        };
        steps.push(unit(name, action));
    }
    if changed || !diff.down.is_empty() {
        steps.extend(see_that_it_runs(package));
    }
    if let Some(text) = diff.wanted.stamp.as_ref().filter(|_| diff.outdated) {
        steps.push(write(&paths::stamp(&package.name), text.clone()));
    }
    steps
}

fn see_that_it_runs(package: &Package) -> Vec<Step> {
    match &package.healthy {
        Some(probe) if !package.units.is_empty() => vec![Step::Probe {
            argv: probe.argv.clone(),
            expect: Expect::Success,
            within: Duration::from_secs(probe.within_seconds),
        }],
        _ => package
            .units
            .iter()
            .map(|unit| Step::WaitActive {
                name: unit.name.clone(),
                stable: STABLE,
                within: ACTIVE_WITHIN,
            })
            .collect(),
    }
}

/// Starts units that do not run.
pub(super) fn start(diffs: &[PackageDiff<'_, '_>]) -> Vec<Step> {
    diffs
        .iter()
        .filter(|diff| !diff.down.is_empty())
        .flat_map(|diff| {
            let start = |name: &&str| Step::Unit {
                name: (*name).into(),
                action: UnitAction::Start,
            };
            let mut steps: Vec<Step> = diff.down.iter().map(start).collect();
            steps.extend(see_that_it_runs(diff.wanted.package));
            steps
        })
        .collect()
}

/// Restarts the units of every package, in order.
pub(super) fn restart(diffs: &[PackageDiff<'_, '_>]) -> Vec<Step> {
    diffs
        .iter()
        .map(|diff| diff.wanted.package)
        .filter(|package| !package.units.is_empty())
        .flat_map(|package| {
            let restart = package.units.iter().map(|unit| Step::Unit {
                name: unit.name.clone(),
                action: UnitAction::Restart,
            });
            restart.chain(see_that_it_runs(package)).collect::<Vec<_>>()
        })
        .collect()
}

/// Removes a package that is not wanted any more; its data stays.
pub(super) fn remove(package: &Package, facts: &HostFacts) -> Vec<Step> {
    let mut steps = stop(package, facts);
    steps.extend(uninstall(package, facts));
    steps
}

/// Removes everything that any of `packages` put on the host or left there, the last one that was installed first, and then
/// the claim.
pub(super) fn reset(packages: &[Package], facts: &HostFacts) -> Vec<Step> {
    let there = |path: &String| {
        facts
            .binaries
            .get(path)
            .is_some_and(|it| *it != BinaryFact::Absent)
    };
    let installed: Vec<&Package> = packages
        .iter()
        .rev()
        .filter(|package| is_installed(package, facts))
        .collect();
    let mut steps = Vec::new();
    for package in &installed {
        // What a unit leaves behind when it is stopped (a runtime its shims) goes with it.
        let left_behind = units_of(package, facts).map(|(name, _)| Step::Run {
            argv: ["systemctl", "kill", "--signal=SIGKILL", name]
                .map(Into::into)
                .into(),
            within: COMMAND_WITHIN,
        });
        steps.extend(left_behind.collect::<Vec<_>>());
        steps.extend(stop(package, facts));
        let groups = package.reset.cgroups.iter();
        steps.extend(groups.map(|group| Step::KillCgroup { name: group.clone() }));
    }
    for package in &installed {
        let commands = package.reset.run.iter().filter(|it| there(&it.if_exists));
        steps.extend(commands.map(|it| Step::Run {
            argv: it.argv.clone(),
            within: COMMAND_WITHIN,
        }));
        let data = package.reset.paths.iter().filter(|path| there(path));
        steps.extend(data.map(|path| Step::RemovePath { path: path.clone() }));
        steps.extend(uninstall(package, facts));
    }
    if !installed.is_empty() {
        steps.push(Step::DaemonReload);
    }
    steps.push(Step::RemovePath {
        path: paths::ROOT.into(),
    });
    steps.push(Step::Release);
    steps
}

/// Whether anything of a package is on the host that we put there.
fn is_installed(package: &Package, facts: &HostFacts) -> bool {
    let ours = |path: &String| match facts.binaries.get(path) {
        Some(BinaryFact::Link { target }) => target.starts_with(paths::ROOT),
        _ => false,
    };
    let directory = facts.binaries.get(&paths::package(&package.name));
    matches!(directory, Some(BinaryFact::Directory))
        || package.links.keys().any(ours)
        || paths::files(package).any(|path| file_is_there(facts, &path))
}

fn file_is_there(facts: &HostFacts, path: &str) -> bool {
    facts.files.get(path).is_some_and(|it| *it != FileFact::Absent)
}

/// The units of a package that systemd knows, the last one first.
fn units_of<'a>(package: &'a Package, facts: &'a HostFacts) -> impl Iterator<Item = (&'a str, &'a UnitFact)> {
    let names = package.units.iter().rev().map(|unit| unit.name.as_str());
    names.filter_map(|name| {
        let unit = facts.units.get(name)?;
        (unit.load != "not-found").then_some((name, unit))
    })
}

fn stop(package: &Package, facts: &HostFacts) -> Vec<Step> {
    let mut steps = Vec::new();
    for (name, unit) in units_of(package, facts) {
        let mut act = |action| {
            steps.push(Step::Unit {
                name: name.into(),
                action,
            });
        };
        if unit.active != "inactive" {
            act(UnitAction::Stop);
        }
        if unit.enabled == "enabled" {
            act(UnitAction::Disable);
        }
    }
    steps
}

/// What was installed goes, the package's directory last: as long as it is there, the package counts as installed.
fn uninstall(package: &Package, facts: &HostFacts) -> Vec<Step> {
    let ours = |path: &&String| matches!(facts.binaries.get(*path), Some(BinaryFact::Link { target }) if target.starts_with(paths::ROOT));
    let links = package.links.keys().filter(ours).cloned();
    let files = paths::files(package).filter(|path| file_is_there(facts, path));
    let mut steps: Vec<Step> = links.chain(files).map(|path| Step::RemovePath { path }).collect();
    if let Source::Deb { name } = &package.source
        && installed_version(package, facts).is_some()
    {
        steps.push(Step::RemoveDeb { name: name.clone() });
    }
    let directory = paths::package(&package.name);
    if matches!(facts.binaries.get(&directory), Some(BinaryFact::Directory)) {
        steps.push(Step::RemovePath { path: directory });
    }
    steps
}

/// Writes a rendered file.
fn write_rendered(file: &Rendered) -> Step {
    Step::WriteFile {
        path: file.path.clone(),
        content: Content::Text(file.text.clone()),
        mode: file.mode,
        uid: file.owner,
        gid: file.owner,
    }
}

/// Writes a file that everybody may read.
pub(super) fn write(path: &str, text: String) -> Step {
    Step::WriteFile {
        path: path.into(),
        content: Content::Text(text),
        mode: 0o644,
        uid: 0,
        gid: 0,
    }
}
