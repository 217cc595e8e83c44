//! The real world under the host: files, keys, clocks, threads, QUIC.
//!
//! Nothing here decides anything about agreement; that is the protocol's, and what safety rests on besides it is the
//! host's.

pub mod admin;
pub mod client;
pub mod clock;
pub mod cluster_file;
pub mod emulation;
pub mod file_disk;
pub mod init;
pub mod key_file;
pub mod live;
pub mod node;
mod roles;
pub mod sections;
pub mod sins;
pub mod status;
pub mod transport;
pub mod why;

/// Which program this is, for reports.
pub const BUILD: &str = concat!("quorate ", env!("CARGO_PKG_VERSION"));
