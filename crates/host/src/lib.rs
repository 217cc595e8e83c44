//! Everything safety rests on besides the protocol, over `Disk` and `Link` traits.

pub mod border;
pub mod disk;
pub mod execution;
pub mod folder;
pub mod gate;
pub mod host;
pub mod journal;
pub mod lane;
pub mod snapshots;
pub mod start;
pub mod superblock;
pub mod transfer;
