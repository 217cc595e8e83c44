//! The parts of a chunk or of a map in order, found by their keys.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::shape::Changes;

/// Fewer parts than these are found without the help of a common beginning.
const FEW: usize = 8;

/// What a [`Row`] is made of: a page or a chunk.
pub(super) trait Part {
    /// Several parts of it have at most so many bytes together.
    const BYTES: usize;

    /// The first key in it.
    fn first_key(&self) -> &[u8];
    /// Its bytes.
    fn size(&self) -> usize;
    /// Puts what is in its right neighbour behind what is in it.
    fn join(left: &mut Arc<Self>, right: &Arc<Self>, changes: &mut Changes);
}

/// Parts in order.
///
/// A part is reached over several pointers, each of which is likely to miss every cache. So eight bytes of each first
/// key are kept here, side by side: those behind the beginning that most keys share. They decide nothing that the keys
/// themselves do not decide, so whoever chooses keys can make them useless, but not wrong.
pub(super) struct Row<T> {
    parts: Vec<Arc<T>>,
    /// [`head`] of each part's first key.
    heads: Vec<u64>,
    prefix: Box<[u8]>,
    /// How many parts there were when the prefix was chosen.
    chosen_at: usize,
}

impl<T> Clone for Row<T> {
    fn clone(&self) -> Self {
        let (parts, heads) = (self.parts.clone(), self.heads.clone());
        Self { parts, heads, prefix: self.prefix.clone(), chosen_at: self.chosen_at }
    }
}

impl<T> Default for Row<T> {
    fn default() -> Self {
        Self { parts: Vec::new(), heads: Vec::new(), prefix: Box::default(), chosen_at: 0 }
    }
}

impl<T: Part> Row<T> {
    /// Of these parts.
    pub(super) fn of(parts: Vec<Arc<T>>) -> Self {
        let mut row = Self { parts, ..Self::default() };
        row.choose_prefix();
        row
    }

    /// The parts.
    pub(super) fn parts(&self) -> &[Arc<T>] {
        &self.parts
    }

    /// Number of parts.
    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }

    /// Place of the part that has this key, or that gets it.
    pub(super) fn place_of(&self, key: &[u8]) -> usize {
        let head = head(&self.prefix, key);
        let first = self.heads.partition_point(|other| *other < head);
        let alike = self.heads[first..].partition_point(|other| *other == head);
        let before = self.parts[first..first + alike].partition_point(|part| part.first_key() <= key);
        (first + before).saturating_sub(1)
    }

    /// One part, to be changed. If its first key changes, [`refresh`](Self::refresh) must follow.
    pub(super) fn part_mut(&mut self, at: usize) -> &mut Arc<T> {
        &mut self.parts[at]
    }

    /// Looks at a part's first key again.
    pub(super) fn refresh(&mut self, at: usize) {
        self.heads[at] = head(&self.prefix, self.parts[at].first_key());
    }

    /// Takes a part away.
    pub(super) fn remove(&mut self, at: usize) {
        self.parts.remove(at);
        self.heads.remove(at);
    }

    /// Puts others in the place of one part.
    pub(super) fn replace(&mut self, at: RangeInclusive<usize>, parts: Vec<Arc<T>>) {
        let heads = parts.iter().map(|part| head(&self.prefix, part.first_key()));
        self.heads.splice(at.clone(), heads);
        self.parts.splice(at, parts);
        if self.len() >= 2 * self.chosen_at.max(FEW / 2) {
            self.choose_prefix();
        }
    }

    /// Puts others behind all.
    pub(super) fn append(&mut self, parts: &[Arc<T>]) {
        self.parts.extend_from_slice(parts);
        self.choose_prefix();
    }

    /// Joins neighbours that are to be one, around parts that changed: `count` of them from `at` on.
    pub(super) fn settle(&mut self, at: usize, count: usize, changes: &mut Changes) {
        let (mut left, mut end) = (at.saturating_sub(1), at + count);
        while left < end && left + 1 < self.len() {
            let (size, next) = (self.parts[left].size(), self.parts[left + 1].size());
            if size.min(next) < T::BYTES / 4 && size.saturating_add(next) <= T::BYTES / 4 * 3 {
                let right = self.parts.remove(left + 1);
                self.heads.remove(left + 1);
                T::join(&mut self.parts[left], &right, changes);
                end -= 1;
            } else {
                left += 1;
            }
        }
    }

    /// The beginning that most first keys share. Those at the ends may be outliers.
    fn choose_prefix(&mut self) {
        self.chosen_at = self.len();
        let outliers = self.len() / FEW;
        let length = if outliers == 0 {
            0
        } else {
            let low = self.parts[outliers].first_key();
            let high = self.parts[self.len() - 1 - outliers].first_key();
            low.iter().zip(high).take_while(|(low, high)| low == high).count()
        };
        self.prefix =
            self.parts.get(outliers).map(|part| part.first_key()[..length].into()).unwrap_or_default();
        self.heads = self.parts.iter().map(|part| head(&self.prefix, part.first_key())).collect();
    }

    /// How many heads differ from the one before.
    #[cfg(test)]
    pub(super) fn distinct_heads(&self) -> usize {
        1 + self.heads.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    /// Whether the heads are those of the keys.
    #[cfg(test)]
    pub(super) fn is_consistent(&self) -> bool {
        self.heads.is_sorted()
            && self
                .parts
                .iter()
                .map(|part| head(&self.prefix, part.first_key()))
                .eq(self.heads.iter().copied())
    }
}

/// Eight bytes of a key behind a prefix, as a number. A key that is no less than another has no lesser head.
fn head(prefix: &[u8], key: &[u8]) -> u64 {
    let Some(rest) = key.strip_prefix(prefix) else {
        return if key < prefix { 0 } else { u64::MAX };
    };
    if let Some(eight) = rest.first_chunk() {
        return u64::from_be_bytes(*eight);
    }
    let mut eight = [0; 8];
    eight[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(eight)
}
