//! What a worker can be told to do, and what it answers: the whole language of the control link.
//!
//! No order names a program or a path. What is started is the worker's own `quorate`, with arguments that it makes
//! itself, and what is written lies under its own folder.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use quorate_node::cluster_file::Addresses;
use quorate_node::status::Status;
use quorate_protocol::types::PublicKey;
use serde::{Deserialize, Serialize};

use super::footprint::Footprint;
use super::usage::Usage;
use crate::load::{Assignment, LoadReport, Peek, Stint};

/// Most replicas that one machine runs.
pub const REPLICAS_MAX: usize = 64;
/// Most bytes of a cluster file or an emulation in an order.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a log in one answer.
pub const PIECE_BYTES_MAX: usize = 256 << 10;
/// Most bytes of the lies that a replica is told to tell.
const BEHAVIOUR_BYTES_MAX: usize = 1 << 10;

/// One thing to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Order {
    /// Say what machine this is.
    Describe,
    /// Make a key and choose addresses for each of these replicas of a cluster to come. The keys stay here.
    Recruit {
        /// The replicas' ids.
        replicas: Vec<u16>,
        /// Ports that other machines have chosen: no two replicas of one file may have the same address, and that of
        /// the operator is a loopback one on every machine.
        avoid: Vec<u16>,
    },
    /// Write the folders of those that were recruited, for this cluster. Nothing runs yet.
    Install(Box<Installation>),
    /// Start these replicas' processes, for the first time or again.
    Spawn(Vec<u16>),
    /// Kill them, as a power cut would: all of them before any is waited for.
    Kill(Vec<u16>),
    /// Ask them to stop in good order (SIGTERM), and wait until they have.
    Retire(Vec<u16>),
    /// Stop them (SIGSTOP).
    Pause(Vec<u16>),
    /// Let them go on (SIGCONT).
    Resume(Vec<u16>),
    /// Say which of them ended though nobody here ended them.
    Ended,
    /// Tell each of these something, on its standard input; a replica that is started again is told again.
    Control {
        /// Whom.
        replicas: Vec<u16>,
        /// What.
        control: Control,
    },
    /// Ask each of these for its status.
    Statuses(Vec<u16>),
    /// Ask each of these for the head of its history after a slot.
    Heads {
        /// The slot.
        seq: u64,
        /// Whom to ask.
        replicas: Vec<u16>,
    },
    /// Look what the replicas take of memory and disk.
    Survey,
    /// Look what they and the load took of the processors.
    Usage,
    /// Say what the replicas' logs end with.
    LastWords,
    /// Read on in a replica's log.
    Log {
        /// Whose.
        replica: u16,
        /// The first byte that is wanted.
        from: u64,
    },
    /// Connect clients, and wait until each has a session.
    LoadConnect(Box<Assignment>),
    /// Let them work for a while.
    LoadBegin(Stint),
    /// Say how far they are.
    LoadPeek,
    /// Wait for no answer any more.
    LoadGiveUp,
    /// Say what became of the calls of a stint, if it is over.
    LoadFinish,
    /// Disconnect them.
    LoadStop,
    /// End everything that was started, gently first, and remove what was written unless it is to be kept.
    Stop,
}

/// What a replica of a trial can be told while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// To tell these lies, several joined by `+`; none: to be honest from now on.
    Behave(Option<String>),
    /// To send to these replicas and hear them, and nobody else; none: everybody.
    Links(Option<Vec<u16>>),
}

impl Control {
    /// The line that a replica reads.
    pub(super) fn line(&self) -> String {
        match self {
            Self::Behave(None) => "behave none\n".to_owned(),
            Self::Behave(Some(behaviour)) => format!("behave {behaviour}\n"),
            Self::Links(None) => "links all\n".to_owned(),
            Self::Links(Some(replicas)) => {
                let named: Vec<String> = replicas.iter().map(u16::to_string).collect();
                format!("links {}\n", named.join(","))
            }
        }
    }

    /// Whether it is one line, whatever somebody wrote into it, and a short one.
    pub(super) fn is_one_line(&self) -> bool {
        match self {
            Self::Behave(Some(behaviour)) => {
                behaviour.len() <= BEHAVIOUR_BYTES_MAX && !behaviour.contains(char::is_control)
            }
            Self::Links(Some(replicas)) => replicas.len() <= REPLICAS_MAX,
            Self::Behave(None) | Self::Links(None) => true,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Answer {
    /// It is done.
    Done,
    /// To [`Order::Describe`].
    Machine(Machine),
    /// To [`Order::Recruit`], in the order of the question.
    Recruits(Vec<Recruit>),
    /// To [`Order::Statuses`], in the order of the question; none of whoever does not answer.
    Statuses(Vec<Option<Status>>),
    /// To [`Order::Heads`], in the order of the question.
    Heads(Vec<Option<String>>),
    /// To [`Order::Survey`]: the most that each replica ever took.
    Footprints(BTreeMap<u16, Footprint>),
    /// To [`Order::Usage`].
    Usage(Usage),
    /// To [`Order::Ended`].
    Ended(Vec<End>),
    /// To [`Order::LastWords`]; none if there is nothing to say.
    Words(Option<String>),
    /// To [`Order::Log`]: at most [`PIECE_BYTES_MAX`] bytes, none at the end.
    Piece(Vec<u8>),
    /// To [`Order::LoadPeek`].
    Peek(Peek),
    /// To [`Order::LoadFinish`]; none while it is not over.
    Report(Option<Box<LoadReport>>),
}

/// A replica whose process ended though nobody of this trial ended it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Which.
    pub replica: u16,
    /// Somebody else ended it: it stopped as it was told, or was killed (SIGKILL).
    pub by_others: bool,
    /// It panicked.
    pub panicked: bool,
    /// How it ended, and what it said last: of a panic its place and message.
    pub words: String,
}

/// A machine that takes part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// What its system calls it.
    pub name: String,
    /// Processors that the worker may use.
    pub cores: u16,
    /// File system of the replicas' folders; `unknown` where the system does not say.
    pub file_system: String,
    /// Which program it runs.
    pub build: String,
}

/// One replica of a cluster to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recruit {
    /// Its public key.
    pub key: [u8; 32],
    /// Where it takes other replicas.
    pub peer: SocketAddr,
    /// Where it takes clients.
    pub client: SocketAddr,
    /// Where it takes its operator.
    pub admin: SocketAddr,
}

impl Recruit {
    pub(crate) fn new(key: PublicKey, addresses: Addresses) -> Self {
        let Addresses { peer, client, admin } = addresses;
        Self { key: key.0, peer, client, admin }
    }

    /// Its public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.key)
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        Addresses { peer: self.peer, client: self.client, admin: self.admin }
    }
}

/// What a machine is told of the cluster that it is part of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    /// The cluster file; it must be one for trials (`testing = true`).
    pub cluster: String,
    /// Bytes of each reply of the application `null`.
    pub reply_bytes: u32,
    /// What each liar among its replicas does, behaviours joined by `+`.
    pub liars: BTreeMap<u16, String>,
    /// Where the chance in lies comes from.
    pub seed: u64,
    /// The emulated network of each replica, as the text of its file.
    pub emulations: BTreeMap<u16, String>,
    /// Whether replicas take [`Order::Control`].
    pub controlled: bool,
}
