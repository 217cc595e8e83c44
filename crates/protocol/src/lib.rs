//! PBFT as pure functions (Castro and Liskov, OSDI '99), for every committee size.
//!
//! A [`process::Process`] takes an event and the time, and says what it wants done. It reads no clock and no
//! randomness, holds no secret key, and knows no socket, file, thread or hash-map order: its answer depends on its
//! inputs alone. Nothing unverified reaches it, because events hold only [`signed::Verified`] values.

pub mod accusation;
pub mod application;
pub mod certificate;
pub mod client;
pub mod codec;
pub mod committee;
pub mod crypto;
pub mod executor;
mod log;
pub mod map;
pub mod message;
pub mod mutant;
mod ordered;
pub mod parameters;
pub mod pieces;
mod pool;
pub mod process;
pub mod replica;
pub mod request;
mod session;
pub mod signed;
pub mod snapshot;
pub mod standing;
mod timer;
pub mod types;
pub mod verify;
