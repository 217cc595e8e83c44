//! Links over an emulated network.

use std::time::Instant;

use super::*;
use crate::emulation::{EmulationFile, Rule, Target};

/// A network in which every way takes so many milliseconds.
fn slow(milliseconds: u64) -> Emulation {
    let rule = Rule { delay_us: milliseconds * 1000, ..Rule::default() };
    Emulation::new(EmulationFile { seed: 1, links: [(Target::Anywhere, rule)].into() })
}

#[tokio::test]
async fn a_round_trip_takes_what_both_ends_are_told_to_emulate() {
    let mut ports = Ports::new(2);
    let ways = [slow(15), slow(25)];
    let mut nodes = Vec::new();
    for (id, emulation) in (0..).zip(&ways) {
        let config = ports.config(&context(2), id);
        nodes.push(launch(TransportConfig { emulation: Some(emulation.clone()), ..config }).await);
    }
    for node in &mut nodes {
        node.up("links over a slow network").await;
    }
    let (one, other) = (Remote::Replica(ReplicaId(0)), Remote::Replica(ReplicaId(1)));
    let mut trips = Vec::new();
    for number in 0..15_u8 {
        let began = Instant::now();
        nodes[0].transport.send(other, Class::Votes, Bytes::from(vec![number; 32]));
        let frame = nodes[1].frames(one, Class::Votes, 1).await.remove(0);
        nodes[1].transport.send(one, Class::Votes, frame.slice(4..));
        nodes[0].frames(other, Class::Votes, 1).await;
        trips.push(began.elapsed());
    }
    trips.sort_unstable();
    let (least, most) = (Duration::from_millis(40), Duration::from_millis(70));
    assert!(trips[0] >= least, "{trips:?}");
    assert!(trips[7] <= most, "{trips:?}");
    for node in &nodes {
        let report = node.transport.links().remove(0);
        let measured = report.round_trip.unwrap();
        assert!((least..=most).contains(&measured), "QUIC measures it too: {measured:?}");
    }
    assert!(ways.iter().all(|way| way.counters().lost.get() + way.counters().dropped.get() == 0));
}

#[tokio::test]
async fn a_new_link_over_long_ways_has_room_for_a_large_batch_at_once() {
    let mut ports = Ports::new(2);
    let mut nodes = Vec::new();
    for id in 0..2 {
        let config = ports.config(&context(2), id);
        nodes.push(launch(TransportConfig { emulation: Some(slow(20)), ..config }).await);
    }
    for node in &mut nodes {
        node.up("links over a slow network").await;
        let window = node.transport.links().remove(0).window_bytes;
        assert!(window >= 1 << 20, "the first batches wait for the window to grow from {window} bytes");
    }
}

#[tokio::test]
async fn bulk_gets_through_a_network_that_loses_some_of_it() {
    let rule = Rule { delay_us: 2000, loss: 0.02, ..Rule::default() };
    let file = |seed| EmulationFile { seed, links: [(Target::Anywhere, rule)].into() };
    let ways = [1, 2].map(|seed| Emulation::new(file(seed)));
    let mut ports = Ports::new(2);
    let mut nodes = Vec::new();
    for (id, emulation) in (0..).zip(&ways) {
        let config = ports.config(&context(2), id);
        nodes.push(launch(TransportConfig { emulation: Some(emulation.clone()), ..config }).await);
    }
    for node in &mut nodes {
        node.up("links over a lossy network").await;
    }
    let frame = Bytes::from(vec![7; 1 << 20]);
    nodes[0].transport.send(Remote::Replica(ReplicaId(1)), Class::Bulk, frame.clone());
    let arrived = nodes[1].frames(Remote::Replica(ReplicaId(0)), Class::Bulk, 1).await;
    assert!(arrived[0].ends_with(&frame));
    let counters = ways[0].counters();
    assert!(counters.lost.get() > 0 && counters.datagrams.get() > 700, "{counters:?}");
}
