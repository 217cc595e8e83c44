//! Clusters on networks that are not there: only where they may be, at the pace that the network gives, and what replicas
//! measure is what they were told to emulate.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use quorate_bench::network::{Ends, Measured, Network, Place, Placement, Sender};
use quorate_node::client;
use quorate_node::emulation::{Emulation, Target};
use quorate_node::status::Status;
use quorate_node::transport::{Limits, SharedEndpoint, bind};
use quorate_protocol::client::Options;

use super::processes::{Cluster, PATIENCE, block, put, until};

/// Calls whose latency is measured, one after the other.
const CALLS: usize = 21;
/// What a busy machine may add to a call or a round trip.
const SLACK: Duration = Duration::from_millis(40);

/// Where everybody is.
fn ends(cluster: &Cluster, placement: &Placement) -> Ends {
    let addresses = || cluster.file.replicas().iter().map(|entry| entry.addresses);
    Ends {
        peers: addresses().map(|of| of.peer).collect(),
        clients: addresses().map(|of| of.client).collect(),
        sources: placement.sources().iter().map(|source| Target::Host(source.address)).collect(),
    }
}

/// Four replicas on a network, running.
fn running_on(placement: &Placement) -> (Cluster, Ends) {
    let mut cluster = Cluster::init(&["--testing"]);
    let ends = ends(&cluster, placement);
    for id in 0..4 {
        let file = cluster.path().join(format!("emulation-{id}.toml"));
        fs::write(&file, placement.emulation_for(Sender::Replica(id), &ends, 7).to_toml()).unwrap();
        let words = ["--durability", "none", "--emulate", file.to_str().unwrap()];
        cluster.start_with(usize::from(id), &words);
    }
    block(cluster.until_linked());
    (cluster, ends)
}

/// How long each of some calls took, in order of that.
async fn calls(cluster: &Cluster, placement: &Placement, ends: &Ends) -> Vec<Duration> {
    let emulation = Emulation::new(placement.emulation_for(Sender::Clients(0), ends, 7));
    let socket = bind((placement.sources()[0].address, 0).into()).unwrap();
    let endpoint = SharedEndpoint::new_emulated(socket, &Limits::default(), &emulation).unwrap();
    let config = cluster.client_config(cluster.client_key(0));
    let caller = client::connect(config, Some(endpoint), Options::new(0)).await.unwrap();
    let call = || caller.call_within(put("a", "1"), PATIENCE);
    call().await.expect("the first call waits for links and a session");
    let mut took = Vec::new();
    for _ in 0..CALLS {
        let began = Instant::now();
        call().await.unwrap();
        took.push(began.elapsed());
    }
    took.sort_unstable();
    took
}

/// Four replicas and a client in the regions of a network: calls take what they must, and round trips too.
fn keeps_the_pace_of(network: &str) {
    let network = Network::find(network, Path::new("")).unwrap().unwrap();
    let placement = network.place(4, 1);
    let (cluster, ends) = running_on(&placement);
    block(async {
        let took = calls(&cluster, &placement, &ends).await;
        let expected = placement.expected_latency(0, 0, &[]).unwrap();
        let median = took[CALLS / 2];
        // Of the mean jitter of five steps, the fastest call may have had none.
        assert!(took[0] + Duration::from_millis(5) >= expected, "{expected:?} was expected: {took:?}");
        assert!(median <= expected + SLACK, "{expected:?} was expected: {took:?}");
        let statuses = until("round trips", async || {
            let mut statuses: Vec<Status> = Vec::new();
            for id in 0..4 {
                statuses.push(cluster.status(id).await?);
            }
            // A round trip is measured with each answer; the first are those of a handshake on a busy machine.
            placement.check(&Measured::of(&statuses), SLACK).is_empty().then_some(statuses)
        })
        .await;
        assert_eq!(Measured::of(&statuses).len(), 12, "every replica measures to every other");
        for status in &statuses {
            assert!(status.counter("quorate_emulation_delayed_total") > 0);
            assert_eq!(status.counter("quorate_emulation_lost_total"), 0);
            assert_eq!(status.counter("quorate_emulation_dropped_total"), 0);
            assert!(
                status.warnings.iter().any(|warning| warning.contains("emulated")),
                "{:?}",
                status.warnings
            );
            assert_eq!(status.view, 0);
        }
        let far = placement.round_trip(Place::Replica(2), Place::Replica(3)).unwrap();
        let heard = statuses[2].heard.iter().find(|heard| heard.replica == 3).unwrap();
        assert!(Duration::from_micros(heard.rtt_us) + Duration::from_millis(2) >= far);
        cluster.until_agreed().await;
    });
}

#[test]
fn a_call_takes_what_the_matrix_of_round_trips_and_the_pattern_of_messages_say() {
    keeps_the_pace_of("wan-europe");
    if std::env::var_os("QUORATE_NIGHTLY").is_some_and(|value| value == "1") {
        keeps_the_pace_of("wan-world");
    }
}

#[test]
fn a_network_is_emulated_only_in_a_cluster_that_was_made_for_trials() {
    let cluster = Cluster::init(&[]);
    let file = cluster.path().join("emulation.toml");
    fs::write(&file, "[link.anywhere]\ndelay_us = 40000\n").unwrap();
    let said = cluster.refused(1, &["--emulate", file.to_str().unwrap()]);
    for part in
        ["replica 1 is to emulate a network", "`testing = false`", "fix: ", "`quorate init --testing`"]
    {
        assert!(said.contains(part), "`{part}` is missing from: {said}");
    }
    assert!(!said.contains("serving"), "{said}");
    let trial = Cluster::init(&["--testing"]);
    fs::write(&file, "[link.anywhere]\ndelay_us = 7\n").unwrap();
    let said = trial.refused(1, &["--emulate", file.to_str().unwrap()]);
    assert!(
        said.contains("emulation.toml: [link.\"anywhere\"]: `delay_us` is 7; fix: write 0, or"),
        "{said}"
    );
}
