//! What is still to be sent when a replica stops.

use std::time::Duration;

use tokio::time::Instant;

use super::{LinkReport, Remote, Transport};

/// Between two looks at the lanes.
const LOOK: Duration = Duration::from_millis(1);
/// How long what QUIC has taken may be on its way: a link that is closed gives up what was not sent.
const ON_ITS_WAY: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

fn is_empty(link: &LinkReport) -> bool {
    link.lanes.iter().all(|(_, lane)| lane.sent_frames + lane.dropped_frames >= lane.queued_frames)
}

impl Transport {
    /// To how many other replicas there is a link.
    #[must_use]
    pub fn reaches(&self) -> usize {
        self.seats.iter().flatten().filter(|seat| seat.is_up()).count()
    }

    /// Waits until all that is to be sent was sent, for so long at most; who does not read is not waited for any longer.
    pub async fn flush(&self, patience: Duration) {
        let end = Instant::now() + patience;
        let mut links = self.links();
        while !links.iter().all(is_empty) && Instant::now() < end {
            tokio::time::sleep(LOOK).await;
            links = self.links();
        }
        let replicas = links.iter().filter(|link| matches!(link.remote, Remote::Replica(_)));
        let farthest = replicas.filter_map(|link| link.round_trip).max().unwrap_or_default();
        tokio::time::sleep(farthest.clamp(ON_ITS_WAY.0, ON_ITS_WAY.1)).await;
    }
}
