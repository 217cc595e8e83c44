//! How long a sync takes, through the file layer under a replica's journal, and on which file system.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quorate_host::disk::{Disk as _, DiskError, FileName};
use quorate_node::file_disk::FileDisk;
use serde::{Deserialize, Serialize};

use super::Effort;
use super::timing::{microseconds_since, percentile, tenths_of_nanoseconds};

/// Longest time spent on one size in one folder; a disk that needs longer is judged by fewer syncs.
const PATIENCE: Duration = Duration::from_secs(1);
const SMALL_BYTES: usize = 256;
const LARGE_BYTES: usize = 64 << 10;

/// A file system, as the kernel's table of mounts has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystem {
    /// Its type, such as ext4.
    pub kind: String,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// What is mounted there.
    pub device: String,
    /// Whether it lives in memory, where a sync does nothing and a power cut takes everything.
    pub in_memory: bool,
}

/// Syncs in one folder: each appends to a file whose blocks are there already, and waits for `fdatasync`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Disk {
    /// The folder.
    pub dir: PathBuf,
    /// Its file system; none where the system has no table of mounts.
    pub file_system: Option<FileSystem>,
    /// Appends of 256 bytes.
    pub sync_256_b: Option<SyncLatency>,
    /// Appends of 64 KiB.
    pub sync_64_kib: Option<SyncLatency>,
    /// Why there is no measurement.
    pub trouble: Option<String>,
}

/// Microseconds from an append to the end of its sync.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SyncLatency {
    /// How many there were.
    pub samples: usize,
    /// Half of them took no longer.
    pub p50_us: f64,
    /// 99 in a hundred took no longer.
    pub p99_us: f64,
    /// The shortest.
    pub min_us: f64,
    /// The longest.
    pub max_us: f64,
}

impl SyncLatency {
    fn of(mut samples_us: Vec<f64>) -> Self {
        samples_us.iter_mut().for_each(|sample| *sample = tenths_of_nanoseconds(*sample));
        samples_us.sort_by(f64::total_cmp);
        Self {
            samples: samples_us.len(),
            p50_us: percentile(&samples_us, 50),
            p99_us: percentile(&samples_us, 99),
            min_us: samples_us.first().copied().unwrap_or_default(),
            max_us: samples_us.last().copied().unwrap_or_default(),
        }
    }
}

/// Measures each folder, except those in a file system that an earlier one is in.
pub(super) fn measure(dirs: &[PathBuf], effort: Effort) -> Vec<Disk> {
    let mut disks: Vec<Disk> = Vec::new();
    for dir in dirs {
        let dir = dir.canonicalize().unwrap_or_else(|_| dir.clone());
        let file_system = file_system_of(&dir);
        let known = |disk: &Disk| {
            disk.dir == dir
                || (file_system.is_some() && disk.trouble.is_none() && disk.file_system == file_system)
        };
        if !disks.iter().any(known) {
            disks.push(measure_one(dir, file_system, effort));
        }
    }
    disks
}

/// A folder whose disk cannot be measured.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UnusableFolder(String);

/// Sees that something can be written in each folder, before anybody waits for the other measurements.
///
/// # Errors
/// [`UnusableFolder`] names the first in which nothing can, and why.
pub fn check_folders(dirs: &[PathBuf]) -> Result<(), UnusableFolder> {
    dirs.iter().try_for_each(|dir| Scratch::create(dir).map(drop).map_err(UnusableFolder))
}

fn measure_one(dir: PathBuf, file_system: Option<FileSystem>, effort: Effort) -> Disk {
    let measured = Scratch::create(&dir).and_then(|mut scratch| {
        let small = scratch.syncs(SMALL_BYTES, effort).map_err(|error| error.to_string())?;
        let large = scratch.syncs(LARGE_BYTES, effort).map_err(|error| error.to_string())?;
        Ok((small, large))
    });
    let (latencies, trouble) = match measured {
        Ok(latencies) => (Some(latencies), None),
        Err(trouble) => (None, Some(trouble)),
    };
    let (sync_256_b, sync_64_kib) = latencies.unzip();
    Disk { dir, file_system, sync_256_b, sync_64_kib, trouble }
}

/// A folder of our own, removed at the end.
struct Scratch {
    folder: PathBuf,
    disk: FileDisk,
}

impl Scratch {
    fn create(dir: &Path) -> Result<Self, String> {
        let said = |error: &dyn std::fmt::Display| {
            format!("nothing can be written in {}: {error}; name another folder", dir.display())
        };
        let folder = dir.join(format!("quorate-limits-{}", std::process::id()));
        // Not recursively: a folder that is not there is a mistake, not a wish.
        std::fs::create_dir(&folder).map_err(|error| said(&error))?;
        match FileDisk::open(&folder) {
            Ok(disk) => Ok(Self { folder, disk }),
            Err(error) => {
                let _ = std::fs::remove_dir_all(&folder);
                Err(said(&error))
            }
        }
    }

    fn syncs(&mut self, bytes: usize, effort: Effort) -> Result<SyncLatency, DiskError> {
        let samples = effort.choose(200, 5);
        let file = FileName::Journal;
        let content = vec![0x5a; bytes];
        self.disk.reserve(file, 0, (samples * bytes) as u64)?;
        self.disk.sync(file)?;
        let started = Instant::now();
        let mut taken = Vec::with_capacity(samples);
        for sample in 0..samples {
            let start = Instant::now();
            self.disk.write_at(file, (sample * bytes) as u64, &content)?;
            self.disk.sync(file)?;
            taken.push(microseconds_since(start));
            if started.elapsed() > PATIENCE {
                break;
            }
        }
        Ok(SyncLatency::of(taken))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is a few megabytes under a name that says whose they are.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The file system that `path` is in. None if the path is not there, or the system has no table of mounts.
#[must_use]
pub fn file_system_of(path: &Path) -> Option<FileSystem> {
    let mounts = std::fs::read_to_string("/proc/mounts").ok()?;
    find_file_system(&mounts, &path.canonicalize().ok()?)
}

/// The mount with the longest mount point above `path`; of several on one mount point, the last, which hides the others.
pub(super) fn find_file_system(mounts: &str, path: &Path) -> Option<FileSystem> {
    let above = mounts.lines().filter_map(parse_mount).filter(|mount| path.starts_with(&mount.mount_point));
    above.max_by_key(|mount| mount.mount_point.components().count())
}

fn parse_mount(line: &str) -> Option<FileSystem> {
    let mut fields = line.split(' ');
    let (device, mount_point, kind) = (fields.next()?, fields.next()?, fields.next()?);
    Some(FileSystem {
        kind: kind.to_owned(),
        mount_point: PathBuf::from(unescape(mount_point)),
        device: unescape(device),
        in_memory: ["tmpfs", "ramfs", "devtmpfs", "rootfs"].contains(&kind),
    })
}

/// The kernel writes spaces, tabs, newlines and backslashes of names as three octal digits.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |field, (code, character)| field.replace(code, character))
}
