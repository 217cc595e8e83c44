//! F3: what each kind of read promises, and what would break if less were asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::client::{Answer, Client, ClientEffect, Counters, How, Obstacle, Options, Read};
use quorate_protocol::codec::{Blob, encode};
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::executor::Executor;
use quorate_protocol::message::{
    ClientFrame, ClientMessage, Found, Outcome, Query, QueryReply, Replies, Reply,
};
use quorate_protocol::parameters::Context;
use quorate_protocol::request::{Body, Request};
use quorate_protocol::types::{ClientId, Epoch, ReplicaId, Seq, Time, View};
use quorate_sim::app::Service;
use quorate_sim::check::linear::{Action, Answer as Shown, Finding, History, Operation, STEPS_MAX, check};
use quorate_sim::network::{Cut, Profile};
use quorate_sim::scenario::{Load, Scenario};
use quorate_sim::world::{Call, Fault, Outage, Passed, Setting, Whom, World};

use super::lab::{Lab, T0, calm, number};

/// The first seed: not those that other tests take.
const FIRST: u64 = 3_000_000;
const SEEDS: u64 = 60;

fn fast(replicas: u16) -> Setting {
    let mut setting = calm(replicas, 1);
    setting.parameters.fast_reads = true;
    setting
}

/// How often reads came about so.
type Kinds = BTreeMap<How, u64>;

/// Runs a scenario, whose verdict must be good, and looks at every read that was not ordered. Also says how many reads
/// replicas were asked twice.
fn judged(name: &str, scenario: &Scenario) -> (Kinds, u64) {
    let mut world = World::new(&scenario.setting);
    world.keep_passed();
    let run = scenario.examine(&mut world);
    assert!(run.verdict.is_good() && run.verdict.linearizable.held(), "{name}\n{}", run.verdict);
    let honest = |replica: &ReplicaId| !scenario.setting.liars.contains_key(replica);
    let mut bodies: BTreeMap<Seq, Option<Arc<Body>>> = BTreeMap::new();
    for (_, passed) in world.take_passed() {
        if let Passed::Executed { replica, seq, body, installed: false } = passed
            && honest(&replica)
        {
            bodies.entry(seq).or_insert(body);
        }
    }
    let calls = world.calls().expect("all calls are kept");
    state_is_read(name, world.context(), &bodies, calls);
    nobody_goes_back(name, calls);
    let mut kinds = Kinds::new();
    for (_, how) in calls.iter().filter_map(|call| call.found) {
        *kinds.entry(how).or_default() += 1;
    }
    let asked_again = world.clients().iter().map(|client| client.machine().counters().reads_asked_again);
    (kinds, asked_again.sum())
}

/// Each read gave what the application holds after the slot that it says it is of, by executing the log.
fn state_is_read(name: &str, context: &Context, bodies: &BTreeMap<Seq, Option<Arc<Body>>>, calls: &[Call]) {
    let mut reads: BTreeMap<Seq, Vec<&Call>> = BTreeMap::new();
    for call in calls {
        if let Some((seq, How::Read(_))) = call.found {
            reads.entry(seq).or_default().push(call);
        }
    }
    let mut executor = Executor::new(context.clone(), Service::default().machine());
    for (seq, reads) in reads {
        while executor.executed() < seq {
            let next = executor.executed().next();
            executor.execute(next, bodies[&next].as_deref());
        }
        for call in reads {
            let Some((_, Outcome::Done(reply))) = &call.returned else { panic!("{name}: {call:?}") };
            assert_eq!(executor.query(&call.command).as_ref(), Some(&reply.0), "{name}: {call:?}");
        }
    }
}

/// Fast and session reads are of no slot before one that their client had been answered from when it asked.
fn nobody_goes_back(name: &str, calls: &[Call]) {
    for read in calls.iter().filter(|call| matches!(call.read, Read::Fast | Read::Session)) {
        let Some((seq, How::Read(_))) = read.found else { continue };
        let before = calls.iter().filter(|call| {
            let told = call.returned.as_ref().is_some_and(|(at, _)| *at < read.invoked);
            call.client == read.client && told && call.read != Read::Stale
        });
        let floor = before.filter_map(|call| call.found).map(|(seq, _)| seq).max().unwrap_or_default();
        assert!(seq >= floor, "{name}: {read:?} went back behind {floor}");
    }
}

fn add(kinds: &mut Kinds, more: Kinds) {
    more.into_iter().for_each(|(how, count)| *kinds.entry(how).or_default() += count);
}

fn count(kinds: &Kinds, wanted: impl Fn(&How) -> bool) -> u64 {
    kinds.iter().filter(|(how, _)| wanted(how)).map(|(_, count)| count).sum()
}

// Everything that goes wrong in the worlds of C1 goes wrong here. Would miss what only shows where an application's reads
// take long: these take no time.
#[test]
fn f3_every_kind_of_read_is_what_it_promises_in_drawn_worlds_with_faults_and_liars() {
    let (mut kinds, mut asked_again) = (Kinds::new(), 0);
    let seeds = number("QUORATE_SEEDS").unwrap_or(SEEDS);
    for seed in FIRST..FIRST + seeds {
        let mut scenario = Scenario::of(seed);
        // In every fourth the cluster has no fast reads, and they are ordered.
        scenario.setting.parameters.fast_reads = !seed.is_multiple_of(4);
        let busy = Load { commands: 25, in_flight: 2, think_us: 20_000, ..Load::default() };
        scenario.clients.resize(4, busy);
        for (load, read) in
            scenario.clients.iter_mut().zip([Read::Fast, Read::Ordered, Read::Session, Read::Stale])
        {
            load.reads = read;
        }
        let (found, again) = judged(&format!("seed {seed}"), &scenario);
        add(&mut kinds, found);
        asked_again += again;
    }
    println!("{asked_again} were asked again: {kinds:?}");
    for read in [Read::Fast, Read::Session, Read::Stale] {
        assert!(count(&kinds, |how| *how == How::Read(read)) > 0, "no {read:?} read: {kinds:?}");
    }
    for obstacle in [Obstacle::NotOffered, Obstacle::Differed] {
        let met = |how: &How| matches!(how, How::Instead(_, met) if *met == obstacle);
        assert!(count(&kinds, met) > 0, "no read met {obstacle:?}: {kinds:?}");
    }
}

/// Four replicas, one of which lies to clients, links that lose and disorder, halves that part, replicas that crash and come
/// back, and clients that read fast and in order.
fn crowded(clients: usize, commands: u64) -> Scenario {
    let mut setting = fast(4);
    setting.profile = Profile { delay_us: 300, jitter_us: 500, loss: 2_000, ..Profile::calm(300) };
    (setting.parameters.checkpoint_interval, setting.parameters.window) = (32, 64);
    setting.liars.insert(ReplicaId(2), vec!["colluding-replies:probability=0.3".parse().unwrap()]);
    let at = |ms: u64| Time(1_000_000 + 1_000 * ms);
    setting.cuts = vec![
        Cut { from: 0b0001, to: 0b1110, start: at(400), end: at(700) },
        Cut { from: 0b1110, to: 0b0001, start: at(400), end: at(700) },
    ];
    let outage = |id, ms| (at(ms), Fault::Outage(Whom::One(ReplicaId(id)), Outage::clean(200_000)));
    let faults = vec![outage(1, 1_200), outage(3, 1_900)];
    let load = |at: usize| Load {
        commands,
        in_flight: 3,
        bundle: 4,
        think_us: 12_000,
        reads: if at.is_multiple_of(3) { Read::Ordered } else { Read::Fast },
    };
    Scenario { setting, faults, heal_at: at(2_500), clients: (0..clients).map(load).collect() }
}

#[test]
fn f3_a_thousand_concurrent_fast_and_ordered_reads_and_writes_have_one_order() {
    let (kinds, asked_again) = judged("crowded", &crowded(8, 400));
    let all: u64 = kinds.values().sum();
    assert!(all >= 1_000, "{all} operations");
    assert!(count(&kinds, |how| *how == How::Read(Read::Fast)) >= 100, "{kinds:?}");
    assert!(asked_again >= 100, "{asked_again} were asked again");
    println!("{all} operations, {asked_again} asked again: {kinds:?}");
}

/// What a client counts that reads without pause, while three others write without pause. Frames overtake each other, so
/// that replicas are seldom equally far.
fn beside_writes(read_attempts: u64) -> Counters {
    const WRITERS: [usize; 3] = [1, 2, 3];
    let mut setting = fast(4);
    setting.profile = Profile { jitter_us: 2_000, ..Profile::calm(300) };
    let mut lab = Lab::with(&setting, 1 + WRITERS.len(), |options| options.read_attempts = read_attempts);
    for turn in 0..300 {
        for writer in WRITERS {
            if lab.world.clients()[writer].is_done() {
                lab.ask(writer, &format!("put k {turn}"));
            }
        }
        lab.world.read(0, b"get k", Read::Fast).unwrap_or_else(|violation| panic!("{violation}"));
        lab.await_that("it is read", 4 * T0, |lab| lab.world.clients()[0].is_done());
    }
    lab.world.clients()[0].machine().counters()
}

#[test]
fn f3_fewer_fast_reads_are_ordered_beside_steady_writes_when_replicas_may_be_asked_twice() {
    let (once, twice) = (beside_writes(1), beside_writes(2));
    let words = format!("asked once: {once:?}\nasked twice: {twice:?}");
    println!("{words}");
    assert_eq!((once.reads, once.reads_asked_again, twice.reads), (300, 0, 300), "{words}");
    assert!(once.reads_fallen_back >= 30, "replicas were seldom in different slots: {words}");
    assert!(twice.reads_fallen_back * 4 < once.reads_fallen_back, "{words}");
    assert_eq!(twice.reads_unordered + twice.reads_fallen_back, 300, "{words}");
}

// Replica 3 lies, and replica 2 hears of nothing that commits before somebody shows it a certificate: no quorum finds the
// same, however often it is asked.
#[test]
fn f3_a_fast_read_that_two_attempts_do_not_decide_is_ordered_and_ends() {
    let mut lab = Lab::new(&fast(4), 2);
    lab.corrupt(3, &["lying-replies"]);
    lab.stop(None, Some(2), "commit", false);
    let before = lab.executed();
    lab.ask(0, "put k 1");
    lab.await_that("it executes", T0, |lab| [0, 1].iter().all(|id| lab.replica(*id).executed().0 > before));
    assert_eq!(lab.replica(2).executed().0, before, "replica 2 is behind");
    lab.world.read(1, b"get k", Read::Fast).unwrap_or_else(|violation| panic!("{violation}"));
    lab.await_that("it is read", 2 * T0, Lab::is_answered);
    let read = lab.world.calls().unwrap().last().unwrap().clone();
    assert_eq!(read.found.map(|(_, how)| how), Some(How::Instead(Read::Fast, Obstacle::Differed)));
    let Some((_, Outcome::Done(reply))) = read.returned else { panic!("{read:?}") };
    assert_eq!(reply.as_ref(), b"1");
    assert_eq!(lab.count(&["client 2 -> all: QUERY"]), 2, "it was asked twice");
    let counters = lab.world.clients()[1].machine().counters();
    assert_eq!((counters.reads_asked_again, counters.reads_fallen_back), (1, 1));
    assert!(lab.lies(3) > 0 && lab.view_changes() == 0);
}

#[test]
fn f3_a_replica_that_comes_back_answers_no_fast_read_before_it_is_as_far_as_it_may_have_been() {
    let mut setting = fast(4);
    (setting.parameters.checkpoint_interval, setting.parameters.window) = (4, 8);
    let mut lab = Lab::new(&setting, 1);
    let write = |lab: &mut Lab, times: u64| {
        for value in 0..times {
            lab.ask(0, &format!("put k {value}"));
            lab.await_that("it is written", 4 * T0, Lab::is_answered);
        }
    };
    let read = |lab: &mut Lab| {
        lab.world.read(0, b"get k", Read::Fast).unwrap_or_else(|violation| panic!("{violation}"));
        lab.await_that("it is read", 4 * T0, Lab::is_answered);
    };
    write(&mut lab, 6);
    read(&mut lab);
    let found = ["1 -> client 1: FOUND", "\"5\""];
    assert_eq!(lab.count(&found), 1, "replica 1 answers like the others");
    lab.world.kill(ReplicaId(1), Outage::clean(0)).unwrap();
    // It comes back with its last checkpoint, and hears of nothing that came after.
    lab.cut(0b1101, 0b0010);
    lab.world.start(ReplicaId(1)).unwrap();
    assert!(lab.replica(1).executed() < lab.replica(0).executed());
    read(&mut lab);
    lab.run(20_000);
    let silent = ["1 -> client 1: FOUND", "nothing (NotReady)"];
    assert_eq!((lab.count(&found), lab.count(&silent)), (1, 1), "replica 1 is not as far as it was");
    lab.heal();
    write(&mut lab, 12);
    lab.run(T0);
    write(&mut lab, 1);
    lab.run(20_000);
    read(&mut lab);
    lab.run(20_000);
    let again = lab.count(&["1 -> client 1: FOUND", "\"0\""]);
    assert_eq!(again, 1, "beyond what it may have answered it answers again");
    assert_eq!(lab.views(), [0; 4]);
}

#[test]
fn f3_nothing_is_answered_before_it_is_durable_how_far_the_replica_may_have_answered() {
    let mut setting = fast(4);
    setting.costs.write_us = 5_000;
    let mut lab = Lab::of(World::new(&setting));
    lab.world.keep_trace();
    // Replica 3 votes for nothing, so it has promised nothing, and executes what it is shown certificates of.
    for kind in ["pre-prepare", "prepare", "commit"] {
        lab.stop(None, Some(3), kind, false);
    }
    lab.register(1, |_| {});
    for value in 0..4 {
        lab.ask(0, &format!("put k {value}"));
        lab.await_that("it is written", 4 * T0, Lab::is_answered);
    }
    lab.await_that("replica 3 follows", 4 * T0, |lab| lab.replica(3).executed().0 >= 5);
    lab.run(20_000);
    assert!(lab.count(&["3 -> client 1: REPLY"]) > 0, "it answers, later");
    assert_eq!(lab.count(&["3 -> all: PREPARE"]) + lab.count(&["3 -> all: COMMIT"]), 0, "it voted");
    assert!(lab.replica(3).promised().1 >= Seq(5));
}

#[test]
fn f3_whoever_asks_without_end_is_turned_away_and_nobody_waits_for_it() {
    let mut setting = fast(4);
    setting.costs.execute_us = 200;
    let mut lab = Lab::new(&setting, 2);
    lab.ask(1, "put k 1");
    let alone = lab.await_that("it is written", T0, Lab::is_answered);
    for number in 0..1_000 {
        let query = Query { number, fast: true, command: Blob(Bytes::from_static(b"get k")) };
        let frame = Bytes::from(encode(&ClientFrame::Query(query)).unwrap());
        (0..4).for_each(|to| lab.world.inject_request(0, ReplicaId(to), frame.clone()));
    }
    lab.ask(1, "put k 2");
    let besides = lab.await_that("it is written", T0, Lab::is_answered);
    assert!(besides <= alone + 2_000, "{besides} us, and {alone} us without them");
    lab.run(20_000);
    let (busy, found) = (lab.count(&["client 1: FOUND", "(Busy)"]), lab.count(&["client 1: FOUND", "\""]));
    assert_eq!(busy + found, 4_000, "each is answered somehow");
    assert!(found >= 4 * 64 && busy > 3_000, "{found} were answered and {busy} turned away");
}

/// A client whose replicas are played by the test, and when it was asked and answered.
struct Played {
    client: Client,
    key: SecretKey,
    context: Context,
    now: Time,
    sent: Vec<Arc<Request>>,
    asked: Vec<Query>,
    answers: Vec<Answer>,
}

impl Played {
    fn new(name: u8) -> Self {
        let context = World::new(&fast(4)).context().clone();
        let key = SecretKey::from_seed(&[name; 32]);
        let client = Client::new(context.clone(), ClientId::of(&key.public()), Options::new(name.into()));
        let (sent, asked, answers) = (Vec::new(), Vec::new(), Vec::new());
        let mut played = Self { client, key, context, now: Time(1_000), sent, asked, answers };
        for replica in (0..4).map(ReplicaId) {
            played.client.on_link(played.now, replica, Some((Seq(1), View(0))));
        }
        played.poll();
        (0..4).for_each(|replica| played.replies(replica, 2, Outcome::Registered));
        played.poll();
        assert!(played.client.session().is_some());
        played
    }

    fn poll(&mut self) {
        let mut effects = Vec::new();
        self.client.poll(self.now, &mut effects);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<ClientEffect>) {
        for effect in effects {
            match effect {
                ClientEffect::Sign { draft, .. } => {
                    let request = Arc::new(Request::sign(&self.key, self.context.cluster, draft));
                    self.client.signed(&request);
                    self.sent.push(request);
                }
                ClientEffect::Send { .. } => {}
                ClientEffect::Ask { query } => self.asked.push(query),
                ClientEffect::Done { answer, .. } | ClientEffect::Read { answer, .. } => {
                    self.answers.push(answer);
                }
            }
        }
    }

    fn hears(&mut self, replica: u16, message: ClientMessage) {
        let mut effects = Vec::new();
        self.client.on_message(self.now, ReplicaId(replica), message, &mut effects);
        self.perform(effects);
        self.poll();
    }

    /// A replica answers what was ordered last.
    fn replies(&mut self, replica: u16, seq: u64, outcome: Outcome) {
        let request = Arc::clone(self.sent.last().unwrap());
        let (number, operation, _) = request.operations().next().unwrap();
        let reply = Reply { seq: Seq(seq), session: request.session(), number, operation, outcome };
        let replies = Replies::of(&[reply]);
        self.hears(replica, ClientMessage::Replies { epoch: Epoch(0), view: View(0), replies });
    }

    fn writes(&mut self, command: &'static str) {
        self.client.submit(Bytes::from_static(command.as_bytes())).unwrap();
        self.poll();
    }

    fn reads(&mut self, command: &'static str) {
        self.client.read(Bytes::from_static(command.as_bytes()), Read::Fast).unwrap();
        self.poll();
    }

    /// Replicas say what they find in the state of a slot.
    fn finds(&mut self, found: &[(u16, u64, &'static str)]) {
        let number = self.asked.last().unwrap().number;
        for (replica, executed, result) in found {
            let found = Found::Reply(Blob(Bytes::from_static(result.as_bytes())));
            let reply = QueryReply { number, executed: Seq(*executed), found };
            self.hears(*replica, ClientMessage::Query { epoch: Epoch(0), view: View(0), reply });
        }
    }

    /// What it was answered last, as long as it was answered something since there were `before` answers.
    fn told(&self, before: usize) -> Option<String> {
        let Outcome::Done(reply) = &self.answers.get(before)?.outcome else { return None };
        Some(String::from_utf8_lossy(reply).into_owned())
    }
}

fn ok() -> Outcome {
    Outcome::Done(Blob(Bytes::from_static(b"ok")))
}

/// An operation on x, asked at a time and answered at the next, if it was.
fn operation(client: &str, action: Action, at: u64, answer: Option<Shown>) -> Operation {
    let returned = answer.map(|answer| (at + 1, answer));
    Operation { client: client.to_owned(), key: "x".to_owned(), action, invoked: at, returned }
}

fn put(value: &str) -> Action {
    Action::Put(value.to_owned())
}

#[track_caller]
fn has_an_order(history: History) {
    let found = check(&history, STEPS_MAX);
    assert_eq!(found, Finding::Linearizable, "{found}; what clients saw has no order:\n{history}");
}

// Replica 0 lies, and replicas 2 and 3 have yet to hear of the write. One correct replica that has it, and a liar that says
// so, are f + 1; and the liar tells the reader otherwise.
#[test]
fn f3_a_write_that_only_f_plus_one_replicas_answered_is_not_acknowledged_or_a_fast_read_could_miss_it() {
    let (mut writer, mut reader) = (Played::new(1), Played::new(2));
    writer.writes("put x 1");
    writer.replies(0, 9, ok());
    writer.replies(1, 9, ok());
    let written = writer.told(0).map(|_| Shown::Done);
    reader.reads("get x");
    reader.finds(&[(0, 8, "none"), (2, 8, "none"), (3, 8, "none")]);
    let read = reader.told(0).map(|_| Shown::Value(None));
    assert!(read.is_some(), "three replicas in one state are a quorum");
    has_an_order(History(vec![
        operation("writer", put("1"), 0, written),
        operation("reader", Action::Get, 10, read),
    ]));
    writer.replies(2, 9, ok());
    assert_eq!(writer.told(0).as_deref(), Some("ok"), "a quorum acknowledges it");
}

// x is 0 in slot 7, 1 in slot 8, which is acknowledged, and 0 again in slot 9, which is not. Replica 3 lies; 0, 1 and 2 are
// at slots 7, 9 and 8.
#[test]
fn f3_equal_results_of_different_slots_are_no_fast_read_or_a_later_one_could_go_back() {
    let (mut one, mut other) = (Played::new(1), Played::new(2));
    one.reads("get x");
    one.finds(&[(0, 7, "0"), (1, 9, "0"), (3, 7, "0"), (2, 8, "1")]);
    // Asked again, replicas have not come further.
    one.finds(&[(0, 7, "0"), (1, 9, "0"), (3, 7, "0"), (2, 8, "1")]);
    let first = one.told(0).map(|read| Shown::Value(Some(read)));
    other.reads("get x");
    other.finds(&[(0, 8, "1"), (2, 8, "1"), (3, 8, "1")]);
    let second = other.told(0).map(|read| Shown::Value(Some(read)));
    assert!(second.is_some(), "three replicas in one state are a quorum");
    has_an_order(History(vec![
        operation("writer", put("0"), 0, Some(Shown::Done)),
        operation("writer", put("1"), 2, Some(Shown::Done)),
        operation("writer", put("0"), 4, None),
        operation("one", Action::Get, 10, first.clone()),
        operation("other", Action::Get, 20, second),
    ]));
    assert_eq!((first, one.asked.len()), (None, 2), "asked twice, it has to be ordered");
    assert_eq!(one.sent.len(), 2, "and is: behind the registration");
}
