//! Amounts as people write them: `256MiB`, `5000`, `50%`.

use std::str::FromStr;

/// Units of bytes, the largest first.
const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// `256MiB`, or a number of bytes.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let unit = UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
    let (number, unit) = unit.unwrap_or((text, 1));
    let number: u64 = number
        .trim_end()
        .parse()
        .map_err(|_| "write a number with KiB, MiB or GiB behind it, such as 256MiB".to_owned())?;
    number
        .checked_mul(unit)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "at least 1 and at most 8GiB".to_owned())
}

/// In the largest unit that leaves a number of at least 1.
pub(crate) fn told(bytes: u64) -> String {
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

/// How many operations are due each second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rate {
    /// So many.
    PerSecond(f64),
    /// So many per cent of the most that the cluster answers.
    OfPeak(f64),
}

/// Most operations a second that can be asked for.
const RATE_MAX: f64 = 1_000_000.0;

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, of_peak) = text.strip_suffix('%').map_or((text, false), |number| (number, true));
        let number: f64 = number.parse().map_err(|_| {
            "write operations a second, such as 5000, or a share of the peak, such as 50%".to_owned()
        })?;
        match of_peak {
            true if number > 0.0 && number <= 100.0 => Ok(Self::OfPeak(number)),
            true => Err("a share of the peak is above 0% and at most 100%".to_owned()),
            false if (1.0..=RATE_MAX).contains(&number) => Ok(Self::PerSecond(number)),
            false => Err(format!("at least 1 and at most {RATE_MAX} operations a second")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_a_number_with_or_without_a_unit() {
        for (text, expected) in [
            ("256MiB", 256 << 20),
            ("1GiB", 1 << 30),
            ("64KiB", 64 << 10),
            ("1000", 1_000),
            ("2 MiB", 2 << 20),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for wrong in ["", "MiB", "256MB", "-1", "0", "1.5GiB", "99999999999GiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        assert_eq!([0, 1_023, 1_536, 256 << 20].map(told), ["0 B", "1023 B", "1.5 KiB", "256.0 MiB"]);
    }

    #[test]
    fn a_rate_is_a_number_or_a_share_of_the_peak() {
        assert_eq!("5000".parse(), Ok(Rate::PerSecond(5_000.0)));
        assert_eq!("50%".parse(), Ok(Rate::OfPeak(50.0)));
        assert_eq!("0.5%".parse(), Ok(Rate::OfPeak(0.5)));
        for wrong in ["", "%", "0", "0%", "150%", "-5", "1e9", "fast", "NaN", "NaN%", "inf"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
