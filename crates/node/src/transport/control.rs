//! The link between a controller and an agent that carries out its orders on another machine.
//!
//! Both sides prove their key as replicas do, and each allows one key only. A question is a stream of its own, which
//! the answer comes back on; both are bounded, and only the controller asks. What they mean is not known here.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quorate_protocol::crypto::SecretKey;
use quorate_protocol::types::PublicKey;

use super::limits::bind;
use super::refused::{Ended, Refused};
use super::tls::{self, Accept, Identity};
use super::{TransportError, endpoint};

/// Most bytes of a question or an answer.
pub const CONTROL_BYTES_MAX: usize = 16 << 20;
/// A link that is silent for so long is lost, and with it whatever its controller had started.
const IDLE: Duration = Duration::from_secs(6);
/// Our name for the protocol.
const NAME: &[u8] = b"quorate/1/agent";

/// A link that would be silent says so much more often.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Time from the first packet to the end of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// Questions at once; a controller asks one after the other.
const QUESTIONS_MAX: u32 = 4;

/// Settings of a connection: few questions at once, each of them small as a rule.
fn settings() -> Arc<quinn::TransportConfig> {
    let mut config = quinn::TransportConfig::default();
    config
        .stream_receive_window((1_u32 << 20).into())
        .receive_window((2_u32 << 20).into())
        .max_concurrent_bidi_streams(QUESTIONS_MAX.into())
        .max_concurrent_uni_streams(0_u32.into())
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(KEEP_ALIVE));
    let idle = u32::try_from(IDLE.as_millis()).unwrap_or(u32::MAX);
    config.max_idle_timeout(Some(quinn::VarInt::from_u32(idle).into()));
    Arc::new(config)
}

fn open(socket: UdpSocket, server: Option<quinn::ServerConfig>) -> Result<quinn::Endpoint, TransportError> {
    socket.set_nonblocking(true).map_err(|error| TransportError::Socket { error })?;
    endpoint(quinn::EndpointConfig::default(), server, socket, None)
}

/// Where an agent takes its controller.
pub struct ControlDoor {
    endpoint: quinn::Endpoint,
}

impl ControlDoor {
    /// Takes the holder of one key, and nobody else. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`TransportError`] if the socket or the key cannot be used.
    pub fn open(socket: UdpSocket, key: &SecretKey, controller: PublicKey) -> Result<Self, TransportError> {
        let mut server = Identity::new(key)?.server(Accept::Only(controller), NAME.to_vec())?;
        server.transport_config(settings());
        Ok(Self { endpoint: open(socket, Some(server))? })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// [`TransportError::Socket`] if the system does not say.
    pub fn address(&self) -> Result<SocketAddr, TransportError> {
        self.endpoint.local_addr().map_err(|error| TransportError::Socket { error })
    }

    /// Waits for the next who dials; the error says who was not let in, and why. None once the socket is gone.
    pub async fn accept(&self) -> Option<Result<ControlLink, (SocketAddr, Ended)>> {
        let incoming = self.endpoint.accept().await?;
        let address = incoming.remote_address();
        let established = async {
            let connecting = incoming.accept()?;
            let connected = tokio::time::timeout(HANDSHAKE, connecting).await;
            let connection = connected.map_err(|_| Ended::Here(Refused::TooSlow))??;
            Ok(ControlLink { connection, endpoint: self.endpoint.clone() })
        };
        Some(established.await.map_err(|ended| (address, ended)))
    }

    /// Says goodbye to everybody, and waits until that was sent.
    pub async fn close(&self) {
        Refused::Closing.close_all(&self.endpoint);
        self.endpoint.wait_idle().await;
    }
}

/// Dials an agent. That the agent takes us shows with the first answer only.
///
/// # Errors
/// [`Ended`] says why there is no link.
pub async fn dial_agent(
    address: SocketAddr,
    key: &SecretKey,
    agent: PublicKey,
) -> Result<ControlLink, Ended> {
    let unmade = |error: TransportError| Ended::Unmade(error.to_string());
    let any = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = bind(SocketAddr::new(any, 0)).map_err(unmade)?;
    let mut config =
        Identity::new(key).and_then(|identity| identity.client(agent, NAME.to_vec())).map_err(unmade)?;
    config.transport_config(settings());
    let endpoint = open(socket, None).map_err(unmade)?;
    let connecting = endpoint
        .connect_with(config, address, tls::SERVER_NAME)
        .map_err(|error| Ended::Unmade(error.to_string()))?;
    let connected = tokio::time::timeout(HANDSHAKE, connecting).await;
    let connection = connected.map_err(|_| Ended::Unmade("nobody answers there".to_owned()))?;
    Ok(ControlLink { connection: connection.map_err(|error| Ended::from(error).of_a_dial())?, endpoint })
}

/// A link between a controller and an agent. It ends when it is dropped.
pub struct ControlLink {
    connection: quinn::Connection,
    /// Keeps the socket alive.
    endpoint: quinn::Endpoint,
}

/// A question, and the way back for its answer.
pub struct Asked {
    /// What was asked.
    pub question: Vec<u8>,
    stream: quinn::SendStream,
}

impl Asked {
    /// Answers.
    ///
    /// # Errors
    /// [`Ended`] if nobody waits for it any more, or it is too long.
    pub async fn answer(mut self, answer: &[u8]) -> Result<(), Ended> {
        check(answer)?;
        self.stream.write_all(answer).await?;
        // The only error is that it was finished or stopped, and then nobody waits.
        drop(self.stream.finish());
        Ok(())
    }
}

fn check(frame: &[u8]) -> Result<(), Ended> {
    if frame.len() > CONTROL_BYTES_MAX {
        return Err(Refused::Stream("it has more bytes than a question or an answer may have").into());
    }
    Ok(())
}

impl ControlLink {
    /// Where the other side is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// Asks, and waits for the answer for so long.
    ///
    /// # Errors
    /// [`Ended`] says why there is none.
    pub async fn ask(&self, question: &[u8], patience: Duration) -> Result<Vec<u8>, Ended> {
        check(question)?;
        let exchange = async {
            let (mut send, receive) = self.connection.open_bi().await?;
            send.write_all(question).await?;
            drop(send.finish());
            read(receive).await
        };
        let answered = tokio::time::timeout(patience, exchange).await;
        answered.unwrap_or_else(|_| Err(Ended::Lost(format!("there was no answer within {patience:?}"))))
    }

    /// Waits for the next question.
    ///
    /// # Errors
    /// [`Ended`] once there are no more, or if it broke the rules.
    pub async fn next(&self) -> Result<Asked, Ended> {
        let (stream, receive) = self.connection.accept_bi().await?;
        Ok(Asked { question: read(receive).await?, stream })
    }

    /// Waits for the end of the link.
    pub async fn ended(&self) -> Ended {
        self.connection.closed().await.into()
    }

    /// Ends the link and says why.
    pub fn refuse(&self, why: &str) {
        Refused::Disconnected(why.to_owned()).close(&self.connection);
    }

    /// Ends the link, and waits until that was sent.
    pub async fn close(&self) {
        Refused::Closing.close(&self.connection);
        self.endpoint.wait_idle().await;
    }
}

async fn read(mut stream: quinn::RecvStream) -> Result<Vec<u8>, Ended> {
    stream.read_to_end(CONTROL_BYTES_MAX).await.map_err(|error| match error {
        quinn::ReadToEndError::Read(error) => error.into(),
        quinn::ReadToEndError::TooLong => {
            Refused::Stream("it has more bytes than a question or an answer may have").into()
        }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn door(agent: u8, controller: u8) -> (ControlDoor, SocketAddr) {
        let socket = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let door = ControlDoor::open(socket, &key(agent), key(controller).public()).unwrap();
        let address = door.address().unwrap();
        (door, address)
    }

    #[tokio::test]
    async fn a_question_is_answered_on_its_own_stream() {
        let (door, address) = door(1, 2);
        let agent = async {
            let link = door.accept().await.unwrap().map_err(|(_, ended)| ended).unwrap();
            for _ in 0..3 {
                let asked = link.next().await.unwrap();
                let answer = [&asked.question[..], b"!"].concat();
                asked.answer(&answer).await.unwrap();
            }
            link.ended().await
        };
        let controller = async {
            let link = dial_agent(address, &key(2), key(1).public()).await.unwrap();
            let large = vec![7; 3 << 20];
            for question in [&b"one"[..], b"", &large] {
                let answer = link.ask(question, PATIENCE).await.unwrap();
                assert_eq!((answer.len(), answer.last()), (question.len() + 1, Some(&b'!')));
            }
            let too_much = vec![0; CONTROL_BYTES_MAX + 1];
            assert!(matches!(link.ask(&too_much, PATIENCE).await, Err(Ended::Here(Refused::Stream(_)))));
            link.close().await;
        };
        let (ended, ()) = tokio::join!(agent, controller);
        assert!(ended.to_string().contains("shutting down"), "{ended}");
    }

    #[tokio::test]
    async fn a_controller_or_an_agent_with_another_key_is_refused() {
        for (controller, agent) in [(3, 1), (2, 3)] {
            let (door, address) = door(1, 2);
            let accepting = async { door.accept().await.unwrap().map(|link| link.address()) };
            let dialling = async {
                let link = dial_agent(address, &key(controller), key(agent).public()).await?;
                link.ask(b"anybody?", PATIENCE).await.map(drop)
            };
            let (accepted, dialled) = tokio::join!(accepting, dialling);
            let (ended, told) = (accepted.unwrap_err().1, dialled.unwrap_err());
            let unknown = "key is not one";
            assert!(
                ended.to_string().contains(unknown) && told.to_string().contains(unknown),
                "{ended}; {told}"
            );
        }
    }

    #[tokio::test]
    async fn a_question_that_is_too_long_is_not_read_to_its_end() {
        let (door, address) = door(1, 2);
        let agent = async {
            let link = door.accept().await.unwrap().map_err(|(_, ended)| ended).unwrap();
            link.next().await.map(drop)
        };
        let controller = async {
            let link = dial_agent(address, &key(2), key(1).public()).await.unwrap();
            let (mut send, _receive) = link.connection.open_bi().await.unwrap();
            let chunk = vec![0; 1 << 20];
            // Until the other side has enough of it.
            while send.write_all(&chunk).await.is_ok() {}
        };
        let (read, ()) = tokio::join!(agent, controller);
        assert!(matches!(read, Err(Ended::Here(Refused::Stream(_)))), "{read:?}");
    }
}
