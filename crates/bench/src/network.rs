//! Networks to measure on: named regions with the round trips between them, where replicas and clients are in them, and
//! what a call must take there.
//!
//! A network is a file ([`Network::load`]); those of `configs/networks` are part of the program and known by name
//! ([`Network::find`]). [`Network::place`] puts replicas and clients into its regions, and the [`Placement`] says what
//! each process has to emulate, what it may expect, and whether what was measured is that.

mod file;
mod latency;
mod placement;
#[cfg(test)]
mod tests;

use std::time::Duration;

use quorate_node::emulation::Rule;

pub use self::file::NetworkError;
pub use self::placement::{Ends, Measured, Off, Place, Placement, Sender, Source};

/// Most regions of a network.
pub const REGIONS_MAX: usize = 64;
/// What a network is called that is the machine's own.
pub const LOOPBACK: &str = "loopback";

/// The networks that are known by name, and their files.
const KNOWN: &[(&str, &str)] = &[
    ("lan", include_str!("../../../configs/networks/lan.toml")),
    ("wan-europe", include_str!("../../../configs/networks/wan-europe.toml")),
    ("wan-world", include_str!("../../../configs/networks/wan-world.toml")),
];

/// A network: regions and what is between them.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    name: String,
    about: String,
    source: String,
    measured: String,
    regions: Vec<String>,
    clients: ClientRegions,
    /// The rule of each directed link, by region it leaves and region it leads to.
    links: Vec<Vec<Rule>>,
}

/// Where clients are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClientRegions {
    /// In each region in turn, as replicas are.
    Spread,
    /// In this one.
    One(usize),
}

impl Network {
    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is, in a sentence.
    #[must_use]
    pub fn about(&self) -> &str {
        &self.about
    }

    /// Where its figures were published, and of which day they are; empty if they are nobody's.
    #[must_use]
    pub fn source(&self) -> (&str, &str) {
        (&self.source, &self.measured)
    }

    /// Its regions, in the order in which they are filled.
    #[must_use]
    pub fn regions(&self) -> &[String] {
        &self.regions
    }

    /// Mean time of a datagram from one region to another.
    fn one_way(&self, from: usize, to: usize) -> Duration {
        let rule = &self.links[from][to];
        Duration::from_micros(rule.delay_us + rule.jitter_us / 2)
    }

    /// Puts `replicas` and `clients` into regions: replicas into each in turn, clients likewise or all into the region
    /// that the file names.
    #[must_use]
    pub fn place(&self, replicas: u16, clients: u16) -> Placement {
        Placement::new(self.clone(), replicas, clients)
    }
}
