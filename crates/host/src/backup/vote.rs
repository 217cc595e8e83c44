//! The right to vote: of all folders of a replica at most one has it.

use super::{Order, Purpose};
use crate::superblock::{Divergence, Exclusion, Standing};

/// The right to vote, on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vote {
    /// The number of the copy that it goes to.
    pub(super) number: u64,
    /// What its owner must know of the past.
    pub(super) diverged: Option<Divergence>,
}

impl Vote {
    /// The right to vote that a folder may give to a copy, if it has one.
    pub(super) fn of(standing: Standing, order: &Order) -> Option<Self> {
        let number = order.number;
        match (standing, order.purpose) {
            (Standing::Normal, Purpose::Carry) => Some(Self { number, diverged: None }),
            (Standing::Diverged { divergence, mended: true }, Purpose::Carry) => {
                Some(Self { number, diverged: Some(divergence) })
            }
            (Standing::Out(Exclusion::Carrier { diverged, .. }), Purpose::Carry | Purpose::Settle) => {
                Some(Self { number, diverged })
            }
            (Standing::Normal | Standing::Diverged { .. } | Standing::Out(_), _) => None,
        }
    }

    /// What the giver is from then on.
    pub(super) fn given(self) -> Standing {
        let Self { number, diverged } = self;
        Standing::Out(Exclusion::Moved { number, diverged })
    }

    /// What the receiver becomes.
    pub(super) fn received(self, purpose: Purpose) -> Standing {
        let Self { number, diverged } = self;
        match (purpose, diverged) {
            (Purpose::Keep, _) => Standing::Out(Exclusion::Copied { number, wrong: None }),
            (Purpose::Carry, _) => Standing::Out(Exclusion::Carrier { number, diverged }),
            (Purpose::Settle, None) => Standing::Normal,
            (Purpose::Settle, Some(divergence)) => Standing::Diverged { divergence, mended: true },
        }
    }
}

/// What a copy says of itself that nobody gave the right to vote. A replica that stays out has its own reason.
pub(super) fn of_copy(standing: Standing, number: u64) -> Standing {
    match standing {
        Standing::Out(
            Exclusion::Contradiction { .. } | Exclusion::Unremembered { .. } | Exclusion::DivergedAgain(_),
        ) => standing,
        // A copy of a folder in which a state is wrong has that, too.
        Standing::Normal | Standing::Diverged { .. } | Standing::Out(_) => {
            Standing::Out(Exclusion::Copied { number, wrong: standing.unmended() })
        }
    }
}
