//! The program `quorate`. Its subcommands are the modules of `lib.rs`, which programs of other applications have as well.

use std::process::ExitCode;

/// Replicas answer from several threads at once, and freeing what another thread allocated is what mimalloc is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    quorate_cli::run(None)
}
