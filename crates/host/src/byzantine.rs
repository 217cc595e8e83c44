//! Replicas that lie on purpose, for trials, in the simulator and on real links alike.
//!
//! A liar is an honest host with a decorator at its seams: the events that its replica hears, the effects that it wants
//! before they are signed, replies before they are encoded, parts of states, frames after they were encoded, and a
//! deadline of its own. Lies about content are therefore signed with the host's own key and by nothing else. The replica
//! inside is never touched, and is mostly told its own honest word, so that its journal stays one that it can start
//! from; what would show it that its key was used otherwise is kept from it.
//!
//! One file for each sin. A sin counts the lies that it told: what changed nothing is none.

mod bad_parts;
mod broken_bytes;
mod censor;
mod chance;
mod delay;
mod duplicate_requests;
mod equivocate;
mod equivocate_votes;
mod flood;
mod forged_certificates;
mod jump_watermark;
mod kinds;
mod lying_replies;
mod memory;
mod mute;
mod null_only;
mod occasion;
mod replay_old;
mod rush_view_changes;
mod sin;
mod stage;
mod stale_certificates;
mod trigger;
mod twins;
mod two_new_views;
mod withhold_bodies;
mod wrong_digest;
mod wrong_execution;
mod wrong_view_change;

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_protocol::message::{QueryReply, Reply, Transfer};
use quorate_protocol::parameters::Context;
use quorate_protocol::process::{Effect, Event};
use quorate_protocol::replica::Replica;
use quorate_protocol::signed::Signer;
use quorate_protocol::types::{ClientId, ReplicaId, Time};

pub use kinds::kind;
pub use occasion::{advice, occasion};
pub use sin::{NAMES, Sin, SinError};
pub use wrong_execution::{WrongExecutions, corrupt_machine, switchable_machine};

use crate::lane::Class;
use chance::Chance;
use memory::Said;
use sin::Deed;
pub(crate) use stage::Acts;
use stage::{Saying, Stage};
use trigger::Trigger;

/// How many lies were told, by name of the sin.
pub type Lies = BTreeMap<&'static str, u64>;

/// Frames that are late at once, at most; more are lost.
const LATE_MAX: usize = 16_384;
/// Bytes of those, at most.
const LATE_BYTES_MAX: usize = 64 << 20;

/// Who a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Replica(ReplicaId),
    Client(ClientId),
}

/// A frame that is about to leave.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    pub(crate) end: End,
    pub(crate) class: Class,
    pub(crate) frame: Bytes,
}

/// What is made of one sin: with what the replica hears and wants, with what leaves, at times of its own. As they are
/// here they are honest.
trait Behaviour: std::fmt::Debug + Send {
    /// The replica is about to hear this. False: it never does.
    fn event(&mut self, _stage: &mut Stage<'_>, _event: &mut Event, _acts: &mut Acts) -> bool {
        true
    }
    /// The replica wants to say this: pushes what is said instead.
    fn say(&mut self, _stage: &mut Stage<'_>, saying: Saying, out: &mut Vec<Effect>) {
        out.push(saying.effect());
    }
    /// The replica wants this besides. False: it is not done.
    fn effect(&mut self, _effect: &Effect) -> bool {
        true
    }
    /// A client is about to be told this.
    fn reply(&mut self, _stage: &mut Stage<'_>, _client: ClientId, _reply: &mut Reply) {}
    /// A client is about to be told this of a state.
    fn query(&mut self, _stage: &mut Stage<'_>, _client: ClientId, _reply: &mut QueryReply) {}
    /// Another replica is about to be sent this part of a state. None: it is not.
    fn part(&mut self, _stage: &mut Stage<'_>, _to: ReplicaId, part: Transfer) -> Option<Transfer> {
        Some(part)
    }
    /// A frame is about to leave, so many microseconds late. None: it is lost.
    fn frame(&mut self, _stage: &mut Stage<'_>, _parcel: &mut Parcel) -> Option<u64> {
        Some(0)
    }
    /// When it has something to do by itself.
    fn deadline(&self) -> Option<Time> {
        None
    }
    /// That time has come. It must move its deadline.
    fn wake(&mut self, _stage: &mut Stage<'_>, _acts: &mut Acts) {}
}

/// Where a lie is told elsewhere: everything here is as it would be.
#[derive(Debug)]
struct Honest;

impl Behaviour for Honest {}

/// One sin of a liar.
#[derive(Debug)]
struct Habit {
    name: &'static str,
    trigger: Trigger,
    behaviour: Box<dyn Behaviour>,
    chance: Chance,
    told: u64,
}

/// Who lies: its honest half, which a behaviour looks at and signs with.
#[derive(Clone, Copy)]
pub(crate) struct Mask<'a> {
    pub(crate) replica: &'a Replica,
    pub(crate) signer: &'a Signer,
}

/// A replica's lies together: several sins, one seed.
#[derive(Debug)]
pub struct Liar {
    habits: Vec<Habit>,
    seed: u64,
    began: Time,
    now: Time,
    said: Said,
    /// Frames that are late, by when they leave.
    late: BTreeMap<(Time, u64), Parcel>,
    late_bytes: usize,
    ties: u64,
}

impl Liar {
    /// A liar that tells these from now on. Liars of one seed tell the same where a lie is one to collude in.
    #[must_use]
    pub fn new(sins: &[Sin], seed: u64, context: &Context, id: ReplicaId, now: Time) -> Self {
        let habit = |(place, sin): (u64, &Sin)| Habit {
            name: sin.name(),
            trigger: sin.trigger.clone(),
            behaviour: behaviour(&sin.deed, context, id, now),
            chance: Chance::new(seed ^ u64::from(id.0) << 48 ^ place << 40),
            told: 0,
        };
        Self {
            habits: (0..).zip(sins).map(habit).collect(),
            seed,
            began: now,
            now,
            said: Said::default(),
            late: BTreeMap::new(),
            late_bytes: 0,
            ties: 0,
        }
    }

    /// Becomes another liar, perhaps one with nothing to tell, that goes on keeping from its replica what was said in its
    /// name, and sends what is late. Says how many lies it told so far.
    pub(crate) fn turn(&mut self, into: Self) -> Lies {
        let told = self.lies();
        let Self { habits, seed, began, now, .. } = into;
        (self.habits, self.seed, self.began, self.now) = (habits, seed, began, self.now.max(now));
        told
    }

    /// How many lies were told, by name of the sin; those never told are there with 0.
    pub(crate) fn lies(&self) -> Lies {
        let mut lies = Lies::new();
        for habit in &self.habits {
            *lies.entry(habit.name).or_default() += habit.told;
        }
        lies
    }

    /// What the time is.
    pub(crate) fn note_time(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    /// What the replica hears of an event, if anything; what is to be done besides is in `acts`.
    pub(crate) fn hear(&mut self, mask: Mask<'_>, mut event: Event, acts: &mut Acts) -> Option<Event> {
        let (now, began, seed) = (self.now, self.began, self.seed);
        for habit in &mut self.habits {
            let (behaviour, mut stage) = habit.on_stage(mask, seed, began, now);
            if !behaviour.event(&mut stage, &mut event, acts) {
                return None;
            }
        }
        // It would find that its key was used otherwise, and say nothing any more.
        (!self.said.meets_itself(mask.replica, &event)).then_some(event)
    }

    /// What is done instead of what the replica wants.
    pub(crate) fn want(&mut self, mask: Mask<'_>, effect: Effect) -> Vec<Effect> {
        self.said.note(mask.replica, &effect);
        let (now, began, seed) = (self.now, self.began, self.seed);
        let mut effects = vec![effect];
        for habit in &mut self.habits {
            let (behaviour, mut stage) = habit.on_stage(mask, seed, began, now);
            let mut out = Vec::new();
            for effect in effects {
                match effect {
                    Effect::Send { to, message, after } => {
                        behaviour.say(&mut stage, Saying { to, message, after }, &mut out);
                    }
                    other if behaviour.effect(&other) => out.push(other),
                    _ => {}
                }
            }
            effects = out;
        }
        effects
    }

    /// What a client is told instead.
    pub(crate) fn answer(&mut self, mask: Mask<'_>, client: ClientId, replies: &mut [Reply]) {
        let (now, began, seed) = (self.now, self.began, self.seed);
        for habit in &mut self.habits {
            let (behaviour, mut stage) = habit.on_stage(mask, seed, began, now);
            replies.iter_mut().for_each(|reply| behaviour.reply(&mut stage, client, reply));
        }
    }

    /// What a client is told of a state instead.
    pub(crate) fn answer_query(&mut self, mask: Mask<'_>, client: ClientId, reply: &mut QueryReply) {
        let (now, began, seed) = (self.now, self.began, self.seed);
        for habit in &mut self.habits {
            let (behaviour, mut stage) = habit.on_stage(mask, seed, began, now);
            behaviour.query(&mut stage, client, reply);
        }
    }

    /// What somebody who fetches a state is sent instead, if anything.
    pub(crate) fn serve(&mut self, mask: Mask<'_>, to: ReplicaId, part: Transfer) -> Option<Transfer> {
        let (now, began, seed) = (self.now, self.began, self.seed);
        let mut habits = self.habits.iter_mut();
        habits.try_fold(part, |part, habit| {
            let (behaviour, mut stage) = habit.on_stage(mask, seed, began, now);
            behaviour.part(&mut stage, to, part)
        })
    }

    /// The frame that leaves now instead of this one, if one does.
    pub(crate) fn pack(&mut self, mask: Mask<'_>, mut parcel: Parcel) -> Option<Bytes> {
        let (now, began, seed) = (self.now, self.began, self.seed);
        let mut late_us: u64 = 0;
        for habit in &mut self.habits {
            let (behaviour, mut stage) = habit.on_stage(mask, seed, began, now);
            late_us = late_us.saturating_add(behaviour.frame(&mut stage, &mut parcel)?);
        }
        if late_us == 0 {
            return Some(parcel.frame);
        }
        if self.late.len() < LATE_MAX && self.late_bytes + parcel.frame.len() <= LATE_BYTES_MAX {
            self.late_bytes += parcel.frame.len();
            self.ties += 1;
            self.late.insert((now.plus(late_us), self.ties), parcel);
        }
        None
    }

    /// A late frame whose time has come.
    pub(crate) fn take_late(&mut self) -> Option<Parcel> {
        let due = self.late.first_entry().filter(|entry| entry.key().0 <= self.now)?;
        let parcel = due.remove();
        self.late_bytes -= parcel.frame.len();
        Some(parcel)
    }

    /// What it does by itself by now.
    pub(crate) fn wake(&mut self, mask: Mask<'_>, acts: &mut Acts) {
        let (now, began, seed) = (self.now, self.began, self.seed);
        for habit in &mut self.habits {
            if habit.deadline(began, now).is_some_and(|at| at <= now) {
                let (behaviour, mut stage) = habit.on_stage(mask, seed, began, now);
                behaviour.wake(&mut stage, acts);
            }
        }
    }

    /// When it does something by itself.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let habits = self.habits.iter().filter_map(|habit| habit.deadline(self.began, self.now));
        habits.chain(self.late.keys().next().map(|(at, _)| *at)).min()
    }
}

impl Habit {
    fn on_stage<'a>(
        &'a mut self,
        mask: Mask<'a>,
        seed: u64,
        began: Time,
        now: Time,
    ) -> (&'a mut dyn Behaviour, Stage<'a>) {
        let Self { trigger, behaviour, chance, told, .. } = self;
        let Mask { replica, signer } = mask;
        let elapsed_us = now.since(began);
        (behaviour.as_mut(), Stage { now, replica, signer, seed, elapsed_us, chance, trigger, told })
    }

    /// Nothing wakes a sin before its time, or after it.
    fn deadline(&self, began: Time, now: Time) -> Option<Time> {
        let (from, until) = self.trigger.times(began);
        let over = until.is_some_and(|until| now >= until);
        self.behaviour.deadline().filter(|_| !over).map(|at| at.max(from))
    }
}

fn behaviour(deed: &Deed, context: &Context, id: ReplicaId, now: Time) -> Box<dyn Behaviour> {
    match deed {
        Deed::Mute { kinds } => Box::new(mute::Mute::new(kinds)),
        Deed::Delay { by_us, kinds } => Box::new(delay::Delay::new(*by_us, kinds)),
        Deed::Equivocate => Box::new(equivocate::Equivocate::new()),
        Deed::EquivocatePrepare => Box::new(equivocate_votes::EquivocateVotes::prepares()),
        Deed::EquivocateCommit => Box::new(equivocate_votes::EquivocateVotes::commits()),
        Deed::EquivocateCheckpoint => Box::new(equivocate_votes::EquivocateVotes::checkpoints()),
        Deed::WrongDigest => Box::new(wrong_digest::WrongDigest),
        Deed::WithholdBodies => Box::new(withhold_bodies::WithholdBodies),
        Deed::Censor { client } => Box::new(censor::Censor::new(*client)),
        Deed::DuplicateRequests => Box::new(duplicate_requests::DuplicateRequests::default()),
        Deed::NullOnly => Box::new(null_only::NullOnly::new(now)),
        Deed::JumpWatermark => Box::new(jump_watermark::JumpWatermark::default()),
        Deed::ForgedCertificates => Box::new(forged_certificates::ForgedCertificates),
        Deed::StaleCertificates => Box::new(stale_certificates::StaleCertificates::default()),
        Deed::WrongViewChange => Box::new(wrong_view_change::WrongViewChange),
        Deed::TwoNewViews => Box::new(two_new_views::TwoNewViews::default()),
        Deed::RushViewChanges { every_us } => {
            Box::new(rush_view_changes::RushViewChanges::new(*every_us, now))
        }
        Deed::LyingReplies { words } => Box::new(lying_replies::LyingReplies::new(words.clone())),
        Deed::ColludingReplies => Box::new(lying_replies::ColludingReplies),
        Deed::BadChunks => Box::new(bad_parts::BadChunks),
        Deed::StallTransfer => Box::new(bad_parts::StallTransfer),
        Deed::ShrinkTransfer => Box::new(bad_parts::ShrinkTransfer::default()),
        Deed::Flood { rate } => Box::new(flood::Flood::new(*rate, now)),
        Deed::ReplayOld { every_us } => Box::new(replay_old::ReplayOld::new(*every_us, now)),
        Deed::BrokenBytes => Box::new(broken_bytes::BrokenBytes),
        Deed::WrongExecution => Box::new(Honest),
        Deed::Twins => Box::new(twins::Twins::new(context, id)),
    }
}
