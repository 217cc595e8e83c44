//! A record as bytes: parts, each behind its length, so that a NEW-VIEW may be longer than a frame.

use std::sync::Arc;

use quorate_protocol::codec;
use quorate_protocol::message::{NamedViewChange, NewView};
use quorate_protocol::process::Record;
use quorate_protocol::types::{Digest, Seq, Signature, View};

use super::layout::{INLINE, Place};

/// Records of which only the newest counts, whatever the stable checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Newest {
    Stable = 0,
    ViewChange = 1,
    NewView = 2,
}

/// How long a record is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// Until its slot is stable, its view is left, or there is another one at its slot.
    Vote(View, Seq),
    /// Until its slot is stable, or there is one of its view or a later one at its slot.
    Prepared(View, Seq),
    /// Until its slot is stable.
    Body(Seq),
    /// Until there is a newer one of its kind; newer is the one of the higher number.
    Newest(Newest, u64),
    /// Not at all.
    Never,
}

const NEW_VIEW: u8 = 5;

/// The record's tag in the file; none for what is not kept there.
pub(crate) fn kind_of(record: &Record) -> Option<u8> {
    match record {
        Record::Vote { .. } => Some(1),
        Record::Body { .. } => Some(2),
        Record::Prepared(_) => Some(3),
        Record::ViewChange(_) => Some(4),
        Record::NewView { .. } => Some(NEW_VIEW),
        Record::Stable(_) => Some(6),
        Record::Horizon { .. } | Record::Healed | Record::Standing(_) => None,
    }
}

/// How long the record is needed.
pub(crate) fn life_of(record: &Record) -> Life {
    match record {
        Record::Vote { prepare, .. } => Life::Vote(prepare.view, prepare.seq),
        Record::Body { seq, .. } => Life::Body(*seq),
        Record::Prepared(certificate) => {
            Life::Prepared(certificate.statement.view, certificate.statement.seq)
        }
        Record::ViewChange(message) => Life::Newest(Newest::ViewChange, message.view.0),
        Record::NewView { new_view, .. } => Life::Newest(Newest::NewView, new_view.view.0),
        Record::Stable(certificate) => Life::Newest(Newest::Stable, certificate.statement.seq.0),
        Record::Horizon { .. } | Record::Healed | Record::Standing(_) => Life::Never,
    }
}

/// Which area takes a payload of `length` bytes.
pub(crate) fn place_of(record: &Record, length: usize) -> Place {
    match record {
        Record::Body { .. } => Place::Body,
        _ if length <= INLINE => Place::Inline,
        _ => Place::Side,
    }
}

/// Appends the record's bytes. A part that exceeds a frame is an error.
pub(crate) fn encode(
    record: &Record,
    signed: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<(), codec::CodecError> {
    match record {
        Record::NewView { new_view, signature, view_changes } => {
            part(out, |out| codec::append(&(new_view, signature), out))?;
            for view_change in view_changes {
                part(out, |out| codec::append(view_change, out))?;
            }
        }
        _ => part(out, |out| codec::append(record, out))?,
    }
    if let Some(signed) = signed {
        part(out, |out| {
            out.extend_from_slice(signed);
            Ok(())
        })?;
    }
    Ok(())
}

fn part(
    out: &mut Vec<u8>,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), codec::CodecError>,
) -> Result<(), codec::CodecError> {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out)?;
    let length = out.len() - at - 4;
    let length = u32::try_from(length).map_err(|_| codec::CodecError::TooLong(length))?;
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// The record that `bytes` hold, and what the host signed with it; none if they hold no such record.
pub(crate) fn decode(kind: u8, has_signed: bool, bytes: &[u8]) -> Option<(Record, Option<Vec<u8>>)> {
    let mut parts = split(bytes)?;
    let signed = if has_signed { Some(parts.pop()?.to_vec()) } else { None };
    let (first, rest) = parts.split_first()?;
    let record = if kind == NEW_VIEW {
        let (new_view, signature): (NewView, Option<Signature>) = codec::decode(first).ok()?;
        let view_changes = rest.iter().map(|part| codec::decode::<Arc<NamedViewChange>>(part).ok());
        Record::NewView { new_view, signature, view_changes: view_changes.collect::<Option<_>>()? }
    } else if rest.is_empty() && is_of(kind, first) {
        codec::decode(first).ok()?
    } else {
        return None;
    };
    (kind_of(&record) == Some(kind)).then_some((record, signed))
}

/// Whether these bytes begin as a record of this kind does. Looked at before they are decoded: a NEW-VIEW in one part
/// would claim as many VIEW-CHANGEs as it likes, and memory for them.
fn is_of(kind: u8, bytes: &[u8]) -> bool {
    let tag = bytes.first_chunk::<4>().map(|tag| u32::from_le_bytes(*tag));
    tag.is_some() && tag == u32::from(kind).checked_sub(1)
}

fn split(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        parts.push(part);
        bytes = rest;
    }
    Some(parts)
}

/// Names a body in its record, so that it can be fetched again when only its bytes are lost.
pub(crate) fn name_body(seq: Seq, digest: Digest) -> [u8; INLINE] {
    let mut inline = [0; INLINE];
    inline[..8].copy_from_slice(&seq.0.to_le_bytes());
    inline[8..40].copy_from_slice(&digest.0);
    inline
}

/// The slot and digest that [`name_body`] wrote.
pub(crate) fn body_name(inline: &[u8; INLINE]) -> (Seq, Digest) {
    let (mut seq, mut digest) = ([0; 8], [0; 32]);
    seq.copy_from_slice(&inline[..8]);
    digest.copy_from_slice(&inline[8..40]);
    (Seq(u64::from_le_bytes(seq)), Digest(digest))
}
