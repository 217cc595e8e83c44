//! Searches against servers that are made up: where they end, and after how many trials.

use super::*;

/// Answers up to its capacity; latency grows as a queue's does.
#[derive(Clone, Copy)]
struct Server {
    capacity: f64,
    /// What is left of the capacity when more is offered.
    overloaded: f64,
    service_us: f64,
}

impl Server {
    const fn of(capacity: f64) -> Self {
        Self { capacity, overloaded: 1.0, service_us: 100.0 }
    }

    fn answer(self, offered_rps: f64) -> Trial {
        let busy = offered_rps / self.capacity;
        let throughput_rps = if busy > 1.0 { self.capacity * self.overloaded } else { offered_rps };
        let p99_us = if busy < 1.0 { self.service_us * 4.6 / (1.0 - busy) } else { 1e7 };
        Trial {
            offered_rps,
            throughput_rps,
            p50_us: p99_us / 7.0,
            p99_us,
            answered_share: throughput_rps / offered_rps,
            sustained: true,
        }
    }
}

/// The same numbers each time, without any order to be seen: from -1 to 1.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}

fn run(limits: Limits, mut answer: impl FnMut(f64) -> Trial) -> Search {
    let mut search = Search::new(limits);
    while let Some(offered) = search.next() {
        assert!(search.trials().len() < limits.trials_max, "it asks for more trials than it may have");
        assert!((LEAST_RPS..=limits.max_rps).contains(&offered), "{offered}");
        search.note(answer(offered));
    }
    search
}

/// The most that a server bears within the limits.
fn truth(server: Server, limits: &Limits) -> f64 {
    let by_latency = server.capacity * (1.0 - server.service_us * 4.6 / limits.p99_us);
    by_latency.min(server.capacity)
}

#[test]
fn a_knee_is_found_within_the_precision_wherever_the_search_begins() {
    for first in [10.0, 2_000.0, 17_500.0, 24_000.0, 26_000.0, 90_000.0, 4_000_000.0] {
        for overloaded in [1.0, 0.8, 0.3] {
            let server = Server { overloaded, ..Server::of(25_000.0) };
            let limits = Limits { trials_max: 32, ..Limits::new(50_000.0, first) };
            let search = run(limits, |offered| server.answer(offered));
            let (best, truth) = (search.best().unwrap().throughput_rps, truth(server, &limits));
            assert_eq!(search.end(), Some(End::Converged), "{first}");
            assert!(best <= truth && best >= truth * 0.95, "{best} of {truth} from {first}, {overloaded}");
        }
    }
}

#[test]
fn a_search_that_begins_near_the_peak_takes_no_more_than_eight_trials() {
    for share in [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1] {
        for overloaded in [1.0, 0.9, 0.7] {
            let server = Server { overloaded, ..Server::of(25_000.0) };
            let limits = Limits { trials_max: 8, ..Limits::new(50_000.0, 25_000.0 * share) };
            let search = run(limits, |offered| server.answer(offered));
            let (best, truth) = (search.best().unwrap().throughput_rps, truth(server, &limits));
            assert!(best <= truth && best >= truth * 0.92, "{best} of {truth} from {share}, {overloaded}");
        }
    }
}

#[test]
fn a_limit_on_latency_ends_a_search_below_the_capacity() {
    let server = Server { service_us: 1_000.0, ..Server::of(25_000.0) };
    let limits = Limits { trials_max: 16, ..Limits::new(10_000.0, 5_000.0) };
    let search = run(limits, |offered| server.answer(offered));
    // 4.6 ms without load, 10 ms at 54 % of the capacity.
    let best = search.best().unwrap();
    assert!(best.throughput_rps <= 13_500.0 && best.throughput_rps >= 13_500.0 * 0.95, "{best:?}");
    assert!(best.p99_us <= 10_000.0);
}

#[test]
fn noise_moves_the_end_by_little_and_the_number_of_trials_by_nothing() {
    for seed in 0..200 {
        let mut noise = Noise(seed);
        let limits = Limits::new(50_000.0, 8_000.0);
        let search = run(limits, |offered| {
            let server = Server::of(25_000.0 * (1.0 + 0.04 * noise.next()));
            let trial = server.answer(offered);
            Trial { p99_us: trial.p99_us * (1.0 + 0.3 * noise.next()), ..trial }
        });
        let best = search.best().unwrap().throughput_rps;
        assert!((22_000.0..=26_000.0).contains(&best), "{best} with seed {seed}");
        assert!(search.trials().len() <= limits.trials_max);
    }
}

#[test]
fn one_bad_moment_does_not_end_a_search() {
    for bad in 1..7 {
        let server = Server::of(25_000.0);
        let limits = Limits { trials_max: 24, ..Limits::new(50_000.0, 8_000.0) };
        let mut trials = 0;
        let search = run(limits, |offered| {
            trials += 1;
            let trial = server.answer(offered);
            if trials == bad { Trial { p99_us: 1e6, ..trial } } else { trial }
        });
        let best = search.best().unwrap().throughput_rps;
        assert!(best >= truth(server, &limits) * 0.93, "{best} though only trial {bad} was bad");
    }
}

#[test]
fn what_is_only_late_is_left_behind_in_few_trials_however_much_it_was() {
    // Answers everything, and fast enough only up to 1000 a second.
    let server = |offered_rps: f64| Trial {
        offered_rps,
        throughput_rps: offered_rps,
        answered_share: 1.0,
        p50_us: 1_000.0,
        p99_us: 50_000.0 * offered_rps / 1_000.0,
        sustained: true,
    };
    // A part of the answers comes after the measured time, as on a network of long ways.
    let far =
        |offered: f64| Trial { throughput_rps: offered * 0.93, answered_share: 0.97, ..server(offered) };
    for first in [2_000.0, 5_000.0, 20_000.0, 60_000.0] {
        let limits = Limits { trials_max: 8, ..Limits::new(50_000.0, first) };
        let of = |offered| if offered > 1_000.0 { far(offered) } else { server(offered) };
        for search in [run(limits, server), run(limits, of)] {
            let best = search.best().map_or(0.0, |best| best.throughput_rps);
            assert!((700.0..=1_000.0).contains(&best), "{best} from {first}: {:?}", search.trials());
        }
    }
}

#[test]
fn two_failures_by_a_hair_at_the_start_leave_a_search_near_the_peak() {
    for share in [0.7, 0.8, 0.9, 1.0] {
        let (server, mut trials) = (Server::of(25_000.0), 0);
        let limits = Limits { trials_max: 7, ..Limits::new(50_000.0, 1.0) }.near(25_000.0 * share);
        let search = run(limits, |offered| {
            trials += 1;
            let trial = server.answer(offered.min(24_000.0));
            // All was answered, soon enough, and some of it after the end.
            let unlucky = Trial { throughput_rps: offered * 0.94, answered_share: 1.0, ..trial };
            if trials <= 2 { Trial { offered_rps: offered, ..unlucky } } else { server.answer(offered) }
        });
        let (best, truth) = (search.best().unwrap().throughput_rps, truth(server, &limits));
        assert!(best >= truth * 0.8, "{best} of {truth} from {share}: {:?}", search.trials());
        let (gap, _) = gap(search.trials(), best).unwrap();
        assert!(best * (1.0 + gap) >= truth * 0.99, "{best} + {gap} of {truth}: the peak is within the gap");
    }
}

#[test]
fn what_was_too_much_twice_stays_the_end_though_a_failure_below_it_was_bad_luck() {
    let (server, mut trials) = (Server::of(25_000.0), 0);
    let limits = Limits { trials_max: 12, ..Limits::new(50_000.0, 30_000.0) };
    let search = run(limits, |offered| {
        trials += 1;
        let trial = server.answer(offered);
        if trials == 2 { Trial { p99_us: 60_000.0, ..trial } } else { trial }
    });
    let most = search.trials().iter().map(|trial| trial.offered_rps).fold(0.0, f64::max);
    assert!(most <= 30_000.0, "nothing above the first failure is tried: {:?}", search.trials());
    assert!(search.best().unwrap().throughput_rps >= truth(server, &limits) * 0.93);
}

#[test]
fn the_gap_is_to_the_lowest_load_above_that_was_too_much() {
    let trial = |offered_rps, sustained| Trial { offered_rps, sustained, ..Trial::default() };
    // 800 failed once, and was borne later.
    let trials = [trial(800.0, false), trial(2_000.0, false), trial(1_100.0, false), trial(1_000.0, true)];
    let (by, lowest) = gap(&trials, 1_000.0).unwrap();
    assert!((by - 0.1).abs() < 1e-9 && (lowest.offered_rps - 1_100.0).abs() < 1e-9, "{by}");
    assert!(gap(&trials, 2_000.0).is_none() && gap(&trials, 0.0).is_none() && gap(&[], 1.0).is_none());
}

#[test]
fn what_never_saturates_ends_at_the_most_that_can_be_offered() {
    let limits = Limits { max_rps: 100_000.0, ..Limits::new(50_000.0, 1_000.0) };
    let search = run(limits, |offered| Server::of(1e9).answer(offered));
    assert_eq!(search.end(), Some(End::Unsaturated));
    assert!((search.best().unwrap().throughput_rps - 100_000.0).abs() < 1.0);
    // Beginning above it is beginning at it.
    let limits = Limits { first_rps: 1e9, ..limits };
    let search = run(limits, |offered| Server::of(1e9).answer(offered));
    assert_eq!((search.end(), search.trials().len()), (Some(End::Unsaturated), 1));
}

#[test]
fn what_sustains_nothing_has_no_best_and_takes_no_longer_than_others() {
    for first in [1.0, 10_000.0, 1e7] {
        let limits = Limits { trials_max: 16, ..Limits::new(50_000.0, first) };
        let dead = |offered_rps| Trial { offered_rps, p99_us: 1e7, ..Trial::default() };
        let search = run(limits, dead);
        assert_eq!((search.end(), search.best()), (Some(End::Nothing), None), "{first}");
        // It answers everything, and too late.
        let late = |offered| Trial { p99_us: 60_000.0, ..Server::of(1e9).answer(offered) };
        let search = run(limits, late);
        assert_eq!((search.end(), search.best()), (Some(End::Nothing), None), "{first}");
    }
}

#[test]
fn a_search_without_trials_left_keeps_the_best_it_had() {
    let limits = Limits { trials_max: 3, ..Limits::new(50_000.0, 1_000.0) };
    let search = run(limits, |offered| Server::of(25_000.0).answer(offered));
    assert_eq!((search.end(), search.trials().len()), (Some(End::OutOfTrials), 3));
    assert!((search.best().unwrap().throughput_rps - 4_000.0).abs() < 1.0);
    let limits = Limits { trials_max: 2, ..Limits::new(50_000.0, 1e7) };
    let search = run(limits, |offered| Server::of(25.0).answer(offered));
    assert_eq!((search.end(), search.best()), (Some(End::Nothing), None));
}

#[test]
fn sustained_is_what_the_limits_say_whatever_the_trial_says() {
    let limits = Limits::new(10_000.0, 100.0);
    let good = Trial {
        offered_rps: 100.0,
        throughput_rps: 98.0,
        answered_share: 0.98,
        p99_us: 10_000.0,
        ..Trial::default()
    };
    for (trial, sustained) in [
        (good, true),
        (Trial { answered_share: 0.979, ..good }, false),
        (Trial { answered_share: f64::NAN, ..good }, false),
        // Answers to calls of the warm-up make up for none of the calls that are judged.
        (Trial { throughput_rps: 150.0, answered_share: 0.9, ..good }, false),
        // Answers that come after the measured time are answers, and a pile that grows is no load that is borne.
        (Trial { throughput_rps: 93.0, answered_share: 1.0, ..good }, true),
        (Trial { throughput_rps: 92.9, answered_share: 1.0, ..good }, false),
        (Trial { offered_rps: 4.0, throughput_rps: 3.0, answered_share: 1.0, ..good }, true),
        (Trial { p99_us: 10_001.0, ..good }, false),
        (Trial { p99_us: f64::NAN, ..good }, false),
        (Trial { throughput_rps: f64::NAN, ..good }, false),
        (Trial { offered_rps: 0.0, throughput_rps: 0.0, ..good }, false),
    ] {
        let mut search = Search::new(limits);
        search.note(Trial { sustained: !sustained, ..trial });
        assert_eq!(search.trials()[0].sustained, sustained, "{trial:?}");
    }
    // Nobody asked for another one.
    let mut over = run(limits, |offered| Trial { offered_rps: offered, ..Trial::default() });
    let count = over.trials().len();
    over.note(good);
    assert_eq!(over.trials().len(), count);
}
