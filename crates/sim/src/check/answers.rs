//! I13: where reads are fast, nothing is answered before it is durable how far the replica may have answered, and no answer
//! that counts as a fast read is of a slot before one that the replica answered from.

use std::collections::BTreeSet;

use quorate_protocol::message::{ClientMessage, Found, Query, QueryReply};
use quorate_protocol::parameters::Context;
use quorate_protocol::types::{ClientId, ReplicaId, Seq};

use super::{Checked, Checks, Violation};

/// What replicas answered, and may answer.
#[derive(Debug)]
pub(super) struct Answers {
    fast: bool,
    /// Of each replica: up to which slot its disk remembers that it may have answered, and the highest that it did.
    replicas: Vec<(Seq, Seq)>,
    /// Clients' names of the queries that were to be fast.
    queries: BTreeSet<(ClientId, u64)>,
}

impl Answers {
    pub(super) fn new(context: &Context) -> Self {
        let replicas = vec![(Seq(0), Seq(0)); context.committee.size()];
        Self { fast: context.parameters.fast_reads, replicas, queries: BTreeSet::new() }
    }
}

impl Checks {
    /// A replica's disk remembers that it may have voted up to here, and answered where reads are fast.
    pub fn promised(&mut self, replica: ReplicaId, horizon: Option<Seq>) {
        let durable = &mut self.answers.replicas[usize::from(replica.0)].0;
        *durable = (*durable).max(horizon.unwrap_or_default());
    }

    /// A client asks something without having it ordered.
    pub fn asked(&mut self, client: ClientId, query: &Query) {
        if query.fast {
            self.answers.queries.insert((client, query.number));
        }
    }

    /// A replica tells a client something.
    ///
    /// # Errors
    /// [`Violation::Undurable`] or [`Violation::WentBack`].
    pub fn told(&mut self, replica: ReplicaId, client: ClientId, message: &ClientMessage) -> Checked {
        if !self.answers.fast || self.is_liar(replica) {
            return Ok(());
        }
        let (seq, is_fast_read) = match message {
            ClientMessage::Replies { replies, .. } => {
                (replies.runs().iter().map(|run| run.seq()).max().unwrap_or_default(), false)
            }
            ClientMessage::Query {
                reply: QueryReply { number, executed, found: Found::Reply(_) }, ..
            } if self.answers.queries.contains(&(client, *number)) => (*executed, true),
            ClientMessage::Query { .. } | ClientMessage::Busy { .. } => return Ok(()),
        };
        let (durable, highest) = &mut self.answers.replicas[usize::from(replica.0)];
        if seq > *durable {
            return Err(Violation::Undurable { replica, what: format!("an answer from slot {seq}") });
        }
        if is_fast_read && seq < *highest {
            return Err(Violation::WentBack { replica, before: *highest, seq });
        }
        *highest = seq.max(*highest);
        Ok(())
    }
}
