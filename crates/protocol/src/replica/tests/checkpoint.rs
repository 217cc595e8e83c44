//! Checkpoints that become stable out of turn.

use super::*;

#[test]
fn a_state_is_not_installed_after_a_newer_one() {
    let mut bench = Bench::new(4, 1);
    let checkpoint = |seq| Checkpoint { seq: Seq(seq), root: Digest([8; 32]), epoch_end: Seq::MAX };
    // Votes beyond the window wait; the next stable checkpoint lets them in, and they are a quorum.
    for id in [0, 2, 3] {
        let vote = bench.sign(id, checkpoint(12));
        bench.step(Event::Checkpoint(vote));
    }
    assert_eq!(bench.replica.watermarks(), (Seq(0), Seq(8)), "beyond the window they count for nothing");
    let stable = Verified::vouch(bench.certificate(checkpoint(8), &[0, 2, 3]));
    bench.step(Event::StableCertificate(stable));
    assert_eq!(bench.replica.watermarks(), (Seq(12), Seq(20)));
    assert_eq!(bench.installs, [Seq(12)], "the older state would be a step back");
}
