//! Values of a figure's file that are neither coordinates nor plain numbers.

use std::net::SocketAddr;

use quorate_node::cluster_file::Problem;
use quorate_node::sections::FromToml;
use quorate_protocol::types::PublicKey;
use toml::de::DeValue;

use super::Runs;
use super::knobs::{RPS_MAX, text};

/// Most bytes of a title or another text for people.
const TEXT_BYTES_MAX: usize = 4096;

/// A text of bounded length.
pub(super) struct Words(pub(super) String);

impl FromToml for Words {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Problem> {
        let text = text(value, "a text in quotes")?;
        if text.trim().is_empty() || text.len() > TEXT_BYTES_MAX {
            let (what, fix) = (format!("has {} bytes", text.len()), format!("write 1 to {TEXT_BYTES_MAX}"));
            return Err(Problem::Rule { what, fix });
        }
        Ok(Self(text.trim().to_owned()))
    }
}

/// A number that may have a fraction, above zero.
fn fraction(value: &DeValue<'_>, most: f64) -> Result<f64, Problem> {
    let expected = "a number above 0";
    let said = match value {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
        DeValue::Float(number) => number.as_str(),
        other => return Err(Problem::Kind { expected, found: other.type_str() }),
    };
    let number = said.parse::<f64>().ok().filter(|number| *number > 0.0 && *number <= most);
    number.ok_or_else(|| Problem::Rule {
        what: format!("is {said}"),
        fix: format!("write {expected}, up to {most}"),
    })
}

/// Calls per second.
pub(super) struct Rps(pub(super) f64);

impl FromToml for Rps {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Problem> {
        fraction(value, RPS_MAX).map(Self)
    }
}

/// What something costs.
pub(super) struct Cost(pub(super) f64);

impl FromToml for Cost {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Problem> {
        fraction(value, 1e12).map(Self)
    }
}

/// An address that somebody else can connect to.
pub(super) struct Reachable(pub(super) SocketAddr);

impl FromToml for Reachable {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Problem> {
        let expected = "an IP address and port that can be reached, such as \"192.0.2.7:4900\"";
        let text = text(value, "an address in quotes")?;
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 && !address.ip().is_unspecified() => Ok(Self(address)),
            _ => Err(Problem::Value { expected, found: text.chars().take(64).collect() }),
        }
    }
}

/// The public key of an agent.
pub(super) struct AgentKey(pub(super) PublicKey);

impl FromToml for AgentKey {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Problem> {
        // The keys of a cluster are made elsewhere; that error would send a reader there.
        text(value, "a public key in quotes")?.parse().map(Self).map_err(|_| Problem::Rule {
            what: "is no public key".into(),
            fix: "write the 64 hexadecimal digits that `quorate bench key FILE` prints on that machine"
                .into(),
        })
    }
}

impl FromToml for Runs {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Problem> {
        let expected = "\"replicas\", \"clients\" or \"both\"";
        match text(value, expected)? {
            "both" => Ok(Self::Both),
            "replicas" => Ok(Self::Replicas),
            "clients" => Ok(Self::Clients),
            other => Err(Problem::Value { expected, found: other.chars().take(64).collect() }),
        }
    }
}
