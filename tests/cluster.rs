//! Real processes and real QUIC: what the program promises its operators and clients.
//!
//! Every test makes clusters of its own in temporary folders, waits with a limit, and takes its processes and folders
//! with it when it ends, however it ends.
#![allow(clippy::unwrap_used)]

mod agents;
mod amnesia;
mod applications;
mod backup;
mod check_folder;
mod diverging;
mod emulated;
mod evidence;
mod full_disk;
mod hostile_clients;
mod hostile_replica;
mod lying;
mod measured;
mod operators;
mod pipes;
mod processes;
mod recovery;
mod refused_starts;
mod returns;
mod simulate;
mod sources;
mod testbed;
