//! Acceptance tests of whole clusters, each under the name of its row; the rows that one replica or one function
//! decides (A6, B3, B4, D7) are tested beside it. All of it happens in virtual time, and every test counts that the
//! fault it is about was really there.
#![allow(clippy::unwrap_used)]

mod a_encoding;
mod b_explorer;
mod b_quorums;
mod b_twins;
mod book;
mod c_amnesia;
mod c_commits;
mod c_divergence;
mod c_exactly_once;
mod c_liars;
mod c_mutations;
mod c_replay;
mod c_swarm;
mod d_bodies;
mod d_clients;
mod d_links;
mod d_primaries;
mod d_reads;
mod d_room;
mod d_slow;
mod e_floods;
mod e_memory;
mod e_transfer_abuse;
mod f_evidence;
mod f_reads;
mod g_stops;
mod lab;
mod p_certificates;
mod p_memory;
mod p_strays;
mod p_views;
mod puppets;
mod regressions;
