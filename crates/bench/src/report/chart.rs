//! Charts of our own: scales, sheets of shapes, and two brushes that paint the same sheet as SVG and as PNG.
//!
//! A plotting library would draw to one of these well and to the other with fonts of the machine it runs on. Here a
//! sheet is a list of shapes with meanings for colours, so a page can be light or dark, and what it shows cannot
//! differ from the picture in a file.

mod font;
mod ink;
mod key;
mod number;
mod plot;
mod png;
mod scale;
mod sheet;
mod svg;

pub(super) use self::font::{width, wrap};
pub(super) use self::ink::{Ink, style};
pub(super) use self::key::{Entry, Key, Sample};
pub(super) use self::number::{bytes, count, duration, seconds, short};
pub(super) use self::plot::{Axis, Plot, Row as StackRow, Stack};
pub(super) use self::png::png;
pub(super) use self::scale::{Range, Scale};
pub(super) use self::sheet::{Anchor, Look, Marker, Sheet, Stroke, Words};
pub(super) use self::svg::{escape, file, inline};
