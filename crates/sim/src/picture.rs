//! A world as a message-sequence picture: a lane for each client and replica, time downwards, an arrow for each message.
//!
//! The picture is one SVG that needs nothing else, in colours that follow the reader's light or dark scheme. Stretches in
//! which nothing happens are cut short, so heights compare only where messages are. What it shows is bounded: what
//! happens in a [`Window`], and it says how much came before and after.

mod layout;
mod paint;
pub mod sketch;
#[cfg(test)]
mod tests;

use quorate_protocol::types::{ReplicaId, Time};

use crate::check::Violation;
use crate::scenario::{Outcome, Scenario};
use crate::world::World;
use layout::Layout;
pub use sketch::{Fate, Mark, Phase, Sent, Sketch, Window};

/// Marks that a picture shows unless told otherwise: about ten screens.
pub const MARKS: usize = 400;

/// What a picture is of, besides what happened.
#[derive(Debug, Clone)]
pub struct Subject {
    /// What stands above it.
    pub title: String,
    /// Lanes of clients.
    pub clients: usize,
    /// Lanes of replicas.
    pub replicas: u16,
    /// Who lies.
    pub liars: Vec<ReplicaId>,
    /// When it ends.
    pub end: Time,
    /// What went wrong then, and where, if anything did.
    pub violation: Option<(String, Option<ReplicaId>)>,
}

impl Subject {
    /// A world as it is, and how it ended.
    #[must_use]
    pub fn of(world: &World, title: &str, violation: Option<&Violation>) -> Self {
        let replicas = || world.context().committee.replicas();
        Self {
            title: title.to_owned(),
            clients: world.clients().len(),
            replicas: u16::try_from(replicas().count()).unwrap_or(u16::MAX),
            liars: replicas().filter(|id| world.is_liar(*id)).collect(),
            end: world.now(),
            violation: violation.map(|violation| (violation.to_string(), culprit(violation))),
        }
    }
}

/// Who was seen to do what is wrong, if it was one replica.
fn culprit(violation: &Violation) -> Option<ReplicaId> {
    match violation {
        Violation::Agreement { replica, .. }
        | Violation::Order { replica, .. }
        | Violation::Roots { replica, .. }
        | Violation::Backwards { replica, .. }
        | Violation::Undurable { replica, .. }
        | Violation::Contradiction { replica, .. }
        | Violation::Forgot { replica, .. }
        | Violation::FalseAlarm { replica, .. }
        | Violation::Memory { replica, .. }
        | Violation::Stopped { replica, .. }
        | Violation::NoLie { replica, .. } => Some(*replica),
        _ => None,
    }
}

/// Draws what happened.
#[must_use]
pub fn draw(sketch: &Sketch, subject: &Subject) -> String {
    paint::paint(&Layout::of(sketch, subject), sketch, subject)
}

/// Lets a scenario happen and draws the last `marks_max` things of it.
pub fn run(scenario: &Scenario, marks_max: usize) -> (Result<Outcome, Violation>, String) {
    let mut world = World::new(&scenario.setting);
    world.keep_sketch(marks_max);
    let outcome = scenario.run_in(&mut world);
    let title = format!("seed {}: {} replicas", scenario.setting.seed, scenario.setting.replicas);
    let subject = Subject::of(&world, &title, outcome.as_ref().err());
    let sketch = world.take_sketch().unwrap_or_else(|| Sketch::new(1));
    (outcome, draw(&sketch, &subject))
}
