//! The controller's end of a control link.

use std::net::SocketAddr;
use std::time::Duration;

use quorate_node::transport::{ControlLink, Ended, RefusalKind, Refused, dial_agent};
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::types::PublicKey;

use crate::worker::{Answer, Order, WorkerError};

/// How long most orders may take; the replicas of a machine may be asked one after the other.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no link to an agent.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The agent does not take this controller's key.
    #[error(
        "the agent at {address} does not take this controller; start it with `--controller {ours}`, which is the key \
         used here"
    )]
    NotOurs {
        /// Where it is.
        address: SocketAddr,
        /// This controller's public key.
        ours: PublicKey,
    },
    /// Somebody else is there.
    #[error(
        "who answers at {address} does not prove the key {agent}; name the key that the agent there printed"
    )]
    NotTheirs {
        /// Where it is.
        address: SocketAddr,
        /// The key that was expected.
        agent: PublicKey,
    },
    /// Nobody is there, or not for us.
    #[error("no agent at {address}: {ended}; start one there with `quorate bench agent`")]
    Unreachable {
        /// Where it should be.
        address: SocketAddr,
        /// Why.
        ended: Ended,
    },
    /// It cannot say what machine it is.
    #[error(transparent)]
    Worker(#[from] WorkerError),
}

/// A link to an agent. The agent ends everything that was started over it when it is dropped.
pub struct Link {
    link: ControlLink,
    address: SocketAddr,
}

impl Link {
    /// Dials an agent, and sees that each takes the other.
    ///
    /// # Errors
    /// [`LinkError`] names the machine and the fix.
    pub async fn connect(address: SocketAddr, key: &SecretKey, agent: PublicKey) -> Result<Self, LinkError> {
        let found = |ended: Ended| match &ended {
            Ended::Here(Refused::UnknownKey) => LinkError::NotTheirs { address, agent },
            Ended::There { kind: Some(RefusalKind::UnknownKey), .. } => {
                LinkError::NotOurs { address, ours: key.public() }
            }
            _ => LinkError::Unreachable { address, ended },
        };
        let link = dial_agent(address, key, agent).await.map_err(found)?;
        let question = serde_json::to_vec(&Order::Describe).unwrap_or_default();
        // Only an answer proves that the agent takes us.
        link.ask(&question, PATIENCE).await.map_err(found)?;
        Ok(Self { link, address })
    }

    /// Where the agent is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has the agent carry out an order.
    ///
    /// # Errors
    /// [`WorkerError::There`] with the agent's address and its words, or why it says nothing.
    pub async fn carry_out(&self, order: Order) -> Result<Answer, WorkerError> {
        let failed = |why: String| WorkerError::There { machine: self.address.to_string(), why };
        let question = serde_json::to_vec(&order).map_err(|error| failed(error.to_string()))?;
        let patience = match &order {
            Order::LoadConnect(assignment) => PATIENCE + assignment.patience(),
            _ => PATIENCE,
        };
        let answer = self.link.ask(&question, patience).await.map_err(|ended| failed(ended.to_string()))?;
        let answer: Result<Answer, String> =
            serde_json::from_slice(&answer).map_err(|error| failed(error.to_string()))?;
        answer.map_err(failed)
    }

    /// Ends the link, and waits until the agent was told.
    pub async fn close(&self) {
        self.link.close().await;
    }
}
