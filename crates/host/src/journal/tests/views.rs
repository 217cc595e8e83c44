//! What a journal keeps while views change without end.

use std::collections::BTreeMap;

use quorate_protocol::parameters::Parameters;

use super::*;

/// A replica's records as it goes through views: what it would have to remember after each of them.
struct Life {
    random: super::damage::Random,
    parameters: Parameters,
    low: u64,
    view: u64,
    open: bool,
    votes: BTreeMap<u64, Record>,
    prepared: BTreeMap<u64, Record>,
    bodies: Vec<(u64, Record)>,
    newest: BTreeMap<u8, Record>,
}

impl Life {
    fn new(seed: u64, parameters: Parameters) -> Self {
        let random = super::damage::Random(seed);
        let (votes, prepared, newest) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { random, parameters, low: 0, view: 0, open: true, votes, prepared, bodies: Vec::new(), newest }
    }

    /// Whether the replica would vote for one more body: it knows what the journal's ring of bodies holds.
    fn has_room(&mut self) -> bool {
        while self.bodies.first().is_some_and(|(seq, _)| *seq <= self.low) {
            self.bodies.remove(0);
        }
        let bytes = self.bodies.len() as u64 * (self.parameters.batch_bytes_max + 512);
        (self.bodies.len() as u64) < self.parameters.bodies_max()
            && bytes + self.parameters.batch_bytes_max + 512 <= self.parameters.body_bytes_max()
    }

    /// What the replica records next, and how much of it.
    fn group(&mut self) -> Vec<Record> {
        let mut group = Vec::new();
        for _ in 0..=self.random.below(6) {
            let seq = self.low + 1 + self.random.below(self.parameters.window);
            match self.random.below(16) {
                0 => {
                    self.view += 1 + self.random.below(2);
                    self.open = false;
                    self.votes.clear();
                    self.say(
                        Record::ViewChange(full_view_change(self.view, self.parameters.window)),
                        1,
                        &mut group,
                    );
                }
                1 | 2 if !self.open => {
                    self.open = true;
                    self.say(full_new_view(self.view, self.parameters.window), 2, &mut group);
                }
                3 if self.random.below(4) == 0 => {
                    let interval = self.parameters.checkpoint_interval;
                    self.low += interval * (1 + self.random.below(self.parameters.window / interval));
                    let low = self.low;
                    self.votes.retain(|seq, _| *seq > low);
                    self.prepared.retain(|seq, _| *seq > low);
                    self.say(stable(low), 0, &mut group);
                }
                4..=8 if self.open && !self.votes.contains_key(&seq) => {
                    if self.random.below(2) == 0 && self.has_room() {
                        let body =
                            body_of(seq, self.view, self.random.below(self.parameters.batch_bytes_max - 200));
                        self.bodies.push((seq, body.clone()));
                        group.push(body);
                    }
                    self.votes.insert(seq, vote_in(self.view, seq));
                    group.push(vote_in(self.view, seq));
                }
                _ if self.open && self.votes.contains_key(&seq) => {
                    let statement = Prepare { view: View(self.view), ..prepare(seq) };
                    let record = Record::Prepared(Certificate { statement, signatures: List(signatures()) });
                    if self.prepared.insert(seq, record.clone()).as_ref() != Some(&record) {
                        group.push(record);
                    }
                }
                _ => {}
            }
        }
        group
    }

    fn say(&mut self, record: Record, kind: u8, group: &mut Vec<Record>) {
        self.newest.insert(kind, record.clone());
        group.push(record);
    }

    /// Everything that binds it, or is promised to others.
    fn needed(&self) -> impl Iterator<Item = &Record> {
        let low = self.low;
        let bodies = self.bodies.iter().filter(move |(seq, _)| *seq > low).map(|(_, body)| body);
        self.votes.values().chain(self.prepared.values()).chain(bodies).chain(self.newest.values())
    }
}

fn body_of(seq: u64, view: u64, bytes: u64) -> Record {
    let Record::Body { body: named, .. } = body(seq * 1000 + view, bytes as usize) else { unreachable!() };
    Record::Body { seq: Seq(seq), body: named }
}

/// As large as one may be: a certificate for every slot of the window.
fn full_view_change(view: u64, window: u64) -> ViewChange {
    let certificates =
        (1..=window).map(|seq| Certificate { statement: prepare(seq), signatures: List(signatures()) });
    ViewChange { view: View(view), stable: None, prepared: List(certificates.collect()) }
}

fn full_new_view(view: u64, window: u64) -> Record {
    let signed = |id| {
        let body = full_view_change(view, window);
        Arc::new(NamedViewChange::from(Signed { body, signer: ReplicaId(id), signature: Signature([1; 64]) }))
    };
    let view_changes: Vec<_> = (0..3).map(signed).collect();
    let named = view_changes.iter().map(|one| (one.signer, one.digest())).collect();
    let new_view = NewView { view: View(view), view_changes: List(named) };
    Record::NewView { new_view, signature: Some(Signature([6; 64])), view_changes }
}

fn parameters(interval: u64, window: u64) -> Parameters {
    Parameters { checkpoint_interval: interval, window, batch_bytes_max: 600, ..Parameters::default() }
}

/// The shape that a replica of these parameters gets, without the least distance of copies.
fn shape_of(parameters: &Parameters) -> Shape {
    let shape = Shape::of(parameters, 4);
    Shape::exactly(shape.records(), shape.side_bytes(), parameters.body_bytes_max())
}

#[test]
fn views_may_change_for_ever_within_a_journal_sized_for_the_window() {
    let mut carried_by_all = 0;
    for (seed, interval, window) in [(1, 1, 2), (2, 2, 4), (3, 4, 8), (4, 4, 16), (5, 1, 16)] {
        let parameters = parameters(interval, window);
        let mut opened = reopen(formatted(shape_of(&parameters)), Durability::Sync);
        let mut life = Life::new(seed, parameters);
        let (mut carried, mut laps) = (0, 0);
        for round in 0..4000 {
            let group = life.group();
            if !group.is_empty() {
                write(&mut opened, &group, life.random.below(3) > 0).unwrap();
            }
            // The state of a checkpoint is stored some time after the checkpoint is stable.
            if life.random.below(8) == 0 {
                opened.journal.reclaim(Seq(life.low));
            }
            if round % 100 == 99 {
                opened.writer.sync().unwrap();
                carried += opened.writer.counters().carried;
                laps += opened.writer.counters().records;
                let mut disk = disk_of(opened);
                disk.crash(Crash::Forget);
                opened = reopen(disk, Durability::Sync);
                assert_eq!((opened.report.amnesia, opened.report.cut), (None, 0));
                assert_eq!(opened.report.missing_bodies, []);
                let found = records(&opened);
                let missing = life.needed().find(|record| !found.contains(record));
                assert_eq!(missing, None, "seed {seed} round {round}");
            }
        }
        assert!(life.view > 100, "{} views", life.view);
        assert!(laps > 8 * shape_of(&life.parameters).records(), "{laps} records");
        assert!(carried < laps / 4, "{carried} of {laps} records were carried: room is made too often");
        carried_by_all += carried;
    }
    assert!(carried_by_all > 100, "{carried_by_all}");
}

#[test]
fn a_window_of_certificates_is_carried_forward_and_costs_no_second_body() {
    let parameters = parameters(4, 8);
    let mut opened = reopen(formatted(shape_of(&parameters)), Durability::Sync);
    write(&mut opened, &[body(1, 500), vote(1), prepared(1)], true).unwrap();
    let before = opened.writer.usage().bodies;
    for view in 2..400 {
        opened.journal.append(&Record::ViewChange(full_view_change(view, 8)), Some(b"mine"));
        write(&mut opened, &[full_new_view(view, 8), vote_in(view, 1)], true).unwrap();
    }
    assert!(opened.writer.counters().carried > 10);
    assert_eq!(opened.writer.usage().bodies, before, "only its record moves");
    let opened = reopen(disk_of(opened), Durability::Sync);
    let found = records(&opened);
    assert!(
        found.contains(&body(1, 500)) && found.contains(&prepared(1)) && found.contains(&vote_in(399, 1))
    );
    let mut mine = opened.records.iter().filter(|one| one.signed.is_some());
    assert_eq!(mine.next_back().unwrap().record, Record::ViewChange(full_view_change(399, 8)));
}

#[test]
fn nothing_is_carried_while_views_do_not_change_but_what_is_newest() {
    let parameters = parameters(8, 32);
    let mut opened = reopen(formatted(shape_of(&parameters)), Durability::Sync);
    write(&mut opened, &[new_view(1)], true).unwrap();
    for seq in 1..=4000 {
        write(&mut opened, &[body(seq, 100), vote(seq), prepared(seq)], true).unwrap();
        if seq % 8 == 0 {
            write(&mut opened, &[stable(seq)], true).unwrap();
            opened.journal.reclaim(Seq(seq));
        }
    }
    let Counters { carried, records, syncs, .. } = opened.writer.counters();
    let laps = records / shape_of(&parameters).records();
    assert!(laps > 10 && (1..=2 * laps).contains(&carried), "{carried} carried in {laps} laps");
    assert!(syncs <= 4501 + 4 * laps, "{syncs} syncs of 4501 groups");
}
