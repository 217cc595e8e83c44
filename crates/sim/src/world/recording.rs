//! What of a world is recorded, noted while it happens.

use quorate_host::live::{Header, Source, Stand, State, VERSION};
use quorate_protocol::types::{ReplicaId, Time};

use super::World;
use crate::network::Party;
use crate::recording::Recording;

impl World {
    /// From now on everything that a live page shows is recorded; [`World::take_recording`] has it.
    pub fn keep_recording(&mut self, title: &str) {
        let committee = &self.context.committee;
        let count = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
        let header = Header {
            version: VERSION,
            source: Source::Simulation,
            title: title.to_owned(),
            n: count(committee.size()),
            f: count(committee.faults()),
            q: count(committee.quorum()),
            ..Header::default()
        };
        let mut recording = Box::new(Recording::new(header, self.now));
        self.network.cuts().iter().for_each(|cut| recording.cut(cut));
        self.recording = Some(recording);
        for id in self.context.committee.replicas() {
            self.record_start(id);
            self.record_standing(id);
        }
    }

    /// The recording so far; nothing more is recorded.
    pub fn take_recording(&mut self) -> Option<Recording> {
        for id in self.context.committee.replicas() {
            self.record_lanes(id, true);
        }
        self.recording.take().map(|recording| *recording)
    }

    /// A replica begins a life.
    pub(super) fn record_start(&mut self, id: ReplicaId) {
        if self.recording.is_some() {
            let now = self.clock(id);
            self.nodes[usize::from(id.0)].watch(now);
        }
    }

    /// What a replica saw of slots since it was last asked, by the world's time: its clock may be another one, so it is
    /// asked often, and before its clock is changed.
    pub(super) fn record_lanes(&mut self, id: ReplicaId, at_once: bool) {
        let (here, now) = (self.clock(id), self.now);
        let Some(recording) = &mut self.recording else { return };
        if !at_once && !recording.is_due(now, id) {
            return;
        }
        // What its clock would have said when the recording began.
        let began = Time(here.0.saturating_sub(recording.at(now)));
        recording.saw(now, id, self.nodes[usize::from(id.0)].seen(here, began));
    }

    /// Where a replica stands after a step.
    pub(super) fn record_standing(&mut self, id: ReplicaId) {
        if self.recording.is_none() {
            return;
        }
        self.record_lanes(id, false);
        let stand = self.stand(id);
        if let Some(recording) = &mut self.recording {
            recording.stands(self.now, stand);
        }
    }

    fn stand(&self, id: ReplicaId) -> Stand {
        let node = &self.nodes[usize::from(id.0)];
        let replica = node.replica();
        let (low, high) = replica.watermarks();
        let up = !self.is_crashed(id);
        let reaches = |other: ReplicaId| {
            let (here, there) = (Party::Replica(id), Party::Replica(other));
            other == id || !self.is_crashed(other) && !self.network.is_cut(self.now, here, there)
        };
        let (lies, behaviour) = if self.is_liar(id) { self.lies_of(id) } else { (0, None) };
        Stand {
            t: 0,
            id: id.0,
            up,
            state: if up { State::of(replica) } else { State::Stopped },
            view: replica.view().0,
            primary: replica.primary().0,
            executed: replica.executed().0,
            committed: replica.committed().0,
            stable: low.0,
            low: low.0,
            high: high.0,
            links: self.context.committee.replicas().map(|other| up && reaches(other)).collect(),
            behaviour,
            lies,
            alarms: 0,
            pending: if up { replica.pooled() } else { 0 },
        }
    }
}
