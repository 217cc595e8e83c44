//! `quorate bench FILE`: a figure, measured.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _, stderr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use quorate_bench::agent::Link;
use quorate_bench::cluster::Hand;
use quorate_bench::figure::{Figure, Runs, Scenario};
use quorate_bench::limits::{self, Effort, Limits, Options};
use quorate_bench::record::{Cell, Record};
use quorate_bench::run::{self, Measured, Progress, Setting};
use quorate_bench::worker::{Home, Worker};
use quorate_bench::{guard, report};
use quorate_node::key_file;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::limits::echo_program;
use super::{show_progress, words};

const EXAMPLES: &str = "Examples:
  quorate bench configs/bench/smoke.toml --out smoke          a minute: everything once, and counts that must not grow
  quorate bench configs/bench/throughput-vs-f.toml --dry-run  which cells there are, and how long they take
  quorate bench configs/bench/throughput-vs-f.toml --out figure --only f=1 --only scenario=none,f=2
  quorate bench diff before after                             which differences exceed the noise

--only takes coordinates by the names of columns; scenario=silent:1 is also what silent:f means where f = 1. A folder whose
points would be lost, because they are of cells that are not measured now, is refused unless --force is given.

Every cell is measured whatever becomes of the others; Ctrl-C ends early and writes what there is. With machines in the
file, agents on them run replicas and clients, and this machine runs what none of them does.

Exit codes: 0 every cell has its number; 1 one has none, or a guard of the file was not kept; 2 the command is not
complete; 130 interrupted.";
/// What a program is told whose command is not complete, as by the parser of arguments.
const USAGE: u8 = 2;

/// Arguments of `quorate bench FILE`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct FigureArgs {
    /// The figure: which cells, with which load and which faults
    #[arg(value_name = "FILE", required = true)]
    file: Option<PathBuf>,
    /// Folder for the report: report.html, points.csv, points.json, figures and histograms
    // Asked for by hand, so that a file that is not there is told first.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write the whole record, or the plan, as JSON to standard output, in place of the table
    #[arg(long)]
    json: bool,
    /// Say which cells there are and how long they take, and measure nothing
    #[arg(long)]
    dry_run: bool,
    /// Replace the report in DIR though it has cells that are not measured now
    #[arg(long)]
    force: bool,
    /// Measure only cells with these coordinates, for example f=1 or f=1,scenario=none; may be repeated
    #[arg(long, value_name = "COORDINATES", value_parser = coordinates)]
    only: Vec<Only>,
    /// Key file by which the agents of several machines know this program
    #[arg(long, value_name = "KEY")]
    key: Option<PathBuf>,
}

/// Coordinates that a cell may have, by the names of columns.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Only(Vec<(String, String)>);

fn coordinates(text: &str) -> Result<Only, String> {
    let columns = serde_json::to_value(Cell::default()).map_err(|error| error.to_string())?;
    let known = columns.as_object().map(|all| all.keys().map(String::as_str).collect::<Vec<_>>());
    let known = known.unwrap_or_default();
    let coordinate = |part: &str| {
        let (name, value) = part.split_once('=').ok_or("write a name and a value, such as f=1")?;
        let (name, value) = (name.trim(), value.trim());
        if known.contains(&name) {
            Ok((name.to_owned(), value.to_owned()))
        } else {
            Err(format!("`{name}` is no coordinate of a cell; there are {}", known.join(", ")))
        }
    };
    text.split(',').map(coordinate).collect::<Result<Vec<_>, String>>().map(Only)
}

impl Only {
    fn is_met(&self, cell: &Cell) -> bool {
        let Ok(columns) = serde_json::to_value(cell) else { return false };
        self.0.iter().all(|(name, wanted)| {
            let found = columns.get(name).map(|value| match value {
                serde_json::Value::String(text) => text.clone(),
                value => value.to_string(),
            });
            found.as_ref() == Some(wanted) || name == "scenario" && is_meant(cell, wanted)
        })
    }
}

/// Whether a scenario is another way to say that of a cell: `silent:1` is `silent:f` where f is 1.
fn is_meant(cell: &Cell, wanted: &str) -> bool {
    let meant = |text: &str| text.parse::<Scenario>().ok().map(|scenario| scenario.at(cell.f));
    meant(wanted).is_some_and(|wanted| meant(&cell.scenario) == Some(wanted))
}

pub(super) fn run(args: &FigureArgs) -> anyhow::Result<ExitCode> {
    let file = args.file.as_deref().context("name the file of a figure")?;
    let figure = Figure::load(file)?;
    let chosen = |cell: &Cell| args.only.is_empty() || args.only.iter().any(|only| only.is_met(cell));
    let cells: Vec<usize> =
        figure.cells().iter().enumerate().filter(|(_, cell)| chosen(cell)).map(|(at, _)| at).collect();
    if cells.is_empty() {
        bail!("no cell of {} has these coordinates; see them with --dry-run", file.display());
    }
    figure.dropped.iter().for_each(|why| eprintln!("left out: {why}"));
    if args.dry_run {
        // What is refused later is refused here.
        figure.data_folder()?;
        if args.json {
            println!("{:#}", words::plan_json(&figure, &cells)?);
        } else {
            print!("{}", words::plan(&figure, &cells)?);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let Some(out) = args.out.as_deref() else {
        eprintln!("error: name a folder for the report with --out DIR, or see the plan with --dry-run");
        return Ok(ExitCode::from(USAGE));
    };
    if !args.force {
        let cells: Vec<&Cell> = cells.iter().filter_map(|at| figure.cells().get(*at)).collect();
        check_replaceable(out, &cells)?;
    }
    check_writable(out)?;
    crate::survive_file_size_limits()?;
    let limits = measure_limits(&figure)?;
    let asked = cells.len();
    let measured = measure(args, &figure, cells, limits)?;
    finish((args, out), (&figure, asked), &measured)
}

/// Sees that no point is lost: whatever the folder has of a report is measured again.
fn check_replaceable(out: &Path, cells: &[&Cell]) -> anyhow::Result<()> {
    if !out.join("points.json").exists() {
        return Ok(());
    }
    let place = out.display();
    let fix = "name another folder, or replace the report with --force";
    let record = match Record::load(out) {
        Ok(record) => record,
        Err(error) => bail!("--out {place}: a report is there that cannot be read ({error}); {fix}"),
    };
    let lost = record.points.iter().filter(|point| !cells.contains(&&point.cell)).count();
    if lost > 0 {
        let (all, title, began) = (record.points.len(), &record.title, &record.provenance.began);
        bail!(
            "--out {place}: `{title}` is there, {all} cells measured at {began}, and {lost} of these would be lost; \
             {fix}"
        );
    }
    Ok(())
}

/// Sees that the report can be written, before anybody waits for it.
fn check_writable(out: &Path) -> anyhow::Result<()> {
    let trial = out.join(".quorate-bench");
    let written = std::fs::create_dir_all(out).and_then(|()| std::fs::write(&trial, b""));
    written
        .with_context(|| format!("--out {}: nothing can be written there; name another", out.display()))?;
    std::fs::remove_file(&trial)?;
    Ok(())
}

/// The ceiling that the figure is under, of this machine at this hour, and of the disk that it uses.
fn measure_limits(figure: &Figure) -> anyhow::Result<Limits> {
    let folder = figure.data_folder()?;
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    limits::check_folders(std::slice::from_ref(&folder))?;
    let (dirs, echo) = (vec![folder], echo_program());
    // Numbers of an unoptimised program are for nobody to publish, and take it long.
    let effort = if cfg!(debug_assertions) { Effort::Smoke } else { Effort::Full };
    let limits = limits::measure(&Options { dirs, echo, effort, progress: show_progress });
    show_progress("");
    Ok(limits)
}

fn measure(
    args: &FigureArgs,
    figure: &Figure,
    cells: Vec<usize>,
    limits: Limits,
) -> anyhow::Result<Measured> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // From here on a signal no longer ends this process at once, but waits to be looked at.
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let (stop, stopped) = watch::channel(false);
        let watching = tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if stop.send_replace(true) {
                    // Whoever asks twice does not want to wait; replicas end when their standard input does.
                    std::process::exit(130);
                }
                show_line("");
                eprintln!("ending early; once more to end at once");
            }
        });
        let (hands, client_places, replica_places) = hands(args, figure).await?;
        let command = std::env::args().map(|word| crate::quoted(&word)).collect::<Vec<_>>().join(" ");
        let setting = Setting { cells, hands, client_places, replica_places, limits, command };
        let measured = run::measure(figure, setting, &mut show, stopped).await;
        show_line("");
        watching.abort();
        Ok(measured?)
    })
}

/// Who carries out orders, and which of them run clients and replicas: this machine, unless the figure names others.
async fn hands(args: &FigureArgs, figure: &Figure) -> anyhow::Result<(Vec<Hand>, Vec<usize>, Vec<usize>)> {
    let program = std::env::current_exe()?;
    let here = Hand::Here(Box::new(Worker::local(program, Home::Within(figure.data_folder()?))));
    if figure.machines.is_empty() {
        return Ok((vec![here], vec![0], vec![0]));
    }
    let key = args
        .key
        .as_deref()
        .context("the figure names machines: pass the key that their agents know with --key")?;
    let key = key_file::load(key)?;
    let places = |runs: Runs| -> Vec<usize> {
        (1..).zip(&figure.machines).filter(|(_, machine)| machine.does(runs)).map(|(at, _)| at).collect()
    };
    let (clients, replicas) = (places(Runs::Clients), places(Runs::Replicas));
    let mut hands = vec![here];
    for machine in &figure.machines {
        let link = Link::connect(machine.address, &key, machine.key).await;
        hands.push(Hand::There(link.with_context(|| format!("machine `{}`", machine.name))?));
    }
    Ok((hands, clients, replicas))
}

fn show(progress: &Progress) {
    let Progress { cell, cells, label, doing, left } = progress;
    show_line(&format!("[{cell}/{cells}] {label}: {doing}; about {} left", words::time(*left)));
}

/// One line on a terminal, written over by the next; nothing in a log.
fn show_line(line: &str) {
    let mut stderr = stderr();
    if stderr.is_terminal() {
        // Progress that nobody can see any more is no reason to stop.
        let _ = write!(stderr, "\r\x1b[K{line}").and_then(|()| stderr.flush());
    }
}

/// Writes the report, says what was found, and whether everything was.
fn finish(
    (args, out): (&FigureArgs, &Path),
    (figure, asked): (&Figure, usize),
    measured: &Measured,
) -> anyhow::Result<ExitCode> {
    let Measured { record, histograms, interrupted, finished } = measured;
    if *interrupted && *finished == 0 && record.points.iter().all(|point| point.runs.is_empty()) {
        println!("nothing was measured, and nothing was written");
        return Ok(ExitCode::from(130));
    }
    let written = report::write(record, histograms, out)?;
    report::remove_stale_histograms(record, out)?;
    let mut text = words::table(record);
    let breaches = guard::check(&figure.guards, figure.cells(), &record.points);
    for breach in &breaches {
        let _ = writeln!(text, "guard        {breach}");
    }
    if !breaches.is_empty() {
        text.push_str("\nif that is meant to be, these are the numbers for the file:\n\n");
        for (line, numbers) in guard::renewed(&figure.guards, figure.cells(), &record.points) {
            let _ = writeln!(text, "# the guard at line {line}\n{numbers}");
        }
    }
    let _ = writeln!(text, "report       {}", written.page.display());
    if *interrupted {
        let _ = writeln!(text, "interrupted  {finished} of {asked} cells were measured");
    }
    if args.json {
        eprint(&text);
        println!("{}", serde_json::to_string_pretty(record).context("the record has no JSON form")?);
    } else {
        print!("{text}");
    }
    Ok(exit_code(record, *interrupted, breaches.is_empty()))
}

fn eprint(text: &str) {
    // Nobody is left to tell if that fails.
    let _ = stderr().write_all(text.as_bytes());
}

fn exit_code(record: &Record, interrupted: bool, kept: bool) -> ExitCode {
    let whole = record.points.iter().all(|point| point.problem.is_none());
    match (interrupted, whole && kept) {
        (true, _) => ExitCode::from(130),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use quorate_bench::record::{Point, Provenance};

    use super::*;

    #[test]
    fn coordinates_name_columns_and_all_of_them_have_to_be_met() {
        let cell = Cell { f: 1, scenario: "none".to_owned(), ..Cell::default() };
        let met = |text: &str| coordinates(text).unwrap().is_met(&cell);
        assert!(met("f=1") && met("f=1,scenario=none") && met(" f = 1 "));
        assert!(!met("f=2") && !met("f=1,scenario=crash:f"));
        assert!(coordinates("g=1").unwrap_err().contains("no coordinate of a cell; there are"));
        assert!(coordinates("f").unwrap_err().contains("such as f=1"));
    }

    #[test]
    fn a_scenario_is_met_by_what_it_means_at_that_f() {
        let cell = |f, scenario: &str| Cell { f, scenario: scenario.to_owned(), ..Cell::default() };
        let met =
            |cell: &Cell, wanted: &str| coordinates(&format!("scenario={wanted}")).unwrap().is_met(cell);
        assert!(met(&cell(1, "silent:f"), "silent:1") && met(&cell(3, "crash:f-1"), "crash:2"));
        assert!(met(&cell(2, "silent:f"), "silent:f"));
        assert!(!met(&cell(2, "silent:f"), "silent:1") && !met(&cell(1, "silent:f"), "crash:1"));
        assert!(!met(&cell(1, "none"), "nonsense"));
    }

    #[test]
    fn a_folder_with_points_of_other_cells_is_not_replaced() {
        let cell = |f| Cell { f, ..Cell::default() };
        let (one, two) = (cell(1), cell(2));
        let folder = tempfile::tempdir().unwrap();
        check_replaceable(folder.path(), &[&one]).unwrap();
        let options = Options { dirs: Vec::new(), effort: Effort::Smoke, ..Options::default() };
        let point = |cell: &Cell| Point { cell: cell.clone(), ..Point::default() };
        let record = Record {
            title: "whole".into(),
            about: String::new(),
            draw: Vec::new(),
            configuration: String::new(),
            provenance: Provenance::default(),
            limits: limits::measure(&options),
            points: vec![point(&one), point(&two)],
        };
        let file = folder.path().join("points.json");
        std::fs::write(&file, serde_json::to_string(&record).unwrap()).unwrap();
        let refused = check_replaceable(folder.path(), &[&one]).unwrap_err().to_string();
        for words in ["`whole` is there, 2 cells", "1 of these would be lost", "--force"] {
            assert!(refused.contains(words), "{refused}");
        }
        check_replaceable(folder.path(), &[&one, &two, &cell(3)]).unwrap();
        std::fs::write(&file, "{").unwrap();
        assert!(
            check_replaceable(folder.path(), &[&one]).unwrap_err().to_string().contains("cannot be read")
        );
    }

    #[test]
    fn a_figure_that_is_not_there_is_told_before_a_folder_for_its_report() {
        let args = FigureArgs {
            file: Some("no/such/figure.toml".into()),
            out: None,
            json: false,
            dry_run: false,
            force: false,
            only: Vec::new(),
            key: None,
        };
        let told = run(&args).unwrap_err().to_string();
        assert!(told.contains("no/such/figure.toml: cannot be read"), "{told}");
    }
}
