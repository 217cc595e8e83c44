//! Another machine: an agent carries out the orders of one controller, over an authenticated QUIC link.
//!
//! Both prove an Ed25519 key, and each allows one. The agent serves one controller at a time: a second one is told who
//! has it. All that the first one started ends when it says so, when its link is lost (a few seconds after the
//! controller died), and when the agent itself dies. What an order can ask for is in [`Order`]; none names a program or
//! a path.

mod key;
mod link;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use quorate_node::transport::{
    Asked, CONTROL_BYTES_MAX, ControlDoor, ControlLink, Ended, TransportError, bind,
};
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::types::PublicKey;
use tokio::sync::mpsc;

pub use self::key::{KeyError, own_key};
pub use self::link::{Link, LinkError};
use crate::worker::{Answer, Order, Worker, WorkerConfig, WorkerError};

/// How long the agent may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(2);
/// Controllers that may wait for their turn, or to be refused.
const WAITING_MAX: usize = 4;

/// What an agent needs to know.
pub struct AgentConfig {
    /// Where it takes its controller; its replicas and clients are reached at the same host.
    pub listen: SocketAddr,
    /// Its key.
    pub key: SecretKey,
    /// Whose orders it carries out.
    pub controller: PublicKey,
    /// What it starts, and where it writes.
    pub worker: WorkerConfig,
}

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The address says nothing to others.
    #[error("{0} is not an address that others can reach replicas at; name one of this machine's own")]
    Anywhere(SocketAddr),
    /// The socket or the key.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// An agent that listens.
pub struct Agent {
    door: ControlDoor,
    worker: WorkerConfig,
    address: SocketAddr,
}

impl Agent {
    /// Begins to listen. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn open(config: AgentConfig) -> Result<Self, AgentError> {
        if config.listen.ip().is_unspecified() {
            return Err(AgentError::Anywhere(config.listen));
        }
        let door = ControlDoor::open(bind(config.listen)?, &config.key, config.controller)?;
        let address = door.address()?;
        Ok(Self { door, worker: config.worker, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves one controller after the other, until its socket is gone. Tells who came and went.
    pub async fn serve(&self, say: &dyn Fn(&str)) {
        let (came, mut queue) = mpsc::channel(WAITING_MAX);
        // On its own, so that no handshake ends because somebody else's link does.
        let accepting = async {
            while let Some(accepted) = self.door.accept().await {
                match accepted {
                    Ok(link) => drop(came.send(link).await),
                    Err((address, ended)) => say(&refused(address, &ended)),
                }
            }
        };
        let serving = async {
            while let Some(link) = queue.recv().await {
                self.serve_one(&link, &mut queue, say).await;
            }
        };
        tokio::select! {
            () = accepting => {}
            () = serving => {}
        }
    }

    /// Ends all links, gently.
    pub async fn close(&self) {
        drop(tokio::time::timeout(FAREWELL, self.door.close()).await);
    }

    async fn serve_one(
        &self,
        link: &ControlLink,
        others: &mut mpsc::Receiver<ControlLink>,
        say: &dyn Fn(&str),
    ) {
        say(&format!("the controller at {} is here", link.address()));
        let mut worker = Worker::new(self.worker.clone());
        let ended = tokio::select! {
            ended = carry_out_all(link, &mut worker) => ended,
            () = refuse(others, link.address(), say) => Ended::Lost("the socket is gone".to_owned()),
        };
        // It was started for a controller that is gone.
        drop(worker.carry_out(Order::Stop).await);
        say(&format!("the controller at {} is gone, and everything it had started: {ended}", link.address()));
    }
}

/// A second controller is told who has this agent.
async fn refuse(others: &mut mpsc::Receiver<ControlLink>, first: SocketAddr, say: &dyn Fn(&str)) {
    while let Some(second) = others.recv().await {
        second.refuse(&format!("this agent serves the controller at {first}; wait for its end"));
        say(&format!("refused a second controller, at {}", second.address()));
    }
}

fn refused(address: SocketAddr, ended: &Ended) -> String {
    format!("refused {address}, which did not prove the controller's key: {ended}")
}

/// Carries out what a controller asks, one order after the other, until its link ends.
async fn carry_out_all(link: &ControlLink, worker: &mut Worker) -> Ended {
    loop {
        let asked = match link.next().await {
            Ok(asked) => asked,
            Err(ended) => return ended,
        };
        // An order that nobody waits for any more is given up in the middle.
        tokio::select! {
            answered = answer(asked, worker) => if let Err(ended) = answered { return ended },
            ended = link.ended() => return ended,
        }
    }
}

async fn answer(asked: Asked, worker: &mut Worker) -> Result<(), Ended> {
    let carried_out = match serde_json::from_slice::<Order>(&asked.question) {
        Ok(order) => worker.carry_out(order).await.map_err(|error: WorkerError| error.to_string()),
        Err(error) => Err(format!("it does not understand the order ({error}); is it of another version?")),
    };
    asked.answer(&encoded(&carried_out)).await
}

/// What goes back: an answer, or what went wrong in words.
fn encoded(carried_out: &Result<Answer, String>) -> Vec<u8> {
    let failed = |why: String| serde_json::to_vec(&Err::<Answer, _>(why)).unwrap_or_default();
    match serde_json::to_vec(carried_out) {
        Ok(bytes) if bytes.len() <= CONTROL_BYTES_MAX => bytes,
        Ok(bytes) => failed(format!("its answer has {} bytes, and {CONTROL_BYTES_MAX} at most", bytes.len())),
        Err(error) => failed(format!("its answer cannot be written: {error}")),
    }
}
