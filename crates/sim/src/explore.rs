//! Every run of the real replica within a bound: an explicit-state model checker over `Replica` itself.
//!
//! A state is the three correct replicas of a cluster of four. There is no model of the protocol: whatever happens to a
//! replica happens by `Replica::step` or `Replica::recover`, with events that the real verifier let through. The fourth
//! replica has its key and may send anything at any time to anybody, so it needs no state; and because messages may be
//! lost, late and repeated, those in flight are all that were ever said, which follows from the replicas.
//!
//! What makes that affordable:
//! - a replica is a function of its events, so each replica's step is made once and remembered, whatever the others do;
//! - replicas that answer alike ([`Replica::fingerprint`](quorate_protocol::replica::Replica::fingerprint)) are one, and
//!   so are clusters that differ in what cannot matter any more: a vote that can reach no quorum, a VIEW-CHANGE for a view
//!   that everybody has passed, which two of three gave a quorum its votes. Rules are looked at after every step, before
//!   that is left out;
//! - votes are delivered as quorums ([`Grain::Quorums`]): one that completes nothing changes nothing that anybody sees, so
//!   its delivery commutes with everything until then. [`Grain::Votes`] delivers them one by one, within a smaller bound;
//! - a replica hears itself at once, and has every batch as soon as it wants it;
//! - only timers that leave a view fire, whenever they are armed: the others repeat what was said;
//! - what is of a view above the replica's own waits until it is there.
//!
//! Not covered: checkpoints and state transfer (so I5), what executes within a batch (of I4 only that nothing executes
//! that did not commit), batches that are withheld, records lost of a step whose words left (I7 is looked at instead: a
//! record covers each), accusations, more than two client values, epochs, liveness. In twins and simulation they are.

mod action;
mod desk;
mod member;
mod model;
pub mod twins;

pub use action::{Action, Lie, Shown, Spot};
pub use model::{Bounds, Effort, Explored, Explorer, Grain, State, explore, wander};
