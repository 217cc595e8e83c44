//! One correct replica, its disk, and everything it ever said.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};

use quorate_protocol::certificate::Certificate;
use quorate_protocol::codec::{Blob, encode};
use quorate_protocol::message::{NewView, Prepare, Status as Standing};
use quorate_protocol::process::{Alarm, Effect, Event, Process, Recipient, Record, Say};
use quorate_protocol::replica::{Memory, Replica, Status, reproposals};
use quorate_protocol::signed::Signed;
use quorate_protocol::types::{Digest, Epoch, Position, ReplicaId, Seq, View};

use super::action::{Action, SLOTS, Shown, Spot, Spots, VIEWS, replicas};
use super::desk::{Desk, NOW, REPLICAS, Word};
use super::model::Grain;

/// One correct replica. Two with one fingerprint do the same whatever comes.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) fingerprint: u64,
    /// As a number: itself without its past, and what a restart would need of that.
    pub(crate) present: u64,
    pub(crate) remembered: u64,
    core: Replica,
    grain: Grain,
    /// Records that are on its disk, each with the bytes signed with it.
    journal: Vec<(Record, Option<Vec<u8>>)>,
    /// PREPAREs and COMMITs it said.
    pub(crate) prepares: Spots,
    pub(crate) commits: Spots,
    /// Certificates it rested a COMMIT on.
    pub(crate) believed: Spots,
    /// VIEW-CHANGEs and NEW-VIEWs it said, by view.
    pub(crate) left: [Option<Shown>; VIEWS],
    pub(crate) opened: [Option<[Shown; 3]>; VIEWS],
    /// What those say, as numbers that do not depend on who met them first.
    pub(crate) left_as: [u64; VIEWS],
    pub(crate) opened_as: [u64; VIEWS],
    /// By slot: the value that it executed, ever.
    pub(crate) executed: [Option<usize>; SLOTS],
    pub(crate) restarts: u8,
    /// What it did that no correct replica may do.
    pub(crate) broken: Option<&'static str>,
    /// What becomes of it by each action; none if nothing.
    pub(crate) next: Mutex<BTreeMap<Action, Option<Arc<Member>>>>,
}

impl Clone for Member {
    fn clone(&self) -> Self {
        Self {
            fingerprint: self.fingerprint,
            present: self.present,
            remembered: self.remembered,
            grain: self.grain,
            core: self.core.clone(),
            journal: self.journal.clone(),
            prepares: self.prepares,
            commits: self.commits,
            believed: self.believed,
            left: self.left,
            opened: self.opened,
            left_as: self.left_as,
            opened_as: self.opened_as,
            executed: self.executed,
            restarts: self.restarts,
            broken: self.broken,
            next: Mutex::default(),
        }
    }
}

impl Member {
    pub(crate) fn new(desk: &Desk, id: ReplicaId, grain: Grain) -> Self {
        let mut member = Self {
            fingerprint: 0,
            present: 0,
            remembered: 0,
            grain,
            core: Replica::new(desk.context.clone(), id),
            journal: Vec::new(),
            prepares: 0,
            commits: 0,
            believed: 0,
            left: [None; VIEWS],
            opened: [None; VIEWS],
            left_as: [0; VIEWS],
            opened_as: [0; VIEWS],
            executed: [None; SLOTS],
            restarts: 0,
            broken: None,
            next: Mutex::default(),
        };
        member.ask(desk);
        member.seal();
        member
    }

    pub(crate) fn view(&self) -> usize {
        usize::try_from(self.core.view().0).unwrap_or(usize::MAX)
    }

    pub(crate) fn is_changing(&self) -> bool {
        self.core.status() == Status::ViewChanging
    }

    /// Whether a timer runs that gives up its view.
    pub(crate) fn may_time_out(&self) -> bool {
        let waiting = self.core.waiting();
        waiting.progress.is_some() || waiting.new_view.is_some()
    }

    /// The clients ask everybody. Neighbours hear them in different orders.
    fn ask(&mut self, desk: &Desk) {
        let odd = usize::from(self.core.id().0 % 2);
        for turn in 0..2 {
            self.step(desk, desk.requests[(odd + turn) % 2].clone());
        }
    }

    /// What becomes of it by an action.
    pub(crate) fn after(&self, desk: &Desk, action: Action) -> Self {
        let mut member = self.clone();
        let before = (member.core.view(), member.core.watermarks());
        match action {
            Action::Propose(spot) => member.hear(desk, Word::Proposal(spot)),
            Action::Prepare(spot, signers) => {
                replicas(signers).for_each(|signer| member.hear(desk, Word::Prepare(signer, spot)));
            }
            Action::Commit(spot, signers) => {
                replicas(signers).for_each(|signer| member.hear(desk, Word::Commit(signer, spot)));
            }
            Action::Timeout(shown) => {
                shown.into_iter().flatten().for_each(|shown| member.hear(desk, Word::ViewChange(shown)));
                member.time_out(desk);
            }
            Action::Deserted(shown) => member.hear(desk, Word::ViewChange(shown)),
            Action::Join(shown) | Action::Open(shown) => {
                shown.into_iter().for_each(|shown| member.hear(desk, Word::ViewChange(shown)));
            }
            Action::Enter(view, shown) => {
                member.hear(desk, Word::NewView(view, shown));
                shown.into_iter().for_each(|shown| member.hear(desk, Word::ViewChange(shown)));
            }
            Action::Restart => member.restart(desk),
        }
        if (member.core.view(), member.core.watermarks()) < before {
            member.break_rule("I6: a view or a watermark went back");
        }
        member.seal();
        member
    }

    fn break_rule(&mut self, rule: &'static str) {
        self.broken = self.broken.or(Some(rule));
    }

    fn seal(&mut self) {
        let core = self.core.fingerprint(self.grain == Grain::Votes);
        self.present = hash_of((core, self.executed, self.broken, self.may_time_out()));
        self.remembered = self.hash_of_journal();
        let said = (self.prepares, self.commits, self.believed, self.left_as, self.opened_as);
        self.fingerprint = hash_of((self.present, self.remembered, said, self.restarts));
    }

    /// What a restart makes of the journal, as a number. Within a view the order of records decides nothing; votes of
    /// views that were left bind nobody any more, and of certificates those of the highest view count.
    fn hash_of_journal(&self) -> u64 {
        let views = self.journal.iter().map(|(record, _)| match record {
            Record::ViewChange(message) => message.view,
            Record::NewView { new_view, .. } => new_view.view,
            _ => View(0),
        });
        let newest = views.max().unwrap_or_default();
        let best = |seq: Seq| {
            let held = self.journal.iter().filter_map(|(record, _)| match record {
                Record::Prepared(held) if held.statement.seq == seq => Some(held.statement.view),
                _ => None,
            });
            held.max()
        };
        let names = self.journal.iter().map(|(record, _)| match record {
            Record::ViewChange(message) if message.view == newest => {
                hash_of((1, message.view.0, message.prepared.iter().map(vote).collect::<Vec<_>>()))
            }
            Record::NewView { new_view, view_changes, signature } if new_view.view == newest => {
                let follows = reproposals(view_changes, Digest::ZERO).map(|follows| {
                    follows.slots.iter().map(|(seq, digest)| (seq.0, *digest)).collect::<Vec<_>>()
                });
                hash_of((2, new_view.view.0, signature.is_none(), follows.ok()))
            }
            Record::Prepared(held) if best(held.statement.seq) == Some(held.statement.view) => {
                hash_of((3, vote(held)))
            }
            Record::Vote { prepare, .. } if prepare.view == newest => {
                hash_of((4, prepare.view.0, prepare.seq.0, prepare.digest))
            }
            Record::Horizon { view, high } => hash_of((5, view.0, high.0)),
            _ => 0,
        });
        let mut names: Vec<u64> = names.filter(|name| *name != 0).collect();
        names.sort_unstable();
        names.dedup();
        hash_of(names)
    }

    fn hear(&mut self, desk: &Desk, word: Word) {
        if let Some(event) = desk.event(word) {
            self.step(desk, event);
        }
    }

    /// One event, its own words that follow from it, and the batches that it asks for.
    fn step(&mut self, desk: &Desk, event: Event) {
        let mut effects = Vec::new();
        self.core.step(NOW, event, &mut effects);
        self.carry_out(desk, effects);
        for seq in 1..=SLOTS as u64 {
            let missed = self.core.missed_body(Seq(seq)).and_then(|digest| desk.value_of(&digest));
            if let Some(event) = missed.and_then(|value| desk.event(Word::Body(value, seq))) {
                let mut effects = Vec::new();
                self.core.step(NOW, event, &mut effects);
                self.carry_out(desk, effects);
            }
        }
    }

    fn time_out(&mut self, desk: &Desk) {
        let view = self.core.view();
        while self.core.view() == view && self.may_time_out() {
            let Some(due) = self.core.deadline() else { return };
            let mut effects = Vec::new();
            self.core.step(due.max(NOW), Event::Timeout, &mut effects);
            self.carry_out(desk, effects);
        }
    }

    fn restart(&mut self, desk: &Desk) {
        let promised = self.journal.iter().rev().find_map(|(record, _)| match record {
            Record::Horizon { view, high } => Some((*view, *high)),
            _ => None,
        });
        let memory = Memory {
            records: self.journal.clone(),
            position: Position(self.journal.len() as u64),
            promised: promised.unwrap_or_default(),
            ..Memory::default()
        };
        let mut effects = Vec::new();
        let (context, id) = (desk.context.clone(), self.core.id());
        match Replica::recover(context, id, memory, NOW, &mut effects) {
            Ok(core) => self.core = core,
            Err(_) => return self.break_rule("a correct replica's journal contradicts itself"),
        }
        self.restarts += 1;
        self.carry_out(desk, effects);
        // The others tell it where they stand: only then does it blame its primary.
        for from in (0..REPLICAS).map(ReplicaId).filter(|from| *from != id) {
            self.step(desk, Event::Status { from, status: standing() });
        }
        self.ask(desk);
    }

    fn carry_out(&mut self, desk: &Desk, effects: Vec<Effect>) {
        let mut events = VecDeque::new();
        let mut effects = VecDeque::from(effects);
        loop {
            while let Some(effect) = effects.pop_front() {
                match effect {
                    Effect::Persist(record) => self.write(desk, record),
                    Effect::Send { to, message, after } => {
                        let own = self.say(desk, message, after);
                        events.extend(own.filter(|_| to == Recipient::Everyone));
                    }
                    Effect::Execute { seq, body } => {
                        let digest = body.map_or(desk.digests[2], |body| body.digest);
                        self.execute(seq, desk.value_of(&digest));
                        events.push_back(Event::Executed { seq, root: None });
                    }
                    Effect::Alarm(alarm) => self.judge(&alarm),
                    Effect::Install(_) => self.break_rule("a state is to be installed without a checkpoint"),
                    Effect::Forward { .. }
                    | Effect::Refuse { .. }
                    | Effect::Preserve(_)
                    | Effect::LookUp(_) => {}
                }
            }
            let Some(event) = events.pop_front() else { return };
            let mut more = Vec::new();
            self.core.step(NOW, event, &mut more);
            effects.extend(more);
        }
    }

    fn write(&mut self, desk: &Desk, record: Record) {
        let signer = &desk.signers[usize::from(self.core.id().0)];
        let signed = match &record {
            Record::ViewChange(message) => encode(&*signer.sign(message.clone())).ok(),
            Record::NewView { new_view, signature, .. } => match signature {
                Some(signature) => {
                    let signer = desk.context.committee.primary(new_view.view);
                    encode(&Signed { body: new_view.clone(), signer, signature: *signature }).ok()
                }
                None => encode(&*signer.sign(new_view.clone())).ok(),
            },
            Record::Prepared(certificate) => {
                let Prepare { view, seq, digest } = certificate.statement;
                self.believed |= desk.spot(view, seq, &digest).map_or(0, Spot::bit);
                None
            }
            Record::Vote { .. } | Record::Body { .. } | Record::Horizon { .. } => None,
            Record::Stable(_) | Record::Healed | Record::Standing(_) => {
                self.break_rule("a record that nothing here gives reason for");
                None
            }
        };
        self.journal.push((record, signed));
    }

    /// Notes what it says, and what it hears of that itself.
    fn say(&mut self, desk: &Desk, message: Say, after: Position) -> Option<Event> {
        let signer = &desk.signers[usize::from(self.core.id().0)];
        let covered = self.is_covered(&message, after);
        if !covered {
            self.break_rule("I7: a promise left before it was on disk");
        }
        match message {
            Say::PrePrepare { prepare, .. } => {
                self.prepares |= self.spot(desk, prepare, self.prepares);
                Some(Event::PrePrepare { prepare: signer.sign(prepare), body: None })
            }
            Say::Prepare(vote) => {
                self.prepares |= self.spot(desk, vote, self.prepares);
                Some(Event::Prepare(signer.sign(vote)))
            }
            Say::Commit(vote) => {
                let (view, seq, digest) = (vote.view, vote.seq, vote.digest);
                self.commits |= self.spot(desk, Prepare { view, seq, digest }, self.commits);
                Some(Event::Commit(signer.sign(vote)))
            }
            Say::ViewChange(message) => {
                let view = message.view;
                let signed = signer.sign(message).shared();
                let shown = desk.note(&signed);
                if let Some(place) = usize::try_from(view.0).ok().and_then(|view| self.left_as.get_mut(view))
                {
                    *place = hash_of((view.0, signed.digest()));
                }
                match usize::try_from(view.0).ok().and_then(|view| self.left.get_mut(view)) {
                    Some(Some(known)) if *known != shown => self.break_rule("two VIEW-CHANGEs for one view"),
                    Some(place) => *place = Some(shown),
                    None => self.break_rule("a view beyond the bound"),
                }
                Some(Event::ViewChange(signed))
            }
            Say::NewView(message) => {
                self.open(desk, &message);
                Some(Event::NewView(signer.sign(message)))
            }
            Say::Checkpoint(_) => {
                self.break_rule("a CHECKPOINT without a checkpoint");
                None
            }
            Say::Relay(_) => None,
        }
    }

    fn open(&mut self, desk: &Desk, message: &NewView) {
        let named: Vec<_> =
            message.view_changes.iter().filter_map(|(_, digest)| desk.shown(digest)).collect();
        let named: Option<[Shown; 3]> = named.try_into().ok();
        let view = usize::try_from(message.view.0).unwrap_or(usize::MAX);
        match (self.opened.get(view).copied(), named) {
            (Some(Some(known)), Some(named)) if known != named => {
                self.break_rule("two NEW-VIEWs for one view");
            }
            (Some(Some(_)), Some(_)) => {}
            (Some(None), Some(named)) => {
                self.opened[view] = Some(named);
                self.opened_as[view] =
                    hash_of(message.view_changes.iter().map(|(_, digest)| *digest).collect::<Vec<_>>());
            }
            (_, None) | (None, _) => self.break_rule("a NEW-VIEW names what nobody said"),
        }
    }

    fn spot(&mut self, desk: &Desk, vote: Prepare, said: Spots) -> Spots {
        let Some(spot) = desk.spot(vote.view, vote.seq, &vote.digest) else {
            self.break_rule("a vote for what nobody proposed");
            return 0;
        };
        if said & spot.rivals() != 0 {
            self.break_rule("two votes of one kind for one view and slot");
        }
        spot.bit()
    }

    /// Whether a record up to `after` covers a promise.
    fn is_covered(&self, message: &Say, after: Position) -> bool {
        let reach = usize::try_from(after.0).unwrap_or(usize::MAX).min(self.journal.len());
        let mut durable = self.journal[..reach].iter().map(|(record, _)| record);
        match message {
            Say::PrePrepare { prepare: vote, .. } | Say::Prepare(vote) => {
                durable.any(|record| matches!(record, Record::Vote { prepare, .. } if prepare == vote))
            }
            Say::Commit(vote) => durable.any(|record| {
                let held = if let Record::Prepared(held) = record { Some(held.statement) } else { None };
                held == Some(Prepare { view: vote.view, seq: vote.seq, digest: vote.digest })
            }),
            Say::ViewChange(message) => {
                durable.any(|record| matches!(record, Record::ViewChange(held) if held == message))
            }
            Say::NewView(message) => durable
                .any(|record| matches!(record, Record::NewView { new_view, .. } if new_view == message)),
            Say::Checkpoint(_) | Say::Relay(_) => true,
        }
    }

    fn execute(&mut self, seq: Seq, value: Option<usize>) {
        let slot = usize::try_from(seq.0).unwrap_or(usize::MAX).wrapping_sub(1);
        let (Some(value), Some(place)) = (value, self.executed.get_mut(slot)) else {
            return self.break_rule("I4: something executed that no client signed");
        };
        if place.is_some_and(|known| known != value) {
            return self.break_rule("I1: after a restart another batch executed at a slot");
        }
        *place = Some(value);
    }

    /// Nobody correct may stop. Accusations are not looked at: what they rest on is no part of the fingerprint, for it
    /// decides nothing.
    fn judge(&mut self, alarm: &Alarm) {
        match alarm {
            Alarm::Agreement { .. } => self.break_rule("a replica says that agreement is broken"),
            Alarm::Unremembered { .. } => self.break_rule("a correct replica does not know its own words"),
            Alarm::Diverged { .. } | Alarm::Split { .. } => self.break_rule("states differ without a state"),
            Alarm::ClockDisagrees { .. } => self.break_rule("clocks differ that stand still"),
            _ => {}
        }
    }
}

fn vote(held: &Certificate<Prepare>) -> (u64, u64, Digest, Vec<u16>) {
    let Prepare { view, seq, digest } = held.statement;
    (view.0, seq.0, digest, held.signatures.iter().map(|(signer, _)| signer.0).collect())
}

fn hash_of(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn standing() -> Standing {
    let nothing = || Blob(Vec::new().into());
    Standing {
        epoch: Epoch(0),
        view: View(0),
        changing: false,
        low: Seq(0),
        executed: Seq(0),
        committed: nothing(),
        prepared: nothing(),
        bodies: Blob(Vec::new().into()),
        view_changes: Blob(Vec::new().into()),
        new_view: View(0),
        amnesia_high: None,
    }
}
