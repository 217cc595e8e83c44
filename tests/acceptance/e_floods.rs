//! E2, E3: clients that sign nothing right, and a replica that says as much as it can. In virtual time, where checking a
//! signature and sending a byte cost what they cost.

use bytes::Bytes;
use quorate_protocol::codec::{self, Frames};
use quorate_protocol::request::{Draft, Kind, Request};
use quorate_protocol::types::{Number, ReplicaId, Session};
use quorate_protocol::verify::Invalid;
use quorate_sim::world::World;

use super::lab::{Lab, calm};

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
    let mut frame = codec::encode(&signed).unwrap();
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
