//! A sheet as SVG: inside a page, or as a file of its own.
//!
//! Whatever a file or a person named goes through [`escape`]; there is no other way for words into a drawing.

use std::fmt::Write as _;

use super::ink::{Ink, hex, style};
use super::sheet::{Anchor, Place, Shape, Sheet, Stroke, Words};

/// What a page and a picture write in.
const FONT: &str = "system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif";

/// Text that is nothing but text, in HTML and in XML, between tags and in quotes.
///
/// Characters that XML has no place for, and those that turn the direction of what follows, become U+FFFD.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' => out.push(letter),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => {
                out.push('\u{fffd}')
            }
            _ if letter.is_control() => out.push('\u{fffd}'),
            _ => out.push(letter),
        }
    }
    out
}

/// A drawing within a page, whose style sheet has [`style`]. It is as wide as the page lets it.
pub(crate) fn inline(sheet: &Sheet) -> String {
    let mut out = String::new();
    open(&mut out, sheet, "");
    Brush { alone: false, out: &mut out }.shapes(&sheet.shapes);
    out.push_str("</svg>");
    out
}

/// A drawing that stands alone: light where nothing else is known, dark where a reader's screen is.
pub(crate) fn file(sheet: &Sheet) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let size = format!(" width=\"{}\" height=\"{}\"", number(sheet.width), number(sheet.height));
    open(&mut out, sheet, &size);
    let _ = write!(
        out,
        "<title>{}</title><style>{}text{{font-family:{FONT}}}</style>",
        escape(&sheet.label),
        style()
    );
    let mut under = Sheet::new(sheet.width, sheet.height, "");
    under.rectangle((0.0, 0.0), (sheet.width, sheet.height), Ink::Paper, None);
    let mut brush = Brush { alone: true, out: &mut out };
    brush.shapes(&under.shapes);
    brush.shapes(&sheet.shapes);
    out.push_str("</svg>\n");
    out
}

fn open(out: &mut String, sheet: &Sheet, size: &str) {
    let (width, height, label) = (number(sheet.width), number(sheet.height), escape(&sheet.label));
    let name =
        if label.is_empty() { " aria-hidden=\"true\"".into() } else { format!(" aria-label=\"{label}\"") };
    // Writing to a string cannot fail, here and below.
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\"{size} role=\"img\"{name}>"
    );
}

/// A tenth of a point is as exact as an eye; nothing that is no number is written.
fn number(value: f64) -> String {
    let value = if value.is_finite() { (value * 10.0).round() / 10.0 } else { 0.0 };
    // Adding zero makes a zero of a negative zero.
    format!("{}", value + 0.0)
}

struct Brush<'a> {
    alone: bool,
    out: &'a mut String,
}

impl Brush<'_> {
    fn shapes(&mut self, shapes: &[Shape]) {
        for shape in shapes {
            self.shape(shape);
        }
    }

    fn shape(&mut self, shape: &Shape) {
        match shape {
            Shape::Line { through, stroke } => {
                self.out.push_str("<path d=\"");
                self.path(through);
                self.out.push('"');
                self.paint(None, Some(stroke));
                self.out.push_str("/>");
            }
            Shape::Polygon { corners, fill, edge } => {
                self.out.push_str("<path d=\"");
                self.path(corners);
                self.out.push_str("Z\"");
                self.paint(Some(*fill), edge.as_ref());
                self.out.push_str("/>");
            }
            Shape::Circle { at: (x, y), radius, fill, edge } => {
                let _ = write!(
                    self.out,
                    "<circle cx=\"{}\" cy=\"{}\" r=\"{}\"",
                    number(*x),
                    number(*y),
                    number(*radius)
                );
                self.paint(Some(*fill), Some(edge));
                self.out.push_str("/>");
            }
            Shape::Text { at, words, look } => self.words(*at, words, look),
            Shape::Group { by: (x, y), title, shapes } => {
                self.out.push_str("<g");
                if *x != 0.0 || *y != 0.0 {
                    let _ = write!(self.out, " transform=\"translate({} {})\"", number(*x), number(*y));
                }
                self.out.push('>');
                if !title.is_empty() {
                    let _ = write!(self.out, "<title>{}</title>", escape(title));
                }
                self.shapes(shapes);
                self.out.push_str("</g>");
            }
        }
    }

    fn path(&mut self, places: &[Place]) {
        for (at, (x, y)) in places.iter().enumerate() {
            let letter = if at == 0 { 'M' } else { 'L' };
            let _ = write!(self.out, "{letter}{} {}", number(*x), number(*y));
        }
    }

    /// Colours: classes for style sheets, and, where none can be relied on, values too.
    fn paint(&mut self, fill: Option<Ink>, edge: Option<&Stroke>) {
        let classes =
            [fill.map(|ink| format!("f-{}", ink.name())), edge.map(|edge| format!("l-{}", edge.ink.name()))];
        let classes: Vec<String> = classes.into_iter().flatten().collect();
        let _ = write!(self.out, " class=\"{}\"", classes.join(" "));
        match fill {
            None => self.out.push_str(" fill=\"none\""),
            Some(ink) if self.alone => {
                let _ = write!(self.out, " fill=\"{}\"", hex(ink.light()));
            }
            Some(_) => {}
        }
        let Some(Stroke { ink, width, dash }) = edge else { return };
        if self.alone {
            let _ = write!(self.out, " stroke=\"{}\"", hex(ink.light()));
        }
        let _ = write!(self.out, " stroke-width=\"{}\" stroke-linejoin=\"round\"", number(*width));
        if !dash.is_empty() {
            let dash: Vec<String> = dash.iter().map(|length| number(*length)).collect();
            let _ = write!(self.out, " stroke-dasharray=\"{}\"", dash.join(" "));
        }
    }

    fn words(&mut self, (x, y): Place, words: &str, look: &Words) {
        let anchor = match look.anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let weight = if look.bold { " font-weight=\"600\"" } else { "" };
        let _ = write!(
            self.out,
            "<text x=\"{}\" y=\"{}\" font-size=\"{}\"{anchor}{weight} class=\"f-{}\"",
            number(x),
            number(y),
            number(look.size),
            look.ink.name()
        );
        if self.alone {
            let _ = write!(self.out, " fill=\"{}\"", hex(look.ink.light()));
        }
        let _ = write!(self.out, ">{}</text>", escape(words));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_words_can_become_markup() {
        let hostile = "</text><script>alert('x')</script>&\"\u{0}\u{1b}\u{202e}";
        let mut sheet = Sheet::new(100.0, 50.0, hostile);
        sheet.titled(hostile, |sheet| {
            sheet.text((0.0, 0.0), hostile, Words::new(10.0, Ink::Text, Anchor::Start))
        });
        for text in [inline(&sheet), file(&sheet)] {
            assert!(!text.contains("<script") && !text.contains("'x'"), "{text}");
            assert!(!text.contains(['\u{0}', '\u{1b}', '\u{202e}']), "{text}");
            assert_eq!(text.matches("</text>").count(), 1);
        }
    }

    #[test]
    fn a_picture_alone_has_colours_of_its_own_and_is_dark_where_the_screen_is() {
        let mut sheet = Sheet::new(100.0, 50.0, "a line");
        sheet.line(&[(0.0, 0.0), (f64::NAN, 5.0)], Stroke::new(Ink::Series(1), 1.0));
        let text = file(&sheet);
        assert!(text.contains("stroke=\"#c2410c\"") && text.contains("prefers-color-scheme:dark"));
        assert!(text.contains("d=\"M0 0L0 5\""), "what is no number is not written: {text}");
    }
}
