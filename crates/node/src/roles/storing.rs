//! The role that stores states and serves them, on a thread of its own: it hashes and writes much at once, and neither
//! votes nor the journal wait for it.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use quorate_host::disk::Disk;
use quorate_host::host::JOBS_AT_ONCE;
use quorate_host::store::{Counters, Job, Store};

use super::{Back, Returns, spawn};

/// Stores states.
pub(crate) struct Storing {
    jobs: SyncSender<Job>,
    thread: JoinHandle<()>,
    counters: Counters,
}

impl Storing {
    pub(crate) fn thread<D: Disk + Send + 'static>(
        mut store: Store<D>,
        returns: &Returns,
    ) -> Result<Self, std::io::Error> {
        let (jobs, inbox) = sync_channel(JOBS_AT_ONCE);
        let back = returns.clone();
        let counters = store.counters();
        let thread = spawn("store", returns, move || {
            while let Ok(job) = inbox.recv() {
                let finished = store.run(job);
                if back.send(Back::Stored(Box::new(finished), store.counters())).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { jobs, thread, counters })
    }

    /// Gives it something to do; it comes back as [`Back::Stored`].
    pub(crate) fn run(&self, job: Job) {
        // The host has no more jobs out than fit. If the thread is dead, its watch has said so.
        drop(self.jobs.try_send(job));
    }

    /// A job came back.
    pub(crate) fn finished(&mut self, counters: Counters) {
        self.counters = counters;
    }

    /// What it did so far.
    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Finishes what was given to it, and lets go of the folder.
    pub(crate) fn close(self) {
        drop(self.jobs);
        drop(self.thread.join());
    }
}
