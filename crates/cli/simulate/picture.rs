//! Which part of a run is drawn: what was asked for, or else where the first lie was told, or where it went wrong.

use std::path::Path;

use quorate_protocol::types::Time;
use quorate_sim::picture::{MARKS, Subject, Window, draw};
use quorate_sim::scenario::Scenario;
use quorate_sim::words::moment;
use quorate_sim::world::World;

use super::{Args, output, voice};

/// A time of a world: a number with its unit behind it.
pub(super) fn time(text: &str) -> Result<Time, String> {
    let wrong = || "write a time such as 1.25s or 1250ms".to_owned();
    let (number, unit) =
        text.split_at(text.find(|letter: char| letter.is_ascii_alphabetic()).ok_or_else(wrong)?);
    let unit = match unit {
        "s" => 1e6,
        "ms" => 1e3,
        "us" => 1.0,
        _ => return Err(wrong()),
    };
    let us = number.trim().parse::<f64>().map_err(|_| wrong())? * unit;
    // The cast is of a number that fits: below 2^53.
    if (0.0..9e15).contains(&us) { Ok(Time(us.round() as u64)) } else { Err(wrong()) }
}

/// Draws a scenario into a file, and says which part of it that is.
pub(super) fn save(args: &Args, name: &str, scenario: &Scenario, path: &Path) -> anyhow::Result<()> {
    let (svg, part) = drawn(args, name, scenario);
    output::write(path, &svg)?;
    output::say_where(voice(args), "picture", path, &part);
    Ok(())
}

fn drawn(args: &Args, name: &str, scenario: &Scenario) -> (String, String) {
    if args.from.is_some() || args.until.is_some() {
        let (from, until) = (args.from.unwrap_or(Time(0)), args.until.unwrap_or(Time(u64::MAX)));
        let (svg, ..) = shown(name, scenario, Window { from, until, ..Window::starting(from, MARKS) });
        return (svg, String::new());
    }
    let (svg, whole, trouble) = shown(name, scenario, Window::last(MARKS));
    if whole {
        return (svg, String::new());
    }
    match trouble {
        // Something went wrong, and that is what somebody wants to see; or nothing happened but what clients asked.
        None => (svg, " (the end of it; --from and --until show another part)".to_owned()),
        Some(from) => {
            let (svg, ..) = shown(name, scenario, Window::starting(from, MARKS));
            (svg, format!(" (from {} on; --from and --until show another part)", moment(from)))
        }
    }
}

/// A window of a scenario; whether that is all of it; and from when on to look for the first trouble, unless what is
/// worth to see is the violation at the end.
fn shown(name: &str, scenario: &Scenario, window: Window) -> (String, bool, Option<Time>) {
    let mut world = World::new(&scenario.setting);
    world.keep_sketch_of(window);
    let violation = scenario.examine(&mut world).violation;
    let subject = Subject::of(&world, name, violation.as_ref());
    let Some(sketch) = world.take_sketch() else { return (String::new(), true, None) };
    let trouble = sketch.first_trouble().filter(|_| violation.is_none());
    (draw(&sketch, &subject), sketch.is_whole(), trouble)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_pictures_and_traces_have_them() {
        let times = ["1.25s", "1250ms", "1949.618ms", "7us", "0s"].map(|text| time(text).unwrap().0);
        assert_eq!(times, [1_250_000, 1_250_000, 1_949_618, 7, 0]);
        for bad in ["", "7", "s", "-1s", "1h", "1e99s", "NaNs"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
