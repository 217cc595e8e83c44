//! Everything that is known of a run while it runs, in the order in which it came: the ring that the page asks, and the
//! file that keeps it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use quorate_host::live::{
    About, Disagreement, EXCERPT_MAX, Excerpt, Happening, Header, Moment, RING_MAX, Ring, Stand, State,
    Weight,
};

use super::clock::Clock;
use crate::recording::RecordingFile;

/// What one replica said of itself so far.
#[derive(Debug, Default)]
struct Member {
    clock: Clock,
    /// Number of its next moment.
    next: u64,
    /// When it was asked last, and when before that.
    asked: u64,
    before: u64,
    /// Where it stood when it was heard last; nothing before that.
    stand: Option<Stand>,
    /// It was killed on purpose, and not started again.
    dead: bool,
    /// It is not heard.
    is_silent: bool,
    /// When its silence was told last.
    told: u64,
    /// When it was told last that its history is another one than the others'; nothing while it is the same.
    differs: Option<u64>,
}

/// Between two words about one that is silent, in microseconds: a page that comes later sees them too.
const SILENCE_US: u64 = 1_000_000;

/// Between two words about one whose history is another one, in microseconds, for the same reason.
const DIFFERS_US: u64 = 10_000_000;

/// Disagreements that are remembered.
const REMEMBERED_MAX: usize = 256;

/// What is known, and where it goes.
#[derive(Debug)]
pub(super) struct Stage {
    began: Instant,
    ring: Ring,
    file: Option<RecordingFile>,
    members: Vec<Member>,
    /// The disagreements that were told last: what one says otherwise all others see.
    disagreements: VecDeque<(u16, u64, String)>,
    /// When a page asked last, and for the moments up to which number it has by then.
    shown: Option<(Instant, u64)>,
}

/// A stage that several have.
#[derive(Debug, Clone)]
pub(super) struct Shared(Arc<Mutex<Stage>>);

impl Shared {
    pub(super) fn new(stage: Stage) -> Self {
        Self(Arc::new(Mutex::new(stage)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Stage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Now, in microseconds of the wall clock.
pub(super) fn wall_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(0)
}

impl Stage {
    /// An empty one; its recording begins now, and `header` says so by the wall clock.
    pub(super) fn new(header: Header, file: Option<RecordingFile>) -> Self {
        let members = (0..header.n).map(|_| Member::default()).collect();
        let ring = Ring::with_room(header.clone(), RING_MAX * usize::from(header.n));
        Self { began: Instant::now(), ring, file, members, disagreements: VecDeque::new(), shown: None }
    }

    /// Microseconds since the recording began.
    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// How many replicas there are.
    pub(super) fn size(&self) -> u16 {
        self.ring.header().n
    }

    /// Something is known.
    pub(super) fn push(&mut self, moment: Moment) {
        if let Some(file) = &mut self.file {
            file.add(&moment);
        }
        self.ring.push(moment);
    }

    /// Something happened just now.
    pub(super) fn happened(&mut self, replica: Option<u16>, weight: Weight, what: String) {
        let t = self.now_us();
        self.push(Moment::Event(Happening { t, replica, what, weight }));
    }

    /// What a page gets that asks for the moments from a number on.
    pub(super) fn excerpt(&mut self, from: u64) -> Excerpt {
        let excerpt = self.ring.from(from);
        self.shown = Some((Instant::now(), excerpt.next));
        excerpt
    }

    /// When a page asked last, and whether it has everything.
    pub(super) fn shown(&self) -> Option<(Instant, bool)> {
        self.shown.map(|(at, next)| (at, next == self.ring.next()))
    }

    /// A replica is asked now; says from which moment on.
    pub(super) fn ask(&mut self, replica: u16) -> u64 {
        let now = self.now_us();
        let Some(member) = self.members.get_mut(usize::from(replica)) else { return 0 };
        (member.before, member.asked) = (member.asked, now);
        member.next
    }

    /// A replica answered. Says whether to ask on at once: there is more, or it was started again meanwhile and has to be
    /// asked from its beginning.
    pub(super) fn heard(&mut self, replica: u16, excerpt: Excerpt) -> bool {
        let (now, own) = (self.now_us(), self.ring.header().began);
        let Some(member) = self.members.get_mut(usize::from(replica)) else { return false };
        let from = member.next;
        if member.clock.began(excerpt.began, own) && from > 0 {
            member.next = 0;
            return true;
        }
        member.next = excerpt.next;
        // What a dead one said before may come after its end.
        member.is_silent = member.dead;
        let times =
            excerpt.moments.iter().filter(|moment| !matches!(moment, Moment::Header(_))).map(Moment::at);
        let bounds = times.clone().min().zip(times.max());
        // What is there from its beginning may be of any time before now.
        let since = if from == 0 { 0 } else { member.before };
        if let Some(bounds) = bounds {
            member.clock.heard(bounds, (since, now));
        }
        let earlier_us = member.clock.earlier_us();
        let more = excerpt.moments.len() >= EXCERPT_MAX;
        if excerpt.lost > 0 && from > 0 {
            let what = format!("{} moments of it were gone before anybody asked for them", excerpt.lost);
            self.happened(Some(replica), Weight::Note, what);
        }
        for moment in excerpt.moments {
            self.take(replica, moment.shifted(earlier_us));
        }
        more
    }

    /// Takes a moment of a replica's recording. What it says of another one is not its to say.
    fn take(&mut self, replica: u16, moment: Moment) {
        let moment = match moment {
            Moment::Header(_) | Moment::Load(_) | Moment::Verdict { .. } => return,
            Moment::Replica(stand) if stand.id == replica => {
                if let Some(member) = self.members.get_mut(usize::from(replica)) {
                    member.stand = Some(stand.clone());
                }
                Moment::Replica(stand)
            }
            Moment::Slot(slot) if slot.replica == replica => Moment::Slot(slot),
            Moment::Replica(_) | Moment::Slot(_) => return,
            Moment::Event(event) => Moment::Event(Happening { replica: Some(replica), ..event }),
            Moment::Disagreement(it) if self.is_told(&it) => return,
            other @ Moment::Disagreement(_) => other,
        };
        self.push(moment);
    }

    /// Whether somebody else saw the same before.
    fn is_told(&mut self, it: &Disagreement) -> bool {
        let known = (it.replica, it.seq, it.says.clone());
        if self.disagreements.contains(&known) {
            return true;
        }
        if self.disagreements.len() >= REMEMBERED_MAX {
            self.disagreements.pop_front();
        }
        self.disagreements.push_back(known);
        false
    }

    /// A replica was killed, or started again; until it answers nobody hears of it.
    pub(super) fn struck(&mut self, replica: u16, dead: bool) {
        let Some(member) = self.members.get_mut(usize::from(replica)) else { return };
        (member.dead, member.is_silent, member.told) = (dead, true, 0);
        self.tell_silence(replica);
    }

    /// A replica did not answer.
    pub(super) fn silent(&mut self, replica: u16) {
        let Some(member) = self.members.get_mut(usize::from(replica)) else { return };
        if !member.is_silent {
            (member.is_silent, member.told) = (true, 0);
        }
        self.tell_silence(replica);
    }

    fn tell_silence(&mut self, replica: u16) {
        let (t, n) = (self.now_us(), self.size());
        let Some(member) = self.members.get_mut(usize::from(replica)) else { return };
        if member.told > 0 && t < member.told + SILENCE_US {
            return;
        }
        member.told = t.max(1);
        let state = if member.dead { State::Stopped } else { State::Unreachable };
        let links = (0..n).map(|other| other == replica).collect();
        let before = member.stand.clone().unwrap_or_default();
        self.push(Moment::Replica(Stand { t, id: replica, up: false, state, links, pending: 0, ..before }));
    }

    /// A slot that all who answer executed, and who they are; none if there are not two.
    pub(super) fn common_slot(&self) -> Option<(u64, Vec<u16>)> {
        let heard = self.members.iter().filter(|member| !member.is_silent);
        let stands: Vec<(u16, u64)> = heard
            .filter_map(|member| member.stand.as_ref())
            .map(|stand| (stand.id, stand.executed))
            .collect();
        let seq = stands.iter().map(|(_, executed)| *executed).min().filter(|seq| *seq > 0)?;
        (stands.len() > 1).then(|| (seq, stands.into_iter().map(|(id, _)| id).collect()))
    }

    /// Replicas say that these are the heads of their histories after a slot. Whoever says something else than most is
    /// told of when it begins to, and now and then while it does.
    pub(super) fn compared(&mut self, seq: u64, heads: &[(u16, String)]) {
        let votes = |head: &String| heads.iter().filter(|(_, other)| other == head).count();
        // Of several that as many say, the one of the lowest id.
        let most = heads.iter().rev().max_by_key(|(_, head)| votes(head)).map(|(_, head)| head.clone());
        let Some(most) = most else { return };
        let now = self.now_us();
        for (replica, head) in heads {
            let Some(member) = self.members.get_mut(usize::from(*replica)) else { continue };
            let told = member.differs.filter(|_| *head != most);
            let tells = *head != most && told.is_none_or(|at| now >= at + DIFFERS_US);
            member.differs = if tells { Some(now) } else { told };
            if tells {
                self.disagrees(*replica, seq, (About::History, head.clone(), most.clone()));
            }
        }
    }

    /// A replica says something else than others.
    pub(super) fn disagrees(
        &mut self,
        replica: u16,
        seq: u64,
        (about, says, others): (About, String, String),
    ) {
        let t = self.now_us();
        self.push(Moment::Disagreement(Disagreement { t, replica, seq, about, says, others }));
    }

    /// Writes what the file lacks. Says what went wrong, once: the run goes on without it then.
    pub(super) fn flush(&mut self) -> Option<String> {
        let error = self.file.as_mut()?.flush().err()?;
        self.file = None;
        let what = format!("{error}; nothing more is recorded, and the run goes on");
        self.happened(None, Weight::Warning, what.clone());
        Some(what)
    }

    /// The file, if one is written.
    pub(super) fn file(&self) -> Option<&RecordingFile> {
        self.file.as_ref()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use quorate_host::live::SlotLane;

    use super::*;

    const OWN: u64 = 1_800_000_000_000_000;

    fn stage() -> Stage {
        Stage::new(Header { n: 4, began: OWN, ..Header::default() }, None)
    }

    fn stand(id: u16, t: u64, executed: u64) -> Moment {
        Moment::Replica(Stand { id, t, executed, up: true, view: 3, ..Stand::default() })
    }

    fn excerpt(next: u64, began: u64, moments: Vec<Moment>) -> Excerpt {
        Excerpt { next, lost: 0, began, moments }
    }

    fn told(stage: &Stage) -> Vec<Moment> {
        stage.ring.from(0).moments.into_iter().skip(1).collect()
    }

    #[test]
    fn what_a_replica_says_is_kept_by_our_clock_and_what_it_says_of_others_is_not() {
        let mut stage = stage();
        assert_eq!(stage.ask(1), 0);
        let slot = |replica| Moment::Slot(SlotLane { replica, t: 20, ..SlotLane::default() });
        let moments =
            vec![Moment::Header(Header::default()), stand(1, 10, 7), stand(2, 10, 9), slot(1), slot(3)];
        // It began as many microseconds before us, so what it says is of our beginning.
        assert!(!stage.heard(1, excerpt(5, OWN - 50, moments)));
        let kept = told(&stage);
        assert_eq!(kept.len(), 2, "{kept:?}");
        assert!(
            matches!(&kept[0], Moment::Replica(stand) if (stand.id, stand.t, stand.executed) == (1, 0, 7))
        );
        assert!(matches!(&kept[1], Moment::Slot(slot) if slot.replica == 1));
        assert_eq!(stage.ask(1), 5, "it is asked on from there");
    }

    #[test]
    fn a_replica_that_was_started_again_is_asked_from_its_beginning_though_its_ring_grew_longer() {
        let mut stage = stage();
        stage.ask(1);
        stage.heard(1, excerpt(5, OWN, vec![stand(1, 0, 7)]));
        stage.ask(1);
        assert!(stage.heard(1, excerpt(90, OWN + 3, vec![stand(1, 0, 99)])), "it has to be asked again");
        assert_eq!(told(&stage).len(), 1, "nothing of an unknown recording is taken from its middle");
        assert_eq!(stage.ask(1), 0);
        assert!(!stage.heard(1, excerpt(91, OWN + 3, vec![stand(1, 0, 42)])));
        assert!(matches!(&told(&stage)[1], Moment::Replica(stand) if stand.executed == 42));
    }

    #[test]
    fn who_does_not_answer_is_stopped_if_it_was_killed_and_unreachable_otherwise() {
        let mut stage = stage();
        stage.ask(2);
        stage.heard(2, excerpt(2, OWN, vec![stand(2, 0, 7)]));
        stage.silent(2);
        stage.silent(2);
        stage.struck(2, true);
        stage.heard(2, excerpt(2, OWN, Vec::new()));
        stage.silent(2);
        stage.struck(2, false);
        let states: Vec<(State, u64, bool)> = told(&stage)
            .iter()
            .filter_map(|moment| match moment {
                Moment::Replica(stand) => Some((stand.state, stand.executed, stand.up)),
                _ => None,
            })
            .collect();
        let gone = |state| (state, 7, false);
        let expected = [gone(State::Unreachable), gone(State::Stopped), gone(State::Unreachable)];
        assert_eq!(states[1..], expected, "each is told when it begins, with where it stood");
        assert!(stage.common_slot().is_none(), "nobody else was heard");
    }

    #[test]
    fn who_has_another_history_is_told_of_when_that_begins_and_again_for_pages_that_come_later() {
        let mut stage = stage();
        for id in 0..4 {
            stage.ask(id);
            stage.heard(id, excerpt(2, OWN, vec![stand(id, 0, 10 + u64::from(id))]));
        }
        assert_eq!(stage.common_slot(), Some((10, vec![0, 1, 2, 3])));
        let heads = |odd: &str| -> Vec<(u16, String)> {
            (0..4).map(|id| (id, if id == 2 { odd.to_owned() } else { "ab".to_owned() })).collect()
        };
        for odd in ["ab", "cd", "ef", "ab", "cd"] {
            stage.compared(10, &heads(odd));
        }
        stage.began -= Duration::from_micros(DIFFERS_US);
        for odd in ["ef", "ef", "ab"] {
            stage.compared(20, &heads(odd));
        }
        let found: Vec<(u16, String, String)> = told(&stage)
            .into_iter()
            .filter_map(|moment| match moment {
                Moment::Disagreement(it) => Some((it.replica, it.says, it.others)),
                _ => None,
            })
            .collect();
        let odd = |says: &str| (2, says.to_owned(), "ab".to_owned());
        assert_eq!(found, [odd("cd"), odd("cd"), odd("ef")]);
        stage.compared(10, &[]);
    }

    #[test]
    fn what_all_others_see_of_a_liar_is_told_once() {
        let mut stage = stage();
        let lie = |t, seq| {
            let about = About::Batch;
            let (says, others) = ("cd".to_owned(), "ab".to_owned());
            Moment::Disagreement(Disagreement { t, replica: 2, seq, about, says, others })
        };
        for id in [0, 1, 3] {
            stage.ask(id);
            stage.heard(id, excerpt(3, OWN, vec![lie(5, 7), lie(6, 8)]));
        }
        assert_eq!(told(&stage).len(), 2);
        (0..1000).for_each(|seq| stage.take(0, lie(9, seq)));
        assert_eq!(stage.disagreements.len(), REMEMBERED_MAX);
    }

    #[test]
    fn whoever_looks_is_known_to_have_seen_everything_or_not() {
        let mut stage = stage();
        assert!(stage.shown().is_none());
        stage.excerpt(0);
        assert!(stage.shown().unwrap().1);
        stage.happened(None, Weight::Note, "something".to_owned());
        assert!(!stage.shown().unwrap().1);
    }
}
