//! Making links to replicas, again and again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Shape;
use super::hello::{Established, Greeting, Side};
use super::limits::Limits;
use super::link::{self, Wiring};
use super::refused::{Ended, Refused};
use super::seat::Seat;
use super::tls;

/// How often a replica that starts knocks at one that does not answer: who comes up later dials anyway.
const KNOCKS_MAX: u32 = 3;

/// Dials one replica.
pub(crate) struct Dialler {
    pub(crate) endpoint: quinn::Endpoint,
    pub(crate) tls: quinn::ClientConfig,
    pub(crate) address: SocketAddr,
    pub(crate) shape: Shape,
    pub(crate) limits: Arc<Limits>,
    pub(crate) greeting: Arc<Greeting>,
}

impl Dialler {
    async fn dial(&self) -> Result<Established, Ended> {
        self.attempt().await.map_err(Ended::of_a_dial)
    }

    async fn attempt(&self) -> Result<Established, Ended> {
        let connecting = self
            .endpoint
            .connect_with(self.tls.clone(), self.address, tls::SERVER_NAME)
            .map_err(|error| Ended::Lost(error.to_string()))?;
        // Nobody at the other end shows only by silence, which has no limit of its own below the idle timeout.
        let connection = tokio::time::timeout(self.limits.dial_timeout, connecting)
            .await
            .map_err(|_| Ended::Lost(format!("nobody answers at {}", self.address)))??;
        self.greeting.establish(connection, self.shape, Side::Dialler, &self.limits).await
    }

    /// Keeps a link in `seat` for as long as somebody reads the inbox.
    pub(crate) async fn keep(self, seat: Arc<Seat>, wiring: Wiring) {
        let mut backoff = Backoff::new(&self.limits);
        loop {
            wiring.counters.dials.add(1);
            seat.dialling();
            let begun = Instant::now();
            let dialled = tokio::select! {
                dialled = self.dial() => dialled,
                () = seat.knocked() => Err(Ended::Unmade("it came up while it was dialled".to_owned())),
            };
            match dialled {
                Ok(established) => {
                    let stop = async {
                        seat.knocked().await;
                        Refused::Replaced
                    };
                    if seat.hold(established, &wiring, stop).await.is_err() {
                        return;
                    }
                }
                Err(ended) => {
                    link::count(&wiring.counters, &ended);
                    seat.note(&ended);
                }
            }
            // A link that lasted begins anew; one that is refused at once does not.
            if begun.elapsed() > self.limits.redial_max + self.limits.handshake_timeout {
                backoff = Backoff::new(&self.limits);
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next()) => {}
                () = seat.knocked() => {}
            }
        }
    }

    /// Tells a replica that is to dial this one that it is there again. What it sends to who was here before, and
    /// hears nothing back from, it sends ever more rarely; so it would notice late.
    pub(crate) async fn knock(self) {
        let mut backoff = Backoff::new(&self.limits);
        for _ in 0..KNOCKS_MAX {
            match self.dial().await {
                Err(Ended::Lost(_) | Ended::Unmade(_)) => tokio::time::sleep(backoff.next()).await,
                // It was heard; that it is refused as a link is what both expect.
                Ok(_) | Err(Ended::Here(_) | Ended::There { .. }) => return,
            }
        }
    }
}

/// Pauses that double up to a limit, each shortened at random by up to half, so that nobody dials in step.
struct Backoff {
    pause: Duration,
    longest: Duration,
}

impl Backoff {
    fn new(limits: &Limits) -> Self {
        Self { pause: limits.redial_min, longest: limits.redial_max }
    }

    fn next(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(self.longest);
        // Without randomness from the system there is no jitter, which costs little.
        let random = getrandom::u32().unwrap_or(0) % 512;
        pause - pause * random / 1024
    }
}
