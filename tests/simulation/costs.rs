//! What a batch costs without a fault: frames, signatures and syncs are those of the message pattern, and the phases of a
//! slot are the times of the links that it waited for.

use std::collections::{BTreeMap, BTreeSet};

use quorate_apps::null::Null;
use quorate_bench::cost::Shape;
use quorate_host::host::HostCounters;
use quorate_host::phases::{ONE_IN, PhaseTimes, Spent};
use quorate_protocol::codec::{self, Frames};
use quorate_protocol::message::PeerMessage;
use quorate_protocol::request::{Draft, Kind, Request};
use quorate_protocol::types::{Number, ReplicaId};
use quorate_protocol::verify::Invalid;
use quorate_sim::app::Service;
use quorate_sim::node::Node;
use quorate_sim::world::{Passed, Setting, World};

/// Batches that are counted, of one operation each, one after the other; several checkpoints are among them.
const BATCHES: u64 = 240;
const INTERVAL: u64 = 20;
const PAYLOAD: usize = 128;
const REPLY: usize = 32;

/// What all replicas counted together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counted {
    verified: u64,
    signed: u64,
    syncs: u64,
    slots: u64,
    primary_bytes: u64,
}

impl Counted {
    fn of(world: &World) -> Self {
        let nodes = || world.nodes().iter();
        let all_bytes = |host: HostCounters| host.bytes_out + host.client_bytes_out;
        Self {
            verified: nodes().map(Node::signatures_checked).sum(),
            signed: nodes().map(|node| node.host().counters().signed).sum(),
            syncs: nodes().map(Node::syncs).sum(),
            slots: nodes().map(|node| node.replica().counters().committed).max().unwrap_or(0),
            primary_bytes: all_bytes(world.node(ReplicaId(0)).host().counters()),
        }
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            verified: self.verified - earlier.verified,
            signed: self.signed - earlier.signed,
            syncs: self.syncs - earlier.syncs,
            slots: self.slots - earlier.slots,
            primary_bytes: self.primary_bytes - earlier.primary_bytes,
        }
    }
}

/// A cluster without faults and one client, which has one call out at a time.
struct Trial {
    world: World,
}

impl Trial {
    fn new(replicas: u16, jitter_us: u64) -> Self {
        let mut setting = Setting::calm(replicas);
        setting.profile.jitter_us = jitter_us;
        setting.parameters.checkpoint_interval = INTERVAL;
        setting.parameters.window = 4 * INTERVAL;
        setting.service = Service::new(|| Box::new(Null::new(REPLY)), |_| vec![7; PAYLOAD]);
        let mut world = World::new(&setting);
        world.add_client(|_| ()).unwrap_or_else(|violation| panic!("{violation}"));
        let mut trial = Self { world };
        trial.rest();
        trial
    }

    /// Until nothing is on its way any more but what is said now and then.
    fn rest(&mut self) {
        let end = self.world.now().plus(500_000);
        self.world.run_until(end).unwrap_or_else(|violation| panic!("{violation}"));
    }

    /// Lets the client call; what everybody did for it.
    fn ask(&mut self) -> Counted {
        let before = Counted::of(&self.world);
        self.world.employ(0, BATCHES, 1, 0);
        while !self.world.clients()[0].is_done() {
            self.world.step().unwrap_or_else(|violation| panic!("{violation}"));
        }
        self.rest();
        let counted = Counted::of(&self.world).since(before);
        assert_eq!(counted.slots, BATCHES, "each call is a batch");
        counted
    }

    /// The same, and how many frames of each kind came, each counted once; and how many came again, or are of no batch.
    fn ask_and_watch(&mut self) -> (Counted, BTreeMap<&'static str, u64>, u64) {
        self.world.keep_passed();
        let counted = self.ask();
        let (mut seen, mut kinds, mut besides) = (BTreeSet::new(), BTreeMap::new(), 0);
        for (_, passed) in self.world.take_passed() {
            let Passed::Frame { from, to, frame } = passed else { continue };
            match kind_of(&frame).filter(|_| seen.insert((from, to, frame))) {
                Some(kind) => *kinds.entry(kind).or_default() += 1,
                None => besides += 1,
            }
        }
        (counted, kinds, besides)
    }

    fn n(&self) -> u64 {
        self.world.nodes().len() as u64
    }

    fn shape(&self) -> Shape {
        Shape {
            n: self.world.nodes().len(),
            checkpoint_interval: u32::try_from(INTERVAL).unwrap_or(1),
            payload: PAYLOAD,
            reply: REPLY,
            clients: 1,
            batch: 1.0,
            bundle: 1.0,
        }
    }

    fn phases(&self, replica: u16) -> PhaseTimes {
        self.world.node(ReplicaId(replica)).host().phase_times()
    }
}

/// What agreement on a batch needs; none of what is said besides.
fn kind_of(frame: &[u8]) -> Option<&'static str> {
    match codec::decode(frame).unwrap_or_else(|error| panic!("{error}")) {
        // Said again, it comes without the batch.
        PeerMessage::PrePrepare(proposal) => proposal.batch.map(|_| "pre-prepare"),
        PeerMessage::Prepare(_) => Some("prepare"),
        PeerMessage::Commit(_) => Some("commit"),
        PeerMessage::Checkpoint(_) => Some("checkpoint"),
        _ => None,
    }
}

/// Whether the one is the other, within so many hundredths of that.
fn near(found: f64, expected: f64, percent: f64) -> bool {
    (found - expected).abs() <= expected * percent / 100.0
}

#[test]
fn without_a_fault_frames_and_signatures_made_are_exactly_those_of_the_pattern() {
    for replicas in [4, 7, 10] {
        let mut trial = Trial::new(replicas, 0);
        let (counted, kinds, besides) = trial.ask_and_watch();
        let n = trial.n();
        let expected = [
            ("pre-prepare", BATCHES * (n - 1)),
            ("prepare", BATCHES * (n - 1) * (n - 1)),
            ("commit", BATCHES * n * (n - 1)),
            ("checkpoint", BATCHES / INTERVAL * n * (n - 1)),
        ];
        for (kind, expected) in expected {
            assert_eq!(kinds.get(kind), Some(&expected), "{kind} of {replicas}");
        }
        let sum: u64 = expected.into_iter().map(|(_, count)| count).sum();
        let shape = trial.shape();
        assert!(near(sum as f64, shape.messages() * BATCHES as f64, 1e-6), "{replicas}: {sum}");
        // Every so often a replica says where it stands, and gets again what it says it lacks though it is on its way.
        assert!(besides * 30 < sum, "{replicas}: little is said besides: {besides} of {sum}");
        assert!(near(counted.signed as f64, shape.signings() * BATCHES as f64, 1e-6), "{counted:?}");
        // One call at a time: each promise waits for a sync of its own.
        assert_eq!(counted.syncs, counted.signed);
    }
}

#[test]
fn a_replica_checks_what_its_quorum_lacks_and_one_signature_for_each_request() {
    for replicas in [4, 7, 10] {
        // Votes that arrive one after the other, as they do from several machines.
        let mut trial = Trial::new(replicas, 700);
        let counted = trial.ask();
        let of_replicas = counted.verified - BATCHES * trial.n();
        let expected = trial.shape().verifications() * BATCHES as f64;
        assert!(near(of_replicas as f64, expected, 1.0), "{replicas}: {of_replicas} and not {expected}");
        // Of those that arrive in one moment it cannot know that the first will do; it never checks more than come.
        let mut trial = Trial::new(replicas, 0);
        let of_replicas = trial.ask().verified - BATCHES * trial.n();
        let (n, votes) = (trial.n() as f64, trial.shape().signings() / trial.n() as f64);
        let most = n * (n - 1.0) * votes * BATCHES as f64;
        assert!(of_replicas as f64 >= expected && of_replicas as f64 <= most, "{replicas}: {of_replicas}");
    }
}

#[test]
fn the_primary_sends_as_many_bytes_as_the_model_says() {
    for replicas in [4, 7] {
        let mut trial = Trial::new(replicas, 0);
        let found = trial.ask().primary_bytes as f64 / BATCHES as f64;
        let expected = trial.shape().primary_bytes();
        assert!(near(found, expected, 3.0), "{replicas}: {found} and not {expected}");
    }
}

#[test]
fn the_phases_of_a_slot_are_the_links_that_it_waited_for() {
    let mut trial = Trial::new(4, 0);
    let before: Vec<_> = (0..4).map(|replica| trial.phases(replica)).collect();
    trial.ask();
    let grown = |now: Spent, before: Spent| (now.sum_us - before.sum_us, now.count - before.count);
    // A frame takes a millisecond, and nothing else takes time.
    let (nothing, once, twice) = ((0, BATCHES), (1_000 * BATCHES, BATCHES), (2_000 * BATCHES, BATCHES));
    for replica in 0..4 {
        let (now, before) = (trial.phases(replica), before[usize::from(replica)]);
        let (to_vote, to_prepare) = if replica == 0 { (nothing, twice) } else { (once, once) };
        assert_eq!(grown(now.pre_prepare, before.pre_prepare), to_vote, "{replica}");
        assert_eq!(grown(now.prepare, before.prepare), to_prepare, "{replica}");
        assert_eq!(grown(now.commit, before.commit), once, "{replica}");
        assert_eq!(grown(now.execute, before.execute), nothing, "{replica}");
        let agreement = (to_prepare.0 + once.0, BATCHES);
        assert_eq!(grown(now.agreement, before.agreement), agreement, "{replica}");
    }
    assert!(trial.phases(0).request.count > 0);
    assert_eq!(trial.phases(1).request, Spent::default(), "requests arrive at their primary");
}

/// What a client's call of this number could be, but for its signature, which begins as that of a request that is timed.
fn forged(world: &World, number: u64) -> Request {
    let session = world.clients()[0].machine().session().expect("it has registered");
    let signed = (0_u64..).map(|content| {
        let operations = Frames::new(std::iter::once(&content.to_le_bytes()[..]));
        let (first, ack) = (Number(number), Number(1));
        let draft = Draft { session, first, ack, kind: Kind::Operations, operations };
        Request::sign(&World::secret_of_client(0), world.context().cluster, draft)
    });
    let timed = signed.into_iter().find(|request| request.signature().0[0].is_multiple_of(ONE_IN));
    let mut frame = codec::encode(&timed.expect("one in sixteen is")).expect("a request fits a frame");
    *frame.last_mut().expect("a frame is not empty") ^= 1;
    codec::decode(&frame).expect("a request with another signature is one")
}

#[test]
fn requests_that_their_client_did_not_sign_have_no_arrival_that_counts() {
    let mut trial = Trial::new(4, 0);
    for number in 1..=BATCHES {
        let request = forged(&trial.world, number);
        trial.world.send_request(0, ReplicaId(0), &request);
    }
    trial.rest();
    let invalid = trial.world.node(ReplicaId(0)).host().counters().invalid_by_kind[Invalid::Signature.kind()];
    assert_eq!(invalid, BATCHES, "each was looked at");
    trial.ask();
    let Spent { sum_us, count, .. } = trial.phases(0).request;
    assert!(count > 0 && sum_us == 0, "{sum_us} us in {count} requests that were proposed at once");
}
