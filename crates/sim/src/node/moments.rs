//! The moments at which a process can die with a difference to the world.

/// Counts moments, and says at which the process dies.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moments {
    count: u64,
    dies_at: Option<u64>,
    dead: bool,
}

impl Moments {
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Moments that have passed cannot be died at any more.
    pub(super) fn die_at(&mut self, nth: u64) {
        self.dies_at = (nth > self.count).then_some(nth);
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }

    /// How many moments it lives for, the last one included, if it dies at one.
    pub(super) fn left(&self) -> Option<u64> {
        self.dies_at.filter(|_| !self.dead).map(|at| at - self.count)
    }

    /// A moment passes; says whether the process lives on.
    pub(super) fn pass(&mut self) -> bool {
        self.pass_many(1)
    }

    /// Several moments pass.
    pub(super) fn pass_many(&mut self, moments: u64) -> bool {
        if !self.dead {
            self.count += moments;
            self.dead = self.dies_at.is_some_and(|at| at <= self.count);
        }
        !self.dead
    }
}

#[cfg(test)]
mod tests {
    use super::Moments;

    #[test]
    fn a_process_dies_at_its_moment_and_stays_dead() {
        let mut moments = Moments::default();
        assert!(moments.pass() && moments.left().is_none());
        moments.die_at(1);
        assert!(moments.pass(), "that moment has passed");
        moments.die_at(5);
        assert_eq!(moments.left(), Some(3));
        assert!(moments.pass_many(2));
        assert!(!moments.pass() && !moments.pass_many(0) && moments.is_dead());
        assert_eq!((moments.count(), moments.left()), (5, None));
    }
}
