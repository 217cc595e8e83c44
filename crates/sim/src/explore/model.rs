//! The cluster as a model: what may happen, and what must be true.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_protocol::types::ReplicaId;
use stateright::{Checker, CheckerBuilder, HasDiscoveries, Model, Property, UniformChooser};

use super::action::{Action, Lie, SLOTS, Shown, Spot, Spots, VALUES, VIEWS, bit};
use super::desk::Desk;
use super::member::Member;

/// How votes are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    /// As quorums.
    Quorums,
    /// One by one, in any order.
    Votes,
}

/// What is explored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The Byzantine replica: it matters of which views it is the primary.
    pub liar: ReplicaId,
    /// Slots from 1, two at most.
    pub slots: usize,
    /// Views from 0, three at most.
    pub views: usize,
    /// Restarts of correct replicas in all.
    pub restarts: u8,
    /// How votes are delivered.
    pub grain: Grain,
}

/// The correct replicas at some moment.
#[derive(Clone)]
pub struct State {
    members: [Arc<Member>; 3],
    /// The rule that the last step broke.
    broken: Option<&'static str>,
    /// What tells it from other states: nothing that cannot matter any more.
    name: u64,
}

impl State {
    fn new(members: [Arc<Member>; 3], bounds: &Bounds) -> Self {
        let mut state = Self { members, broken: None, name: 0 };
        state.name = state.name_it(bounds);
        state
    }

    fn name_it(&self, bounds: &Bounds) -> u64 {
        let used: u8 = self.members.iter().map(|member| member.restarts).sum();
        let (prepared, committed) = (self.prepared(), self.committed());
        let members = [0, 1, 2].map(|place| {
            let member = &self.members[place];
            let awaited = [1, 2].map(|view| {
                let awaits = |other: &Arc<Member>| {
                    other.view() < view || (other.view() == view && other.is_changing())
                };
                let is = self.members.iter().any(awaits);
                if is { (member.left_as[view], member.opened_as[view]) } else { (0, 0) }
            });
            let alone = match bounds.grain {
                Grain::Quorums => (
                    self.alone(place, |member| member.prepares, prepared),
                    self.alone(place, |member| member.commits, committed),
                ),
                Grain::Votes => (member.prepares, member.commits),
            };
            (member.present, awaited, alone, (used < bounds.restarts).then_some(member.remembered))
        });
        let mut hasher = DefaultHasher::new();
        (members, prepared, committed, used).hash(&mut hasher);
        hasher.finish()
    }

    /// Votes of one correct replica that may yet become a quorum: another one may still vote alike.
    fn alone(&self, place: usize, of: impl Fn(&Member) -> Spots, quorums: Spots) -> Spots {
        let may = |spot: &Spot| {
            let others = self.members.iter().enumerate().filter(|(other, _)| *other != place);
            others.into_iter().any(|(_, other)| other.view() <= spot.view() && of(other) & spot.rivals() == 0)
        };
        Spot::all(of(&self.members[place]) & !quorums).filter(may).map(Spot::bit).sum()
    }

    /// Spots where at least two correct replicas voted: with the Byzantine one's vote that is a quorum.
    fn quorums(&self, of: impl Fn(&Member) -> Spots) -> Spots {
        let [one, two, three] = [0, 1, 2].map(|place| of(&self.members[place]));
        one & two | one & three | two & three
    }

    fn prepared(&self) -> Spots {
        self.quorums(|member| member.prepares)
    }

    fn committed(&self) -> Spots {
        self.quorums(|member| member.commits)
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.name, self.broken).hash(hasher);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        (self.name, self.broken) == (other.name, other.broken)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for member in &self.members {
            let Member { prepares, commits, executed, broken, .. } = &**member;
            let views = (member.view(), member.is_changing());
            write!(f, "[{views:?} {prepares:b} {commits:b} {executed:?} {broken:?}] ")?;
        }
        Ok(())
    }
}

/// The model that is checked.
#[derive(Debug)]
pub struct Explorer {
    bounds: Bounds,
    desk: Desk,
    correct: [ReplicaId; 3],
    members: Mutex<BTreeMap<u64, Arc<Member>>>,
    /// For each spot those at its slot in later views with another value.
    later_others: [Spots; VIEWS * SLOTS * VALUES],
    /// Whether actions without effect are left out at once: random walks must not draw them.
    draws: bool,
}

impl Explorer {
    /// A cluster within bounds.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let desk = Desk::new(bounds.liar, bounds.slots as u64);
        let spots = || (0..VIEWS * SLOTS * VALUES).map(|spot| Spot(u8::try_from(spot).unwrap_or(u8::MAX)));
        let later_others = std::array::from_fn(|spot| {
            let here = Spot(u8::try_from(spot).unwrap_or(u8::MAX));
            let later = |other: &Spot| other.slot() == here.slot() && other.view() > here.view();
            spots().filter(later).filter(|other| other.value() != here.value()).map(Spot::bit).sum()
        });
        let correct = desk.correct();
        Self { bounds, desk, correct, members: Mutex::default(), later_others, draws: false }
    }

    /// Different replicas, each with its own past, that were met so far.
    pub fn replicas_met(&self) -> usize {
        self.members.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn meet(&self, member: Member) -> Arc<Member> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let name = member.fingerprint;
        Arc::clone(members.entry(name).or_insert_with(|| Arc::new(member)))
    }

    fn step(&self, member: &Arc<Member>, action: Action) -> Option<Arc<Member>> {
        if let Some(known) = member.next.lock().unwrap_or_else(PoisonError::into_inner).get(&action) {
            return known.clone();
        }
        let after = member.after(&self.desk, action);
        let next = (after.fingerprint != member.fingerprint).then(|| self.meet(after));
        let mut steps = member.next.lock().unwrap_or_else(PoisonError::into_inner);
        steps.insert(action, next.clone());
        next
    }

    /// Place of the primary of a view among the correct replicas.
    fn place_of_primary(&self, view: usize) -> Option<usize> {
        self.correct.iter().position(|id| *id == self.desk.primary(view))
    }

    fn spots(&self, view: usize) -> impl Iterator<Item = Spot> + use<> {
        let slots = self.bounds.slots;
        (0..slots).flat_map(move |slot| (0..VALUES).map(move |value| Spot::new(view, slot, value)))
    }

    /// PRE-PREPAREs of the view it is in.
    fn proposals(&self, state: &State, to: usize, actions: &mut Vec<(usize, Action)>) {
        let member = &state.members[to];
        if member.is_changing() {
            return;
        }
        let view = member.view();
        match self.place_of_primary(view) {
            Some(primary) if primary == to => {}
            Some(primary) => {
                let said = state.members[primary].prepares;
                let here = self.spots(view).filter(|spot| said & spot.bit() != 0);
                actions.extend(here.map(|spot| (to, Action::Propose(spot))));
            }
            None => actions.extend(self.spots(view).map(|spot| (to, Action::Propose(spot)))),
        }
    }

    /// Whose votes for a spot are shown to `to`: all others', and the Byzantine replica's.
    fn voters(&self, state: &State, to: usize, spot: Spot, of: impl Fn(&Member) -> Spots) -> u8 {
        let others = (0..3).filter(|place| *place != to && of(&state.members[*place]) & spot.bit() != 0);
        others.fold(bit(self.bounds.liar), |all, one| all | bit(self.correct[one]))
    }

    fn votes(&self, state: &State, to: usize, actions: &mut Vec<(usize, Action)>) {
        let member = &state.members[to];
        let reached = |spot: &Spot| spot.view() <= member.view();
        if self.bounds.grain == Grain::Votes {
            return self.single_votes(state, to, actions);
        }
        for spot in Spot::all(state.prepared()).filter(reached) {
            let signers = self.voters(state, to, spot, |member| member.prepares);
            actions.push((to, Action::Prepare(spot, signers)));
        }
        for spot in Spot::all(state.committed()) {
            let signers = self.voters(state, to, spot, |member| member.commits);
            actions.push((to, Action::Commit(spot, signers)));
        }
    }

    fn single_votes(&self, state: &State, to: usize, actions: &mut Vec<(usize, Action)>) {
        for (place, other) in state.members.iter().enumerate().filter(|(place, _)| *place != to) {
            let signer = bit(self.correct[place]);
            actions.extend(Spot::all(other.prepares).map(|spot| (to, Action::Prepare(spot, signer))));
            actions.extend(Spot::all(other.commits).map(|spot| (to, Action::Commit(spot, signer))));
        }
        let liar = bit(self.bounds.liar);
        for spot in (0..self.bounds.views).flat_map(|view| self.spots(view)) {
            actions.push((to, Action::Prepare(spot, liar)));
            actions.push((to, Action::Commit(spot, liar)));
        }
    }

    /// What the Byzantine replica can say has prepared before a view: in each slot nothing, or one of the certificates
    /// that can be made by now.
    fn lies(&self, state: &State, view: usize) -> Vec<Shown> {
        let name = u8::try_from(view).unwrap_or(u8::MAX);
        let mut lies = vec![Lie { view: name, prepared: [None; SLOTS] }];
        for spot in Spot::all(state.prepared()).filter(|spot| spot.view() < view) {
            let voted = (0..3).filter(|place| state.members[*place].prepares & spot.bit() != 0);
            let signers = voted.take(2).fold(bit(self.bounds.liar), |all, one| all | bit(self.correct[one]));
            let with = lies.iter().filter(|lie| lie.prepared[spot.slot()].is_none()).copied();
            let with: Vec<Lie> = with
                .map(|mut lie| {
                    lie.prepared[spot.slot()] = Some((spot, signers));
                    lie
                })
                .collect();
            lies.extend(with);
        }
        lies.into_iter().map(Shown::Lied).collect()
    }

    fn empty_lie(view: usize) -> Shown {
        Shown::Lied(Lie { view: u8::try_from(view).unwrap_or(u8::MAX), prepared: [None; SLOTS] })
    }

    /// It leaves its view, alone or with others; and opens one.
    fn departures(&self, state: &State, to: usize, actions: &mut Vec<(usize, Action)>) {
        let member = &state.members[to];
        let here = member.view();
        let others = || (0..3).filter(move |place| *place != to).map(|place| &state.members[place]);
        if here + 1 < self.bounds.views {
            let is_primary = self.place_of_primary(here) == Some(to);
            if member.may_time_out() {
                actions.push((to, Action::Timeout([None; 2])));
            } else if member.is_changing() && !is_primary {
                let waiting = others().find_map(|other| other.left[here..].iter().flatten().next());
                let with = waiting.map(|other| [Some(*other), Some(Self::empty_lie(here))]);
                actions.extend(with.map(|with| (to, Action::Timeout(with))));
            }
            // Where its timer runs, it may as well leave by that.
            if !member.may_time_out() {
                let gone = match self.place_of_primary(here) {
                    None => Some(Self::empty_lie(here + 1)),
                    Some(primary) => state.members[primary].left[here + 1..].iter().flatten().next().copied(),
                };
                actions.extend(gone.filter(|_| !is_primary).map(|gone| (to, Action::Deserted(gone))));
            }
        }
        for view in here.max(1)..self.bounds.views {
            if view == here && !member.is_changing() {
                continue;
            }
            let left: Vec<Shown> = others().filter_map(|other| other.left[view]).collect();
            if self.place_of_primary(view) == Some(to) {
                if let [one, other] = left[..] {
                    actions.push((to, Action::Open([one, other])));
                }
                for one in &left {
                    let lies = self.lies(state, view).into_iter();
                    actions.extend(lies.map(|lie| (to, Action::Open([*one, lie]))));
                }
            } else if view > here
                && let Some(one) = left.first()
            {
                actions.push((to, Action::Join([*one, Self::empty_lie(view)])));
            }
        }
    }

    fn entries(&self, state: &State, to: usize, actions: &mut Vec<(usize, Action)>) {
        let member = &state.members[to];
        for view in member.view().max(1)..self.bounds.views {
            if view == member.view() && !member.is_changing() {
                continue;
            }
            let name = u8::try_from(view).unwrap_or(u8::MAX);
            if let Some(primary) = self.place_of_primary(view) {
                let opened = state.members[primary].opened[view].filter(|_| primary != to);
                actions.extend(opened.map(|named| (to, Action::Enter(name, named))));
                continue;
            }
            let left: Vec<Shown> = state.members.iter().filter_map(|other| other.left[view]).collect();
            if let [one, two, three] = left[..] {
                actions.push((to, Action::Enter(name, [one, two, three])));
            }
            for (first, one) in left.iter().enumerate() {
                for two in &left[first + 1..] {
                    let lies = self.lies(state, view).into_iter();
                    actions.extend(lies.map(|lie| (to, Action::Enter(name, [*one, *two, lie]))));
                }
            }
        }
    }

    fn restarts_left(&self, state: &State) -> bool {
        let used: u8 = state.members.iter().map(|member| member.restarts).sum();
        used < self.bounds.restarts
    }

    fn executed_alike(state: &State) -> bool {
        (0..SLOTS).all(|slot| {
            let mut found = state.members.iter().filter_map(|member| member.executed[slot]);
            let first = found.next();
            found.all(|value| Some(value) == first)
        })
    }

    fn two_values(quorums: Spots, same: impl Fn(Spot, Spot) -> bool) -> bool {
        Spot::all(quorums)
            .any(|one| Spot::all(quorums).any(|other| one.value() < other.value() && same(one, other)))
    }

    fn one_certificate(state: &State) -> bool {
        let same = |one: Spot, other: Spot| (one.view(), one.slot()) == (other.view(), other.slot());
        let believed = state.members.iter().fold(0, |all, member| all | member.believed | member.commits);
        !Self::two_values(state.prepared() | believed, same) && believed & !state.prepared() == 0
    }

    fn one_commit(state: &State) -> bool {
        !Self::two_values(state.committed(), |one, other| one.slot() == other.slot())
    }

    fn what_committed_stays(&self, state: &State) -> bool {
        let voted = state.members.iter().fold(0, |all, member| all | member.prepares);
        Spot::all(state.committed()).all(|spot| self.later_others[usize::from(spot.0)] & voted == 0)
    }

    fn executed_is_committed(state: &State) -> bool {
        let committed = state.committed();
        let is = |slot, value| Spot::all(committed).any(|spot| spot.slot() == slot && spot.value() == value);
        state
            .members
            .iter()
            .all(|member| (0..SLOTS).all(|slot| member.executed[slot].is_none_or(|value| is(slot, value))))
    }
}

impl Explorer {
    /// The rules that hold of every state. Each is looked at as soon as a step has been made, before states are told
    /// apart by what still matters.
    fn rule_broken(&self, state: &State) -> Option<&'static str> {
        let rules: [(&'static str, bool); 6] = [
            (OWN, state.members.iter().all(|member| member.broken.is_none())),
            (I1, Self::executed_alike(state)),
            (I2, Self::one_certificate(state)),
            (I3, Self::one_commit(state)),
            (STAYS, self.what_committed_stays(state)),
            (I4, Self::executed_is_committed(state)),
        ];
        rules.into_iter().find(|(_, holds)| !holds).map(|(rule, _)| rule)
    }
}

const OWN: &str = "no replica breaks a rule of its own: one vote of a kind, I6, I7";
const I1: &str = "I1: one batch executes at a slot";
const I2: &str = "I2: one prepared certificate for a view and a slot";
const I3: &str = "I3: one commit certificate for a slot";
const STAYS: &str = "what committed is what later views vote for";
const I4: &str = "I4: what executes was committed";

impl Model for Explorer {
    type State = State;
    type Action = (usize, Action);

    fn init_states(&self) -> Vec<State> {
        let members = self.correct.map(|id| self.meet(Member::new(&self.desk, id, self.bounds.grain)));
        vec![State::new(members, &self.bounds)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<(usize, Action)>) {
        for to in 0..3 {
            self.proposals(state, to, actions);
            self.votes(state, to, actions);
            self.departures(state, to, actions);
            self.entries(state, to, actions);
            if self.restarts_left(state) {
                actions.push((to, Action::Restart));
            }
        }
        if self.draws {
            actions.retain(|(to, action)| self.step(&state.members[*to], *action).is_some());
        }
    }

    fn next_state(&self, state: &State, (to, action): (usize, Action)) -> Option<State> {
        let next = self.step(&state.members[to], action)?;
        let mut members = state.members.clone();
        members[to] = next;
        let mut state = State::new(members, &self.bounds);
        state.broken = self.rule_broken(&state);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(OWN, |_, state: &State| state.broken != Some(OWN)),
            Property::always(I1, |_, state: &State| state.broken != Some(I1)),
            Property::always(I2, |_, state: &State| state.broken != Some(I2)),
            Property::always(I3, |_, state: &State| state.broken != Some(I3)),
            Property::always(STAYS, |_, state: &State| state.broken != Some(STAYS)),
            Property::always(I4, |_, state: &State| state.broken != Some(I4)),
            Property::sometimes("a batch commits in the last view", |model: &Self, state: &State| {
                Spot::all(state.committed()).any(|spot| spot.view() + 1 == model.bounds.views)
            }),
            Property::sometimes("two batches prepared at one slot in two views", |_, state: &State| {
                Self::two_values(state.prepared(), |one, other| one.slot() == other.slot())
            }),
            Property::sometimes("a null batch executes", |_, state: &State| {
                state.members.iter().any(|member| member.executed.contains(&Some(2)))
            }),
            Property::sometimes("the last slot executes everywhere", |model: &Self, state: &State| {
                state.members.iter().all(|member| member.executed[model.bounds.slots - 1].is_some())
            }),
        ]
    }
}

/// What came of an exploration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explored {
    /// Different states that were checked.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
    /// Different replicas, each with its own past.
    pub replicas: usize,
    /// The longest run.
    pub depth: usize,
    /// What was met of what must be met.
    pub met: Vec<&'static str>,
    /// What was violated, and by which run.
    pub violated: Vec<(&'static str, String)>,
}

fn report(checker: impl Checker<Explorer>) -> Explored {
    let checker = checker.join();
    let (mut met, mut violated) = (Vec::new(), Vec::new());
    for (name, path) in checker.discoveries() {
        let property = checker.model().property(name);
        if property.expectation == stateright::Expectation::Sometimes {
            met.push(name);
        } else {
            let end = format!("{:?}", path.last_state());
            violated.push((name, format!("{:?} leads to {end}", path.into_actions())));
        }
    }
    met.sort_unstable();
    Explored {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        replicas: checker.model().replicas_met(),
        depth: checker.max_depth(),
        met,
        violated,
    }
}

/// How far a search goes at most. Steps are the same work on any machine; the time only ends a search that hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Steps, those to states that were met before among them.
    pub steps: usize,
    /// Wall time.
    pub patience: Duration,
    /// Threads.
    pub threads: usize,
}

fn checker(explorer: Explorer, effort: Effort) -> CheckerBuilder<Explorer> {
    let checker = explorer.checker().finish_when(HasDiscoveries::AnyFailures).timeout(effort.patience);
    checker.target_state_count(effort.steps).threads(effort.threads)
}

/// Every state within the bounds; stops at the first violation, or where the effort ends.
#[must_use]
pub fn explore(bounds: Bounds, effort: Effort) -> Explored {
    report(checker(Explorer::new(bounds), effort).spawn_dfs())
}

/// Runs drawn at random, until the effort ends; stops at the first violation.
#[must_use]
pub fn wander(bounds: Bounds, seed: u64, effort: Effort) -> Explored {
    let explorer = Explorer { draws: true, ..Explorer::new(bounds) };
    report(checker(explorer, effort).spawn_simulation(seed, UniformChooser))
}
