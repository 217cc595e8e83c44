//! What is told of each replica from one look to the next: where it stands, how fast it is, and how far behind.

use quorate_host::spent::{PLACES, percentile};
use quorate_node::status::Status;
use serde::Serialize;

use super::remark;
use super::watch::Look;

/// The name that a status has for how long agreement takes.
const AGREEMENT: &str = "quorate_agreement_microseconds";
/// What a replica counts that shows how fast it is.
const EXECUTED: &str = "quorate_operations_executed_total";

/// One replica. Field names are part of the interface.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) replica: u16,
    /// None if it does not answer.
    pub(super) seen: Option<Seen>,
    /// Why not.
    pub(super) error: Option<String>,
}

/// What is seen of a replica that answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Seen {
    pub(super) status: String,
    pub(super) view: u64,
    pub(super) primary: u16,
    pub(super) executed: u64,
    pub(super) committed: u64,
    pub(super) stable: u64,
    /// Slots that are committed somewhere and have not executed here.
    pub(super) lag: u64,
    pub(super) pooled: u64,
    pub(super) clients: u64,
    pub(super) links_up: usize,
    pub(super) links: u16,
    /// Operations executed per second since the look before; none at the first look and after a restart.
    pub(super) executed_per_second: Option<f64>,
    /// Half of the operations since the look before were agreed on within so many microseconds, about.
    pub(super) agreement_p50_us: Option<u64>,
    /// 99 of 100 were.
    pub(super) agreement_p99_us: Option<u64>,
    pub(super) remark: String,
}

/// All replicas of a look; how fast they are follows from the one before.
pub(super) fn rows(look: &Look, before: Option<&Look>) -> Vec<Row> {
    let found = look.answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
    let committed = found.map(|status| status.committed).max().unwrap_or(0);
    let row = |(replica, answer): &(u16, anyhow::Result<Status>)| match answer {
        Ok(status) => {
            let earlier = before.and_then(|before| earlier(status, before));
            let seconds = before.map_or(0.0, |before| look.at.duration_since(before.at).as_secs_f64());
            Row { replica: *replica, seen: Some(seen(status, committed, (earlier, seconds))), error: None }
        }
        Err(error) => Row { replica: *replica, seen: None, error: Some(error.to_string()) },
    };
    look.answers.iter().map(row).collect()
}

/// What the same run of the same replica said before.
fn earlier<'a>(status: &Status, before: &'a Look) -> Option<&'a Status> {
    let answers = before.answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
    answers.into_iter().find(|other| other.replica == status.replica && other.started == status.started)
}

fn seen(status: &Status, committed: u64, (earlier, seconds): (Option<&Status>, f64)) -> Seen {
    let grown = |earlier: &Status| status.counter(EXECUTED).saturating_sub(earlier.counter(EXECUTED));
    let rate = |earlier| if seconds > 0.0 { Some(grown(earlier) as f64 / seconds) } else { None };
    let (now, then) =
        (status.taken(AGREEMENT).within, earlier.map(|earlier| earlier.taken(AGREEMENT).within));
    let within = then.map_or([0; PLACES], |then| std::array::from_fn(|at| now[at].saturating_sub(then[at])));
    Seen {
        status: status.status.clone(),
        view: status.view,
        primary: status.primary,
        executed: status.executed,
        committed: status.committed,
        stable: status.low,
        lag: committed.saturating_sub(status.executed),
        pooled: status.pooled,
        clients: status.clients,
        links_up: status.links_up.len(),
        links: status.replicas.saturating_sub(1),
        executed_per_second: earlier.and_then(rate),
        agreement_p50_us: percentile(&within, 50),
        agreement_p99_us: percentile(&within, 99),
        remark: remark(status).trim_start_matches(", ").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use quorate_host::spent::Spent;
    use quorate_node::status::Taken;

    use super::*;

    fn status(replica: u16, operations: u64, agreed: Spent) -> Status {
        Status {
            replica,
            replicas: 4,
            started: 5,
            status: "normal".to_owned(),
            executed: operations / 10,
            committed: operations / 10,
            counters: vec![(EXECUTED.to_owned(), operations)],
            taken: vec![Taken { series: AGREEMENT.to_owned(), spent: agreed }],
            ..Status::default()
        }
    }

    #[test]
    fn how_fast_a_replica_is_follows_from_two_looks_at_one_run_of_it() {
        let mut agreed = Spent::default();
        agreed.add(90_000_000, 1_000);
        let at = Instant::now();
        let before =
            Look { at, answers: vec![(0, Ok(status(0, 1_000, agreed))), (1, Ok(status(1, 900, agreed)))] };
        let first = rows(&before, None);
        let seen = |rows: &[Row], replica: usize| rows[replica].seen.clone().expect("it answers");
        assert_eq!(seen(&first, 0).executed_per_second, None);
        assert_eq!((seen(&first, 0).agreement_p50_us, seen(&first, 0).lag), (None, 0));
        assert_eq!(seen(&first, 1).lag, 10, "what is committed elsewhere is what it lacks");

        agreed.add(300, 500);
        let restarted = Status { started: 6, ..status(1, 50, agreed) };
        let answers =
            vec![(0, Ok(status(0, 1_500, agreed))), (1, Ok(restarted)), (2, Err(anyhow::anyhow!("no")))];
        let then = rows(&Look { at: at + Duration::from_secs(2), answers }, Some(&before));
        assert_eq!(seen(&then, 0).executed_per_second, Some(250.0));
        let p99 = seen(&then, 0).agreement_p99_us.expect("there were some");
        assert!((251..=500).contains(&p99), "what took long before the first look does not count: {p99}");
        assert_eq!(seen(&then, 1).executed_per_second, None, "another run counts from its start");
        assert_eq!((then[2].seen.clone(), then[2].error.as_deref()), (None, Some("no")));
    }
}
