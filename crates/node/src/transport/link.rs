//! One link: lanes that are drained into streams, and streams that are cut into frames.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use quorate_host::lane::{Class, Lane, LaneCounts, LaneLimits};
use quorate_protocol::message::Hello;
use quorate_protocol::types::PublicKey;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::counters::Counters;
use super::hello::{Established, Inward};
use super::refused::{Ended, Refused};
use super::{ClientInbound, Inbound, Remote};

/// Chunks taken from a stream in one go. A chunk is what one datagram carried.
const CHUNKS_PER_READ: usize = 64;

/// Of so many frames to a client one is timed.
const TIMED_ONE_IN: u64 = 16;

/// A lane, and the task that waits for it.
struct Post {
    class: Class,
    lane: Mutex<Lane>,
    filled: Notify,
    /// Whether it is told how long frames wait.
    timed: bool,
    /// The frame that is being timed, by its place among all that were queued, and since when.
    mark: Mutex<Option<(u64, Instant)>>,
}

/// What waits to be sent over one link: a lane per class, or one for all.
pub(crate) struct Outbox {
    posts: Vec<Arc<Post>>,
}

impl Outbox {
    pub(crate) fn new(classes: impl Iterator<Item = Class>, limits: LaneLimits) -> Self {
        let post = |class: Class| {
            let lane = Mutex::new(Lane::new(class.policy(), limits));
            Arc::new(Post { class, lane, filled: Notify::new(), timed: false, mark: Mutex::default() })
        };
        Self { posts: classes.map(post).collect() }
    }

    /// Tells how long frames wait until QUIC has taken them.
    pub(crate) fn timed(mut self) -> Self {
        self.posts.iter_mut().filter_map(Arc::get_mut).for_each(|post| post.timed = true);
        self
    }

    /// Puts a frame into the lane of its class; a link with one lane has it for all.
    pub(crate) fn push(&self, class: Class, frame: Bytes, counters: &Counters) {
        let Some(post) = self.posts.get(class.index()).or(self.posts.first()) else { return };
        let mut lane = post.lane();
        let pushed = lane.push(frame);
        let queued = lane.counts().queued_frames;
        drop(lane);
        if post.timed && pushed.dropped == 0 && queued % TIMED_ONE_IN == 0 {
            post.mark().get_or_insert_with(|| (queued, Instant::now()));
        }
        if pushed.wake {
            post.filled.notify_one();
        }
        if pushed.dropped > 0 {
            counters.frames_dropped[post.class.index()].add(pushed.dropped);
        }
    }

    pub(crate) fn counts(&self) -> Vec<(Class, LaneCounts)> {
        self.posts.iter().map(|post| (post.class, post.lane().counts())).collect()
    }
}

impl Post {
    fn lane(&self) -> std::sync::MutexGuard<'_, Lane> {
        self.lane.lock().expect("nothing panics while it holds a lane")
    }

    fn mark(&self) -> std::sync::MutexGuard<'_, Option<(u64, Instant)>> {
        self.mark.lock().expect("nothing panics while it holds a mark")
    }

    /// QUIC has taken everything that was taken out of the lane.
    fn note_wait(&self, counters: &Counters) {
        let taken = self.lane().counts().sent_frames;
        if let Some((_, since)) = self.mark().take_if(|(place, _)| *place <= taken) {
            counters.client_waits.add(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// Waits until frames are there, and takes a burst of them.
    async fn take(&self, burst_bytes: usize, chunks: &mut Vec<Bytes>) -> usize {
        loop {
            let taken = self.lane().take_burst(burst_bytes, chunks);
            if taken > 0 {
                return taken;
            }
            self.filled.notified().await;
        }
    }

    /// Drains the lane into a stream until that fails.
    async fn write(&self, mut stream: quinn::SendStream, burst_bytes: usize, counters: &Counters) -> Ended {
        let mut chunks = Vec::new();
        loop {
            let frames = self.take(burst_bytes, &mut chunks).await;
            let bytes: usize = chunks.iter().map(Bytes::len).sum();
            if let Err(error) = stream.write_all_chunks(&mut chunks).await {
                return error.into();
            }
            chunks.clear();
            counters.count_out(self.class, frames as u64, bytes as u64);
            if self.timed {
                self.note_wait(counters);
            }
        }
    }
}

/// Where a link reports to.
#[derive(Clone)]
pub(crate) enum Inbox {
    Replica(mpsc::Sender<Inbound>),
    Client(mpsc::Sender<ClientInbound>),
}

/// Nobody reads the inbox any more.
pub(crate) struct Deaf;

impl Inbox {
    async fn up(
        &self,
        remote: Remote,
        key: PublicKey,
        hello: Hello,
        address: SocketAddr,
    ) -> Result<(), Deaf> {
        match (self, remote) {
            (Self::Replica(inbox), _) => {
                inbox.send(Inbound::Up { remote, key, hello, address }).await.map_err(|_| Deaf)
            }
            (Self::Client(inbox), Remote::Replica(replica)) => {
                inbox.send(ClientInbound::Up { replica, hello, address }).await.map_err(|_| Deaf)
            }
            (Self::Client(_), Remote::Client(_)) => Err(Deaf),
        }
    }

    async fn down(&self, remote: Remote, why: &Ended) -> Result<(), Deaf> {
        let why = why.to_string();
        match (self, remote) {
            (Self::Replica(inbox), _) => inbox.send(Inbound::Down { remote, why }).await.map_err(|_| Deaf),
            (Self::Client(inbox), Remote::Replica(replica)) => {
                inbox.send(ClientInbound::Down { replica, why }).await.map_err(|_| Deaf)
            }
            (Self::Client(_), Remote::Client(_)) => Err(Deaf),
        }
    }

    async fn frames(&self, remote: Remote, class: Class, frames: Vec<Bytes>) -> Result<(), Deaf> {
        match (self, remote) {
            (Self::Replica(inbox), from) => {
                inbox.send(Inbound::Frames { from, class, frames }).await.map_err(|_| Deaf)
            }
            (Self::Client(inbox), Remote::Replica(replica)) => {
                inbox.send(ClientInbound::Frames { replica, frames }).await.map_err(|_| Deaf)
            }
            (Self::Client(_), Remote::Client(_)) => Err(Deaf),
        }
    }
}

/// What the tasks of a link need to know.
#[derive(Clone)]
pub(crate) struct Wiring {
    pub(crate) remote: Remote,
    pub(crate) inbox: Inbox,
    pub(crate) counters: Arc<Counters>,
    pub(crate) burst_bytes: usize,
}

impl Wiring {
    /// Cuts a stream into frames and reports them, all that are there at a time, until that fails.
    ///
    /// Waiting for the inbox stops reading, which stops the sender of this stream and of no other.
    async fn read(&self, inward: &mut Inward) -> Ended {
        let mut chunks = vec![Bytes::new(); CHUNKS_PER_READ];
        chunks[0] = std::mem::take(&mut inward.rest);
        let mut filled = 1;
        loop {
            let mut frames = Vec::new();
            let mut result = Ok(());
            for chunk in &mut chunks[..filled] {
                result = result.and_then(|()| inward.deframer.push(std::mem::take(chunk), &mut frames));
            }
            if !frames.is_empty() {
                let bytes: usize = frames.iter().map(Bytes::len).sum();
                self.counters.count_in(inward.class, frames.len() as u64, bytes as u64);
                if self.inbox.frames(self.remote, inward.class, frames).await.is_err() {
                    return Refused::Closing.into();
                }
            }
            if let Err(error) = result {
                return error.into();
            }
            filled = match inward.stream.read_chunks(&mut chunks).await {
                Ok(Some(filled)) => filled,
                Ok(None) => {
                    let ended: Ended = Refused::Stream("it ended, and links have no end").into();
                    return inward.deframer.end().map_or_else(Into::into, |()| ended);
                }
                Err(error) => return error.into(),
            };
        }
    }

    /// Runs a link from its hellos to its end: reports it up, moves frames, reports it down.
    ///
    /// `stop` ends it from this side. Nothing of the link is left when this returns.
    pub(crate) async fn run(
        &self,
        established: Established,
        outbox: &Outbox,
        stop: impl Future<Output = Refused>,
    ) -> Result<Ended, Deaf> {
        let Established { connection, key, hello, outward, inward } = established;
        self.counters.links_up.add(1);
        self.inbox.up(self.remote, key, hello, connection.remote_address()).await?;
        let mut tasks = JoinSet::new();
        for ((_, stream), post) in outward.into_iter().zip(&outbox.posts) {
            let (post, wiring) = (Arc::clone(post), self.clone());
            let write = async move { post.write(stream, wiring.burst_bytes, &wiring.counters).await };
            tasks.spawn(async move { (write.await, None) });
        }
        for mut inward in inward {
            let wiring = self.clone();
            tasks.spawn(async move { (wiring.read(&mut inward).await, Some(inward)) });
        }
        // A stream that is dropped before the connection is closed tells the other side that it was stopped, and not why.
        let (ended, _kept) = tokio::select! {
            refused = stop => (Ended::Here(refused), None),
            error = connection.closed() => (error.into(), None),
            Some(ended) = tasks.join_next() => {
                ended.unwrap_or_else(|error| (Ended::Lost(format!("a task of the link failed: {error}")), None))
            }
        };
        self.count(&ended);
        match &ended {
            Ended::Here(refused) => refused.close(&connection),
            Ended::There { .. } | Ended::Lost(_) | Ended::Unmade(_) => Refused::Closing.close(&connection),
        }
        tasks.shutdown().await;
        self.counters.links_down.add(1);
        self.inbox.down(self.remote, &ended).await?;
        Ok(ended)
    }

    fn count(&self, ended: &Ended) {
        count(&self.counters, ended);
    }
}

/// Counts how a link or an attempt ended.
pub(crate) fn count(counters: &Counters, ended: &Ended) {
    match ended {
        Ended::Here(refused) => counters.count_refused(refused.kind()),
        Ended::There { kind: Some(kind), .. } => counters.count_refused_by_others(*kind),
        Ended::There { kind: None, .. } | Ended::Lost(_) | Ended::Unmade(_) => {}
    }
}
