//! Signatures are checked once in a world and remembered for all its replicas: every replica would find the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use quorate_protocol::crypto::{BatchVerifier, Claim, Message};
use quorate_protocol::message::PeerMessage;
use quorate_protocol::parameters::Context;
use quorate_protocol::signed::{Signed, Statement, signing_bytes};
use quorate_protocol::types::{PublicKey, ReplicaId};
use quorate_protocol::verify::Checker;

/// What a claim is besides its signature, and whether it holds.
type Verdicts = Vec<(PublicKey, Message, bool)>;

/// What the replicas of one world found out about signatures, by the whole claim: key, message and signature.
#[derive(Debug, Clone, Default)]
pub struct Memo {
    verdicts: Arc<Mutex<BTreeMap<[u8; 64], Verdicts>>>,
}

impl Memo {
    /// A checker for one replica that asks the memo first. `secret` is as for [`BatchVerifier::new`].
    #[must_use]
    pub fn checker(&self, secret: [u8; 32]) -> Box<dyn Checker> {
        Box::new(Remembering { memo: self.clone(), real: BatchVerifier::new(secret) })
    }

    /// A replica that does not lie sends this. What it signed there it signed a moment ago with its own key, so that
    /// nobody has to find out whether that holds; worlds that check every signature have no memo.
    pub fn vouch(&self, context: &Context, from: ReplicaId, message: &PeerMessage) {
        match message {
            PeerMessage::Prepare(vote) => self.signed(context, from, vote),
            PeerMessage::PrePrepare(proposal) => self.signed(context, from, &proposal.prepare),
            PeerMessage::Commit(vote) => self.signed(context, from, vote),
            PeerMessage::Checkpoint(vote) => self.signed(context, from, vote),
            // Rare, or signed by others.
            _ => {}
        }
    }

    fn signed<S: Statement>(&self, context: &Context, from: ReplicaId, signed: &Signed<S>) {
        let Some(key) = context.committee.key(from).filter(|_| signed.signer == from) else { return };
        let message = signing_bytes(&signed.body, context.cluster, context.epoch, from);
        let claim = Claim { key: *key, message, signature: signed.signature };
        if self.verdict(&claim).is_none() {
            self.note(&claim, true);
        }
    }

    fn verdict(&self, claim: &Claim) -> Option<bool> {
        // A panic elsewhere leaves the map whole: every entry is written at once.
        let verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        let known = verdicts.get(&claim.signature.0)?;
        let same = |(key, message, _): &&(PublicKey, Message, bool)| {
            *key == claim.key.public() && *message == claim.message
        };
        known.iter().find(same).map(|(.., holds)| *holds)
    }

    fn note(&self, claim: &Claim, holds: bool) {
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        let known = verdicts.entry(claim.signature.0).or_default();
        known.push((claim.key.public(), claim.message.clone(), holds));
    }
}

#[derive(Debug)]
struct Remembering {
    memo: Memo,
    real: BatchVerifier,
}

impl Checker for Remembering {
    fn find_invalid(&mut self, claims: &[Claim]) -> Vec<usize> {
        let mut invalid = Vec::new();
        let (mut unknown, mut places) = (Vec::new(), Vec::new());
        for (place, claim) in claims.iter().enumerate() {
            match self.memo.verdict(claim) {
                Some(true) => {}
                Some(false) => invalid.push(place),
                None => {
                    unknown.push(claim.clone());
                    places.push(place);
                }
            }
        }
        let bad = self.real.find_invalid(&unknown);
        for (index, claim) in unknown.iter().enumerate() {
            self.memo.note(claim, bad.binary_search(&index).is_err());
        }
        invalid.extend(bad.into_iter().map(|index| places[index]));
        invalid.sort_unstable();
        invalid
    }

    fn checks(&self) -> u64 {
        self.real.checks()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use quorate_protocol::crypto::{SecretKey, VerifyingKey};
    use quorate_protocol::message::Prepare;
    use quorate_protocol::signed::Signer;
    use quorate_protocol::types::{Seq, Signature, Time, View};

    use super::*;
    use crate::scenario::Scenario;
    use crate::world::{Rule, Setting, World};

    fn claim(key: u8, message: &[u8]) -> Claim {
        let secret = SecretKey::from_seed(&[key; 32]);
        let mut bytes = Message::new();
        bytes.extend(message);
        let key = VerifyingKey::lenient(secret.public()).unwrap();
        Claim { key, message: bytes, signature: secret.sign(message) }
    }

    #[test]
    fn a_signature_is_checked_once_for_all_replicas_and_a_bad_one_stays_bad() {
        let memo = Memo::default();
        let (mut one, mut other) = (memo.checker([1; 32]), memo.checker([2; 32]));
        let good = claim(1, b"yes");
        let mut bad = claim(2, b"yes");
        bad.signature = Signature([7; 64]);
        let claims = [good, bad];
        assert_eq!(one.find_invalid(&claims), [1]);
        assert!(one.checks() > 0);
        assert_eq!((other.find_invalid(&claims), other.checks()), (vec![1], 0));
    }

    #[test]
    fn a_good_signature_vouches_for_no_other_message_and_no_other_key() {
        let memo = Memo::default();
        let mut checker = memo.checker([1; 32]);
        let good = claim(1, b"yes");
        assert!(checker.find_invalid(std::slice::from_ref(&good)).is_empty());
        let other_message = Claim { message: claim(1, b"no").message, ..good.clone() };
        let other_key = Claim { key: claim(2, b"yes").key, ..good.clone() };
        assert_eq!(checker.find_invalid(&[other_message, good, other_key]), [0, 2]);
    }

    /// How many claims under this replica's key were judged, or vouched for.
    fn known(world: &World, replica: u16) -> usize {
        let key = world.context().committee.key(ReplicaId(replica)).unwrap().public();
        let verdicts = world.memo().unwrap().verdicts.lock().unwrap();
        verdicts.values().flatten().filter(|(known, ..)| *known == key).count()
    }

    #[test]
    fn what_is_signed_by_whoever_may_lie_is_never_vouched_for() {
        let mut setting = Setting::calm(4);
        setting.liars.insert(ReplicaId(2), vec!["delay:by=1ms,kinds=reply".parse().unwrap()]);
        let mut world = World::new(&setting);
        world.distrust(ReplicaId(3));
        // Nobody hears the backups, so nobody checks what they sign: what is known of it was vouched for.
        for id in 1..4 {
            let from = Some(ReplicaId(id));
            world.add_rule(Rule { from, to: None, kind: None, hold: false });
        }
        world.add_client(|_| {}).unwrap();
        world.run_until(Time(1_300_000)).unwrap();
        assert!(known(&world, 1) > 0, "a backup of whom nothing is wrong is vouched for");
        assert_eq!(
            (known(&world, 2), known(&world, 3)),
            (0, 0),
            "a liar, and one in whose name a test speaks"
        );
    }

    #[test]
    fn a_vote_is_vouched_for_by_nobody_but_its_signer() {
        let world = World::new(&Setting::calm(4));
        let (context, memo) = (world.context(), world.memo().unwrap());
        let vote = Prepare { view: View(0), seq: Seq(1), digest: world.null() };
        let key = Arc::new(World::secret_of(ReplicaId(2)));
        let signer = Signer::new(key, context.cluster, context.epoch, ReplicaId(2));
        let message = PeerMessage::Prepare(signer.sign(vote).into_inner());
        memo.vouch(context, ReplicaId(1), &message);
        assert_eq!((known(&world, 1), known(&world, 2)), (0, 0), "a replica that passes it on does not");
        memo.vouch(context, ReplicaId(2), &message);
        assert_eq!((known(&world, 1), known(&world, 2)), (0, 1));
    }

    #[test]
    fn a_world_in_which_every_signature_is_checked_is_the_same_to_the_last_bit() {
        let with_liars = (0..).filter(|seed| !Scenario::of(*seed).setting.liars.is_empty()).take(6);
        let mut lies = 0;
        for seed in with_liars.chain(0..4) {
            let of = |every: bool| {
                let mut scenario = Scenario::of(seed);
                scenario.setting.check_every_signature = every;
                scenario.run().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"))
            };
            let (vouched, checked) = (of(false), of(true));
            assert_eq!(vouched.hash, checked.hash, "seed {seed}");
            assert_eq!(vouched, checked, "seed {seed}");
            lies += vouched.lies_told();
        }
        assert!(lies > 0, "no liar lied");
    }

    #[test]
    fn frames_that_a_liar_breaks_are_found_out_with_a_memo_as_without() {
        let of = |every: bool| {
            let mut scenario = Scenario::of(1);
            scenario.setting = Setting { replicas: 4, check_every_signature: every, ..Setting::calm(4) };
            scenario.faults.clear();
            let sins = ["broken-bytes:probability=0.3", "forged-certificates", "equivocate"];
            let sins = sins.map(|sin| sin.parse().unwrap()).to_vec();
            scenario.setting.liars.insert(ReplicaId(1), sins);
            scenario.run().unwrap()
        };
        let (vouched, checked) = (of(false), of(true));
        assert!(vouched.lies_told() > 10);
        assert_eq!(vouched, checked);
    }
}
