//! Answering those who dial: budgets first, then the handshake, then the hello.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Shape;
use super::counters::Counters;
use super::hello::{Established, Greeting, Side};
use super::limits::Limits;
use super::link;
use super::refused::{Ended, Refused};

/// Addresses whose handshakes are counted. When there are more, those that spent nothing lately are forgotten, or all.
const ADDRESSES_MAX: usize = 4096;

/// One endpoint that others dial.
pub(crate) struct Door {
    pub(crate) endpoint: quinn::Endpoint,
    pub(crate) shape: Shape,
    pub(crate) limits: Arc<Limits>,
    pub(crate) greeting: Arc<Greeting>,
    pub(crate) counters: Arc<Counters>,
}

impl Door {
    /// Answers until the endpoint closes; gives each link to `admit`, which returns the task that runs it, if any.
    pub(crate) async fn keep<F: Future<Output = ()> + Send + 'static>(
        self,
        mut admit: impl FnMut(Established) -> Option<F>,
    ) {
        let mut handshakes: JoinSet<Result<Established, Ended>> = JoinSet::new();
        let mut links: JoinSet<()> = JoinSet::new();
        let mut budget = Budget::new(&self.limits);
        loop {
            tokio::select! {
                incoming = self.endpoint.accept() => match incoming {
                    Some(incoming) => self.answer(incoming, &mut budget, &mut handshakes),
                    None => return,
                },
                Some(result) = handshakes.join_next() => match result {
                    Ok(Ok(established)) => drop(admit(established).map(|task| links.spawn(task))),
                    Ok(Err(ended)) => {
                        link::count(&self.counters, &ended);
                        tracing::info!(why = %ended, "a connection did not become a link");
                    }
                    Err(error) => tracing::error!(%error, "a handshake's task failed"),
                },
                Some(_) = links.join_next() => {}
            }
        }
    }

    fn answer(
        &self,
        incoming: quinn::Incoming,
        budget: &mut Budget,
        handshakes: &mut JoinSet<Result<Established, Ended>>,
    ) {
        let proven = incoming.remote_address_validated();
        let pending = handshakes.len();
        let affordable = budget.spend(incoming.remote_address().ip(), proven);
        // A sender's address may be a lie until it is proven, and then nobody else's budget may suffer.
        if !proven && incoming.may_retry() && (pending >= self.limits.retry_above || !affordable) {
            self.counters.retries.add(1);
            // The only error is that it may not retry, which was just asked.
            let _ = incoming.retry();
            return;
        }
        if !affordable || pending >= self.limits.handshakes_pending_max {
            self.counters.count_refused(Refused::TooMany.kind());
            incoming.refuse();
            return;
        }
        self.counters.handshakes.add(1);
        let (greeting, limits, shape) = (Arc::clone(&self.greeting), Arc::clone(&self.limits), self.shape);
        handshakes.spawn(async move {
            let connecting = incoming.accept()?;
            let connection = tokio::time::timeout(limits.handshake_timeout, connecting)
                .await
                .map_err(|_| Ended::Here(Refused::TooSlow))??;
            greeting.establish(connection, shape, Side::Acceptor, &limits).await
        });
    }
}

/// How many more handshakes each address may begin.
struct Budget {
    most: u32,
    per_second: u32,
    spent: BTreeMap<(IpAddr, bool), (f64, Instant)>,
}

impl Budget {
    fn new(limits: &Limits) -> Self {
        Self {
            most: limits.handshakes_per_address,
            per_second: limits.handshakes_per_address_per_second,
            spent: BTreeMap::new(),
        }
    }

    /// Takes one handshake from the budget of an address, if there is one. Proven and unproven senders have separate
    /// budgets, so that a forger cannot spend that of its victim.
    fn spend(&mut self, address: IpAddr, proven: bool) -> bool {
        let now = Instant::now();
        let (most, per_second) = (f64::from(self.most), f64::from(self.per_second));
        let left = |left: f64, since: Instant| (left + per_second * (now - since).as_secs_f64()).min(most);
        if self.spent.len() >= ADDRESSES_MAX {
            self.spent.retain(|_, (remaining, since)| left(*remaining, *since) < most);
            if self.spent.len() >= ADDRESSES_MAX {
                self.spent.clear();
            }
        }
        let entry = self.spent.entry((network(address), proven)).or_insert((most, now));
        *entry = (left(entry.0, entry.1), now);
        if entry.0 < 1.0 {
            return false;
        }
        entry.0 -= 1.0;
        true
    }
}

/// What one owner has: an address, or a whole /64 of version 6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_spent_its_handshakes_leaves_others_theirs() {
        let limits =
            Limits { handshakes_per_address: 3, handshakes_per_address_per_second: 0, ..Limits::default() };
        let mut budget = Budget::new(&limits);
        let one: IpAddr = [10, 0, 0, 1].into();
        assert_eq!([true; 4].map(|proven| budget.spend(one, proven)), [true, true, true, false]);
        assert!(budget.spend(one, false), "a proven address is not charged for forgers");
        assert!(budget.spend([10, 0, 0, 2].into(), true));
    }

    #[test]
    fn a_whole_subnet_has_one_budget_and_many_of_them_are_bounded() {
        let limits =
            Limits { handshakes_per_address: 1, handshakes_per_address_per_second: 0, ..Limits::default() };
        let mut budget = Budget::new(&limits);
        let host = |subnet: u16, host| IpAddr::from([0x2001, 0xdb8, 0, subnet, 0, 0, 0, host]);
        assert!(budget.spend(host(1, 1), true));
        assert!(!budget.spend(host(1, 2), true));
        for subnet in 0..u16::MAX {
            budget.spend(host(subnet, 1), true);
        }
        assert!(budget.spent.len() <= ADDRESSES_MAX);
    }
}
