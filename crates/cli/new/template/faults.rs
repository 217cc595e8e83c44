//! The ledger under faults: clusters in virtual time with links that lose and delay, replicas that crash and come back,
//! disks that rot, clocks that are wrong, and one replica that tells different replicas different things. Each one is
//! checked: the correct replicas agree, no answer is lost, and every replica does the same with every command.

use quorate::simulation::{self, Rng};

use my_ledger::{Command, Ledger, operation};

fn any_command(rng: &mut Rng) -> Command {
    operation(rng.below(1_000))
}

#[test]
fn the_ledger_stands_crashes_and_a_replica_that_equivocates() {
    let swarm = simulation::swarm(Ledger::default, any_command).lying("equivocate").seeds(0..20);
    let summary = swarm.check().unwrap_or_else(|failure| panic!("{failure}"));
    println!("{summary:?}");
    assert!(summary.restarts > 0 && summary.view > 0 && summary.lies > 0, "{summary:?}");
}

#[test]
fn the_ledger_stands_faults_and_liars_of_every_kind() {
    simulation::swarm(Ledger::default, any_command).seeds(100..110).run();
}
