//! How far a replica may have answered, where reads are fast.

use super::*;

/// What replica 1 wants when it is shown that the null batch committed in these slots, one after the other.
fn shown(fast_reads: bool, slots: u64) -> (Replica, Vec<Effect>) {
    let mut bench = Bench::new(4, 1);
    bench.context.parameters = Arc::new(Parameters { fast_reads, ..(*bench.context.parameters).clone() });
    bench.replica = Replica::new(bench.context.clone(), ReplicaId(1));
    let mut effects = Vec::new();
    for seq in (1..=slots).map(Seq) {
        let commit = Commit { view: View(0), seq, digest: bench.replica.null };
        let certificate = Verified::vouch(bench.certificate(commit, &[0, 2, 3]));
        bench.replica.step(bench.now, Event::CommitCertificate(certificate), &mut effects);
    }
    (bench.replica, effects)
}

fn is_horizon(effect: &Effect) -> bool {
    matches!(effect, Effect::Persist(Record::Horizon { .. }))
}

#[test]
fn a_slot_that_no_vote_covers_is_covered_before_it_executes() {
    let (replica, effects) = shown(true, 3);
    let covered = effects.iter().position(is_horizon).unwrap();
    let executed = effects.iter().position(|effect| matches!(effect, Effect::Execute { .. })).unwrap();
    assert!(covered < executed);
    assert_eq!(effects.iter().filter(|effect| is_horizon(effect)).count(), 1, "once for a whole window");
    assert_eq!((replica.promised(), replica.answers_from()), ((View(0), Seq(8)), Seq(0)));
}

#[test]
fn without_fast_reads_nothing_is_promised_for_an_answer() {
    let (replica, effects) = shown(false, 3);
    assert!(!effects.iter().any(is_horizon));
    assert_eq!(replica.promised(), (View(0), Seq(0)));
}

#[test]
fn whoever_comes_back_answers_from_where_it_may_have_been() {
    let (context, _) = context(4);
    let memory = Memory { promised: (View(0), Seq(8)), ..Memory::default() };
    let replica = Replica::recover(context, ReplicaId(1), memory, Time(1), &mut Vec::new()).unwrap();
    assert_eq!((replica.executed(), replica.answers_from()), (Seq(0), Seq(8)));
}
