//! What went over each link between replicas, and how long its round trips were while nothing was asked.

use std::collections::BTreeMap;

use quorate_node::status::{Heard, Status};
use serde::{Deserialize, Serialize};

use super::{Spent, ratio};
use crate::record::LinkCost;

/// What one replica sent another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sent {
    messages: u64,
    bytes: u64,
    /// As they were before the load.
    round_trips: Spent,
}

/// What went over all links, by who sent and who received.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Links(BTreeMap<u16, BTreeMap<u16, Sent>>);

impl Links {
    /// Adds what a replica said of its links between two statuses of it.
    pub(super) fn count(&mut self, before: Option<&Status>, after: &Status) {
        for now in &after.heard {
            let mut earlier = before.iter().flat_map(|status| &status.heard);
            let earlier = earlier.find(|heard| heard.replica == now.replica);
            // A link that came up anew began at nothing.
            let grown = |of: fn(&Heard) -> u64| {
                let now = of(now);
                now.checked_sub(earlier.map_or(0, of)).unwrap_or(now)
            };
            let round_trip_us = earlier.map_or(0, |heard| heard.rtt_us);
            let sent = Sent {
                messages: grown(|heard| heard.messages),
                bytes: grown(|heard| heard.bytes),
                round_trips: Spent { sum_us: round_trip_us, count: u64::from(round_trip_us > 0) },
            };
            self.sum(after.replica, now.replica).add(sent);
        }
    }

    fn sum(&mut self, from: u16, to: u16) -> &mut Sent {
        self.0.entry(from).or_default().entry(to).or_default()
    }

    /// Adds another run of the same point.
    pub(super) fn add(&mut self, run: &Self) {
        for (from, receivers) in &run.0 {
            for (to, sent) in receivers {
                self.sum(*from, *to).add(*sent);
            }
        }
    }

    /// The same for each of so many calls.
    pub(super) fn per(&self, calls: u64) -> Vec<LinkCost> {
        let links = self.0.iter().flat_map(|(from, receivers)| receivers.iter().map(move |to| (*from, to)));
        let cost = |(from, (to, sent)): (u16, (&u16, &Sent))| LinkCost {
            from,
            to: *to,
            round_trip_us: ratio(sent.round_trips.sum_us, sent.round_trips.count),
            messages_per_request: ratio(sent.messages, calls),
            bytes_per_request: ratio(sent.bytes, calls),
        };
        links.map(cost).collect()
    }
}

impl Sent {
    fn add(&mut self, more: Self) {
        self.messages += more.messages;
        self.bytes += more.bytes;
        self.round_trips.sum_us += more.round_trips.sum_us;
        self.round_trips.count += more.round_trips.count;
    }
}
