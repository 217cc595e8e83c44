//! The executor against a model that is as naive as the rules allow.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Action {
    Register { client: u8, session: (u64, u64) },
    Ask { client: u8, session: (u64, u64), first: u64, lag: u64, kind: Kind, contents: Vec<Content> },
}

#[derive(Debug, Clone)]
enum Content {
    Note(u64),
    Fill(u64),
    Junk,
}

fn session_of() -> impl Strategy<Value = (u64, u64)> {
    (0_u64..2, prop::sample::select(vec![2_u64, 6, 12, 40]))
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![5 => (0_u64..2).prop_map(Content::Note), 2 => (0_u64..70).prop_map(Content::Fill), 1 => Just(Content::Junk)]
}

fn action() -> impl Strategy<Value = Action> {
    let register = (0_u8..3, session_of()).prop_map(|(client, session)| Action::Register { client, session });
    let kind = prop::sample::select(vec![Kind::Operations, Kind::Operations, Kind::Fifo]);
    let contents = prop::collection::vec(content(), 1..4);
    let ask = (0_u8..3, session_of(), 1_u64..16, 0_u64..10, kind, contents).prop_map(
        |(client, session, first, lag, kind, contents)| Action::Ask {
            client,
            session,
            first,
            lag,
            kind,
            contents,
        },
    );
    prop_oneof![1 => register, 3 => ask]
}

fn request_of(action: &Action) -> Arc<Request> {
    match action {
        Action::Register { client, session: (nonce, expires) } => register(*client, *nonce, *expires),
        Action::Ask { client, session: (nonce, expires), first, lag, kind, contents } => {
            let encoded: Vec<_> = contents
                .iter()
                .map(|content| match content {
                    Content::Note(value) => codec::encode_serde(&Command::Note(*value)).unwrap(),
                    Content::Fill(bytes) => codec::encode_serde(&Command::Fill(*bytes)).unwrap(),
                    Content::Junk => vec![0xff],
                })
                .collect();
            let operations = Frames::new(encoded.iter().map(Vec::as_slice));
            let ack = Number(first.saturating_sub(*lag).max(1));
            let session = session(*client, *nonce, *expires);
            sign(*client, Draft { session, first: Number(*first), ack, kind: *kind, operations })
        }
    }
}

#[derive(Default)]
struct Model {
    tape: Vec<u64>,
    sessions: BTreeMap<(ClientId, Session), ModelSession>,
    fresh: usize,
}

struct ModelSession {
    registered: Reply,
    expires: u64,
    active: u64,
    highest: u64,
    floor: u64,
    executed: BTreeMap<u64, Reply>,
}

impl Model {
    fn execute(&mut self, seq: u64, request: &Request) -> Vec<Reply> {
        let key = (request.client(), request.session());
        let refused =
            |number, operation, outcome| Reply { seq: Seq(seq), session: key.1, number, operation, outcome };
        let answers = request.operations().map(|(number, operation, command)| {
            let result = match request.registration() {
                Some(registration) => {
                    self.register(seq, key, registration, refused(number, operation, Outcome::Full))
                }
                None => self.operation(request, (seq, number.0), operation, command),
            };
            result.unwrap_or_else(|outcome| refused(number, operation, outcome))
        });
        answers.collect()
    }

    fn operation(
        &mut self,
        request: &Request,
        (seq, number): (u64, u64),
        operation: Digest,
        command: &[u8],
    ) -> Result<Reply, Outcome> {
        let session =
            self.sessions.get_mut(&(request.client(), request.session())).ok_or(Outcome::NoSession)?;
        session.floor = session.floor.max(request.ack().0 - 1);
        session.executed.retain(|number, _| *number > session.floor);
        if number <= session.floor {
            return Err(Outcome::Old);
        }
        if let Some(reply) = session.executed.get(&number) {
            return Ok(reply.clone());
        }
        let cached = session.executed.values().map(|reply| match &reply.outcome {
            Outcome::Done(bytes) => bytes.len(),
            _ => 0,
        });
        if number > session.floor + 8 || cached.sum::<usize>() + 64 > 256 {
            return Err(Outcome::Window);
        }
        if request.kind() == Kind::Fifo && number != session.highest + 1 {
            return Err(Outcome::Gap);
        }
        let outcome = apply(&mut self.tape, command);
        let reply =
            Reply { seq: Seq(seq), session: request.session(), number: Number(number), operation, outcome };
        session.executed.insert(number, reply.clone());
        session.highest = session.highest.max(number);
        session.active = seq;
        self.fresh += 1;
        Ok(reply)
    }

    fn register(
        &mut self,
        seq: u64,
        (client, session): (ClientId, Session),
        registration: Registration,
        reply: Reply,
    ) -> Result<Reply, Outcome> {
        if let Some(state) = self.sessions.get(&(client, session)) {
            return Ok(state.registered.clone());
        }
        let expires = registration.expires.0;
        if expires < seq || expires > seq + 8 * 4 {
            return Err(Outcome::Expired);
        }
        let of = |model: &Self, owner| model.sessions.keys().filter(|(client, _)| *client == owner).count();
        if of(self, client) >= 2 {
            self.evict(seq, client)?;
        } else if self.sessions.len() >= 3 {
            let evictable = |owner| {
                self.sessions
                    .iter()
                    .filter(|((client, _), state)| *client == owner && state.expires < seq)
                    .count()
            };
            let most = self.sessions.keys().map(|(client, _)| evictable(*client)).max().unwrap_or(0);
            let owner =
                self.sessions.keys().map(|(client, _)| *client).find(|client| evictable(*client) == most);
            self.evict(seq, owner.ok_or(Outcome::Full)?)?;
        }
        let registered = Reply { outcome: Outcome::Registered, ..reply };
        let state = ModelSession {
            registered: registered.clone(),
            expires,
            active: seq,
            highest: 0,
            floor: 0,
            executed: BTreeMap::new(),
        };
        self.sessions.insert((client, session), state);
        Ok(registered)
    }

    fn evict(&mut self, seq: u64, owner: ClientId) -> Result<(), Outcome> {
        let own = self.sessions.iter().filter(|((client, _), state)| *client == owner && state.expires < seq);
        let (_, victim) = own.map(|(key, state)| ((state.active, key.1), *key)).min().ok_or(Outcome::Full)?;
        self.sessions.remove(&victim);
        Ok(())
    }
}

fn apply(tape: &mut Vec<u64>, command: &[u8]) -> Outcome {
    let reply = match codec::decode_serde(command) {
        Err(_) | Ok(Command::Look) => return Outcome::Rejected,
        Ok(Command::Note(value)) => {
            tape.push(value);
            vec![u8::try_from(tape.len()).unwrap()]
        }
        Ok(Command::Fill(bytes)) => {
            tape.push(bytes);
            vec![0xaa; usize::try_from(bytes).unwrap()]
        }
    };
    match done(&reply) {
        Outcome::Done(bytes) if bytes.len() > 64 => Outcome::TooLarge,
        outcome => outcome,
    }
}

/// Executes a slot in both and compares everything that can be seen.
fn compare(executor: &mut Executor, model: &mut Model, requests: &[Arc<Request>]) {
    let seq = executor.executed().next();
    model.fresh = 0;
    let mut expected: Vec<(ClientId, Vec<Reply>)> = Vec::new();
    for request in requests {
        let replies = model.execute(seq.0, request);
        match expected.iter_mut().find(|(client, _)| *client == request.client()) {
            Some((_, group)) => group.extend(replies),
            None => expected.push((request.client(), replies)),
        }
    }
    let executed = run(executor, requests);
    assert_eq!(executed.replies, expected);
    assert_eq!(executed.fresh, model.fresh);
    assert_eq!(tape(executor), Tape(model.tape.clone()));
    assert_eq!(executor.counters().sessions, model.sessions.len() as u64);
    for ((client, session), state) in &model.sessions {
        assert_eq!(executor.floor(*client, *session), Some(Number(state.floor)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_executor_does_what_the_rules_say(
        slots in prop::collection::vec((any::<bool>(), prop::collection::vec(action(), 0..5)), 1..24),
    ) {
        let (mut executor, mut model) = (executor(), Model::default());
        for (restored, actions) in slots {
            let requests: Vec<_> = actions.iter().map(request_of).collect();
            compare(&mut executor, &mut model, &requests);
            if restored {
                let state = executor.checkpoint().unwrap();
                executor = Executor::restore(context(), machine(Tape::default()), state.clone()).unwrap();
                prop_assert_eq!(executor.checkpoint().unwrap().root(), state.root());
                prop_assert_eq!(executor.checkpoint().unwrap(), state);
            }
        }
    }
}
