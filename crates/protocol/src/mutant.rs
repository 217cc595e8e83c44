//! Mutants: known ways to get this protocol wrong, so that the tests can show that they would notice.
//!
//! Most are bugs that published code had. Each is one branch at the place that is right today; without the feature
//! `mutants`, [`is`] is a constant and the branch is gone. With it, a process runs as at most one mutant: the one that
//! was selected, or that the environment variable `QUORATE_MUTANT` names. `tests/mutants.rs` runs them all, and says
//! which test kills each.

#[cfg(all(feature = "mutants", not(debug_assertions)))]
compile_error!(
    "the feature `mutants` puts bugs within reach of an environment variable: build it for tests only, never with --release"
);

/// Declares the mutants, so that what each breaks is said once: in its documentation, and by [`Mutant::breaks`].
macro_rules! mutants {
    ($($(#[doc = $line:literal])+ $name:ident,)+) => {
        /// A way to get the protocol wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Mutant {
            $($(#[doc = $line])+ $name,)+
        }

        impl Mutant {
            /// Every mutant, in order.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// What it does wrong, and why that matters.
            #[must_use]
            pub const fn breaks(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($line),+),)+
                }
            }
        }
    };
}

mutants! {
    /// A new view takes the first prepared certificate it finds for a slot, not the one of the highest view (P1).
    M1,
    /// A certificate's signatures are not counted (P2).
    M2,
    /// The tag is missing from what is signed, so a PREPARE can be shown as a COMMIT (P3).
    M3,
    /// The primary counts twice among the PREPAREs, for its proposal and for itself (P4).
    M4,
    /// A quorum is 2f+1 whatever n is (P5).
    M5,
    /// A NEW-VIEW may name one replica's VIEW-CHANGE several times (P6).
    M6,
    /// Each VIEW-CHANGE that arrives counts, whoever sent one before (P7).
    M7,
    /// A second NEW-VIEW of the view that is open is accepted (P8).
    M8,
    /// A new view fills every slot with the null batch (P9).
    M9,
    /// A new view begins at the lowest stable checkpoint it is shown, not the highest (P10).
    M10,
    /// Of two prepared certificates of one view the one with the smaller digest is taken, silently (P14).
    M11,
    /// A replica forgets what it prepared when it leaves a view, before its VIEW-CHANGE is made (P15).
    M12,
    /// A batch is hashed without the lengths of what it consists of (P17).
    M13,
    /// A body is not compared with the digest it is said to have (P18).
    M14,
    /// Requests are judged together by the rule that batches of signatures have elsewhere, which is another one (P20).
    M15,
    /// A replica follows others into a later view at f+2 of them, not f+1 (P27).
    M16,
    /// The timeout does not grow with the view (P30).
    M17,
    /// A batch that a new view decided is checked against the clock once more (P32).
    M18,
    /// A replica prepares only when the proposal arrives, not when its body does (P33).
    M19,
    /// Null batches restart the progress timer (P38, P75).
    M20,
    /// A replica still decides COMMITs of a view that it has left (P41).
    M21,
    /// VIEW-CHANGEs of every view are kept (P42).
    M22,
    /// A PREPARE leaves before it is durable (P44).
    M23,
    /// A COMMIT leaves before its certificate is durable (P47).
    M24,
    /// A replica restarts in the view it was last active in, not in the one it left for (P48).
    M25,
    /// A replica that lost its journal votes at once (P52).
    M26,
    /// An operation that is ordered twice is executed twice (P61).
    M27,
    /// A request stays in the pool until that very request is ordered, not until its numbers are (P62).
    M28,
    /// In a cluster with fast reads a client believes f+1 replies to what it wrote (P69).
    M29,
    /// One timer for everything, and every batch restarts it (P74).
    M30,
    /// A new view does not raise the low watermark, and what it decided below its last slot may be replaced (P10).
    M31,
    /// A new view leaves out the last slot for which somebody prepared something (P9).
    M32,
    /// A proposal replaces what a new view decided for its slot (P8).
    M33,
    /// A replica that is behind is not given the NEW-VIEW it missed (P26).
    M34,
    /// A certificate's signatures are counted, and not who made them (P2).
    M35,
    /// The journal lets go of what a stable certificate covers before that certificate is laid.
    M36,
    /// A replica whose wrong state was replaced says COMMIT for all that it learnt while it was silent.
    M37,
    /// A restart makes a replica forget that its word counts no more.
    M38,
    /// A replica that lost its journal says VIEW-CHANGE before the slots it may have voted at are stable (P52).
    M39,
    /// A fetched chunk is taken without comparing its digest.
    M40,
    /// A replica starts again from a state that contradicts its certificate (P84).
    M41,
    /// A replica that is shown its own signature and does not know it goes on (P52).
    M42,
    /// A replica alone in a later view runs ahead of the others (P28).
    M43,
    /// One replica that claims a high view takes the others there.
    M44,
    /// A new view stops at the first slot for which nobody prepared anything (P9).
    M45,
    /// A client believes f equal answers (P70).
    M46,
    /// The prepared certificate that is held for a slot is never replaced by one of a higher view (P15).
    M47,
    /// A CHECKPOINT leaves before its state is on the disk (P54).
    M48,
    /// Whoever leaves a view ends it for all, not only its primary.
    M49,
    /// A primary that leaves takes the others to the view that it names, not to the next one.
    M50,
    /// A view that its primary handed over makes the timeout longer, as one that failed does.
    M51,
    /// In a cluster with fast reads a reply leaves before it is durable how far this replica may have answered.
    M52,
    /// A replica that came back answers fast reads of slots before those that it had answered from (P69).
    M53,
    /// A client takes equal results of a fast read for one, of whatever slots they are (P69).
    M54,
    /// A primary keeps its view though a replica waits in a later one, whose vote the cluster lacks for good (P28).
    M55,
    /// Whoever says that it waits in a later view is given the next one at once.
    M56,
    /// Whoever needs a checkpoint orders null batches up to a multiple of K, where of a large state none need be due.
    M57,
    /// Patience with a primary grows with all that waits here, also with what it forwarded itself (P74).
    M58,
    /// Bodies that got no vote are kept until their slot is stable, whatever views come (P42).
    M59,
    /// STATUS is put off while batches commit also by who is left out, or lacks a checkpoint that is due (D107).
    M60,
}

#[cfg(feature = "mutants")]
mod selected {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Mutant;

    /// Nobody selected anything yet, so the environment decides.
    const UNDECIDED: u8 = u8::MAX;
    /// The protocol as it should be.
    const NONE: u8 = u8::MAX - 1;

    static SELECTED: AtomicU8 = AtomicU8::new(UNDECIDED);

    fn number(mutant: Option<Mutant>) -> u8 {
        mutant.map_or(NONE, |mutant| mutant as u8)
    }

    /// What the environment says.
    ///
    /// # Panics
    /// If it names a mutant that does not exist: the protocol as it should be must not pass for it.
    fn from_environment() -> Option<Mutant> {
        let name = std::env::var("QUORATE_MUTANT").ok()?;
        let named = Mutant::ALL.iter().find(|mutant| format!("{mutant:?}") == name);
        Some(*named.unwrap_or_else(|| panic!("QUORATE_MUTANT={name} names no mutant; they are M1 and so on")))
    }

    pub(super) fn is(mutant: Mutant) -> bool {
        let mut selected = SELECTED.load(Ordering::Relaxed);
        if selected == UNDECIDED {
            super::select(from_environment());
            selected = SELECTED.load(Ordering::Relaxed);
        }
        selected == mutant as u8
    }

    pub(super) fn select(mutant: Option<Mutant>) {
        SELECTED.store(number(mutant), Ordering::Relaxed);
    }
}

/// Whether this process runs as this mutant.
#[cfg(feature = "mutants")]
#[inline]
#[must_use]
pub fn is(mutant: Mutant) -> bool {
    selected::is(mutant)
}

/// Whether this process runs as this mutant: never, without the feature `mutants`.
#[cfg(not(feature = "mutants"))]
#[inline]
#[must_use]
pub const fn is(_mutant: Mutant) -> bool {
    false
}

/// Makes the whole process run as this mutant from now on, or as none.
#[cfg(feature = "mutants")]
pub fn select(mutant: Option<Mutant>) {
    selected::select(mutant);
}
