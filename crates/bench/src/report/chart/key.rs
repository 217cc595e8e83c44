//! What lines, marks and colours of a chart mean.

use super::font::width;
use super::ink::Ink;
use super::plot::shortened;
use super::sheet::{Anchor, Look, Marker, Sheet, Stroke, Words};

const SIZE: f64 = 11.0;
const LINE: f64 = 18.0;
const SAMPLE: (f64, f64) = (30.0, 12.0);

/// What an entry shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Sample {
    /// A line with its mark.
    Line(Look),
    /// A line alone.
    Stroke(Stroke),
    /// A mark alone, hollow or not.
    Marker(Marker, Ink, bool),
    /// A surface.
    Part(usize),
    /// What surrounds a point that was chosen.
    Ring,
}

impl Sample {
    /// As large as a word.
    pub(crate) fn sheet(self) -> Sheet {
        let (width, height) = SAMPLE;
        let mut sheet = Sheet::new(width, height, "");
        let (middle, ends) = (height / 2.0, [(1.0, height / 2.0), (width - 1.0, height / 2.0)]);
        match self {
            Self::Line(look) => {
                sheet.line(&ends, look.stroke);
                sheet.marker((width / 2.0, middle), look.marker, look.stroke.ink, false);
            }
            Self::Stroke(stroke) => sheet.line(&ends, stroke),
            Self::Marker(marker, ink, hollow) => sheet.marker((width / 2.0, middle), marker, ink, hollow),
            Self::Ring => sheet.ring((width / 2.0, middle), 5.0, Ink::Faint),
            Self::Part(at) => sheet.rectangle((8.0, 0.5), (14.0, 11.0), Ink::Part(at), None),
        }
        sheet
    }
}

/// One line of a key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// What it shows.
    pub(crate) sample: Sample,
    /// What that means.
    pub(crate) words: String,
}

/// All of a key.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Key {
    /// In order.
    pub(crate) entries: Vec<Entry>,
}

impl Key {
    /// Adds an entry.
    pub(crate) fn add(&mut self, sample: Sample, words: impl Into<String>) {
        self.entries.push(Entry { sample, words: words.into() });
    }

    /// In rows no wider than `most`, side by side where there is room; words that need more are cut.
    pub(crate) fn sheet(&self, most: f64) -> Sheet {
        let mut sheet = Sheet::new(most, 0.0, "");
        let (mut x, mut y) = (0.0, 0.0);
        for Entry { sample, words } in &self.entries {
            let words = &shortened(words, SIZE, most - SAMPLE.0 - 6.0);
            let needed = SAMPLE.0 + 6.0 + width(words, SIZE);
            if x > 0.0 && x + needed > most {
                (x, y) = (0.0, y + LINE);
            }
            sheet.place(sample.sheet(), (x, y + 2.0));
            sheet.text((x + SAMPLE.0 + 6.0, y + 12.0), words, Words::new(SIZE, Ink::Text, Anchor::Start));
            x += needed + 18.0;
        }
        sheet.height = if self.entries.is_empty() { 0.0 } else { y + LINE };
        sheet
    }
}

#[cfg(test)]
mod tests {
    use super::super::sheet::Shape;
    use super::*;

    #[test]
    fn entries_never_overlap_and_stay_on_the_paper() {
        let mut key = Key::default();
        for at in 0..20 {
            let words = "a scenario with a rather long name ".repeat(at % 5);
            key.add(Sample::Line(Look::of(at)), words.trim());
        }
        let sheet = key.sheet(560.0);
        let mut ends: Vec<(f64, f64)> = Vec::new();
        for shape in &sheet.shapes {
            match shape {
                Shape::Group { by: (x, y), .. } => {
                    let free = ends.iter().filter(|(_, row)| *row == y - 2.0).all(|(end, _)| end < x);
                    assert!(free && *y < sheet.height, "{x} {y}");
                    ends.push((x + SAMPLE.0, y - 2.0));
                }
                Shape::Text { at: (x, y), words, .. } => {
                    let end = x + width(words, SIZE);
                    assert!(end <= 560.0, "{words} ends at {end}");
                    ends.push((end, y - 12.0));
                }
                other => panic!("{other:?} is in no key"),
            }
        }
    }
}
