//! A rolling restart: every replica in turn is stopped in good order and started again, each as soon as the one before
//! has caught up.

use std::collections::VecDeque;

use anyhow::bail;
use quorate_bench::cluster::Deed;
use quorate_node::status::Status;

use super::Args;

/// Whose turn is still to come.
#[derive(Debug, Default)]
pub(crate) struct Rolling {
    turns: VecDeque<u16>,
    /// Who is gone just now.
    gone: Option<u16>,
}

impl Rolling {
    /// What was asked for, if anything was.
    ///
    /// # Errors
    /// If other faults are to come in between.
    pub(crate) fn new(args: &Args) -> anyhow::Result<Self> {
        let rounds = args.rolling.unwrap_or(0);
        let named = [&args.kill, &args.stop, &args.restart, &args.pause, &args.resume];
        let others = named.iter().any(|faults| !faults.is_empty());
        if rounds > 0 && (others || !args.kill_all.is_empty() || !args.restart_all.is_empty()) {
            bail!("--rolling waits until everybody is back before the next one goes; leave other faults out");
        }
        let turns = (0..rounds).flat_map(|_| 0..args.replicas).collect();
        Ok(Self { turns, gone: None })
    }

    /// Whether somebody is still to be stopped, or to be started again.
    pub(crate) fn is_unfinished(&self) -> bool {
        !self.turns.is_empty() || self.gone.is_some()
    }

    /// What to do now, after this look: somebody who is gone comes back, and nobody goes before everybody is there.
    pub(crate) fn next(&mut self, statuses: &[Option<Status>], all_are_back: bool) -> Option<(Deed, u16)> {
        if let Some(replica) = self.gone.take() {
            return Some((Deed::Restart, replica));
        }
        if !all_are_back || !are_together(statuses) {
            return None;
        }
        let replica = self.turns.pop_front()?;
        self.gone = Some(replica);
        Some((Deed::Stop, replica))
    }
}

/// Whether all vote in one view and have a link to each other.
fn are_together(statuses: &[Option<Status>]) -> bool {
    let view = statuses.first().and_then(Option::as_ref).map(|status| status.view);
    let takes_part = |status: &Status| {
        Some(status.view) == view && status.status == "normal" && status.links_up.len() + 1 == statuses.len()
    };
    statuses.iter().all(|status| status.as_ref().is_some_and(takes_part))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        args: Args,
    }

    fn rolling(words: &str) -> anyhow::Result<Rolling> {
        let words = std::iter::once("testbed").chain(words.split_whitespace());
        Rolling::new(&Alone::try_parse_from(words)?.args)
    }

    fn status(view: u64, links: u16) -> Option<Status> {
        let links_up = (0..links).collect();
        Some(Status { view, links_up, status: "normal".to_owned(), ..Status::default() })
    }

    #[test]
    fn each_goes_when_the_one_before_is_back_and_nobody_is_gone_at_the_end() {
        let mut rolling = rolling("--rolling 2").unwrap();
        let together = [0; 4].map(|view| status(view, 3));
        let apart = [0; 4].map(|view| status(view, 2));
        let changing = [0, 1, 1, 1].map(|view| status(view, 3));
        for turn in 0..8 {
            assert!(rolling.is_unfinished());
            for (statuses, back) in [(&together, false), (&apart, true), (&changing, true)] {
                assert_eq!(rolling.next(statuses, back), None);
            }
            assert_eq!(rolling.next(&together, true), Some((Deed::Stop, turn % 4)));
            assert!(rolling.is_unfinished());
            assert_eq!(rolling.next(&[None, None, None, None], false), Some((Deed::Restart, turn % 4)));
        }
        assert!(!rolling.is_unfinished());
        assert_eq!(rolling.next(&together, true), None);
    }

    #[test]
    fn nothing_else_goes_wrong_in_a_rolling_restart() {
        assert!(!rolling("").unwrap().is_unfinished());
        assert!(rolling("--rolling").unwrap().is_unfinished());
        for words in ["--kill 0@1s", "--stop primary@1s", "--pause 0@1s", "--kill-all 1s"] {
            let error = rolling(&format!("--rolling {words}")).unwrap_err().to_string();
            assert!(error.contains("leave other faults out"), "{words}: {error}");
        }
    }
}
