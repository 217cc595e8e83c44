//! How a replica starts from its folder: what it promised, where its state stood. Node and simulator start it so.

use quorate_protocol::application::StateMachine;
use quorate_protocol::certificate::Certificate;
use quorate_protocol::executor::{Executor, State};
use quorate_protocol::message::Checkpoint;
use quorate_protocol::parameters::Context;
use quorate_protocol::process::{Effect, Record};
use quorate_protocol::replica::{Memory, Replica, Unrecoverable};
use quorate_protocol::types::{Seq, Time};

use crate::disk::{Disk, DiskError};
use crate::journal::{
    self, Durability, Journal, JournalError, Opened, Recovered, RecoveryReport, Shape, Writer,
};
use crate::snapshots::{self, SnapshotError};
use crate::superblock::{Identity, SnapshotPointer, Superblock, SuperblockError};

/// Whose life goes on.
#[derive(Debug, Clone)]
pub struct Life {
    /// What the cluster agreed on.
    pub context: Context,
    /// Which replica of it, and its key.
    pub identity: Identity,
    /// What its journal survives.
    pub durability: Durability,
}

/// What comes out of a folder.
#[derive(Debug)]
pub struct Started<D: Disk> {
    /// The replica.
    pub replica: Replica,
    /// What executes for it.
    pub executor: Executor,
    /// What the replica wants first; for [`Host::resume`](crate::host::Host::resume).
    pub effects: Vec<Effect>,
    /// Where it goes on promising.
    pub journal: Journal,
    /// Who writes that down.
    pub writer: Writer<D>,
    /// States to serve; for [`Host::shelve`](crate::host::Host::shelve).
    pub states: Vec<State>,
    /// The state that it should have started from and is damaged: it fetches one from the others.
    pub lost_state: Option<Seq>,
    /// How the journal was found. If it had lost promises, the replica is bound by what they may have been.
    pub report: RecoveryReport,
    /// How many of the superblock's four copies were good; the others are mended.
    pub superblock_copies: usize,
}

/// Why a replica does not start from its folder.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder is not this replica's, or not formatted.
    #[error(transparent)]
    Superblock(#[from] SuperblockError),
    /// The journal's records contradict each other.
    #[error(transparent)]
    Unrecoverable(#[from] Unrecoverable),
    /// The state on the disk cannot be used.
    #[error("the state at slot {0} cannot be loaded: {1}")]
    State(Seq, String),
    /// The disk cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Reads what the replica promised and where its state stood; a folder that was only formatted has neither.
///
/// # Errors
/// [`StartError`] says what is wrong with the folder and what to do about it.
pub fn begin<D: Disk>(
    mut disk: D,
    life: Life,
    machine: Box<dyn StateMachine>,
    now: Time,
) -> Result<Started<D>, StartError> {
    let Life { context, identity, durability } = life;
    let (superblock, superblock_copies) = Superblock::open(&mut disk, &identity)?;
    let promised = (superblock.view_promised, superblock.high_promised);
    let newest = superblock.snapshot;
    let mut states = states_of(&mut disk, &context, newest)?;
    let shape = Shape::of(&context.parameters, context.committee.size());
    let Opened { journal, writer, records, report } = journal::open(disk, superblock, shape, durability)?;
    drop_contradicted(&mut states, &records);
    let lost_state = newest.filter(|pointer| states.first().map(|state| state.seq) != Some(pointer.seq));
    let executor = match states.first() {
        None => Executor::new(context.clone(), machine),
        Some(State { seq, root, snapshot, .. }) => {
            let restored = Executor::restore(context.clone(), machine, snapshot, *root);
            restored.map_err(|error| StartError::State(*seq, error.to_string()))?
        }
    };
    let memory = Memory {
        records: records.into_iter().map(|recovered| (recovered.record, recovered.signed)).collect(),
        position: journal.last(),
        promised,
        state: states.first().map(|state| (state.seq, state.root)),
        // Opening a damaged journal put it into the superblock, where every later start finds it until it has healed.
        amnesia: writer.superblock().amnesia,
    };
    let mut effects = Vec::new();
    let replica = Replica::recover(context, identity.replica, memory, now, &mut effects)?;
    Ok(Started {
        replica,
        executor,
        effects,
        journal,
        writer,
        report,
        superblock_copies,
        states,
        lost_state: lost_state.map(|lost| lost.seq),
    })
}

/// A state with another root than its slot's stable certificate is wrong, and so is what followed from it: the replica
/// had diverged, and halted. It fetches a certified state instead.
fn drop_contradicted(states: &mut Vec<State>, records: &[Recovered]) {
    for record in records {
        let Record::Stable(Certificate { statement: Checkpoint { seq, root, .. }, .. }) = &record.record
        else {
            continue;
        };
        if states.iter().any(|state| state.seq == *seq && state.root != *root) {
            states.retain(|state| state.seq < *seq);
        }
    }
}

/// The states that are whole, the newest first: the one to start from, and older ones to serve. If the newest is
/// damaged the replica starts from an older one, or from none, and fetches what it lacks from others.
fn states_of(
    disk: &mut impl Disk,
    context: &Context,
    newest: Option<SnapshotPointer>,
) -> Result<Vec<State>, StartError> {
    let Some(newest) = newest else { return Ok(Vec::new()) };
    let config = context.config_digest();
    let mut states = Vec::new();
    let mut seqs = snapshots::list(disk)?;
    seqs.retain(|seq| *seq <= newest.seq);
    seqs.sort_unstable_by(|one, other| other.cmp(one));
    for seq in seqs {
        let (pointer, bytes) = match snapshots::load(disk, seq) {
            Ok(loaded) => loaded,
            Err(SnapshotError::Disk(error)) => return Err(error.into()),
            Err(error @ SnapshotError::FutureVersion { .. }) => {
                return Err(StartError::State(seq, error.to_string()));
            }
            Err(SnapshotError::Missing(_) | SnapshotError::Damaged(_)) => continue,
        };
        let expected = if seq == newest.seq { newest.root } else { pointer.root };
        let state = State::of(config, bytes.into()).ok();
        states.extend(state.filter(|state| (state.seq, state.root) == (seq, expected)));
    }
    Ok(states)
}
