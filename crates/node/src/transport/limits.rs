//! What a link may cost: windows, timers, lanes and handshakes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quorate_host::lane::{Class, LaneLimits};
use quorate_protocol::codec::FRAME_BYTES_MAX;
use quorate_protocol::crypto::SecretKey;

use super::{Shape, TransportError};

/// Bounds of a transport. Everything that grows with the number of peers is a total, divided by it.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest frame a replica may send.
    pub peer_frame_bytes_max: usize,
    /// Longest frame a client may send, and a replica may send to a client.
    pub client_frame_bytes_max: usize,
    /// Received bytes that may wait unread, all replicas together.
    pub peer_receive_bytes_total: usize,
    /// Received bytes that may wait unread, for each client link.
    pub client_receive_bytes: usize,
    /// Bytes that may wait to be sent in the lanes of one class, all replicas together. A lane always has room for
    /// one longest frame.
    pub lane_bytes_total: usize,
    /// Frames that may wait in one lane.
    pub lane_frames_max: usize,
    /// Bytes that may wait to be sent to one client.
    pub client_lane_bytes_max: usize,
    /// Client links at once.
    pub client_links_max: usize,
    /// Client links with one key at once.
    pub client_links_per_key_max: usize,
    /// Bytes handed to a stream in one go.
    pub burst_bytes: usize,
    /// A link that is silent for so long is lost.
    pub idle_timeout: Duration,
    /// A link that would be silent says so much more often.
    pub keep_alive: Duration,
    /// Bytes that a new link may have under way before anything was acknowledged. QUIC's own 14 KB grow by what comes
    /// back: a cluster on long ways that begins under full load was short of window for seconds, its batches went one
    /// after the other, and calls piled up faster than the window grew.
    pub first_window_bytes: u64,
    /// Round-trip time assumed before one was measured.
    pub initial_rtt: Duration,
    /// Time from the first packet to both hellos.
    pub handshake_timeout: Duration,
    /// Time in which a dialled replica must answer. Short: one that comes up while it is dialled hears of it only with
    /// the next packet, and packets to somebody silent come at ever longer intervals.
    pub dial_timeout: Duration,
    /// A dial or a link younger than this is to the process that knocks, and needs no knock.
    pub fresh: Duration,
    /// Pause before the first redial; doubles, with jitter.
    pub redial_min: Duration,
    /// Longest pause between redials.
    pub redial_max: Duration,
    /// Handshakes under way at once.
    pub handshakes_pending_max: usize,
    /// From so many on, strangers must prove their address first.
    pub retry_above: usize,
    /// Handshakes one address may begin at once.
    pub handshakes_per_address: u32,
    /// Handshakes per second one address gets back.
    pub handshakes_per_address_per_second: u32,
    /// Kernel buffers of each socket, in bytes.
    pub socket_bytes: usize,
    /// Largest datagram looked for. Paths that carry less are found out by probing. On loopback, bulk cost more
    /// processor time with 8952 than with 1452; small votes cost the same.
    pub datagram_bytes_max: u16,
    /// How many packets to ask the other side to acknowledge at a time, or after 25 ms; 1 leaves QUIC its own way, which is
    /// every second one. A batch for 30 backups is thousands of packets, and half as many acknowledgements: with 25 at a
    /// time 31 replicas on two processors served 10 % more, four 5 %; with 64 or 200 no more than that. A gap is told of
    /// with the second packet behind it.
    pub packets_per_acknowledgement: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            peer_frame_bytes_max: FRAME_BYTES_MAX,
            client_frame_bytes_max: 2 << 20,
            peer_receive_bytes_total: 48 << 20,
            client_receive_bytes: 256 << 10,
            lane_bytes_total: 48 << 20,
            lane_frames_max: 8192,
            client_lane_bytes_max: 8 << 20,
            client_links_max: 4096,
            client_links_per_key_max: 16,
            burst_bytes: 64 << 10,
            idle_timeout: Duration::from_secs(6),
            keep_alive: Duration::from_secs(2),
            first_window_bytes: 1 << 20,
            initial_rtt: Duration::from_millis(50),
            handshake_timeout: Duration::from_secs(3),
            dial_timeout: Duration::from_secs(1),
            fresh: Duration::from_millis(300),
            redial_min: Duration::from_millis(50),
            redial_max: Duration::from_millis(250),
            handshakes_pending_max: 256,
            retry_above: 64,
            handshakes_per_address: 1024,
            handshakes_per_address_per_second: 128,
            socket_bytes: 4 << 20,
            datagram_bytes_max: 1452,
            packets_per_acknowledgement: 25,
        }
    }
}

impl Limits {
    /// The lane of one class to one of `peers` replicas.
    pub(crate) fn peer_lane(&self, peers: usize) -> LaneLimits {
        let bytes_max = (self.lane_bytes_total / peers.max(1)).max(self.peer_frame_bytes_max);
        LaneLimits { frames_max: self.lane_frames_max, bytes_max }
    }

    /// The lane to one client.
    pub(crate) fn client_lane(&self) -> LaneLimits {
        LaneLimits { frames_max: self.lane_frames_max, bytes_max: self.client_lane_bytes_max }
    }

    /// Longest frame on a link of this shape.
    pub(crate) fn frame_bytes_max(&self, shape: Shape) -> usize {
        match shape {
            Shape::Peer => self.peer_frame_bytes_max,
            Shape::Client => self.client_frame_bytes_max,
        }
    }

    /// Settings of a connection of this shape, with `peers` others like it.
    pub(crate) fn transport(&self, shape: Shape, peers: usize) -> Arc<quinn::TransportConfig> {
        let mut config = quinn::TransportConfig::default();
        let classes = u32::try_from(Class::ALL.len()).expect("there are three classes");
        let (window, streams, uni, bidi) = match shape {
            Shape::Peer => {
                let share = self.peer_receive_bytes_total / peers.max(1) / Class::ALL.len();
                (share.clamp(128 << 10, 4 << 20), classes, classes, 0_u32)
            }
            Shape::Client => (self.client_receive_bytes.clamp(16 << 10, 4 << 20), 1, 0, 1),
        };
        let window = u32::try_from(window).expect("windows are at most 4 MiB");
        // The connection's window is the sum of its streams', so that unread bulk never takes credit from votes;
        // and what may be sent is above what one stream may hold, so that unacknowledged bulk never does either.
        config
            .stream_receive_window(window.into())
            .receive_window((window * streams).into())
            .send_window(u64::from(window) * u64::from(streams) + (1 << 20))
            .max_concurrent_uni_streams(uni.into())
            .max_concurrent_bidi_streams(bidi.into())
            .keep_alive_interval(Some(self.keep_alive))
            .initial_rtt(self.initial_rtt)
            .datagram_receive_buffer_size(None)
            // Streams of one class are alone with their priority: there is nobody to be fair to.
            .send_fairness(false)
            .allow_spin(false);
        let idle = u32::try_from(self.idle_timeout.as_millis()).unwrap_or(u32::MAX);
        config.max_idle_timeout(Some(quinn::VarInt::from_u32(idle).into()));
        let mut congestion = quinn::congestion::CubicConfig::default();
        congestion.initial_window(self.first_window_bytes);
        config.congestion_controller_factory(Arc::new(congestion));
        let mut discovery = quinn::MtuDiscoveryConfig::default();
        discovery.upper_bound(self.datagram_bytes_max);
        config.mtu_discovery_config(Some(discovery));
        if self.packets_per_acknowledgement > 1 {
            let mut frequency = quinn::AckFrequencyConfig::default();
            frequency.ack_eliciting_threshold((self.packets_per_acknowledgement - 1).into());
            config.ack_frequency_config(Some(frequency));
        }
        Arc::new(config)
    }

    /// Settings of an endpoint. Keys that follow from the replica's own let the other side notice a restart at once:
    /// the new process can disown the old one's connections, by identifiers it recognises and tokens it can compute.
    pub(crate) fn endpoint(&self, key: Option<(&SecretKey, Shape)>) -> quinn::EndpointConfig {
        let mut config = quinn::EndpointConfig::default();
        if let Some((key, shape)) = key {
            let seed = key.derive(shape.reset_label());
            config.reset_key(Arc::new(ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &seed[..])));
            let seed = key.derive(shape.identifier_label());
            let seed = seed.first_chunk::<8>().map_or(0, |first| u64::from_le_bytes(*first));
            config.cid_generator(move || Box::new(quinn_proto::HashedConnectionIdGenerator::from_key(seed)));
            config.min_reset_interval(Duration::from_millis(5));
        }
        // Allowed values are 1200 to 65527; what is out of them stays at the default.
        let _ = config.max_udp_payload_size(self.datagram_bytes_max.max(1472));
        config
    }

    /// Gives a socket its buffers and makes it ready for an endpoint.
    pub(crate) fn prepare(&self, socket: &std::net::UdpSocket) -> Result<Vec<BufferWarning>, TransportError> {
        let address = socket.local_addr().map_err(|error| TransportError::Socket { error })?;
        socket.set_nonblocking(true).map_err(|error| TransportError::Socket { error })?;
        let socket = socket2::SockRef::from(socket);
        let wanted = self.socket_bytes;
        // A refusal shows in the size that is read back.
        let _ = socket.set_recv_buffer_size(wanted);
        let _ = socket.set_send_buffer_size(wanted);
        // Linux reports twice what was asked for, for its own bookkeeping.
        let sizes = [
            ("net.core.rmem_max", socket.recv_buffer_size()),
            ("net.core.wmem_max", socket.send_buffer_size()),
        ];
        let granted = |size: usize| if cfg!(target_os = "linux") { size / 2 } else { size };
        let short = |(setting, size): (_, std::io::Result<usize>)| {
            let got = granted(size.unwrap_or(0));
            (got < wanted).then_some(BufferWarning { address, setting, wanted, got })
        };
        Ok(sizes.into_iter().filter_map(short).collect())
    }
}

/// The kernel gave a socket less room than asked for; packets are lost under load.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the socket at {address} got a buffer of {got} bytes, not {wanted}, and will lose packets under load; \
     allow more with `sysctl -w {setting}={wanted}`"
)]
pub struct BufferWarning {
    /// The socket.
    pub address: SocketAddr,
    /// The kernel's setting that caps it.
    pub setting: &'static str,
    /// Bytes asked for.
    pub wanted: usize,
    /// Bytes granted.
    pub got: usize,
}

/// Binds a UDP socket.
///
/// # Errors
/// [`TransportError::InUse`] and [`TransportError::Bind`] name the address and what to do.
pub fn bind(address: SocketAddr) -> Result<std::net::UdpSocket, TransportError> {
    std::net::UdpSocket::bind(address).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => TransportError::InUse { address },
        _ => TransportError::Bind { address, error },
    })
}
