//! From the text of a figure to a [`Figure`]: every check, each with the line it is about.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_node::cluster_file::{PARAMETERS, Problem, read_parameters};
use quorate_node::sections::{Located, Misplaced, Section, Source};
use quorate_protocol::parameters::Parameters;
use toml::de::DeValue;

use super::cells::{self, Adjustment, Dimension, Filter, Layers};
use super::knobs::{CLOSED, KNOBS, Knob, RATE, knob, text};
use super::values::{AgentKey, Cost, Reachable, Rps, Words};
use super::{Chart, Figure, Guard, Machine, Runs, Trials};
use crate::network::{LOOPBACK, Network};

/// Every key at the top; the coordinates of cells are among them.
pub(super) const TOP: &[&str] = &[
    "title",
    "about",
    "application",
    "network",
    "durability",
    "payload",
    "reply",
    "load",
    "clients",
    "in_flight",
    "bundle",
    "batch",
    "window",
    "checkpoint_interval",
    "pipeline",
    "timeout_ms",
    "p99_limit_ms",
    "layout",
    "scenario",
    "f",
    "n",
    "rate",
    "warm_up_ms",
    "measure_ms",
    "runs",
    "seed",
    "folder",
    "beyond_f",
    "draw",
    "search",
    "parameters",
    "skip",
    "adjust",
    "machine",
    "guard",
];
/// The coordinates of cells, by which they are chosen.
pub(super) const COORDINATES: &[&str] = &[
    "application",
    "network",
    "durability",
    "payload",
    "reply",
    "load",
    "clients",
    "in_flight",
    "bundle",
    "batch",
    "window",
    "checkpoint_interval",
    "pipeline",
    "timeout_ms",
    "p99_limit_ms",
    "layout",
    "scenario",
    "f",
    "n",
    "rate",
];
/// Coordinates that an adjustment may give.
pub(super) const ADJUSTABLE: &[&str] = &[
    "of",
    "clients",
    "in_flight",
    "bundle",
    "batch",
    "window",
    "checkpoint_interval",
    "pipeline",
    "timeout_ms",
    "p99_limit_ms",
    "layout",
];
const SEARCH: &[&str] = &["warm_up_ms", "measure_ms", "trials", "first_rps"];
const MACHINE: &[&str] = &["name", "address", "key", "runs"];
/// Columns that no machine's speed is in.
pub(super) const GUARD: &[&str] = &[
    "of",
    "messages_per_request",
    "bytes_per_request",
    "signatures_verified_per_request",
    "signatures_made_per_request",
    "syncs_per_request",
    "syncs_per_batch",
    "batch_mean",
    "bundle_mean",
];

/// Most values of one coordinate.
const VALUES_MAX: usize = 64;
/// Most tables of one kind.
const TABLES_MAX: usize = 64;
/// Longest measured time of a run, and longest warm-up.
const TIME_MAX_MS: u64 = 3_600_000;

type Checked<T> = Result<T, Misplaced>;

pub(super) fn figure(text: &str, path: &Path) -> Checked<Figure> {
    let source = Source::new(text, path);
    let table = source.parse()?;
    let top = Section::open(source, "", &table, TOP)?;
    let reader = Reader { source, top: &top };
    let Some(title) = reader.words("title")? else {
        let (what, fix) = ("is missing".into(), "add it: what the figure is called".into());
        return Err(source.error(top.at(), "title".into(), Problem::Rule { what, fix }));
    };
    let mut figure = Figure {
        title,
        about: reader.words("about")?.unwrap_or_default(),
        text: text.to_owned(),
        path: path.to_owned(),
        warm_up: reader.time(&top, "warm_up_ms", (0, TIME_MAX_MS), 1000)?,
        measure: reader.time(&top, "measure_ms", (200, TIME_MAX_MS), 4000)?,
        runs: u16::try_from(reader.number(&top, "runs", (1, 100), 3)?).unwrap_or(u16::MAX),
        trials: reader.trials()?,
        seed: top.optional::<u64>("seed")?.map_or(1, |seed| seed.value),
        folder: reader.words("folder")?.map(PathBuf::from),
        machines: reader.machines()?,
        beyond_f: top.optional::<bool>("beyond_f")?.is_some_and(|flag| flag.value),
        guards: Vec::new(),
        draw: reader.draw()?,
        dropped: Vec::new(),
        cells: Vec::new(),
        parameters: reader.parameters()?,
    };
    let layers = reader.layers()?;
    (figure.cells, figure.dropped) = cells::combine(&source, &layers, &figure)?;
    figure.guards = reader.guards(&figure)?;
    reader.is_in_one_place(&figure)?;
    Ok(figure)
}

struct Reader<'a> {
    source: Source<'a>,
    top: &'a Section<'a>,
}

impl<'a> Reader<'a> {
    /// A text for people, or a path.
    fn words(&self, key: &str) -> Checked<Option<String>> {
        Ok(self.top.optional::<Words>(key)?.map(|words| words.value.0))
    }

    fn number(&self, section: &Section<'_>, key: &str, (from, to): (u64, u64), usual: u64) -> Checked<u64> {
        let Some(found) = section.optional::<u64>(key)? else { return Ok(usual) };
        if (from..=to).contains(&found.value) {
            return Ok(found.value);
        }
        let fix = format!("write a number from {from} to {to}");
        Err(found.error(&self.source, Problem::Rule { what: format!("is {}", found.value), fix }))
    }

    fn time(&self, section: &Section<'_>, key: &str, bounds: (u64, u64), usual: u64) -> Checked<Duration> {
        self.number(section, key, bounds, usual).map(Duration::from_millis)
    }

    fn trials(&self) -> Checked<Trials> {
        let usual = Trials::default();
        let Some(section) = self.top.section("search", SEARCH)? else { return Ok(usual) };
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let bounds = |from| (from, TIME_MAX_MS);
        let first = section.optional::<Rps>("first_rps")?;
        let most = self.number(&section, "trials", (2, 64), usual.most.into())?;
        Ok(Trials {
            warm_up: self.time(&section, "warm_up_ms", bounds(0), milliseconds(usual.warm_up))?,
            measure: self.time(&section, "measure_ms", bounds(200), milliseconds(usual.measure))?,
            most: u16::try_from(most).unwrap_or(usual.most),
            first_rps: first.map(|first| first.value.0),
        })
    }

    /// Constants of the protocol that are no coordinates of cells.
    fn parameters(&self) -> Checked<Parameters> {
        let section = self.top.section("parameters", PARAMETERS)?;
        let replaced = [
            ("checkpoint_interval", "checkpoint_interval"),
            ("window", "window"),
            ("pipeline_depth", "pipeline"),
            ("batch_requests_max", "batch"),
            ("client_window", "in_flight"),
            ("timeout_ms", "timeout_ms"),
        ];
        for (key, coordinate) in replaced {
            if let Some(value) = section.as_ref().and_then(|section| section.raw(key)) {
                let (what, fix) =
                    ("is a coordinate of cells".into(), format!("write `{coordinate}` at the top"));
                return Err(value.error(&self.source, Problem::Rule { what, fix }));
            }
        }
        read_parameters(&self.source, section.as_ref(), Parameters::default(), 4)
    }

    fn layers(&self) -> Checked<Layers> {
        let mut dimensions = Vec::new();
        for knob in KNOBS.iter().chain([&RATE]) {
            dimensions.extend(self.dimension(self.top, knob)?);
        }
        self.add_size(&mut dimensions)?;
        self.check_rates(&dimensions)?;
        self.sort_rates(&mut dimensions);
        let mut adjustments = Vec::new();
        for section in self.tables("adjust", ADJUSTABLE)? {
            adjustments.push(self.adjustment(&section)?);
        }
        let mut skips = Vec::new();
        for section in self.tables("skip", COORDINATES)? {
            let wanted = self.dimensions(&section)?;
            if wanted.is_empty() {
                let (what, fix) = ("skips everything".into(), "say which cells, or remove it".into());
                return Err(self.source.error(section.at(), "skip".into(), Problem::Rule { what, fix }));
            }
            skips.push(Filter { at: section.at(), key: "skip".into(), wanted });
        }
        Ok(Layers { dimensions, adjustments, skips, at: self.top.at() })
    }

    /// The size of clusters is either `f` or `n`, and one of them must be there.
    fn add_size(&self, dimensions: &mut Vec<Dimension>) -> Checked<()> {
        let has = |name: &str| dimensions.iter().any(|dimension| dimension.knob.name == name);
        match (has("f"), has("n"), self.top.raw("n")) {
            (true, true, Some(n)) => {
                let (what, fix) =
                    ("stands beside `f`".into(), "write one of them; without `n` it is 3f+1".into());
                Err(n.error(&self.source, Problem::Rule { what, fix }))
            }
            (false, false, _) => {
                let one = Located { value: "1".to_owned(), at: self.top.at(), key: "f".into() };
                let place = dimensions.iter().position(|dimension| dimension.knob.name == RATE.name);
                let size = knob("f").map(|knob| Dimension { knob, values: vec![one] });
                dimensions.splice(place.unwrap_or(dimensions.len())..place.unwrap_or(dimensions.len()), size);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A closed loop asks for as much as is answered: where there is no other load, rates are a mistake.
    fn check_rates(&self, dimensions: &[Dimension]) -> Checked<()> {
        let mut loads = dimensions.iter().filter(|dimension| dimension.knob.name == "load");
        let all_closed = |load: &Dimension| load.values.iter().all(|value| value.value == CLOSED);
        match (loads.any(all_closed), self.top.raw(RATE.name)) {
            (true, Some(rate)) => {
                let (what, fix) = (
                    "stands beside `load = \"closed\"`, which has no rate".into(),
                    "remove it, or write `load = \"open\"` or `load = [\"open\", \"closed\"]`".into(),
                );
                Err(rate.error(&self.source, Problem::Rule { what, fix }))
            }
            _ => Ok(()),
        }
    }

    /// The peak is measured first: shares of it rest on the same search.
    fn sort_rates(&self, dimensions: &mut [Dimension]) {
        for dimension in dimensions.iter_mut().filter(|dimension| dimension.knob.name == RATE.name) {
            dimension.values.sort_by_key(|value| value.value != "peak");
        }
    }

    fn tables(&self, key: &str, known: &'static [&'static str]) -> Checked<Vec<Section<'a>>> {
        let sections = self.top.sections(key, known)?;
        match sections.get(TABLES_MAX) {
            None => Ok(sections),
            Some(section) => {
                let problem = Problem::Rule {
                    what: format!("stands there {} times", sections.len()),
                    fix: format!("keep {TABLES_MAX} at most"),
                };
                Err(self.source.error(section.at(), key.into(), problem))
            }
        }
    }

    /// The coordinates of a table.
    fn dimensions(&self, section: &Section<'_>) -> Checked<Vec<Dimension>> {
        let mut found = Vec::new();
        for name in COORDINATES {
            if let Some(knob) = knob(name) {
                found.extend(self.dimension(section, knob)?);
            }
        }
        Ok(found)
    }

    /// One value or several of a coordinate, if the table has it.
    fn dimension(&self, section: &Section<'_>, knob: &'static Knob) -> Checked<Option<Dimension>> {
        let Some(raw) = section.raw(knob.name) else { return Ok(None) };
        let mut values: Vec<Located<String>> = Vec::new();
        let mut read = |at: usize, value: &DeValue<'_>| -> Checked<()> {
            let error = |problem| self.source.error(at, raw.key.clone(), problem);
            let value = self.read(knob, value).map_err(error)?;
            if let Some(first) = values.iter().find(|known| known.value == value) {
                return Err(error(Problem::Duplicate { first: self.source.line(first.at) }));
            }
            values.push(Located { value, at, key: raw.key.clone() });
            Ok(())
        };
        match raw.value {
            // The usual size, said as people say it.
            DeValue::String(text) if knob.name == "n" && text.as_ref() == "3f+1" => return Ok(None),
            DeValue::Array(array) if !array.is_empty() && array.len() <= VALUES_MAX => {
                array.iter().try_for_each(|member| read(member.span().start, member.get_ref()))?;
            }
            DeValue::Array(array) => {
                let what = format!("has {} values", array.len());
                let fix = format!("write one value, or an array of 1 to {VALUES_MAX}");
                return Err(raw.error(&self.source, Problem::Rule { what, fix }));
            }
            one => read(raw.at, one)?,
        }
        Ok(Some(Dimension { knob, values }))
    }

    /// A coordinate as a cell says it. A network must be one that is there.
    fn read(&self, knob: &Knob, value: &DeValue<'_>) -> Result<String, Problem> {
        let found = knob.read(value)?;
        if knob.name != "network" {
            return Ok(found);
        }
        match Network::find(&found, super::folder_of(self.source.file())) {
            Ok(_) => Ok(found),
            Err(error) => {
                let error = error.to_string();
                let (what, fix) = error.split_once("; fix: ").unwrap_or((&error, "correct it"));
                Err(Problem::Rule { what: format!("is `{found}`: {what}"), fix: fix.to_owned() })
            }
        }
    }

    fn adjustment(&self, section: &Section<'_>) -> Checked<Adjustment> {
        let of = self.of(section, "adjust")?;
        let mut to = Vec::new();
        for name in ADJUSTABLE.iter().filter(|name| **name != "of") {
            let (Some(knob), Some(raw)) = (knob(name), section.raw(name)) else { continue };
            let value = self.read(knob, raw.value).map_err(|problem| raw.error(&self.source, problem))?;
            to.push((knob, Located { value, at: raw.at, key: raw.key }));
        }
        if to.is_empty() {
            let (what, fix) =
                ("changes nothing".into(), "say what, such as `pipeline = 32`, or remove it".into());
            return Err(self.source.error(section.at(), "adjust".into(), Problem::Rule { what, fix }));
        }
        Ok(Adjustment { of, to })
    }

    /// The cells that a table is about: all, if it does not say.
    fn of(&self, section: &Section<'_>, key: &str) -> Checked<Filter> {
        let (at, key) = (section.at(), key.to_owned());
        let Some(of) = section.section("of", COORDINATES)? else {
            return Ok(Filter { at, key, wanted: Vec::new() });
        };
        Ok(Filter { at: of.at(), key: format!("{key}.of"), wanted: self.dimensions(&of)? })
    }

    fn guards(&self, figure: &Figure) -> Checked<Vec<Guard>> {
        let mut guards = Vec::new();
        for section in self.tables("guard", GUARD)? {
            let filter = self.of(&section, "guard")?;
            let mut expected = BTreeMap::new();
            for name in GUARD.iter().filter(|name| **name != "of") {
                let found = section.optional::<Cost>(name)?;
                expected.extend(found.map(|found| ((*name).to_owned(), found.value.0)));
            }
            if expected.is_empty() {
                let (what, fix) =
                    ("expects nothing", "say what, such as `messages_per_request = 1.5`, or remove it");
                let problem = Problem::Rule { what: what.into(), fix: fix.into() };
                return Err(self.source.error(section.at(), "guard".into(), problem));
            }
            let cells = (0..).zip(&figure.cells).filter(|(_, cell)| filter.takes(cell));
            let cells: Vec<usize> = cells.map(|(place, _)| place).collect();
            if cells.is_empty() {
                return Err(cells::unused(&self.source, &filter));
            }
            guards.push(Guard { line: self.source.line(section.at()), cells, expected });
        }
        Ok(guards)
    }

    fn draw(&self) -> Checked<Vec<Chart>> {
        let Some(raw) = self.top.raw("draw") else { return Ok(Chart::ALL.map(|(chart, _)| chart).to_vec()) };
        let mut charts = Vec::new();
        let expected = "an array of pictures";
        let Some(array) = raw.value.as_array() else {
            let found = raw.value.type_str();
            return Err(raw.error(&self.source, Problem::Kind { expected, found }));
        };
        if array.is_empty() {
            let (what, fix) = ("asks for no picture".into(), "name some, or remove it".into());
            return Err(raw.error(&self.source, Problem::Rule { what, fix }));
        }
        for member in array.iter() {
            let error = |problem| self.source.error(member.span().start, raw.key.clone(), problem);
            let name = text(member.get_ref(), "the name of a picture in quotes").map_err(error)?;
            let Some((chart, _)) = Chart::ALL.iter().find(|(_, known)| *known == name) else {
                let names = Chart::ALL.map(|(_, name)| format!("\"{name}\"")).join(", ");
                let found: String = name.chars().take(64).collect();
                let (what, fix) = (format!("is `{found}`"), format!("write one of {names}"));
                return Err(error(Problem::Rule { what, fix }));
            };
            if !charts.contains(chart) {
                charts.push(*chart);
            }
        }
        Ok(charts)
    }

    fn machines(&self) -> Checked<Vec<Machine>> {
        let mut machines: Vec<Machine> = Vec::new();
        for section in self.tables("machine", MACHINE)? {
            let missing = |key: &str, fix: &str| {
                let problem = Problem::Rule { what: "is missing".into(), fix: fix.into() };
                self.source.error(section.at(), format!("machine.{key}"), problem)
            };
            let name = section
                .optional::<Words>("name")?
                .ok_or_else(|| missing("name", "add what people call it"))?;
            let address = section.optional::<Reachable>("address")?;
            let address = address.ok_or_else(|| {
                missing("address", "add where its `quorate bench agent` listens, such as \"192.0.2.7:4900\"")
            })?;
            let key = section.optional::<AgentKey>("key")?;
            let key = key
                .ok_or_else(|| missing("key", "add the public key that its `quorate bench agent` prints"))?;
            let runs = section.optional::<Runs>("runs")?.map(|runs| runs.value).unwrap_or_default();
            let same = |known: &Machine| known.name == name.value.0 || known.address == address.value.0;
            if machines.iter().any(same) {
                let (what, fix) =
                    ("has the name or the address of another".into(), "make them differ".into());
                return Err(name.error(&self.source, Problem::Rule { what, fix }));
            }
            machines.push(Machine { name: name.value.0, address: address.value.0, key: key.value.0, runs });
        }
        self.has_somebody_for_both(&machines)?;
        Ok(machines)
    }

    /// Sees that of machines that are named one runs replicas, and one clients.
    fn has_somebody_for_both(&self, machines: &[Machine]) -> Checked<()> {
        let sections = self.tables("machine", MACHINE)?;
        let Some(first) = sections.first() else { return Ok(()) };
        for (runs, words) in [(Runs::Replicas, "replicas"), (Runs::Clients, "clients")] {
            if !machines.iter().any(|machine| machine.does(runs)) {
                let problem = Problem::Rule {
                    what: format!("leaves nobody to run {words}"),
                    fix: "let one machine run \"both\", which may be this one, with an agent of its own"
                        .into(),
                };
                return Err(self.source.error(first.at(), "machine.runs".into(), problem));
            }
        }
        Ok(())
    }

    /// Sees that a network which is emulated is on one machine.
    fn is_in_one_place(&self, figure: &Figure) -> Checked<()> {
        let emulated = figure.cells.iter().find(|cell| cell.network != LOOPBACK);
        let sections = self.tables("machine", MACHINE)?;
        let (Some(cell), Some(second)) = (emulated, sections.get(1)) else { return Ok(()) };
        let problem = Problem::Rule {
            what: format!("is a second one, and `{}` is emulated on one machine", cell.network),
            fix: "keep one machine, or leave `network` out: several machines have a network of their own"
                .into(),
        };
        Err(self.source.error(second.at(), "machine".into(), problem))
    }
}
