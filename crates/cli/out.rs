//! What is said on standard output and standard error, by every command in one way.
//!
//! Whoever reads may have heard enough before all is said, as in `quorate status | head -1`, and the standard library's
//! `println!` panics then. Its name means the one below in all of this program: a reader that is gone is told nothing
//! more, and the command comes to its own end, with its own exit code, so that a testbed still stops its processes.
//! Any other failure, such as a full disk, is remembered, and told by [`finish`].

use std::fmt::Arguments;
use std::io::{Error, ErrorKind, Write, stderr, stdout};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why not everything could be said.
static FAILURE: OnceLock<Error> = OnceLock::new();
/// Whether whoever read standard output reads no more.
static GONE: AtomicBool = AtomicBool::new(false);

/// As the standard library's, but for a reader that is gone.
macro_rules! print {
    ($($words:tt)*) => { $crate::out::say(format_args!($($words)*)) };
}

/// As the standard library's, but for a reader that is gone.
macro_rules! println {
    () => { $crate::out::say(format_args!("\n")) };
    ($($words:tt)*) => { $crate::out::say(format_args!("{}\n", format_args!($($words)*))) };
}

/// As the standard library's, but for a reader that is gone.
macro_rules! eprintln {
    () => { $crate::out::say_aside(format_args!("\n")) };
    ($($words:tt)*) => { $crate::out::say_aside(format_args!("{}\n", format_args!($($words)*))) };
}

/// On standard output.
pub(crate) fn say(words: Arguments<'_>) {
    note(stdout().write_fmt(words));
}

/// On standard error. If that fails there is nobody left to tell.
pub(crate) fn say_aside(words: Arguments<'_>) {
    drop(stderr().write_fmt(words));
}

fn note(written: Result<(), Error>) {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => GONE.store(true, Ordering::Relaxed),
        Err(error) => drop(FAILURE.set(error)),
        Ok(()) => {}
    }
}

/// Whether nobody reads standard output any more, or it cannot be written: a command without an end of its own comes to
/// it then.
pub(crate) fn reader_is_gone() -> bool {
    GONE.load(Ordering::Relaxed) || FAILURE.get().is_some()
}

/// Whether everything was said that anybody wanted to hear.
///
/// # Errors
/// Names what kept it from standard output.
pub(crate) fn finish() -> anyhow::Result<()> {
    note(stdout().flush());
    match FAILURE.get() {
        None => Ok(()),
        Some(error) => {
            anyhow::bail!("standard output cannot be written: {error}; what was said is not complete")
        }
    }
}
