//! A client of one application: commands in, replies that enough replicas agree on out.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use quorate_node::client::{self, Caller};
use quorate_node::cluster_file::ClusterFile;
use quorate_node::transport::{ClientTransportConfig, Limits};
use quorate_protocol::application::Application;
use quorate_protocol::client::{Answer, How, Options, Read};
use quorate_protocol::codec::{self, CodecError};
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::Outcome as Ended;
use quorate_protocol::types::{ReplicaId, Seq, View};

pub use quorate_node::client::{ConnectError, Report};

/// A client of a cluster that runs the application `A`.
///
/// It believes an answer when f + 1 distinct replicas give it: the same reply, to this very command, in the same slot.
/// Clones share one session and one set of links, and any number of calls may be in flight. A command executes exactly
/// once, however often it is sent.
pub struct Client<A> {
    caller: Caller,
    application: PhantomData<fn() -> A>,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome<R> {
    /// The application's reply.
    pub reply: R,
    /// Slot in which the command was ordered; of a read that was not, the slot whose state it was found in.
    pub seq: Seq,
    /// View that f + 1 replicas had reached.
    pub view: View,
    /// Who gave this reply until it was accepted.
    pub voters: Vec<ReplicaId>,
    /// Who had replied otherwise by then: faulty replicas.
    pub dissenters: Vec<ReplicaId>,
    /// Whether it was ordered, or read as it was asked to be.
    pub how: How,
}

/// Why a command has no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It was not sent: it has a type that the codec cannot write.
    #[error("the command cannot be encoded: {0}; use types that serde describes with a known length")]
    Command(CodecError),
    /// It was too large, or waited too long, or the client was closed.
    #[error(transparent)]
    Client(#[from] client::CallError),
    /// The cluster forgot the client's session. The next call makes a new one.
    #[error(
        "the cluster forgot this client's session; whether the command executed is not known: read before retrying"
    )]
    SessionLost,
    /// The command was ordered and changed nothing.
    #[error(
        "the replicas do not understand the command; they run another application, or another version of it"
    )]
    Rejected,
    /// The command executed.
    #[error("the command executed, but its reply is longer than `reply_bytes_max` of the cluster")]
    ReplyTooLarge,
    /// The command executed.
    #[error(
        "the command executed, but its reply does not decode ({0}); the replicas run another application"
    )]
    Reply(CodecError),
    /// More than f replicas are faulty, or another client uses the same session.
    #[error("f + 1 replicas answered with what no correct replica says: {0:?}")]
    Impossible(Ended),
}

impl<A: Application> Client<A> {
    /// Starts a client with the usual options. It dials every replica and keeps redialling, so that replicas cannot be
    /// reached is no error here; calls wait.
    ///
    /// # Errors
    /// [`ConnectError`] names what in the configuration cannot be.
    pub async fn connect(cluster: &ClusterFile, key: SecretKey) -> Result<Self, ConnectError> {
        Self::connect_with(cluster, key, Options::new(0)).await
    }

    /// Starts a client with options of the caller's; their nonce is replaced by a random one.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_with(
        cluster: &ClusterFile,
        key: SecretKey,
        options: Options,
    ) -> Result<Self, ConnectError> {
        let config = ClientTransportConfig {
            context: cluster.context(),
            key: Arc::new(key),
            replicas: cluster.replicas().iter().map(|replica| replica.addresses.client).collect(),
            limits: Limits::default(),
        };
        Ok(Self::over(client::connect(config, None, options).await?))
    }

    /// A typed client over one that runs already.
    #[must_use]
    pub fn over(caller: Caller) -> Self {
        Self { caller, application: PhantomData }
    }

    /// Orders a command and waits for the reply of enough replicas, however long that takes. Dropping the future gives
    /// up waiting, not the command.
    ///
    /// # Errors
    /// [`CallError`] says whether the command executed.
    pub async fn call(&self, command: A::Command) -> Result<Outcome<A::Reply>, CallError> {
        let operation = codec::encode_serde(&command).map_err(CallError::Command)?;
        typed(self.caller.call(operation.into()).await?)
    }

    /// As [`Client::call`], but gives up waiting after `deadline`; the command may still execute.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn call_within(
        &self,
        command: A::Command,
        deadline: Duration,
    ) -> Result<Outcome<A::Reply>, CallError> {
        let operation = codec::encode_serde(&command).map_err(CallError::Command)?;
        typed(self.caller.call_within(operation.into(), deadline).await?)
    }

    /// Reads what [`Application::query`] answers, without ordering it, and waits for the replies of as many replicas as
    /// the kind of read takes, however long that takes. What the application, or the replicas just then, do not answer so
    /// is ordered; [`Outcome::how`] says which it was.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn read(&self, command: A::Command, read: Read) -> Result<Outcome<A::Reply>, CallError> {
        let operation = codec::encode_serde(&command).map_err(CallError::Command)?;
        typed(self.caller.read(operation.into(), read).await?)
    }

    /// As [`Client::read`], but gives up waiting after `deadline`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn read_within(
        &self,
        command: A::Command,
        read: Read,
        deadline: Duration,
    ) -> Result<Outcome<A::Reply>, CallError> {
        let operation = codec::encode_serde(&command).map_err(CallError::Command)?;
        typed(self.caller.read_within(operation.into(), read, deadline).await?)
    }

    /// The client over bytes below this one.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What the client has done and seen, dissents included; none if it was closed.
    pub async fn report(&self) -> Option<Report> {
        self.caller.report().await
    }

    /// Ends the client and its clones.
    pub async fn close(&self) {
        self.caller.close().await;
    }
}

impl<A> Clone for Client<A> {
    fn clone(&self) -> Self {
        Self { caller: self.caller.clone(), application: PhantomData }
    }
}

impl<A> fmt::Debug for Client<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.caller.id()).finish()
    }
}

/// What an accepted answer means to the caller.
fn typed<R: serde::de::DeserializeOwned>(answer: Answer) -> Result<Outcome<R>, CallError> {
    match answer.outcome {
        Ended::Done(bytes) => Ok(Outcome {
            reply: codec::decode_serde(&bytes).map_err(CallError::Reply)?,
            seq: answer.seq,
            view: answer.view,
            voters: answer.voters.iter().collect(),
            dissenters: answer.dissenters.iter().collect(),
            how: answer.how,
        }),
        Ended::NoSession => Err(CallError::SessionLost),
        Ended::Rejected => Err(CallError::Rejected),
        Ended::TooLarge => Err(CallError::ReplyTooLarge),
        Ended::Old | Ended::Window | Ended::Gap | Ended::Expired | Ended::Full | Ended::Registered => {
            Err(CallError::Impossible(answer.outcome))
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_protocol::client::ReplicaSet;
    use quorate_protocol::codec::Blob;
    use quorate_protocol::types::Number;

    use super::*;

    fn answer(outcome: Ended) -> Answer {
        let voters = ReplicaSet::from_iter([ReplicaId(0), ReplicaId(2)]);
        let dissenters = ReplicaSet::from_iter([ReplicaId(3)]);
        let how = How::Ordered;
        Answer { outcome, seq: Seq(7), number: Number(1), view: View(2), voters, dissenters, how }
    }

    #[test]
    fn an_accepted_result_becomes_a_typed_reply_with_its_witnesses() {
        let bytes = codec::encode_serde(&("five", 5_u64)).expect("a pair encodes");
        let outcome = typed::<(String, u64)>(answer(Ended::Done(Blob(bytes.into()))));
        let expected = Outcome {
            reply: ("five".to_owned(), 5),
            seq: Seq(7),
            view: View(2),
            voters: vec![ReplicaId(0), ReplicaId(2)],
            dissenters: vec![ReplicaId(3)],
            how: How::Ordered,
        };
        assert_eq!(outcome, Ok(expected));
    }

    #[test]
    fn an_outcome_without_a_reply_becomes_an_error_that_says_what_happened() {
        let becomes = |outcome| typed::<u64>(answer(outcome)).expect_err("there is no reply");
        assert_eq!(becomes(Ended::NoSession), CallError::SessionLost);
        assert_eq!(becomes(Ended::Rejected), CallError::Rejected);
        assert_eq!(becomes(Ended::TooLarge), CallError::ReplyTooLarge);
        assert_eq!(becomes(Ended::Old), CallError::Impossible(Ended::Old));
        let short = becomes(Ended::Done(Blob(vec![1].into())));
        assert!(matches!(short, CallError::Reply(CodecError::Truncated)), "{short:?}");
    }
}
