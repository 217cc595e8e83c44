//! States between execution, store and superblock.

use bytes::Bytes;
use quorate_protocol::application::{ApplicationError, Context as Told, RejectedCommand, StateMachine};
use quorate_protocol::codec::List;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::executor::Executor;
use quorate_protocol::map::Map;
use quorate_protocol::message::{Commit, Transfer};
use quorate_protocol::parameters::Context;
use quorate_protocol::replica::Replica;
use quorate_protocol::request::{Draft, Kind, Operations, null_digest};
use quorate_protocol::types::{ClientId, Number, Session, View};
use quorate_protocol::verify::Verifier;

use super::*;
use crate::disk::MemoryDisk;
use crate::execution::{Done, Execution};
use crate::host::UNVERIFIED_MAX;
use crate::journal::Journal;
use crate::props::four;
use crate::store::Store;

const NOW: Time = Time(1_000_000);

/// Frames that were sent, with those they were sent to; nobody is everybody.
#[derive(Debug, Default)]
struct Frames(Vec<(Option<ReplicaId>, Bytes)>);

impl Link for Frames {
    fn send(&mut self, to: ReplicaId, _class: Class, frame: Bytes) {
        self.0.push((Some(to), frame));
    }
    fn broadcast(&mut self, _class: Class, frame: Bytes) {
        self.0.push((None, frame));
    }
    fn reply(&mut self, _client: ClientId, _frame: Bytes) {}
}

/// A replica with all that is around it.
struct Party {
    host: Host,
    store: Store<MemoryDisk>,
    execution: Execution,
    verifier: Verifier,
    link: Frames,
}

/// A machine that understands nothing, and writes one entry.
struct Still;

impl StateMachine for Still {
    fn apply(&mut self, _context: &Told, _command: &[u8]) -> Result<Bytes, RejectedCommand> {
        Err(RejectedCommand)
    }
    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
        map.insert(b"key", b"value").map(drop).map_err(ApplicationError::Map)
    }
    fn load(&mut self, _map: &Map) -> Result<(), ApplicationError> {
        Ok(())
    }
}

fn executor(context: &Context) -> Executor {
    Executor::new(context.clone(), Box::new(Still))
}

impl Party {
    fn new(id: u16) -> Self {
        let (context, mut signers) = four();
        let signer = signers.swap_remove(usize::from(id));
        let execution = Execution::new(executor(&context), &context.parameters);
        let verifier = Verifier::new(context.clone(), [1; 32]);
        let host = Host::new(Replica::new(context, ReplicaId(id)), signer, Journal::default());
        let store = Store::open(MemoryDisk::new(), true).unwrap();
        Self { host, store, execution, verifier, link: Frames::default() }
    }

    /// Does what its store is asked.
    fn work(&mut self, now: Time) {
        while let Some(job) = self.host.take_job() {
            let finished = self.store.run(job).unwrap();
            self.host.stored(now, finished, &mut self.link);
        }
    }

    /// Executes what it is to execute; says what that was.
    fn execute(&mut self, now: Time) -> Vec<&'static str> {
        let mut names = Vec::new();
        for task in self.host.take_tasks() {
            let done = self.execution.run(task);
            names.push(match &done {
                Done::Executed { .. } => "executed",
                Done::Released { .. } => "released",
                Done::Installed => "installed",
                other => panic!("{other:?}"),
            });
            self.host.executed(now, [done], &mut self.link);
        }
        names
    }

    fn hear(&mut self, now: Time, from: u16, frame: &[u8]) {
        self.host.peer_frame(now, ReplicaId(from), frame).unwrap();
        let verdicts = self.verifier.verify(self.host.take_unverified());
        self.host.verified(now, verdicts, &mut self.link);
    }
}

/// The state after a slot of null batches.
fn state_after(seq: u64) -> Box<State> {
    let (context, _) = four();
    let mut execution = Execution::new(executor(&context), &context.parameters);
    let mut last = None;
    for seq in 1..=seq {
        match execution.run(Task::Execute { seq: Seq(seq), body: None }) {
            Done::Executed { state, .. } => last = state.or(last),
            other => panic!("{other:?}"),
        }
    }
    last.filter(|state| state.seq == Seq(seq)).expect("a checkpoint is due there")
}

/// What q replicas say about a state.
fn certificate(state: &State) -> Bytes {
    let (_, signers) = four();
    let statement = Checkpoint { seq: state.seq, root: state.root(), epoch_end: Seq::MAX };
    let signed = signers.iter().take(3).zip(0..);
    let signatures = signed.map(|(signer, id)| (ReplicaId(id), signer.sign(statement).signature)).collect();
    encode(&PeerMessage::StableCertificate(Certificate { statement, signatures: List(signatures) }))
}

/// Replica 3, which has nothing, and replica 0, which has the state after slot 128.
fn behind() -> (Party, Party) {
    let state = state_after(128);
    let (mut away, mut source) = (Party::new(3), Party::new(0));
    source.store.save(&state).unwrap();
    away.hear(NOW, 0, &certificate(&state));
    assert!(away.host.replica().behind());
    (away, source)
}

/// Lets the two talk until `until`, or for ten seconds.
fn talk(away: &mut Party, source: &mut Party, until: impl Fn(&Party) -> bool) -> Time {
    let mut now = NOW;
    while !until(away) {
        now = now.plus(1_000);
        assert!(now < NOW.plus(10_000_000), "it never came to that");
        for (to, frame) in std::mem::take(&mut away.link.0) {
            if to == Some(ReplicaId(0)) {
                source.hear(now, 3, &frame);
            }
        }
        source.host.tick(now, &mut source.link);
        source.work(now);
        for (_, frame) in std::mem::take(&mut source.link.0) {
            away.hear(now, 0, &frame);
        }
        away.host.tick(now, &mut away.link);
        away.work(now);
    }
    now
}

fn is_waiting_to_release(party: &Party) -> bool {
    party.host.tasks.iter().any(|task| matches!(task, Task::Release { .. }))
}

#[test]
fn f1_the_replica_hears_of_a_state_once_the_superblock_points_at_it() {
    let (mut away, mut source) = behind();
    let now = talk(&mut away, &mut source, is_waiting_to_release);
    assert_eq!(away.execute(now), ["released"]);
    away.work(now);
    assert_eq!(away.host.take_pointer(), None, "it is durable, and execution has not gone on from it");
    assert_eq!(away.execute(now), ["installed"]);
    assert_eq!(away.execution.executor().executed(), Seq(128));
    let pointer = away.host.take_pointer().unwrap();
    let state = state_after(128);
    assert_eq!((pointer.seq, pointer.root), (Seq(128), state.root()));
    assert_eq!(away.host.replica().executed(), Seq(0), "a restart would not know of it");
    away.link.0.clear();
    away.host.pointed(now, pointer, &mut away.link);
    assert_eq!(away.host.replica().executed(), Seq(128));
    let statement = Checkpoint { seq: state.seq, root: state.root(), epoch_end: Seq::MAX };
    let said = encode(&PeerMessage::Checkpoint((*away.host.signer.sign(statement)).clone()));
    assert!(away.link.0.contains(&(None, said)), "it has that state now, and says so");
    let counters = away.host.transfer_counters();
    assert_eq!((counters.completed, away.host.transfer_progress()), (1, None));
}

#[test]
fn what_comes_while_execution_has_no_state_is_executed_on_the_next_one() {
    let (mut away, mut source) = behind();
    let now = talk(&mut away, &mut source, is_waiting_to_release);
    let later = || Task::Execute { seq: Seq(129), body: None };
    away.host.tasks.push_back(later());
    assert_eq!(away.execute(now), ["released"]);
    away.host.tasks.push_back(Task::Execute { seq: Seq(130), body: None });
    assert!(away.execute(now).is_empty(), "nothing is given to it");
    away.work(now);
    let tasks = away.host.take_tasks();
    let first = tasks.front().is_some_and(|task| matches!(task, Task::Install(_)));
    let rest: Vec<_> = tasks
        .iter()
        .skip(1)
        .map(|task| if let Task::Execute { seq, .. } = task { seq.0 } else { 0 })
        .collect();
    assert!(first && rest == [129, 130], "{rest:?}");
}

/// What q replicas say about a slot without a batch.
fn committed(seq: u64) -> Bytes {
    let (context, signers) = four();
    let statement = Commit { view: View(0), seq: Seq(seq), digest: null_digest(context.cluster) };
    let signed = signers.iter().take(3).zip(0..);
    let signatures = signed.map(|(signer, id)| (ReplicaId(id), signer.sign(statement).signature)).collect();
    encode(&PeerMessage::CommitCertificate(Certificate { statement, signatures: List(signatures) }))
}

#[test]
fn f1_what_is_ordered_while_execution_has_no_state_waits_in_the_log_which_has_bounds() {
    let (mut away, mut source) = behind();
    let now = talk(&mut away, &mut source, is_waiting_to_release);
    assert_eq!(away.execute(now), ["released"]);
    // Somebody has kept what was missing, and sends it now that it is too late: nothing lacks for handing over any more.
    (1..=140).for_each(|seq| away.hear(now, 0, &committed(seq)));
    assert_eq!(away.host.replica().committed(), Seq(140));
    assert!(!away.host.replica().behind(), "the log made up for all of it");
    let handed = away.host.tasks.iter().filter(|task| matches!(task, Task::Execute { .. })).count();
    assert_eq!((handed, away.host.replica().handed()), (0, Seq(0)));
    away.work(now);
    assert_eq!(away.execute(now), ["installed"]);
    let pointer = away.host.take_pointer().unwrap();
    away.host.pointed(now, pointer, &mut away.link);
    assert_eq!(away.execute(now), ["executed"; 12]);
    assert_eq!(away.host.replica().executed(), Seq(140));
}

#[test]
fn f1_what_waited_in_the_log_is_executed_when_execution_keeps_its_state() {
    let (mut away, mut source) = behind();
    // It had executed this far when the last of the state came, and nobody here knew of it yet.
    for seq in 1..=128 {
        away.execution.run(Task::Execute { seq: Seq(seq), body: None });
    }
    let now = talk(&mut away, &mut source, is_waiting_to_release);
    (1..=140).for_each(|seq| away.hear(now, 0, &committed(seq)));
    assert_eq!(away.host.replica().handed(), Seq(0));
    let tasks = away.host.take_tasks();
    let done: Vec<_> = tasks.into_iter().map(|task| away.execution.run(task)).collect();
    assert!(matches!(done[..], [Done::Outran]), "{done:?}");
    away.host.executed(now, done, &mut away.link);
    assert_eq!(away.host.replica().handed(), Seq(140));
}

#[test]
fn requests_that_come_while_execution_has_no_state_are_bounded() {
    let (mut away, mut source) = behind();
    let now = talk(&mut away, &mut source, is_waiting_to_release);
    assert_eq!(away.execute(now), ["released"]);
    let request = |number: u64| {
        let key = SecretKey::from_seed(&[77; 32]);
        let operations = Operations::new(std::iter::once(&b"x"[..]));
        let (first, ack, kind) = (Number(number), Number(1), Kind::Operations);
        let draft = Draft { session: Session(1), first, ack, kind, operations };
        Request::sign(&key, away.host.replica.context().cluster, draft)
    };
    let frames: Vec<Bytes> =
        (1..=2).map(|number| encode(&PeerMessage::Forward(Arc::new(request(number))))).collect();
    for _ in 0..UNVERIFIED_MAX {
        frames.iter().for_each(|frame| away.hear(now, 0, frame));
    }
    assert!(away.host.tasks.len() >= UNVERIFIED_MAX && away.host.tasks.len() <= UNVERIFIED_MAX + 1);
}

#[test]
fn states_that_wait_for_the_store_are_few_and_go_when_a_newer_one_comes() {
    let (mut away, mut source) = behind();
    let low = away.host.replica.watermarks().0.0;
    assert!(low > 64);
    let mut queue = |seq: u64| {
        let mut state = state_after(128);
        state.seq = Seq(seq);
        away.host.queue_state(state);
        away.host.storing.states.iter().map(|state| state.seq.0).collect::<Vec<_>>()
    };
    assert_eq!(queue(1), [1]);
    assert_eq!(
        queue(2),
        [1],
        "nobody waits for what is stable, and one such state is on its way to the disk"
    );
    assert_eq!(queue(low + 1), [1, low + 1]);
    assert_eq!(queue(low + 2), [low + 1, low + 2], "a later checkpoint makes up for the ones before");
    away.host.storing.states.clear();
    let now = talk(&mut away, &mut source, is_waiting_to_release);
    let mut old = state_after(128);
    old.seq = Seq(64);
    away.host.queue_state(old);
    assert_eq!(away.execute(now), ["released"]);
    assert!(away.host.storing.states.is_empty(), "no second state is held in memory");
}

#[test]
fn a_state_to_be_saved_goes_before_what_others_ask_for_and_the_store_has_few_jobs_at_once() {
    let mut source = Party::new(0);
    assert!(
        matches!(source.host.take_job(), Some(Job::Prune { .. })),
        "what a start finds may be superfluous"
    );
    for from in 1..4 {
        for index in 0..9 {
            let question = Transfer::FetchChunk { seq: Seq(128), index };
            source.hear(NOW, from, &encode(&PeerMessage::Transfer(question)));
        }
    }
    source.host.tick(NOW, &mut source.link);
    source.host.queue_state(state_after(128));
    let mut jobs: Vec<_> = std::iter::from_fn(|| source.host.take_job()).collect();
    assert_eq!(jobs.len(), JOBS_AT_ONCE - 1, "one is out already");
    assert!(matches!(jobs.remove(0), Job::Save(_)));
    assert!(jobs.iter().all(|job| matches!(job, Job::Serve { .. })));
    source.host.stored(NOW, Finished::Pruned { used: 5 }, &mut source.link);
    assert!(source.host.take_job().is_some() && source.host.take_job().is_none());
    assert_eq!(source.host.state_bytes_on_disk(), 5);
}

#[test]
fn what_somebody_fetches_is_not_let_go_of_when_a_newer_state_is_there() {
    let mut source = Party::new(0);
    source.work(NOW);
    let question = Transfer::FetchMeta { seq: Seq(64) };
    source.hear(NOW, 2, &encode(&PeerMessage::Transfer(question)));
    source.host.tick(NOW, &mut source.link);
    source.work(NOW);
    source.host.storing.prune = true;
    match source.host.take_job() {
        Some(Job::Prune { leased, .. }) => assert_eq!(leased, [Seq(64)]),
        other => panic!("{other:?}"),
    }
    // When it ends, that is looked at again.
    assert!(source.host.take_job().is_none());
    let end = source.host.transfers.deadline().unwrap();
    source.host.tick(end, &mut source.link);
    assert!(matches!(source.host.take_job(), Some(Job::Prune { leased, .. }) if leased.is_empty()));
}

#[test]
fn f1_a_state_that_rots_before_it_is_put_together_stops_the_replica_and_says_what_to_do() {
    let (mut away, mut source) = behind();
    let now = talk(&mut away, &mut source, is_waiting_to_release);
    assert_eq!(away.execute(now), ["released"]);
    let why = StoreError::DamagedChunk { seq: Seq(128), chunk: 0, chunks: 1 };
    away.host.not_stored(why.clone());
    let failed = away.host.failed().unwrap().to_owned();
    assert!(failed.contains("restart this replica") && failed.contains(&why.to_string()), "{failed}");
    // A disk that fails is another matter.
    let (mut other, _) = behind();
    other.host.not_stored(StoreError::Exhausted);
    assert!(!other.host.failed().unwrap().contains("restart this replica"));
}
