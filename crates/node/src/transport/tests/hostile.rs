//! Those who do not belong, or do not behave. Each is refused by its own reason, and nobody else notices.

use quorate_host::lane::{Deframer, framed};
use quorate_protocol::codec;
use quorate_protocol::message::PROTOCOL_VERSION;

use super::super::tls;
use super::*;

/// Somebody who has a key and does with it what they want.
pub(super) struct Stranger {
    key: SecretKey,
    endpoint: quinn::Endpoint,
}

/// A stranger's connection, after whatever they said.
pub(super) struct Contact {
    pub(super) connection: quinn::Connection,
    pub(super) outward: Vec<quinn::SendStream>,
    inward: Vec<quinn::RecvStream>,
    deframer: Deframer,
}

/// Why the other side ended a connection, if it is a reason that we know.
pub(super) async fn reason(connection: &quinn::Connection) -> Option<RefusalKind> {
    match Ended::from(within("the connection's end", connection.closed()).await) {
        Ended::Here(refused) => panic!("we refused: {refused}"),
        Ended::There { kind, .. } => kind,
        Ended::Lost(why) | Ended::Unmade(why) => panic!("lost: {why}"),
    }
}

pub(super) fn hello(context: &Context) -> Hello {
    Hello {
        version: PROTOCOL_VERSION,
        cluster: context.cluster,
        config: context.config_digest(),
        executed: Seq(0),
        view: View(0),
    }
}

fn hello_frame(context: &Context) -> Vec<u8> {
    framed(&codec::encode(&hello(context)).unwrap()).to_vec()
}

impl Stranger {
    pub(super) fn new(key: SecretKey) -> Self {
        let limits = Limits::default();
        let socket = loopback();
        limits.prepare(&socket).unwrap();
        let endpoint = endpoint(limits.endpoint(None), None, socket, None).unwrap();
        Self { key, endpoint }
    }

    async fn dial(
        &self,
        to: SocketAddr,
        expect: u8,
        name: Vec<u8>,
        shape: Shape,
    ) -> Result<quinn::Connection, Ended> {
        let mut config = Identity::new(&self.key).unwrap().client(key(expect).public(), name).unwrap();
        config.transport_config(Limits::default().transport(shape, 1));
        Ok(self.endpoint.connect_with(config, to, tls::SERVER_NAME).unwrap().await?)
    }

    /// Dials replica `expect` as a replica and says these bytes on the streams of the three classes.
    async fn say(
        &self,
        context: &Context,
        to: SocketAddr,
        expect: u8,
        words: [&[u8]; 3],
    ) -> Result<Contact, Ended> {
        let name = tls::protocol_name(context.cluster, Shape::Peer);
        let connection = self.dial(to, expect, name, Shape::Peer).await?;
        let mut outward = Vec::new();
        for words in words {
            let mut stream = connection.open_uni().await?;
            stream.write_all(words).await?;
            outward.push(stream);
        }
        Ok(Contact { connection, outward, inward: Vec::new(), deframer: Deframer::new(1 << 20) })
    }

    /// Makes a good link to replica `expect`.
    pub(super) async fn peer(&self, context: &Context, to: SocketAddr, expect: u8) -> Result<Contact, Ended> {
        let first = [b"v".to_vec(), hello_frame(context)].concat();
        let mut contact = self.say(context, to, expect, [&first, b"p", b"b"]).await?;
        for _ in 0..3 {
            contact.inward.push(contact.connection.accept_uni().await?);
        }
        let mut byte = [0];
        contact.inward[0].read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"v");
        contact.read(Class::Votes, 1).await;
        Ok(contact)
    }

    /// Dials replica `expect` as a client and says these bytes.
    async fn customer(
        &self,
        context: &Context,
        to: SocketAddr,
        expect: u8,
        words: &[u8],
    ) -> Result<Contact, Ended> {
        let name = tls::protocol_name(context.cluster, Shape::Client);
        let connection = self.dial(to, expect, name, Shape::Client).await?;
        let (mut send, receive) = connection.open_bi().await?;
        send.write_all(words).await?;
        let deframer = Deframer::new(1 << 20);
        Ok(Contact { connection, outward: vec![send], inward: vec![receive], deframer })
    }
}

impl Contact {
    /// Reads frames of one class.
    pub(super) async fn read(&mut self, class: Class, count: usize) -> Vec<Bytes> {
        let mut frames = Vec::new();
        while frames.len() < count {
            let chunk = self.inward[class.index()].read_chunk(1 << 16, true).await.unwrap().unwrap();
            self.deframer.push(chunk.bytes, &mut frames).unwrap();
        }
        frames
    }
}

/// Replicas 0 and 1 are linked; they must still be when a test ends.
async fn pair() -> (Vec<Node>, Ports, Context) {
    let (nodes, ports) = cluster(2).await;
    (nodes, ports, context(2))
}

async fn still_fine(nodes: &mut [Node]) {
    nodes[0].transport.send(replica(1), Class::Votes, Bytes::from_static(b"still there"));
    assert_eq!(nodes[1].frames(replica(0), Class::Votes, 1).await, ["still there"]);
    for node in nodes {
        assert_eq!(node.transport.counters().links_up.get() - node.transport.counters().links_down.get(), 1);
    }
}

async fn counted(node: &Node, kind: RefusalKind) {
    until("the refusal is counted", || node.refused(kind) == 1).await;
}

/// What a client with a hello of its own making is told.
async fn told(nodes: &mut [Node], ports: &Ports, words: Vec<u8>, kind: RefusalKind) {
    let stranger = Stranger::new(key(99));
    let contact = stranger.customer(&context(2), ports.clients[1], 1, &words).await.unwrap();
    assert_eq!(reason(&contact.connection).await, Some(kind));
    counted(&nodes[1], kind).await;
    still_fine(nodes).await;
}

#[tokio::test]
async fn a_key_outside_the_committee_is_refused_among_replicas() {
    let (mut nodes, ports, context) = pair().await;
    let result = Stranger::new(key(66)).peer(&context, ports.peers[1], 1).await;
    let Err(Ended::There { kind, .. }) = result else { panic!("it was let in") };
    assert_eq!(kind, Some(RefusalKind::UnknownKey));
    counted(&nodes[1], RefusalKind::UnknownKey).await;
    still_fine(&mut nodes).await;
}

#[tokio::test]
async fn a_replica_does_not_talk_to_its_own_key() {
    let (mut nodes, ports, context) = pair().await;
    let result = Stranger::new(key(1)).peer(&context, ports.peers[1], 1).await;
    let Err(Ended::There { kind, .. }) = result else { panic!("it was let in") };
    assert_eq!(kind, Some(RefusalKind::UnknownKey));
    still_fine(&mut nodes).await;
}

#[tokio::test]
async fn a_dialled_address_with_another_key_is_refused() {
    let mut ports = Ports::new(3);
    // Replica 0 believes replica 2 to be where replica 1 is.
    ports.peers[2] = ports.peers[1];
    let mut zero = launch(ports.config(&context(3), 0)).await;
    let mut one = launch(ports.config(&context(3), 1)).await;
    assert_eq!(zero.up("the right link").await, replica(1));
    until("the wrong key is refused", || zero.refused(RefusalKind::UnknownKey) > 0).await;
    until("and seen there", || one.transport.counters().refused_by_others(RefusalKind::UnknownKey) > 0).await;
    let report = zero.transport.links().into_iter().find(|link| link.remote == replica(2)).unwrap();
    assert!(report.trouble.unwrap().contains("key"));
    zero.transport.send(replica(1), Class::Votes, Bytes::from_static(b"hi"));
    assert_eq!(one.frames(replica(0), Class::Votes, 1).await, ["hi"]);
}

/// Presents somebody else's public key and signs with its own.
#[tokio::test]
async fn a_stolen_public_key_without_its_secret_is_refused() {
    let (mut nodes, ports, context) = pair().await;
    let stranger = Stranger::new(key(66));
    let thief = Identity::new(&key(66)).unwrap().presenting(key(0).public());
    let mut config = thief.client(key(1).public(), tls::protocol_name(context.cluster, Shape::Peer)).unwrap();
    config.transport_config(Limits::default().transport(Shape::Peer, 1));
    let connecting = stranger.endpoint.connect_with(config, ports.peers[1], tls::SERVER_NAME).unwrap();
    if let Ok(connection) = connecting.await {
        assert_eq!(reason(&connection).await, Some(RefusalKind::Connection));
    }
    counted(&nodes[1], RefusalKind::Connection).await;
    still_fine(&mut nodes).await;
}

#[tokio::test]
async fn a_client_that_is_not_listed_is_refused_and_others_are_not() {
    let mut ports = Ports::new(1);
    let mut config = ports.config(&context(1), 0);
    config.admission = Admission::Listed([key(50).public()].into());
    let mut node = launch(config).await;
    let (outsider, _inbox) = client(&context(1), 51, &ports).await;
    until("refused", || node.refused(RefusalKind::UnknownKey) > 0).await;
    until("told", || outsider.counters().refused_by_others(RefusalKind::UnknownKey) > 0).await;
    assert!(outsider.links()[0].trouble.is_some());
    let (_member, _inbox) = client(&context(1), 50, &ports).await;
    assert!(matches!(node.up("the member").await, Remote::Client(_)));
}

#[tokio::test]
async fn another_cluster_is_refused_by_the_name_of_its_protocol() {
    let (mut nodes, ports, context) = pair().await;
    let other = Context { cluster: ClusterId(Digest([8; 32])), ..context };
    let result = Stranger::new(key(0)).peer(&other, ports.peers[1], 1).await;
    let Err(Ended::There { kind, reason }) = result else { panic!("it was let in") };
    assert_eq!(kind, Some(RefusalKind::OtherProtocol), "{reason}");
    counted(&nodes[1], RefusalKind::OtherProtocol).await;
    still_fine(&mut nodes).await;
}

#[tokio::test]
async fn a_client_at_the_replicas_port_is_refused() {
    let (mut nodes, ports, context) = pair().await;
    let name = tls::protocol_name(context.cluster, Shape::Client);
    let result = Stranger::new(key(99)).dial(ports.peers[1], 1, name, Shape::Client).await;
    let Err(Ended::There { kind, .. }) = result else { panic!("it was let in") };
    assert_eq!(kind, Some(RefusalKind::OtherProtocol));
    counted(&nodes[1], RefusalKind::OtherProtocol).await;
    still_fine(&mut nodes).await;
}

#[tokio::test]
async fn another_cluster_with_the_same_name_is_refused_by_its_hello() {
    let (mut nodes, ports, context) = pair().await;
    let mut cluster = context.cluster;
    cluster.0.0[31] ^= 1;
    let hello = Hello { cluster, ..hello(&context) };
    let words = [b"p".to_vec(), framed(&codec::encode(&hello).unwrap()).to_vec()].concat();
    told(&mut nodes, &ports, words, RefusalKind::OtherCluster).await;
}

#[tokio::test]
async fn another_configuration_is_refused_on_both_sides() {
    let mut ports = Ports::new(2);
    let other = Parameters { timeout_us: 499_999, ..Parameters::default() };
    let zero = launch(ports.config(&context(2), 0)).await;
    let one = launch(ports.config(&Context { parameters: Arc::new(other), ..context(2) }, 1)).await;
    let kind = RefusalKind::OtherConfiguration;
    let seen = |node: &Node| node.refused(kind) + node.transport.counters().refused_by_others(kind);
    until("both know", || seen(&zero) > 0 && seen(&one) > 0).await;
    let trouble = || zero.transport.links()[0].trouble.clone().unwrap_or_default();
    until("the operator is told", || trouble().contains("cluster file")).await;
    assert_eq!(zero.transport.counters().links_up.get(), 0);
}

#[tokio::test]
async fn another_version_is_refused() {
    let (mut nodes, ports, context) = pair().await;
    let hello = Hello { version: PROTOCOL_VERSION + 1, ..hello(&context) };
    let words = [b"p".to_vec(), framed(&codec::encode(&hello).unwrap()).to_vec()].concat();
    told(&mut nodes, &ports, words, RefusalKind::OtherVersion).await;
}

#[tokio::test]
async fn a_first_frame_that_is_no_hello_is_refused() {
    let (mut nodes, ports, _) = pair().await;
    let words = [b"p".to_vec(), framed(b"let me in").to_vec()].concat();
    told(&mut nodes, &ports, words, RefusalKind::NotHello).await;
}

#[tokio::test]
async fn a_hello_of_2_gib_is_refused() {
    let (mut nodes, ports, _) = pair().await;
    let words = [b"p".to_vec(), (1_u32 << 31).to_le_bytes().to_vec()].concat();
    told(&mut nodes, &ports, words, RefusalKind::NotHello).await;
}

#[tokio::test]
async fn a_stream_of_an_unknown_class_is_refused() {
    let (mut nodes, ports, _) = pair().await;
    told(&mut nodes, &ports, b"x".to_vec(), RefusalKind::Stream).await;
}

#[tokio::test]
async fn two_streams_of_one_class_are_refused() {
    let mut ports = Ports::new(2);
    let node = launch(ports.config(&context(2), 1)).await;
    let first = [b"v".to_vec(), hello_frame(&context(2))].concat();
    let stranger = Stranger::new(key(0));
    let contact = stranger.say(&context(2), ports.peers[1], 1, [&first, b"p", b"p"]).await.unwrap();
    assert_eq!(reason(&contact.connection).await, Some(RefusalKind::Stream));
    counted(&node, RefusalKind::Stream).await;
}

/// What a client is told that has a link and then says this.
async fn told_later(words: &[u8], finish: bool, kind: RefusalKind) {
    let (mut nodes, ports, context) = pair().await;
    let stranger = Stranger::new(key(99));
    let opening = [b"p".to_vec(), hello_frame(&context), framed(b"a good frame").to_vec()].concat();
    let mut contact = stranger.customer(&context, ports.clients[1], 1, &opening).await.unwrap();
    let remote = nodes[1].up("the link").await;
    assert_eq!(nodes[1].frames(remote, Class::Proposals, 1).await, ["a good frame"]);
    contact.outward[0].write_all(words).await.unwrap();
    if finish {
        contact.outward[0].finish().unwrap();
    }
    let (down, _) = nodes[1].down("the link's end").await;
    assert_eq!(down, remote);
    assert_eq!(reason(&contact.connection).await, Some(kind));
    assert_eq!(nodes[1].refused(kind), 1);
    still_fine(&mut nodes).await;
}

#[tokio::test]
async fn e5_an_oversized_frame_ends_the_link() {
    let one_more = u32::try_from(Limits::default().client_frame_bytes_max).unwrap() + 1;
    told_later(&one_more.to_le_bytes(), false, RefusalKind::Oversized).await;
}

#[tokio::test]
async fn e5_a_frame_of_2_gib_ends_the_link() {
    told_later(&(1_u32 << 31).to_le_bytes(), false, RefusalKind::Oversized).await;
}

#[tokio::test]
async fn an_empty_frame_ends_the_link() {
    told_later(&[0; 4], false, RefusalKind::Empty).await;
}

#[tokio::test]
async fn a_truncated_frame_ends_the_link() {
    told_later(&framed(&[1; 300])[..200], true, RefusalKind::Truncated).await;
}

#[tokio::test]
async fn a_stream_that_ends_ends_the_link() {
    told_later(&framed(&[1; 300]), true, RefusalKind::Stream).await;
}

#[tokio::test]
async fn only_the_lower_id_dials() {
    let (mut nodes, ports, context) = pair().await;
    let contact = Stranger::new(key(1)).peer(&context, ports.peers[0], 0).await.unwrap();
    assert_eq!(reason(&contact.connection).await, Some(RefusalKind::WrongDialler));
    until("the knock is counted", || nodes[0].transport.counters().knocks.get() > 0).await;
    still_fine(&mut nodes).await;
}

#[tokio::test]
async fn e5_whoever_says_nothing_is_refused_in_time() {
    let mut ports = Ports::new(1);
    let mut config = ports.config(&context(1), 0);
    config.limits.handshake_timeout = Duration::from_millis(200);
    let node = launch(config).await;
    let contact = Stranger::new(key(99)).customer(&context(1), ports.clients[0], 0, b"p").await.unwrap();
    assert_eq!(reason(&contact.connection).await, Some(RefusalKind::TooSlow));
    counted(&node, RefusalKind::TooSlow).await;
}

#[tokio::test]
async fn a_key_has_a_limited_number_of_links() {
    let mut ports = Ports::new(1);
    let mut config = ports.config(&context(1), 0);
    config.limits.client_links_per_key_max = 1;
    let mut node = launch(config).await;
    let stranger = Stranger::new(key(99));
    let words = [b"p".to_vec(), hello_frame(&context(1))].concat();
    let _first = stranger.customer(&context(1), ports.clients[0], 0, &words).await.unwrap();
    node.up("the first link").await;
    let second = stranger.customer(&context(1), ports.clients[0], 0, &words).await.unwrap();
    assert_eq!(reason(&second.connection).await, Some(RefusalKind::TooMany));
    let other = Stranger::new(key(98));
    let _third = other.customer(&context(1), ports.clients[0], 0, &words).await.unwrap();
    node.up("another key's link").await;
}

#[tokio::test]
async fn e5_an_address_that_dials_too_often_must_wait() {
    let mut ports = Ports::new(1);
    let mut config = ports.config(&context(1), 0);
    config.limits.handshakes_per_address = 1;
    config.limits.handshakes_per_address_per_second = 0;
    let mut node = launch(config).await;
    let words = [b"p".to_vec(), hello_frame(&context(1))].concat();
    let mut contacts = Vec::new();
    for seed in [97, 98] {
        // The second has to prove its address, and then has a budget of its own.
        let customer = Stranger::new(key(seed));
        contacts.push(customer.customer(&context(1), ports.clients[0], 0, &words).await.unwrap());
        node.up("a link").await;
    }
    assert_eq!(node.transport.counters().retries.get(), 1);
    let third = Stranger::new(key(99)).customer(&context(1), ports.clients[0], 0, &words).await;
    assert!(third.is_err(), "the third was let in");
    assert_eq!(node.refused(RefusalKind::TooMany), 1);
}

#[tokio::test]
async fn e5_more_streams_than_there_are_classes_cannot_be_opened() {
    let mut ports = Ports::new(2);
    let mut node = launch(ports.config(&context(2), 1)).await;
    let contact = Stranger::new(key(0)).peer(&context(2), ports.peers[1], 1).await.unwrap();
    node.up("the link").await;
    let fourth = tokio::time::timeout(Duration::from_millis(50), contact.connection.open_uni()).await;
    let both_ways = tokio::time::timeout(Duration::from_millis(50), contact.connection.open_bi()).await;
    assert!(fourth.is_err() && both_ways.is_err());
}
