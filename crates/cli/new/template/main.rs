//! The program: replicas, clients and trials of the ledger. `my-ledger --help` lists what it can do.

use my_ledger::{Ledger, operation};

fn main() -> std::process::ExitCode {
    quorate::program::<Ledger>("my-ledger", operation)
}
