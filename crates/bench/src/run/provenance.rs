//! Where figures come from: when, by which program, on what.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::limits::Limits;
use crate::record::{Cell, Provenance};

/// Commit this program was built from, with `-dirty` if the tree had changes; empty if unknown.
pub const COMMIT: &str = env!("QUORATE_COMMIT");

/// What is known of a run before it begins.
pub(super) fn begin(command: &str) -> Provenance {
    Provenance {
        began: rfc3339(SystemTime::now()),
        commit: COMMIT.to_owned(),
        command: command.to_owned(),
        ..Provenance::default()
    }
}

/// What a reader has to know of this machine and program; the replicas have so many cores all together.
pub(super) fn warnings(limits: &Limits, cores: usize, cells: &[&Cell]) -> Vec<String> {
    let mut warnings = Vec::new();
    let machine = &limits.machine;
    if let Some(load) = machine.load_average_1_min.filter(|_| machine.busy()) {
        let cores = machine.cores;
        warnings.push(format!("the machine was busy before: {load:.1} processes wanted {cores} cores"));
    }
    if limits.build.profile != "release" {
        let profile = &limits.build.profile;
        warnings.push(format!("this program was built for `{profile}`; publish figures of a release build"));
    }
    warnings.extend(limits.udp.fix.iter().map(|fix| format!("socket buffers are small; as root: {fix}")));
    let crowded: Vec<u16> = crowded(cores, cells);
    if !crowded.is_empty() {
        let words: Vec<String> = crowded.iter().map(ToString::to_string).collect();
        warnings.push(format!(
            "with {} replicas on {cores} cores, points tell of the machine as well as of the protocol",
            words.join(", "),
        ));
    }
    warnings
}

/// Sizes of clusters that have more replicas than there are cores.
fn crowded(cores: usize, cells: &[&Cell]) -> Vec<u16> {
    let mut sizes: Vec<u16> = cells.iter().map(|cell| cell.n).filter(|n| usize::from(*n) > cores).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// As RFC 3339 writes a time, to the second, in UTC.
fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date so many days after 1970-01-01: counted in spans of 400 years that begin with a March, so that the leap day is
/// the last day of a year.
fn date(days: u64) -> (u64, u64, u64) {
    const SPAN: u64 = 146_097;
    let days = days + 719_468;
    let (span, of_span) = (days / SPAN, days % SPAN);
    let of_400 = (of_span - of_span / 1_460 + of_span / 36_524 - of_span / 146_096) / 365;
    let of_year = of_span - (365 * of_400 + of_400 / 4 - of_400 / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (span * 400 + of_400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_told_as_the_standard_writes_them() {
        for (seconds, told) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), told);
        }
    }

    #[test]
    fn sizes_that_do_not_fit_the_machine_are_named_once() {
        let cell = |n| Cell { n, ..Cell::default() };
        assert_eq!(crowded(4, &[&cell(7), &cell(4), &cell(16), &cell(7)]), [7, 16]);
    }
}
