//! The `[parameters]` section: the protocol's constants, with timers in milliseconds.

use quorate_protocol::parameters::Parameters;

use super::error::Problem;
use crate::sections::{Misplaced, Section, Source};

/// One key of the section, and the protocol constant that it sets.
pub(super) struct Knob {
    pub(super) name: &'static str,
    pub(super) field: fn(&mut Parameters) -> &mut u64,
    /// What one unit of the file is in the unit of the constant.
    pub(super) scale: u64,
    pub(super) about: &'static str,
}

const fn knob(name: &'static str, field: fn(&mut Parameters) -> &mut u64, about: &'static str) -> Knob {
    Knob { name, field, scale: 1, about }
}

const fn milliseconds(
    name: &'static str,
    field: fn(&mut Parameters) -> &mut u64,
    about: &'static str,
) -> Knob {
    Knob { name, field, scale: 1000, about }
}

/// Every key, in the order in which it is written.
pub(super) const KNOBS: [Knob; 17] = [
    knob("checkpoint_interval", |p| &mut p.checkpoint_interval, "batches between two checkpoints, K"),
    knob(
        "checkpoint_bytes",
        |p| &mut p.checkpoint_bytes,
        "bytes that may be ordered, or change in the state, between two checkpoints; 0 for no bound",
    ),
    knob("window", |p| &mut p.window, "batches between the watermarks, L: a multiple of K, at least 2 K"),
    knob("pipeline_depth", |p| &mut p.pipeline_depth, "batches in agreement at once"),
    knob("client_window", |p| &mut p.client_window, "operations one session may have outstanding"),
    knob("batch_bytes_max", |p| &mut p.batch_bytes_max, "bytes of one batch"),
    knob("batch_requests_max", |p| &mut p.batch_requests_max, "requests of one batch"),
    knob("operation_bytes_max", |p| &mut p.operation_bytes_max, "bytes of one operation"),
    knob("reply_bytes_max", |p| &mut p.reply_bytes_max, "bytes of one result"),
    knob("reply_cache_bytes_max", |p| &mut p.reply_cache_bytes_max, "bytes of results one session keeps"),
    knob("sessions_per_client_max", |p| &mut p.sessions_per_client_max, "sessions of one client"),
    knob("sessions_max", |p| &mut p.sessions_max, "sessions of all clients"),
    knob("pool_operations_max", |p| &mut p.pool_operations_max, "operations a replica keeps waiting"),
    knob("pool_bytes_max", |p| &mut p.pool_bytes_max, "bytes of requests a replica keeps waiting"),
    milliseconds(
        "time_tolerance_ms",
        |p| &mut p.time_tolerance_us,
        "how far a proposal's time may be from a clock",
    ),
    milliseconds(
        "timeout_ms",
        |p| &mut p.timeout_us,
        "base of the timers: about ten times the p99 commit latency",
    ),
    milliseconds(
        "timeout_max_ms",
        |p| &mut p.timeout_max_us,
        "longest timer; above any delay of the network",
    ),
];

/// A key that is no number, and the protocol constant that it sets.
pub(super) struct Switch {
    pub(super) name: &'static str,
    pub(super) field: fn(&mut Parameters) -> &mut bool,
    pub(super) about: &'static str,
}

/// Every such key, in the order in which it is written.
pub(super) const SWITCHES: [Switch; 2] = [
    Switch {
        name: "watchdog",
        field: |p| &mut p.watchdog,
        about: "whether a primary that lets requests wait must be as fast as the last n were",
    },
    Switch {
        name: "fast_reads",
        field: |p| &mut p.fast_reads,
        about: "whether reads may skip ordering; then every answer needs a quorum of equal ones",
    },
];

/// Every key of a `[parameters]` section.
pub const NAMES: &[&str] = &{
    let mut names = [""; KNOBS.len() + SWITCHES.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = if at < KNOBS.len() { KNOBS[at].name } else { SWITCHES[at - KNOBS.len()].name };
        at += 1;
    }
    names
};

/// What the file can say of `parameters`: timers in whole milliseconds.
pub(super) fn in_milliseconds(mut parameters: Parameters) -> Parameters {
    for knob in &KNOBS {
        let field = (knob.field)(&mut parameters);
        *field -= *field % knob.scale;
    }
    parameters
}

/// Reads the section over `parameters`, and checks every bound for so many replicas.
///
/// # Errors
/// [`Misplaced`] names the line and the fix.
pub fn read(
    source: &Source<'_>,
    section: Option<&Section<'_>>,
    mut parameters: Parameters,
    replicas: usize,
) -> Result<Parameters, Misplaced> {
    for knob in &KNOBS {
        if let Some(value) = section.map(|section| section.optional::<u64>(knob.name)).transpose()?.flatten()
        {
            *(knob.field)(&mut parameters) = value.value.saturating_mul(knob.scale);
        }
    }
    for switch in &SWITCHES {
        let flag = section.map(|section| section.optional::<bool>(switch.name)).transpose()?.flatten();
        if let Some(flag) = flag {
            *(switch.field)(&mut parameters) = flag.value;
        }
    }
    let Err(error) = parameters.check_for(replicas) else { return Ok(parameters) };
    let name = error.name.strip_suffix("_us").map_or(error.name.to_owned(), |stem| format!("{stem}_ms"));
    let scale = KNOBS.iter().find(|knob| knob.name == name).map_or(1, |knob| knob.scale);
    let problem = Problem::Parameter { value: error.value / scale, fix: error.fix.replace("_us`", "_ms`") };
    // The culprit may be a default that another line of the section made impossible; then the section is the place.
    let at = section.map_or(0, |section| section.raw(&name).map_or(section.at(), |value| value.at));
    Err(source.error(at, format!("parameters.{name}"), problem))
}
