//! Walking over a map's entries in order.

use std::ops::Bound;
use std::sync::Arc;

use super::chunk::Chunk;
use super::page::{Entry, Page};
use super::row::Row;

/// Where an entry begins. There is one for the end: the chunk after the last.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    chunk: usize,
    page: usize,
    byte: usize,
}

/// A place between entries that moves forwards.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    chunks: &'a [Arc<Chunk>],
    at: Position,
}

impl<'a> Cursor<'a> {
    /// Before all entries.
    pub(super) fn new(chunks: &'a [Arc<Chunk>]) -> Self {
        Self { chunks, at: Position::default() }
    }

    /// Before the first entry whose key is `key` or, if `beyond` and in any case if there is none, follows it.
    fn at_key(chunks: &'a Row<Chunk>, key: &[u8], beyond: bool) -> Self {
        let at = Position { chunk: chunks.place_of(key), page: 0, byte: 0 };
        let mut cursor = Self { chunks: chunks.parts(), at };
        let Some(found) = cursor.chunks.get(at.chunk) else { return cursor };
        cursor.at.page = found.page_of(key);
        let spot = found.pages()[cursor.at.page].spot(key);
        cursor.at.byte = if beyond { spot.end } else { spot.at };
        cursor.normalize();
        cursor
    }

    /// The entry behind it.
    pub(super) fn peek(&self) -> Option<Entry<'a>> {
        self.page().map(|page| page.entry_at(self.at.byte))
    }

    /// Moves behind the next entry.
    pub(super) fn advance(&mut self) {
        if let Some(entry) = self.peek() {
            self.at.byte += entry.bytes();
            self.normalize();
        }
    }

    /// The page whose beginning this is.
    pub(super) fn whole_page(&self) -> Option<&'a Arc<Page>> {
        self.page().filter(|_| self.at.byte == 0)
    }

    /// Moves behind the page.
    pub(super) fn skip_page(&mut self) {
        (self.at.page, self.at.byte) = (self.at.page + 1, 0);
        self.normalize();
    }

    /// The chunk whose beginning this is.
    pub(super) fn whole_chunk(&self) -> Option<&'a Arc<Chunk>> {
        self.chunks.get(self.at.chunk).filter(|_| self.at.page == 0 && self.at.byte == 0)
    }

    /// Moves behind the chunk.
    pub(super) fn skip_chunk(&mut self) {
        self.at = Position { chunk: self.at.chunk + 1, page: 0, byte: 0 };
    }

    fn page(&self) -> Option<&'a Arc<Page>> {
        self.chunks.get(self.at.chunk).map(|chunk| &chunk.pages()[self.at.page])
    }

    /// The end of a page is the beginning of the next one, and that of a chunk likewise.
    fn normalize(&mut self) {
        let Some(chunk) = self.chunks.get(self.at.chunk) else { return };
        if chunk.pages().get(self.at.page).is_some_and(|page| self.at.byte == page.bytes().len()) {
            (self.at.page, self.at.byte) = (self.at.page + 1, 0);
        }
        if self.at.page == chunk.pages().len() {
            self.skip_chunk();
        }
    }
}

/// The entries of a map between two bounds, in order of their keys.
#[derive(Debug, Clone)]
pub struct Range<'a> {
    cursor: Cursor<'a>,
    end: Position,
}

impl<'a> Range<'a> {
    pub(super) fn new(chunks: &'a Row<Chunk>, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Self {
        let cursor = match from {
            Bound::Included(key) => Cursor::at_key(chunks, key, false),
            Bound::Excluded(key) => Cursor::at_key(chunks, key, true),
            Bound::Unbounded => Cursor::new(chunks.parts()),
        };
        let end = match to {
            Bound::Included(key) => Cursor::at_key(chunks, key, true).at,
            Bound::Excluded(key) => Cursor::at_key(chunks, key, false).at,
            Bound::Unbounded => Position { chunk: chunks.len(), page: 0, byte: 0 },
        };
        Self { cursor, end }
    }
}

impl<'a> Iterator for Range<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor.at >= self.end {
            return None;
        }
        let entry = self.cursor.peek()?;
        self.cursor.advance();
        Some((entry.key, entry.value))
    }
}
