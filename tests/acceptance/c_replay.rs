//! C11: everything that was ever said is said again, of old views, of another epoch and of another cluster.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_protocol::codec;
use quorate_protocol::message::PeerMessage;
use quorate_protocol::replica::Footprint;
use quorate_protocol::types::{ClusterId, Digest, Epoch, ReplicaId, Seq};
use quorate_protocol::verify::Invalid;
use quorate_sim::trace;
use quorate_sim::world::{Passed, Setting, World};

use super::lab::{KINDS, Lab, NEVER, T0, calm, largest};

const REPLICAS: u16 = 4;
const CLUSTER: ClusterId = ClusterId(Digest([7; 32]));
/// Between two questions of a client in the present, in microseconds.
const PACE: u64 = 10_000;
/// Questions of the present.
const QUESTIONS: u64 = 80;

fn setting() -> Setting {
    let mut setting = calm(REPLICAS, 1);
    (setting.parameters.checkpoint_interval, setting.parameters.window) = (8, 16);
    setting
}

/// A cluster with two clients that send everything once.
fn cluster(identity: ClusterId, epoch: Epoch) -> Lab {
    let mut lab = Lab::of(World::of(&setting(), identity, epoch));
    lab.world.keep_passed();
    lab.register(2, |options| {
        (options.retry_timeout_us, options.retry_timeout_max_us) = (NEVER, NEVER);
    });
    lab
}

fn ask(lab: &mut Lab, count: u64) {
    for index in 0..count {
        lab.ask(usize::try_from(index % 2).unwrap(), &format!("add k{} {index}", index % 5));
        lab.run(PACE);
    }
}

/// A past in which every kind of message is said: bodies are missed, a state is fetched, and two views are left.
fn live(lab: &mut Lab) {
    ask(lab, 10);
    // Replica 2 misses a batch, and asks for it.
    lab.stop(Some(0), Some(2), "pre-prepare", false);
    ask(lab, 2);
    lab.run(T0 / 2);
    lab.heal();
    // Replica 3 is away until the others keep no log of it any more.
    lab.cut(0b1000, 0b0111);
    lab.cut(0b0111, 0b1000);
    ask(lab, 40);
    lab.heal();
    lab.await_that("replica 3 fetches the state", 20 * T0, |lab| {
        lab.world.node(ReplicaId(3)).host().transfer_counters().completed > 0 && lab.is_at_rest()
    });
    for view in 1..=2 {
        leave(lab, view);
        ask(lab, 12);
    }
    lab.await_that("all is well", 8 * T0, |lab| lab.is_at_rest() && lab.is_answered());
    lab.run(4 * T0);
}

/// The primary of the view before serves nobody, whatever is passed on to it; and replica 3 misses a VIEW-CHANGE.
fn leave(lab: &mut Lab, view: u16) {
    lab.stop(Some(view - 1), None, "pre-prepare", false);
    lab.stop(Some(0), Some(3), "view-change", false);
    lab.ask(0, "add k 1");
    lab.repeat(0, &[0, 1, 2, 3]);
    let serves = |lab: &Lab| lab.views() == [u64::from(view); 4] && lab.is_answered();
    lab.await_that("the next view serves", 8 * T0, serves);
    lab.heal();
}

/// What was said between replicas, and by clients, each thing once.
struct Archive {
    frames: BTreeMap<&'static str, BTreeSet<(ReplicaId, Bytes)>>,
    requests: BTreeSet<(usize, Bytes)>,
}

impl Archive {
    fn of(lab: &mut Lab) -> Self {
        let (mut frames, mut requests) = (BTreeMap::<_, BTreeSet<_>>::new(), BTreeSet::new());
        for (_, passed) in lab.world.take_passed() {
            match passed {
                Passed::Frame { from, frame, .. } => {
                    let message = codec::decode::<PeerMessage>(&frame).unwrap();
                    frames.entry(trace::kind(&message)).or_default().insert((from, frame));
                }
                Passed::Request { from, frame, .. } => {
                    requests.insert((from, frame));
                }
                Passed::Reply { .. } | Passed::Executed { .. } => {}
            }
        }
        Self { frames, requests }
    }

    /// The past of another cluster, and a present in which it gets further than this one: into views and slots that
    /// have not been here yet.
    fn of_another(identity: ClusterId, epoch: Epoch) -> Self {
        let mut lab = cluster(identity, epoch);
        live(&mut lab);
        // Replica 3 misses votes, and is shown what they came to.
        for kind in ["commit", "checkpoint"] {
            lab.stop(None, Some(3), kind, false);
        }
        ask(&mut lab, 10);
        lab.heal();
        lab.run(T0);
        ask(&mut lab, QUESTIONS);
        leave(&mut lab, 3);
        lab.run(T0);
        Self::of(&mut lab)
    }
}

/// One frame on its way to somebody, over whose channel.
#[derive(Debug, Clone)]
enum Replayed {
    Peer { over: ReplicaId, to: ReplicaId, frame: Bytes },
    Client { over: usize, to: ReplicaId, frame: Bytes },
}

impl Replayed {
    fn inject(&self, lab: &mut Lab) {
        match self.clone() {
            Self::Peer { over, to, frame } => lab.world.inject_frame(over, to, frame),
            Self::Client { over, to, frame } => lab.world.inject_request(over, to, frame),
        }
    }
}

fn everyone() -> impl Iterator<Item = ReplicaId> {
    (0..REPLICAS).map(ReplicaId)
}

/// To everybody else, over the channel of the replica that sent it; `shift` steps further over another's.
fn over(shift: u16, frames: &BTreeSet<(ReplicaId, Bytes)>) -> Vec<Replayed> {
    let mut all = Vec::new();
    for (from, frame) in frames {
        let over = ReplicaId((from.0 + shift) % REPLICAS);
        let to = everyone().filter(|to| *to != over);
        all.extend(to.map(|to| Replayed::Peer { over, to, frame: frame.clone() }));
    }
    all
}

fn of_clients(shift: usize, requests: &BTreeSet<(usize, Bytes)>) -> Vec<Replayed> {
    let to_all = |(from, frame): &(usize, Bytes)| {
        let (over, frame) = ((from + shift) % 2, frame.clone());
        everyone().map(move |to| Replayed::Client { over, to, frame: frame.clone() }).collect::<Vec<_>>()
    };
    requests.iter().flat_map(to_all).collect()
}

/// How a cluster ended.
#[derive(Debug, PartialEq, Eq)]
struct End {
    histories: Vec<(Seq, Option<Digest>)>,
    views: Vec<u64>,
    view_changes: u64,
    watermarks: Vec<(Seq, Seq)>,
    footprints: Vec<Footprint>,
    accepted: u64,
    alarms: u64,
}

fn end(lab: &Lab) -> End {
    let nodes = lab.world.nodes();
    let executor = |node: &quorate_sim::node::Node| {
        let executor = node.execution().executor();
        (executor.executed(), executor.history(executor.executed()))
    };
    End {
        histories: nodes.iter().map(executor).collect(),
        views: lab.views(),
        view_changes: lab.view_changes(),
        watermarks: nodes.iter().map(|node| node.replica().watermarks()).collect(),
        footprints: nodes.iter().map(|node| node.replica().footprint()).collect(),
        accepted: lab.world.accepted(),
        alarms: nodes.iter().map(|node| node.replica().counters().alarms).sum(),
    }
}

/// The present, with or without the past coming up again throughout. What replicas keep is looked at all the time.
fn present(lab: &mut Lab, replayed: &[Replayed]) -> (End, Footprint) {
    let mut most = Footprint::default();
    let portion = replayed.len().div_ceil(usize::try_from(QUESTIONS * 10).unwrap()).max(1);
    let mut portions = replayed.chunks(portion);
    for index in 0..QUESTIONS {
        lab.ask(usize::try_from(index % 2).unwrap(), &format!("add k{} {index}", index % 5));
        for _ in 0..10 {
            for replayed in portions.by_ref().next().unwrap_or_default() {
                replayed.inject(lab);
            }
            lab.run(PACE / 10);
            lab.alive().iter().for_each(|replica| most = largest(most, replica.footprint()));
        }
    }
    assert_eq!(portions.next().map(<[Replayed]>::len), None, "all of it was played");
    lab.run(20 * T0);
    assert!(lab.is_answered() && lab.is_at_rest());
    assert!(lab.world.nodes().iter().all(|node| node.host().border().ready() == 0));
    (end(lab), most)
}

/// The cluster after its past.
fn after_its_past() -> (Lab, Archive) {
    let mut lab = cluster(CLUSTER, Epoch(0));
    live(&mut lab);
    let archive = Archive::of(&mut lab);
    (lab, archive)
}

/// Everything of one archive, over its own channels and over others'.
fn all_of(archive: &Archive, kinds: &[&str]) -> Vec<Replayed> {
    let of_kinds = kinds.iter().filter_map(|kind| archive.frames.get(kind));
    of_kinds.flat_map(|frames| over(0, frames).into_iter().chain(over(1, frames))).collect()
}

// Would miss frames that were recorded and changed; those are forgeries, and other tests'.
#[test]
fn c11_the_whole_past_played_again_changes_nothing_of_the_present() {
    let (mut calm, _) = after_its_past();
    let (expected, most) = present(&mut calm, &[]);
    assert_eq!(expected.views, [2; 4]);
    assert!(expected.watermarks[0].0 > Seq(100), "{:?}", expected.watermarks);

    let (mut lab, own) = after_its_past();
    assert_eq!(
        own.frames.keys().copied().collect::<BTreeSet<_>>(),
        BTreeSet::from(KINDS),
        "all kinds were said"
    );
    let cluster = Archive::of_another(ClusterId(Digest([8; 32])), Epoch(0));
    let epoch = Archive::of_another(CLUSTER, Epoch(1));
    let before = Fate::of(&lab);
    let mut replayed = all_of(&own, &KINDS);
    replayed.extend(all_of(&cluster, &KINDS));
    // What clients sign has no epoch: their sessions go on in the next one.
    let signed_by_replicas: Vec<&str> = KINDS.into_iter().filter(|kind| *kind != "forward").collect();
    replayed.extend(all_of(&epoch, &signed_by_replicas));
    for requests in [&own.requests, &cluster.requests] {
        replayed.extend(of_clients(0, requests).into_iter().chain(of_clients(1, requests)));
    }
    let (found, grown) = present(&mut lab, &replayed);
    let fate = Fate::of(&lab).since(before);
    println!("{} frames: {fate:?}", replayed.len());
    assert!(replayed.len() > 20_000 && fate.useless > 5_000 && fate.impostor > 5_000 && fate.forged > 1_000);
    assert!(fate.known > 200 && fate.outsider > 200, "{fate:?}");
    assert_eq!(found, expected);
    assert_eq!(grown, most, "what replicas keep at most");
}

/// What became of frames, all replicas together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Fate {
    /// Dropped unverified: it cannot matter any more, or the very same was verified before.
    useless: u64,
    /// Over the channel of another one than its signer's.
    impostor: u64,
    /// More than a channel may ask.
    over_allowance: u64,
    /// A signature was not of the one it names, in this cluster and epoch.
    forged: u64,
    /// Signed, or said, in another epoch.
    outsider: u64,
    /// Refused otherwise.
    invalid: u64,
    /// Answered from memory.
    known: u64,
    /// A part of a state that nobody had asked for.
    unasked: u64,
}

impl Fate {
    fn of(lab: &Lab) -> Self {
        let mut fate = Self::default();
        for host in lab.world.nodes().iter().map(|node| node.host()) {
            let (border, counters) = (host.border().counters(), host.counters());
            let invalid = |kind: &str| {
                let place = Invalid::KINDS.iter().position(|known| *known == kind).unwrap();
                counters.invalid_by_kind[place]
            };
            fate.useless += border.useless + border.repeated;
            fate.impostor += border.impostors;
            fate.over_allowance += border.over_allowance.iter().sum::<u64>();
            fate.forged += invalid("forged");
            fate.outsider += invalid("outsider");
            fate.invalid += counters.invalid - invalid("forged") - invalid("outsider");
            fate.invalid += border.malformed + border.crowded_out;
            fate.known += counters.retries_known;
            fate.unasked += host.transfer_counters().refused;
        }
        fate
    }

    fn since(self, before: Self) -> Self {
        Self {
            useless: self.useless - before.useless,
            impostor: self.impostor - before.impostor,
            over_allowance: self.over_allowance - before.over_allowance,
            forged: self.forged - before.forged,
            outsider: self.outsider - before.outsider,
            invalid: self.invalid - before.invalid,
            known: self.known - before.known,
            unasked: self.unasked - before.unasked,
        }
    }

    fn refused(self) -> u64 {
        let Self { useless, impostor, over_allowance, forged, outsider, invalid, known, unasked } = self;
        useless + impostor + over_allowance + forged + outsider + invalid + known + unasked
    }
}

/// Plays frames at a pace that no allowance minds; what became of them.
fn play(lab: &mut Lab, replayed: &[Replayed]) -> Fate {
    let before = Fate::of(lab);
    for portion in replayed.chunks(20) {
        portion.iter().for_each(|replayed| replayed.inject(lab));
        lab.run(10_000);
    }
    lab.run(10_000);
    Fate::of(lab).since(before)
}

/// Where a frame comes from that is played again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Own,
    OtherCluster,
    OtherEpoch,
}

/// Whether frames of a kind ended as they should.
fn is_refused_rightly(
    kind: &str,
    origin: Origin,
    over_anothers_channel: bool,
    count: u64,
    fate: Fate,
) -> bool {
    let own = origin == Origin::Own;
    let only = |some: u64| some == count && fate.refused() == count;
    // What is heard is attributed to the channel, or proves itself, and there is nothing left to be done about it.
    let heard = fate.forged + fate.invalid + fate.impostor + fate.outsider + fate.over_allowance == 0;
    match kind {
        "prepare" | "commit" if over_anothers_channel => only(fate.impostor),
        "prepare" | "commit" | "checkpoint" | "new-view" | "testimony" | "commit-certificate"
        | "stable-certificate"
            if own =>
        {
            only(fate.useless)
        }
        // One that is shown to its own signer is looked at: it might not remember it.
        "view-change" if own => heard && fate.useless >= count / 2,
        "prepare" | "commit" | "checkpoint" | "view-change" | "new-view" | "testimony"
        | "commit-certificate" | "stable-certificate" => only(fate.useless + fate.forged) && fate.forged > 0,
        // A batch that nobody misses, by its digest.
        "body" => only(fate.useless),
        "pre-prepare" if own => heard && fate.refused() == 0,
        "pre-prepare" => only(fate.forged),
        "forward" if own => only(fate.known),
        "forward" => only(fate.forged),
        "status" if origin == Origin::OtherEpoch => only(fate.outsider),
        "status" | "fetch-body" | "fetch-view-change" | "transfer" => heard,
        _ => false,
    }
}

#[test]
fn c11_every_kind_of_frame_that_is_played_again_is_refused_for_its_own_reason() {
    let (mut lab, own) = after_its_past();
    let cluster = Archive::of_another(ClusterId(Digest([8; 32])), Epoch(0));
    let epoch = Archive::of_another(CLUSTER, Epoch(1));
    let before = end(&lab);
    let archives = [(Origin::Own, &own), (Origin::OtherCluster, &cluster), (Origin::OtherEpoch, &epoch)];
    for (origin, archive) in archives {
        // What clients sign has no epoch: in this one it is as good as in the other.
        let refused = |kind: &str| origin != Origin::OtherEpoch || kind != "forward";
        for (kind, frames) in archive.frames.iter().filter(|(kind, _)| refused(kind)) {
            for shift in [0, 1] {
                let replayed = over(shift, frames);
                let (count, fate) = (replayed.len() as u64, play(&mut lab, &replayed));
                assert!(
                    is_refused_rightly(kind, origin, shift == 1, count, fate),
                    "{count} times {kind} of {origin:?}, {shift} channels further: {fate:?}"
                );
            }
        }
    }
    for (requests, elsewhere) in [(&own.requests, false), (&cluster.requests, true)] {
        let replayed = of_clients(0, requests);
        let (count, fate) = (replayed.len() as u64, play(&mut lab, &replayed));
        // Who asks again is answered by the numbers alone; only what could be new has its signature looked at.
        assert_eq!((fate.known + fate.forged, fate.forged > 0), (count, elsewhere), "{fate:?}");
        let replayed = of_clients(1, requests);
        let (count, fate) = (replayed.len() as u64, play(&mut lab, &replayed));
        assert_eq!((fate.impostor, fate.refused()), (count, count), "over another client's connection");
    }
    assert_eq!(end(&lab), before);
}
