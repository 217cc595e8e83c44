//! What the key-value store does with its commands.

use quorate_protocol::types::{ClientId, Digest};

use super::{
    Application, Command, Context, ENTRY_BYTES, KEY_BYTES_MAX, Map, Refusal, Reply, SCAN_BYTES_MAX,
    SCAN_ENTRIES_MAX, Snapshot, Store, VALUE_BYTES_MAX, Value,
};

fn ask(store: &mut Store, command: Command) -> Reply {
    store.apply(&Context::for_test(ClientId(Digest::ZERO)), command)
}

fn put(store: &mut Store, key: &str, value: &str) -> Reply {
    ask(store, Command::Put { key: key.into(), value: value.into() })
}

fn get(store: &Store, key: &str) -> Option<Value> {
    match store.query(Command::Get { key: key.into() }) {
        Some(Reply::Value(value)) => value,
        other => panic!("a get answers with a value, not {other:?}"),
    }
}

fn scan(store: &Store, prefix: &str, after: &str, limit: u32) -> (Vec<String>, bool) {
    match store.query(Command::Scan { prefix: prefix.into(), after: after.into(), limit }) {
        Some(Reply::Entries { entries, more }) => (entries.into_iter().map(|(key, _)| key).collect(), more),
        other => panic!("a scan answers with entries, not {other:?}"),
    }
}

fn swap(store: &mut Store, expected: Option<&str>, new: Option<&str>) -> Reply {
    let (expected, new) = (expected.map(Value::from), new.map(Value::from));
    ask(store, Command::CompareAndSwap { key: "k".into(), expected, new })
}

#[test]
fn what_was_put_is_there_until_it_is_deleted() {
    let mut store = Store::default();
    assert_eq!(put(&mut store, "a", "1"), Reply::Stored { replaced: false });
    assert_eq!(put(&mut store, "a", "2"), Reply::Stored { replaced: true });
    assert_eq!(get(&store, "a"), Some("2".into()));
    assert_eq!(ask(&mut store, Command::Get { key: "a".into() }), Reply::Value(Some("2".into())));
    assert_eq!(ask(&mut store, Command::Delete { key: "a".into() }), Reply::Deleted { existed: true });
    assert_eq!(ask(&mut store, Command::Delete { key: "a".into() }), Reply::Deleted { existed: false });
    assert_eq!(get(&store, "a"), None);
    assert_eq!(store, Store::default(), "a deleted entry leaves nothing behind");
}

#[test]
fn a_value_is_swapped_only_for_the_expected_one() {
    let mut store = Store::default();
    assert_eq!(swap(&mut store, Some("1"), Some("2")), Reply::Differs { current: None });
    assert_eq!(swap(&mut store, None, Some("1")), Reply::Swapped);
    assert_eq!(swap(&mut store, None, Some("2")), Reply::Differs { current: Some("1".into()) });
    assert_eq!(swap(&mut store, Some("1"), Some("2")), Reply::Swapped);
    assert_eq!(get(&store, "k"), Some("2".into()));
    assert_eq!(swap(&mut store, Some("2"), None), Reply::Swapped);
    assert!(store.is_empty());
}

#[test]
fn a_scan_returns_the_keys_with_the_prefix_and_goes_on_behind_the_last() {
    let mut store = Store::default();
    for key in ["", "a", "b", "b/1", "b/2", "b/3", "c"] {
        put(&mut store, key, "x");
    }
    assert_eq!(scan(&store, "b/", "", 10), (vec!["b/1".into(), "b/2".into(), "b/3".into()], false));
    assert_eq!(scan(&store, "b/", "", 2), (vec!["b/1".into(), "b/2".into()], true));
    assert_eq!(scan(&store, "b/", "b/2", 2), (vec!["b/3".into()], false));
    assert_eq!(scan(&store, "b/", "a", 1), (vec!["b/1".into()], true));
    assert_eq!(scan(&store, "b/", "c", 1), (vec![], false));
    assert_eq!(scan(&store, "", "", 1), (vec![String::new()], true));
    assert_eq!(scan(&store, "", "b/3", 0), (vec![], true));
}

#[test]
fn a_scan_ends_at_its_bounds() {
    let mut store = Store::default();
    for number in 0..=SCAN_ENTRIES_MAX {
        put(&mut store, &format!("{number:05}"), "");
    }
    let (keys, more) = scan(&store, "", "", u32::MAX);
    assert_eq!((keys.len(), more), (SCAN_ENTRIES_MAX, true));

    let mut store = Store::default();
    let large = "x".repeat(VALUE_BYTES_MAX);
    for key in ["1", "2", "3"] {
        put(&mut store, key, &large);
    }
    let fit = SCAN_BYTES_MAX / (ENTRY_BYTES + 1 + VALUE_BYTES_MAX);
    let (keys, more) = scan(&store, "", "", u32::MAX);
    assert_eq!((keys.len(), more), (fit, true));
}

#[test]
fn keys_and_values_that_are_too_long_are_refused() {
    let mut store = Store::default();
    let refused = |refusal| Reply::Refused(refusal);
    let (long_key, long_value) = ("k".repeat(KEY_BYTES_MAX + 1), "v".repeat(VALUE_BYTES_MAX + 1));
    assert_eq!(put(&mut store, &long_key, ""), refused(Refusal::KeyTooLong));
    assert_eq!(ask(&mut store, Command::Delete { key: long_key }), refused(Refusal::KeyTooLong));
    assert_eq!(put(&mut store, "k", &long_value), refused(Refusal::ValueTooLong));
    assert_eq!(swap(&mut store, None, Some(&long_value)), refused(Refusal::ValueTooLong));
    assert_eq!(
        put(&mut store, &"k".repeat(KEY_BYTES_MAX), &"v".repeat(VALUE_BYTES_MAX)),
        Reply::Stored { replaced: false }
    );
}

#[test]
fn a_full_store_refuses_what_makes_it_larger_and_still_restores() {
    const MOST: u64 = 1 << 20;
    let mut store = Store::default();
    let value = Value(vec![b'v'; VALUE_BYTES_MAX]);
    let mut keys = (0..).map(|number| format!("{number:06}"));
    let refused =
        keys.find(|key| store.set_within(MOST, key, Some(&value)) == Err(Refusal::StoreFull)).unwrap();
    assert_eq!(get(&store, &refused), None);
    assert_eq!(store.set_within(MOST, "000000", Some(&value)), Ok(true));
    assert!(store.bytes() <= MOST);

    let mut map = Map::new();
    store.save(&mut map).unwrap();
    assert_eq!(Store::load(&map).unwrap(), store);

    assert_eq!(ask(&mut store, Command::Delete { key: "000000".into() }), Reply::Deleted { existed: true });
    assert_eq!(store.set_within(MOST, &refused, Some(&value)), Ok(false));
}

#[test]
fn a_checkpoint_costs_what_changed() {
    let mut store = Store::default();
    for number in 0..20_000 {
        put(&mut store, &format!("{number:06}"), "some value that was there before");
    }
    let mut map = Map::new();
    store.save(&mut map).unwrap();
    assert_eq!(store.changed_bytes(), 0);
    put(&mut store, "010000", "another value");
    assert!((1..=4096).contains(&store.changed_bytes()), "{}", store.changed_bytes());
}

#[test]
fn a_map_with_a_key_that_is_no_text_is_no_store() {
    let mut map = Map::new();
    map.insert(b"\xff", b"value").unwrap();
    assert!(Store::load(&map).is_err());
}

#[test]
fn commands_that_change_something_are_ordered() {
    let store = Store::default();
    assert_eq!(store.query(Command::Put { key: "k".into(), value: "v".into() }), None);
    assert_eq!(store.query(Command::Delete { key: "k".into() }), None);
    assert_eq!(store.query(Command::CompareAndSwap { key: "k".into(), expected: None, new: None }), None);
}
