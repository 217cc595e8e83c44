//! What has to happen for a lie to be told at all, and how a tester lets it happen: for a run in which a liar told none.

use super::Sin;

/// What has to happen for a lie to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// The replica sends messages of the kinds, and to the replicas, that the lie is about.
    Traffic,
    /// Nothing but that time passes.
    Time,
    /// Batches are ordered.
    Batches,
    /// Batches are ordered, and another one is primary.
    Backup,
    /// It is primary while requests come.
    Primary,
    /// A checkpoint is reached.
    Checkpoint,
    /// Views change, and something prepared before.
    ViewChange,
    /// It opens a view.
    Opening,
    /// Certificates are shown to somebody: views change, or one that was gone is told what it missed.
    Certificates,
    /// Somebody fetches a state.
    Transfer,
    /// Clients are answered.
    Answers,
}

/// The occasion of each of the [`NAMES`](super::NAMES), in their order.
const OCCASIONS: &[(&str, Occasion)] = &[
    ("mute", Occasion::Traffic),
    ("delay", Occasion::Traffic),
    ("equivocate", Occasion::Batches),
    ("equivocate-prepare", Occasion::Backup),
    ("equivocate-commit", Occasion::Batches),
    ("equivocate-checkpoint", Occasion::Checkpoint),
    ("wrong-digest", Occasion::Batches),
    ("withhold-bodies", Occasion::Primary),
    ("censor", Occasion::Primary),
    ("duplicate-requests", Occasion::Primary),
    ("null-only", Occasion::Primary),
    ("jump-watermark", Occasion::Primary),
    ("forged-certificates", Occasion::Certificates),
    ("stale-certificates", Occasion::Certificates),
    ("wrong-view-change", Occasion::ViewChange),
    ("two-new-views", Occasion::Opening),
    ("rush-view-changes", Occasion::Time),
    ("lying-replies", Occasion::Answers),
    ("colluding-replies", Occasion::Answers),
    ("bad-chunks", Occasion::Transfer),
    ("stall-transfer", Occasion::Transfer),
    ("shrink-transfer", Occasion::Transfer),
    ("flood", Occasion::Time),
    ("replay-old", Occasion::Time),
    ("broken-bytes", Occasion::Time),
    ("wrong-execution", Occasion::Batches),
    // The twins of a backup hear the same primary, and are of one mind.
    ("twins", Occasion::Primary),
];

impl Occasion {
    /// What it takes, and how to let it happen: in a testbed by its options, in a scenario by its tables.
    fn advice(self) -> &'static str {
        match self {
            Self::Traffic => {
                "needs messages of the kinds (`kinds=`), and to the replicas (`to=`), that it is about; leave these out, or \
                 give it more time"
            }
            Self::Time => "needs time; let it begin earlier, or the run last longer",
            Self::Batches => "needs batches that are ordered while it lies; let clients ask for longer",
            Self::Backup => {
                "needs another replica to be primary while clients ask; take any but replica 0, the first primary"
            }
            Self::Primary => {
                "is told as primary only; take replica 0, the first primary, or let those before it go (testbed: `--kill \
                 primary@1s`; scenario: a crash of \"primary\")"
            }
            Self::Checkpoint => {
                "needs a checkpoint while it lies; let clients ask for longer, or set a smaller `checkpoint_interval`"
            }
            Self::ViewChange => {
                "needs a change of view after something prepared; let the primary go under load (testbed: `--kill \
                 primary@1s`; scenario: a crash of \"primary\")"
            }
            Self::Opening => {
                "needs a view that it opens; take replica 1, the next primary, and let replica 0 go (testbed: `--kill \
                 0@1s`; scenario: a crash of \"primary\")"
            }
            Self::Certificates => {
                "needs certificates that it shows to somebody; let the primary go under load, or another replica be gone for \
                 a while (testbed: `--kill primary@1s --restart last@3s`; scenario: a crash with `restart`)"
            }
            Self::Transfer => {
                "needs another replica that fetches a state; let one be gone until the others keep no log of what it missed \
                 (testbed: `--kill 3@1s --restart 3@after:100000`; scenario: a crash with a late `restart` and a small `window`)"
            }
            Self::Answers => "needs clients that are answered while it lies; let them ask for longer",
        }
    }
}

/// What has to happen for the lie of this name to be told, and how to let it happen; empty if there is no such lie.
#[must_use]
pub fn occasion(name: &str) -> &'static str {
    OCCASIONS.iter().find(|(known, _)| *known == name).map_or("", |(_, occasion)| occasion.advice())
}

impl Sin {
    /// What has to happen for it to be told, and how to let it happen, besides what its triggers ask for.
    #[must_use]
    pub fn occasion(&self) -> &'static str {
        occasion(self.name())
    }
}

/// For a liar that told none of these lies: each of them with what it needs.
#[must_use]
pub fn advice<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let lines: Vec<String> = names.into_iter().map(|name| format!("`{name}` {}", occasion(name))).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::super::NAMES;
    use super::*;

    #[test]
    fn every_lie_has_an_occasion_of_its_own_kind() {
        let named: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        let known: Vec<&str> = OCCASIONS.iter().map(|(name, _)| *name).collect();
        assert_eq!(known, named);
        assert!(occasion("twins").contains("as primary only") && occasion("two-new-views").contains("opens"));
        assert!(occasion("bad-chunks").contains("fetches a state") && occasion("lie").is_empty());
        let both = advice(["twins", "bad-chunks"]);
        assert!(
            both.starts_with("`twins` is told as primary only") && both.contains("; `bad-chunks` needs"),
            "{both}"
        );
    }
}
