//! A Machine that shall be there: claimed, installed, joined, kept as declared, repaired.

use kok_api::machine_status::{OperationKind, PackageStatus, RepairAction};
use kok_api::package::Disruption;
use kok_render::package::{Join, Package};

use super::budget::{Reservation, permit};
use super::catalog::Catalog;
use super::conflict::{self, Claim};
use super::diff::{self, PackageDiff};
use super::drain::{self, Purpose};
use super::effective::effective;
use super::join::{self, Bootstrap};
use super::repair::{self, Ailment, Remedy};
use super::status::time;
use super::view::{Host, MachineView, NodeFacts};
use super::wanted::wanted;
use super::{Action, Draft, Order, look, node, paths, preflight, steps};
use crate::host::{HostFacts, Step};
use crate::{Gate, Observed};

/// Plans for a Machine that is not to be deleted.
pub(super) fn plan(draft: &mut Draft, view: &MachineView, catalog: &Catalog) {
    if !view.has_finalizer() {
        // Before anything is done on a host, so that it is undone whenever the Machine goes.
        draft.actions.push(Action::AddFinalizer);
        draft.gates.extend(look::refusal(view));
        return;
    }
    host(draft, view, catalog);
    if view.spec().paused.is_some() {
        draft.actions.clear();
        draft.ledger = super::operation::Ledger::of(view);
        draft.drain = view.status().drain;
        draft.repair = view.status().repair;
    }
}

fn host(draft: &mut Draft, view: &MachineView, catalog: &Catalog) {
    if let Some(gate) = look::refusal(view) {
        let refuses = gate.reason != "OperationRunning";
        if refuses {
            draft.refused = Some(gate.clone());
        } else {
            // The kubelet asks while the operation waits for it.
            cluster_side(draft, view, &[]);
        }
        draft.gates.push(gate);
        return;
    }
    let facts = match &view.host {
        Host::Answered(answer) => &answer.facts,
        Host::NotAsked => {
            cluster_side(draft, view, &[]);
            return;
        }
        Host::Silent { message, .. } => {
            // Its kubelet may be well: requests and labels need no SSH.
            cluster_side(draft, view, &[]);
            draft.wait("HostUnreachable", message.clone());
            draft.ailment = silent_ailment(view);
            return;
        }
    };
    if let Some(finding) = preflight::not_root(facts) {
        // Most of what else was answered cannot be relied on.
        cluster_side(draft, view, &[]);
        draft.wait("PreflightFailed", finding.clone());
        draft.findings = vec![finding];
        return;
    }
    if let Some(gate) = conflict::on_host(view, facts) {
        draft.refused = Some(gate.clone());
        draft.gates.push(gate);
        return;
    }
    if draft.ledger.reboots() || facts.busy {
        cluster_side(draft, view, &[]);
        draft.wait("OperationRunning", "an operation runs on the host");
        return;
    }
    let needed = compare(draft, view, catalog, facts);
    cluster_side(draft, view, &needed);
}

/// A host that does not answer and whose Node is not Ready: nothing can be tried on it.
fn silent_ailment(view: &MachineView) -> Option<String> {
    let node = view.own_node()?;
    (!node.is_ready()).then(|| {
        format!(
            "the host does not answer and its Node is NotReady ({}): power, network or sshd; nothing can be repaired from here",
            node.ready_message
        )
    })
}

/// What needs only the cluster's API: certificate requests, labels, taints, tokens that are not needed any more.
fn cluster_side(draft: &mut Draft, view: &MachineView, needed: &[String]) {
    join::decide_requests(draft, view);
    if let Some(own) = view.own_node()
        && !draft
            .actions
            .iter()
            .any(|action| matches!(action, Action::PatchNode { .. }))
        && let Some(patch) = node::declared(view, own)
    {
        draft.actions.push(Action::PatchNode {
            patch,
            reservation: None,
            reason: "labels or taints differ from what the Machine declares".into(),
        });
    }
    let joined = view.own_node().is_some() && view.running.is_none();
    join::retire_tokens(draft, view, joined, needed);
}

/// Compares the host with what it shall be, and begins what is due. Gives the ids of tokens that are needed for it.
fn compare(draft: &mut Draft, view: &MachineView, catalog: &Catalog, facts: &HostFacts) -> Vec<String> {
    let Some(agent) = catalog.agent() else {
        return Vec::new();
    };
    if let Observed::Unknown(why) = &view.node {
        draft.wait("NodeUnknown", format!("the Node could not be read: {why}"));
        return Vec::new();
    }
    let rendered = if view.defaults.is_none() && view.spec().packages.is_empty() {
        Err(vec![
            "there is no ClusterPackageVersion default: create it".to_owned(),
        ])
    } else {
        let version = view.cluster.version.as_deref();
        effective(catalog, view.layers(), version).and_then(|packages| wanted(&packages, view, facts))
    };
    let all = match rendered {
        Ok(all) => all,
        Err(findings) => {
            draft.wait("PackagesInvalid", findings.join("; "));
            draft.package_findings = findings;
            return Vec::new();
        }
    };
    let diffs = diff::diff(&all, facts, view.hashed.as_ref());
    draft.hashed = diff::remember(&diffs, facts, view.hashed.as_ref());
    draft.compared = true;
    draft.packages = packages(view, &diffs);
    draft.findings = preflight::findings(view, facts, &all);
    if !draft.findings.is_empty() && !view.has_joined() {
        draft.wait("PreflightFailed", draft.findings.join("; "));
        return Vec::new();
    }
    let obsolete = diff::obsolete(catalog.packages(), &all, facts);
    draft.differences = diffs
        .iter()
        .filter(|diff| !diff.in_sync())
        .map(PackageDiff::summary)
        .collect();
    let gone = obsolete
        .iter()
        .map(|package| format!("{}: to be removed", package.name));
    draft.differences.extend(gone);
    let site = Site {
        view,
        facts,
        diffs: &diffs,
        obsolete: &obsolete,
        agent,
    };
    site.act(draft)
}

fn packages(view: &MachineView, diffs: &[PackageDiff<'_, '_>]) -> Vec<PackageStatus> {
    let before = view.status().packages;
    diffs
        .iter()
        .map(|diff| {
            let wanted = diff.wanted;
            let name = &wanted.package.name;
            let last = before.iter().find(|status| status.name == *name);
            let arrived = diff.in_sync() && last.is_some_and(|status| !status.in_sync);
            PackageStatus {
                name: name.clone(),
                desired: Some(wanted.version.clone()),
                desired_from: wanted.from,
                observed: diff.installed.clone(),
                config_hash: Some(wanted.config_hash.clone()),
                in_sync: diff.in_sync(),
                changed_at: if arrived {
                    Some(time(view.now))
                } else {
                    last.and_then(|status| status.changed_at.clone())
                },
            }
        })
        .collect()
}

/// A host that answered and is ours to work on.
struct Site<'v, 'w, 'a> {
    view: &'v MachineView,
    facts: &'v HostFacts,
    diffs: &'w [PackageDiff<'w, 'a>],
    obsolete: &'w [&'a Package],
    agent: (&'a Package, &'a Join),
}

impl Site<'_, '_, '_> {
    /// Begins what is due. Gives the ids of tokens that are needed for it.
    fn act(&self, draft: &mut Draft) -> Vec<String> {
        let bootstrap = join::bootstrap(self.view, self.facts, self.agent, false);
        let needed = tokens_of(&bootstrap);
        let ailment = repair::ailment(self.view, self.facts, self.diffs, self.agent);
        let differs = self.differs(&bootstrap);
        // What is not installed yet does not ail.
        if self.view.has_joined() || !differs {
            draft.ailment = ailment.as_ref().map(|ailment| ailment.cause.clone());
        }
        if differs {
            draft.repair = repair::in_force(self.view);
            self.converge(draft, bootstrap);
            return needed;
        }
        if let Some(ailment) = ailment {
            let rebootstrap = self.repair(draft, &ailment);
            [needed, rebootstrap].concat()
        } else {
            self.rest(draft);
            needed
        }
    }

    fn differs(&self, bootstrap: &Bootstrap) -> bool {
        self.unclaimed()
            || !bootstrap.steps.is_empty()
            || !self.obsolete.is_empty()
            || self.reboot_is_due()
            || self.diffs.iter().any(|diff| !diff.is_empty())
    }

    fn unclaimed(&self) -> bool {
        conflict::claim(self.view, self.facts) != Claim::Ours
    }

    /// Whether a reboot was ordered in this boot.
    fn reboot_is_due(&self) -> bool {
        diff::has_text(
            self.facts,
            paths::REBOOT_MARK,
            &format!("{}\n", self.facts.boot_id),
        )
    }

    fn claim(&self) -> Option<Step> {
        match conflict::claim(self.view, self.facts) {
            Claim::Free { left_by } => Some(Step::Claim {
                replaces: left_by.cloned(),
            }),
            Claim::Ours | Claim::Peer(_) | Claim::Foreign(_) => None,
        }
    }

    /// Brings the host to what it shall be: at once before it has joined, and later with respect for the pods on it.
    fn converge(&self, draft: &mut Draft, bootstrap: Bootstrap) {
        let node = self.view.own_node();
        let reason = self.reason(draft);
        let Some(node) = node else {
            draft.drain = None;
            let mut order = Order::new(OperationKind::Join, self.steps(&bootstrap, false), reason);
            order.secrets = bootstrap.secrets;
            order.mint = bootstrap.mint;
            draft.run(self.view, order);
            return;
        };
        let disruption = self.disruption(&bootstrap);
        let drains = disruption >= Disruption::Drain && node.is_ready();
        if drains {
            let ahead = steps::prefetch(self.diffs);
            if !ahead.is_empty() {
                // While the pods still run; the download is the longest part.
                draft.run(
                    self.view,
                    Order::new(OperationKind::Converge, ahead, "download what is missing"),
                );
                return;
            }
        }
        let reservation = match permit(self.view, disruption) {
            Ok(reservation) => reservation,
            Err(gate) => {
                draft.gates.push(gate);
                return;
            }
        };
        if drains && !drain::drain(draft, self.view, node, Purpose::Disturb(reservation)) {
            return;
        }
        let mut order = Order::new(OperationKind::Converge, self.steps(&bootstrap, false), reason);
        order.secrets = bootstrap.secrets;
        order.mint = bootstrap.mint;
        order.reservation = reservation;
        if draft.run(self.view, order) {
            draft.drain = None;
        }
    }

    fn disruption(&self, bootstrap: &Bootstrap) -> Disruption {
        let of_diffs = self
            .diffs
            .iter()
            .map(PackageDiff::disruption)
            .max()
            .unwrap_or_default();
        let stops = self.obsolete.iter().any(|package| !package.units.is_empty());
        let of_obsolete = if stops {
            Disruption::Restart
        } else {
            Disruption::None
        };
        let of_bootstrap = if bootstrap.restart {
            Disruption::Restart
        } else {
            Disruption::None
        };
        let of_reboot = if self.reboot_is_due() {
            Disruption::Reboot
        } else {
            Disruption::None
        };
        of_diffs.max(of_obsolete).max(of_bootstrap).max(of_reboot)
    }

    fn steps(&self, bootstrap: &Bootstrap, force: bool) -> Vec<Step> {
        let mut all: Vec<Step> = self.claim().into_iter().collect();
        for package in self.obsolete.iter().rev() {
            all.extend(steps::remove(package, self.facts));
        }
        let restarted = bootstrap.restart.then_some(self.agent.0.name.as_str());
        all.extend(steps::converge(
            self.diffs,
            bootstrap.steps.clone(),
            self.facts,
            |package| force || restarted == Some(package),
        ));
        let reboots = all.iter().any(|step| matches!(step, Step::Reboot { .. }));
        if self.reboot_is_due() && !reboots {
            all.push(Step::Reboot {
                boot_id: self.facts.boot_id.clone(),
            });
        }
        all
    }

    fn reason(&self, draft: &Draft) -> String {
        if self.unclaimed() {
            "take possession of the host, install and join".into()
        } else if draft.differences.is_empty() {
            if self.reboot_is_due() {
                "a reboot is due".into()
            } else {
                "credentials of the join".into()
            }
        } else {
            draft.differences.join("; ")
        }
    }

    /// The next rung of the ladder. Gives the ids of tokens that are needed for it.
    fn repair(&self, draft: &mut Draft, ailment: &Ailment) -> Vec<String> {
        draft.repair = repair::in_force(self.view);
        if let Some(gate) = repair::frozen(self.view) {
            draft.gates.push(gate);
            return Vec::new();
        }
        let action = match repair::remedy(self.view, ailment) {
            Remedy::Act(action) => action,
            Remedy::Wait(until, gate) => {
                draft.gates.push(gate);
                draft.look_at(until);
                return Vec::new();
            }
            Remedy::GiveUp => {
                draft.evidence = Some(format!("{}; {}", ailment.cause, repair::evidence(self.facts)));
                if draft
                    .repair
                    .as_ref()
                    .is_none_or(|it| it.last_action != RepairAction::GiveUp)
                {
                    draft.repair = Some(repair::begun(self.view, RepairAction::GiveUp));
                }
                return Vec::new();
            }
        };
        let reservation = match permit(self.view, Disruption::Restart) {
            Ok(reservation) => reservation,
            Err(gate) => {
                draft.gates.push(gate);
                return Vec::new();
            }
        };
        self.begin_repair(draft, action, ailment, reservation)
    }

    fn begin_repair(
        &self,
        draft: &mut Draft,
        action: RepairAction,
        ailment: &Ailment,
        reservation: Option<Reservation>,
    ) -> Vec<String> {
        let anew = action == RepairAction::Rebootstrap;
        let bootstrap = if anew {
            join::bootstrap(self.view, self.facts, self.agent, true)
        } else {
            Bootstrap::default()
        };
        let needed = tokens_of(&bootstrap);
        let steps = match action {
            RepairAction::StartUnits => steps::start(self.diffs),
            RepairAction::RestartUnits => steps::restart(self.diffs),
            RepairAction::Reassert => self.steps(&bootstrap, true),
            RepairAction::Rebootstrap => self.steps(&bootstrap, false),
            RepairAction::GiveUp => Vec::new(),
        };
        let mut order = Order::new(
            OperationKind::Repair,
            steps,
            format!("{action:?}: {}", ailment.cause),
        );
        order.secrets = bootstrap.secrets;
        order.mint = bootstrap.mint;
        order.reservation = reservation;
        if draft.run(self.view, order) {
            draft.repair = Some(repair::begun(self.view, action));
        }
        needed
    }

    /// Nothing differs and nothing ails.
    fn rest(&self, draft: &mut Draft) {
        draft.drain = None;
        let node = self.view.own_node();
        draft.repair = repair::fading(self.view, node);
        match node {
            Some(node) => settle(draft, node),
            None => draft.wait("WaitingForNode", "the kubelet is about to register the Node"),
        }
    }
}

/// Waits for the Node to be Ready, and gives it back to the scheduler.
fn settle(draft: &mut Draft, node: &NodeFacts) {
    if !node.is_ready() {
        draft.wait(
            "WaitingForReady",
            format!("the Node is not Ready: {}", node.ready_message),
        );
    } else if let Some(patch) = node::uncordon(node) {
        draft.actions.push(Action::PatchNode {
            patch,
            reservation: None,
            reason: "what it was cordoned for is done".into(),
        });
    }
}

fn tokens_of(bootstrap: &Bootstrap) -> Vec<String> {
    let sources = bootstrap.secrets.values();
    sources
        .map(|source| match source {
            join::SecretSource::BootstrapKubeconfig { token } => token.clone(),
        })
        .collect()
}

/// What keeps a host from being touched, for the status.
pub(super) fn is_conflict(gate: &Gate) -> bool {
    gate.reason == "Conflict"
}
