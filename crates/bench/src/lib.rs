//! Load and measurements: what a cluster does, and what this machine could do at most.

pub mod audit;
pub mod limits;
pub mod load;
