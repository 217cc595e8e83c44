//! What one run of `init` has made so far. A run that fails takes it away again, so that the next one can begin anew.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Files and folders that did not exist before; removed when this is dropped, unless they are kept.
#[derive(Debug, Default)]
pub(super) struct Trail {
    files: Vec<PathBuf>,
    /// Whatever lies in another one behind it.
    folders: Vec<PathBuf>,
}

impl Trail {
    /// Creates a folder, and those above it, for its owner only.
    pub(super) fn create_folder(&mut self, path: &Path) -> io::Result<()> {
        let missing =
            path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.is_dir());
        let missing: Vec<&Path> = missing.collect();
        for folder in missing.into_iter().rev() {
            match DirBuilder::new().mode(0o700).create(folder) {
                Ok(()) => self.folders.push(folder.to_owned()),
                // Somebody else was quicker, and it is theirs.
                Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// This file is ours: it is made now, under a name that was free.
    pub(super) fn file(&mut self, path: PathBuf) {
        self.files.push(path);
    }

    /// Everything in this folder under these names is ours, if the folder is.
    pub(super) fn files_of(&mut self, folder: &Path, names: &[&str]) {
        if self.folders.iter().any(|ours| ours == folder) {
            self.files.extend(names.iter().map(|name| folder.join(name)));
        }
    }

    /// The run succeeded.
    pub(super) fn keep(mut self) {
        self.files.clear();
        self.folders.clear();
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        // What cannot be removed, or is not empty because somebody else put something there, stays.
        for file in self.files.drain(..) {
            let _ = fs::remove_file(file);
        }
        for folder in self.folders.drain(..).rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}
