//! Which flags users may set. Known flags come from the components' own help texts (`templates/flags/`).

mod refused;

use self::refused::REFUSED;
use crate::version::Version;

/// Whether a user may set a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagVerdict {
    /// Yes.
    Allowed,
    /// No, and why.
    Refused(&'static str),
    /// The component has no such flag and would not start.
    Unknown,
}

macro_rules! known {
    ($component:literal, $minor:literal) => {
        (
            $component,
            $minor,
            include_str!(concat!(
                "../../../../templates/flags/",
                $component,
                "-",
                $minor,
                ".txt"
            )),
        )
    };
}

/// Component, minor, and its flags, one a line.
const KNOWN: &[(&str, &str, &str)] = &[
    known!("kube-apiserver", "1.36"),
    known!("kube-apiserver", "1.35"),
    known!("kube-controller-manager", "1.36"),
    known!("kube-controller-manager", "1.35"),
    known!("kube-scheduler", "1.36"),
    known!("kube-scheduler", "1.35"),
    known!("etcd", "3.6"),
];

/// The minors of `component` whose flags are known, newest first; others this operator does not run.
pub fn minors(component: &str) -> Vec<&'static str> {
    let lists = KNOWN.iter().filter(|(of, _, _)| *of == component);
    lists.map(|(_, minor, _)| *minor).collect()
}

/// Whether a user may set `flag` of `component` at `version`. Of an unknown minor no flag is unknown: it is refused as a
/// whole.
pub fn verdict(component: &str, version: &str, flag: &str) -> FlagVerdict {
    // The components take both ways of writing.
    let flag = flag.replace('_', "-");
    let refused = REFUSED.iter().find(|(of, patterns, _)| {
        (*of == component || *of == "*") && patterns.iter().any(|pattern| refused::names(pattern, &flag))
    });
    if let Some((_, _, reason)) = refused {
        return FlagVerdict::Refused(reason);
    }
    let minor = version.parse::<Version>().map(|version| version.minor_release());
    let list = KNOWN
        .iter()
        .find(|(of, at, _)| *of == component && minor.as_deref() == Ok(at));
    match list {
        Some((_, _, flags)) if !flags.lines().any(|known| known == flag) => FlagVerdict::Unknown,
        _ => FlagVerdict::Allowed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("kube-apiserver", "1.36.3", "max-requests-inflight", true)]
    #[case("kube-apiserver", "1.36.3", "anonymous-auth", false)]
    #[case("kube-apiserver", "1.36.3", "anonymous_auth", false)]
    #[case("kube-apiserver", "1.36.3", "cloud-provider", false)]
    #[case("kube-apiserver", "1.36.3", "oidc-signing-algs", false)]
    #[case("kube-controller-manager", "1.36.3", "cluster-signing-duration", true)]
    #[case(
        "kube-controller-manager",
        "1.36.3",
        "cluster-signing-kubelet-serving-key-file",
        false
    )]
    #[case("etcd", "3.6.14", "quota-backend-bytes", true)]
    #[case("etcd", "3.6.14", "force-new-cluster", false)]
    #[case("etcd", "3.6.14", "peer-client-key-file", false)]
    #[case("kube-scheduler", "1.35.4", "profiling", false)]
    #[case("kube-scheduler", "1.35.4", "vmodule", false)]
    fn flags(#[case] component: &str, #[case] version: &str, #[case] flag: &str, #[case] allowed: bool) {
        assert_eq!(verdict(component, version, flag) == FlagVerdict::Allowed, allowed);
    }

    #[test]
    fn every_refused_flag_exists() {
        for (component, patterns, _) in REFUSED {
            for pattern in *patterns {
                let exists = KNOWN.iter().any(|(of, _, flags)| {
                    (of == component || *component == "*")
                        && flags.lines().any(|flag| refused::names(pattern, flag))
                });
                assert!(exists, "{component} has no flag {pattern}");
            }
        }
    }

    #[test]
    fn no_flag_that_the_operator_sets_to_a_file_or_an_address_is_left_to_users() {
        // Paths, URLs and networks of templates/control-plane/*.flags.yaml.j2.
        for (component, template) in [
            (
                "etcd",
                include_str!("../../../../templates/control-plane/etcd.flags.yaml.j2"),
            ),
            (
                "kube-apiserver",
                include_str!("../../../../templates/control-plane/kube-apiserver.flags.yaml.j2"),
            ),
            (
                "kube-controller-manager",
                include_str!("../../../../templates/control-plane/kube-controller-manager.flags.yaml.j2"),
            ),
            (
                "kube-scheduler",
                include_str!("../../../../templates/control-plane/kube-scheduler.flags.yaml.j2"),
            ),
        ] {
            let version = if component == "etcd" { "3.6.14" } else { "1.36.3" };
            let set = template.lines().filter_map(|line| line.split_once(": "));
            let ours: Vec<_> = set
                .filter(|(_, value)| ["/", "https:", "{{"].iter().any(|start| value.starts_with(start)))
                .collect();
            assert!(ours.len() > 2, "{component}: {ours:?}");
            for (flag, _) in ours {
                let verdict = verdict(component, version, flag);
                assert!(
                    matches!(verdict, FlagVerdict::Refused(_)),
                    "{component} {flag}: {verdict:?}"
                );
            }
        }
    }
}
