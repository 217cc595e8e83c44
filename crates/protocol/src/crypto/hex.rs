//! Digests, keys and signatures as text: hexadecimal, and nothing else.

use std::fmt;
use std::str::FromStr;

use super::{Digest, PublicKey, Signature};

/// Text that is not the hexadecimal form of a digest or key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HexError {
    /// Too short or too long, in bytes of text.
    #[error("{found} characters where {expected} hexadecimal digits belong")]
    Length {
        /// Digits there should be.
        expected: usize,
        /// Bytes of text there are.
        found: usize,
    },
    /// Something else than a digit, at this byte of the text.
    #[error("character {0} is not a hexadecimal digit")]
    Digit(usize),
}

pub(super) fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    if text.len() != 2 * N {
        return Err(HexError::Length { expected: 2 * N, found: text.len() });
    }
    let mut bytes = [0; N];
    for (at, digit) in text.bytes().enumerate() {
        let value = char::from(digit).to_digit(16).ok_or(HexError::Digit(at))?;
        bytes[at / 2] = bytes[at / 2] << 4 | u8::try_from(value).expect("a hexadecimal digit is below 16");
    }
    Ok(bytes)
}

pub(super) fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0[..4], f)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl FromStr for Digest {
    type Err = HexError;
    fn from_str(text: &str) -> Result<Self, HexError> {
        parse_hex(text).map(Self)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0[..4], f)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl FromStr for PublicKey {
    type Err = HexError;
    fn from_str(text: &str) -> Result<Self, HexError> {
        parse_hex(text).map(Self)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0[..4], f)
    }
}
