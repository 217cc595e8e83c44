//! What a lock promises.

use quorate_protocol::application::{Application, Context, Snapshot};
use quorate_protocol::map::Map;
use quorate_protocol::types::{ClientId, Digest, Seq, Time};

use super::{Command, Held, LEASE_US_MAX, LEASE_US_MIN, Locks, NAME_BYTES_MAX, Refusal, Reply};

const SECOND: u64 = 1_000_000;
const ANNE: [u8; 32] = [1; 32];
const BEN: [u8; 32] = [2; 32];

fn at(client: [u8; 32], time_us: u64) -> Context {
    Context::for_test(ClientId(Digest(client))).in_slot(Seq(1), Time(time_us), Digest::ZERO)
}

fn acquire(locks: &mut Locks, who: ([u8; 32], u64), lease_us: u64) -> Reply {
    locks.apply(&at(who.0, who.1), Command::Acquire { name: "leader".to_owned(), lease_us })
}

fn renew(locks: &mut Locks, who: ([u8; 32], u64), token: u64) -> Reply {
    let command = Command::Renew { name: "leader".to_owned(), token, lease_us: SECOND };
    locks.apply(&at(who.0, who.1), command)
}

fn release(locks: &mut Locks, who: ([u8; 32], u64), token: u64) -> Reply {
    locks.apply(&at(who.0, who.1), Command::Release { name: "leader".to_owned(), token })
}

fn holder(locks: &mut Locks, now_us: u64) -> Option<[u8; 32]> {
    match locks.apply(&at(BEN, now_us), Command::Holder { name: "leader".to_owned() }) {
        Reply::Holder(held) => held.map(|held| held.holder),
        other => panic!("not {other:?}"),
    }
}

#[test]
fn one_holds_it_until_the_lease_ends() {
    let mut locks = Locks::default();
    let held = Held { holder: ANNE, token: 1, until_us: 5 + SECOND };
    assert_eq!(acquire(&mut locks, (ANNE, 5), SECOND), Reply::Granted(held));
    assert_eq!(acquire(&mut locks, (BEN, 4 + SECOND), SECOND), Reply::Taken(held));
    assert_eq!(holder(&mut locks, 4 + SECOND), Some(ANNE));
    assert_eq!(holder(&mut locks, 5 + SECOND), None);
    let held = Held { holder: BEN, token: 2, until_us: 5 + 2 * SECOND };
    assert_eq!(
        acquire(&mut locks, (BEN, 5 + SECOND), SECOND),
        Reply::Granted(held),
        "and the token is larger"
    );
    assert_eq!(renew(&mut locks, (ANNE, 6 + SECOND), 1), Reply::Lost);
    assert_eq!(release(&mut locks, (ANNE, 6 + SECOND), 1), Reply::Lost);
    assert_eq!(holder(&mut locks, 6 + SECOND), Some(BEN));
}

#[test]
fn who_renews_in_time_keeps_it_and_its_token() {
    let mut locks = Locks::default();
    acquire(&mut locks, (ANNE, 0), SECOND);
    for now_us in (1..10).map(|turn| turn * SECOND / 2) {
        let held = Held { holder: ANNE, token: 1, until_us: now_us + SECOND };
        assert_eq!(renew(&mut locks, (ANNE, now_us), 1), Reply::Granted(held));
    }
    let again = acquire(&mut locks, (ANNE, 5 * SECOND), LEASE_US_MIN);
    let held = Held { holder: ANNE, token: 1, until_us: 11 * SECOND / 2 };
    assert_eq!(again, Reply::Granted(held), "a lease never becomes shorter");
    assert_eq!(renew(&mut locks, (ANNE, 5 * SECOND), 2), Reply::Lost, "under another token");
    assert_eq!(renew(&mut locks, (BEN, 5 * SECOND), 1), Reply::Lost, "by another client");
}

#[test]
fn who_gives_it_back_makes_room_at_once_and_tokens_go_on_growing() {
    let mut locks = Locks::default();
    for turn in 1..5 {
        let granted = acquire(&mut locks, (ANNE, turn), SECOND);
        assert_eq!(granted, Reply::Granted(Held { holder: ANNE, token: turn, until_us: turn + SECOND }));
        assert_eq!(release(&mut locks, (ANNE, turn), turn), Reply::Released);
        assert_eq!(holder(&mut locks, turn), None);
    }
    assert_eq!(locks.entries.len(), 1, "nothing is left but the newest token");
}

#[test]
fn leases_that_ended_leave_nothing_behind() {
    let mut locks = Locks::default();
    for turn in 0..1_000 {
        let command = Command::Acquire { name: format!("lock {turn}"), lease_us: SECOND };
        let reply = locks.apply(&at(ANNE, turn * SECOND / 10), command);
        assert!(matches!(reply, Reply::Granted(_)), "{reply:?}");
        assert!(locks.entries.len() <= 1 + 2 * 11, "ten leases are under way at any time");
    }
}

#[test]
fn a_name_or_lease_out_of_bounds_is_refused_and_changes_nothing() {
    let mut locks = Locks::default();
    acquire(&mut locks, (ANNE, 0), SECOND);
    let before = locks.clone();
    for lease_us in [0, LEASE_US_MIN - 1, LEASE_US_MAX + 1, u64::MAX] {
        assert_eq!(acquire(&mut locks, (ANNE, 1), lease_us), Reply::Refused(Refusal::Lease));
    }
    for name in [String::new(), "x".repeat(NAME_BYTES_MAX + 1)] {
        let reply = locks.apply(&at(ANNE, 1), Command::Acquire { name, lease_us: SECOND });
        assert_eq!(reply, Reply::Refused(Refusal::Name));
    }
    assert_eq!(locks, before);
}

#[test]
fn locks_come_back_as_they_were_and_forged_ones_do_not() {
    let mut locks = Locks::default();
    acquire(&mut locks, (ANNE, 0), SECOND);
    let mut map = Map::new();
    locks.save(&mut map).expect("it is small");
    assert_eq!(Locks::load(&map), Ok(locks));
    let mut forged = map.clone();
    forged.insert(&super::by_name("other"), &[0; 48]).expect("it is small");
    assert!(Locks::load(&forged).is_err(), "a lease that nobody would sweep");
    let mut forged = map.clone();
    forged.insert(&super::by_end("other", 7), &[]).expect("it is small");
    assert!(Locks::load(&forged).is_err());
    map.insert(b"strange", b"1").expect("it is small");
    assert!(Locks::load(&map).is_err());
}
