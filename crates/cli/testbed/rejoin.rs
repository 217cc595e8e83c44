//! Replicas that come back: whether they catch up with the others, and how soon.

use std::time::Instant;

use quorate_node::status::Status;
use serde::Serialize;

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
}

#[derive(Debug)]
struct Return {
    replica: u16,
    at_ms: u64,
    since: Instant,
    caught_up: Option<Instant>,
    /// It went again.
    over: bool,
}

/// Who came back.
#[derive(Debug, Default)]
pub(crate) struct Returns {
    all: Vec<Return>,
    /// The most that anybody had executed at the look before.
    most: u64,
}

impl Returns {
    pub(crate) fn is_watching(&self) -> bool {
        self.all.iter().any(|back| back.caught_up.is_none() && !back.over)
    }

    /// These replicas are gone.
    pub(crate) fn gone(&mut self, replicas: &[u16]) {
        self.all.iter_mut().filter(|back| replicas.contains(&back.replica)).for_each(|back| back.over = true);
    }

    /// These replicas are back.
    pub(crate) fn back(&mut self, replicas: &[u16], began: Instant, now: Instant) {
        let at_ms = milliseconds(now.duration_since(began));
        self.all.extend(replicas.iter().map(|replica| Return {
            replica: *replica,
            at_ms,
            since: now,
            caught_up: None,
            over: false,
        }));
    }

    /// Whoever has executed what anybody had at the look before is back.
    pub(crate) fn look(&mut self, statuses: &[Option<Status>], now: Instant) {
        for back in self.all.iter_mut().filter(|back| back.caught_up.is_none() && !back.over) {
            let status = statuses.get(usize::from(back.replica)).and_then(Option::as_ref);
            if status.is_some_and(|status| status.executed >= self.most && status.status != "halted") {
                back.caught_up = Some(now);
            }
        }
        let most = statuses.iter().flatten().map(|status| status.executed).max();
        self.most = self.most.max(most.unwrap_or(0));
    }

    /// The load is over and the replicas are at rest.
    pub(crate) fn finish(&mut self, statuses: &[Option<Status>], now: Instant) -> Vec<Rejoined> {
        self.look(&[], now);
        self.most = self.most.max(statuses.iter().flatten().map(|status| status.executed).max().unwrap_or(0));
        self.look(statuses, now);
        let told = |back: &Return| Rejoined {
            replica: back.replica,
            at_ms: back.at_ms,
            rejoined: back.caught_up.is_some(),
            after_ms: back.caught_up.map(|at| milliseconds(at.duration_since(back.since))),
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
        returns.back(&[0], began, at(1_000));
        for (ms, own) in [(1_200, 0), (1_400, 40), (1_600, 299)] {
            returns.look(&executed([own, 300, 300, 300]), at(ms));
            assert!(returns.is_watching(), "after {ms} ms");
        }
        returns.look(&executed([300, 400, 400, 400]), at(1_800));
        assert!(!returns.is_watching());
        let told = returns.finish(&executed([400; 4]), at(2_000));
        assert_eq!(told, [Rejoined { replica: 0, at_ms: 1_000, rejoined: true, after_ms: Some(800) }]);
    }

    #[test]
    fn who_goes_again_or_stays_behind_has_not_rejoined() {
        let now = Instant::now();
        let mut returns = Returns::default();
        returns.look(&executed([100; 4]), now);
        returns.back(&[0], now, now);
        returns.gone(&[0]);
        returns.back(&[3], now, now);
        let told = returns.finish(&executed([500, 500, 500, 499]), now);
        assert_eq!(told.iter().map(|back| back.rejoined).collect::<Vec<_>>(), [false, false]);
    }
}
