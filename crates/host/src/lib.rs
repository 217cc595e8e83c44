//! Everything safety rests on besides the protocol, over `Disk` and `Link` traits.

pub mod lane;
pub mod border;
pub mod execution;
pub mod gate;
pub mod host;
pub mod disk;
pub mod journal;
pub mod superblock;
pub mod folder;
pub mod snapshots;
