//! Whether a run was good, in a sentence.

/// Whether the replicas agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Their histories are equal up to every accepted answer and beyond; these few were gone on purpose.
    Agreement(Vec<u16>),
    /// These replicas' histories differ from the first one's.
    Diverged(Vec<u16>),
    /// These replicas did not come as far as accepted answers do, or as the others.
    Behind(Vec<u16>),
    /// The replicas that run agree, and this many operations got no answer.
    Unanswered(u64),
    /// They agree on a history that lacks acknowledged operations, or has some twice.
    Unfaithful { lost: u64, duplicated: u64 },
    /// No answer was accepted at all.
    NoProgress,
    /// These replicas did not answer.
    Unreachable(Vec<u16>),
    /// These replicas were gone on purpose, more than the cluster tolerates.
    TooFew(Vec<u16>),
}

impl Verdict {
    pub(crate) fn is_good(&self) -> bool {
        matches!(self, Self::Agreement(_))
    }

    pub(super) fn sentence(&self, replicas: u16) -> String {
        match self {
            Self::Agreement(absent) => match absent.as_slice() {
                [] => "all replicas executed the same history".to_owned(),
                [_, more @ ..] => {
                    let there = usize::from(replicas).saturating_sub(absent.len());
                    let were = if more.is_empty() { "was" } else { "were" };
                    let gone = named(absent);
                    format!(
                        "{there} of {replicas} replicas executed the same history, {gone} {were} not there at the end"
                    )
                }
            },
            Self::Diverged(who) => {
                format!("DIVERGED: the histories of replicas {who:?} differ from replica 0's")
            }
            Self::Behind(who) => {
                format!("INCOMPLETE: replicas {who:?} did not catch up with the others in time")
            }
            Self::Unanswered(count) => format!(
                "STALLED: {count} operations were never answered; more replicas are gone than the cluster tolerates"
            ),
            Self::Unfaithful { lost, duplicated } => {
                format!("LOST: {lost} acknowledged operations are gone, and {duplicated} executed twice")
            }
            Self::NoProgress => "NO PROGRESS: no answer was accepted".to_owned(),
            Self::Unreachable(who) => format!("UNKNOWN: replicas {who:?} do not answer"),
            Self::TooFew(who) => format!(
                "UNKNOWN: {} of {replicas} replicas were not there at the end, more than the cluster tolerates",
                who.len()
            ),
        }
    }
}

/// `replica 0`, or `replicas 0 and 3`.
fn named(replicas: &[u16]) -> String {
    match replicas {
        [] => "nobody".to_owned(),
        [one] => format!("replica {one}"),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(ToString::to_string).collect();
            format!("replicas {} and {last}", first.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_not_there_at_the_end_is_named() {
        for (absent, said) in [
            (vec![], "all replicas executed the same history"),
            (vec![0], "6 of 7 replicas executed the same history, replica 0 was not there at the end"),
            (
                vec![0, 3],
                "5 of 7 replicas executed the same history, replicas 0 and 3 were not there at the end",
            ),
        ] {
            assert_eq!(Verdict::Agreement(absent).sentence(7), said);
        }
    }
}
