//! Whether the runs of a cell bear its load: most of them have to be within the limits, or less is tried.

use super::once::Once;

/// What is to be done after a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Another run at the same load.
    Run,
    /// Most of the runs can no longer be within the limits.
    Less,
    /// All runs are there.
    Enough,
}

/// What is next after these runs at one load, each within the limits or not, where so many are asked for.
pub(super) fn next(within: &[bool], asked: usize) -> Next {
    let majority = asked / 2 + 1;
    let outside = within.iter().filter(|within| !**within).count();
    if outside > asked.saturating_sub(majority) {
        Next::Less
    } else if within.len() < asked {
        Next::Run
    } else {
        Next::Enough
    }
}

/// What is next after the runs so far. Only of a peak less can be tried.
pub(super) fn after(runs: &[Once], asked: u16, is_peak: bool) -> Next {
    let within: Vec<bool> = runs.iter().map(|once| once.within || !is_peak).collect();
    next(&within, usize::from(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_is_judged_and_the_majority_has_to_bear_the_load() {
        assert_eq!(next(&[true, true, true], 3), Next::Enough);
        // One bad moment of the machine, whichever run it is in.
        for outside in 0..3 {
            let within: Vec<bool> = (0..3).map(|run| run != outside).collect();
            assert_eq!(next(&within, 3), Next::Enough);
        }
        assert_eq!(next(&[true, false, false], 3), Next::Less);
        assert_eq!(next(&[true, true, false, false, true], 5), Next::Enough);
        assert_eq!((next(&[true], 1), next(&[false], 1)), (Next::Enough, Next::Less));
        assert_eq!((next(&[true, true], 2), next(&[true, false], 2)), (Next::Enough, Next::Less));
    }

    #[test]
    fn no_run_is_made_that_can_change_nothing() {
        assert_eq!(
            (next(&[], 3), next(&[false], 3), next(&[true, false], 3)),
            (Next::Run, Next::Run, Next::Run)
        );
        assert_eq!(next(&[false, false], 3), Next::Less);
    }
}
