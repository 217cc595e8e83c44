//! Every vector alone, in batches, and against an independent implementation of ZIP-215.

use curve25519_dalek::constants::EIGHT_TORSION;
use ed25519_dalek::pkcs8::SecretDocument;

use super::*;
use crate::codec;

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

/// A signature and what ZIP-215 says of it.
struct Vector {
    name: String,
    claim: Claim,
    valid: bool,
}

fn vector(name: &str, claim: Claim, valid: bool) -> Vector {
    Vector { name: name.to_owned(), claim, valid }
}

fn message(bytes: &[u8]) -> Message {
    let mut message = Message::new();
    message.extend(bytes);
    message
}

fn claim(key: [u8; 32], bytes: &[u8], r: [u8; 32], s: [u8; 32]) -> Claim {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r);
    signature[32..].copy_from_slice(&s);
    let key = VerifyingKey::lenient(PublicKey(key)).expect("the vectors' keys are points");
    Claim { key, message: message(bytes), signature: Signature(signature) }
}

fn challenge(r: [u8; 32], key: [u8; 32], bytes: &[u8]) -> Scalar {
    let hash = Sha512::new().chain_update(r).chain_update(key).chain_update(bytes);
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

fn multiple(scalar: Scalar) -> EdwardsPoint {
    EdwardsPoint::mul_base(&scalar)
}

fn encoded(point: EdwardsPoint) -> [u8; 32] {
    point.compress().to_bytes()
}

/// The signature of one who knows the scalars `a` of the key and `r` of R, however both are encoded or twisted.
fn forged(a: Scalar, key: [u8; 32], r: Scalar, r_bytes: [u8; 32], bytes: &[u8]) -> Claim {
    let s = r + challenge(r_bytes, key, bytes) * a;
    claim(key, bytes, r_bytes, s.to_bytes())
}

/// A valid claim of a key of its own.
fn honest(lots: &mut Lots) -> Claim {
    let secret = SecretKey::from_seed(&lots.bytes());
    let message = message(&lots.bytes());
    let key = VerifyingKey::new(secret.public()).expect("an honest key");
    Claim { key, signature: secret.sign(message.as_ref()), message }
}

fn plus_order(s: [u8; 32]) -> [u8; 32] {
    let mut carry = 0;
    std::array::from_fn(|i| {
        carry += u16::from(s[i]) + u16::from(ORDER[i]);
        let byte = carry.to_le_bytes()[0];
        carry >>= 8;
        byte
    })
}

/// All 14 encodings of the eight points of small order.
fn small_encodings() -> Vec<[u8; 32]> {
    let mut encodings: Vec<_> = EIGHT_TORSION.iter().map(|point| encoded(*point)).collect();
    encodings.extend(
        non_canonical().into_iter().filter(|bytes| decoded(bytes).is_some_and(|p| p.is_small_order())),
    );
    encodings
}

/// Every encoding that is not what its point compresses to: y from p up, or x = 0 with a sign.
fn non_canonical() -> Vec<[u8; 32]> {
    let mut candidates = Vec::new();
    for sign in [0, 0x80] {
        for low in 0xed..=0xff {
            let mut bytes = [0xff; 32];
            bytes[0] = low;
            bytes[31] = 0x7f | sign;
            candidates.push(bytes);
        }
    }
    let mut one = [0; 32];
    (one[0], one[31]) = (1, 0x80);
    let mut minus_one = [0xff; 32];
    minus_one[0] = 0xec;
    candidates.extend([one, minus_one]);
    candidates.retain(|bytes| decoded(bytes).is_some_and(|point| encoded(point) != *bytes));
    candidates
}

fn decoded(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
    CompressedEdwardsY(*bytes).decompress()
}

fn crafted() -> Vec<Vector> {
    let lots = &mut Lots(0x5eed);
    let (a, r, zero) = (lots.scalar(), lots.scalar(), Scalar::ZERO);
    let key = encoded(multiple(a));
    let identity = encoded(EIGHT_TORSION[0]);
    let point = encoded(multiple(r));
    let bytes = b"statement";
    let k = challenge(point, key, bytes);
    let s = (r + k * a).to_bytes();
    let weak = encoded(EIGHT_TORSION[1]);

    let mut list = vec![
        vector("valid", claim(key, bytes, point, s), true),
        vector("empty message", forged(a, key, r, point, b""), true),
        vector("another message", claim(key, b"Statement", point, s), false),
        vector("another key", claim(encoded(multiple(a + a)), bytes, point, s), false),
        vector("s + l", claim(key, bytes, point, plus_order(s)), false),
        vector("s of all ones", claim(key, bytes, point, [0xff; 32]), false),
        vector(
            "s with a high bit",
            claim(key, bytes, point, std::array::from_fn(|i| s[i] | if i == 31 { 0x80 } else { 0 })),
            false,
        ),
        vector("s = 0", claim(key, bytes, point, [0; 32]), false),
        vector("s = 0, R = identity", claim(key, bytes, identity, [0; 32]), false),
        vector("s = 0, R and A of small order", claim(weak, bytes, encoded(EIGHT_TORSION[3]), [0; 32]), true),
        vector("s = l, R and A of small order", claim(weak, bytes, encoded(EIGHT_TORSION[3]), ORDER), false),
        vector(
            "s = l - 1, A of small order",
            forged(zero, weak, -Scalar::ONE, encoded(multiple(-Scalar::ONE)), bytes),
            true,
        ),
        vector("s > 0, R and A of small order", claim(weak, bytes, identity, s), false),
        vector("R is no point", claim(key, bytes, no_point(), s), false),
        vector("R = identity", forged(a, key, zero, identity, bytes), true),
    ];
    for (order, torsion) in [(8, 1), (4, 2), (2, 4)].map(|(order, i)| (order, EIGHT_TORSION[i])) {
        let small = encoded(torsion);
        list.push(vector(&format!("R of order {order}"), forged(a, key, zero, small, bytes), true));
        let twisted = encoded(multiple(r) + torsion);
        list.push(vector(&format!("R = rB + T{order}"), forged(a, key, r, twisted, bytes), true));
        list.push(vector(
            &format!("R = rB + T{order}, s + 1"),
            forged(a, key, r, twisted, bytes).spoilt(),
            false,
        ));
        list.push(vector(&format!("A of order {order}"), forged(zero, small, r, point, bytes), true));
        list.push(vector(
            &format!("A of order {order}, s + 1"),
            forged(zero, small, r, point, bytes).spoilt(),
            false,
        ));
        let mixed = encoded(multiple(a) + torsion);
        let with = |wanted: bool| {
            let found =
                (0_u8..).find(|n| challenge(point, mixed, &[*n]).to_bytes()[0].is_multiple_of(8) == wanted);
            forged(a, mixed, r, point, &[found.expect("one in eight of 256")])
        };
        list.push(vector(&format!("A = aB + T{order}, k = 0 mod 8"), with(true), true));
        list.push(vector(&format!("A = aB + T{order}, k != 0 mod 8"), with(false), true));
        list.push(vector(&format!("A = aB + T{order}, s + 1"), with(false).spoilt(), false));
    }
    for bytes_of in non_canonical() {
        let small = decoded(&bytes_of).is_some_and(|point| point.is_small_order());
        // Nobody knows the scalars of the large ones, so nothing valid can be made of them.
        list.push(vector("R not canonical", forged(a, key, zero, bytes_of, bytes), small));
        list.push(vector("A not canonical", forged(zero, bytes_of, r, point, bytes), small));
        list.push(vector("A not canonical, s + 1", forged(zero, bytes_of, r, point, bytes).spoilt(), false));
    }
    list
}

/// The cases 0 to 11 of "Taming the many EdDSAs" (Chalkias, Garillot, Nikolaenko, 2020): message, key, R, s.
fn speccheck() -> Vec<Vector> {
    let small = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa";
    let mixed = "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43";
    let cases = [
        (
            true,
            "8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6",
            small,
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "0000000000000000000000000000000000000000000000000000000000000000",
        ),
        (
            true,
            "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
            small,
            mixed,
            "a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        ),
        (
            true,
            "aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab",
            mixed,
            small,
            "8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e",
        ),
        (
            true,
            "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
            "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
            "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f",
            "87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009",
        ),
        (
            true,
            "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
            "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
            "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed512",
            "5ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09",
        ),
        (
            true,
            "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
            "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
            "21122a84e0b5fca4052f5b1235c80a537878b38f3142356b2c2384ebad4668b7",
            "e40bc836dac0f71076f9abe3a53f9c03c1ceeeddb658d0030494ace586687405",
        ),
        (
            false,
            "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
            "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
            "e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e",
            "547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514",
        ),
        (
            false,
            "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
            "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
            "8ce5b96c8f26d0ab6c47958c9e68b937104cd36e13c33566acd2fe8d38aa1942",
            "7e71f98a473474f2f13f06f97c20d58cc3f54b8bd0d272f42b695dd7e89a8c22",
        ),
        // R is not canonical, and s belongs to the hash of its canonical form (8), of its bytes (9).
        (
            false,
            "9bedc267423725d473888631ebf45988bad3db83851ee85c85e241a07d148b41",
            mixed,
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "03be9678ac102edcd92b0210bb34d7428d12ffc5df5f37e359941266a4e35f0f",
        ),
        (
            true,
            "9bedc267423725d473888631ebf45988bad3db83851ee85c85e241a07d148b41",
            mixed,
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "ca8c5b64cd208982aa38d4936621a4775aa233aa0505711d8fdcfdaa943d4908",
        ),
        // A is not canonical and of small order: the cofactor removes it whatever the hash is of.
        (
            true,
            "e96b7021eb39c1a163b6da4e3093dcd3f21387da4cc4572be588fafae23c155b",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dc",
            "a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        ),
        (
            true,
            "39a591f5321bbe07fd5a23dc2f39d025d74526615746727ceefd6e82ae65c06f",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dc",
            "a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        ),
    ];
    let build = |(i, (valid, message, key, r, s))| {
        vector(&format!("speccheck {i}"), claim(hex(key), &hex::<32>(message), hex(r), hex(s)), valid)
    };
    cases.into_iter().enumerate().map(build).collect()
}

/// Secret, public key, message, signature: RFC 8032, section 7.1, without the one of 1023 bytes.
fn rfc_8032() -> Vec<(SecretKey, PublicKey, Message, Signature)> {
    let abc = Sha512::digest(b"abc");
    let rows: [(&str, &str, &[u8], &str); 4] = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            b"",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            &[0x72],
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            &[0xaf, 0x82],
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
        (
            "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
            "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
            &abc,
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
        ),
    ];
    let build = |(secret, public, bytes, signature)| {
        (
            SecretKey::from_seed(&hex(secret)),
            PublicKey(hex(public)),
            message(bytes),
            Signature(hex(signature)),
        )
    };
    rows.into_iter().map(build).collect()
}

fn hex<const N: usize>(text: &str) -> [u8; N] {
    parse_hex(text).expect("the vectors are hexadecimal")
}

fn no_point() -> [u8; 32] {
    let candidates = (0..=255).map(|i| std::array::from_fn(|at| if at == 0 { i } else { 0 }));
    candidates.into_iter().find(|bytes| decoded(bytes).is_none()).expect("every other y is no point")
}

impl Claim {
    /// The same with s + 1: R, A and the message stay what they were, and the equation fails.
    fn spoilt(mut self) -> Self {
        let s = Scalar::from_bytes_mod_order(*self.signature.0.last_chunk().expect("64 bytes")) + Scalar::ONE;
        self.signature.0[32..].copy_from_slice(s.as_bytes());
        self
    }
}

/// What ed25519-consensus says: another implementation of the rule, on another implementation of the curve.
fn independent(claim: &Claim) -> bool {
    let key =
        ed25519_consensus::VerificationKey::try_from(claim.key.public().0).expect("a point here and there");
    key.verify(&ed25519_consensus::Signature::from(claim.signature.0), claim.message.as_ref()).is_ok()
}

fn vectors() -> Vec<Vector> {
    let mut all = crafted();
    all.extend(speccheck());
    for (_, key, message, signature) in rfc_8032() {
        let key = VerifyingKey::new(key).expect("an honest key");
        all.push(vector("RFC 8032", Claim { key, message, signature }, true));
    }
    all
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
fn every_vector_gets_the_verdict_of_zip_215() {
    let vectors = vectors();
    assert!(vectors.len() > 60);
    for vector in vectors {
        assert_eq!(verify(&vector.claim), vector.valid, "{}", vector.name);
        assert_eq!(independent(&vector.claim), vector.valid, "{} elsewhere", vector.name);
    }
}

#[test]
fn every_vector_gets_the_same_verdict_in_any_batch() {
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
fn a_torsioned_signature_gets_the_same_verdict_alone_and_in_any_batch() {
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
fn every_pairing_of_twisted_keys_and_points_gets_one_verdict() {
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
    assert_ne!(root(&[leaf(1), leaf(2)]), merkle_root(HashTag::OperationNode, &[leaf(1), leaf(2)]));
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
