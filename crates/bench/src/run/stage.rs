//! A cluster with its clients, as a cell asks for it.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_node::cluster_file::ClusterFile;
use quorate_node::emulation::Target;
use quorate_node::status::Status;

use super::RunError;
use crate::cluster::{Cluster, ClusterConfig, Emulate, Hand, Liars};
use crate::cost::Used;
use crate::figure::{Figure, Plan};
use crate::load::{Assignment, Manner, Source, Workload};
use crate::network::{Ends, Placement, Sender};
use crate::record::{Cell, NetworkCheck};
use crate::worker::{Answer, Machine, Order, Usage};

/// How long a cluster may take to come up, and its clients to get sessions, for each replica that it has.
const PATIENCE_PER_REPLICA: Duration = Duration::from_secs(3);
/// But never less.
const PATIENCE_MIN: Duration = Duration::from_secs(30);
/// How long replicas may take to come to rest before anything is counted.
const CALM: Duration = Duration::from_secs(5);
/// The behaviour of those who say nothing.
const MUTE: &str = "mute";

/// All machines, while no cluster has them.
pub(super) struct Set {
    hands: Vec<Hand>,
    client_places: Vec<usize>,
    replica_places: Vec<usize>,
}

/// A machine that takes part.
pub(super) struct Described {
    pub(super) name: String,
    pub(super) machine: Machine,
    pub(super) has_replicas: bool,
}

/// Cores that replicas have all together; agents that share a machine share its cores.
pub(super) fn cores(machines: &[Described]) -> usize {
    let with_replicas = machines.iter().filter(|machine| machine.has_replicas);
    let known: BTreeMap<&str, u16> =
        with_replicas.map(|of| (of.machine.name.as_str(), of.machine.cores)).collect();
    known.values().map(|cores| usize::from(*cores)).sum()
}

/// Cores of all machines that take part, those with clients alone among them.
pub(super) fn all_cores(machines: &[Described]) -> usize {
    let known: BTreeMap<&str, u16> =
        machines.iter().map(|of| (of.machine.name.as_str(), of.machine.cores)).collect();
    known.values().map(|cores| usize::from(*cores)).sum()
}

impl Set {
    pub(super) fn new(hands: Vec<Hand>, client_places: Vec<usize>, replica_places: Vec<usize>) -> Self {
        Self { hands, client_places, replica_places }
    }

    /// The machines that run replicas or clients: each as the figure calls it, or as it calls itself.
    pub(super) async fn describe(&mut self, figure: &Figure) -> Vec<Described> {
        let mut described = Vec::new();
        for (place, hand) in self.hands.iter_mut().enumerate() {
            let has_replicas = self.replica_places.contains(&place);
            if !has_replicas && !self.client_places.contains(&place) {
                continue;
            }
            let machine = match hand.carry_out(Order::Describe).await {
                Ok(Answer::Machine(machine)) => machine,
                Ok(_) | Err(_) => Machine { name: hand.name(), ..Machine::default() },
            };
            let called = place.checked_sub(1).and_then(|place| figure.machines.get(place));
            let name = called.map_or_else(|| machine.name.clone(), |called| called.name.clone());
            described.push(Described { name, machine, has_replicas });
        }
        described
    }

    /// Nobody needs them any more.
    pub(super) async fn dismiss(&mut self) {
        for hand in &mut self.hands {
            hand.close().await;
        }
    }
}

/// A cluster that is up, whose clients have sessions.
pub(super) struct Stage {
    pub(super) cluster: Cluster,
    placement: Option<Placement>,
    /// The places of clients.
    clients: Vec<usize>,
    /// What was used before anything was measured.
    idle: Usage,
}

impl Stage {
    /// Starts a cluster, kills who is to be gone from the beginning, and connects the clients.
    pub(super) async fn set(
        (figure, cell): (&Figure, &Cell),
        plan: &Plan,
        set: &mut Set,
    ) -> Result<Self, RunError> {
        let placement = placement((figure, cell))?;
        let places = (0..usize::from(cell.n)).map(|replica| {
            set.replica_places.get(replica % set.replica_places.len().max(1)).copied().unwrap_or(0)
        });
        let config = ClusterConfig {
            name: "bench".to_owned(),
            replicas: cell.n,
            application: cell.application.clone(),
            preset: figure.preset(cell),
            reply_bytes: cell.reply,
            liars: Liars::new(plan.liars.clone(), figure.seed),
            emulate: placement.clone().map(|placement| -> Emulate {
                let seed = figure.seed;
                Box::new(move |file| emulations(file, &placement, seed))
            }),
            places: places.collect(),
            controlled: false,
        };
        let cluster = Cluster::start(config, &mut set.hands).await?;
        let clients = set.client_places.clone();
        let mut stage = Self { cluster, placement, clients, idle: Usage::default() };
        match stage.bring_up((figure, cell), plan).await {
            Ok(()) => Ok(stage),
            Err(error) => {
                stage.strike(set).await;
                Err(error)
            }
        }
    }

    async fn bring_up(&mut self, (figure, cell): (&Figure, &Cell), plan: &Plan) -> Result<(), RunError> {
        let patience = (PATIENCE_PER_REPLICA * u32::from(cell.n)).max(PATIENCE_MIN);
        self.cluster.wait_until_up(patience).await?;
        if !plan.crashed.is_empty() {
            self.cluster.kill(&plan.crashed).await?;
        }
        let assignments = self.assignments((figure, cell), plan, patience)?;
        self.cluster.start_load(assignments).await?;
        Ok(())
    }

    /// Ends the cluster, so that the next one can be set.
    pub(super) async fn strike(self, set: &mut Set) {
        let Self { mut cluster, .. } = self;
        cluster.stop().await;
        set.hands = cluster.into_hands();
    }

    /// Which clients each machine runs. On several machines each has its share, all of them on one machine else.
    fn assignments(
        &self,
        (figure, cell): (&Figure, &Cell),
        plan: &Plan,
        patience: Duration,
    ) -> Result<Vec<(usize, Assignment)>, RunError> {
        let workload =
            Workload::of(&cell.application).ok_or_else(|| RunError::NoWorkload(cell.application.clone()))?;
        let machines = u16::try_from(self.clients.len()).unwrap_or(u16::MAX).max(1);
        let mut assignments: Vec<(usize, Assignment)> = Vec::new();
        for (number, place) in (0..machines).zip(&self.clients) {
            let first_client = assignments.iter().map(|(_, before)| before.clients).sum();
            let clients = share(cell.clients, number, machines);
            let bad_signers = plan.bad_clients.map_or(0, |bad| share(bad.connections, number, machines));
            let sources = self.sources(figure.seed);
            let manner = Manner { sources, first_client, stretches: false, bad_signers };
            let assignment = Assignment {
                workload,
                clients,
                in_flight: cell.in_flight,
                bundle: cell.bundle,
                payload: cell.payload,
                manner,
                patience_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
            };
            if clients > 0 {
                assignments.push((*place, assignment));
            }
        }
        Ok(assignments)
    }

    /// The sockets of clients where a network is emulated; none else.
    fn sources(&self, seed: u64) -> Vec<Source> {
        let Some(placement) = &self.placement else { return Vec::new() };
        let ends = ends(self.cluster.file(), placement);
        let source = |(index, source): (usize, crate::network::Source)| {
            let emulation = placement.emulation_for(Sender::Clients(index), &ends, seed);
            Source {
                bind: source.address,
                emulation: (!emulation.links.is_empty()).then(|| emulation.to_toml()),
                clients: u16::try_from(source.clients.len()).unwrap_or(u16::MAX),
            }
        };
        placement.sources().into_iter().enumerate().map(source).collect()
    }

    /// What correct replicas say once they are at rest. What was used until then is forgotten.
    pub(super) async fn calm(&mut self) -> Result<Vec<Status>, RunError> {
        let statuses = self.cluster.at_rest(CALM).await;
        self.idle = self.cluster.usage().await?;
        Ok(self.correct(&statuses))
    }

    /// What correct replicas said before a load and after it of the network, if it is an emulated one.
    pub(super) fn network_check(
        &self,
        said: (&[Status], &[Status]),
        (plan, view): (&Plan, u64),
    ) -> NetworkCheck {
        let Some(placement) = &self.placement else { return NetworkCheck::default() };
        let primary = primary_of(view, self.cluster.size());
        let expected_p50_us = expected_us(placement, plan, primary).unwrap_or(0.0);
        NetworkCheck { expected_p50_us, ..placement.checked(said.0, said.1) }
    }

    /// The newest view of any correct replica.
    pub(super) async fn newest_view(&mut self) -> Option<u64> {
        let statuses = self.cluster.statuses().await;
        newest(&self.correct(&statuses))
    }

    /// What those say who do not lie.
    pub(super) fn correct(&self, statuses: &[Option<Status>]) -> Vec<Status> {
        self.cluster.liars().trusted(statuses).into_iter().flatten().collect()
    }

    /// What was used since the last calm, replicas that lie included; the correct ones are those that say these.
    pub(super) async fn used(&mut self, correct: &[Status]) -> Result<Used, RunError> {
        self.cluster.survey().await;
        let memory = self.cluster.footprints().iter().filter_map(|of| of.memory).max();
        let usage = self.cluster.usage().await?.since(&self.idle);
        let correct: Vec<u16> = correct.iter().map(|status| status.replica).collect();
        Ok(Used::of(&usage, &correct, memory.unwrap_or(0)))
    }
}

/// The newest view of these.
pub(super) fn newest(statuses: &[Status]) -> Option<u64> {
    statuses.iter().map(|status| status.view).max()
}

/// The primary of a view among `n` replicas.
pub(super) fn primary_of(view: u64, n: u16) -> u16 {
    u16::try_from(view % u64::from(n.max(1))).unwrap_or_default()
}

/// Median latency in microseconds that a network alone causes under a primary; none while somebody is struck or the
/// primary says nothing.
fn expected_us(placement: &Placement, plan: &Plan, primary: u16) -> Option<f64> {
    // Who lies otherwise than by saying nothing may still be waited for.
    let mute = |told: &[String]| told.iter().any(|behaviour| behaviour.starts_with(MUTE));
    let silent = plan.liars.iter().filter(|(_, told)| mute(told)).map(|(id, _)| *id);
    let absent: Vec<u16> = plan.crashed.iter().copied().chain(silent).collect();
    let expected = placement.expected_median(primary, &absent).filter(|_| plan.strikes.is_empty())?;
    Some(expected.as_secs_f64() * 1e6)
}

/// The same before anything is known of a cluster, on the emulated network of a cell: the first replica that is there
/// and does not lie is taken for the primary, for one that lies is deposed.
pub(super) fn expected_of((figure, cell): (&Figure, &Cell), plan: &Plan) -> Option<f64> {
    let placement = placement((figure, cell)).ok().flatten()?;
    let honest = |id: &u16| !plan.crashed.contains(id) && !plan.liars.contains_key(id);
    expected_us(&placement, plan, (0..cell.n).find(honest)?)
}

/// The network of a cell; none for the machine's own.
fn placement((figure, cell): (&Figure, &Cell)) -> Result<Option<Placement>, RunError> {
    Ok(figure.network(cell)?.map(|network| network.place(cell.n, cell.clients)))
}

/// What each replica has to emulate, as the texts of files.
fn emulations(file: &ClusterFile, placement: &Placement, seed: u64) -> BTreeMap<u16, String> {
    let ends = ends(file, placement);
    let of = |id: u16| {
        let emulation = placement.emulation_for(Sender::Replica(id), &ends, seed);
        (!emulation.links.is_empty()).then(|| (id, emulation.to_toml()))
    };
    file.replicas().iter().filter_map(|replica| of(replica.id.0)).collect()
}

/// Where everybody listens.
fn ends(file: &ClusterFile, placement: &Placement) -> Ends {
    let addresses = || file.replicas().iter().map(|replica| replica.addresses);
    Ends {
        peers: addresses().map(|addresses| addresses.peer).collect(),
        clients: addresses().map(|addresses| addresses.client).collect(),
        sources: placement.sources().iter().map(|source| Target::Host(source.address)).collect(),
    }
}

/// What the `number`th of so many machines has of `all`: differing by one at most.
fn share(all: u16, number: u16, machines: u16) -> u16 {
    all / machines + u16::from(number < all % machines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_should_take_follows_from_the_primary_that_serves() {
        let network = crate::network::Network::find("wan-world", std::path::Path::new("."));
        let Ok(Some(network)) = network else { panic!("a network that is part of the program") };
        let placement = network.place(4, 4);
        let lying = |sin: &str| {
            let liars = BTreeMap::from([(0, vec![sin.to_owned()])]);
            Plan { liars, ..Plan::default() }
        };
        let told = |sin, view| expected_us(&placement, &lying(sin), primary_of(view, 4));
        let (before, deposed) = (told("equivocate", 0), told("equivocate", 1));
        assert!(before.is_some() && deposed.is_some() && before != deposed, "{before:?}, {deposed:?}");
        assert_eq!(told("equivocate", 4), before, "all views around");
        // Who says nothing proposes nothing, and is waited for by nobody.
        assert!(told("mute", 0).is_none() && told("mute", 1).is_some());
    }

    #[test]
    fn clients_are_shared_out_to_the_last_one() {
        let shares =
            |all, machines| (0..machines).map(|number| share(all, number, machines)).collect::<Vec<_>>();
        assert_eq!((shares(16, 1), shares(16, 3), shares(2, 3)), (vec![16], vec![6, 5, 5], vec![1, 1, 0]));
    }
}
