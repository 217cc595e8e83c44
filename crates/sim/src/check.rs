//! What must be true after every step of a simulated world, whatever its seed.
//!
//! Checkers only listen: to what replicas send, make durable, execute and store, and to what clients accept.
//! `tests` shows of every one that it can fail.

mod answers;
pub mod linear;
mod promises;
mod reference;
mod said;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_protocol::message::{Commit, Outcome, PeerMessage, Prepare};
use quorate_protocol::parameters::Context;
use quorate_protocol::process::{Alarm, Record};
use quorate_protocol::replica::Footprint;
use quorate_protocol::request::{Body, Request};
use quorate_protocol::types::{ClientId, Digest, Number, ReplicaId, Seq, Session, Time, View};

use crate::app::Service;
pub use promises::Promises;
pub use reference::Reference;
pub use said::Said;

/// What went wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// I1: two replicas executed different things.
    #[error(
        "two replicas executed different things: replica {replica} at slot {seq}, and another one before it"
    )]
    Agreement {
        /// Who executed last.
        replica: ReplicaId,
        /// Where.
        seq: Seq,
    },
    /// I2, I3: two quorums signed different digests.
    #[error(
        "two quorums signed different digests in view {view} at slot {seq}: two different batches can be decided in one \
         place"
    )]
    TwoCertificates {
        /// The view.
        view: View,
        /// The slot.
        seq: Seq,
    },
    /// A replica skipped or repeated a slot.
    #[error(
        "replica {replica} executed slot {seq} straight after slot {before}: it skipped slots, or repeated one"
    )]
    Order {
        /// Who.
        replica: ReplicaId,
        /// What it executed before.
        before: Seq,
        /// And then.
        seq: Seq,
    },
    /// I4: an operation was ordered that no client signed.
    #[error("an operation was ordered, at slot {seq}, that no client signed")]
    Forged {
        /// The slot.
        seq: Seq,
    },
    /// I5: two roots for one slot.
    #[error(
        "two replicas have different states after slot {seq}: replica {replica}, and another one before it"
    )]
    Roots {
        /// Who stored last.
        replica: ReplicaId,
        /// The checkpoint.
        seq: Seq,
    },
    /// I6: a view or a low watermark went down.
    #[error(
        "replica {replica} went back from view {}, stable up to slot {}, to view {}, stable up to slot {}",
        .before.0, .before.1, .after.0, .after.1
    )]
    Backwards {
        /// Who.
        replica: ReplicaId,
        /// View and low watermark before.
        before: (View, Seq),
        /// And after.
        after: (View, Seq),
    },
    /// I7: a promise left that was not durable.
    #[error("replica {replica} sent {what} before it was durable: a power cut could make it break its word")]
    Undurable {
        /// Who.
        replica: ReplicaId,
        /// What.
        what: String,
    },
    /// I13: a replica answered a fast read from a slot before one that it had answered from.
    #[error(
        "replica {replica} answered a fast read from slot {seq} although it had answered from slot {before}: what was \
         acknowledged between may be missing"
    )]
    WentBack {
        /// Who.
        replica: ReplicaId,
        /// What it had answered from.
        before: Seq,
        /// And then.
        seq: Seq,
    },
    /// I7, I8: a replica contradicts what it said before, perhaps in an earlier life.
    #[error("replica {replica} contradicts itself: {what}")]
    Contradiction {
        /// Who.
        replica: ReplicaId,
        /// What it says now.
        what: String,
    },
    /// I7: a promise did not survive a restart, although nothing happened to the disk.
    #[error("replica {replica} forgot {what} when it was started again")]
    Forgot {
        /// Who.
        replica: ReplicaId,
        /// What.
        what: String,
    },
    /// I8: a correct replica is accused, or the cluster found itself wrong.
    #[error("replica {replica} raised an alarm, or accused somebody, without a reason: {alarm}")]
    FalseAlarm {
        /// Who.
        replica: ReplicaId,
        /// What it says.
        alarm: String,
    },
    /// I9, I11: a replica keeps more than the configuration allows.
    #[error("replica {replica} keeps {kept} {what}, more than the {most} that its configuration allows")]
    Memory {
        /// Who.
        replica: ReplicaId,
        /// What.
        what: &'static str,
        /// How many.
        kept: u64,
        /// How many it may.
        most: u64,
    },
    /// I10, I4: a client accepted what the log does not say.
    #[error(
        "a client was given a wrong answer: for its operation {number} it accepted {accepted}, and executing everything \
         once, in order, gives {expected}"
    )]
    WrongAnswer {
        /// The operation's number.
        number: Number,
        /// What it accepted.
        accepted: String,
        /// What it should have.
        expected: String,
    },
    /// A replica had to stop.
    #[error("replica {replica} had to stop: {why}")]
    Stopped {
        /// Who.
        replica: ReplicaId,
        /// Why.
        why: String,
    },
    /// I12: no progress although everything healed.
    #[error(
        "{} after everything healed, requests are still unanswered or replicas still behind:{waiting}",
        crate::words::span(.now.since(*.healed))
    )]
    NoProgress {
        /// Now.
        now: Time,
        /// Since when all is well.
        healed: Time,
        /// What is not done.
        waiting: String,
    },
    /// The world turns but time does not pass.
    #[error("it does not come to an end: more than {0} things happened")]
    Livelock(u64),
    /// A replica that was to lie told the truth all the time, so that the run shows nothing.
    #[error(
        "replica {replica} was to lie and told no lie, so nothing was tried; let its behaviour begin earlier, or see what it \
         lacked: {advice}"
    )]
    NoLie {
        /// Who.
        replica: ReplicaId,
        /// What each of its lies needs to be told.
        advice: String,
    },
    /// Something in the world panicked, which no input may cause.
    #[error("a replica or a client panicked: {0}")]
    Panicked(String),
}

/// Verdict of a checker.
pub type Checked = Result<(), Violation>;

/// Digests signed for something, and a bit for each signer.
type Ballots = BTreeMap<Digest, u64>;

/// All checkers, and what they remember.
pub struct Checks {
    quorum: usize,
    faults: usize,
    prepares: BTreeMap<(View, Seq), Ballots>,
    commits: BTreeMap<(View, Seq), Ballots>,
    committed: BTreeMap<Seq, Digest>,
    histories: BTreeMap<Seq, Digest>,
    executed: BTreeMap<ReplicaId, Seq>,
    roots: BTreeMap<Seq, Digest>,
    standing: BTreeMap<ReplicaId, (View, Seq)>,
    signed: BTreeSet<Digest>,
    promises: Vec<Promises>,
    said: Vec<Said>,
    /// Whether clocks are so wrong that replicas may complain about each other's.
    clocks_lie: bool,
    /// Replicas that lie, whom nothing is expected of.
    liars: BTreeSet<ReplicaId>,
    answers: answers::Answers,
    reference: Reference,
}

impl Checks {
    /// Checkers for one cluster.
    #[must_use]
    pub fn new(context: &Context, service: &Service) -> Self {
        Self {
            quorum: context.committee.quorum(),
            faults: context.committee.faults(),
            prepares: BTreeMap::new(),
            commits: BTreeMap::new(),
            committed: BTreeMap::new(),
            histories: BTreeMap::new(),
            executed: BTreeMap::new(),
            roots: BTreeMap::new(),
            standing: BTreeMap::new(),
            signed: BTreeSet::new(),
            promises: vec![Promises::default(); context.committee.size()],
            said: vec![Said::default(); context.committee.size()],
            clocks_lie: false,
            liars: BTreeSet::new(),
            answers: answers::Answers::new(context),
            reference: Reference::new(service.machine(), context.parameters.window),
        }
    }

    /// From now on nothing is expected of this replica.
    pub fn distrust(&mut self, replica: ReplicaId) {
        self.liars.insert(replica);
    }

    /// Whether this replica is known to lie.
    #[must_use]
    pub fn is_liar(&self, replica: ReplicaId) -> bool {
        self.liars.contains(&replica)
    }

    /// A client signed a request.
    pub fn client_signed(&mut self, request: &Request) {
        self.signed.extend(request.operations().map(|(_, digest, _)| digest));
    }

    /// Records of a replica are on stable storage.
    ///
    /// # Errors
    /// [`Violation::Contradiction`] if it votes in a view that it left.
    pub fn durable<'a>(
        &mut self,
        replica: ReplicaId,
        mut records: impl Iterator<Item = &'a Record>,
    ) -> Checked {
        let promises = &mut self.promises[usize::from(replica.0)];
        let kept = records.try_for_each(|record| promises.durable(record));
        if self.is_liar(replica) {
            return Ok(());
        }
        kept.map_err(|what| Violation::Contradiction { replica, what })
    }

    /// A replica was started again: with these records, and with the state after a slot and its root. Whether its
    /// disk was left as it was is what `sound` says.
    ///
    /// # Errors
    /// [`Violation::Forgot`], [`Violation::Backwards`] or what [`Checks::stored`] finds.
    pub fn restarted<'a>(
        &mut self,
        replica: ReplicaId,
        records: impl Iterator<Item = &'a Record>,
        state: Option<(Seq, Digest)>,
        sound: bool,
    ) -> Checked {
        let promises = &mut self.promises[usize::from(replica.0)];
        let mut found = Promises::default();
        for record in records {
            // In the journal a vote may stand behind a later view's records: those were carried forward.
            let _in_order = found.durable(record);
            let _known = promises.durable(record);
        }
        if sound && let Err(what) = promises.kept_by(&found) {
            return Err(Violation::Forgot { replica, what });
        }
        self.said[usize::from(replica.0)].live_again();
        // What was not durable may be gone, and has not been said.
        self.standing.insert(replica, if sound { promises.standing() } else { found.standing() });
        self.executed.insert(replica, state.map_or(Seq(0), |(seq, _)| seq));
        state.map_or(Ok(()), |(seq, root)| self.stored(replica, seq, root))
    }

    /// VIEW-CHANGEs that processes said again in a later life.
    #[must_use]
    pub fn repeated(&self) -> u64 {
        self.said.iter().map(Said::repeated).sum()
    }

    /// From now on clocks may be so wrong that replicas complain about each other's.
    pub fn distrust_clocks(&mut self) {
        self.clocks_lie = true;
    }

    /// A state of a replica is on stable storage.
    ///
    /// # Errors
    /// [`Violation::Roots`] if another replica has another root there.
    pub fn stored(&mut self, replica: ReplicaId, seq: Seq, root: Digest) -> Checked {
        self.promises[usize::from(replica.0)].stored(seq);
        if self.is_liar(replica) || *self.roots.entry(seq).or_insert(root) == root {
            return Ok(());
        }
        Err(Violation::Roots { replica, seq })
    }

    /// A replica sends a message.
    ///
    /// # Errors
    /// [`Violation::TwoCertificates`], [`Violation::Undurable`] or [`Violation::Contradiction`].
    pub fn sent(&mut self, replica: ReplicaId, message: &PeerMessage) -> Checked {
        if let Some((signer, vote)) = prepare_of(message)
            && signer == replica
        {
            let Prepare { view, seq, digest } = vote;
            let ballots = self.prepares.entry((view, seq)).or_default();
            cast(ballots, digest, signer);
            if quorums(ballots, self.quorum).count() > 1 {
                return Err(Violation::TwoCertificates { view, seq });
            }
        }
        if let PeerMessage::Commit(vote) = message
            && vote.signer == replica
        {
            self.committed_by(replica, vote.body)?;
        }
        if self.is_liar(replica) {
            return Ok(());
        }
        let kept = self.promises[usize::from(replica.0)].allows(replica, message);
        kept.map_err(|what| Violation::Undurable { replica, what })?;
        let said = self.said[usize::from(replica.0)].hear(replica, message);
        said.map_err(|what| Violation::Contradiction { replica, what })
    }

    /// q COMMITs of any view decide a slot for ever.
    fn committed_by(&mut self, signer: ReplicaId, vote: Commit) -> Checked {
        let Commit { view, seq, digest } = vote;
        let ballots = self.commits.entry((view, seq)).or_default();
        cast(ballots, digest, signer);
        for decided in quorums(ballots, self.quorum) {
            if *self.committed.entry(seq).or_insert(decided) != decided {
                return Err(Violation::TwoCertificates { view, seq });
            }
        }
        Ok(())
    }

    /// A replica executed a slot.
    ///
    /// # Errors
    /// [`Violation::Order`], [`Violation::Agreement`] or [`Violation::Forged`].
    pub fn executed(
        &mut self,
        replica: ReplicaId,
        seq: Seq,
        body: Option<&Arc<Body>>,
        history: Digest,
    ) -> Checked {
        if self.is_liar(replica) {
            return Ok(());
        }
        let before = self.executed.insert(replica, seq).unwrap_or_default();
        if seq != before.next() {
            return Err(Violation::Order { replica, before, seq });
        }
        if let Some(known) = self.histories.get(&seq) {
            return if *known == history { Ok(()) } else { Err(Violation::Agreement { replica, seq }) };
        }
        self.histories.insert(seq, history);
        let Some(body) = body else { return Ok(()) };
        let mut operations = body.batch.requests.iter().flat_map(|request| request.operations());
        if operations.any(|(_, digest, _)| !self.signed.contains(&digest)) {
            return Err(Violation::Forged { seq });
        }
        let before = self.histories.get(&Seq(seq.0.saturating_sub(1))).copied().unwrap_or(Digest::ZERO);
        self.reference.execute(seq, body, before);
        Ok(())
    }

    /// A replica goes on from a state that it fetched.
    ///
    /// # Errors
    /// [`Violation::Order`] if it had executed as much itself, [`Violation::Agreement`] if it is no state that a replica
    /// came to by executing.
    pub fn installed(&mut self, replica: ReplicaId, seq: Seq, history: Digest) -> Checked {
        if self.is_liar(replica) {
            return Ok(());
        }
        let before = self.executed.insert(replica, seq).unwrap_or_default();
        if seq <= before {
            return Err(Violation::Order { replica, before, seq });
        }
        if self.histories.get(&seq) == Some(&history) {
            return Ok(());
        }
        Err(Violation::Agreement { replica, seq })
    }

    /// A client accepted an answer.
    ///
    /// # Errors
    /// [`Violation::WrongAnswer`] if executing the log once gives another.
    pub fn accepted(&self, operation: (ClientId, Session, Number), seq: Seq, outcome: &Outcome) -> Checked {
        let expected = self.reference.answer(operation);
        // More than f liars can make a client believe anything.
        if expected == Some(&(seq, outcome.clone())) || self.liars.len() > self.faults {
            return Ok(());
        }
        let (accepted, number) = (format!("{outcome:?} in slot {seq}"), operation.2);
        Err(Violation::WrongAnswer { number, accepted, expected: format!("{expected:?}") })
    }

    /// A replica has done a step.
    ///
    /// # Errors
    /// [`Violation::Backwards`] if its view or low watermark went down.
    pub fn stands(&mut self, replica: ReplicaId, view: View, low: Seq) -> Checked {
        let before = self.standing.insert(replica, (view, low)).unwrap_or_default();
        if view < before.0 || low < before.1 {
            return Err(Violation::Backwards { replica, before, after: (view, low) });
        }
        Ok(())
    }

    /// A replica raised an alarm.
    ///
    /// # Errors
    /// [`Violation::FalseAlarm`] unless a liar is to blame.
    pub fn alarm(&self, replica: ReplicaId, alarm: &Alarm) -> Checked {
        let culprit = alarm.accusation().map(|found| found.culprit());
        let excused = self.clocks_lie && matches!(alarm, Alarm::ClockDisagrees { .. });
        if excused || self.is_liar(replica) || culprit.is_some_and(|culprit| self.is_liar(culprit)) {
            return Ok(());
        }
        Err(Violation::FalseAlarm { replica, alarm: format!("{alarm:?}") })
    }
}

/// I9 and I11: what a replica keeps follows from the configuration.
///
/// # Errors
/// [`Violation::Memory`] names what is too much.
pub fn memory(replica: ReplicaId, kept: &Footprint, context: &Context) -> Checked {
    let parameters = &context.parameters;
    let n = context.committee.size() as u64;
    let slots_max = Footprint::WINDOWS * parameters.window;
    let votes_max = 2 * parameters.window * n;
    let bounds = [
        ("slots", kept.slots, slots_max),
        ("bodies that it voted for", kept.voted_bodies, parameters.bodies_max()),
        ("bodies of one slot that it did not vote for", kept.unvoted_bodies, Footprint::UNVOTED_BODIES),
        ("prepares", kept.prepares, votes_max),
        ("commits", kept.commits, slots_max * n),
        ("tallies of checkpoints", kept.checkpoints, parameters.window),
        ("checkpoints beyond the window", kept.far_checkpoints, n),
        ("view changes", kept.view_changes, n),
        ("candidates for the next view", kept.candidates, n),
        ("view changes collected", kept.collected, n * n),
        ("bodies that are missing", kept.fetches, slots_max),
        ("operations in the pool", kept.pooled, parameters.pooled_operations_bound(context.committee.size())),
        ("statements that others are shown", kept.displayed, Footprint::DISPLAYED * n),
    ];
    match bounds.into_iter().find(|(_, kept, most)| kept > most) {
        Some((what, kept, most)) => Err(Violation::Memory { replica, what, kept, most }),
        None => Ok(()),
    }
}

fn prepare_of(message: &PeerMessage) -> Option<(ReplicaId, Prepare)> {
    match message {
        PeerMessage::Prepare(vote) => Some((vote.signer, vote.body)),
        PeerMessage::PrePrepare(proposal) => Some((proposal.prepare.signer, proposal.prepare.body)),
        PeerMessage::Commit(_)
        | PeerMessage::Checkpoint(_)
        | PeerMessage::ViewChange(_)
        | PeerMessage::NewView(_)
        | PeerMessage::CommitCertificate(_)
        | PeerMessage::StableCertificate(_)
        | PeerMessage::Status(_)
        | PeerMessage::FetchBody { .. }
        | PeerMessage::Body { .. }
        | PeerMessage::FetchViewChange { .. }
        | PeerMessage::Forward(_)
        | PeerMessage::Transfer(_)
        | PeerMessage::Testimony(_) => None,
    }
}

fn cast(ballots: &mut Ballots, digest: Digest, signer: ReplicaId) {
    *ballots.entry(digest).or_default() |= 1_u64.checked_shl(signer.0.into()).unwrap_or(0);
}

fn quorums(ballots: &Ballots, quorum: usize) -> impl Iterator<Item = Digest> {
    let enough = move |(_, signers): &(&Digest, &u64)| signers.count_ones() as usize >= quorum;
    ballots.iter().filter(enough).map(|(digest, _)| *digest)
}
