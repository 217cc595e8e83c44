//! From a connection to a link: streams are opened, and both sides say which cluster they mean.
//!
//! Every stream begins with one byte that names its class; on the first one a hello follows, as an ordinary frame.
//! Between replicas each side opens one stream per class; a client opens a single one, which goes both ways.

use std::sync::Arc;

use bytes::Bytes;
use quorate_host::lane::{Class, Deframer, framed};
use quorate_protocol::codec;
use quorate_protocol::message::{Hello, PROTOCOL_VERSION};
use quorate_protocol::parameters::Context;
use quorate_protocol::types::{Digest, PublicKey, Seq, View};

use super::Shape;
use super::limits::Limits;
use super::refused::{Ended, Refused};
use super::tls;

/// More than any hello takes.
const HELLO_BYTES_MAX: usize = 1 << 10;

/// What a replica has executed, and its view, at this moment.
pub type Standing = Arc<dyn Fn() -> (Seq, View) + Send + Sync>;

/// What this side says first, and compares with what the other side says.
#[derive(Clone)]
pub(crate) struct Greeting {
    context: Context,
    config: Digest,
    standing: Option<Standing>,
}

/// One direction in: its class, the stream, the deframer, and what was read beyond the hello.
pub(crate) struct Inward {
    pub(crate) class: Class,
    pub(crate) stream: quinn::RecvStream,
    pub(crate) deframer: Deframer,
    pub(crate) rest: Bytes,
}

/// A connection whose other side is known and agrees with us.
pub(crate) struct Established {
    pub(crate) connection: quinn::Connection,
    pub(crate) key: PublicKey,
    pub(crate) hello: Hello,
    pub(crate) outward: Vec<(Class, quinn::SendStream)>,
    pub(crate) inward: Vec<Inward>,
}

/// Who began the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Dialler,
    Acceptor,
}

impl Greeting {
    pub(crate) fn new(context: Context, standing: Option<Standing>) -> Self {
        let config = context.config_digest();
        Self { context, config, standing }
    }

    fn ours(&self) -> Result<Bytes, Ended> {
        let (executed, view) = self.standing.as_ref().map_or((Seq(0), View(0)), |standing| standing());
        let hello = Hello {
            version: PROTOCOL_VERSION,
            cluster: self.context.cluster,
            config: self.config,
            executed,
            view,
        };
        let bytes = codec::encode(&hello).map_err(|error| Ended::Lost(error.to_string()))?;
        Ok(framed(&bytes))
    }

    fn check(&self, hello: &Hello) -> Result<(), Refused> {
        if hello.version != PROTOCOL_VERSION {
            return Err(Refused::OtherVersion { theirs: hello.version });
        }
        if hello.cluster != self.context.cluster {
            return Err(Refused::OtherCluster { theirs: hello.cluster, ours: self.context.cluster });
        }
        if hello.config != self.config {
            return Err(Refused::OtherConfiguration { theirs: hello.config, ours: self.config });
        }
        Ok(())
    }

    /// Opens the streams of a connection and exchanges hellos on it, within the time for a handshake.
    pub(crate) async fn establish(
        &self,
        connection: quinn::Connection,
        shape: Shape,
        side: Side,
        limits: &Limits,
    ) -> Result<Established, Ended> {
        let exchange = self.exchange(&connection, shape, side, limits);
        let result = tokio::time::timeout(limits.handshake_timeout, exchange).await;
        let outcome = result.unwrap_or(Err(Ended::Here(Refused::TooSlow)));
        if let Err(Ended::Here(refused)) = &outcome {
            refused.close(&connection);
        }
        let (key, hello, outward, inward) = outcome?;
        Ok(Established { connection, key, hello, outward, inward })
    }

    async fn exchange(
        &self,
        connection: &quinn::Connection,
        shape: Shape,
        side: Side,
        limits: &Limits,
    ) -> Result<(PublicKey, Hello, Vec<(Class, quinn::SendStream)>, Vec<Inward>), Ended> {
        let key = tls::key_of(connection).ok_or(Refused::UnknownKey)?;
        let (mut outward, mut incoming) = match (shape, side) {
            (Shape::Peer, _) => (open_classes(connection).await?, Vec::new()),
            (Shape::Client, Side::Dialler) => {
                let (send, receive) = connection.open_bi().await?;
                (vec![(Class::Proposals, send)], vec![receive])
            }
            (Shape::Client, Side::Acceptor) => {
                let (send, receive) = connection.accept_bi().await?;
                (vec![(Class::Proposals, send)], vec![receive])
            }
        };
        let mut hello = Some(self.ours()?);
        for (class, stream) in &mut outward {
            let mut opening = vec![class_byte(*class)];
            opening.extend_from_slice(&hello.take().unwrap_or_default());
            stream.write_all(&opening).await?;
        }
        while incoming.len() < outward.len() {
            incoming.push(connection.accept_uni().await?);
        }
        let mut inward = Vec::new();
        for stream in incoming {
            inward.push(self.begin(stream, limits.frame_bytes_max(shape)).await?);
        }
        inward.sort_by_key(|stream| stream.class);
        let same = inward.iter().map(|stream| stream.class).eq(outward.iter().map(|(class, _)| *class));
        let Some(first) = inward.first_mut().filter(|_| same) else {
            return Err(Refused::Stream("its class is unknown, or there is another of it").into());
        };
        let hello = read_hello(first).await?;
        self.check(&hello)?;
        first.deframer = Deframer::new(limits.frame_bytes_max(shape));
        Ok((key, hello, outward, inward))
    }

    /// Reads the byte that names a stream's class.
    async fn begin(&self, mut stream: quinn::RecvStream, limit: usize) -> Result<Inward, Ended> {
        let chunk = stream.read_chunk(1, true).await?;
        let named = chunk.and_then(|chunk| chunk.bytes.first().copied());
        let class = Class::ALL.into_iter().find(|class| Some(class_byte(*class)) == named);
        let Some(class) = class else { return Err(Refused::Stream("it names no class").into()) };
        Ok(Inward { class, stream, deframer: Deframer::new(limit), rest: Bytes::new() })
    }
}

/// What a stream of this class begins with.
fn class_byte(class: Class) -> u8 {
    match class {
        Class::Votes => b'v',
        Class::Proposals => b'p',
        Class::Bulk => b'b',
    }
}

async fn open_classes(connection: &quinn::Connection) -> Result<Vec<(Class, quinn::SendStream)>, Ended> {
    let mut streams = Vec::new();
    for (class, priority) in Class::ALL.into_iter().zip([2, 1, 0]) {
        let stream = connection.open_uni().await?;
        stream.set_priority(priority).map_err(|_| Refused::Stream("it was stopped"))?;
        streams.push((class, stream));
    }
    Ok(streams)
}

/// Reads the first frame of a stream, which must be a hello.
async fn read_hello(inward: &mut Inward) -> Result<Hello, Ended> {
    let mut deframer = Deframer::new(HELLO_BYTES_MAX);
    loop {
        let Some(chunk) = inward.stream.read_chunk(HELLO_BYTES_MAX, true).await? else {
            let error = deframer.end().err().map_or("the stream ended".to_owned(), |error| error.to_string());
            return Err(Refused::NotHello(error).into());
        };
        inward.rest = chunk.bytes;
        let frame = deframer.next(&mut inward.rest).map_err(|error| Refused::NotHello(error.to_string()))?;
        if let Some(frame) = frame {
            return codec::decode(&frame).map_err(|error| Refused::NotHello(error.to_string()).into());
        }
    }
}
