//! Numbers for readers: three digits, and units that fit. Files for programs have them whole.

/// Three significant digits; zeros at the end only where they say that it was rounded.
fn digits(value: f64) -> String {
    let size = value.abs();
    let decimals = match size {
        _ if size >= 99.95 => 0,
        _ if size >= 9.995 => 1,
        _ if size >= 0.9995 => 2,
        _ if size >= 0.000_5 => 3,
        _ => return "0".into(),
    };
    let text = format!("{value:.decimals$}");
    let short = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    let same = short.parse::<f64>().is_ok_and(|short| (short - value).abs() <= 1e-9 * size);
    if same { short.to_owned() } else { text }
}

fn scaled(value: f64, steps: &[(f64, &str)]) -> String {
    if !value.is_finite() {
        return "no number".into();
    }
    // From 999.5 on, three digits would say 1000.
    let step = steps.iter().find(|(unit, _)| value.abs() >= unit * 0.9995).or(steps.last());
    let (unit, name) = step.copied().unwrap_or((1.0, ""));
    let number = digits(value / unit);
    if number == "0" && value == 0.0 || name.is_empty() { number } else { format!("{number}\u{202f}{name}") }
}

/// `12.3 k`.
pub(crate) fn short(value: f64) -> String {
    scaled(value, &[(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")])
}

/// Whole: `1 234 567`, in groups of three.
pub(crate) fn count(value: u64) -> String {
    let text = value.to_string();
    let mut out = String::new();
    for (at, digit) in text.chars().enumerate() {
        if at > 0 && (text.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A time given in microseconds: `502 µs`, `2.13 ms`, `1.2 s`.
pub(crate) fn duration(microseconds: f64) -> String {
    scaled(microseconds, &[(1e6, "s"), (1e3, "ms"), (1.0, "µs")])
}

/// A long time given in seconds: `48 s`, `12 min`, `1 h 5 min`.
pub(crate) fn seconds(value: f64) -> String {
    let whole = value.clamp(0.0, 1e9).round() as u64;
    match whole {
        0..120 => format!("{whole} s"),
        120..3570 => format!("{} min", (whole + 30) / 60),
        _ => format!("{} h {} min", (whole + 30) / 3600, (whole + 30) % 3600 / 60),
    }
}

/// Bytes in powers of 1000, whose ticks are round.
pub(crate) fn bytes(value: f64) -> String {
    scaled(value, &[(1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_get_three_digits_and_a_unit() {
        let plain = |text: String| text.replace('\u{202f}', " ");
        assert_eq!(plain(short(12_345.6)), "12.3 k");
        assert_eq!(plain(short(999.7)), "1.00 k");
        assert_eq!(plain(short(24_000.0)), "24 k");
        assert_eq!(plain(short(23_961.0)), "24.0 k");
        assert_eq!(plain(short(0.0)), "0");
        assert_eq!(plain(short(0.125)), "0.125");
        assert_eq!(plain(short(7.0)), "7");
        assert_eq!(plain(short(100.0)), "100");
        assert_eq!(plain(short(f64::NAN)), "no number");
        assert_eq!(plain(short(f64::INFINITY)), "no number");
        assert_eq!(plain(duration(502.4)), "502 µs");
        assert_eq!(plain(duration(2_130.0)), "2.13 ms");
        assert_eq!(plain(duration(1_200_000.0)), "1.2 s");
        assert_eq!(plain(bytes(1_536.0)), "1.54 kB");
        assert_eq!(plain(count(1_234_567)), "1 234 567");
        assert_eq!(plain(count(12)), "12");
        assert_eq!(seconds(47.6), "48 s");
        assert_eq!(seconds(700.0), "12 min");
        assert_eq!(seconds(3_900.0), "1 h 5 min");
        assert_eq!(seconds(3_599.0), "1 h 0 min");
    }
}
