//! A figure of the report: panels with a key and a caption, in a page or as one picture.

use super::arrange::{Arrangement, has_number};
use super::chart::{Anchor, Ink, Key, Look, Marker, Sample, Sheet, Words, wrap};

/// Width of a panel.
pub(crate) const WIDE: f64 = 400.0;
/// Height of a panel.
pub(crate) const HIGH: f64 = 280.0;
/// Between panels.
const GAP: f64 = 22.0;

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Drawing {
    /// Its file's name, without what follows the dot.
    pub(crate) name: &'static str,
    /// What it shows.
    pub(crate) title: String,
    /// How to read it, and what is measured: a sentence each.
    pub(crate) caption: Vec<String>,
    /// What lines and marks mean.
    pub(crate) key: Key,
    /// What is drawn.
    pub(crate) panels: Vec<Sheet>,
}

impl Drawing {
    /// Adds how many panels there was no room for.
    pub(crate) fn left_out(&mut self, panels: usize) {
        if panels > 0 {
            self.caption.push(format!("{panels} more panels are not drawn; their points are in points.csv."));
        }
    }

    /// All of it as one picture: title, key, panels in rows, caption.
    pub(crate) fn whole(&self) -> Sheet {
        let columns = match self.panels.len() {
            0 | 1 => 1,
            2 | 4 => 2,
            _ => 3,
        };
        let inner = if columns == 1 { 620.0 } else { (WIDE + GAP) * columns as f64 - GAP };
        let mut sheet = Sheet::new(inner + 2.0 * GAP, 0.0, &self.title);
        let mut y = GAP + 14.0;
        for line in wrap(&self.title, 17.0, inner) {
            sheet.text((GAP, y), &line, Words::new(16.0, Ink::Text, Anchor::Start).bold());
            y += 22.0;
        }
        let key = self.key.sheet(inner);
        let down = key.height;
        sheet.place(key, (GAP, y - 6.0));
        y += down + 8.0;
        for row in self.panels.chunks(columns) {
            let mut x = if columns == 1 { (inner - WIDE) / 2.0 + GAP } else { GAP };
            let high = row.iter().map(|panel| panel.height).fold(0.0, f64::max);
            for panel in row {
                sheet.place(panel.clone(), (x, y));
                x += WIDE + GAP;
            }
            y += high + GAP * 0.7;
        }
        y += 4.0;
        for line in wrap(&self.caption.join(" "), 11.0, inner) {
            sheet.text((GAP, y), &line, Words::new(11.0, Ink::Faint, Anchor::Start));
            y += 15.0;
        }
        sheet.height = y + GAP - 10.0;
        sheet
    }
}

/// How far from its place a line of several is drawn: side by side, points and intervals that lie upon each other can be
/// told apart. Where there is one place only, lines have all the width to themselves.
pub(crate) fn aside(number: usize, arrangement: &Arrangement<'_>) -> f64 {
    let lines = arrangement.lines.len() as f64;
    let middle = number as f64 - (lines - 1.0) / 2.0;
    if arrangement.across.names.len() == 1 {
        return middle * ((WIDE - 110.0) / lines).min(70.0);
    }
    (middle * 6.5).clamp(-18.0, 18.0)
}

/// A line behind points: of a single value a short one, so that it can be seen, and no further than the frame, beside
/// which the names of values are.
pub(crate) fn behind(through: Vec<(f64, f64)>, (left, right): (f64, f64)) -> Vec<(f64, f64)> {
    match through[..] {
        [(x, y)] => vec![((x - WIDE / 3.0).max(left), y), ((x + WIDE / 3.0).min(right), y)],
        _ => through,
    }
}

/// What lines mean, however many: the page says it once for all panels.
pub(crate) fn key_of_lines(arrangement: &Arrangement<'_>) -> Key {
    let mut key = Key::default();
    for (at, name) in arrangement.lines.iter().enumerate().take(40) {
        key.add(Sample::Line(Look::of(at)), name);
    }
    key
}

/// What hollow points and crosses mean, where there are some.
pub(crate) fn key_of_marks(arrangement: &Arrangement<'_>, key: &mut Key) {
    let lines = || arrangement.panels.iter().flat_map(|panel| &panel.lines);
    let stops = || lines().flat_map(|line| &line.stops);
    if stops().any(|stop| has_number(stop.best) && stop.best.cpu_bound) {
        key.add(Sample::Marker(Marker::Of(0), Ink::Faint, true), "hollow: more replicas than cores");
    }
    if stops().any(|stop| !has_number(stop.best)) {
        key.add(Sample::Marker(Marker::Cross, Ink::Faint, false), "no number: see the table");
    }
}
