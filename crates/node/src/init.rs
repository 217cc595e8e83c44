//! Makes a new cluster in a folder: `cluster.toml`, a key file for every replica and client, a formatted data folder
//! for every replica.
//!
//! Nothing that exists is overwritten. The cluster file is written last, so a folder that has one is complete. A run
//! that fails removes what it made.

mod trail;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use quorate_host::disk::{DiskError, DiskFailure};
use quorate_host::folder::{FormatError, format_folder};
use quorate_host::journal::{Reserve, Shape};
use quorate_host::superblock::{Identity, SuperblockError};
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::types::ReplicaId;

use self::trail::Trail;
use crate::cluster_file::{Addresses, Clients, ClusterFile, Draft, GenerateError, ReplicaEntry, random};
use crate::file_disk::{self, FileDisk};
use crate::key_file::{self, KeyFileError, sync_folder_of};

/// Ports below are those of services that people know.
const QUIET_PORT_MIN: u16 = 10_240;
/// Most client keys that are made at once.
pub const CLIENT_KEYS_MAX: u16 = 1024;
/// Ports that one replica takes: for peers, clients and its operator.
pub const PORTS_PER_REPLICA: u16 = 3;
/// Ports that are tried at most in the search for free ones.
const PORTS_TRIED_MAX: usize = 8_192;

/// Where everything of a cluster lies under its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    folder: PathBuf,
}

impl Layout {
    /// The layout of the cluster in `folder`.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The cluster file.
    #[must_use]
    pub fn cluster_file(&self) -> PathBuf {
        self.folder.join("cluster.toml")
    }

    /// The folder of the key files.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.folder.join("keys")
    }

    /// A replica's key file.
    #[must_use]
    pub fn replica_key(&self, replica: ReplicaId) -> PathBuf {
        self.keys().join(format!("replica-{replica}.pem"))
    }

    /// A client's key file.
    #[must_use]
    pub fn client_key(&self, client: u16) -> PathBuf {
        self.keys().join(format!("client-{client}.pem"))
    }

    /// A replica's data folder.
    #[must_use]
    pub fn data(&self, replica: ReplicaId) -> PathBuf {
        self.folder.join("data").join(format!("replica-{replica}"))
    }
}

/// Who may connect to the new cluster, and how many client keys to make for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Anybody; one client key is made all the same, so that there is a client to begin with.
    Open,
    /// The holders of this many new keys.
    Listed(u16),
}

/// What [`init`] wrote.
#[derive(Debug)]
pub struct Written {
    /// The cluster, read back.
    pub cluster: ClusterFile,
    /// Where it lies.
    pub layout: Layout,
    /// The key files of clients.
    pub client_keys: Vec<PathBuf>,
}

/// Why no cluster was made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Something is there already.
    #[error("{}: exists already; fix: choose another folder, or move it away yourself", .path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// The draft is no cluster.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// A key file was not written.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// More client keys than are made at once.
    #[error(
        "{0} client keys; fix: ask for at most {CLIENT_KEYS_MAX}, and add further keys to `clients` yourself"
    )]
    TooManyClients(u16),
    /// Neither one host nor one for each replica.
    #[error("{hosts} hosts for {replicas} replicas; fix: name one host for all, or one for each")]
    Hosts {
        /// Hosts that were named.
        hosts: usize,
        /// Replicas that need one.
        replicas: u16,
    },
    /// The ports end before the replicas do.
    #[error(
        "{replicas} replicas from port {base_port} on need ports above 65535; fix: choose a lower base port"
    )]
    Ports {
        /// The first port.
        base_port: u16,
        /// Replicas, three ports each.
        replicas: u16,
    },
    /// A data folder cannot be used.
    #[error("{}: {}", .path.display(), of_disk(.why))]
    Disk {
        /// The data folder.
        path: PathBuf,
        /// What went wrong.
        why: DiskError,
    },
    /// A data folder was not formatted.
    #[error("{}: {}", .path.display(), of_format(.why))]
    Format {
        /// The data folder.
        path: PathBuf,
        /// What went wrong.
        why: FormatError,
    },
    /// The system refused.
    #[error("{}: cannot {deed}: {why}; fix: see that the folder is yours and has space", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        deed: &'static str,
        /// What the system said.
        why: std::io::Error,
    },
}

/// A disk error says what a replica is to do about it; here there is no replica yet.
fn of_disk(why: &DiskError) -> String {
    let DiskError { file, operation, kind } = why;
    match kind {
        DiskFailure::Full => format!(
            "{operation} `{file}`: no space is left on the disk, or a quota or a limit on file sizes is reached; fix: \
             make room there, or choose another folder, and run `quorate init` again"
        ),
        DiskFailure::Locked => kind.to_string(),
        DiskFailure::Failed(_) => format!("{why}; fix: see that the folder is yours, or choose another one"),
    }
}

fn of_format(why: &FormatError) -> String {
    match why {
        FormatError::Disk(why) | FormatError::Superblock(SuperblockError::Disk(why)) => of_disk(why),
        why => format!("{why}; fix: choose another folder"),
    }
}

/// Where each replica listens: on one host with three consecutive ports each, or on a host each with the same three.
///
/// # Errors
/// [`InitError::Hosts`] or [`InitError::Ports`].
pub fn addresses(hosts: &[IpAddr], replicas: u16, base_port: u16) -> Result<Vec<Addresses>, InitError> {
    if hosts.len() != 1 && hosts.len() != usize::from(replicas) {
        return Err(InitError::Hosts { hosts: hosts.len(), replicas });
    }
    let shared = hosts.len() == 1;
    let entry = |(replica, host): (u16, &IpAddr)| {
        let offset = if shared { replica.checked_mul(PORTS_PER_REPLICA)? } else { 0 };
        let first = base_port.checked_add(offset)?;
        let address = |port: u16| Some(SocketAddr::new(*host, first.checked_add(port)?));
        Some(Addresses { peer: address(0)?, client: address(1)?, admin: address(2)? })
    };
    let all: Option<Vec<Addresses>> = (0..replicas).zip(hosts.iter().cycle()).map(entry).collect();
    all.ok_or(InitError::Ports { base_port, replicas })
}

/// Addresses on the loopback interface whose ports nobody has right now, and the system gives to nobody who does not ask
/// for them. Somebody else may take one before it is bound.
///
/// # Errors
/// If the system has no ports left.
pub fn free_addresses(replicas: u16) -> Result<Vec<Addresses>, std::io::Error> {
    free_addresses_on(Ipv4Addr::LOCALHOST.into(), replicas, &[])
}

/// The same for replicas and clients that reach this machine at `host`, without the ports that are to be avoided; an
/// operator reaches it on the loopback interface only.
///
/// # Errors
/// If the system has no ports left, or `host` is no address of this machine.
pub fn free_addresses_on(
    host: IpAddr,
    replicas: u16,
    avoid: &[u16],
) -> Result<Vec<Addresses>, std::io::Error> {
    // All are held until all are chosen, so that none is chosen twice. The system counts the ports of UDP and of TCP
    // apart, and a cluster file does not, so each is held as both.
    let mut held = Vec::new();
    let mut address = |host| loop {
        if held.len() > PORTS_TRIED_MAX {
            return Err(ErrorKind::AddrInUse.into());
        }
        let socket = match UdpSocket::bind(SocketAddr::new(host, quiet_port())) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => UdpSocket::bind(SocketAddr::new(host, 0))?,
            bound => bound?,
        };
        let address = socket.local_addr()?;
        let listener = TcpListener::bind(address).ok();
        let free = listener.is_some() && !avoid.contains(&address.port());
        held.push((socket, listener));
        if free {
            return Ok::<_, std::io::Error>(address);
        }
    };
    let operators = if host.is_ipv6() { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
    let mut addresses = Vec::new();
    for _ in 0..replicas {
        addresses.push(Addresses {
            peer: address(host)?,
            client: address(host)?,
            admin: address(operators)?,
        });
    }
    Ok(addresses)
}

/// A port below those that the system gives to connections, one of which could have taken it by the time a replica starts;
/// 0, for any port, where there is none.
fn quiet_port() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first: u16 = range.split_whitespace().next().and_then(|port| port.parse().ok()).unwrap_or(0);
    let (Some(room), Ok(seed)) = (first.checked_sub(QUIET_PORT_MIN).filter(|room| *room > 0), random())
    else {
        return 0;
    };
    QUIET_PORT_MIN + u16::from_le_bytes([seed[0], seed[1]]) % room
}

/// Makes the cluster that `draft` describes in `folder`; `admission` takes the place of its clients, and `reserve` says
/// how much of the journals' space to take at once.
///
/// # Errors
/// [`InitError`] names what is in the way. What this run has written by then is removed again.
pub fn init(
    folder: &Path,
    mut draft: Draft,
    admission: Admission,
    reserve: Reserve,
) -> Result<Written, InitError> {
    let count = match admission {
        Admission::Open => 1,
        Admission::Listed(count) => count,
    };
    if count > CLIENT_KEYS_MAX {
        return Err(InitError::TooManyClients(count));
    }
    let mut client_keys = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        client_keys.push(SecretKey::from_seed(&random()?));
    }
    draft.clients = match admission {
        Admission::Open => Clients::Open,
        Admission::Listed(_) => Clients::Listed(client_keys.iter().map(SecretKey::public).collect()),
    };
    let (cluster, replica_keys) = ClusterFile::generate(draft)?;
    let replica_keys: Vec<_> = cluster.replicas().iter().map(|entry| entry.id).zip(&replica_keys).collect();
    install(folder, cluster, &replica_keys, (&client_keys, reserve))
}

/// Writes what those replicas of a cluster need that have these keys: all of them, or those of one machine.
///
/// # Errors
/// [`InitError`] names what is in the way. What this run has written by then is removed again.
pub fn install(
    folder: &Path,
    cluster: ClusterFile,
    replica_keys: &[(ReplicaId, &SecretKey)],
    (client_keys, reserve): (&[SecretKey], Reserve),
) -> Result<Written, InitError> {
    let layout = Layout::new(folder);
    let replicas: Vec<ReplicaId> = replica_keys.iter().map(|(id, _)| *id).collect();
    let paths: Vec<PathBuf> = (0..).take(client_keys.len()).map(|client| layout.client_key(client)).collect();
    refuse_what_exists(&layout, &replicas, &paths)?;
    let mut trail = Trail::default();
    create_folder(&layout.keys(), &mut trail)?;
    for (id, key) in replica_keys {
        write_key(layout.replica_key(*id), key, &mut trail)?;
    }
    for (path, key) in paths.iter().zip(client_keys) {
        write_key(path.clone(), key, &mut trail)?;
    }
    for entry in cluster.replicas().iter().filter(|entry| replicas.contains(&entry.id)) {
        let data = layout.data(entry.id);
        create_folder(&data, &mut trail)?;
        trail.files_of(&data, &file_disk::FORMATTED);
        format(&cluster, entry, data, reserve)?;
    }
    write_cluster_file(&layout.cluster_file(), &cluster.to_toml(), &mut trail)?;
    trail.keep();
    Ok(Written { cluster, layout, client_keys: paths })
}

fn write_key(path: PathBuf, key: &SecretKey, trail: &mut Trail) -> Result<(), InitError> {
    let written = key_file::write(&path, key);
    // What somebody else has put there is not ours to remove.
    if !matches!(written, Err(KeyFileError::Exists { .. })) {
        trail.file(path);
    }
    Ok(written?)
}

/// Everything is looked at before anything is written; who creates a file between the two is told when it is written.
fn refuse_what_exists(layout: &Layout, replicas: &[ReplicaId], clients: &[PathBuf]) -> Result<(), InitError> {
    let keys = replicas.iter().map(|id| layout.replica_key(*id)).chain(clients.iter().cloned());
    let data = replicas.iter().map(|id| layout.data(*id));
    let all = std::iter::once(layout.cluster_file()).chain(keys).chain(data);
    for path in all {
        match path.symlink_metadata() {
            Ok(_) => return Err(InitError::Exists { path }),
            Err(why) if why.kind() == ErrorKind::NotFound => {}
            Err(why) => return Err(InitError::Io { path, deed: "examine", why }),
        }
    }
    Ok(())
}

/// Creates a folder, and those above it, for its owner only.
fn create_folder(path: &Path, trail: &mut Trail) -> Result<(), InitError> {
    let failed = |why| InitError::Io { path: path.to_owned(), deed: "create the folder", why };
    trail.create_folder(path).map_err(failed)
}

/// Makes a folder that only this replica, with this key, can run on.
fn format(
    cluster: &ClusterFile,
    entry: &ReplicaEntry,
    path: PathBuf,
    reserve: Reserve,
) -> Result<(), InitError> {
    let identity = Identity { cluster: cluster.id(), replica: entry.id, key: entry.key };
    let shape = Shape::of(&cluster.context().parameters, cluster.replicas().len());
    let mut disk = match FileDisk::create(&path) {
        Ok(disk) => disk,
        Err(why) => return Err(InitError::Disk { path, why }),
    };
    match format_folder(&mut disk, identity, shape, reserve) {
        Ok(_) => Ok(()),
        Err(why) => Err(InitError::Format { path, why }),
    }
}

fn write_cluster_file(path: &Path, text: &str, trail: &mut Trail) -> Result<(), InitError> {
    let failed = |deed, why| InitError::Io { path: path.to_owned(), deed, why };
    let mut file = match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(file) => file,
        Err(why) if why.kind() == ErrorKind::AlreadyExists => {
            return Err(InitError::Exists { path: path.to_owned() });
        }
        Err(why) => return Err(failed("create", why)),
    };
    trail.file(path.to_owned());
    file.write_all(text.as_bytes()).map_err(|why| failed("write", why))?;
    file.sync_all().map_err(|why| failed("sync", why))?;
    sync_folder_of(path).map_err(|why| failed("sync the folder of", why))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::net::Ipv4Addr;
    use std::os::unix::fs::PermissionsExt;

    use quorate_protocol::parameters::Parameters;

    use super::*;
    use crate::cluster_file::NodeDefaults;
    use quorate_host::folder::check_folder;
    use quorate_host::superblock::Superblock;

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn draft(replicas: u16) -> Draft {
        Draft {
            name: "test".into(),
            application: "kv".into(),
            testing: false,
            allow_f0: false,
            clients: Clients::Open,
            parameters: Parameters::default(),
            node: NodeDefaults::default(),
            addresses: addresses(&[LOCAL], replicas, 24_000).unwrap(),
        }
    }

    #[test]
    fn a_new_cluster_can_be_loaded_with_every_key() {
        let folder = tempfile::tempdir().unwrap();
        let written = init(folder.path(), draft(4), Admission::Listed(2), Reserve::Records).unwrap();
        let layout = Layout::new(folder.path());
        let cluster = ClusterFile::load(&layout.cluster_file()).unwrap();
        assert_eq!(cluster.id(), written.cluster.id());
        for entry in cluster.replicas() {
            key_file::load_for(&layout.replica_key(entry.id), &cluster, entry.id).unwrap();
        }
        assert_eq!(written.client_keys.len(), 2);
        for path in &written.client_keys {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
            assert!(cluster.clients().admits(&key_file::load(path).unwrap().public()));
        }
        let stranger = SecretKey::from_seed(&[1; 32]).public();
        assert!(!cluster.clients().admits(&stranger));
    }

    #[test]
    fn every_data_folder_is_formatted_for_its_replica_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let written = init(folder.path(), draft(4), Admission::Open, Reserve::Records).unwrap();
        let cluster = written.cluster;
        let shape = Shape::of(&cluster.context().parameters, 4);
        for entry in cluster.replicas() {
            let mut disk = FileDisk::open(&written.layout.data(entry.id)).unwrap();
            assert!(check_folder(&mut disk, shape).unwrap().is_sound());
            let identity = Identity { cluster: cluster.id(), replica: entry.id, key: entry.key };
            Superblock::open(&mut disk, &identity).unwrap();
            let stolen = Identity { key: SecretKey::from_seed(&[1; 32]).public(), ..identity };
            assert!(!matches!(
                Superblock::open(&mut disk, &stolen),
                Ok(_) | Err(SuperblockError::NotFormatted)
            ));
        }
    }

    #[test]
    fn an_open_cluster_has_one_client_key_and_admits_anybody() {
        let folder = tempfile::tempdir().unwrap();
        let written = init(folder.path(), draft(4), Admission::Open, Reserve::Records).unwrap();
        assert_eq!(written.client_keys.len(), 1);
        assert_eq!(written.cluster.clients(), &Clients::Open);
    }

    #[test]
    fn nothing_that_exists_is_written_over() {
        let layout = Layout::new(Path::new(""));
        let id = ReplicaId(2);
        for there in [layout.cluster_file(), layout.replica_key(id), layout.client_key(0), layout.data(id)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(there);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "precious").unwrap();
            let error = init(folder.path(), draft(4), Admission::Open, Reserve::Records)
                .expect_err("something is there");
            assert!(matches!(&error, InitError::Exists { path: named } if *named == path), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
            assert!(
                !Layout::new(folder.path()).replica_key(ReplicaId(0)).exists(),
                "nothing else was written"
            );
        }
    }

    #[test]
    fn what_cannot_be_made_is_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let too_many =
            init(folder.path(), draft(4), Admission::Listed(CLIENT_KEYS_MAX + 1), Reserve::Records);
        assert!(matches!(too_many, Err(InitError::TooManyClients(1025))));
        assert!(matches!(
            init(folder.path(), draft(3), Admission::Open, Reserve::Records),
            Err(InitError::Generate(_))
        ));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let no_folder = folder.path().join("file");
        fs::write(&no_folder, "").unwrap();
        assert!(matches!(
            init(&no_folder, draft(4), Admission::Open, Reserve::Records),
            Err(InitError::Io { .. })
        ));
    }

    #[test]
    fn a_run_that_fails_leaves_what_it_found_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("new/cluster");
        let trail_of = |path: &Path| {
            let mut trail = Trail::default();
            create_folder(&Layout::new(path).keys(), &mut trail).unwrap();
            write_key(Layout::new(path).client_key(0), &SecretKey::from_seed(&[1; 32]), &mut trail).unwrap();
            let data = Layout::new(path).data(ReplicaId(0));
            create_folder(&data, &mut trail).unwrap();
            trail.files_of(&data, &file_disk::FORMATTED);
            drop(FileDisk::create(&data).unwrap());
            trail
        };
        drop(trail_of(&new));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the folders above are ours too");
        let trail = trail_of(&new);
        fs::write(new.join("precious"), "").unwrap();
        drop(trail);
        let left: Vec<_> = fs::read_dir(&new).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["precious"], "what somebody else put there stays, with its folder");
        // Where a data folder is in the way, what was made before it goes, and the folder stays.
        fs::create_dir_all(Layout::new(&new).data(ReplicaId(0))).unwrap();
        fs::write(Layout::new(&new).data(ReplicaId(0)).join("journal"), "precious").unwrap();
        drop(trail_of(&new));
        assert!(Layout::new(&new).data(ReplicaId(0)).join("journal").exists());
        trail_of(&folder.path().join("kept")).keep();
        assert!(folder.path().join("kept/keys/client-0.pem").exists());
    }

    #[test]
    fn free_ports_are_not_among_those_that_connections_get() {
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
        let first: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
        if first <= QUIET_PORT_MIN {
            println!("UNVERIFIED: connections get all ports of this machine, from {first} on");
            return;
        }
        let all = free_addresses(4).unwrap();
        let ports = all.iter().flat_map(|one| [one.peer.port(), one.client.port(), one.admin.port()]);
        // A port that somebody has makes way for any.
        let quiet = ports.filter(|port| (QUIET_PORT_MIN..first).contains(port)).count();
        assert!(quiet >= 8, "{all:?}");
    }

    #[test]
    fn free_addresses_have_a_port_each_whatever_it_is_used_for() {
        for _ in 0..20 {
            let all = free_addresses(31).unwrap();
            let ports = all.iter().flat_map(|entry| [entry.peer, entry.client, entry.admin]);
            let distinct: std::collections::BTreeSet<_> = ports.collect();
            assert_eq!(distinct.len(), 3 * all.len());
        }
    }

    #[test]
    fn replicas_on_one_host_get_ports_of_their_own() {
        let all = addresses(&[LOCAL], 4, 24_000).unwrap();
        assert_eq!(all[3].peer, SocketAddr::new(LOCAL, 24_009));
        assert_eq!(all[3].admin, SocketAddr::new(LOCAL, 24_011));
    }

    #[test]
    fn replicas_on_hosts_of_their_own_share_the_ports() {
        let hosts: Vec<IpAddr> = (1..=4).map(|last| IpAddr::from([192, 0, 2, last])).collect();
        let all = addresses(&hosts, 4, 24_000).unwrap();
        assert_eq!(all[3].client, SocketAddr::new(hosts[3], 24_001));
    }

    #[test]
    fn hosts_and_ports_that_do_not_fit_are_refused() {
        assert!(matches!(addresses(&[LOCAL; 3], 4, 1), Err(InitError::Hosts { hosts: 3, replicas: 4 })));
        assert!(matches!(addresses(&[], 4, 1), Err(InitError::Hosts { hosts: 0, replicas: 4 })));
        assert!(matches!(
            addresses(&[LOCAL], 4, 65_530),
            Err(InitError::Ports { base_port: 65_530, replicas: 4 })
        ));
        assert_eq!(addresses(&[LOCAL], 2, 65_530).unwrap()[1].admin.port(), 65_535);
    }
}
