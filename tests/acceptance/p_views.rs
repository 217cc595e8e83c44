//! What a replica must not do though others say so: one test for each known way to get views and votes wrong. One
//! replica speaks for itself; the test speaks for all others, with their keys.

use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::codec::Blob;
use quorate_protocol::message::{Checkpoint, Commit, PeerMessage, PrePrepare, Status as Standing};
use quorate_protocol::replica::Status;
use quorate_protocol::request::{Draft, Kind, Operations, Request};
use quorate_protocol::types::{Digest, Number, ReplicaId, Seq, View};
use quorate_sim::network::Profile;
use quorate_sim::world::{Setting, World};

use super::lab::{Lab, T0, calm};
use super::puppets::{Puppets, prepare};

/// The replica that speaks for itself: a backup in the first views.
const ME: u16 = 2;

fn puppets() -> Puppets {
    Puppets::around(ME, &calm(4, 1), 0)
}

/// The same with two clients that have their sessions.
fn puppets_with_clients() -> Puppets {
    Puppets::around(ME, &calm(4, 1), 2)
}

/// The first slot that is not decided yet.
fn next(puppets: &Puppets) -> u64 {
    puppets.lab.replica(ME).committed().0 + 1
}

#[test]
fn p4_the_primary_counts_once_for_its_proposal_and_its_prepare() {
    let mut puppets = puppets();
    let seq = next(&puppets);
    let body = puppets.pens.batch(puppets.lab.world.now(), Vec::new());
    let vote = puppets.propose(0, seq, Some(&body));
    puppets.prepare(&[0, 0], vote);
    assert_eq!(puppets.heard(&format!("PREPARE v0 n{seq}")), 1, "it votes for the proposal");
    assert_eq!(
        puppets.heard(&format!("COMMIT v0 n{seq}")),
        0,
        "two replicas of four were taken for a quorum: the primary counted twice"
    );
    puppets.prepare(&[3], vote);
    assert_eq!(puppets.heard(&format!("COMMIT v0 n{seq}")), 1, "three are one");
}

#[test]
fn p7_one_replica_that_says_view_change_again_and_again_takes_nobody_along() {
    let mut puppets = puppets();
    for seq in 1..=4 {
        // Each shows something else, for the very same bytes are not even looked at.
        let prepared = puppets.pens.certificate(&[0, 1, 3], &prepare(0, seq, puppets.pens.null()));
        let one = puppets.pens.view_change(3, 1, None, &[prepared]);
        puppets.leave(&[one]);
    }
    assert_eq!(puppets.view(), 0, "the VIEW-CHANGE of one replica, said again, counts as that of several");
    let another = puppets.pens.view_change(1, 1, None, &[]);
    puppets.leave(&[another]);
    assert_eq!(puppets.view(), 1, "two replicas do");
}

#[test]
fn p8_a_view_that_is_open_opens_no_second_time_otherwise() {
    let mut puppets = puppets();
    let seq = next(&puppets);
    let body = puppets.pens.batch(puppets.lab.world.now(), Vec::new());
    let null = prepare(0, seq, puppets.pens.null());
    let prepared = puppets.pens.certificate(&[0, 1, 3], &null);
    let nothing = [0, 1, 3].map(|id| puppets.pens.view_change(id, 1, None, &[]));
    let mut shown = nothing.clone();
    shown[0] = puppets.pens.view_change(0, 1, None, &[prepared]);
    puppets.open(1, &shown);
    assert_eq!(puppets.heard(&format!("PREPARE v1 n{seq} null")), 1, "what had prepared is voted for again");
    puppets.open(1, &nothing);
    puppets.propose(1, seq, Some(&body));
    assert_eq!(puppets.heard(&format!("PREPARE v1 n{seq}")), 1, "and nothing else in this view");
}

#[test]
fn p8_a_proposal_does_not_replace_what_the_new_view_decided() {
    let mut puppets = puppets();
    let seq = next(&puppets);
    let now = puppets.lab.world.now();
    let (decided, other) = (puppets.pens.batch(now, Vec::new()), puppets.pens.batch(now.plus(1), Vec::new()));
    let prepared = puppets.pens.certificate(&[0, 1, 3], &prepare(0, seq, decided.digest));
    let shown = [
        puppets.pens.view_change(0, 1, None, &[prepared]),
        puppets.pens.view_change(1, 1, None, &[]),
        puppets.pens.view_change(3, 1, None, &[]),
    ];
    puppets.open(1, &shown);
    puppets.propose(1, seq, Some(&other));
    puppets.say(1, &PeerMessage::Body { seq: Seq(seq), batch: other.batch.clone() });
    assert_eq!(
        puppets.heard(&format!("PREPARE v1 n{seq}")),
        0,
        "it votes for a proposal in the place of what the new view decided"
    );
    let batch = decided.batch.clone();
    puppets.say(0, &PeerMessage::Body { seq: Seq(seq), batch });
    assert_eq!(puppets.heard(&format!("PREPARE v1 n{seq}")), 1, "it votes for what was decided");
}

#[test]
fn p10_a_new_view_raises_the_low_watermark_of_who_was_behind() {
    let mut puppets = puppets();
    let statement = Checkpoint { seq: Seq(512), root: Digest([8; 32]), epoch_end: Seq::MAX };
    let stable = puppets.pens.certificate(&[0, 1, 3], &statement);
    let shown = [
        puppets.pens.view_change(0, 1, Some(stable), &[]),
        puppets.pens.view_change(1, 1, None, &[]),
        puppets.pens.view_change(3, 1, None, &[]),
    ];
    puppets.open(1, &shown);
    assert_eq!(puppets.lab.replica(ME).status(), Status::Normal);
    assert_eq!(
        puppets.lab.replica(ME).watermarks().0,
        Seq(512),
        "it votes in slots that the new view's quorum has let go of"
    );
}

#[test]
fn p15_a_view_change_shows_the_certificate_of_the_highest_view() {
    let mut puppets = puppets();
    let seq = next(&puppets);
    let (first, second) = {
        let now = puppets.lab.world.now();
        (puppets.pens.batch(now, Vec::new()), puppets.pens.batch(now.plus(1), Vec::new()))
    };
    let vote = puppets.propose(0, seq, Some(&first));
    puppets.prepare(&[3], vote);
    let nothing = [0, 1, 3].map(|id| puppets.pens.view_change(id, 1, None, &[]));
    puppets.open(1, &nothing);
    let vote = puppets.propose(1, seq, Some(&second));
    puppets.prepare(&[3], vote);
    for view in 0..2 {
        let said = puppets.heard(&format!("COMMIT v{view} n{seq}"));
        assert_eq!(said, 1, "what prepared in view {view} has no certificate here");
    }
    let later = [1, 3].map(|id| puppets.pens.view_change(id, 2, None, &[]));
    puppets.leave(&later);
    let shown = puppets.lab.count(&[&format!("{ME} -> all: VIEW-CHANGE v2"), "of v1"]);
    assert_eq!(shown, 1, "its VIEW-CHANGE hides what prepared last");
}

#[test]
fn p27_f_plus_one_others_in_a_later_view_take_a_replica_along() {
    let mut puppets = puppets();
    let others = [1, 3].map(|id| puppets.pens.view_change(id, 1, None, &[]));
    puppets.leave(&others[..1]);
    assert_eq!(puppets.view(), 0, "one may lie");
    puppets.leave(&others[1..]);
    assert_eq!(puppets.view(), 1, "f + 1 others have left, one of them is correct, and it stays");
}

#[test]
fn p28_a_replica_alone_in_a_later_view_waits_there() {
    let mut puppets = puppets_with_clients();
    puppets.lab.ask(0, "add k 1");
    puppets.lab.repeat(0, &[ME]);
    puppets.lab.await_that("it gives the primary up", 4 * T0, |lab| lab.replica(ME).view() > View(0));
    puppets.lab.run(100 * T0);
    assert_eq!(puppets.view(), 1, "nobody is with it, and it runs ahead");
}

#[test]
fn p27_a_liars_enormous_view_moves_nobody_there() {
    let mut puppets = puppets();
    let far = puppets.pens.view_change(3, 1 << 60, None, &[]);
    puppets.leave(&[far]);
    assert_eq!(puppets.view(), 0, "one replica that claims a high view takes another along");
    let near = puppets.pens.view_change(1, 1, None, &[]);
    puppets.leave(&[near]);
    assert_eq!(puppets.view(), 1, "to where a correct replica may be");
}

#[test]
fn p98_a_view_ends_for_everybody_when_its_primary_leaves_it() {
    let mut puppets = puppets();
    let gone = puppets.pens.view_change(0, 1, None, &[]);
    puppets.leave(&[gone]);
    assert_eq!(puppets.view(), 1, "nothing more can come of its view, and it waits for more");
    assert_eq!(puppets.heard("VIEW-CHANGE v1"), 1);
}

#[test]
fn p98_nobody_but_its_primary_ends_a_view_alone() {
    for backup in [1, 3] {
        let mut puppets = puppets();
        let gone = puppets.pens.view_change(backup, 1, None, &[]);
        puppets.leave(&[gone]);
        assert_eq!(puppets.view(), 0, "replica {backup} ends a view that is not its own");
    }
}

#[test]
fn p98_a_primary_takes_nobody_to_the_view_that_it_names() {
    let mut puppets = puppets();
    let far = puppets.pens.view_change(0, 1 << 60, None, &[]);
    puppets.leave(&[far]);
    assert_eq!(puppets.view(), 1, "a liar chooses the view, not only its own end");
    puppets.lab.run(20 * T0);
    assert_eq!(puppets.view(), 1, "alone it does not run ahead");
}

#[test]
fn p98_a_view_that_was_handed_over_makes_no_timeout_longer() {
    let mut puppets = puppets();
    let gone = puppets.pens.view_change(0, 1, None, &[]);
    puppets.leave(&[gone]);
    assert_eq!(puppets.view(), 1);
    let timeout = puppets.lab.replica(ME).waiting().timeout_us;
    assert_eq!(timeout, T0, "a hand-over counts as a view that failed");
}

#[test]
fn p30_a_network_slower_than_the_timeout_is_served_because_timeouts_grow() {
    let mut setting: Setting = calm(4, 1);
    setting.profile = Profile::calm(150_000);
    (setting.parameters.timeout_us, setting.parameters.timeout_max_us) = (100_000, 60_000_000);
    let mut lab = Lab::of(World::new(&setting));
    lab.world.add_client(|_| {}).unwrap();
    let served = |lab: &Lab| lab.world.clients()[0].machine().session().is_some();
    lab.await_that("some timeout is long enough for a request", 60_000_000, served);
    assert!(lab.views()[0] > 1, "the first was not: {:?}", lab.views());
}

#[test]
fn p32_what_a_new_view_decided_is_voted_for_however_wrong_its_time_is() {
    let mut puppets = puppets();
    let seq = next(&puppets);
    let time = puppets.lab.world.now().plus(100 * 3_600_000_000);
    let wrong = puppets.pens.batch(time, Vec::new());
    let prepared = puppets.pens.certificate(&[0, 1, 3], &prepare(0, seq, wrong.digest));
    let shown = [
        puppets.pens.view_change(0, 1, None, &[prepared]),
        puppets.pens.view_change(1, 1, None, &[]),
        puppets.pens.view_change(3, 1, None, &[]),
    ];
    puppets.open(1, &shown);
    let batch = wrong.batch.clone();
    puppets.say(0, &PeerMessage::Body { seq: Seq(seq), batch });
    assert_eq!(
        puppets.heard(&format!("PREPARE v1 n{seq}")),
        1,
        "a batch that prepared is refused in the new view because of its time"
    );
}

#[test]
fn p33_a_batch_that_comes_after_its_proposal_is_voted_for() {
    let mut puppets = puppets();
    let body = puppets.pens.batch(puppets.lab.world.now(), Vec::new());
    let proposal = PrePrepare { prepare: puppets.pens.sign(0, prepare(0, 1, body.digest)), batch: None };
    puppets.say(0, &PeerMessage::PrePrepare(proposal));
    assert_eq!(puppets.heard("PREPARE v0 n1"), 0, "it cannot vouch for a batch that it does not have");
    puppets.say(3, &PeerMessage::Body { seq: Seq(1), batch: body.batch.clone() });
    assert_eq!(puppets.heard("PREPARE v0 n1"), 1, "the batch came after its proposal and gets no vote");
}

#[test]
fn p26_who_missed_the_new_view_is_shown_it() {
    let mut puppets = puppets();
    let nothing = [0, 1, 3].map(|id| puppets.pens.view_change(id, 1, None, &[]));
    puppets.open(1, &nothing);
    assert_eq!(puppets.lab.replica(ME).status(), Status::Normal, "it is in the view");
    let nobody = || Blob(Bytes::new());
    let stands = Standing {
        epoch: puppets.pens.context.epoch,
        view: View(0),
        changing: false,
        low: Seq(0),
        executed: Seq(0),
        committed: nobody(),
        prepared: nobody(),
        bodies: nobody(),
        view_changes: Blob(Bytes::new()),
        new_view: View(0),
        amnesia_high: None,
    };
    // Whoever asked a moment ago is not answered again.
    puppets.lab.run(T0);
    puppets.say(3, &PeerMessage::Status(stands));
    let shown = puppets.lab.count(&[&format!("{ME} -> 3: NEW-VIEW v1")]);
    assert!(shown > 0, "a replica that is behind says so, and is not shown the NEW-VIEW");
}

#[test]
fn p38_null_batches_keep_no_primary_in_its_seat() {
    let mut puppets = puppets_with_clients();
    puppets.lab.ask(0, "add k 1");
    puppets.lab.repeat(0, &[ME]);
    let first = next(&puppets);
    for seq in first..first + 8 {
        let vote = puppets.propose(0, seq, None);
        puppets.prepare(&[1, 3], vote);
        puppets.commit(&[0, 1, 3], vote);
        puppets.lab.run(T0 / 4);
    }
    assert!(puppets.lab.replica(ME).executed() > Seq(first), "they committed");
    assert!(puppets.view() > 0, "a primary that orders nothing keeps its seat by null batches");
}

/// A request of the second client, beyond those before it.
fn of_another(puppets: &Puppets, number: u64) -> Arc<Request> {
    let session = puppets.lab.world.clients()[1].machine().session().unwrap();
    let operations = Operations::new(std::iter::once(&b"add other 1"[..]));
    let (first, kind) = (Number(number), Kind::Operations);
    let draft = Draft { session, first, ack: first, kind, operations };
    let cluster = puppets.pens.context.cluster;
    Arc::new(Request::sign(&World::secret_of_client(1), cluster, draft))
}

/// The first client's request is left out and the second one's are served, until the replica leaves the view; but no
/// longer than 40 T0. Says how many were.
fn serve_another(puppets: &mut Puppets) -> u64 {
    puppets.lab.ask(0, "add k 1");
    puppets.lab.repeat(0, &[ME]);
    let first = next(puppets);
    for turn in 0..80 {
        if puppets.view() > 0 {
            break;
        }
        let request = of_another(puppets, turn + 1);
        puppets.lab.world.send_request(1, ReplicaId(ME), &request);
        let body = puppets.pens.batch(puppets.lab.world.now(), vec![request]);
        let vote = puppets.propose(0, first + turn, Some(&body));
        puppets.prepare(&[1, 3], vote);
        puppets.commit(&[0, 1, 3], vote);
        puppets.lab.run(T0 / 2);
    }
    puppets.lab.replica(ME).committed().0 + 1 - first
}

#[test]
fn p74_a_primary_that_serves_one_client_and_not_another_loses_its_seat() {
    let mut puppets = puppets_with_clients();
    let served = serve_another(&mut puppets);
    assert!(served > 20, "the other client is served all the time");
    assert_eq!(puppets.view(), 1, "a client is left out for ever, and nobody minds");
}

#[test]
fn p74_what_a_primary_forwards_to_a_backup_and_never_orders_buys_it_no_time() {
    let mut puppets = puppets_with_clients();
    for number in 101..=600 {
        let message = PeerMessage::Forward(of_another(&puppets, number));
        puppets.lab.world.inject(ReplicaId(0), ReplicaId(ME), &message);
    }
    puppets.lab.run(T0 / 10);
    assert_eq!(puppets.lab.replica(ME).pooled(), 500, "all of it waits here");
    let served = serve_another(&mut puppets);
    assert!(served > 20, "the other client is served all the time");
    assert_eq!(puppets.view(), 1, "a client waits for all that its primary put before it");
}

#[test]
fn p42_bodies_that_no_clock_lets_pass_go_with_their_views() {
    let mut puppets = puppets();
    // A clock that is off by an hour is no lie, and here it is one.
    puppets.lab.world.distrust(ReplicaId(ME));
    let seq = next(&puppets);
    let kept = |puppets: &Puppets| puppets.lab.replica(ME).footprint().bodies;
    let before = kept(&puppets);
    for view in [0, 1, 3, 4, 5, 7, 8, 9] {
        if view > 0 {
            let left = [0, 1, 3].map(|id| puppets.pens.view_change(id, view, None, &[]));
            puppets.open(view, &left);
        }
        let early = puppets.lab.world.now().plus(3_600_000_000 + view);
        let body = puppets.pens.batch(early, Vec::new());
        puppets.propose(view, seq, Some(&body));
        assert_eq!(kept(&puppets), before + 1, "what was refused in older views is kept in view {view}");
    }
    assert_eq!(puppets.heard("PREPARE v"), 0, "it voted for none");
}

#[test]
fn p41_what_prepares_in_a_view_that_was_left_is_not_committed_there() {
    let mut puppets = puppets();
    let seq = next(&puppets);
    let body = puppets.pens.batch(puppets.lab.world.now(), Vec::new());
    let vote = puppets.propose(0, seq, Some(&body));
    let others = [1, 3].map(|id| puppets.pens.view_change(id, 1, None, &[]));
    puppets.leave(&others);
    assert_eq!(puppets.heard("VIEW-CHANGE v1"), 1, "it leaves the view");
    puppets.prepare(&[3], vote);
    assert_eq!(
        puppets.heard(&format!("COMMIT v0 n{seq}")),
        0,
        "it commits what its VIEW-CHANGE does not show"
    );
    let later = [1, 3].map(|id| puppets.pens.view_change(id, 2, None, &[]));
    puppets.leave(&later);
    let shown = puppets.lab.count(&[&format!("{ME} -> all: VIEW-CHANGE v2"), &format!("n{seq} ")]);
    assert_eq!(shown, 1, "but it learnt of it, and shows it from then on");
}

#[test]
fn p52_a_replica_that_is_shown_its_own_unknown_commit_says_nothing_any_more() {
    let mut puppets = puppets();
    puppets.lab.world.distrust(ReplicaId(ME));
    let seq = Seq(next(&puppets));
    let statement = Commit { view: View(0), seq, digest: puppets.pens.null() };
    let shown = puppets.pens.certificate(&[1, ME, 3], &statement);
    puppets.say(3, &PeerMessage::CommitCertificate(shown));
    assert_eq!(
        puppets.lab.replica(ME).status(),
        Status::Halted,
        "somebody else has its key or its past, and it goes on"
    );
}
