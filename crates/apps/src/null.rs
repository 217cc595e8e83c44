//! An application that does nothing: it takes any bytes and replies with a fixed number of zeros.

use bytes::Bytes;
use quorate_protocol::application::{ApplicationError, Context, RejectedCommand, StateMachine};
use quorate_protocol::map::Map;
use quorate_protocol::pieces;

/// Counts its commands, so that replicas that executed different numbers of them make different checkpoints.
#[derive(Debug, Clone)]
pub struct Null {
    reply: Bytes,
    commands: u64,
}

impl Null {
    /// A machine whose every reply has `reply_bytes` bytes. All replicas must use the same number.
    #[must_use]
    pub fn new(reply_bytes: usize) -> Self {
        Self { reply: vec![0; reply_bytes].into(), commands: 0 }
    }
}

impl StateMachine for Null {
    fn apply(&mut self, _context: &Context, _command: &[u8]) -> Result<Bytes, RejectedCommand> {
        self.commands = self.commands.wrapping_add(1);
        Ok(self.reply.clone())
    }

    fn query(&self, _command: &[u8]) -> Option<Bytes> {
        Some(self.reply.clone())
    }

    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
        pieces::write(map, &self.commands.to_le_bytes())
    }

    fn load(&mut self, map: &Map) -> Result<(), ApplicationError> {
        let saved = pieces::read(map)?;
        let Ok(bytes) = saved.as_slice().try_into() else {
            return Err(ApplicationError::Decode(format!("{} bytes instead of 8", saved.len())));
        };
        self.commands = u64::from_le_bytes(bytes);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use quorate_protocol::types::{ClientId, Digest};

    use super::{Context, Map, Null, StateMachine};

    #[test]
    fn any_bytes_are_a_command_and_every_reply_has_the_same_length() {
        let context = Context::for_test(ClientId(Digest::ZERO));
        let mut null = Null::new(100);
        for command in [&b""[..], b"anything", &[0xff; 1000]] {
            assert_eq!(null.apply(&context, command).unwrap().len(), 100);
        }
        assert_eq!(null.query(b"").unwrap().len(), 100);
    }

    #[test]
    fn a_lost_command_shows_in_the_state() {
        let context = Context::for_test(ClientId(Digest::ZERO));
        let (mut one, mut two) = (Null::new(0), Null::new(0));
        one.apply(&context, b"").unwrap();
        let root = |null: &mut Null| {
            let mut map = Map::new();
            null.save(&mut map).unwrap();
            map.root()
        };
        assert_ne!(root(&mut one), root(&mut two));
    }
}
