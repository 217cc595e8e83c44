//! Which replicas are as good as equal.

use super::*;

#[test]
fn neither_the_order_of_votes_nor_the_clock_tells_replicas_apart_and_votes_and_proposals_do() {
    let voted = |ids: [u16; 2], later: u64| {
        let mut bench = Bench::new(4, 1);
        bench.now = bench.now.plus(later);
        let digest = bench.body(1).digest;
        ids.into_iter().for_each(|id| bench.prepare(id, vote(0, 1, digest)));
        bench.replica
    };
    let (one, other) = (voted([2, 3], 0), voted([3, 2], 1_000));
    assert_eq!(one.fingerprint(true), other.fingerprint(true));
    assert_eq!(one.fingerprint(true), one.clone().fingerprint(true));
    let fewer = voted([2, 2], 0);
    assert_ne!(one.fingerprint(true), fewer.fingerprint(true));
    assert_eq!(one.fingerprint(false), fewer.fingerprint(false), "no quorum, so nobody sees a difference");
    let mut proposed = Bench::new(4, 1);
    let body = proposed.body(1);
    proposed.pre_prepare(vote(0, 1, body.digest), Some(&body));
    assert_ne!(Bench::new(4, 1).replica.fingerprint(false), proposed.replica.fingerprint(false));
    let mut leaving = Bench::new(4, 1);
    leaving.replica.start_view_change(View(1), &mut Out { now: Time(1), effects: &mut Vec::new() });
    assert_ne!(Bench::new(4, 1).replica.fingerprint(false), leaving.replica.fingerprint(false));
}
