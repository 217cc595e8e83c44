//! A cluster in virtual time and what can be done to it, in the words of the rows.

use quorate_host::byzantine::Sin;
use quorate_protocol::client::Options;
use quorate_protocol::replica::{Footprint, Replica, Status};
use quorate_protocol::types::{ReplicaId, View};
use quorate_sim::scenario::describe;
use quorate_sim::world::{Rule, Setting, World};

/// The base timeout that every bar is measured with, in microseconds.
pub(super) const T0: u64 = 500_000;
/// All kinds of messages between replicas.
pub(super) const KINDS: [&str; 15] = [
    "testimony",
    "pre-prepare",
    "prepare",
    "commit",
    "checkpoint",
    "view-change",
    "new-view",
    "commit-certificate",
    "stable-certificate",
    "status",
    "fetch-body",
    "body",
    "fetch-view-change",
    "forward",
    "transfer",
];

/// So long no client of these tests sends anything twice, in microseconds.
pub(super) const NEVER: u64 = 1 << 50;

/// Calm links of a millisecond, T0 of 500 ms, a window that nobody falls out of.
pub(super) fn calm(replicas: u16, seed: u64) -> Setting {
    let mut setting = Setting::calm(replicas);
    setting.seed = seed;
    let parameters = &mut setting.parameters;
    (parameters.timeout_us, parameters.timeout_max_us) = (T0, 60_000_000);
    (parameters.checkpoint_interval, parameters.window) = (512, 1024);
    setting
}

/// A world, and what was lost on its links.
pub(super) struct Lab {
    pub(super) world: World,
    trace: Vec<String>,
}

impl Lab {
    /// A cluster with registered clients that ask what they are told to, and send it again after a while.
    pub(super) fn new(setting: &Setting, clients: usize) -> Self {
        Self::with(setting, clients, |_| {})
    }

    /// The same with clients that send everything once, and to the primary: no new traffic comes from them.
    pub(super) fn quiet(setting: &Setting, clients: usize) -> Self {
        Self::with(setting, clients, |options| {
            (options.retry_timeout_us, options.retry_timeout_max_us) = (NEVER, NEVER);
        })
    }

    pub(super) fn with(setting: &Setting, clients: usize, tune: impl Fn(&mut Options)) -> Self {
        let mut lab = Self::of(World::new(setting));
        lab.register(clients, tune);
        lab.world.keep_trace();
        lab
    }

    /// A world as it is.
    pub(super) fn of(world: World) -> Self {
        Self { world, trace: Vec::new() }
    }

    /// Adds clients and lets them register.
    pub(super) fn register(&mut self, clients: usize, tune: impl Fn(&mut Options)) {
        for _ in 0..clients {
            self.world.add_client(&tune).unwrap_or_else(|violation| panic!("{violation}"));
        }
        let registered =
            |lab: &Self| lab.world.clients().iter().all(|client| client.machine().session().is_some());
        self.await_that("every client has its session", 20 * T0, registered);
        self.run(20_000);
    }

    pub(super) fn replica(&self, id: u16) -> &Replica {
        self.world.node(ReplicaId(id)).replica()
    }

    /// Replicas that run.
    pub(super) fn alive(&self) -> Vec<&Replica> {
        let nodes = self.world.nodes().iter().filter(|node| !self.world.is_crashed(node.id()));
        nodes.map(|node| node.replica()).collect()
    }

    pub(super) fn views(&self) -> Vec<u64> {
        self.world.nodes().iter().map(|node| node.replica().view().0).collect()
    }

    /// Views left or entered by everybody together.
    pub(super) fn view_changes(&self) -> u64 {
        self.world.nodes().iter().map(|node| node.replica().counters().view_changes).sum()
    }

    /// The highest slot that any replica executed.
    pub(super) fn executed(&self) -> u64 {
        self.alive().iter().map(|replica| replica.executed().0).max().unwrap_or(0)
    }

    /// How many take part in this view.
    pub(super) fn members(&self, view: View) -> usize {
        let takes_part = |replica: &&&Replica| replica.view() == view && replica.status() == Status::Normal;
        self.alive().iter().filter(takes_part).count()
    }

    /// Whether all that run are in one view, vote in it, and executed the same.
    pub(super) fn is_at_rest(&self) -> bool {
        let alive = self.alive();
        let alike = |other: &&Replica| {
            other.view() == alive[0].view()
                && other.status() == Status::Normal
                && other.executed() == alive[0].executed()
        };
        alive.iter().all(alike)
    }

    /// Whether every client has every answer.
    pub(super) fn is_answered(&self) -> bool {
        self.world.clients().iter().all(quorate_sim::client::SimClient::is_done)
    }

    /// The longest timeout that any replica is at.
    pub(super) fn timeout(&self) -> u64 {
        self.alive().iter().map(|replica| replica.waiting().timeout_us).max().unwrap_or(T0)
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, microseconds: u64) {
        let end = self.world.now().plus(microseconds);
        self.world.run_until(end).unwrap_or_else(|violation| panic!("{violation}{}", describe(&self.world)));
    }

    /// Lets time pass until something is so; how long that took, if no longer than `most` microseconds.
    pub(super) fn until(&mut self, most: u64, so: impl Fn(&Self) -> bool) -> Option<u64> {
        let start = self.world.now();
        while !so(self) {
            let due = self.world.next().filter(|(at, _)| at.since(start) <= most);
            due?;
            self.world.step().unwrap_or_else(|violation| panic!("{violation}{}", describe(&self.world)));
        }
        Some(self.world.now().since(start))
    }

    /// Lets time pass until something is so, which must be within `most` microseconds.
    #[track_caller]
    pub(super) fn await_that(&mut self, what: &str, most: u64, so: impl Fn(&Self) -> bool) -> u64 {
        let waited = self.until(most, so);
        waited.unwrap_or_else(|| panic!("not within {most} us: {what}{}", describe(&self.world)))
    }

    /// A client asks something now.
    pub(super) fn ask(&mut self, client: usize, command: &str) {
        self.world.ask(client, command.as_bytes()).unwrap_or_else(|violation| panic!("{violation}"));
    }

    /// A client's last request reaches these replicas as well.
    pub(super) fn repeat(&mut self, client: usize, to: &[u16]) {
        to.iter().for_each(|id| self.world.resend(client, ReplicaId(*id)));
    }

    /// Loses everything that one set of replicas says to another, until [`Self::heal`]. One bit per replica.
    pub(super) fn cut(&mut self, from: u64, to: u64) {
        let n = u16::try_from(self.world.nodes().len()).unwrap();
        let links = (0..n).flat_map(|one| (0..n).map(move |other| (one, other)));
        let bit = |set: u64, id: u16| set >> id & 1 == 1;
        for (one, other) in links.filter(|(one, other)| one != other && bit(from, *one) && bit(to, *other)) {
            let (from, to) = (Some(ReplicaId(one)), Some(ReplicaId(other)));
            self.world.add_rule(Rule { from, to, kind: None, hold: false });
        }
    }

    /// Loses or keeps back one kind of message, of anybody's or one replica's, to anybody or one replica.
    pub(super) fn stop(&mut self, from: Option<u16>, to: Option<u16>, kind: &str, hold: bool) {
        let (from, to) = (from.map(ReplicaId), to.map(ReplicaId));
        self.world.add_rule(Rule { from, to, kind: Some(kind.to_owned()), hold });
    }

    /// Ends all that.
    pub(super) fn heal(&mut self) {
        self.world.clear_rules();
    }

    /// What was said so far, in the words of the trace. STATUS is not in it.
    pub(super) fn said(&mut self) -> &[String] {
        self.trace.extend(self.world.take_trace());
        &self.trace
    }

    /// From now on a replica tells these lies.
    pub(super) fn corrupt(&mut self, id: u16, sins: &[&str]) {
        let sins: Vec<Sin> =
            sins.iter().map(|sin| sin.parse().unwrap_or_else(|error| panic!("{error}"))).collect();
        self.world.corrupt(ReplicaId(id), &sins);
    }

    /// How many lies a replica told, of all kinds together.
    pub(super) fn lies(&self, id: u16) -> u64 {
        self.world.lies().get(&ReplicaId(id)).map_or(0, |lies| lies.values().sum())
    }

    /// How many lines of the trace hold all these words.
    pub(super) fn count(&mut self, words: &[&str]) -> usize {
        self.said().iter().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }

    /// Messages lost or kept back so far.
    pub(super) fn stopped(&mut self) -> usize {
        self.count(&["[lost to"]) + self.count(&["[held to"])
    }
}

/// The view of the newest of them that votes.
pub(super) fn newest_open_view(lab: &Lab) -> View {
    let open = lab.alive().into_iter().filter(|replica| replica.status() == Status::Normal);
    open.map(|replica| replica.view()).max().unwrap_or(View(0))
}

/// A number that the environment gives: how much a nightly run does.
pub(super) fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// The larger of each.
pub(super) fn largest(one: Footprint, other: Footprint) -> Footprint {
    Footprint {
        slots: one.slots.max(other.slots),
        bodies: one.bodies.max(other.bodies),
        voted_bodies: one.voted_bodies.max(other.voted_bodies),
        unvoted_bodies: one.unvoted_bodies.max(other.unvoted_bodies),
        prepares: one.prepares.max(other.prepares),
        commits: one.commits.max(other.commits),
        checkpoints: one.checkpoints.max(other.checkpoints),
        far_checkpoints: one.far_checkpoints.max(other.far_checkpoints),
        view_changes: one.view_changes.max(other.view_changes),
        candidates: one.candidates.max(other.candidates),
        collected: one.collected.max(other.collected),
        fetches: one.fetches.max(other.fetches),
        pooled: one.pooled.max(other.pooled),
        displayed: one.displayed.max(other.displayed),
    }
}
