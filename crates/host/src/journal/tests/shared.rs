//! A disk in memory that tests still see when its journal is gone.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;

/// A disk that outlives whoever was given it: what a failed call did is still seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Shared(pub(super) Rc<RefCell<MemoryDisk>>);

impl Disk for Shared {
    fn read_at(&mut self, file: FileName, offset: u64, bytes: &mut [u8]) -> Result<usize, DiskError> {
        self.0.borrow_mut().read_at(file, offset, bytes)
    }
    fn write_at(&mut self, file: FileName, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.0.borrow_mut().write_at(file, offset, bytes)
    }
    fn sync(&mut self, file: FileName) -> Result<(), DiskError> {
        self.0.borrow_mut().sync(file)
    }
    fn sync_folder(&mut self) -> Result<(), DiskError> {
        self.0.borrow_mut().sync_folder()
    }
    fn len(&mut self, file: FileName) -> Result<Option<u64>, DiskError> {
        self.0.borrow_mut().len(file)
    }
    fn set_len(&mut self, file: FileName, bytes: u64) -> Result<(), DiskError> {
        self.0.borrow_mut().set_len(file, bytes)
    }
    fn reserve(&mut self, file: FileName, from: u64, to: u64) -> Result<(), DiskError> {
        self.0.borrow_mut().reserve(file, from, to)
    }
    fn remove(&mut self, file: FileName) -> Result<(), DiskError> {
        self.0.borrow_mut().remove(file)
    }
    fn rename(&mut self, from: FileName, to: FileName) -> Result<(), DiskError> {
        self.0.borrow_mut().rename(from, to)
    }
    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        self.0.borrow_mut().list()
    }
}
