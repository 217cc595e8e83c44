//! Histograms outside of memory: as pairs between machines, and as a log that the tools of HdrHistogram read.
//!
//! A log is version 1.3 of the format: a few lines of comments, one header line, and one line with the interval's start
//! and length in seconds, its longest latency, and the histogram itself: encoding V2, zlib, base64. `zlib` is met with
//! stored blocks, which every reader takes and no compressor is needed for; a histogram has a few kilobytes.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest latency that is recorded, in microseconds.
const LATENCY_US_MAX: u64 = 120_000_000;
/// Digits of latency in a histogram of a whole run.
const DIGITS: u8 = 3;
/// First word of encoding V2, whose counts have one to nine bytes each.
const V2_COOKIE: u32 = 0x1c84_9313;
/// First word of the same behind zlib.
const V2_COMPRESSED_COOKIE: u32 = 0x1c84_9314;
/// Letters of base64, each six bits.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Longest stored block of zlib.
const BLOCK_BYTES_MAX: usize = 65_535;

/// Values, and how often each was recorded.
pub(super) type Pairs = Vec<(u64, u64)>;

/// A histogram of latencies in microseconds.
pub(super) fn empty(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, digits).expect("the bounds are constants that make sense")
}

pub(super) fn pairs(histogram: &Histogram<u64>) -> Pairs {
    histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
}

pub(super) fn from_pairs(pairs: &[(u64, u64)], digits: u8) -> Histogram<u64> {
    let mut histogram = empty(digits);
    pairs.iter().for_each(|(value, count)| histogram.saturating_record_n(*value, *count));
    histogram
}

/// For `#[serde(with)]`.
pub(super) fn serialize<S: Serializer>(histogram: &Histogram<u64>, to: S) -> Result<S::Ok, S::Error> {
    pairs(histogram).serialize(to)
}

/// For `#[serde(with)]`.
pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Histogram<u64>, D::Error> {
    Ok(from_pairs(&Pairs::deserialize(from)?, DIGITS))
}

/// A log of one interval, whose values are microseconds.
#[must_use]
pub fn log(histogram: &Histogram<u64>, title: &str, measured: Duration) -> String {
    let title: String = title.chars().filter(|letter| !letter.is_control()).collect();
    format!(
        "#{title}\n#Values are microseconds from when a call was due to its answer\n#[Histogram log format version 1.3]\n\
         #[StartTime: 0.000 (seconds since the measured time began)]\n\
         \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n\
         0.000,{:.3},{:.3},{}\n",
        measured.as_secs_f64(),
        histogram.max() as f64,
        base64(&compressed(&encoded(histogram))),
    )
}

/// Encoding V2: counts in the order of their buckets, runs of zeros as negative numbers.
fn encoded(histogram: &Histogram<u64>) -> Vec<u8> {
    let mut counts = Vec::new();
    let (mut zeros, most) = (0_i64, histogram.max());
    for step in histogram.iter_all() {
        match step.count_at_value() {
            0 => zeros += 1,
            count => {
                if zeros > 0 {
                    zig_zag(-std::mem::take(&mut zeros), &mut counts);
                }
                zig_zag(i64::try_from(count).unwrap_or(i64::MAX), &mut counts);
            }
        }
        if step.value_iterated_to() >= most {
            break;
        }
    }
    let length = u32::try_from(counts.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(40 + counts.len());
    let digits = u32::from(histogram.sigfig());
    for word in [V2_COOKIE, length, 0, digits] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(histogram.low().to_be_bytes());
    bytes.extend(histogram.high().to_be_bytes());
    bytes.extend(1.0_f64.to_be_bytes());
    bytes.extend(counts);
    bytes
}

/// Small numbers of either sign in few bytes: seven bits each, and all eight of the ninth.
fn zig_zag(number: i64, to: &mut Vec<u8>) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    for _ in 0..8 {
        let low = rest.to_le_bytes()[0];
        rest >>= 7;
        if rest == 0 {
            return to.push(low & 0x7f);
        }
        to.push(low | 0x80);
    }
    to.push(rest.to_le_bytes()[0]);
}

/// Behind zlib, without making it any smaller.
fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut zlib = vec![0x78, 0x01];
    let blocks = bytes.chunks(BLOCK_BYTES_MAX);
    let last = blocks.len().saturating_sub(1);
    for (index, block) in blocks.enumerate() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        zlib.push(u8::from(index == last));
        zlib.extend(length.to_le_bytes());
        zlib.extend((!length).to_le_bytes());
        zlib.extend(block);
    }
    zlib.extend(adler32(bytes).to_be_bytes());
    let length = u32::try_from(zlib.len()).unwrap_or(u32::MAX);
    [&V2_COMPRESSED_COOKIE.to_be_bytes()[..], &length.to_be_bytes(), &zlib].concat()
}

fn adler32(bytes: &[u8]) -> u32 {
    let (low, high) = bytes.iter().fold((1_u32, 0_u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    high << 16 | low
}

fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or_default());
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = ALPHABET[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_that_travelled_as_pairs_says_the_same() {
        let mut histogram = empty(DIGITS);
        (1..50_000_u64).for_each(|value| histogram.saturating_record(value * value / 50));
        let again = from_pairs(&pairs(&histogram), DIGITS);
        assert_eq!(again, histogram);
    }

    #[test]
    fn base64_and_the_checksum_are_those_of_their_standards() {
        let told = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(told, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
    }

    #[test]
    fn numbers_take_as_many_bytes_as_they_need() {
        let bytes = |number: i64| {
            let mut bytes = Vec::new();
            zig_zag(number, &mut bytes);
            bytes
        };
        assert_eq!((bytes(0), bytes(-1), bytes(1), bytes(-64)), (vec![0], vec![1], vec![2], vec![127]));
        assert_eq!((bytes(64), bytes(i64::MIN)), (vec![128, 1], vec![255; 9]));
    }

    #[test]
    fn a_log_has_the_header_that_the_tools_look_for_and_one_interval() {
        let mut histogram = empty(DIGITS);
        histogram.saturating_record(1_234);
        let log = log(&histogram, "f = 1\nnone", Duration::from_millis(4_000));
        assert!(log.contains("#[Histogram log format version 1.3]\n"), "{log}");
        let last = log.lines().last().expect("it has lines");
        assert!(last.starts_with("0.000,4.000,1234.000,HISTFA"), "{last}");
    }
}
