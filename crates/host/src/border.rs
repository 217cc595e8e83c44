//! Where frames become messages: decoded within bounds, attributed to their channel, dropped when they cannot matter,
//! held back until they can be verified together.

use std::sync::Arc;

use quorate_protocol::codec::{self, CodecError, List};
use quorate_protocol::message::{
    ClientFrame, Commit, NamedViewChange, PeerMessage, PrePrepare, Prepare, SWORN_MAX, Sworn, Transfer,
};
use quorate_protocol::replica::Replica;
use quorate_protocol::request::Request;
use quorate_protocol::signed::Signed;
use quorate_protocol::types::{PublicKey, ReplicaId, Time};
use quorate_protocol::verify::Incoming;

mod allowance;
mod held;
mod queue;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use crate::live::Heard;
use allowance::Allowances;
pub use allowance::Kind;
use held::{HOLD_US, Held};
use queue::Queue;

/// Bytes of a vote that waits, about.
const VOTE_BYTES: usize = 128;

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
    /// Messages dropped unverified because they could not matter any more.
    pub useless: u64,
    /// VIEW-CHANGEs dropped unverified because the same bytes were verified before.
    pub repeated: u64,
    /// Messages dropped unverified because their channel asked too much, by [`Kind`].
    pub over_allowance: [u64; Kind::NAMES.len()],
    /// Messages dropped unverified because too many of their channel were waiting.
    pub crowded_out: u64,
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
    ready: Queue,
    /// Of the frame that came last.
    part: Option<Transfer>,
    heard: Option<Heard>,
    allowances: Allowances,
    counters: BorderCounters,
}

/// A message, when it came over whose channel, and in how many bytes.
struct Arrival {
    now: Time,
    from: ReplicaId,
    bytes: usize,
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
        let arrival = Arrival { now, from, bytes: frame.len() };
        self.heard = Heard::of(from, &message);
        self.peer_message(&arrival, message, replica).inspect_err(|_| self.counters.impostors += 1)
    }

    fn peer_message(
        &mut self,
        arrival: &Arrival,
        message: PeerMessage,
        replica: &Replica,
    ) -> Result<(), Refusal> {
        let Arrival { now, from, .. } = *arrival;
        match message {
            PeerMessage::Prepare(vote) => {
                own_vote(from, vote.signer)?;
                let votes = self.prepares.sort(replica.need_prepare(&vote), now, vote);
                self.votes(votes.map(|votes| votes.into_iter().map(prepare)));
            }
            PeerMessage::Commit(vote) => {
                own_vote(from, vote.signer)?;
                let votes = self.commits.sort(replica.need_commit(&vote), now, vote);
                self.votes(votes.map(|votes| votes.into_iter().map(commit)));
            }
            PeerMessage::PrePrepare(proposal) => self.proposal(arrival, proposal, replica),
            PeerMessage::Checkpoint(vote) => {
                let needed = replica.needs_checkpoint(&vote);
                self.urgent_if(needed, arrival, PeerMessage::Checkpoint(vote));
            }
            PeerMessage::ViewChange(message) => self.view_change(arrival, message, replica),
            PeerMessage::NewView(_)
            | PeerMessage::CommitCertificate(_)
            | PeerMessage::StableCertificate(_)
            | PeerMessage::Body { .. } => self.claim(arrival, message, replica),
            PeerMessage::Status(_) | PeerMessage::FetchBody { .. } | PeerMessage::FetchViewChange { .. } => {
                self.urgent_if(true, arrival, message);
            }
            PeerMessage::Forward(_) => self.bulk(arrival, message, 1),
            PeerMessage::Testimony(sworn) => self.testimony(arrival, sworn, replica),
            PeerMessage::Transfer(part) => self.part = Some(part),
        }
        Ok(())
    }

    /// Votes that need not be held any longer. None: one that was of no use.
    fn votes(&mut self, votes: Option<impl Iterator<Item = (ReplicaId, PeerMessage)>>) {
        let Some(votes) = votes else {
            self.counters.useless += 1;
            return;
        };
        for (signer, vote) in votes {
            let taken = self.ready.urgent(signer, vote, (1, VOTE_BYTES));
            self.counters.crowded_out += u64::from(!taken);
        }
    }

    fn urgent_if(&mut self, needed: bool, arrival: &Arrival, message: PeerMessage) {
        if !needed {
            self.counters.useless += 1;
            return;
        }
        let taken = self.ready.urgent(arrival.from, message, (1, arrival.bytes));
        self.counters.crowded_out += u64::from(!taken);
    }

    fn bulk(&mut self, arrival: &Arrival, message: PeerMessage, signatures: u64) {
        let taken = self.ready.bulk(arrival.from, message, (signatures, arrival.bytes));
        self.counters.crowded_out += u64::from(!taken);
    }

    /// Checking a batch costs a signature for each request: nobody may ask that for nothing, and only the author of a
    /// proposal may ask it at all.
    fn proposal(&mut self, arrival: &Arrival, mut proposal: PrePrepare, replica: &Replica) {
        if arrival.from != proposal.prepare.signer || !replica.needs_batch(&proposal.prepare.body) {
            proposal.batch = None;
        }
        let requests = proposal.batch.as_ref().map_or(0, |batch| batch.requests.len() as u64);
        let size = (1 + requests, arrival.bytes);
        let taken = self.ready.urgent(arrival.from, PeerMessage::PrePrepare(proposal), size);
        self.counters.crowded_out += u64::from(!taken);
    }

    fn view_change(&mut self, arrival: &Arrival, message: Arc<NamedViewChange>, replica: &Replica) {
        let context = replica.context();
        let asked_for = replica.lacks_view_change(&message);
        if !asked_for && self.allowances.recognises(&message) {
            self.counters.repeated += 1;
            return;
        }
        if !asked_for && !replica.needs_view_change(&message) {
            self.counters.useless += 1;
            return;
        }
        let signatures = self.allowances.signatures_of(&message, &context.committee);
        if !self.allowances.charge(arrival.now, arrival.from, signatures, context) {
            self.counters.over_allowance[Kind::ViewChange as usize] += 1;
            return;
        }
        let shared = PeerMessage::ViewChange(Arc::clone(&message));
        if self.ready.bulk(arrival.from, shared, (signatures, arrival.bytes)) {
            self.allowances.note(&message, context);
        } else {
            self.counters.crowded_out += 1;
        }
    }

    /// Of what others signed only that is verified which excludes something that is held here.
    fn testimony(&mut self, arrival: &Arrival, mut sworn: List<Sworn, SWORN_MAX>, replica: &Replica) {
        sworn.0.retain(|sworn| replica.is_evidence(sworn));
        let (context, signatures) = (replica.context(), sworn.len() as u64);
        if sworn.is_empty() {
            self.counters.useless += 1;
        } else if self.allowances.charge(arrival.now, arrival.from, signatures, context) {
            let taken =
                self.ready.urgent(arrival.from, PeerMessage::Testimony(sworn), (signatures, arrival.bytes));
            self.counters.crowded_out += u64::from(!taken);
        } else {
            self.counters.over_allowance[Kind::Testimony as usize] += 1;
        }
    }

    /// What proves something, or was asked for: dropped if it proves nothing new, charged otherwise.
    fn claim(&mut self, arrival: &Arrival, message: PeerMessage, replica: &Replica) {
        let context = replica.context();
        let quorum = context.committee.quorum() as u64;
        let (kind, needed, signatures) = match &message {
            PeerMessage::NewView(message) => (Kind::NewView, replica.needs_new_view(message), 1),
            PeerMessage::CommitCertificate(proof) => {
                (Kind::Certificate, replica.needs_commit_certificate(proof), quorum)
            }
            PeerMessage::StableCertificate(proof) => {
                (Kind::Certificate, replica.needs_stable_certificate(proof), quorum)
            }
            // Of the batch that is missed each byte is known by its digest: it can be sent once only, and is not
            // charged for its signatures.
            PeerMessage::Body { seq, batch } => {
                let missed = replica.missed_body(*seq);
                (Kind::Body, missed.is_some_and(|missed| missed == batch.digest(context.cluster)), 0)
            }
            _ => return,
        };
        if !needed {
            self.counters.useless += 1;
        } else if self.allowances.charge(arrival.now, arrival.from, signatures, context) {
            let requests =
                if let PeerMessage::Body { batch, .. } = &message { batch.requests.len() as u64 } else { 0 };
            self.bulk(arrival, message, signatures + requests);
        } else {
            self.counters.over_allowance[kind as usize] += 1;
        }
    }

    /// Decodes a frame of a client.
    ///
    /// # Errors
    /// [`Refusal`] if it is no message of a client, or another client's request.
    pub fn client_frame(&mut self, key: &PublicKey, frame: &[u8]) -> Result<ClientFrame, Refusal> {
        let message = codec::decode::<ClientFrame>(frame).inspect_err(|error| self.counters.count(error))?;
        match &message {
            ClientFrame::Request(request) if request.key() != *key => {
                self.counters.impostors += 1;
                Err(Refusal::NotTheClient)
            }
            ClientFrame::Request(_) | ClientFrame::Query(_) => Ok(message),
        }
    }

    /// Lets a client's request through to be verified.
    pub fn admit(&mut self, request: Arc<Request>) {
        self.ready.request(request);
    }

    /// Votes that were held too long are verified after all.
    pub fn tick(&mut self, now: Time) {
        let prepares = self.prepares.overdue(now);
        let commits = self.commits.overdue(now);
        self.counters.overdue += (prepares.len() + commits.len()) as u64;
        self.votes(Some(prepares.into_iter().map(prepare).chain(commits.into_iter().map(commit))));
    }

    /// The replica has learned something, its own vote perhaps: what is held may be enough now, or of no use any more.
    fn settle(&mut self, replica: &Replica) {
        let (prepares, useless) = self.prepares.settle(|vote| replica.need_prepare(vote));
        self.counters.useless += useless;
        let (commits, useless) = self.commits.settle(|vote| replica.need_commit(vote));
        self.counters.useless += useless;
        self.votes(Some(prepares.into_iter().map(prepare).chain(commits.into_iter().map(commit))));
    }

    /// When [`Border::tick`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let oldest = self.prepares.oldest().into_iter().chain(self.commits.oldest()).min();
        oldest.map(|since| since.plus(HOLD_US))
    }

    /// The part of a state that the last frame held: no business of the replica, and it needs no verifier.
    pub(crate) fn take_part(&mut self) -> Option<Transfer> {
        self.part.take()
    }

    /// What the last frame said of a slot, in its own author's name; not verified.
    pub(crate) fn take_heard(&mut self) -> Option<Heard> {
        self.heard.take()
    }

    /// How many messages wait to be verified.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// How many requests of clients wait to be verified.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.ready.requests()
    }

    /// What is to be verified next, now that the replica stands where it does: a bounded job, replicas' messages
    /// first. With `clients` false theirs alone.
    pub fn take(&mut self, replica: &Replica, clients: bool) -> Vec<Incoming> {
        self.settle(replica);
        self.ready.take(clients)
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

fn prepare(vote: Signed<Prepare>) -> (ReplicaId, PeerMessage) {
    (vote.signer, PeerMessage::Prepare(vote))
}

fn commit(vote: Signed<Commit>) -> (ReplicaId, PeerMessage) {
    (vote.signer, PeerMessage::Commit(vote))
}
