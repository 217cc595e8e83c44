//! What a call must take, by the protocol's pattern of messages and nothing else.

use std::time::Duration;

use quorate_protocol::committee::{faults, quorum};

/// Mean times of datagrams between the parties of a call.
pub(super) struct Ways<'a> {
    /// From one replica to another; nothing to itself.
    pub(super) between: &'a dyn Fn(usize, usize) -> Duration,
    /// From the client to a replica.
    pub(super) out: &'a dyn Fn(usize) -> Duration,
    /// From a replica to the client.
    pub(super) back: &'a dyn Fn(usize) -> Duration,
}

/// How long a call of one client takes among `n` replicas, of which `primary` proposes and those in `absent` say nothing:
/// the request to the primary, its PRE-PREPARE to everybody, PREPAREs and COMMITs from everybody to everybody, and f + 1
/// replies (OSDI '99, sections 4.1 and 4.2). Each step is done at a replica when the last message of the fastest quorum is
/// there. None if there is no quorum, or the primary is absent.
pub(super) fn expected(n: usize, primary: usize, absent: &[usize], ways: &Ways<'_>) -> Option<Duration> {
    let present: Vec<usize> = (0..n).filter(|replica| !absent.contains(replica)).collect();
    if !present.contains(&primary) {
        return None;
    }
    let proposed = (ways.out)(primary);
    let accepted: Vec<Duration> =
        present.iter().map(|replica| proposed + (ways.between)(primary, *replica)).collect();
    // The primary's PRE-PREPARE stands for its PREPARE.
    let prepared = gathered(&present, &accepted, quorum(n), ways)?;
    let committed = gathered(&present, &prepared, quorum(n), ways)?;
    let mut replies: Vec<Duration> =
        present.iter().zip(&committed).map(|(replica, at)| *at + (ways.back)(*replica)).collect();
    replies.sort_unstable();
    // f + 1 that match: one of them is a correct replica's.
    replies.get(faults(n)).copied()
}

/// When each replica has `needed` messages of one kind, its own among them, if each replica sends its own at the moment
/// in `sent`. None if there are too few.
fn gathered(present: &[usize], sent: &[Duration], needed: usize, ways: &Ways<'_>) -> Option<Vec<Duration>> {
    let at = |(receiver, ready): (&usize, &Duration)| {
        let senders = present.iter().zip(sent);
        let mut arrivals: Vec<Duration> =
            senders.map(|(sender, at)| *at + (ways.between)(*sender, *receiver)).collect();
        arrivals.sort_unstable();
        // Nobody is further than they are themselves.
        Some((*arrivals.get(needed - 1)?).max(*ready))
    };
    present.iter().zip(sent).map(at).collect()
}
