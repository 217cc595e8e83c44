//! Load on one machine or several, as if it were one.

use std::time::{Duration, Instant};

use super::Cluster;
use crate::load::{Assignment, GIVE_UP, LoadReport, Peek, Stint, join_all};
use crate::worker::{Answer, Order, WorkerError};

/// Between two looks whether it is over.
const LOOK: Duration = Duration::from_millis(20);
/// How long after the last answer could be there, or was given up, a machine may say nothing of it.
const SILENCE: Duration = Duration::from_secs(10);

/// Whose clients are connected.
#[derive(Debug, Default)]
pub(super) struct LoadOnHands {
    /// Hands by their place, and how many clients each has.
    clients: Vec<(usize, u16)>,
    /// When the report is overdue.
    overdue: Option<Instant>,
}

impl Cluster {
    /// Connects clients on some of the hands, each named by its place in the list with what its clients do, and waits
    /// until every client has a session.
    ///
    /// # Errors
    /// [`WorkerError`]; then none of them is connected.
    pub async fn start_load(&mut self, assignments: Vec<(usize, Assignment)>) -> Result<(), WorkerError> {
        self.load.clients = assignments.iter().map(|(place, of)| (*place, of.clients)).collect();
        let order = |place: usize| {
            let assignment = assignments.iter().find(|(at, _)| *at == place);
            assignment.map(|(_, assignment)| Order::LoadConnect(Box::new(assignment.clone())))
        };
        let connected = self.tell_loaded(order).await;
        if connected.is_err() {
            self.stop_load().await;
        }
        connected.map(drop)
    }

    /// Lets all clients work for a while, beginning within a round trip of each other. The rate is that of all machines
    /// together.
    ///
    /// # Errors
    /// [`WorkerError`] if a machine cannot.
    pub async fn begin(&mut self, stint: Stint) -> Result<(), WorkerError> {
        let shares = self.load.clients.clone();
        let all: u32 = shares.iter().map(|(_, clients)| u32::from(*clients)).sum();
        let length = Duration::from_millis(stint.warm_up_ms.saturating_add(stint.measure_ms));
        self.load.overdue = Instant::now().checked_add(length + GIVE_UP + SILENCE);
        let order = |place: usize| {
            let (_, clients) = shares.iter().find(|(at, _)| *at == place)?;
            let rate = stint.rate.map(|rate| rate * f64::from(*clients) / f64::from(all.max(1)));
            Some(Order::LoadBegin(Stint { rate, ..stint }))
        };
        self.tell_loaded(order).await.map(drop)
    }

    /// How far the load is, all machines together; latencies are those of the slowest.
    ///
    /// # Errors
    /// [`WorkerError`] if a machine does not say.
    pub async fn peek(&mut self) -> Result<Peek, WorkerError> {
        let mut all = Peek { over: true, ..Peek::default() };
        for answer in self.tell_loaded(|_| Some(Order::LoadPeek)).await? {
            let Answer::Peek(peek) = answer else { return Err(WorkerError::Answer) };
            all.submitted += peek.submitted;
            all.matched += peek.matched;
            all.failed += peek.failed;
            all.highest = all.highest.max(peek.highest);
            all.p50_us = all.p50_us.max(peek.p50_us);
            all.p99_us = all.p99_us.max(peek.p99_us);
            all.over &= peek.over;
        }
        Ok(all)
    }

    /// Waits for no answer any more: the stint ends at once.
    ///
    /// # Errors
    /// [`WorkerError`] if a machine cannot be told.
    pub async fn give_up(&mut self) -> Result<(), WorkerError> {
        self.tell_loaded(|_| Some(Order::LoadGiveUp)).await.map(drop)
    }

    /// Waits until the stint is over and every answer is there or given up; gives back what became of the calls, of all
    /// machines together. The clients stay connected, for another stint.
    ///
    /// # Errors
    /// [`WorkerError`] if a machine does not say in time.
    pub async fn finish(&mut self) -> Result<LoadReport, WorkerError> {
        while !self.peek().await?.over {
            if self.load.overdue.is_some_and(|overdue| Instant::now() > overdue) {
                return Err(WorkerError::Senseless("the load did not end in time; is the machine too busy?"));
            }
            tokio::time::sleep(LOOK).await;
        }
        let mut reports = Vec::new();
        for answer in self.tell_loaded(|_| Some(Order::LoadFinish)).await? {
            let Answer::Report(Some(report)) = answer else { return Err(WorkerError::Answer) };
            reports.push(*report);
        }
        LoadReport::merge(reports)
            .ok_or(WorkerError::Senseless("no clients are connected; connect some first"))
    }

    /// Disconnects all clients.
    pub async fn stop_load(&mut self) {
        // A machine that cannot be told ends them by itself.
        drop(self.tell_loaded(|_| Some(Order::LoadStop)).await);
        self.load = LoadOnHands::default();
    }

    /// Has the hands with clients carry out an order each, side by side.
    async fn tell_loaded(
        &mut self,
        order: impl Fn(usize) -> Option<Order>,
    ) -> Result<Vec<Answer>, WorkerError> {
        let clients = &self.load.clients;
        let told = self.hands.iter_mut().enumerate().filter_map(|(place, hand)| {
            clients.iter().find(|(at, _)| *at == place)?;
            Some(hand.carry_out(order(place)?))
        });
        join_all(told).await.into_iter().collect()
    }
}
