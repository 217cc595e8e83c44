//! What an operator is told about a replica that may have forgotten votes.

use std::net::SocketAddr;

use quorate_host::journal::Amnesia;
use quorate_protocol::replica::{AmnesiaBox, Replica, Status as Standing};
use quorate_protocol::types::ReplicaId;

/// Why it may have forgotten votes, what ends that, and what to do; nothing if it has not, or if that binds it no more.
/// `found` is what this start found; without it an earlier one did.
pub(super) fn words(replica: &Replica, found: Option<Amnesia>) -> Option<String> {
    let forgot = replica.amnesia().filter(|_| replica.is_bound())?;
    let why =
        found.map_or("an earlier start found its journal damaged".to_owned(), |found| found.to_string());
    let faults = replica.context().committee.faults();
    let counted = usize::from(forgot.high > replica.watermarks().0);
    let faulty = replica.amnesiacs() - counted + 1;
    let mut words = format!(
        "this replica may have forgotten votes: {why}; until {} it counts as faulty, and votes only where it cannot \
         have voted before",
        end_of(replica, forgot)
    );
    words += &match too_many(replica) {
        Some(exceeded) => format!("; {exceeded}"),
        None if faulty < faults => {
            format!("; fix: leave it running; {} more may fail before it is `normal` again", faults - faulty)
        }
        None => "; fix: leave it running, and stop no other replica before it is `normal` again".to_owned(),
    };
    if found == Some(Amnesia::Unsynced) {
        words += "; with a durability other than `sync`, a cluster of which more replicas are killed at once does not \
                  come back";
    }
    Some(words)
}

/// What ends it: its slots have to be stable, and its view, or a later one, open here.
fn end_of(replica: &Replica, forgot: AmnesiaBox) -> String {
    let mut ends = Vec::new();
    if replica.watermarks().0 < forgot.high {
        ends.push(format!("a checkpoint at sequence {} is stable", forgot.high));
    }
    if replica.status() != Standing::Normal {
        ends.push(format!("view {} or a later one is open here", replica.view()));
    }
    ends.join(" and ")
}

/// More replicas than may fail have forgotten votes, as far as this one has heard by now.
pub(super) fn too_many(replica: &Replica) -> Option<String> {
    let committee = &replica.context().committee;
    let (forgetful, faults, all) = (replica.amnesiacs(), committee.faults(), committee.size());
    (forgetful > faults).then(|| {
        format!(
            "{forgetful} of {all} replicas may have forgotten votes, and the cluster tolerates {faults}: unless the others recover \
             their journals it does not serve again; fix: keep the data folders, and make a new cluster with `quorate \
             init`"
        )
    })
}

/// Two processes use one replica's key, as seen from another replica.
pub(super) fn rivals(of: ReplicaId, [one, other]: [SocketAddr; 2]) -> String {
    format!(
        "two processes use the key of replica {of}, at {one} and at {other}: together they can vote twice, which counts \
         as a fault; fix: stop both, and start again only the one whose data folder is the replica's own; if they \
         have a copy of the folder each, neither knows what the other voted for: leave the replica out"
    )
}
