//! How pages and chunks are cut and joined: two rules for both, and nothing but the operations decides.
//!
//! What has several parts and more bytes than it may have is cut in the middle, again and again. Two neighbours of which
//! one is below a quarter are joined if they take three quarters at most together. Between cutting and joining again a
//! good part of all entries has to change, so nobody can make a map do either all the time; and of two neighbours, one
//! has three eighths at least or both have a quarter.

use std::sync::Arc;

use super::chunk::Chunk;
use super::page::{self, Page};
use super::row::{Part, Row};
use super::{CHUNK_BYTES, PAGE_BYTES};

/// What was changed since the last seal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Changes {
    seal: u32,
    bytes: u64,
}

impl Changes {
    /// Nothing, since the seal that follows this one.
    pub(super) fn after(seal: u32) -> Self {
        Self { seal: seal.saturating_add(1), bytes: 0 }
    }

    /// The number of the last seal.
    pub(super) fn seal(self) -> u32 {
        self.seal
    }

    /// Bytes of pages that were made since.
    pub(super) fn bytes(self) -> u64 {
        self.bytes
    }

    /// A new page of these bytes.
    pub(super) fn page(&mut self, bytes: Vec<u8>) -> Arc<Page> {
        let page = Page::new(&bytes, self.seal);
        self.made(&page);
        Arc::new(page)
    }

    /// Counts a page that was changed.
    pub(super) fn made(&mut self, page: &Page) {
        self.bytes += page.bytes().len() as u64;
    }

    /// No longer counts a page that is replaced.
    pub(super) fn gone(&mut self, page: &Page) {
        if page.seal() == self.seal {
            self.bytes -= page.bytes().len() as u64;
        }
    }
}

/// What becomes of a page's bytes.
pub(super) enum Cut {
    /// They are none.
    None,
    /// They are a page.
    One(Vec<u8>),
    /// They are several.
    Several(Vec<Vec<u8>>),
}

/// Cuts a page's bytes into as many pages as they need.
pub(super) fn cut_page(bytes: Vec<u8>, appended: bool) -> Cut {
    if bytes.is_empty() {
        return Cut::None;
    }
    if bytes.len() <= PAGE_BYTES {
        return Cut::One(bytes);
    }
    let sizes: Vec<_> = page::entries(&bytes).map(|entry| entry.bytes()).collect();
    let lengths = cuts(&sizes, PAGE_BYTES, appended);
    if lengths.len() == 1 {
        return Cut::One(bytes);
    }
    let (mut rest, mut sizes) = (&*bytes, &*sizes);
    let pieces = lengths.into_iter().map(|entries| {
        let (these, others) = sizes.split_at(entries);
        let (piece, after) = rest.split_at(these.iter().sum());
        (sizes, rest) = (others, after);
        piece.to_vec()
    });
    Cut::Several(pieces.collect())
}

/// Cuts the chunk at a place, removes it, or joins chunks around it.
pub(super) fn settle_chunks(chunks: &mut Row<Chunk>, at: usize, appended: bool, changes: &mut Changes) {
    let chunk = &chunks.parts()[at];
    let mut count = 1;
    if chunk.pages().is_empty() {
        chunks.remove(at);
        count = 0;
    } else if chunk.size() > CHUNK_BYTES && chunk.pages().len() > 1 {
        let pieces = cut_chunk(chunk.pages(), appended);
        count = pieces.len();
        chunks.replace(at..=at, pieces);
    }
    chunks.settle(at, count, changes);
}

fn cut_chunk(mut pages: &[Arc<Page>], appended: bool) -> Vec<Arc<Chunk>> {
    let sizes: Vec<_> = pages.iter().map(|page| page.bytes().len()).collect();
    let pieces = cuts(&sizes, CHUNK_BYTES, appended).into_iter().map(|length| {
        let (these, others) = pages.split_at(length);
        pages = others;
        Arc::new(Chunk::of(these.to_vec()))
    });
    pieces.collect()
}

/// How many of these parts go into each piece. A piece has at most `most` bytes, or one part.
fn cuts(sizes: &[usize], most: usize, appended: bool) -> Vec<usize> {
    let mut lengths = Vec::new();
    match sizes.split_last() {
        // Keys that come in order leave full pages and chunks behind them.
        Some((_, full)) if appended && full.iter().sum::<usize>() <= most && !full.is_empty() => {
            lengths.extend([full.len(), 1]);
        }
        _ => cut_in_the_middle(sizes, most, &mut lengths),
    }
    lengths
}

fn cut_in_the_middle(sizes: &[usize], most: usize, lengths: &mut Vec<usize>) {
    let total: usize = sizes.iter().sum();
    if sizes.len() < 2 || total <= most {
        lengths.push(sizes.len());
        return;
    }
    // The cut that leaves the larger side smallest.
    let (mut before, mut best) = (0, (usize::MAX, 1));
    for (at, size) in (1..sizes.len()).zip(sizes) {
        before += size;
        best = best.min((before.max(total - before), at));
    }
    let (left, right) = sizes.split_at(best.1);
    cut_in_the_middle(left, most, lengths);
    cut_in_the_middle(right, most, lengths);
}
