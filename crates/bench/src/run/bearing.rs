//! The loads of runs at a peak: a little more after a run that was within the limits, a little less after one that was
//! not, so that runs walk up and down around what is borne (the up-and-down method of Dixon and Mood, 1948). Where a
//! search stopped at a bad moment, they leave.

/// By how much the load changes after a run: more of it the longer it goes on in one direction.
const STEP: f64 = 0.04;
const STEP_MAX: f64 = 0.08;

/// What is to be done after a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Next {
    /// Another run, at so many calls per second.
    Run(f64),
    /// All runs are there.
    Enough,
    /// Too few of many were within the limits.
    Unborne,
}

/// A run: the load that was asked for, in calls per second, and whether it was within the limits.
pub(super) type Step = (f64, bool);

/// Runs at a peak at most, where so many are asked for.
pub(super) fn runs_most(asked: usize) -> usize {
    2 * asked + 2
}

/// What is next after these runs, where a search found the first load and so many runs within the limits are asked for.
/// They are not enough before one was out of the limits: else there may be more to be had. Of a single run nothing can
/// be said but that it was within.
pub(super) fn next(found_rps: f64, steps: &[Step], asked: usize) -> Next {
    let within = steps.iter().filter(|(_, within)| *within).count();
    let is_bracketed = within < steps.len() || asked == 1;
    if within >= asked && is_bracketed {
        return Next::Enough;
    }
    if steps.len() >= runs_most(asked) {
        return if within > asked / 2 { Next::Enough } else { Next::Unborne };
    }
    let Some((last_rps, was_within)) = steps.last() else { return Next::Run(found_rps) };
    let alike = steps.iter().rev().take_while(|(_, within)| within == was_within).count();
    let step = (STEP * f64::from(1_u32 << (alike - 1).min(8))).min(STEP_MAX);
    Next::Run(if *was_within { last_rps * (1.0 + step) } else { last_rps / (1.0 + step) })
}

/// Which of the runs count, by their places: the last that were within the limits, as many as are asked for.
pub(super) fn counted(steps: &[Step], asked: usize) -> Vec<usize> {
    let within = steps.iter().enumerate().filter(|(_, (_, within))| *within).map(|(at, _)| at);
    let within: Vec<usize> = within.collect();
    within[within.len().saturating_sub(asked)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The runs of a machine that bears as much as `bears` says at each of them: their loads that count.
    fn walk(found_rps: f64, asked: usize, mut bears: impl FnMut(usize) -> f64) -> (Vec<Step>, Next) {
        let mut steps = Vec::new();
        loop {
            match next(found_rps, &steps, asked) {
                Next::Run(rps) => steps.push((rps, rps <= bears(steps.len()))),
                end => return (steps, end),
            }
        }
    }

    fn median(steps: &[Step], asked: usize) -> f64 {
        let loads: Vec<f64> = counted(steps, asked).into_iter().map(|at| steps[at].0).collect();
        crate::statistics::median(&loads)
    }

    #[test]
    fn runs_walk_up_and_down_around_what_is_borne() {
        let loads = |found, bears: f64| {
            let (steps, end) = walk(found, 3, |_| bears);
            assert_eq!(end, Next::Enough);
            steps.iter().map(|(load, _)| load.round()).collect::<Vec<_>>()
        };
        assert_eq!(loads(1000.0, 1010.0), [1000.0, 1040.0, 1000.0, 1040.0, 1000.0]);
        assert_eq!(loads(1000.0, 1100.0), [1000.0, 1040.0, 1123.0, 1080.0]);
        assert_eq!(loads(1000.0, 900.0), [1000.0, 962.0, 890.0, 926.0, 890.0, 926.0, 890.0]);
    }

    #[test]
    fn a_search_that_stopped_too_low_or_too_high_is_left_behind() {
        for found in [700.0, 800.0, 900.0, 1100.0, 1250.0] {
            let (steps, end) = walk(found, 3, |_| 1000.0);
            assert!(end == Next::Enough && steps.len() <= runs_most(3), "{found}: {steps:?}");
            let told = median(&steps, 3);
            assert!((850.0..=1000.0).contains(&told), "{found}: {told}");
        }
    }

    #[test]
    fn one_bad_moment_in_five_runs_changes_little() {
        for bad in 0..5 {
            let (steps, _) = walk(970.0, 3, |run| if run == bad { 700.0 } else { 1000.0 });
            let told = median(&steps, 3);
            assert!((900.0..=1000.0).contains(&told), "{bad}: {told} of {steps:?}");
        }
    }

    #[test]
    fn two_figures_of_one_machine_that_is_noisy_agree_where_two_searches_do_not() {
        let (mut apart, mut searches_apart) = (0, 0);
        for seed in 0..500 {
            let mut state: u64 = seed;
            let mut noise = |width: f64| {
                // Knuth's multiplier; the upper bits are good.
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                1.0 + width * ((state >> 40) as f64 / f64::from(1 << 23) - 1.0)
            };
            // What is borne differs by 5 % from run to run, and a search may have been off by a fifth.
            let found = [1000.0 * noise(0.2), 1000.0 * noise(0.2)];
            let told = found.map(|found| median(&walk(found, 3, |_| 1000.0 * noise(0.05)).0, 3));
            let differ = |[one, other]: [f64; 2]| (one / other - 1.0).abs() > 0.1;
            apart += usize::from(differ(told));
            searches_apart += usize::from(differ(found));
        }
        assert!(apart * 3 < searches_apart, "{apart} and {searches_apart} of 500 pairs differ");
    }

    #[test]
    fn what_is_not_borne_has_no_number_and_no_run_is_made_in_vain() {
        let (steps, end) = walk(1000.0, 3, |_| 1.0);
        assert_eq!((steps.len(), end), (8, Next::Unborne));
        assert!(steps[7].0 < 650.0, "it was tried far below: {steps:?}");
        // Whatever is offered is borne: the last runs count, though nobody knows how much more there is.
        let (steps, end) = walk(1000.0, 3, |_| f64::INFINITY);
        assert_eq!((steps.len(), end, counted(&steps, 3)), (8, Next::Enough, vec![5, 6, 7]));
        let (steps, end) = walk(1000.0, 1, |_| 1000.0);
        assert_eq!((steps, end), (vec![(1000.0, true)], Next::Enough));
        let (steps, end) = walk(1000.0, 5, |_| 1000.0);
        assert_eq!((end, steps.iter().filter(|(_, within)| *within).count()), (Next::Enough, 5));
    }
}
