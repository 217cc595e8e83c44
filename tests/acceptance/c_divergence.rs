//! C10: states that differ. Whoever is wrong stops, fetches what the others have and votes again, once; an application
//! that is not deterministic stops the cluster, with an alarm and without a fork; and the request is found.

use std::cell::Cell;

use bytes::Bytes;
use quorate_host::divergence::{Case, Report, Verdict, report};
use quorate_host::store::Store;
use quorate_protocol::application::{ApplicationError, Context, RejectedCommand, StateMachine};
use quorate_protocol::map::Map;
use quorate_protocol::replica::Status;
use quorate_protocol::standing::{Exclusion, Standing};
use quorate_protocol::types::{ReplicaId, Seq};
use quorate_sim::app::Service;
use quorate_sim::world::{Outage, Setting};

use super::lab::{Lab, T0, calm};

const INTERVAL: u64 = 8;

thread_local! {
    /// Machines made so far: that of replica i is the i-th, until it is started again.
    static MADE: Cell<u64> = const { Cell::new(0) };
    /// A bit for each machine that computes the next `fragile` wrongly, once.
    static TRIPPED: Cell<u64> = const { Cell::new(0) };
    /// How many different things machines make of every `fragile`, if not one.
    static MOODS: Cell<u64> = const { Cell::new(1) };
}

/// The simulator's words, but for the key `fragile`.
struct Odd {
    words: Box<dyn StateMachine>,
    number: u64,
}

impl Odd {
    fn machine() -> Box<dyn StateMachine> {
        let number = MADE.replace(MADE.get() + 1);
        Box::new(Self { words: Service::default().machine(), number })
    }
}

impl StateMachine for Odd {
    fn apply(&mut self, context: &Context, command: &[u8]) -> Result<Bytes, RejectedCommand> {
        let tripped = TRIPPED.get() >> self.number & 1 == 1;
        if !command.starts_with(b"put fragile") {
            self.words.apply(context, command)
        } else if tripped {
            TRIPPED.set(TRIPPED.get() & !(1 << self.number));
            self.words.apply(context, b"put fragile flipped")
        } else if MOODS.get() > 1 {
            self.words.apply(context, format!("put fragile {}", self.number % MOODS.get()).as_bytes())
        } else {
            self.words.apply(context, command)
        }
    }
    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
        self.words.save(map)
    }
    fn load(&mut self, map: &Map) -> Result<(), ApplicationError> {
        self.words.load(map)
    }
    fn changed_bytes(&self) -> u64 {
        self.words.changed_bytes()
    }
}

/// A cluster of which nothing is expected of the first `odd` replicas, counted from the end.
fn lab(replicas: u16, odd: u16) -> Lab {
    let mut setting: Setting = calm(replicas, 1);
    (setting.parameters.checkpoint_interval, setting.parameters.window) = (INTERVAL, 2 * INTERVAL);
    setting.service = setting.service.with_machine(Odd::machine);
    let mut lab = Lab::new(&setting, 1);
    (replicas - odd..replicas).for_each(|id| lab.world.distrust(ReplicaId(id)));
    lab
}

/// Gets something answered in each of so many slots.
fn pass_slots(lab: &mut Lab, slots: u64) {
    for slot in 0..slots {
        lab.ask(0, &format!("add k{} {slot}", slot % 3));
        lab.await_that("it is answered", 20 * T0, Lab::is_answered);
    }
}

/// What the program says about the evidence on a replica's disk.
fn told(lab: &mut Lab, id: u16) -> Report {
    let mut disk = lab.world.copy_disk(ReplicaId(id));
    let case = Case::read(&mut disk).unwrap().unwrap();
    let before = (case.agreed > Seq(0)).then(|| Store::open(disk, true).unwrap().load(case.agreed).unwrap());
    report(lab.world.context(), &Odd::machine, &case, before.as_ref(), None).unwrap()
}

#[track_caller]
fn is_fragile(report: &Report, verdict: Verdict) {
    assert_eq!(report.verdict, verdict);
    assert_eq!(report.keys[0].key, b"fragile");
    assert!(report.culprit.is_some());
}

/// Lines of the trace in which a replica says what only one in good standing says.
fn words_of(lines: &[String], id: u16) -> usize {
    let kinds = ["PREPARE", "COMMIT v", "CHECKPOINT n", "VIEW-CHANGE", "NEW-VIEW", "REPL"];
    let from = format!("{id} -> ");
    lines
        .iter()
        .filter(|line| line.starts_with(&from) && kinds.iter().any(|kind| line.contains(kind)))
        .count()
}

#[test]
fn c10_a_replica_that_is_wrong_once_comes_back_and_one_that_is_wrong_twice_does_not() {
    let mut lab = lab(4, 1);
    pass_slots(&mut lab, INTERVAL);
    TRIPPED.set(1 << 3);
    lab.ask(0, "put fragile right");
    lab.await_that("the others outvote it", 20 * T0, Lab::is_answered);
    pass_slots(&mut lab, INTERVAL / 2);
    lab.await_that("it executed that, too", 20 * T0, |_| TRIPPED.get() == 0);
    let spoke = words_of(lab.said(), 3);
    assert!(spoke > 0, "it votes like any other until it knows");
    lab.ask(0, "add k 1");
    pass_slots(&mut lab, INTERVAL / 2);
    let found = |lab: &Lab| lab.replica(3).standing() != Standing::Normal;
    lab.await_that("its checkpoint is not the others'", 20 * T0, found);
    if lab.replica(3).status() == Status::Diverged {
        let before = lab.said().len();
        lab.await_that("it has their state", 40 * T0, |lab| lab.replica(3).status() == Status::Normal);
        let lines = &lab.said()[before..];
        let mended = lines.iter().position(|line| line.starts_with("3 installs")).unwrap();
        assert_eq!(words_of(&lines[..mended], 3), 0, "{:?}", &lines[..mended]);
    }
    assert!(matches!(lab.replica(3).standing(), Standing::Diverged { mended: true, .. }));
    is_fragile(&told(&mut lab, 3), Verdict::Once);

    // Without its votes nothing commits any more.
    lab.world.kill(ReplicaId(1), Outage::clean(0)).unwrap();
    pass_slots(&mut lab, 3);
    lab.world.start(ReplicaId(1)).unwrap();
    lab.await_that("all are at rest", 40 * T0, Lab::is_at_rest);
    for id in 0..3 {
        assert_eq!(lab.replica(id).standing(), Standing::Normal);
    }

    TRIPPED.set(1 << 3);
    lab.ask(0, "put fragile right-again");
    lab.await_that("the others outvote it", 20 * T0, Lab::is_answered);
    pass_slots(&mut lab, INTERVAL);
    let halted = |lab: &Lab| lab.replica(3).status() == Status::Halted;
    lab.await_that("it is wrong again", 20 * T0, halted);
    let standing = lab.replica(3).standing();
    assert!(matches!(standing, Standing::Out(Exclusion::DivergedAgain(_))), "{standing:?}");
    is_fragile(&told(&mut lab, 3), Verdict::Once);
    lab.world.kill(ReplicaId(3), Outage::clean(0)).unwrap();
    lab.world.start(ReplicaId(3)).unwrap();
    let before = lab.said().len();
    pass_slots(&mut lab, 2 * INTERVAL);
    let follows = |lab: &Lab| lab.replica(3).executed() == lab.replica(0).executed();
    lab.await_that("it executes what the others decide", 60 * T0, follows);
    let stands = (lab.replica(3).status(), lab.replica(3).standing());
    assert_eq!(stands, (Status::Out, standing), "a restart gives its word back");
    assert_eq!(words_of(&lab.said()[before..], 3), 0, "and says nothing");
}

#[test]
fn c10_f_wrong_replicas_come_back_and_pull_nobody_along() {
    let mut lab = lab(7, 2);
    TRIPPED.set(1 << 5 | 1 << 6);
    lab.ask(0, "put fragile right");
    lab.await_that("the others outvote them", 20 * T0, Lab::is_answered);
    pass_slots(&mut lab, 2 * INTERVAL);
    let mended = |lab: &Lab| {
        [5, 6].iter().all(|id| matches!(lab.replica(*id).standing(), Standing::Diverged { mended: true, .. }))
    };
    lab.await_that("both have the others' state", 60 * T0, mended);
    pass_slots(&mut lab, 2);
    lab.await_that("all are at rest", 40 * T0, Lab::is_at_rest);
    assert!((0..5).all(|id| lab.replica(id).standing() == Standing::Normal));
    assert_eq!(TRIPPED.get(), 0);
    is_fragile(&told(&mut lab, 5), Verdict::Once);
}

/// A cluster whose replicas make so many different things of the same request, until nothing goes on.
fn moody(moods: u64) -> Lab {
    let mut lab = lab(4, 4);
    MOODS.set(moods);
    lab.ask(0, "put fragile x");
    lab.await_that("it is answered", 20 * T0, Lab::is_answered);
    for slot in 0..3 * INTERVAL {
        lab.ask(0, &format!("add k {slot}"));
        lab.run(T0 / 5);
    }
    lab.run(40 * T0);
    assert!(!lab.is_answered(), "without a checkpoint the window is full");
    let executed = (0..4).map(|id| lab.replica(id).executed()).min().unwrap();
    assert!(executed >= Seq(INTERVAL) && executed <= Seq(2 * INTERVAL), "{executed}");
    let history = |id| lab.world.node(ReplicaId(id)).execution().history(executed).unwrap();
    assert!((1..4).all(|id| history(id) == history(0)), "no fork");
    assert!((0..4).all(|id| lab.replica(id).watermarks().0 == Seq(0)), "nothing was certified");
    lab
}

#[test]
fn c10_an_application_that_is_different_everywhere_stops_the_cluster_with_an_alarm_and_no_fork() {
    let mut lab = moody(4);
    assert_eq!(lab.count(&["raises an alarm", "differ everywhere"]), 4);
    (0..4).for_each(|id| is_fragile(&told(&mut lab, id), Verdict::NotDeterministic));
}

#[test]
fn c10_an_application_that_is_different_in_halves_stops_the_cluster_with_an_alarm_and_no_fork() {
    let mut lab = moody(2);
    assert_eq!(lab.count(&["raises an alarm", "its state differs"]), 4, "each is outvoted by f + 1");
    assert!((0..4).all(|id| lab.replica(id).status() == Status::Diverged));
    (0..4).for_each(|id| is_fragile(&told(&mut lab, id), Verdict::NotDeterministic));
}
