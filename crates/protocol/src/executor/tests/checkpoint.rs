//! Roots and snapshots.

use bytes::Bytes;

use super::*;
use crate::application::{RejectedCommand, SNAPSHOT_BYTES_MAX, StateMachine};
use crate::snapshot::{CHUNK_BYTES, CheckpointError, RestoreError, Summary, chunk_digests, chunk_root};

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

#[test]
fn a_restored_executor_is_the_one_that_made_the_snapshot() {
    let mut one = history();
    let state = one.checkpoint().unwrap();
    let mut other =
        Executor::restore(context(), machine(Tape::default()), &state.snapshot, state.root).unwrap();
    assert_eq!(other.checkpoint().unwrap(), state);
    assert_eq!(
        (other.executed(), other.time(), other.history(Seq(4))),
        (Seq(4), one.time(), one.history(Seq(4)))
    );
    assert_eq!(other.history(Seq(3)), None, "what came before is not known");
    assert_eq!(future(&mut other), future(&mut one));
    assert_eq!(other.checkpoint().unwrap(), one.checkpoint().unwrap());
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
    let root = Summary { config: Digest::ZERO, ..state.summary }.root();
    assert_eq!(root.to_string(), "372feca280c9aa0e13946a3148d77abb64402b259984f17975c65021d445ae6b");
    assert_eq!(
        state.summary.history.to_string(),
        "9192611c35944f7f65427625967186cc013d00ad4b19ba6fee7e0fa813354da7"
    );
}

#[test]
fn the_root_covers_the_slot_and_everything_that_affects_a_later_reply() {
    let root = |executor: &Executor| executor.checkpoint().unwrap().root;
    let session = session(1, 0, 30);
    let change = |requests: &[Arc<Request>]| {
        let (mut one, mut other) = (history(), history());
        run(&mut one, requests);
        run(&mut other, &[]);
        assert_ne!(root(&one), root(&other));
    };
    change(&[notes(1, session, 3, 4, &[1])]);
    change(&[register(2, 1, 20)]);
    change(&[ask(1, session, 7, 1, &[Command::Look])]);
    let (mut one, mut other) = (history(), history());
    one.execute(Seq(5), Some(&body(1000, &[])));
    other.execute(Seq(5), Some(&body(1001, &[])));
    assert_ne!(root(&one), root(&other), "the agreed time");
}

#[test]
fn the_summary_describes_the_chunks() {
    let mut executor = executor();
    let words = CHUNK_BYTES / 8;
    executor.machine = machine(Tape(vec![1; 2 * words]));
    let state = executor.checkpoint().unwrap();
    let chunks = chunk_digests(&state.snapshot);
    assert_eq!(
        (chunks.len(), state.summary.chunks, state.summary.bytes),
        (3, 3, state.snapshot.len() as u64)
    );
    assert_eq!((state.summary.chunk_root, state.summary.root()), (chunk_root(&chunks), state.root));
}

#[test]
fn a_snapshot_with_any_other_byte_is_refused() {
    let state = history().checkpoint().unwrap();
    let restore =
        |bytes: &[u8]| Executor::restore(context(), machine(Tape::default()), bytes, state.root).map(|_| ());
    for at in 0..state.snapshot.len() {
        let mut bytes = state.snapshot.to_vec();
        bytes[at] ^= 1;
        assert!(restore(&bytes).is_err(), "byte {at}");
        assert!(restore(&state.snapshot[..at]).is_err(), "cut at {at}");
    }
    let longer = [&state.snapshot[..], &[0]].concat();
    assert_eq!(restore(&longer), Err(RestoreError::Malformed("bytes follow it")));
    let mut newer = state.snapshot.to_vec();
    newer[8] += 1;
    assert_eq!(restore(&newer), Err(RestoreError::Version(2)));
    let mut other = state.snapshot.to_vec();
    other[12] ^= 1;
    assert!(
        matches!(restore(&other), Err(RestoreError::WrongRoot { expected, .. }) if expected == state.root)
    );
}

#[test]
fn a_snapshot_of_another_configuration_is_refused() {
    let state = history().checkpoint().unwrap();
    let parameters = Arc::new(Parameters { client_window: 9, ..parameters() });
    let result = Executor::restore(
        Context { parameters, ..context() },
        machine(Tape::default()),
        &state.snapshot,
        state.root,
    );
    assert!(matches!(result, Err(RestoreError::WrongRoot { .. })));
}

/// A machine whose state is a number of zeros, and which adds what it is told when it restores.
struct Zeros(usize, usize);

impl StateMachine for Zeros {
    fn apply(&mut self, _: &application::Context, _: &[u8]) -> Result<Bytes, RejectedCommand> {
        Err(RejectedCommand)
    }
    fn snapshot(&self) -> Result<Vec<u8>, ApplicationError> {
        Ok(vec![0; self.0])
    }
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), ApplicationError> {
        self.0 = snapshot.len() + self.1;
        Ok(())
    }
}

#[test]
fn a_state_that_outgrew_its_snapshot_is_an_error() {
    let checkpoint = |bytes| Executor::new(context(), Box::new(Zeros(bytes, 0))).checkpoint();
    let error = checkpoint(SNAPSHOT_BYTES_MAX + 1).unwrap_err();
    assert!(matches!(error, CheckpointError::TooLarge(bytes) if bytes == SNAPSHOT_BYTES_MAX + 1));
    let state = checkpoint(SNAPSHOT_BYTES_MAX).unwrap();
    Executor::restore(context(), Box::new(Zeros(0, 0)), &state.snapshot, state.root).unwrap();
}

#[test]
fn the_largest_typed_state_restores() {
    let mut executor = executor();
    executor.machine = machine(Tape(vec![1; SNAPSHOT_BYTES_MAX / 8 - 1]));
    let state = executor.checkpoint().unwrap();
    Executor::restore(context(), machine(Tape::default()), &state.snapshot, state.root).unwrap();
}

#[test]
fn an_application_that_does_not_restore_its_state_is_found() {
    let state = Executor::new(context(), Box::new(Zeros(9, 0))).checkpoint().unwrap();
    let result = Executor::restore(context(), Box::new(Zeros(0, 1)), &state.snapshot, state.root);
    assert!(matches!(result, Err(RestoreError::Unfaithful)));
}

/// Writes itself differently after each restoration, as a hash map does.
#[derive(Serialize, Deserialize)]
struct Drift(u64);

impl Application for Drift {
    type Command = ();
    type Reply = ();
    fn apply(&mut self, _: &application::Context, (): ()) {}
    fn restore(snapshot: &[u8]) -> Result<Self, ApplicationError> {
        codec::decode_serde(snapshot).map(|value: u64| Self(value + 1)).map_err(|_| ApplicationError::Encode)
    }
}

#[test]
#[cfg(debug_assertions)]
fn a_snapshot_that_changes_when_it_is_restored_is_found_before_it_divides_a_cluster() {
    let error = Executor::new(context(), machine(Drift(0))).checkpoint().unwrap_err();
    assert!(matches!(error, CheckpointError::Application(ApplicationError::Unstable)));
}
