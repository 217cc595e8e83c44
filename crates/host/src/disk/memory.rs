//! A disk in memory that forgets what was not synced, tears, rots and fails on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskError, DiskFailure, FileName, Operation};

const PAGE: u64 = 4096;

/// How much of what was not synced survives a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// Nothing.
    Forget,
    /// Everything: the process died, the machine did not.
    Keep,
    /// The n-th unsynced change of each file (counted from 0, modulo 64) survives if bit n is set; the last one that
    /// does is cut to `torn` bytes.
    Some {
        /// Which survive.
        mask: u64,
        /// Bytes of the last surviving write that reached the disk.
        torn: usize,
    },
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Resize(u64),
}

/// Sparse contents: pages that were never written do not exist.
#[derive(Debug, Clone, Default)]
struct Pages {
    length: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Pages {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write(offset, bytes) => self.write(*offset, bytes),
            Change::Resize(length) => {
                self.pages.retain(|page, _| page * PAGE < *length);
                if let Some(last) = self.pages.get_mut(&(length / PAGE)) {
                    last[(length % PAGE) as usize..].fill(0);
                }
                self.length = *length;
            }
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let inside = (at % PAGE) as usize;
            let (now, later) = rest.split_at(rest.len().min(PAGE as usize - inside));
            let page = self.pages.entry(at / PAGE).or_insert_with(|| vec![0; PAGE as usize]);
            page[inside..inside + now.len()].copy_from_slice(now);
            at += now.len() as u64;
            rest = later;
        }
        self.length = self.length.max(at);
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> usize {
        let length =
            usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes.len());
        let mut done = 0;
        while done < length {
            let at = offset + done as u64;
            let inside = (at % PAGE) as usize;
            let count = (length - done).min(PAGE as usize - inside);
            let target = &mut bytes[done..done + count];
            match self.pages.get(&(at / PAGE)) {
                Some(page) => target.copy_from_slice(&page[inside..inside + count]),
                None => target.fill(0),
            }
            done += count;
        }
        length
    }
}

#[derive(Debug, Clone, Default)]
struct MemoryFile {
    durable: Pages,
    current: Pages,
    unsynced: Vec<Change>,
}

impl MemoryFile {
    fn change(&mut self, change: Change) {
        self.current.apply(&change);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            self.durable.apply(&change);
        }
    }

    fn crash(&mut self, crash: Crash) {
        let survives = |index: usize| match crash {
            Crash::Forget => false,
            Crash::Keep => true,
            Crash::Some { mask, .. } => mask >> (index % 64) & 1 == 1,
        };
        let last = (0..self.unsynced.len()).rfind(|index| survives(*index));
        for (index, mut change) in std::mem::take(&mut self.unsynced).into_iter().enumerate() {
            if let (Change::Write(_, bytes), Crash::Some { torn, .. }) = (&mut change, crash)
                && Some(index) == last
            {
                bytes.truncate(torn);
            }
            if survives(index) {
                self.durable.apply(&change);
            }
        }
        self.current = self.durable.clone();
    }
}

/// What a folder in memory holds.
#[derive(Debug, Clone, Default)]
struct Contents {
    files: Vec<MemoryFile>,
    names: BTreeMap<FileName, usize>,
    durable_names: BTreeMap<FileName, usize>,
    operations: u64,
    fail_at: Option<(u64, DiskFailure)>,
}

impl Contents {
    fn count(&mut self, file: FileName, operation: Operation) -> Result<(), DiskError> {
        self.operations += 1;
        match &self.fail_at {
            Some((nth, kind)) if *nth == self.operations => {
                Err(DiskError { file, operation, kind: kind.clone() })
            }
            _ => Ok(()),
        }
    }

    fn find(&self, file: FileName, operation: Operation) -> Result<usize, DiskError> {
        let missing =
            || DiskError { file, operation, kind: DiskFailure::Failed("there is no such file".to_owned()) };
        self.names.get(&file).copied().ok_or_else(missing)
    }

    fn find_or_create(&mut self, file: FileName) -> &mut MemoryFile {
        let index = *self.names.entry(file).or_insert_with(|| {
            self.files.push(MemoryFile::default());
            self.files.len() - 1
        });
        &mut self.files[index]
    }
}

/// A folder in memory, for tests and the simulator. Cloning it copies the disk, [`Disk::share`] does not.
#[derive(Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<Contents>>);

impl Clone for MemoryDisk {
    fn clone(&self) -> Self {
        Self(Arc::new(Mutex::new(self.lock().clone())))
    }
}

impl MemoryDisk {
    /// An empty folder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        // A test that panicked while it held the disk has failed already.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts the power: files and names go back to what was synced, except what `crash` lets survive.
    pub fn crash(&mut self, crash: Crash) {
        let mut contents = self.lock();
        if crash == Crash::Keep {
            contents.durable_names = contents.names.clone();
        }
        contents.names = contents.durable_names.clone();
        contents.files.iter_mut().for_each(|file| file.crash(crash));
        contents.fail_at = None;
    }

    /// How many operations that change something were asked for so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Lets one operation fail that changes something: the `nth` from the disk's beginning, counted from 1.
    pub fn fail(&mut self, nth: u64, kind: DiskFailure) {
        self.lock().fail_at = Some((nth, kind));
    }

    /// Inverts the bits of `mask` in one byte of a file, on the medium itself.
    pub fn flip(&mut self, file: FileName, offset: u64, mask: u8) {
        let mut contents = self.lock();
        let Some(index) = contents.names.get(&file).copied() else { return };
        let file = &mut contents.files[index];
        for pages in [&mut file.durable, &mut file.current] {
            let mut byte = [0];
            if pages.read(offset, &mut byte) == 1 {
                pages.write(offset, &[byte[0] ^ mask]);
            }
        }
    }

    /// Offsets of the pages of a file that were ever written, each of 4096 bytes; the last may be cut.
    #[must_use]
    pub fn written(&self, file: FileName) -> Vec<u64> {
        let contents = self.lock();
        let Some(index) = contents.names.get(&file) else { return Vec::new() };
        contents.files[*index].current.pages.keys().map(|page| page * PAGE).collect()
    }

    /// Unsynced changes of a file.
    #[must_use]
    pub fn unsynced(&self, file: FileName) -> usize {
        let contents = self.lock();
        contents.names.get(&file).map_or(0, |index| contents.files[*index].unsynced.len())
    }
}

impl Disk for MemoryDisk {
    fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    fn read_at(&mut self, file: FileName, offset: u64, bytes: &mut [u8]) -> Result<usize, DiskError> {
        let contents = self.lock();
        let index = contents.find(file, Operation::Read)?;
        Ok(contents.files[index].current.read(offset, bytes))
    }

    fn write_at(&mut self, file: FileName, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut contents = self.lock();
        let counted = contents.count(file, Operation::Write);
        // A failing write may have written something.
        let written = if counted.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        contents.find_or_create(file).change(Change::Write(offset, written.to_vec()));
        counted
    }

    fn sync(&mut self, file: FileName) -> Result<(), DiskError> {
        let mut contents = self.lock();
        contents.count(file, Operation::Sync)?;
        let index = contents.find(file, Operation::Sync)?;
        contents.files[index].sync();
        Ok(())
    }

    fn sync_folder(&mut self) -> Result<(), DiskError> {
        let mut contents = self.lock();
        contents.count(FileName::Folder, Operation::Sync)?;
        contents.durable_names = contents.names.clone();
        // What no name leads to any more cannot come back.
        let named: std::collections::BTreeSet<usize> = contents.names.values().copied().collect();
        for (_, file) in contents.files.iter_mut().enumerate().filter(|(index, _)| !named.contains(index)) {
            *file = MemoryFile::default();
        }
        Ok(())
    }

    fn len(&mut self, file: FileName) -> Result<Option<u64>, DiskError> {
        let contents = self.lock();
        Ok(contents.names.get(&file).map(|index| contents.files[*index].current.length))
    }

    fn set_len(&mut self, file: FileName, bytes: u64) -> Result<(), DiskError> {
        let mut contents = self.lock();
        contents.count(file, Operation::Resize)?;
        contents.find_or_create(file).change(Change::Resize(bytes));
        Ok(())
    }

    fn reserve(&mut self, file: FileName, _from: u64, to: u64) -> Result<(), DiskError> {
        let mut contents = self.lock();
        contents.count(file, Operation::Resize)?;
        let file = contents.find_or_create(file);
        let length = file.current.length.max(to);
        file.change(Change::Resize(length));
        Ok(())
    }

    fn remove(&mut self, file: FileName) -> Result<(), DiskError> {
        let mut contents = self.lock();
        contents.count(file, Operation::Remove)?;
        contents.names.remove(&file);
        Ok(())
    }

    fn rename(&mut self, from: FileName, to: FileName) -> Result<(), DiskError> {
        let mut contents = self.lock();
        contents.count(from, Operation::Rename)?;
        let index = contents.find(from, Operation::Rename)?;
        contents.names.remove(&from);
        contents.names.insert(to, index);
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        Ok(self.lock().names.keys().map(ToString::to_string).collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const FILE: FileName = FileName::Journal;

    fn contents(disk: &mut MemoryDisk) -> Vec<u8> {
        let mut bytes = vec![0; disk.len(FILE).unwrap().unwrap_or(0) as usize];
        disk.read_at(FILE, 0, &mut bytes).unwrap();
        bytes
    }

    fn disk_with(bytes: &[u8]) -> MemoryDisk {
        let mut disk = MemoryDisk::new();
        disk.write_at(FILE, 0, bytes).unwrap();
        disk.sync(FILE).unwrap();
        disk.sync_folder().unwrap();
        disk
    }

    #[test]
    fn what_is_shared_is_one_disk_and_what_is_cloned_another() {
        let mut disk = disk_with(b"old");
        let (mut shared, mut copy) = (disk.share(), disk.clone());
        shared.write_at(FILE, 0, b"new").unwrap();
        assert_eq!((contents(&mut disk), contents(&mut copy)), (b"new".to_vec(), b"old".to_vec()));
    }

    #[test]
    fn a_power_cut_forgets_what_was_not_synced() {
        let mut disk = disk_with(b"old");
        disk.write_at(FILE, 0, b"new").unwrap();
        assert_eq!(contents(&mut disk), b"new");
        disk.crash(Crash::Forget);
        assert_eq!(contents(&mut disk), b"old");
    }

    #[test]
    fn a_power_cut_can_keep_some_writes_and_tear_the_last() {
        let mut disk = disk_with(b"......");
        for offset in [0, 2, 4] {
            disk.write_at(FILE, offset, b"xy").unwrap();
        }
        disk.crash(Crash::Some { mask: 0b101, torn: 1 });
        assert_eq!(contents(&mut disk), b"xy..x.");
    }

    #[test]
    fn a_name_is_not_durable_before_the_folder_is_synced() {
        let mut disk = MemoryDisk::new();
        disk.write_at(FILE, 0, b"x").unwrap();
        disk.sync(FILE).unwrap();
        disk.crash(Crash::Forget);
        assert_eq!(disk.len(FILE).unwrap(), None);
    }

    #[test]
    fn pages_that_were_never_written_are_not_named() {
        let mut disk = disk_with(b"x");
        disk.set_len(FILE, 100 * PAGE).unwrap();
        disk.write_at(FILE, 7 * PAGE - 1, b"xy").unwrap();
        assert_eq!(disk.written(FILE), [0, 6 * PAGE, 7 * PAGE]);
        assert!(disk.written(FileName::Superblock).is_empty());
    }

    #[test]
    fn writes_across_pages_read_back() {
        let mut disk = MemoryDisk::new();
        let bytes: Vec<u8> = (0..10_000_u32).map(|byte| byte as u8).collect();
        disk.write_at(FILE, 4090, &bytes).unwrap();
        let mut read = vec![9; 10_100];
        assert_eq!(disk.read_at(FILE, 4090, &mut read).unwrap(), 10_000);
        assert_eq!(read[..10_000], bytes);
        disk.set_len(FILE, 4095).unwrap();
        disk.set_len(FILE, 5000).unwrap();
        assert_eq!(contents(&mut disk)[4090..4100], [0, 1, 2, 3, 4, 0, 0, 0, 0, 0]);
    }
}
