//! A sheet as a PNG picture, on light paper and with the program's own font: the same on every machine.

use tiny_skia::{FillRule, Paint, Path, PathBuilder, Pixmap, Stroke as Pen, StrokeDash, Transform};
use ttf_parser::OutlineBuilder;

use super::font::{outlines, width};
use super::ink::Ink;
use super::sheet::{Anchor, Place, Shape, Sheet, Stroke, Words};

/// Pixels to a point of the drawing, so that pictures are sharp in print.
const SHARPNESS: f64 = 2.0;
/// Pixels of the largest picture; larger drawings are less sharp instead.
const PIXELS_MAX: f64 = 32e6;

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unpainted {
    /// It is larger than any picture.
    #[error("a drawing of {0} by {1} points has no size that a picture can have")]
    Size(f64, f64),
    /// It could not be written down.
    #[error("the picture could not be encoded: {0}")]
    Encoding(String),
}

/// The bytes of the picture.
pub(crate) fn png(sheet: &Sheet) -> Result<Vec<u8>, Unpainted> {
    let size = || Unpainted::Size(sheet.width, sheet.height);
    let area = sheet.width * sheet.height;
    if !area.is_finite() || area < 1.0 {
        return Err(size());
    }
    let scale = SHARPNESS.min((PIXELS_MAX / area).sqrt());
    // Bounded by the area; a drawing of no width has no pixmap.
    let (across, down) = ((sheet.width * scale).ceil() as u32, (sheet.height * scale).ceil() as u32);
    let mut brush = Brush { map: Pixmap::new(across, down).ok_or_else(size)?, scale: scale as f32 };
    brush.map.fill(colour(Ink::Paper));
    brush.shapes(&sheet.shapes, (0.0, 0.0));
    brush.map.encode_png().map_err(|cause| Unpainted::Encoding(cause.to_string()))
}

fn colour(ink: Ink) -> tiny_skia::Color {
    let [_, red, green, blue] = ink.light().to_be_bytes();
    tiny_skia::Color::from_rgba8(red, green, blue, 255)
}

fn paint(ink: Ink) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color(colour(ink));
    paint
}

fn path(places: &[Place], closed: bool) -> Option<Path> {
    let mut builder = PathBuilder::new();
    for (at, (x, y)) in places.iter().enumerate() {
        let (x, y) = (*x as f32, *y as f32);
        if at == 0 {
            builder.move_to(x, y);
        } else {
            builder.line_to(x, y);
        }
    }
    if closed {
        builder.close();
    }
    builder.finish()
}

struct Brush {
    map: Pixmap,
    scale: f32,
}

impl Brush {
    fn shapes(&mut self, shapes: &[Shape], by: Place) {
        for shape in shapes {
            self.shape(shape, by);
        }
    }

    fn shape(&mut self, shape: &Shape, by: Place) {
        match shape {
            Shape::Line { through, stroke } => self.edge(path(through, false), stroke, by),
            Shape::Polygon { corners, fill, edge } => {
                self.fill(path(corners, true), *fill, by);
                if let Some(edge) = edge {
                    self.edge(path(corners, true), edge, by);
                }
            }
            Shape::Circle { at: (x, y), radius, fill, edge } => {
                let disc = || PathBuilder::from_circle(*x as f32, *y as f32, *radius as f32);
                self.fill(disc(), *fill, by);
                self.edge(disc(), edge, by);
            }
            Shape::Text { at, words, look } => self.words((at.0 + by.0, at.1 + by.1), words, look),
            Shape::Group { by: further, shapes, .. } => {
                self.shapes(shapes, (by.0 + further.0, by.1 + further.1));
            }
        }
    }

    fn transform(&self, by: Place) -> Transform {
        Transform::from_translate(by.0 as f32, by.1 as f32).post_scale(self.scale, self.scale)
    }

    fn fill(&mut self, path: Option<Path>, ink: Ink, by: Place) {
        let Some(path) = path else { return };
        let transform = self.transform(by);
        self.map.fill_path(&path, &paint(ink), FillRule::Winding, transform, None);
    }

    fn edge(&mut self, path: Option<Path>, stroke: &Stroke, by: Place) {
        let Some(path) = path else { return };
        let dash = stroke.dash.iter().map(|length| *length as f32);
        // Gaps go in pairs; an odd list is read twice.
        let dash: Vec<f32> =
            if stroke.dash.len() % 2 == 1 { dash.clone().chain(dash).collect() } else { dash.collect() };
        let pen = Pen { width: stroke.width as f32, dash: StrokeDash::new(dash, 0.0), ..Pen::default() };
        let transform = self.transform(by);
        self.map.stroke_path(&path, &paint(stroke.ink), &pen, transform, None);
    }

    fn words(&mut self, (x, y): Place, words: &str, look: &Words) {
        let before = match look.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => width(words, look.size) / 2.0,
            Anchor::End => width(words, look.size),
        };
        let letters = outlines(words, look.size, |from, scale| Letter {
            path: PathBuilder::new(),
            from: (x - before + from) as f32,
            foot: y as f32,
            scale: scale as f32,
        });
        for letter in letters {
            let outline = letter.path.finish();
            if look.bold {
                self.edge(outline.clone(), &Stroke::new(look.ink, look.size / 24.0), (0.0, 0.0));
            }
            self.fill(outline, look.ink, (0.0, 0.0));
        }
    }
}

/// One letter as a path: a font counts upwards, a picture down.
struct Letter {
    path: PathBuilder,
    from: f32,
    foot: f32,
    scale: f32,
}

impl Letter {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.from + x * self.scale, self.foot - y * self.scale)
    }
}

impl OutlineBuilder for Letter {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_words_without_any_font_on_the_machine() {
        let mut sheet = Sheet::new(60.0, 20.0, "");
        let empty = Pixmap::decode_png(&png(&sheet).unwrap()).unwrap();
        sheet.text((2.0, 15.0), "quorum", Words::new(12.0, Ink::Text, Anchor::Start).bold());
        let drawn = Pixmap::decode_png(&png(&sheet).unwrap()).unwrap();
        assert_eq!((drawn.width(), drawn.height()), (120, 40));
        let dark = drawn.pixels().iter().filter(|pixel| pixel.red() < 128).count();
        assert!(dark > 300, "letters are drawn: {dark} dark pixels");
        assert!(empty.pixels().iter().all(|pixel| pixel.red() == 255));
    }

    #[test]
    fn no_size_and_no_value_takes_the_program_down() {
        for (width, height) in [(0.0, 5.0), (f64::NAN, 5.0), (1e300, 1e300), (-4.0, 5.0)] {
            assert!(png(&Sheet::new(width, height, "")).is_err(), "{width} by {height}");
        }
        let mut sheet = Sheet::new(30.0, 30.0, "");
        sheet.line(&[(f64::NAN, 0.0), (1e300, f64::INFINITY)], Stroke::new(Ink::Bad, f64::NAN));
        sheet.rectangle((-1e300, 0.0), (1e300, 1e300), Ink::Model, None);
        sheet.text((f64::NAN, 0.0), "\u{4e00}", Words::new(1e300, Ink::Text, Anchor::End));
        assert!(png(&sheet).is_ok());
    }
}
