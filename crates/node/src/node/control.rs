//! What whoever started a replica for a trial may have it do while it runs: lie, or lose its links.

use std::collections::BTreeSet;

use quorate_host::disk::Disk;
use quorate_host::live::Weight;
use quorate_protocol::types::ReplicaId;
use tokio::sync::mpsc;

use super::{Node, NodeError};
use crate::sins::Sins;

/// One thing that a replica is told to do, for a trial.
#[derive(Debug, Clone)]
pub enum Control {
    /// To lie so from now on, and not as before; honestly, if there is nothing to lie about.
    Behave(Sins),
    /// To exchange frames with these replicas only; with all if there is nothing said.
    Links(Option<BTreeSet<ReplicaId>>),
}

/// The next thing that this replica is told; never, if nobody may tell it anything.
pub(super) async fn next(orders: &mut Option<mpsc::Receiver<Control>>) -> Control {
    if let Some(orders) = orders
        && let Some(order) = orders.recv().await
    {
        return order;
    }
    std::future::pending().await
}

impl<D: Disk + Send + 'static> Node<D> {
    /// Takes orders while it runs, and records from the beginning what a live view shows. For trials: whether it lies is
    /// decided by its cluster file all the same.
    #[must_use]
    pub fn controlled(mut self, orders: mpsc::Receiver<Control>) -> Self {
        self.host.watch(self.clock.now(), true);
        self.orders = Some(orders);
        self
    }

    /// Does what it is told, or says in the log why not.
    pub(super) fn obey(&mut self, order: Control) {
        match order {
            Control::Behave(sins) => self.behave(sins),
            Control::Links(with) => self.keep_links(with),
        }
    }

    fn behave(&mut self, sins: Sins) {
        if !self.testing {
            let refused = NodeError::NotTesting { replica: self.host.replica().id(), sins };
            tracing::warn!("{refused}");
            return;
        }
        self.sins.switch(sins, &mut self.host, self.clock.now());
        let what = if self.sins.is_empty() {
            "told to be honest from now on".to_owned()
        } else {
            format!("told to lie from now on: {}", self.sins)
        };
        self.warnings.retain(|warning| !warning.starts_with(LIAR));
        self.warnings.extend(liar(&self.sins));
        tracing::warn!("{what}");
        self.happened(what, Weight::Deed);
    }

    fn keep_links(&mut self, with: Option<BTreeSet<ReplicaId>>) {
        let (now, ours) = (self.clock.now(), self.host.replica().id());
        let cut: BTreeSet<ReplicaId> = match &with {
            None => BTreeSet::new(),
            Some(with) => {
                let all = self.host.replica().context().committee.replicas();
                all.filter(|id| *id != ours && !with.contains(id)).collect()
            }
        };
        let names =
            |ids: &BTreeSet<ReplicaId>| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let what = if cut.is_empty() {
            "told to use all links".to_owned()
        } else {
            format!("told to use no link to {}", names(&cut))
        };
        let mended = self.links.cut.iter().any(|id| !cut.contains(id));
        self.links.cut = cut;
        tracing::warn!("{what}");
        self.happened(what, Weight::Deed);
        if mended {
            // As for a link that comes up: both sides missed what was said.
            self.host.link_up(now, &mut self.links);
        }
    }
}

/// How a warning begins that tells everybody of a liar.
const LIAR: &str = "THIS REPLICA LIES ON PURPOSE";

/// What everybody is told of a replica that has lies to tell.
pub(super) fn liar(sins: &Sins) -> Option<String> {
    (!sins.is_empty()).then(|| format!("{LIAR} ({sins}): nothing that it says is to be believed"))
}
