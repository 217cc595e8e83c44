//! Processor time: of each replica's process, of each of its threads by name, and of the load.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Microseconds of one tick of `stat` files, of which a second has a hundred wherever Linux runs.
const TICK_US: u64 = 10_000;
/// What the name of every thread of load begins with.
pub const LOAD_THREAD: &str = "load";

/// What a process took of the processors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessTime {
    /// All of it in microseconds, that of threads that ended too.
    pub total_us: u64,
    /// Of the threads that still run, those of one name together, in microseconds.
    pub threads_us: BTreeMap<String, u64>,
}

impl ProcessTime {
    /// Of a process that runs; nothing where the system does not say.
    #[must_use]
    pub fn of(process: u32) -> Self {
        let folder = Path::new("/proc").join(process.to_string());
        let threads_us = threads(&folder);
        let running: u64 = threads_us.values().sum();
        let all = fs::read_to_string(folder.join("stat")).ok().and_then(|text| ticks_us(&text));
        // The ticks are coarse, and count threads that are gone; those that run are known better.
        Self { total_us: all.unwrap_or(0).max(running), threads_us }
    }

    /// Of the threads of this process whose names begin so.
    #[must_use]
    pub fn of_own_threads(prefix: &str) -> Self {
        let mut threads_us = threads(Path::new("/proc/self"));
        threads_us.retain(|name, _| name.starts_with(prefix));
        Self { total_us: threads_us.values().sum(), threads_us }
    }

    /// Adds what another process, or another machine, took.
    pub fn add(&mut self, other: &Self) {
        self.total_us += other.total_us;
        for (name, time_us) in &other.threads_us {
            *self.threads_us.entry(name.clone()).or_default() += time_us;
        }
    }

    /// What was taken since an earlier look.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let less = |(name, time_us): (&String, &u64)| {
            let before = earlier.threads_us.get(name).copied().unwrap_or(0);
            (name.clone(), time_us.saturating_sub(before))
        };
        Self {
            total_us: self.total_us.saturating_sub(earlier.total_us),
            threads_us: self.threads_us.iter().map(less).collect(),
        }
    }
}

/// What replicas and clients took since they were started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Each replica, all its processes one after the other.
    pub replicas: BTreeMap<u16, ProcessTime>,
    /// The threads of load, on all machines.
    pub load: ProcessTime,
}

impl Usage {
    /// Adds what another machine said.
    pub fn add(&mut self, other: &Self) {
        for (replica, time) in &other.replicas {
            self.replicas.entry(*replica).or_default().add(time);
        }
        self.load.add(&other.load);
    }

    /// What was taken since an earlier look.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let none = ProcessTime::default();
        let less = |(replica, time): (&u16, &ProcessTime)| {
            (*replica, time.since(earlier.replicas.get(replica).unwrap_or(&none)))
        };
        Self { replicas: self.replicas.iter().map(less).collect(), load: self.load.since(&earlier.load) }
    }
}

/// Threads of a process by name, with their time in microseconds; those of one name together.
fn threads(process: &Path) -> BTreeMap<String, u64> {
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    let Ok(tasks) = fs::read_dir(process.join("task")) else { return found };
    for task in tasks.flatten() {
        let read = |file: &str| fs::read_to_string(task.path().join(file)).ok();
        // One that ends while it is looked at is as one that had ended before.
        let Some(name) = read("comm") else { continue };
        // Nanoseconds, where the system was built to count them.
        let exact = read("schedstat").and_then(|text| exact_us(&text));
        let time_us = exact.or_else(|| read("stat").and_then(|text| ticks_us(&text)));
        *found.entry(name.trim_end().to_owned()).or_default() += time_us.unwrap_or(0);
    }
    found
}

/// The first number of `schedstat`: nanoseconds on a processor.
fn exact_us(text: &str) -> Option<u64> {
    let spent_ns: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some(spent_ns / 1000).filter(|spent_us| *spent_us > 0)
}

/// User and system time of `stat`. The name in it stands in brackets, and may have spaces and brackets of its own.
fn ticks_us(text: &str) -> Option<u64> {
    let (_, behind) = text.rsplit_once(')')?;
    let mut fields = behind.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some((next()? + next()?) * TICK_US)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn time(total_us: u64, threads: &[(&str, u64)]) -> ProcessTime {
        let threads_us = threads.iter().map(|(name, us)| ((*name).to_owned(), *us)).collect();
        ProcessTime { total_us, threads_us }
    }

    #[test]
    fn ticks_are_found_behind_whatever_name_a_thread_has() {
        let line = "77 (a) b (c) S 1 77 77 0 -1 4194304 100 0 0 0 12 30 0 0 20 0 4 0 5 0 0";
        assert_eq!(ticks_us(line), Some(420_000));
        assert_eq!((ticks_us("77 (a"), ticks_us("77 (a) S 1"), exact_us("")), (None, None, None));
        assert_eq!((exact_us("1234567 5 6"), exact_us("0 0 0")), (Some(1_234), None));
    }

    #[test]
    fn a_thread_is_known_by_its_name_and_its_work_is_seen() {
        let (stop, stopped) = sync_channel::<()>(1);
        let (ready, at_work) = sync_channel::<()>(1);
        let busy = std::thread::Builder::new().name("load-of-test".to_owned()).spawn(move || {
            let mut sum = 0_u64;
            for step in 0..200_000_000_u64 {
                sum = std::hint::black_box(sum.wrapping_add(step));
            }
            ready.send(()).unwrap();
            stopped.recv().ok();
            sum
        });
        at_work.recv().unwrap();
        if Path::new("/proc/self/task").exists() {
            let seen = ProcessTime::of_own_threads("load-of-test");
            assert!(seen.threads_us["load-of-test"] > 10_000, "{seen:?}");
            assert_eq!(seen.threads_us.len(), 1);
            let all = ProcessTime::of(std::process::id());
            assert!(all.total_us >= seen.total_us, "{all:?} {seen:?}");
        }
        stop.send(()).unwrap();
        busy.unwrap().join().unwrap();
        assert_eq!(ProcessTime::of(u32::MAX), ProcessTime::default());
    }

    #[test]
    fn what_was_taken_meanwhile_is_the_difference() {
        let before = Usage {
            replicas: BTreeMap::from([(0, time(100, &[("quorate", 90)]))]),
            load: time(5, &[("load", 5)]),
        };
        let mut after = before.clone();
        after.add(&Usage {
            replicas: BTreeMap::from([(0, time(20, &[("quorate", 15), ("journal", 5)])), (1, time(7, &[]))]),
            load: time(1, &[("load", 1)]),
        });
        let since = after.since(&before);
        assert_eq!(since.replicas[&0], time(20, &[("journal", 5), ("quorate", 15)]));
        assert_eq!((since.replicas[&1].total_us, since.load.total_us), (7, 1));
    }
}
