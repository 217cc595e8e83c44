//! What a replica must neither forget nor do twice, and what it must not believe of one other: one test for each known
//! way to get that wrong.

use std::sync::Arc;

use quorate_apps::counter;
use quorate_host::disk::{Crash, DiskFailure, MemoryDisk};
use quorate_host::folder::format_folder;
use quorate_host::journal::{self, Durability, Opened, Reserve, Shape};
use quorate_host::store::{Finished, Job, Store};
use quorate_host::superblock::{Identity, Superblock};
use quorate_host::transfer::Transfers;
use quorate_protocol::application::machine;
use quorate_protocol::certificate::Certificate;
use quorate_protocol::codec::{Blob, List, encode, encode_serde};
use quorate_protocol::executor::{Executor, State};
use quorate_protocol::map::Map;
use quorate_protocol::message::{
    Checkpoint, Commit, NamedViewChange, NewView, PeerMessage, Transfer, ViewChange,
};
use quorate_protocol::process::{Effect, Event, Process, Record, Say};
use quorate_protocol::replica::{Replica, Status};
use quorate_protocol::request::{Draft, Kind, Operations, Registration, Request};
use quorate_protocol::signed::Signed;
use quorate_protocol::types::{ClientId, Digest, Number, ReplicaId, Seq, Signature, Time, View};
use quorate_sim::script::tell;
use quorate_sim::world::{Outage, World};

use super::lab::calm;
use super::puppets::{Pens, Puppets, prepare};

fn pens() -> Pens {
    Pens::of(World::new(&calm(4, 1)).context())
}

#[test]
fn p48_a_replica_comes_back_into_the_view_that_it_left_for() {
    let mut puppets = Puppets::around(2, &calm(4, 1), 0);
    let others = [1, 3].map(|id| puppets.pens.view_change(id, 1, None, &[]));
    puppets.leave(&others);
    assert_eq!(puppets.view(), 1, "it leaves with the others");
    puppets.lab.world.kill(ReplicaId(2), Outage::clean(0)).unwrap();
    let back = puppets.lab.world.start(ReplicaId(2));
    assert!(back.is_ok(), "it forgot the view that it left: {}", back.unwrap_err());
    assert_eq!((puppets.view(), puppets.lab.replica(2).status()), (1, Status::ViewChanging));
    puppets.propose(0, 1, None);
    assert_eq!(puppets.heard("PREPARE v0"), 0, "it votes in a view that it had left");
}

#[test]
fn p61_an_operation_that_is_ordered_twice_executes_once() {
    let pens = pens();
    let key = World::secret_of_client(0);
    let registration = Registration { nonce: 1, expires: Seq(100) };
    let session = registration.session(ClientId::of(&key.public()));
    let request = |number: u64, kind, operation: Vec<u8>| {
        let operations = Operations::new(std::iter::once(operation.as_slice()));
        let (first, ack) = (Number(number), Number(number.min(1)));
        let draft = Draft { session, first, ack, kind, operations };
        Arc::new(Request::sign(&key, pens.context.cluster, draft))
    };
    let register = request(0, Kind::Register, encode(&registration).unwrap());
    let add = request(1, Kind::Operations, encode_serde(&counter::Command::Add(5)).unwrap());
    let mut executor = Executor::new(pens.context.clone(), machine(counter::Counter::default()));
    for (seq, requests) in [(1, vec![register]), (2, vec![add.clone(), add.clone()]), (3, vec![add])] {
        executor.execute(Seq(seq), Some(&*pens.batch(Time(seq), requests)));
    }
    let value = executor.query(&encode_serde(&counter::Command::Get).unwrap());
    let once = encode_serde(&5_i64).unwrap();
    assert_eq!(
        value.as_deref(),
        Some(once.as_slice()),
        "one operation, ordered three times, was executed again"
    );
}

#[test]
fn p70_a_client_does_not_believe_f_equal_lies() {
    let script =
        "cluster n=7\nrun\nclient 1 put a 1\nrun\nlie 1 99\nlie 2 99\nquiet\nclient 1 get a\nrun\n----\n";
    let told = tell(script).unwrap_or_else(|error| panic!("the client believes f liars: {error}"));
    assert!(told.contains("99"), "the liar lied: {told}");
    assert!(told.contains("client 1 accepts \"1\""), "{told}");
}

/// A replica of four, whose state after slot 1 is not the one that the others certify.
fn diverged(pens: &Pens) -> Replica {
    let mut replica = Replica::new(pens.context.clone(), ReplicaId(1));
    let decided = Commit { view: View(0), seq: Seq(1), digest: pens.null() };
    let decided = pens.certificate(&[0, 2, 3], &decided);
    hear(pens, &mut replica, PeerMessage::CommitCertificate(decided));
    let wrong = Event::Executed { seq: Seq(1), root: Some(Digest([1; 32])) };
    replica.step(Time(1_000_000), wrong, &mut Vec::new());
    let right = Checkpoint { seq: Seq(1), root: Digest([2; 32]), epoch_end: Seq::MAX };
    let right = pens.certificate(&[0, 2, 3], &right);
    hear(pens, &mut replica, PeerMessage::StableCertificate(right));
    assert_eq!(replica.status(), Status::Diverged);
    replica
}

fn hear(pens: &Pens, replica: &mut Replica, message: PeerMessage) {
    let event = pens.judge(0, message).unwrap();
    replica.step(Time(1_000_000), event, &mut Vec::new());
}

#[test]
fn p84_a_replica_that_was_mute_says_commit_only_for_what_it_has_recorded() {
    let pens = pens();
    let mut replica = diverged(&pens);
    let vote = prepare(0, 2, pens.null());
    for id in [0, 2, 3] {
        hear(&pens, &mut replica, PeerMessage::Prepare(pens.sign(id, vote)));
    }
    let mut effects = Vec::new();
    let installed = Event::Installed { seq: Seq(1), root: Digest([2; 32]) };
    replica.step(Time(1_000_000), installed, &mut effects);
    assert_eq!(replica.status(), Status::Normal);
    let recorded = effects.iter().position(|effect| matches!(effect, Effect::Persist(Record::Prepared(_))));
    let said = |effect: &&Effect| matches!(effect, Effect::Send { message: Say::Commit(_), .. });
    let first = effects.iter().position(|effect| said(&effect));
    assert!(first.is_some(), "it votes again");
    assert!(recorded < first && recorded.is_some(), "it says COMMIT for a certificate that no record holds");
}

/// A state of one entry.
fn state(value: u8) -> State {
    let mut application = Map::new();
    application.insert(b"key", &[value; 100]).unwrap();
    let (time, sessions) = (Time(4), Map::new());
    State { seq: Seq(8), time, history: Digest([5; 32]), config: Digest([3; 32]), application, sessions }
}

#[test]
fn p79_a_chunk_that_is_not_the_certified_one_is_not_kept() {
    let pens = pens();
    let (good, other) = (state(1), state(2));
    for (source, kept) in [(&good, true), (&other, false)] {
        let mut transfers = Transfers::new(&pens.context, ReplicaId(3));
        let mut store = Store::open(MemoryDisk::new(), true).unwrap();
        let now = Time(1_000_000);
        let statement = Checkpoint { seq: good.seq, root: good.root(), epoch_end: Seq::MAX };
        transfers.aim(now, &pens.certificate(&[0, 1, 2], &statement));
        transfers.hurry(now);
        let asked = transfers.pump(now);
        let chunks = List(good.chunk_digests());
        let contents = Transfer::Meta { summary: Box::new(good.summary()), chunks };
        transfers.take(now, asked[0].to, contents);
        let plan = transfers.take_fetching_job().expect("it looks what is here");
        let Finished::Planned { seq, have, pages } = store.run(plan).unwrap() else { panic!("it plans") };
        transfers.planned(now, seq, &have, pages);
        let asked = transfers.pump(now);
        let Transfer::FetchChunk { seq, index } = asked[0].part else { panic!("{:?}", asked[0].part) };
        let wire = source.chunks().nth(index as usize).unwrap().encode();
        transfers.take(now, asked[0].to, Transfer::Chunk { seq, index, bytes: Blob(wire.into()) });
        let job = transfers.take_fetching_job();
        let keeps = matches!(job, Some(Job::Keep { .. }));
        assert_eq!(keeps, kept, "a chunk that nobody certified is taken for one of the state");
        assert_eq!(transfers.counters().banned, u64::from(!kept), "its source is banned");
    }
}

fn identity() -> Identity {
    let key = World::secret_of(ReplicaId(2)).public();
    Identity { cluster: pens().context.cluster, replica: ReplicaId(2), key }
}

fn reopen(mut disk: MemoryDisk, shape: Shape) -> Opened<MemoryDisk> {
    let superblock = Superblock::open(&mut disk, &identity()).unwrap().0;
    journal::open(disk, superblock, shape, Durability::Sync).unwrap()
}

fn write(opened: &mut Opened<MemoryDisk>, records: &[Record]) -> bool {
    for record in records {
        opened.journal.append(record, None);
    }
    opened.writer.write(&opened.journal.take_group().unwrap(), true).is_ok()
}

fn signed<S>(statement: S) -> Certificate<S> {
    let signatures = (0..3).map(|id| (ReplicaId(id), Signature([7; 64]))).collect();
    Certificate { statement, signatures: List(signatures) }
}

fn prepared(seq: u64) -> Record {
    Record::Prepared(signed(prepare(1, seq, Digest([9; 32]))))
}

fn stable(seq: u64) -> Record {
    Record::Stable(signed(Checkpoint { seq: Seq(seq), root: Digest([9; 32]), epoch_end: Seq::MAX }))
}

/// A NEW-VIEW that takes much room.
fn new_view() -> Record {
    let certificates = (1..=8).map(|seq| signed(prepare(1, seq, Digest([9; 32]))));
    let body = ViewChange { view: View(2), stable: None, prepared: List(certificates.collect()) };
    let one = NamedViewChange::from(Signed { body, signer: ReplicaId(1), signature: Signature([1; 64]) });
    let new_view = NewView { view: View(2), view_changes: List(vec![(ReplicaId(1), one.digest())]) };
    Record::NewView { new_view, signature: Some(Signature([6; 64])), view_changes: vec![Arc::new(one)] }
}

#[test]
fn p47_what_a_stable_certificate_lets_go_is_kept_until_that_is_durable() {
    let shape = Shape::new(256, 16_384, 4_096);
    let mut failed = 0;
    // So many that the group's own records need the places of those that it lets go.
    for filler in 39..42 {
        let mut disk = MemoryDisk::new();
        format_folder(&mut disk, identity(), shape, Reserve::Records).unwrap();
        let mut opened = reopen(disk, shape);
        assert!(write(&mut opened, &[Record::Horizon { view: View(1), high: Seq(100) }]));
        (1..=4).for_each(|seq| assert!(write(&mut opened, &[prepared(seq)])));
        (0..filler).for_each(|_| assert!(write(&mut opened, &[prepared(5)])));
        let before = opened.writer.disk().clone();
        for nth in 1.. {
            assert!(nth < 100, "the group is never written");
            let mut opened = reopen(before.clone(), shape);
            // The nth change of the disk from here on fails.
            let now = opened.writer.disk().operations();
            opened.writer.disk().fail(now + nth, DiskFailure::Full);
            opened.journal.reclaim(Seq(4));
            if write(&mut opened, &[new_view(), stable(4)]) {
                break;
            }
            failed += 1;
            let mut disk = opened.writer.disk().clone();
            disk.crash(Crash::Keep);
            let again = reopen(disk, shape);
            let found = |record: Record| again.records.iter().any(|held| held.record == record);
            let whole = found(stable(4)) || (1..=4).all(|seq| found(prepared(seq)));
            assert!(
                whole || again.report.amnesia.is_some(),
                "a prepared certificate is gone, and nothing is in its place ({filler}, {nth})"
            );
        }
    }
    assert!(failed > 15, "the disk hardly failed");
}
