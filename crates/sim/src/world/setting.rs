//! What a world is made of, and what may be done to it.

use quorate_protocol::parameters::Parameters;
use quorate_protocol::types::{ReplicaId, Time};

use crate::app::Service;
use crate::network::{Cut, Profile};
use crate::node::{Costs, Sent};

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
    /// By how much clocks differ at most, in microseconds.
    pub skew_us: u64,
    /// What is replicated.
    pub service: Service,
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
            skew_us: 0,
            service: Service::default(),
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
    /// A replica's process sleeps.
    Pause(ReplicaId, Time),
    /// Links heal and sleepers wake.
    Heal,
}

/// What a faulty replica sends instead of what its host sends: the one outbound seam.
pub trait Seam {
    /// Replaces something that the replica `from` sends.
    fn replace(&mut self, now: Time, from: ReplicaId, sent: Sent) -> Vec<Sent>;
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
