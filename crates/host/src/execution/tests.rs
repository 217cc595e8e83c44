//! When checkpoints are due, and what an execution without a state does.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quorate_protocol::application::{ApplicationError, Context as Told, RejectedCommand, StateMachine};
use quorate_protocol::committee::Committee;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::map::Map;
use quorate_protocol::parameters::Context;
use quorate_protocol::types::{ClusterId, Epoch};

use super::*;

/// A machine of which so many bytes changed, with a state of about so many, which it may keep in a map of its own.
struct Changing {
    changed: Arc<AtomicU64>,
    state_bytes: usize,
    saves_anew: bool,
}

impl StateMachine for Changing {
    fn apply(&mut self, _context: &Told, _command: &[u8]) -> Result<Bytes, RejectedCommand> {
        Err(RejectedCommand)
    }
    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
        self.changed.store(0, Ordering::Relaxed);
        map.insert(b"key", &vec![7; self.state_bytes]).map(drop).map_err(ApplicationError::Map)
    }
    fn load(&mut self, _map: &Map) -> Result<(), ApplicationError> {
        Ok(())
    }
    fn saves_anew(&self) -> bool {
        self.saves_anew
    }
    fn changed_bytes(&self) -> u64 {
        self.changed.load(Ordering::Relaxed)
    }
}

fn execution(checkpoint_bytes: u64) -> (Execution, Arc<AtomicU64>) {
    execution_of(checkpoint_bytes, 5, false)
}

fn execution_of(checkpoint_bytes: u64, state_bytes: usize, saves_anew: bool) -> (Execution, Arc<AtomicU64>) {
    let keys: Vec<_> = (1..=4).map(|seed| SecretKey::from_seed(&[seed; 32]).public()).collect();
    let parameters = Arc::new(Parameters { checkpoint_bytes, ..Parameters::default() });
    let context = Context {
        cluster: ClusterId(Digest([9; 32])),
        epoch: Epoch(0),
        committee: Arc::new(Committee::new(&keys, false).unwrap()),
        parameters: Arc::clone(&parameters),
    };
    let changed = Arc::new(AtomicU64::new(0));
    let executor =
        Executor::new(context, Box::new(Changing { changed: Arc::clone(&changed), state_bytes, saves_anew }));
    (Execution::new(executor, &parameters), changed)
}

/// Whether a checkpoint is due after a slot, as seen by its being made.
fn makes_checkpoint(execution: &mut Execution, seq: u64) -> bool {
    match execution.run(Task::Execute { seq: Seq(seq), body: None }) {
        Done::Executed { state, .. } => state.is_some_and(|state| state.seq == Seq(seq)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_checkpoint_is_due_after_every_interval_and_when_much_has_changed() {
    let (mut execution, changed) = execution(1000);
    let mut made = Vec::new();
    for seq in 1..=260 {
        changed.fetch_add(if seq > 200 { 25 } else { 1 }, Ordering::Relaxed);
        if makes_checkpoint(&mut execution, seq) {
            made.push(seq);
        }
    }
    // From slot 128 on 72 bytes, and 25 for each slot above 200; the interval counts from the first slot all the same.
    assert_eq!(made, [128, 238, 256]);
}

/// Slots up to `last` after which a checkpoint is made, if so many bytes change in each, of a state of 100,000.
fn made_of_large(changed_each: u64, last: u64, saves_anew: bool) -> Vec<u64> {
    let (mut execution, changed) = execution_of(1000, 100_000, saves_anew);
    let mut due = |seq: &u64| {
        changed.fetch_add(changed_each, Ordering::Relaxed);
        makes_checkpoint(&mut execution, *seq)
    };
    (1..=last).filter(&mut due).collect()
}

#[test]
fn a_large_state_is_not_saved_before_a_part_of_it_has_changed_or_half_the_window_has_passed() {
    for saves_anew in [false, true] {
        // Nothing is known of its size before the first one; from then on a twelfth of it has to change.
        assert_eq!(made_of_large(1000, 40, saves_anew), [1, 10, 19, 28, 37]);
        assert_eq!(made_of_large(10, 1024, saves_anew), [100, 384, 640, 896], "K = 128 and L = 512");
    }
}

#[test]
fn without_a_bound_of_bytes_the_interval_alone_counts() {
    let (mut execution, changed) = execution(0);
    changed.store(u64::MAX, Ordering::Relaxed);
    let made: Vec<u64> = (1..=256).filter(|seq| makes_checkpoint(&mut execution, *seq)).collect();
    assert_eq!(made, [128, 256]);
}

fn state_after(seq: u64) -> Box<State> {
    let (mut execution, _) = execution(0);
    for seq in 1..seq {
        makes_checkpoint(&mut execution, seq);
    }
    match execution.run(Task::Execute { seq: Seq(seq), body: None }) {
        Done::Executed { state: Some(state), .. } => state,
        other => panic!("{other:?}"),
    }
}

#[test]
fn execution_goes_on_from_the_state_that_came_in_place_of_its_own() {
    let (mut execution, _) = execution(0);
    makes_checkpoint(&mut execution, 1);
    let release = Task::Release { seq: Seq(128), wrong: false };
    assert!(matches!(execution.run(release), Done::Released { .. }));
    assert!(matches!(execution.run(Task::Install(state_after(128))), Done::Installed));
    // What was handed over before is covered by it.
    assert!(!makes_checkpoint(&mut execution, 2));
    assert_eq!(execution.executor().executed(), Seq(128));
    assert!(!makes_checkpoint(&mut execution, 129));
    assert_eq!(execution.executor().executed(), Seq(129));
}

#[test]
fn a_state_that_is_further_is_not_let_go_of_unless_it_is_wrong() {
    let (mut execution, _) = execution(0);
    let made = (1..=130).filter(|seq| makes_checkpoint(&mut execution, *seq)).count();
    assert_eq!(made, 1);
    let release = |wrong| Task::Release { seq: Seq(128), wrong };
    assert!(matches!(execution.run(release(false)), Done::Outran));
    assert!(!makes_checkpoint(&mut execution, 131), "it goes on");
    assert!(matches!(execution.run(release(true)), Done::Released { .. }));
    assert!(matches!(execution.run(Task::Install(state_after(128))), Done::Installed));
    assert!(!makes_checkpoint(&mut execution, 129), "what follows from the right state executes again");
    assert_eq!(execution.executor().executed(), Seq(129));
}

#[test]
#[should_panic(expected = "kept back")]
fn nothing_executes_without_a_state() {
    let (mut execution, _) = execution(0);
    execution.run(Task::Release { seq: Seq(128), wrong: false });
    execution.run(Task::Execute { seq: Seq(1), body: None });
}
