//! Networks and their files, without a network.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use quorate_node::emulation::{EmulationFile, Target};
use quorate_node::status::{Heard, Status};

use super::*;
use crate::record::NetworkCheck;

fn parse(text: &str) -> Result<Network, String> {
    Network::parse(text, Path::new("folder/three.toml")).map_err(|error| error.to_string())
}

/// Three regions; the way from `a` to `b` takes 10 ms, from `b` to `a` 20 ms, and so on.
const THREE: &str = "about = 'three'\n\
    [[region]]\nname = 'a'\nround_trip_ms = [2, 20, 60]\n\
    [[region]]\nname = 'b'\nround_trip_ms = [40, 2, 100]\n\
    [[region]]\nname = 'c'\nround_trip_ms = [80, 120, 2]\n";

fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[test]
fn the_networks_that_are_known_by_name_are_good_and_say_where_their_figures_are_from() {
    for (name, _) in KNOWN {
        let network = Network::find(name, Path::new("nowhere")).unwrap().unwrap();
        assert_eq!(network.name(), *name);
        assert!(!network.about().is_empty());
        if name.starts_with("wan") {
            let (source, measured) = network.source();
            assert!(source.starts_with("https://") && measured.len() == "2026-07-30".len(), "{name}");
            let regions = network.regions().len();
            assert!(regions >= 7, "{name}: two faults have a region each");
            for (one, other) in (0..regions).flat_map(|one| (0..one).map(move |other| (one, other))) {
                let (there, back) = (network.one_way(one, other), network.one_way(other, one));
                let ratio = there.as_secs_f64() / back.as_secs_f64();
                assert!((0.8..1.25).contains(&ratio), "{name}: {one} to {other}: a figure in a wrong place?");
            }
        }
    }
    assert_eq!(Network::find(LOOPBACK, Path::new("nowhere")).unwrap(), None);
}

#[test]
fn every_network_of_the_folder_is_known_by_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/networks");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(files, KNOWN.iter().map(|(name, _)| (*name).to_owned()).collect());
}

#[test]
fn replicas_and_clients_are_put_into_each_region_in_turn_or_clients_into_the_one_named() {
    let spread = parse(THREE).unwrap().place(4, 2);
    let region = |placement: &Placement, who| placement.region_of(who).map(str::to_owned);
    let replicas: Vec<_> = (0..5).map(|id| region(&spread, Place::Replica(id))).collect();
    assert_eq!(replicas, [Some("a".into()), Some("b".into()), Some("c".into()), Some("a".into()), None]);
    assert_eq!(region(&spread, Place::Client(1)).as_deref(), Some("b"));
    let sources: Vec<_> =
        spread.sources().into_iter().map(|source| (source.region, source.clients)).collect();
    assert_eq!(sources, [("a".to_owned(), vec![0]), ("b".to_owned(), vec![1])]);
    let one = parse(&format!("clients = 'c'\n{THREE}")).unwrap().place(4, 3);
    let sources = one.sources();
    assert_eq!((sources.len(), &sources[0].clients), (1, &vec![0, 1, 2]));
    assert_eq!(one.region_of(Place::Client(2)), Some("c"));
}

#[test]
fn a_round_trip_is_the_way_there_and_the_way_back() {
    let placement = parse(THREE).unwrap().place(4, 1);
    let trip = |one, other| placement.round_trip(Place::Replica(one), Place::Replica(other));
    assert_eq!(trip(0, 1), Some(milliseconds(30)));
    assert_eq!(trip(1, 0), Some(milliseconds(30)));
    assert_eq!(trip(0, 3), Some(milliseconds(2)), "both are in a");
    assert_eq!(trip(0, 4), None);
    assert_eq!(placement.round_trip(Place::Client(0), Place::Replica(2)), Some(milliseconds(70)));
}

#[test]
fn what_a_call_must_take_follows_from_the_messages_that_it_waits_for() {
    // Everybody 10 ms from everybody: request, PRE-PREPARE, PREPARE, COMMIT, reply.
    let alike = |replicas: usize| {
        let row = vec!["20"; replicas].join(", ");
        let region = |number| format!("[[region]]\nname = '{number}'\nround_trip_ms = [{row}]\n");
        let text: String = (0..replicas).map(region).collect();
        parse(&format!("about = ''\n{text}")).unwrap().place(u16::try_from(replicas).unwrap(), 1)
    };
    for replicas in [4, 7, 10] {
        assert_eq!(
            alike(replicas).expected_latency(0, 0, &[]),
            Some(milliseconds(50)),
            "{replicas} replicas"
        );
    }
    // The client sits beside replica 0, the primary; 1 and 2 are 10 ms from it and 10 ms from each other; 3 is far.
    let far = "about = ''\nclients = 'p'\n\
        [[region]]\nname = 'p'\nround_trip_ms = [0, 20, 20, 900]\n\
        [[region]]\nname = 'x'\nround_trip_ms = [20, 0, 20, 900]\n\
        [[region]]\nname = 'y'\nround_trip_ms = [20, 20, 0, 900]\n\
        [[region]]\nname = 'z'\nround_trip_ms = [900, 900, 900, 0]\n";
    let placement = parse(far).unwrap().place(4, 1);
    // By hand: proposed at 0; accepted at 10 by 1 and 2, whose PREPAREs are with each other and the primary at 20;
    // COMMITs of all three are everywhere at 30; the primary's reply is there at 30, and 1's and 2's at 40.
    assert_eq!(placement.expected_latency(0, 0, &[]), Some(milliseconds(40)));
    // With the far one as the primary: the request takes 450, its PRE-PREPARE too; then as before, without it.
    // Accepted at 900; PREPAREs at 910 make, with the PRE-PREPARE, a quorum; COMMITs at 920; the client's neighbour
    // replies at once, the second one 10 ms later.
    assert_eq!(placement.expected_latency(3, 0, &[]), Some(milliseconds(930)));
    // Without 1 the far one is waited for: it accepts at 450 and is prepared at 460, when 2's PREPARE is there; the others
    // are prepared at 900, when its own is with them. COMMITs of all three are with those two at 910, whose second reply
    // takes 10 ms more.
    assert_eq!(placement.expected_latency(0, 0, &[1]), Some(milliseconds(920)));
    assert_eq!(placement.expected_latency(0, 0, &[1, 2]), None, "two of four are no quorum");
    assert_eq!(placement.expected_latency(0, 0, &[0]), None, "nobody proposes");
    assert_eq!(placement.expected_latency(4, 0, &[]), None);
    assert_eq!(placement.expected_latency(0, 1, &[]), None);
}

#[test]
fn a_far_replica_is_not_waited_for_and_the_median_is_over_clients() {
    let world = Network::find("wan-world", Path::new("")).unwrap().unwrap();
    let placement = world.place(4, 4);
    let all: Vec<_> = (0..4).map(|client| placement.expected_latency(0, client, &[]).unwrap()).collect();
    let mut sorted = all.clone();
    sorted.sort_unstable();
    assert_eq!(placement.expected_median(0, &[]), Some(sorted[1]));
    // The client beside the primary waits for two round trips of a quorum at least, and for no more than three of the
    // longest.
    assert!(all[0] > milliseconds(160) && all[0] < milliseconds(3 * 270), "{all:?}");
    assert_eq!(world.place(4, 0).expected_median(0, &[]), None);
}

#[test]
fn each_process_emulates_the_ways_that_leave_it() {
    let placement = parse(THREE).unwrap().place(4, 3);
    let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let ends = Ends {
        peers: (0..4).map(|id| address(7000 + id)).collect(),
        clients: (0..4).map(|id| address(8000 + id)).collect(),
        sources: placement.sources().iter().map(|source| Target::Host(source.address)).collect(),
    };
    let replica = placement.emulation_for(Sender::Replica(1), &ends, 5);
    let delay = |file: &EmulationFile, to: Target| file.links.get(&to).map(|rule| rule.delay_us);
    let peers: Vec<_> = (0..4).map(|id| delay(&replica, Target::Socket(address(7000 + id)))).collect();
    assert_eq!(peers, [Some(20_000), None, Some(50_000), Some(20_000)], "from b to a, itself, c and a");
    let sources: Vec<_> = ends.sources.iter().map(|source| delay(&replica, *source)).collect();
    assert_eq!(sources, [Some(20_000), Some(1000), Some(50_000)]);
    assert_eq!(replica.links.len(), 6, "it sends nothing to where others take clients");
    let clients = placement.emulation_for(Sender::Clients(2), &ends, 5);
    let fronts: Vec<_> = (0..4).map(|id| delay(&clients, Target::Socket(address(8000 + id)))).collect();
    assert_eq!(fronts, [Some(40_000), Some(60_000), Some(1000), Some(40_000)], "from c to a, b, c and a");
    assert_eq!(clients.links.len(), 4);
    let text = replica.to_toml();
    assert_eq!(EmulationFile::parse(&text, Path::new("")).unwrap(), replica, "it can be written and read");
    // Chance is by who sends to whom, whatever ports they have.
    let moved = Ends { peers: (0..4).map(|id| address(6000 - id)).collect(), ..ends.clone() };
    let seed = |file: &EmulationFile, port| file.links[&Target::Socket(address(port))].seed;
    let again = placement.emulation_for(Sender::Replica(1), &moved, 5);
    assert_eq!((replica.seed, seed(&replica, 7002)), (again.seed, seed(&again, 5998)));
    assert_ne!(replica.seed, clients.seed);
    assert_ne!(seed(&replica, 7002), seed(&replica, 7003));
}

#[test]
fn a_link_may_be_unlike_the_others() {
    let text = format!(
        "{THREE}[[between]]\nfrom = 'a'\nto = 'b'\nrule = {{ loss = 0.1 }}\n\
         [[between]]\nfrom = 'b'\nto = 'a'\nrule = {{ delay_us = 77000 }}\n"
    );
    let network = parse(&text).unwrap();
    assert_eq!((network.links[0][1].loss, network.links[0][1].delay_us), (0.1, 10_000));
    assert_eq!((network.links[1][0].loss, network.links[1][0].delay_us), (0.0, 77_000));
}

#[test]
fn measured_round_trips_that_are_not_the_networks_are_named() {
    let placement = parse(THREE).unwrap().place(4, 1);
    let status = |replica, heard: &[(u16, u64)]| Status {
        replica,
        heard: heard
            .iter()
            .map(|(replica, ms)| Heard {
                replica: *replica,
                ms_ago: 1,
                rtt_us: ms * 1000,
                ..Heard::default()
            })
            .collect(),
        ..Status::default()
    };
    let statuses = [status(0, &[(1, 31), (2, 69), (3, 0)]), status(1, &[(0, 90)])];
    let measured = Measured::of(&statuses);
    assert_eq!(measured.len(), 3, "what was not measured yet is not wrong");
    let off = placement.check(&measured, milliseconds(20));
    let words: Vec<String> = off.iter().map(ToString::to_string).collect();
    assert_eq!(
        words,
        [
            "the round trip between replica 0 and replica 2 took 69.0 ms; this network says 70.0 ms",
            "the round trip between replica 1 and replica 0 took 90.0 ms; this network says 30.0 ms",
        ]
    );
}

#[test]
fn a_load_is_told_apart_from_what_was_before_it() {
    let placement = parse(THREE).unwrap().place(4, 1);
    let status = |delayed: u64, late: u64| Status {
        replica: 0,
        heard: vec![
            Heard { replica: 1, ms_ago: 1, rtt_us: 29_000, ..Heard::default() },
            Heard { replica: 2, ms_ago: 1, rtt_us: 71_000, ..Heard::default() },
        ],
        counters: vec![
            ("quorate_emulation_delayed_total".to_owned(), delayed),
            ("quorate_emulation_late_microseconds_total".to_owned(), late),
            ("quorate_emulation_lost_total".to_owned(), delayed / 10),
        ],
        ..Status::default()
    };
    let check = placement.checked(&[status(100, 90_000)], &[status(300, 110_000)]);
    assert_eq!((check.round_trips, check.off.len(), check.lost, check.dropped), (2, 1, 20, 0));
    assert_eq!(check.late_us, 100.0);
    let quiet = placement.checked(&[], &[]);
    assert_eq!(quiet.late_us, 0.0);
    let mut runs = NetworkCheck::default();
    runs.add(&check, 1);
    runs.add(&NetworkCheck { late_us: 200.0, ..check }, 2);
    assert_eq!((runs.round_trips, runs.off.len(), runs.lost, runs.late_us), (4, 1, 40, 150.0));
}

#[test]
fn a_file_that_is_no_network_is_refused_with_the_place_and_the_fix() {
    let refused = |text: &str| parse(text).unwrap_err();
    let unknown = Network::find("wan-moon", Path::new("")).unwrap_err().to_string();
    assert!(
        unknown.contains("`wan-moon`; fix: write `lan`, `wan-europe`, `wan-world`, `loopback`"),
        "{unknown}"
    );
    let missing = Network::find("moon.toml", Path::new("/nowhere")).unwrap_err().to_string();
    assert!(missing.starts_with("/nowhere/moon.toml: cannot be read"), "{missing}");
    assert!(
        refused("about = 'x'\nregions = 3\n").starts_with("folder/three.toml:2: unknown field `regions`")
    );
    assert!(refused("about = 'x'\nregion = []\n").contains("`[[region]]` stands 0 times; fix: have 1 to 64"));
    let short = refused(&THREE.replace("[2, 20, 60]", "[2, 20]"));
    assert!(short.contains("`round_trip_ms of a` has 2 figures for 3 regions; fix:"), "{short}");
    assert!(refused(&THREE.replace("60", "-60")).contains("has -60; fix: write milliseconds"));
    assert!(refused(&THREE.replace("60", "nan")).contains("has NaN"));
    assert!(refused(&THREE.replace("60", "0.1")).contains("the link from a to c: `delay_us` is 50; fix"));
    assert!(refused(&THREE.replace("'b'", "'a'")).contains("is `a` twice; fix: make the two differ"));
    assert!(refused(&THREE.replace("'b'", "''")).contains("name a region"));
    let nowhere = refused(&format!("clients = 'd'\n{THREE}"));
    assert!(
        nowhere.contains("`clients` is `d`") && nowhere.contains("fix: write one of a, b, c"),
        "{nowhere}"
    );
    assert!(refused(&format!("link = {{ delay_us = 1000 }}\n{THREE}")).contains("`link.delay_us`"));
    let between = format!("{THREE}[[between]]\nfrom = 'a'\nto = 'b'\nrule = {{ loss = 2.0 }}\n");
    assert!(refused(&between).contains("[[between]] from a to b: `loss` is 2; fix"));
}
