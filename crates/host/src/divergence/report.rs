//! Replaying what led to a wrong state: who computed what, and which request it was.
//!
//! Everything here is a function of the evidence and of the program. The batches are executed again from the last state
//! that was right, twice: two results that differ mean that the application is not deterministic. Then the result is
//! held against what the others certified and against what this replica had.

use std::sync::Arc;

use quorate_protocol::application::StateMachine;
use quorate_protocol::executor::{CheckpointError, Executor, RestoreError, State};
use quorate_protocol::map::{Map, MapError};
use quorate_protocol::parameters::Context;
use quorate_protocol::request::Body;
use quorate_protocol::types::{ClientId, Digest, Number, Seq, Session};

use super::{Case, Which};
use crate::execution::{Done, Execution, Task};

/// Keys that a report names.
pub const KEYS_MAX: usize = 10;
/// Keys that are watched while batches are replayed.
const WATCHED_MAX: usize = 1024;
/// How often a difference between two replays is looked for where it was seen before.
const TRIES: usize = 8;

/// What the replay says about a wrong state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The same program on the same batches comes to what the others have: this replica computed it wrongly once.
    Once,
    /// It comes to what this replica had: the program is another one than the others', or reads what they do not have.
    Always,
    /// It comes to something else each time.
    NotDeterministic,
    /// It comes to a third state: the application reads what is not in its commands.
    Third,
    /// Nothing was replayed, because these batches are missing; the first and the last of them.
    Missing(Seq, Seq),
}

/// The first request that writes a key in which the states differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Culprit {
    /// Its slot.
    pub seq: Seq,
    /// Who asked.
    pub client: ClientId,
    /// In which session.
    pub session: Session,
    /// The operation's number.
    pub number: Number,
    /// The operation's digest.
    pub operation: Digest,
}

/// A key in which the states differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// In which map.
    pub which: Which,
    /// The key.
    pub key: Vec<u8>,
    /// Its value here.
    pub ours: Option<Vec<u8>>,
    /// Its value in the state that this is held against.
    pub theirs: Option<Vec<u8>>,
}

/// What is known about a wrong state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What follows from the rest.
    pub verdict: Verdict,
    /// The root that the replay came to.
    pub replayed: Option<Digest>,
    /// The request, if one was found.
    pub culprit: Option<Culprit>,
    /// The first [`KEYS_MAX`] keys that differ; the application's first.
    pub keys: Vec<Key>,
    /// How many differ, in both maps.
    pub differing: u64,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The last right state is not in the folder.
    #[error("the state at sequence {0}, from which the batches are replayed, is not in the folder")]
    NoState(Seq),
    /// It is no state of this application, or of this cluster.
    #[error(
        "the batches cannot be replayed: {0}; fix: pass the application and the cluster file that the replica ran"
    )]
    Restore(#[from] RestoreError),
    /// The application does not write its state.
    #[error("the replayed state cannot be written: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The same, at a checkpoint.
    #[error("the replayed state cannot be written: {0}")]
    Unwritten(String),
    /// What was kept of the wrong state makes no map.
    #[error("what was kept of the wrong state is none: {0}")]
    Changes(#[from] MapError),
}

/// Both maps of a state.
struct Maps {
    application: Map,
    sessions: Map,
}

impl Maps {
    fn of(state: &State) -> Self {
        Self { application: state.application.clone(), sessions: state.sessions.clone() }
    }

    fn of_kind(&self, which: Which) -> &Map {
        match which {
            Which::Application => &self.application,
            Which::Sessions => &self.sessions,
        }
    }

    fn differs_from(&self, other: &Self) -> bool {
        let differ = |which| self.of_kind(which).differences(other.of_kind(which)).next().is_some();
        differ(Which::Application) || differ(Which::Sessions)
    }

    /// The keys in which they differ, and how many these are.
    fn keys(&self, other: &Self, most: usize) -> (Vec<Key>, u64) {
        let (mut keys, mut differing) = (Vec::new(), 0);
        for which in [Which::Application, Which::Sessions] {
            for found in self.of_kind(which).differences(other.of_kind(which)) {
                differing += 1;
                if keys.len() < most {
                    let (key, value) = (found.key.to_vec(), |value: Option<&[u8]>| value.map(<[u8]>::to_vec));
                    keys.push(Key { which, key, ours: value(found.ours), theirs: value(found.theirs) });
                }
            }
        }
        (keys, differing)
    }
}

/// The batches of a case, and what they are executed by.
struct Replay<'a> {
    context: &'a Context,
    machine: &'a dyn Fn() -> Box<dyn StateMachine>,
    before: Option<&'a State>,
    batches: &'a [(Seq, Option<Arc<Body>>)],
}

/// What a search came to in one pass.
enum Pass {
    /// It is this one.
    Found(Culprit),
    /// It is in this slot.
    In(Seq),
    /// Nothing of the kind happens.
    Nothing,
}

impl Replay<'_> {
    fn executor(&self) -> Result<Executor, ReportError> {
        let (context, machine) = (self.context.clone(), (self.machine)());
        match self.before {
            None => Ok(Executor::new(context, machine)),
            Some(state) => Ok(Executor::restore(context, machine, state.clone())?),
        }
    }

    /// The state after the last slot, with checkpoints where a replica makes them: what is written at them shapes it.
    fn run(&self) -> Result<State, ReportError> {
        let mut execution = Execution::new(self.executor()?, &self.context.parameters);
        let mut last = None;
        for (seq, body) in self.batches {
            match execution.run(Task::Execute { seq: *seq, body: body.clone() }) {
                Done::Executed { state, .. } => last = state,
                Done::Failed { why, .. } => return Err(ReportError::Unwritten(why)),
                Done::Known { .. }
                | Done::Fresh { .. }
                | Done::Queried { .. }
                | Done::Released { .. }
                | Done::Outran
                | Done::Installed
                | Done::NotInstalled { .. } => {}
            }
        }
        let last = last.map(|state| *state);
        last.ok_or_else(|| {
            ReportError::Unwritten("no checkpoint is due where the replica made one".to_owned())
        })
    }

    /// The first operation after which `is_it` says so of what `count` executors have.
    fn first(&self, count: usize, is_it: &dyn Fn(&[Maps]) -> bool) -> Result<Option<Culprit>, ReportError> {
        let mut slot = None;
        for _ in 0..TRIES {
            match self.pass(count, slot, is_it)? {
                Pass::Found(culprit) => return Ok(Some(culprit)),
                Pass::In(seq) => slot = Some(seq),
                Pass::Nothing => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Looks after every slot, and in `slot` after every operation.
    fn pass(
        &self,
        count: usize,
        slot: Option<Seq>,
        is_it: &dyn Fn(&[Maps]) -> bool,
    ) -> Result<Pass, ReportError> {
        let mut executors = (0..count).map(|_| self.executor()).collect::<Result<Vec<_>, _>>()?;
        for (seq, body) in self.batches {
            if let Some(body) = body.as_ref().filter(|_| Some(*seq) == slot) {
                let found = within(&mut executors, *seq, body, is_it)?;
                return Ok(found.map_or(Pass::In(*seq), Pass::Found));
            }
            for executor in &mut executors {
                executor.execute(*seq, body.as_deref());
            }
            if is_it(&maps(&mut executors)?) {
                return Ok(Pass::In(*seq));
            }
        }
        Ok(Pass::Nothing)
    }
}

/// The first operation of a batch after which `is_it` says so.
fn within(
    executors: &mut [Executor],
    seq: Seq,
    body: &Body,
    is_it: &dyn Fn(&[Maps]) -> bool,
) -> Result<Option<Culprit>, ReportError> {
    for request in body.batch.requests.iter() {
        for (index, (number, operation, _)) in request.operations().enumerate() {
            for executor in executors.iter_mut() {
                executor.rehearse(seq, body, request, index);
            }
            if is_it(&maps(executors)?) {
                let (client, session) = (request.client(), request.session());
                return Ok(Some(Culprit { seq, client, session, number, operation }));
            }
        }
    }
    Ok(None)
}

fn maps(executors: &mut [Executor]) -> Result<Vec<Maps>, ReportError> {
    executors.iter_mut().map(|executor| Ok(Maps::of(&executor.checkpoint()?))).collect()
}

/// Replays a case. `machine` makes the application in its first state, `before` is the state after [`Case::agreed`],
/// none for the beginning, and `right` the one that the others have, if that is here.
///
/// # Errors
/// [`ReportError`] says what is missing, or does not fit.
pub fn report(
    context: &Context,
    machine: &dyn Fn() -> Box<dyn StateMachine>,
    case: &Case,
    before: Option<&State>,
    right: Option<&State>,
) -> Result<Report, ReportError> {
    let nothing = |verdict| Report { verdict, replayed: None, culprit: None, keys: Vec::new(), differing: 0 };
    if let Some((first, last)) = case.missing() {
        return Ok(nothing(Verdict::Missing(first, last)));
    }
    if before.map_or(Seq(0), |state| state.seq) != case.agreed {
        return Err(ReportError::NoState(case.agreed));
    }
    let replay = Replay { context, machine, before, batches: &case.batches.0 };
    let (one, other) = (replay.run()?, replay.run()?);
    let root = one.root();
    let replayed = Some(root);
    if other.root() != root {
        let culprit = replay.first(2, &|maps| maps[0].differs_from(&maps[1]))?;
        let (keys, differing) = Maps::of(&one).keys(&Maps::of(&other), KEYS_MAX);
        return Ok(Report { verdict: Verdict::NotDeterministic, replayed, culprit, keys, differing });
    }
    let (verdict, ours, theirs) = if root == case.divergence.ours {
        (Verdict::Always, Some(Maps::of(&one)), right.map(Maps::of))
    } else {
        let verdict = if root == case.divergence.theirs { Verdict::Once } else { Verdict::Third };
        (verdict, wrong(case, before)?, Some(Maps::of(&one)))
    };
    let Some((ours, theirs)) = ours.zip(theirs) else { return Ok(Report { replayed, ..nothing(verdict) }) };
    let (mut keys, differing) = ours.keys(&theirs, WATCHED_MAX);
    let culprit = first_writer(&replay, &keys)?;
    keys.truncate(KEYS_MAX);
    Ok(Report { verdict, replayed, culprit, keys, differing })
}

/// The wrong state, as far as it was kept; none if something of it is lost.
fn wrong(case: &Case, before: Option<&State>) -> Result<Option<Maps>, ReportError> {
    if case.cut {
        return Ok(None);
    }
    let empty = || Maps { application: Map::new(), sessions: Map::new() };
    let mut maps = before.map_or_else(empty, Maps::of);
    for change in &case.changes {
        let map = match change.which {
            Which::Application => &mut maps.application,
            Which::Sessions => &mut maps.sessions,
        };
        match &change.value {
            Some(value) => drop(map.insert(&change.key, value)?),
            None => drop(map.remove(&change.key)),
        }
    }
    Ok(Some(maps))
}

/// The first request that writes one of these keys: of the application's if any of them differs, for every request
/// writes its session.
fn first_writer(replay: &Replay<'_>, keys: &[Key]) -> Result<Option<Culprit>, ReportError> {
    let of_application = keys.first().is_some_and(|key| key.which == Which::Application);
    let watched = |key: &&Key| !of_application || key.which == Which::Application;
    let watched: Vec<&Key> = keys.iter().filter(watched).collect();
    let start = Maps::of(&replay.executor()?.checkpoint()?);
    let value = |maps: &Maps, key: &Key| maps.of_kind(key.which).get(&key.key).map(<[u8]>::to_vec);
    let before: Vec<_> = watched.iter().map(|key| value(&start, key)).collect();
    let written = |maps: &Maps| watched.iter().zip(&before).any(|(key, before)| value(maps, key) != *before);
    replay.first(1, &|maps| maps.first().is_some_and(written))
}
