//! `--read`: how something is read, and what is said of how it was.

use quorate_protocol::client::{How, Obstacle, Read};

/// How something is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Reading {
    /// In order, like a write: linearizable, in every cluster
    #[default]
    Ordered,
    /// Linearizable, from the states of q replicas that are equally far; for clusters made with `fast_reads`
    Fast,
    /// From the states of f+1 replicas, not older than what this client was answered: here that is one command
    Session,
    /// From the states of f+1 replicas: true once, perhaps not any more
    Stale,
}

impl From<Reading> for Read {
    fn from(reading: Reading) -> Self {
        match reading {
            Reading::Ordered => Self::Ordered,
            Reading::Fast => Self::Fast,
            Reading::Session => Self::Session,
            Reading::Stale => Self::Stale,
        }
    }
}

/// The kind of read that an answer is, in a word for programs.
pub(super) fn word(how: How) -> &'static str {
    match how {
        How::Ordered | How::Instead(..) => "ordered",
        How::Read(read) => name(read),
    }
}

/// Why it is another kind than was asked for.
pub(super) fn reason(how: How) -> Option<&'static str> {
    match how {
        How::Ordered | How::Read(_) => None,
        How::Instead(_, Obstacle::NotOffered) => Some("this cluster was made without `fast_reads`"),
        How::Instead(_, Obstacle::NeedsOrder) => Some("the application answers this only in order"),
        How::Instead(_, Obstacle::Differed) => Some("the replicas were not equally far just then"),
        How::Instead(_, Obstacle::TooFew) => Some("too few replicas were reached and ready in time"),
    }
}

/// What people are told before who vouches for an answer; nothing of what was ordered because that was asked for.
pub(super) fn preface(how: How) -> String {
    match how {
        How::Ordered => String::new(),
        How::Read(Read::Fast) => "fast read, linearizable: ".to_owned(),
        How::Read(Read::Session) => "session read, no older than what this client was told: ".to_owned(),
        How::Read(Read::Stale | Read::Ordered) => {
            "stale read, true then and perhaps not any more: ".to_owned()
        }
        How::Instead(read, _) => {
            format!("ordered, not a {} read: {}: ", name(read), reason(how).unwrap_or_default())
        }
    }
}

fn name(read: Read) -> &'static str {
    match read {
        Read::Ordered => "ordered",
        Read::Fast => "fast",
        Read::Session => "session",
        Read::Stale => "stale",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_what_an_answer_promises_and_why_it_is_not_what_they_asked_for() {
        assert_eq!(preface(How::Ordered), "");
        assert_eq!(preface(How::Read(Read::Fast)), "fast read, linearizable: ");
        let instead = How::Instead(Read::Fast, Obstacle::NotOffered);
        assert_eq!(
            preface(instead),
            "ordered, not a fast read: this cluster was made without `fast_reads`: "
        );
        assert_eq!((word(instead), word(How::Read(Read::Stale))), ("ordered", "stale"));
        assert_eq!(reason(How::Read(Read::Stale)), None);
    }
}
