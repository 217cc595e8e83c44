//! Why nothing happens, in words: what a replica waits for, as its admin endpoint tells it.

use quorate_host::transfer::Progress;
use quorate_protocol::replica::{AmnesiaBox, Promise, Reason, Unserved, Votes, Wait};
use quorate_protocol::standing::Standing;
use quorate_protocol::types::{ReplicaId, Seq, View};
use serde::{Deserialize, Serialize};

/// Everything a replica waits for at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The cluster's id, in hex.
    pub cluster: String,
    /// Which replica.
    pub replica: u16,
    /// Its view.
    pub view: u64,
    /// The primary of that view.
    pub primary: u16,
    /// As in its status.
    pub status: String,
    /// How long it gives a primary without progress now, in milliseconds.
    pub timeout_ms: u64,
    /// What it waits for, what holds up most first.
    pub waits: Vec<Waiting>,
}

/// One thing that a replica waits for. Field names are part of the interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// What kind of thing, in one word.
    pub reason: String,
    /// The same as a sentence, to stand behind "waits for".
    pub what: String,
    /// For how long, in milliseconds; none if that is not known.
    pub for_ms: Option<u64>,
    /// In how many milliseconds it leaves the view because of it; none if it does not.
    pub gives_up_in_ms: Option<u64>,
    /// In how many milliseconds it says or asks again what may have been lost; none if nobody else can help.
    pub again_in_ms: Option<u64>,
    /// The slot it is about, if it is about one.
    pub sequence: Option<u64>,
    /// Replicas that did their part.
    pub have: Vec<u16>,
    /// Replicas that did not.
    pub missing: Vec<u16>,
    /// How many are needed, where any of them will do.
    pub needed: Option<u64>,
}

impl From<Wait> for Waiting {
    fn from(wait: Wait) -> Self {
        let milliseconds = |microseconds: u64| microseconds / 1000;
        let mut waiting = told(&wait.reason);
        waiting.for_ms = Some(milliseconds(wait.for_us));
        waiting.gives_up_in_ms = wait.gives_up_us.map(milliseconds);
        waiting.again_in_ms = wait.again_us.map(milliseconds);
        waiting
    }
}

impl Waiting {
    fn new(reason: &str, what: String) -> Self {
        Self { reason: reason.to_owned(), what, ..Self::default() }
    }

    fn at(self, sequence: Seq) -> Self {
        Self { sequence: Some(sequence.0), ..self }
    }

    fn owed_by(self, missing: &[ReplicaId]) -> Self {
        Self { missing: numbers(missing), ..self }
    }

    /// Something that the world around a replica owes it.
    pub(crate) fn outside(reason: &str, what: String, for_us: Option<u64>) -> Self {
        Self { for_ms: for_us.map(|microseconds| microseconds / 1000), ..Self::new(reason, what) }
    }

    /// Parts of a state that is on its way from other replicas.
    pub(crate) fn transfer(progress: &Progress) -> Self {
        let Progress { seq, have, of, reused, from } = progress;
        let of = of.map_or(String::new(), |of| format!(" of {of}"));
        let reused = if *reused == 0 { String::new() } else { format!(" ({reused} were here)") };
        let asked = list(from);
        let what =
            format!("the rest of the state of checkpoint {seq}: has {have}{of} chunks{reused}, asks {asked}");
        Self::new("transfer", what).at(*seq).owed_by(from)
    }

    /// The same, of one replica.
    pub(crate) fn of(self, replica: ReplicaId) -> Self {
        self.owed_by(&[replica])
    }
}

fn numbers(replicas: &[ReplicaId]) -> Vec<u16> {
    replicas.iter().map(|replica| replica.0).collect()
}

/// Replicas in words: `0, 2 and 3`.
fn list(replicas: &[ReplicaId]) -> String {
    let words: Vec<String> = replicas.iter().map(ToString::to_string).collect();
    match &words[..] {
        [] => "nobody".to_owned(),
        [one] => one.clone(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}

/// What stands behind "waits for".
fn told(reason: &Reason) -> Waiting {
    match reason {
        Reason::Idle => Waiting::new("idle", "nothing: no request is pending".to_owned()),
        Reason::Requests { operations, primary } => requests(*operations, *primary),
        Reason::Unserved { unserved } => of_unserved(unserved),
        Reason::Pipeline { operations, flying } => pipeline(*operations, *flying),
        Reason::Proposal { seq, primary } => proposal(*seq, *primary),
        Reason::Body { seq, next } => body(*seq, *next),
        Reason::Clock { seq } => clock(*seq),
        Reason::Returned { first, last } => returned(*first, *last),
        Reason::Prepares { seq, votes } => {
            votes_for("PREPARE", &format!("for sequence {seq}"), votes).at(*seq)
        }
        Reason::Commits { seq, votes } => votes_for("COMMIT", &format!("for sequence {seq}"), votes).at(*seq),
        Reason::Disk { promise } => on_disk(*promise),
        Reason::Execution { seq, handed } => execution(*seq, *handed),
        Reason::Snapshot { seq } => {
            Waiting::new("snapshot", format!("its disk to store the snapshot of checkpoint {seq}")).at(*seq)
        }
        Reason::Checkpoints { seq, votes, window_full } => {
            let full = if *window_full { ", before which nothing more can be proposed" } else { "" };
            votes_for("CHECKPOINT", &format!("for sequence {seq}{full}"), votes).at(*seq)
        }
        Reason::WindowFull { high, checkpoint } => window_full(*high, *checkpoint),
        Reason::ViewChanges { view, votes } => votes_for("VIEW-CHANGE", &format!("for view {view}"), votes),
        Reason::NewView { view, primary } => {
            let what = format!("the NEW-VIEW of view {view} from replica {primary}, its primary");
            Waiting::new("new-view", what).of(*primary)
        }
        Reason::NewViewParts { view, primary, missing } => new_view_parts(*view, *primary, missing),
        Reason::State { executed, stable } => state(*executed, *stable),
        Reason::Recovering { view, primary } => recovering(*view, *primary),
        Reason::Forgotten { forgot, stable } => forgotten(*forgot, *stable),
        Reason::Diverged { standing, stable } => diverged(*standing, *stable),
        Reason::Out { standing } => {
            Waiting::new("out", format!("nothing that would let it vote or answer: {standing}"))
        }
        Reason::Halted { alarm } => {
            let why = alarm.as_ref().map_or("see its alarms".to_owned(), ToString::to_string);
            Waiting::new("halted", format!("nothing any more: {why}"))
        }
    }
}

fn s(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn requests(operations: u64, primary: ReplicaId) -> Waiting {
    let what = format!(
        "replica {primary}, the primary, to get {operations} pending operation{} committed",
        s(operations)
    );
    Waiting::new("requests", what).of(primary)
}

fn of_unserved(unserved: &Unserved) -> Waiting {
    let Unserved { client, session, first, primary, .. } = unserved;
    let what = format!(
        "replica {primary}, the primary, to order the request that waits longest: operation {first} of session \
         {session} of client {}",
        &client.0.to_string()[..16]
    );
    Waiting::new("unserved", what).of(*primary)
}

fn pipeline(operations: u64, flying: u64) -> Waiting {
    let batches = if flying == 1 { "batch" } else { "batches" };
    let what = format!(
        "{flying} {batches} of its own to commit before it proposes {operations} more operation{}",
        s(operations)
    );
    Waiting::new("pipeline", what)
}

/// `2 more COMMITs for sequence 7: has those of 1, not of 0 and 2`.
fn votes_for(kind: &str, what: &str, votes: &Votes) -> Waiting {
    let more = votes.needed.saturating_sub(votes.have.len()) as u64;
    let (have, missing) = (list(&votes.have), list(&votes.missing));
    let what = format!("{more} more {kind}{} {what}: has those of {have}, not of {missing}", s(more));
    let waiting = Waiting::new(&format!("{}s", kind.to_lowercase()), what).owed_by(&votes.missing);
    Waiting { have: numbers(&votes.have), needed: Some(votes.needed as u64), ..waiting }
}

fn proposal(seq: Seq, primary: ReplicaId) -> Waiting {
    let what = format!(
        "replica {primary}, the primary, to send its proposal for sequence {seq}, on which others vote"
    );
    Waiting::new("proposal", what).at(seq).of(primary)
}

fn body(seq: Seq, next: ReplicaId) -> Waiting {
    let what = format!("the batch of sequence {seq}; it asks the others in turn, replica {next} next");
    Waiting::new("body", what).at(seq).of(next)
}

fn clock(seq: Seq) -> Waiting {
    let what = format!(
        "a batch for sequence {seq} whose time its clock accepts: the primary's is too far from it; set both \
         machines' clocks"
    );
    Waiting::new("clock", what).at(seq)
}

fn on_disk(promise: Promise) -> Waiting {
    let (what, seq) = match promise {
        Promise::Prepare(seq) => (format!("its vote for sequence {seq}"), Some(seq)),
        Promise::Commit(seq) => (format!("the prepared certificate of sequence {seq}"), Some(seq)),
        Promise::ViewChange(view) => (format!("its VIEW-CHANGE for view {view}"), None),
        Promise::NewView(view) => (format!("its NEW-VIEW of view {view}"), None),
    };
    let waiting = Waiting::new("promise", format!("its disk to sync {what}"));
    Waiting { sequence: seq.map(|seq| seq.0), ..waiting }
}

fn execution(seq: Seq, handed: Seq) -> Waiting {
    let what = format!("the application to execute sequence {seq}; sequence {handed} is committed");
    Waiting::new("execution", what).at(seq)
}

fn window_full(high: Seq, checkpoint: Seq) -> Waiting {
    let what = format!(
        "checkpoint {checkpoint} to become stable: the window is full up to sequence {high}, its high watermark"
    );
    Waiting::new("window", what).at(checkpoint)
}

fn new_view_parts(view: View, primary: ReplicaId, missing: &[ReplicaId]) -> Waiting {
    let what = format!(
        "the VIEW-CHANGEs of {} that the NEW-VIEW of view {view} from replica {primary} names; it asks for them",
        list(missing)
    );
    Waiting::new("new-view-parts", what).owed_by(missing)
}

fn state(executed: Seq, stable: Seq) -> Waiting {
    let what = format!(
        "the state of checkpoint {stable}: it has executed up to sequence {executed}, and the others' logs begin \
         beyond that"
    );
    Waiting::new("state", what).at(stable)
}

fn returned(first: Seq, last: Seq) -> Waiting {
    let which =
        if first == last { format!("sequence {last}") } else { format!("sequences {first} to {last}") };
    let what = format!("the others to say what became of {which}: it has just come back");
    Waiting::new("returned", what).at(last)
}

fn recovering(view: View, primary: ReplicaId) -> Waiting {
    let what = format!(
        "somebody to show it how view {view} of replica {primary} opened, or a later one: its journal lost votes of \
         that view"
    );
    Waiting::new("recovering", what)
}

fn diverged(standing: Standing, stable: Seq) -> Waiting {
    let wrong = standing.divergence().map_or(Seq(0), |divergence| divergence.seq);
    let (what, state) = match stable < wrong {
        true => ("a stable checkpoint at or beyond", format!("the newest is {stable}")),
        false => ("the certified state of a checkpoint at or beyond", format!("it fetches that of {stable}")),
    };
    let what = format!("{what} sequence {wrong}, where its own state was wrong; {state}");
    Waiting::new("diverged", what).at(wrong)
}

fn forgotten(forgot: AmnesiaBox, stable: Seq) -> Waiting {
    let what = format!(
        "a stable checkpoint at sequence {} or beyond: its journal lost promises, and up to there it casts no vote in \
         view {}; the newest stable checkpoint is {stable}",
        forgot.high, forgot.view
    );
    Waiting::new("forgotten", what).at(forgot.high)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use quorate_protocol::standing::Divergence;
    use quorate_protocol::types::Digest;

    use super::*;

    fn ids(replicas: &[u16]) -> Vec<ReplicaId> {
        replicas.iter().copied().map(ReplicaId).collect()
    }

    #[test]
    fn missing_votes_are_counted_and_named() {
        let votes = Votes { have: ids(&[0, 2]), missing: ids(&[1, 3]), needed: 3 };
        let wait = Wait {
            reason: Reason::Commits { seq: Seq(812), votes },
            for_us: 1_234_000,
            gives_up_us: Some(266_999),
            again_us: None,
        };
        let told = Waiting::from(wait);
        assert_eq!(told.what, "1 more COMMIT for sequence 812: has those of 0 and 2, not of 1 and 3");
        assert_eq!((told.for_ms, told.gives_up_in_ms, told.again_in_ms), (Some(1234), Some(266), None));
        assert_eq!((told.sequence, told.needed, &told.missing[..]), (Some(812), Some(3), &[1, 3][..]));
    }

    #[test]
    fn a_transfer_says_how_far_it_has_come_and_who_is_asked() {
        let mut progress = Progress { seq: Seq(256), have: 3, of: Some(12), reused: 0, from: ids(&[0, 2]) };
        let told = Waiting::transfer(&progress);
        assert_eq!(told.what, "the rest of the state of checkpoint 256: has 3 of 12 chunks, asks 0 and 2");
        assert_eq!((told.sequence, &told.missing[..]), (Some(256), &[0, 2][..]));
        (progress.have, progress.of, progress.from) = (0, None, Vec::new());
        let told = Waiting::transfer(&progress);
        assert_eq!(told.what, "the rest of the state of checkpoint 256: has 0 chunks, asks nobody");
    }

    #[test]
    fn a_replica_whose_state_was_wrong_says_what_it_waits_for() {
        let (ours, theirs) = (Digest([1; 32]), Digest([2; 32]));
        let divergence = Divergence { seq: Seq(256), ours, theirs };
        let standing = Standing::Diverged { divergence, mended: false };
        let of = |stable| told(&Reason::Diverged { standing, stable }).what;
        let words =
            "a stable checkpoint at or beyond sequence 256, where its own state was wrong; the newest is 128";
        assert_eq!(of(Seq(128)), words);
        let words = "the certified state of a checkpoint at or beyond sequence 256, where its own state was wrong; it \
                     fetches that of 384";
        assert_eq!(of(Seq(384)), words);
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!(list(&[]), "nobody");
        assert_eq!(list(&ids(&[4])), "4");
        assert_eq!(list(&ids(&[0, 1, 4])), "0, 1 and 4");
        let told = told(&Reason::NewView { view: View(7), primary: ReplicaId(3) });
        assert_eq!(told.what, "the NEW-VIEW of view 7 from replica 3, its primary");
    }
}
