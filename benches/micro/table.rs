//! Times what it is given, counts what that allocates, and has a line of the table for it.

use std::fmt;
use std::hint::black_box;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use mimalloc::MiMalloc;
use serde_json::{Value, json};
use stats_alloc::{Stats, StatsAlloc};

use crate::options::{Mode, Options};

/// The program's allocator, counted. Two atomic additions for each allocation, and for each release, are in the times.
#[global_allocator]
static ALLOCATOR: StatsAlloc<MiMalloc> = StatsAlloc::new(MiMalloc);

/// Most inputs that are made at once before they are used, so that reading the clock counts for nothing.
const PORTION_MAX: usize = 64;
/// How long a portion is to take, unless one round takes longer.
const PORTION: Duration = Duration::from_millis(2);
/// Portions whose allocations are not counted yet, until rings and caches are full; and those whose allocations are. They
/// are always the same rounds, however fast the machine is, so that counts can be compared.
const UNCOUNTED: usize = 8;
const COUNTED: usize = 4;
/// What takes longer begins anew each round, and one is like the others.
const SLOW: Duration = Duration::from_millis(50);
/// How long the processor has to come to do always the same.
const WARM_UP: Duration = Duration::from_millis(100);
/// How long is measured, inputs being made included.
const MEASURED: Duration = Duration::from_millis(1500);
/// Fewest portions, however long they take.
const PORTIONS_MIN: usize = 8;

/// Things that a round does, each of which is told: how many, and what one is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Each(pub(crate) usize, pub(crate) &'static str);

impl fmt::Display for Each {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = if self.0 == 1 { "" } else { "s" };
        f.pad(&format!("{} {}{ending}", self.0, self.1))
    }
}

/// All that is measured.
pub(crate) struct Bench {
    options: Options,
    /// What the lines above were about.
    group: String,
    rows: Vec<Row>,
}

/// A line of the table.
struct Row {
    name: String,
    each: Each,
    /// Nanoseconds of one thing: the median of all portions, and how far half of them are from it at most.
    time: f64,
    spread: f64,
    /// Of one thing; none where memory does not come from the allocator.
    allocated: Option<(f64, f64)>,
}

impl Bench {
    pub(crate) fn new(options: Options) -> Self {
        Self { options, group: String::new(), rows: Vec::new() }
    }

    /// Measures `run` alone, on what `make` makes for each round. What it gives back is dropped outside of the time.
    pub(crate) fn measure<I, O>(
        &mut self,
        name: &str,
        each: Each,
        mut make: impl FnMut() -> I,
        mut run: impl FnMut(I) -> O,
    ) {
        if !self.begin(name) {
            return;
        }
        let first = Rounds::of(1, &mut make, &mut run);
        if self.options.mode == Mode::Test {
            return self.passed();
        }
        let portion = (PORTION.as_nanos() / first.spent.as_nanos().max(1)).clamp(1, PORTION_MAX as u128);
        let portion = usize::try_from(portion).expect("it is at most 64");
        let (before, counted, size) =
            if first.spent > SLOW { (0, 1, 1) } else { (UNCOUNTED, COUNTED, PORTION_MAX) };
        for _ in 0..before {
            Rounds::of(size, &mut make, &mut run);
        }
        let memory = (0..counted).map(|_| Rounds::of(size, &mut make, &mut run).memory);
        let (calls, bytes) = memory.fold((0, 0), |(calls, bytes), one| {
            (calls + one.allocations + one.reallocations, bytes + one.bytes_allocated)
        });
        let total = (counted * size * each.0) as f64;
        let allocated = Some((calls as f64 / total, bytes as f64 / total));
        warm_up(portion, &mut make, &mut run);
        self.tell(Row::new(name, each, &portions(portion, &mut make, &mut run), allocated));
    }

    /// The same for what changes something large that all rounds have: one round after the other, each made when the
    /// one before is over. Its memory is not of the program's allocator, and not counted.
    pub(crate) fn measure_in_turn<I, O>(
        &mut self,
        name: &str,
        each: Each,
        mut make: impl FnMut() -> I,
        mut run: impl FnMut(I) -> O,
    ) {
        if !self.begin(name) {
            return;
        }
        if self.options.mode == Mode::Test {
            Rounds::of(1, &mut make, &mut run);
            return self.passed();
        }
        warm_up(1, &mut make, &mut run);
        self.tell(Row::new(name, each, &portions(1, &mut make, &mut run), None));
    }

    /// Whether this is to be measured. Then its name stands there already, for whoever waits.
    fn begin(&mut self, name: &str) -> bool {
        if !self.options.wants(name) {
            return false;
        }
        let (group, about) = name.split_once(": ").expect("a name says first what it is about");
        match self.options.mode {
            Mode::List => say(&format!("{name}\n")),
            Mode::Json => eprintln!("{name}"),
            Mode::Table | Mode::Test => {
                if self.group.is_empty() && self.options.mode == Mode::Table {
                    say(&heading());
                }
                if self.group != group {
                    say(&format!("{group}\n"));
                }
                say(&format!("  {about:<56}"));
            }
        }
        group.clone_into(&mut self.group);
        self.options.mode != Mode::List
    }

    fn passed(&self) {
        say("ok\n");
    }

    fn tell(&mut self, row: Row) {
        if self.options.mode == Mode::Table {
            say(&format!("{row}\n"));
        }
        self.rows.push(row);
    }

    /// Says what is to be said at the end: whether there was anything to measure.
    pub(crate) fn finish(self) -> Result<(), String> {
        if self.group.is_empty() {
            return Err("no benchmark has that in its name; --list names all of them".to_owned());
        }
        if self.options.mode == Mode::Json {
            let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
            say(&format!("{:#}\n", json!({ "benchmarks": rows })));
        }
        Ok(())
    }
}

/// What some rounds took.
struct Rounds {
    spent: Duration,
    memory: Stats,
}

impl Rounds {
    fn of<I, O>(count: usize, make: &mut impl FnMut() -> I, run: &mut impl FnMut(I) -> O) -> Self {
        let inputs: Vec<I> = (0..count).map(|_| make()).collect();
        let mut outputs = Vec::with_capacity(count);
        let before = ALLOCATOR.stats();
        let start = Instant::now();
        for input in inputs {
            outputs.push(run(black_box(input)));
        }
        let spent = start.elapsed();
        let memory = ALLOCATOR.stats() - before;
        drop(black_box(outputs));
        Self { spent, memory }
    }
}

fn warm_up<I, O>(portion: usize, make: &mut impl FnMut() -> I, run: &mut impl FnMut(I) -> O) {
    let start = Instant::now();
    while start.elapsed() < WARM_UP {
        Rounds::of(portion, make, run);
    }
}

/// Nanoseconds of a round, in each of many portions.
fn portions<I, O>(size: usize, make: &mut impl FnMut() -> I, run: &mut impl FnMut(I) -> O) -> Vec<f64> {
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < PORTIONS_MIN || start.elapsed() < MEASURED {
        times.push(Rounds::of(size, make, run).spent.as_secs_f64() * 1e9 / size as f64);
    }
    times
}

impl Row {
    fn new(name: &str, each: Each, times: &[f64], allocated: Option<(f64, f64)>) -> Self {
        let time = median(times);
        let apart: Vec<f64> = times.iter().map(|one| (one - time).abs()).collect();
        let spread = median(&apart) / time;
        Self { name: name.to_owned(), each, time: time / each.0 as f64, spread, allocated }
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "together": self.each.0,
            "unit": self.each.1,
            "nanoseconds": self.time,
            "spread": self.spread,
            "allocations": self.allocated.map(|(calls, _)| calls),
            "bytes": self.allocated.map(|(_, bytes)| bytes),
        })
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn heading() -> String {
    let (left, of_each) = ("", "of each");
    format!(
        "{left:<58}{:<16}{:>10}{:>7}{:>13}{:>9}\n{left:<58}{left:<16}{of_each:>10}{left:7}{of_each:>13}{of_each:>9}\n",
        "together", "time", "+-", "allocations", "bytes"
    )
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = match self.time {
            time if time < 1e3 => format!("{time:.1} ns"),
            time if time < 1e6 => format!("{:.2} us", time / 1e3),
            time => format!("{:.2} ms", time / 1e6),
        };
        write!(f, "{:<16}{time:>10}{:>5.0} %", self.each, self.spread * 100.0)?;
        match self.allocated {
            Some((calls, bytes)) => write!(f, "{calls:>13.2}{bytes:>9.0}"),
            None => write!(f, "{:>13}{:>9}", "-", "-"),
        }
    }
}

/// To standard output, at once. Whoever closes it wants to hear no more.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}
