//! How a replica stops in good order: it hands over what it leads, lets what it said reach the disk and the links, and
//! says goodbye.

use std::time::Duration;

use quorate_host::disk::Disk;
use quorate_protocol::types::View;
use tokio::time::Instant;

use super::{BURST_MAX, Node, NodeError};

/// How long what was said may take to reach the disk, and then the links.
const SETTLE: Duration = Duration::from_millis(250);

/// A stop that was asked for.
pub(super) struct Leaving {
    began: Instant,
    /// When the replica goes, though nobody has taken over.
    pub(super) until: Instant,
    /// The view that it led, if it led one.
    led: Option<View>,
}

impl<D: Disk + Send + 'static> Node<D> {
    /// Somebody wants this replica to stop: from here on it takes no seat, and leaves the one it has.
    pub(super) fn prepare_to_leave(&mut self) -> Leaving {
        let replica = self.host.replica();
        let (view, leads) = (replica.view(), replica.primary() == replica.id() && !replica.is_dispensable());
        let timeout = Duration::from_micros(replica.context().parameters.timeout_us);
        let began = Instant::now();
        // A quarter is for what is on its way to commit.
        let until = began + timeout + timeout / 4;
        if leads {
            tracing::info!(view = view.0, "stopping: hands its view over; a second signal ends it at once");
        } else {
            tracing::info!("stopping; a second signal ends it at once");
        }
        self.host.retire(self.clock.now(), &mut self.links);
        Leaving { began, until, led: leads.then_some(view) }
    }

    /// Whether a replica that was told to stop need not, or cannot, do anything more for the others.
    pub(super) fn may_go(&self, leaving: &Leaving) -> bool {
        let replica = self.host.replica();
        replica.is_dispensable() || self.is_alone() || Instant::now() >= leaving.until
    }

    /// Whether too few of the others are there to do anything without this one.
    fn is_alone(&self) -> bool {
        self.links.transport.reaches() + 1 < self.host.replica().context().committee.quorum()
    }

    /// Takes nothing in any more, and lets what was said reach the disk and the links.
    pub(super) async fn settle(&mut self, leaving: &Leaving) -> Result<(), NodeError> {
        self.tell_who_took_over(leaving);
        let end = Instant::now() + SETTLE;
        let mut returned = Vec::with_capacity(BURST_MAX);
        while self.host.waiting_for_disk() > 0 || self.host.tasks_left() > 0 || self.executing.waiting() > 0 {
            self.pump()?;
            let received = self.returns.recv_many(&mut returned, BURST_MAX);
            if tokio::time::timeout_at(end, received).await.is_err() {
                break;
            }
            returned.drain(..).try_for_each(|back| self.take_back(back))?;
        }
        self.links.transport.flush(SETTLE).await;
        Ok(())
    }

    fn tell_who_took_over(&self, leaving: &Leaving) {
        let Some(led) = leaving.led else { return };
        let replica = self.host.replica();
        let took_ms = u64::try_from(leaving.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if replica.is_dispensable() && replica.view() > led {
            let (view, primary) = (replica.view().0, replica.primary().0);
            tracing::info!(view, primary, took_ms, "handed over");
        } else if self.is_alone() {
            // So it is for the last ones whenever a whole cluster is stopped.
            tracing::info!(
                view = led.0,
                took_ms,
                "stops, and nobody has taken its view over: too few others are there"
            );
        } else {
            tracing::warn!(
                view = led.0,
                took_ms,
                "stops though nobody has taken its view over: the others are slow"
            );
        }
    }
}
