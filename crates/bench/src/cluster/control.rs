//! What a cluster is told while it runs, besides to die: to part, and to lie.

use super::Cluster;
use crate::worker::{Control, Order, WorkerError};

impl Cluster {
    /// Cuts all links between these groups of replicas; whoever is in none of them is alone. Clients reach everybody. It
    /// takes the place of an earlier parting, and holds for replicas that are started again.
    ///
    /// # Errors
    /// [`WorkerError`] if a replica cannot be told.
    pub async fn part(&mut self, sides: &[Vec<u16>]) -> Result<(), WorkerError> {
        self.parted = Some(company(self.size(), sides));
        self.tell_links(&self.living()).await
    }

    /// Mends all links.
    ///
    /// # Errors
    /// [`WorkerError`] if a replica cannot be told.
    pub async fn heal(&mut self) -> Result<(), WorkerError> {
        if self.parted.take().is_none() {
            return Ok(());
        }
        let all = |replicas| Order::Control { replicas, control: Control::Links(None) };
        self.tell(&self.living(), all).await.map(drop)
    }

    /// Whom each replica may speak with, itself among them; none if that is everybody.
    #[must_use]
    pub fn parted(&self) -> Option<&[Vec<u16>]> {
        self.parted.as_deref()
    }

    /// Lets a replica tell these lies from now on, or be honest. Nothing is expected of it any more, either way.
    ///
    /// # Errors
    /// [`WorkerError`] if it cannot be told.
    pub async fn behave(&mut self, replica: u16, behaviour: Option<&str>) -> Result<(), WorkerError> {
        let control = Control::Behave(behaviour.map(str::to_owned));
        self.tell(&[replica], |replicas| Order::Control { replicas, control: control.clone() }).await?;
        if let Some(behaviour) = behaviour {
            self.liars.turn(replica, behaviour);
        }
        Ok(())
    }

    /// Tells replicas with whom they may speak, if anybody is parted.
    pub(super) async fn tell_links(&mut self, replicas: &[u16]) -> Result<(), WorkerError> {
        let Some(parted) = self.parted.clone() else { return Ok(()) };
        for replica in replicas {
            let with = parted.get(usize::from(*replica)).cloned();
            let control = Control::Links(with);
            self.tell(&[*replica], |replicas| Order::Control { replicas, control: control.clone() }).await?;
        }
        Ok(())
    }

    /// The replicas that run.
    fn living(&self) -> Vec<u16> {
        (0..self.size()).filter(|replica| self.lives(*replica)).collect()
    }
}

/// Whom each replica is with.
fn company(replicas: u16, sides: &[Vec<u16>]) -> Vec<Vec<u16>> {
    let with = |replica| sides.iter().find(|side| side.contains(&replica)).cloned();
    (0..replicas).map(|replica| with(replica).unwrap_or_else(|| vec![replica])).collect()
}

#[cfg(test)]
mod tests {
    use super::company;

    #[test]
    fn whoever_is_on_no_side_is_alone() {
        let company = company(5, &[vec![0, 1], vec![3, 4]]);
        assert_eq!(company, [vec![0, 1], vec![0, 1], vec![2], vec![3, 4], vec![3, 4]]);
    }
}
