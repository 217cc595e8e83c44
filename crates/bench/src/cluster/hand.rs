//! Where orders are carried out: in this process, or by an agent on another machine.

use crate::agent::Link;
use crate::worker::{Answer, Order, Worker, WorkerError};

/// Whoever carries out orders on one machine.
pub enum Hand {
    /// This process.
    Here(Box<Worker>),
    /// An agent, at the end of a control link.
    There(Link),
}

impl Hand {
    /// Has an order carried out.
    ///
    /// # Errors
    /// [`WorkerError`] says what could not be done, and on which machine if it is another one.
    pub async fn carry_out(&mut self, order: Order) -> Result<Answer, WorkerError> {
        match self {
            Self::Here(worker) => worker.carry_out(order).await,
            Self::There(link) => link.carry_out(order).await,
        }
    }

    /// Ends everything that it has started, and the link if there is one.
    pub async fn close(&mut self) {
        // One that cannot be reached any more ends everything by itself.
        drop(self.carry_out(Order::Stop).await);
        if let Self::There(link) = self {
            link.close().await;
        }
    }

    /// What to call it: `here`, or where its agent is.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Here(_) => "here".to_owned(),
            Self::There(link) => link.address().to_string(),
        }
    }
}
