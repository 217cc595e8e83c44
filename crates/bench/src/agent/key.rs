//! Keys of controllers and agents, in files like those of replicas.

use std::path::Path;

use quorate_node::key_file::{self, KeyFileError};
use quorate_protocol::crypto::SecretKey;

use crate::worker::{WorkerError, new_key};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// A new key.
    #[error(transparent)]
    New(#[from] WorkerError),
}

/// The key in a file, which is made, for its owner only, if there is none.
///
/// # Errors
/// [`KeyError`]; what is there and is no key is not written over.
pub fn own_key(file: &Path) -> Result<SecretKey, KeyError> {
    match key_file::load(file) {
        Err(KeyFileError::Missing { .. }) => {}
        found => return Ok(found?),
    }
    let key = new_key()?;
    key_file::write(file, &key)?;
    Ok(key)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{metadata, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_file_is_made_once_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.pem");
        let made = own_key(&path).unwrap().public();
        assert_eq!(own_key(&path).unwrap().public(), made);
        assert_eq!(metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let other = folder.path().join("other.pem");
        write(&other, "no key").unwrap();
        set_permissions(&other, PermissionsExt::from_mode(0o600)).unwrap();
        assert!(own_key(&other).is_err());
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "no key");
    }
}
