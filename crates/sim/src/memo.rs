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
    use quorate_protocol::types::Signature;

    use super::*;

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
}
