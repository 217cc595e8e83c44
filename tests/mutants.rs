//! Every known way to get the protocol wrong is noticed by tests that are named for it, and for the right reason.
//!
//! `cargo test --locked --features mutants --test mutants -- --nocapture` builds the integration tests with all mutants
//! in them, runs those named here as they are, and then each of them as the mutant that it must kill. A test that fails
//! with other words than these has noticed something else. `QUORATE_MUTANT=M7` runs one mutant.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use quorate_protocol::mutant::Mutant;

/// How long one test may take as a mutant: one that hangs was not killed.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long all of them may take together, as they are.
const PATIENCE_WITH_ALL: Duration = Duration::from_secs(600);

/// A test of the integration binary that fails as this mutant, with a line that has these words.
struct Killer {
    mutant: Mutant,
    test: &'static str,
    words: &'static str,
}

const fn by(mutant: Mutant, test: &'static str, words: &'static str) -> Killer {
    Killer { mutant, test, words }
}

const KILLERS: &[Killer] = &[
    by(
        Mutant::M1,
        "acceptance::p_certificates::p1_of_two_prepared_certificates_the_one_of_the_higher_view_is_proposed_again",
        "gives way to one of an older view",
    ),
    by(
        Mutant::M1,
        "acceptance::b_explorer::b1_runs_of_three_views_break_no_agreement_as_far_as_the_effort_goes",
        "I1: one batch executes at a slot",
    ),
    by(
        Mutant::M2,
        "acceptance::p_certificates::p2_a_certificate_of_any_other_number_of_signatures_than_a_quorum_is_refused",
        "signatures were taken for a quorum",
    ),
    by(
        Mutant::M3,
        "acceptance::p_certificates::p3_a_prepare_shown_as_a_commit_is_refused",
        "a PREPARE passed for a COMMIT",
    ),
    by(
        Mutant::M4,
        "acceptance::p_views::p4_the_primary_counts_once_for_its_proposal_and_its_prepare",
        "the primary counted twice",
    ),
    by(
        Mutant::M4,
        "acceptance::b_explorer::b1_no_run_of_one_slot_and_two_views_breaks_agreement_whoever_lies",
        "I2: one prepared certificate for a view and a slot",
    ),
    by(
        Mutant::M5,
        "acceptance::b_quorums::b3_three_of_five_or_six_never_commit_however_they_are_chosen",
        "111 committed",
    ),
    by(
        Mutant::M6,
        "acceptance::p_certificates::p6_a_new_view_that_names_one_replica_several_times_is_refused",
        "named three times",
    ),
    by(
        Mutant::M7,
        "acceptance::p_views::p7_one_replica_that_says_view_change_again_and_again_takes_nobody_along",
        "counts as that of several",
    ),
    by(
        Mutant::M8,
        "acceptance::p_views::p8_a_view_that_is_open_opens_no_second_time_otherwise",
        "ConflictingPrepares(",
    ),
    by(
        Mutant::M9,
        "acceptance::p_certificates::p9_a_slot_that_prepared_is_proposed_again_and_the_gap_below_it_filled",
        "left out of the new view",
    ),
    by(
        Mutant::M9,
        "acceptance::c_commits::c12_commits_that_come_one_or_two_view_changes_late_execute_once",
        "Agreement {",
    ),
    by(
        Mutant::M9,
        "acceptance::b_explorer::b1_no_run_of_one_slot_and_two_views_breaks_agreement_whoever_lies",
        "I1: one batch executes at a slot",
    ),
    by(
        Mutant::M10,
        "acceptance::p_certificates::p10_a_new_view_begins_at_the_highest_stable_checkpoint_it_is_shown",
        "let go of are opened again",
    ),
    by(
        Mutant::M11,
        "acceptance::p_certificates::p14_two_prepared_certificates_of_one_view_are_never_chosen_between",
        "one is chosen, and nobody hears of it",
    ),
    by(
        Mutant::M12,
        "acceptance::c_commits::c12_commits_that_come_one_or_two_view_changes_late_execute_once",
        "Withheld(",
    ),
    by(
        Mutant::M12,
        "acceptance::b_explorer::b1_no_run_of_one_slot_and_two_views_breaks_agreement_whoever_lies",
        "I1: one batch executes at a slot",
    ),
    by(
        Mutant::M13,
        "acceptance::p_certificates::p17_batches_of_different_requests_have_different_digests",
        "two batches have one digest",
    ),
    by(
        Mutant::M14,
        "acceptance::p_certificates::p18_a_body_that_is_not_what_the_proposal_names_is_no_body_of_it",
        "under another one's digest",
    ),
    by(
        Mutant::M15,
        "acceptance::p_certificates::p20_two_replicas_judge_a_crafted_signature_alike_alone_and_among_others",
        "what the primary ordered, a backup refuses",
    ),
    by(
        Mutant::M16,
        "acceptance::p_views::p27_f_plus_one_others_in_a_later_view_take_a_replica_along",
        "and it stays",
    ),
    by(
        Mutant::M17,
        "acceptance::p_views::p30_a_network_slower_than_the_timeout_is_served_because_timeouts_grow",
        "some timeout is long enough for a request",
    ),
    by(
        Mutant::M18,
        "acceptance::p_views::p32_what_a_new_view_decided_is_voted_for_however_wrong_its_time_is",
        "ClockDisagrees {",
    ),
    by(
        Mutant::M19,
        "acceptance::p_views::p33_a_batch_that_comes_after_its_proposal_is_voted_for",
        "the batch came after its proposal and gets no vote",
    ),
    by(
        Mutant::M20,
        "acceptance::p_views::p38_null_batches_keep_no_primary_in_its_seat",
        "keeps its seat by null batches",
    ),
    by(
        Mutant::M21,
        "acceptance::p_views::p41_what_prepares_in_a_view_that_was_left_is_not_committed_there",
        "Withheld(",
    ),
    by(
        Mutant::M21,
        "acceptance::b_explorer::b1_no_run_of_one_slot_and_two_views_breaks_agreement_whoever_lies",
        "I1: one batch executes at a slot",
    ),
    by(
        Mutant::M22,
        "acceptance::e_memory::e1_whatever_f_liars_say_makes_no_replica_keep_more",
        "view changes collected",
    ),
    by(
        Mutant::M23,
        "simulation::crashes::c7_one_replica_dies_anywhere_and_breaks_no_promise",
        "before it was durable",
    ),
    by(
        Mutant::M23,
        "acceptance::b_explorer::b1_no_run_with_a_restart_breaks_agreement_whoever_lies",
        "no replica breaks a rule of its own",
    ),
    by(
        Mutant::M24,
        "simulation::crashes::c7_one_replica_dies_anywhere_and_breaks_no_promise",
        "before it was durable",
    ),
    by(
        Mutant::M24,
        "acceptance::b_explorer::b1_no_run_with_a_restart_breaks_agreement_whoever_lies",
        "no replica breaks a rule of its own",
    ),
    by(
        Mutant::M25,
        "acceptance::p_memory::p48_a_replica_comes_back_into_the_view_that_it_left_for",
        "went back from",
    ),
    by(
        Mutant::M26,
        "acceptance::c_amnesia::c9_an_amnesiac_contradicts_nothing_that_it_said_and_gets_well_though_nobody_wants_anything",
        "contradicts itself: Prepare",
    ),
    by(
        Mutant::M27,
        "acceptance::p_memory::p61_an_operation_that_is_ordered_twice_executes_once",
        "was executed again",
    ),
    by(
        Mutant::M28,
        "acceptance::d_clients::d13_two_operations_under_one_number_leave_no_timer_running",
        "views changed",
    ),
    by(
        Mutant::M29,
        "acceptance::f_reads::f3_a_write_that_only_f_plus_one_replicas_answered_is_not_acknowledged_or_a_fast_read_could_miss_it",
        "fits nowhere; what clients saw has no order",
    ),
    by(
        Mutant::M30,
        "acceptance::p_views::p74_a_primary_that_serves_one_client_and_not_another_loses_its_seat",
        "left out for ever",
    ),
    by(
        Mutant::M31,
        "acceptance::p_views::p10_a_new_view_raises_the_low_watermark_of_who_was_behind",
        "quorum has let go of",
    ),
    by(
        Mutant::M31,
        "acceptance::p_views::p8_a_proposal_does_not_replace_what_the_new_view_decided",
        "in the place of what the new view decided",
    ),
    by(
        Mutant::M32,
        "acceptance::p_certificates::p9_a_slot_that_prepared_is_proposed_again_and_the_gap_below_it_filled",
        "left out of the new view",
    ),
    by(
        Mutant::M32,
        "acceptance::c_commits::c12_commits_that_come_one_or_two_view_changes_late_execute_once",
        "two quorums signed different digests",
    ),
    by(
        Mutant::M33,
        "acceptance::p_views::p8_a_proposal_does_not_replace_what_the_new_view_decided",
        "in the place of what the new view decided",
    ),
    by(
        Mutant::M34,
        "acceptance::p_views::p26_who_missed_the_new_view_is_shown_it",
        "is not shown the NEW-VIEW",
    ),
    by(
        Mutant::M34,
        "acceptance::regressions::resilientdb_128_a_replica_that_missed_the_new_view_sees_only_votes_of_it",
        "with its vote the view commits",
    ),
    by(
        Mutant::M35,
        "acceptance::p_certificates::p2_three_signatures_of_one_replica_are_one_vote",
        "were taken for three replicas",
    ),
    by(
        Mutant::M36,
        "acceptance::p_memory::p47_what_a_stable_certificate_lets_go_is_kept_until_that_is_durable",
        "nothing is in its place",
    ),
    by(
        Mutant::M37,
        "acceptance::p_memory::p84_a_replica_that_was_mute_says_commit_only_for_what_it_has_recorded",
        "that no record holds",
    ),
    by(
        Mutant::M38,
        "acceptance::c_divergence::c10_a_replica_that_is_wrong_once_comes_back_and_one_that_is_wrong_twice_does_not",
        "a restart gives its word back",
    ),
    by(
        Mutant::M39,
        "acceptance::c_amnesia::c9_an_amnesiac_contradicts_nothing_that_it_said_and_gets_well_though_nobody_wants_anything",
        "a VIEW-CHANGE to 1 without what it committed to",
    ),
    by(
        Mutant::M40,
        "acceptance::p_memory::p79_a_chunk_that_is_not_the_certified_one_is_not_kept",
        "taken for one of the state",
    ),
    by(
        Mutant::M41,
        "simulation::disks::c10_a_state_that_contradicts_its_certificate_is_not_started_from_but_fetched_anew",
        "that its certificate contradicts",
    ),
    by(
        Mutant::M42,
        "acceptance::p_views::p52_a_replica_that_is_shown_its_own_unknown_commit_says_nothing_any_more",
        "and it goes on",
    ),
    by(Mutant::M43, "acceptance::p_views::p28_a_replica_alone_in_a_later_view_waits_there", "it runs ahead"),
    by(
        Mutant::M44,
        "acceptance::p_views::p27_a_liars_enormous_view_moves_nobody_there",
        "takes another along",
    ),
    by(
        Mutant::M45,
        "acceptance::p_certificates::p9_a_slot_that_prepared_is_proposed_again_and_the_gap_below_it_filled",
        "left out of the new view",
    ),
    by(Mutant::M46, "acceptance::p_memory::p70_a_client_does_not_believe_f_equal_lies", "believes f liars"),
    by(
        Mutant::M47,
        "acceptance::p_views::p15_a_view_change_shows_the_certificate_of_the_highest_view",
        "has no certificate here",
    ),
    by(
        Mutant::M48,
        "simulation::crashes::c7_one_replica_dies_anywhere_and_breaks_no_promise",
        "before it was durable",
    ),
    by(
        Mutant::M49,
        "acceptance::p_views::p98_nobody_but_its_primary_ends_a_view_alone",
        "ends a view that is not its own",
    ),
    by(
        Mutant::M50,
        "acceptance::p_views::p98_a_primary_takes_nobody_to_the_view_that_it_names",
        "a liar chooses the view",
    ),
    by(
        Mutant::M51,
        "acceptance::p_views::p98_a_view_that_was_handed_over_makes_no_timeout_longer",
        "counts as a view that failed",
    ),
    by(
        Mutant::M52,
        "acceptance::f_reads::f3_nothing_is_answered_before_it_is_durable_how_far_the_replica_may_have_answered",
        "sent an answer from slot",
    ),
    by(
        Mutant::M53,
        "acceptance::f_reads::f3_a_replica_that_comes_back_answers_no_fast_read_before_it_is_as_far_as_it_may_have_been",
        "answered a fast read from slot",
    ),
    by(
        Mutant::M54,
        "acceptance::f_reads::f3_equal_results_of_different_slots_are_no_fast_read_or_a_later_one_could_go_back",
        "fits nowhere; what clients saw has no order",
    ),
    by(
        Mutant::M55,
        "acceptance::p_strays::p28_who_waits_alone_is_given_a_view_though_nobody_asks_anything",
        "all vote in one view",
    ),
    by(
        Mutant::M56,
        "acceptance::p_strays::p28_who_hears_badly_in_a_later_view_is_given_none",
        "links that flap move everybody",
    ),
    by(
        Mutant::M57,
        "acceptance::d_room::d11_a_primary_that_fills_journals_with_far_slots_of_a_large_state_and_falls_silent_stops_nobody",
        "the cluster serves again",
    ),
    by(
        Mutant::M58,
        "acceptance::p_views::p74_what_a_primary_forwards_to_a_backup_and_never_orders_buys_it_no_time",
        "all that its primary put before it",
    ),
    by(
        Mutant::M59,
        "acceptance::p_views::p42_bodies_that_no_clock_lets_pass_go_with_their_views",
        "what was refused in older views",
    ),
    by(
        Mutant::M60,
        "acceptance::d_reads::d12_who_is_left_out_asks_for_the_rest_however_steadily_a_liar_lets_it_have_one_batch",
        "lets a liar hold it at one batch now and then",
    ),
];

/// What became of a run of tests.
struct Run {
    passed: bool,
    output: String,
    took: Duration,
}

/// The integration tests, built with the mutants in them.
fn binary() -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| env!("CARGO").to_owned());
    let arguments = ["test", "--locked", "--features", "mutants", "--test", "quorate", "--no-run"];
    let built = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(built.status.success(), "the integration tests do not build with the mutants in them");
    let messages = String::from_utf8(built.stdout).unwrap();
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut tests = artifacts.filter(|artifact| {
        artifact["target"]["name"] == "quorate" && artifact["target"]["kind"][0] == "test"
    });
    let path = tests.find_map(|artifact| artifact["executable"].as_str().map(str::to_owned));
    path.expect("cargo says where it put the integration tests")
}

/// Runs exactly these tests, as they are or as a mutant.
fn run(binary: &str, tests: &BTreeSet<&str>, mutant: Option<Mutant>) -> Run {
    let patience = if mutant.is_some() { PATIENCE } else { PATIENCE_WITH_ALL };
    let mut command = Command::new(binary);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(tests).args(["--exact", "--test-threads=2"]);
    command.env_remove("QUORATE_MUTANT").stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(mutant) = mutant {
        command.env("QUORATE_MUTANT", format!("{mutant:?}"));
    }
    let start = Instant::now();
    let mut child = command.spawn().unwrap();
    let output = read(&mut child, patience);
    let status = child.wait().unwrap();
    Run { passed: status.success(), output, took: start.elapsed() }
}

/// What a process says until it ends, which it is made to when it takes too long.
fn read(child: &mut Child, patience: Duration) -> String {
    let mut pipe = child.stdout.take().unwrap();
    let (sender, receiver) = channel();
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        pipe.read_to_end(&mut said).unwrap();
        // Nobody listens any more if it took too long.
        let _late = sender.send(());
        String::from_utf8_lossy(&said).into_owned()
    });
    if receiver.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
        child.kill().unwrap();
    }
    reader.join().unwrap()
}

/// The line of a failure that has the words for which it was to fail.
fn reason<'a>(output: &'a str, words: &str) -> Option<&'a str> {
    output.lines().map(str::trim).find(|line| line.contains(words))
}

/// What a test made of a mutant: a line of the table, or why it is no kill.
fn judge(binary: &str, killer: &Killer) -> Result<String, String> {
    let Killer { mutant, test, words } = killer;
    let Run { passed, output, took } = run(binary, &BTreeSet::from([*test]), Some(*mutant));
    let name = test.rsplit("::").next().unwrap_or(test);
    if passed {
        return Err(format!("{mutant:?} LIVES: {name} passes ({})", mutant.breaks().trim()));
    }
    let Some(line) = reason(&output, words) else {
        let end: Vec<&str> = output.lines().rev().take(12).collect();
        let end: Vec<&str> = end.into_iter().rev().collect();
        return Err(format!("{mutant:?}: {name} fails, but not because of `{words}`:\n{}", end.join("\n")));
    };
    let line: String = line.chars().take(160).collect();
    let breaks = mutant.breaks().trim();
    Ok(format!("| {mutant:?} | {breaks} | {name} | {} | {line} |", took.as_millis()))
}

#[test]
fn every_mutant_is_killed_by_a_test_that_names_its_fault() {
    let only = std::env::var("QUORATE_MUTANT").ok();
    let wanted = |mutant: &Mutant| only.as_ref().is_none_or(|only| format!("{mutant:?}") == *only);
    let unkilled: Vec<_> =
        Mutant::ALL.iter().filter(|mutant| KILLERS.iter().all(|killer| killer.mutant != **mutant)).collect();
    assert!(unkilled.is_empty(), "nothing kills {unkilled:?}");
    let killers: Vec<&Killer> = KILLERS.iter().filter(|killer| wanted(&killer.mutant)).collect();
    assert!(!killers.is_empty(), "QUORATE_MUTANT={only:?} names no mutant");

    let binary = binary();
    let tests: BTreeSet<&str> = killers.iter().map(|killer| killer.test).collect();
    let sound = run(&binary, &tests, None);
    assert!(sound.passed, "without any mutant:\n{}", sound.output);
    let ran = format!("running {} test", tests.len());
    assert!(sound.output.contains(&ran), "a killer has another name now: not all of {tests:?} ran");
    println!("{} tests pass without any mutant, in {} ms", tests.len(), sound.took.as_millis());

    let start = Instant::now();
    let turn = Mutex::new(killers.iter().enumerate());
    let verdicts = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let Some((place, killer)) = turn.lock().unwrap().next() else { return };
                    let verdict = judge(&binary, killer);
                    verdicts.lock().unwrap().push((place, verdict));
                }
            });
        }
    });
    let mut verdicts = verdicts.into_inner().unwrap();
    verdicts.sort_by_key(|(place, _)| *place);
    println!("| mutant | what it breaks | killed by | ms | because |\n|---|---|---|---|---|");
    verdicts.iter().filter_map(|(_, verdict)| verdict.as_ref().ok()).for_each(|line| println!("{line}"));
    println!("{} mutants in {} ms", Mutant::ALL.len(), start.elapsed().as_millis());
    let lives: Vec<&String> = verdicts.iter().filter_map(|(_, verdict)| verdict.as_ref().err()).collect();
    assert!(
        lives.is_empty(),
        "{} of {}:\n{}",
        lives.len(),
        verdicts.len(),
        lives.iter().map(|s| s.as_str()).collect::<Vec<_>>().join("\n")
    );
}
