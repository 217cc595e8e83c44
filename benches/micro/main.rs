//! Micro-benchmarks of what one batch costs a replica and its clients: encoding, verification, steps, journal, execution,
//! answers, the state; with what each of them allocates.
//!
//! `cargo bench --bench micro` runs them, `cargo bench --bench micro -- verify` those with that in their names. They
//! compare a change with the commit before it on one machine; `quorate bench limits` says what that machine can do.

mod client;
mod codec;
mod execution;
mod journal;
mod made;
mod map;
mod options;
mod steps;
mod table;
mod verification;
mod view_change;

use std::process::ExitCode;

use options::{Instead, Options};
use table::Bench;

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(Instead::Help(text)) => {
            println!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(Instead::WrongUsage(why)) => {
            eprintln!("error: {why}");
            return ExitCode::from(2);
        }
    };
    let mut bench = Bench::new(options);
    codec::measure(&mut bench);
    verification::measure(&mut bench);
    steps::measure(&mut bench);
    journal::measure(&mut bench);
    execution::measure(&mut bench);
    client::measure(&mut bench);
    view_change::measure(&mut bench);
    map::measure(&mut bench);
    match bench.finish() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}
