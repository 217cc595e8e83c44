//! What strikes during the measured time, and when correct replicas are seen to notice.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::RunError;
use super::marks::Struck;
use super::stage::Stage;
use crate::cluster::Deed;
use crate::figure::{Strike, Whom};

/// Between two looks at replicas that have not noticed a fault yet: as exact as its mark is. Nobody is asked anything
/// during the measured time but then, and an answer costs a replica less than 100 µs.
const LOOK: Duration = Duration::from_millis(20);
/// How long they are looked at.
const LOOKING: Duration = Duration::from_secs(10);
/// How long a strike waits for a primary, where there is none for a moment.
const NO_PRIMARY: Duration = Duration::from_secs(2);

/// Strikes to come, and those that came.
pub(super) struct Faults {
    begin: Instant,
    coming: VecDeque<Strike>,
    came: Vec<Struck>,
    last: Option<u16>,
    /// Until when the last of those that came is looked at.
    looking_until: Option<Instant>,
}

impl Faults {
    /// They are due counted from `begin`.
    pub(super) fn new(strikes: &[Strike], begin: Instant) -> Self {
        let coming = strikes.iter().copied().collect();
        Self { begin, coming, came: Vec::new(), last: None, looking_until: None }
    }

    /// When there is something to do, if ever.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let strike = self.coming.front().map(|strike| self.begin + strike.after);
        let look = self.looking_until.map(|_| now + LOOK);
        strike.into_iter().chain(look).min()
    }

    /// Whether somebody is still to be seen noticing.
    pub(super) fn is_looking(&self) -> bool {
        self.looking_until.is_some()
    }

    pub(super) fn into_struck(self) -> Vec<Struck> {
        self.came
    }

    /// Strikes if it is time, and looks if something is to be seen.
    pub(super) async fn act(&mut self, stage: &mut Stage) -> Result<(), RunError> {
        let is_due = |strike: &mut Strike| self.begin + strike.after <= Instant::now();
        if let Some(strike) = self.coming.pop_front_if(is_due) {
            return self.strike(strike, stage).await;
        }
        let Some(until) = self.looking_until else { return Ok(()) };
        let statuses = stage.cluster.statuses().await;
        let (now, correct) = (Instant::now(), stage.correct(&statuses));
        if let Some(fault) = self.came.last_mut() {
            let left = correct.iter().find(|status| status.view > fault.view);
            fault.noticed = left.map(|status| (seconds(self.begin, now), status.replica));
            if fault.noticed.is_some() || now > until {
                self.looking_until = None;
            }
        }
        Ok(())
    }

    async fn strike(&mut self, strike: Strike, stage: &mut Stage) -> Result<(), RunError> {
        let (deed, takes_away) = (strike.deed, strike.deed.takes_away());
        let reign = match strike.whom {
            Whom::Primary => primary(stage).await,
            Whom::Last => None,
        };
        let target = reign.map(|(primary, _)| primary).or(self.last);
        let target = target.filter(|replica| stage.cluster.allows(deed, *replica));
        let Some(replica) = target else {
            let why = format!("{} at {:?} found nobody to strike", word(deed), strike.after);
            return Err(RunError::Fault(why));
        };
        let now = Instant::now();
        stage.cluster.strike(deed, &[replica]).await?;
        self.came.push(Struck {
            at_s: seconds(self.begin, now),
            detail: format!("replica {replica} was {}", word(deed)),
            takes_away,
            view: reign.map_or(0, |(_, view)| view),
            noticed: None,
        });
        self.last = Some(replica);
        self.looking_until = takes_away.then_some(now + LOOKING);
        Ok(())
    }
}

fn seconds(begin: Instant, now: Instant) -> f64 {
    now.saturating_duration_since(begin).as_secs_f64()
}

fn word(deed: Deed) -> &'static str {
    match deed {
        Deed::Kill => "killed",
        Deed::Restart => "started again",
        Deed::Pause => "stopped",
        Deed::Resume => "resumed",
        Deed::Stop => "stopped in good order",
    }
}

/// The primary and its view, as the correct replicas in the newest view see it; waits a moment until it serves.
async fn primary(stage: &mut Stage) -> Option<(u16, u64)> {
    let until = Instant::now() + NO_PRIMARY;
    loop {
        let statuses = stage.cluster.statuses().await;
        let correct = stage.correct(&statuses);
        let newest = correct.iter().max_by_key(|status| status.view);
        let reign = newest.map(|status| (status.primary, status.view));
        let serves = |(primary, view): &(u16, u64)| {
            let itself = correct.iter().find(|status| status.replica == *primary);
            itself.is_some_and(|status| status.view == *view && status.status == "normal")
        };
        if let Some(reign) = reign.filter(serves) {
            return Some(reign);
        }
        if Instant::now() > until {
            return None;
        }
        tokio::time::sleep(LOOK).await;
    }
}
