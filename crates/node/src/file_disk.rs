//! A replica's folder on a real file system.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorate_host::disk::{Disk, DiskError, DiskFailure, FileName, Operation};

/// Holds the lock that keeps a second process out; no [`FileName`].
const LOCK: &str = "lock";
/// What is in a folder that was formatted and nothing else.
pub(crate) const FORMATTED: [&str; 3] = [LOCK, "journal", "superblock"];
/// Files kept open: as many as a state of half a gibibyte consists of, so that reading one opens each file once.
const OPEN_MAX: usize = 64;
const ZEROS: usize = 1 << 20;

/// A folder that this process holds alone. Files are readable by their owner only.
///
/// A disk belongs to one thread; [`Disk::share`] makes another one for another thread under the same lock.
#[derive(Debug)]
pub struct FileDisk {
    folder: PathBuf,
    lock: Arc<File>,
    /// Open files, each with when it was used last, counted in uses.
    open: BTreeMap<FileName, (u64, File)>,
    uses: u64,
    read_only: bool,
}

fn failed(file: FileName, operation: Operation) -> impl Fn(io::Error) -> DiskError {
    move |error| {
        let kind = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => DiskFailure::Full,
            _ => DiskFailure::Failed(error.to_string()),
        };
        DiskError { file, operation, kind }
    }
}

impl FileDisk {
    /// Creates the folder, and those above it, unless it is there; then opens it.
    ///
    /// # Errors
    /// As [`FileDisk::open`], and if it cannot be created.
    pub fn create(folder: &Path) -> Result<Self, DiskError> {
        let failed = failed(FileName::Folder, Operation::Open);
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(&failed)?;
        // The folder's own name must be durable too, or a power cut takes the folder with all that was synced in it.
        let canonical = folder.canonicalize().map_err(&failed)?;
        if let Some(above) = canonical.parent() {
            File::open(above).and_then(|above| above.sync_all()).map_err(&failed)?;
        }
        Self::open(folder)
    }

    /// Opens a folder and locks it until this disk, and all that share its lock, are dropped.
    ///
    /// # Errors
    /// [`DiskFailure::Locked`] if another process, or this one, has it open already.
    pub fn open(folder: &Path) -> Result<Self, DiskError> {
        let path = folder.join(LOCK);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(path).map_err(failed(FileName::Folder, Operation::Open))?;
        Self::locked(&lock)?;
        Ok(Self::of(folder, lock, false))
    }

    /// Opens a folder to be looked at: nothing in it is changed, not even a lock is made where there is none.
    ///
    /// # Errors
    /// As [`FileDisk::open`].
    pub fn examine(folder: &Path) -> Result<Self, DiskError> {
        let failed = failed(FileName::Folder, Operation::Open);
        let lock = match File::open(folder.join(LOCK)) {
            Ok(lock) => lock,
            // Where no lock was ever taken nobody holds it.
            Err(error) if error.kind() == ErrorKind::NotFound => File::open(folder).map_err(failed)?,
            Err(error) => return Err(failed(error)),
        };
        Self::locked(&lock)?;
        Ok(Self::of(folder, lock, true))
    }

    fn of(folder: &Path, lock: File, read_only: bool) -> Self {
        Self { folder: folder.to_owned(), lock: Arc::new(lock), open: BTreeMap::new(), uses: 0, read_only }
    }

    fn locked(lock: &File) -> Result<(), DiskError> {
        let (file, operation) = (FileName::Folder, Operation::Lock);
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => DiskError { file, operation, kind: DiskFailure::Locked },
            TryLockError::Error(error) => failed(file, operation)(error),
        })
    }

    /// Where the folder is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, file: FileName) -> PathBuf {
        self.folder.join(file.to_string())
    }

    fn file(&mut self, file: FileName, operation: Operation, create: bool) -> Result<&File, DiskError> {
        if !self.open.contains_key(&file) {
            let mut options = OpenOptions::new();
            options.read(true).write(!self.read_only).create(create && !self.read_only);
            options.truncate(false).mode(0o600);
            let opened = options.open(self.path(file)).map_err(failed(file, operation))?;
            if self.open.len() >= OPEN_MAX {
                // Those of states only, which are synced before the next one is begun: what failed to reach the medium
                // is told to handles that were open then. What is closed here is opened again at need.
                let of_states = self.open.iter().filter(|(name, _)| **name > FileName::Journal);
                let oldest = of_states.min_by_key(|(_, (used, _))| *used).map(|(name, _)| *name);
                oldest.and_then(|name| self.open.remove(&name));
            }
            self.open.insert(file, (0, opened));
        }
        self.uses += 1;
        let (used, handle) = self.open.get_mut(&file).expect("it was opened just now, unless it was open");
        *used = self.uses;
        Ok(handle)
    }
}

impl Disk for FileDisk {
    fn share(&self) -> Self {
        Self {
            folder: self.folder.clone(),
            lock: Arc::clone(&self.lock),
            open: BTreeMap::new(),
            uses: 0,
            read_only: self.read_only,
        }
    }

    fn read_at(&mut self, file: FileName, offset: u64, bytes: &mut [u8]) -> Result<usize, DiskError> {
        let handle = self.file(file, Operation::Read, false)?;
        let mut done = 0;
        while done < bytes.len() {
            match handle.read_at(&mut bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(file, Operation::Read)(error)),
            }
        }
        Ok(done)
    }

    fn write_at(&mut self, file: FileName, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let handle = self.file(file, Operation::Write, true)?;
        handle.write_all_at(bytes, offset).map_err(failed(file, Operation::Write))
    }

    fn sync(&mut self, file: FileName) -> Result<(), DiskError> {
        self.file(file, Operation::Sync, false)?.sync_data().map_err(failed(file, Operation::Sync))
    }

    fn sync_folder(&mut self) -> Result<(), DiskError> {
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(failed(FileName::Folder, Operation::Sync))
    }

    fn len(&mut self, file: FileName) -> Result<Option<u64>, DiskError> {
        match fs::metadata(self.path(file)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(file, Operation::Read)(error)),
        }
    }

    fn set_len(&mut self, file: FileName, bytes: u64) -> Result<(), DiskError> {
        self.file(file, Operation::Resize, true)?.set_len(bytes).map_err(failed(file, Operation::Resize))
    }

    fn reserve(&mut self, file: FileName, from: u64, to: u64) -> Result<(), DiskError> {
        let handle = self.file(file, Operation::Resize, true)?;
        let zeros = vec![0; ZEROS];
        let mut at = from;
        while at < to {
            let count = (to - at).min(ZEROS as u64);
            handle.write_all_at(&zeros[..count as usize], at).map_err(failed(file, Operation::Resize))?;
            at += count;
        }
        Ok(())
    }

    fn remove(&mut self, file: FileName) -> Result<(), DiskError> {
        self.open.remove(&file);
        match fs::remove_file(self.path(file)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(file, Operation::Remove)(error)),
            _ => Ok(()),
        }
    }

    fn rename(&mut self, from: FileName, to: FileName) -> Result<(), DiskError> {
        self.open.remove(&from);
        self.open.remove(&to);
        fs::rename(self.path(from), self.path(to)).map_err(failed(from, Operation::Rename))
    }

    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        let failed = failed(FileName::Folder, Operation::List);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(&failed)? {
            let name = entry.map_err(&failed)?.file_name().to_string_lossy().into_owned();
            if name != LOCK {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
