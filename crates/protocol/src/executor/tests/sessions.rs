//! Registration and eviction. Sessions live for at most 32 slots, 2 per client and 3 in all.

use super::*;

#[test]
fn an_operation_without_a_session_does_nothing() {
    let (mut executor, session) = with_session();
    let stranger = notes(2, session, 1, 1, &[1, 2]);
    let executed = run(&mut executor, std::slice::from_ref(&stranger));
    assert_eq!(
        outcomes(&executed),
        [Outcome::NoSession, Outcome::NoSession],
        "a session is its client's alone"
    );
    assert_eq!(replies(&executed)[0].operation, stranger.operations().next().unwrap().1);
    assert_eq!(tape(&mut executor), Tape::default());
    assert_eq!(executor.counters().refused, 2);
}

#[test]
fn a_session_is_registered_once_and_its_answer_does_not_change() {
    let (mut executor, session) = with_session();
    run(&mut executor, &[notes(1, session, 1, 1, &[1])]);
    let again = run(&mut executor, &[register(1, 0, 30), notes(1, session, 1, 1, &[1])]);
    assert_eq!(outcomes(&again), [Outcome::Registered, count(1)], "the executed set survives");
    assert_eq!(replies(&again)[0].seq, Seq(1));
}

#[test]
fn a_registration_that_comes_late_or_asks_for_too_long_a_life_is_refused() {
    let mut executor = executor();
    for _ in 0..4 {
        run(&mut executor, &[]);
    }
    let executed = run(&mut executor, &[register(1, 0, 4), register(1, 0, 38)]);
    assert_eq!(outcomes(&executed), [Outcome::Expired, Outcome::Expired]);
    let mut executor = super::executor();
    for _ in 0..4 {
        run(&mut executor, &[]);
    }
    let executed = run(&mut executor, &[register(1, 0, 5), register(1, 0, 37)]);
    assert_eq!(outcomes(&executed), [Outcome::Registered, Outcome::Registered]);
}

#[test]
fn a_registration_under_another_name_makes_no_session() {
    let mut executor = executor();
    let operation = codec::encode(&registration(0, 9)).unwrap();
    for operation in [&operation[..], b"junk"] {
        let operations = Frames::new([operation].into_iter());
        let draft =
            Draft { session: Session(5), first: Number(0), ack: Number(0), kind: Kind::Register, operations };
        let request = sign(1, draft);
        assert!(request.check(8, 100).is_err(), "a correct replica does not even propose it");
        assert_eq!(outcomes(&run(&mut executor, &[request])), [Outcome::Expired]);
    }
    assert_eq!(executor.counters().sessions, 0);
}

#[test]
fn a_replayed_registration_does_not_revive_an_evicted_session() {
    let mut executor = executor();
    let old = session(1, 0, 2);
    run(&mut executor, &[register(1, 0, 2), notes(1, old, 1, 1, &[7])]);
    run(&mut executor, &[register(1, 1, 2)]);
    let executed = run(&mut executor, &[register(1, 2, 20), notes(1, old, 1, 1, &[7])]);
    assert_eq!(
        outcomes(&executed),
        [Outcome::Registered, Outcome::NoSession],
        "the older session was evicted"
    );
    let executed = run(&mut executor, &[register(1, 0, 2), notes(1, old, 1, 1, &[7])]);
    assert_eq!(outcomes(&executed), [Outcome::Expired, Outcome::NoSession]);
    assert_eq!(tape(&mut executor), Tape(vec![7]));
}

#[test]
fn no_session_is_evicted_while_it_is_protected() {
    let mut executor = executor();
    let executed = run(&mut executor, &[register(1, 0, 2), register(1, 1, 2), register(1, 2, 9)]);
    assert_eq!(outcomes(&executed)[2], Outcome::Full, "this client has as many as it may");
    let executed = run(&mut executor, &[register(2, 0, 9), register(3, 0, 9)]);
    assert_eq!(outcomes(&executed), [Outcome::Registered, Outcome::Full], "all have as many as they may");
    assert_eq!(outcomes(&run(&mut executor, &[register(3, 0, 9)])), [Outcome::Registered]);
    assert_eq!(executor.counters().sessions, 3);
}

#[test]
fn a_client_at_its_limit_loses_its_own_least_recently_active_session() {
    let mut executor = executor();
    let (first, second) = (session(1, 0, 1), session(1, 1, 1));
    run(&mut executor, &[register(1, 0, 1), register(1, 1, 1)]);
    run(&mut executor, &[notes(1, second, 1, 1, &[1])]);
    run(&mut executor, &[notes(1, first, 1, 1, &[2])]);
    run(&mut executor, &[notes(1, second, 1, 1, &[1])]);
    run(&mut executor, &[register(1, 2, 9)]);
    assert_eq!(executor.floor(client(1), second), None, "a duplicate is no activity");
    assert!(executor.floor(client(1), first).is_some());
}

#[test]
fn with_all_sessions_taken_the_client_with_most_to_lose_loses_one() {
    let mut executor = executor();
    run(&mut executor, &[register(1, 0, 1), register(2, 0, 1), register(2, 1, 1)]);
    run(&mut executor, &[register(3, 0, 9)]);
    let smaller = session(2, 0, 1).min(session(2, 1, 1));
    assert_eq!(executor.floor(client(2), smaller), None, "of two equals the smaller goes");
    run(&mut executor, &[register(3, 1, 9)]);
    let (low, high) = if client(1) < client(2) { (1, 2) } else { (2, 1) };
    let left =
        |of: u8| (0..2).filter(|nonce| executor.floor(client(of), session(of, *nonce, 1)).is_some()).count();
    assert_eq!((left(low), left(high), left(3)), (0, 1, 0), "of two equal clients the smaller loses");
    assert_eq!(executor.counters().sessions, 3);
}
