//! The words of a scenario file: times with a unit, shares, numbers too large for TOML, and places in the text.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

/// Units of time, the longest first, in microseconds.
const UNITS: [(&str, u64); 5] =
    [("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

const TIME: &str = "a whole number with us, ms, s, m or h behind it, such as \"200ms\"";

/// A time in microseconds: `"200ms"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Micros(pub(super) u64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, unit)| self.0.is_multiple_of(*unit) && self.0 > 0);
        let (name, unit) = unit.unwrap_or(&("s", 1_000_000));
        write!(f, "{}{name}", self.0 / unit)
    }
}

impl FromStr for Micros {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no time; fix: write {TIME}");
        let (number, name) =
            text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()));
        let (_, unit) = UNITS.iter().find(|(unit, _)| *unit == name).ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        number.checked_mul(*unit).map(Self).ok_or_else(wrong)
    }
}

/// A time that a clock is off by, in microseconds: `"-1h"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Offset(pub(super) i64);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.0 < 0 { "-" } else { "" }, Micros(self.0.unsigned_abs()))
    }
}

impl FromStr for Offset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
        let length = i64::try_from(rest.parse::<Micros>()?.0).map_err(|_| format!("`{text}` is too long"))?;
        Ok(Self(sign * length))
    }
}

/// Reads a value that TOML has as a string.
struct Words<T>(&'static str, std::marker::PhantomData<T>);

impl<T: FromStr<Err = String>> Visitor<'_> for Words<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Words(TIME, std::marker::PhantomData))
    }
}

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Offset {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Words(TIME, std::marker::PhantomData))
    }
}

impl Serialize for Offset {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A share of a million, written as a number from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Share(pub(super) u64);

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Share;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a share from 0 to 1, such as 0.05")
            }
            fn visit_f64<E: Error>(self, share: f64) -> Result<Share, E> {
                let part = (share * 1e6).round();
                // The cast is of a whole number between 0 and a million.
                let share = (0.0..=1e6).contains(&part).then_some(Share(part as u64));
                share.ok_or_else(|| E::custom("a share lies from 0 to 1; fix: write one such as 0.05"))
            }
            fn visit_i64<E: Error>(self, share: i64) -> Result<Share, E> {
                self.visit_f64(share as f64)
            }
            fn visit_u64<E: Error>(self, share: u64) -> Result<Share, E> {
                self.visit_f64(share as f64)
            }
        }
        from.deserialize_any(Number)
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.0 as f64 / 1e6)
    }
}

/// Any 64 bits: a number, or `"0xffffffffffffffff"` where TOML's numbers end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bits(pub(super) u64);

impl FromStr for Bits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let fix = "fix: write a number from 0, or sixteen digits such as \"0xffffffffffffffff\"";
        digits.map(Self).ok_or_else(|| format!("`{text}` is no number of 64 bits; {fix}"))
    }
}

impl<'de> Deserialize<'de> for Bits {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Bits;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number from 0, or one such as \"0xffffffffffffffff\"")
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Bits, E> {
                Ok(Bits(number))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Bits, E> {
                u64::try_from(number)
                    .map(Bits)
                    .map_err(|_| E::custom("it is negative; fix: write a number from 0"))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Bits, E> {
                text.parse().map_err(E::custom)
            }
        }
        from.deserialize_any(Either)
    }
}

impl Serialize for Bits {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(self.0) {
            Ok(number) => to.serialize_i64(number),
            Err(_) => to.collect_str(&format_args!("{:#x}", self.0)),
        }
    }
}

/// Whom something happens to, as the file says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    One(u16),
    Primary,
    All,
}

impl<'de> Deserialize<'de> for Who {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Who;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the number of a replica, \"primary\" or \"all\"")
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Who, E> {
                let id = u16::try_from(number).map_err(|_| E::custom("there is no such replica"))?;
                Ok(Who::One(id))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Who, E> {
                let id = u16::try_from(number).map_err(|_| E::custom("there is no such replica"))?;
                Ok(Who::One(id))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Who, E> {
                match text {
                    "primary" => Ok(Who::Primary),
                    "all" => Ok(Who::All),
                    _ => {
                        let fix = "fix: write the number of a replica, \"primary\" or \"all\"";
                        Err(E::custom(format!("`{text}` is nobody; {fix}")))
                    }
                }
            }
        }
        from.deserialize_any(Either)
    }
}

impl Serialize for Who {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One(id) => to.serialize_u16(*id),
            Self::Primary => to.serialize_str("primary"),
            Self::All => to.serialize_str("all"),
        }
    }
}

/// A table and where it stands, so that what is wrong with it in the light of other tables can be told with its line.
#[derive(Debug, Clone)]
pub(super) struct Placed<T> {
    /// Bytes of text before it.
    pub(super) at: usize,
    pub(super) value: T,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Placed<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let spanned = toml::Spanned::<T>::deserialize(from)?;
        Ok(Self { at: spanned.span().start, value: spanned.into_inner() })
    }
}

impl<T: Serialize> Serialize for Placed<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(to)
    }
}

impl<T> From<T> for Placed<T> {
    fn from(value: T) -> Self {
        Self { at: 0, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written_and_nothing_else_is_a_time() {
        for (text, micros) in
            [("0s", 0), ("7us", 7), ("200ms", 200_000), ("90s", 90_000_000), ("2h", 7_200_000_000)]
        {
            assert_eq!(text.parse(), Ok(Micros(micros)));
            assert_eq!(Micros(micros).to_string(), text);
        }
        assert_eq!("60s".parse(), Ok(Micros(60_000_000)));
        assert_eq!("-1h".parse(), Ok(Offset(-3_600_000_000)));
        assert_eq!(Offset(-3_600_000_000).to_string(), "-1h");
        for bad in ["", "7", "s", "1.5s", "-1s", "1 s", "1d", "99999999999999999h", "1sms"] {
            assert!(bad.parse::<Micros>().is_err(), "{bad}");
        }
    }
}
