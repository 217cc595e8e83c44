//! How a client comes by a session: an ordered registration that names how long it may take.

use std::sync::Arc;

use super::ballot::{Ballot, Cast};
use super::retry::{Backoff, Outgoing};
use super::{Client, ClientEffect, To, nth_largest};
use crate::codec;
use crate::message::{Outcome, Reply};
use crate::request::{Draft, Kind, Operations, Registration, Request};
use crate::types::{Digest, Number, ReplicaId, Seq, Session, Time};

/// A registration may execute until this many windows above what a correct replica reported. Replicas allow eight.
const EXPIRES_WINDOWS: u64 = 4;
/// The same for the first two registrations of a brief session, in slots; four times as many after each further refusal.
/// The first refusal tells how far the cluster is, which a liar, or a replica that stopped, may have hidden: whoever asked
/// for more at once would soon have all its sessions in slots that nobody fills.
const EXPIRES_SLOTS_BRIEF: u64 = 12;
/// After so many retries without an answer a registration whose time may have passed is replaced.
const ATTEMPTS_MAX: u32 = 8;

/// Whether the client has a session.
#[derive(Debug)]
pub(crate) enum Standing {
    /// It has none and asks for none yet.
    Outside {
        not_before: Time,
        /// Registrations that were refused one after the other.
        rejections: u32,
        /// Whether to register although no call waits.
        wanted: bool,
    },
    Registering(Box<Registering>),
    Open(Session),
}

/// One registration on its way.
#[derive(Debug)]
pub(crate) struct Registering {
    registration: Registration,
    session: Session,
    digest: Option<Digest>,
    ballot: Ballot,
    out: Outgoing,
    rejections: u32,
}

impl Standing {
    /// Of a client that has yet to register: at once, or when it has something to be ordered.
    pub(crate) fn new(wanted: bool) -> Self {
        Self::Outside { not_before: Time(0), rejections: 0, wanted }
    }
}

impl Registering {
    pub(crate) fn session(&self) -> Session {
        self.session
    }

    pub(crate) fn due(&self) -> Time {
        self.out.due
    }

    pub(crate) fn signed(&mut self, request: &Arc<Request>) {
        if request.session() == self.session {
            self.digest = request.operations().map(|(_, digest, _)| digest).next();
            self.out.request = Some(request.clone());
        }
    }

    pub(crate) fn refused(&mut self, now: Time, from: ReplicaId, weak_quorum: usize, backoff: &mut Backoff) {
        self.out.refused(now, from, weak_quorum, backoff);
    }

    pub(crate) fn hurry(&mut self, now: Time, gone: Option<ReplicaId>) {
        if self.out.is_lost_with(gone) {
            self.out.due = self.out.due.min(now);
        }
    }
}

impl Client {
    /// Begins, repeats or replaces a registration when it is time.
    pub(super) fn poll_registration(&mut self, now: Time, effects: &mut Vec<ClientEffect>) {
        match &mut self.standing {
            Standing::Outside { not_before, rejections, .. } => {
                let (due, rejections) = (*not_before <= now, *rejections);
                if due && self.wants_session() {
                    self.register(now, rejections, effects);
                }
            }
            Standing::Registering(registering) if registering.out.due <= now => {
                let (attempts, rejections) = (registering.out.attempts, registering.rejections);
                let expires = registering.registration.expires;
                if attempts >= ATTEMPTS_MAX && self.expiry(rejections) > expires {
                    self.register(now, rejections, effects);
                } else {
                    self.repeat_registration(now, effects);
                }
            }
            Standing::Registering(_) | Standing::Open(_) => {}
        }
    }

    /// A replica answered the registration.
    pub(super) fn on_registration_reply(&mut self, now: Time, from: ReplicaId, reply: Reply) {
        let needed = self.needed();
        let Standing::Registering(registering) = &mut self.standing else { return };
        let ours = reply.number == Number(0) && registering.digest == Some(reply.operation);
        if !ours || !answers_registration(&reply.outcome) {
            return self.dissent(from);
        }
        let decided = match registering.ballot.vote(from, reply.seq, reply.outcome, needed) {
            Cast::Noted => return,
            Cast::Dissent => return self.dissent(from),
            Cast::Decided(decided) => decided,
        };
        let rejections = registering.rejections.saturating_add(1);
        self.answered = self.answered.max(decided.seq);
        match decided.outcome {
            Outcome::Registered => {
                for replica in registering.ballot.dissenters(&decided).iter() {
                    self.dissent(replica);
                }
                let Standing::Registering(registering) = &self.standing else { return };
                if let Some(took) = registering.out.took(now) {
                    self.backoff.learn(took);
                }
                self.standing = Standing::Open(registering.session);
            }
            Outcome::Full => {
                // Every answer to it says the same until a session may be evicted, so there is no hurry.
                registering.rejections = rejections;
                registering.out.hold(now.plus(self.backoff.pause(rejections.saturating_add(1))));
            }
            Outcome::Expired
            | Outcome::Done(_)
            | Outcome::NoSession
            | Outcome::Old
            | Outcome::Window
            | Outcome::Gap
            | Outcome::Rejected
            | Outcome::TooLarge => {
                let wait = if rejections == 1 { 0 } else { self.backoff.pause(rejections) };
                self.standing = Standing::Outside { not_before: now.plus(wait), rejections, wanted: true };
            }
        }
    }

    /// Whether a session is asked for, and so many replicas said how far they are that a correct one is among them.
    pub(super) fn wants_session(&self) -> bool {
        let wanted = matches!(self.standing, Standing::Outside { wanted: true, .. });
        let heard = self.peers.iter().filter(|peer| peer.heard).count();
        (wanted || self.calls.any_waiting()) && heard >= self.context.committee.weak_quorum()
    }

    fn register(&mut self, now: Time, rejections: u32, effects: &mut Vec<ClientEffect>) {
        let nonce = self.options.nonce.wrapping_add(self.counters.registrations);
        self.counters.registrations += 1;
        let registration = Registration { nonce, expires: self.expiry(rejections) };
        let session = registration.session(self.id);
        let to = self.target();
        let out = Outgoing::new(now, &mut self.backoff, to);
        let ballot = Ballot::default();
        let registering = Registering { registration, session, digest: None, ballot, out, rejections };
        self.standing = Standing::Registering(Box::new(registering));
        let bytes = codec::encode(&registration).expect("a registration has 16 bytes");
        let operations = Operations::new(std::iter::once(bytes.as_slice()));
        let draft = Draft { session, first: Number(0), ack: Number(0), kind: Kind::Register, operations };
        effects.push(ClientEffect::Sign { to, draft });
    }

    fn repeat_registration(&mut self, now: Time, effects: &mut Vec<ClientEffect>) {
        let Standing::Registering(registering) = &mut self.standing else { return };
        registering.out.again(now, &mut self.backoff);
        if let Some(request) = registering.out.request.clone() {
            self.counters.retries += 1;
            effects.push(ClientEffect::Send { to: To::Everyone, request });
        }
    }

    /// Last slot at which a registration may execute. The (f + 1)-th largest report is not above what some correct
    /// replica has executed; it may be far below, but then the answer to the first registration tells.
    fn expiry(&self, rejections: u32) -> Seq {
        let reports = self.peers.iter().map(|peer| peer.executed).collect();
        let executed = nth_largest(reports, self.context.committee.faults()).max(self.answered);
        let usual = EXPIRES_WINDOWS.saturating_mul(self.context.parameters.window);
        let brief = EXPIRES_SLOTS_BRIEF << (2 * rejections.saturating_sub(1).min(16));
        executed.plus(if self.options.brief { brief.min(usual) } else { usual })
    }
}

/// Whether a correct replica can answer a registration so.
fn answers_registration(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Registered | Outcome::Expired | Outcome::Full => true,
        Outcome::NoSession | Outcome::Old | Outcome::Window | Outcome::Gap => false,
        Outcome::Done(_) | Outcome::Rejected | Outcome::TooLarge => false,
    }
}
