//! What a figure's file says of a cell before anything is measured: how long a call must take on the cell's network, and
//! which of the file's limits leave no room for that.

use std::time::Duration;

use super::{Figure, Rate};
use crate::network::NetworkError;
use crate::record::Cell;

/// A first timeout that is less than so many times what a call takes is too short: a view would change while calls wait
/// their turn.
const TIMEOUTS: u32 = 4;
/// So is a warm-up: the first answers would just have come.
const WARM_UPS: u32 = 2;

/// What can be said of a cell on an emulated network.
#[derive(Debug, Clone, PartialEq)]
pub struct Outlook {
    /// Median latency that the messages of a call alone cause.
    pub expected_p50: Duration,
    /// Calls per second that the clients can have answered at most: all that they may have in flight, in each latency.
    pub most_rps: f64,
    /// What does not fit that.
    pub doubts: Vec<Doubt>,
}

/// A value of the file that leaves too little room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Doubt {
    /// Its key.
    pub key: &'static str,
    /// Itself; milliseconds, or calls per second for a rate.
    pub value: u64,
    /// What is wrong with it, in words that follow the value and precede the expected latency.
    pub what: &'static str,
    /// What comes of that.
    pub then: &'static str,
}

impl Figure {
    /// What can be said of a cell; none on the machine's own network. The first replica that is there and does not lie is
    /// taken for the primary, for one that lies is deposed.
    ///
    /// # Errors
    /// [`NetworkError`] if the network's file is another one by now.
    pub fn outlook(&self, cell: &Cell) -> Result<Option<Outlook>, NetworkError> {
        let (Some(network), Ok(plan)) = (self.network(cell)?, self.plan(cell)) else { return Ok(None) };
        let placement = network.place(cell.n, cell.clients);
        let honest = |id: &u16| !plan.crashed.contains(id) && !plan.liars.contains_key(id);
        let Some(primary) = (0..cell.n).find(honest) else { return Ok(None) };
        let expected = placement.expected_median(primary, &plan.absent());
        Ok(expected.filter(|time| !time.is_zero()).map(|expected_p50| {
            let in_flight = f64::from(cell.clients) * f64::from(cell.in_flight);
            let most_rps = in_flight / expected_p50.as_secs_f64();
            Outlook { expected_p50, most_rps, doubts: self.doubts(cell, expected_p50, most_rps) }
        }))
    }

    fn doubts(&self, cell: &Cell, expected: Duration, most_rps: f64) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        let mut doubt = |key, value: u128, what, then| {
            doubts.push(Doubt { key, value: u64::try_from(value).unwrap_or(u64::MAX), what, then });
        };
        let (rate, warm) = (self.rate(cell), expected * WARM_UPS);
        let searches = matches!(rate, Rate::Peak | Rate::Share(_));
        let limit = Duration::from_millis(cell.p99_limit_ms.into());
        if searches && limit <= expected {
            let what = "is no more than the expected p50";
            doubt("p99_limit_ms", limit.as_millis(), what, "no load can be sustained");
        } else if searches && limit < expected * 3 / 2 {
            let what = "is less than one and a half times the expected p50";
            doubt("p99_limit_ms", limit.as_millis(), what, "hardly any load can be sustained");
        }
        let timeout = Duration::from_millis(cell.timeout_ms.into());
        if timeout < expected * TIMEOUTS {
            let what = "is less than four times the expected p50";
            doubt("timeout_ms", timeout.as_millis(), what, "views change while calls wait their turn");
        }
        let then = "what is measured is still getting under way";
        let what = "is less than twice the expected p50";
        if self.warm_up < warm {
            doubt("warm_up_ms", self.warm_up.as_millis(), what, then);
        }
        if searches && self.trials.warm_up < warm {
            doubt("search.warm_up_ms", self.trials.warm_up.as_millis(), what, then);
        }
        if let Rate::PerSecond(rate) = rate
            && rate > most_rps
        {
            let what = "is more than all that clients may have in flight allows at the expected p50";
            doubt("rate", rate as u128, what, "not all calls can be sent; raise `clients` or `in_flight`");
        }
        doubts
    }
}
