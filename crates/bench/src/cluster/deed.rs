//! What is done to replicas on purpose.

use serde::{Deserialize, Serialize};

/// What is done to a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deed {
    /// SIGKILL: what a power cut is to one machine.
    Kill,
    /// A killed one is started again.
    Restart,
    /// SIGSTOP: it keeps everything, and does nothing.
    Pause,
    /// SIGCONT.
    Resume,
    /// SIGTERM: it hands over what it leads, says goodbye, and ends by itself.
    Stop,
}

impl Deed {
    /// What makes up for it; nothing for what makes up itself.
    #[must_use]
    pub fn undone_by(self) -> Option<Self> {
        match self {
            Self::Kill | Self::Stop => Some(Self::Restart),
            Self::Pause => Some(Self::Resume),
            Self::Restart | Self::Resume => None,
        }
    }

    /// Whether somebody is gone after it.
    #[must_use]
    pub fn takes_away(self) -> bool {
        self.undone_by().is_some()
    }

    /// As people type it.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Restart => "restart",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Stop => "stop",
        }
    }

    /// As it is told when it is over.
    #[must_use]
    pub fn done(self) -> &'static str {
        match self {
            Self::Kill => "killed",
            Self::Restart => "restarted",
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Stop => "stopped",
        }
    }
}
