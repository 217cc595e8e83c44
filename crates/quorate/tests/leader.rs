//! The example of leader election does what it says.

#[path = "../examples/leader.rs"]
#[allow(dead_code, missing_docs, unreachable_pub)]
mod leader;

#[test]
fn a_leader_that_stands_still_is_replaced_and_can_write_nothing_any_more() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let lines = runtime.block_on(leader::elect()).unwrap_or_else(|error| panic!("{error}"));
    let (first, second) = lines.split_at(3);
    assert_eq!(first, ["anne 1", "anne 2", "anne 3"]);
    let next = second[0].split_once(' ').map(|(name, _)| name).expect("a name and a number");
    assert!(["ben", "carl"].contains(&next), "{lines:?}");
    let expected: Vec<String> = (1..=3).map(|turn| format!("{next} {turn}")).collect();
    assert_eq!(second, expected, "and nobody else");
}
