//! How a replica starts from its folder: what it promised, where its state stood. Node and simulator start it so.

use std::collections::BTreeSet;

use quorate_protocol::accusation::Offence;
use quorate_protocol::application::StateMachine;
use quorate_protocol::certificate::Certificate;
use quorate_protocol::executor::{Executor, State};
use quorate_protocol::message::Checkpoint;
use quorate_protocol::mutant::{self, Mutant};
use quorate_protocol::parameters::Context;
use quorate_protocol::process::{Effect, Record};
use quorate_protocol::replica::{Memory, Replica, Unrecoverable};
use quorate_protocol::standing::{Batches, Divergence, Evidence, Standing};
use quorate_protocol::types::{ReplicaId, Seq, Time};

use crate::accusations;
use crate::disk::{Disk, DiskError, FileName};
use crate::divergence::{Case, CaseError};
use crate::journal::{
    self, Durability, Journal, JournalError, Opened, Recovered, RecoveryReport, Shape, Writer,
};
use crate::store::{Store, StoreError};
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
    /// The state that it starts from.
    pub state: Option<SnapshotPointer>,
    /// The state that it should have started from and is damaged: it fetches one from the others.
    pub lost_state: Option<Seq>,
    /// How the journal was found. If it had lost promises, the replica is bound by what they may have been.
    pub report: RecoveryReport,
    /// The lies of other replicas that the folder keeps the proof of.
    pub accused: BTreeSet<(Offence, ReplicaId)>,
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
    /// The states on the disk cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
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
) -> Result<(Started<D>, Store<D>), StartError> {
    let Life { context, identity, durability } = life;
    let (superblock, superblock_copies) = Superblock::open(&mut disk, &identity)?;
    let promised = (superblock.view_promised, superblock.high_promised);
    let newest = superblock.snapshot;
    // A folder that another version wrote is refused before anything in it is changed.
    let mut store = Store::open(disk.share(), durability == Durability::Sync)?;
    let shape = Shape::of(&context.parameters, context.committee.size());
    let Opened { journal, mut writer, records, report } = journal::open(disk, superblock, shape, durability)?;
    look_back(&mut store, &mut writer, &records)?;
    let loaded = newest_whole(&mut store, newest)?;
    let state = loaded.as_ref().and_then(|state| store.snapshot_pointer(state.seq));
    let lost_state = newest.filter(|pointer| state != Some(*pointer));
    let executor = match loaded {
        None => Executor::new(context.clone(), machine),
        Some(state) => {
            let seq = state.seq;
            let restored = Executor::restore(context.clone(), machine, state);
            restored.map_err(|error| StartError::State(seq, error.to_string()))?
        }
    };
    let certified = certified_here(&store, &records);
    let agreed = state.and_then(|pointer| certified.range(..=pointer.seq).next_back().copied());
    let agreed = agreed.unwrap_or_default();
    let memory = Memory {
        records: records.into_iter().map(|recovered| (recovered.record, recovered.signed)).collect(),
        position: journal.last(),
        promised,
        state: state.map(|pointer| (pointer.seq, pointer.root)),
        // Opening a damaged journal put it into the superblock, where every later start finds it until it has healed.
        amnesia: writer.superblock().amnesia,
        standing: writer.superblock().standing,
        agreed,
    };
    let mut effects = Vec::new();
    let replica = Replica::recover(context, identity.replica, memory, now, &mut effects)?;
    let proven = |(culprit, offence, exhibit): accusations::Found| {
        let exhibit = exhibit.ok().filter(|exhibit| exhibit.check(replica.context()).is_ok())?;
        (exhibit.file() == FileName::Accusation(culprit, offence)).then_some((offence, culprit))
    };
    let accused = store.accusations()?.into_iter().filter_map(proven).collect();
    let started = Started {
        replica,
        executor,
        effects,
        journal,
        writer,
        report,
        accused,
        superblock_copies,
        state,
        lost_state: lost_state.map(|lost| lost.seq),
    };
    Ok((started, store))
}

/// A state with another root than its slot's stable certificate is wrong, and so is what followed from it; what came
/// before it since the last one that is certified may be. If the replica died before it could note that, it is noted now,
/// whatever else is known of it; and what it could not preserve, as far as it is there.
fn look_back<D: Disk>(
    store: &mut Store<D>,
    writer: &mut Writer<D>,
    records: &[Recovered],
) -> Result<(), StartError> {
    let standing = writer.superblock().standing;
    let contradiction = certificates(records).find_map(|certificate| contradicted_by(store, certificate));
    let contradiction = contradiction.filter(|_| !mutant::is(Mutant::M41));
    let found = contradiction.map_or(standing, |found| standing.after(found));
    if found != standing {
        writer.update(|superblock| superblock.standing = found)?;
    }
    let case = match Case::read(store.disk()) {
        Ok(case) => case,
        Err(CaseError::Disk(error)) => return Err(error.into()),
        // The operator hears of it who asks for it.
        Err(CaseError::Damaged | CaseError::FutureVersion { .. }) => None,
    };
    store.pin(case.iter().flat_map(Case::needs));
    let Some(divergence) = found.unmended() else { return Ok(()) };
    let from = contradiction.map_or(divergence.seq, |found| found.seq.min(divergence.seq));
    let certified = certified_here(store, records).range(..from).next_back().copied().unwrap_or_default();
    let kept = case.as_ref().filter(|case| case.divergence == divergence);
    let agreed = kept.map_or(certified, |case| certified.max(case.agreed.min(from)));
    // What proves that too many are faulty makes room for nothing.
    if kept.is_none() && case.is_none_or(|case| case.conflict.is_empty()) {
        let mut certificates = certificates(records);
        let certificate = certificates.find(|certificate| certificate.statement.seq == divergence.seq);
        let (certificate, votes, conflict) = (certificate.cloned(), Vec::new(), Vec::new());
        let batches = Batches::default();
        let proven = true;
        store.preserve(&Evidence { divergence, proven, agreed, votes, certificate, batches, conflict })?;
    }
    store.withdraw(from.min(agreed.next()))?;
    // Who stays out takes no certified state in its place, but computes it again from one that was right.
    if let Standing::Out(why) = found {
        let done = Standing::Out(why.with_wrong(None));
        if done != found {
            writer.update(|superblock| superblock.standing = done)?;
        }
    }
    Ok(())
}

/// Every stable certificate that the journal has.
fn certificates(records: &[Recovered]) -> impl Iterator<Item = &Certificate<Checkpoint>> {
    records.iter().flat_map(|record| {
        let (own, shown) = match &record.record {
            Record::Stable(certificate) => (Some(certificate), None),
            Record::NewView { view_changes, .. } => (None, Some(view_changes)),
            _ => (None, None),
        };
        let shown = shown.into_iter().flatten().filter_map(|message| message.stable.as_ref());
        own.into_iter().chain(shown)
    })
}

/// Slots of the states here that are what a certificate says.
fn certified_here<D: Disk>(store: &Store<D>, records: &[Recovered]) -> BTreeSet<Seq> {
    let same = |Checkpoint { seq, root, .. }: Checkpoint| {
        store.snapshot_pointer(seq).filter(|pointer| pointer.root == root).map(|pointer| pointer.seq)
    };
    certificates(records).filter_map(|certificate| same(certificate.statement)).collect()
}

/// Where the state of a certificate's slot is another one here.
fn contradicted_by<D: Disk>(store: &Store<D>, certificate: &Certificate<Checkpoint>) -> Option<Divergence> {
    let Checkpoint { seq, root, .. } = certificate.statement;
    let here = store.snapshot_pointer(seq).filter(|pointer| pointer.root != root)?;
    Some(Divergence { seq, ours: here.root, theirs: root })
}

/// The newest state that is whole, of those that the superblock names or named; no other is loaded. If the newest of all
/// is damaged the replica starts from an older one, or from none, and fetches what it lacks from others.
fn newest_whole<D: Disk>(
    store: &mut Store<D>,
    newest: Option<SnapshotPointer>,
) -> Result<Option<State>, StoreError> {
    let Some(newest) = newest else { return Ok(None) };
    for seq in store.list().into_iter().rev().filter(|seq| *seq <= newest.seq) {
        if seq == newest.seq && store.snapshot_pointer(seq) != Some(newest) {
            continue;
        }
        match store.load(seq) {
            Ok(state) => return Ok(Some(state)),
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
