//! What becomes of a liar that is told to stop.

use quorate_protocol::certificate::Certificate;
use quorate_protocol::codec::List;
use quorate_protocol::message::{Commit, PeerMessage};
use quorate_protocol::parameters::Context;
use quorate_protocol::replica::{Replica, Status};
use quorate_protocol::types::{Digest, Seq, View};
use quorate_protocol::verify::Verifier;

use super::*;
use crate::byzantine::Sin;
use crate::host::encode;
use crate::journal::Journal;
use crate::props::four;

const NOW: Time = Time(1_000_000);

/// Links that nobody listens to.
struct Nowhere;

impl Link for Nowhere {
    fn send(&mut self, _to: ReplicaId, _class: Class, _frame: Bytes) {}
    fn broadcast(&mut self, _class: Class, _frame: Bytes) {}
    fn reply(&mut self, _client: ClientId, _frame: Bytes) {}
}

fn liar(sins: &[&str], context: &Context) -> Liar {
    let sins: Vec<Sin> = sins.iter().map(|sin| sin.parse().unwrap()).collect();
    Liar::new(&sins, 1, context, ReplicaId(3), NOW)
}

/// How replica 3 takes it that others hold a COMMIT of its own that its honest half never said; `before` is what was done
/// to it until then.
fn meets_itself(before: impl Fn(&mut Host, &Context)) -> Status {
    let (context, mut signers) = four();
    let statement = Commit { view: View(0), seq: Seq(1), digest: Digest([7; 32]) };
    let signed = [0, 1, 3].map(|id: u16| (ReplicaId(id), signers[usize::from(id)].sign(statement).signature));
    let proof = Certificate { statement, signatures: List(signed.to_vec()) };
    let mut host =
        Host::new(Replica::new(context.clone(), ReplicaId(3)), signers.remove(3), Journal::default());
    before(&mut host, &context);
    host.peer_frame(NOW, ReplicaId(0), &encode(&PeerMessage::CommitCertificate(proof))).unwrap();
    let verdicts = Verifier::new(context, [1; 32]).verify(host.take_unverified());
    assert!(verdicts.len() == 1 && verdicts[0].is_ok(), "{verdicts:?}");
    host.verified(NOW, verdicts, &mut Nowhere);
    host.replica().status()
}

#[test]
fn a_liar_that_is_told_to_be_honest_is_still_kept_from_what_was_signed_in_its_name() {
    assert_eq!(meets_itself(|_, _| {}), Status::Halted, "whoever never lied has reason to halt");
    assert_eq!(meets_itself(|host, context| host.corrupt(liar(&["mute"], context))), Status::Normal);
    let turned = |host: &mut Host, context: &Context| {
        host.corrupt(liar(&["equivocate-commit"], context));
        host.turn(liar(&["mute"], context));
        host.turn(liar(&[], context));
    };
    assert_eq!(meets_itself(turned), Status::Normal);
    let forgot = |host: &mut Host, context: &Context| {
        turned(host, context);
        host.repent();
    };
    assert_eq!(meets_itself(forgot), Status::Halted, "without that it would halt");
}
