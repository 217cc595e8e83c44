//! The socket under an endpoint on an emulated network: what it is given to send goes through the [`Queue`], and a thread
//! sends on what is due.

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use crate::emulation::{Emulation, Queue, Sent, THREAD, Taken};

/// Datagrams sent on before others may put theirs in.
const TURN_MAX: usize = 64;
/// How long a socket without room is left alone.
const NO_ROOM: Duration = Duration::from_micros(200);

/// A socket whose outgoing datagrams meet what `emulation` says. What is still under way when the endpoint lets go of
/// the socket is dropped: the port is free at once.
pub(crate) fn emulated(
    inner: Arc<dyn AsyncUdpSocket>,
    emulation: &Emulation,
) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    let queue = Queue::new(emulation.file(), emulation.next_socket());
    let wires = Arc::new(Wires {
        began: Instant::now(),
        between: Mutex::new(Between { queue, closed: false }),
        emulation: emulation.clone(),
        changed: Condvar::new(),
    });
    let (carried, carrying) = (Arc::clone(&inner), Arc::clone(&wires));
    std::thread::Builder::new().name(THREAD.to_owned()).spawn(move || carry(&*carried, &carrying))?;
    Ok(Arc::new(EmulatedSocket { inner, wires }))
}

#[derive(Debug)]
struct EmulatedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    wires: Arc<Wires>,
}

/// What is between this socket and all others.
#[derive(Debug)]
struct Wires {
    began: Instant,
    between: Mutex<Between>,
    emulation: Emulation,
    /// A datagram came that is due before all others, or the socket is gone.
    changed: Condvar,
}

#[derive(Debug)]
struct Between {
    queue: Queue,
    closed: bool,
}

impl Wires {
    fn between(&self) -> MutexGuard<'_, Between> {
        self.between.lock().expect("nothing panics while it holds the datagrams under way")
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Takes in one datagram that quinn sends over a link.
    fn take(&self, link: usize, sent: Sent<'_>, inner: &dyn AsyncUdpSocket) {
        self.emulation.counters().datagrams.add(1);
        let queue = &mut self.between().queue;
        let now_us = self.now_us();
        match queue.take(now_us, link, sent) {
            // Under the lock, so that nothing overtakes it. What the system has no room for waits like the others.
            Taken::Passes if has_no_room(inner, sent) => self.note(queue.wait_for_room(now_us, link, sent)),
            taken => self.note(taken),
        }
    }

    fn note(&self, taken: Taken) {
        let counters = self.emulation.counters();
        match taken {
            Taken::Passes => {}
            Taken::Kept { held, first } => {
                counters.reordered.add(u64::from(held));
                if first {
                    self.changed.notify_one();
                }
            }
            Taken::Lost => counters.lost.add(1),
            Taken::Dropped => counters.dropped.add(1),
        }
    }

    /// Sends on some of what is due, and says how long to wait; no time if more is due.
    fn send_due(&self, queue: &mut Queue, inner: &dyn AsyncUdpSocket) -> Option<Duration> {
        let counters = self.emulation.counters();
        for _ in 0..TURN_MAX {
            let now_us = self.now_us();
            let Some((due_us, datagram)) = queue.due(now_us) else {
                let wait = |due_us: u64| Duration::from_micros(due_us.saturating_sub(now_us));
                return Some(queue.next_due().map_or(Duration::MAX, wait));
            };
            if has_no_room(inner, datagram) {
                return Some(NO_ROOM);
            }
            counters.delayed.add(1);
            counters.late_us.add(now_us - due_us);
            queue.sent();
        }
        None
    }
}

/// Sends a datagram, unless the system has no room for it. One that it refuses for another reason is lost, as it would
/// be without us.
fn has_no_room(inner: &dyn AsyncUdpSocket, sent: Sent<'_>) -> bool {
    let transmit = Transmit {
        destination: sent.destination,
        ecn: sent.congestion.and_then(EcnCodepoint::from_bits),
        contents: sent.contents,
        segment_size: None,
        src_ip: sent.source,
    };
    inner.try_send(&transmit).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Sends on what is due until the socket is gone. Not a task: a network waits for nobody's processor, so a replica that
/// computes must not hold up what it has sent; and a thread is woken when it asked for, not at the next millisecond.
fn carry(inner: &dyn AsyncUdpSocket, wires: &Wires) {
    let mut between = wires.between();
    while !between.closed {
        match wires.send_due(&mut between.queue, inner) {
            None => {
                drop(between);
                between = wires.between();
            }
            Some(Duration::MAX) => {
                between = wires.changed.wait(between).expect("nothing panics while it holds the datagrams");
            }
            Some(wait) => {
                let waited = wires.changed.wait_timeout(between, wait);
                between = waited.expect("nothing panics while it holds the datagrams").0;
            }
        }
    }
}

impl AsyncUdpSocket for EmulatedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let Some(link) = self.wires.between().queue.link_to(transmit.destination) else {
            return self.inner.try_send(transmit);
        };
        // Several datagrams in one call have a fate each.
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for contents in transmit.contents.chunks(segment) {
            let sent = Sent {
                destination: transmit.destination,
                source: transmit.src_ip,
                congestion: transmit.ecn.map(|codepoint| codepoint as u8),
                contents,
            };
            self.wires.take(link, sent, &*self.inner);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

impl Drop for EmulatedSocket {
    fn drop(&mut self) {
        self.wires.between().closed = true;
        self.wires.changed.notify_one();
    }
}
