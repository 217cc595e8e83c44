//! A replica that sends votes, questions and rubbish as fast as it may.

use quorate_protocol::codec::Blob;
use quorate_protocol::message::{Checkpoint, Commit, PeerMessage, Prepare, Status};
use quorate_protocol::process::Say;
use quorate_protocol::types::{Digest, Seq, Time, View};

use super::Behaviour;
use super::stage::{Acts, Stage};

/// Between two bursts, in microseconds.
const BURST_US: u64 = 10_000;
/// Bytes of rubbish in one frame, at most.
const RUBBISH_MAX: u64 = 4096;

#[derive(Debug)]
pub(super) struct Flood {
    /// Messages per second.
    rate: u64,
    at: Time,
    /// Millionths of messages that the last burst left over.
    rest: u64,
}

impl Flood {
    pub(super) fn new(rate: u64, now: Time) -> Self {
        Self { rate, at: now, rest: 0 }
    }
}

/// Something that costs whoever gets it more than it costs to send.
fn rubbish(stage: &mut Stage<'_>, acts: &mut Acts) {
    let Some(to) = stage.target() else { return };
    let (low, high) = stage.replica.watermarks();
    let seq = low.plus(1 + stage.chance.below(high.0.saturating_sub(low.0)));
    let view = View(stage.replica.view().0.saturating_add(stage.chance.below(4)));
    let digest = Digest(stage.chance.bytes());
    let message = match stage.chance.below(8) {
        0 => Say::Prepare(Prepare { view, seq, digest }),
        1 => Say::Commit(Commit { view, seq, digest }),
        2 => Say::Checkpoint(Checkpoint { seq: high.plus(seq.0), root: digest, epoch_end: Seq::MAX }),
        3 => Say::Relay(PeerMessage::FetchBody { seq, digest }),
        4 => Say::Relay(PeerMessage::FetchViewChange { view, signer: to, digest }),
        5 | 6 => {
            let truth = stage.replica.own_status();
            let nothing = Status { executed: Seq(0), low: Seq(0), committed: Blob::default(), ..truth };
            Say::Relay(PeerMessage::Status(nothing))
        }
        _ => {
            let bytes = 1 + stage.chance.below(RUBBISH_MAX);
            let frame: Vec<u8> = (0..bytes).map(|_| stage.chance.any().to_le_bytes()[0]).collect();
            return acts.send(to, frame.into());
        }
    };
    acts.say(to, message);
}

impl Behaviour for Flood {
    fn deadline(&self) -> Option<Time> {
        Some(self.at)
    }

    fn wake(&mut self, stage: &mut Stage<'_>, acts: &mut Acts) {
        self.at = stage.now.plus(BURST_US);
        self.rest = self.rest.saturating_add(self.rate.saturating_mul(BURST_US));
        let burst = self.rest / 1_000_000;
        self.rest %= 1_000_000;
        for _ in 0..burst {
            if stage.is_tempted(stage.replica.view(), None) {
                rubbish(stage, acts);
                stage.count(1);
            }
        }
    }
}
