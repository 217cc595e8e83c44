//! The seeded world: the real hosts of a whole cluster and the real clients, in one thread, over a virtual clock,
//! virtual links and disks in memory. One number gives everything that happens, and gives it again.
//!
//! [`world::World`] is the world, [`scenario::Scenario`] what a seed makes of it, [`check`] what must be true after
//! every step, and [`script`] a language in which such worlds are told as text.

pub mod app;
pub mod check;
pub mod client;
pub mod clock;
pub mod damage;
#[cfg(feature = "explore")]
pub mod explore;
pub mod memo;
pub mod network;
pub mod node;
pub mod picture;
pub mod recording;
pub mod rng;
pub mod scenario;
pub mod script;
pub mod shrink;
pub mod trace;
pub mod verdict;
pub mod witness;
pub mod words;
pub mod world;
