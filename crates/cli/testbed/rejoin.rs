//! Replicas that come back: whether they catch up with the others, how soon, and what that took.

use std::collections::BTreeMap;
use std::time::Instant;

use quorate_node::status::Status;
use serde::Serialize;

use super::amount::told;
use super::faults::milliseconds;

/// One return in a report. Field names are part of the interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Rejoined {
    pub(crate) replica: u16,
    /// When it was started or resumed, since the load began.
    pub(crate) at_ms: u64,
    /// Whether it came to execute what the others had executed a look (200 ms) before.
    pub(crate) rejoined: bool,
    /// How long that took.
    pub(crate) after_ms: Option<u64>,
    /// Operations that clients had answers to while it was gone.
    pub(crate) missed: u64,
    #[serde(flatten)]
    pub(crate) fetched: Fetched,
}

/// What a replica fetched of a state until it was back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Fetched {
    /// States that it fetched whole; none if the others' logs held all that it missed.
    pub(crate) states_fetched: u64,
    pub(crate) bytes_fetched: u64,
    /// Chunks that came over the network, whole or in part.
    pub(crate) chunks_fetched: u64,
    /// Chunks that it had already.
    pub(crate) chunks_reused: u64,
    /// Pages of other chunks that it had already.
    pub(crate) pages_reused: u64,
    /// Bytes of states fetched whole that it had already.
    pub(crate) bytes_reused: u64,
}

impl Fetched {
    fn until(status: &Status, before: Option<&Status>) -> Self {
        // A replica that was started again has begun to count anew.
        let before = before.filter(|before| before.started == status.started);
        let grown =
            |name: &str| status.counter(name).saturating_sub(before.map_or(0, |before| before.counter(name)));
        Self {
            states_fetched: grown("quorate_transfers_completed_total"),
            bytes_fetched: grown("quorate_transfer_bytes_total"),
            chunks_fetched: grown("quorate_transfer_chunks_total"),
            chunks_reused: grown("quorate_transfer_chunks_reused_total"),
            pages_reused: grown("quorate_transfer_pages_reused_total"),
            bytes_reused: grown("quorate_transfer_reused_bytes_total"),
        }
    }
}

/// A replica that is gone.
#[derive(Debug)]
struct Gone {
    /// Operations that had been answered when it went.
    matched: u64,
    /// What it said of itself before.
    status: Option<Status>,
}

impl Rejoined {
    /// For people.
    pub(super) fn line(&self) -> String {
        let Fetched { states_fetched, chunks_fetched, chunks_reused, pages_reused, .. } = self.fetched;
        let (came, here) = (told(self.fetched.bytes_fetched), told(self.fetched.bytes_reused));
        let back = match self.after_ms {
            Some(ms) => format!("after {:.1} s", ms as f64 / 1000.0),
            None => "NOT".to_owned(),
        };
        let fetched = match states_fetched + chunks_fetched {
            0 => String::new(),
            _ => format!(
                ", fetched {came} in {chunks_fetched} chunks, had {here} in {chunks_reused} others and {pages_reused} pages"
            ),
        };
        format!("{}: {back}, missed {} operations{fetched}", self.replica, self.missed)
    }
}

#[derive(Debug)]
struct Return {
    replica: u16,
    at_ms: u64,
    since: Instant,
    caught_up: Option<Instant>,
    missed: u64,
    before: Option<Status>,
    fetched: Fetched,
    /// It went again.
    over: bool,
}

/// Who came back.
#[derive(Debug, Default)]
pub(crate) struct Returns {
    all: Vec<Return>,
    gone: BTreeMap<u16, Gone>,
    /// The most that anybody had executed at the look before.
    most: u64,
}

impl Returns {
    pub(crate) fn is_watching(&self) -> bool {
        self.all.iter().any(|back| back.caught_up.is_none() && !back.over)
    }

    /// Operations that were answered since this replica went; none if it runs.
    pub(crate) fn missed(&self, replica: u16, matched: u64) -> Option<u64> {
        self.gone.get(&replica).map(|gone| matched.saturating_sub(gone.matched))
    }

    /// These replicas are gone, which said this of themselves before; clients had so many answers.
    pub(crate) fn gone(&mut self, replicas: &[u16], matched: u64, statuses: &[Option<Status>]) {
        self.all.iter_mut().filter(|back| replicas.contains(&back.replica)).for_each(|back| back.over = true);
        for replica in replicas {
            let status = statuses.get(usize::from(*replica)).cloned().flatten();
            // One that was paused and is killed now is gone since it was paused.
            self.gone.entry(*replica).or_insert(Gone { matched, status });
        }
    }

    /// These replicas are back; clients had so many answers.
    pub(crate) fn back(&mut self, replicas: &[u16], matched: u64, (began, now): (Instant, Instant)) {
        let at_ms = milliseconds(now.duration_since(began));
        for replica in replicas {
            let missed = self.missed(*replica, matched).unwrap_or(0);
            let gone = self.gone.remove(replica);
            self.all.push(Return {
                replica: *replica,
                at_ms,
                since: now,
                caught_up: None,
                missed,
                before: gone.and_then(|gone| gone.status),
                fetched: Fetched::default(),
                over: false,
            });
        }
    }

    /// Whoever has executed what anybody had at the look before is back.
    pub(crate) fn look(&mut self, statuses: &[Option<Status>], now: Instant) {
        for back in self.all.iter_mut().filter(|back| back.caught_up.is_none() && !back.over) {
            let Some(status) = statuses.get(usize::from(back.replica)).and_then(Option::as_ref) else {
                continue;
            };
            back.fetched = Fetched::until(status, back.before.as_ref());
            if status.executed >= self.most && status.status != "halted" {
                back.caught_up = Some(now);
            }
        }
        let most = statuses.iter().flatten().map(|status| status.executed).max();
        self.most = self.most.max(most.unwrap_or(0));
    }

    /// The load is over and the replicas are at rest.
    pub(crate) fn finish(&mut self, statuses: &[Option<Status>], now: Instant) -> Vec<Rejoined> {
        self.most = self.most.max(statuses.iter().flatten().map(|status| status.executed).max().unwrap_or(0));
        self.look(statuses, now);
        let told = |back: &Return| Rejoined {
            replica: back.replica,
            at_ms: back.at_ms,
            rejoined: back.caught_up.is_some(),
            after_ms: back.caught_up.map(|at| milliseconds(at.duration_since(back.since))),
            missed: back.missed,
            fetched: back.fetched,
        };
        self.all.iter().map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn executed(each: [u64; 4]) -> Vec<Option<Status>> {
        let status = |executed| Status { executed, status: "normal".to_owned(), ..Status::default() };
        // Whoever has executed nothing does not answer yet.
        each.map(|executed| (executed > 0).then(|| status(executed))).to_vec()
    }

    #[test]
    fn who_comes_back_has_rejoined_when_it_executed_what_the_others_had_a_look_before() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let mut returns = Returns::default();
        returns.look(&executed([0, 100, 100, 100]), at(900));
        returns.gone(&[0], 5_000, &executed([100; 4]));
        assert_eq!((returns.missed(0, 5_700), returns.missed(1, 5_700)), (Some(700), None));
        returns.back(&[0], 6_000, (began, at(1_000)));
        for (ms, own) in [(1_200, 0), (1_400, 40), (1_600, 299)] {
            returns.look(&executed([own, 300, 300, 300]), at(ms));
            assert!(returns.is_watching(), "after {ms} ms");
        }
        returns.look(&executed([300, 400, 400, 400]), at(1_800));
        assert!(!returns.is_watching());
        let told = returns.finish(&executed([400; 4]), at(2_000));
        let fetched = Fetched::default();
        let expected = Rejoined {
            replica: 0,
            at_ms: 1_000,
            rejoined: true,
            after_ms: Some(800),
            missed: 1_000,
            fetched,
        };
        assert_eq!(told, [expected]);
    }

    #[test]
    fn who_goes_again_or_stays_behind_has_not_rejoined() {
        let now = Instant::now();
        let mut returns = Returns::default();
        returns.look(&executed([100; 4]), now);
        returns.back(&[0], 0, (now, now));
        returns.gone(&[0], 0, &[]);
        returns.back(&[3], 0, (now, now));
        let told = returns.finish(&executed([500, 500, 500, 499]), now);
        assert_eq!(told.iter().map(|back| back.rejoined).collect::<Vec<_>>(), [false, false]);
    }

    #[test]
    fn what_a_replica_fetched_is_counted_from_its_return() {
        let now = Instant::now();
        let status = |executed: u64, chunks: u64, started: u64| {
            let counters = vec![("quorate_transfer_chunks_total".to_owned(), chunks)];
            Some(Status { executed, counters, started, status: "normal".to_owned(), ..Status::default() })
        };
        // Replica 0 is resumed, and counts on; replica 1 is started again, and counts anew.
        let mut returns = Returns::default();
        let before = [status(100, 7, 1), status(100, 7, 1)];
        returns.look(&before, now);
        returns.gone(&[0, 1], 0, &before);
        returns.back(&[0, 1], 9, (now, now));
        let told = returns.finish(&[status(200, 10, 1), status(200, 4, 2)], now);
        assert_eq!(told.iter().map(|back| back.fetched.chunks_fetched).collect::<Vec<_>>(), [3, 4]);
        assert!(told.iter().all(|back| back.rejoined && back.missed == 9));
    }
}
