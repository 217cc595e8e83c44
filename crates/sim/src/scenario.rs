//! What a seed makes: a cluster, its links, its clients, its misfortunes and its liars, and the verdict on them.

pub mod expect;
pub mod file;
mod liars;
mod misfortunes;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use quorate_host::byzantine::{Lies, Sin};
use quorate_protocol::client::Read;
use quorate_protocol::committee::faults;
use quorate_protocol::parameters::Parameters;
use quorate_protocol::replica::{Replica, Status};
use quorate_protocol::types::{ReplicaId, Seq, Time};

use crate::app::Service;
use crate::check::{Checked, Violation};
use crate::client::SimClient;
use crate::network::Profile;
use crate::node::{Costs, Node};
use crate::rng::Rng;
use crate::verdict::Verdict;
use crate::words::{self, count};
use crate::world::{Fault, Injected, Setting, Whom, World};
use expect::Run;
use misfortunes::Misfortunes;

/// When worlds begin.
pub(crate) const BEGINNING: Time = Time(1_000_000);

/// What clocks say more than the world's time, in microseconds: so much that they can be wrong by hours.
const EPOCH_US: u64 = 20_000_000_000;

/// Everything that a seed decides.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The cluster and its links.
    pub setting: Setting,
    /// Misfortunes, and when.
    pub faults: Vec<(Time, Fault)>,
    /// When everything heals.
    pub heal_at: Time,
    /// Commands of each client.
    pub clients: Vec<Load>,
}

/// What one client does.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Commands it asks.
    pub commands: u64,
    /// How many are out at a time.
    pub in_flight: usize,
    /// Most of them under one signature.
    pub bundle: usize,
    /// Longest pause before the next one, in microseconds.
    pub think_us: u64,
    /// How it reads what the application answers without order.
    pub reads: Read,
}

impl Default for Load {
    /// Nothing, one at a time.
    fn default() -> Self {
        Self { commands: 0, in_flight: 1, bundle: 1, think_us: 0, reads: Read::Ordered }
    }
}

/// Who is faulty in a scenario: stops for good, lies or loses what its disk held.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Broken {
    /// Who is named.
    pub named: BTreeSet<ReplicaId>,
    /// How many primaries there are besides, whoever that will be.
    pub primaries: usize,
}

impl Broken {
    /// How many they are at most.
    #[must_use]
    pub fn len(&self) -> usize {
        self.named.len() + self.primaries
    }

    /// Whether nobody is faulty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = words::replicas(&self.named.iter().map(|id| id.0).collect::<Vec<_>>());
        match (self.named.is_empty(), self.primaries) {
            (_, 0) => f.write_str(&named),
            (true, 1) => f.write_str("whoever is primary then"),
            (true, primaries) => write!(f, "{primaries} primaries"),
            (false, 1) => write!(f, "{named} and whoever is primary then"),
            (false, primaries) => write!(f, "{named} and {primaries} primaries"),
        }
    }
}

/// How a world ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Hash of everything that happened.
    pub hash: u64,
    /// How much happened.
    pub events: u64,
    /// Virtual time that passed, in microseconds.
    pub virtual_us: u64,
    /// Answers accepted.
    pub accepted: u64,
    /// Highest view reached.
    pub view: u64,
    /// Highest slot executed.
    pub executed: u64,
    /// Virtual time it took from healing to the end, in microseconds.
    pub recovery_us: u64,
    /// Replicas that a stable checkpoint was once beyond.
    pub behind: usize,
    /// States that replicas fetched from others.
    pub transfers: u64,
    /// What was done to the world.
    pub injected: Injected,
    /// What each liar told.
    pub lies: BTreeMap<ReplicaId, Lies>,
}

impl Outcome {
    /// Lies that were told, all together.
    #[must_use]
    pub fn lies_told(&self) -> u64 {
        self.lies.values().flat_map(BTreeMap::values).sum()
    }
}

impl Scenario {
    /// What `seed` stands for.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Self::with(seed, Service::default())
    }

    /// What `seed` stands for, with another application.
    #[must_use]
    pub fn with(seed: u64, service: Service) -> Self {
        Self::drawn(seed, service, None)
    }

    /// The same, but one replica tells these lies, if the seed leaves one that may be lost, and nobody tells others.
    #[must_use]
    pub fn lying(seed: u64, service: Service, sins: &[Sin]) -> Self {
        Self::drawn(seed, service, Some(sins))
    }

    fn drawn(seed: u64, service: Service, sins: Option<&[Sin]>) -> Self {
        let mut rng = Rng::new(seed);
        let replicas = *rng.pick(&[4_u16, 4, 4, 4, 5, 6, 7, 7, 10]);
        // With few slots between checkpoints a replica that misses something needs a state transfer soon, so
        // misfortunes then hit at most f of them. With many they may hit everyone.
        let short = rng.chance(400_000);
        let lossy = !short && rng.chance(500_000);
        let profile = profile(&mut rng, lossy);
        let parameters = parameters(&mut rng, short, profile);
        let costs = Costs {
            verify_us: rng.below(500),
            write_us: *rng.pick(&[50, 500, 5_000]),
            execute_us: *rng.pick(&[20, 500, 3_000]),
            store_us: *rng.pick(&[100, 10_000]),
        };
        let heal_at = BEGINNING.plus(rng.between(500_000, 6_000_000));
        let Misfortunes { cuts, mut faults, lost, .. } =
            Misfortunes::draw(&mut rng, replicas, short, heal_at);
        let clients = (0..rng.between(1, 4))
            .map(|_| Load {
                commands: rng.between(4, 25),
                in_flight: usize::try_from(rng.between(1, 6)).unwrap_or(1),
                bundle: usize::try_from(rng.between(1, 6)).unwrap_or(1),
                think_us: *rng.pick(&[0, 50_000, 400_000]),
                reads: Read::Ordered,
            })
            .collect();
        let skew_us = *rng.pick(&[0, 1_000, 500_000]);
        let setting = Setting {
            seed,
            replicas,
            parameters,
            profile,
            cuts,
            costs,
            epoch_us: EPOCH_US,
            skew_us,
            check_every_signature: seed.is_multiple_of(100),
            service,
            liars: liars::draw(seed, &lost, &mut faults, sins),
        };
        Self { setting, faults, heal_at, clients }
    }

    /// Whether anything goes wrong in it.
    #[must_use]
    pub fn is_faulty(&self) -> bool {
        let Profile { loss, duplication, stragglers, .. } = self.setting.profile;
        let links = loss + duplication + stragglers > 0 || !self.setting.cuts.is_empty();
        links || !self.faults.is_empty() || !self.setting.liars.is_empty()
    }

    /// Who is faulty in it, if `n` replicas take part: liars, those that crash for good, and those whose disk is damaged.
    #[must_use]
    pub fn broken(&self, n: u16) -> Broken {
        let mut broken = Broken { named: self.setting.liars.keys().copied().collect(), primaries: 0 };
        for (_, fault) in &self.faults {
            match fault {
                Fault::Crash(id) => drop(broken.named.insert(*id)),
                Fault::CrashPrimary => broken.primaries += 1,
                Fault::Outage(whom, outage) if outage.damage.is_some() => match whom {
                    Whom::One(id) => drop(broken.named.insert(*id)),
                    Whom::Primary => broken.primaries += 1,
                    Whom::Everyone => broken.named.extend((0..n).map(ReplicaId)),
                },
                Fault::Doom(id, _, outage) if outage.damage.is_some() => drop(broken.named.insert(*id)),
                Fault::Outage(..)
                | Fault::Doom(..)
                | Fault::Start(_)
                | Fault::ClockJump(..)
                | Fault::ClockDrift(..)
                | Fault::Pause(..)
                | Fault::Heal => {}
            }
        }
        broken
    }

    /// In words, if more replicas are faulty in it than its cluster tolerates: then nothing is promised.
    #[must_use]
    pub fn overwhelmed(&self) -> Option<String> {
        let n = self.setting.replicas;
        let (broken, f) = (self.broken(n), faults(n.into()));
        (broken.len() > f).then(|| format!("{broken} are faulty in it, and {n} replicas tolerate f = {f}"))
    }

    /// Lets it all happen.
    ///
    /// # Errors
    /// The first violation.
    pub fn run(&self) -> Result<Outcome, Violation> {
        let mut world = World::new(&self.setting);
        self.run_in(&mut world)
    }

    /// Lets it all happen in a world made of this scenario's setting.
    ///
    /// # Errors
    /// The first violation.
    pub fn run_in(&self, world: &mut World) -> Result<Outcome, Violation> {
        self.live(world)?;
        Ok(self.outcome(world))
    }

    /// Lets it all happen in a world made of this scenario's setting, and says what happened and what it shows, also if
    /// something went wrong. A panic is a violation like any other.
    #[must_use]
    pub fn examine(&self, world: &mut World) -> Run {
        // Whatever state a panic leaves is only looked at.
        let lived = catch_unwind(AssertUnwindSafe(|| self.live(world)));
        let violation = match lived {
            Ok(lived) => lived.err(),
            Err(panic) => Some(Violation::Panicked(message_of(panic.as_ref()))),
        };
        let verdict = Verdict::of(world, violation.as_ref());
        let proofs = world.proofs();
        let accused = proofs.keys().map(|id| id.0).collect();
        Run { outcome: self.outcome(world), violation, verdict, accused, proofs }
    }

    fn live(&self, world: &mut World) -> Checked {
        for (at, fault) in &self.faults {
            world.schedule(*at, *fault);
        }
        world.schedule(self.heal_at, Fault::Heal);
        for load in &self.clients {
            let client = world.add_client(|options| {
                options.bundle_max = load.bundle;
                options.retry_timeout_max_us = 1_000_000;
            })?;
            world.read_as(client, load.reads);
            world.employ(client, load.commands, load.in_flight, load.think_us);
        }
        world.run_until(self.heal_at)?;
        let asking: u64 = self.clients.iter().map(|load| load.commands * load.think_us).max().unwrap_or(0);
        let end = self.heal_at.plus(asking + self.patience());
        let (mut done, mut goal) = (false, None);
        while !done && world.now() < end {
            let now = world.now();
            world.run_until(now.plus(100_000))?;
            done = self.is_finished(world, &mut goal);
        }
        if !done {
            let (now, waiting) = (world.now(), describe(world));
            return Err(Violation::NoProgress { now, healed: self.heal_at, waiting });
        }
        world.check_accusations()
    }

    /// Whether every client has its answers, and every correct replica that runs has executed the same and is in the
    /// newest view that opened, or waits for a later one.
    fn is_finished(&self, world: &World, goal: &mut Option<Seq>) -> bool {
        if !world.clients().iter().all(SimClient::is_done) {
            return false;
        }
        let runs =
            |node: &&Node| !world.is_crashed(node.id()) && !self.setting.liars.contains_key(&node.id());
        let running = || world.nodes().iter().filter(runs).map(Node::replica);
        let highest = running().map(Replica::executed).max().unwrap_or_default();
        // Liars may order something for ever; then it is enough to come to where the clients were content.
        let goal = if self.setting.liars.is_empty() { highest } else { *goal.get_or_insert(highest) };
        let opened = running().filter(|replica| replica.status() == Status::Normal).map(Replica::view).max();
        let follows = |replica: &Replica| match replica.status() {
            Status::Normal => Some(replica.view()) == opened,
            Status::ViewChanging => Some(replica.view()) > opened,
            // It may enter no view but by the next NEW-VIEW, and nobody has a reason for one.
            Status::Recovering => true,
            // It executes what the others decide.
            Status::Out => true,
            Status::Diverged | Status::Halted => false,
        };
        running().all(|replica| replica.executed() >= goal && follows(replica))
    }

    /// How long the healed cluster may take: every replica once as a primary that fails, each for the longest time.
    fn patience(&self) -> u64 {
        let rounds = u64::from(self.setting.replicas) + 4;
        rounds * 2 * self.setting.parameters.timeout_max_us + 10_000_000
    }

    fn outcome(&self, world: &World) -> Outcome {
        Outcome {
            hash: world.hash(),
            events: world.events(),
            virtual_us: world.now().since(BEGINNING),
            accepted: world.accepted(),
            view: world.nodes().iter().map(|node| node.replica().view().0).max().unwrap_or(0),
            executed: world.nodes().iter().map(|node| node.replica().executed().0).max().unwrap_or(0),
            recovery_us: world.now().since(self.heal_at),
            behind: world.nodes().iter().filter(|node| node.host().counters().behind > 0).count(),
            transfers: world.nodes().iter().map(|node| node.host().transfer_counters().completed).sum(),
            injected: world.injected(),
            lies: world.lies(),
        }
    }
}

/// What a panic said.
#[must_use]
pub fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}

fn profile(rng: &mut Rng, lossy: bool) -> Profile {
    let delay_us = *rng.pick(&[50, 500, 5_000, 20_000]);
    Profile {
        delay_us,
        jitter_us: *rng.pick(&[0, 1, 3]) * delay_us,
        loss: if lossy { *rng.pick(&[1_000, 10_000, 50_000, 200_000]) } else { 0 },
        duplication: *rng.pick(&[0, 10_000, 100_000]),
        stragglers: *rng.pick(&[0, 0, 20_000]),
        straggle_us: 20 * delay_us,
    }
}

fn parameters(rng: &mut Rng, short: bool, profile: Profile) -> Parameters {
    let checkpoint_interval = if short { *rng.pick(&[2, 4, 16]) } else { 256 };
    let slowest = profile.delay_us + profile.jitter_us;
    let timeout_us = rng.between(150_000, 500_000).max(12 * slowest);
    Parameters {
        checkpoint_interval,
        window: checkpoint_interval * rng.between(2, 4),
        pipeline_depth: rng.between(1, 8),
        client_window: 64,
        batch_requests_max: *rng.pick(&[1, 2, 64]),
        timeout_us,
        timeout_max_us: timeout_us * *rng.pick(&[1, 4, 16]),
        ..Parameters::default()
    }
}

fn replica(index: u64) -> ReplicaId {
    ReplicaId(u16::try_from(index).unwrap_or(0))
}

/// Where every client and every replica stands, for whoever looks into a failure: a line for each, on lines of their own.
#[must_use]
pub fn describe(world: &World) -> String {
    let mut lines = Vec::new();
    for (index, client) in world.clients().iter().enumerate() {
        let (waiting, to_ask) = (client.waiting() as u64, client.to_do);
        lines.push(match (waiting, to_ask) {
            (0, 0) => format!("client {} has all its answers", index + 1),
            _ => format!("client {} waits for {}, {to_ask} more to ask", index + 1, count(waiting, "answer")),
        });
    }
    lines.extend(world.nodes().iter().map(|node| standing(world, node)));
    format!("\n  {}", lines.join("\n  "))
}

/// Where a replica stands.
fn standing(world: &World, node: &Node) -> String {
    let (id, replica) = (node.id(), node.replica());
    let (view, primary) = (replica.view(), replica.primary());
    let mut line = match replica.status() {
        _ if world.is_crashed(id) => format!("replica {id} crashed for good, in view {view}"),
        Status::Normal => format!("replica {id} is in view {view} of primary {primary}"),
        Status::ViewChanging => format!("replica {id} waits for view {view} of primary {primary} to open"),
        status => format!("replica {id} is {}, in view {view}", format!("{status:?}").to_lowercase()),
    };
    let (low, high) = replica.watermarks();
    line += &format!(
        ": executed up to slot {}, committed {}, stable {low} (window to {high})",
        replica.executed(),
        replica.committed()
    );
    if replica.pooled() > 0 {
        line += &format!("; {} waiting to be ordered", count(replica.pooled(), "operation"));
    }
    if node.host().counters().behind > 0 {
        line += "; it was once too far behind to catch up without fetching a state";
    }
    line
}

#[cfg(test)]
mod tests {
    use super::expect::{Count, Expect};
    use super::*;
    use crate::world::Rule;

    #[test]
    fn the_same_seed_gives_the_same_world() {
        for seed in 0..4 {
            assert_eq!(Scenario::of(seed).run(), Scenario::of(seed).run());
        }
    }

    #[test]
    fn more_faults_than_a_cluster_tolerates_are_told_and_no_seed_draws_them() {
        let mut scenario = Scenario {
            setting: Setting::calm(4),
            faults: vec![(Time(2_000_000), Fault::Crash(ReplicaId(2)))],
            heal_at: Time(3_000_000),
            clients: Vec::new(),
        };
        assert_eq!(scenario.overwhelmed(), None);
        scenario.faults.push((Time(2_000_000), Fault::CrashPrimary));
        let told = "replica 2 and whoever is primary then are faulty in it, and 4 replicas tolerate f = 1";
        assert_eq!(scenario.overwhelmed().as_deref(), Some(told));
        scenario.faults.pop();
        scenario.setting.liars = [(ReplicaId(0), Vec::new())].into();
        let told = "replicas 0 and 2 are faulty in it, and 4 replicas tolerate f = 1";
        assert_eq!(scenario.overwhelmed().as_deref(), Some(told));
        for seed in 0..500 {
            assert_eq!(Scenario::of(seed).overwhelmed(), None, "seed {seed}");
        }
    }

    #[test]
    fn what_is_expected_is_told_with_what_it_was() {
        let scenario = Scenario {
            setting: Setting::calm(4),
            faults: Vec::new(),
            heal_at: BEGINNING.plus(1_000),
            clients: vec![Load { commands: 1, in_flight: 1, bundle: 1, think_us: 0, ..Load::default() }],
        };
        let run = scenario.examine(&mut World::new(&scenario.setting));
        let expect = Expect {
            live: false,
            accused: Some(vec![1]),
            at_least: [(Count::Accepted, 1), (Count::Views, 1)].into(),
            ..Expect::default()
        };
        let findings = expect.findings(&run);
        let words = |met: bool| {
            let of = findings.iter().filter(move |finding| finding.met == met);
            of.map(|finding| finding.words.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(
            words(false),
            [
                "it should not be live, and it is",
                "replica 1 should be proven to have lied, and nobody is",
                "the highest view should be at least 1, and it is 0 (`views`)",
            ]
        );
        let good = "nothing was found against its being safe, linearizable, bounded, accountable";
        assert_eq!(words(true), [good, "the number of answers that clients accepted is at least 1: it is 1"]);
    }

    #[test]
    fn a_world_that_does_not_come_to_rest_is_a_violation() {
        let scenario = Scenario {
            setting: Setting::calm(4),
            faults: Vec::new(),
            heal_at: BEGINNING.plus(1_000),
            clients: vec![Load { commands: 1, in_flight: 1, bundle: 1, think_us: 0, ..Load::default() }],
        };
        assert!(scenario.run().is_ok());
        let mut world = World::new(&scenario.setting);
        world.add_rule(Rule { from: None, to: None, kind: Some("commit".to_owned()), hold: false });
        assert!(matches!(scenario.run_in(&mut world), Err(Violation::NoProgress { .. })));
    }
}
