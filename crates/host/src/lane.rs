//! Lanes: what waits for one link, bounded; and how frames lie in a stream of bytes.
//!
//! A replica never waits for a peer. What it has to say is pushed into the peer's lane of that class, and when the
//! peer does not keep up, the lane drops by its own policy and counts what it dropped. Nothing here does any I/O.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of a frame's length, which stands before it, little-endian.
pub const PREFIX_BYTES: usize = 4;

/// Frames up to this many bytes are copied into one buffer with their neighbours; longer ones go as they are.
const COALESCE_BYTES_MAX: usize = 4 << 10;

/// Most bytes that are set aside for a frame before its bytes arrive.
const TRUST_BYTES: usize = 64 << 10;

/// What a frame is for. Each class has its own lane, its own stream and its own flow control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Votes and other small messages on which progress depends. Always sent first.
    Votes,
    /// Batches proposed by a primary, and requests and replies of clients.
    Proposals,
    /// View changes, bodies and snapshot chunks that were asked for.
    Bulk,
}

impl Class {
    /// Every class, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Votes, Self::Proposals, Self::Bulk];

    /// Position in [`Class::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Votes => 0,
            Self::Proposals => 1,
            Self::Bulk => 2,
        }
    }

    /// What a full lane of this class gives up. An old vote is worth less than a new one; a body that was asked for
    /// first is needed first, because slots execute in order.
    #[must_use]
    pub const fn policy(self) -> Policy {
        match self {
            Self::Votes => Policy::DropOldest,
            Self::Proposals | Self::Bulk => Policy::RefuseNewest,
        }
    }
}

/// What a full lane gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The frames that wait longest make room.
    DropOldest,
    /// The frame that does not fit is not taken.
    RefuseNewest,
}

/// How much a lane may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneLimits {
    /// Most frames.
    pub frames_max: usize,
    /// Most bytes of frames.
    pub bytes_max: usize,
}

/// What became of a lane's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LaneCounts {
    /// Frames taken in.
    pub queued_frames: u64,
    /// Frames handed on to be sent.
    pub sent_frames: u64,
    /// Bytes handed on to be sent.
    pub sent_bytes: u64,
    /// Frames given up.
    pub dropped_frames: u64,
    /// Bytes given up.
    pub dropped_bytes: u64,
    /// Most frames that ever waited at once.
    pub waiting_frames_high: usize,
    /// Most bytes that ever waited at once.
    pub waiting_bytes_high: usize,
}

/// What a push did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// Whether somebody must be woken: the lane was empty and is not any more.
    pub wake: bool,
    /// Frames that were given up for it, itself included.
    pub dropped: u64,
}

/// Frames that wait to be sent to one peer, in order.
#[derive(Debug)]
pub struct Lane {
    frames: VecDeque<Bytes>,
    bytes: usize,
    policy: Policy,
    limits: LaneLimits,
    counts: LaneCounts,
}

impl Lane {
    /// An empty lane.
    #[must_use]
    pub fn new(policy: Policy, limits: LaneLimits) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, policy, limits, counts: LaneCounts::default() }
    }

    /// Takes a frame in, or gives up what the policy says.
    pub fn push(&mut self, frame: Bytes) -> Pushed {
        let before = self.counts.dropped_frames;
        let was_empty = self.frames.is_empty();
        if !self.make_room(frame.len()) {
            self.give_up(frame.len());
            return Pushed { wake: false, dropped: self.counts.dropped_frames - before };
        }
        self.bytes += frame.len();
        self.frames.push_back(frame);
        self.counts.queued_frames += 1;
        self.counts.waiting_frames_high = self.counts.waiting_frames_high.max(self.frames.len());
        self.counts.waiting_bytes_high = self.counts.waiting_bytes_high.max(self.bytes);
        Pushed { wake: was_empty, dropped: self.counts.dropped_frames - before }
    }

    /// Whether `length` more bytes fit, now or after the oldest frames made room.
    fn make_room(&mut self, length: usize) -> bool {
        if length > self.limits.bytes_max || self.limits.frames_max == 0 {
            return false;
        }
        while self.frames.len() >= self.limits.frames_max || self.bytes + length > self.limits.bytes_max {
            if self.policy == Policy::RefuseNewest {
                return false;
            }
            let oldest = self.frames.pop_front().expect("a lane that is over its limits holds a frame");
            self.bytes -= oldest.len();
            self.give_up(oldest.len());
        }
        true
    }

    fn give_up(&mut self, length: usize) {
        self.counts.dropped_frames += 1;
        self.counts.dropped_bytes += length as u64;
    }

    /// Takes the oldest frames out, up to about `bytes_max` bytes, and appends them to `chunks` as they go on the
    /// wire: each behind its length, small ones copied into common buffers, long ones by reference.
    ///
    /// Returns the number of frames taken; at least one if any waits.
    pub fn take_burst(&mut self, bytes_max: usize, chunks: &mut Vec<Bytes>) -> usize {
        let (mut taken, mut bytes, mut small) = (0_usize, 0_usize, 0_usize);
        for frame in &self.frames {
            if taken > 0 && bytes + frame.len() > bytes_max {
                break;
            }
            taken += 1;
            bytes += frame.len();
            small += PREFIX_BYTES + if frame.len() <= COALESCE_BYTES_MAX { frame.len() } else { 0 };
        }
        let mut buffer = BytesMut::with_capacity(small);
        for frame in self.frames.drain(..taken) {
            let length = u32::try_from(frame.len()).expect("lanes hold frames far below 4 GiB");
            buffer.put_u32_le(length);
            if frame.len() <= COALESCE_BYTES_MAX {
                buffer.extend_from_slice(&frame);
            } else {
                chunks.push(buffer.split().freeze());
                chunks.push(frame);
            }
        }
        if !buffer.is_empty() {
            chunks.push(buffer.freeze());
        }
        self.bytes -= bytes;
        self.counts.sent_frames += taken as u64;
        self.counts.sent_bytes += bytes as u64;
        taken
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Frames that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Bytes that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What became of the lane's frames so far.
    #[must_use]
    pub fn counts(&self) -> LaneCounts {
        self.counts
    }
}

/// The bytes of one frame behind its length.
///
/// # Panics
/// If the frame is 4 GiB or longer; the caller has bounded it.
#[must_use]
pub fn framed(frame: &[u8]) -> Bytes {
    let mut buffer = BytesMut::with_capacity(PREFIX_BYTES + frame.len());
    buffer.put_u32_le(u32::try_from(frame.len()).expect("frames are bounded far below 4 GiB"));
    buffer.extend_from_slice(frame);
    buffer.freeze()
}

/// Why a stream of bytes holds no frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A length above the limit, refused before anything was set aside for it.
    #[error("a frame claims {length} bytes, more than the {limit} it may have")]
    Oversized {
        /// What the frame claims.
        length: usize,
        /// What it may have.
        limit: usize,
    },
    /// A frame without content means nothing.
    #[error("a frame is empty")]
    Empty,
    /// The stream ended within a frame.
    #[error("the stream ended {missing} bytes before its last frame did")]
    Truncated {
        /// Bytes that did not come; for a length that is cut short, those of the length.
        missing: usize,
    },
}

/// Cuts a stream of bytes into frames again.
///
/// A frame that lies within one chunk is a slice of that chunk; only one that spans chunks is copied, once. Memory is
/// set aside as bytes arrive, so a length alone costs its sender more than it costs us.
#[derive(Debug)]
pub struct Deframer {
    limit: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Some bytes of a length, fewer than all.
    Length { bytes: [u8; PREFIX_BYTES], have: usize },
    /// A frame of which some bytes are missing.
    Frame { length: usize, bytes: BytesMut },
}

const START: State = State::Length { bytes: [0; PREFIX_BYTES], have: 0 };

impl Deframer {
    /// A deframer at the start of a stream, for frames of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, state: START }
    }

    /// Takes the next chunk of the stream and appends the frames that it completes.
    ///
    /// # Errors
    /// [`FrameError::Oversized`] and [`FrameError::Empty`]; the stream cannot be used any more. Frames before the
    /// culprit have been appended.
    pub fn push(&mut self, mut chunk: Bytes, frames: &mut Vec<Bytes>) -> Result<(), FrameError> {
        while let Some(frame) = self.next(&mut chunk)? {
            frames.push(frame);
        }
        Ok(())
    }

    /// Takes one frame from the front of the stream, as far as `chunk` completes it. `chunk` keeps what is behind it.
    ///
    /// # Errors
    /// As [`Deframer::push`].
    pub fn next(&mut self, chunk: &mut Bytes) -> Result<Option<Bytes>, FrameError> {
        if let State::Length { mut bytes, have } = self.state {
            let take = (PREFIX_BYTES - have).min(chunk.len());
            bytes[have..have + take].copy_from_slice(&chunk[..take]);
            chunk.advance(take);
            if have + take < PREFIX_BYTES {
                self.state = State::Length { bytes, have: have + take };
                return Ok(None);
            }
            let length = self.checked(u32::from_le_bytes(bytes))?;
            if chunk.len() >= length {
                self.state = START;
                return Ok(Some(chunk.split_to(length)));
            }
            self.state = State::Frame { length, bytes: BytesMut::with_capacity(length.min(TRUST_BYTES)) };
        }
        let State::Frame { length, bytes } = &mut self.state else { return Ok(None) };
        let take = (*length - bytes.len()).min(chunk.len());
        if bytes.capacity() - bytes.len() < take {
            // Doubling, but never beyond the frame's end.
            bytes.reserve((2 * bytes.len()).max(bytes.len() + take).min(*length) - bytes.len());
        }
        bytes.extend_from_slice(&chunk[..take]);
        chunk.advance(take);
        if bytes.len() < *length {
            return Ok(None);
        }
        let frame = std::mem::take(bytes).freeze();
        self.state = START;
        Ok(Some(frame))
    }

    fn checked(&self, length: u32) -> Result<usize, FrameError> {
        let length = length as usize;
        if length == 0 {
            return Err(FrameError::Empty);
        }
        if length > self.limit {
            return Err(FrameError::Oversized { length, limit: self.limit });
        }
        Ok(length)
    }

    /// The stream ended here.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] if that is within a frame.
    pub fn end(&self) -> Result<(), FrameError> {
        match &self.state {
            State::Length { have: 0, .. } => Ok(()),
            State::Length { have, .. } => Err(FrameError::Truncated { missing: PREFIX_BYTES - have }),
            State::Frame { length, bytes } => Err(FrameError::Truncated { missing: length - bytes.len() }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn lane(policy: Policy, frames_max: usize, bytes_max: usize) -> Lane {
        Lane::new(policy, LaneLimits { frames_max, bytes_max })
    }

    fn frame(byte: u8, length: usize) -> Bytes {
        vec![byte; length].into()
    }

    fn stream(frames: &[Bytes]) -> Vec<u8> {
        frames.iter().flat_map(|frame| framed(frame)).collect()
    }

    fn taken(lane: &mut Lane) -> Vec<Bytes> {
        let mut chunks = Vec::new();
        lane.take_burst(usize::MAX, &mut chunks);
        let mut deframer = Deframer::new(1 << 20);
        let mut frames = Vec::new();
        chunks.into_iter().for_each(|chunk| deframer.push(chunk, &mut frames).unwrap());
        frames
    }

    #[test]
    fn a_full_votes_lane_drops_the_oldest_frames() {
        let mut lane = lane(Policy::DropOldest, 3, 100);
        for byte in 0..5 {
            lane.push(frame(byte, 10));
        }
        assert_eq!(lane.push(frame(5, 90)), Pushed { wake: false, dropped: 2 });
        assert_eq!(taken(&mut lane), [frame(4, 10), frame(5, 90)]);
        let counts = lane.counts();
        assert_eq!((counts.queued_frames, counts.sent_frames, counts.sent_bytes), (6, 2, 100));
        assert_eq!((counts.dropped_frames, counts.dropped_bytes), (4, 40));
        assert_eq!((counts.waiting_frames_high, counts.waiting_bytes_high), (3, 100));
        assert_eq!((lane.len(), lane.bytes()), (0, 0));
    }

    #[test]
    fn a_full_bulk_lane_refuses_the_newest_frame() {
        let mut lane = lane(Policy::RefuseNewest, 2, 100);
        assert!(lane.push(frame(0, 60)).wake);
        assert_eq!(lane.push(frame(1, 60)), Pushed { wake: false, dropped: 1 });
        assert_eq!(lane.push(frame(2, 40)), Pushed { wake: false, dropped: 0 });
        assert_eq!(taken(&mut lane), [frame(0, 60), frame(2, 40)]);
    }

    #[test]
    fn a_frame_that_can_never_fit_drops_nothing_else() {
        let mut lane = lane(Policy::DropOldest, 2, 100);
        lane.push(frame(0, 60));
        assert_eq!(lane.push(frame(1, 101)).dropped, 1);
        assert_eq!(taken(&mut lane), [frame(0, 60)]);
    }

    #[test]
    fn a_burst_copies_small_frames_together_and_passes_long_ones_on() {
        let mut lane = lane(Policy::RefuseNewest, 9, 1 << 20);
        let long = frame(7, 100_000);
        for frame in [frame(1, 200), frame(2, 200), long.clone(), frame(3, 200)] {
            lane.push(frame);
        }
        let mut chunks = Vec::new();
        assert_eq!(lane.take_burst(usize::MAX, &mut chunks), 4);
        assert_eq!(chunks.iter().map(Bytes::len).collect::<Vec<_>>(), [412, 100_000, 204]);
        assert_eq!(chunks[1].as_ptr(), long.as_ptr());
        assert!(lane.is_empty());
    }

    #[test]
    fn a_burst_ends_at_its_limit_but_takes_one_frame_always() {
        let mut lane = lane(Policy::RefuseNewest, 9, 1 << 20);
        for length in [500, 50, 50, 50] {
            lane.push(frame(0, length));
        }
        assert_eq!(lane.take_burst(100, &mut Vec::new()), 1);
        assert_eq!(lane.take_burst(100, &mut Vec::new()), 2);
        assert_eq!((lane.len(), lane.bytes()), (1, 50));
    }

    #[test]
    fn frames_come_back_whatever_the_chunks() {
        let frames = [frame(1, 1), frame(2, 300), frame(3, 7), frame(4, 70_000), frame(5, 3)];
        let bytes = Bytes::from(stream(&frames));
        for size in [1, 2, 3, 5, 64, 311, 1_000, 65_536, bytes.len()] {
            let mut deframer = Deframer::new(70_000);
            let mut out = Vec::new();
            for start in (0..bytes.len()).step_by(size) {
                deframer.push(bytes.slice(start..bytes.len().min(start + size)), &mut out).unwrap();
            }
            assert_eq!(out, frames, "chunks of {size}");
            assert_eq!(deframer.end(), Ok(()));
        }
    }

    #[test]
    fn a_frame_within_one_chunk_is_not_copied() {
        let bytes = Bytes::from(stream(&[frame(1, 50), frame(2, 60)]));
        let mut out = Vec::new();
        Deframer::new(100).push(bytes.clone(), &mut out).unwrap();
        assert_eq!(out[0].as_ptr(), bytes[4..].as_ptr());
        assert_eq!(out[1].as_ptr(), bytes[58..].as_ptr());
    }

    #[test]
    fn an_oversized_length_is_refused_before_anything_is_set_aside() {
        let mut deframer = Deframer::new(1000);
        let mut out = Vec::new();
        let mut bytes = stream(&[frame(1, 1000)]);
        bytes.extend((1_u32 << 31).to_le_bytes());
        let error = deframer.push(bytes.into(), &mut out).unwrap_err();
        assert_eq!(error, FrameError::Oversized { length: 1 << 31, limit: 1000 });
        assert_eq!(out.len(), 1);
    }

    #[test]
    fn a_length_alone_sets_little_aside() {
        let mut deframer = Deframer::new(8 << 20);
        deframer.push((8_u32 << 20).to_le_bytes().to_vec().into(), &mut Vec::new()).unwrap();
        let State::Frame { bytes, .. } = &deframer.state else { panic!("a frame has begun") };
        assert!(bytes.capacity() <= TRUST_BYTES);
    }

    #[test]
    fn an_empty_frame_is_refused() {
        let error = Deframer::new(10).push(vec![0; 4].into(), &mut Vec::new()).unwrap_err();
        assert_eq!(error, FrameError::Empty);
    }

    #[test]
    fn a_truncated_frame_is_refused() {
        let bytes = stream(&[frame(1, 100)]);
        for (length, missing) in [(2, 2), (4, 100), (50, 54), (103, 1)] {
            let mut deframer = Deframer::new(100);
            deframer.push(bytes[..length].to_vec().into(), &mut Vec::new()).unwrap();
            assert_eq!(deframer.end(), Err(FrameError::Truncated { missing }));
        }
    }
}
