//! etcd as far as the operator depends on it: who founds a cluster, who may join, who has a quorum.
//!
//! A cluster is founded by the first member that starts as `new` with an empty volume. What etcd makes impossible or
//! unsafe in reality is refused here, or written down as a disaster for the oracles.

use std::collections::BTreeMap;

use kok_plan::Observed;
use kok_plan::cluster::view::{EtcdAnswer, EtcdFacts, EtcdMemberFacts};

use crate::chance::Chance;

/// What a member is started with.
#[derive(Clone, Debug)]
pub(super) struct Start {
    /// Namespace of its pod.
    pub(super) namespace: String,
    /// Name of its pod.
    pub(super) name: String,
    /// Where its data is: uid of a claim, or of the pod itself.
    pub(super) volume: String,
    /// Flags without leading dashes.
    pub(super) flags: BTreeMap<String, String>,
    /// Version.
    pub(super) version: String,
    /// Identifier of the CA that it trusts.
    pub(super) ca: String,
}

/// All etcd clusters of a meta cluster.
#[derive(Default)]
pub struct Etcds {
    /// By number of their founding, from 1.
    clusters: BTreeMap<u64, Cluster>,
    volumes: BTreeMap<String, Data>,
    /// Running members, by uid of their pod.
    running: BTreeMap<String, Running>,
    disasters: Vec<String>,
    risks: Vec<Risk>,
}

/// A moment at which a cluster of several members lost its quorum because a pod was deleted.
#[derive(Clone, Debug)]
pub struct Risk {
    /// Uid of the pod.
    pub pod: String,
    /// What happened.
    pub what: String,
}

struct Cluster {
    namespace: String,
    token: String,
    id: u64,
    members: BTreeMap<u64, Member>,
    leader: Option<u64>,
    minor: u64,
}

struct Member {
    name: String,
    learner: bool,
    started: bool,
}

#[derive(Clone, Copy)]
struct Data {
    founding: u64,
    member: u64,
}

struct Running {
    data: Data,
    namespace: String,
    name: String,
    version: String,
    ca: String,
}

impl Etcds {
    /// A member starts; the error is what its log would say before it exits.
    pub(super) fn start(&mut self, pod: &str, start: &Start) -> Result<(), String> {
        let data = match self.volumes.get(&start.volume) {
            Some(data) => *data,
            None => self.first_start(start)?,
        };
        let minor = minor_of(&start.version);
        if let Some(cluster) = self.clusters.get(&data.founding) {
            if minor < cluster.minor || minor > cluster.minor + 1 {
                return Err(format!(
                    "etcd {} cannot run in a cluster of minor version {}",
                    start.version, cluster.minor
                ));
            }
            if !cluster.members.contains_key(&data.member) {
                return Err("the member has been permanently removed from the cluster".into());
            }
        }
        self.volumes.insert(start.volume.clone(), data);
        self.running.insert(
            pod.to_owned(),
            Running {
                data,
                namespace: start.namespace.clone(),
                name: start.name.clone(),
                version: start.version.clone(),
                ca: start.ca.clone(),
            },
        );
        self.elect();
        Ok(())
    }

    /// A member that has no data yet.
    fn first_start(&mut self, start: &Start) -> Result<Data, String> {
        let flag = |name: &str| start.flags.get(name).map(String::as_str).unwrap_or_default();
        let token = flag("initial-cluster-token").to_owned();
        let peers: BTreeMap<String, String> = flag("initial-cluster")
            .split(',')
            .filter_map(|peer| peer.split_once('='))
            .map(|(name, url)| (name.to_owned(), url.to_owned()))
            .collect();
        let Some(own) = peers.get(&start.name) else {
            return Err(format!("{} is not in --initial-cluster", start.name));
        };
        let member = member_id(own, &token);
        let known = self
            .clusters
            .iter()
            .filter(|(_, cluster)| cluster.namespace == start.namespace && cluster.token == token)
            .map(|(founding, _)| *founding)
            .next_back();
        let reachable = known.is_some_and(|founding| self.has_quorum(founding));
        let listed =
            known.and_then(|founding| Some((founding, self.clusters.get(&founding)?.members.get(&member)?)));
        match (flag("initial-cluster-state"), listed) {
            // Listed and never ran: it joins, whatever it was started as.
            (_, Some((founding, listed))) if !listed.started => Ok(Data { founding, member }),
            ("new", Some(_)) if reachable => Err(format!("member {member:x} has already been bootstrapped")),
            ("new", _) => {
                if let Some(founding) = known {
                    self.disasters.push(format!(
                        "etcd member {}/{} founded a second cluster beside number {founding}, without its data",
                        start.namespace, start.name
                    ));
                }
                Ok(self.found(start, token, &peers, member))
            }
            (_, Some(_)) => Err(format!(
                "member {member:x} is a member already and its data is gone: tocommit is out of range"
            )),
            _ => Err("cannot fetch cluster info from peer urls".into()),
        }
    }

    fn found(&mut self, start: &Start, token: String, peers: &BTreeMap<String, String>, member: u64) -> Data {
        let founding = self.clusters.len() as u64 + 1;
        let members = peers
            .iter()
            .map(|(name, url)| {
                let member = Member {
                    name: name.clone(),
                    learner: false,
                    started: false,
                };
                (member_id(url, &token), member)
            })
            .collect();
        self.clusters.insert(
            founding,
            Cluster {
                namespace: start.namespace.clone(),
                id: Chance(0).draw(&["cluster", &token]),
                token,
                members,
                leader: None,
                minor: minor_of(&start.version),
            },
        );
        Data { founding, member }
    }

    /// A member's process ended; its data stays in its volume.
    pub(super) fn stop(&mut self, pod: &str) {
        if self.running.remove(pod).is_some() {
            self.elect();
        }
    }

    /// A member is told to end.
    pub(super) fn ending(&mut self, pod: &str) {
        let Some(running) = self.running.get(pod) else { return };
        let founding = running.data.founding;
        let Some((up, quorum)) = self.margin(founding) else { return };
        if quorum > 1 && up == quorum {
            let what = format!(
                "etcd pod {}/{} is deleted while only {up} members run, all of which a quorum needs",
                running.namespace, running.name
            );
            self.risks.push(Risk {
                pod: pod.to_owned(),
                what,
            });
        }
    }

    /// A volume is gone, and what was on it.
    pub(super) fn forget(&mut self, exists: impl Fn(&str) -> bool) {
        self.volumes.retain(|volume, _| exists(volume));
    }

    /// Leaders stay while they run. A cluster with a quorum knows who runs in it, and its minor version.
    fn elect(&mut self) {
        let foundings: Vec<u64> = self.clusters.keys().copied().collect();
        for founding in foundings {
            let quorum = self.has_quorum(founding);
            let up: BTreeMap<u64, String> = self
                .members_up(founding)
                .map(|member| (member.data.member, member.version.clone()))
                .collect();
            let Some(cluster) = self.clusters.get_mut(&founding) else {
                continue;
            };
            if !quorum {
                cluster.leader = None;
                continue;
            }
            if cluster.leader.is_none_or(|leader| !up.contains_key(&leader)) {
                let voters = up
                    .keys()
                    .filter(|id| cluster.members.get(id).is_some_and(|member| !member.learner));
                cluster.leader = voters
                    .min_by_key(|id| cluster.members.get(id).map(|member| member.name.clone()))
                    .copied();
            }
            for (id, member) in &mut cluster.members {
                member.started |= up.contains_key(id);
            }
            // The cluster's version follows its oldest member.
            let oldest = up.values().map(|version| minor_of(version)).min();
            if up.len() == cluster.members.len() {
                cluster.minor = oldest.unwrap_or(cluster.minor);
            }
        }
    }

    /// Running members of a cluster that trust each other: those of the CA that most of them have.
    fn members_up(&self, founding: u64) -> impl Iterator<Item = &Running> {
        let all = || {
            self.running
                .values()
                .filter(move |member| member.data.founding == founding)
        };
        let mut by_ca = BTreeMap::<&str, usize>::new();
        for member in all() {
            *by_ca.entry(member.ca.as_str()).or_default() += 1;
        }
        let ca = by_ca
            .into_iter()
            .max_by_key(|(_, count)| *count)
            .map(|(ca, _)| ca);
        all().filter(move |member| Some(member.ca.as_str()) == ca)
    }

    fn has_quorum(&self, founding: u64) -> bool {
        self.margin(founding).is_some_and(|(up, quorum)| up >= quorum)
    }

    /// Voters that run, and how many a quorum takes.
    fn margin(&self, founding: u64) -> Option<(usize, usize)> {
        let cluster = self.clusters.get(&founding)?;
        let votes = |id: &u64| cluster.members.get(id).is_some_and(|member| !member.learner);
        let voters = cluster.members.keys().filter(|id| votes(id)).count();
        let up = self
            .members_up(founding)
            .filter(|member| votes(&member.data.member))
            .count();
        Some((up, voters / 2 + 1))
    }

    /// The cluster of a member's pod, if it has a quorum.
    pub(super) fn serving(&self, pod: &str) -> Option<u64> {
        let founding = self.running.get(pod)?.data.founding;
        self.has_quorum(founding).then_some(founding)
    }

    /// The cluster of a namespace that serves clients who trust and are trusted by `ca`.
    pub(super) fn serving_in(&self, namespace: &str, ca: &str) -> Option<u64> {
        let founding = self.founding_of(namespace)?;
        let trusted = self.members_up(founding).any(|member| member.ca == ca);
        (trusted && self.has_quorum(founding)).then_some(founding)
    }

    /// Number of the latest founding in a namespace that has a member running.
    pub fn founding_of(&self, namespace: &str) -> Option<u64> {
        self.running
            .values()
            .filter(|member| member.namespace == namespace)
            .map(|member| member.data.founding)
            .max()
    }

    /// How many clusters were founded by members in a namespace with this token.
    pub fn foundings(&self, namespace: &str, token: &str) -> usize {
        self.clusters
            .values()
            .filter(|cluster| cluster.namespace == namespace && cluster.token == token)
            .count()
    }

    /// Voters up, and how many a quorum takes, in the latest cluster of a namespace.
    pub fn voters(&self, namespace: &str) -> Option<(usize, usize)> {
        let founding = self
            .clusters
            .iter()
            .filter(|(_, cluster)| cluster.namespace == namespace)
            .map(|(founding, _)| *founding)
            .next_back()?;
        self.margin(founding)
    }

    /// Moments at which deletion cost a quorum.
    pub fn risks(&self) -> &[Risk] {
        &self.risks
    }

    /// What must never happen and did.
    pub fn disasters(&self) -> &[String] {
        &self.disasters
    }

    /// What the operator learns when it asks these hosts (name, host), as `kok_cluster::etcd::observe` puts it together.
    pub(super) fn observe(&self, hosts: &[(String, String)], ca: &str) -> Observed<EtcdFacts> {
        let answering: Vec<&Running> = hosts
            .iter()
            .filter_map(|(_, host)| {
                self.running.values().find(|member| {
                    member.ca == ca && *host == format!("{}.{}.svc", member.name, member.namespace)
                })
            })
            .collect();
        let Some(first) = answering
            .iter()
            .find(|member| self.has_quorum(member.data.founding))
            .or(answering.first())
        else {
            let (_, host) = hosts.first().cloned().unwrap_or_default();
            return Observed::Unknown(format!("{host}: connection refused"));
        };
        let quorum = self.has_quorum(first.data.founding);
        let Some(cluster) = self.clusters.get(&first.data.founding) else {
            return Observed::Unknown("no cluster".into());
        };
        // Who is a member is answered only with a quorum.
        let listed = cluster.members.iter().filter(|_| quorum);
        let members = listed
            .map(|(id, member)| {
                let answer = answering
                    .iter()
                    .find(|running| running.data.member == *id)
                    .map(|running| EtcdAnswer {
                        version: running.version.clone(),
                        leader: cluster.leader == Some(*id),
                    });
                let facts = EtcdMemberFacts {
                    id: format!("{id:x}"),
                    learner: member.learner,
                    started: member.started,
                    answer,
                };
                (member.name.clone(), facts)
            })
            .collect();
        Observed::Known(EtcdFacts {
            cluster_id: format!("{:x}", cluster.id),
            quorum,
            members,
        })
    }
}

fn member_id(url: &str, token: &str) -> u64 {
    Chance(0).draw(&["member", url, token])
}

fn minor_of(version: &str) -> u64 {
    version
        .split('.')
        .nth(1)
        .and_then(|minor| minor.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(name: &str, volume: &str, state: &str) -> Start {
        let members: Vec<String> = (0..3).map(|n| format!("etcd-{n}=https://etcd-{n}:2380")).collect();
        Start {
            namespace: "n".into(),
            name: name.into(),
            volume: volume.into(),
            flags: BTreeMap::from([
                ("initial-cluster".into(), members.join(",")),
                ("initial-cluster-state".into(), state.into()),
                ("initial-cluster-token".into(), "token".into()),
            ]),
            version: "3.6.14".into(),
            ca: "ca".into(),
        }
    }

    fn founded() -> Etcds {
        let mut etcds = Etcds::default();
        for n in 0..3 {
            let name = format!("etcd-{n}");
            etcds.start(&format!("pod-{n}"), &start(&name, &format!("volume-{n}"), "new")).unwrap();
        }
        etcds
    }

    #[test]
    fn three_new_members_found_one_cluster_and_two_are_a_quorum() {
        let mut etcds = founded();
        assert_eq!(etcds.foundings("n", "token"), 1);
        etcds.stop("pod-0");
        assert_eq!(etcds.voters("n"), Some((2, 2)));
        assert!(etcds.serving("pod-1").is_some());
        etcds.ending("pod-1");
        etcds.stop("pod-1");
        assert_eq!(etcds.serving("pod-2"), None);
        assert_eq!(etcds.risks().len(), 1);
    }

    #[test]
    fn a_member_with_its_volume_returns_whatever_it_is_started_as() {
        let mut etcds = founded();
        etcds.stop("pod-0");
        etcds.start("pod-3", &start("etcd-0", "volume-0", "new")).unwrap();
        assert_eq!(etcds.voters("n"), Some((3, 2)));
        assert_eq!(etcds.foundings("n", "token"), 1);
    }

    #[test]
    fn a_member_without_its_volume_is_refused_while_the_others_answer() {
        let mut etcds = founded();
        etcds.stop("pod-0");
        for state in ["new", "existing"] {
            etcds.start("pod-3", &start("etcd-0", "empty", state)).unwrap_err();
        }
        assert!(etcds.disasters().is_empty());
    }

    #[test]
    fn a_new_member_that_reaches_nobody_is_a_second_cluster() {
        let mut etcds = founded();
        for n in 0..3 {
            etcds.stop(&format!("pod-{n}"));
        }
        etcds.start("pod-3", &start("etcd-0", "empty", "existing")).unwrap_err();
        etcds.start("pod-4", &start("etcd-0", "empty", "new")).unwrap();
        assert_eq!(etcds.disasters().len(), 1);
        assert_eq!(etcds.foundings("n", "token"), 2);
    }

    #[test]
    fn members_of_another_ca_are_no_peers_and_minors_are_not_skipped() {
        let mut etcds = founded();
        etcds.stop("pod-0");
        etcds.stop("pod-1");
        let other = Start {
            ca: "other".into(),
            ..start("etcd-1", "volume-1", "existing")
        };
        etcds.start("pod-3", &other).unwrap();
        assert_eq!(etcds.serving("pod-2"), None);
        let skipping = Start {
            version: "3.8.0".into(),
            ..start("etcd-0", "volume-0", "existing")
        };
        etcds.start("pod-4", &skipping).unwrap_err();
    }
}
