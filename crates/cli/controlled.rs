//! `quorate replica --controlled`: what a testbed has one of its replicas do while it runs, a line of standard input each.
//!
//! `behave NAME` has it lie so from now on, and `behave none` be honest; `links 0,1` leaves it only the links to these
//! replicas, and `links all` gives it back the others. Nothing is answered: the effect is seen where a replica says how it
//! is. A line that makes no sense is logged, with what to write instead, and changes nothing.

use std::collections::BTreeSet;
use std::io::{BufRead, Read};

use quorate_node::node::Control;
use quorate_node::sins::Sins;
use quorate_protocol::types::ReplicaId;
use tokio::sync::mpsc;

/// Bytes of a line.
const LINE_BYTES_MAX: u64 = 4096;
/// Orders that wait for the replica.
pub(crate) const ORDERS_MAX: usize = 16;

/// Why a line is no order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OrderError {
    /// Its first word is none of ours.
    #[error("`{0}` is no order; write `behave NAME`, `behave none`, `links 0,1` or `links all`")]
    Unknown(String),
    /// It never ends.
    #[error("a line of more than {LINE_BYTES_MAX} bytes is no order; write one order a line")]
    TooLong,
    /// It names no lie.
    #[error("`behave {text}`: {why}; `behave none` ends all lies")]
    Lie {
        /// What it names.
        text: String,
        /// Why that is none.
        why: String,
    },
    /// It names no replica.
    #[error(
        "`links {text}`: `{part}` is no replica of this cluster; write numbers from 0 to {last} with commas between them, or `all`"
    )]
    Replica {
        /// What it names.
        text: String,
        /// What of it is none.
        part: String,
        /// The last replica.
        last: u16,
    },
}

/// Reads orders for a replica, until there can be no more.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Where they go.
    pub(crate) orders: mpsc::Sender<Control>,
    /// How many replicas the cluster has.
    pub(crate) replicas: u16,
    /// Where the chance in lies comes from.
    pub(crate) seed: u64,
}

impl Listener {
    /// Reads to the end.
    pub(crate) fn listen(&self, mut input: impl BufRead) {
        let (mut line, mut rest_of_line) = (Vec::new(), false);
        loop {
            line.clear();
            match input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let ends = line.last() == Some(&b'\n');
            let whole = ends || (line.len() as u64) < LINE_BYTES_MAX;
            let order = match (whole, rest_of_line) {
                // What is left of a line that was too long is no order either, and was said to be none.
                (_, true) => None,
                (true, false) => Some(self.read(&String::from_utf8_lossy(&line))),
                (false, false) => Some(Err(OrderError::TooLong)),
            };
            rest_of_line = !ends;
            match order {
                // The replica has stopped; whoever started it closes this some time.
                Some(Ok(Some(order))) => drop(self.orders.blocking_send(order)),
                Some(Err(error)) => tracing::warn!("{error}"),
                Some(Ok(None)) | None => {}
            }
        }
    }

    /// What a line says; nothing if it is empty.
    fn read(&self, line: &str) -> Result<Option<Control>, OrderError> {
        let line = line.trim();
        let (word, text) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match (word, text.trim()) {
            ("", _) => Ok(None),
            ("behave", "none") => Ok(Some(Control::Behave(Sins::default()))),
            ("behave", text) => self.behave(text).map(Some),
            ("links", "all") => Ok(Some(Control::Links(None))),
            ("links", text) => self.links(text).map(Some),
            _ => Err(OrderError::Unknown(line.chars().take(120).collect())),
        }
    }

    #[cfg(feature = "byzantine")]
    fn behave(&self, text: &str) -> Result<Control, OrderError> {
        let lie = |why| OrderError::Lie { text: text.to_owned(), why };
        crate::byzantine::sins(text).map(|list| Control::Behave(Sins::new(list, self.seed))).map_err(lie)
    }

    #[cfg(not(feature = "byzantine"))]
    fn behave(&self, text: &str) -> Result<Control, OrderError> {
        let why = format!(
            "this program has no lies in it (nor their seed, {}); build it with the feature `byzantine`",
            self.seed
        );
        Err(OrderError::Lie { text: text.to_owned(), why })
    }

    fn links(&self, text: &str) -> Result<Control, OrderError> {
        let read = |part: &str| {
            let id = part.trim().parse::<u16>().ok().filter(|id| *id < self.replicas);
            id.map(ReplicaId).ok_or_else(|| OrderError::Replica {
                text: text.to_owned(),
                part: part.trim().to_owned(),
                last: self.replicas.saturating_sub(1),
            })
        };
        let with: BTreeSet<ReplicaId> = text.split(',').map(read).collect::<Result<_, _>>()?;
        Ok(Control::Links(Some(with)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn listener() -> (Listener, mpsc::Receiver<Control>) {
        let (orders, received) = mpsc::channel(ORDERS_MAX);
        (Listener { orders, replicas: 4, seed: 1 }, received)
    }

    /// What a replica is told by these lines.
    fn told(lines: &str) -> Vec<String> {
        let (listener, mut received) = listener();
        listener.listen(lines.as_bytes());
        let mut told = Vec::new();
        while let Ok(order) = received.try_recv() {
            told.push(match order {
                Control::Behave(sins) => format!("behave {sins}"),
                Control::Links(None) => "links all".to_owned(),
                Control::Links(Some(with)) => format!("links {with:?}"),
            });
        }
        told
    }

    #[test]
    fn each_line_is_one_order_and_the_replica_gets_them_in_order() {
        assert_eq!(
            told("links 0,1\n\n links  2 , 3\r\nlinks all"),
            ["links {r0, r1}", "links {r2, r3}", "links all"]
        );
        #[cfg(feature = "byzantine")]
        assert_eq!(
            told("behave equivocate\nbehave mute+delay:by=200ms\nbehave none\n"),
            ["behave equivocate", "behave mute+delay:by=200ms", "behave "]
        );
    }

    #[test]
    fn a_line_that_makes_no_sense_says_what_to_write_and_changes_nothing() {
        let (listener, _received) = listener();
        for (line, words) in [
            ("explode", "write `behave NAME`"),
            ("links 0,4", "`4` is no replica of this cluster; write numbers from 0 to 3"),
            ("links", "with commas between them, or `all`"),
            ("links 0,-1", "`-1`"),
            ("behave kindly", "`behave none` ends all lies"),
            ("behave", "`behave none` ends all lies"),
        ] {
            let error = listener.read(line).unwrap_err().to_string();
            assert!(error.contains(words), "{line}: {error}");
        }
        assert_eq!(told("explode\nlinks 9\nbehave kindly\nlinks 3\n"), ["links {r3}"]);
    }

    #[test]
    fn a_line_without_end_takes_no_memory_and_hides_no_order() {
        let long = format!("links 1,{}\nlinks 2\n", "1,".repeat(1 << 20));
        assert_eq!(told(&long), ["links {r2}"]);
        assert_eq!(told(&format!("{}links 1", " ".repeat(1 << 16))), [""; 0]);
    }
}
