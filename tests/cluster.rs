//! Real processes and real QUIC: what the program promises its operators and clients.
//!
//! Every test makes clusters of its own in temporary folders, waits with a limit, and takes its processes and folders
//! with it when it ends, however it ends.
#![allow(clippy::unwrap_used)]

mod agents;
mod amnesia;
mod applications;
mod backup;
mod browser;
mod check_folder;
mod diverging;
mod emulated;
mod evidence;
mod full_disk;
mod hostile_clients;
mod hostile_replica;
mod live;
mod logs;
mod lying;
mod measured;
mod metrics;
mod operators;
mod pipes;
mod processes;
mod reads;
mod recovery;
mod refused_starts;
mod returns;
mod rolling;
mod scaffold;
mod simulate;
mod sources;
mod testbed;
mod watching;
mod web;
