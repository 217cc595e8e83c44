//! C2: rounds of small mutations in what one replica says, and of lost links, after ByzzFuzz (Winter et al., OOPSLA '23).

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_protocol::codec;
use quorate_protocol::message::{Checkpoint, Commit, PeerMessage, PrePrepare, Prepare};
use quorate_protocol::signed::{Signer, Statement};
use quorate_protocol::types::{Digest, ReplicaId, Seq, View};
use quorate_sim::rng::Rng;
use quorate_sim::world::{Passed, Rule, World};

use super::lab::{Lab, T0, calm, number};

/// Rounds of a run, and how long one is in microseconds: a batch takes about three delays of a link.
const ROUNDS: u64 = 16;
const ROUND_US: u64 = 6_000;
/// Rounds in which the liar mutates, and in which links are lost: up to so many of each.
const MOST: u64 = 3;

/// Changes what a replica says a little, and signs it with its own key.
struct Mutator {
    signer: Signer,
    liar: ReplicaId,
    rng: Rng,
    /// Digests that it has seen.
    digests: Vec<Digest>,
    told: u64,
}

impl Mutator {
    fn new(lab: &Lab, liar: ReplicaId, seed: u64) -> Self {
        let context = lab.world.context();
        let key = Arc::new(World::secret_of(liar));
        let signer = Signer::new(key, context.cluster, context.epoch, liar);
        let (rng, digests) = (Rng::new(seed), vec![lab.world.null()]);
        Self { signer, liar, rng, digests, told: 0 }
    }

    /// One more or one less, never below nothing.
    fn near(&mut self, number: u64) -> u64 {
        if self.rng.below(2) == 0 { number.saturating_add(1) } else { number.saturating_sub(1) }
    }

    fn other_digest(&mut self, digest: Digest) -> Digest {
        self.digests.push(digest);
        self.digests[usize::try_from(self.rng.below(self.digests.len() as u64)).unwrap()]
    }

    /// View, slot or digest of a vote.
    fn vote(&mut self, view: View, seq: Seq, digest: Digest) -> (View, Seq, Digest) {
        let other = self.other_digest(digest);
        match self.rng.below(3) {
            0 => (View(self.near(view.0)), seq, digest),
            1 => (view, Seq(self.near(seq.0)), digest),
            _ => (view, seq, other),
        }
    }

    fn sign<S: Statement>(&self, body: S) -> quorate_protocol::signed::Signed<S> {
        self.signer.sign(body).into_inner()
    }

    fn prepare(&mut self, vote: Prepare) -> Prepare {
        let (view, seq, digest) = self.vote(vote.view, vote.seq, vote.digest);
        Prepare { view, seq, digest }
    }

    /// The same, a little different; what is not its own to sign is said as it is once more, to somebody else.
    fn mutate(&mut self, message: PeerMessage) -> PeerMessage {
        let is_own = |signer| signer == self.liar;
        match message {
            PeerMessage::PrePrepare(PrePrepare { prepare, batch }) if is_own(prepare.signer) => {
                let body = self.prepare(prepare.body);
                PeerMessage::PrePrepare(PrePrepare { prepare: self.sign(body), batch })
            }
            PeerMessage::Prepare(signed) if is_own(signed.signer) => {
                let body = self.prepare(signed.body);
                PeerMessage::Prepare(self.sign(body))
            }
            PeerMessage::Commit(signed) if is_own(signed.signer) => {
                let (view, seq, digest) = self.vote(signed.view, signed.seq, signed.digest);
                PeerMessage::Commit(self.sign(Commit { view, seq, digest }))
            }
            PeerMessage::Checkpoint(signed) if is_own(signed.signer) => {
                let root = self.other_digest(signed.root);
                let seq = if self.rng.below(2) == 0 { Seq(self.near(signed.seq.0)) } else { signed.seq };
                PeerMessage::Checkpoint(self.sign(Checkpoint { seq, root, epoch_end: Seq::MAX }))
            }
            PeerMessage::ViewChange(signed) if is_own(signed.signer) => {
                let mut body = signed.body.clone();
                match self.rng.below(3) {
                    0 => body.view = View(self.near(body.view.0)),
                    1 => drop(body.prepared.0.pop()),
                    _ => body.stable = None,
                }
                PeerMessage::ViewChange(Arc::new(self.sign(body).into()))
            }
            PeerMessage::NewView(signed) if is_own(signed.signer) => {
                let mut body = signed.body;
                match self.rng.below(3) {
                    0 => body.view = View(self.near(body.view.0)),
                    1 => drop(body.view_changes.0.pop()),
                    _ => {
                        let digest = self.other_digest(Digest([1; 32]));
                        body.view_changes.0.iter_mut().take(1).for_each(|named| named.1 = digest);
                    }
                }
                PeerMessage::NewView(self.sign(body))
            }
            other => other,
        }
    }

    /// A round in which some do not get what it says, but something else.
    fn round(&mut self, lab: &mut Lab) {
        let n = u64::from(lab.world.context().committee.replicas().count() as u16);
        let victims: Vec<ReplicaId> = (0..n)
            .map(|id| ReplicaId(u16::try_from(id).unwrap()))
            .filter(|id| *id != self.liar && self.rng.below(2) == 0)
            .collect();
        let rule = |to: &ReplicaId| Rule { from: Some(self.liar), to: Some(*to), kind: None, hold: false };
        victims.iter().map(rule).for_each(|rule| lab.world.add_rule(rule));
        for _ in 0..4 {
            lab.run(ROUND_US / 4);
            for (_, passed) in lab.world.take_passed() {
                let Passed::Frame { from, to, frame } = passed else { continue };
                let Ok(message) = codec::decode::<PeerMessage>(&frame) else { continue };
                // What reaches the victims is what was told here before.
                if from != self.liar || victims.contains(&to) {
                    continue;
                }
                let message = self.mutate(message);
                for to in &victims {
                    lab.world.inject(self.liar, *to, &message);
                    self.told += 1;
                }
            }
        }
    }
}

/// What a run was made of.
#[derive(Debug, Default)]
struct Tally {
    runs: u64,
    mutated: u64,
    lost: u64,
    by_view: BTreeMap<u64, u64>,
}

/// Rounds in which something happens, drawn from all of them.
fn drawn(rng: &mut Rng, count: u64) -> Vec<u64> {
    (0..count).map(|_| rng.below(ROUNDS)).collect()
}

fn run(replicas: u16, (mutations, losses): (u64, u64), seed: u64, tally: &mut Tally) {
    let mut rng = Rng::new(seed);
    let mut setting = calm(replicas, seed);
    (setting.parameters.checkpoint_interval, setting.parameters.window) = (4, 16);
    // Views change within a run.
    (setting.parameters.timeout_us, setting.parameters.timeout_max_us) = (20_000, 320_000);
    let mut lab = Lab::new(&setting, 2);
    let liar = ReplicaId(u16::try_from(rng.below(replicas.into())).unwrap());
    lab.world.distrust(liar);
    lab.world.keep_passed();
    let mut mutator = Mutator::new(&lab, liar, rng.any());
    let (bad, cut) = (drawn(&mut rng, mutations), drawn(&mut rng, losses));
    for round in 0..ROUNDS {
        (0..2).for_each(|client| lab.world.employ(client, 1, 2, 0));
        if cut.contains(&round) {
            let side = rng.between(1, (1 << replicas) - 2);
            lab.cut(side, !side);
            tally.lost += 1;
        }
        if bad.contains(&round) {
            mutator.round(&mut lab);
        } else {
            lab.run(ROUND_US);
            drop(lab.world.take_passed());
        }
        lab.heal();
    }
    lab.world.stop_passed();
    lab.await_that("everything is answered when all is well again", 40 * T0, Lab::is_answered);
    tally.runs += 1;
    tally.mutated += mutator.told;
    *tally.by_view.entry(super::lab::newest_open_view(&lab).0).or_default() += 1;
}

// The checkers of the world look at every step; a violation says which seed it was. Small scope: a view or a slot beside
// the right one, a digest seen before, something left out.
#[test]
fn c2_mutations_of_what_one_replica_says_break_nothing_and_stop_nobody() {
    let mut tally = Tally::default();
    let seeds = if number("QUORATE_NIGHTLY").is_some() { 200 } else { 10 };
    for mutations in 0..=MOST {
        for losses in 0..=MOST {
            for seed in 0..seeds {
                let replicas = [4, 4, 5, 7][usize::try_from(seed % 4).unwrap()];
                let seed = mutations << 32 | losses << 16 | seed;
                run(replicas, (mutations, losses), seed, &mut tally);
            }
        }
    }
    println!("{tally:?}");
    assert_eq!(tally.runs, 16 * seeds);
    assert!(tally.mutated > 20 * seeds && tally.lost > 8 * seeds, "{tally:?}");
    assert!(tally.by_view.keys().any(|view| *view > 0), "some of it changed views: {tally:?}");
}
