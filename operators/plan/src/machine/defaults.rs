//! ClusterPackageVersion `default`: whether its packages can be installed, and how far the machines are.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kok_api::ClusterPackageVersion;
use kok_api::condition::PackageVersionCondition as Type;
use kok_api::machine_status::{DesiredFrom, MachinePhase, MachineStatus, OperationOutcome};
use kok_api::package::{AcceptedPackages, ClusterPackageVersionStatus, DefaultPackage, VersionCount};
use kok_render::sha256_hex;
use serde_json::{Value, json};

use super::catalog::Catalog;
use super::effective::{Layers, effective};
use super::fleet::Others;
use super::status::{MESSAGE_LIMIT, time};
use super::view::Defaults;

/// Everything that the status of a ClusterPackageVersion is made from.
#[derive(Clone, Debug)]
pub struct DefaultsView<'a> {
    /// When this was observed.
    pub now: Timestamp,
    /// The object.
    pub object: &'a ClusterPackageVersion,
    /// Version of the oldest apiserver; None when it is not known.
    pub apiserver: Option<&'a str>,
    /// Status of every Machine that is not being deleted; None for one that has none yet.
    pub machines: Vec<Option<&'a MachineStatus>>,
    /// All machines together.
    pub fleet: Others,
    /// Percentage of the machines that may fail together before repairs are frozen.
    pub freeze_percent: u32,
}

/// What machines follow: the packages that were accepted last, and the limits of the spec. None when none ever was.
pub fn in_force(object: &ClusterPackageVersion) -> Option<Defaults> {
    let accepted = object.status.as_ref()?.accepted.as_ref()?;
    Some(Defaults {
        packages: accepted.packages.clone(),
        max_unavailable: object.spec.max_unavailable.clone(),
        max_concurrent: object.spec.max_concurrent,
    })
}

/// The status of a ClusterPackageVersion.
pub fn status(view: &DefaultsView<'_>, catalog: &Catalog) -> ClusterPackageVersionStatus {
    let previous = view.object.status.clone().unwrap_or_default();
    let packages = &view.object.spec.packages;
    let findings = findings(packages, view.apiserver, catalog);
    let accepted = if findings.is_empty() {
        let same = previous.accepted.clone().filter(|it| it.packages == *packages);
        same.or_else(|| {
            Some(AcceptedPackages {
                since: time(view.now),
                packages: packages.clone(),
            })
        })
    } else {
        previous.accepted.clone()
    };
    let count = |holds: &dyn Fn(&MachineStatus) -> bool| {
        let holding = view
            .machines
            .iter()
            .flatten()
            .filter(|status| holds(status))
            .count();
        i32::try_from(holding).unwrap_or(i32::MAX)
    };
    let machines = i32::try_from(view.machines.len()).unwrap_or(i32::MAX);
    let in_sync = count(&is_in_sync);
    let mut status = ClusterPackageVersionStatus {
        observed_generation: view.object.metadata.generation,
        revision: accepted.as_ref().map(|it| revision(&it.packages)),
        accepted,
        machines,
        in_sync,
        out_of_sync: machines - in_sync,
        overridden: count(&|status| {
            let mut packages = status.packages.iter();
            packages.any(|package| package.desired_from != DesiredFrom::Default)
        }),
        failed: count(&has_failed),
        versions: versions(view),
        conditions: Vec::new(),
    };
    status.conditions = conditions(view, &previous.conditions, &status, &findings);
    status
}

/// Everything that is wrong with the packages, each with what to do.
fn findings(packages: &[DefaultPackage], apiserver: Option<&str>, catalog: &Catalog) -> Vec<String> {
    let layers = Layers {
        defaults: packages,
        released: &BTreeMap::new(),
        overrides: &[],
    };
    let all = match effective(catalog, layers, apiserver) {
        Ok(all) => all,
        Err(findings) => return findings,
    };
    all.iter()
        .filter_map(|each| {
            // What a default follows from is only known on a host; any answer will do to check what was given.
            let detected: serde_json::Map<String, Value> = each
                .package
                .detect
                .keys()
                .map(|name| (name.clone(), json!(false)))
                .collect();
            each.package
                .params(&each.params, &json!({"detected": detected}))
                .err()
        })
        .flatten()
        .collect()
}

fn revision(packages: &[DefaultPackage]) -> String {
    sha256_hex(json!(packages).to_string().as_bytes())[..12].into()
}

fn is_in_sync(status: &MachineStatus) -> bool {
    !status.packages.is_empty() && status.packages.iter().all(|package| package.in_sync)
}

fn has_failed(status: &MachineStatus) -> bool {
    let last = status.last_operations.first();
    status.phase == Some(MachinePhase::Failed)
        || last.is_some_and(|operation| operation.result == OperationOutcome::Failed)
}

fn versions(view: &DefaultsView<'_>) -> Vec<VersionCount> {
    let mut counts: BTreeMap<(String, String), i32> = BTreeMap::new();
    let packages = view.machines.iter().flatten().flat_map(|status| &status.packages);
    for package in packages {
        if let Some(version) = &package.observed {
            *counts.entry((package.name.clone(), version.clone())).or_default() += 1;
        }
    }
    let count = |((package, version), count)| VersionCount {
        package,
        version,
        count,
    };
    counts.into_iter().map(count).collect()
}

fn conditions(
    view: &DefaultsView<'_>,
    previous: &[Condition],
    status: &ClusterPackageVersionStatus,
    findings: &[String],
) -> Vec<Condition> {
    let (fleet, percent) = (view.fleet, view.freeze_percent);
    let facts = [
        if findings.is_empty() {
            (
                Type::Valid,
                true,
                "Accepted",
                "the packages can be installed".to_owned(),
            )
        } else {
            (Type::Valid, false, "InvalidPackages", findings.join("; "))
        },
        if status.out_of_sync == 0 {
            (
                Type::InSync,
                true,
                "AllInSync",
                format!("{} machines are as desired", status.machines),
            )
        } else {
            let message = format!(
                "{} of {} machines are as desired",
                status.in_sync, status.machines
            );
            (Type::InSync, false, "OutOfSync", message)
        },
        if fleet.fail_together(percent) {
            let message = format!(
                "{} of {} machines fail together, more than {}: none is repaired; see to network and apiserver",
                fleet.failing,
                fleet.joined,
                fleet.failures_tolerated(percent)
            );
            (Type::RepairsEnabled, false, "RepairsFrozen", message)
        } else {
            let message = "machines are repaired one by one".to_owned();
            (Type::RepairsEnabled, true, "Enabled", message)
        },
    ];
    facts
        .into_iter()
        .map(|(type_, holds, reason, message)| {
            let value = if holds { "True" } else { "False" };
            let before = previous
                .iter()
                .find(|it| it.type_ == type_.as_str() && it.status == value);
            Condition {
                type_: type_.as_str().into(),
                status: value.into(),
                reason: reason.into(),
                message: message.chars().take(MESSAGE_LIMIT).collect(),
                observed_generation: view.object.metadata.generation,
                last_transition_time: before
                    .map_or_else(|| time(view.now), |before| before.last_transition_time.clone()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kok_api::machine_status::{OperationKind, OperationRecord, PackageStatus};

    fn object() -> ClusterPackageVersion {
        let text = include_str!("../../../../crds/samples/packages.yaml");
        serde_saphyr::from_str(text).unwrap()
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn of(
        object: &ClusterPackageVersion,
        machines: &[MachineStatus],
        apiserver: &str,
    ) -> ClusterPackageVersionStatus {
        let view = DefaultsView {
            now: now(),
            object,
            apiserver: Some(apiserver),
            machines: machines.iter().map(Some).collect(),
            fleet: Others {
                joined: machines.len(),
                ..Others::default()
            },
            freeze_percent: 30,
        };
        status(&view, &Catalog::shipped().unwrap())
    }

    fn condition<'a>(status: &'a ClusterPackageVersionStatus, type_: &str) -> &'a Condition {
        status.conditions.iter().find(|it| it.type_ == type_).unwrap()
    }

    fn machine(kubelet: &str, from: DesiredFrom, in_sync: bool) -> MachineStatus {
        MachineStatus {
            packages: vec![PackageStatus {
                name: "kubelet".into(),
                desired: Some("1.36.3".into()),
                desired_from: from,
                observed: Some(kubelet.into()),
                config_hash: None,
                in_sync,
                changed_at: None,
            }],
            ..MachineStatus::default()
        }
    }

    #[test]
    fn machines_are_counted() {
        let failed = MachineStatus {
            last_operations: vec![OperationRecord {
                id: "converge-1-1".into(),
                kind: OperationKind::Converge,
                result: OperationOutcome::Failed,
                started_at: time(now()),
                duration: "1s".into(),
                reason: Some("DownloadFailed".into()),
                message: None,
            }],
            ..machine("1.35.4", DesiredFrom::Default, false)
        };
        let machines = [
            machine("1.36.3", DesiredFrom::Default, true),
            machine("1.36.3", DesiredFrom::Default, true),
            machine("1.35.4", DesiredFrom::Machine, true),
            failed,
            MachineStatus::default(),
        ];
        let status = of(&object(), &machines, "1.36.3");
        assert_eq!(
            (
                status.machines,
                status.in_sync,
                status.out_of_sync,
                status.overridden,
                status.failed
            ),
            (5, 3, 2, 1, 1)
        );
        let counts: Vec<(&str, i32)> = status
            .versions
            .iter()
            .map(|it| (it.version.as_str(), it.count))
            .collect();
        assert_eq!(counts, [("1.35.4", 2), ("1.36.3", 2)]);
        assert_eq!(condition(&status, "Valid").status, "True");
        assert_eq!(condition(&status, "InSync").status, "False");
        assert_eq!(condition(&status, "RepairsEnabled").status, "True");
    }

    type Spoil = fn(&mut Vec<DefaultPackage>);

    #[test]
    fn packages_that_cannot_be_installed_are_refused_and_the_last_ones_stay_in_force() {
        let mut object = object();
        object.status = Some(of(&object, &[], "1.36.3"));
        let accepted = in_force(&object).unwrap().packages;
        assert_eq!(accepted, object.spec.packages);
        let good = object.spec.packages.clone();
        let cases: [(&str, Spoil); 5] = [
            ("must not be newer", |it| it[3].version = "1.37.0".into()),
            ("at most three minors older", |it| it[3].version = "1.32.0".into()),
            ("no package \"no-such\"", |it| it[3].name = "no-such".into()),
            ("maxPods", |it| {
                drop(it[3].params.insert("maxPods".into(), "all".into()));
            }),
            ("needs package", |it| drop(it.remove(2))),
        ];
        for (word, spoil) in cases {
            object.spec.packages.clone_from(&good);
            spoil(&mut object.spec.packages);
            object.status = Some(of(&object, &[], "1.36.3"));
            let valid = condition(object.status.as_ref().unwrap(), "Valid");
            assert_eq!(valid.status, "False", "{word}");
            assert!(valid.message.contains(word), "no {word:?} in {}", valid.message);
            assert_eq!(in_force(&object).unwrap().packages, accepted, "{word}");
        }
    }

    #[test]
    fn the_same_packages_have_the_same_revision_and_nothing_is_written_anew() {
        let mut object = object();
        let first = of(&object, &[], "1.36.3");
        object.status = Some(first.clone());
        assert_eq!(of(&object, &[], "1.36.3"), first);
        object.spec.packages[0].version = "1.3.5".into();
        assert_ne!(of(&object, &[], "1.36.3").revision, first.revision);
    }
}
