//! Every vector alone, in batches, and against an independent implementation of ZIP-215.

use curve25519_dalek::constants::EIGHT_TORSION;
use ed25519_dalek::pkcs8::SecretDocument;

use super::*;
use crate::codec;

mod vectors;
use vectors::*;

/// The order of the group, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// A source of variety, the same in every run.
struct Lots(u64);

impl Lots {
    fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.draw() >> 8).expect("64-bit") % bound
    }

    fn bytes(&mut self) -> [u8; 32] {
        std::array::from_fn(|_| self.draw().to_le_bytes()[3])
    }

    fn scalar(&mut self) -> Scalar {
        Scalar::from_bytes_mod_order(self.bytes())
    }
}

/// What ed25519-consensus says: another implementation of the rule, on another implementation of the curve.
fn independent(claim: &Claim) -> bool {
    let key =
        ed25519_consensus::VerificationKey::try_from(claim.key.public().0).expect("a point here and there");
    key.verify(&ed25519_consensus::Signature::from(claim.signature.0), claim.message.as_ref()).is_ok()
}

/// `claim` as number `place` of a batch of otherwise valid ones: the batch must find it, and only it.
fn assert_same_in_batch(name: &str, claim: &Claim, valid: bool, others: &[Claim], place: usize, secret: u8) {
    let mut claims = others.to_vec();
    claims.insert(place, claim.clone());
    let mut verifier = BatchVerifier::new([secret; 32]);
    assert_eq!(verifier.verify_all(&claims), valid, "{name} as {place} of {}", claims.len());
    let expected = if valid { vec![] } else { vec![place] };
    assert_eq!(verifier.find_invalid(&claims), expected, "{name} as {place} of {}", claims.len());
}

#[test]
fn a4_every_vector_gets_the_verdict_of_zip_215() {
    let vectors = vectors();
    assert!(vectors.len() > 60);
    for vector in vectors {
        assert_eq!(verify(&vector.claim), vector.valid, "{}", vector.name);
        assert_eq!(independent(&vector.claim), vector.valid, "{} elsewhere", vector.name);
    }
}

#[test]
fn a4_every_vector_gets_the_same_verdict_in_any_batch() {
    let lots = &mut Lots(0xba7c);
    let others: Vec<_> = (0..63).map(|_| honest(lots)).collect();
    for Vector { name, claim, valid } in vectors() {
        assert_same_in_batch(&name, &claim, valid, &[], 0, 1);
        for place in [0, 1] {
            assert_same_in_batch(&name, &claim, valid, &others[..1], place, 2);
        }
        for place in [0, 31, 63] {
            assert_same_in_batch(&name, &claim, valid, &others, place, 3);
        }
    }
}

#[test]
fn vectors_of_all_kinds_in_one_batch_are_told_apart() {
    let vectors = vectors();
    let claims: Vec<_> = vectors.iter().map(|vector| vector.claim.clone()).collect();
    let invalid: Vec<_> = (0..vectors.len()).filter(|i| !vectors[*i].valid).collect();
    assert_eq!(BatchVerifier::new([4; 32]).find_invalid(&claims), invalid);
    let valid: Vec<_> =
        vectors.into_iter().filter(|vector| vector.valid).map(|vector| vector.claim).collect();
    assert!(BatchVerifier::new([5; 32]).verify_all(&valid));
}

#[test]
fn a4_a_torsioned_signature_gets_the_same_verdict_alone_and_in_any_batch() {
    let lots = &mut Lots(0x7025);
    let others: Vec<_> = (0..63).map(|_| honest(lots)).collect();
    for torsion in [1, 2, 4].map(|i| EIGHT_TORSION[i]) {
        for round in 0..24 {
            let (a, r) = (lots.scalar(), lots.scalar());
            let claim = forged(a, encoded(multiple(a)), r, encoded(multiple(r) + torsion), &lots.bytes());
            assert!(verify(&claim));
            assert_same_in_batch("torsioned", &claim, true, &others[..1], lots.below(2), round);
            assert_same_in_batch("torsioned", &claim, true, &others, lots.below(64), round);
            let two = [claim.clone(), claim.clone()];
            assert_same_in_batch("torsioned", &claim, true, &two, lots.below(3), round);
        }
    }
}

/// Keys and R in all kinds: proper, twisted by each torsion point, and each encoding of a point of small order.
#[test]
fn a4_every_pairing_of_twisted_keys_and_points_gets_one_verdict() {
    let lots = &mut Lots(0x215);
    let small = small_encodings();
    assert_eq!(small.len(), 14);
    let mut kinds: Vec<(Scalar, [u8; 32])> = small.iter().map(|bytes| (Scalar::ZERO, *bytes)).collect();
    for torsion in EIGHT_TORSION {
        let a = lots.scalar();
        kinds.push((a, encoded(multiple(a) + torsion)));
    }
    let mut claims = Vec::new();
    let mut invalid = Vec::new();
    for (a, key) in &kinds {
        for (r, r_bytes) in &kinds {
            let claim = forged(*a, *key, *r, *r_bytes, &lots.bytes());
            let spoilt = claim.clone().spoilt();
            assert!(verify(&claim) && independent(&claim));
            assert!(!verify(&spoilt) && !independent(&spoilt));
            claims.push(claim);
            if lots.below(4) == 0 {
                invalid.push(claims.len());
                claims.push(spoilt);
            }
        }
    }
    assert_eq!(BatchVerifier::new([6; 32]).find_invalid(&claims), invalid);
}

#[test]
fn two_errors_that_cancel_each_other_are_both_found() {
    let lots = &mut Lots(0xca9ce1);
    let (a, r) = (lots.scalar(), lots.scalar());
    let (key, point) = (encoded(multiple(a)), encoded(multiple(r)));
    let s = r + challenge(point, key, b"one") * a;
    let more = claim(key, b"one", point, (s + Scalar::ONE).to_bytes());
    let less = claim(key, b"one", point, (s - Scalar::ONE).to_bytes());
    assert_eq!(BatchVerifier::new([7; 32]).find_invalid(&[more, less]), [0, 1]);
}

#[test]
fn find_invalid_names_exactly_the_culprits() {
    let lots = &mut Lots(0xf1d);
    let secrets: Vec<_> = (0..5).map(|_| SecretKey::from_seed(&lots.bytes())).collect();
    let valid: Vec<_> = (0..1030)
        .map(|i| {
            let (secret, message) = (&secrets[i % 5], message(&lots.bytes()));
            let key = VerifyingKey::new(secret.public()).expect("an honest key");
            Claim { key, signature: secret.sign(message.as_ref()), message }
        })
        .collect();
    for length in [0, 1, 2, 3, 8, 9, 17, 63, 65, 130, 512, 513, 1030] {
        for one_in in [2, 40, usize::MAX] {
            let mut claims = valid[..length].to_vec();
            let culprits: Vec<_> = (0..length).filter(|_| lots.below(one_in) == 0).collect();
            for place in &culprits {
                match lots.below(4) {
                    0 => claims[*place].message.bytes[5] ^= 1,
                    1 => claims[*place].signature.0[40] ^= 8,
                    2 => claims[*place].signature.0[..32].copy_from_slice(&no_point()),
                    _ => claims[*place].key = honest(lots).key,
                }
            }
            let mut verifier = BatchVerifier::new(lots.bytes());
            assert_eq!(verifier.find_invalid(&claims), culprits);
            assert_eq!(verifier.verify_all(&claims), culprits.is_empty());
        }
    }
}

#[test]
fn a_good_batch_costs_one_equation_and_no_claims_cost_none() {
    let lots = &mut Lots(0xc057);
    let claims: Vec<_> = (0..65).map(|_| honest(lots)).collect();
    let mut verifier = BatchVerifier::new([8; 32]);
    assert!(verifier.verify_all(&[]) && verifier.find_invalid(&[]).is_empty());
    assert_eq!(verifier.checks(), 0);
    assert!(verifier.find_invalid(&claims).is_empty());
    assert_eq!(verifier.checks(), 1);
    assert!(verifier.verify_all(&claims));
    assert_eq!(verifier.checks(), 2);
}

#[test]
fn one_culprit_among_many_costs_few_equations() {
    let lots = &mut Lots(0xfe3);
    let mut claims: Vec<_> = (0..512).map(|_| honest(lots)).collect();
    claims[300].signature.0[33] ^= 1;
    let mut verifier = BatchVerifier::new([8; 32]);
    assert_eq!(verifier.find_invalid(&claims), [300]);
    assert_eq!(verifier.checks(), 1 + 8 + 8 + 8);
}

#[test]
fn rfc_8032_signatures_come_out_as_printed() {
    for (secret, public, message, signature) in rfc_8032() {
        assert_eq!(secret.public(), public);
        assert_eq!(secret.sign(message.as_ref()), signature);
    }
}

#[test]
fn a_configuration_refuses_weak_keys_that_a_signature_may_name() {
    for bytes in small_encodings() {
        assert_eq!(VerifyingKey::new(PublicKey(bytes)), Err(KeyError::Weak));
        assert_eq!(VerifyingKey::lenient(PublicKey(bytes)).map(|key| key.public()), Ok(PublicKey(bytes)));
    }
    let honest = SecretKey::from_seed(&[1; 32]).public();
    assert_eq!(VerifyingKey::new(honest), VerifyingKey::lenient(honest));
}

#[test]
fn bytes_are_a_key_here_iff_they_are_one_elsewhere() {
    assert_eq!(VerifyingKey::new(PublicKey(no_point())), Err(KeyError::NotAPoint));
    let lots = &mut Lots(0x90147);
    let random = (0..500).map(|_| lots.bytes()).chain(non_canonical());
    let tiny = (0..=255).map(|i| std::array::from_fn(|at| if at % 31 == 0 { i } else { 0xff }));
    for bytes in random.chain(tiny) {
        let here = VerifyingKey::lenient(PublicKey(bytes)).is_ok();
        assert_eq!(
            here,
            ed25519_consensus::VerificationKey::try_from(bytes).is_ok(),
            "{:?}",
            PublicKey(bytes)
        );
    }
}

#[test]
fn a_pem_file_is_version_1_and_comes_back() {
    let secret = SecretKey::from_seed(&[3; 32]);
    let pem = secret.to_pem();
    let (label, der) = SecretDocument::from_pem(&pem).expect("PEM");
    assert_eq!((label, der.as_bytes().len()), ("PRIVATE KEY", 48));
    assert_eq!(der.as_bytes()[..16], hex::<16>("302e020100300506032b657004220420"));
    assert_eq!(der.as_bytes()[16..], [3; 32]);
    assert_eq!(SecretKey::from_pem(&pem).map(|key| key.public()), Ok(secret.public()));
}

#[test]
fn version_2_is_read_too_and_its_public_key_must_belong_to_the_secret() {
    let secret = SecretKey::from_seed(&[3; 32]);
    let der = secret.to_pkcs8_der();
    assert_eq!(der[der.len() - 32..], secret.public().0);
    let pem = |der: &[u8]| {
        let document = SecretDocument::try_from(der).expect("DER");
        document.to_pem("PRIVATE KEY", LineEnding::LF).expect("PEM")
    };
    assert_eq!(SecretKey::from_pem(&pem(&der)).map(|key| key.public()), Ok(secret.public()));
    let mut foreign = der.to_vec();
    let at = foreign.len() - 32;
    foreign[at..].copy_from_slice(&SecretKey::from_seed(&[4; 32]).public().0);
    assert!(matches!(SecretKey::from_pem(&pem(&foreign)), Err(KeyError::Pem(_))));
}

#[test]
fn the_key_of_rfc_8410_is_read_and_other_text_is_not() {
    let body = "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC";
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
    let public = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
    assert_eq!(SecretKey::from_pem(&pem).map(|key| key.public().to_string()), Ok(public.to_owned()));
    for other in ["", body, &pem.replace("PRIVATE", "PUBLIC"), &pem.replace("MC4CAQ", "MC4CBQ"), &pem[..60]] {
        assert!(matches!(SecretKey::from_pem(other), Err(KeyError::Pem(_))));
    }
}

#[test]
fn subkeys_differ_by_purpose_and_by_key_and_reveal_neither() {
    let (one, two) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
    let keys = [one.derive("a"), one.derive("b"), one.derive(""), two.derive("a"), [1; 32], one.public().0];
    for (i, key) in keys.iter().enumerate() {
        assert!(keys[..i].iter().all(|other| other != key));
    }
    assert_eq!(one.derive("a"), SecretKey::from_seed(&[1; 32]).derive("a"));
}

#[test]
fn debug_output_shows_no_secret() {
    let secret = SecretKey::from_seed(&[0xab; 32]);
    let verifier = BatchVerifier::new([0xcd; 32]);
    let shown = format!("{secret:?} {verifier:?}");
    assert!(!shown.contains("abab") && !shown.contains("cdcd") && !shown.contains("205"), "{shown}");
}

#[test]
fn a_hash_begins_with_its_purpose() {
    let mut hasher = Hasher::new(HashTag::Batch);
    hasher.update(b"abc").u64(0x0102);
    let expected = Sha256::digest([&[7][..], b"abc", &[2, 1, 0, 0, 0, 0, 0, 0]].concat());
    assert_eq!(hasher.finish().0[..], expected[..]);
    let mut encoded = Hasher::new(HashTag::Batch);
    codec::encode_into(&Digest([9; 32]), &mut encoded);
    let mut updated = Hasher::new(HashTag::Batch);
    updated.update(&[9; 32]);
    assert_eq!(encoded.finish(), updated.finish());
}

#[test]
fn a_merkle_root_depends_on_every_leaf_and_its_place() {
    let leaf = |i: u8| Digest([i; 32]);
    let node = |left, right| parent(HashTag::ChunkNode, &left, &right);
    let root = |leaves: &[Digest]| merkle_root(HashTag::ChunkNode, leaves);
    assert_eq!(root(&[]), Digest::ZERO);
    assert_eq!(root(&[leaf(1)]), leaf(1));
    assert_eq!(root(&[leaf(1), leaf(2)]), node(leaf(1), leaf(2)));
    assert_eq!(root(&[leaf(1), leaf(2), leaf(3)]), node(node(leaf(1), leaf(2)), leaf(3)));
    let five = node(node(node(leaf(1), leaf(2)), node(leaf(3), leaf(4))), leaf(5));
    assert_eq!(root(&[leaf(1), leaf(2), leaf(3), leaf(4), leaf(5)]), five);
    // An odd leaf is not doubled (CVE-2012-2459), an exchange is seen, a tree of operations is none of chunks.
    assert_ne!(root(&[leaf(1), leaf(2), leaf(3)]), root(&[leaf(1), leaf(2), leaf(3), leaf(3)]));
    assert_ne!(root(&[leaf(1), leaf(2)]), root(&[leaf(2), leaf(1)]));
    assert_ne!(root(&[leaf(1), leaf(2)]), merkle_root(HashTag::Operations, &[leaf(1), leaf(2)]));
}

#[test]
fn hexadecimal_text_comes_back_and_other_text_is_named() {
    let digest = Digest(std::array::from_fn(|i| u8::try_from(i * 7).expect("small")));
    assert_eq!(digest.to_string().parse(), Ok(digest));
    assert_eq!(digest.to_string().to_uppercase().parse(), Ok(digest));
    assert_eq!(format!("{digest:?}"), "00070e15");
    assert_eq!("00".parse::<PublicKey>(), Err(HexError::Length { expected: 64, found: 2 }));
    assert_eq!(digest.to_string().replace('e', "g").parse::<PublicKey>(), Err(HexError::Digit(5)));
    assert_eq!("é".repeat(32).parse::<Digest>(), Err(HexError::Digit(0)));
}

#[test]
fn a_message_holds_what_fits_and_refuses_more_whole() {
    let mut message = message(&[1; 190]);
    assert!(message.write(&[2; 3]).is_err());
    assert_eq!(message.as_ref(), [1; 190]);
    assert!(message.write(&[2; 2]).is_ok() && message.write(&[]).is_ok());
    assert_eq!(message.as_ref().len(), MESSAGE_BYTES_MAX);
    assert!(message.write(&[0]).is_err());
}
