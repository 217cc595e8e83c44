//! A replica's key in the wrong hands: what it says on its own authenticated links is refused by its own reason, and
//! the other three serve on.

use std::sync::Arc;

use bytes::Bytes;
use quorate_host::lane::Class;
use quorate_node::transport::{self, Admission, Inbound, Limits, Remote, Transport, TransportConfig, bind};
use quorate_protocol::codec;
use quorate_protocol::message::{Checkpoint, PeerMessage, Prepare};
use quorate_protocol::signed::{Signed, Signer};
use quorate_protocol::types::{Digest, Epoch, ReplicaId, Seq, Signature, View};
use tokio::sync::mpsc;

use super::processes::{Cluster, PATIENCE, block, until};

/// Replica 3, or whoever has its key.
struct Traitor {
    transport: Transport,
    inbox: mpsc::Receiver<Inbound>,
}

impl Traitor {
    async fn join(cluster: &Cluster, change: impl FnOnce(&mut TransportConfig)) -> Self {
        let addresses = cluster.file.replicas()[3].addresses;
        let mut config = TransportConfig {
            context: cluster.file.context(),
            id: ReplicaId(3),
            key: Arc::new(cluster.replica_key(3)),
            peer_addresses: cluster.file.replicas().iter().map(|entry| entry.addresses.peer).collect(),
            peer_socket: bind(addresses.peer).unwrap(),
            client_socket: bind(addresses.client).unwrap(),
            admission: Admission::Open,
            limits: Limits { peer_frame_bytes_max: 16 << 20, ..Limits::default() },
            emulation: None,
            standing: Arc::new(|| (Seq(0), View(0))),
        };
        change(&mut config);
        let (sender, inbox) = mpsc::channel(1024);
        Self { transport: transport::start(config, sender).await.unwrap(), inbox }
    }

    /// Waits until replica 0 has linked up, again if it had before.
    async fn linked(&mut self) {
        let linked = async {
            loop {
                match self.inbox.recv().await.unwrap() {
                    Inbound::Up { remote: Remote::Replica(ReplicaId(0)), .. } => return,
                    Inbound::Up { .. } | Inbound::Down { .. } | Inbound::Frames { .. } => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, linked).await.expect("replica 0 links up");
    }

    fn say(&self, class: Class, frame: impl Into<Bytes>) {
        self.transport.send(Remote::Replica(ReplicaId(0)), class, frame.into());
    }
}

/// Three replicas that serve; the fourth was never started.
fn three() -> Cluster {
    let mut cluster = Cluster::init(&[]);
    (0..3).for_each(|id| cluster.start(id));
    block(cluster.until_linked());
    cluster
}

fn serves(cluster: &Cluster) {
    cluster.answers(&["kv", "put", "still", "here"], "stored\n");
    block(cluster.until_agreed());
    let status = block(cluster.status(0)).unwrap();
    assert_eq!((status.view, status.status.as_str()), (0, "normal"), "{:?}", status.alarms);
}

/// Waits until replica 0 has counted exactly so much.
async fn counted(cluster: &Cluster, name: &str, count: u64) {
    until(name, async || cluster.status(0).await.filter(|status| status.counter(name) == count).map(drop))
        .await;
}

#[test]
fn malformed_frames_of_a_replica_are_counted_by_their_kind_and_the_link_stays() {
    let cluster = three();
    block(async {
        let mut traitor = Traitor::join(&cluster, |_| {}).await;
        traitor.linked().await;
        let fetch = PeerMessage::FetchBody { seq: Seq(1), digest: Digest([1; 32]) };
        let good = codec::encode(&fetch).unwrap();
        traitor.say(Class::Votes, good[..good.len() - 1].to_vec());
        traitor.say(Class::Votes, [&good[..], b"!"].concat());
        // A STATUS whose first list of bits claims 2 GiB, and a message kind that there is not.
        let length = (1_u32 << 31).to_le_bytes();
        let status = [&[8, 0, 0, 0], &[0; 33][..], &length, &[0; 64]].concat();
        traitor.say(Class::Votes, status);
        traitor.say(Class::Bulk, vec![99; 64]);
        counted(&cluster, "quorate_frames_truncated_total", 1).await;
        counted(&cluster, "quorate_frames_trailing_total", 1).await;
        counted(&cluster, "quorate_frames_malformed_total", 4).await;
        counted(&cluster, "quorate_frames_refused_total", 4).await;
        assert_eq!(cluster.status(0).await.unwrap().links_up, [1, 2, 3]);
        let log = cluster.log(0);
        assert!(
            log.contains("a replica's frame is refused replica=3 refusal=the message ends early"),
            "{log}"
        );
    });
    serves(&cluster);
}

#[test]
fn an_oversized_frame_of_a_replica_ends_its_link_only() {
    let cluster = three();
    block(async {
        let mut traitor = Traitor::join(&cluster, |_| {}).await;
        traitor.linked().await;
        traitor.say(Class::Bulk, vec![0; 9 << 20]);
        counted(&cluster, "quorate_links_refused_total{reason=\"oversized\"}", 1).await;
        traitor.linked().await;
    });
    serves(&cluster);
}

#[test]
fn votes_in_anothers_name_and_forged_ones_are_counted_and_do_nothing() {
    let cluster = three();
    block(async {
        let mut traitor = Traitor::join(&cluster, |_| {}).await;
        traitor.linked().await;
        let context = cluster.file.context();
        let vote = Prepare { view: View(0), seq: Seq(1), digest: Digest([6; 32]) };
        let stolen = Signer::new(Arc::new(cluster.replica_key(1)), context.cluster, Epoch(0), ReplicaId(1));
        let say = |message: PeerMessage| traitor.say(Class::Votes, codec::encode(&message).unwrap());
        // Even a good signature of another replica: votes come over their signer's own link.
        say(PeerMessage::Prepare(stolen.sign(vote).into_inner()));
        counted(&cluster, "quorate_messages_of_impostors_total", 1).await;
        let signature = Signature([7; 64]);
        let state = Checkpoint { seq: Seq(128), root: Digest([6; 32]), epoch_end: Seq::MAX };
        say(PeerMessage::Checkpoint(Signed { body: state, signer: ReplicaId(3), signature }));
        counted(&cluster, "quorate_messages_invalid_total{kind=\"forged\"}", 1).await;
        say(PeerMessage::Checkpoint(Signed { body: state, signer: ReplicaId(9), signature }));
        counted(&cluster, "quorate_messages_invalid_total{kind=\"outsider\"}", 1).await;
        // The third replica is no primary of view 0, and may not propose.
        let own = Signer::new(Arc::new(cluster.replica_key(3)), context.cluster, Epoch(0), ReplicaId(3));
        let prepare = own.sign(vote).into_inner();
        say(PeerMessage::PrePrepare(quorate_protocol::message::PrePrepare { prepare, batch: None }));
        counted(&cluster, "quorate_messages_invalid_total{kind=\"not_primary\"}", 1).await;
    });
    serves(&cluster);
}

#[test]
fn a_replica_with_another_configuration_is_not_linked_and_both_say_what_differs() {
    let cluster = three();
    block(async {
        let other =
            |config: &mut TransportConfig| Arc::make_mut(&mut config.context.parameters).timeout_us += 1000;
        let traitor = Traitor::join(&cluster, other).await;
        let differs =
            |why: &str| why.contains("is configured as") && why.contains("give all the same cluster file");
        until("replica 0 says why", async || {
            let status = cluster.status(0).await?;
            status.links_down.iter().any(|down| down.replica == 3 && differs(&down.why)).then_some(())
        })
        .await;
        let links = traitor.transport.links();
        assert!(links.iter().all(|link| !link.up), "{links:?}");
        let status = cluster.status(0).await.unwrap();
        let here = status.counter("quorate_links_refused_total{reason=\"other_configuration\"}");
        let there = status.counter("quorate_links_refused_by_others_total");
        assert!(here + there > 0);
    });
    serves(&cluster);
}
