//! Replicas and clients in the regions of a network.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use quorate_node::emulation::{EmulationFile, Rule, Target};
use quorate_node::status::Status;

use super::latency::{self, Ways};
use super::{ClientRegions, Network};
use crate::record::NetworkCheck;

/// What a machine on which nothing happens may add to a round trip, many replicas having just shaken hands on it.
const AT_REST: Duration = Duration::from_millis(25);

/// Round trips that are off that a check tells one by one.
const OFF_MAX: usize = 64;

/// Where the seeds of links to sources begin; those before are of links to replicas.
const FIRST_SOURCE: usize = 1 << 16;

/// Who is where.
#[derive(Debug, Clone, PartialEq)]
pub struct Placement {
    network: Network,
    replicas: Vec<usize>,
    clients: Vec<usize>,
}

/// One of those who were placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A replica, by its id.
    Replica(u16),
    /// A client, by its number from 0.
    Client(u16),
}

/// A process, or a socket of one, that has to emulate what it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// A replica.
    Replica(u16),
    /// The socket of the clients of one source, by its place in [`Placement::sources`].
    Clients(usize),
}

/// The clients of one region: they share a socket, by whose address replicas know where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The region.
    pub region: String,
    /// Its clients.
    pub clients: Vec<u16>,
    /// An address of the loopback interface that is this source's alone. Bind its socket to any port of it.
    pub address: IpAddr,
}

/// Where everybody listens, as addresses of the machines that the emulation runs on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ends {
    /// Where each replica takes replicas, in order of id.
    pub peers: Vec<SocketAddr>,
    /// Where each replica takes clients, in order of id.
    pub clients: Vec<SocketAddr>,
    /// Where each source sends from, in order of [`Placement::sources`]; on one machine those are its addresses.
    pub sources: Vec<Target>,
}

/// A round trip that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// Who measured it.
    pub from: Place,
    /// To whom.
    pub to: Place,
    /// How long it took.
    pub round_trip: Duration,
}

/// A round trip that is not what the network says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the round trip between {} and {} took {:.1} ms; this network says {:.1} ms", .measured.from, .measured.to,
    .measured.round_trip.as_secs_f64() * 1e3, .expected.as_secs_f64() * 1e3)]
pub struct Off {
    /// What was measured.
    pub measured: Measured,
    /// What the network says.
    pub expected: Duration,
}

impl Placement {
    pub(super) fn new(network: Network, replicas: u16, clients: u16) -> Self {
        let regions = network.regions.len();
        let in_turn = |number: u16| usize::from(number) % regions;
        let replicas = (0..replicas).map(in_turn).collect();
        let clients = match network.clients {
            ClientRegions::Spread => (0..clients).map(in_turn).collect(),
            ClientRegions::One(region) => vec![region; usize::from(clients)],
        };
        Self { network, replicas, clients }
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The region that somebody is in; none if nobody of that number was placed.
    #[must_use]
    pub fn region_of(&self, who: Place) -> Option<&str> {
        self.region(who).map(|region| self.network.regions[region].as_str())
    }

    fn region(&self, who: Place) -> Option<usize> {
        match who {
            Place::Replica(id) => self.replicas.get(usize::from(id)).copied(),
            Place::Client(number) => self.clients.get(usize::from(number)).copied(),
        }
    }

    /// Mean time of a round trip between two of them; none if one of them was not placed.
    #[must_use]
    pub fn round_trip(&self, one: Place, other: Place) -> Option<Duration> {
        let (one, other) = (self.region(one)?, self.region(other)?);
        Some(self.network.one_way(one, other) + self.network.one_way(other, one))
    }

    /// How long a call of a client takes by the protocol's pattern of messages, while `primary` is the primary, replicas
    /// in `absent` say nothing, and nobody has anything else to do; none if one of them was not placed, or too many are
    /// absent.
    #[must_use]
    pub fn expected_latency(&self, primary: u16, client: u16, absent: &[u16]) -> Option<Duration> {
        self.region(Place::Replica(primary))?;
        let client = self.region(Place::Client(client))?;
        let at = |replica: usize| self.replicas[replica];
        let ways = Ways {
            between: &|from, to| match from == to {
                true => Duration::ZERO,
                false => self.network.one_way(at(from), at(to)),
            },
            out: &|replica| self.network.one_way(client, at(replica)),
            back: &|replica| self.network.one_way(at(replica), client),
        };
        let absent: Vec<usize> = absent.iter().map(|replica| usize::from(*replica)).collect();
        latency::expected(self.replicas.len(), usize::from(primary), &absent, &ways)
    }

    /// The median of that over all clients, each of which makes as many calls as any other (the lower one of two); none
    /// if there are none.
    #[must_use]
    pub fn expected_median(&self, primary: u16, absent: &[u16]) -> Option<Duration> {
        let clients = 0..u16::try_from(self.clients.len()).ok()?;
        let mut all: Vec<Duration> =
            clients.filter_map(|client| self.expected_latency(primary, client, absent)).collect();
        all.sort_unstable();
        all.get(all.len().checked_sub(1)? / 2).copied()
    }

    /// The clients by region: as many sockets as they need.
    #[must_use]
    pub fn sources(&self) -> Vec<Source> {
        let regions = 0..self.network.regions.len();
        let source = |region: usize| {
            let numbered = (0..).zip(&self.clients);
            let clients: Vec<u16> =
                numbered.filter(|(_, at)| **at == region).map(|(number, _)| number).collect();
            let last = u8::try_from(region + 1).unwrap_or(u8::MAX);
            let address = IpAddr::V4(Ipv4Addr::new(127, 77, 0, last));
            Source { region: self.network.regions[region].clone(), clients, address }
        };
        regions.map(source).filter(|source| !source.clients.is_empty()).collect()
    }

    /// What a process or socket has to emulate, with chance from `seed`.
    #[must_use]
    pub fn emulation_for(&self, sender: Sender, ends: &Ends, seed: u64) -> EmulationFile {
        let sources = self.sources();
        let region_of_source = |source: usize| {
            sources.get(source).and_then(|source| self.region(Place::Client(source.clients[0])))
        };
        let (here, own) = match sender {
            Sender::Replica(id) => (self.region(Place::Replica(id)), Some(usize::from(id))),
            Sender::Clients(source) => (region_of_source(source), None),
        };
        let Some(here) = here else { return EmulationFile { seed, ..EmulationFile::default() } };
        // By who they are, and not by their ports, which are others in each run.
        let rule = |there: usize, seed: usize| Rule { seed: seed as u64, ..self.network.links[here][there] };
        let replicas = |addresses: &[SocketAddr]| -> Vec<(Target, Rule)> {
            let ends = addresses.iter().zip(&self.replicas).enumerate();
            let others = ends.filter(|(replica, _)| Some(*replica) != own);
            others
                .map(|(replica, (address, there))| (Target::Socket(*address), rule(*there, replica + 1)))
                .collect()
        };
        let mut links = Vec::new();
        match sender {
            Sender::Replica(_) => {
                links.extend(replicas(&ends.peers));
                let known = ends.sources.iter().enumerate();
                links.extend(known.filter_map(|(source, end)| {
                    Some((*end, rule(region_of_source(source)?, FIRST_SOURCE + source)))
                }));
            }
            Sender::Clients(_) => links.extend(replicas(&ends.clients)),
        }
        links.retain(|(_, rule)| !rule.is_nothing());
        EmulationFile { seed: seed ^ seed_of(sender), links: links.into_iter().collect() }
    }

    /// What correct replicas measured on this network, by what they said at rest before a load and after it.
    #[must_use]
    pub fn checked(&self, before: &[Status], after: &[Status]) -> NetworkCheck {
        let measured = Measured::of(before);
        let off = self.check(&measured, AT_REST);
        let more = |name| counted(after, name).saturating_sub(counted(before, name));
        let (delayed, late_us) =
            (more("quorate_emulation_delayed_total"), more("quorate_emulation_late_microseconds_total"));
        NetworkCheck {
            expected_p50_us: 0.0,
            round_trips: measured.len() as u64,
            off: off.iter().map(ToString::to_string).collect(),
            lost: more("quorate_emulation_lost_total"),
            dropped: more("quorate_emulation_dropped_total"),
            late_us: late_us as f64 / delayed.max(1) as f64,
        }
    }

    /// Which of the measured round trips are shorter than the network says, or longer by more than `slack`, which is what
    /// the machine itself may add to a round trip.
    #[must_use]
    pub fn check(&self, measured: &[Measured], slack: Duration) -> Vec<Off> {
        let off = |measured: &Measured| {
            let expected = self.round_trip(measured.from, measured.to)?;
            let (one, other) = (self.region(measured.from)?, self.region(measured.to)?);
            // What is smoothed over a few packets may be all at one end of the jitter.
            let jitter: u64 =
                [(one, other), (other, one)].iter().map(|(a, b)| self.network.links[*a][*b].jitter_us).sum();
            let swing = Duration::from_micros(jitter / 2);
            let fits = expected.saturating_sub(swing)..=expected + swing + slack;
            (!fits.contains(&measured.round_trip)).then_some(Off { measured: *measured, expected })
        };
        measured.iter().filter_map(off).collect()
    }
}

/// What replicas count, by the name of its metric, all of them together.
fn counted(statuses: &[Status], name: &str) -> u64 {
    statuses.iter().map(|status| status.counter(name)).sum()
}

/// Processes that share a seed must not share their chances.
fn seed_of(sender: Sender) -> u64 {
    match sender {
        Sender::Replica(id) => (u64::from(id) + 1) << 32,
        Sender::Clients(source) => (source as u64 + 1) << 48,
    }
}

impl NetworkCheck {
    /// Adds the check of another run, the `run`th from 1.
    pub(crate) fn add(&mut self, other: &Self, run: usize) {
        self.expected_p50_us = other.expected_p50_us;
        self.round_trips += other.round_trips;
        self.lost += other.lost;
        self.dropped += other.dropped;
        self.late_us += (other.late_us - self.late_us) / run.max(1) as f64;
        let told = other.off.iter().filter(|off| !self.off.contains(off)).cloned();
        let told: Vec<String> = told.take(OFF_MAX.saturating_sub(self.off.len())).collect();
        self.off.extend(told);
    }
}

impl Measured {
    /// The round trips that replicas measured to each other.
    #[must_use]
    pub fn of(statuses: &[Status]) -> Vec<Self> {
        let of_one = |status: &Status| {
            let from = Place::Replica(status.replica);
            let heard = status.heard.iter().filter(|heard| heard.rtt_us > 0);
            let measured = heard.map(move |heard| Self {
                from,
                to: Place::Replica(heard.replica),
                round_trip: Duration::from_micros(heard.rtt_us),
            });
            measured.collect::<Vec<_>>()
        };
        statuses.iter().flat_map(of_one).collect()
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Replica(id) => write!(f, "replica {id}"),
            Self::Client(number) => write!(f, "client {number}"),
        }
    }
}
