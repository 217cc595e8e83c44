//! A cluster of real processes, on this machine or on several: started, struck, asked, judged, and gone when whoever
//! drives it is, however that ends.
//!
//! The testbed and the benchmark drive the same [`Cluster`]. It knows which machine runs which replica; everything that
//! touches a process or a file is an [`Order`] to the [`Hand`] of that machine.

mod control;
mod deed;
mod hand;
mod judge;
mod liars;
mod load;
mod standing;
mod verdict;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quorate_node::cluster_file::{Clients, ClusterFile, Draft, GenerateError, Preset};
use quorate_node::status::Status;

pub use self::deed::Deed;
pub use self::hand::Hand;
pub use self::liars::{Liars, Lying};
use self::load::LoadOnHands;
use self::standing::State;
pub use self::verdict::{Verdict, named};
use crate::load::join_all;
use crate::worker::{Answer, End, Footprint, Installation, Machine, Order, Recruit, Usage, WorkerError};

/// What network to emulate: by id, the text of each replica's file, which can be written once it is known where every
/// replica listens. A replica that is not in it has the real network. An alias, because a closure has no shorter name.
pub type Emulate = Box<dyn FnOnce(&ClusterFile) -> BTreeMap<u16, String> + Send>;

/// What cluster to start.
pub struct ClusterConfig {
    /// What to call it.
    pub name: String,
    /// Replicas, n.
    pub replicas: u16,
    /// What they run.
    pub application: String,
    /// Constants of the protocol, and local tuning: durability and layout among it.
    pub preset: Preset,
    /// Bytes of each reply of the application `null`.
    pub reply_bytes: u32,
    /// Who lies.
    pub liars: Liars,
    /// The emulated network, if the real one is not what is wanted.
    pub emulate: Option<Emulate>,
    /// Which of the hands runs each replica, by its place in the list; empty for all of them in turn.
    pub places: Vec<usize>,
    /// Whether replicas can be told to lie, and be parted from each other, while they run.
    pub controlled: bool,
}

/// Why a cluster cannot be what it was asked to be.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is nobody to run a replica.
    #[error("replica {replica} is to run on machine {place}, and there are {machines}; name one of 0 to {}", .machines.saturating_sub(1))]
    NoSuchPlace {
        /// The replica.
        replica: u16,
        /// Where it was to run.
        place: usize,
        /// How many machines there are.
        machines: usize,
    },
    /// No cluster file follows from what was asked for.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// An order could not be carried out.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// A replica ended before all of them were up.
    #[error("a replica ended at its start: {0}")]
    Ended(String),
    /// The replicas did not find each other.
    #[error("the replicas did not all reach each other within {patience:?}; {words}")]
    Apart {
        /// How long they had.
        patience: Duration,
        /// What they said last.
        words: String,
    },
}

/// One replica: where it runs, and what was done to it.
#[derive(Debug, Clone, Copy)]
struct Member {
    place: usize,
    state: State,
    footprint: Footprint,
}

/// Replicas as processes.
pub struct Cluster {
    file: ClusterFile,
    members: Vec<Member>,
    hands: Vec<Hand>,
    liars: Liars,
    machines: Vec<Machine>,
    load: LoadOnHands,
    /// Whom each replica may speak with, while the cluster is parted.
    parted: Option<Vec<Vec<u16>>>,
}

impl Cluster {
    /// Makes keys, configuration and data folders on every machine, and starts every replica. The hands are taken; if the
    /// cluster cannot be, they are left, to be used again.
    ///
    /// # Errors
    /// [`ClusterError`]; whatever was started by then is ended.
    pub async fn start(config: ClusterConfig, hands: &mut Vec<Hand>) -> Result<Self, ClusterError> {
        let found = Self::found(config, hands).await;
        match found {
            Ok(cluster) => Ok(Self { hands: std::mem::take(hands), ..cluster }),
            Err(error) => {
                dismiss(hands).await;
                Err(error)
            }
        }
    }

    /// The cluster, but for its hands.
    async fn found(config: ClusterConfig, hands: &mut [Hand]) -> Result<Self, ClusterError> {
        let places = places(&config, hands.len())?;
        let mut machines = Vec::new();
        for hand in hands.iter_mut() {
            machines.push(expect(hand.carry_out(Order::Describe).await?, |answer| match answer {
                Answer::Machine(machine) => Ok(machine),
                other => Err(other),
            })?);
        }
        let recruits = recruit(&places, hands).await?;
        let draft = Draft {
            name: config.name,
            application: config.application,
            testing: true,
            allow_f0: false,
            clients: Clients::Open,
            parameters: config.preset.parameters,
            node: config.preset.node,
            addresses: recruits.iter().map(Recruit::addresses).collect(),
        };
        let keys: Vec<_> = recruits.iter().map(Recruit::public).collect();
        let file = ClusterFile::found(draft, &keys)?;
        let mut emulations = config.emulate.map_or_else(BTreeMap::new, |emulate| emulate(&file));
        for (place, hand) in hands.iter_mut().enumerate() {
            let ours = replicas_at(&places, place);
            let of_ours = |replica: &u16| Some((*replica, emulations.remove(replica)?));
            let installation = Installation {
                cluster: file.to_toml(),
                reply_bytes: config.reply_bytes,
                emulations: ours.iter().filter_map(of_ours).collect(),
                liars: ours.iter().filter_map(|id| Some((*id, config.liars.behaviour(*id)?))).collect(),
                seed: config.liars.seed(),
                controlled: config.controlled,
            };
            hand.carry_out(Order::Install(Box::new(installation))).await?;
        }
        for (place, hand) in hands.iter_mut().enumerate() {
            hand.carry_out(Order::Spawn(replicas_at(&places, place))).await?;
        }
        let member = |place| Member { place, state: State::Running, footprint: Footprint::default() };
        let members = places.into_iter().map(member).collect();
        let (hands, load) = (Vec::new(), LoadOnHands::default());
        Ok(Self { file, members, hands, liars: config.liars, machines, load, parted: None })
    }

    /// Has each of these replicas' machines carry out an order about those of them that it runs, all machines side by
    /// side; gives back each machine's replicas and answer.
    async fn tell(
        &mut self,
        replicas: &[u16],
        order: impl Fn(Vec<u16>) -> Order,
    ) -> Result<Vec<(Vec<u16>, Answer)>, WorkerError> {
        let members = &self.members;
        let told = self.hands.iter_mut().enumerate().filter_map(|(place, hand)| {
            let is_there = |replica: &&u16| {
                members.get(usize::from(**replica)).is_some_and(|member| member.place == place)
            };
            let there: Vec<u16> = replicas.iter().filter(is_there).copied().collect();
            let order = (!there.is_empty()).then(|| order(there.clone()))?;
            Some(async move { hand.carry_out(order).await.map(|answer| (there, answer)) })
        });
        join_all(told).await.into_iter().collect()
    }

    /// Has every machine carry out an order, side by side.
    async fn tell_all(&mut self, order: &Order) -> Result<Vec<Answer>, WorkerError> {
        let told = self.hands.iter_mut().map(|hand| hand.carry_out(order.clone()));
        join_all(told).await.into_iter().collect()
    }

    /// Looks what every replica takes of its machine. A machine that does not say leaves what it said before.
    pub async fn survey(&mut self) {
        for answer in self.tell_all(&Order::Survey).await.unwrap_or_default() {
            let Answer::Footprints(footprints) = answer else { continue };
            for (replica, footprint) in footprints {
                if let Some(member) = self.members.get_mut(usize::from(replica)) {
                    member.footprint = footprint;
                }
            }
        }
    }

    /// The most that each replica took at any survey, in order of id.
    #[must_use]
    pub fn footprints(&self) -> Vec<Footprint> {
        self.members.iter().map(|member| member.footprint).collect()
    }

    /// What replicas and load have taken of the processors since they were started.
    ///
    /// # Errors
    /// [`WorkerError`] if a machine does not say.
    pub async fn usage(&mut self) -> Result<Usage, WorkerError> {
        let mut all = Usage::default();
        for answer in self.tell_all(&Order::Usage).await? {
            if let Answer::Usage(usage) = answer {
                all.add(&usage);
            }
        }
        Ok(all)
    }

    /// How many replicas there are.
    #[must_use]
    pub fn size(&self) -> u16 {
        u16::try_from(self.members.len()).unwrap_or(u16::MAX)
    }

    /// Those who lie on purpose.
    #[must_use]
    pub fn liars(&self) -> &Liars {
        &self.liars
    }

    /// The cluster's file.
    #[must_use]
    pub fn file(&self) -> &ClusterFile {
        &self.file
    }

    /// The machines, in the order of their hands.
    #[must_use]
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// The cluster's folder on this machine; none if no replica of it runs here.
    #[must_use]
    pub fn folder(&self) -> Option<PathBuf> {
        let here = |hand: &Hand| match hand {
            Hand::Here(worker) => worker.folder().map(Path::to_owned),
            Hand::There(_) => None,
        };
        self.hands.iter().find_map(here)
    }

    /// Waits until every replica has a link to every other; nobody waits for a liar's links.
    ///
    /// # Errors
    /// [`ClusterError::Ended`] or [`ClusterError::Apart`], with what the replicas said last.
    pub async fn wait_until_up(&mut self, patience: Duration) -> Result<(), ClusterError> {
        let until = Instant::now() + patience;
        loop {
            let statuses = self.statuses().await;
            let honest = self.members.len() - self.liars.ids().len();
            let complete = |status: &Option<Status>| {
                let linked = |status: &Status| {
                    let others = status.links_up.iter().filter(|other| !self.liars.is_liar(**other));
                    self.liars.is_liar(status.replica) || others.count() + 1 == honest
                };
                status.as_ref().is_some_and(linked)
            };
            if statuses.iter().all(complete) {
                return Ok(());
            }
            if let Some(end) = self.ended().await?.into_iter().next() {
                return Err(ClusterError::Ended(end.words));
            }
            if Instant::now() > until {
                return Err(ClusterError::Apart { patience, words: self.last_words().await });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The replicas whose processes ended though no order ended them, by id.
    ///
    /// # Errors
    /// [`WorkerError`] if a machine does not say.
    pub async fn ended(&mut self) -> Result<Vec<End>, WorkerError> {
        let mut ended = Vec::new();
        for answer in self.tell_all(&Order::Ended).await? {
            let Answer::Ended(there) = answer else { return Err(WorkerError::Answer) };
            ended.extend(there);
        }
        ended.sort_by_key(|end| end.replica);
        Ok(ended)
    }

    /// What the replicas said last, where one said anything.
    pub async fn last_words(&mut self) -> String {
        let said = self.tell_all(&Order::LastWords).await.unwrap_or_default();
        words(said).unwrap_or_else(|| "the replicas' logs are empty".to_owned())
    }

    /// The last bytes of a replica's log, at most so many.
    ///
    /// # Errors
    /// [`WorkerError`] if its machine does not say.
    pub async fn log(&mut self, replica: u16, bytes_max: usize) -> Result<Vec<u8>, WorkerError> {
        let mut log = Vec::new();
        let mut from = 0;
        loop {
            let answers = self.tell(&[replica], |_| Order::Log { replica, from }).await?;
            let Some((_, Answer::Piece(piece))) = answers.into_iter().next() else { return Ok(log) };
            if piece.is_empty() {
                return Ok(log);
            }
            from += piece.len() as u64;
            log.extend(piece);
            log.drain(..log.len().saturating_sub(bytes_max));
        }
    }

    /// The status of every replica; none of one that does not answer, or was killed.
    pub async fn statuses(&mut self) -> Vec<Option<Status>> {
        let living: Vec<u16> = (0..self.size()).filter(|replica| self.lives(*replica)).collect();
        let mut known = self.statuses_of(&living).await;
        (0..self.size()).map(|replica| known.remove(&replica).flatten()).collect()
    }

    async fn statuses_of(&mut self, replicas: &[u16]) -> BTreeMap<u16, Option<Status>> {
        let answers = self.tell(replicas, Order::Statuses).await.unwrap_or_default();
        let mut known = BTreeMap::new();
        for (replicas, answer) in answers {
            if let Answer::Statuses(statuses) = answer {
                known.extend(replicas.into_iter().zip(statuses));
            }
        }
        known
    }

    /// Ends every replica and the load, gently first. The hands can serve another cluster then.
    pub async fn stop(&mut self) {
        dismiss(&mut self.hands).await;
    }

    /// The hands, for the next cluster; to be called after [`Cluster::stop`].
    #[must_use]
    pub fn into_hands(self) -> Vec<Hand> {
        self.hands
    }
}

/// Ends whatever each hand has started. One that cannot be reached any more ends it by itself.
async fn dismiss(hands: &mut [Hand]) {
    drop(join_all(hands.iter_mut().map(|hand| hand.carry_out(Order::Stop))).await);
}

/// Which hand runs each replica.
fn places(config: &ClusterConfig, machines: usize) -> Result<Vec<usize>, ClusterError> {
    let place = |replica: u16| {
        let in_turn = usize::from(replica).checked_rem(machines).unwrap_or(0);
        let place = config.places.get(usize::from(replica)).copied().unwrap_or(in_turn);
        let there = (place < machines).then_some(place);
        there.ok_or(ClusterError::NoSuchPlace { replica, place, machines })
    };
    (0..config.replicas).map(place).collect()
}

/// The replicas that run at one place.
fn replicas_at(places: &[usize], place: usize) -> Vec<u16> {
    (0..).zip(places).filter(|(_, at)| **at == place).map(|(replica, _)| replica).collect()
}

/// Has every machine make keys for its replicas and choose where they listen.
async fn recruit(places: &[usize], hands: &mut [Hand]) -> Result<Vec<Recruit>, ClusterError> {
    let mut recruits = BTreeMap::new();
    let mut taken = Vec::new();
    for (place, hand) in hands.iter_mut().enumerate() {
        let replicas = replicas_at(places, place);
        let order = Order::Recruit { replicas: replicas.clone(), avoid: taken.clone() };
        let made = expect(hand.carry_out(order).await?, |answer| match answer {
            Answer::Recruits(made) if made.len() == replicas.len() => Ok(made),
            other => Err(other),
        })?;
        let ports = made.iter().flat_map(|recruit| [recruit.peer, recruit.client, recruit.admin]);
        taken.extend(ports.map(|address| address.port()));
        recruits.extend(replicas.into_iter().zip(made));
    }
    Ok(recruits.into_values().collect())
}

/// What was expected of an answer, or that it is another one.
fn expect<T>(answer: Answer, found: impl FnOnce(Answer) -> Result<T, Answer>) -> Result<T, WorkerError> {
    found(answer).map_err(|_| WorkerError::Answer)
}

/// The first words that anybody has.
fn words(answers: Vec<Answer>) -> Option<String> {
    answers.into_iter().find_map(|answer| match answer {
        Answer::Words(words) => words,
        _ => None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::worker::{Home, Worker};

    fn config(replicas: u16, places: &[usize]) -> ClusterConfig {
        ClusterConfig {
            name: "test".to_owned(),
            replicas,
            application: "null".to_owned(),
            preset: Preset::default(),
            reply_bytes: 0,
            liars: Liars::default(),
            emulate: None,
            places: places.to_vec(),
            controlled: false,
        }
    }

    #[test]
    fn replicas_are_where_they_were_placed_or_on_all_machines_in_turn() {
        let in_turn = places(&config(5, &[]), 2).unwrap();
        assert_eq!((in_turn.as_slice(), replicas_at(&in_turn, 1)), (&[0, 1, 0, 1, 0][..], vec![1, 3]));
        assert_eq!(places(&config(4, &[2, 2, 1, 1]), 3).unwrap(), [2, 2, 1, 1]);
        let error = places(&config(4, &[0, 0, 3, 0]), 3).unwrap_err().to_string();
        assert!(error.contains("replica 2 is to run on machine 3") && error.contains("0 to 2"), "{error}");
        assert!(places(&config(4, &[]), 0).is_err(), "nobody is there");
    }

    #[tokio::test]
    async fn a_cluster_that_cannot_be_started_leaves_its_hands_and_no_file() {
        let home = tempfile::tempdir().unwrap();
        let program = PathBuf::from("/nonexistent/quorate");
        let worker = Worker::local(program, Home::Within(home.path().to_owned()));
        let mut hands = vec![Hand::Here(Box::new(worker))];
        for _ in 0..2 {
            let error = Cluster::start(config(4, &[]), &mut hands).await.map(drop).unwrap_err();
            assert!(error.to_string().contains("cannot start replica 0"), "{error}");
            assert_eq!((hands.len(), std::fs::read_dir(home.path()).unwrap().count()), (1, 0));
        }
        let few = Cluster::start(config(3, &[]), &mut hands).await.map(drop).unwrap_err();
        assert!(matches!(few, ClusterError::Generate(_)), "{few}");
    }
}
