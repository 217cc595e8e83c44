//! What may be said to the micro-benchmarks.

const HELP: &str = "\
Measure what one batch costs a replica and its clients, without network and threads: time, allocations and bytes

Usage: cargo bench --bench micro -- [OPTIONS] [PART]...

Arguments:
  [PART]...  Measure only what has one of these in its name, for example `codec` or `step: 8`

Options:
      --json     Write JSON to standard output, in place of the table
      --list     Name all that there is, and measure nothing
      --test     Run each once, to see that it works; this is also what `cargo test --benches` does
  -h, --help     Print help

Times are medians, and +- is how far half of the samples are from it at most; both are of this machine, now. Counts of
allocations are the same everywhere: they are of the program's allocator, and a `-` is for memory that is not.

Exit codes: 0 done, 1 nothing has that in its name, 2 wrong usage.";

/// What is done with each benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Table,
    Json,
    List,
    Test,
}

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) mode: Mode,
    parts: Vec<String>,
}

/// What to do in place of measuring.
#[derive(Debug)]
pub(crate) enum Instead {
    Help(&'static str),
    WrongUsage(String),
}

impl Options {
    /// Understands the arguments of the program.
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> Result<Self, Instead> {
        let (mut mode, mut parts, mut bench) = (None, Vec::new(), false);
        for argument in arguments {
            let chosen = match argument.as_str() {
                "-h" | "--help" => return Err(Instead::Help(HELP)),
                // Only `cargo bench` says so.
                "--bench" => {
                    bench = true;
                    continue;
                }
                "--json" => Mode::Json,
                "--list" => Mode::List,
                "--test" => Mode::Test,
                other if other.starts_with('-') => {
                    return Err(Instead::WrongUsage(format!("there is no option {other}; see --help")));
                }
                _ => {
                    parts.push(argument);
                    continue;
                }
            };
            if mode.replace(chosen).is_some_and(|before| before != chosen) {
                return Err(Instead::WrongUsage("--json, --list and --test exclude each other".to_owned()));
            }
        }
        Ok(Self { mode: mode.unwrap_or(if bench { Mode::Table } else { Mode::Test }), parts })
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|part| name.contains(part.as_str()))
    }
}
