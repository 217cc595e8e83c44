//! How wide words are, and the outlines of their letters: from a font that the program carries with it.
//!
//! The font is DejaVu Sans. It is wider than what most systems put in its place, so what fits here fits there.

use std::sync::OnceLock;

use ttf_parser::{Face, GlyphId, OutlineBuilder};

fn face() -> &'static Face<'static> {
    static FACE: OnceLock<Face<'static>> = OnceLock::new();
    FACE.get_or_init(|| Face::parse(dejavu::sans::regular(), 0).expect("the font compiled in is a font"))
}

/// The glyph of a letter, or the box that stands for letters nobody drew.
fn glyph(letter: char) -> GlyphId {
    face().glyph_index(letter).unwrap_or(GlyphId(0))
}

fn advance(letter: char) -> f64 {
    let units = f64::from(face().units_per_em()).max(1.0);
    f64::from(face().glyph_hor_advance(glyph(letter)).unwrap_or_default()) / units
}

/// Width of words at a size.
pub(crate) fn width(words: &str, size: f64) -> f64 {
    words.chars().map(advance).sum::<f64>() * size
}

/// Words in lines no wider than `most`; a single word may be.
pub(crate) fn wrap(words: &str, size: f64, most: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(line, size) + width(" ", size) + width(word, size) <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Hands the outline of every letter to `brush`, each with its distance from the beginning.
pub(super) fn outlines<B: OutlineBuilder>(
    words: &str,
    size: f64,
    mut brush: impl FnMut(f64, f64) -> B,
) -> Vec<B> {
    let scale = size / f64::from(face().units_per_em()).max(1.0);
    let mut from = 0.0;
    let mut drawn = Vec::new();
    for letter in words.chars() {
        let mut builder = brush(from, scale);
        if face().outline_glyph(glyph(letter), &mut builder).is_some() {
            drawn.push(builder);
        }
        from += advance(letter) * size;
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_as_wide_as_their_letters_and_lines_no_wider_than_asked() {
        assert!(width("mm", 10.0) > 2.0 * width("i", 10.0));
        assert!((width("request", 20.0) - 2.0 * width("request", 10.0)).abs() < 1e-9);
        let lines = wrap("batches are never counted as requests, whoever asks", 10.0, 120.0);
        assert!(lines.len() > 1 && lines.iter().all(|line| width(line, 10.0) <= 120.0), "{lines:?}");
        assert_eq!(wrap("  ", 10.0, 100.0), Vec::<String>::new());
        assert_eq!(wrap("unbreakable", 10.0, 1.0), ["unbreakable"]);
    }

    #[test]
    fn letters_that_no_font_has_become_boxes() {
        assert!(width("\u{10ffff}\u{4e00}", 10.0) > 0.0);
    }
}
