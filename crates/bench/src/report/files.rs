//! Files that are there whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::ReportError;

/// Writes beside the place, makes it durable, and moves it there.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<PathBuf, ReportError> {
    let unwritable = |cause| ReportError::Unwritable { path: path.to_owned(), cause };
    let name = path.file_name().ok_or_else(|| unwritable(io::ErrorKind::InvalidInput.into()))?;
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}.partial", std::process::id()));
    let beside = path.with_file_name(beside);
    let whole = File::create(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_data()))
        .and_then(|()| fs::rename(&beside, path));
    if let Err(cause) = whole {
        // Nothing half written stays behind; that it could not be removed adds nothing to why it was not written.
        let _ = fs::remove_file(&beside);
        return Err(unwritable(cause));
    }
    Ok(path.to_owned())
}

/// Makes a folder and those above it.
pub(super) fn folder(path: &Path) -> Result<(), ReportError> {
    fs::create_dir_all(path).map_err(|cause| ReportError::Unwritable { path: path.to_owned(), cause })
}

/// Removes a picture of an earlier report that this one does not have.
pub(super) fn remove(path: &Path) -> Result<(), ReportError> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(ReportError::Unwritable { path: path.to_owned(), cause })
        }
        _ => Ok(()),
    }
}
