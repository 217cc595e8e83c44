//! Replies come out of their runs as they went in, and nothing else is a run.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::codec::CodecError;

static LONG: [u8; REPLY_BYTES_MAX] = [1; REPLY_BYTES_MAX];

fn outcomes() -> [Outcome; 11] {
    [
        Outcome::Done(Blob(Bytes::from_static(b"answer"))),
        Outcome::Done(Blob(Bytes::new())),
        Outcome::NoSession,
        Outcome::Old,
        Outcome::Window,
        Outcome::Gap,
        Outcome::Expired,
        Outcome::Full,
        Outcome::Registered,
        Outcome::Rejected,
        Outcome::TooLarge,
    ]
}

fn reply(seq: u64, session: u64, number: u64, outcome: Outcome) -> Reply {
    let operation = Digest([number.to_le_bytes()[0]; 32]);
    Reply { seq: Seq(seq), session: Session(session), number: Number(number), operation, outcome }
}

fn consecutive(replies: u64, result: &'static [u8]) -> Vec<Reply> {
    (1..=replies).map(|number| reply(5, 3, number, Outcome::Done(Blob(Bytes::from_static(result))))).collect()
}

fn lengths(replies: &[Reply]) -> Vec<usize> {
    Replies::of(replies).runs().iter().map(Run::count).collect()
}

fn again(replies: &Replies) -> Replies {
    codec::decode(&codec::encode(replies).unwrap()).unwrap()
}

#[test]
fn every_outcome_comes_out_of_a_run_as_it_went_in() {
    let replies: Vec<_> =
        (1..).zip(outcomes()).map(|(number, outcome)| reply(5, 3, number, outcome)).collect();
    let sent = Replies::of(&replies);
    assert_eq!(sent.runs().len(), 1);
    assert_eq!(again(&sent), sent);
    assert_eq!(sent.iter().collect::<Vec<_>>(), replies);
    let run = &sent.runs()[0];
    assert!(run.operations().eq(replies.iter().map(|reply| reply.operation)));
    assert!(run.outcomes().eq(replies.iter().map(|reply| (reply.number, reply.outcome.clone()))));
    assert_eq!((run.first(), run.end(), run.count()), (Number(1), Number(12), 11));
    assert_eq!((run.seq(), run.session(), run.result_bytes()), (Seq(5), Session(3), 6));
}

#[test]
fn a_run_of_results_is_known_as_one() {
    for outcome in outcomes() {
        let replies = [reply(5, 3, 1, Outcome::Rejected), reply(5, 3, 2, outcome.clone())];
        let sent = Replies::of(&replies);
        assert_eq!(sent.runs()[0].is_all_results(), outcome.is_result(), "{outcome:?}");
        assert_eq!(again(&sent), sent, "whoever decodes it finds the same");
    }
}

#[test]
fn a_run_ends_where_slot_session_or_number_jump() {
    let done = || Outcome::Done(Blob(Bytes::new()));
    let of = |places: &[(u64, u64, u64)]| {
        let replies = places.iter().map(|(seq, session, number)| reply(*seq, *session, *number, done()));
        lengths(&replies.collect::<Vec<_>>())
    };
    assert_eq!(of(&[]), [0; 0]);
    assert_eq!(of(&[(5, 3, 1), (5, 3, 2), (5, 3, 3)]), [3]);
    assert_eq!(of(&[(5, 3, 1), (5, 3, 2), (6, 3, 3)]), [2, 1]);
    assert_eq!(of(&[(5, 3, 1), (5, 4, 2), (5, 4, 3)]), [1, 2]);
    assert_eq!(of(&[(5, 3, 1), (5, 3, 3), (5, 3, 2), (5, 3, 2)]), [1, 1, 1, 1]);
    assert_eq!(of(&[(5, 3, u64::MAX), (5, 3, 0)]), [1, 1]);
}

#[test]
fn a_run_has_as_many_answers_and_bytes_as_it_may() {
    let most = RUN_ANSWERS_MAX as u64;
    assert_eq!(lengths(&consecutive(most + 1, b"")), [RUN_ANSWERS_MAX, 1]);
    let replies = consecutive(3, &LONG);
    assert_eq!(lengths(&replies), [1, 1, 1], "two and their lengths are too long");
    assert_eq!(again(&Replies::of(&replies)).iter().collect::<Vec<_>>(), replies);
}

/// Which results lie in the memory of their run: those of its replies, and those of its outcomes.
fn shared(run: &Run) -> (Vec<bool>, Vec<bool>) {
    let within = |outcome: Outcome| {
        let Outcome::Done(result) = outcome else { panic!("it was done") };
        run.wire.outcomes.as_ptr_range().contains(&result.as_ptr())
    };
    let replies = run.replies().map(|reply| within(reply.outcome)).collect();
    (replies, run.outcomes().map(|(_, outcome)| within(outcome)).collect())
}

#[test]
fn who_keeps_one_result_keeps_64_kibibytes_of_its_run_at_most() {
    let short = Replies::of(&consecutive(3, b"answer"));
    assert_eq!(shared(&short.runs()[0]), (vec![false; 3], vec![true; 3]));
    let beside = |bytes: usize| {
        let mut replies = consecutive(1, b"answer");
        replies.push(reply(5, 3, 2, Outcome::Done(Blob(Bytes::from_static(&LONG[..bytes])))));
        Replies::of(&replies)
    };
    let rest = 2 * OUTCOME_BYTES + b"answer".len();
    assert_eq!(shared(&beside((64 << 10) - rest).runs()[0]), (vec![false; 2], vec![true; 2]));
    assert_eq!(shared(&beside((64 << 10) - rest + 1).runs()[0]), (vec![false; 2], vec![false; 2]));
}

/// What is said of a run with these digests and outcomes.
fn judged(first: u64, operations: usize, outcomes: &[u8]) -> Result<Run, CodecError> {
    let mut bytes = Vec::new();
    for number in [5, 3, first] {
        bytes.extend_from_slice(&u64::to_le_bytes(number));
    }
    for part in [vec![7; operations].as_slice(), outcomes] {
        bytes.extend_from_slice(&u32::try_from(part.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(part);
    }
    codec::decode(&bytes)
}

#[test]
fn whoever_sends_a_run_that_is_none_is_told_what_is_wrong_with_it() {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    let two = words(&[8, 0, 0]);
    assert!(judged(1, 64, &two).is_ok());
    let partial = CodecError::Malformed("a run of replies answers no operation, or a part of one");
    for operations in [0, 31, 63, 65] {
        assert_eq!(judged(1, operations, &two), Err(partial.clone()), "{operations}");
    }
    let overflow = CodecError::Malformed("the numbers of a run of replies overflow");
    assert_eq!(judged(u64::MAX - 1, 64, &two), Err(overflow));
    assert!(judged(u64::MAX - 2, 64, &two).is_ok());
    let uneven = CodecError::Malformed("a run of replies has not one outcome for each operation");
    for outcomes in [
        words(&[]),
        words(&[8]),
        words(&[8, 8, 8]),
        words(&[8, 10]),
        words(&[8, 0]),
        words(&[8, 0, 1]),
        words(&[8, 0, u32::MAX]),
        [words(&[8, 9]).as_slice(), &[0]].concat(),
    ] {
        assert_eq!(judged(1, 64, &outcomes), Err(uneven.clone()), "{outcomes:?}");
    }
    let long = CodecError::Malformed("a byte string is longer than it may be");
    assert_eq!(judged(1, DIGEST_BYTES * (RUN_ANSWERS_MAX + 1), &two), Err(long.clone()));
    assert_eq!(judged(1, 64, &vec![0; RUN_BYTES_MAX + 1]), Err(long));
    let too_long = u32::try_from(REPLY_BYTES_MAX + 1).unwrap();
    let longer = [words(&[8, 0, too_long]), vec![0; REPLY_BYTES_MAX + 1]].concat();
    assert_eq!(judged(1, 64, &longer), Err(uneven));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_replies_come_out_of_their_runs_as_they_went_in(
        places in proptest::collection::vec((0_u64..3, 0_u64..2, 0_u64..4, 0_usize..11), 0..60),
    ) {
        let outcomes = outcomes();
        let replies: Vec<_> = places
            .iter()
            .map(|(seq, session, number, outcome)| reply(*seq, *session, *number, outcomes[*outcome].clone()))
            .collect();
        let sent = Replies::of(&replies);
        prop_assert_eq!(again(&sent), sent.clone());
        prop_assert_eq!(sent.iter().collect::<Vec<_>>(), replies);
        prop_assert!(codec::encode(&sent).unwrap().len() >= sent.runs().len() * Run::WIRE_MIN);
    }
}
