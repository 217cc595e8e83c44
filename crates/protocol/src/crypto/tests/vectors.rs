//! Signatures on which libraries differ, and what ZIP-215 says of each.

use super::*;

/// A signature and what ZIP-215 says of it.
pub(super) struct Vector {
    pub(super) name: String,
    pub(super) claim: Claim,
    pub(super) valid: bool,
}

pub(super) fn vector(name: &str, claim: Claim, valid: bool) -> Vector {
    Vector { name: name.to_owned(), claim, valid }
}

pub(super) fn message(bytes: &[u8]) -> Message {
    let mut message = Message::new();
    message.extend(bytes);
    message
}

pub(super) fn claim(key: [u8; 32], bytes: &[u8], r: [u8; 32], s: [u8; 32]) -> Claim {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r);
    signature[32..].copy_from_slice(&s);
    let key = VerifyingKey::lenient(PublicKey(key)).expect("the vectors' keys are points");
    Claim { key, message: message(bytes), signature: Signature(signature) }
}

pub(super) fn challenge(r: [u8; 32], key: [u8; 32], bytes: &[u8]) -> Scalar {
    let hash = Sha512::new().chain_update(r).chain_update(key).chain_update(bytes);
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

pub(super) fn multiple(scalar: Scalar) -> EdwardsPoint {
    EdwardsPoint::mul_base(&scalar)
}

pub(super) fn encoded(point: EdwardsPoint) -> [u8; 32] {
    point.compress().to_bytes()
}

/// The signature of one who knows the scalars `a` of the key and `r` of R, however both are encoded or twisted.
pub(super) fn forged(a: Scalar, key: [u8; 32], r: Scalar, r_bytes: [u8; 32], bytes: &[u8]) -> Claim {
    let s = r + challenge(r_bytes, key, bytes) * a;
    claim(key, bytes, r_bytes, s.to_bytes())
}

/// A valid claim of a key of its own.
pub(super) fn honest(lots: &mut Lots) -> Claim {
    let secret = SecretKey::from_seed(&lots.bytes());
    let message = message(&lots.bytes());
    let key = VerifyingKey::new(secret.public()).expect("an honest key");
    Claim { key, signature: secret.sign(message.as_ref()), message }
}

pub(super) fn plus_order(s: [u8; 32]) -> [u8; 32] {
    let mut carry = 0;
    std::array::from_fn(|i| {
        carry += u16::from(s[i]) + u16::from(ORDER[i]);
        let byte = carry.to_le_bytes()[0];
        carry >>= 8;
        byte
    })
}

/// All 14 encodings of the eight points of small order.
pub(super) fn small_encodings() -> Vec<[u8; 32]> {
    let mut encodings: Vec<_> = EIGHT_TORSION.iter().map(|point| encoded(*point)).collect();
    encodings.extend(
        non_canonical().into_iter().filter(|bytes| decoded(bytes).is_some_and(|p| p.is_small_order())),
    );
    encodings
}

/// Every encoding that is not what its point compresses to: y from p up, or x = 0 with a sign.
pub(super) fn non_canonical() -> Vec<[u8; 32]> {
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

pub(super) fn decoded(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
    CompressedEdwardsY(*bytes).decompress()
}

pub(super) fn crafted() -> Vec<Vector> {
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
pub(super) fn speccheck() -> Vec<Vector> {
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
pub(super) fn rfc_8032() -> Vec<(SecretKey, PublicKey, Message, Signature)> {
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

pub(super) fn hex<const N: usize>(text: &str) -> [u8; N] {
    super::super::hex::parse_hex(text).expect("the vectors are hexadecimal")
}

pub(super) fn no_point() -> [u8; 32] {
    let candidates = (0..=255).map(|i| std::array::from_fn(|at| if at == 0 { i } else { 0 }));
    candidates.into_iter().find(|bytes| decoded(bytes).is_none()).expect("every other y is no point")
}

impl Claim {
    /// The same with s + 1: R, A and the message stay what they were, and the equation fails.
    pub(super) fn spoilt(mut self) -> Self {
        let s = Scalar::from_bytes_mod_order(*self.signature.0.last_chunk().expect("64 bytes")) + Scalar::ONE;
        self.signature.0[32..].copy_from_slice(s.as_bytes());
        self
    }
}

pub(super) fn vectors() -> Vec<Vector> {
    let mut all = crafted();
    all.extend(speccheck());
    for (_, key, message, signature) in rfc_8032() {
        let key = VerifyingKey::new(key).expect("an honest key");
        all.push(vector("RFC 8032", Claim { key, message, signature }, true));
    }
    all
}
