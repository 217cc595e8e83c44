//! Catching liars: what a replica signed that excludes something else it signed, and how two who were told different
//! things find that out.
//!
//! A vote that does not fit what others vote is shown to everybody, and so is, with every view that opens, what it opened
//! with. Whoever holds another statement of the same signer about the same thing has proof then. Nothing is decided by it:
//! a proof is kept and told, and votes count as before.

use super::{Out, Replica};
use crate::accusation::{Accusation, Offence};
use crate::certificate::Certificate;
use crate::codec::List;
use crate::log::Slot;
use crate::message::{
    Checkpoint, Commit, NamedViewChange, NewView, PeerMessage, Prepare, SWORN_MAX, Sworn, SwornKind,
};
use crate::process::{Alarm, Say};
use crate::signed::{Signed, Verified};
use crate::types::{Digest, Position, ReplicaId, Seq, Time, View};

/// What one replica signed of one kind is shown to others once in so many microseconds: a liar who gives reason to with
/// every slot makes nobody busy.
const SHOW_EVERY_US: u64 = 50_000;

/// What one replica signed of one kind and others are to see.
#[derive(Debug, Clone)]
pub(super) struct Display {
    /// Until then nothing more of it is shown.
    until: Time,
    /// What was shown last. Others vote on, and what they say does not make it news.
    shown: Vec<Sworn>,
    /// What waits, the oldest first; no more than one message takes. A liar must not be able to hide what proves
    /// something behind what proves nothing, so it is kept.
    waiting: Vec<Sworn>,
}

impl Display {
    /// One that may be shown at once.
    fn new(now: Time) -> Self {
        Self { until: now, shown: Vec::new(), waiting: Vec::new() }
    }

    fn add(&mut self, sworn: Sworn) {
        let known = self.shown.iter().chain(&self.waiting).any(|known| known.says_as(&sworn));
        if !known && self.waiting.len() < SWORN_MAX {
            self.waiting.push(sworn);
        }
    }

    /// Statements that it keeps.
    pub(super) fn kept(&self) -> usize {
        self.shown.len() + self.waiting.len()
    }
}

fn offence(kind: SwornKind) -> Offence {
    match kind {
        SwornKind::Prepare => Offence::Prepares,
        SwornKind::Commit => Offence::Commits,
        SwornKind::Checkpoint => Offence::Checkpoints,
        SwornKind::ViewChange => Offence::ViewChanges,
        SwornKind::NewView => Offence::NewViews,
    }
}

/// The alarm about two statements of one kind.
fn alarm_about(one: Sworn, other: Sworn) -> Option<Alarm> {
    match (one, other) {
        (Sworn::Prepare(one), Sworn::Prepare(other)) => Some(Alarm::ConflictingPrepares(one, other)),
        (Sworn::Commit(one), Sworn::Commit(other)) => Some(Alarm::ConflictingCommits(one, other)),
        (Sworn::Checkpoint(one), Sworn::Checkpoint(other)) => Some(Alarm::ConflictingCheckpoints(one, other)),
        (Sworn::ViewChange(one), Sworn::ViewChange(other)) => Some(Alarm::ConflictingViewChanges(one, other)),
        (Sworn::NewView(one), Sworn::NewView(other)) => Some(Alarm::ConflictingNewViews(one, other)),
        _ => None,
    }
}

/// What a quorum prepared or committed at a slot in one view, if that is known here.
fn decided(slot: &Slot, view: View) -> Option<Digest> {
    let committed = slot.committed.as_ref().map(|held| (held.statement.view, held.statement.digest));
    let prepared = slot.prepared.as_ref().map(|held| (held.statement.view, held.statement.digest));
    committed.into_iter().chain(prepared).find(|(of, _)| *of == view).map(|(_, digest)| digest)
}

impl Replica {
    fn is_accused(&self, offence: Offence, signer: ReplicaId) -> bool {
        self.accused.contains(&(offence, signer))
    }

    /// Whether what a replica is said to have signed would, with something that is held here, prove for the first time
    /// that it lied.
    #[must_use]
    pub fn is_evidence(&self, sworn: &Sworn) -> bool {
        !self.is_accused(offence(sworn.kind()), sworn.signer()) && self.held_against(sworn).is_some()
    }

    /// Another statement of the same signer about the same thing.
    fn held_against(&self, sworn: &Sworn) -> Option<Sworn> {
        let signer = sworn.signer();
        let held: Vec<Sworn> = match sworn {
            Sworn::Prepare(vote) => {
                let slot = self.log.get(vote.seq)?;
                let certified = slot.prepared.iter().filter_map(|held| held.vote_of(signer));
                slot.prepares.vote_of(signer).into_iter().chain(certified).map(Sworn::Prepare).collect()
            }
            Sworn::Commit(vote) => {
                let slot = self.log.get(vote.seq)?;
                let certified = slot.committed.iter().filter_map(|held| held.vote_of(signer));
                slot.commits.vote_of(signer).into_iter().chain(certified).map(Sworn::Commit).collect()
            }
            Sworn::Checkpoint(vote) => self.checkpoints_of(signer, vote.seq).map(Sworn::Checkpoint).collect(),
            Sworn::ViewChange(_) => {
                self.view_changes_of(signer).map(|held| Sworn::ViewChange(held.short())).collect()
            }
            Sworn::NewView(_) => self.new_views_of(signer).map(|held| Sworn::NewView(held.short())).collect(),
        };
        held.into_iter().find(|held| held.contradicts(sworn))
    }

    fn checkpoints_of(&self, signer: ReplicaId, seq: Seq) -> impl Iterator<Item = Signed<Checkpoint>> {
        let open = self.checkpoints.get(&seq).and_then(|tally| tally.vote_of(signer));
        let settled = self.settled.as_ref().filter(|(of, _)| *of == seq);
        let settled = settled.and_then(|(_, tally)| tally.vote_of(signer));
        let stable = self.stable.as_ref().filter(|held| held.statement.seq == seq);
        let stable = stable.and_then(|held| held.vote_of(signer));
        let far = self.far_checkpoints.get(&signer).filter(|vote| vote.seq == seq);
        let far = far.map(|vote| (**vote).clone());
        [open, settled, stable, far].into_iter().flatten()
    }

    fn view_changes_of(&self, signer: ReplicaId) -> impl Iterator<Item = &NamedViewChange> {
        let newest = self.view_changes.get(&signer).map(|held| &***held);
        let shown = self.new_view.iter().flat_map(|open| &open.view_changes);
        let collected = self.candidates.values().flat_map(|candidate| &candidate.collected);
        let others = shown.chain(collected).chain(&self.chosen).map(|held| &**held);
        newest.into_iter().chain(others.filter(move |held| held.signer == signer))
    }

    fn new_views_of(&self, signer: ReplicaId) -> impl Iterator<Item = &Signed<NewView>> {
        let open = self.new_view.as_ref().map(|open| &*open.new_view);
        let candidate = self.candidates.get(&signer).map(|candidate| candidate.new_view());
        open.into_iter().chain(candidate).filter(move |held| held.signer == signer)
    }

    /// Takes what others show.
    pub(super) fn on_testimony(&mut self, shown: &Verified<List<Sworn, SWORN_MAX>>, out: &mut Out<'_>) {
        for sworn in shown.iter() {
            self.confront(sworn, out);
        }
    }

    /// Accuses the signer of a statement if another one of his is held here that excludes it.
    fn confront(&mut self, sworn: &Sworn, out: &mut Out<'_>) {
        if self.is_accused(offence(sworn.kind()), sworn.signer()) {
            return;
        }
        let held = self.held_against(sworn);
        if let Some(alarm) = held.and_then(|held| alarm_about(held, sworn.clone())) {
            self.alarm(alarm, out);
        }
    }

    /// Shows everybody statements of others that do not fit the rest; each signer's of one kind not too often. What comes
    /// too soon waits.
    fn show(&mut self, sworn: Vec<Sworn>, out: &mut Out<'_>) {
        if self.is_mute() {
            return;
        }
        for sworn in sworn {
            let of = (offence(sworn.kind()), sworn.signer());
            if !self.accused.contains(&of) {
                self.displays.entry(of).or_insert_with(|| Display::new(out.now)).add(sworn);
            }
        }
        self.show_waiting(out);
    }

    /// When what waits may be shown, or what was shown may be forgotten.
    pub(super) fn show_at(&self) -> Option<Time> {
        self.displays.values().map(|display| display.until).min()
    }

    /// Shows what has waited long enough. Messages are no more than signers and kinds that it is about, for none waits
    /// with more than fits into one.
    pub(super) fn show_waiting(&mut self, out: &mut Out<'_>) {
        if self.is_mute() {
            self.displays.clear();
            return;
        }
        let (now, accused, mut sworn) = (out.now, &self.accused, Vec::new());
        self.displays.retain(|of, display| {
            if display.until > now {
                return true;
            }
            if display.waiting.is_empty() || accused.contains(of) {
                return false;
            }
            display.until = now.plus(SHOW_EVERY_US);
            display.shown = std::mem::take(&mut display.waiting);
            sworn.extend(display.shown.iter().cloned());
            true
        });
        for sworn in sworn.chunks(SWORN_MAX) {
            let testimony = PeerMessage::Testimony(List(sworn.to_vec()));
            Self::say(Say::Relay(testimony), Position(0), out);
        }
    }

    /// Whether a PREPARE does not fit what its view proposed or decided at its slot, so that it is worth a look although
    /// nothing waits for it.
    pub(super) fn is_odd_prepare(&self, vote: &Signed<Prepare>) -> bool {
        if vote.seq <= self.log.low() || self.is_accused(Offence::Prepares, vote.signer) {
            return false;
        }
        let Some(slot) = self.log.get(vote.seq) else { return false };
        match slot.prepares.vote_of(vote.signer) {
            Some(known) if known.view == vote.view => known.body != vote.body,
            Some(known) if known.view > vote.view => false,
            _ => {
                let proposed = slot.proposal.filter(|held| held.view == vote.view).map(|held| held.digest);
                let fitting = decided(slot, vote.view).or(proposed);
                fitting.is_some_and(|digest| digest != vote.digest)
            }
        }
    }

    /// The same of a COMMIT.
    pub(super) fn is_odd_commit(&self, vote: &Signed<Commit>) -> bool {
        if vote.seq <= self.log.low() || self.is_accused(Offence::Commits, vote.signer) {
            return false;
        }
        let Some(slot) = self.log.get(vote.seq) else { return false };
        match slot.commits.vote_of(vote.signer) {
            Some(known) if known.view == vote.view => known.body != vote.body,
            Some(known) if known.view > vote.view => false,
            _ => decided(slot, vote.view).is_some_and(|digest| digest != vote.digest),
        }
    }

    /// The same of a CHECKPOINT at the newest slot that is stable.
    pub(super) fn is_odd_checkpoint(&self, vote: &Signed<Checkpoint>) -> bool {
        let stable = self.stable.as_ref().map(|held| held.statement).filter(|held| held.seq == vote.seq);
        stable.is_some_and(|stable| stable != vote.body)
            && !self.is_accused(Offence::Checkpoints, vote.signer)
    }

    /// A PREPARE was recorded, or what its view decided: those that do not fit are shown to everybody, with the
    /// proposal that they should fit.
    pub(super) fn doubt_prepares(&mut self, seq: Seq, view: View, out: &mut Out<'_>) {
        let Some(slot) = self.log.get(seq) else { return };
        let of_view = |vote: &&Prepare| vote.view == view;
        let digests = || slot.prepares.votes().map(|(_, vote)| vote).filter(of_view).map(|vote| vote.digest);
        let Some(first) = digests().next() else { return };
        let fitting = decided(slot, view);
        if digests().all(|digest| digest == first) && fitting.is_none_or(|digest| digest == first) {
            return;
        }
        let primary = self.context.committee.primary(view);
        let proposed = slot.prepares.vote_of(primary).filter(|vote| vote.view == view);
        let fitting = fitting.or(proposed.as_ref().map(|vote| vote.digest));
        let odd = slot.prepares.votes().filter(|(signer, vote)| {
            let fits = fitting == Some(vote.digest);
            vote.view == view && (!fits || *signer == primary)
        });
        let odd = odd.filter_map(|(signer, _)| slot.prepares.vote_of(signer)).map(Sworn::Prepare).collect();
        self.show(odd, out);
    }

    /// The same of COMMITs.
    pub(super) fn doubt_commits(&mut self, seq: Seq, view: View, out: &mut Out<'_>) {
        let Some(slot) = self.log.get(seq) else { return };
        let Some(fitting) = decided(slot, view) else { return };
        let odd = slot.commits.votes().filter(|(_, vote)| vote.view == view && vote.digest != fitting);
        let odd: Vec<Sworn> =
            odd.filter_map(|(signer, _)| slot.commits.vote_of(signer)).map(Sworn::Commit).collect();
        self.show(odd, out);
    }

    /// A CHECKPOINT of a slot that is stable: one of another root is evidence, or is shown to everybody.
    pub(super) fn doubt_checkpoint(&mut self, vote: &Signed<Checkpoint>, out: &mut Out<'_>) {
        if self.is_odd_checkpoint(vote) {
            let sworn = Sworn::Checkpoint(vote.clone());
            self.confront(&sworn, out);
            self.show(vec![sworn], out);
        }
    }

    /// A checkpoint became stable: votes for other roots are shown to everybody. Those for this one stay here, to be held
    /// against what others show.
    pub(super) fn settle_checkpoint(&mut self, certificate: &Certificate<Checkpoint>, out: &mut Out<'_>) {
        let seq = certificate.statement.seq;
        let tally = self.checkpoints.get(&seq).cloned().unwrap_or_default();
        let votes = tally.votes().filter(|(_, vote)| **vote != certificate.statement);
        let odd: Vec<Sworn> =
            votes.filter_map(|(signer, _)| tally.vote_of(signer)).map(Sworn::Checkpoint).collect();
        for sworn in &odd {
            // A certificate that came as a whole may hold another vote of the same replica.
            if let Some(vote) = certificate.vote_of(sworn.signer())
                && let Some(alarm) = alarm_about(Sworn::Checkpoint(vote), sworn.clone())
            {
                self.alarm(alarm, out);
            }
        }
        self.settled = Some((seq, tally));
        self.show(odd, out);
    }

    /// A COMMIT was recorded: its signer must have shown what it rests on in every later VIEW-CHANGE.
    pub(super) fn doubt_commit(&mut self, commit: &Signed<Commit>, out: &mut Out<'_>) {
        if let Some(held) = self.view_changes.get(&commit.signer).map(|held| (**held).clone()) {
            self.doubt_withheld(commit, &held, out);
        }
        self.doubt_commits(commit.seq, commit.view, out);
    }

    fn doubt_withheld(
        &mut self,
        commit: &Signed<Commit>,
        view_change: &std::sync::Arc<NamedViewChange>,
        out: &mut Out<'_>,
    ) {
        // A COMMIT of a later view is not looked at twice.
        if commit.view >= view_change.view || self.is_accused(Offence::Withheld, commit.signer) {
            return;
        }
        let accusation = Accusation::Withheld(commit.clone(), std::sync::Arc::clone(view_change));
        if accusation.check_shape().is_ok() {
            self.alarm(Alarm::Withheld(commit.clone(), std::sync::Arc::clone(view_change)), out);
        }
    }

    /// Whether a VIEW-CHANGE is another one than its signer's for the same view that is here.
    pub(super) fn is_odd_view_change(&self, message: &NamedViewChange) -> bool {
        // Its short form costs a pass over all its certificates: nobody gets that for nothing.
        let differs = |held: &NamedViewChange| held.view == message.view && held.digest() != message.digest();
        !self.is_accused(Offence::ViewChanges, message.signer)
            && self.view_changes_of(message.signer).any(differs)
            && self.is_evidence(&Sworn::ViewChange(message.short()))
    }

    /// Whether a NEW-VIEW is another one than its signer's for the same view that is here.
    pub(super) fn is_odd_new_view(&self, message: &Signed<NewView>) -> bool {
        self.is_evidence(&Sworn::NewView(message.short()))
    }

    /// A VIEW-CHANGE is here: it must not differ from another one of its signer for this view, must not withhold what its
    /// signer committed to, and the votes that it shows must not contradict those that are here.
    pub(super) fn doubt_view_change(
        &mut self,
        message: &Verified<std::sync::Arc<NamedViewChange>>,
        out: &mut Out<'_>,
    ) {
        self.confront(&Sworn::ViewChange(message.short()), out);
        let signer = message.signer;
        let committed = self.log.open_slots().filter(|(seq, _)| *seq > message.low());
        let committed = committed.filter_map(|(_, slot)| {
            let counted = slot.commits.vote_of(signer);
            counted.or_else(|| slot.committed.as_ref()?.vote_of(signer))
        });
        let committed: Vec<Signed<Commit>> = committed.filter(|commit| commit.view < message.view).collect();
        for commit in committed {
            self.doubt_withheld(&commit, message, out);
        }
        for certificate in message.prepared.iter() {
            self.doubt_certificate(certificate, out);
        }
    }

    /// A prepared certificate is here: nobody in it may have voted otherwise in its view.
    fn doubt_certificate(&mut self, certificate: &Certificate<Prepare>, out: &mut Out<'_>) {
        let this = certificate.statement;
        let Some(slot) = self.log.get(this.seq) else { return };
        let odd = slot.prepares.votes().filter(|(_, vote)| vote.view == this.view && **vote != this);
        let odd: Vec<ReplicaId> = odd.map(|(signer, _)| signer).collect();
        for vote in odd.into_iter().filter_map(|signer| certificate.vote_of(signer)) {
            self.confront(&Sworn::Prepare(vote), out);
        }
    }

    /// A NEW-VIEW is here: its primary must not have sent another one.
    pub(super) fn doubt_new_view(&mut self, message: &Signed<NewView>, out: &mut Out<'_>) {
        self.confront(&Sworn::NewView(message.short()), out);
    }

    /// A view is open: what opened it is shown to everybody, and every VIEW-CHANGE to it that the NEW-VIEW does not name.
    /// Whoever entered by another one, or was sent other VIEW-CHANGEs, finds out.
    pub(super) fn show_entry(&mut self, out: &mut Out<'_>) {
        let Some(open) = &self.new_view else { return };
        let (view, opened) = (open.new_view.view, Sworn::NewView(open.new_view.short()));
        let named = &open.new_view.view_changes;
        let unnamed = self
            .view_changes
            .values()
            .filter(|held| held.view == view && !named.contains(&(held.signer, held.digest())));
        let unnamed = unnamed.map(|held| Sworn::ViewChange(held.short()));
        let sworn = std::iter::once(opened).chain(unnamed).collect();
        self.show(sworn, out);
    }

    /// Votes for the state after a slot, unless it voted for another one there, or may have: a replica whose state was
    /// wrong and is not any more has nothing to gain from contradicting itself.
    pub(super) fn say_checkpoint(&self, seq: Seq, root: Digest, out: &mut Out<'_>) {
        let ours = Checkpoint { seq, root, epoch_end: Seq::MAX };
        let said = self.checkpoints_of(self.id, seq).next().map(|vote| vote.body);
        let wrong = self.standing.divergence().filter(|wrong| wrong.seq == seq).map(|wrong| wrong.ours);
        if said.is_none() && seq <= self.unsure {
            return;
        }
        if said.is_none_or(|said| said == ours) && wrong.is_none_or(|wrong| wrong == root) {
            Self::say(Say::Checkpoint(ours), Position(0), out);
        }
    }
}
