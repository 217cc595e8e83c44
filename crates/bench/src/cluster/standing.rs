//! What is done to replicas on purpose, and how they stand.

use quorate_protocol::committee::faults;

use super::{Cluster, Deed};
use crate::worker::{Order, WorkerError};

/// What was done to a replica on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running,
    /// Killed or stopped for good, and not started again.
    Dead,
    /// Stopped (SIGSTOP), and not resumed.
    Paused,
}

impl Cluster {
    /// Kills replicas, as a power cut would: all of them at once.
    ///
    /// # Errors
    /// [`WorkerError`].
    pub async fn kill(&mut self, replicas: &[u16]) -> Result<(), WorkerError> {
        // With its memory a process forgets its lies.
        self.hear_confessions(replicas).await;
        self.tell(replicas, Order::Kill).await?;
        self.note(replicas, State::Dead);
        Ok(())
    }

    /// Asks replicas to stop in good order, and waits until they have.
    ///
    /// # Errors
    /// [`WorkerError`].
    pub async fn retire(&mut self, replicas: &[u16]) -> Result<(), WorkerError> {
        self.hear_confessions(replicas).await;
        self.tell(replicas, Order::Retire).await?;
        self.note(replicas, State::Dead);
        Ok(())
    }

    /// Notes which lies the liars among these have told, before they are gone.
    pub(super) async fn hear_confessions(&mut self, replicas: &[u16]) {
        let liars = replicas.iter().copied().filter(|id| self.liars.is_liar(*id) && self.lives(*id));
        let liars: Vec<u16> = liars.collect();
        for status in self.statuses_of(&liars).await.into_values().flatten() {
            self.liars.note_end(&status);
        }
    }

    /// Starts replicas that were killed.
    ///
    /// # Errors
    /// [`WorkerError`].
    pub async fn restart(&mut self, replicas: &[u16]) -> Result<(), WorkerError> {
        self.tell(replicas, Order::Spawn).await?;
        self.note(replicas, State::Running);
        // One that ended at once hears nothing, which its silence shows.
        drop(self.tell_links(replicas).await);
        Ok(())
    }

    /// Stops replicas (SIGSTOP): they keep everything, and do nothing.
    ///
    /// # Errors
    /// [`WorkerError`].
    pub async fn pause(&mut self, replicas: &[u16]) -> Result<(), WorkerError> {
        self.tell(replicas, Order::Pause).await?;
        self.note(replicas, State::Paused);
        Ok(())
    }

    /// Lets them go on (SIGCONT).
    ///
    /// # Errors
    /// [`WorkerError`].
    pub async fn resume(&mut self, replicas: &[u16]) -> Result<(), WorkerError> {
        self.tell(replicas, Order::Resume).await?;
        self.note(replicas, State::Running);
        Ok(())
    }

    /// Does one deed to replicas.
    ///
    /// # Errors
    /// [`WorkerError`].
    pub async fn strike(&mut self, deed: Deed, replicas: &[u16]) -> Result<(), WorkerError> {
        match deed {
            Deed::Kill => self.kill(replicas).await,
            Deed::Restart => self.restart(replicas).await,
            Deed::Pause => self.pause(replicas).await,
            Deed::Resume => self.resume(replicas).await,
            Deed::Stop => self.retire(replicas).await,
        }
    }

    fn note(&mut self, replicas: &[u16], state: State) {
        for replica in replicas {
            if let Some(member) = self.members.get_mut(usize::from(*replica)) {
                member.state = state;
            }
        }
    }

    fn is(&self, replica: u16, state: State) -> bool {
        self.members.get(usize::from(replica)).is_some_and(|member| member.state == state)
    }

    /// Whether a deed can be done to a replica now.
    #[must_use]
    pub fn allows(&self, deed: Deed, replica: u16) -> bool {
        match deed {
            Deed::Kill => self.is(replica, State::Running) || self.is(replica, State::Paused),
            Deed::Pause | Deed::Stop => self.is(replica, State::Running),
            Deed::Restart => self.is(replica, State::Dead),
            Deed::Resume => self.is(replica, State::Paused),
        }
    }

    /// What a replica does, in a word.
    #[must_use]
    pub fn standing(&self, replica: u16) -> &'static str {
        match self.members.get(usize::from(replica)).map(|member| member.state) {
            Some(State::Running) => "running",
            Some(State::Dead) | None => "killed",
            Some(State::Paused) => "paused",
        }
    }

    /// Whether a replica should be running.
    #[must_use]
    pub fn lives(&self, replica: u16) -> bool {
        self.is(replica, State::Running)
    }

    /// The replicas that were killed or paused and are still gone.
    #[must_use]
    pub fn absent(&self) -> Vec<u16> {
        (0..self.size()).filter(|replica| !self.lives(*replica)).collect()
    }

    /// Whether so many replicas run that operations can be answered.
    #[must_use]
    pub fn has_quorum(&self) -> bool {
        self.absent().len() <= faults(self.members.len())
    }
}
