//! Replicas that mislead whoever fetches a state: with damaged parts, with silence, with ever less.

use bytes::Bytes;
use quorate_protocol::codec::{Blob, List};
use quorate_protocol::message::Transfer;
use quorate_protocol::types::{ReplicaId, Seq};

use super::Behaviour;
use super::kinds::slot_of;
use super::stage::Stage;

/// Whether a part answers somebody, and the sin is to answer otherwise.
fn concerns(stage: &mut Stage<'_>, to: ReplicaId, part: &Transfer) -> bool {
    let answers = match part {
        Transfer::Meta { .. }
        | Transfer::Chunk { .. }
        | Transfer::Lacks { .. }
        | Transfer::Digests { .. }
        | Transfer::Pages { .. } => true,
        Transfer::FetchMeta { .. }
        | Transfer::FetchChunk { .. }
        | Transfer::FetchDigests { .. }
        | Transfer::FetchPages { .. } => false,
    };
    answers && stage.trigger.is_for(to) && stage.is_tempted(stage.replica.view(), Some(slot_of(part)))
}

/// One bit of the first byte is another.
fn rotten(bytes: &Bytes) -> Bytes {
    let mut rotten = bytes.to_vec();
    if let Some(first) = rotten.first_mut() {
        *first ^= 1;
    }
    rotten.into()
}

#[derive(Debug)]
pub(super) struct BadChunks;

impl Behaviour for BadChunks {
    fn part(&mut self, stage: &mut Stage<'_>, to: ReplicaId, part: Transfer) -> Option<Transfer> {
        if !concerns(stage, to, &part) {
            return Some(part);
        }
        let lie = match part.clone() {
            Transfer::Meta { mut summary, chunks } => {
                summary.application.root.0[0] ^= 1;
                Transfer::Meta { summary, chunks }
            }
            Transfer::Chunk { seq, index, bytes } => {
                Transfer::Chunk { seq, index, bytes: Blob(rotten(&bytes.0)) }
            }
            Transfer::Pages { seq, index, bytes } => {
                Transfer::Pages { seq, index, bytes: Blob(rotten(&bytes.0)) }
            }
            Transfer::Digests { seq, index, mut pages } => {
                pages.0.iter_mut().for_each(|page| page.0[0] ^= 1);
                Transfer::Digests { seq, index, pages }
            }
            other => other,
        };
        stage.count(usize::from(lie != part));
        Some(lie)
    }
}

#[derive(Debug)]
pub(super) struct StallTransfer;

impl Behaviour for StallTransfer {
    fn part(&mut self, stage: &mut Stage<'_>, to: ReplicaId, part: Transfer) -> Option<Transfer> {
        if !concerns(stage, to, &part) {
            return Some(part);
        }
        stage.count(1);
        None
    }
}

/// Each answer is of a lower state than the one before, and has fewer chunks.
#[derive(Debug, Default)]
pub(super) struct ShrinkTransfer {
    answers: u64,
}

impl Behaviour for ShrinkTransfer {
    fn part(&mut self, stage: &mut Stage<'_>, to: ReplicaId, part: Transfer) -> Option<Transfer> {
        if !concerns(stage, to, &part) {
            return Some(part);
        }
        self.answers = self.answers.saturating_add(1);
        let lower = |seq: Seq| Seq(seq.0.saturating_sub(self.answers));
        let lie = match part {
            Transfer::Meta { mut summary, chunks } => {
                summary.seq = lower(summary.seq);
                let left = (chunks.0.len() as u64).saturating_sub(self.answers);
                summary.application.chunks = summary.application.chunks.min(left);
                let left = usize::try_from(left).unwrap_or(0);
                Transfer::Meta { summary, chunks: List(chunks.0.into_iter().take(left).collect()) }
            }
            Transfer::Chunk { seq, index, bytes } => Transfer::Chunk { seq: lower(seq), index, bytes },
            Transfer::Digests { seq, index, pages } => Transfer::Digests { seq: lower(seq), index, pages },
            Transfer::Pages { seq, index, bytes } => Transfer::Pages { seq: lower(seq), index, bytes },
            Transfer::Lacks { seq } => Transfer::Lacks { seq: lower(seq) },
            question => question,
        };
        stage.count(1);
        Some(lie)
    }
}
