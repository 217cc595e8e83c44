//! Whether the replicas agree.

use std::time::{Duration, Instant};

use quorate_node::status::Status;

use super::{Cluster, Verdict};
use crate::worker::{Answer, Order};

impl Cluster {
    /// The status of every replica once those that run and do not lie have executed the same, or after so long. What is
    /// counted from an earlier moment has operations of before in it, at whoever was a little late.
    pub async fn at_rest(&mut self, patience: Duration) -> Vec<Option<Status>> {
        let until = Instant::now() + patience;
        loop {
            let statuses = self.statuses().await;
            let correct = statuses.iter().flatten().filter(|status| self.counts(status.replica));
            let mut executed = correct.map(|status| status.executed);
            let first = executed.next();
            if executed.all(|seq| Some(seq) == first) || Instant::now() > until {
                return statuses;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether something is expected of a replica: that it runs, and does not lie.
    fn counts(&self, replica: u16) -> bool {
        self.lives(replica) && !self.liars.is_liar(replica)
    }

    /// Waits until the replicas that run and do not lie are at rest beyond `highest`, and compares their histories there.
    /// Gives back what all said last.
    pub async fn verdict(&mut self, highest: u64, patience: Duration) -> (Vec<Option<Status>>, Verdict) {
        let until = Instant::now() + patience;
        let mut statuses = self.statuses().await;
        let absent = self.absent();
        if absent.len() == self.members.len() {
            return (statuses, Verdict::TooFew(absent));
        }
        loop {
            let silent = (0..).zip(&statuses).filter(|(id, status)| status.is_none() && self.counts(*id));
            let silent: Vec<u16> = silent.map(|(id, _)| id).collect();
            if !silent.is_empty() && Instant::now() > until {
                return (statuses, Verdict::Unreachable(silent));
            }
            let correct = statuses.iter().flatten().filter(|status| self.counts(status.replica));
            let executed = correct.clone().map(|status| status.executed);
            let (least, most) = (executed.clone().min().unwrap_or(0), executed.max().unwrap_or(0));
            if least == most && least >= highest && silent.is_empty() {
                break;
            }
            if Instant::now() > until {
                let behind = correct.filter(|status| status.executed < most.max(highest));
                let behind = behind.map(|status| status.replica).collect();
                return (statuses, Verdict::Behind(behind));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            statuses = self.statuses().await;
        }
        let verdict = if highest == 0 { Verdict::NoProgress } else { self.compare(highest).await };
        (statuses, verdict)
    }

    /// Compares the heads of the histories: equal heads mean equal histories all the way down.
    async fn compare(&mut self, seq: u64) -> Verdict {
        let counted: Vec<u16> = (0..self.size()).filter(|replica| self.counts(*replica)).collect();
        let answers = self.tell(&counted, |replicas| Order::Heads { seq, replicas }).await;
        let Ok(answers) = answers else { return Verdict::Unreachable(counted) };
        let mut heads = Vec::new();
        for (replicas, answer) in answers {
            let Answer::Heads(found) = answer else { return Verdict::Unreachable(replicas) };
            heads.extend(replicas.into_iter().zip(found));
        }
        heads.sort_unstable();
        if let Some((silent, _)) = heads.iter().find(|(_, head)| head.is_none()) {
            return Verdict::Unreachable(vec![*silent]);
        }
        let first = heads.first().and_then(|(_, head)| head.clone());
        let others: Vec<u16> = heads.iter().filter(|(_, head)| *head != first).map(|(id, _)| *id).collect();
        let (absent, liars) = (self.absent(), self.liars.ids());
        match others.is_empty() {
            true if self.has_quorum() => Verdict::Agreement { absent, liars },
            true => Verdict::TooFew(absent),
            false => Verdict::Diverged(others),
        }
    }
}
