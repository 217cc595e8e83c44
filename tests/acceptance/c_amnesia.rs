//! C9: a replica whose journal rotted comes back bound by what it may have promised, and gets well.

use quorate_protocol::types::ReplicaId;
use quorate_sim::damage::{Damage, Part, Rot};
use quorate_sim::world::Outage;

use super::lab::{Lab, T0, calm};

/// A cluster in the middle of an agreement, one replica of which loses its process, and then whatever record of its
/// journal the seed hits in both copies.
fn struck(victim: u16, seed: u64) -> Lab {
    let mut setting = calm(4, seed);
    (setting.parameters.checkpoint_interval, setting.parameters.window) = (8, 16);
    let mut lab = Lab::new(&setting, 1);
    for number in 0..3 {
        lab.ask(0, &format!("add k {number}"));
        lab.run(3_000 + 500 * number);
    }
    let damage = Some(Damage { rot: Rot::Copies, part: Part::Journal, seed });
    let outage = Outage { damage, ..Outage::clean(0) };
    lab.world.kill(ReplicaId(victim), outage).unwrap();
    lab.world.start(ReplicaId(victim)).unwrap();
    lab
}

// Whatever the amnesiac says is held against all that it ever said, in all its lives, by the world's checkers.
#[test]
fn c9_an_amnesiac_contradicts_nothing_that_it_said_and_gets_well_though_nobody_wants_anything() {
    let mut boxed = [0; 2];
    for seed in 1..=12 {
        let victim = u16::try_from(seed % 2).unwrap();
        let mut lab = struck(victim, seed);
        let Some(forgot) = lab.replica(victim).amnesia() else { continue };
        boxed[usize::from(victim)] += 1;
        lab.await_that("what was asked is answered", 20 * T0, Lab::is_answered);
        let stable = |lab: &Lab| lab.replica(victim).watermarks().0 >= forgot.high;
        lab.await_that("null batches bring the checkpoint", 40 * T0, stable);
        if victim == 0 {
            // The primary of the view that it may have voted in can propose nothing there, and says so.
            let well = |lab: &Lab| lab.replica(victim).amnesia().is_none();
            lab.await_that("its view is left, and its box with it", 20 * T0, well);
        } else {
            assert!(lab.replica(victim).amnesia().is_some(), "its view is not over");
            let primary = lab.replica(victim).primary();
            lab.world.kill(primary, Outage::clean(0)).unwrap();
            lab.ask(0, "add k 9");
            // Without the amnesiac's vote there is no quorum: it is a replica like any other again.
            lab.await_that("it votes for another view, and in it", 20 * T0, |lab| {
                lab.is_answered() && lab.replica(victim).amnesia().is_none()
            });
            lab.world.start(primary).unwrap();
        }
        lab.ask(0, "add k 10");
        lab.await_that("all of them serve", 20 * T0, |lab| lab.is_answered() && lab.is_at_rest());
        assert_eq!(lab.world.injected().boxed, 1);
    }
    assert!(boxed.iter().all(|count| *count >= 2), "{boxed:?}");
}
