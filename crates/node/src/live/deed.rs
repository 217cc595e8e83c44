//! What the page of a testbed can tell a cluster to do.

use serde::{Deserialize, Serialize};

/// Bytes of a command, at most.
pub const DEED_BYTES_MAX: usize = 4096;

/// Every command there is.
pub const COMMANDS: [&str; 5] = ["kill", "restart", "partition", "heal", "behave"];

/// One command: `{"command":"kill","replica":2}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Deed {
    /// Ends a replica as a power cut does.
    Kill {
        /// Which.
        replica: u16,
    },
    /// Starts one again that does not run.
    Restart {
        /// Which.
        replica: u16,
    },
    /// Cuts all links between these groups.
    Partition {
        /// The groups; who is in none of them is alone.
        sides: Vec<Vec<u16>>,
    },
    /// Mends all links.
    Heal,
    /// Has a replica lie, or stop lying.
    Behave {
        /// Which.
        replica: u16,
        /// How; none for honestly.
        behaviour: Option<String>,
    },
}

/// Why a body is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeedError {
    /// It is too long.
    #[error("a command has at most {DEED_BYTES_MAX} bytes; send one command at a time")]
    TooLong,
    /// It says something else.
    #[error(
        "this is no command: {0}; send JSON like {{\"command\":\"kill\",\"replica\":2}}; the commands are {list}",
        list = COMMANDS.join(", ")
    )]
    Malformed(String),
}

impl Deed {
    /// Reads a command.
    ///
    /// # Errors
    /// [`DeedError`] says what is wrong with it.
    pub fn parse(body: &[u8]) -> Result<Self, DeedError> {
        if body.len() > DEED_BYTES_MAX {
            return Err(DeedError::TooLong);
        }
        serde_json::from_slice(body)
            .map_err(|error| DeedError::Malformed(super::guard::short(&error.to_string())))
    }
}
