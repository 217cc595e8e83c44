//! The role that stores states and serves them, on a thread of its own: it hashes and writes much at once, and neither
//! votes nor the journal wait for it.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use quorate_host::disk::Disk;
use quorate_host::host::JOBS_AT_ONCE;
use quorate_host::start::{StartError, Started};
use quorate_host::store::{Counters, Job, Store};

use super::{Back, Returns, spawn};

/// Stores states.
pub(crate) struct Storing {
    jobs: SyncSender<Job>,
    thread: JoinHandle<()>,
    counters: Counters,
}

impl Storing {
    /// Starts a replica from its folder on the role's own thread, which so has loaded the state: if another one takes
    /// its place, the same thread drops the one and loads the other into its memory.
    pub(crate) fn begin<D: Disk + Send + 'static>(
        returns: &Returns,
        begin: impl FnOnce() -> Result<(Started<D>, Store<D>), StartError> + Send + 'static,
    ) -> Result<(Self, Result<Started<D>, StartError>), std::io::Error> {
        let (jobs, inbox) = sync_channel(JOBS_AT_ONCE);
        let (tell, told) = sync_channel(1);
        let back = returns.clone();
        let thread = spawn("store", returns, move || {
            let (started, mut store) = match begin() {
                Ok(begun) => begun,
                Err(why) => return drop(tell.send((Err(why), Counters::default()))),
            };
            drop(tell.send((Ok(started), store.counters())));
            while let Ok(job) = inbox.recv() {
                let finished = store.run(job);
                if back.send(Back::Stored(Box::new(finished), store.counters())).is_err() {
                    return;
                }
            }
        })?;
        let told =
            told.recv().map_err(|_| std::io::Error::other("the thread that starts a replica panicked"));
        let (started, counters) = told?;
        Ok((Self { jobs, thread, counters }, started))
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
