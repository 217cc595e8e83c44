//! C6: whatever is ordered however often, each operation executes once, and everybody is told the same.

mod disorder;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_protocol::codec::{self, List};
use quorate_protocol::message::{ClientMessage, Outcome, PeerMessage, PrePrepare, Prepare, Reply};
use quorate_protocol::request::{Batch, Body, Draft, Kind, Nondet, Operations, Registration, Request};
use quorate_protocol::signed::Signer;
use quorate_protocol::types::{ClientId, Number, ReplicaId, Seq, Session, View};
use quorate_sim::world::{Passed, Setting, World};

use super::book::{Book, Command, Ledger, Place};
use super::lab::{Lab, NEVER, T0, calm};

/// Operations that a session may have outstanding.
const W: u64 = 8;
/// A reply that fills a third of a session's cache, and one that is too large.
const LARGE: u64 = 60_000;
const TOO_LARGE: u64 = 70_000;

type Requests = Vec<Arc<Request>>;

fn setting(replicas: u16, seed: u64) -> Setting {
    let mut setting = calm(replicas, seed);
    let parameters = &mut setting.parameters;
    (parameters.checkpoint_interval, parameters.window) = (4, 8);
    parameters.client_window = W;
    (parameters.reply_bytes_max, parameters.reply_cache_bytes_max) = (64 << 10, 192 << 10);
    (parameters.sessions_per_client_max, parameters.sessions_max) = (2, 4);
    setting.service = Ledger::service();
    setting
}

/// A cluster, what was said and executed in it, and the book in which all of it must be.
struct Stage {
    lab: Lab,
    book: Book,
    bodies: BTreeMap<Seq, Option<Arc<Body>>>,
    /// By replica: what it told which client, and where it executed. Slots that came by a state are not among them.
    said: BTreeMap<ReplicaId, BTreeSet<(usize, Vec<u8>)>>,
    executed: BTreeMap<ReplicaId, BTreeSet<Seq>>,
    /// Nothing is expected of it.
    liar: Option<ReplicaId>,
    /// It gets nothing that the test proposes.
    deaf: Option<ReplicaId>,
    /// The next slot that the test proposes at.
    next: Seq,
    nonces: u64,
}

impl Stage {
    fn new(setting: &Setting, clients: usize) -> Self {
        let mut lab = Lab::of(World::new(setting));
        lab.world.keep_passed();
        lab.register(clients, |options| {
            (options.retry_timeout_us, options.retry_timeout_max_us) = (NEVER, NEVER);
        });
        let book = Book::new(&setting.parameters);
        let mut stage = Self {
            lab,
            book,
            bodies: BTreeMap::new(),
            said: BTreeMap::new(),
            executed: BTreeMap::new(),
            liar: None,
            deaf: None,
            next: Seq(1),
            nonces: 100,
        };
        stage.listen();
        stage
    }

    /// The test is the primary of view 0 from now on: what it orders is no correct primary's choice.
    fn usurp(mut self) -> Self {
        self.lab.world.crash(ReplicaId(0)).unwrap();
        self.lab.world.distrust(ReplicaId(0));
        self.liar = Some(ReplicaId(0));
        self.next = self.book.executed.next();
        self
    }

    fn run(&mut self, microseconds: u64) {
        self.lab.run(microseconds);
        self.listen();
    }

    /// Takes in what passed, and executes it by the book.
    fn listen(&mut self) {
        for (_, passed) in self.lab.world.take_passed() {
            match passed {
                Passed::Reply { from, to, frame } => {
                    let Ok(ClientMessage::Replies { replies, .. }) = codec::decode(&frame) else { continue };
                    let replies = replies.iter().map(|reply| (to, codec::encode(&reply).unwrap()));
                    self.said.entry(from).or_default().extend(replies);
                }
                Passed::Executed { replica, seq, body, installed: false } => {
                    self.bodies.entry(seq).or_insert(body);
                    self.executed.entry(replica).or_default().insert(seq);
                }
                Passed::Executed { .. } | Passed::Frame { .. } | Passed::Request { .. } => {}
            }
        }
        while let Some(body) = self.bodies.get(&self.book.executed.next()) {
            self.book.execute(self.book.executed.next(), body.as_deref());
        }
    }

    fn correct(&self) -> impl Iterator<Item = ReplicaId> {
        let count = u16::try_from(self.lab.world.nodes().len()).unwrap();
        (0..count).map(ReplicaId).filter(|id| Some(*id) != self.liar)
    }

    /// Every correct replica has executed everything, has exactly the book's state, and told clients exactly what is
    /// in the book, where it executed by itself.
    fn agrees(&mut self) {
        self.listen();
        let clients: BTreeMap<ClientId, usize> =
            (0..).zip(self.lab.world.clients()).map(|(index, client)| (client.id(), index)).collect();
        let place = |(client, reply): &(ClientId, Reply)| (clients[client], codec::encode(reply).unwrap());
        let all: BTreeSet<_> = self.book.replies.values().flatten().map(place).collect();
        for id in self.correct() {
            let mut due: BTreeSet<_> =
                self.executed[&id].iter().flat_map(|seq| &self.book.replies[seq]).map(place).collect();
            let said = &self.said[&id];
            due.retain(|reply| !said.contains(reply));
            assert!(due.is_empty(), "replica {id} kept {} answers to itself", due.len());
            let mut made_up = said.difference(&all).map(|(_, reply)| codec::decode::<Reply>(reply));
            assert_eq!(made_up.next(), None, "replica {id} says what is in no book");
            assert_eq!(self.ledger(id), self.book.ledger, "replica {id} executed something else");
        }
        let twice = |(_, commands): &(&Place, &Vec<u64>)| commands.len() != 1;
        assert_eq!(self.book.ledger.executed.iter().find(twice), None);
    }

    fn ledger(&self, id: ReplicaId) -> Ledger {
        let executor = self.lab.world.node(id).execution().executor();
        assert_eq!(executor.executed(), self.book.executed, "replica {id} lags");
        let reply = executor.query(&Command::Look.bytes()).unwrap();
        codec::decode_serde(&codec::decode_serde::<Vec<u8>>(&reply).unwrap()).unwrap()
    }

    fn session(&self, client: usize) -> Session {
        self.lab.world.clients()[client].machine().session().unwrap()
    }

    fn id(&self, client: usize) -> ClientId {
        self.lab.world.clients()[client].id()
    }

    /// A request by the client's own hand. Nobody gets it yet.
    fn sign(&mut self, client: usize, draft: Draft) -> Arc<Request> {
        let cluster = self.lab.world.context().cluster;
        let request = Request::sign(&World::secret_of_client(client), cluster, draft);
        // Replica 0 may be dead; where it is not, tests sign only what they send it anyway.
        if self.liar.is_some() {
            self.lab.world.send_request(client, ReplicaId(0), &request);
        }
        Arc::new(request)
    }

    fn ask(&mut self, client: usize, first: u64, ack: u64, commands: &[Command]) -> Arc<Request> {
        let session = self.session(client);
        self.ask_in(client, session, (first, ack, Kind::Operations), commands)
    }

    fn ask_in(
        &mut self,
        client: usize,
        session: Session,
        (first, ack, kind): (u64, u64, Kind),
        commands: &[Command],
    ) -> Arc<Request> {
        let commands: Vec<Vec<u8>> = commands.iter().map(Command::bytes).collect();
        let operations = Operations::new(commands.iter().map(Vec::as_slice));
        self.sign(client, Draft { session, first: Number(first), ack: Number(ack), kind, operations })
    }

    /// A registration that may execute up to a slot; the session that it is for.
    fn register(&mut self, client: usize, nonce: u64, expires: Seq) -> (Arc<Request>, Session) {
        let registration = Registration { nonce, expires };
        let session = registration.session(self.id(client));
        let operation = codec::encode(&registration).unwrap();
        let operations = Operations::new(std::iter::once(operation.as_slice()));
        let draft = Draft { session, first: Number(0), ack: Number(0), kind: Kind::Register, operations };
        (self.sign(client, draft), session)
    }

    fn nonce(&mut self) -> u64 {
        self.nonces += 1;
        self.nonces
    }

    fn signer(&self) -> Signer {
        let context = self.lab.world.context();
        let key = Arc::new(World::secret_of(ReplicaId(0)));
        Signer::new(key, context.cluster, context.epoch, ReplicaId(0))
    }

    /// The usurped primary proposes this at the next slot to everybody.
    fn propose(&mut self, requests: &[Arc<Request>]) -> Seq {
        let (seq, time) = (self.next, self.lab.world.now());
        self.next = seq.next();
        let batch = Batch { nondet: Nondet { time }, requests: List(requests.to_vec()) };
        let digest = batch.digest(self.lab.world.context().cluster);
        let prepare = (*self.signer().sign(Prepare { view: View(0), seq, digest })).clone();
        let message = PeerMessage::PrePrepare(PrePrepare { prepare, batch: Some(batch) });
        for to in self.correct().filter(|to| Some(*to) != self.deaf).collect::<Vec<_>>() {
            self.lab.world.inject(ReplicaId(0), to, &message);
        }
        seq
    }

    /// The same, and waits until everybody has executed it; how it ended.
    fn order(&mut self, requests: &[Arc<Request>]) -> Vec<Outcome> {
        let seq = self.propose(requests);
        self.run(20_000);
        assert_eq!(self.book.executed, seq, "it executed");
        self.book.outcomes(seq)
    }

    /// Slots that order nothing, up to here.
    fn idle_until(&mut self, seq: Seq) {
        while self.book.executed < seq {
            self.order(&[]);
        }
    }
}

fn done(outcome: &Outcome) -> u64 {
    let Outcome::Done(reply) = outcome else { panic!("{outcome:?} instead of a reply") };
    let reply: Vec<u8> = codec::decode_serde(reply).unwrap();
    u64::from_le_bytes(reply[..8].try_into().unwrap())
}

fn notes(values: impl IntoIterator<Item = u64>) -> Vec<Command> {
    values.into_iter().map(Command::Note).collect()
}

// Would miss a primary that orders somebody else's operations under a client's number; without its key it cannot.
#[test]
fn c6_an_operation_that_is_ordered_again_executes_once_and_is_answered_alike() {
    let mut stage = Stage::new(&setting(4, 1), 2).usurp();
    let one = stage.ask(0, 1, 1, &notes([10]));
    let two = stage.ask(0, 2, 1, &notes([20, 30]));
    let other = stage.ask(1, 1, 1, &notes([40]));
    // In one batch: three times itself, then in another bundle together with its neighbours.
    let all = stage.ask(0, 1, 1, &notes([10, 20, 30]));
    let ended =
        stage.order(&[one.clone(), one.clone(), other.clone(), two.clone(), one.clone(), all.clone()]);
    let counts: Vec<u64> = ended.iter().map(done).collect();
    assert_eq!(counts, [1, 1, 2, 3, 4, 1, 1, 3, 4]);
    // At other slots, also beyond a checkpoint, and in the other order.
    for _ in 0..6 {
        let ended = stage.order(&[two.clone(), other.clone(), one.clone()]);
        assert_eq!(ended.iter().map(done).collect::<Vec<_>>(), [3, 4, 2, 1]);
    }
    assert!(stage.lab.replica(1).watermarks().0 >= Seq(8), "a checkpoint lies between");
    assert_eq!(stage.book.repeated, 5 + 6 * 4);
    // And over the clients' own connections.
    for to in 1..4 {
        stage.lab.world.send_request(0, ReplicaId(to), &one);
        stage.lab.world.send_request(1, ReplicaId(to), &other);
    }
    let before = stage.book.executed;
    stage.run(20 * T0);
    assert_eq!(stage.book.executed, before, "what executed is answered, not ordered");
    let known: u64 =
        (1..4).map(|id| stage.lab.world.node(ReplicaId(id)).host().counters().retries_known).sum();
    assert_eq!((known, stage.lab.view_changes()), (6, 0));
    stage.agrees();
}

#[test]
fn c6_two_operations_under_one_number_whichever_is_ordered_first_is_everybodys() {
    let mut stage = Stage::new(&setting(4, 2), 1).usurp();
    let one = stage.ask(0, 1, 1, &notes([10]));
    let other = stage.ask(0, 1, 1, &notes([11]));
    let bundle = stage.ask(0, 1, 1, &notes([12, 20]));
    let ended = stage.order(&[other.clone(), one.clone(), bundle.clone()]);
    assert_eq!(ended.iter().map(done).collect::<Vec<_>>(), [1, 1, 1, 2]);
    assert_eq!(stage.order(&[one, bundle, other]).iter().map(done).collect::<Vec<_>>(), [1, 1, 2, 1]);
    let said: Vec<_> = stage.book.replies.values().flatten().map(|(_, reply)| reply.operation).collect();
    // Of the registration, of the first operation under number 1, and of the one under number 2.
    assert_eq!(said.iter().collect::<BTreeSet<_>>().len(), 3, "the reply names the operation that executed");
    stage.agrees();
}

/// A client tells the primary one thing and each backup another, all under one number.
#[test]
fn c6_a_client_that_tells_every_replica_something_else_is_told_the_same_by_all() {
    for turn in 0..4 {
        let mut stage = Stage::new(&setting(4, turn), 1);
        let told: Requests = (0..4).map(|value| stage.ask(0, 1, 1, &notes([value]))).collect();
        for (to, request) in (0..4).zip(&told) {
            stage.lab.world.send_request(0, ReplicaId((to + u16::try_from(turn).unwrap()) % 4), request);
        }
        stage.run(T0);
        for (to, request) in (0..4).zip(&told) {
            stage.lab.world.send_request(0, ReplicaId(to), request);
        }
        stage.run(20 * T0);
        assert_eq!(stage.book.ledger.executed.len(), 1, "one of four executed");
        assert_eq!(stage.lab.view_changes(), 0);
        let answers: BTreeSet<_> = stage.said.values().flatten().collect();
        assert_eq!(answers.len(), 2, "one answer for the registration, one for the operation");
        stage.agrees();
    }
}

#[test]
fn c6_numbers_that_jump_execute_within_the_window_and_nowhere_else() {
    let mut stage = Stage::new(&setting(4, 3), 1).usurp();
    let session = stage.session(0);
    let jump = |stage: &mut Stage, first: u64, ack: u64| {
        let request = stage.ask(0, first, ack, &notes([first]));
        stage.order(&[request])[0].clone()
    };
    assert_eq!(done(&jump(&mut stage, W, 1)), 1, "the last number of the window");
    assert_eq!(jump(&mut stage, W + 1, 1), Outcome::Window);
    assert_eq!(jump(&mut stage, 1 << 40, 1), Outcome::Window);
    assert_eq!(jump(&mut stage, u64::MAX - 1, 1), Outcome::Window);
    assert_eq!(done(&jump(&mut stage, 1, 1)), 2, "what was left out may come later");
    // A bundle across the edge of the window executes as far as it reaches.
    let across = stage.ask(0, W - 1, 1, &notes([1, 2, 3]));
    assert_eq!(done(&stage.order(&[across])[0]), 3);
    assert_eq!(stage.book.outcomes(stage.book.executed)[2], Outcome::Window);
    // What was refused is not final: it executes once there is room.
    let acknowledged = stage.ask(0, W + 1, 4, &notes([3]));
    assert_eq!(done(&stage.order(&[acknowledged])[0]), 4);
    let fifo = |stage: &mut Stage, first: u64| {
        let request = stage.ask_in(0, session, (first, 4, Kind::Fifo), &notes([first]));
        stage.order(&[request])[0].clone()
    };
    assert_eq!(fifo(&mut stage, W + 3), Outcome::Gap);
    assert_eq!(done(&fifo(&mut stage, W + 2)), 5);
    // To the end of all numbers, by acknowledging what was never asked: the session is used up, and nothing else.
    assert_eq!(done(&jump(&mut stage, u64::MAX - 1, u64::MAX - 1)), 6);
    assert_eq!(done(&jump(&mut stage, u64::MAX - 1, 1)), 6);
    assert_eq!(jump(&mut stage, W + 3, 1), Outcome::Old);
    stage.agrees();
}

#[test]
fn c6_what_was_acknowledged_is_neither_answered_nor_executed_again() {
    let mut stage = Stage::new(&setting(4, 4), 1).usurp();
    let first: Requests = (1..=W).map(|number| stage.ask(0, number, 1, &notes([number]))).collect();
    stage.order(&first);
    // Higher than any answer the client has: it gives up what it could have had.
    let ack = stage.ask(0, W + 4, W + 3, &notes([0]));
    assert_eq!(done(&stage.order(&[ack])[0]), W + 1);
    let again = stage.order(&first);
    assert!(again.iter().all(|outcome| *outcome == Outcome::Old), "{again:?}");
    let skipped = stage.ask(0, W + 1, 1, &notes([7, 8, 9]));
    let ended = stage.order(&[skipped]);
    assert_eq!(ended[..2], [Outcome::Old, Outcome::Old], "never executed, and never will");
    assert_eq!(done(&ended[2]), W + 2);
    assert_eq!(stage.book.ledger.executed.len() as u64, W + 2);
    stage.agrees();
}

/// Statically wrong requests are nobody's vote; the batch that holds one is refused whole.
#[test]
fn c6_a_batch_with_a_request_that_acknowledges_itself_or_overflows_gets_no_vote() {
    let mut stage = Stage::new(&setting(4, 5), 1).usurp();
    let good = stage.ask(0, 1, 1, &notes([1]));
    let session = stage.session(0);
    let of = |stage: &mut Stage, first, ack, count: u64| {
        stage.ask_in(0, session, (first, ack, Kind::Operations), &notes(0..count))
    };
    let wrong = [
        of(&mut stage, 2, 3, 1),
        of(&mut stage, 2, u64::MAX, 1),
        of(&mut stage, u64::MAX, 1, 1),
        of(&mut stage, u64::MAX - 1, 1, 2),
        of(&mut stage, 0, 0, 1),
        of(&mut stage, 2, 0, 1),
        of(&mut stage, 2, 1, W + 1),
    ];
    let refused = |stage: &Stage| -> u64 {
        let hosts = (1..4).map(|id| stage.lab.world.node(ReplicaId(id)).host().counters());
        hosts.map(|counters| counters.invalid).sum()
    };
    let before = stage.book.executed;
    for (round, request) in (1..).zip(&wrong) {
        stage.propose(&[good.clone(), request.clone()]);
        stage.next = before.next();
        stage.run(20_000);
        assert_eq!((stage.book.executed, refused(&stage)), (before, 3 * round), "{request:?}");
    }
    for request in &wrong {
        (1..4).for_each(|to| stage.lab.world.send_request(0, ReplicaId(to), request));
    }
    stage.run(20_000);
    // One of them has number 0, which executed long ago: it is looked up instead, and has no answer.
    assert_eq!(refused(&stage), 6 * wrong.len() as u64 - 3, "nor is it taken from its client");
    assert_eq!(stage.order(&[good]).len(), 1, "the slot was not spoilt");
    assert_eq!(stage.lab.view_changes(), 0);
    stage.agrees();
}

#[test]
fn c6_a_full_reply_cache_refuses_before_it_executes_and_forgets_nothing() {
    let mut stage = Stage::new(&setting(4, 6), 1).usurp();
    let fill: Requests = (1..=3).map(|number| stage.ask(0, number, 1, &[Command::Fill(LARGE)])).collect();
    let ended = stage.order(&fill);
    assert_eq!(ended.iter().map(Outcome::bytes).filter(|bytes| *bytes as u64 > LARGE).count(), 3);
    let more = stage.ask(0, 4, 1, &notes([4]));
    assert_eq!(stage.order(std::slice::from_ref(&more)), [Outcome::Window], "not executed");
    assert_eq!(stage.order(&fill), ended, "and nothing was dropped for it");
    let acknowledged = stage.ask(0, 4, 2, &notes([4]));
    assert_eq!(done(&stage.order(&[acknowledged])[0]), 4);
    assert_eq!(done(&stage.order(&[more])[0]), 4, "the acknowledgement holds for all that comes later");
    // Replies that are too large were executed, once, all the same.
    let huge = stage.ask(0, 5, 4, &[Command::Fill(TOO_LARGE)]);
    assert_eq!(stage.order(&[huge.clone(), huge]), [Outcome::TooLarge, Outcome::TooLarge]);
    stage.agrees();
}

#[test]
fn c6_an_evicted_session_stays_dead_whatever_is_played_again() {
    let mut stage = Stage::new(&setting(4, 7), 1).usurp();
    let client = stage.id(0);
    let old = stage.session(0);
    // The session that the client has, and a second one by hand; both with something in them.
    let nonce = stage.nonce();
    let expires = stage.next.plus(10);
    let (registration, session) = stage.register(0, nonce, expires);
    let note = stage.ask_in(0, session, (1, 1, Kind::Operations), &notes([1]));
    let ended = stage.order(&[registration.clone(), note.clone(), registration.clone()]);
    assert_eq!((&ended[0], &ended[2]), (&Outcome::Registered, &Outcome::Registered));
    let of_old = stage.ask(0, 1, 1, &notes([2]));
    stage.order(std::slice::from_ref(&of_old));
    // A third finds no room while neither may go.
    let third = |stage: &mut Stage, life: u64| {
        let (nonce, expires) = (stage.nonce(), stage.next.plus(life));
        stage.register(0, nonce, expires)
    };
    let (early, _) = third(&mut stage, 20);
    assert_eq!(stage.order(&[early]), [Outcome::Full]);
    stage.idle_until(expires);
    let (late, lives) = third(&mut stage, 60);
    let mut order = vec![late.clone(), late];
    order.push(note.clone());
    assert_eq!(stage.order(&order)[..3], [Outcome::Registered, Outcome::Registered, Outcome::NoSession]);
    assert!(!stage.book.has(client, session) && stage.book.has(client, lives) && stage.book.has(client, old));
    // The registration as it was, signed anew, and with another life under the same nonce, which is another session.
    let (again, same) = stage.register(0, nonce, expires);
    assert_eq!(same, session);
    let (longer, other) = stage.register(0, nonce, stage.next.plus(30));
    assert_ne!(other, session);
    let ended = stage.order(&[registration, again, longer, note.clone()]);
    assert_eq!(ended, [Outcome::Expired, Outcome::Expired, Outcome::Full, Outcome::NoSession]);
    // Too long a life would let a registration outlive its session.
    let (immortal, _) = third(&mut stage, 8 * 8 + 1);
    let ended = stage.order(&[immortal, note, of_old]);
    assert_eq!(ended[..2], [Outcome::Expired, Outcome::NoSession]);
    assert_eq!(done(&ended[2]), 2, "the other session knows what it knew");
    assert_eq!(stage.book.evicted, BTreeSet::from([(client, session)]));
    stage.agrees();
}

// What was prepared at two slots is proposed again by the next primary, who has the same requests from their clients.
#[test]
fn c6_what_is_ordered_at_two_slots_and_in_two_views_executes_once() {
    for (slots, lost) in [(1, "commit"), (3, "commit"), (3, "prepare")] {
        let mut stage = Stage::new(&setting(4, slots), 2).usurp();
        let one = stage.ask(0, 1, 1, &notes([1]));
        let two = stage.ask(1, 1, 1, &notes([2, 3]));
        let before = stage.lab.executed();
        stage.lab.stop(None, None, lost, false);
        for _ in 0..slots {
            stage.propose(&[one.clone(), two.clone(), one.clone()]);
        }
        stage.run(20_000);
        assert_eq!(stage.book.executed.plus(slots + 1), stage.next, "nothing commits yet");
        for to in 1..4 {
            stage.lab.world.send_request(0, ReplicaId(to), &one);
            stage.lab.world.send_request(1, ReplicaId(to), &two);
        }
        stage.run(1_000);
        stage.lab.stop(None, None, "new-view", true);
        let left = |lab: &Lab| lab.alive().iter().all(|replica| replica.view() >= View(1));
        stage.lab.await_that("they leave the view", 4 * T0, left);
        stage.lab.heal();
        stage.lab.world.release_held();
        let served = |lab: &Lab| lab.is_at_rest() && lab.executed() > before;
        stage.lab.await_that("the next view serves", 4 * T0, served);
        for to in 1..4 {
            stage.lab.world.send_request(0, ReplicaId(to), &one);
            stage.lab.world.send_request(1, ReplicaId(to), &two);
        }
        stage.run(20 * T0);
        assert_eq!(stage.book.ledger.executed.len(), 3);
        let committed = if lost == "commit" { 4 * slots - 3 } else { 0 };
        assert_eq!(stage.book.repeated, committed, "{slots} slots, no {lost}");
        assert_eq!(stage.lab.views()[1..], [1, 1, 1]);
        stage.agrees();
    }
}

// Seven replicas, so that one may be away while another one lies.
#[test]
fn c6_a_replica_that_fetched_the_state_answers_retries_from_it() {
    let mut stage = Stage::new(&setting(7, 1), 2).usurp();
    let away = ReplicaId(6);
    stage.lab.cut(1 << away.0, 0b0111_1111);
    stage.lab.cut(0b0111_1111, 1 << away.0);
    stage.deaf = Some(away);
    let mut asked = Vec::new();
    let mut number = 1;
    for round in 0..12 {
        let requests: Requests =
            (0..2).map(|client| stage.ask(client, number, number.max(4) - 3, &notes([round]))).collect();
        number += 1;
        asked.extend(requests.clone().into_iter().enumerate());
        let seq = stage.propose(&requests);
        stage.run(20_000);
        assert_eq!(stage.book.executed, seq);
    }
    assert!(stage.lab.replica(6).executed() < Seq(4), "{:?}", stage.lab.replica(6).executed());
    stage.lab.heal();
    stage.deaf = None;
    let fetched =
        |lab: &Lab| lab.world.node(away).host().transfer_counters().completed > 0 && lab.is_at_rest();
    stage.lab.await_that("it fetches the state", 20 * T0, fetched);
    let before = stage.book.executed;
    for (client, request) in &asked {
        stage.lab.world.send_request(*client, away, request);
    }
    stage.run(20 * T0);
    assert_eq!(
        (stage.book.executed, stage.lab.view_changes()),
        (before, 0),
        "nothing of it was ordered again"
    );
    let own = &stage.executed[&away];
    assert!(own.len() < 12, "it executed {} slots itself", own.len());
    // All that is not acknowledged it answers exactly as those who executed it.
    let unacknowledged = asked.iter().filter(|(_, request)| request.first().0 + 3 >= number - 1);
    let operations: Vec<_> =
        unacknowledged.flat_map(|(_, request)| request.operations().map(|(_, digest, _)| digest)).collect();
    assert_eq!(operations.len(), 2 * 4);
    let said: Vec<Reply> = stage.said[&away].iter().map(|(_, reply)| codec::decode(reply).unwrap()).collect();
    for operation in operations {
        assert!(said.iter().any(|reply| reply.operation == operation), "it does not answer");
    }
    // Ordered once more, by a primary who knows better.
    let again: Requests = asked.iter().map(|(_, request)| Arc::clone(request)).collect();
    let ended = stage.order(&again);
    assert!(ended.iter().all(|outcome| matches!(outcome, Outcome::Old | Outcome::Done(_))));
    stage.agrees();
}
