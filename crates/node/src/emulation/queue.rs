//! What is under way on all links of a socket, with time as an argument.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::file::{EmulationFile, Target};
use super::flow::{Fate, Flow, mixed};

/// Most bytes under way on all links of a socket together; beyond them datagrams are dropped.
pub(super) const UNDER_WAY_BYTES_MAX: usize = 64 << 20;

/// The links of a socket, and the datagrams on them. Times are microseconds since the emulation began.
#[derive(Debug)]
pub(crate) struct Queue {
    by_target: BTreeMap<Target, usize>,
    links: Vec<Link>,
    /// By when they are due, and by how many came before them.
    waiting: BTreeMap<(u64, u64), Datagram>,
    bytes: usize,
    came: u64,
}

#[derive(Debug)]
struct Link {
    flow: Flow,
    waiting: usize,
}

/// A datagram as it is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent<'a> {
    /// To whom.
    pub(crate) destination: SocketAddr,
    /// From which of the sender's addresses, if it says so.
    pub(crate) source: Option<IpAddr>,
    /// The two bits that tell of congestion, if it has any.
    pub(crate) congestion: Option<u8>,
    /// What it says.
    pub(crate) contents: &'a [u8],
}

/// A datagram on its way.
#[derive(Debug)]
struct Datagram {
    link: usize,
    destination: SocketAddr,
    source: Option<IpAddr>,
    congestion: Option<u8>,
    contents: Box<[u8]>,
}

/// What became of a datagram that was handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It meets nothing: it is to be sent now.
    Passes,
    /// It waits.
    Kept {
        /// Whether later ones will overtake it.
        held: bool,
        /// Whether it is due before all others.
        first: bool,
    },
    /// It is lost by chance.
    Lost,
    /// There is no room for it.
    Dropped,
}

impl Queue {
    /// The links of a file, with the chance of the socket of this number.
    pub(crate) fn new(file: &EmulationFile, socket: u64) -> Self {
        let seed = mixed(mixed(file.seed).wrapping_add(socket));
        let mut by_target = BTreeMap::new();
        let mut links = Vec::new();
        for (target, rule) in &file.links {
            let place = links.len() as u64 + 1;
            let own = if rule.seed == 0 { place } else { mixed(rule.seed) };
            by_target.insert(*target, links.len());
            links.push(Link { flow: Flow::new(*rule, mixed(seed ^ own)), waiting: 0 });
        }
        Self { by_target, links, waiting: BTreeMap::new(), bytes: 0, came: 0 }
    }

    /// The link that leads to a destination; none if nothing is emulated on the way there.
    pub(crate) fn link_to(&self, destination: SocketAddr) -> Option<usize> {
        Target::of(destination).into_iter().find_map(|target| self.by_target.get(&target).copied())
    }

    /// Takes in a datagram that is sent over a link now.
    pub(crate) fn take(&mut self, now_us: u64, link: usize, sent: Sent<'_>) -> Taken {
        let Link { flow, waiting } = &mut self.links[link];
        let (due_us, held) = match flow.fate(now_us, sent.contents.len()) {
            Fate::Arrives { due_us, held } => (due_us, held),
            Fate::Lost => return Taken::Lost,
            Fate::Dropped => return Taken::Dropped,
        };
        // Nobody overtakes those who wait on the same link.
        if due_us <= now_us && *waiting == 0 {
            return Taken::Passes;
        }
        self.keep(due_us, held, Datagram::new(link, sent))
    }

    /// Keeps a datagram that may go, and for which the system has no room.
    pub(crate) fn wait_for_room(&mut self, now_us: u64, link: usize, sent: Sent<'_>) -> Taken {
        self.keep(now_us, false, Datagram::new(link, sent))
    }

    /// Keeps a datagram until it is due.
    fn keep(&mut self, due_us: u64, held: bool, datagram: Datagram) -> Taken {
        if self.bytes + datagram.contents.len() > UNDER_WAY_BYTES_MAX {
            return Taken::Dropped;
        }
        self.came += 1;
        self.bytes += datagram.contents.len();
        self.links[datagram.link].waiting += 1;
        let first = self.next_due().is_none_or(|next| due_us < next);
        self.waiting.insert((due_us, self.came), datagram);
        Taken::Kept { held, first }
    }

    /// When the next datagram is due.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.waiting.first_key_value().map(|((due_us, _), _)| *due_us)
    }

    /// The next datagram, if it is due, and when it was. It stays until it is [`Queue::sent`].
    pub(crate) fn due(&self, now_us: u64) -> Option<(u64, Sent<'_>)> {
        let ((due_us, _), datagram) = self.waiting.first_key_value()?;
        (*due_us <= now_us).then(|| (*due_us, datagram.as_sent()))
    }

    /// The next datagram is gone.
    pub(crate) fn sent(&mut self) {
        if let Some((_, datagram)) = self.waiting.pop_first() {
            self.bytes -= datagram.contents.len();
            self.links[datagram.link].waiting -= 1;
        }
    }
}

impl Datagram {
    fn new(link: usize, sent: Sent<'_>) -> Self {
        let Sent { destination, source, congestion, contents } = sent;
        Self { link, destination, source, congestion, contents: contents.into() }
    }

    fn as_sent(&self) -> Sent<'_> {
        let Self { destination, source, congestion, ref contents, .. } = *self;
        Sent { destination, source, congestion, contents }
    }
}
