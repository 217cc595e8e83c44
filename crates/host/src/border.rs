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

/// Votes that say the same, and since when the first of them waits.
#[derive(Debug)]
struct Equal<S> {
    since: Time,
    votes: Vec<Signed<S>>,
}

/// Votes that wait to be a quorum. Each came over its own signer's channel.
#[derive(Debug)]
struct Held<S> {
    votes: BTreeMap<S, Equal<S>>,
    count: usize,
}

impl<S> Default for Held<S> {
    fn default() -> Self {
        Self { votes: BTreeMap::new(), count: 0 }
    }
}

impl<S: Ord + Copy> Held<S> {
    /// Holds a vote; gives back all that say the same once `together` of them are here.
    fn hold(&mut self, now: Time, vote: Signed<S>, together: usize) -> Vec<Signed<S>> {
        let body = vote.body;
        let equal = self.votes.entry(body).or_insert(Equal { since: now, votes: Vec::new() });
        if equal.votes.iter().all(|held| held.signer != vote.signer) {
            equal.votes.push(vote);
            self.count += 1;
        }
        if equal.votes.len() >= together { self.take(&body) } else { Vec::new() }
    }

    fn take(&mut self, body: &S) -> Vec<Signed<S>> {
        let taken = self.votes.remove(body).map(|equal| equal.votes).unwrap_or_default();
        self.count -= taken.len();
        taken
    }

    fn overdue(&mut self, now: Time) -> Vec<Signed<S>> {
        let late = |equal: &Equal<S>| now.since(equal.since) >= HOLD_US;
        let bodies: Vec<S> =
            self.votes.iter().filter(|(_, equal)| late(equal)).map(|(body, _)| *body).collect();
        bodies.iter().flat_map(|body| self.take(body)).collect()
    }

    /// Takes out what a quorum needs by now, and drops what it does not need any more; says how much that was.
    fn settle(&mut self, need: impl Fn(&Signed<S>) -> Need) -> (Vec<Signed<S>>, u64) {
        let (mut needed, mut useless) = (Vec::new(), 0);
        let bodies: Vec<S> = self.votes.keys().copied().collect();
        for body in bodies {
            let Some(equal) = self.votes.get_mut(&body) else { continue };
            // Each vote for itself: one that was counted already says nothing about those held with it.
            let before = equal.votes.len();
            equal.votes.retain(|vote| need(vote) != Need::Useless);
            let dropped = before - equal.votes.len();
            self.count -= dropped;
            useless += dropped as u64;
            match equal.votes.first().map(&need) {
                Some(Need::Together(together)) if equal.votes.len() < together => {}
                Some(_) => needed.extend(self.take(&body)),
                None => drop(self.votes.remove(&body)),
            }
        }
        (needed, useless)
    }

    fn oldest(&self) -> Option<Time> {
        self.votes.values().map(|equal| equal.since).min()
    }
}

/// What the border did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BorderCounters {
    /// Frames that were no message, all kinds together.
    pub malformed: u64,
    /// Those that ended early.
    pub truncated: u64,
    /// Those with bytes behind the message.
    pub trailing: u64,
    /// Those that spell a message otherwise than it is spelt.
    pub not_canonical: u64,
    /// Those that were longer than a frame may be.
    pub too_long: u64,
    /// Messages delivered in somebody else's name.
    pub impostors: u64,
    /// Votes dropped unverified because they could not matter any more.
    pub useless: u64,
    /// Votes verified because they were held too long.
    pub overdue: u64,
}

impl BorderCounters {
    fn count(&mut self, error: &CodecError) {
        self.malformed += 1;
        match error {
            CodecError::Truncated => self.truncated += 1,
            CodecError::Trailing(_) => self.trailing += 1,
            CodecError::NotCanonical => self.not_canonical += 1,
            CodecError::TooLong(_) => self.too_long += 1,
            CodecError::Malformed(_) => {}
        }
    }
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
        let message = codec::decode::<PeerMessage>(frame).inspect_err(|error| self.counters.count(error))?;
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
                own_vote(from, vote.signer)?;
                let need = replica.need_prepare(&vote);
                let votes = sort(need, now, vote, (&mut self.prepares, room), &mut self.counters);
                self.ready.extend(votes.into_iter().map(prepare));
            }
            PeerMessage::Commit(vote) => {
                own_vote(from, vote.signer)?;
                let need = replica.need_commit(&vote);
                let votes = sort(need, now, vote, (&mut self.commits, room), &mut self.counters);
                self.ready.extend(votes.into_iter().map(commit));
            }
            PeerMessage::PrePrepare(mut proposal) => {
                // Checking a batch costs a signature for each request: nobody may ask that for nothing.
                if !replica.needs_batch(&proposal.prepare.body) {
                    proposal.batch = None;
                }
                self.ready.push(Incoming::Peer { from, message: PeerMessage::PrePrepare(proposal) });
            }
            PeerMessage::Body { seq, .. } if !replica.misses_body(seq) => self.counters.useless += 1,
            PeerMessage::Checkpoint(_)
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
        let request = codec::decode::<Request>(frame).inspect_err(|error| self.counters.count(error))?;
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
        self.ready.extend(prepares.into_iter().map(prepare));
        self.ready.extend(commits.into_iter().map(commit));
    }

    /// The replica has learned something, its own vote perhaps: what is held may be enough now, or of no use any more.
    fn settle(&mut self, replica: &Replica) {
        let (prepares, useless) = self.prepares.settle(|vote| replica.need_prepare(vote));
        self.ready.extend(prepares.into_iter().map(prepare));
        self.counters.useless += useless;
        let (commits, useless) = self.commits.settle(|vote| replica.need_commit(vote));
        self.ready.extend(commits.into_iter().map(commit));
        self.counters.useless += useless;
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

    /// What waits to be verified, now that the replica stands where it does.
    pub fn take(&mut self, replica: &Replica) -> Vec<Incoming> {
        self.settle(replica);
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

fn prepare(vote: Signed<Prepare>) -> Incoming {
    Incoming::Peer { from: vote.signer, message: PeerMessage::Prepare(vote) }
}

fn commit(vote: Signed<Commit>) -> Incoming {
    Incoming::Peer { from: vote.signer, message: PeerMessage::Commit(vote) }
}

fn sort<S: Ord + Copy>(
    need: Need,
    now: Time,
    vote: Signed<S>,
    (held, room): (&mut Held<S>, usize),
    counters: &mut BorderCounters,
) -> Vec<Signed<S>> {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use quorate_protocol::committee::Committee;
    use quorate_protocol::crypto::SecretKey;
    use quorate_protocol::parameters::{Context, Parameters};
    use quorate_protocol::process::{Event, Process};
    use quorate_protocol::request::{Batch, Nondet};
    use quorate_protocol::signed::{Signer, Verified};
    use quorate_protocol::types::{ClusterId, Digest, Epoch, Seq, View};

    use super::*;

    const NOW: Time = Time(1_000);

    fn replica_1_of_4() -> (Replica, Vec<Signer>) {
        let keys: Vec<_> = (1..=4).map(|seed| Arc::new(SecretKey::from_seed(&[seed; 32]))).collect();
        let public: Vec<_> = keys.iter().map(|key| key.public()).collect();
        let (cluster, epoch) = (ClusterId(Digest([9; 32])), Epoch(0));
        let committee = Arc::new(Committee::new(&public, false).unwrap());
        let context = Context { cluster, epoch, committee, parameters: Arc::new(Parameters::default()) };
        let signers = (0..).map(ReplicaId).zip(keys).map(|(id, key)| Signer::new(key, cluster, epoch, id));
        (Replica::new(context, ReplicaId(1)), signers.collect())
    }

    fn commit_of(signer: &Signer) -> Verified<Signed<Commit>> {
        signer.sign(Commit { view: View(0), seq: Seq(1), digest: Digest([5; 32]) })
    }

    fn arrive(border: &mut Border, from: u16, message: &PeerMessage, replica: &Replica) {
        border.peer_frame(NOW, ReplicaId(from), &codec::encode(message).unwrap(), replica).unwrap();
    }

    #[test]
    fn a_vote_that_was_counted_already_takes_no_other_one_with_it() {
        let (mut replica, signers) = replica_1_of_4();
        let mut border = Border::default();
        for from in [2, 3] {
            let vote = commit_of(&signers[usize::from(from)]).into_inner();
            arrive(&mut border, from, &PeerMessage::Commit(vote), &replica);
        }
        assert!(border.take(&replica).is_empty(), "two votes are no quorum");
        // The first of them was under way already when it came again.
        replica.step(NOW, Event::Commit(commit_of(&signers[2])), &mut Vec::new());
        assert!(border.take(&replica).is_empty());
        replica.step(NOW, Event::Commit(commit_of(&signers[0])), &mut Vec::new());
        let ready = border.take(&replica);
        assert_eq!(ready, [commit(commit_of(&signers[3]).into_inner())]);
        assert_eq!(border.counters().useless, 1);
    }

    #[test]
    fn a_batch_that_nobody_asked_for_is_not_verified() {
        let (replica, _) = replica_1_of_4();
        let mut border = Border::default();
        let batch = Batch { nondet: Nondet::default(), requests: codec::List(Vec::new()) };
        arrive(&mut border, 2, &PeerMessage::Body { seq: Seq(1), batch }, &replica);
        assert!(border.take(&replica).is_empty());
    }
}
