//! Which packages a machine shall have, and who says so: the Machine's own spec over a rollout's release over the
//! cluster's defaults.

use std::collections::BTreeMap;

use kok_api::machine_status::DesiredFrom;
use kok_api::package::{DefaultPackage, Disruption, PackageOverride, PackageSource};
use kok_render::package::{Package, Source};

use super::catalog::Catalog;
use crate::version::{Version, kubelet_skew_allowed};

/// A package that a machine shall have.
#[derive(Clone, Debug)]
pub struct Effective<'a> {
    /// What the package is.
    pub package: &'a Package,
    /// Its version.
    pub version: String,
    /// Who decided the version.
    pub from: DesiredFrom,
    /// Its parameters, as given.
    pub params: BTreeMap<String, String>,
    /// Where it comes from.
    pub source: PackageSource,
    /// What a change of its version does to pods, where the cluster says other than the package.
    pub disruption: Option<Disruption>,
}

/// What has a say in the packages of a machine, from the weakest to the strongest.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// The cluster's defaults.
    pub defaults: &'a [DefaultPackage],
    /// What rollouts released the machine to.
    pub released: &'a BTreeMap<String, PackageOverride>,
    /// The Machine's own.
    pub overrides: &'a [PackageOverride],
}

/// The packages that follow from `layers`, in the order in which they are installed.
///
/// # Errors
/// Everything that is wrong with them, each with what to do.
pub fn effective<'a>(
    catalog: &'a Catalog,
    layers: Layers<'_>,
    apiserver: Option<&str>,
) -> Result<Vec<Effective<'a>>, Vec<String>> {
    let mut wrong = unknown(catalog, layers);
    let mut packages = Vec::new();
    for package in catalog.packages() {
        match merged(package, layers) {
            Some(Ok(effective)) => packages.push(effective),
            Some(Err(why)) => wrong.push(why),
            None => {}
        }
    }
    for effective in &packages {
        wrong.extend(findings(effective, &packages, apiserver));
    }
    if let Some((agent, _)) = catalog.agent()
        && wrong.is_empty()
        && !packages
            .iter()
            .any(|effective| effective.package.name == agent.name)
    {
        wrong.push(format!(
            "package {} is missing: without it no host becomes a Node",
            agent.name
        ));
    }
    if wrong.is_empty() {
        Ok(packages)
    } else {
        Err(wrong)
    }
}

fn unknown(catalog: &Catalog, layers: Layers<'_>) -> Vec<String> {
    let named = layers
        .defaults
        .iter()
        .map(|it| &it.name)
        .chain(layers.released.keys())
        .chain(layers.overrides.iter().map(|it| &it.name));
    named
        .filter(|name| catalog.get(name).is_none())
        .map(|name| format!("there is no package {name:?}; there are: {}", catalog.names()))
        .collect()
}

/// One package out of all layers. None when no layer names it.
fn merged<'a>(package: &'a Package, layers: Layers<'_>) -> Option<Result<Effective<'a>, String>> {
    let default = layers.defaults.iter().find(|it| it.name == package.name);
    let released = layers.released.get(&package.name);
    let own = layers.overrides.iter().find(|it| it.name == package.name);
    if default.is_none() && released.is_none() && own.is_none() {
        return None;
    }
    let mut version: Option<(String, DesiredFrom)> = None;
    let mut params = BTreeMap::new();
    let mut source = PackageSource::default();
    let disruption = default.and_then(|default| default.disruption);
    let mut over = |text: Option<&String>, from, own: &BTreeMap<String, String>, of: &PackageSource| {
        if let Some(text) = text {
            if version.as_ref().is_none_or(|(before, _)| before != text) {
                // A sum is that of one version.
                source.sha256.clear();
            }
            version = Some((text.clone(), from));
        }
        params.extend(own.clone());
        source.mirror = of.mirror.clone().or(source.mirror.take());
        source.apt = of.apt.clone().or(source.apt.take());
        source.sha256.extend(of.sha256.clone());
    };
    if let Some(it) = default {
        over(Some(&it.version), DesiredFrom::Default, &it.params, &it.source);
    }
    if let Some(it) = released {
        over(it.version.as_ref(), DesiredFrom::Rollout, &it.params, &it.source);
    }
    if let Some(it) = own {
        over(it.version.as_ref(), DesiredFrom::Machine, &it.params, &it.source);
    }
    let Some((version, from)) = version else {
        return Some(Err(format!(
            "package {} has no version: give it one, or name it in ClusterPackageVersion default",
            package.name
        )));
    };
    Some(Ok(Effective {
        package,
        version,
        from,
        params,
        source,
        disruption,
    }))
}

fn findings(it: &Effective<'_>, all: &[Effective<'_>], apiserver: Option<&str>) -> Vec<String> {
    let name = &it.package.name;
    let mut wrong = Vec::new();
    for required in &it.package.requires {
        if !all.iter().any(|other| &other.package.name == required) {
            wrong.push(format!("package {name} needs package {required}: name it too"));
        }
    }
    if let Source::File { .. } | Source::Archive { .. } = it.package.source {
        if it.source.mirror.is_none() {
            wrong.push(format!("package {name} needs source.mirror"));
        }
        if it.source.sha256.is_empty() {
            wrong.push(format!(
                "package {name} {} needs source.sha256 by architecture",
                it.version
            ));
        }
    } else if it.source.mirror.is_some() != it.source.apt.is_some() {
        wrong.push(format!(
            "package {name} is a deb: source.mirror and source.apt are given together, or neither"
        ));
    }
    if it.package.kubernetes {
        wrong.extend(skew(it, apiserver));
    }
    wrong
}

/// A kubelet is never newer than the apiserver, and at most three minors older (Kubernetes: version skew policy).
fn skew(it: &Effective<'_>, apiserver: Option<&str>) -> Option<String> {
    let name = &it.package.name;
    let Ok(version) = it.version.parse::<Version>() else {
        return Some(format!(
            "package {name}: {:?} is no version such as 1.36.3",
            it.version
        ));
    };
    let server = apiserver?.parse::<Version>().ok()?;
    (!kubelet_skew_allowed(version, server)).then(|| {
        format!(
            "package {name} {version} cannot work with an apiserver at {server}: it must not be newer, and at most three minors older"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const SUM: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn default(name: &str, version: &str) -> DefaultPackage {
        DefaultPackage {
            name: name.into(),
            version: version.into(),
            params: BTreeMap::new(),
            source: PackageSource {
                mirror: Some("http://mirror".into()),
                sha256: BTreeMap::from([("amd64".into(), SUM.into())]),
                apt: None,
            },
            disruption: None,
        }
    }

    fn defaults() -> Vec<DefaultPackage> {
        vec![
            default("kubelet", "1.36.3"),
            default("cni-plugins", "1.9.1"),
            default("containerd", "2.4.2"),
            default("runc", "1.3.4"),
        ]
    }

    fn own(name: &str, version: Option<&str>) -> PackageOverride {
        PackageOverride {
            name: name.into(),
            version: version.map(Into::into),
            params: BTreeMap::new(),
            source: PackageSource::default(),
        }
    }

    fn resolve<'a>(
        catalog: &'a Catalog,
        defaults: &[DefaultPackage],
        released: &BTreeMap<String, PackageOverride>,
        overrides: &[PackageOverride],
    ) -> Result<Vec<Effective<'a>>, Vec<String>> {
        let layers = Layers {
            defaults,
            released,
            overrides,
        };
        effective(catalog, layers, Some("1.36.3"))
    }

    #[test]
    fn defaults_come_in_the_order_of_installation() {
        let catalog = Catalog::shipped().unwrap();
        let packages = resolve(&catalog, &defaults(), &BTreeMap::new(), &[]).unwrap();
        let names: Vec<&str> = packages.iter().map(|it| it.package.name.as_str()).collect();
        assert_eq!(names, ["runc", "containerd", "cni-plugins", "kubelet"]);
        assert!(packages.iter().all(|it| it.from == DesiredFrom::Default));
    }

    #[test]
    fn a_machine_wins_over_a_rollout_over_the_defaults() {
        let catalog = Catalog::shipped().unwrap();
        let sums = PackageSource {
            sha256: BTreeMap::from([("amd64".into(), SUM.into())]),
            ..PackageSource::default()
        };
        let release = |name: &str, version: &str| PackageOverride {
            source: sums.clone(),
            ..own(name, Some(version))
        };
        let released = BTreeMap::from([
            ("runc".to_owned(), release("runc", "1.3.5")),
            ("kubelet".to_owned(), release("kubelet", "1.36.4")),
        ]);
        let overrides = [release("kubelet", "1.35.4")];
        let packages = resolve(&catalog, &defaults(), &released, &overrides).unwrap();
        let found: Vec<(&str, DesiredFrom)> =
            packages.iter().map(|it| (it.version.as_str(), it.from)).collect();
        assert_eq!(
            found,
            [
                ("1.3.5", DesiredFrom::Rollout),
                ("2.4.2", DesiredFrom::Default),
                ("1.9.1", DesiredFrom::Default),
                ("1.35.4", DesiredFrom::Machine),
            ]
        );
        assert_eq!(packages[3].source.mirror.as_deref(), Some("http://mirror"));
    }

    #[test]
    fn params_alone_leave_the_version_where_it_comes_from() {
        let catalog = Catalog::shipped().unwrap();
        let mut defaults = defaults();
        defaults[0].params =
            BTreeMap::from([("maxPods".into(), "110".into()), ("verbosity".into(), "4".into())]);
        let overrides = [PackageOverride {
            params: BTreeMap::from([("maxPods".into(), "200".into())]),
            ..own("kubelet", None)
        }];
        let packages = resolve(&catalog, &defaults, &BTreeMap::new(), &overrides).unwrap();
        assert_eq!(packages[3].from, DesiredFrom::Default);
        assert_eq!(packages[3].params["maxPods"], "200");
        assert_eq!(packages[3].params["verbosity"], "4");
        assert!(!packages[3].source.sha256.is_empty(), "the version is the same");
    }

    #[rstest]
    #[case::unknown(own("no-such", Some("1")), "there is no package \"no-such\"")]
    #[case::no_sum(own("kubelet", Some("1.36.2")), "needs source.sha256")]
    #[case::too_new(own("kubelet", Some("1.37.0")), "must not be newer")]
    #[case::too_old(own("kubelet", Some("1.32.9")), "at most three minors older")]
    #[case::no_version(own("kubelet", Some("1.36")), "is no version")]
    #[case::nowhere(own("docker", None), "has no version")]
    fn what_is_refused(#[case] override_: PackageOverride, #[case] word: &str) {
        let catalog = Catalog::shipped().unwrap();
        let wrong = resolve(&catalog, &defaults(), &BTreeMap::new(), &[override_]).unwrap_err();
        assert!(wrong.iter().any(|it| it.contains(word)), "{wrong:?}");
    }

    #[test]
    fn what_is_needed_must_be_named() {
        let catalog = Catalog::shipped().unwrap();
        let without = |name: &str| {
            let kept: Vec<DefaultPackage> = defaults().into_iter().filter(|it| it.name != name).collect();
            resolve(&catalog, &kept, &BTreeMap::new(), &[])
                .unwrap_err()
                .join(" ")
        };
        assert!(without("runc").contains("needs package runc"));
        assert!(without("kubelet").contains("kubelet is missing"));
    }

    #[test]
    fn a_deb_needs_neither_mirror_nor_sum() {
        let catalog = Catalog::shipped().unwrap();
        let docker = own("docker", Some("20.10.24+dfsg1-1+deb12u1"));
        assert!(
            resolve(
                &catalog,
                &defaults(),
                &BTreeMap::new(),
                std::slice::from_ref(&docker)
            )
            .is_ok()
        );
        let half = PackageOverride {
            source: PackageSource {
                mirror: Some("http://apt".into()),
                ..PackageSource::default()
            },
            ..docker
        };
        assert!(resolve(&catalog, &defaults(), &BTreeMap::new(), &[half]).is_err());
    }
}
