//! A drawing as a list of shapes, before anybody paints it.

use super::ink::Ink;

/// A place, from the upper left corner.
pub(crate) type Place = (f64, f64);

/// A line as it looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stroke {
    /// Its colour.
    pub(crate) ink: Ink,
    /// Its width.
    pub(crate) width: f64,
    /// Lengths of what is drawn and left out by turns; nothing for a whole line.
    pub(crate) dash: &'static [f64],
}

impl Stroke {
    /// A whole line.
    pub(crate) const fn new(ink: Ink, width: f64) -> Self {
        Self { ink, width, dash: &[] }
    }

    /// The same with gaps.
    pub(crate) const fn dashed(self, dash: &'static [f64]) -> Self {
        Self { dash, ..self }
    }
}

/// Where words are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    /// At their beginning.
    Start,
    /// In the middle.
    Middle,
    /// At their end.
    End,
}

/// Words as they look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Words {
    /// Height of a line, about.
    pub(crate) size: f64,
    /// Their colour.
    pub(crate) ink: Ink,
    /// Where they are held.
    pub(crate) anchor: Anchor,
    /// Whether they are heavy.
    pub(crate) bold: bool,
}

impl Words {
    /// Ordinary words.
    pub(crate) const fn new(size: f64, ink: Ink, anchor: Anchor) -> Self {
        Self { size, ink, anchor, bold: false }
    }

    /// The same, heavy.
    pub(crate) const fn bold(self) -> Self {
        Self { bold: true, ..self }
    }
}

/// The shape that stands for a point of a line, so that lines differ without colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marker {
    /// One of eight, by the number of its line.
    Of(usize),
    /// Two crossed strokes.
    Cross,
}

/// How the line with some number looks; both ways of telling it apart change before they come round again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Look {
    /// Its line.
    pub(crate) stroke: Stroke,
    /// Its points.
    pub(crate) marker: Marker,
}

impl Look {
    /// Of line `at`.
    pub(crate) fn of(at: usize) -> Self {
        const DASHES: [&[f64]; 7] =
            [&[], &[7.0, 3.0], &[2.0, 2.5], &[9.0, 3.0, 2.0, 3.0], &[4.0, 2.0], &[12.0, 3.0], &[1.5, 4.0]];
        let stroke = Stroke::new(Ink::Series(at), 1.8).dashed(DASHES[at % DASHES.len()]);
        Self { stroke, marker: Marker::Of(at) }
    }
}

/// Something drawn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// A line through places.
    Line {
        /// In order.
        through: Vec<Place>,
        /// How it looks.
        stroke: Stroke,
    },
    /// A surface with straight sides.
    Polygon {
        /// In order.
        corners: Vec<Place>,
        /// Its colour.
        fill: Ink,
        /// Its edge.
        edge: Option<Stroke>,
    },
    /// A disc.
    Circle {
        /// Its middle.
        at: Place,
        /// From the middle to the edge.
        radius: f64,
        /// Its colour.
        fill: Ink,
        /// Its edge.
        edge: Stroke,
    },
    /// Words, with their foot at a place.
    Text {
        /// The place.
        at: Place,
        /// What they say.
        words: String,
        /// How they look.
        look: Words,
    },
    /// Shapes that belong together, somewhere else, with a word for those who point at them.
    Group {
        /// How far from where they say.
        by: Place,
        /// What it is; nothing where nobody need ask.
        title: String,
        /// They.
        shapes: Vec<Shape>,
    },
}

/// A drawing of some size.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sheet {
    /// Width.
    pub(crate) width: f64,
    /// Height.
    pub(crate) height: f64,
    /// What it is, for whoever cannot see it.
    pub(crate) label: String,
    /// What is on it, from back to front.
    pub(crate) shapes: Vec<Shape>,
}

impl Sheet {
    /// An empty one.
    pub(crate) fn new(width: f64, height: f64, label: &str) -> Self {
        Self { width, height, label: label.to_owned(), shapes: Vec::new() }
    }

    /// A line through places; one place alone is no line.
    pub(crate) fn line(&mut self, through: &[Place], stroke: Stroke) {
        if through.len() > 1 {
            self.shapes.push(Shape::Line { through: through.to_vec(), stroke });
        }
    }

    /// Words at a place.
    pub(crate) fn text(&mut self, at: Place, words: &str, look: Words) {
        if !words.is_empty() {
            self.shapes.push(Shape::Text { at, words: words.to_owned(), look });
        }
    }

    /// A box with its upper left corner at a place.
    pub(crate) fn rectangle(
        &mut self,
        (x, y): Place,
        (width, height): Place,
        fill: Ink,
        edge: Option<Stroke>,
    ) {
        let corners = vec![(x, y), (x + width, y), (x + width, y + height), (x, y + height)];
        self.shapes.push(Shape::Polygon { corners, fill, edge });
    }

    /// What `draw` draws says `title` when it is pointed at.
    pub(crate) fn titled(&mut self, title: &str, draw: impl FnOnce(&mut Self)) {
        let mut part = Self::new(self.width, self.height, "");
        draw(&mut part);
        self.shapes.push(Shape::Group { by: (0.0, 0.0), title: title.to_owned(), shapes: part.shapes });
    }

    /// Another drawing, on this one.
    pub(crate) fn place(&mut self, other: Sheet, by: Place) {
        self.shapes.push(Shape::Group { by, title: String::new(), shapes: other.shapes });
    }

    /// The mark of a point; hollow, it is filled with paper.
    pub(crate) fn marker(&mut self, at: Place, marker: Marker, ink: Ink, hollow: bool) {
        const SIZE: f64 = 4.2;
        let (x, y) = at;
        let (fill, edge) = (if hollow { Ink::Paper } else { ink }, Stroke::new(ink, 1.6));
        let Marker::Of(number) = marker else {
            for way in [-1.0, 1.0] {
                self.line(&[(x - SIZE, y - way * SIZE), (x + SIZE, y + way * SIZE)], Stroke::new(ink, 2.0));
            }
            return;
        };
        let corners: &[Place] = match number % 8 {
            0 => {
                self.shapes.push(Shape::Circle { at, radius: SIZE, fill, edge });
                return;
            }
            1 => &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
            2 => &[(0.0, -1.2), (1.15, 0.85), (-1.15, 0.85)],
            3 => &[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)],
            4 => &[(0.0, 1.2), (1.15, -0.85), (-1.15, -0.85)],
            5 => &[(0.0, -1.2), (1.15, -0.35), (0.7, 1.0), (-0.7, 1.0), (-1.15, -0.35)],
            6 => &[(1.2, 0.0), (-0.85, 1.15), (-0.85, -1.15)],
            _ => &[(-1.2, -0.5), (1.2, -0.5), (1.2, 0.5), (-1.2, 0.5)],
        };
        let corners = corners.iter().map(|(dx, dy)| (x + dx * SIZE, y + dy * SIZE)).collect();
        self.shapes.push(Shape::Polygon { corners, fill, edge: Some(edge) });
    }

    /// A ring around a point that was chosen.
    pub(crate) fn ring(&mut self, at: Place, radius: f64, ink: Ink) {
        self.shapes.push(Shape::Circle { at, radius, fill: Ink::Paper, edge: Stroke::new(ink, 1.4) });
    }

    /// A bar for uncertainty from one height to another.
    pub(crate) fn interval(&mut self, x: f64, (low, high): (f64, f64), ink: Ink) {
        let stroke = Stroke::new(ink, 1.2);
        self.line(&[(x, low), (x, high)], stroke);
        for y in [low, high] {
            self.line(&[(x - 3.0, y), (x + 3.0, y)], stroke);
        }
    }
}
