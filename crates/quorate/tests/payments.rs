//! The example of payments does what it says.

#[path = "../examples/payments.rs"]
#[allow(dead_code, missing_docs, unreachable_pub)]
mod payments;

#[test]
fn a_payment_that_is_asked_for_twice_moves_once_and_nobody_spends_what_is_not_theirs() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let balances = runtime.block_on(payments::trade()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(balances, [40, 35, 25]);
}
