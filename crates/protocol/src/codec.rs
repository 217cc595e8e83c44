//! The one codec: bincode 2, little-endian, fixed-width integers, bounded, exact and canonical.
//!
//! No other file of the house may know that it is bincode. What this file guarantees, because the library does not:
//! nothing follows an accepted value, every accepted byte string is the only one for its value, and nothing is
//! allocated before the bytes that fill it were seen.

use std::ops::Deref;

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::de::read::Reader;
use bincode::de::{BorrowDecode, BorrowDecoder, Decoder};
use bincode::enc::Encoder;
pub use bincode::enc::write::Writer;
use bincode::error::DecodeError;
pub use bincode::error::EncodeError;
pub use bincode::{Decode, Encode};
use bytes::Bytes;

/// Largest frame on any link, in bytes. Larger ones are refused before they are read.
pub const FRAME_BYTES_MAX: usize = 8 << 20;

/// The derive path charges in-memory sizes, so its budget is a multiple of the frame limit.
const BUDGET: usize = 8 * FRAME_BYTES_MAX;
const CONFIG: Configuration<LittleEndian, Fixint, Limit<BUDGET>> =
    bincode::config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<BUDGET>();

/// Why bytes were not accepted, or a value not encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Longer than a frame may be.
    #[error("{0} bytes, more than the {FRAME_BYTES_MAX} a frame may have")]
    TooLong(usize),
    /// Ends before its last field does.
    #[error("the message ends early")]
    Truncated,
    /// Holds a tag, length or flag that means nothing.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// A value, and then more.
    #[error("{0} bytes follow the message")]
    Trailing(usize),
    /// Another byte string means the same.
    #[error("not the canonical encoding")]
    NotCanonical,
}

fn malformed(error: &DecodeError) -> CodecError {
    if matches!(error, DecodeError::UnexpectedEnd { .. }) {
        return CodecError::Truncated;
    }
    CodecError::Malformed(match error {
        DecodeError::LimitExceeded => "it asks for too much memory",
        DecodeError::UnexpectedVariant { .. } => "unknown message kind",
        DecodeError::InvalidBooleanValue(_) => "a flag is neither 0 nor 1",
        DecodeError::Other(why) => why,
        _ => "it does not decode",
    })
}

/// The bytes of `value`.
///
/// # Errors
/// [`CodecError::TooLong`] if they exceed [`FRAME_BYTES_MAX`].
pub fn encode<T: Encode>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::with_capacity(256);
    append(value, &mut bytes)?;
    Ok(bytes)
}

/// Appends the bytes of `value` to `bytes`.
///
/// # Errors
/// [`CodecError::TooLong`] if they exceed [`FRAME_BYTES_MAX`].
pub fn append<T: Encode>(value: &T, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
    struct Append<'a>(&'a mut Vec<u8>);
    impl Writer for Append<'_> {
        #[inline]
        fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
    }
    let before = bytes.len();
    encode_into(value, Append(bytes));
    let length = bytes.len() - before;
    if length > FRAME_BYTES_MAX { Err(CodecError::TooLong(length)) } else { Ok(()) }
}

/// Encodes into a writer that cannot fail, such as a hasher.
pub fn encode_into<T: Encode, W: Writer>(value: &T, writer: W) {
    bincode::encode_into_writer(value, writer, CONFIG)
        .expect("wire types encode, and the writer takes all it is given");
}

/// The value that `bytes` encode, all of them.
///
/// # Errors
/// [`CodecError`] names what is wrong with the bytes; they came from somebody else.
pub fn decode<T: Decode<()> + Encode>(bytes: &[u8]) -> Result<T, CodecError> {
    if bytes.len() > FRAME_BYTES_MAX {
        return Err(CodecError::TooLong(bytes.len()));
    }
    let (value, used) =
        bincode::decode_from_slice::<T, _>(bytes, CONFIG).map_err(|error| malformed(&error))?;
    if used != bytes.len() {
        return Err(CodecError::Trailing(bytes.len() - used));
    }
    let mut rest = Same(bytes);
    match bincode::encode_into_writer(&value, &mut rest, CONFIG) {
        Ok(()) if rest.0.is_empty() => Ok(value),
        _ => Err(CodecError::NotCanonical),
    }
}

/// Compares what is encoded with bytes that are there already.
struct Same<'a>(&'a [u8]);

impl Writer for &mut Same<'_> {
    // Most fields have few bytes, and their number is known where it is inlined.
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        match self.0.strip_prefix(bytes) {
            Some(rest) => {
                self.0 = rest;
                Ok(())
            }
            None => Err(EncodeError::Other("differs")),
        }
    }
}

/// Number of bytes `value` encodes to.
#[must_use]
pub fn encoded_len<T: Encode>(value: &T) -> usize {
    struct Count(usize);
    impl Writer for &mut Count {
        fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
            self.0 += bytes.len();
            Ok(())
        }
    }
    let mut count = Count(0);
    encode_into(value, &mut count);
    count.0
}

/// Encodes an application's own type (commands, replies, snapshots), through serde.
///
/// # Errors
/// [`CodecError::Malformed`] if the type cannot be encoded.
pub fn encode_serde<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    bincode::serde::encode_to_vec(value, CONFIG)
        .map_err(|_| CodecError::Malformed("the type cannot be encoded"))
}

/// Decodes an application's own type, through serde; nothing may follow it.
///
/// # Errors
/// [`CodecError`] names what is wrong with the bytes.
pub fn decode_serde<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, used) =
        bincode::serde::decode_from_slice(bytes, CONFIG).map_err(|error| malformed(&error))?;
    if used == bytes.len() { Ok(value) } else { Err(CodecError::Trailing(bytes.len() - used)) }
}

/// Types that stand in a [`List`]: how many bytes one takes at least.
pub trait WireMin {
    /// Fewest bytes of an encoded value; never 0.
    const WIRE_MIN: usize;
}

/// A sequence on the wire: at most `MAX` members, and never more than the bytes that follow can hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct List<T, const MAX: usize>(pub Vec<T>);

impl<T, const MAX: usize> Deref for List<T, MAX> {
    type Target = Vec<T>;
    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T: Encode, const MAX: usize> Encode for List<T, MAX> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let Ok(length) = u32::try_from(self.0.len()) else { return Err(EncodeError::Other("list too long")) };
        length.encode(encoder)?;
        self.0.iter().try_for_each(|member| member.encode(encoder))
    }
}

impl<C, T: Decode<C> + WireMin, const MAX: usize> Decode<C> for List<T, MAX> {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let length = u32::decode(decoder)? as usize;
        if length > MAX {
            return Err(DecodeError::Other("a list is longer than it may be"));
        }
        if decoder.reader().peek_read(length * T::WIRE_MIN).is_none() {
            return Err(DecodeError::Other("a list claims more members than bytes follow"));
        }
        let mut members = Vec::new();
        for _ in 0..length {
            members.push(T::decode(decoder)?);
        }
        Ok(Self(members))
    }
}

impl<'de, C, T: Decode<C> + WireMin, const MAX: usize> BorrowDecode<'de, C> for List<T, MAX> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

/// A byte string on the wire: at most `MAX` bytes, and never more than follow.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Blob<const MAX: usize>(pub Bytes);

impl<const MAX: usize> std::fmt::Debug for Blob<MAX> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl<const MAX: usize> Deref for Blob<MAX> {
    type Target = Bytes;
    fn deref(&self) -> &Bytes {
        &self.0
    }
}

impl<const MAX: usize> WireMin for Blob<MAX> {
    const WIRE_MIN: usize = 4;
}

impl<const MAX: usize> Encode for Blob<MAX> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        encode_bytes(&self.0, encoder)
    }
}

fn encode_bytes<E: Encoder>(bytes: &[u8], encoder: &mut E) -> Result<(), EncodeError> {
    let Ok(length) = u32::try_from(bytes.len()) else {
        return Err(EncodeError::Other("bytes too long"));
    };
    length.encode(encoder)?;
    encoder.writer().write(bytes)
}

impl<C, const MAX: usize> Decode<C> for Blob<MAX> {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let length = u32::decode(decoder)? as usize;
        if length > MAX {
            return Err(DecodeError::Other("a byte string is longer than it may be"));
        }
        let Some(bytes) = decoder.reader().peek_read(length) else {
            return Err(DecodeError::Other("a byte string claims more bytes than follow"));
        };
        let bytes = Bytes::copy_from_slice(bytes);
        decoder.reader().consume(length);
        Ok(Self(bytes))
    }
}

impl<'de, C, const MAX: usize> BorrowDecode<'de, C> for Blob<MAX> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

/// Byte strings in one buffer, each behind its length (`u32`): one allocation however many there are.
#[derive(Clone, PartialEq, Eq)]
pub struct Frames<const COUNT: usize, const BYTES: usize> {
    count: u32,
    framed: Bytes,
}

impl<const COUNT: usize, const BYTES: usize> std::fmt::Debug for Frames<COUNT, BYTES> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {} bytes", self.count, self.framed.len())
    }
}

impl<const COUNT: usize, const BYTES: usize> Frames<COUNT, BYTES> {
    /// Frames the given byte strings.
    ///
    /// # Panics
    /// If they exceed `COUNT` or `BYTES`; the caller has bounded them.
    pub fn new<'a>(strings: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut framed = Vec::new();
        let mut count = 0_u32;
        for string in strings {
            count += 1;
            let length = u32::try_from(string.len()).expect("strings are bounded far below 4 GiB");
            framed.extend_from_slice(&length.to_le_bytes());
            framed.extend_from_slice(string);
        }
        assert!(count as usize <= COUNT && framed.len() <= BYTES, "more than the frames may hold");
        Self { count, framed: framed.into() }
    }

    /// How many byte strings there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes they take, lengths included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.framed.len()
    }

    /// Each byte string, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let (start, end) = frame_at(&self.framed, at)?;
            at = end;
            self.framed.get(start..end)
        })
    }
}

/// Start and end of the byte string whose length stands at `at`.
fn frame_at(framed: &[u8], at: usize) -> Option<(usize, usize)> {
    let length = framed.get(at..)?.first_chunk::<4>()?;
    let start = at + 4;
    let end = start.checked_add(u32::from_le_bytes(*length) as usize)?;
    (end <= framed.len()).then_some((start, end))
}

impl<const COUNT: usize, const BYTES: usize> Encode for Frames<COUNT, BYTES> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.count.encode(encoder)?;
        encode_bytes(&self.framed, encoder)
    }
}

impl<C, const COUNT: usize, const BYTES: usize> Decode<C> for Frames<COUNT, BYTES> {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let count = u32::decode(decoder)?;
        let framed = <Blob<BYTES> as Decode<C>>::decode(decoder)?.0;
        let (mut at, mut found) = (0, 0_u32);
        while let Some((_, end)) = frame_at(&framed, at) {
            at = end;
            found += 1;
        }
        if at != framed.len() || found != count || count as usize > COUNT {
            return Err(DecodeError::Other("byte strings are not framed as counted"));
        }
        Ok(Self { count, framed })
    }
}

impl<'de, C, const COUNT: usize, const BYTES: usize> BorrowDecode<'de, C> for Frames<COUNT, BYTES> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

/// A type that derives values (digests, names) from its wire form while it is decoded, once.
pub(crate) trait Parse: Sized {
    /// What stands on the wire.
    type Wire;
    /// Checks the wire form and derives what belongs to it.
    fn parse(wire: Self::Wire) -> Result<Self, &'static str>;
    /// The wire form again.
    fn wire(&self) -> &Self::Wire;
}

macro_rules! parsed {
    ($type:ty) => {
        impl $crate::codec::Encode for $type {
            fn encode<E: bincode::enc::Encoder>(
                &self,
                encoder: &mut E,
            ) -> Result<(), bincode::error::EncodeError> {
                $crate::codec::Parse::wire(self).encode(encoder)
            }
        }
        impl<C> $crate::codec::Decode<C> for $type {
            fn decode<D: bincode::de::Decoder<Context = C>>(
                decoder: &mut D,
            ) -> Result<Self, bincode::error::DecodeError> {
                let wire =
                    <<Self as $crate::codec::Parse>::Wire as $crate::codec::Decode<C>>::decode(decoder)?;
                <Self as $crate::codec::Parse>::parse(wire).map_err(bincode::error::DecodeError::Other)
            }
        }
        impl<'de, C> bincode::de::BorrowDecode<'de, C> for $type {
            fn borrow_decode<D: bincode::de::BorrowDecoder<'de, Context = C>>(
                decoder: &mut D,
            ) -> Result<Self, bincode::error::DecodeError> {
                <Self as $crate::codec::Decode<C>>::decode(decoder)
            }
        }
    };
}
pub(crate) use parsed;

impl<T: WireMin> WireMin for std::sync::Arc<T> {
    const WIRE_MIN: usize = T::WIRE_MIN;
}
