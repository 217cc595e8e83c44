//! Clients that do not belong or do not behave, against replicas that serve others: each is refused by its own reason,
//! which is told and counted, and nobody else notices.

use std::sync::Arc;

use bytes::Bytes;
use quorate_node::transport::{self, ClientInbound, ClientTransport, RefusalKind};
use quorate_protocol::codec;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::{ClientFrame, ClientMessage, Outcome, Reply};
use quorate_protocol::request::{Draft, Kind, Operations, Registration, Request};
use quorate_protocol::types::{ClientId, Number, ReplicaId, Seq, Session};
use tokio::sync::mpsc;

use super::processes::{Cluster, PATIENCE, block, get, put, quorate, text, until};

/// Somebody with links to the replicas, who says on them what they want.
pub(super) struct Stranger {
    pub(super) transport: ClientTransport,
    inbox: mpsc::Receiver<ClientInbound>,
}

impl Stranger {
    pub(super) async fn connect(config: transport::ClientTransportConfig) -> Self {
        let (sender, inbox) = mpsc::channel(1024);
        Self { transport: transport::connect(config, None, sender).await.unwrap(), inbox }
    }

    async fn next(&mut self) -> ClientInbound {
        let inbound = tokio::time::timeout(PATIENCE, self.inbox.recv()).await;
        inbound.expect("the replicas say something").unwrap()
    }

    /// Waits for links to all four.
    async fn linked(mut self) -> Self {
        let mut up = 0;
        while up < 4 {
            up += usize::from(matches!(self.next().await, ClientInbound::Up { .. }));
        }
        self
    }

    /// Says something to replica 0 that makes it end the link; gives back the reason it gives.
    async fn is_cut_off(&mut self, words: impl Into<Bytes>) -> String {
        self.transport.send(ReplicaId(0), words.into());
        loop {
            if let ClientInbound::Down { replica: ReplicaId(0), why } = self.next().await {
                break loop {
                    if let ClientInbound::Up { replica: ReplicaId(0), .. } = self.next().await {
                        break why;
                    }
                };
            }
        }
    }

    /// The next replies of any replica, with its id.
    async fn replies(&mut self) -> Vec<(ReplicaId, Reply)> {
        let ClientInbound::Frames { replica, frames } = self.next().await else { return Vec::new() };
        let mut all = Vec::new();
        for frame in frames {
            if let ClientMessage::Replies { replies, .. } = codec::decode(&frame).unwrap() {
                all.extend(replies.iter().map(|reply| (replica, reply)));
            }
        }
        all
    }

    /// Waits until two replicas have answered each of these numbers of a session; no other number may be answered.
    async fn answered(&mut self, session: Session, numbers: &[u64]) {
        let mut votes: Vec<Vec<ReplicaId>> = vec![Vec::new(); numbers.len()];
        while votes.iter().any(|votes| votes.len() < 2) {
            for (replica, reply) in self.replies().await {
                assert_eq!(reply.session, session);
                if reply.number == Number(0) && !numbers.contains(&0) {
                    // Two replicas made an answer of the registration, and here is the third.
                    continue;
                }
                let at = numbers.iter().position(|number| *number == reply.number.0);
                let at = at.unwrap_or_else(|| panic!("number {} was answered", reply.number.0));
                assert!(
                    matches!(reply.outcome, Outcome::Done(_) | Outcome::Registered),
                    "{:?}",
                    reply.outcome
                );
                if !votes[at].contains(&replica) {
                    votes[at].push(replica);
                }
            }
        }
    }
}

fn request(cluster: &Cluster, key: &SecretKey, session: Session, number: u64, operation: &Bytes) -> Request {
    let operations = Operations::new(std::iter::once(&operation[..]));
    let kind = if number == 0 { Kind::Register } else { Kind::Operations };
    let draft = Draft { session, first: Number(number), ack: Number(number.min(1)), kind, operations };
    Request::sign(key, cluster.file.id(), draft)
}

/// A session of this key, registered over its own links.
async fn registered(cluster: &Cluster, key: &SecretKey, stranger: &mut Stranger) -> Session {
    let registration = Registration { nonce: 7, expires: Seq(1000) };
    let session = registration.session(ClientId::of(&key.public()));
    let operation = Bytes::from(codec::encode(&registration).unwrap());
    stranger.transport.broadcast(&encoded(&request(cluster, key, session, 0, &operation)).into());
    stranger.answered(session, &[0]).await;
    session
}

fn encoded(request: &Request) -> Vec<u8> {
    codec::encode(&ClientFrame::from(request.clone())).unwrap()
}

fn serves(cluster: &Cluster) {
    cluster.answers(&["kv", "put", "still", "here"], "stored\n");
    cluster.answers(&["kv", "get", "still"], "here\n");
    block(cluster.until_agreed());
}

#[test]
fn a_client_that_is_not_listed_is_told_so_and_others_are_served() {
    let cluster = Cluster::serving(&["--clients", "2"]);
    let strange = Cluster::init(&[]);
    let (file, key) = (cluster.layout.cluster_file(), strange.layout.client_key(0));
    let (file, key) = (file.to_str().unwrap(), key.to_str().unwrap());
    let output = quorate(&["client", "--cluster", file, "--key", key, "--timeout", "1", "kv", "get", "a"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("key is not one that the cluster file allows here"), "{said}");
    cluster.until_counted(0, "quorate_links_refused_total{reason=\"unknown_key\"}", 1);
    serves(&cluster);
}

#[test]
fn a_client_of_another_cluster_or_configuration_is_told_what_differs() {
    let cluster = Cluster::serving(&[]);
    let trouble = |change: &dyn Fn(&mut transport::ClientTransportConfig)| {
        let mut config = cluster.client_config(cluster.client_key(0));
        change(&mut config);
        block(async {
            let stranger = Stranger::connect(config).await;
            until("a refusal", async || stranger.transport.links()[0].trouble.clone()).await
        })
    };
    let said = trouble(&|config| config.context.cluster.0.0[0] ^= 1);
    assert!(said.contains("no common protocol: another cluster or version"), "{said}");
    cluster.until_counted(0, "quorate_links_refused_total{reason=\"other_protocol\"}", 1);

    // Their names for the protocol are the same, so the hello has to tell them apart.
    let said = trouble(&|config| config.context.cluster.0.0[31] ^= 1);
    let ours = cluster.file.id().0.to_string();
    assert!(said.contains(&ours[..16]) && said.contains("belongs to"), "{said}");
    let parameters = |config: &mut transport::ClientTransportConfig| {
        Arc::make_mut(&mut config.context.parameters).timeout_us += 1000;
    };
    let said = trouble(&parameters);
    assert!(said.contains("is configured as") && said.contains("give all the same cluster file"), "{said}");
    serves(&cluster);
}

#[test]
fn frames_that_are_no_request_end_the_link_with_their_reason() {
    let cluster = Cluster::serving(&[]);
    block(async {
        let key = SecretKey::from_seed(&[77; 32]);
        let good = encoded(&request(&cluster, &key, Session(1), 1, &get("a")));
        let mut stranger = Stranger::connect(cluster.client_config(key)).await.linked().await;
        // What stands before the operations: that it is a request, key, session, two numbers, kind, count of operations.
        let length_at = 4 + 32 + 8 + 8 + 8 + 4 + 4;
        let with_length = |length: [u8; 4]| [&good[..length_at], &length, &good[length_at + 4..]].concat();
        let cases = [
            (good[..good.len() - 1].to_vec(), "ends early"),
            ([&good[..], b"!"].concat(), "1 bytes follow the message"),
            (with_length((1_u32 << 31).to_le_bytes()), "a byte string is longer than it may be"),
            (with_length((1_u32 << 22).to_le_bytes()), "a byte string claims more bytes than follow"),
            (
                [&good[..length_at - 8], &[9, 0, 0, 0], &good[length_at - 4..]].concat(),
                "unknown message kind",
            ),
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "unknown message kind"),
            (vec![0; 3 << 20], "3145728"),
        ];
        for (frame, reason) in cases {
            let why = stranger.is_cut_off(frame).await;
            assert!(why.contains(reason), "`{reason}` is missing from: {why}");
        }
    });
    let refused = RefusalKind::Disconnected.name();
    let counts = [
        ("quorate_frames_truncated_total".to_owned(), 1),
        ("quorate_frames_trailing_total".to_owned(), 1),
        ("quorate_frames_malformed_total".to_owned(), 6),
        (format!("quorate_links_refused_total{{reason=\"{refused}\"}}"), 6),
        (format!("quorate_links_refused_total{{reason=\"{}\"}}", RefusalKind::Oversized.name()), 1),
    ];
    for (name, count) in counts {
        cluster.until_counted(0, &name, count);
        assert_eq!(block(cluster.status(0)).unwrap().counter(&name), count, "{name}");
    }
    serves(&cluster);
}

#[test]
fn a_request_of_another_key_than_the_connections_ends_the_link() {
    let cluster = Cluster::serving(&[]);
    block(async {
        let victim = cluster.client_key(0);
        let stolen = encoded(&request(&cluster, &victim, Session(1), 1, &get("a")));
        let thief = cluster.client_config(SecretKey::from_seed(&[78; 32]));
        let mut thief = Stranger::connect(thief).await.linked().await;
        let why = thief.is_cut_off(stolen).await;
        assert!(why.contains("a request signed with another key than the connection's"), "{why}");
    });
    cluster.until_counted(0, "quorate_messages_of_impostors_total", 1);
    serves(&cluster);
}

#[test]
fn a_forged_signature_between_good_ones_costs_its_own_request_only() {
    let cluster = Cluster::serving(&[]);
    block(async {
        let key = SecretKey::from_seed(&[79; 32]);
        let config = cluster.client_config(SecretKey::from_seed(&[79; 32]));
        let mut client = Stranger::connect(config).await.linked().await;
        let session = registered(&cluster, &key, &mut client).await;
        let good =
            |number: u64| encoded(&request(&cluster, &key, session, number, &put(&number.to_string(), "x")));
        let mut frames: Vec<Vec<u8>> = (1..=9).map(good).collect();
        *frames[4].last_mut().unwrap() ^= 1;
        for frame in frames {
            client.transport.broadcast(&frame.into());
        }
        client.answered(session, &[1, 2, 3, 4, 6, 7, 8, 9]).await;
        for id in 0..4 {
            let name = "quorate_messages_invalid_total{kind=\"forged\"}";
            until(name, async || {
                cluster.status(id).await.filter(|status| status.counter(name) >= 1).map(drop)
            })
            .await;
        }
        // The number is free still: who forged it spent nothing of its owner's.
        client.transport.broadcast(&good(5).into());
        until("the good one", async || {
            let replies = client.replies().await;
            replies.iter().any(|(_, reply)| reply.number == Number(5)).then_some(())
        })
        .await;
    });
    let status = block(cluster.status(0)).unwrap();
    assert_eq!((status.view, status.status.as_str()), (0, "normal"));
    serves(&cluster);
}
