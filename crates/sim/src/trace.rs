//! What happens in a world, in the paper's words.

pub use quorate_host::byzantine::kind;
use quorate_protocol::message::{
    ClientMessage, Found, Outcome, PeerMessage, Prepare, Query, QueryReply, Transfer, ViewChange,
};
use quorate_protocol::process::Alarm;
use quorate_protocol::request::{Kind, Request};
use quorate_protocol::signed::Signed;
use quorate_protocol::types::{Digest, Number};

/// The first digits of a digest; `null` for the null batch.
#[must_use]
pub fn short(digest: &Digest, null: &Digest) -> String {
    if digest == null { "null".to_owned() } else { format!("d:{:02x}{:02x}", digest.0[0], digest.0[1]) }
}

fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn vote(name: &str, vote: &Prepare, null: &Digest) -> String {
    format!("{name} v{} n{} {}", vote.view, vote.seq, short(&vote.digest, null))
}

/// A message between replicas, in one line.
#[must_use]
pub fn message(message: &PeerMessage, null: &Digest) -> String {
    match message {
        PeerMessage::PrePrepare(proposal) => {
            let batch = match &proposal.batch {
                Some(batch) => plural(batch.requests.len(), "request"),
                None => "no batch".to_owned(),
            };
            format!("{} ({batch})", vote("PRE-PREPARE", &proposal.prepare.body, null))
        }
        PeerMessage::Prepare(signed) => vote("PREPARE", &signed.body, null),
        PeerMessage::Commit(signed) => {
            format!("COMMIT v{} n{} {}", signed.view, signed.seq, short(&signed.digest, null))
        }
        PeerMessage::Checkpoint(signed) => {
            format!("CHECKPOINT n{} {}", signed.seq, short(&signed.root, null))
        }
        PeerMessage::ViewChange(signed) => view_change(signed, null),
        PeerMessage::NewView(signed) => {
            let named: Vec<String> = signed.view_changes.iter().map(|(id, _)| id.to_string()).collect();
            format!("NEW-VIEW v{} with VIEW-CHANGEs of {}", signed.view, named.join(","))
        }
        PeerMessage::CommitCertificate(certificate) => {
            let statement = certificate.statement;
            let digest = short(&statement.digest, null);
            format!("COMMIT-CERTIFICATE v{} n{} {digest}", statement.view, statement.seq)
        }
        PeerMessage::StableCertificate(certificate) => {
            format!("STABLE-CERTIFICATE n{}", certificate.statement.seq)
        }
        PeerMessage::Status(status) => {
            let between = if status.changing { " changing" } else { "" };
            format!("STATUS v{}{between} low {} executed {}", status.view, status.low, status.executed)
        }
        PeerMessage::FetchBody { seq, digest } => format!("FETCH-BODY n{seq} {}", short(digest, null)),
        PeerMessage::Body { seq, batch } => {
            format!("BODY n{seq} ({})", plural(batch.requests.len(), "request"))
        }
        PeerMessage::FetchViewChange { view, signer, .. } => format!("FETCH-VIEW-CHANGE v{view} of {signer}"),
        PeerMessage::Forward(forwarded) => format!("FORWARD {}", request(forwarded)),
        PeerMessage::Transfer(part) => transfer(part),
        PeerMessage::Testimony(sworn) => {
            let of: Vec<String> =
                sworn.iter().map(|sworn| format!("{:?} of {}", sworn.kind(), sworn.signer())).collect();
            format!("TESTIMONY {}", of.join(", "))
        }
    }
}

fn transfer(part: &Transfer) -> String {
    match part {
        Transfer::FetchMeta { seq } => format!("FETCH-META n{seq}"),
        Transfer::Meta { summary, .. } => {
            format!(
                "META n{} ({})",
                summary.seq,
                plural(usize::try_from(summary.chunks()).unwrap_or(0), "chunk")
            )
        }
        Transfer::FetchChunk { seq, index } => format!("FETCH-CHUNK n{seq} {index}"),
        Transfer::Chunk { seq, index, .. } => format!("CHUNK n{seq} {index}"),
        Transfer::Lacks { seq } => format!("LACKS n{seq}"),
        Transfer::FetchDigests { seq, index } => format!("FETCH-DIGESTS n{seq} {index}"),
        Transfer::Digests { seq, index, pages } => {
            format!("DIGESTS n{seq} {index} ({})", plural(pages.len(), "page"))
        }
        Transfer::FetchPages { seq, index, .. } => format!("FETCH-PAGES n{seq} {index}"),
        Transfer::Pages { seq, index, .. } => format!("PAGES n{seq} {index}"),
    }
}

fn view_change(signed: &Signed<ViewChange>, null: &Digest) -> String {
    let prepared = signed.prepared.iter().map(|certificate| certificate.statement);
    let prepared: Vec<String> = prepared
        .map(|vote| format!("n{} {} of v{}", vote.seq, short(&vote.digest, null), vote.view))
        .collect();
    let prepared = if prepared.is_empty() { "nothing".to_owned() } else { prepared.join(", ") };
    format!("VIEW-CHANGE v{} h={} of {}, prepared: {prepared}", signed.view, signed.low(), signed.signer)
}

/// A client's request: its numbers and what they ask.
#[must_use]
pub fn request(request: &Request) -> String {
    match request.kind() {
        Kind::Register => "REQUEST t0 (register)".to_owned(),
        Kind::Operations | Kind::Fifo => {
            let asked: Vec<String> = request.operations().map(|(_, _, bytes)| text(bytes)).collect();
            format!("REQUEST {} ({})", numbers(request.first(), request.last()), asked.join("; "))
        }
    }
}

fn numbers(first: Number, last: Number) -> String {
    if first == last { format!("t{first}") } else { format!("t{first}..t{last}") }
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// How an operation ended.
#[must_use]
pub fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done(reply) => format!("\"{}\"", text(reply)),
        Outcome::NoSession
        | Outcome::Old
        | Outcome::Window
        | Outcome::Gap
        | Outcome::Expired
        | Outcome::Full
        | Outcome::Registered
        | Outcome::Rejected
        | Outcome::TooLarge => format!("{outcome:?}").to_lowercase(),
    }
}

/// What a replica tells a client.
#[must_use]
pub fn reply(message: &ClientMessage) -> String {
    match message {
        ClientMessage::Replies { view, replies, .. } => {
            let each = replies
                .iter()
                .map(|reply| format!("t{} n{} {}", reply.number, reply.seq, outcome(&reply.outcome)));
            format!("REPLY v{view} {}", each.collect::<Vec<_>>().join(", "))
        }
        ClientMessage::Busy { first, reason, .. } => format!("BUSY t{first} ({reason:?})"),
        ClientMessage::Query { view, reply: QueryReply { number, executed, found }, .. } => {
            let found = match found {
                Found::Reply(reply) => format!("\"{}\"", text(reply)),
                Found::Nothing(why) => format!("nothing ({why:?})"),
            };
            format!("FOUND v{view} r{number} n{executed} {found}")
        }
    }
}

/// What a client asks without having it ordered.
#[must_use]
pub fn query(query: &Query) -> String {
    let Query { number, fast, command } = query;
    format!("QUERY r{number} ({}{})", text(command), if *fast { ", fast" } else { "" })
}

/// What a replica tells its operator.
#[must_use]
pub fn alarm(alarm: &Alarm) -> String {
    match alarm {
        Alarm::ConflictingPrepares(one, _) => format!("two PREPAREs of {} at n{}", one.signer, one.seq),
        Alarm::ConflictingCommits(one, _) => format!("two COMMITs of {} at n{}", one.signer, one.seq),
        Alarm::ConflictingCheckpoints(one, _) => format!("two CHECKPOINTs of {} at n{}", one.signer, one.seq),
        Alarm::ConflictingViewChanges(one, _) => {
            format!("two VIEW-CHANGEs of {} to v{}", one.signer, one.view)
        }
        Alarm::ConflictingNewViews(one, _) => format!("two NEW-VIEWs of {} of v{}", one.signer, one.view),
        Alarm::Withheld(commit, view_change) => format!(
            "a VIEW-CHANGE of {} to v{} without what it committed to at n{}",
            commit.signer, view_change.view, commit.seq
        ),
        Alarm::Agreement { seq, .. } => format!("two certificates at n{seq} exclude each other"),
        Alarm::Diverged { seq, .. } => format!("its state differs at n{seq}"),
        Alarm::Split { seq } => format!("the states after n{seq} differ everywhere"),
        Alarm::Unremembered { view, seq } => {
            format!("it signed for n{seq} in v{view} what it does not remember")
        }
        Alarm::ClockDisagrees { seq, .. } => format!("the time of n{seq} is not plausible"),
    }
}
