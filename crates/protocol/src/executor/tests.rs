//! Each operation executes once, whatever was ordered.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Executed, Executor, HISTORY_KEPT};
use crate::application::{self, Application, ApplicationError, Snapshot, machine};
use crate::codec::{self, Frames, List};
use crate::committee::Committee;
use crate::crypto::{HashTag, Hasher, SecretKey};
use crate::map::Map;
use crate::message::{Outcome, Reply};
use crate::parameters::{Context, Parameters};
use crate::request::{Batch, Body, Draft, Kind, Nondet, Operations, Registration, Request, null_digest};
use crate::types::{ClientId, ClusterId, Digest, Epoch, Number, Seq, Session, Time};

mod checkpoint;
mod model;
mod sessions;

const CLUSTER: ClusterId = ClusterId(Digest([7; 32]));

/// Writes down what it is told, so that executing twice, or in another order, shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Tape(Vec<u64>);

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Command {
    /// Writes a number; the reply is how many there are.
    Note(u64),
    /// Replies with this many bytes, and the length before them.
    Fill(u64),
    /// Replies with time, slot and seed.
    Look,
}

impl Application for Tape {
    type Command = Command;
    type Reply = Vec<u8>;

    fn apply(&mut self, context: &application::Context, command: Command) -> Vec<u8> {
        match command {
            Command::Note(value) => {
                self.0.push(value);
                vec![u8::try_from(self.0.len() % 256).unwrap()]
            }
            Command::Fill(bytes) => {
                self.0.push(bytes);
                vec![0xaa; usize::try_from(bytes).unwrap()]
            }
            Command::Look => {
                let (time, seq) = (context.time().0.to_le_bytes(), context.seq().0.to_le_bytes());
                [&time[..], &seq[..], &context.seed()[..]].concat()
            }
        }
    }

    fn query(&self, command: Command) -> Option<Vec<u8>> {
        matches!(command, Command::Look).then(|| vec![u8::try_from(self.0.len()).unwrap()])
    }
}

fn parameters() -> Parameters {
    Parameters {
        checkpoint_interval: 2,
        window: 4,
        client_window: 8,
        reply_bytes_max: 64,
        reply_cache_bytes_max: 256,
        sessions_per_client_max: 2,
        sessions_max: 3,
        ..Parameters::default()
    }
}

fn context() -> Context {
    let keys: Vec<_> = (1..=4).map(|id| SecretKey::from_seed(&[id; 32]).public()).collect();
    let committee = Arc::new(Committee::new(&keys, false).unwrap());
    Context { cluster: CLUSTER, epoch: Epoch(0), committee, parameters: Arc::new(parameters()) }
}

fn key(client: u8) -> SecretKey {
    SecretKey::from_seed(&[0x80 + client; 32])
}

fn client(client: u8) -> ClientId {
    ClientId::of(&key(client).public())
}

fn sign(by: u8, draft: Draft) -> Arc<Request> {
    Arc::new(Request::sign(&key(by), CLUSTER, draft))
}

fn operations(commands: &[Command]) -> Operations {
    let encoded: Vec<_> = commands.iter().map(|command| codec::encode_serde(command).unwrap()).collect();
    Frames::new(encoded.iter().map(Vec::as_slice))
}

fn registration(nonce: u64, expires: u64) -> Registration {
    Registration { nonce, expires: Seq(expires) }
}

fn session(of: u8, nonce: u64, expires: u64) -> Session {
    registration(nonce, expires).session(client(of))
}

fn register(by: u8, nonce: u64, expires: u64) -> Arc<Request> {
    let operation = codec::encode(&registration(nonce, expires)).unwrap();
    let operations = Frames::new([operation.as_slice()].into_iter());
    let session = session(by, nonce, expires);
    sign(by, Draft { session, first: Number(0), ack: Number(0), kind: Kind::Register, operations })
}

fn notes(by: u8, session: Session, first: u64, ack: u64, values: &[u64]) -> Arc<Request> {
    let commands: Vec<_> = values.iter().copied().map(Command::Note).collect();
    ask(by, session, first, ack, &commands)
}

fn ask(by: u8, session: Session, first: u64, ack: u64, commands: &[Command]) -> Arc<Request> {
    let operations = operations(commands);
    sign(by, Draft { session, first: Number(first), ack: Number(ack), kind: Kind::Operations, operations })
}

fn fifo(by: u8, session: Session, first: u64, values: &[u64]) -> Arc<Request> {
    let commands: Vec<_> = values.iter().copied().map(Command::Note).collect();
    let operations = operations(&commands);
    sign(by, Draft { session, first: Number(first), ack: Number(1), kind: Kind::Fifo, operations })
}

fn body(time: u64, requests: &[Arc<Request>]) -> Arc<Body> {
    Body::new(Batch { nondet: Nondet { time: Time(time) }, requests: List(requests.to_vec()) }, CLUSTER)
}

/// Executes the next slot with these requests.
fn run(executor: &mut Executor, requests: &[Arc<Request>]) -> Executed {
    let seq = executor.executed().next();
    executor.execute(seq, Some(&body(seq.0 * 10, requests)))
}

fn replies(executed: &Executed) -> Vec<&Reply> {
    executed.replies.iter().flat_map(|(_, replies)| replies).collect()
}

fn outcomes(executed: &Executed) -> Vec<Outcome> {
    replies(executed).into_iter().map(|reply| reply.outcome.clone()).collect()
}

/// What a tape answers to the `count`-th note.
fn count(count: u8) -> Outcome {
    done(&[count])
}

fn done(reply: &[u8]) -> Outcome {
    Outcome::Done(codec::Blob(codec::encode_serde(&reply.to_vec()).unwrap().into()))
}

fn executor() -> Executor {
    Executor::new(context(), machine(Tape::default()))
}

/// An executor whose client 1 registered a session in slot 1.
fn with_session() -> (Executor, Session) {
    let mut executor = executor();
    assert_eq!(outcomes(&run(&mut executor, &[register(1, 0, 30)])), [Outcome::Registered]);
    (executor, session(1, 0, 30))
}

/// The numbers that were written.
fn tape(executor: &mut Executor) -> Tape {
    let mut map = Map::new();
    executor.machine.save(&mut map).unwrap();
    Tape::load(&map).unwrap()
}

#[test]
fn an_operation_executes_once_however_often_it_is_ordered() {
    let (mut executor, session) = with_session();
    let request = notes(1, session, 1, 1, &[5, 6]);
    let first = run(&mut executor, &[request.clone(), request.clone()]);
    assert_eq!(outcomes(&first), [count(1), count(2), count(1), count(2)]);
    let again = run(&mut executor, std::slice::from_ref(&request));
    assert_eq!(again.replies[0].1, first.replies[0].1[..2], "a retry gets the very same replies");
    assert_eq!((first.fresh, again.fresh), (2, 0));
    assert_eq!(tape(&mut executor), Tape(vec![5, 6]));
    let counters = executor.counters();
    assert_eq!((counters.operations, counters.duplicates, counters.slots), (2, 4, 3));
}

#[test]
fn a_bundle_that_overlaps_another_executes_only_what_is_new() {
    let (mut executor, session) = with_session();
    let executed =
        run(&mut executor, &[notes(1, session, 2, 1, &[2, 3]), notes(1, session, 1, 1, &[1, 2, 3, 4])]);
    assert_eq!(outcomes(&executed), [count(1), count(2), count(3), count(1), count(2), count(4)]);
    assert_eq!(tape(&mut executor), Tape(vec![2, 3, 1, 4]));
}

#[test]
fn of_two_operations_with_one_number_the_first_ordered_executes() {
    let (mut executor, session) = with_session();
    let (one, two) = (notes(1, session, 1, 1, &[5]), notes(1, session, 1, 1, &[6]));
    let executed = run(&mut executor, &[one.clone(), two]);
    let digest = one.operations().next().unwrap().1;
    assert!(replies(&executed).iter().all(|reply| reply.operation == digest && reply.outcome == count(1)));
    assert_eq!(tape(&mut executor), Tape(vec![5]));
}

#[test]
fn numbers_may_come_in_any_order_but_not_beyond_the_window() {
    let (mut executor, session) = with_session();
    let executed = run(&mut executor, &[notes(1, session, 8, 1, &[8, 9]), notes(1, session, 1, 1, &[1])]);
    assert_eq!(outcomes(&executed), [count(1), Outcome::Window, count(2)]);
    let executed = run(&mut executor, &[notes(1, session, 9, 2, &[9, 10])]);
    assert_eq!(outcomes(&executed), [count(3), Outcome::Window], "an acknowledgement moves the window");
    let executed = run(&mut executor, &[notes(1, session, 1 << 40, 1, &[0])]);
    assert_eq!(outcomes(&executed), [Outcome::Window]);
}

#[test]
fn an_acknowledged_number_is_old_and_its_reply_forgotten() {
    let (mut executor, session) = with_session();
    run(&mut executor, &[notes(1, session, 1, 1, &[1, 2, 3])]);
    assert!(executor.counters().cached_bytes > 0);
    let executed = run(&mut executor, &[notes(1, session, 4, 4, &[4]), notes(1, session, 2, 1, &[2, 3, 4])]);
    assert_eq!(outcomes(&executed), [count(4), Outcome::Old, Outcome::Old, count(4)]);
    assert_eq!(
        executor.floor(client(1), session),
        Some(Number(3)),
        "a lower acknowledgement changes nothing"
    );
    run(&mut executor, &[notes(1, session, 100, 100, &[5])]);
    let bytes = executor.counters().cached_bytes;
    assert_eq!(bytes, 9, "one reply of one byte with its length is left");
}

#[test]
fn an_acknowledgement_of_ones_own_numbers_is_invalid() {
    let check = |first, ack| notes(1, Session(1), first, ack, &[1, 2]).check(8, 100);
    assert!(check(5, 5).is_ok());
    assert!(check(5, 6).is_err());
}

#[test]
fn a_fifo_operation_waits_for_the_one_before() {
    let (mut executor, session) = with_session();
    let early = fifo(1, session, 2, &[2, 3]);
    assert_eq!(outcomes(&run(&mut executor, std::slice::from_ref(&early))), [Outcome::Gap, Outcome::Gap]);
    assert_eq!(
        outcomes(&run(&mut executor, &[fifo(1, session, 1, &[1]), early])),
        [count(1), count(2), count(3)]
    );
    run(&mut executor, &[notes(1, session, 6, 1, &[6]), notes(1, session, 5, 1, &[5])]);
    let executed = run(&mut executor, &[fifo(1, session, 4, &[4]), fifo(1, session, 7, &[7])]);
    assert_eq!(outcomes(&executed), [Outcome::Gap, count(6)], "it follows the highest executed number");
}

#[test]
fn a_full_cache_refuses_before_it_executes_and_keeps_what_it_has() {
    let (mut executor, session) = with_session();
    let fill: Vec<_> = (0..5).map(|_| Command::Fill(56)).collect();
    let request = ask(1, session, 1, 1, &fill);
    let full = run(&mut executor, std::slice::from_ref(&request));
    let reply = done(&[0xaa; 56]);
    assert_eq!(
        outcomes(&full),
        [reply.clone(), reply.clone(), reply.clone(), reply.clone(), Outcome::Window]
    );
    assert_eq!(tape(&mut executor).0.len(), 4);
    assert_eq!(executor.counters().cached_bytes, 256);
    assert_eq!(executor.cached(&request).len(), 4, "no unacknowledged reply is dropped");
    let executed = run(&mut executor, &[ask(1, session, 5, 2, &fill[..2])]);
    assert_eq!(outcomes(&executed), [reply, Outcome::Window]);
}

#[test]
fn a_command_that_does_not_decode_takes_its_number_and_does_nothing() {
    let (mut executor, session) = with_session();
    let operations = Frames::new([&b"\xff\xff"[..], b""].into_iter());
    let draft = Draft { session, first: Number(1), ack: Number(1), kind: Kind::Operations, operations };
    let request = sign(1, draft);
    let executed = run(&mut executor, std::slice::from_ref(&request));
    assert_eq!(outcomes(&executed), [Outcome::Rejected, Outcome::Rejected]);
    assert_eq!(executor.cached(&request), executed.replies[0].1);
    assert_eq!(tape(&mut executor), Tape::default());
}

#[test]
fn a_reply_that_is_too_long_becomes_an_error_everywhere() {
    let (mut executor, session) = with_session();
    let executed = run(&mut executor, &[ask(1, session, 1, 1, &[Command::Fill(57), Command::Fill(56)])]);
    assert_eq!(outcomes(&executed), [Outcome::TooLarge, done(&[0xaa; 56])]);
    assert_eq!(tape(&mut executor), Tape(vec![57, 56]), "the command executed all the same");
}

#[test]
fn replies_are_grouped_by_client_in_order_of_first_appearance() {
    let mut executor = executor();
    let executed = run(&mut executor, &[register(2, 0, 9), register(1, 0, 9), register(2, 1, 9)]);
    let groups: Vec<_> = executed.replies.iter().map(|(client, replies)| (*client, replies.len())).collect();
    assert_eq!(groups, [(client(2), 2), (client(1), 1)]);
    assert_eq!(executed.replies[0].1[1].session, session(2, 1, 9));
}

#[test]
fn a_retry_is_answered_from_the_cache_if_it_executed() {
    let (mut executor, session) = with_session();
    assert_eq!(executor.cached(&notes(2, session, 1, 1, &[1])), [], "another client's session");
    let request = notes(1, session, 1, 1, &[1, 2, 3]);
    assert_eq!(executor.cached(&request), []);
    let executed = run(&mut executor, &[notes(1, session, 2, 1, &[2])]);
    assert_eq!(executor.cached(&request), executed.replies[0].1, "part of a bundle");
    let registered = executor.cached(&register(1, 0, 30));
    assert_eq!((registered[0].seq, &registered[0].outcome), (Seq(1), &Outcome::Registered));
}

#[test]
fn the_agreed_time_never_goes_backwards() {
    let (mut executor, session) = with_session();
    let mut number = 0;
    let mut look = |executor: &mut Executor, time| {
        number += 1;
        let request = ask(1, session, number, 1, &[Command::Look]);
        let seq = executor.executed().next();
        let executed = executor.execute(seq, Some(&body(time, &[request])));
        let Outcome::Done(reply) = outcomes(&executed).remove(0) else { panic!("a look is answered") };
        u64::from_le_bytes(*reply[8..].first_chunk().unwrap())
    };
    assert_eq!(look(&mut executor, 500), 500);
    assert_eq!(look(&mut executor, 400), 500);
    assert_eq!(look(&mut executor, 501), 501);
    executor.execute(executor.executed().next(), None);
    assert_eq!(executor.time(), Time(501));
}

#[test]
fn the_agreed_seed_differs_for_every_operation_and_follows_from_the_history() {
    let (mut executor, session) = with_session();
    let before = executor.history(Seq(1)).unwrap();
    let request = ask(1, session, 1, 1, &[Command::Look, Command::Look]);
    let executed = run(&mut executor, std::slice::from_ref(&request));
    let seeds: Vec<_> = request
        .operations()
        .map(|(_, operation, _)| {
            let mut hasher = Hasher::new(HashTag::Seed);
            hasher.update(&before.0).u64(2).update(&operation.0);
            hasher.finish().0
        })
        .collect();
    let told: Vec<_> = outcomes(&executed)
        .into_iter()
        .map(|outcome| match outcome {
            Outcome::Done(reply) => <[u8; 32]>::try_from(&reply[24..]).unwrap(),
            other => panic!("a look is answered, not {other:?}"),
        })
        .collect();
    assert_eq!(told, seeds);
    assert_ne!(told[0], told[1]);
}

#[test]
fn the_history_chains_every_slot_and_keeps_the_last_ones() {
    let mut executor = executor();
    assert_eq!(executor.history(Seq(0)), Some(Digest::ZERO));
    let mut head = Digest::ZERO;
    for seq in 1..=HISTORY_KEPT as u64 {
        let executed = executor.execute(Seq(seq), None);
        let mut hasher = Hasher::new(HashTag::History);
        hasher.update(&head.0).u64(seq).update(&null_digest(CLUSTER).0);
        head = hasher.finish();
        assert_eq!((executed.digest, executed.history), (null_digest(CLUSTER), head));
    }
    assert_eq!(executor.history(Seq(HISTORY_KEPT as u64)), Some(head));
    assert!(executor.history(Seq(1)).is_some());
    assert_eq!(executor.history(Seq(0)), None);
    assert_eq!(executor.history(Seq(HISTORY_KEPT as u64 + 1)), None);
}

#[test]
#[should_panic(expected = "slots execute in order")]
fn a_slot_out_of_order_is_a_bug_of_the_caller() {
    executor().execute(Seq(2), None);
}

#[test]
fn the_highest_numbers_there_are_do_not_overflow() {
    let (mut executor, session) = with_session();
    let request = notes(1, session, u64::MAX - 1, u64::MAX - 1, &[1]);
    assert_eq!(request.check(8, 100), Ok(()));
    assert_eq!(outcomes(&run(&mut executor, std::slice::from_ref(&request))), [count(1)]);
    assert_eq!(executor.cached(&request).len(), 1);
    assert_eq!(outcomes(&run(&mut executor, &[fifo(1, session, u64::MAX - 1, &[1])])), [count(1)]);
    let state = executor.checkpoint().unwrap();
    Executor::restore(context(), machine(Tape::default()), state).unwrap();
}

#[test]
fn a_query_reads_without_ordering() {
    let (mut executor, session) = with_session();
    run(&mut executor, &[notes(1, session, 1, 1, &[1, 2])]);
    let look = codec::encode_serde(&Command::Look).unwrap();
    assert_eq!(executor.query(&look), Some(codec::encode_serde(&vec![2_u8]).unwrap().into()));
    assert_eq!(executor.query(&codec::encode_serde(&Command::Note(1)).unwrap()), None);
    assert_eq!(executor.query(b"junk"), None);
}
