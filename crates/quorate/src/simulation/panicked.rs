//! A panic of an application: what it was doing, and the line.

use std::fmt;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A panic of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Panicked {
    /// `src/lib.rs:31:22`; none if the application does not panic a second time in the same world.
    pub place: Option<String>,
    /// What it says.
    pub message: String,
    /// The client that asked, its number for it, and the slot in which it was ordered; or what else the application was
    /// doing.
    pub request: String,
    /// The command, as `Debug` shows it, if it was about one.
    pub command: Option<String>,
    /// Who came to it first: a replica, the reference execution beside the cluster, or the copy that was restored from a
    /// snapshot.
    pub who: String,
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, message, request, command, who } = self;
        match place {
            Some(place) => writeln!(f, "the application panicked at {place}: {message}")?,
            None => writeln!(f, "the application panicked, and not again in the same world: {message}")?,
        }
        match command {
            Some(command) => writeln!(f, "  {request}: {command}")?,
            None => writeln!(f, "  {request}")?,
        }
        write!(
            f,
            "  first at {who}; all replicas would stop there, again after each restart\n  a command may not make an \
             application panic, whatever it asks for: let the reply refuse it"
        )
    }
}

/// Runs what has panicked once more; gives back where it does. Only a hook sees that, and the process has one hook: it is
/// another one for this moment, and what other threads have to say goes to the one that was there.
pub(super) fn place_of(again: impl FnOnce()) -> Option<String> {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (before, place) = (Arc::new(panic::take_hook()), Arc::new(Mutex::new(None)));
    let (others, noted, here) = (Arc::clone(&before), Arc::clone(&place), thread::current().id());
    panic::set_hook(Box::new(move |panic| {
        if thread::current().id() != here {
            return others(panic);
        }
        let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
        *noted = panic.location().map(ToString::to_string);
    }));
    // It is known by now what it says.
    drop(catch_unwind(AssertUnwindSafe(again)));
    drop(panic::take_hook());
    if let Some(before) = Arc::into_inner(before) {
        panic::set_hook(before);
    }
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}
