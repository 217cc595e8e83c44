//! Everything safety rests on besides the protocol, over `Disk` and `Link` traits.

pub mod accusations;
pub mod backup;
pub mod border;
#[cfg(feature = "byzantine")]
pub mod byzantine;
pub mod decoders;
pub mod disk;
pub mod divergence;
pub mod execution;
pub mod folder;
pub mod following;
pub mod gate;
pub mod host;
pub mod journal;
pub mod lane;
pub mod live;
pub mod phases;
#[cfg(test)]
mod props;
pub mod spent;
pub mod start;
pub mod store;
pub mod superblock;
pub mod transfer;
