//! A run of the simulator as a recording, for `quorate view`.

use std::path::Path;

use anyhow::Context as _;
use quorate_sim::world::World;

use super::{Args, Case, output, voice};
use crate::recording;
use crate::testbed::amount::told;

/// Runs a scenario once more, which is the same run, and writes what a live page would have shown of it.
pub(super) fn save(args: &Args, case: &Case, path: &Path) -> anyhow::Result<()> {
    let mut world = World::new(&case.scenario.setting);
    world.keep_recording(&format!("simulated: {}", case.about));
    let run = case.scenario.examine(&mut world);
    let recording = world.take_recording().context("a world that is recorded has a recording")?;
    let (header, moments) = recording.finish(world.now(), world.calls(), &run);
    let written = recording::write(path, (&header, &moments))?;
    let look = format!("{} view {}", crate::program(), crate::quoted(&path.to_string_lossy()));
    let more = format!(" ({} moments, {}); {look}", moments.len(), told(written.bytes()));
    output::say_where(voice(args), "recording", path, &more);
    Ok(())
}
