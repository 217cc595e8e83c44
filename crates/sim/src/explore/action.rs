//! What can happen next, as small values: they name steps that were made before.

use quorate_protocol::types::{ReplicaId, Seq, View};

/// Views that are told apart.
pub(crate) const VIEWS: usize = 3;
/// Slots that are told apart.
pub(crate) const SLOTS: usize = 2;
/// Two batches of clients and the null batch.
pub(crate) const VALUES: usize = 3;

/// A view, a slot and a value, as a number: the place of a bit in a [`Spots`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot(pub u8);

/// A set of spots.
pub(crate) type Spots = u32;

impl Spot {
    pub(crate) fn new(view: usize, slot: usize, value: usize) -> Self {
        Self(u8::try_from((view * SLOTS + slot) * VALUES + value).expect("there are eighteen"))
    }

    pub(crate) fn all(spots: Spots) -> impl Iterator<Item = Self> {
        (0..32_u8).filter(move |bit| spots >> bit & 1 == 1).map(Self)
    }

    pub(crate) fn bit(self) -> Spots {
        1 << self.0
    }

    pub(crate) fn view(self) -> usize {
        usize::from(self.0) / VALUES / SLOTS
    }

    /// From 0.
    pub(crate) fn slot(self) -> usize {
        usize::from(self.0) / VALUES % SLOTS
    }

    pub(crate) fn value(self) -> usize {
        usize::from(self.0) % VALUES
    }

    /// The other values at this view and slot.
    pub(crate) fn rivals(self) -> Spots {
        let here = self.0 - self.0 % 3;
        (0b111 << here) & !self.bit()
    }

    pub(crate) fn seq(self) -> Seq {
        Seq(self.slot() as u64 + 1)
    }

    pub(crate) fn of_view(self) -> View {
        View(self.view() as u64)
    }
}

/// A VIEW-CHANGE of the Byzantine replica: for each slot a certificate it can make, or none. The certificate is named by
/// its spot and the correct replicas that signed with it, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lie {
    /// The view to change to.
    pub view: u8,
    /// What it says has prepared.
    pub prepared: [Option<(Spot, u8)>; SLOTS],
}

/// A VIEW-CHANGE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shown {
    /// A correct replica's, by the order in which they were first met.
    Said(u16),
    /// The Byzantine replica's.
    Lied(Lie),
}

/// One step of one correct replica, `to`, by its place among these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It gets a proposal of the primary of the spot's view.
    Propose(Spot),
    /// It gets PREPAREs of these replicas, as bits.
    Prepare(Spot, u8),
    /// It gets COMMITs of these replicas, as bits.
    Commit(Spot, u8),
    /// Its timer fires: it leaves its view. If it waits for a view to open, these tell it that others wait as well.
    Timeout([Option<Shown>; 2]),
    /// The primary of its view is in a later one.
    Deserted(Shown),
    /// Two others are in a later view.
    Join([Shown; 2]),
    /// It is the primary of a view, and these with its own VIEW-CHANGE are a quorum.
    Open([Shown; 2]),
    /// It gets the NEW-VIEW of this view that names these.
    Enter(u8, [Shown; 3]),
    /// It loses what is not on its disk, and comes back.
    Restart,
}

/// A replica's bit.
pub(crate) fn bit(id: ReplicaId) -> u8 {
    1 << id.0
}

/// The replicas whose bits are set.
pub(crate) fn replicas(bits: u8) -> impl Iterator<Item = ReplicaId> {
    (0..4).filter(move |id| bits >> id & 1 == 1).map(ReplicaId)
}
