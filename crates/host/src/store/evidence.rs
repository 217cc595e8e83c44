//! What a store does when states of its are proven wrong: it writes down what an operator needs to find out why, and
//! lets go of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_protocol::executor::Summary;
use quorate_protocol::map::{Chunk, Map, Page};
use quorate_protocol::standing::Evidence;
use quorate_protocol::types::{Digest, Seq};

use super::{Store, StoreError};
use crate::accusations::{self, Exhibit};
use crate::disk::{Disk, FileName};
use crate::divergence::{Case, Change, Which};

/// Pages of one of a state's maps that another state does not have.
type OwnPages = Vec<Arc<Page>>;

impl<D: Disk> Store<D> {
    /// Writes down, durably, what `evidence` proves, and what the wrong state has otherwise than the last one that was
    /// right; then deletes the wrong state, if that is what it is, all that followed from it, and all since the last right
    /// one, for nobody knows where in between it went wrong. The right one stays as long as that is there.
    ///
    /// # Errors
    /// If the disk fails; everything is refused then.
    pub fn preserve(&mut self, evidence: &Evidence) -> Result<(), StoreError> {
        self.guarded(|store| {
            let wrong = evidence.divergence.seq;
            let agreed = store.list().into_iter().rev().find(|seq| *seq <= evidence.agreed && *seq < wrong);
            // What is not to be replayed is not compared either: without a state to begin with that would be all of it.
            let whole = evidence.batches.0.first().is_some_and(|(seq, _)| *seq == Seq(1));
            let changes = if evidence.conflict.is_empty() && (agreed.is_some() || whole) {
                store.changes(agreed, wrong, evidence.divergence.ours)?
            } else {
                None
            };
            let case = Case::new(evidence, agreed.unwrap_or_default(), changes);
            case.write(&mut store.disk)?;
            store.pinned = case.needs().into_iter().collect();
            if evidence.proven { store.discard(wrong.min(evidence.agreed.next())) } else { Ok(()) }
        })
    }

    /// Writes down, durably, that a replica lied, and the proof.
    ///
    /// # Errors
    /// If the disk fails; everything is refused then.
    pub fn accuse(&mut self, exhibit: &Exhibit) -> Result<(), StoreError> {
        self.guarded(|store| Ok(accusations::keep(&mut store.disk, exhibit)?))
    }

    /// The accusations in the folder, as they stand there.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn accusations(&self) -> Result<Vec<accusations::Found>, StoreError> {
        Ok(accusations::list(&mut self.disk.share())?)
    }

    /// Keeps these snapshots, whatever else is let go.
    pub fn pin(&mut self, seqs: impl IntoIterator<Item = Seq>) {
        self.pinned = seqs.into_iter().collect();
    }

    /// Deletes the snapshots from this slot on: they are wrong, and what there is to learn from them is preserved.
    ///
    /// # Errors
    /// If the disk fails; everything is refused then.
    pub(crate) fn withdraw(&mut self, from: Seq) -> Result<(), StoreError> {
        self.guarded(|store| store.discard(from))
    }

    fn discard(&mut self, from: Seq) -> Result<(), StoreError> {
        let gone: Vec<Seq> = self.manifests.range(from..).map(|(seq, _)| *seq).collect();
        for seq in &gone {
            self.disk.remove(FileName::Snapshot(*seq))?;
            self.manifests.remove(seq);
            self.untidy = true;
        }
        if !gone.is_empty() && self.sync {
            self.disk.sync_folder()?;
        }
        Ok(())
    }

    /// What the state after `wrong` has otherwise than the one after `agreed`, or than an empty one; none if that is not
    /// there any more. Only pages that are in one of them alone are held in memory.
    fn changes(
        &mut self,
        agreed: Option<Seq>,
        wrong: Seq,
        root: Digest,
    ) -> Result<Option<Vec<Change>>, StoreError> {
        let manifest = |seq| self.manifests.get(&seq).and_then(|manifest| manifest.as_ref().ok());
        let wrong = manifest(wrong).filter(|manifest| manifest.root == root);
        let Some(wrong) = wrong.map(|manifest| (manifest.summary, Arc::clone(&manifest.digests))) else {
            return Ok(None);
        };
        let agreed = agreed.and_then(manifest).map(|held| (held.summary, Arc::clone(&held.digests)));
        let mut changes = Vec::new();
        for which in [Which::Application, Which::Sessions] {
            let ours = digests_of(&wrong, which);
            let theirs = agreed.as_ref().map(|state| digests_of(state, which)).unwrap_or_default();
            let Some((ours, theirs)) = self.own_pages(&ours, &theirs)? else { return Ok(None) };
            let (Ok(ours), Ok(theirs)) = (map_of(ours), map_of(theirs)) else { return Ok(None) };
            changes.extend(theirs.differences(&ours).map(|found| Change {
                which,
                key: found.key.to_vec(),
                value: found.theirs.map(<[u8]>::to_vec),
            }));
        }
        Ok(Some(changes))
    }

    /// Pages that only the one or only the other has, of chunks that not both have; none if a chunk is damaged.
    fn own_pages(
        &mut self,
        ours: &[Digest],
        theirs: &[Digest],
    ) -> Result<Option<(OwnPages, OwnPages)>, StoreError> {
        let not_in = |these: &[Digest], those: &[Digest]| {
            let those: BTreeSet<Digest> = those.iter().copied().collect();
            these.iter().copied().filter(|digest| !those.contains(digest)).collect::<Vec<_>>()
        };
        let (ours, theirs) = (not_in(ours, theirs), not_in(theirs, ours));
        let (Some(in_ours), Some(in_theirs)) = (self.page_digests(&ours)?, self.page_digests(&theirs)?)
        else {
            return Ok(None);
        };
        Ok(self.pages(&ours, &in_theirs)?.zip(self.pages(&theirs, &in_ours)?))
    }

    /// Digests of the pages of these chunks.
    fn page_digests(&mut self, chunks: &[Digest]) -> Result<Option<BTreeSet<Digest>>, StoreError> {
        let mut digests = BTreeSet::new();
        for digest in chunks {
            let Some(chunk) = self.find(digest)? else { return Ok(None) };
            digests.extend(chunk.pages().iter().map(|page| page.digest()));
        }
        Ok(Some(digests))
    }

    /// The pages of these chunks, in order, without those that the other state has, too.
    fn pages(
        &mut self,
        chunks: &[Digest],
        others: &BTreeSet<Digest>,
    ) -> Result<Option<OwnPages>, StoreError> {
        let mut pages = OwnPages::new();
        for digest in chunks {
            let Some(chunk) = self.find(digest)? else { return Ok(None) };
            pages.extend(chunk.pages().iter().filter(|page| !others.contains(&page.digest())).cloned());
        }
        Ok(Some(pages))
    }
}

fn digests_of((summary, digests): &(Summary, Arc<[Digest]>), which: Which) -> Vec<Digest> {
    let of_application = usize::try_from(summary.application.chunks).unwrap_or(usize::MAX);
    let (application, sessions) = digests.split_at(of_application.min(digests.len()));
    match which {
        Which::Application => application.to_vec(),
        Which::Sessions => sessions.to_vec(),
    }
}

/// Pages in order as a map; each becomes a chunk of its own.
fn map_of(pages: OwnPages) -> Result<Map, quorate_protocol::map::MapError> {
    let chunks = pages.into_iter().map(|page| Chunk::from_pages(vec![page]).map(Arc::new));
    Map::from_chunks(chunks.collect::<Result<_, _>>()?)
}
