//! What one copy of one key would do.

use super::{Action, Answer, Operation};

/// What a key holds, if it is there.
pub type Value = Option<String>;

/// The value after an operation.
pub(super) fn after(value: &Value, action: &Action) -> Value {
    match action {
        Action::Get => value.clone(),
        Action::Put(new) => Some(new.clone()),
        Action::Delete => None,
        Action::Add(amount) => Some(sum(value, *amount)),
        Action::Swap { expected, new } => {
            if value == expected {
                new.clone()
            } else {
                value.clone()
            }
        }
    }
}

/// Whether an operation changes the value.
pub(super) fn changes(value: &Value, action: &Action) -> bool {
    match action {
        Action::Get => false,
        Action::Put(new) => value.as_ref() != Some(new),
        Action::Delete => value.is_some(),
        Action::Add(_) => after(value, action) != *value,
        Action::Swap { expected, new } => value == expected && value != new,
    }
}

/// Whether an operation, answered as it was, changes nothing whatever the value is.
pub(super) fn is_read(operation: &Operation) -> bool {
    match (&operation.action, operation.returned.as_ref().map(|(_, answer)| answer)) {
        (Action::Get, _) | (Action::Swap { .. }, Some(Answer::Differs(_))) => true,
        (Action::Delete, Some(Answer::Was(there))) => !there,
        (Action::Swap { expected, new }, Some(Answer::Swapped)) => expected == new,
        _ => false,
    }
}

/// Whether the answer that an operation got is the one that it gets here; one without an answer may get any.
pub(super) fn may_answer(value: &Value, operation: &Operation) -> bool {
    let Some((_, answer)) = &operation.returned else { return true };
    match (&operation.action, answer) {
        (Action::Get, Answer::Value(read)) => read == value,
        (Action::Put(_), Answer::Done) => true,
        (Action::Put(_) | Action::Delete, Answer::Was(there)) => *there == value.is_some(),
        (Action::Add(amount), Answer::Value(read)) => read.as_deref() == Some(&sum(value, *amount)),
        (Action::Swap { expected, .. }, Answer::Swapped) => value == expected,
        (Action::Swap { expected, .. }, Answer::Differs(read)) => value != expected && read == value,
        _ => false,
    }
}

fn sum(value: &Value, amount: i64) -> String {
    let before = value.as_deref().and_then(|value| value.parse::<i64>().ok());
    before.unwrap_or(0).wrapping_add(amount).to_string()
}

/// What a command of the application [`Words`](crate::app::Words) does, and to which key.
#[must_use]
pub fn of_words(command: &[u8]) -> Option<(String, Action)> {
    let text = std::str::from_utf8(command).ok()?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let (key, action) = match words.as_slice() {
        ["put", key, value] => (key, Action::Put((*value).to_owned())),
        ["add", key, amount] => (key, Action::Add(amount.parse().ok()?)),
        ["get", key] => (key, Action::Get),
        _ => return None,
    };
    Some(((*key).to_owned(), action))
}

/// An operation on the application [`Words`](crate::app::Words): what was asked and when, and what was answered and when.
/// None if it is none of its commands, or no answer to one.
#[must_use]
pub fn operation_of_words(
    client: &str,
    (invoked, command): (u64, &[u8]),
    returned: Option<(u64, &[u8])>,
) -> Option<Operation> {
    let (key, action) = of_words(command)?;
    let returned = match returned {
        None => None,
        Some((at, reply)) => {
            let reply = std::str::from_utf8(reply).ok()?;
            let answer = match action {
                Action::Put(_) => (reply == "ok").then_some(Answer::Done)?,
                _ => Answer::Value((reply != "none").then(|| reply.to_owned())),
            };
            Some((at, answer))
        }
    };
    Some(Operation { client: client.to_owned(), key, action, invoked, returned })
}
