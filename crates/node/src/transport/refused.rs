//! Why a link was not made, or ended: typed, counted, and told to the other side.

use quorate_host::lane::FrameError;
use quorate_protocol::message::PROTOCOL_VERSION;
use quorate_protocol::types::{ClusterId, Digest, ReplicaId};

/// Why this side does not talk to the other, or not any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The handshake found no common protocol name.
    #[error(
        "no common protocol: another cluster or version, or a client at the replicas' port (or the reverse)"
    )]
    OtherProtocol,
    /// The hello names another cluster.
    // In full: how their names begin is in the name of the protocol already, so that is the same.
    #[error("the other side belongs to cluster {}, this one to {}", .theirs.0, .ours.0)]
    OtherCluster {
        /// Its cluster.
        theirs: ClusterId,
        /// Ours.
        ours: ClusterId,
    },
    /// The hello names another version.
    #[error(
        "the other side speaks version {theirs} of the protocol, this one {PROTOCOL_VERSION}; update the older one"
    )]
    OtherVersion {
        /// Its version.
        theirs: u32,
    },
    /// The hello names other constants, keys or epoch.
    #[error(
        "the other side is configured as {theirs:?}, this one as {ours:?}; give all the same cluster file"
    )]
    OtherConfiguration {
        /// Its digest.
        theirs: Digest,
        /// Ours.
        ours: Digest,
    },
    /// The key is not one that may be here: not in the cluster file, or not the one that was dialled.
    #[error("the other side's key is not one that the cluster file allows here")]
    UnknownKey,
    /// The handshake failed otherwise, or the connection broke the rules of QUIC.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// No hello within the time for a handshake.
    #[error("no handshake and hello in time")]
    TooSlow,
    /// What came first is no hello.
    #[error("the first frame is no hello: {0}")]
    NotHello(String),
    /// A frame that cannot be.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Streams that cannot be: of an unknown class, twice of one class, or ended.
    #[error("a stream broke the rules: {0}")]
    Stream(&'static str),
    /// Only the replica with the lower id dials.
    #[error("replica {dialler} dialled replica {ours}; the lower id dials the higher")]
    WrongDialler {
        /// Who dialled.
        dialler: ReplicaId,
        /// Who we are.
        ours: ReplicaId,
    },
    /// As many client links as there may be, in all or with this key, or handshakes from this address.
    #[error("too many links or handshakes; try again later")]
    TooMany,
    /// A newer connection of the same replica took over.
    #[error("a newer connection took over")]
    Replaced,
    /// The application of this transport ended the link.
    #[error("disconnected: {0}")]
    Disconnected(String),
    /// This side shuts down.
    #[error("shutting down")]
    Closing,
}

/// A [`Refused`] without its particulars; its code is what goes over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefusalKind {
    /// See [`Refused::OtherProtocol`].
    OtherProtocol,
    /// See [`Refused::OtherCluster`].
    OtherCluster,
    /// See [`Refused::OtherVersion`].
    OtherVersion,
    /// See [`Refused::OtherConfiguration`].
    OtherConfiguration,
    /// See [`Refused::UnknownKey`].
    UnknownKey,
    /// See [`Refused::Connection`].
    Connection,
    /// See [`Refused::TooSlow`].
    TooSlow,
    /// See [`Refused::NotHello`].
    NotHello,
    /// See [`FrameError::Oversized`].
    Oversized,
    /// See [`FrameError::Empty`].
    Empty,
    /// See [`FrameError::Truncated`].
    Truncated,
    /// See [`Refused::Stream`].
    Stream,
    /// See [`Refused::WrongDialler`].
    WrongDialler,
    /// See [`Refused::TooMany`].
    TooMany,
    /// See [`Refused::Replaced`].
    Replaced,
    /// See [`Refused::Disconnected`].
    Disconnected,
    /// See [`Refused::Closing`].
    Closing,
}

impl RefusalKind {
    /// Every kind, in the order of their codes.
    pub const ALL: [Self; 17] = [
        Self::OtherProtocol,
        Self::OtherCluster,
        Self::OtherVersion,
        Self::OtherConfiguration,
        Self::UnknownKey,
        Self::Connection,
        Self::TooSlow,
        Self::NotHello,
        Self::Oversized,
        Self::Empty,
        Self::Truncated,
        Self::Stream,
        Self::WrongDialler,
        Self::TooMany,
        Self::Replaced,
        Self::Disconnected,
        Self::Closing,
    ];

    /// A word for it, to count by.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OtherProtocol => "other_protocol",
            Self::OtherCluster => "other_cluster",
            Self::OtherVersion => "other_version",
            Self::OtherConfiguration => "other_configuration",
            Self::UnknownKey => "unknown_key",
            Self::Connection => "connection",
            Self::TooSlow => "too_slow",
            Self::NotHello => "not_hello",
            Self::Oversized => "oversized",
            Self::Empty => "empty",
            Self::Truncated => "truncated",
            Self::Stream => "stream",
            Self::WrongDialler => "wrong_dialler",
            Self::TooMany => "too_many",
            Self::Replaced => "replaced",
            Self::Disconnected => "disconnected",
            Self::Closing => "closing",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// What closes a connection: 1 and up, because 0 is what a dropped connection says.
    fn code(self) -> quinn::VarInt {
        quinn::VarInt::from_u32(u32::from(self as u8) + 1)
    }

    fn of_code(code: quinn::VarInt) -> Option<Self> {
        let index = usize::try_from(code.into_inner()).ok()?.checked_sub(1)?;
        Self::ALL.get(index).copied()
    }
}

impl Refused {
    /// What kind of refusal this is.
    #[must_use]
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::OtherProtocol => RefusalKind::OtherProtocol,
            Self::OtherCluster { .. } => RefusalKind::OtherCluster,
            Self::OtherVersion { .. } => RefusalKind::OtherVersion,
            Self::OtherConfiguration { .. } => RefusalKind::OtherConfiguration,
            Self::UnknownKey => RefusalKind::UnknownKey,
            Self::Connection(_) => RefusalKind::Connection,
            Self::TooSlow => RefusalKind::TooSlow,
            Self::NotHello(_) => RefusalKind::NotHello,
            Self::Frame(FrameError::Oversized { .. }) => RefusalKind::Oversized,
            Self::Frame(FrameError::Empty) => RefusalKind::Empty,
            Self::Frame(FrameError::Truncated { .. }) => RefusalKind::Truncated,
            Self::Stream(_) => RefusalKind::Stream,
            Self::WrongDialler { .. } => RefusalKind::WrongDialler,
            Self::TooMany => RefusalKind::TooMany,
            Self::Replaced => RefusalKind::Replaced,
            Self::Disconnected(_) => RefusalKind::Disconnected,
            Self::Closing => RefusalKind::Closing,
        }
    }

    /// Ends a connection and says why.
    pub(crate) fn close(&self, connection: &quinn::Connection) {
        connection.close(self.kind().code(), self.to_string().as_bytes());
    }

    /// Ends all connections of an endpoint and says why.
    pub(crate) fn close_all(&self, endpoint: &quinn::Endpoint) {
        endpoint.close(self.kind().code(), self.to_string().as_bytes());
    }
}

/// How a link, or the attempt to make one, ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// This side refused or ended it.
    #[error("refused here: {0}")]
    Here(#[from] Refused),
    /// The other side refused or ended it.
    #[error("{}", of_the_other_side(*kind, reason))]
    There {
        /// Why, if it is one of the reasons known here.
        kind: Option<RefusalKind>,
        /// What the other side says.
        reason: String,
    },
    /// Nobody wanted it to end.
    #[error("lost: {0}")]
    Lost(String),
    /// It was never there.
    #[error("{0}")]
    Unmade(String),
}

impl Ended {
    /// The same of a link that was dialled and never was up: what was not there cannot be lost.
    pub(crate) fn of_a_dial(self) -> Self {
        match self {
            Self::Lost(why) => Self::Unmade(why),
            Self::Here(_) | Self::There { .. } | Self::Unmade(_) => self,
        }
    }
}

fn of_the_other_side(kind: Option<RefusalKind>, reason: &str) -> String {
    match kind {
        // It refuses nobody.
        Some(RefusalKind::Closing) => "the other side is shutting down".to_owned(),
        _ => format!("refused by the other side: {reason}"),
    }
}

/// Alert of TLS: no common application protocol (RFC 7301).
const ALERT_NO_PROTOCOL: u64 = 0x100 + 120;
/// Alert of TLS: access denied, which our verifiers answer to a key they do not allow.
const ALERT_ACCESS_DENIED: u64 = 0x100 + 49;

fn alert(code: u64, text: String) -> Refused {
    match code {
        ALERT_NO_PROTOCOL => Refused::OtherProtocol,
        ALERT_ACCESS_DENIED => Refused::UnknownKey,
        _ => Refused::Connection(text),
    }
}

/// A reason from the other side, made harmless for logs.
fn printable(reason: &[u8]) -> String {
    let text = String::from_utf8_lossy(&reason[..reason.len().min(200)]);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl From<quinn::ConnectionError> for Ended {
    fn from(error: quinn::ConnectionError) -> Self {
        match &error {
            quinn::ConnectionError::TransportError(inner) => {
                Self::Here(alert(u64::from(inner.code), inner.to_string()))
            }
            quinn::ConnectionError::ConnectionClosed(close) => {
                let text = match &close.reason[..] {
                    [] => "it takes no new ones now (is it stopping, or crowded?)".to_owned(),
                    reason => printable(reason),
                };
                let refused = alert(u64::from(close.error_code), text);
                Self::There { kind: Some(refused.kind()), reason: refused.to_string() }
            }
            quinn::ConnectionError::ApplicationClosed(close) => {
                Self::There { kind: RefusalKind::of_code(close.error_code), reason: printable(&close.reason) }
            }
            quinn::ConnectionError::VersionMismatch
            | quinn::ConnectionError::Reset
            | quinn::ConnectionError::TimedOut
            | quinn::ConnectionError::LocallyClosed
            | quinn::ConnectionError::CidsExhausted => Self::Lost(error.to_string()),
        }
    }
}

impl From<quinn::WriteError> for Ended {
    fn from(error: quinn::WriteError) -> Self {
        match error {
            quinn::WriteError::ConnectionLost(error) => error.into(),
            quinn::WriteError::Stopped(_)
            | quinn::WriteError::ClosedStream
            | quinn::WriteError::ZeroRttRejected => Refused::Stream("it was stopped").into(),
        }
    }
}

impl From<quinn::ReadError> for Ended {
    fn from(error: quinn::ReadError) -> Self {
        match error {
            quinn::ReadError::ConnectionLost(error) => error.into(),
            quinn::ReadError::Reset(_)
            | quinn::ReadError::ClosedStream
            | quinn::ReadError::IllegalOrderedRead
            | quinn::ReadError::ZeroRttRejected => Refused::Stream("it was reset").into(),
        }
    }
}

impl From<FrameError> for Ended {
    fn from(error: FrameError) -> Self {
        Self::Here(error.into())
    }
}
