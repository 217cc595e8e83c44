//! What is kept of a wrong state, and what is learnt from it.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quorate_protocol::application::{ApplicationError, Context as Told, RejectedCommand, StateMachine};
use quorate_protocol::codec::{Frames, List};
use quorate_protocol::committee::Committee;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::executor::{Executor, State};
use quorate_protocol::map::Map;
use quorate_protocol::message::{Commit, Prepare};
use quorate_protocol::parameters::{Context, Parameters};
use quorate_protocol::request::{Batch, Draft, Kind, Nondet, Registration, Request};
use quorate_protocol::types::{ClientId, ClusterId, Digest, Epoch, Number, Session, Time, View};

use super::*;
use crate::disk::{Crash, DiskFailure, MemoryDisk};
use crate::execution::{Done, Execution, Task};
use crate::store::Store;

const CLUSTER: ClusterId = ClusterId(Digest([9; 32]));

/// `key=value` sets a key. What goes wrong, where anything does, goes wrong at the key `fragile`.
struct Machine {
    map: Map,
    flaw: Flaw,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    Nothing,
    /// Writes another value.
    OtherValue,
    /// Writes a number that is never the same.
    Random,
}

static DRAWN: AtomicU64 = AtomicU64::new(0);

impl StateMachine for Machine {
    fn apply(&mut self, _context: &Told, command: &[u8]) -> Result<Bytes, RejectedCommand> {
        let at = command.iter().position(|byte| *byte == b'=').ok_or(RejectedCommand)?;
        let (key, value) = (&command[..at], &command[at + 1..]);
        let value = match self.flaw {
            Flaw::OtherValue if key == b"fragile" => b"flipped".to_vec(),
            Flaw::Random if key == b"fragile" => {
                DRAWN.fetch_add(1, Ordering::Relaxed).to_string().into_bytes()
            }
            Flaw::Nothing | Flaw::OtherValue | Flaw::Random => value.to_vec(),
        };
        self.map.insert(key, &value).map_err(|_| RejectedCommand)?;
        Ok(Bytes::from_static(b"done"))
    }
    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
        self.map.seal();
        map.clone_from(&self.map);
        Ok(())
    }
    fn load(&mut self, map: &Map) -> Result<(), ApplicationError> {
        self.map = map.clone();
        Ok(())
    }
    fn changed_bytes(&self) -> u64 {
        self.map.changed_bytes()
    }
}

fn machine(flaw: Flaw) -> Box<dyn StateMachine> {
    Box::new(Machine { map: Map::new(), flaw })
}

fn context() -> Context {
    let keys: Vec<_> = (1..=4).map(|seed| SecretKey::from_seed(&[seed; 32]).public()).collect();
    let parameters = Parameters { checkpoint_interval: 4, window: 8, ..Parameters::default() };
    let committee = Arc::new(Committee::new(&keys, false).unwrap());
    Context { cluster: CLUSTER, epoch: Epoch(0), committee, parameters: Arc::new(parameters) }
}

fn key() -> SecretKey {
    SecretKey::from_seed(&[77; 32])
}

fn session() -> Session {
    Registration { nonce: 1, expires: Seq(8) }.session(ClientId::of(&key().public()))
}

fn body(seq: u64, requests: Vec<Arc<Request>>) -> (Seq, Option<Arc<Body>>) {
    let batch = Batch { nondet: Nondet { time: Time(seq) }, requests: List(requests) };
    (Seq(seq), Some(Body::new(batch, CLUSTER)))
}

/// Slot 1 registers a client, slots up to 8 set a few keys each, slot 7 nothing. `fragile` is set in slot 6, as the
/// second operation of the second request.
fn history() -> Vec<(Seq, Option<Arc<Body>>)> {
    let sign = |first: u64, kind, operations: &[Vec<u8>]| {
        let operations = Frames::new(operations.iter().map(Vec::as_slice));
        let draft =
            Draft { session: session(), first: Number(first), ack: Number(first.min(1)), kind, operations };
        Arc::new(Request::sign(&key(), CLUSTER, draft))
    };
    let registration = codec::encode(&Registration { nonce: 1, expires: Seq(8) }).unwrap();
    let set =
        |keys: &[String]| keys.iter().map(|key| format!("{key}=right").into_bytes()).collect::<Vec<_>>();
    let mut history = vec![body(1, vec![sign(0, Kind::Register, &[registration])])];
    for seq in 2..=8 {
        let fragile = if seq == 6 { "fragile".to_owned() } else { format!("key-{seq}-3") };
        let (one, other) = (set(&[format!("key-{seq}-1")]), set(&[format!("key-{seq}-2"), fragile]));
        let requests = [sign(3 * seq, Kind::Operations, &one), sign(3 * seq + 1, Kind::Operations, &other)];
        history.push(if seq == 7 { (Seq(7), None) } else { body(seq, requests.to_vec()) });
    }
    history
}

/// The states at the checkpoints 4 and 8.
fn run(flaw: Flaw) -> [State; 2] {
    let context = context();
    let executor = Executor::new(context.clone(), machine(flaw));
    let mut execution = Execution::new(executor, &context.parameters);
    let states = history().into_iter().filter_map(|(seq, body)| {
        let Done::Executed { state, .. } = execution.run(Task::Execute { seq, body }) else { panic!() };
        state.map(|state| *state)
    });
    states.collect::<Vec<_>>().try_into().unwrap()
}

fn evidence(wrong: &State, right: &State) -> Evidence {
    let divergence = Divergence { seq: Seq(8), ours: wrong.root(), theirs: right.root() };
    let batches = Batches(history().split_off(4));
    let (votes, conflict) = (Vec::new(), Vec::new());
    Evidence { divergence, proven: true, agreed: Seq(4), votes, certificate: None, batches, conflict }
}

/// A disk with the states of a replica that was right at slot 4 and wrong at slot 8.
fn stored(wrong: &[State; 2]) -> (MemoryDisk, Store<MemoryDisk>) {
    let disk = MemoryDisk::new();
    let mut store = Store::open(disk.share(), true).unwrap();
    wrong.iter().for_each(|state| assert_eq!(store.save(state).unwrap().seq, state.seq));
    (disk, store)
}

/// What the folder of such a replica says when its program is run again with this flaw.
fn told(had: Flaw, replayed_with: Flaw, right: Option<&State>) -> Report {
    let (states, correct) = (run(had), run(Flaw::Nothing));
    let (mut disk, mut store) = stored(&states);
    store.preserve(&evidence(&states[1], &correct[1])).unwrap();
    let case = Case::read(&mut disk).unwrap().unwrap();
    let before = store.load(Seq(4)).unwrap();
    let before = (before.seq == case.agreed).then_some(&before);
    report(&context(), &|| machine(replayed_with), &case, before, right).unwrap()
}

fn is_fragile(report: &Report) {
    let culprit = report.culprit.unwrap();
    let history = history();
    let operation = history[5].1.as_ref().unwrap().batch.requests[1].operations().nth(1).unwrap();
    assert_eq!((culprit.seq, culprit.number, culprit.operation), (Seq(6), operation.0, operation.1));
    assert_eq!((culprit.client, culprit.session), (ClientId::of(&key().public()), session()));
    assert_eq!(report.keys[0].key, b"fragile");
}

#[test]
fn c10_a_replica_that_computed_wrongly_once_is_told_the_request_and_the_key() {
    let report = told(Flaw::OtherValue, Flaw::Nothing, None);
    assert_eq!(report.verdict, Verdict::Once);
    is_fragile(&report);
    let key = &report.keys[0];
    assert_eq!((key.ours.as_deref(), key.theirs.as_deref()), (Some(&b"flipped"[..]), Some(&b"right"[..])));
    assert_eq!((report.keys.len(), report.differing), (1, 1));
}

#[test]
fn c10_a_program_that_always_computes_otherwise_is_told_from_one_that_did_once() {
    let right = &run(Flaw::Nothing)[1];
    let report = told(Flaw::OtherValue, Flaw::OtherValue, Some(right));
    assert_eq!(report.verdict, Verdict::Always);
    is_fragile(&report);
    // Without the state of the others nobody can say where it differs.
    let report = told(Flaw::OtherValue, Flaw::OtherValue, None);
    assert_eq!((report.verdict, report.culprit, report.differing), (Verdict::Always, None, 0));
}

#[test]
fn c10_an_application_that_is_not_deterministic_is_named_with_request_and_key() {
    let report = told(Flaw::Random, Flaw::Random, None);
    assert_eq!(report.verdict, Verdict::NotDeterministic);
    is_fragile(&report);
    assert_ne!(report.keys[0].ours, report.keys[0].theirs);
}

#[test]
fn c10_a_third_state_is_neither() {
    let report = told(Flaw::Random, Flaw::OtherValue, None);
    assert_eq!(report.verdict, Verdict::Third);
    is_fragile(&report);
}

#[test]
fn c10_a_replica_that_was_never_right_is_replayed_from_the_beginning() {
    let (states, correct) = (run(Flaw::OtherValue), run(Flaw::Nothing));
    let mut disk = MemoryDisk::new();
    let mut store = Store::open(disk.share(), true).unwrap();
    store.save(&states[1]).unwrap();
    let evidence =
        Evidence { agreed: Seq(0), batches: Batches(history()), ..evidence(&states[1], &correct[1]) };
    store.preserve(&evidence).unwrap();
    let case = Case::read(&mut disk).unwrap().unwrap();
    let report = report(&context(), &|| machine(Flaw::Nothing), &case, None, None).unwrap();
    assert_eq!((report.verdict, report.differing), (Verdict::Once, 1));
    is_fragile(&report);
}

#[test]
fn batches_that_are_gone_are_said_to_be() {
    let (states, correct) = (run(Flaw::OtherValue), run(Flaw::Nothing));
    let mut evidence = evidence(&states[1], &correct[1]);
    evidence.batches.0.drain(..2);
    let case = Case::new(&evidence, Seq(4), Some(Vec::new()));
    let missing = report(&context(), &|| machine(Flaw::Nothing), &case, Some(&states[0]), None).unwrap();
    assert_eq!(missing.verdict, Verdict::Missing(Seq(5), Seq(6)));
    let case = Case::new(&self::evidence(&states[1], &correct[1]), Seq(4), Some(Vec::new()));
    let nothing = report(&context(), &|| machine(Flaw::Nothing), &case, None, None);
    assert!(matches!(nothing, Err(ReportError::NoState(Seq(4)))));
}

#[test]
fn evidence_is_bounded_and_says_when_it_was_cut() {
    let (states, correct) = (run(Flaw::OtherValue), run(Flaw::Nothing));
    let evidence = evidence(&states[1], &correct[1]);
    let change =
        |key: u8| Change { which: Which::Application, key: vec![key; 100], value: Some(vec![key; 1000]) };
    let changes: Vec<_> = (0..50).map(change).collect();
    let whole = Case::within(1 << 20, &evidence, Seq(4), Some(changes.clone()));
    assert_eq!((whole.cut, whole.changes.len(), whole.missing()), (false, 50, None));
    let some = Case::within(20_000, &evidence, Seq(4), Some(changes.clone()));
    assert!(some.cut && !some.changes.is_empty() && some.changes.len() < 20 && some.missing().is_none());
    let none = Case::within(100, &evidence, Seq(4), Some(changes));
    assert!(none.cut && none.changes.is_empty() && none.missing() == Some((Seq(5), Seq(8))));
    assert!(Case::new(&evidence, Seq(4), None).cut, "nobody knows what was wrong");
}

#[test]
fn a_file_is_read_as_it_was_written_and_a_torn_one_as_far_as_it_goes() {
    let (states, correct) = (run(Flaw::OtherValue), run(Flaw::Nothing));
    let statement = Checkpoint { seq: Seq(8), root: correct[1].root(), epoch_end: Seq::MAX };
    let certificate = Some(Certificate { statement, signatures: List(Vec::new()) });
    let committed = Commit { view: View(1), seq: Seq(7), digest: Digest([3; 32]) };
    let prepared = Prepare { view: View(2), seq: Seq(7), digest: Digest([4; 32]) };
    let conflict = vec![
        Proof::Committed(Certificate { statement: committed, signatures: List(Vec::new()) }),
        Proof::Prepared(Certificate { statement: prepared, signatures: List(Vec::new()) }),
        Proof::Stable(Certificate { statement, signatures: List(Vec::new()) }),
    ];
    let evidence = Evidence { certificate, conflict, ..evidence(&states[1], &correct[1]) };
    let changes = vec![
        Change { which: Which::Application, key: b"a".to_vec(), value: None },
        Change { which: Which::Sessions, key: Vec::new(), value: Some(Vec::new()) },
    ];
    let case = Case::new(&evidence, Seq(4), Some(changes));
    let mut disk = MemoryDisk::new();
    assert_eq!(Case::read(&mut disk), Ok(None));
    case.write(&mut disk).unwrap();
    disk.crash(Crash::Forget);
    assert_eq!(Case::read(&mut disk), Ok(Some(case.clone())));
    let length = disk.len(FileName::Divergence).unwrap().unwrap();
    for offset in 0..length {
        let mut disk = disk.clone();
        disk.flip(FileName::Divergence, offset, 0x55);
        match Case::read(&mut disk) {
            // The zeros of the header stand for nothing.
            Ok(Some(found)) if (10..16).contains(&offset) => assert_eq!(found, case),
            Ok(Some(found)) => assert!(found.cut && found.divergence == case.divergence, "byte {offset}"),
            refused => assert!(matches!(refused, Err(CaseError::Damaged | CaseError::FutureVersion { .. }))),
        }
    }
}

#[test]
fn wrong_states_go_and_what_they_are_replayed_from_stays() {
    let (states, correct) = (run(Flaw::OtherValue), run(Flaw::Nothing));
    let (_, mut store) = stored(&states);
    store.preserve(&evidence(&states[1], &correct[1])).unwrap();
    assert_eq!(store.list(), [Seq(4)]);
    for seq in 9..=20 {
        let mut state = correct[1].clone();
        state.seq = Seq(seq);
        store.save(&state).unwrap();
        store.prune(Seq(seq), Seq(seq), &[]).unwrap();
    }
    assert_eq!(store.list()[0], Seq(4), "{:?}", store.list());
    assert_eq!(store.load(Seq(4)).unwrap().root(), states[0].root());
}

#[test]
fn a_state_that_was_never_compared_goes_with_the_wrong_one() {
    let (states, correct) = (run(Flaw::OtherValue), run(Flaw::Nothing));
    let (_, mut store) = stored(&states);
    let between = State { seq: Seq(6), ..states[0].clone() };
    store.save(&between).unwrap();
    store.preserve(&evidence(&states[1], &correct[1])).unwrap();
    assert_eq!(store.list(), [Seq(4)]);
}

#[test]
fn a_power_cut_while_evidence_is_written_leaves_the_wrong_state_or_the_evidence() {
    let (states, correct) = (run(Flaw::OtherValue), run(Flaw::Nothing));
    let (disk, mut store) = stored(&states);
    let before = disk.operations();
    let untouched = disk.clone();
    store.preserve(&evidence(&states[1], &correct[1])).unwrap();
    let operations = disk.operations() - before;
    assert!(operations >= 5, "{operations}");
    for nth in 1..=operations {
        let mut disk = untouched.clone();
        let mut store = Store::open(disk.share(), true).unwrap();
        disk.fail(before + nth, DiskFailure::Failed("power".to_owned()));
        store.preserve(&evidence(&states[1], &correct[1])).unwrap_err();
        disk.crash(Crash::Forget);
        let store = Store::open(disk.share(), true).unwrap();
        let case = Case::read(&mut disk);
        let whole = matches!(&case, Ok(Some(case)) if !case.cut);
        assert!(whole || store.list().contains(&Seq(8)), "operation {nth}: {case:?}, {:?}", store.list());
    }
}
