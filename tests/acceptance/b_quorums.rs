//! B: agreement rests on quorums.

use super::lab::{Lab, T0, calm};

/// Every set of `size` of `n` replicas, one bit each.
fn sets(n: u16, size: u32) -> impl Iterator<Item = u64> {
    (0..1_u64 << n).filter(move |set| set.count_ones() == size)
}

// Who counts 2f + 1 = 3 commits here. Would miss quorums that are too large by one: the healed
// cluster of all would still commit; the arithmetic beside `committee` has those.
#[test]
fn b3_three_of_five_or_six_never_commit_however_they_are_chosen() {
    for n in [5, 6] {
        let everyone = (1_u64 << n) - 1;
        for talking in sets(n, 3) {
            let mut lab = Lab::new(&calm(n, talking), 1);
            let before = lab.executed();
            for lonely in (0..n).filter(|id| talking >> id & 1 == 0) {
                lab.cut(1 << lonely, everyone);
                lab.cut(everyone, 1 << lonely);
            }
            lab.ask(0, "add k 1");
            let all: Vec<u16> = (0..n).collect();
            lab.repeat(0, &all);
            lab.run(6 * T0);
            assert!(lab.stopped() > 0, "n = {n}, {talking:b}: the cut cut nothing");
            assert!(lab.count(&["PREPARE"]) + lab.count(&["VIEW-CHANGE"]) > 0, "three talk");
            let committed = lab.alive().iter().map(|replica| replica.committed().0).max();
            assert_eq!(committed, Some(before), "n = {n}: {talking:b} committed");
            lab.heal();
            let most = 8 * lab.timeout();
            lab.await_that("the healed cluster commits", most, |lab| {
                lab.executed() > before && lab.is_answered()
            });
        }
    }
}
