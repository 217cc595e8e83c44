//! The client at work: one task owns the pure machine, the key and the links; any number of callers share it.
//!
//! Callers put operations into a bounded queue. Each time the task wakes it takes all that arrived, so operations that
//! come together leave in one signed bundle. While the session's window is full the task takes no more, and callers
//! wait. Dropping a call's future gives up waiting, not the operation: what was sent will execute.

mod driver;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_host::following::OperationId;
use quorate_protocol::client::{Answer, Client, Counters, Options, Read};
use quorate_protocol::types::{ClientId, ReplicaId, Session, View};
use tokio::sync::{mpsc, oneshot};

use self::driver::{Command, Destination, Driver, Question};
use crate::transport::{self, ClientTransportConfig, LinkReport, SharedEndpoint, TransportError};

/// Commands that may wait for the task.
const COMMANDS_MAX: usize = 4096;
/// Most operations of one command; more are split.
const COMMAND_OPERATIONS_MAX: usize = 4096;
/// Bursts of frames that may wait for the task.
const INBOX_MAX: usize = 256;

/// Why a client did not start.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The links cannot be made.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Sessions would repeat.
    #[error("the system has no randomness for a session's name: {0}")]
    Randomness(getrandom::Error),
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The cluster would refuse it; it was not sent.
    #[error("an operation of {bytes} bytes; `operation_bytes_max` of the cluster is {most}")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The most the cluster takes.
        most: u64,
    },
    /// Too few replicas answered alike in time.
    #[error("no answer of enough replicas within {0:?}; the operation may still execute")]
    DeadlinePassed(Duration),
    /// The client was closed.
    #[error("the client was closed; the operation may have executed or may still")]
    Closed,
}

/// What a client reports of itself.
#[derive(Debug, Clone)]
pub struct Report {
    /// What it has done and seen.
    pub counters: Counters,
    /// View that f + 1 replicas have reached.
    pub view: View,
    /// Its session, once registered.
    pub session: Option<Session>,
    /// Calls without an answer.
    pub unanswered: usize,
    /// Operations that wait because the session's window is full.
    pub waiting: usize,
    /// Frames that were no message.
    pub malformed: u64,
    /// Dissents of each replica, in order of id.
    pub dissents: Vec<u64>,
    /// The operation that it signed last, by its name in the logs of replicas.
    pub newest: Option<OperationId>,
    /// Its links, in order of replica id.
    pub links: Vec<LinkReport>,
}

/// A handle on a running client. Clones share its session and its links; the last one to go ends it.
#[derive(Debug, Clone)]
pub struct Caller {
    id: ClientId,
    commands: mpsc::Sender<Command>,
    questions: mpsc::Sender<Question>,
}

/// Starts a client, from `endpoint` or a socket of its own. It dials all replicas and registers a session on its own;
/// calls may be made at once, and wait. The nonce of `options` is replaced by a random one.
///
/// # Errors
/// [`ConnectError`] names what in the configuration cannot be. That replicas cannot be reached is no error: they are
/// redialled.
pub async fn connect(
    config: ClientTransportConfig,
    endpoint: Option<SharedEndpoint>,
    options: Options,
) -> Result<Caller, ConnectError> {
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).map_err(ConnectError::Randomness)?;
    let options = Options { nonce: u64::from_le_bytes(nonce), ..options };
    let (context, key) = (config.context.clone(), Arc::clone(&config.key));
    let id = ClientId::of(&key.public());
    let (inbox_sender, inbox) = mpsc::channel(INBOX_MAX);
    let transport = transport::connect(config, endpoint, inbox_sender).await?;
    let (commands, command_queue) = mpsc::channel(COMMANDS_MAX);
    let (questions, question_queue) = mpsc::channel(16);
    let machine = Client::new(context.clone(), id, options);
    let driver = Driver::new(machine, context, key, transport);
    tokio::spawn(driver.run(inbox, command_queue, question_queue));
    Ok(Caller { id, commands, questions })
}

impl Caller {
    /// The client's name: the hash of its key.
    #[must_use]
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// Orders an operation, and waits for the answer of enough replicas, however long that takes.
    ///
    /// # Errors
    /// [`CallError::TooLarge`] or [`CallError::Closed`]. How the operation ended is in the answer's outcome.
    pub async fn call(&self, operation: Bytes) -> Result<Answer, CallError> {
        self.read(operation, Read::Ordered).await
    }

    /// Reads, and waits for the answer of enough replicas, however long that takes. What cannot be read so is ordered;
    /// the answer says which it was.
    ///
    /// # Errors
    /// As [`Caller::call`].
    pub async fn read(&self, operation: Bytes, read: Read) -> Result<Answer, CallError> {
        let (sender, receiver) = oneshot::channel();
        let command = Command::Call { operation, read, answer: sender };
        self.commands.send(command).await.map_err(|_| CallError::Closed)?;
        receiver.await.unwrap_or(Err(CallError::Closed))
    }

    /// As [`Caller::call`], but gives up waiting after `deadline`.
    ///
    /// # Errors
    /// Also [`CallError::DeadlinePassed`]: the operation may still execute.
    pub async fn call_within(&self, operation: Bytes, deadline: Duration) -> Result<Answer, CallError> {
        self.read_within(operation, Read::Ordered, deadline).await
    }

    /// As [`Caller::read`], but gives up waiting after `deadline`.
    ///
    /// # Errors
    /// As [`Caller::call_within`].
    pub async fn read_within(
        &self,
        operation: Bytes,
        read: Read,
        deadline: Duration,
    ) -> Result<Answer, CallError> {
        let called = tokio::time::timeout(deadline, self.read(operation, read)).await;
        called.unwrap_or(Err(CallError::DeadlinePassed(deadline)))
    }

    /// Many calls in flight from one task, at most `calls_max` of them.
    #[must_use]
    pub fn stream(&self, calls_max: usize) -> CallStream {
        let (sender, receiver) = mpsc::unbounded_channel();
        CallStream { caller: self.clone(), sender, receiver, in_flight: 0, calls_max }
    }

    /// What the client has done and seen; none if it was closed.
    pub async fn report(&self) -> Option<Report> {
        let (sender, receiver) = oneshot::channel();
        self.questions.send(Question::Report(sender)).await.ok()?;
        receiver.await.ok()
    }

    /// Ends the client. Calls under way get [`CallError::Closed`].
    pub async fn close(&self) {
        let (sender, receiver) = oneshot::channel();
        if self.questions.send(Question::Close(sender)).await.is_ok() {
            // The task answers when its links are closed; if it is gone already, they are too.
            let _ = receiver.await;
        }
    }
}

/// An answer to one of a stream's calls, with the tag it was submitted under.
pub type Tagged = (u64, Result<Answer, CallError>);

/// Many calls from one task: submitted and answered in groups, without a task or a channel for each.
#[derive(Debug)]
pub struct CallStream {
    caller: Caller,
    /// Holds no more than `calls_max` answers, because no more calls are let in.
    sender: mpsc::UnboundedSender<Vec<Tagged>>,
    receiver: mpsc::UnboundedReceiver<Vec<Tagged>>,
    in_flight: usize,
    calls_max: usize,
}

impl CallStream {
    /// Calls that were submitted, and whose answers were not taken.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many calls may be submitted now.
    #[must_use]
    pub fn room(&self) -> usize {
        self.calls_max - self.in_flight
    }

    /// Submits calls, each with a tag that comes back with its answer. Takes as many as there is [`CallStream::room`]
    /// for from the front of `calls`, and leaves the others there. Waits while the client's queue is full; may be
    /// dropped without losing any.
    ///
    /// # Errors
    /// [`CallError::Closed`] if the client was closed.
    pub async fn submit(&mut self, calls: &mut Vec<(u64, Bytes)>) -> Result<(), CallError> {
        let mut taken = self.room().min(calls.len());
        while taken > 0 {
            let permit = self.caller.commands.reserve().await.map_err(|_| CallError::Closed)?;
            let some = taken.min(COMMAND_OPERATIONS_MAX);
            let rest = calls.split_off(some);
            let operations = std::mem::replace(calls, rest);
            permit.send(Command::Many { operations, answers: self.sender.clone() });
            self.in_flight += some;
            taken -= some;
        }
        Ok(())
    }

    /// The next answers, in the order in which they were accepted; none if the client was closed. May be dropped
    /// without losing any.
    pub async fn next(&mut self) -> Option<Vec<Tagged>> {
        let answers = tokio::select! {
            biased;
            answers = self.receiver.recv() => answers,
            () = self.caller.commands.closed() => self.receiver.try_recv().ok(),
        }?;
        self.in_flight -= answers.len();
        Some(answers)
    }
}

impl Destination {
    /// Whether nobody waits any more.
    fn is_gone(&self) -> bool {
        match self {
            Self::One(answer) => answer.is_closed(),
            Self::Many { answers, .. } => answers.is_closed(),
        }
    }
}

impl Report {
    /// Replicas that answered otherwise than the cluster, at least once.
    #[must_use]
    pub fn dissenters(&self) -> Vec<ReplicaId> {
        let counted = (0..).map(ReplicaId).zip(&self.dissents);
        counted.filter(|(_, dissents)| **dissents > 0).map(|(replica, _)| replica).collect()
    }
}
