//! Points as a table for programs: the plain fields of a point, by their own names and in their own order.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::arrange::has_number;
use crate::record::Point;

/// An object with its keys in the order in which they were written.
struct Ordered(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Ordered;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Ordered(fields))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// Names and values of a point's plain fields, in order; those of the groups `calls`, `model` and `network_check` with
/// the group's name before a dot, at the end. Lists are in `points.json`.
pub(super) fn fields(point: &Point) -> Vec<(String, Value)> {
    let ordered =
        |text: String| serde_json::from_str::<Ordered>(&text).map_or_else(|_| Vec::new(), |found| found.0);
    let all = serde_json::to_string(point).map_or_else(|_| Vec::new(), ordered);
    let groups: [(&str, serde_json::Result<String>); 3] = [
        ("calls", serde_json::to_string(&point.calls)),
        ("model", serde_json::to_string(&point.model)),
        ("network_check", serde_json::to_string(&point.network_check)),
    ];
    let plain = all.into_iter().filter(|(_, value)| !value.is_object() && !value.is_array());
    let mut fields: Vec<(String, Value)> = plain.collect();
    for (group, text) in groups {
        let parts = text.map_or_else(|_| Vec::new(), ordered);
        let parts = parts.into_iter().filter(|(_, value)| !value.is_array());
        fields.extend(parts.map(|(name, value)| (format!("{group}.{name}"), value)));
    }
    fields
}

/// A value as a cell of a table; whatever a reader could take for a separator is quoted.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// Fields that say which point it is, or why it has no number.
fn told_without_number(name: &str, coordinates: &[(String, Value)]) -> bool {
    matches!(name, "problem" | "agreement" | "cpu_bound")
        || coordinates.iter().any(|(known, _)| known == name)
}

/// The whole table, a line per point after a line of names. A point without a number has no numbers, and one run has no
/// interval: their cells are empty rather than zero.
pub(super) fn csv(points: &[Point]) -> String {
    let names: Vec<String> = fields(&Point::default()).into_iter().map(|(name, _)| name).collect();
    let mut out = names.join(",") + "\n";
    for point in points {
        let coordinates = serde_json::to_string(&point.cell).unwrap_or_default();
        let coordinates =
            serde_json::from_str::<Ordered>(&coordinates).map_or_else(|_| Vec::new(), |found| found.0);
        let written = |(name, value): (String, Value)| {
            let is_end = matches!(name.as_str(), "ci_low" | "ci_high");
            let known = if has_number(point) {
                !is_end || point.interval().is_some()
            } else {
                told_without_number(&name, &coordinates)
            };
            if known { cell(&value) } else { String::new() }
        };
        let line: Vec<String> = fields(point).into_iter().map(written).collect();
        out.push_str(&line.join(","));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Run;

    #[test]
    fn columns_have_the_names_of_the_fields_and_their_order() {
        let csv = csv(&[]);
        let names: Vec<&str> = csv.trim_end().split(',').collect();
        for name in [
            "f",
            "n",
            "scenario",
            "payload",
            "durability",
            "offered_rps",
            "throughput_rps",
            "p50_us",
            "p99_us",
            "p999_us",
            "ci_low",
            "ci_high",
            "signatures_verified_per_request",
            "messages_per_request",
            "bytes_per_request",
            "syncs_per_request",
            "cpu_us_per_request",
            "batch_mean",
            "bundle_mean",
            "cpu_bound",
            "agreement",
        ] {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
        assert_eq!(&names[..3], ["f", "n", "scenario"]);
        assert!(names.contains(&"calls.matched") && names.contains(&"model.ceiling_rps"));
        assert!(!names.contains(&"runs") && !names.contains(&"lies"));
    }

    #[test]
    fn numbers_are_whole_names_are_quoted_and_what_diverged_has_no_number() {
        let mut point = Point { throughput_rps: 12_345.678_901, agreement: true, ..Point::default() };
        point.cell.scenario = "a, \"b\"\nc".into();
        let text = csv(std::slice::from_ref(&point));
        assert!(text.contains("12345.678901") && text.contains("\"a, \"\"b\"\"\nc\""), "{text}");
        point.problem = Some("replicas 1 and 2 differ at slot 7".into());
        let text = csv(&[point]);
        assert!(!text.contains("12345") && text.contains("replicas 1 and 2 differ at slot 7"), "{text}");
        let columns = text.lines().next().map_or(0, |line| line.split(',').count());
        assert!(columns > 40, "{columns}");
    }

    #[test]
    fn one_run_has_no_interval() {
        let run = Run { throughput_rps: 77.5, ..Run::default() };
        let (throughput_rps, ci_low, ci_high) = (77.5, 70.25, 79.75);
        let mut point = Point { throughput_rps, ci_low, ci_high, agreement: true, ..Point::default() };
        point.runs = vec![run.clone()];
        let text = csv(std::slice::from_ref(&point));
        assert!(text.contains("77.5") && !text.contains("70.25") && !text.contains("79.75"), "{text}");
        point.runs.push(run);
        let text = csv(&[point]);
        assert!(text.contains("70.25") && text.contains("79.75"), "{text}");
    }
}
