//! Load and measurements: what a cluster does, and what this machine could do at most.

pub mod agent;
pub mod audit;
pub mod cluster;
pub mod cost;
pub mod difference;
pub mod figure;
pub mod guard;
pub mod limits;
pub mod load;
pub mod network;
pub mod record;
pub mod report;
pub mod run;
pub mod search;
pub mod statistics;
pub mod worker;
