//! Key files: one secret key each, PKCS#8 in PEM, readable by its owner only.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use quorate_protocol::crypto::{KeyError, SecretKey};
use quorate_protocol::types::ReplicaId;
use zeroize::Zeroizing;

use crate::cluster_file::ClusterFile;

/// Most bytes a key file may have; an Ed25519 key takes about 120.
pub const KEY_FILE_BYTES_MAX: u64 = 16 << 10;

/// Why a key file was not written or not accepted.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is no such file.
    #[error(
        "{}: there is no key file; fix: pass its path with `--key`; `quorate init` made it together with the cluster, \
         and a key that is made now is another one", .path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner may read it, so others may have.
    #[error(
        "{}: its mode is {mode:03o}, so others may read the key; fix: chmod 600 {}", .path.display(), .path.display()
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds no Ed25519 key.
    #[error(
        "{}: {why}; fix: pass a key file that `quorate init` made together with the cluster; a client of an open \
         cluster may use any key of `openssl genpkey -algorithm ed25519`", .path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: KeyError,
    },
    /// It is not text, or too long to be a key.
    #[error("{}: not a key file; fix: pass the path of a file that `quorate init` wrote", .path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// A good key, of somebody else.
    #[error(
        "{}: this is {}, not replica {replica}'s; fix: pass the key file of replica {replica}",
        .path.display(),
        whose(*.owner)
    )]
    WrongKey {
        /// The file.
        path: PathBuf,
        /// The replica whose key was wanted.
        replica: ReplicaId,
        /// The replica of this cluster whose key is in the file; none if it is nobody's.
        owner: Option<ReplicaId>,
    },
    /// The cluster has no such replica.
    #[error("replica {replica}: the cluster has 0 to {last}; fix: pass one of these")]
    NoSuchReplica {
        /// The replica.
        replica: ReplicaId,
        /// The highest there is.
        last: usize,
    },
    /// Something is there already, and a key that is overwritten is lost.
    #[error("{}: exists already; fix: choose another folder, or move it away yourself", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{}: cannot {deed} the key file: {why}; fix: see that the folder exists and is yours", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        deed: &'static str,
        /// What the system said.
        why: std::io::Error,
    },
}

fn whose(owner: Option<ReplicaId>) -> String {
    owner.map_or_else(
        || "the key of no replica of this cluster".to_owned(),
        |owner| format!("replica {owner}'s key"),
    )
}

/// Writes a new key file with mode 0600, durably. What exists is never touched.
///
/// # Errors
/// [`KeyFileError::Exists`], or [`KeyFileError::Io`] with what the system refused.
pub fn write(path: &Path, key: &SecretKey) -> Result<(), KeyFileError> {
    let failed = |deed, why| KeyFileError::Io { path: path.to_owned(), deed, why };
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(why) if why.kind() == ErrorKind::AlreadyExists => {
            return Err(KeyFileError::Exists { path: path.to_owned() });
        }
        Err(why) => return Err(failed("create", why)),
    };
    file.write_all(key.to_pem().as_bytes()).map_err(|why| failed("write", why))?;
    file.sync_all().map_err(|why| failed("sync", why))?;
    sync_folder_of(path).map_err(|why| failed("sync the folder of", why))
}

/// Makes the name of a new file durable.
pub(crate) fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

/// Reads a key file that only its owner may read.
///
/// # Errors
/// [`KeyFileError`] names the file and the fix.
pub fn load(path: &Path) -> Result<SecretKey, KeyFileError> {
    let failed = |deed, why| KeyFileError::Io { path: path.to_owned(), deed, why };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(why) if why.kind() == ErrorKind::NotFound => {
            return Err(KeyFileError::Missing { path: path.to_owned() });
        }
        Err(why) => return Err(failed("open", why)),
    };
    // The mode of what was opened, not of what has the name by now.
    let mode = file.metadata().map_err(|why| failed("examine", why))?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::TooOpen { path: path.to_owned(), mode });
    }
    // Allocated once at its largest, so that growing leaves no copy of the secret behind.
    let mut bytes =
        Zeroizing::new(Vec::with_capacity(usize::try_from(KEY_FILE_BYTES_MAX + 1).unwrap_or(usize::MAX)));
    file.take(KEY_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|why| failed("read", why))?;
    let not_text = || KeyFileError::NotText { path: path.to_owned() };
    if bytes.len() as u64 > KEY_FILE_BYTES_MAX {
        return Err(not_text());
    }
    let pem = std::str::from_utf8(&bytes).map_err(|_| not_text())?;
    SecretKey::from_pem(pem).map_err(|why| KeyFileError::Malformed { path: path.to_owned(), why })
}

/// Reads the key file of one replica, and sees that it is that replica's.
///
/// # Errors
/// As [`load`], and [`KeyFileError::WrongKey`] or [`KeyFileError::NoSuchReplica`].
pub fn load_for(path: &Path, cluster: &ClusterFile, replica: ReplicaId) -> Result<SecretKey, KeyFileError> {
    let Some(entry) = cluster.replica(replica) else {
        return Err(KeyFileError::NoSuchReplica {
            replica,
            last: cluster.replicas().len().saturating_sub(1),
        });
    };
    let key = load(path)?;
    if key.public() != entry.key {
        let owner = cluster.replicas().iter().find(|entry| entry.key == key.public()).map(|entry| entry.id);
        return Err(KeyFileError::WrongKey { path: path.to_owned(), replica, owner });
    }
    Ok(key)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{self, Permissions};
    use std::process::Command;

    use quorate_protocol::parameters::Parameters;

    use super::*;
    use crate::cluster_file::{Addresses, Clients, Draft, NodeDefaults};

    fn key() -> SecretKey {
        SecretKey::from_seed(&[7; 32])
    }

    #[test]
    fn a_written_key_is_read_back_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("replica-0.pem");
        write(&path, &key()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(load(&path).unwrap().public(), key().public());
    }

    #[test]
    fn a_key_file_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("replica-0.pem");
        write(&path, &key()).unwrap();
        let error = write(&path, &SecretKey::from_seed(&[8; 32])).expect_err("it exists");
        assert!(matches!(&error, KeyFileError::Exists { path: named } if *named == path), "{error}");
        assert_eq!(load(&path).unwrap().public(), key().public());
    }

    #[test]
    fn a_missing_key_file_is_named_with_the_fix() {
        let error = load(Path::new("no/such.pem")).expect_err("there is none");
        assert!(matches!(error, KeyFileError::Missing { .. }));
        assert!(
            error.to_string().contains("no/such.pem: there is no key file; fix: pass its path with `--key`")
        );
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("open.pem");
        write(&path, &key()).unwrap();
        for mode in [0o644, 0o640, 0o604, 0o610] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = load(&path).expect_err("others may read it");
            assert!(matches!(error, KeyFileError::TooOpen { mode: found, .. } if found == mode), "{error}");
            assert!(error.to_string().ends_with(&format!("fix: chmod 600 {}", path.display())), "{error}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        load(&path).expect("read-only is as private");
    }

    #[test]
    fn what_holds_no_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.pem");
        for (contents, text) in [
            ("".as_bytes().to_vec(), true),
            (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_vec(), true),
            (vec![0xff; 100], false),
            (vec![b'A'; usize::try_from(KEY_FILE_BYTES_MAX).unwrap() + 1], false),
        ] {
            fs::write(&path, contents).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            let error = load(&path).expect_err("there is no key in it");
            assert_eq!(matches!(error, KeyFileError::Malformed { .. }), text, "{error}");
            assert_eq!(matches!(error, KeyFileError::NotText { .. }), !text, "{error}");
        }
        let error = load(folder.path()).expect_err("a folder is no key file");
        assert!(matches!(error, KeyFileError::Io { .. } | KeyFileError::TooOpen { .. }), "{error}");
    }

    #[test]
    fn the_key_of_another_replica_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let address = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let draft = Draft {
            name: "test".into(),
            application: "kv".into(),
            testing: false,
            allow_f0: false,
            clients: Clients::Open,
            parameters: Parameters::default(),
            node: NodeDefaults::default(),
            addresses: (1..5)
                .map(|id| Addresses {
                    peer: address(id),
                    client: address(100 + id),
                    admin: address(200 + id),
                })
                .collect(),
        };
        let (cluster, keys) = ClusterFile::generate(draft).unwrap();
        let path = folder.path().join("replica-1.pem");
        write(&path, &keys[1]).unwrap();
        assert_eq!(load_for(&path, &cluster, ReplicaId(1)).unwrap().public(), keys[1].public());
        let error = load_for(&path, &cluster, ReplicaId(2)).expect_err("it is replica 1's");
        assert!(matches!(error, KeyFileError::WrongKey { replica: ReplicaId(2), .. }), "{error}");
        let words = "this is replica 1's key, not replica 2's; fix: pass the key file of replica 2";
        assert!(error.to_string().ends_with(words), "{error}");
        let stranger = folder.path().join("stranger.pem");
        write(&stranger, &key()).unwrap();
        let error = load_for(&stranger, &cluster, ReplicaId(2)).expect_err("it is nobody's");
        assert!(error.to_string().contains("this is the key of no replica of this cluster, not"), "{error}");
        let error = load_for(&path, &cluster, ReplicaId(4)).expect_err("there are four");
        assert!(matches!(error, KeyFileError::NoSuchReplica { last: 3, .. }), "{error}");
    }

    #[test]
    fn openssl_reads_a_written_key_and_we_read_one_of_openssl() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("replica-0.pem");
        write(&path, &key()).unwrap();
        let read = Command::new("openssl").args(["pkey", "-noout", "-text", "-in"]).arg(&path).output();
        let read = match read {
            Ok(read) => read,
            Err(why) => return println!("UNVERIFIED: that OpenSSL reads our key files, because: {why}"),
        };
        let text = String::from_utf8_lossy(&read.stdout).into_owned();
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        assert!(text.contains("ED25519 Private-Key"), "{text}");
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        assert!(
            digits.contains(&key().public().to_string()),
            "the public key that OpenSSL derives is ours: {text}"
        );

        let theirs = folder.path().join("theirs.pem");
        let made =
            Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&theirs).status();
        assert!(made.unwrap().success());
        fs::set_permissions(&theirs, Permissions::from_mode(0o600)).unwrap();
        load(&theirs).expect("a key of OpenSSL");
    }
}
