//! That the checker finds what is there, and nothing else; and that it ends.

use super::*;
use crate::rng::Rng;

/// What a text says of itself: `linearizable`, `violation` or `undecided`.
fn expected(text: &str) -> &str {
    text.lines().find_map(|line| line.strip_prefix("# expect: ")).expect("the text says what it is")
}

fn verdict(finding: &Finding) -> &'static str {
    match finding {
        Finding::Linearizable => "linearizable",
        Finding::Violation(_) => "violation",
        Finding::Undecided { .. } => "undecided",
    }
}

#[test]
fn the_corpus_of_good_and_bad_histories_is_told_apart() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/check/linear/corpus");
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let history: History = text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let found = check(&history, STEPS_MAX.min(50_000));
        assert_eq!(verdict(&found), expected(&text), "{}: {found}", path.display());
        assert_eq!(history.to_string().parse::<History>().unwrap(), history);
        *counts.entry(expected(&text).to_owned()).or_default() += 1;
    }
    assert!(
        counts["linearizable"] >= 8 && counts["violation"] >= 12 && counts["undecided"] >= 1,
        "{counts:?}"
    );
}

#[test]
fn a_text_that_is_no_history_is_refused_with_its_line() {
    for (text, why) in [
        ("a 0..1 get x", "has an answer"),
        ("a 0..never get x -> 1", "no answer"),
        ("a 5..1 get x -> 1", "before it is asked"),
        ("a 0-1 get x -> 1", "written like"),
        ("a 0..1 fetch x -> 1", "the actions are"),
        ("a 0..1 put x 1 -> 7", "the answers are"),
        ("a 0..1 add x y -> 7", "whole number"),
        ("a", "come first"),
    ] {
        let error = format!("# a comment\n\n{text}").parse::<History>().unwrap_err();
        assert!(error.line == 3 && error.why.contains(why), "{error}");
    }
}

/// Every order, for histories of a few operations of one key.
fn brute_force(operations: &[Operation], taken: u32, value: &Value) -> bool {
    let here = |at: usize| taken >> at & 1 == 1;
    let answered = |at: &usize| operations[*at].returned.is_some();
    let left: Vec<usize> = (0..operations.len()).filter(|at| !here(*at)).collect();
    if !left.iter().any(answered) {
        return true;
    }
    let first_answer = left.iter().map(|at| answered_at(&operations[*at])).min().unwrap_or(u64::MAX);
    left.into_iter().any(|at| {
        let operation = &operations[at];
        operation.invoked <= first_answer
            && may_answer(value, operation)
            && brute_force(operations, taken | 1 << at, &after(value, &operation.action))
    })
}

fn word(rng: &mut Rng) -> String {
    rng.below(3).to_string()
}

fn random_action(rng: &mut Rng) -> Action {
    let maybe = |rng: &mut Rng| rng.chance(700_000).then(|| word(rng));
    match rng.below(6) {
        0 | 1 => Action::Get,
        2 => Action::Put(word(rng)),
        3 => Action::Delete,
        4 => Action::Add(1),
        _ => Action::Swap { expected: maybe(rng), new: maybe(rng) },
    }
}

/// The answer that an operation gets from a copy that holds this.
fn honest(value: &Value, action: &Action) -> Answer {
    match action {
        Action::Get | Action::Add(_) => Answer::Value(after(value, action)),
        Action::Put(_) => Answer::Done,
        Action::Delete => Answer::Was(value.is_some()),
        Action::Swap { expected, .. } if value == expected => Answer::Swapped,
        Action::Swap { .. } => Answer::Differs(value.clone()),
    }
}

/// A history with an order: operations that take effect one by one, each at some moment between its two times. Some are
/// never answered, `lost` in a million, and half of these never happen.
fn lawful(rng: &mut Rng, operations: u64, overlap: u64, lost: u64) -> Vec<Operation> {
    let mut value = None;
    let mut made = Vec::new();
    for at in 0..operations {
        let (moment, action) = (1_000 + 10 * at, random_action(rng));
        let (invoked, returned) = (moment - rng.below(overlap), moment + rng.below(overlap));
        let unanswered = rng.chance(lost);
        let answer = honest(&value, &action);
        if !unanswered || rng.chance(500_000) {
            value = after(&value, &action);
        }
        let returned = (!unanswered).then_some((returned, answer));
        made.push(Operation { client: format!("c{at}"), key: "x".to_owned(), action, invoked, returned });
    }
    made
}

#[test]
fn random_histories_are_judged_as_by_trying_every_order() {
    let mut rng = Rng::new(7);
    let mut counts = [0_u32; 2];
    for _ in 0..6_000 {
        let (operations, overlap) = (rng.between(2, 7), rng.between(1, 40));
        let mut operations = lawful(&mut rng, operations, overlap, 100_000);
        for _ in 0..rng.below(3) {
            let at = usize::try_from(rng.below(operations.len() as u64)).unwrap();
            let (value, action) =
                (rng.chance(800_000).then(|| word(&mut rng)), operations[at].action.clone());
            if let Some((_, answer)) = &mut operations[at].returned {
                *answer = honest(&value, &action);
            }
        }
        let found = check(&History(operations.clone()), STEPS_MAX);
        let right = brute_force(&operations, 0, &None);
        counts[usize::from(right)] += 1;
        assert_eq!(found == Finding::Linearizable, right, "{found}\n{}", History(operations));
        assert!(!matches!(found, Finding::Undecided { .. }));
    }
    assert!(counts.iter().all(|count| *count > 1_000), "{counts:?}");
}

#[test]
fn thousands_of_operations_of_which_many_run_at_once_are_judged_and_one_wrong_answer_is_found() {
    let mut rng = Rng::new(11);
    for overlap in [10, 60, 100] {
        let operations = lawful(&mut rng, 3_000, overlap, 2_000);
        assert_eq!(check(&History(operations), STEPS_MAX), Finding::Linearizable, "{overlap}");
        let mut spoiled = lawful(&mut rng, 3_000, overlap, 0);
        let reads = spoiled.iter_mut().skip(2_000).filter(|operation| operation.action == Action::Get);
        let mut answered = reads.filter_map(|operation| operation.returned.as_mut());
        answered.next().unwrap().1 = Answer::Value(Some("what nobody wrote".to_owned()));
        let found = check(&History(spoiled), STEPS_MAX);
        assert!(
            matches!(&found, Finding::Violation(witness) if witness.fitting > 1_000),
            "{overlap}: {found}"
        );
    }
}

#[test]
fn a_thousand_operations_that_all_run_at_the_same_time_are_judged() {
    let operation = |client: u64, action, answer| Operation {
        client: format!("c{client}"),
        key: "x".to_owned(),
        action,
        invoked: client,
        returned: Some((10_000 + client, answer)),
    };
    let value = |at: u64| Some(format!("v{at}"));
    let writes = (0..500).map(|at| operation(at, Action::Put(format!("v{at}")), Answer::Done));
    let reads = (0..500).map(|at| operation(500 + at, Action::Get, Answer::Value(value((7 * at) % 500))));
    let mut operations: Vec<Operation> = writes.chain(reads).collect();
    assert_eq!(check(&History(operations.clone()), STEPS_MAX), Finding::Linearizable);
    // All sums of a thousand additions, each told once, in no order of the clients.
    let sums = (0..1_000)
        .map(|at| operation(at, Action::Add(1), Answer::Value(Some(((at * 389) % 1_000 + 1).to_string()))));
    let sums: Vec<Operation> = sums.collect();
    assert_eq!(check(&History(sums.clone()), STEPS_MAX), Finding::Linearizable);
    let mut lost = sums;
    lost[17].returned = lost[18].returned.clone();
    assert!(matches!(check(&History(lost), STEPS_MAX), Finding::Violation(_)));
    // A later read of the first of two values that one reader saw in this order.
    for (at, seen) in [(20_000, 3), (20_020, 4), (20_040, 3)] {
        let read = operation(at, Action::Get, Answer::Value(value(seen)));
        operations.push(Operation { returned: read.returned.map(|(_, answer)| (at + 10, answer)), ..read });
    }
    let found = check(&History(operations), 20_000);
    assert!(!matches!(found, Finding::Linearizable), "{found}");
}

#[test]
fn a_search_that_reaches_its_bound_says_so_and_a_violation_of_another_key_is_still_found() {
    let text: String = (0..24).map(|at| format!("c{at} 0..never add x {}\n", 1_u64 << at)).collect();
    let history: History = format!("{text}z 1..10 add x 0 -> -1\n").parse().unwrap();
    let Finding::Undecided { key, steps } = check(&history, 1_000) else { panic!("it is not decided") };
    assert_eq!((key.as_str(), steps), ("x", 1_001));
    let both: History = format!("{history}a 0..1 put y 1 -> done\na 2..3 get y -> none\n").parse().unwrap();
    let Finding::Violation(witness) = check(&both, 1_000) else { panic!("y is stale") };
    assert!(witness.to_string().contains("`a 2..3 get y -> none` fits nowhere"), "{witness}");
}

#[test]
fn a_model_of_words_answers_as_the_application_does() {
    use quorate_protocol::application::{Context, StateMachine};
    use quorate_protocol::crypto::Digest;
    use quorate_protocol::types::ClientId;

    use crate::app::{Service, Words};
    let service = Service::default();
    let (mut rng, mut machine) = (Rng::new(5), Words::default());
    let mut values: BTreeMap<String, Value> = BTreeMap::new();
    for _ in 0..500 {
        let command = service.command(&mut rng);
        let (key, action) = of_words(&command).unwrap();
        let reply = machine.apply(&Context::for_test(ClientId(Digest([1; 32]))), &command).unwrap();
        let value = values.entry(key.clone()).or_default();
        let operation = operation_of_words("c", (0, &command), Some((1, &reply))).unwrap();
        assert_eq!((&operation.key, &operation.action), (&key, &action));
        assert!(may_answer(value, &operation), "{operation}");
        *value = after(value, &action);
    }
}
