//! Copies a replica's folder on a file system: what `quorate backup` and `quorate restore` have in common.

mod report;
mod space;

pub(crate) use report::bytes;
pub(crate) use space::allocated;

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use quorate_host::backup::{BackupError, Contents, Copied, Order, Progress, Purpose, copy_folder};
use quorate_host::disk::{Disk, DiskFailure, FileName};
use quorate_host::journal::{Reserve, Shape};
use quorate_node::file_disk::FileDisk;
use quorate_protocol::parameters::Parameters;

/// Who waits for longer than this is told how far it has come.
const SILENCE: Duration = Duration::from_secs(2);
/// And again after as long as this.
const PAUSE: Duration = Duration::from_secs(1);

/// What is to be copied where.
#[derive(Debug)]
pub(crate) struct Job {
    /// The folder there is.
    pub(crate) from: PathBuf,
    /// The folder that is made.
    pub(crate) to: PathBuf,
    /// What for.
    pub(crate) purpose: Purpose,
    /// Whether damage is known of.
    pub(crate) damaged: bool,
    /// How much of the journal's space to take.
    pub(crate) reserve: Reserve,
    /// Whether a replica is to start from the copy.
    pub(crate) restores: bool,
    /// Whether a program reads the answer.
    pub(crate) json: bool,
}

pub(crate) fn run(job: &Job) -> anyhow::Result<ExitCode> {
    crate::survive_file_size_limits()?;
    let (from, to) = (job.from.display(), job.to.display());
    if !job.from.is_dir() {
        bail!("{from}: there is no such folder; fix: pass the data folder of a replica, or a copy of one");
    }
    refuse_links(&job.from)?;
    refuse_inside(&job.from, &job.to)?;
    let mut source = open(&job.from, job.purpose)?;
    // What the move of a right to vote left half done is there already, and needs no space.
    let there = names_in(&job.to)?;
    let fresh = there.is_empty();
    if !fresh && (job.purpose == Purpose::Keep || !there.contains(&FileName::Superblock.to_string())) {
        return Err(anyhow::Error::new(BackupError::NotEmpty(there)).context(to.to_string()));
    }
    if fresh {
        let contents = Contents::of(&mut source).with_context(|| from.to_string())?;
        space::see_that_it_fits(job, &contents)?;
    }
    let existed = job.to.is_dir();
    let mut target = FileDisk::create(&job.to)
        .with_context(|| format!("{to}: cannot be made; fix: choose another folder"))?;
    if fresh {
        fs::set_permissions(&job.to, Permissions::from_mode(0o700)).with_context(|| to.to_string())?;
    }
    let order = Order {
        purpose: job.purpose,
        number: random()?,
        damaged: job.damaged,
        reserve: job.reserve,
        shape: Shape::of(&Parameters::default(), 4),
    };
    let mut telling = Telling { began: Instant::now(), told: None };
    let copied = copy_folder(&mut source, &mut target, &order, &mut |progress| telling.tell(progress));
    match copied {
        Ok(copied) => {
            tell(job, &copied)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            if fresh {
                remove_empty(&mut target, &job.to, existed);
            }
            // The error says which of the two it is about.
            Err(match &error {
                BackupError::To(_) | BackupError::NotEmpty(_) | BackupError::Differs { .. } => {
                    anyhow::Error::new(error).context(to.to_string())
                }
                _ => anyhow::Error::new(error).context(from.to_string()),
            })
        }
    }
}

fn tell(job: &Job, copied: &Copied) -> anyhow::Result<()> {
    if job.json {
        println!("{}", serde_json::to_string_pretty(&report::object(job, copied))?);
    } else {
        print!("{}", report::page(job, copied));
    }
    Ok(())
}

/// Whose right to vote is to move is written to; who is only copied is not.
fn open(folder: &Path, purpose: Purpose) -> anyhow::Result<FileDisk> {
    let opened = match purpose {
        Purpose::Keep => FileDisk::examine(folder),
        Purpose::Carry | Purpose::Settle => FileDisk::open(folder),
    };
    match opened {
        Ok(disk) => Ok(disk),
        Err(error) if error.kind == DiskFailure::Locked => {
            bail!(
                "{}: a running replica has it; fix: stop it first, and start it again afterwards",
                folder.display()
            )
        }
        Err(error) => Err(error).with_context(|| folder.display().to_string()),
    }
}

/// A replica's own file that stands elsewhere would be missing in the copy, or be one file in both.
fn refuse_links(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry.with_context(|| folder.display().to_string())?;
        let ours = entry.file_name().to_str().is_some_and(|name| FileName::parse(name).is_some());
        let kind = entry.file_type().with_context(|| entry.path().display().to_string())?;
        if ours && !kind.is_file() {
            let path = entry.path();
            bail!(
                "{}: this is a link or a folder where a file belongs; fix: put the file itself there",
                path.display()
            );
        }
    }
    Ok(())
}

/// A copy within the folder would be part of the next one.
fn refuse_inside(from: &Path, to: &Path) -> anyhow::Result<()> {
    let from = from.canonicalize().with_context(|| from.display().to_string())?;
    let there = to.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let there = there.canonicalize().with_context(|| there.display().to_string())?;
    if there.starts_with(&from) {
        bail!("{}: it is inside the folder that is copied; fix: choose one outside", to.display());
    }
    Ok(())
}

/// What is in a folder already; nothing if there is no folder. A lock that nobody holds is nothing.
fn names_in(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| folder.display().to_string()),
    };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name != "lock").collect();
    names.sort_unstable();
    Ok(names)
}

/// Takes away the folder of a copy that failed, if this run made it and nothing is in it.
fn remove_empty(disk: &mut FileDisk, folder: &Path, existed: bool) {
    if disk.list().is_ok_and(|names| names.is_empty()) {
        // What cannot be removed stays; the error that is told is the one that came first.
        drop(fs::remove_file(folder.join("lock")));
        if !existed {
            drop(fs::remove_dir(folder));
        }
    }
}

/// A number that no other copy has.
fn random() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    let source = "/dev/urandom";
    File::open(source).and_then(|mut file| file.read_exact(&mut bytes)).context(source)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Says on standard error how far a long copy has come.
struct Telling {
    began: Instant,
    told: Option<Instant>,
}

impl Telling {
    fn tell(&mut self, Progress { file, done, total }: Progress) {
        let due = self.told.map_or(self.began + SILENCE, |told| told + PAUSE);
        let now = Instant::now();
        if now >= due {
            self.told = Some(now);
            let (percent, total) = (done * 100 / total.max(1), report::bytes(total));
            eprintln!("{percent}% of {total}, every byte written and compared; at {file}");
        }
    }
}
