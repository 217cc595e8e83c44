//! B2: Twins. One replica of four runs twice, and partitions decide who hears which of the two.

use quorate_sim::explore::twins::{Ran, Space, Stage};

/// Runs so many scenarios of so many rounds, none twice.
fn run(rounds: u32, scenarios: u64) -> (u64, Ran) {
    let (space, mut stage) = (Space::new(rounds), Stage::new());
    let (mut count, mut all) = (0, Ran::default());
    for scenario in space.sample(0, scenarios) {
        let ran = stage.run(&scenario);
        assert!(ran.violated.is_empty(), "{scenario:?}: {:#?}", ran.violated);
        count += 1;
        all.executed += ran.executed;
        all.view = all.view.max(ran.view);
        all.equivocated += u64::from(ran.equivocated > 0);
        all.checkpoints += ran.checkpoints;
    }
    println!(
        "{rounds} rounds: {count} of {} scenarios; {} slots executed, {} scenarios with equivocation, {} checkpoints, \
         views up to {}",
        space.size(),
        all.executed,
        all.equivocated,
        all.checkpoints,
        all.view
    );
    (count, all)
}

#[test]
fn b2_no_twin_breaks_agreement_whatever_the_partitions() {
    let nightly = std::env::var_os("QUORATE_NIGHTLY").is_some_and(|value| value == "1");
    let scenarios = if nightly { 25_000 } else { 600 };
    let mut total = 0;
    for rounds in 4..=7 {
        let (count, all) = run(rounds, scenarios);
        assert_eq!(count, scenarios, "{rounds} rounds have fewer scenarios");
        assert!(all.executed > count, "replicas serve in most scenarios");
        assert!(all.equivocated > 0 && all.checkpoints > 0 && all.view > 0, "{all:?}");
        total += count;
    }
    println!("{total} scenarios in all");
}
