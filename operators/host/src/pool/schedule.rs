//! Who connects next: pure, with the time given.
//!
//! Hosts wait in lines by data centre and jump host, and the lines take turns, so a long line delays no other.
//! There are two lanes. Hosts whose last connection failed, and connections that take long, go into the lane of
//! the suspects, which has its own, small number of places: however many hosts hang, the others have theirs.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

/// How much may go on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions, and attempts at one.
    pub sessions: usize,
    /// Of these, to one data centre.
    pub per_idc: usize,
    /// Of these, through one jump host.
    pub per_jump: usize,
    /// Of these, through one jump host and not yet logged in: an sshd drops connections at random above 10.
    pub logins_per_jump: usize,
    /// Beside these: sessions with hosts whose last connection failed, and attempts that take long.
    pub suspects: usize,
    /// New connections a second.
    pub starts_per_second: u32,
    /// New connections at once, after a pause.
    pub burst: u32,
}

impl Default for Limits {
    /// For about 1 GiB of ssh processes, and sshds as they are shipped.
    fn default() -> Self {
        Self {
            sessions: 96,
            per_idc: 64,
            per_jump: 24,
            logins_per_jump: 8,
            suspects: 32,
            starts_per_second: 40,
            burst: 20,
        }
    }
}

/// A place, waited for or taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This one may connect.
    Start(Ticket),
    /// Nobody yet; somebody at this time.
    At(Duration),
    /// Nobody until somebody finishes or comes.
    Nobody,
}

/// What becomes of a connection that takes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slow {
    /// It may take its time.
    GoOn,
    /// It is to be given up, and tried again when its ticket is called again.
    WaitAgain,
}

/// Hosts that wait and hosts that are connected.
pub(super) struct Scheduler {
    lanes: [Lane; 2],
    places: HashMap<Ticket, Place>,
    suspects: BTreeSet<String>,
    bucket: Bucket,
    last_ticket: u64,
    last_lane: usize,
}

const MAIN: usize = 0;
const SUSPECT: usize = 1;

/// Where a ticket is.
struct Place {
    host: String,
    lane: usize,
    line: Line,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Connecting,
    Connected,
}

/// A line to wait in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    idc: String,
    jump: Option<String>,
}

impl Scheduler {
    pub(super) fn new(limits: Limits) -> Self {
        let suspects = Limits {
            sessions: limits.suspects,
            ..limits
        };
        Self {
            lanes: [Lane::new(limits), Lane::new(suspects)],
            places: HashMap::new(),
            suspects: BTreeSet::new(),
            bucket: Bucket::new(limits.starts_per_second, limits.burst),
            last_ticket: 0,
            last_lane: SUSPECT,
        }
    }

    /// A host gets in line.
    pub(super) fn enter(&mut self, host: &str, idc: &str, jump: Option<&str>) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        let place = Place {
            host: host.into(),
            lane: if self.suspects.contains(host) {
                SUSPECT
            } else {
                MAIN
            },
            line: Line {
                idc: idc.into(),
                jump: jump.map(str::to_owned),
            },
            state: State::Waiting,
        };
        self.lanes[place.lane].enter(ticket, &place.line);
        self.places.insert(ticket, place);
        ticket
    }

    /// Who may connect now. To be asked until it says nobody.
    pub(super) fn next(&mut self, now: Duration) -> Next {
        for lane in [1 - self.last_lane, self.last_lane] {
            let Some(line) = self.lanes[lane].ready() else {
                continue;
            };
            if let Err(at) = self.bucket.take(now) {
                return Next::At(at);
            }
            if let Some(ticket) = self.lanes[lane].start(&line)
                && let Some(place) = self.places.get_mut(&ticket)
            {
                place.state = State::Connecting;
                self.last_lane = lane;
                return Next::Start(ticket);
            }
        }
        Next::Nobody
    }

    /// A connection takes long: it leaves its place to others. With room among the suspects it goes on there;
    /// without, it must be given up, and its ticket gets in line as a suspect.
    pub(super) fn slow(&mut self, ticket: Ticket) -> Slow {
        let Some(place) = self.places.get_mut(&ticket) else {
            return Slow::GoOn;
        };
        if place.state != State::Connecting || place.lane == SUSPECT {
            return Slow::GoOn;
        }
        self.lanes[MAIN].leave(&place.line, true);
        place.lane = SUSPECT;
        let suspects = &mut self.lanes[SUSPECT];
        if suspects.has_room() {
            suspects.join(&place.line);
            return Slow::GoOn;
        }
        self.suspects.insert(place.host.clone());
        place.state = State::Waiting;
        suspects.enter(ticket, &place.line);
        Slow::WaitAgain
    }

    /// The attempt to connect ended.
    pub(super) fn connected(&mut self, ticket: Ticket, success: bool) {
        let Some(place) = self.places.get_mut(&ticket) else {
            return;
        };
        if place.state == State::Connecting {
            place.state = State::Connected;
            self.lanes[place.lane].logged_in(&place.line);
        }
        if success {
            self.suspects.remove(&place.host);
        } else {
            self.suspects.insert(place.host.clone());
        }
    }

    /// The place is given back, or no longer waited for.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        let Some(place) = self.places.remove(&ticket) else {
            return;
        };
        let lane = &mut self.lanes[place.lane];
        match place.state {
            State::Waiting => lane.give_up(ticket, &place.line),
            State::Connecting => lane.leave(&place.line, true),
            State::Connected => lane.leave(&place.line, false),
        }
    }

    /// The host is gone for good.
    pub(super) fn forget(&mut self, host: &str) {
        self.suspects.remove(host);
    }
}

/// One lane: its lines, and what goes on in it.
struct Lane {
    limits: Limits,
    lines: BTreeMap<Line, VecDeque<Ticket>>,
    /// The line that was served last, and for each data centre its last one.
    last_idc: Option<String>,
    last_line: BTreeMap<String, Line>,
    sessions: usize,
    per_idc: HashMap<String, usize>,
    per_jump: HashMap<String, usize>,
    logins_per_jump: HashMap<String, usize>,
}

impl Lane {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            lines: BTreeMap::new(),
            last_idc: None,
            last_line: BTreeMap::new(),
            sessions: 0,
            per_idc: HashMap::new(),
            per_jump: HashMap::new(),
            logins_per_jump: HashMap::new(),
        }
    }

    fn enter(&mut self, ticket: Ticket, line: &Line) {
        self.lines.entry(line.clone()).or_default().push_back(ticket);
    }

    fn give_up(&mut self, ticket: Ticket, line: &Line) {
        if let Some(waiting) = self.lines.get_mut(line) {
            waiting.retain(|other| *other != ticket);
            self.drop_empty(line);
        }
    }

    fn drop_empty(&mut self, line: &Line) {
        if self.lines.get(line).is_some_and(VecDeque::is_empty) {
            self.lines.remove(line);
            if !self.lines.keys().any(|other| other.idc == line.idc) {
                self.last_line.remove(&line.idc);
            }
        }
    }

    fn has_room(&self) -> bool {
        self.sessions < self.limits.sessions
    }

    /// The line whose turn it is among those that may go on.
    fn ready(&self) -> Option<Line> {
        if !self.has_room() {
            return None;
        }
        let idcs: BTreeSet<&String> = self
            .lines
            .keys()
            .map(|line| &line.idc)
            .filter(|idc| count(&self.per_idc, idc) < self.limits.per_idc)
            .collect();
        after(&idcs, self.last_idc.as_ref().as_ref()).find_map(|idc| {
            let lines: BTreeSet<&Line> = self
                .lines
                .keys()
                .filter(|line| line.idc == **idc && self.jump_has_room(line))
                .collect();
            let last = self.last_line.get(*idc);
            after(&lines, last.as_ref()).next().map(|line| (*line).clone())
        })
    }

    fn jump_has_room(&self, line: &Line) -> bool {
        line.jump.as_ref().is_none_or(|jump| {
            count(&self.per_jump, jump) < self.limits.per_jump
                && count(&self.logins_per_jump, jump) < self.limits.logins_per_jump
        })
    }

    fn start(&mut self, line: &Line) -> Option<Ticket> {
        let ticket = self.lines.get_mut(line)?.pop_front()?;
        self.last_idc = Some(line.idc.clone());
        self.last_line.insert(line.idc.clone(), line.clone());
        self.drop_empty(line);
        self.join(line);
        Some(ticket)
    }

    fn join(&mut self, line: &Line) {
        self.sessions += 1;
        *self.per_idc.entry(line.idc.clone()).or_default() += 1;
        if let Some(jump) = &line.jump {
            *self.per_jump.entry(jump.clone()).or_default() += 1;
            *self.logins_per_jump.entry(jump.clone()).or_default() += 1;
        }
    }

    fn logged_in(&mut self, line: &Line) {
        if let Some(jump) = &line.jump {
            lower(&mut self.logins_per_jump, jump);
        }
    }

    fn leave(&mut self, line: &Line, connecting: bool) {
        if connecting {
            self.logged_in(line);
        }
        self.sessions -= 1;
        lower(&mut self.per_idc, &line.idc);
        if let Some(jump) = &line.jump {
            lower(&mut self.per_jump, jump);
        }
    }
}

/// The members behind `last`, and then the others.
fn after<'a, T: Ord>(set: &'a BTreeSet<T>, last: Option<&'a T>) -> impl Iterator<Item = &'a T> {
    let (behind, before) = match last {
        Some(last) => (
            (Bound::Excluded(last), Bound::Unbounded),
            (Bound::Unbounded, Bound::Included(last)),
        ),
        None => (
            (Bound::Unbounded, Bound::Unbounded),
            // Nothing: all of them come already.
            (Bound::Unbounded, Bound::Unbounded),
        ),
    };
    let rest = if last.is_some() { usize::MAX } else { 0 };
    set.range(behind).chain(set.range(before).take(rest))
}

fn count(counts: &HashMap<String, usize>, key: &str) -> usize {
    counts.get(key).copied().unwrap_or(0)
}

fn lower(counts: &mut HashMap<String, usize>, key: &str) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// Lets so many through a second.
struct Bucket {
    /// Between two.
    interval: Duration,
    burst: u32,
    /// When the bucket would be full again.
    full_at: Duration,
}

impl Bucket {
    fn new(per_second: u32, burst: u32) -> Self {
        Self {
            interval: Duration::from_secs(1) / per_second.max(1),
            burst: burst.max(1),
            full_at: Duration::ZERO,
        }
    }

    /// Takes one, or says when there is one.
    fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let full_at = self.full_at.max(now) + self.interval;
        let earliest = full_at.saturating_sub(self.interval * self.burst);
        if earliest > now {
            return Err(earliest);
        }
        self.full_at = full_at;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Limits = Limits {
        sessions: 1000,
        per_idc: 1000,
        per_jump: 1000,
        logins_per_jump: 1000,
        suspects: 1000,
        starts_per_second: 1_000_000,
        burst: 1_000_000,
    };

    fn start_all(scheduler: &mut Scheduler) -> Vec<Ticket> {
        let mut started = vec![];
        while let Next::Start(ticket) = scheduler.next(Duration::ZERO) {
            started.push(ticket);
        }
        started
    }

    #[test]
    fn data_centres_and_jump_hosts_take_turns() {
        let mut scheduler = Scheduler::new(WIDE);
        let mut names = HashMap::new();
        for (idc, jump, hosts) in [
            ("a", None, 5),
            ("b", Some("b1"), 3),
            ("b", Some("b2"), 1),
            ("c", None, 1),
        ] {
            for _ in 0..hosts {
                let ticket = scheduler.enter("h", idc, jump);
                names.insert(ticket, jump.unwrap_or(idc));
            }
        }
        let order: Vec<&str> = start_all(&mut scheduler)
            .iter()
            .map(|ticket| names[ticket])
            .collect();
        assert_eq!(order, ["a", "b1", "c", "a", "b2", "a", "b1", "a", "b1", "a"]);
    }

    #[test]
    fn no_limit_is_exceeded_and_a_full_line_blocks_no_other() {
        let limits = Limits {
            sessions: 6,
            per_idc: 4,
            per_jump: 3,
            logins_per_jump: 2,
            ..WIDE
        };
        let mut scheduler = Scheduler::new(limits);
        let through_jump: Vec<Ticket> = (0..5).map(|_| scheduler.enter("j", "a", Some("b1"))).collect();
        let direct: Vec<Ticket> = (0..5).map(|_| scheduler.enter("d", "a", None)).collect();
        let other: Vec<Ticket> = (0..5).map(|_| scheduler.enter("o", "z", None)).collect();
        let first = start_all(&mut scheduler);
        let started =
            |tickets: &[Ticket], of: &[Ticket]| of.iter().filter(|ticket| tickets.contains(ticket)).count();
        assert_eq!(first.len(), 6);
        assert!(started(&first, &through_jump) <= 2);
        assert!(started(&first, &through_jump) + started(&first, &direct) <= 4);
        assert!(started(&first, &other) >= 2);
        // Logged in, a jump host may take more, up to its sessions.
        for ticket in &first {
            scheduler.connected(*ticket, true);
        }
        for ticket in first.iter().filter(|ticket| !through_jump.contains(ticket)) {
            scheduler.leave(*ticket);
        }
        let mut all = first.clone();
        loop {
            let more = start_all(&mut scheduler);
            if more.is_empty() {
                break;
            }
            for ticket in more.iter().filter(|ticket| !through_jump.contains(ticket)) {
                scheduler.leave(*ticket);
            }
            all.extend(more);
        }
        assert_eq!(started(&all, &through_jump), 3, "the sessions of one jump host");
        assert_eq!(started(&all, &direct) + started(&all, &other), 10);
    }

    #[test]
    fn hanging_hosts_leave_their_places_to_others() {
        let limits = Limits {
            sessions: 2,
            suspects: 3,
            ..WIDE
        };
        let mut scheduler = Scheduler::new(limits);
        let hung: Vec<Ticket> = (0..2).map(|_| scheduler.enter("hung", "a", None)).collect();
        let good = scheduler.enter("good", "a", None);
        assert_eq!(start_all(&mut scheduler), hung);
        for ticket in &hung {
            scheduler.slow(*ticket);
        }
        assert_eq!(start_all(&mut scheduler), [good]);
        // Known to hang, they no longer take places of the others, not even at first.
        for ticket in hung {
            scheduler.connected(ticket, false);
            scheduler.leave(ticket);
        }
        scheduler.leave(good);
        let again: Vec<Ticket> = (0..9).map(|_| scheduler.enter("hung", "a", None)).collect();
        let good: Vec<Ticket> = (0..2).map(|_| scheduler.enter("good", "a", None)).collect();
        let started = start_all(&mut scheduler);
        assert_eq!(started.iter().filter(|ticket| again.contains(ticket)).count(), 3);
        assert!(good.iter().all(|ticket| started.contains(ticket)));
        // Until it answers again, or is gone.
        scheduler.connected(again[0], true);
        assert!(scheduler.suspects.is_empty());
        scheduler.connected(again[1], false);
        scheduler.forget("hung");
        assert!(scheduler.suspects.is_empty());
    }

    #[test]
    fn slow_ones_wait_again_when_the_suspects_have_no_room() {
        let limits = Limits {
            sessions: 2,
            suspects: 1,
            ..WIDE
        };
        let mut scheduler = Scheduler::new(limits);
        let slow: Vec<Ticket> = (0..2).map(|_| scheduler.enter("slow", "a", None)).collect();
        let good: Vec<Ticket> = (0..2).map(|_| scheduler.enter("good", "a", None)).collect();
        assert_eq!(start_all(&mut scheduler), slow);
        assert_eq!(scheduler.slow(slow[0]), Slow::GoOn);
        assert_eq!(scheduler.slow(slow[1]), Slow::WaitAgain);
        assert_eq!(
            start_all(&mut scheduler),
            good,
            "the main lane has its places back"
        );
        // Its turn comes when there is room, and then it may take its time.
        scheduler.leave(slow[0]);
        assert_eq!(start_all(&mut scheduler), [slow[1]]);
        assert_eq!(scheduler.slow(slow[1]), Slow::GoOn);
        scheduler.leave(slow[1]);
        scheduler.leave(good[0]);
        scheduler.leave(good[1]);
        assert!(
            scheduler
                .lanes
                .iter()
                .all(|lane| lane.sessions == 0 && lane.lines.is_empty())
        );
    }

    #[test]
    fn starts_are_spread_over_time() {
        let limits = Limits {
            starts_per_second: 10,
            burst: 3,
            ..WIDE
        };
        let mut scheduler = Scheduler::new(limits);
        for _ in 0..100 {
            scheduler.enter("h", "a", None);
        }
        let mut now = Duration::from_secs(5);
        let mut started = 0;
        while started < 13 {
            match scheduler.next(now) {
                Next::Start(_) => started += 1,
                Next::At(at) => {
                    assert!(at > now);
                    now = at;
                }
                Next::Nobody => panic!("somebody waits"),
            }
            assert!(
                started <= 3 || now >= Duration::from_secs(5) + Duration::from_millis(100) * (started - 3)
            );
        }
        assert_eq!(now, Duration::from_secs(6));
    }

    #[test]
    fn everything_is_given_back() {
        let mut scheduler = Scheduler::new(WIDE);
        let tickets: Vec<Ticket> = (0..4).map(|_| scheduler.enter("h", "a", Some("b"))).collect();
        scheduler.leave(tickets[3]);
        assert_eq!(start_all(&mut scheduler).len(), 3);
        scheduler.connected(tickets[0], true);
        scheduler.slow(tickets[1]);
        for ticket in tickets {
            scheduler.leave(ticket);
            scheduler.leave(ticket);
        }
        for lane in &scheduler.lanes {
            assert_eq!(lane.sessions, 0);
            assert!(lane.lines.is_empty() && lane.per_idc.is_empty() && lane.per_jump.is_empty());
            assert!(lane.logins_per_jump.is_empty() && lane.last_line.is_empty());
        }
        assert!(scheduler.places.is_empty());
    }
}
