//! Where frames become messages: decoded within bounds, attributed to their channel, dropped when they cannot matter,
//! held back until they can be verified together.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_protocol::codec::{self, CodecError};
use quorate_protocol::message::{Commit, PeerMessage, Prepare};
use quorate_protocol::replica::{Need, Replica};
use quorate_protocol::request::Request;
use quorate_protocol::signed::Signed;
use quorate_protocol::types::{PublicKey, ReplicaId, Time};
use quorate_protocol::verify::Incoming;

/// Votes held back at most, per replica of the committee.
const HELD_PER_REPLICA: usize = 1024;
/// How long a vote is held back at most, in microseconds.
const HOLD_US: u64 = 2_000;

/// Why the border let nothing through. The sender's fault, and charged to its channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The frame is no message.
    #[error(transparent)]
    Malformed(#[from] CodecError),
    /// A statement that only its signer may deliver came over another replica's channel.
    #[error("replica {from} delivered a vote signed as replica {signer}")]
    NotTheSigner {
        /// The channel.
        from: ReplicaId,
        /// The name.
        signer: ReplicaId,
    },
    /// A client sent a request that another client signed; answers go over the client's own connection.
    #[error("a request signed with another key than the connection's; send it over a connection of that key")]
    NotTheClient,
}

/// Votes that say the same, waiting to be a quorum.
#[derive(Debug)]
struct Held<S> {
    votes: BTreeMap<S, (Time, Vec<(ReplicaId, Signed<S>)>)>,
    count: usize,
}

impl<S> Default for Held<S> {
    fn default() -> Self {
        Self { votes: BTreeMap::new(), count: 0 }
    }
}

impl<S: Ord + Copy> Held<S> {
    /// Holds a vote; gives back all that say the same once `together` of them are here.
    fn hold(
        &mut self,
        now: Time,
        (from, vote): (ReplicaId, Signed<S>),
        together: usize,
    ) -> Vec<(ReplicaId, Signed<S>)> {
        let body = vote.body;
        let (_, votes) = self.votes.entry(body).or_insert((now, Vec::new()));
        if votes.iter().all(|(_, held)| held.signer != vote.signer) {
            votes.push((from, vote));
            self.count += 1;
        }
        if votes.len() >= together { self.take(&body) } else { Vec::new() }
    }

    fn take(&mut self, body: &S) -> Vec<(ReplicaId, Signed<S>)> {
        let taken = self.votes.remove(body).map(|(_, votes)| votes).unwrap_or_default();
        self.count -= taken.len();
        taken
    }

    fn overdue(&mut self, now: Time) -> Vec<(ReplicaId, Signed<S>)> {
        let late = |(since, _): &(Time, Vec<_>)| now.since(*since) >= HOLD_US;
        let bodies: Vec<S> = self.votes.iter().filter(|(_, held)| late(held)).map(|(body, _)| *body).collect();
        bodies.iter().flat_map(|body| self.take(body)).collect()
    }

    fn oldest(&self) -> Option<Time> {
        self.votes.values().map(|(since, _)| *since).min()
    }
}

/// What the border did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BorderCounters {
    /// Frames that were no message.
    pub malformed: u64,
    /// Messages delivered in somebody else's name.
    pub impostors: u64,
    /// Votes dropped unverified because they could not matter any more.
    pub useless: u64,
    /// Votes verified because they were held too long.
    pub overdue: u64,
}

/// Decodes and sorts what comes in; what is ready to be verified waits in `ready`.
#[derive(Debug, Default)]
pub struct Border {
    prepares: Held<Prepare>,
    commits: Held<Commit>,
    ready: Vec<Incoming>,
    counters: BorderCounters,
}

impl Border {
    /// Takes a frame of a replica.
    ///
    /// # Errors
    /// [`Refusal`] if it is no message, or a vote in another replica's name.
    pub fn peer_frame(
        &mut self,
        now: Time,
        from: ReplicaId,
        frame: &[u8],
        replica: &Replica,
    ) -> Result<(), Refusal> {
        let message = codec::decode::<PeerMessage>(frame).inspect_err(|_| self.counters.malformed += 1)?;
        self.peer_message(now, from, message, replica).inspect_err(|_| self.counters.impostors += 1)
    }

    fn peer_message(
        &mut self,
        now: Time,
        from: ReplicaId,
        message: PeerMessage,
        replica: &Replica,
    ) -> Result<(), Refusal> {
        let room = HELD_PER_REPLICA * replica.context().committee.size();
        match message {
            PeerMessage::Prepare(vote) => {
                let need = replica.need_prepare(&vote);
                let held = own_vote(from, vote.signer)
                    .map(|()| sort(need, now, (from, vote), (&mut self.prepares, room), &mut self.counters))?;
                let wrap = |(from, vote)| Incoming::Peer { from, message: PeerMessage::Prepare(vote) };
                self.ready.extend(held.into_iter().map(wrap));
            }
            PeerMessage::Commit(vote) => {
                let need = replica.need_commit(&vote);
                let held = own_vote(from, vote.signer)
                    .map(|()| sort(need, now, (from, vote), (&mut self.commits, room), &mut self.counters))?;
                let wrap = |(from, vote)| Incoming::Peer { from, message: PeerMessage::Commit(vote) };
                self.ready.extend(held.into_iter().map(wrap));
            }
            PeerMessage::PrePrepare(_)
            | PeerMessage::Checkpoint(_)
            | PeerMessage::ViewChange(_)
            | PeerMessage::NewView(_)
            | PeerMessage::CommitCertificate(_)
            | PeerMessage::StableCertificate(_)
            | PeerMessage::Status(_)
            | PeerMessage::FetchBody { .. }
            | PeerMessage::Body { .. }
            | PeerMessage::FetchViewChange { .. }
            | PeerMessage::Forward(_) => self.ready.push(Incoming::Peer { from, message }),
        }
        Ok(())
    }

    /// Decodes a frame of a client.
    ///
    /// # Errors
    /// [`Refusal`] if it is no request, or another client's.
    pub fn client_frame(&mut self, key: &PublicKey, frame: &[u8]) -> Result<Arc<Request>, Refusal> {
        let request = codec::decode::<Request>(frame).inspect_err(|_| self.counters.malformed += 1)?;
        if request.key() != *key {
            self.counters.impostors += 1;
            return Err(Refusal::NotTheClient);
        }
        Ok(Arc::new(request))
    }

    /// Lets a client's request through to be verified.
    pub fn admit(&mut self, request: Arc<Request>) {
        self.ready.push(Incoming::Client(request));
    }

    /// Votes that were held too long are verified after all.
    pub fn tick(&mut self, now: Time) {
        let prepares = self.prepares.overdue(now);
        let commits = self.commits.overdue(now);
        self.counters.overdue += (prepares.len() + commits.len()) as u64;
        let prepare = |(from, vote)| Incoming::Peer { from, message: PeerMessage::Prepare(vote) };
        let commit = |(from, vote)| Incoming::Peer { from, message: PeerMessage::Commit(vote) };
        self.ready.extend(prepares.into_iter().map(prepare));
        self.ready.extend(commits.into_iter().map(commit));
    }

    /// When [`Border::tick`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let oldest = self.prepares.oldest().into_iter().chain(self.commits.oldest()).min();
        oldest.map(|since| since.plus(HOLD_US))
    }

    /// How many messages wait to be verified.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// What waits to be verified.
    pub fn take(&mut self) -> Vec<Incoming> {
        std::mem::take(&mut self.ready)
    }

    /// What the border did so far.
    #[must_use]
    pub fn counters(&self) -> BorderCounters {
        self.counters
    }
}

/// A vote relayed by somebody else is never held: it could push its signer's own vote out.
fn own_vote(from: ReplicaId, signer: ReplicaId) -> Result<(), Refusal> {
    if from == signer { Ok(()) } else { Err(Refusal::NotTheSigner { from, signer }) }
}

fn sort<S: Ord + Copy>(
    need: Need,
    now: Time,
    vote: (ReplicaId, Signed<S>),
    (held, room): (&mut Held<S>, usize),
    counters: &mut BorderCounters,
) -> Vec<(ReplicaId, Signed<S>)> {
    match need {
        Need::Useless => {
            counters.useless += 1;
            Vec::new()
        }
        Need::Now => vec![vote],
        Need::Together(_) if held.count >= room => vec![vote],
        Need::Together(together) => held.hold(now, vote, together),
    }
}
