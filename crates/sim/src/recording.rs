//! A run of a world as a recording: the same moments that a live page shows of a real cluster, in virtual time.
//!
//! What replicas see of slots is recorded by their own hosts, as everywhere; the world adds where each stands, what it
//! does to them, who lies, who is proven to, and how the run ended. Nothing reads it back: a run that is recorded is the
//! run that it was without.

use quorate_host::live::{Happening, Header, Load, Moment, Stand, State, Weight};
use quorate_protocol::types::{ReplicaId, Time};

use crate::network::{Cut, Party};
use crate::picture::Mark;
use crate::scenario::expect::Run;
use crate::words::{replicas, span};
use crate::world::Call;

/// Moments of one recording; what happens later is not in it.
const MOMENTS_MAX: usize = 200_000;
/// Between two words about where a replica stands that is where it stood, but for how far it is.
const STANDS_US: u64 = 50_000;
/// Between two looks at what a replica sees of slots.
const LANES_US: u64 = 5_000;
/// Length of a stretch of load.
const LOAD_US: u64 = 100_000;

/// What is known of one replica.
#[derive(Debug, Clone, Default)]
struct Member {
    stand: Stand,
    alarms: u64,
    /// When its slots were looked at last.
    looked: u64,
    told: bool,
}

/// A recording that grows.
#[derive(Debug)]
pub struct Recording {
    header: Header,
    began: Time,
    moments: Vec<Moment>,
    members: Vec<Member>,
    left_out: bool,
}

impl Recording {
    pub(crate) fn new(header: Header, began: Time) -> Self {
        let members = (0..header.n).map(|_| Member::default()).collect();
        Self { header, began, moments: Vec::new(), members, left_out: false }
    }

    /// Microseconds of the recording.
    pub(crate) fn at(&self, now: Time) -> u64 {
        now.since(self.began)
    }

    fn push(&mut self, moment: Moment) {
        if self.moments.len() < MOMENTS_MAX {
            self.moments.push(moment);
        } else if !self.left_out {
            self.left_out = true;
            let what =
                format!("the recording ends here, at its bound of {MOMENTS_MAX} moments; the run went on");
            let t = moment.at();
            self.moments.push(Moment::Event(Happening { t, replica: None, what, weight: Weight::Warning }));
        }
    }

    fn event(&mut self, now: Time, replica: Option<ReplicaId>, (weight, what): (Weight, String)) {
        let (t, replica) = (self.at(now), replica.map(|id| id.0));
        self.push(Moment::Event(Happening { t, replica, what, weight }));
    }

    /// Links are cut for a while.
    pub(crate) fn cut(&mut self, cut: &Cut) {
        let (from, to) = (replicas(&ids(cut.from)), replicas(&ids(cut.to)));
        let long = span(cut.end.since(cut.start));
        let what = format!("for {long}, or until everything heals, nothing that {from} says reaches {to}");
        self.event(cut.start, None, (Weight::Deed, what));
    }

    /// Something happened that a picture shows, too.
    pub(crate) fn note(&mut self, now: Time, mark: &Mark) {
        let (replica, weight, what) = match mark {
            Mark::Down(id) => (*id, Weight::Deed, "its process dies".to_owned()),
            Mark::Up(id) => (*id, Weight::Deed, "it is started again".to_owned()),
            Mark::Sleeps(id, until) => {
                (*id, Weight::Deed, format!("its process sleeps for {}", span(until.since(now))))
            }
            Mark::Executes(id, seq, true) => {
                (*id, Weight::Note, format!("it installs the state after slot {seq}"))
            }
            Mark::Proves(id, culprit, offence) => {
                self.alarmed(*id);
                (*id, Weight::Alarm, format!("it holds proof that replica {culprit} {offence}"))
            }
            Mark::Alarm(id, words) => {
                self.alarmed(*id);
                (*id, Weight::Alarm, words.clone())
            }
            Mark::Says(Party::Replica(id), words) => (*id, Weight::Deed, words.clone()),
            Mark::Everywhere(words) => {
                self.event(now, None, (Weight::Deed, words.clone()));
                return;
            }
            Mark::Sent(_)
            | Mark::Stands(..)
            | Mark::Executes(..)
            | Mark::Lies(..)
            | Mark::Says(Party::Client(_), _) => return,
        };
        self.event(now, Some(replica), (weight, what));
    }

    fn alarmed(&mut self, id: ReplicaId) {
        if let Some(member) = self.members.get_mut(usize::from(id.0)) {
            member.alarms += 1;
        }
    }

    /// Where a replica stands after a step.
    pub(crate) fn stands(&mut self, now: Time, stand: Stand) {
        let t = self.at(now);
        let Some(member) = self.members.get_mut(usize::from(stand.id)) else { return };
        let stand = Stand { t, alarms: member.alarms, ..stand };
        let before = &member.stand;
        let elsewhere = |stand: &Stand| (stand.up, stand.state, stand.view, stand.primary);
        let moved = elsewhere(before) != elsewhere(&stand) || !member.told;
        let same = Stand { t: before.t, ..stand.clone() } == *before;
        // A first lie is seen when it is told, not when somebody is convicted of it.
        let lied = member.told && stand.lies > 0 && before.lies == 0;
        if moved || lied || !same && t >= before.t + STANDS_US {
            let says = (member.told && moved).then(|| entered(&stand)).flatten();
            (member.told, member.stand) = (true, stand.clone());
            let id = ReplicaId(stand.id);
            let behaviour = stand.behaviour.clone().unwrap_or_default();
            self.push(Moment::Replica(stand));
            if let Some(what) = says {
                self.event(now, Some(id), (Weight::Note, what));
            }
            if lied {
                self.event(now, Some(id), (Weight::Warning, format!("it told its first lie ({behaviour})")));
            }
        }
    }

    /// Whether to look again what a replica sees of slots.
    pub(crate) fn is_due(&self, now: Time, id: ReplicaId) -> bool {
        let looked = self.members.get(usize::from(id.0)).map_or(0, |member| member.looked);
        self.at(now) >= looked + LANES_US
    }

    /// What a replica saw of slots.
    pub(crate) fn saw(&mut self, now: Time, id: ReplicaId, moments: Vec<Moment>) {
        let t = self.at(now);
        if let Some(member) = self.members.get_mut(usize::from(id.0)) {
            member.looked = t;
        }
        moments.into_iter().for_each(|moment| self.push(moment));
    }

    /// The whole of it, in the order of time: with what clients asked and were answered, and how the run ended at `now`.
    #[must_use]
    pub fn finish(mut self, now: Time, calls: Option<&[Call]>, run: &Run) -> (Header, Vec<Moment>) {
        self.moments.extend(self.load(now, calls.unwrap_or_default()));
        let t = self.at(now);
        if let Some(violation) = &run.violation {
            let what = violation.to_string();
            self.moments.push(Moment::Event(Happening { t, replica: None, what, weight: Weight::Alarm }));
        }
        let lines = run.verdict.to_string().lines().map(str::to_owned).collect();
        // What was foretold and did not come to be: a cut that would have begun after the end.
        self.moments.retain(|moment| moment.at() <= t);
        self.moments.push(Moment::Verdict { t, lines });
        self.moments.sort_by_key(Moment::at);
        (self.header, self.moments)
    }

    /// What clients got, stretch by stretch.
    fn load(&self, end: Time, calls: &[Call]) -> Vec<Moment> {
        let returned = |call: &Call| call.returned.as_ref().map(|(at, _)| *at);
        let mut done: Vec<(Time, u64)> =
            calls.iter().filter_map(|call| returned(call).map(|at| (at, at.since(call.invoked)))).collect();
        done.sort_unstable();
        let mut asked: Vec<Time> = calls.iter().map(|call| call.invoked).collect();
        asked.sort_unstable();
        let mut moments = Vec::new();
        let stretches = self.at(end).div_ceil(LOAD_US).min(MOMENTS_MAX as u64 / 4);
        for stretch in 1..=stretches {
            let (from, until) =
                (self.began.plus((stretch - 1) * LOAD_US), self.began.plus(stretch * LOAD_US));
            let before = done.partition_point(|(at, _)| *at < from);
            let by_now = done.partition_point(|(at, _)| *at < until);
            let mut took: Vec<u64> = done[before..by_now].iter().map(|(_, us)| *us).collect();
            took.sort_unstable();
            let share =
                |per_cent: usize| took.get((took.len() * per_cent).div_ceil(100).saturating_sub(1)).copied();
            let asked = asked.partition_point(|at| *at < until) as u64;
            let done = by_now as u64;
            moments.push(Moment::Load(Load {
                t: self.at(until.min(end)),
                per_second: took.len() as u64 * (1_000_000 / LOAD_US),
                p50_us: share(50),
                p99_us: share(99),
                done,
                in_flight: asked.saturating_sub(done),
                failed: 0,
            }));
        }
        moments
    }
}

/// The replicas of a set, one bit each.
fn ids(bits: u64) -> Vec<u16> {
    (0..64).filter(|id| bits >> id & 1 == 1).collect()
}

/// What to say of a replica that stands elsewhere than before, unless it died: that is said already.
fn entered(stand: &Stand) -> Option<String> {
    let Stand { view, primary, .. } = stand;
    match stand.state {
        State::Normal => Some(format!("in view {view}; its primary is {primary}")),
        State::ChangingView => {
            Some(format!("left its view, and waits for view {view} of primary {primary} to open"))
        }
        State::CatchingUp => Some("fetches what it missed".to_owned()),
        State::Stopping => Some("stops: proposes nothing any more, and hands over what it leads".to_owned()),
        State::Healing => Some("silent until it knows again what it said, or has the right state".to_owned()),
        State::Out => Some("its word counts no more".to_owned()),
        State::Halted => Some("halted".to_owned()),
        State::Stopped | State::Unreachable => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
