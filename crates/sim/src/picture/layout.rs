//! Where things are in a picture: lanes from left to right, rows from top to bottom.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::replica::Status;
use quorate_protocol::types::{ReplicaId, Time};

use super::Subject;
use super::sketch::{Fate, Mark, Sent, Sketch};
use crate::network::Party;

/// From one lane to the next.
pub(super) const LANE: i64 = 200;
/// Left of the first lane, where times stand.
pub(super) const LEFT: i64 = 132;
/// From one line of text to the next.
pub(super) const LINE: i64 = 14;
/// Above the first row, where title, legend and names stand.
pub(super) const TOP: i64 = 128;
/// From one line of names to the next, for who has scrolled.
const NAMES_EVERY: i64 = 900;
/// Height of a line of names.
const NAMES: i64 = 46;
/// Height that the usual way of a message takes.
const WAY: u64 = 40;
/// Least height between two rows, and most.
const GAP_MIN: i64 = 3;
const GAP_MAX: i64 = 46;
/// Quiet that is worth a word: so many times the most height.
const QUIET: u64 = 4;

/// What stands at a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Beside it, where a message leaves.
    Message,
    /// On it, framed.
    View,
    /// On it, as something bad.
    Bad,
    /// On it, as proof of something bad.
    Proof,
    /// On it, as something good.
    Good,
    /// On it, neither.
    Plain,
    /// Beside it, as an answer.
    Answer,
}

/// A text at a lane, on a line of its own.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) lane: Party,
    pub(super) y: i64,
    pub(super) look: Look,
    pub(super) text: String,
    /// The mark that it stands for, by its place.
    pub(super) mark: usize,
}

/// Time in which nothing happens.
#[derive(Debug)]
pub(super) struct Quiet {
    pub(super) y: i64,
    pub(super) us: u64,
}

/// All places.
#[derive(Debug)]
pub(super) struct Layout {
    rows: BTreeMap<Time, i64>,
    pub(super) items: Vec<Item>,
    pub(super) quiet: Vec<Quiet>,
    /// Lines of names, but for the first.
    pub(super) names: Vec<i64>,
    /// Times that are written down.
    pub(super) times: Vec<(Time, i64)>,
    /// Where the lanes end.
    pub(super) end: i64,
    pub(super) width: i64,
    clients: usize,
}

impl Layout {
    pub(super) fn of(sketch: &Sketch, subject: &Subject) -> Self {
        let lanes = subject.clients + usize::from(subject.replicas);
        let mut layout = Self {
            rows: BTreeMap::new(),
            items: Vec::new(),
            quiet: Vec::new(),
            names: Vec::new(),
            times: Vec::new(),
            end: TOP,
            width: LEFT + LANE * i64::try_from(lanes.max(3)).unwrap_or(3) + 24,
            clients: subject.clients,
        };
        layout.place(sketch, subject);
        layout
    }

    /// Where a lane is.
    pub(super) fn x(&self, lane: Party) -> i64 {
        let index = match lane {
            Party::Client(index) => index,
            Party::Replica(id) => self.clients + usize::from(id.0),
        };
        LEFT + LANE * i64::try_from(index).unwrap_or(0) + 12
    }

    /// Where a time is; what comes after the end is at the end.
    pub(super) fn y(&self, time: Time) -> i64 {
        self.rows.get(&time).copied().unwrap_or(self.end)
    }

    fn place(&mut self, sketch: &Sketch, subject: &Subject) {
        let mut at_row: BTreeMap<Time, Vec<(usize, &Mark)>> = BTreeMap::new();
        for (index, (at, mark)) in sketch.marks().enumerate() {
            at_row.entry(*at).or_default().push((index, mark));
        }
        let arrivals = sketch.marks().flat_map(|(_, mark)| arrivals(mark)).filter(|at| *at <= subject.end);
        let times: BTreeSet<Time> = at_row.keys().copied().chain(arrivals).collect();
        let us_per_way = usual_way(sketch);
        let (mut y, mut before) = (TOP, None);
        let mut last_names = TOP;
        for at in times {
            if let Some(before) = before {
                y = self.gap(y, at.since(before), us_per_way);
            }
            if y - last_names > NAMES_EVERY {
                self.names.push(y + LINE);
                (last_names, y) = (y, y + NAMES);
            }
            self.rows.insert(at, y);
            let marks = at_row.remove(&at).unwrap_or_default();
            if !marks.is_empty() && self.times.last().is_none_or(|(_, last)| y - last >= LINE) {
                self.times.push((at, y));
            }
            y = self.items_of(y, &marks);
            before = Some(at);
        }
        self.end = y + 34;
    }

    /// The height of the next row, so much later.
    fn gap(&mut self, y: i64, us: u64, us_per_way: u64) -> i64 {
        let height = i64::try_from(us.saturating_mul(WAY) / us_per_way).unwrap_or(i64::MAX);
        if us > us_per_way.saturating_mul(QUIET) && height > GAP_MAX {
            self.quiet.push(Quiet { y: y + GAP_MAX / 2 + 2, us });
        }
        y + height.clamp(GAP_MIN, GAP_MAX)
    }

    /// Texts of one moment, those of one lane below each other. Says where the last one is.
    fn items_of(&mut self, y: i64, marks: &[(usize, &Mark)]) -> i64 {
        let mut lines: BTreeMap<Party, i64> = BTreeMap::new();
        let mut last = y;
        for (mark, what) in marks {
            let Some((lane, look, text)) = item(what) else { continue };
            // No text runs into one above it at the same lane.
            let free = self.items.iter().rev().find(|item| item.lane == lane).map_or(y, |item| item.y + LINE);
            let line = lines.entry(lane).or_insert_with(|| y.max(free));
            self.items.push(Item { lane, y: *line, look, text, mark: *mark });
            last = last.max(*line);
            *line += LINE;
        }
        last
    }
}

fn arrivals(mark: &Mark) -> impl Iterator<Item = Time> {
    let copies = if let Mark::Sent(sent) = mark { sent.copies.as_slice() } else { &[] };
    copies.iter().filter_map(|(_, fate)| if let Fate::Arrives(at) = fate { Some(*at) } else { None })
}

/// How long messages take: the median.
fn usual_way(sketch: &Sketch) -> u64 {
    let ways = sketch.marks().flat_map(|(at, mark)| arrivals(mark).map(|arrives| arrives.since(*at)));
    let mut ways: Vec<u64> = ways.collect();
    ways.sort_unstable();
    ways.get(ways.len() / 2).copied().unwrap_or(1_000).max(1)
}

/// What stands where for a mark.
fn item(mark: &Mark) -> Option<(Party, Look, String)> {
    let at = |id: &ReplicaId| Party::Replica(*id);
    Some(match mark {
        Mark::Sent(Sent { from, text, .. }) => (*from, Look::Message, text.clone()),
        Mark::Down(id) => (at(id), Look::Bad, "crashes".to_owned()),
        Mark::Up(id) => (at(id), Look::Good, "starts again".to_owned()),
        Mark::Sleeps(id, until) => {
            (at(id), Look::Plain, format!("sleeps until {}", super::paint::moment(*until)))
        }
        Mark::Stands(id, view, Status::Normal) => (at(id), Look::View, format!("in v{view}")),
        Mark::Stands(id, view, Status::ViewChanging) => (at(id), Look::View, format!("wants v{view}")),
        Mark::Stands(id, view, status) => (at(id), Look::Bad, format!("{status:?} v{view}").to_lowercase()),
        Mark::Executes(id, seq, false) => (at(id), Look::Good, format!("n{seq}")),
        Mark::Executes(id, seq, true) => (at(id), Look::Good, format!("state n{seq}")),
        Mark::Lies(id, sin) => (at(id), Look::Bad, format!("lies: {sin}")),
        Mark::Proves(id, culprit, offence) => {
            (at(id), Look::Proof, format!("proof: {culprit}, {}", offence.name()))
        }
        Mark::Alarm(id, text) => (at(id), Look::Bad, format!("alarm: {text}")),
        Mark::Says(party, text) => (*party, Look::Answer, text.clone()),
        Mark::Everywhere(_) => return None,
    })
}
