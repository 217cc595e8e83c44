//! The client's task.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_host::following::OperationId;
use quorate_protocol::client::{Answer, CallId, Client, ClientEffect, Read, ReadId, SubmitError, To};
use quorate_protocol::codec;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::{ClientFrame, ClientMessage};
use quorate_protocol::parameters::Context;
use quorate_protocol::request::{Kind, Request};
use quorate_protocol::types::Time;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{CallError, Report, Tagged};
use crate::node::following;
use crate::transport::{ClientInbound, ClientTransport};

/// Operations that may wait for room in the window before the task takes no more.
const BACKLOG_MAX: usize = 4096;
/// Bursts of frames handled before the task looks at anything else.
const BURSTS_MAX: usize = 64;
/// Stands for times that no clock reaches.
const FAR: Duration = Duration::from_secs(86_400);

/// What callers want ordered, or read.
#[derive(Debug)]
pub(super) enum Command {
    Call { operation: Bytes, read: Read, answer: oneshot::Sender<Result<Answer, CallError>> },
    Many { operations: Vec<(u64, Bytes)>, answers: mpsc::UnboundedSender<Vec<Tagged>> },
}

/// What callers ask of the client itself. They come in even while its window is full.
#[derive(Debug)]
pub(super) enum Question {
    Report(oneshot::Sender<Report>),
    Close(oneshot::Sender<()>),
}

/// Who waits for an answer.
pub(super) enum Destination {
    One(oneshot::Sender<Result<Answer, CallError>>),
    Many { tag: u64, answers: mpsc::UnboundedSender<Vec<Tagged>> },
}

/// What the machine took.
enum Taken {
    Call(CallId),
    Read(ReadId),
}

/// What a select woke up for.
enum Woken {
    Inbound(ClientInbound),
    Command(Command),
    Question(Question),
    Deadline,
    /// Nobody can call any more, or the links are gone.
    End,
}

/// Owns everything of one client.
pub(super) struct Driver {
    machine: Client,
    context: Context,
    key: Arc<SecretKey>,
    transport: ClientTransport,
    start: Instant,
    /// What waits for room in the window, and how it is to be read.
    backlog: VecDeque<(Bytes, Read, Destination)>,
    /// Who waits for reads.
    readers: BTreeMap<ReadId, Destination>,
    /// Who waits for the calls from `first_call` on; nobody for those that a read became.
    destinations: VecDeque<Option<Destination>>,
    first_call: u64,
    /// Answers of this round for streams, sent in one go.
    outbox: Vec<(mpsc::UnboundedSender<Vec<Tagged>>, Vec<Tagged>)>,
    effects: Vec<ClientEffect>,
    malformed: u64,
    /// The operation that was signed last.
    newest: Option<OperationId>,
}

impl Driver {
    pub(super) fn new(
        machine: Client,
        context: Context,
        key: Arc<SecretKey>,
        transport: ClientTransport,
    ) -> Self {
        Self {
            machine,
            context,
            key,
            transport,
            start: Instant::now(),
            backlog: VecDeque::new(),
            readers: BTreeMap::new(),
            destinations: VecDeque::new(),
            first_call: 1,
            outbox: Vec::new(),
            effects: Vec::new(),
            malformed: 0,
            newest: None,
        }
    }

    /// Runs until it is told to close, or no caller is left.
    pub(super) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<ClientInbound>,
        mut commands: mpsc::Receiver<Command>,
        mut questions: mpsc::Receiver<Question>,
    ) {
        let timer = tokio::time::sleep_until(self.start);
        tokio::pin!(timer);
        loop {
            let deadline = self.machine.deadline().map(|time| self.instant(time));
            if let Some(deadline) = deadline.filter(|deadline| *deadline != timer.deadline()) {
                timer.as_mut().reset(deadline);
            }
            let woken = tokio::select! {
                inbound = inbox.recv() => inbound.map_or(Woken::End, Woken::Inbound),
                command = commands.recv(), if self.backlog.is_empty() => command.map_or(Woken::End, Woken::Command),
                Some(question) = questions.recv() => Woken::Question(question),
                () = &mut timer, if deadline.is_some() => Woken::Deadline,
            };
            match woken {
                Woken::Inbound(inbound) => self.on_inbound(inbound),
                Woken::Command(command) => self.on_command(command),
                Woken::Question(Question::Report(answer)) => self.report(answer),
                Woken::Question(Question::Close(answer)) => {
                    self.transport.close().await;
                    // Whoever asked may have gone meanwhile.
                    let _ = answer.send(());
                    return;
                }
                Woken::Deadline => {}
                Woken::End => return self.transport.close().await,
            }
            self.take_more(&mut inbox, &mut commands);
            self.round();
        }
    }

    /// Takes what arrived in the meantime: what comes together travels together.
    fn take_more(
        &mut self,
        inbox: &mut mpsc::Receiver<ClientInbound>,
        commands: &mut mpsc::Receiver<Command>,
    ) {
        for _ in 0..BURSTS_MAX {
            let Ok(inbound) = inbox.try_recv() else { break };
            self.on_inbound(inbound);
        }
        while self.backlog.len() < BACKLOG_MAX {
            let Ok(command) = commands.try_recv() else { break };
            self.on_command(command);
        }
    }

    /// Submits what waits, lets the machine send, and delivers answers.
    fn round(&mut self) {
        while let Some((operation, read, destination)) = self.backlog.pop_front() {
            if destination.is_gone() {
                continue;
            }
            let taken = match read {
                Read::Ordered => self.machine.submit(operation.clone()).map(Taken::Call),
                Read::Fast | Read::Session | Read::Stale => {
                    self.machine.read(operation.clone(), read).map(Taken::Read)
                }
            };
            match taken {
                Ok(Taken::Call(call)) => self.expect(call, destination),
                Ok(Taken::Read(id)) => drop(self.readers.insert(id, destination)),
                Err(SubmitError::TooLarge { bytes, most }) => {
                    self.deliver(destination, Err(CallError::TooLarge { bytes, most }));
                }
                Err(SubmitError::WindowFull(_) | SubmitError::ReadsFull(_)) => {
                    self.backlog.push_front((operation, read, destination));
                    break;
                }
            }
        }
        let now = self.now();
        let mut effects = std::mem::take(&mut self.effects);
        self.machine.poll(now, &mut effects);
        self.perform(&mut effects);
        self.effects = effects;
        for (answers, batch) in self.outbox.drain(..) {
            // A stream that was dropped wants no answers.
            let _ = answers.send(batch);
        }
    }

    fn on_inbound(&mut self, inbound: ClientInbound) {
        let now = self.now();
        match inbound {
            ClientInbound::Up { replica, hello, .. } => {
                self.machine.on_link(now, replica, Some((hello.executed, hello.view)));
            }
            ClientInbound::Down { replica, .. } => self.machine.on_link(now, replica, None),
            ClientInbound::Frames { replica, frames } => {
                let mut effects = std::mem::take(&mut self.effects);
                for frame in frames {
                    match codec::decode::<ClientMessage>(&frame) {
                        Ok(message) => self.machine.on_message(now, replica, message, &mut effects),
                        Err(_) => self.malformed += 1,
                    }
                }
                self.perform(&mut effects);
                self.effects = effects;
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Call { operation, read, answer } => {
                self.backlog.push_back((operation, read, Destination::One(answer)));
            }
            Command::Many { operations, answers } => {
                self.backlog.extend(operations.into_iter().map(|(tag, operation)| {
                    (operation, Read::Ordered, Destination::Many { tag, answers: answers.clone() })
                }));
            }
        }
    }

    fn perform(&mut self, effects: &mut Vec<ClientEffect>) {
        for effect in effects.drain(..) {
            match effect {
                ClientEffect::Sign { to, draft } => {
                    let request = Arc::new(Request::sign(&self.key, self.context.cluster, draft));
                    self.machine.signed(&request);
                    let newest = request.operations().last().filter(|_| request.kind() != Kind::Register);
                    self.newest = newest.map(|(_, digest, _)| OperationId::of(&digest)).or(self.newest);
                    self.send(to, &request);
                }
                ClientEffect::Send { to, request } => self.send(to, &request),
                ClientEffect::Ask { query } => self.put(To::Everyone, &ClientFrame::Query(query)),
                ClientEffect::Read { read, answer } => {
                    if let Some(destination) = self.readers.remove(&read) {
                        self.deliver(destination, Ok(answer));
                    }
                }
                ClientEffect::Done { call, answer } => {
                    if let Some(destination) = self.destination(call) {
                        self.deliver(destination, Ok(answer));
                    }
                }
            }
        }
    }

    fn send(&self, to: To, request: &Arc<Request>) {
        if tracing::enabled!(target: following::TARGET, tracing::Level::DEBUG) {
            following::sent(to, request);
        }
        self.put(to, &ClientFrame::Request(Arc::clone(request)));
    }

    fn put(&self, to: To, frame: &ClientFrame) {
        let frame = codec::encode(frame).expect("what a client says is far smaller than a frame may be");
        let frame = Bytes::from(frame);
        match to {
            To::Replica(replica) => self.transport.send(replica, frame),
            To::Everyone => self.transport.broadcast(&frame),
        }
    }

    fn expect(&mut self, call: CallId, destination: Destination) {
        if self.destinations.is_empty() {
            self.first_call = call.0;
        }
        let next = self.first_call + self.destinations.len() as u64;
        assert!(call.0 >= next, "calls are numbered in order");
        // A read that had to be ordered took a number, too.
        self.destinations.extend((next..call.0).map(|_| None));
        self.destinations.push_back(Some(destination));
    }

    fn destination(&mut self, call: CallId) -> Option<Destination> {
        let index = usize::try_from(call.0.checked_sub(self.first_call)?).ok()?;
        let destination = self.destinations.get_mut(index)?.take();
        while self.destinations.front().is_some_and(Option::is_none) {
            self.destinations.pop_front();
            self.first_call += 1;
        }
        destination
    }

    fn deliver(&mut self, destination: Destination, answer: Result<Answer, CallError>) {
        match destination {
            // Whoever asked may have given up.
            Destination::One(waiting) => drop(waiting.send(answer)),
            Destination::Many { tag, answers } => {
                let known = self.outbox.iter_mut().find(|(other, _)| other.same_channel(&answers));
                match known {
                    Some((_, batch)) => batch.push((tag, answer)),
                    None => self.outbox.push((answers, vec![(tag, answer)])),
                }
            }
        }
    }

    fn report(&self, answer: oneshot::Sender<Report>) {
        let report = Report {
            counters: self.machine.counters(),
            view: self.machine.view(),
            session: self.machine.session(),
            unanswered: self.machine.unanswered(),
            waiting: self.backlog.len(),
            malformed: self.malformed,
            newest: self.newest,
            dissents: self.context.committee.replicas().map(|id| self.machine.dissents_of(id)).collect(),
            links: self.transport.links(),
        };
        // Whoever asked may have gone meanwhile.
        let _ = answer.send(report);
    }

    fn now(&self) -> Time {
        Time(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn instant(&self, time: Time) -> Instant {
        let far = || Instant::now() + FAR;
        self.start.checked_add(Duration::from_micros(time.0)).unwrap_or_else(far)
    }
}
