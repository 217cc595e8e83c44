//! `wrong-execution`: the application does something else than its command says, as one does that reads what is not in
//! its commands, or that runs on broken memory.
//!
//! This lie is told where the application is, not where messages leave: the replica itself believes what it computed, and
//! says so. Of when it is told, only the slot and the probability count.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use quorate_protocol::application::{ApplicationError, Context, RejectedCommand, StateMachine};
use quorate_protocol::map::Map;
use quorate_protocol::types::View;

use super::chance::Chance;
use super::sin::Deed;
use super::trigger::{Occasion, Trigger};
use super::{Lies, Sin};

/// How often a machine did something else than it was told, and when it is to. It runs on a thread of its own perhaps.
#[derive(Debug, Clone, Default)]
pub struct WrongExecutions(Option<Arc<Wrongs>>);

#[derive(Debug, Default)]
struct Wrongs {
    told: AtomicU64,
    /// Looked at for each command, and changed when somebody says so.
    triggers: Mutex<Vec<Trigger>>,
}

impl WrongExecutions {
    /// Adds them to the lies that messages were, if the machine is one that lies.
    pub fn add_to(&self, lies: &mut Lies) {
        if let Some(told) = &self.0 {
            *lies.entry(NAME).or_default() += told.told.load(Ordering::Relaxed);
        }
    }

    /// From now on the machine tells these lies and no other; nothing happens to a machine that was never to lie.
    pub fn switch(&self, sins: &[Sin]) {
        if let Some(wrongs) = &self.0 {
            *wrongs.triggers.lock().unwrap_or_else(PoisonError::into_inner) = triggers(sins);
        }
    }
}

fn triggers(sins: &[Sin]) -> Vec<Trigger> {
    let about_execution = sins.iter().filter(|sin| sin.deed == Deed::WrongExecution);
    about_execution.map(|sin| sin.trigger.clone()).collect()
}

const NAME: &str = "wrong-execution";

/// The machine of a replica that tells these lies: the same one, unless one of them is about execution. The same seed and
/// the same commands give the same state.
#[must_use]
pub fn corrupt_machine(
    machine: Box<dyn StateMachine>,
    sins: &[Sin],
    seed: u64,
) -> (Box<dyn StateMachine>, WrongExecutions) {
    if triggers(sins).is_empty() {
        (machine, WrongExecutions::default())
    } else {
        switchable_machine(machine, sins, seed)
    }
}

/// The same, but of a replica that may be told [other lies](WrongExecutions::switch) while it runs.
#[must_use]
pub fn switchable_machine(
    machine: Box<dyn StateMachine>,
    sins: &[Sin],
    seed: u64,
) -> (Box<dyn StateMachine>, WrongExecutions) {
    let wrongs = Arc::new(Wrongs { told: AtomicU64::new(0), triggers: Mutex::new(triggers(sins)) });
    let wrong = Wrong { honest: machine, seed, wrongs: Arc::clone(&wrongs) };
    (Box::new(wrong), WrongExecutions(Some(wrongs)))
}

struct Wrong {
    honest: Box<dyn StateMachine>,
    seed: u64,
    wrongs: Arc<Wrongs>,
}

impl Wrong {
    /// What is executed in the place of a command: none if the command itself is.
    fn instead(&self, context: &Context, command: &[u8]) -> Option<Vec<u8>> {
        // Of the operation alone, so that a replay goes wrong where the run did.
        let operation = context.operation().0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let mut chance = Chance::new(self.seed ^ operation);
        let occasion = Occasion { elapsed_us: 0, view: View(0), seq: Some(context.seq()) };
        let triggers = self.wrongs.triggers.lock().unwrap_or_else(PoisonError::into_inner);
        if !triggers.iter().any(|trigger| trigger.pulls(occasion, &mut chance)) {
            return None;
        }
        let mut other = command.to_vec();
        // The last byte is the end of a value in most commands that write one. What is added is never 0.
        let last = other.last_mut()?;
        *last ^= u8::try_from(1 + chance.below(255)).unwrap_or(1);
        Some(other)
    }
}

impl StateMachine for Wrong {
    fn apply(&mut self, context: &Context, command: &[u8]) -> Result<Bytes, RejectedCommand> {
        let Some(other) = self.instead(context, command) else { return self.honest.apply(context, command) };
        self.wrongs.told.fetch_add(1, Ordering::Relaxed);
        self.honest.apply(context, &other)
    }

    fn query(&self, command: &[u8]) -> Option<Bytes> {
        self.honest.query(command)
    }

    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
        self.honest.save(map)
    }

    fn saves_anew(&self) -> bool {
        self.honest.saves_anew()
    }

    fn load(&mut self, map: &Map) -> Result<(), ApplicationError> {
        self.honest.load(map)
    }

    fn changed_bytes(&self) -> u64 {
        self.honest.changed_bytes()
    }

    fn release(&mut self) {
        self.honest.release();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use quorate_protocol::types::{ClientId, Digest};

    use super::*;

    /// Answers with the command that it was given.
    struct Echo;

    impl StateMachine for Echo {
        fn apply(&mut self, _context: &Context, command: &[u8]) -> Result<Bytes, RejectedCommand> {
            Ok(Bytes::copy_from_slice(command))
        }
        fn save(&mut self, _map: &mut Map) -> Result<(), ApplicationError> {
            Ok(())
        }
        fn load(&mut self, _map: &Map) -> Result<(), ApplicationError> {
            Ok(())
        }
    }

    fn applied(sins: &[&str], seed: u64, command: &[u8]) -> (Bytes, Lies) {
        let sins: Vec<Sin> = sins.iter().map(|text| text.parse().unwrap()).collect();
        let (mut machine, told) = corrupt_machine(Box::new(Echo), &sins, seed);
        let answer = machine.apply(&Context::for_test(ClientId(Digest::ZERO)), command).unwrap();
        let mut lies = Lies::new();
        told.add_to(&mut lies);
        (answer, lies)
    }

    #[test]
    fn a_command_is_executed_with_another_last_byte_and_counted() {
        let (answer, lies) = applied(&["wrong-execution:seq=1"], 7, b"put a 1");
        assert!(answer.starts_with(b"put a ") && &answer[..] != b"put a 1", "{answer:?}");
        assert_eq!(lies, Lies::from([(NAME, 1)]));
        assert_eq!(applied(&["wrong-execution"], 7, b"put a 1").0, answer, "the same seed, the same state");
        assert!((0..32).any(|seed| applied(&["wrong-execution"], seed, b"put a 1").0 != answer));
    }

    #[test]
    fn a_machine_that_was_honest_goes_wrong_when_it_is_told_to_and_right_again() {
        let (mut machine, wrongs) = switchable_machine(Box::new(Echo), &[], 7);
        let context = Context::for_test(ClientId(Digest::ZERO));
        let mut answer = || machine.apply(&context, b"put a 1").unwrap();
        assert_eq!(&answer()[..], b"put a 1");
        wrongs.switch(&["mute".parse().unwrap(), "wrong-execution".parse().unwrap()]);
        assert_ne!(&answer()[..], b"put a 1");
        wrongs.switch(&[]);
        assert_eq!(&answer()[..], b"put a 1");
        let mut lies = Lies::new();
        wrongs.add_to(&mut lies);
        assert_eq!(lies, Lies::from([(NAME, 1)]), "what was told stays told");
    }

    #[test]
    fn whoever_has_no_such_lie_to_tell_or_is_not_there_yet_executes_what_it_is_told() {
        assert_eq!(applied(&["mute"], 7, b"put a 1"), (Bytes::from_static(b"put a 1"), Lies::new()));
        let (answer, lies) = applied(&["wrong-execution:seq=2.."], 7, b"put a 1");
        assert_eq!((&answer[..], lies), (&b"put a 1"[..], Lies::from([(NAME, 0)])));
        assert_eq!(applied(&["wrong-execution"], 7, b"").0, Bytes::new(), "there is nothing to change");
    }
}
