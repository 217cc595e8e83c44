//! What a world is made of, and what may be done to it.

use std::collections::BTreeMap;

use quorate_host::byzantine::Sin;
use quorate_host::disk::Crash;
use quorate_protocol::parameters::Parameters;
use quorate_protocol::types::{ReplicaId, Time};

use crate::app::Service;
use crate::damage::Damage;
use crate::network::{Cut, Profile};
use crate::node::Costs;

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Where all its chance comes from.
    pub seed: u64,
    /// Replicas.
    pub replicas: u16,
    /// What they agreed on.
    pub parameters: Parameters,
    /// The links.
    pub profile: Profile,
    /// When which of them are cut.
    pub cuts: Vec<Cut>,
    /// How slow the roles of a replica are.
    pub costs: Costs,
    /// What clocks say more than the world's time when it begins, in microseconds.
    pub epoch_us: u64,
    /// By how much clocks differ at most, in microseconds.
    pub skew_us: u64,
    /// Whether every replica checks every signature itself, instead of one of them for all.
    pub check_every_signature: bool,
    /// What is replicated.
    pub service: Service,
    /// Replicas that lie, and how.
    pub liars: BTreeMap<ReplicaId, Vec<Sin>>,
}

impl Setting {
    /// Calm links, fast disks, equal clocks.
    #[must_use]
    pub fn calm(replicas: u16) -> Self {
        Self {
            seed: 1,
            replicas,
            parameters: Parameters::default(),
            profile: Profile::calm(1_000),
            cuts: Vec::new(),
            costs: Costs::default(),
            epoch_us: 0,
            skew_us: 0,
            check_every_signature: false,
            service: Service::default(),
            liars: BTreeMap::new(),
        }
    }
}

/// Something bad that is to happen, or the end of all that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A replica stops for good.
    Crash(ReplicaId),
    /// Whoever is the primary of the highest view stops for good.
    CrashPrimary,
    /// Processes die, and are started again after a while.
    Outage(Whom, Outage),
    /// A process dies at one of its next moments, the so many-th, and is started again after a while.
    Doom(ReplicaId, u64, Outage),
    /// A replica that is down is started from its disk.
    Start(ReplicaId),
    /// A replica's clock jumps forwards by so many microseconds, as it does when its whole machine slept.
    ClockJump(ReplicaId, u64),
    /// A replica's clock gains so many microseconds per second from now on, or loses them.
    ClockDrift(ReplicaId, i64),
    /// A replica's process sleeps.
    Pause(ReplicaId, Time),
    /// Links heal and sleepers wake.
    Heal,
}

/// Whom something happens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// One replica.
    One(ReplicaId),
    /// Whoever is the primary of the highest view.
    Primary,
    /// All at once.
    Everyone,
}

/// How a process dies and comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// What of the unsynced writes is on its disk afterwards.
    pub left: Crash,
    /// What happens to its disk while it is down.
    pub damage: Option<Damage>,
    /// For how long it is down, in microseconds.
    pub down_us: u64,
    /// How far its clock is off when it comes back, in microseconds; none if it is off as before.
    pub clock_us: Option<i64>,
    /// It is asked to stop: it goes when it has handed over what it leads, or when its time for that is over.
    pub gently: bool,
}

impl Outage {
    /// The process dies, the machine does not, and it is back after a while.
    #[must_use]
    pub const fn clean(down_us: u64) -> Self {
        Self { left: Crash::Keep, damage: None, down_us, clock_us: None, gently: false }
    }

    /// The process is asked to stop, hands over what it leads, and is back after a while.
    #[must_use]
    pub const fn gentle(down_us: u64) -> Self {
        Self { gently: true, ..Self::clean(down_us) }
    }
}

/// Frames that a test loses or keeps back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whose; anybody's if none.
    pub from: Option<ReplicaId>,
    /// To whom; to anybody if none.
    pub to: Option<ReplicaId>,
    /// Of which kind, in the words of [`kind`](crate::trace::kind); of any if none.
    pub kind: Option<String>,
    /// Whether they can be delivered later.
    pub hold: bool,
}

impl Rule {
    pub(super) fn catches(&self, from: ReplicaId, to: ReplicaId, kind: &str) -> bool {
        self.from.is_none_or(|id| id == from)
            && self.to.is_none_or(|id| id == to)
            && self.kind.as_deref().is_none_or(|wanted| wanted == kind)
    }
}
