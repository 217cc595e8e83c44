//! A replica that may have forgotten promises: it contradicts none of them, and it gets well.

use super::*;
use crate::crypto::SecretKey;
use crate::message::Status as Standing;
use crate::request::{Draft, Kind, Operations, Request};
use crate::types::{Number, Session};

/// What the superblock of every amnesiac here remembers: slots up to 8 may have been voted on, in no view after this.
fn boxed(view: u64) -> AmnesiaBox {
    AmnesiaBox { epoch: Epoch(0), view: View(view), high: Seq(8) }
}

/// Replica `me` of four, back with this box and what its new journal holds since; it promised nothing beyond `view`.
fn back(me: u16, forgot: AmnesiaBox, view: View, records: Vec<(Record, Option<Vec<u8>>)>) -> Bench {
    let mut bench = Bench::new(4, me);
    let promised = (view, forgot.high);
    let memory = Memory { records, promised, amnesia: Some(forgot), ..Memory::default() };
    let mut effects = Vec::new();
    bench.replica =
        Replica::recover(bench.context.clone(), ReplicaId(me), memory, bench.now, &mut effects).unwrap();
    bench.said.extend(effects.into_iter().filter_map(|effect| match effect {
        Effect::Send { message, .. } => Some(message),
        _ => None,
    }));
    bench
}

fn amnesiac(me: u16, view: u64) -> Bench {
    back(me, boxed(view), View(view), Vec::new())
}

/// What a quorum of the others proves stable.
fn stable(bench: &mut Bench, seq: u64) {
    let checkpoint = Checkpoint { seq: Seq(seq), root: Digest([8; 32]), epoch_end: Seq::MAX };
    let others: Vec<u16> = (0..4).filter(|id| ReplicaId(*id) != bench.replica.id()).collect();
    let certificate = Verified::vouch(bench.certificate(checkpoint, &others));
    bench.step(Event::StableCertificate(certificate));
    assert_eq!(bench.replica.watermarks().0, Seq(seq));
}

/// The others open a view in which they re-propose these certificates.
fn open(bench: &mut Bench, view: u64, prepared: &[Certificate<Prepare>]) {
    let others = (0..4).filter(|id| ReplicaId(*id) != bench.replica.id());
    let leaving: Vec<_> = others.map(|id| bench.view_change(id, view, prepared.to_vec())).collect();
    for message in &leaving {
        bench.step(Event::ViewChange(message.clone()));
    }
    bench.step(Event::NewView(bench.new_view(view, &leaving.iter().collect::<Vec<_>>())));
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(view), Status::Normal));
}

/// Everything that makes a correct replica PREPARE and COMMIT at a slot of its view. Returns the proposal.
fn propose(bench: &mut Bench, seq: u64) -> Prepare {
    let body = bench.body(seq);
    let this = vote(bench.replica.view().0, seq, body.digest);
    bench.pre_prepare(this, Some(&body));
    let me = bench.replica.id();
    (0..4).filter(|id| ReplicaId(*id) != me).for_each(|id| bench.prepare(id, this));
    this
}

fn request(bench: &Bench) -> Event {
    let operations = Operations::new(std::iter::once(&b"x"[..]));
    let (first, ack, kind) = (Number(1), Number(1), Kind::Operations);
    let draft = Draft { session: Session(1), first, ack, kind, operations };
    let request = Request::sign(&SecretKey::from_seed(&[77; 32]), bench.context.cluster, draft);
    Event::Requests { requests: vec![Verified::vouch(Arc::new(request))], forwarded_by: None }
}

/// A STATUS of somebody who forgot.
fn plea(from: u16, high: u64) -> Event {
    let status = Standing {
        epoch: Epoch(0),
        view: View(0),
        changing: false,
        low: Seq(0),
        executed: Seq(0),
        committed: crate::codec::Blob(Vec::new().into()),
        prepared: crate::codec::Blob(Vec::new().into()),
        bodies: crate::codec::Blob(Vec::new().into()),
        view_changes: crate::codec::Blob(Vec::new().into()),
        new_view: View(0),
        amnesia_high: Some(Seq(high)),
    };
    Event::Status { from: ReplicaId(from), status }
}

fn proposals(bench: &Bench) -> Vec<Prepare> {
    let said = bench.said.iter();
    said.filter_map(|say| if let Say::PrePrepare { prepare, .. } = say { Some(*prepare) } else { None })
        .collect()
}

fn own_view_changes(bench: &Bench) -> usize {
    let relayed = bench.relayed().into_iter().filter(
        |say| matches!(say, PeerMessage::ViewChange(message) if message.signer == bench.replica.id()),
    );
    bench.view_changes().len() + relayed.count()
}

#[test]
fn c9_an_amnesiac_prepares_nothing_where_it_may_have_prepared_before() {
    let mut bench = amnesiac(1, 0);
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(0), Status::Normal), "view 0 is open");
    stable(&mut bench, 4);
    for seq in 5..=12 {
        let body = bench.body(seq);
        bench.pre_prepare(vote(0, seq, body.digest), Some(&body));
    }
    let voted: Vec<u64> = bench.prepares().iter().map(|vote| vote.seq.0).collect();
    assert_eq!(voted, [9, 10, 11, 12]);
}

#[test]
fn c9_an_amnesiac_commits_nothing_where_it_may_have_committed_before() {
    let mut bench = amnesiac(1, 0);
    stable(&mut bench, 4);
    (5..=12).for_each(|seq| {
        propose(&mut bench, seq);
        assert!(bench.replica.log.get(Seq(seq)).unwrap().prepared.is_some(), "it knows that others prepared");
    });
    let voted: Vec<u64> = bench.commits().iter().map(|vote| vote.seq.0).collect();
    assert_eq!(voted, [9, 10, 11, 12]);
}

#[test]
fn c9_an_amnesiac_executes_what_others_committed() {
    let mut bench = amnesiac(1, 0);
    let this = propose(&mut bench, 1);
    [0, 2, 3].into_iter().for_each(|id| bench.commit(id, this));
    assert_eq!(bench.executed, [Seq(1)]);
    assert!(bench.prepares().is_empty() && bench.commits().is_empty());
}

#[test]
fn c9_the_box_holds_older_views_whole_and_its_own_up_to_its_slot() {
    let bench = amnesiac(1, 2);
    let votes = [(1, 1), (1, 99), (2, 8), (2, 9), (3, 1)];
    let may = votes.map(|(view, seq)| bench.replica.may_vote(View(view), Seq(seq)));
    assert_eq!(may, [false, false, false, true, true]);
}

#[test]
fn c9_an_amnesiac_waits_in_the_last_view_it_may_have_voted_in_and_votes_in_no_older_one() {
    let mut bench = amnesiac(1, 3);
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(3), Status::Recovering));
    stable(&mut bench, 8);
    for view in 0..=3 {
        for seq in 9..=12 {
            let body = bench.body(seq);
            bench.pre_prepare(vote(view, seq, body.digest), Some(&body));
        }
    }
    assert!(bench.prepares().is_empty(), "not even beyond the box, before the NEW-VIEW is here");
    let leaving: Vec<_> = [0, 2, 3].map(|id| bench.view_change(id, 2, Vec::new())).into_iter().collect();
    leaving.iter().for_each(|message| bench.step(Event::ViewChange(message.clone())));
    bench.step(Event::NewView(bench.new_view(2, &leaving.iter().collect::<Vec<_>>())));
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(3), Status::Recovering));
}

#[test]
fn c9_its_new_view_lets_an_amnesiac_in_and_a_later_one_lets_it_vote_in_the_box() {
    let mut bench = amnesiac(1, 2);
    let prepared: Vec<_> =
        (1..=2).map(|seq| bench.certificate(vote(0, seq, bench.replica.null), &[0, 2, 3])).collect();
    open(&mut bench, 2, &prepared);
    propose(&mut bench, 3);
    assert!(
        bench.prepares().is_empty() && bench.commits().is_empty(),
        "not in the view that it may have voted in"
    );
    open(&mut bench, 3, &prepared);
    let voted: Vec<_> = bench.prepares().iter().map(|vote| (vote.view.0, vote.seq.0)).collect();
    assert_eq!(voted, [(3, 1), (3, 2)]);
    assert!(bench.replica.amnesia().is_some(), "its slots are not stable");
}

#[test]
fn c9_an_amnesiac_that_starts_again_is_where_its_new_journal_says() {
    let mut before = amnesiac(1, 2);
    let leaving: Vec<_> = [0, 2, 3].map(|id| before.view_change(id, 3, Vec::new())).into_iter().collect();
    leaving.iter().for_each(|message| before.step(Event::ViewChange(message.clone())));
    let message = before.new_view(3, &leaving.iter().collect::<Vec<_>>());
    let signed = crate::codec::encode(&*message).unwrap();
    let entered = Record::NewView {
        new_view: message.body.clone(),
        signature: Some(message.signature),
        view_changes: leaving.into_iter().map(Verified::into_inner).collect(),
    };
    let mut bench = back(1, boxed(2), View(3), vec![(entered, Some(signed))]);
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(3), Status::Normal));
    propose(&mut bench, 1);
    assert_eq!((bench.prepares().len(), bench.commits().len()), (1, 1));
    assert_eq!(bench.replica.amnesia(), Some(boxed(2)));
}

#[test]
fn c9_neither_timers_nor_others_make_an_amnesiac_leave_its_view_before_its_slots_are_stable() {
    let mut bench = amnesiac(1, 0);
    [0, 2, 3].into_iter().for_each(|id| bench.replica.hear(ReplicaId(id)));
    let wanted = request(&bench);
    bench.step(wanted);
    bench.pass(5_000_000);
    assert!(bench.replica.waiting().progress.is_some(), "it waits like everybody");
    let waits = bench.replica.waits(bench.now);
    assert!(waits.iter().any(|wait| matches!(wait.reason, Reason::Requests { .. })));
    assert!(
        waits.iter().all(|wait| wait.gives_up_us.is_none()),
        "it does not say that it will leave: {waits:?}"
    );
    for id in [2, 3] {
        bench.step(Event::ViewChange(bench.view_change(id, 1, Vec::new())));
    }
    assert_eq!((bench.replica.view(), own_view_changes(&bench)), (View(0), 0));
    stable(&mut bench, 4);
    bench.pass(5_000_000);
    assert_eq!((bench.replica.view(), own_view_changes(&bench)), (View(0), 0));
    stable(&mut bench, 8);
    bench.step(Event::ViewChange(bench.view_change(2, 2, Vec::new())));
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(1), Status::ViewChanging));
    assert_eq!(bench.view_changes().len(), 1);
}

#[test]
fn c9_an_amnesiac_says_no_second_view_change_for_the_view_it_waits_in() {
    let mut bench = amnesiac(2, 2);
    stable(&mut bench, 8);
    // Its own of before comes back with the others', and all of them together would let it open the view.
    for id in [0, 1, 3] {
        bench.step(Event::ViewChange(bench.view_change(id, 2, Vec::new())));
    }
    bench.step(Event::ViewChange(bench.view_change(2, 2, Vec::new())));
    let said = bench.said.iter().filter(|say| matches!(say, Say::NewView(_) | Say::ViewChange(_)));
    assert_eq!((said.count(), own_view_changes(&bench)), (0, 0));
    assert_eq!(bench.replica.status(), Status::Recovering);
}

#[test]
fn c9_a_view_that_does_not_open_is_left_by_an_amnesiac_whose_slots_are_stable() {
    let mut bench = amnesiac(1, 2);
    for id in [0, 3] {
        bench.step(Event::ViewChange(bench.view_change(id, 2, Vec::new())));
    }
    bench.pass(5_000_000);
    assert_eq!((bench.replica.status(), own_view_changes(&bench)), (Status::Recovering, 0));
    stable(&mut bench, 8);
    bench.pass(600_000);
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(3), Status::ViewChanging));
    assert_eq!(bench.view_changes().len(), 1);
}

#[test]
fn c9_a_primary_that_forgot_proposes_nothing_where_it_may_have_proposed_and_remembers_its_new_view() {
    let mut bench = amnesiac(2, 2);
    let leaving: Vec<_> = [0, 1, 3].map(|id| bench.view_change(id, 2, Vec::new())).into_iter().collect();
    leaving.iter().for_each(|message| bench.step(Event::ViewChange(message.clone())));
    // Somebody shows it the NEW-VIEW that it sent before it forgot.
    let own = bench.new_view(2, &leaving.iter().collect::<Vec<_>>());
    let mut effects = Vec::new();
    bench.replica.step(bench.now, Event::NewView(own), &mut effects);
    let entered = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Persist(Record::NewView { signature: Some(_), .. })));
    assert_eq!(entered.count(), 1, "another restart must find it in this view again");
    assert_eq!((bench.replica.primary(), bench.replica.status()), (ReplicaId(2), Status::Normal));
    bench.step(plea(3, 8));
    assert!(proposals(&bench).is_empty(), "nor anything for somebody else who forgot");
    let wanted = request(&bench);
    bench.step(wanted);
    assert!(proposals(&bench).is_empty());
    stable(&mut bench, 8);
    assert_eq!(proposals(&bench).iter().map(|vote| vote.seq).collect::<Vec<_>>(), [Seq(9)]);
}

#[test]
fn c9_the_box_goes_only_when_its_slots_are_stable_and_its_view_is_over() {
    let mut bench = amnesiac(1, 2);
    open(&mut bench, 2, &[]);
    stable(&mut bench, 8);
    assert_eq!(bench.replica.amnesia(), Some(boxed(2)), "its view is not over");
    assert!(!bench.replica.is_bound(), "and yet it keeps nothing back in it");
    let mut bench = amnesiac(1, 2);
    open(&mut bench, 3, &[]);
    stable(&mut bench, 4);
    assert_eq!(bench.replica.amnesia(), Some(boxed(2)), "its slots are not stable");
    assert!(bench.replica.is_bound(), "it may not leave its view");
    let checkpoint = Checkpoint { seq: Seq(8), root: Digest([9; 32]), epoch_end: Seq::MAX };
    let certificate = Verified::vouch(bench.certificate(checkpoint, &[0, 2, 3]));
    let mut effects = Vec::new();
    bench.replica.step(bench.now, Event::StableCertificate(certificate), &mut effects);
    let place = |wanted: fn(&Record) -> bool| {
        effects.iter().position(|effect| matches!(effect, Effect::Persist(record) if wanted(record)))
    };
    let (stable, healed) =
        (place(|record| matches!(record, Record::Stable(_))), place(|record| *record == Record::Healed));
    assert!(stable.is_some() && stable < healed, "what makes the box superfluous is recorded before");
    assert_eq!(bench.replica.amnesia(), None);
}

#[test]
fn c9_an_amnesiac_whose_slots_are_stable_votes_like_everybody_in_the_view_it_forgot_and_says_that_nothing_binds_it()
 {
    let mut bench = amnesiac(1, 0);
    let forgotten = |bench: &Bench| {
        bench.replica.waits(bench.now).iter().any(|wait| matches!(wait.reason, Reason::Forgotten { .. }))
    };
    propose(&mut bench, 3);
    assert!(bench.prepares().is_empty() && bench.replica.is_bound() && forgotten(&bench));
    stable(&mut bench, 4);
    assert!(bench.replica.is_bound() && forgotten(&bench), "not all of its slots are");
    stable(&mut bench, 8);
    assert!(!bench.replica.is_bound() && !forgotten(&bench));
    assert_eq!(bench.replica.amnesia(), Some(boxed(0)), "a restart in this view would need it");
    propose(&mut bench, 9);
    assert_eq!(bench.prepares().iter().map(|vote| vote.seq).collect::<Vec<_>>(), [Seq(9)]);
    let mut waiting = amnesiac(1, 2);
    stable(&mut waiting, 8);
    assert!(waiting.replica.is_bound(), "its view has not opened here");
}

#[test]
fn c9_an_amnesiac_says_in_its_status_up_to_where_it_is_bound() {
    let mut bench = amnesiac(1, 0);
    let said = |bench: &Bench| match bench.relayed().last() {
        Some(PeerMessage::Status(status)) => status.amnesia_high,
        other => panic!("no STATUS but {other:?}"),
    };
    assert_eq!(said(&bench), Some(Seq(8)));
    stable(&mut bench, 8);
    open(&mut bench, 1, &[]);
    bench.said.clear();
    bench.pass(2_000_000);
    assert_eq!(said(&bench), None);
}

/// Lets the primary's next null batch commit everywhere.
fn commit_null(bench: &mut Bench, seq: u64) {
    let this = vote(0, seq, bench.replica.null);
    [1, 2, 3].into_iter().for_each(|id| bench.prepare(id, this));
    [1, 2, 3].into_iter().for_each(|id| bench.commit(id, this));
}

/// Lets the primary's next null batch commit everywhere, and its checkpoint become stable where one is due.
fn agree_on_null(bench: &mut Bench, seq: u64) {
    commit_null(bench, seq);
    if seq.is_multiple_of(4) {
        stable(bench, seq);
    }
}

#[test]
fn c9_an_idle_primary_orders_null_batches_until_an_amnesiac_is_well_but_not_for_ever() {
    let mut bench = Bench::new(4, 0);
    bench.step(plea(3, 8));
    for seq in 1..=8 {
        assert_eq!(proposals(&bench).len() as u64, seq, "one at a time");
        agree_on_null(&mut bench, seq);
    }
    assert_eq!(proposals(&bench).len(), 8, "the box is behind");
    assert!(proposals(&bench).iter().all(|vote| vote.digest == bench.replica.null));
    bench.step(plea(3, u64::MAX));
    (9..=16).for_each(|seq| agree_on_null(&mut bench, seq));
    assert_eq!(
        proposals(&bench).len(),
        16,
        "a window, half of one and K in an hour are all that one replica gets"
    );
    bench.step(plea(2, 24));
    assert_eq!(proposals(&bench).len(), 17, "another replica has an allowance of its own");
    agree_on_null(&mut bench, 17);
    assert_eq!(proposals(&bench).len(), 18);
    bench.step(plea(2, 0));
    agree_on_null(&mut bench, 18);
    assert_eq!(proposals(&bench).len(), 18, "who is well needs nothing");
    bench.now = bench.now.plus(3_600_000_000);
    bench.step(plea(3, u64::MAX));
    assert_eq!(proposals(&bench).len(), 19, "after an hour it may ask again");
}

/// An idle primary of a cluster with a large state, whose last checkpoint is of slot `low`, and a replica bound up to
/// `high`, without anything else to do: where the next ones are, one of them at `between` because much had changed.
fn healed(low: u64, high: u64, between: Option<u64>) -> u64 {
    let mut bench = Bench::with(0, |parameters| parameters.window = 16);
    if low > 0 {
        // Somebody else's plea brings these slots.
        bench.step(plea(2, low));
        (1..=low).for_each(|seq| commit_null(&mut bench, seq));
        bench.step(plea(2, 0));
        stable(&mut bench, low);
    }
    bench.step(plea(3, high));
    let mut last = low;
    while let Some(proposal) = proposals(&bench).last().filter(|last| last.seq > bench.replica.committed()) {
        let seq = proposal.seq.0;
        commit_null(&mut bench, seq);
        // Null batches change nothing: the next one is due at the first multiple of K that is half a window on.
        if between == Some(seq) || (seq.is_multiple_of(4) && seq - last >= 8) {
            last = seq;
            stable(&mut bench, seq);
        }
    }
    bench.replica.watermarks().0.0
}

#[test]
fn c9_an_idle_primary_heals_an_amnesiac_of_a_large_state_though_few_multiples_of_k_are_checkpoints() {
    for (low, length) in (0..8).flat_map(|low| (1..=16).map(move |length| (low, length))) {
        let high = low + length;
        for between in [None, (length > 1).then_some(high - 1)] {
            let stable = healed(low, high, between);
            let words = format!("{low}, {between:?}");
            assert!(
                stable >= high,
                "it stays bound up to {high}: the last stable checkpoint is {stable} ({words})"
            );
        }
    }
}

#[test]
fn c9_an_idle_primary_heals_an_amnesiac_whose_box_ends_between_multiples_of_k() {
    let mut bench = Bench::new(4, 0);
    for seq in 1..=3 {
        bench.step(plea(3, seq));
        agree_on_null(&mut bench, seq);
    }
    // A checkpoint that was due because of bytes: the window, and with it the box, ends at 3 + 8.
    stable(&mut bench, 3);
    assert_eq!(bench.replica.watermarks(), (Seq(3), Seq(11)));
    bench.step(plea(2, 11));
    for seq in 4..=12 {
        assert_eq!(proposals(&bench).len() as u64, seq, "one at a time");
        agree_on_null(&mut bench, seq);
    }
    assert!(bench.replica.watermarks().0 >= Seq(11), "the box is behind: {:?}", bench.replica.watermarks());
    assert_eq!(proposals(&bench).len(), 12, "and nothing is ordered for it any more");
}

#[test]
fn c9_nothing_is_ordered_for_a_box_that_a_checkpoint_between_multiples_of_k_left_behind() {
    let mut bench = Bench::new(4, 0);
    bench.step(plea(3, 5));
    (1..=5).for_each(|seq| agree_on_null(&mut bench, seq));
    assert_eq!(proposals(&bench).len(), 6, "none is stable beyond slot 4 yet");
    stable(&mut bench, 5);
    agree_on_null(&mut bench, 6);
    assert_eq!((proposals(&bench).len(), bench.replica.watermarks().0), (6, Seq(5)));
}

#[test]
fn c9_requests_go_before_null_batches() {
    let mut bench = Bench::new(4, 0);
    let wanted = request(&bench);
    bench.step(wanted);
    bench.step(plea(3, 8));
    assert_eq!(proposals(&bench).len(), 1);
    assert_ne!(proposals(&bench)[0].digest, bench.replica.null);
}

#[test]
fn c9_a_primary_that_says_it_is_bound_is_replaced_though_nobody_wants_anything() {
    let mut bench = Bench::new(4, 1);
    bench.step(plea(3, 8));
    bench.pass(2_000_000);
    assert_eq!(bench.replica.view(), View(0), "a backup may be bound");
    bench.step(plea(0, 8));
    bench.pass(600_000);
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(1), Status::ViewChanging));
}

#[test]
fn c9_a_replica_knows_how_many_have_forgotten() {
    let mut bench = amnesiac(1, 0);
    assert_eq!(bench.replica.amnesiacs(), 1);
    [0, 2, 3].into_iter().for_each(|from| bench.step(plea(from, 8)));
    assert_eq!(bench.replica.amnesiacs(), 4);
    stable(&mut bench, 8);
    assert_eq!(bench.replica.amnesiacs(), 0);
}

#[test]
fn c9_a_replica_that_is_shown_its_own_words_of_beyond_its_memory_says_nothing_any_more() {
    let unremembered = |bench: &Bench| {
        matches!(bench.alarms[..], [Alarm::Unremembered { .. }]) && bench.replica.status() == Status::Halted
    };
    let mut bench = Bench::new(4, 1);
    bench.step(Event::ViewChange(bench.view_change(1, 1, Vec::new())));
    assert!(unremembered(&bench), "a VIEW-CHANGE");
    let mut bench = Bench::new(4, 1);
    let others: Vec<_> = [0, 2, 3].map(|id| bench.view_change(id, 1, Vec::new())).into_iter().collect();
    bench.step(Event::NewView(bench.new_view(1, &others.iter().collect::<Vec<_>>())));
    assert!(unremembered(&bench), "a NEW-VIEW");
    let mut bench = Bench::new(4, 1);
    let prepared = bench.certificate(vote(0, 1, Digest([3; 32])), &[0, 1, 2]);
    bench.step(Event::ViewChange(bench.view_change(0, 1, vec![prepared])));
    assert!(unremembered(&bench), "a PREPARE in somebody's certificate");
    let mut bench = Bench::new(4, 1);
    let commit = Commit { view: View(0), seq: Seq(1), digest: Digest([3; 32]) };
    let certificate = Verified::vouch(bench.certificate(commit, &[0, 1, 2]));
    bench.step(Event::CommitCertificate(certificate));
    assert!(unremembered(&bench), "a COMMIT beyond all that it promised");
    let mut bench = Bench::new(4, 1);
    propose(&mut bench, 8);
    let commit = Commit { seq: Seq(2), ..commit };
    let certificate = Verified::vouch(bench.certificate(commit, &[0, 1, 2]));
    bench.step(Event::CommitCertificate(certificate.clone()));
    assert!(unremembered(&bench), "a COMMIT of its own view");
    let mut bench = Bench::new(4, 1);
    propose(&mut bench, 8);
    open(&mut bench, 2, &[]);
    bench.step(Event::CommitCertificate(certificate));
    assert!(unremembered(&bench), "a COMMIT of an older view");
}

#[test]
fn c9_a_replica_that_is_shown_its_own_words_that_it_remembers_or_knows_to_have_forgotten_goes_on() {
    let mut bench = amnesiac(1, 0);
    let commit = Commit { view: View(0), seq: Seq(1), digest: bench.replica.null };
    let certificate = Verified::vouch(bench.certificate(commit, &[0, 1, 2]));
    bench.step(Event::CommitCertificate(certificate));
    assert_eq!((bench.executed.as_slice(), bench.replica.status()), (&[Seq(1)][..], Status::Normal));
    let mut bench = Bench::new(4, 1);
    let this = propose(&mut bench, 1);
    assert_eq!(bench.commits().len(), 1);
    let commit = Commit { view: View(0), seq: Seq(1), digest: this.digest };
    let certificate = Verified::vouch(bench.certificate(commit, &[0, 1, 2]));
    bench.step(Event::CommitCertificate(certificate));
    let prepared = bench.certificate(this, &[0, 1, 2]);
    bench.step(Event::ViewChange(bench.view_change(3, 1, vec![prepared])));
    assert_eq!((bench.executed.as_slice(), bench.replica.status()), (&[Seq(1)][..], Status::Normal));
    assert!(bench.alarms.is_empty());
}
