//! E1: what f liars make a correct replica keep is bounded, however much they say.
//!
//! They have their real keys and say what a border lets through: every message is well formed, signed by whom it
//! names, and as large and as far off as it may be. What is measured is the whole process, so the flood runs in one of
//! its own.

use std::process::Command;
use std::sync::Arc;

use quorate_protocol::certificate::Certificate;
use quorate_protocol::codec::{self, Blob, List};
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::{
    Checkpoint, ClientFrame, Commit, NewView, PeerMessage, PrePrepare, Prepare, Status, Transfer, ViewChange,
    WINDOW_MAX,
};
use quorate_protocol::replica::Footprint;
use quorate_protocol::request::{Batch, Draft, Kind, Nondet, Operations, Registration, Request};
use quorate_protocol::signed::{Signed, Signer, Statement};
use quorate_protocol::types::{ClientId, Digest, Number, ReplicaId, Seq, Session, Signature, Time, View};
use quorate_sim::rng::Rng;
use quorate_sim::world::{Passed, World};

use super::lab::{Lab, calm, largest, number};

/// Seven replicas, of which two lie.
const REPLICAS: u16 = 7;
const LIARS: [u16; 2] = [5, 6];
const VICTIMS: [u16; 5] = [0, 1, 2, 3, 4];
const WINDOW: u64 = 128;
/// Messages of the liars; the nightly run says `QUORATE_MESSAGES=10000000`.
const MESSAGES: u64 = 100_000;
/// Messages that come at once, and time until the next, in microseconds.
const TOGETHER: u64 = 40;
const PACE: u64 = 4_000;
/// Commands that clients ask in the first half, so that the window moves.
const COMMANDS: u64 = 300;
/// Requests of the liars' own clients that are ordered.
const ORDERED: u64 = 500;
/// What a process may grow by, in bytes.
const GROWTH: u64 = 64 << 20;
/// What it may grow by in the second half, in bytes: what is bounded is full by then, and nothing else is asked.
const DRIFT: u64 = 3 << 20;

/// Bytes of this process in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Runs one test of this binary in a process of its own.
fn alone(test: &str) {
    let module = module_path!().split_once("::").unwrap().1;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([&format!("{module}::{test}"), "--exact", "--nocapture", "--include-ignored"]);
    let ended = command.env("QUORATE_ALONE", "1").output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    said.lines().filter(|line| line.contains("MiB")).for_each(|line| println!("{line}"));
    assert!(ended.status.success(), "{said}\n{}", String::from_utf8_lossy(&ended.stderr));
    assert!(said.contains("1 passed"), "{said}");
}

/// What liars say, each kind in its turn.
type Lie = fn(&mut Flood, ReplicaId) -> PeerMessage;

const LIES: [(&str, Lie); 14] = [
    ("prepare", Flood::prepare),
    ("commit", Flood::commit),
    ("pre-prepare", Flood::pre_prepare),
    ("checkpoint", Flood::checkpoint),
    ("status", Flood::status),
    ("fetch-body", Flood::fetch_body),
    ("fetch-view-change", Flood::fetch_view_change),
    ("body", Flood::body),
    ("view-change", Flood::view_change),
    ("new-view", Flood::new_view),
    ("commit-certificate", Flood::commit_certificate),
    ("stable-certificate", Flood::stable_certificate),
    ("forward", Flood::forward),
    ("transfer", Flood::transfer),
];

/// The liars, and what they know.
struct Flood {
    rng: Rng,
    signers: Vec<Signer>,
    /// Certificates that are genuine: nothing that carries them is refused for what they say.
    prepared: Vec<Certificate<Prepare>>,
    committed: Vec<Certificate<Commit>>,
    /// Requests that executed, and that have not been ordered yet.
    known: Vec<Arc<Request>>,
    fresh: Vec<Arc<Request>>,
    /// Watermarks of the victims, about.
    low: Seq,
    said: u64,
    /// Who was once at the end of all views and slots gets no further: that comes last.
    ending: bool,
}

impl Flood {
    fn new(lab: &mut Lab) -> Self {
        let context = lab.world.context().clone();
        let signer = |id: &u16| {
            let key = Arc::new(World::secret_of(ReplicaId(*id)));
            Signer::new(key, context.cluster, context.epoch, ReplicaId(*id))
        };
        let (mut prepares, mut commits, mut known) = (Vec::new(), Vec::new(), Vec::new());
        for (_, passed) in lab.world.take_passed() {
            if let Passed::Request { frame, .. } = &passed {
                let asked = codec::decode::<ClientFrame>(frame).unwrap();
                known.extend(if let ClientFrame::Request(request) = asked { Some(request) } else { None });
            }
            let Passed::Frame { frame, .. } = passed else { continue };
            match codec::decode::<PeerMessage>(&frame) {
                Ok(PeerMessage::Prepare(vote)) => prepares.push(vote),
                Ok(PeerMessage::PrePrepare(proposal)) => prepares.push(proposal.prepare),
                Ok(PeerMessage::Commit(vote)) => commits.push(vote),
                _ => {}
            }
        }
        let quorum = context.committee.quorum();
        Self {
            rng: Rng::new(1),
            signers: LIARS.iter().map(signer).collect(),
            prepared: certificates(prepares, quorum),
            committed: certificates(commits, quorum),
            known,
            fresh: fresh(lab),
            low: Seq(0),
            said: 0,
            ending: false,
        }
    }

    fn sign<S: Statement>(&self, signer: ReplicaId, body: S) -> Signed<S> {
        let signer = self.signers.iter().find(|one| one.id() == signer).unwrap();
        (*signer.sign(body)).clone()
    }

    fn digest(&mut self) -> Digest {
        let mut digest = Digest([0; 32]);
        digest.0.chunks_mut(8).for_each(|part| part.copy_from_slice(&self.rng.any().to_le_bytes()));
        digest
    }

    /// Anywhere in the window, a little below and above it, or ever further.
    fn seq(&mut self) -> Seq {
        match self.rng.below(8) {
            0 if self.ending => Seq(self.rng.any()),
            1 if self.ending => Seq(u64::MAX - self.rng.below(3)),
            0 | 1 => self.low.plus(WINDOW + self.said),
            2 => self.low.plus(WINDOW + self.rng.below(WINDOW)),
            _ => self.low.plus(self.rng.below(WINDOW + 2)),
        }
    }

    /// Ever further.
    fn view(&mut self) -> View {
        match self.rng.below(8) {
            0 => View(0),
            1 if self.ending => View(u64::MAX - self.rng.below(8)),
            _ => View(1 + self.said),
        }
    }

    fn prepare(&mut self, signer: ReplicaId) -> PeerMessage {
        let vote = Prepare { view: self.view(), seq: self.seq(), digest: self.digest() };
        PeerMessage::Prepare(self.sign(signer, vote))
    }

    fn commit(&mut self, signer: ReplicaId) -> PeerMessage {
        let vote = Commit { view: self.view(), seq: self.seq(), digest: self.digest() };
        PeerMessage::Commit(self.sign(signer, vote))
    }

    /// A view that this liar is the primary of.
    fn own_view(&mut self, signer: ReplicaId) -> View {
        let (n, id) = (u64::from(REPLICAS), u64::from(signer.0));
        View((self.view().0 / n).saturating_sub(1) * n + id)
    }

    fn pre_prepare(&mut self, signer: ReplicaId) -> PeerMessage {
        let batch = self.batch();
        let digest = batch.digest(quorate_protocol::types::ClusterId(Digest([7; 32])));
        let prepare = Prepare { view: self.own_view(signer), seq: self.seq(), digest };
        PeerMessage::PrePrepare(PrePrepare { prepare: self.sign(signer, prepare), batch: Some(batch) })
    }

    fn batch(&mut self) -> Batch {
        let request = self.rng.pick(&self.known).clone();
        Batch { nondet: Nondet { time: Time(self.rng.any()) }, requests: List(vec![request]) }
    }

    fn checkpoint(&mut self, signer: ReplicaId) -> PeerMessage {
        let vote = Checkpoint { seq: self.seq(), root: self.digest(), epoch_end: Seq::MAX };
        PeerMessage::Checkpoint(self.sign(signer, vote))
    }

    fn status(&mut self, _signer: ReplicaId) -> PeerMessage {
        let bits = |any: u64| Blob(vec![any.to_le_bytes()[0]; WINDOW_MAX / 8].into());
        PeerMessage::Status(Status {
            epoch: quorate_protocol::types::Epoch(0),
            view: self.view(),
            changing: self.rng.chance(500_000),
            low: self.seq(),
            executed: self.seq(),
            committed: bits(self.rng.any()),
            prepared: bits(self.rng.any()),
            bodies: bits(self.rng.any()),
            view_changes: Blob(vec![self.rng.any().to_le_bytes()[0]; 32].into()),
            new_view: self.view(),
            amnesia_high: self.rng.chance(500_000).then(|| self.seq()),
        })
    }

    fn fetch_body(&mut self, _signer: ReplicaId) -> PeerMessage {
        PeerMessage::FetchBody { seq: self.seq(), digest: self.digest() }
    }

    fn fetch_view_change(&mut self, _signer: ReplicaId) -> PeerMessage {
        let signer = ReplicaId(u16::try_from(self.rng.below(9)).unwrap());
        PeerMessage::FetchViewChange { view: self.view(), signer, digest: self.digest() }
    }

    fn body(&mut self, _signer: ReplicaId) -> PeerMessage {
        PeerMessage::Body { seq: self.seq(), batch: self.batch() }
    }

    fn view_change(&mut self, signer: ReplicaId) -> PeerMessage {
        // Each is for a later view, shows all that a genuine one could, and differs from all before.
        let message =
            ViewChange { view: self.view().next(), stable: None, prepared: List(self.prepared.clone()) };
        PeerMessage::ViewChange(Arc::new(self.sign(signer, message).into()))
    }

    fn new_view(&mut self, signer: ReplicaId) -> PeerMessage {
        let named = (0..5).map(|id| (ReplicaId(id), self.digest())).collect();
        let message = NewView { view: self.own_view(signer), view_changes: List(named) };
        PeerMessage::NewView(self.sign(signer, message))
    }

    fn commit_certificate(&mut self, _signer: ReplicaId) -> PeerMessage {
        let mut certificate = self.rng.pick(&self.committed).clone();
        if self.rng.chance(500_000) {
            certificate.statement.seq = self.seq();
        }
        PeerMessage::CommitCertificate(certificate)
    }

    fn stable_certificate(&mut self, _signer: ReplicaId) -> PeerMessage {
        let statement = Checkpoint { seq: self.seq(), root: self.digest(), epoch_end: Seq::MAX };
        let signatures = (0..5).map(|id| (ReplicaId(id), Signature([7; 64]))).collect();
        PeerMessage::StableCertificate(Certificate { statement, signatures: List(signatures) })
    }

    fn forward(&mut self, _signer: ReplicaId) -> PeerMessage {
        PeerMessage::Forward(self.request())
    }

    /// What is new is ordered, as it should be; after some of that everything was ordered before.
    fn request(&mut self) -> Arc<Request> {
        self.fresh.pop().unwrap_or_else(|| self.rng.pick(&self.known).clone())
    }

    fn transfer(&mut self, _signer: ReplicaId) -> PeerMessage {
        let (seq, index) = (self.seq(), self.rng.any().to_le_bytes()[0].into());
        PeerMessage::Transfer(match self.rng.below(8) {
            0 => Transfer::Lacks { seq },
            1 => Transfer::Chunk { seq, index, bytes: Blob(vec![7; 64 << 10].into()) },
            2 | 3 => Transfer::FetchMeta { seq },
            _ => Transfer::FetchChunk { seq, index },
        })
    }
}

/// Votes that say the same, put together.
fn certificates<S: Statement + Copy + Ord>(mut votes: Vec<Signed<S>>, quorum: usize) -> Vec<Certificate<S>> {
    votes.sort_by_key(|vote| (vote.body, vote.signer));
    votes.dedup_by_key(|vote| (vote.body, vote.signer));
    let equal = votes.chunk_by(|one, other| one.body == other.body).filter(|equal| equal.len() >= quorum);
    let certificate = |equal: &[Signed<S>]| Certificate {
        statement: equal[0].body,
        signatures: List(equal.iter().take(quorum).map(|vote| (vote.signer, vote.signature)).collect()),
    };
    equal.map(certificate).collect()
}

/// Requests of clients that nobody knows: with sessions that do not exist, with numbers far off, and registrations.
fn fresh(lab: &mut Lab) -> Vec<Arc<Request>> {
    let cluster = lab.world.context().cluster;
    let sign = |index: u64| {
        let key = SecretKey::from_seed(&[u8::try_from(index % 64 + 100).unwrap(); 32]);
        let client = ClientId::of(&key.public());
        let registration = Registration { nonce: index, expires: Seq(index % 512) };
        let (session, first, kind, operation) = match index % 3 {
            0 => (registration.session(client), 0, Kind::Register, codec::encode(&registration).unwrap()),
            1 => (Session(index), u64::MAX - 1, Kind::Operations, vec![7; 4096]),
            _ => (Session(index), 1 + index, Kind::Fifo, vec![7; 4096]),
        };
        let operations = Operations::new(std::iter::once(operation.as_slice()));
        let draft = Draft { session, first: Number(first), ack: Number(first), kind, operations };
        Arc::new(Request::sign(&key, cluster, draft))
    };
    let requests: Vec<_> = (0..ORDERED).map(sign).collect();
    for request in &requests {
        // A liar is told: from now on the world knows that a client signed it.
        lab.world.send_request(0, ReplicaId(LIARS[0]), request);
    }
    requests
}

/// A cluster that works, all of whose signatures are checked by whom they are shown to; its liars are the test's.
fn cluster() -> Lab {
    let mut setting = calm(REPLICAS, 1);
    (setting.parameters.checkpoint_interval, setting.parameters.window) = (32, WINDOW);
    (setting.parameters.sessions_max, setting.parameters.sessions_per_client_max) = (64, 4);
    (setting.parameters.reply_bytes_max, setting.parameters.reply_cache_bytes_max) = (8 << 10, 32 << 10);
    setting.check_every_signature = true;
    setting.costs.verify_us = 200;
    let mut lab = Lab::of(World::new(&setting));
    lab.world.keep_passed();
    for id in LIARS {
        lab.world.crash(ReplicaId(id)).unwrap();
        lab.world.distrust(ReplicaId(id));
    }
    lab.register(8, |_| {});
    for round in 0..20 {
        lab.ask(round % 8, "add k 1");
        lab.run(10_000);
    }
    lab
}

/// What became of a flood.
struct Ended {
    /// Bytes in memory at its beginning, in its middle and at its end.
    resident: [u64; 3],
    kept: Footprint,
}

fn drown(lab: &mut Lab, messages: u64) -> Ended {
    let mut flood = Flood::new(lab);
    assert!(flood.prepared.len() > 10 && flood.committed.len() > 10, "the liars have nothing to show");
    lab.world.stop_passed();
    let (mut resident_at, mut kept) = (Vec::new(), Footprint::default());
    let (rounds, mut asked) = (messages / TOGETHER, 0);
    for round in 0..=rounds {
        // A tenth is for everything to get as large as it may.
        if [rounds / 10, rounds * 11 / 20, rounds].contains(&round) {
            resident_at.push(resident());
        }
        flood.ending = round > rounds * 9 / 10;
        for _ in 0..TOGETHER {
            flood.said += 1;
            let said = usize::try_from(flood.said).unwrap();
            let (liar, victim) = (ReplicaId(*flood.rng.pick(&LIARS)), ReplicaId(*flood.rng.pick(&VICTIMS)));
            let (_, lie) = LIES[said % LIES.len()];
            let message = lie(&mut flood, liar);
            lab.world.inject(liar, victim, &message);
        }
        if asked < (2 * round * COMMANDS / rounds).min(COMMANDS) {
            asked += 1;
            lab.ask(usize::try_from(asked % 8).unwrap(), "add k 1");
        }
        lab.run(PACE);
        flood.low = lab.replica(0).watermarks().0;
        lab.alive().iter().for_each(|replica| kept = largest(kept, replica.footprint()));
    }
    Ended { resident: resident_at.try_into().unwrap(), kept }
}

#[test]
fn e1_whatever_f_liars_say_makes_no_replica_keep_more() {
    if std::env::var_os("QUORATE_ALONE").is_none() {
        return alone("e1_whatever_f_liars_say_makes_no_replica_keep_more");
    }
    let messages = number("QUORATE_MESSAGES").unwrap_or(MESSAGES);
    let mut lab = cluster();
    let before = (lab.executed(), lab.world.accepted());
    let Ended { resident: [start, middle, end], kept } = drown(&mut lab, messages);
    let grown = |from: u64, to: u64| to.saturating_sub(from) >> 10;
    println!(
        "{messages} messages, {} slots, {} events: {} MiB, then {} KiB more, then {} KiB more; {kept:?}",
        lab.executed() - before.0,
        lab.world.events(),
        start >> 20,
        grown(start, middle),
        grown(middle, end)
    );
    assert!(grown(start, end) << 10 < GROWTH, "{} KiB more", grown(start, end));
    assert!(grown(middle, end) << 10 < DRIFT, "{} KiB more although nothing is asked", grown(middle, end));
    // The liars were heard: one thing of each is kept, and nothing was dropped for being too much.
    let liars = LIARS.len() as u64;
    assert_eq!((kept.view_changes, kept.candidates, kept.far_checkpoints), (liars, liars, liars), "{kept:?}");
    for id in VICTIMS.map(ReplicaId) {
        let host = lab.world.node(id).host();
        let (border, transfers) = (host.border().counters(), host.transfer_counters());
        assert_eq!((border.crowded_out, border.over_allowance.iter().sum::<u64>()), (0, 0));
        assert_eq!((host.border().ready(), host.waiting_for_disk()), (0, 0), "all was looked at");
        let each = messages / LIES.len() as u64 / VICTIMS.len() as u64;
        assert!(border.useless > each && host.counters().invalid > each && transfers.refused > each / 8);
    }
    assert_eq!((lab.views()[..5].to_vec(), lab.view_changes()), (vec![0; 5], 0));
    assert_eq!(lab.world.accepted() - before.1, COMMANDS, "the clients were served all the time");
}
