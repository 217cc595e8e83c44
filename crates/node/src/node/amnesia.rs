//! What an operator is told about a replica that may have forgotten votes.

use std::net::SocketAddr;

use quorate_host::journal::Amnesia;
use quorate_protocol::replica::Replica;
use quorate_protocol::types::ReplicaId;

/// Why it may have forgotten votes, what follows, and what to do; nothing if it has not. `found` is what this start
/// found; without it an earlier one did.
pub(super) fn words(replica: &Replica, found: Option<Amnesia>) -> Option<String> {
    let forgot = replica.amnesia()?;
    let (view, high) = (forgot.view, forgot.high);
    let why =
        found.map_or("an earlier start found its journal damaged".to_owned(), |found| found.to_string());
    let committee = &replica.context().committee;
    let (others, faults) = (replica.amnesiacs(), committee.faults());
    let mut words = format!(
        "this replica may have forgotten votes: {why}; until view {view} is over and a checkpoint at sequence {high} \
         is stable it counts as faulty, and votes only where it cannot have voted before"
    );
    words += &if others > faults {
        format!(
            "; {others} of {} replicas are like that, and the cluster tolerates {faults}: unless the others recover \
             their journals it does not serve again; fix: keep the data folders, and make a new cluster with `quorate \
             init`",
            committee.size()
        )
    } else {
        format!(
            "; fix: leave it running, and stop no other replica before it is `normal` again ({faults} may fail)"
        )
    };
    if found == Some(Amnesia::Unsynced) {
        words += "; with a durability other than `sync`, a cluster of which more replicas are killed at once does not \
                  come back";
    }
    Some(words)
}

/// Two processes use one replica's key, as seen from another replica.
pub(super) fn rivals(of: ReplicaId, [one, other]: [SocketAddr; 2]) -> String {
    format!(
        "two processes use the key of replica {of}, at {one} and at {other}: together they can vote twice, which counts \
         as a fault; fix: stop both, and start again only the one whose data folder is the replica's own; if they \
         have a copy of the folder each, neither knows what the other voted for: leave the replica out"
    )
}
