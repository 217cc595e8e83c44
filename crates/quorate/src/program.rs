//! The whole program of an application, in one call.

use std::process::ExitCode;

use quorate_cli::Own;
use quorate_protocol::application::Application;

/// Makes a program of an application: with the subcommands of `quorate`, by the same code.
///
/// `my-ledger init`, `replica`, `status`, `why` and the rest do what those of `quorate` do, with replicas that run `A`.
/// `my-ledger client call` asks what its argument says in JSON, and prints the reply in JSON. `my-ledger testbed` starts
/// replica processes of this very program and loads them with `operation(0)`, `operation(1)` and so on, each asked once,
/// while they are killed, paused or told to lie; its verdict says whether the correct ones agree. A cluster of it has
/// `name` as the application of its cluster file.
///
/// ```no_run
/// use quorate::{Application, Context};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Counter(i64);
///
/// impl Application for Counter {
///     type Command = i64;
///     type Reply = i64;
///
///     fn apply(&mut self, _context: &Context, amount: i64) -> i64 {
///         self.0 = self.0.wrapping_add(amount);
///         self.0
///     }
/// }
///
/// fn main() -> std::process::ExitCode {
///     quorate::program::<Counter>("my-counter", |n| n as i64 % 10)
/// }
/// ```
#[must_use]
pub fn program<A: Application + Default>(
    name: &'static str,
    operation: impl Fn(u64) -> A::Command + Send + Sync + 'static,
) -> ExitCode {
    quorate_cli::run(Some(Own::new::<A>(name, operation)))
}
