//! E2, E3, E5: clients that sign nothing right, a replica that says as much as it can, and one that leaves gaps. In virtual time, where checking a
//! signature and sending a byte cost what they cost.

use bytes::Bytes;
use quorate_protocol::codec::{self, Frames};
use quorate_protocol::message::{Checkpoint, ClientFrame, Commit, PeerMessage, PrePrepare};
use quorate_protocol::replica::Footprint;
use quorate_protocol::request::{Draft, Kind, Request};
use quorate_protocol::types::{Digest, Number, ReplicaId, Seq, Session, View};
use quorate_protocol::verify::Invalid;
use quorate_sim::world::World;

use super::lab::{Lab, T0, calm, largest};
use super::puppets::{Pens, prepare};

/// What checking a signature takes, and a byte on a line of a gigabit per second, in nanoseconds.
const SIGNATURE_NS: u64 = 30_000;
const BYTE_NS: u64 = 8;
/// So long throughput is measured, in slices, in microseconds.
const MEASURED_US: u64 = 1_000_000;
const SLICE_US: u64 = 5_000;
const REPLICAS: u16 = 4;

/// Clients that ask, and others that may be told to be a nuisance.
const CLIENTS: usize = 4;

fn cluster(nuisances: usize) -> Lab {
    let mut setting = calm(REPLICAS, 1);
    setting.check_every_signature = false;
    (setting.costs.write_us, setting.costs.execute_us) = (200, 50);
    let mut lab = Lab::of(World::new(&setting));
    lab.register(CLIENTS + nuisances, |_| {});
    lab.world.charge_bytes(BYTE_NS);
    lab.world.charge_signatures(SIGNATURE_NS);
    lab
}

/// Calls answered in a second, and what `meanwhile` did with how many were answered in each slice of it.
fn throughput(lab: &mut Lab, mut meanwhile: impl FnMut(&mut Lab, u64)) -> u64 {
    (0..CLIENTS).for_each(|client| lab.world.employ(client, 1_000_000, 8, 0));
    lab.run(100_000);
    let before = lab.world.accepted();
    let mut last = before;
    for _ in 0..MEASURED_US / SLICE_US {
        lab.run(SLICE_US);
        let accepted = lab.world.accepted();
        meanwhile(lab, accepted - last);
        last = accepted;
    }
    lab.world.accepted() - before
}

/// A request of a client that it did not sign.
fn forged(lab: &Lab, client: usize, number: u64) -> Bytes {
    let operations = Frames::new([b"get k".as_slice()].into_iter());
    let (first, ack) = (Number(number), Number(1));
    let session = lab.world.clients()[client].machine().session().unwrap_or(Session(1));
    let draft = Draft { session, first, ack, kind: Kind::Operations, operations };
    let cluster = lab.world.context().cluster;
    let signed = Request::sign(&World::secret_of_client(client), cluster, draft);
    let mut frame = codec::encode(&ClientFrame::from(signed)).unwrap();
    *frame.last_mut().unwrap() ^= 1;
    frame.into()
}

fn forgeries(lab: &Lab) -> Vec<u64> {
    let kind = Invalid::Signature.kind();
    lab.world.nodes().iter().map(|node| node.host().counters().invalid_by_kind[kind]).collect()
}

#[test]
fn e2_as_many_forged_requests_as_good_ones_leave_seven_tenths_of_the_throughput() {
    const NUISANCES: usize = 100;
    let calm = throughput(&mut cluster(NUISANCES), |_, _| {});
    let mut lab = cluster(NUISANCES);
    let (mut sent, mut next) = (0, 0);
    let before = forgeries(&lab);
    let worse = throughput(&mut lab, |lab, answered| {
        // One for each good one, over all connections in turn, to every replica.
        for _ in 0..answered {
            let client = CLIENTS + next % NUISANCES;
            let frame = forged(lab, client, 1 + (next / NUISANCES) as u64);
            (0..REPLICAS).for_each(|id| lab.world.inject_request(client, ReplicaId(id), frame.clone()));
            (sent, next) = (sent + 1, next + 1);
        }
    });
    let refused: Vec<u64> = forgeries(&lab).iter().zip(before).map(|(now, then)| now - then).collect();
    println!("{calm} calls a second without them, {worse} with {sent} forged ones; refused {refused:?}");
    assert!(sent >= worse / 2, "half of what clients sent was forged");
    assert!(refused.iter().all(|refused| *refused > sent / 2), "{refused:?} of {sent} were looked at");
    assert!(worse * 10 >= calm * 7, "{worse} of {calm}");
    assert_eq!(lab.view_changes(), 0);
}

#[test]
fn e3_a_replica_that_floods_the_others_leaves_half_of_the_throughput_and_votes_are_not_late() {
    let calm = throughput(&mut cluster(0), |_, _| {});
    for sins in
        [["flood:rate=20000", "mute:kinds=reply"], ["replay-old:every=1ms", "rush-view-changes:every=1ms"]]
    {
        let mut lab = cluster(0);
        lab.corrupt(3, &sins);
        let worse = throughput(&mut lab, |_, _| {});
        println!("{calm} calls a second without it, {worse} with {sins:?}: {} lies", lab.lies(3));
        assert!(lab.lies(3) > 1_000, "{sins:?}: it is no flood");
        assert!(worse * 2 >= calm, "{sins:?}: {worse} of {calm}");
        assert!(lab.views().iter().take(3).all(|view| *view == 0), "{sins:?}: {:?}", lab.views());
    }
}

/// The replica that leaves gaps: a backup in the first views.
const GAPPY: u16 = 3;

/// What it says about one slot: a vote of each kind, and a proposal for a view of which it is the primary.
fn about(pens: &Pens, seq: u64) -> Vec<PeerMessage> {
    let (view, seq, digest) = (View(0), Seq(seq), Digest([5; 32]));
    let (vote, early) = (prepare(0, seq.0, digest), prepare(3, seq.0, digest));
    let proposal = PrePrepare { prepare: pens.sign(GAPPY, early), batch: None };
    let checkpoint = Checkpoint { seq, root: digest, epoch_end: Seq::MAX };
    vec![
        PeerMessage::PrePrepare(proposal),
        PeerMessage::Prepare(pens.sign(GAPPY, vote)),
        PeerMessage::Commit(pens.sign(GAPPY, Commit { view, seq, digest })),
        PeerMessage::Checkpoint(pens.sign(GAPPY, checkpoint)),
    ]
}

// Of slots: each third one through many windows, and places ever further off, up to the last number there is.
#[test]
fn e5_a_stream_of_sequence_numbers_with_gaps_fills_no_memory_and_delays_nobody() {
    const WINDOW: u64 = 16;
    let cluster = || {
        let mut setting = calm(REPLICAS, 1);
        (setting.parameters.checkpoint_interval, setting.parameters.window) = (WINDOW / 2, WINDOW);
        Lab::new(&setting, CLIENTS)
    };
    let answered = |lab: &mut Lab| {
        (0..CLIENTS).for_each(|client| lab.world.employ(client, 100, 2, 0));
        lab.await_that("all is answered", 40 * T0, Lab::is_answered)
    };
    let mut lab = cluster();
    let calm = answered(&mut lab);
    let mut lab = cluster();
    let pens = Pens::of(lab.world.context());
    lab.world.distrust(ReplicaId(GAPPY));
    let near = (1..WINDOW * 8).map(|place| 1 + 3 * place);
    let far = (5..64).map(|power| (1 << power) - 1).chain([u64::MAX - 1, u64::MAX]);
    let (mut said, mut most, began) = (0, Footprint::default(), lab.world.now());
    (0..CLIENTS).for_each(|client| lab.world.employ(client, 100, 2, 0));
    for seq in near.chain(far) {
        for message in about(&pens, seq) {
            (0..GAPPY).for_each(|to| lab.world.inject(ReplicaId(GAPPY), ReplicaId(to), &message));
            said += 1;
        }
        lab.run(50);
        lab.alive().iter().for_each(|replica| most = largest(most, replica.footprint()));
    }
    lab.await_that("all is answered", 40 * T0, Lab::is_answered);
    let worse = lab.world.now().since(began);
    assert_eq!(lab.view_changes(), 0);
    println!("{calm} us without {said} messages about slots with gaps, {worse} us after them; {most:?}");
    assert!(worse * 2 <= calm * 3, "{worse} us instead of {calm}");
    assert!(said > 600 && most.slots <= Footprint::WINDOWS * WINDOW, "{most:?}");
    assert!(most.far_checkpoints <= u64::from(REPLICAS) && most.prepares <= 2 * WINDOW * u64::from(REPLICAS));
}
