//! What a picture is made of: things that happened in a part of a world's time, each with its time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate_protocol::accusation::Offence;
use quorate_protocol::message::{ClientMessage, PeerMessage};
use quorate_protocol::replica::Status;
use quorate_protocol::request::Request;
use quorate_protocol::types::{Digest, ReplicaId, Seq, Time, View};

use crate::network::Party;
use crate::trace;

/// What a message is for; each has a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Clients, their requests and their answers.
    Request,
    /// A proposal.
    PrePrepare,
    /// A vote for it.
    Prepare,
    /// A vote that it is prepared.
    Commit,
    /// The end of a part of the log.
    Checkpoint,
    /// Another primary.
    ViewChange,
    /// What somebody missed.
    Fetch,
}

impl Phase {
    /// Of a message between replicas.
    #[must_use]
    pub fn of(message: &PeerMessage) -> Self {
        match message {
            PeerMessage::PrePrepare(_) => Self::PrePrepare,
            PeerMessage::Prepare(_) => Self::Prepare,
            PeerMessage::Commit(_) | PeerMessage::CommitCertificate(_) => Self::Commit,
            PeerMessage::Checkpoint(_) | PeerMessage::StableCertificate(_) => Self::Checkpoint,
            PeerMessage::ViewChange(_) | PeerMessage::NewView(_) | PeerMessage::FetchViewChange { .. } => {
                Self::ViewChange
            }
            PeerMessage::Forward(_) => Self::Request,
            PeerMessage::Status(_)
            | PeerMessage::Testimony(_)
            | PeerMessage::FetchBody { .. }
            | PeerMessage::Body { .. }
            | PeerMessage::Transfer(_) => Self::Fetch,
        }
    }
}

/// How one copy of a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It comes at this time.
    Arrives(Time),
    /// The network, or a test, loses it.
    Lost,
    /// A test keeps it back.
    Held,
}

/// One message, and where its copies go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Whose.
    pub from: Party,
    /// What for.
    pub phase: Phase,
    /// What it says, in a line.
    pub text: String,
    /// To whom, and whether it gets there.
    pub copies: Vec<(Party, Fate)>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// A message was sent.
    Sent(Sent),
    /// A process died.
    Down(ReplicaId),
    /// It was started again.
    Up(ReplicaId),
    /// A process sleeps until a time.
    Sleeps(ReplicaId, Time),
    /// A replica stands elsewhere: in another view, or in the same one as somebody else.
    Stands(ReplicaId, View, Status),
    /// A replica executed a slot, or came to it by a state that it fetched.
    Executes(ReplicaId, Seq, bool),
    /// A liar told lies of this name.
    Lies(ReplicaId, String),
    /// A replica holds the proof, from now on, that another one lied.
    Proves(ReplicaId, ReplicaId, Offence),
    /// A replica raised an alarm that proves nothing against anybody.
    Alarm(ReplicaId, String),
    /// Somebody says this, or this is said of it: answers accepted, clocks.
    Says(Party, String),
    /// Something happened to all.
    Everywhere(String),
}

/// A message, and whom it reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Saying {
    from: Party,
    text: String,
    heard: Vec<(Party, bool)>,
}

/// How often a message is shown that is said again with the same success. Who waits for ever says the same for ever, and
/// nobody would see what they wait for.
const SHOWINGS: u64 = 2;

/// Different messages that are remembered to tell whether one is said again.
const REMEMBERED_MAX: usize = 10_000;

/// Things that are shown before the first lie, or the first other trouble: enough to see what it is about.
const LEAD: usize = 24;

/// Which things that happen are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Nothing before this time.
    pub from: Time,
    /// And nothing after this one.
    pub until: Time,
    /// At most so many things, at least one.
    pub marks_max: usize,
    /// Which of them if there are more: the first ones, or the last.
    pub first: bool,
}

impl Window {
    /// The last so many things.
    #[must_use]
    pub fn last(marks_max: usize) -> Self {
        Self { from: Time(0), until: Time(u64::MAX), marks_max, first: false }
    }

    /// So many things from a time on.
    #[must_use]
    pub fn starting(from: Time, marks_max: usize) -> Self {
        Self { from, until: Time(u64::MAX), marks_max, first: true }
    }
}

/// Things that happened in a window, not more than somebody wants to see.
#[derive(Debug, Clone)]
pub struct Sketch {
    marks: VecDeque<(Time, Mark)>,
    window: Window,
    /// From when on to look to see what led to the first lie.
    first_lie: Option<Time>,
    /// The same of the first crash or sleep.
    first_trouble: Option<Time>,
    /// Messages that were sent before these.
    forgotten: u64,
    /// Messages that were sent after these.
    later: u64,
    /// How often each message was sent, by what became of its copies.
    said: BTreeMap<Saying, u64>,
    /// Messages that are not shown because they were said before.
    repeated: u64,
    /// Who was down before these.
    down: BTreeSet<ReplicaId>,
    /// Where each stood when it was last looked at.
    stands: BTreeMap<ReplicaId, (View, Status)>,
    /// Lies told by then.
    lies: BTreeMap<(ReplicaId, String), u64>,
}

impl Sketch {
    /// An empty one that keeps the last so many marks, at least one.
    #[must_use]
    pub fn new(marks_max: usize) -> Self {
        Self::of(Window::last(marks_max))
    }

    /// An empty one that keeps what happens in a window.
    #[must_use]
    pub fn of(window: Window) -> Self {
        Self {
            marks: VecDeque::new(),
            window: Window { marks_max: window.marks_max.max(1), ..window },
            first_lie: None,
            first_trouble: None,
            forgotten: 0,
            later: 0,
            said: BTreeMap::new(),
            repeated: 0,
            down: BTreeSet::new(),
            stands: BTreeMap::new(),
            lies: BTreeMap::new(),
        }
    }

    /// What happened, in the order of time.
    pub fn marks(&self) -> impl DoubleEndedIterator<Item = &(Time, Mark)> {
        self.marks.iter()
    }
    /// Messages that were sent before these.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }
    /// Messages that were sent after these.
    #[must_use]
    pub fn later(&self) -> u64 {
        self.later
    }
    /// Whether everything is here that happened.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.forgotten + self.later == 0
    }
    /// From when on to look to see how the first lie came about; if nobody lied, the first crash or sleep.
    #[must_use]
    pub fn first_trouble(&self) -> Option<Time> {
        self.first_lie.or(self.first_trouble)
    }
    /// Messages that are not shown because they were said before, to the same replicas with the same success.
    #[must_use]
    pub fn repeated(&self) -> u64 {
        self.repeated
    }
    /// Whether a replica was down when these begin.
    #[must_use]
    pub fn was_down(&self, replica: ReplicaId) -> bool {
        self.down.contains(&replica)
    }

    /// Something happened.
    pub fn add(&mut self, at: Time, mark: Mark) {
        let lead = || self.marks.iter().rev().nth(LEAD).or(self.marks.front()).map_or(at, |(at, _)| *at);
        match mark {
            Mark::Lies(..) if self.first_lie.is_none() => self.first_lie = Some(lead()),
            Mark::Down(_) | Mark::Sleeps(..) if self.first_trouble.is_none() => {
                self.first_trouble = Some(lead());
            }
            _ => {}
        }
        if at < self.window.from {
            self.forget(&mark);
            return;
        }
        if at > self.window.until {
            self.leave_out(&mark);
            return;
        }
        if let (Mark::Sent(sent), Some((before, Mark::Sent(last)))) = (&mark, self.marks.back_mut())
            && (*before, last.from, &last.text) == (at, sent.from, &sent.text)
        {
            // Said to several, one after the other: one message with several copies.
            last.copies.extend(sent.copies.iter().copied());
            return;
        }
        if let Mark::Sent(sent) = &mark
            && self.is_said(sent)
        {
            self.repeated += 1;
            return;
        }
        if self.marks.len() >= self.window.marks_max && self.window.first {
            self.leave_out(&mark);
            // What follows would hang in the air.
            self.window.until = Time(self.marks.back().map_or(0, |(at, _)| at.0));
            return;
        }
        if self.marks.len() >= self.window.marks_max
            && let Some((_, oldest)) = self.marks.pop_front()
        {
            self.forget(&oldest);
        }
        self.marks.push_back((at, mark));
    }

    /// Whether a message was said often enough.
    fn is_said(&mut self, sent: &Sent) -> bool {
        let heard = sent.copies.iter().map(|(to, fate)| (*to, matches!(fate, Fate::Arrives(_)))).collect();
        let saying = Saying { from: sent.from, text: sent.text.clone(), heard };
        if self.said.len() >= REMEMBERED_MAX {
            self.said.clear();
        }
        let times = self.said.entry(saying).or_default();
        *times += 1;
        *times > SHOWINGS
    }

    fn leave_out(&mut self, mark: &Mark) {
        self.later += u64::from(matches!(mark, Mark::Sent(_)));
    }

    fn forget(&mut self, mark: &Mark) {
        match mark {
            Mark::Sent(_) => self.forgotten += 1,
            Mark::Down(replica) => drop(self.down.insert(*replica)),
            Mark::Up(replica) => drop(self.down.remove(replica)),
            Mark::Sleeps(..)
            | Mark::Stands(..)
            | Mark::Executes(..)
            | Mark::Lies(..)
            | Mark::Proves(..)
            | Mark::Alarm(..)
            | Mark::Says(..)
            | Mark::Everywhere(_) => {}
        }
    }

    /// Where a replica stands after a step; noted if that is elsewhere than before.
    pub fn stands(&mut self, at: Time, replica: ReplicaId, view: View, status: Status) {
        let before = self.stands.insert(replica, (view, status));
        if before != Some((view, status)) && (before.is_some() || (view, status) != (View(0), Status::Normal))
        {
            self.add(at, Mark::Stands(replica, view, status));
        }
    }

    /// How many lies of a name a replica told by now; noted if these are more than before.
    pub fn lies(&mut self, at: Time, replica: ReplicaId, name: &str, told: u64) {
        let before = self.lies.insert((replica, name.to_owned()), told).unwrap_or(0);
        if told > before {
            self.add(at, Mark::Lies(replica, name.to_owned()));
        }
    }
}

/// A message between replicas, as short as it can be understood.
pub(crate) fn peer_text(message: &PeerMessage, null: &Digest) -> String {
    if let PeerMessage::Forward(request) = message {
        return trace::request(request).replacen("REQUEST", "FORWARD", 1);
    }
    let full = trace::message(message, null);
    let short = match message {
        PeerMessage::PrePrepare(_) | PeerMessage::Body { .. } => before(&full, " ("),
        PeerMessage::ViewChange(_) => before(&full, " h="),
        PeerMessage::NewView(_) => before(&full, " with"),
        PeerMessage::Prepare(_)
        | PeerMessage::Commit(_)
        | PeerMessage::Checkpoint(_)
        | PeerMessage::CommitCertificate(_)
        | PeerMessage::StableCertificate(_)
        | PeerMessage::Status(_)
        | PeerMessage::Testimony(_)
        | PeerMessage::FetchBody { .. }
        | PeerMessage::FetchViewChange { .. }
        | PeerMessage::Forward(_)
        | PeerMessage::Transfer(_) => &full,
    };
    short.to_owned()
}

/// A client's request.
pub(crate) fn request_text(request: &Request) -> String {
    trace::request(request)
}

/// An answer.
pub(crate) fn reply_text(message: &ClientMessage) -> String {
    let full = trace::reply(message);
    match message {
        // Votes say often enough which view it is.
        ClientMessage::Replies { view, .. } | ClientMessage::Query { view, .. } => {
            full.replacen(&format!(" v{view}"), "", 1)
        }
        ClientMessage::Busy { .. } => full,
    }
}

fn before<'a>(text: &'a str, end: &str) -> &'a str {
    text.split_once(end).map_or(text, |(start, _)| start)
}
