//! Roots and snapshots.

use bytes::Bytes;

use super::*;
use crate::application::{RejectedCommand, SNAPSHOT_BYTES_MAX, StateMachine};
use crate::map::Chunk;
use crate::pieces;
use crate::snapshot::{CheckpointError, Part, RestoreError, State, Summary};

/// A history with every kind of outcome in it.
fn history() -> Executor {
    let (mut executor, session) = with_session();
    run(&mut executor, &[notes(1, session, 3, 1, &[3, 4]), register(2, 0, 12)]);
    run(&mut executor, &[ask(1, session, 5, 4, &[Command::Fill(57), Command::Fill(20)])]);
    executor.execute(Seq(4), None);
    executor
}

/// What the same batches do after a history.
fn future(executor: &mut Executor) -> Vec<Executed> {
    let (one, two) = (session(1, 0, 30), session(2, 0, 12));
    let mut all = vec![
        run(
            executor,
            &[notes(1, one, 3, 1, &[3, 4]), notes(1, one, 2, 1, &[2]), ask(1, one, 5, 1, &[Command::Look])],
        ),
        run(executor, &[fifo(2, two, 1, &[1, 2]), register(2, 0, 12), notes(1, one, 12, 1, &[1])]),
        run(executor, &[fifo(1, one, 7, &[1])]),
    ];
    all.extend((8..15).map(|seq| executor.execute(Seq(seq), None)));
    all.push(run(executor, &[register(2, 5, 20), register(2, 6, 20), register(3, 7, 20)]));
    all
}

/// The same state after its chunks went over a wire.
fn travelled(state: &State) -> State {
    let chunks = state.chunks().map(|chunk| Arc::new(Chunk::decode(&chunk.encode()).unwrap()));
    State::assemble(&state.summary(), chunks.collect()).unwrap()
}

#[test]
fn a_restored_executor_is_the_one_that_made_the_snapshot() {
    let mut one = history();
    let state = one.checkpoint().unwrap();
    let mut other = Executor::restore(context(), machine(Tape::default()), travelled(&state)).unwrap();
    assert_eq!(other.checkpoint().unwrap().summary(), state.summary());
    assert_eq!(
        (other.executed(), other.time(), other.history(Seq(4))),
        (Seq(4), one.time(), one.history(Seq(4)))
    );
    assert_eq!(other.history(Seq(3)), None, "what came before is not known");
    assert_eq!(future(&mut other), future(&mut one));
    assert_eq!(other.checkpoint().unwrap().summary(), one.checkpoint().unwrap().summary());
}

#[test]
fn a_checkpoint_changes_nothing() {
    let (mut one, mut other) = (history(), history());
    one.checkpoint().unwrap();
    assert_eq!(future(&mut one), future(&mut other));
}

#[test]
fn the_root_of_a_fixed_history_is_fixed() {
    let state = history().checkpoint().unwrap();
    // Without the configuration, which has a golden digest of its own and changes with each new parameter.
    let root = Summary { config: Digest::ZERO, ..state.summary() }.root();
    assert_eq!(root.to_string(), "5d091faf02c5b09f118aad7c3c0a281d0f221fe8866d1ae40796b78ad6ae36ac");
    assert_eq!(state.history.to_string(), "6bd21bbe7d97ca991b20ae9487344c09ce10b7623f2b84704212b8c8a612a4b9");
}

#[test]
fn the_root_covers_the_slot_and_everything_that_affects_a_later_reply() {
    let root = |executor: &mut Executor| executor.checkpoint().unwrap().root();
    let session = session(1, 0, 30);
    let change = |requests: &[Arc<Request>]| {
        let (mut one, mut other) = (history(), history());
        run(&mut one, requests);
        run(&mut other, &[]);
        assert_ne!(root(&mut one), root(&mut other));
    };
    change(&[notes(1, session, 3, 4, &[1])]);
    change(&[register(2, 1, 20)]);
    change(&[ask(1, session, 7, 1, &[Command::Look])]);
    let (mut one, mut other) = (history(), history());
    one.execute(Seq(5), Some(&body(1000, &[])));
    other.execute(Seq(5), Some(&body(1001, &[])));
    assert_ne!(root(&mut one), root(&mut other), "the agreed time");
}

#[test]
fn the_summary_describes_the_chunks() {
    let mut executor = executor();
    executor.machine = machine(Tape((0..50_000).collect()));
    let state = executor.checkpoint().unwrap();
    let (summary, digests) = (state.summary(), state.chunk_digests());
    assert!(summary.application.chunks >= 5, "{summary:?}");
    assert!(summary.covers(&digests));
    assert_eq!((summary.chunks(), summary.root()), (digests.len() as u64, state.root()));
    let mut other = digests.clone();
    other.swap(0, 1);
    assert!(!summary.covers(&other), "chunks in another order");
    assert!(!summary.covers(&digests[1..]) && !summary.covers(&[&digests[..], &digests[..1]].concat()));
    let shifted = Summary {
        application: Part { chunks: summary.application.chunks - 1, ..summary.application },
        sessions: Part { chunks: summary.sessions.chunks + 1, ..summary.sessions },
        ..summary
    };
    assert!(!shifted.covers(&digests), "a chunk of the other map");
}

#[test]
fn a_state_with_any_other_byte_is_refused() {
    let state = history().checkpoint().unwrap();
    let summary = state.summary();
    let wires: Vec<Vec<u8>> = state.chunks().map(|chunk| chunk.encode()).collect();
    let assemble = |wires: &[Vec<u8>]| {
        let chunks: Result<Vec<_>, _> = wires.iter().map(|wire| Chunk::decode(wire).map(Arc::new)).collect();
        State::assemble(&summary, chunks?)
    };
    assert_eq!(assemble(&wires).unwrap().root(), state.root());
    for (index, wire) in wires.iter().enumerate() {
        for at in 0..wire.len() {
            let mut changed = wires.clone();
            changed[index][at] ^= 1;
            assert!(assemble(&changed).is_err(), "byte {at} of chunk {index}");
            changed[index].truncate(at);
            assert!(assemble(&changed).is_err(), "chunk {index} cut at {at}");
        }
    }
    assert!(assemble(&wires[1..]).is_err() && assemble(&[]).is_err());
}

#[test]
fn a_state_of_another_configuration_is_refused() {
    let state = history().checkpoint().unwrap();
    let parameters = Arc::new(Parameters { client_window: 9, ..parameters() });
    let result = Executor::restore(Context { parameters, ..context() }, machine(Tape::default()), state);
    assert!(matches!(result, Err(RestoreError::OtherConfiguration)));
}

#[test]
fn only_sessions_that_were_touched_are_written_again() {
    let (mut executor, session) = with_session();
    run(&mut executor, &[register(2, 0, 12), notes(1, session, 1, 1, &[1])]);
    let before = executor.checkpoint().unwrap().sessions;
    run(&mut executor, &[]);
    let same = executor.checkpoint().unwrap().sessions;
    assert_eq!((same.root(), same.changed_bytes()), (before.root(), 0));
    run(&mut executor, &[notes(1, session, 2, 1, &[1])]);
    let after = executor.checkpoint().unwrap().sessions;
    assert_ne!(after.root(), before.root());
    let changed: Vec<_> = before.differences(&after).map(|found| found.key[..32].to_vec()).collect();
    assert_eq!(changed, [client(1).0.0.to_vec()]);
}

#[test]
fn an_evicted_session_leaves_the_state() {
    let mut executor = executor();
    run(&mut executor, &[register(1, 0, 2), register(1, 1, 2)]);
    let both = executor.checkpoint().unwrap().sessions.len();
    run(&mut executor, &[]);
    run(&mut executor, &[]);
    run(&mut executor, &[register(1, 2, 6)]);
    assert_eq!((both, executor.checkpoint().unwrap().sessions.len()), (2, 2));
    let state = executor.checkpoint().unwrap();
    let mut other = Executor::restore(context(), machine(Tape::default()), travelled(&state)).unwrap();
    assert_eq!(other.checkpoint().unwrap().root(), state.root());
}

#[test]
fn a_session_larger_than_a_piece_is_restored() {
    let parameters =
        Arc::new(Parameters { reply_bytes_max: 20_000, reply_cache_bytes_max: 200_000, ..parameters() });
    let context = Context { parameters, ..context() };
    let mut executor = Executor::new(context.clone(), machine(Tape::default()));
    let session = session(1, 0, 12);
    run(&mut executor, &[register(1, 0, 12)]);
    run(&mut executor, &[ask(1, session, 1, 1, &[const { Command::Fill(19_000) }; 8])]);
    let state = executor.checkpoint().unwrap();
    assert!(state.sessions.len() >= 3, "{} pieces", state.sessions.len());
    let mut other = Executor::restore(context, machine(Tape::default()), travelled(&state)).unwrap();
    let retry = ask(1, session, 1, 1, &[const { Command::Fill(19_000) }; 8]);
    assert_eq!(other.cached(&retry), executor.cached(&retry));
    assert_eq!(other.cached(&retry).len(), 8);
    run(&mut other, &[notes(1, session, 9, 9, &[1])]);
    assert_eq!(other.checkpoint().unwrap().sessions.len(), 1, "what was acknowledged is gone");
}

#[test]
fn a_released_executor_goes_on_from_the_state_that_it_is_given() {
    let mut one = history();
    let state = one.checkpoint().unwrap();
    one.release();
    one.install(travelled(&state)).unwrap();
    assert_eq!(future(&mut one), future(&mut history()));
}

#[test]
fn what_was_ordered_counts_from_one_checkpoint_to_the_next() {
    let (mut one, mut other) = (history(), history());
    let bytes = one.changed_bytes();
    assert!(bytes > 0);
    let state = one.checkpoint().unwrap();
    assert_eq!((one.changed_bytes(), other.changed_bytes()), (0, bytes));
    other.install(travelled(&state)).unwrap();
    let (ones, others) = (future(&mut one), future(&mut other));
    assert_eq!(ones, others);
    assert_eq!(one.changed_bytes(), other.changed_bytes(), "the next one is due at the same slot");
    assert!(one.changed_bytes() > 0);
}

/// A machine whose state is a number of zeros, and which adds what it is told when it restores.
struct Zeros(usize, usize);

impl StateMachine for Zeros {
    fn apply(&mut self, _: &application::Context, _: &[u8]) -> Result<Bytes, RejectedCommand> {
        Err(RejectedCommand)
    }
    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
        pieces::write(map, &vec![0; self.0])
    }
    fn load(&mut self, map: &Map) -> Result<(), ApplicationError> {
        self.0 = pieces::read(map)?.len() + self.1;
        Ok(())
    }
}

#[test]
fn a_state_that_outgrew_its_snapshot_is_an_error() {
    let checkpoint = |bytes| Executor::new(context(), Box::new(Zeros(bytes, 0))).checkpoint();
    let error = checkpoint(SNAPSHOT_BYTES_MAX + 1).unwrap_err();
    let CheckpointError::Application(ApplicationError::TooLarge(bytes)) = error else { panic!("{error}") };
    assert_eq!(bytes, SNAPSHOT_BYTES_MAX + 1);
    let state = checkpoint(SNAPSHOT_BYTES_MAX).unwrap();
    Executor::restore(context(), Box::new(Zeros(0, 0)), state).unwrap();
}

#[test]
fn the_largest_typed_state_restores() {
    let mut executor = executor();
    executor.machine = machine(Tape(vec![1; SNAPSHOT_BYTES_MAX / 8 - 1]));
    let state = executor.checkpoint().unwrap();
    Executor::restore(context(), machine(Tape::default()), state).unwrap();
}

#[test]
fn an_application_that_does_not_restore_its_state_is_found() {
    let state = Executor::new(context(), Box::new(Zeros(9, 0))).checkpoint().unwrap();
    let result = Executor::restore(context(), Box::new(Zeros(0, 1)), state);
    assert!(matches!(result, Err(RestoreError::Unfaithful)));
}

/// Writes itself differently after each restoration, as a hash map does.
struct Drift(u64);

impl Snapshot for Drift {
    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
        pieces::write(map, &self.0.to_le_bytes())
    }
    fn load(map: &Map) -> Result<Self, ApplicationError> {
        let bytes = pieces::read(map)?.try_into().map_err(|_| ApplicationError::Encode)?;
        Ok(Self(u64::from_le_bytes(bytes) + 1))
    }
}

impl Application for Drift {
    type Command = ();
    type Reply = ();
    fn apply(&mut self, _: &application::Context, (): ()) {}
}

#[test]
#[cfg(debug_assertions)]
fn a_snapshot_that_changes_when_it_is_restored_is_found_before_it_divides_a_cluster() {
    let error = Executor::new(context(), machine(Drift(0))).checkpoint().unwrap_err();
    assert!(matches!(error, CheckpointError::Application(ApplicationError::Unstable)));
}

/// Lives in a map.
struct Ledger(Map);

impl Snapshot for Ledger {
    const SAVES_ANEW: bool = true;

    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
        assert!(map.is_empty(), "nothing is kept for it");
        self.0.seal();
        map.clone_from(&self.0);
        Ok(())
    }
    fn load(map: &Map) -> Result<Self, ApplicationError> {
        Ok(Self(map.clone()))
    }
}

impl Application for Ledger {
    type Command = u8;
    type Reply = ();
    fn apply(&mut self, _: &application::Context, key: u8) {
        self.0.insert(&[key], &[key; 9]).unwrap();
    }
}

#[test]
fn no_copy_is_held_of_a_state_that_lives_in_a_map_once_it_is_stored() {
    let mut map = Map::new();
    map.insert(&[1], b"before").unwrap();
    let mut executor = Executor::new(context(), machine(Ledger(map)));
    let change = |executor: &mut Executor, key: u8| {
        let caller = application::Context::for_test(client(1));
        executor.machine.apply(&caller, &codec::encode_serde(&key).unwrap()).unwrap();
    };
    let old_chunk = |state: &State| Arc::downgrade(&state.application.chunks()[0]);
    let state = executor.checkpoint().unwrap();
    let old = old_chunk(&state);
    change(&mut executor, 2);
    assert_eq!(old.strong_count(), 1, "a state stays what it was as long as it is there");
    drop(state);
    assert_eq!(old.strong_count(), 0);
    let state = executor.checkpoint().unwrap();
    executor.install(travelled(&state)).unwrap();
    let old = old_chunk(&executor.checkpoint().unwrap());
    change(&mut executor, 3);
    assert_eq!(old.strong_count(), 0, "it was stored before the change");
    let old = old_chunk(&executor.checkpoint().unwrap());
    let released = executor.release();
    assert_eq!(old.strong_count(), 1, "it is given out, and takes no time to let go here");
    assert!(executor.release().iter().all(Map::is_empty), "there is nothing more");
    drop(released);
    assert_eq!(old.strong_count(), 0);
}
