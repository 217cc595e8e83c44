//! Times, shares and numbers of replicas as people read them.

use quorate_protocol::types::Time;

/// A time of the world, in seconds: `1.250 s`.
#[must_use]
pub fn moment(at: Time) -> String {
    let (seconds, rest) = (at.0 / 1_000_000, at.0 % 1_000_000);
    if rest.is_multiple_of(1_000) {
        format!("{seconds}.{:03} s", rest / 1_000)
    } else {
        format!("{seconds}.{rest:06} s")
    }
}

/// So many microseconds: `300 ms`, `2.5 s`, `3 min`.
#[must_use]
pub fn span(us: u64) -> String {
    match us {
        us if us >= 60_000_000 && us.is_multiple_of(60_000_000) => format!("{} min", us / 60_000_000),
        us if us >= 1_000_000 => decimal(us, 1_000_000) + " s",
        us if us >= 1_000 => decimal(us, 1_000) + " ms",
        us => format!("{us} us"),
    }
}

/// A fraction without zeros at its end.
fn decimal(number: u64, unit: u64) -> String {
    let digits = unit.ilog10() as usize;
    let text = format!("{}.{:0digits$}", number / unit, number % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `nobody`, `replica 2`, `replicas 0, 1 and 3`.
#[must_use]
pub fn replicas(ids: &[u16]) -> String {
    let words: Vec<String> = ids.iter().map(u16::to_string).collect();
    match words.as_slice() {
        [] => "nobody".to_owned(),
        [one] => format!("replica {one}"),
        [first @ .., last] => format!("replicas {} and {last}", first.join(", ")),
    }
}

/// `1 answer`, `2 answers`.
#[must_use]
pub fn count(number: u64, thing: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{s}")
}

/// The first line of a text that may have several, without the colon that leads to them.
#[must_use]
pub fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_end_matches([':', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_the_unit_that_fits_and_no_digits_that_say_nothing() {
        for (us, words) in [
            (7, "7 us"),
            (1_500, "1.5 ms"),
            (300_000, "300 ms"),
            (2_000_000, "2 s"),
            (13_700_000, "13.7 s"),
            (56_684, "56.684 ms"),
            (180_000_000, "3 min"),
            (61_000_000, "61 s"),
        ] {
            assert_eq!(span(us), words);
        }
    }

    #[test]
    fn replicas_are_named_as_people_name_them() {
        let named = [&[][..], &[2], &[0, 3], &[0, 1, 3]].map(replicas);
        assert_eq!(named, ["nobody", "replica 2", "replicas 0 and 3", "replicas 0, 1 and 3"]);
        assert_eq!((count(1, "answer"), count(0, "answer")), ("1 answer".to_owned(), "0 answers".to_owned()));
    }
}
