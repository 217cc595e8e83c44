//! Whether a run was good, in a sentence.

/// Whether the replicas agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The histories of those who do not lie are equal up to every accepted answer and beyond; these few were gone on
    /// purpose, and nothing is said of these liars.
    Agreement {
        /// Who was gone.
        absent: Vec<u16>,
        /// Who lied.
        liars: Vec<u16>,
    },
    /// They are, and these liars found nothing to lie about, so that nothing was tried.
    NoLie(Vec<u16>),
    /// These replicas' histories differ from the first one's.
    Diverged(Vec<u16>),
    /// These replicas did not come as far as accepted answers do, or as the others.
    Behind(Vec<u16>),
    /// The replicas that run agree, and this many operations got no answer.
    Unanswered(u64),
    /// They agree on a history that lacks acknowledged operations, or has some twice.
    Unfaithful {
        /// Acknowledged operations that are gone.
        lost: u64,
        /// Operations that executed more than once.
        duplicated: u64,
    },
    /// No answer was accepted at all.
    NoProgress,
    /// These replicas did not answer.
    Unreachable(Vec<u16>),
    /// These replicas were gone on purpose, more than the cluster tolerates.
    TooFew(Vec<u16>),
}

impl Verdict {
    /// Whether the run shows what it was to show.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Agreement { .. })
    }

    /// For people, of a cluster of so many replicas.
    #[must_use]
    pub fn sentence(&self, replicas: u16) -> String {
        match self {
            Self::Agreement { absent, liars } => agreement(replicas, absent, liars),
            Self::NoLie(who) => format!(
                "NO LIE: {} found nothing to lie about, so nothing was tried; what each of its behaviours needs stands \
                 beside `lies`",
                named(who)
            ),
            Self::Diverged(who) => {
                format!("DIVERGED: {} executed another history than the first one", named(who))
            }
            Self::Behind(who) => {
                format!("INCOMPLETE: {} did not catch up with the others in time", named(who))
            }
            Self::Unanswered(count) => format!(
                "STALLED: {count} operations were never answered; more replicas are gone than the cluster tolerates"
            ),
            Self::Unfaithful { lost, duplicated } => {
                format!("LOST: {lost} acknowledged operations are gone, and {duplicated} executed twice")
            }
            Self::NoProgress => "NO PROGRESS: no answer was accepted".to_owned(),
            Self::Unreachable(who) => format!("UNKNOWN: {} did not answer", named(who)),
            Self::TooFew(who) => format!(
                "UNKNOWN: {} of {replicas} replicas were not there at the end, more than the cluster tolerates",
                who.len()
            ),
        }
    }
}

fn agreement(replicas: u16, absent: &[u16], liars: &[u16]) -> String {
    let correct = usize::from(replicas).saturating_sub(liars.len());
    let absent: Vec<u16> = absent.iter().copied().filter(|id| !liars.contains(id)).collect();
    let (kind, but) = match liars {
        [] => ("replicas", String::new()),
        liars => ("correct replicas", format!("; {} lied", named(liars))),
    };
    let there = match absent.as_slice() {
        [] if liars.is_empty() => "all replicas executed the same history".to_owned(),
        [] => format!("all {correct} {kind} executed the same history"),
        [_, more @ ..] => {
            let there = correct.saturating_sub(absent.len());
            let were = if more.is_empty() { "was" } else { "were" };
            let gone = named(&absent);
            format!(
                "{there} of {correct} {kind} executed the same history, {gone} {were} not there at the end"
            )
        }
    };
    there + &but
}

/// `replica 0`, or `replicas 0 and 3`.
#[must_use]
pub fn named(replicas: &[u16]) -> String {
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
        for (absent, liars, said) in [
            (vec![], vec![], "all replicas executed the same history"),
            (
                vec![0],
                vec![],
                "6 of 7 replicas executed the same history, replica 0 was not there at the end",
            ),
            (
                vec![0, 3],
                vec![],
                "5 of 7 replicas executed the same history, replicas 0 and 3 were not there at the end",
            ),
            (vec![], vec![2], "all 6 correct replicas executed the same history; replica 2 lied"),
            (
                vec![0, 2],
                vec![2],
                "5 of 6 correct replicas executed the same history, replica 0 was not there at the end; replica 2 lied",
            ),
        ] {
            assert_eq!(Verdict::Agreement { absent, liars }.sentence(7), said);
        }
    }

    #[test]
    fn a_run_whose_liar_found_nothing_to_lie_about_is_not_good() {
        let verdict = Verdict::NoLie(vec![2]);
        assert!(!verdict.is_good());
        assert!(
            verdict.sentence(4).starts_with("NO LIE: replica 2 found nothing to lie about"),
            "{verdict:?}"
        );
    }
}
