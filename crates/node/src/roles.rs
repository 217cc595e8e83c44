//! Verification, execution, the journal and the store as roles: each runs on the protocol's thread or on threads of its own. Which
//! one is configuration; what they do is the same.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use quorate_host::disk::Disk;
use quorate_host::execution::{Done, Execution, Task};
use quorate_host::journal::{Group, JournalError, Writer};
use quorate_host::store::{Counters as StoreCounters, Finished, StoreError};
use quorate_host::superblock::SnapshotPointer;
use quorate_protocol::process::Event;
use quorate_protocol::types::{Digest, Position, Seq};
use quorate_protocol::verify::{Checks, Incoming, Invalid, Verifier};
use tokio::sync::mpsc::UnboundedSender;

mod storing;
mod timed;

pub(crate) use storing::Storing;
pub(crate) use timed::JournalReport;
use timed::Timed;

/// Jobs that may wait for one worker.
const JOBS_MAX: usize = 64;
/// Messages in one verification job, at most; the largest batch that still pays.
const JOB_MESSAGES_MAX: usize = 256;

/// What a role gives back. As many as were given to it, so what it sends needs no bound of its own.
#[derive(Debug)]
pub(crate) enum Back {
    Verdicts {
        verdicts: Vec<Result<Event, Invalid>>,
        checks: Checks,
        worker: usize,
    },
    Done(Done),
    Written(Result<Position, JournalError>, JournalReport),
    Pointed(Result<SnapshotPointer, JournalError>, JournalReport),
    Stored(Box<Result<Finished, StoreError>>, StoreCounters),
    /// The role's thread panicked.
    Died(&'static str),
}

/// Where roles give back.
pub(crate) type Returns = UnboundedSender<Back>;

/// Tells when a role's thread panics: a replica that lost a role must not go on as if it had it.
struct Watch(&'static str, Returns);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            drop(self.1.send(Back::Died(self.0)));
        }
    }
}

fn spawn(
    name: &'static str,
    returns: &Returns,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, std::io::Error> {
    let watch = Watch(name, returns.clone());
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _watch = watch;
        work();
    })
}

/// Checks signatures.
pub(crate) enum Verification {
    Here(Box<Verifier>),
    Threads { workers: Vec<VerifierThread>, waiting: VecDeque<Incoming> },
}

pub(crate) struct VerifierThread {
    jobs: SyncSender<Vec<Incoming>>,
    busy: usize,
}

impl Verification {
    pub(crate) fn threads(verifiers: Vec<Verifier>, returns: &Returns) -> Result<Self, std::io::Error> {
        let mut workers = Vec::new();
        for (worker, mut verifier) in verifiers.into_iter().enumerate() {
            let (jobs, inbox): (_, Receiver<Vec<Incoming>>) = sync_channel(JOBS_MAX);
            let back = returns.clone();
            spawn("verifier", returns, move || {
                while let Ok(job) = inbox.recv() {
                    let verdicts = verifier.verify(job);
                    let verdicts = Back::Verdicts { verdicts, checks: verifier.checks(), worker };
                    if back.send(verdicts).is_err() {
                        return;
                    }
                }
            })?;
            workers.push(VerifierThread { jobs, busy: 0 });
        }
        Ok(Self::Threads { workers, waiting: VecDeque::new() })
    }

    /// Checks messages, here and now or soon elsewhere.
    pub(crate) fn check(&mut self, messages: Vec<Incoming>) -> Option<(Vec<Result<Event, Invalid>>, Checks)> {
        match self {
            Self::Here(verifier) => {
                let verdicts = verifier.verify(messages);
                Some((verdicts, verifier.checks()))
            }
            Self::Threads { waiting, .. } => {
                waiting.extend(messages);
                self.dispatch();
                None
            }
        }
    }

    /// Messages that wait for a worker.
    pub(crate) fn waiting(&self) -> usize {
        match self {
            Self::Here(_) => 0,
            Self::Threads { waiting, .. } => waiting.len(),
        }
    }

    /// A worker has given a job back.
    pub(crate) fn finished(&mut self, worker: usize) {
        if let Self::Threads { workers, .. } = self {
            workers[worker].busy -= 1;
        }
        self.dispatch();
    }

    /// Gives what waits to workers that have nothing to do: the longer it waited, the larger the batch.
    fn dispatch(&mut self) {
        let Self::Threads { workers, waiting } = self else { return };
        for worker in workers.iter_mut().filter(|worker| worker.busy == 0) {
            if waiting.is_empty() {
                return;
            }
            let job = waiting.drain(..waiting.len().min(JOB_MESSAGES_MAX)).collect();
            match worker.jobs.try_send(job) {
                Ok(()) => worker.busy += 1,
                Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => waiting.extend(job),
            }
        }
    }
}

/// Executes batches.
pub(crate) enum Executing {
    Here(Box<Execution>),
    Thread(SyncSender<ExecutionJob>, VecDeque<Task>),
}

/// What the execution thread is asked.
pub(crate) enum ExecutionJob {
    Tasks(VecDeque<Task>),
    History(Seq, tokio::sync::oneshot::Sender<Option<Digest>>),
}

impl Executing {
    pub(crate) fn thread(mut execution: Execution, returns: Returns) -> Result<Self, std::io::Error> {
        let (jobs, inbox) = sync_channel(JOBS_MAX);
        let back = returns.clone();
        spawn("execution", &returns, move || {
            while let Ok(job) = inbox.recv() {
                match job {
                    ExecutionJob::Tasks(tasks) => {
                        for task in tasks {
                            if back.send(Back::Done(execution.run(task))).is_err() {
                                return;
                            }
                        }
                    }
                    ExecutionJob::History(seq, answer) => drop(answer.send(execution.history(seq))),
                }
            }
        })?;
        Ok(Self::Thread(jobs, VecDeque::new()))
    }

    /// Does tasks, here and now or soon elsewhere.
    pub(crate) fn run(&mut self, tasks: VecDeque<Task>) -> Vec<Done> {
        match self {
            Self::Here(execution) => tasks.into_iter().map(|task| execution.run(task)).collect(),
            Self::Thread(jobs, waiting) => {
                waiting.extend(tasks);
                if !waiting.is_empty()
                    && let Err(TrySendError::Full(ExecutionJob::Tasks(tasks))) =
                        jobs.try_send(ExecutionJob::Tasks(std::mem::take(waiting)))
                {
                    *waiting = tasks;
                }
                Vec::new()
            }
        }
    }

    /// Tasks that wait for a place in the thread's queue.
    pub(crate) fn waiting(&self) -> usize {
        match self {
            Self::Here(_) => 0,
            Self::Thread(_, waiting) => waiting.len(),
        }
    }

    /// Answers with the head of the history after a slot.
    pub(crate) fn history(&self, seq: Seq, answer: tokio::sync::oneshot::Sender<Option<Digest>>) {
        match self {
            Self::Here(execution) => drop(answer.send(execution.history(seq))),
            Self::Thread(jobs, _) => drop(jobs.try_send(ExecutionJob::History(seq, answer))),
        }
    }
}

/// Writes the journal and the superblock.
pub(crate) enum Writing<D: Disk> {
    Here(Box<Timed<D>>),
    Thread { jobs: SyncSender<WriteJob>, thread: JoinHandle<()>, busy: bool, pointing: bool },
}

/// What the journal's thread is asked.
pub(crate) enum WriteJob {
    Group(Group),
    Point(SnapshotPointer),
}

/// What became of a group: durable up to here, or not known yet.
pub(crate) type Written = Option<Result<Position, JournalError>>;

/// What became of a pointer to a state: the superblock has it, or that is not known yet.
pub(crate) type Pointed = Option<Result<SnapshotPointer, JournalError>>;

impl<D: Disk + Send + 'static> Writing<D> {
    pub(crate) fn here(writer: Writer<D>) -> Self {
        Self::Here(Box::new(Timed::new(writer)))
    }

    pub(crate) fn thread(writer: Writer<D>, returns: Returns) -> Result<Self, std::io::Error> {
        let mut writer = Timed::new(writer);
        let (jobs, inbox) = sync_channel(JOBS_MAX);
        let back = returns.clone();
        let thread = spawn("journal", &returns, move || {
            while let Ok(job) = inbox.recv() {
                let done = match job {
                    WriteJob::Group(group) => {
                        let written = writer.write(&group);
                        Back::Written(written, writer.report())
                    }
                    WriteJob::Point(pointer) => {
                        let pointed = writer.point_to(pointer);
                        Back::Pointed(pointed, writer.report())
                    }
                };
                if back.send(done).is_err() {
                    break;
                }
            }
            // A clean stop: the error of a last write has been reported with that write.
            drop(writer.close());
        })?;
        Ok(Self::Thread { jobs, thread, busy: false, pointing: false })
    }

    /// Whether a group may be given to it: what comes meanwhile is written together.
    pub(crate) fn ready(&self) -> bool {
        match self {
            Self::Here(_) => true,
            Self::Thread { busy, .. } => !busy,
        }
    }

    pub(crate) fn write(&mut self, group: Group) -> Written {
        match self {
            Self::Here(writer) => Some(writer.write(&group)),
            Self::Thread { jobs, busy, .. } => {
                *busy = true;
                jobs.try_send(WriteJob::Group(group))
                    .expect("one group and one pointer fit, and the thread lives");
                None
            }
        }
    }

    /// A group was written.
    pub(crate) fn written(&mut self) {
        if let Self::Thread { busy, .. } = self {
            *busy = false;
        }
    }

    /// The superblock has a pointer.
    pub(crate) fn pointed(&mut self) {
        if let Self::Thread { pointing, .. } = self {
            *pointing = false;
        }
    }

    /// Whether it takes a pointer: the superblock has the one before.
    pub(crate) fn takes_pointer(&self) -> bool {
        match self {
            Self::Here(_) => true,
            Self::Thread { pointing, .. } => !pointing,
        }
    }

    /// Points the superblock at a state, if it takes a pointer.
    pub(crate) fn point(&mut self, pointer: SnapshotPointer) -> Pointed {
        match self {
            Self::Here(writer) => Some(writer.point_to(pointer)),
            Self::Thread { jobs, pointing, .. } => {
                *pointing = true;
                let job = WriteJob::Point(pointer);
                jobs.try_send(job).expect("one group and one pointer fit, and the thread lives");
                None
            }
        }
    }

    /// What it did so far, if it is here; else that came with what it wrote last.
    pub(crate) fn report(&self) -> Option<JournalReport> {
        match self {
            Self::Here(writer) => Some(writer.report()),
            Self::Thread { .. } => None,
        }
    }

    /// Writes what was given to it, and lets go of the folder.
    pub(crate) fn close(self) -> Result<(), JournalError> {
        match self {
            Self::Here(writer) => writer.close(),
            Self::Thread { jobs, thread, .. } => {
                drop(jobs);
                drop(thread.join());
                Ok(())
            }
        }
    }
}
