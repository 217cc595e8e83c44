//! D1, D2: primaries that crash or say nothing.

use std::collections::BTreeSet;

use quorate_protocol::types::View;
use quorate_sim::network::Profile;
use quorate_sim::rng::Rng;
use quorate_sim::world::Outage;

use super::lab::{Lab, T0, calm, newest_open_view};

/// Slots between checkpoints while primaries crash: so many useful batches bring timeouts back to their base.
const INTERVAL: u64 = 8;

/// A cluster whose primaries crash under load and come back, one after the other.
struct Reigns {
    lab: Lab,
    rng: Rng,
    asked: u64,
}

impl Reigns {
    fn new(replicas: u16, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut setting = calm(replicas, seed);
        (setting.parameters.checkpoint_interval, setting.parameters.window) = (INTERVAL, 8 * INTERVAL);
        setting.profile = Profile { jitter_us: rng.below(500), ..Profile::calm(rng.between(500, 1_000)) };
        let lab = Lab::new(&setting, 2);
        let asked = lab.world.accepted();
        Self { lab, rng, asked }
    }

    fn employ(&mut self, client: usize, commands: u64, think_us: u64) {
        self.lab.world.employ(client, commands, 1, think_us);
        self.asked += commands;
    }

    /// The view works until timeouts are at their base everywhere. It ends right after a checkpoint, so that whoever is
    /// down next misses none: what needs a state transfer is another row.
    fn work(&mut self) {
        let settled = |lab: &Lab| lab.timeout() == T0 && lab.executed().is_multiple_of(INTERVAL);
        for _ in 0..4 * INTERVAL {
            if settled(&self.lab) {
                return;
            }
            self.employ(0, 1, 0);
            self.lab.await_that("the view works", T0, |lab| lab.is_answered() && lab.is_at_rest());
        }
        panic!("timeouts stay at {} us although the view works", self.lab.timeout());
    }

    /// The primary crashes at a random moment with calls of both clients out, and comes back when a new one reigns.
    /// Says how long it took from the crash to the first answer of the new view.
    fn crash(&mut self) -> u64 {
        self.employ(0, 3, 1_000);
        self.employ(1, 3, 1_000);
        let moment = self.rng.below(9_000);
        self.lab.run(moment);
        let view = newest_open_view(&self.lab);
        let leader = self.lab.alive()[0].primary();
        assert!(self.lab.world.accepted() < self.asked, "it crashes under load");
        let down = self.rng.between(6 * T0 / 5, 2 * T0);
        self.lab.world.go_down(leader, Outage::clean(down)).unwrap();
        // What is out may have committed just now; something is asked of the next primary in any case.
        let left = self.lab.world.clients()[0].to_do;
        self.lab.world.employ(0, left + 1, 1, 1_000);
        self.asked += 1;
        let opened = self.lab.await_that("a view opens", 20 * T0, |lab| newest_open_view(lab) > view);
        let accepted = self.lab.world.accepted();
        let served = self.lab.await_that("it serves", 20 * T0, |lab| lab.world.accepted() > accepted);
        let replicas = self.lab.world.nodes().len();
        self.lab.await_that("the crashed one is back, and all is answered", 20 * T0, |lab| {
            lab.alive().len() == replicas && lab.is_answered() && lab.is_at_rest()
        });
        assert_eq!(self.lab.world.accepted(), self.asked, "nothing is lost");
        assert_eq!(newest_open_view(&self.lab), View(view.0 + 1), "one crash, one view change");
        opened + served
    }
}

// The checkers of the world see to it that nothing executes twice, that every answer is that of one execution, and that
// nobody who comes back contradicts what it said before. Would miss slow disks and processors, and what the operating
// system adds: real processes are killed elsewhere.
#[test]
fn d1_a_crashed_primary_costs_two_timeouts_at_most_and_no_request_and_reigns_again() {
    // A thousand crashes: of four replicas mostly, of seven sometimes; every replica has its turn many times.
    let mut costs = Vec::new();
    for (seed, replicas) in (0..).zip([4, 4, 4, 4, 4, 4, 4, 4, 4, 7]) {
        let mut reigns = Reigns::new(replicas, seed);
        for _ in 0..100 {
            reigns.work();
            costs.push(reigns.crash());
        }
        let injected = reigns.lab.world.injected();
        assert_eq!((injected.outages, injected.restarts), (100, 100));
        for id in 0..replicas {
            let proposed = format!("{id} -> all: PRE-PREPARE v");
            let views: BTreeSet<&str> = reigns
                .lab
                .said()
                .iter()
                .filter_map(|line| line.strip_prefix(&proposed))
                .filter_map(|rest| rest.split(' ').next())
                .collect();
            assert!(views.len() >= 100 / usize::from(replicas), "replica {id} reigned {} times", views.len());
        }
    }
    costs.sort_unstable();
    let (middle, worst) = (costs[costs.len() / 2], costs[costs.len() - 1]);
    println!("{} crashes: recovery {middle} us in the middle, {worst} us at most", costs.len());
    assert!(worst <= 2 * T0, "the slowest of {} took {worst} us", costs.len());
    assert!(middle >= T0 / 2, "a crash that costs {middle} us was no crash");
}

/// From a request to its answer with so many bad primaries in a row, where only these backups know of the request.
fn recovery(replicas: u16, bad: u16, knowing: &[u16], sin: &str) -> u64 {
    let mut lab = Lab::quiet(&calm(replicas, 1), 1);
    lab.ask(0, "add k 1");
    lab.await_that("the first primary works", T0, Lab::is_answered);
    for id in 0..bad {
        lab.corrupt(id, &[sin]);
    }
    lab.ask(0, "add k 1");
    lab.repeat(0, knowing);
    let took = lab.await_that("somebody answers", 200 * T0, Lab::is_answered);
    assert_eq!(newest_open_view(&lab), View(bad.into()), "each of them had its turn, and nobody else");
    for id in (bad..replicas).filter(|id| !knowing.contains(id)) {
        assert_eq!(
            lab.count(&[&format!("{id} -> "), "FORWARD"]),
            0,
            "replica {id} was not to know of the request"
        );
    }
    took
}

// Would miss primaries that equivocate instead of saying nothing; those are liars with frames of their own.
#[test]
fn d2_f_silent_primaries_in_a_row_cost_their_timeouts_and_a_second() {
    let silent = "mute";
    // As a backup it works, so that it is one of those who change views; it only never leads.
    let leads_nobody = "mute:kinds=pre-prepare+new-view+reply";
    for (replicas, bad) in [(4, 1), (7, 2), (10, 3)] {
        let most = (0..=u32::from(bad)).map(|k| T0 << k).sum::<u64>() + 1_000_000;
        let least = (0..u32::from(bad)).map(|k| T0 << k).sum::<u64>();
        // Every correct replica waits for the request, or just f + 1 do, whom the others must join.
        let (everyone, few) = ((bad..replicas).collect::<Vec<_>>(), (bad..=2 * bad).collect::<Vec<_>>());
        for (knowing, sin) in [(&everyone, silent), (&everyone, leads_nobody), (&few, silent)] {
            let took = recovery(replicas, bad, knowing, sin);
            println!("{bad} silent primaries of {replicas}, {} know: {took} us", knowing.len());
            assert!(took <= most, "{bad} of {replicas}: {took} us, more than {most}");
            assert!(took >= least, "{bad} of {replicas}: {took} us, so not everyone was waited for");
        }
    }
}
