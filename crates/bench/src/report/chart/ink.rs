//! Colours by what they mean, for light paper and for dark.

use std::fmt::Write as _;

/// Colours that lines can have before markers and dashes alone tell them apart.
pub(crate) const SERIES: usize = 8;
/// Colours of parts that are stacked.
pub(crate) const PARTS: usize = 8;

/// What a colour is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    /// What it is drawn on.
    Paper,
    /// Words to read.
    Text,
    /// Words beside the point.
    Faint,
    /// Lines that help the eye.
    Grid,
    /// The line that values stand on.
    Axis,
    /// What a model says.
    Model,
    /// What a machine cannot exceed.
    Ceiling,
    /// Something went wrong.
    Bad,
    /// One of several lines.
    Series(usize),
    /// One of several parts of a whole.
    Part(usize),
}

impl Ink {
    /// Every colour there is.
    fn all() -> impl Iterator<Item = Self> {
        let plain = [
            Self::Paper,
            Self::Text,
            Self::Faint,
            Self::Grid,
            Self::Axis,
            Self::Model,
            Self::Ceiling,
            Self::Bad,
        ];
        plain.into_iter().chain((0..SERIES).map(Self::Series)).chain((0..PARTS).map(Self::Part))
    }

    /// The letters that name it in style sheets.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Paper => "paper".into(),
            Self::Text => "text".into(),
            Self::Faint => "faint".into(),
            Self::Grid => "grid".into(),
            Self::Axis => "axis".into(),
            Self::Model => "model".into(),
            Self::Ceiling => "ceil".into(),
            Self::Bad => "bad".into(),
            Self::Series(at) => format!("s{}", at % SERIES),
            Self::Part(at) => format!("p{}", at % PARTS),
        }
    }

    /// On light paper.
    pub(crate) fn light(self) -> u32 {
        const LINES: [u32; SERIES] =
            [0x1f_63c4, 0xc2_410c, 0x0b_7a5e, 0x8e_35b5, 0x8a_6100, 0xbe_185d, 0x0b_7285, 0x4b_5563];
        const STACKED: [u32; PARTS] =
            [0xa9_bdd3, 0x2f_6fd0, 0x74_c6ae, 0x8e_4fc0, 0xe8_a33d, 0x9a_4a26, 0xc9_ced6, 0x4b_5563];
        match self {
            Self::Paper => 0xff_ffff,
            Self::Text => 0x1b_2129,
            Self::Faint => 0x5b_6673,
            Self::Grid => 0xe4_e8ed,
            Self::Axis => 0x8a_95a1,
            Self::Model => 0x6f_7a87,
            Self::Ceiling => 0xa1_3544,
            Self::Bad => 0xb4_2318,
            Self::Series(at) => LINES[at % SERIES],
            Self::Part(at) => STACKED[at % PARTS],
        }
    }

    /// On dark paper.
    pub(crate) fn dark(self) -> u32 {
        const LINES: [u32; SERIES] =
            [0x6c_b0ff, 0xff_9b62, 0x4f_d3ae, 0xcf_9bff, 0xe9_b949, 0xff_86b0, 0x56_cfe1, 0xb6_c0cc];
        const STACKED: [u32; PARTS] =
            [0x5a_6f88, 0x6a_acff, 0x2f_8a73, 0xc9_a0f5, 0xa8_7316, 0xf0_9a68, 0x4a_5462, 0xb6_c0cc];
        match self {
            Self::Paper => 0x14_181d,
            Self::Text => 0xe6_eaef,
            Self::Faint => 0x9a_a6b2,
            Self::Grid => 0x29_3037,
            Self::Axis => 0x6b_7682,
            Self::Model => 0x93_9fac,
            Self::Ceiling => 0xf0_8c98,
            Self::Bad => 0xff_8a7d,
            Self::Series(at) => LINES[at % SERIES],
            Self::Part(at) => STACKED[at % PARTS],
        }
    }
}

/// A colour as a style sheet writes it.
pub(crate) fn hex(colour: u32) -> String {
    format!("#{colour:06x}")
}

fn rules(shade: fn(Ink) -> u32, out: &mut String) {
    for ink in Ink::all() {
        let (name, colour) = (ink.name(), hex(shade(ink)));
        // Writing to a string cannot fail.
        let _ = write!(out, ".l-{name}{{stroke:{colour}}}.f-{name}{{fill:{colour}}}");
    }
}

/// Rules that colour the classes of shapes: `l-` for lines, `f-` for surfaces; another set for dark screens.
pub(crate) fn style() -> String {
    let mut out = String::new();
    rules(Ink::light, &mut out);
    out.push_str("@media screen and (prefers-color-scheme:dark){");
    rules(Ink::dark, &mut out);
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance, as the accessibility guidelines define it.
    fn luminance(colour: u32) -> f64 {
        let part = |shift: u32| {
            let value = f64::from((colour >> shift) & 0xff) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(16) + 0.7152 * part(8) + 0.0722 * part(0)
    }

    fn contrast(a: u32, b: u32) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn words_and_lines_can_be_read_on_both_papers() {
        for shade in [Ink::light, Ink::dark] {
            let paper = shade(Ink::Paper);
            for ink in [Ink::Text, Ink::Faint, Ink::Bad, Ink::Ceiling] {
                assert!(contrast(shade(ink), paper) >= 4.5, "{ink:?}");
            }
            for ink in (0..SERIES).map(Ink::Series).chain([Ink::Model]) {
                assert!(contrast(shade(ink), paper) >= 3.0, "{ink:?}");
            }
        }
    }

    #[test]
    fn neighbours_of_a_stack_differ_in_lightness_too() {
        for shade in [Ink::light, Ink::dark] {
            for at in 1..PARTS {
                let ratio = contrast(shade(Ink::Part(at - 1)), shade(Ink::Part(at)));
                assert!(ratio >= 1.25, "{at}: {ratio:.2}");
            }
        }
    }
}
