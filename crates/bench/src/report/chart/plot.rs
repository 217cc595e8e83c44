//! A frame with two axes, and bars made of parts.

use super::font::{width, wrap};
use super::ink::Ink;
use super::scale::Scale;
use super::sheet::{Anchor, Place, Sheet, Stroke, Words};

const TITLE: Words = Words::new(12.5, Ink::Text, Anchor::Start).bold();
const LABEL: f64 = 11.0;

/// One axis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    /// Where values are.
    pub(crate) scale: Scale,
    /// Values with a name.
    pub(crate) ticks: Vec<(f64, String)>,
    /// What the values are.
    pub(crate) label: String,
}

/// A frame for points and lines.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plot {
    /// What is drawn on.
    pub(crate) sheet: Sheet,
    /// Of the frame.
    pub(crate) left: f64,
    /// Of the frame.
    pub(crate) right: f64,
    /// Of the frame.
    pub(crate) top: f64,
    /// Of the frame.
    pub(crate) bottom: f64,
}

impl Plot {
    /// An empty frame, with room for the names of values; `label` says what it shows.
    pub(crate) fn new((wide, high): Place, title: &str, label: &str) -> Self {
        let mut sheet = Sheet::new(wide, high, label);
        headline(&mut sheet, title, wide - 4.0);
        Self { sheet, left: 48.0, right: wide - 14.0, top: 46.0, bottom: high - 38.0 }
    }

    /// Draws both axes, the grid of the upright one, and their names.
    pub(crate) fn frame(&mut self, x: &Axis, y: &Axis) {
        let label = Words::new(LABEL, Ink::Faint, Anchor::Start);
        self.sheet.text((2.0, self.top - 13.0), &shortened(&y.label, LABEL, self.right - 2.0), label);
        for (value, name) in &y.ticks {
            let place = y.scale.at(*value);
            self.sheet.line(&[(self.left, place), (self.right, place)], Stroke::new(Ink::Grid, 1.0));
            let words = Words::new(LABEL, Ink::Faint, Anchor::End);
            self.sheet.text((self.left - 6.0, place + 3.5), name, words);
        }
        self.sheet.line(&[(self.left, self.bottom), (self.right, self.bottom)], Stroke::new(Ink::Axis, 1.0));
        let mut free = f64::NEG_INFINITY;
        for (value, name) in &x.ticks {
            let (place, half) = (x.scale.at(*value), width(name, LABEL) / 2.0);
            let tick = [(place, self.bottom), (place, self.bottom + 4.0)];
            self.sheet.line(&tick, Stroke::new(Ink::Axis, 1.0));
            if place - half > free {
                let words = Words::new(LABEL, Ink::Faint, Anchor::Middle);
                self.sheet.text((place, self.bottom + 15.0), name, words);
                free = place + half + 5.0;
            }
        }
        let middle = f64::midpoint(self.left, self.right);
        self.sheet.text((middle, self.bottom + 31.0), &x.label, Words { anchor: Anchor::Middle, ..label });
    }

    /// Words in the upper right corner, where a grid is least missed.
    pub(crate) fn remark(&mut self, words: &str) {
        self.sheet.text((self.right, self.top - 5.0), words, Words::new(LABEL, Ink::Faint, Anchor::End));
    }
}

/// A title in one line, or in two that are smaller; what two cannot hold is cut.
fn headline(sheet: &mut Sheet, title: &str, most: f64) {
    // Bold letters are wider than those of the font that is measured.
    let bold = |size: f64| size * 1.1;
    if width(title, bold(TITLE.size)) <= most {
        sheet.text((2.0, 14.0), title, TITLE);
        return;
    }
    let small = Words { size: 10.5, ..TITLE };
    let lines = wrap(title, bold(small.size), most);
    let first = lines.first().map_or("", String::as_str);
    let rest = lines.get(1..).unwrap_or_default().join(" ");
    for (y, line) in [(9.0, first), (21.0, rest.as_str())] {
        if !line.is_empty() {
            sheet.text((2.0, y), &shortened(line, bold(small.size), most), small);
        }
    }
}

/// Words that fit, with an ellipsis if they had to be cut.
pub(crate) fn shortened(words: &str, size: f64, most: f64) -> String {
    if width(words, size) <= most {
        return words.to_owned();
    }
    let mut kept = String::new();
    let mut used = width("…", size);
    for letter in words.chars() {
        used += width(letter.encode_utf8(&mut [0; 4]), size);
        if used > most {
            break;
        }
        kept.push(letter);
    }
    kept + "…"
}

/// Bars that lie one below the other, each made of parts.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Stack {
    /// In order from the top.
    pub(crate) rows: Vec<Row>,
}

/// A bar, or a heading over some.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Row {
    /// Over those that follow.
    Heading(String),
    /// One bar.
    Bar {
        /// What it is of.
        name: String,
        /// Number of the colour, value, and what to say to those who point at it; from the left.
        parts: Vec<(usize, f64, String)>,
        /// At its end.
        note: String,
    },
}

impl Row {
    fn total(&self) -> f64 {
        match self {
            Self::Heading(_) => 0.0,
            Self::Bar { parts, .. } => parts.iter().map(|(_, value, _)| value.max(0.0)).sum(),
        }
    }
}

impl Stack {
    /// Draws the bars to one scale that reaches to `most`, or to the longest.
    pub(crate) fn sheet(&self, wide: f64, title: &str, axis: &str, name_of: fn(f64) -> String) -> Sheet {
        const LINE: f64 = 17.0;
        const ROOM_FOR_NOTES: f64 = 58.0;
        let names = self.rows.iter().map(|row| match row {
            Row::Heading(_) => 0.0,
            Row::Bar { name, .. } => width(name, LABEL),
        });
        let left = names.fold(20.0, f64::max).min(130.0) + 12.0;
        let high = 46.0 + LINE * self.rows.len() as f64 + 38.0;
        let mut plot = Plot { left, ..Plot::new((wide, high), title, &format!("{title}: {axis}")) };
        (plot.top, plot.right) = (28.0, wide - ROOM_FOR_NOTES);
        plot.bottom = plot.top + LINE * self.rows.len() as f64 + 6.0;
        plot.sheet.height = plot.bottom + 38.0;
        let most = self.rows.iter().map(Row::total).fold(0.0, f64::max);
        let scale = Scale::linear(most, left, plot.right);
        for tick in scale.ticks(4) {
            let x = scale.at(tick);
            plot.sheet.line(&[(x, plot.top), (x, plot.bottom)], Stroke::new(Ink::Grid, 1.0));
            let words = Words::new(LABEL, Ink::Faint, Anchor::Middle);
            plot.sheet.text((x, plot.bottom + 15.0), &name_of(tick), words);
        }
        let label = Words::new(LABEL, Ink::Faint, Anchor::Middle);
        plot.sheet.text((f64::midpoint(left, plot.right), plot.bottom + 31.0), axis, label);
        for (at, row) in self.rows.iter().enumerate() {
            row.draw(&mut plot, &scale, 30.0 + LINE * at as f64);
        }
        plot.sheet.line(&[(left, plot.top), (left, plot.bottom)], Stroke::new(Ink::Axis, 1.0));
        plot.sheet
    }
}

impl Row {
    fn draw(&self, plot: &mut Plot, scale: &Scale, y: f64) {
        let (left, size) = (plot.left, 12.5);
        match self {
            Self::Heading(words) => {
                let look = Words::new(LABEL, Ink::Text, Anchor::Start).bold();
                let words = shortened(words, LABEL * 1.05, plot.right - left);
                let room = width(&words, LABEL * 1.1) + 8.0;
                plot.sheet.rectangle((left + 1.0, y), (room, size), Ink::Paper, None);
                plot.sheet.text((left + 5.0, y + 10.5), &words, look);
            }
            Self::Bar { name, parts, note } => {
                let look = Words::new(LABEL, Ink::Text, Anchor::End);
                let name = shortened(name, LABEL, left - 10.0);
                plot.sheet.text((left - 7.0, y + 10.0), &name, look);
                let mut sum = 0.0;
                for (part, value, title) in parts.iter().filter(|(_, value, _)| *value > 0.0) {
                    let (from, to) = (scale.at(sum), scale.at(sum + value));
                    // A gap as wide as a hair keeps neighbours apart, where there is room for one.
                    let wide = if to - from > 1.5 { to - from - 0.6 } else { to - from };
                    plot.sheet.titled(title, |sheet| {
                        sheet.rectangle((from, y), (wide, size), Ink::Part(*part), None);
                    });
                    sum += value;
                }
                let at = (scale.at(sum) + 5.0, y + 10.0);
                plot.sheet.text(at, note, Words::new(LABEL, Ink::Faint, Anchor::Start));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sheet::Shape;
    use super::*;

    #[test]
    fn a_title_that_needs_two_lines_has_two_and_is_not_cut() {
        let title = "batch 16 · 4 clients · durability none · 64 in flight · closed loop · bundle 1";
        let plot = Plot::new((400.0, 280.0), title, "");
        let texts: Vec<(&str, f64)> = plot.sheet.shapes.iter().filter_map(text).collect();
        let [(first, upper), (second, lower)] = texts[..] else { panic!("{texts:?}") };
        assert_eq!(format!("{first} {second}"), title);
        assert!(upper < lower && lower < plot.top - 13.0 - 8.0, "above the name of the axis: {texts:?}");
        let endless = Plot::new((400.0, 280.0), &"words without end ".repeat(40), "");
        let texts: Vec<_> = endless.sheet.shapes.iter().filter_map(text).collect();
        assert!(texts.len() == 2 && texts[1].0.ends_with('…'), "{texts:?}");
    }

    fn text(shape: &Shape) -> Option<(&str, f64)> {
        match shape {
            Shape::Text { at: (_, y), words, .. } => Some((words, *y)),
            _ => None,
        }
    }
}
