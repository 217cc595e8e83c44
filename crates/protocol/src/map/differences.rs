//! Where two maps differ, found without looking at what they share.

use std::cmp::Ordering;
use std::sync::Arc;

use super::range::Cursor;

/// A key under which two maps have different values, or only one has any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value in the map that was asked.
    pub ours: Option<&'a [u8]>,
    /// The value in the other one.
    pub theirs: Option<&'a [u8]>,
}

/// The differences of two maps, in order of the keys.
#[derive(Debug, Clone)]
pub struct Differences<'a> {
    ours: Cursor<'a>,
    theirs: Cursor<'a>,
}

impl<'a> Differences<'a> {
    pub(super) fn new(ours: Cursor<'a>, theirs: Cursor<'a>) -> Self {
        Self { ours, theirs }
    }

    /// Moves both sides behind everything that begins here on both and is equal by its digest.
    fn skip_equal(&mut self) {
        loop {
            if let (Some(ours), Some(theirs)) = (self.ours.whole_chunk(), self.theirs.whole_chunk())
                && (Arc::ptr_eq(ours, theirs) || ours.digest() == theirs.digest())
            {
                self.ours.skip_chunk();
                self.theirs.skip_chunk();
            } else if let (Some(ours), Some(theirs)) = (self.ours.whole_page(), self.theirs.whole_page())
                && (Arc::ptr_eq(ours, theirs) || ours.digest() == theirs.digest())
            {
                self.ours.skip_page();
                self.theirs.skip_page();
            } else {
                return;
            }
        }
    }
}

impl<'a> Iterator for Differences<'a> {
    type Item = Difference<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.skip_equal();
            let (ours, theirs) = (self.ours.peek(), self.theirs.peek());
            let first = match (ours, theirs) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(ours), Some(theirs)) => ours.key.cmp(theirs.key),
            };
            let ours = ours.filter(|_| first.is_le());
            let theirs = theirs.filter(|_| first.is_ge());
            if ours.is_some() {
                self.ours.advance();
            }
            if theirs.is_some() {
                self.theirs.advance();
            }
            let key = ours.or(theirs)?.key;
            let (ours, theirs) = (ours.map(|entry| entry.value), theirs.map(|entry| entry.value));
            if ours != theirs {
                return Some(Difference { key, ours, theirs });
            }
        }
    }
}
