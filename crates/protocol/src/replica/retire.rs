//! How a seat is given up: by a replica whose process is about to stop, and by a primary that has left its view.
//!
//! When the primary of a view leaves it, nothing more can come of that view: nobody else proposes there, and what prepared
//! goes on to the next one by everybody's VIEW-CHANGE. So whoever holds the VIEW-CHANGE of its own primary goes along at
//! once, and a primary that is to stop costs nobody a timeout: it orders nothing new, lets what is on its way commit, and
//! leaves. One that lies about it deposes itself, which its silence does as well; and it names no view for anybody but
//! itself, for everybody goes to the next one whose primary has not left it too.

use super::{Out, Replica, Status, Waiting};
use crate::mutant::{self, Mutant};
use crate::types::{Time, View};

/// A primary that gives up its seat gives what is on its way this part of the base timeout: by then nobody has given it up.
pub(super) const DRAIN_OF_TIMEOUT: u64 = 4;

impl Replica {
    /// Whether its process is about to stop: it proposes nothing any more, and opens no view.
    #[must_use]
    pub fn is_retiring(&self) -> bool {
        self.retiring.is_some()
    }

    /// Whether the others go on as well without this replica: another one leads the view that is open here, and was sent
    /// what waits here. Of one that cannot hand over anything, it is so at once.
    #[must_use]
    pub fn is_dispensable(&self) -> bool {
        match self.status() {
            _ if self.context.committee.size() == 1 => true,
            Status::Normal => self.primary() != self.id && !self.pool.has_to_pass_on(),
            Status::ViewChanging => false,
            Status::Recovering | Status::Diverged | Status::Out | Status::Halted => true,
        }
    }

    /// Its process is about to stop.
    pub(super) fn on_retire(&mut self, now: Time) {
        let drained = now.plus(self.parameters().timeout_us / DRAIN_OF_TIMEOUT);
        self.retiring.get_or_insert(drained);
    }

    /// Leaves a view whose primary is gone for the next one that may have a primary; something of every step. Who leaves
    /// in good time takes its timeout along: a view that was handed over does not show that the network is slow.
    pub(super) fn leave_deserted(&mut self, out: &mut Out<'_>) {
        let here = self.view;
        let mut view = here;
        // No further than once around: then it is this replica's own turn, or that of f + 1 who are ahead.
        for _ in 1..self.context.committee.size() {
            if !self.is_deserted(view, out.now) {
                break;
            }
            view = view.next();
        }
        if mutant::is(Mutant::M50) && view > here {
            let named = self.view_changes.get(&self.primary()).map(|held| held.view);
            view = named.unwrap_or(view);
        }
        if view == here {
            return;
        }
        let in_good_time = !self.has_waited_long(out.now);
        let own = (here.0..view.0).any(|passed| self.context.committee.primary(View(passed)) == self.id);
        self.start_view_change(view, out);
        self.passed_over |= own && self.view == view && self.is_retiring();
        if self.view == view && in_good_time && !mutant::is(Mutant::M51) {
            self.timers.handed_over(view.0 - here.0);
        }
    }

    /// Whether a view has no primary any more: its own one said that it left.
    fn is_deserted(&self, view: View, now: Time) -> bool {
        let primary = self.context.committee.primary(view);
        if mutant::is(Mutant::M49) {
            let mut others = self.view_changes.iter().filter(|(id, _)| **id != self.id);
            return others.any(|(_, held)| held.view > view);
        }
        if primary == self.id {
            return self.gives_up(view, now);
        }
        self.view_changes.get(&primary).is_some_and(|held| held.view > view)
    }

    /// Whether this replica retires, or leaves for one that waits in a later view, and has nothing left to bring to an end
    /// as primary of one of its views. Who retires passes over one that is not open once: where all retire, each would hand
    /// over to the next without end, as fast as the links are.
    fn gives_up(&self, view: View, now: Time) -> bool {
        let leads = view == self.view && self.status == Status::Normal;
        let flying = leads && self.committed.next() < self.next;
        let retires = self.retiring.filter(|_| leads || !self.passed_over);
        let yields = self.strays.leaves_at().filter(|_| leads);
        [retires, yields].into_iter().flatten().any(|drained| !flying || drained <= now)
    }

    /// Whether more than half of the time is over that the view has, or the one that is to open.
    fn has_waited_long(&self, now: Time) -> bool {
        let Waiting { timeout_us, progress, new_view } = self.waiting();
        [progress, new_view].into_iter().flatten().any(|at| at.since(now) < timeout_us / 2)
    }
}
