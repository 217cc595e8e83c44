//! Links between those who belong together.

use super::*;

#[tokio::test]
async fn four_replicas_link_up_and_each_knows_the_others_by_key() {
    let (nodes, _) = cluster(4).await;
    for (id, node) in nodes.iter().enumerate() {
        let links = node.transport.links();
        assert_eq!(links.len(), 3);
        for link in links {
            let Remote::Replica(other) = link.remote else { panic!("a client") };
            assert!(link.up && link.trouble.is_none());
            assert_ne!(usize::from(other.0), id);
            assert_eq!(link.key, key(u8::try_from(other.0).unwrap()).public());
        }
        assert_eq!(node.transport.counters().links_up.get(), 3);
        assert_eq!(node.transport.warnings(), []);
    }
}

#[tokio::test]
async fn hellos_say_where_a_replica_stands() {
    let mut ports = Ports::new(2);
    let mut first = launch(ports.config(&context(2), 0)).await;
    let _second = launch(ports.config(&context(2), 1)).await;
    let Inbound::Up { remote, key: theirs, hello, address } = first.next("a link").await else {
        panic!("no link")
    };
    assert_eq!((remote, theirs, address), (replica(1), key(1).public(), ports.peers[1]));
    assert_eq!((hello.executed, hello.view), (Seq(5), View(2)));
}

#[tokio::test]
async fn frames_arrive_in_order_within_each_class() {
    let (mut nodes, _) = cluster(2).await;
    let length = |number: u32| [4, 200, 5_000, 70_000][number as usize % 4];
    for number in 0..400 {
        for class in Class::ALL {
            nodes[0].transport.send(replica(1), class, numbered(number, length(number)));
        }
    }
    let mut seen = [0; 3];
    while seen != [400; 3] {
        let Inbound::Frames { from, class, frames } = nodes[1].next("frames").await else {
            panic!("no frames")
        };
        assert_eq!(from, replica(0));
        for frame in frames {
            let expected = &mut seen[class.index()];
            assert_eq!((number_of(&frame), frame.len()), (*expected, length(*expected)));
            *expected += 1;
        }
    }
    let counters = nodes[1].transport.counters();
    assert_eq!(Class::ALL.map(|class| counters.frames_in[class.index()].get()), [400; 3]);
}

#[tokio::test]
async fn a_broadcast_reaches_every_other_replica_and_nobody_else() {
    let (mut nodes, _) = cluster(4).await;
    nodes[2].transport.broadcast(Class::Votes, &Bytes::from_static(b"a vote"));
    for id in [0, 1, 3] {
        assert_eq!(nodes[id].frames(replica(2), Class::Votes, 1).await, ["a vote"]);
    }
    assert!(nodes[2].inbox.try_recv().is_err());
}

#[tokio::test]
async fn a_client_talks_to_every_replica_and_is_known_by_its_key() {
    let (mut nodes, ports) = cluster(4).await;
    let (client, mut inbox) = client(&context(4), 99, &ports).await;
    let mut links = Vec::new();
    for node in &mut nodes {
        let Inbound::Up { remote, key: theirs, .. } = node.next("the client").await else {
            panic!("no link")
        };
        assert_eq!(theirs, key(99).public());
        links.push(remote);
    }
    let mut up = 0;
    while up < 4 {
        up += u32::from(matches!(within("replicas", inbox.recv()).await, Some(ClientInbound::Up { .. })));
    }
    client.broadcast(&Bytes::from_static(b"a request"));
    for (node, link) in nodes.iter_mut().zip(&links) {
        assert_eq!(node.frames(*link, Class::Proposals, 1).await, ["a request"]);
        node.transport.send(*link, Class::Votes, Bytes::from_static(b"a reply"));
    }
    let mut replies = [0; 4];
    while replies != [1; 4] {
        let Some(ClientInbound::Frames { replica, frames }) = within("replies", inbox.recv()).await else {
            continue;
        };
        assert_eq!(frames, ["a reply"]);
        replies[usize::from(replica.0)] += 1;
    }
    client.close().await;
    let (remote, why) = nodes[0].down("the client's farewell").await;
    assert_eq!(remote, links[0]);
    assert!(why.contains("shutting down"), "{why}");
}

#[tokio::test]
async fn many_clients_share_one_socket() {
    let (mut nodes, ports) = cluster(1).await;
    let limits = Limits::default();
    let shared = SharedEndpoint::new(loopback(), &limits).unwrap();
    let (sender, mut inbox) = mpsc::channel(64);
    let mut clients = Vec::new();
    for seed in 100..116 {
        let config = ClientTransportConfig {
            context: context(1),
            key: Arc::new(key(seed)),
            replicas: ports.clients.clone(),
            limits: limits.clone(),
        };
        clients.push(connect(config, Some(shared.clone()), sender.clone()).await.unwrap());
    }
    let mut addresses = std::collections::BTreeSet::new();
    for _ in 0..16 {
        let Inbound::Up { address, .. } = nodes[0].next("a client").await else { panic!("no link") };
        addresses.insert(address);
        within("a replica", inbox.recv()).await.unwrap();
    }
    assert_eq!(addresses.len(), 1);
}

/// Kills the dialled one of two linked replicas and starts it again; how long until the link is up, and why the old
/// one went down.
async fn revived(fresh: std::time::Duration, says: &'static [u8]) -> (std::time::Duration, String) {
    let mut ports = Ports::new(2);
    let mut staying = ports.config(&context(2), 0);
    staying.limits.fresh = fresh;
    let mut stayer = launch(staying).await;
    // On a runtime of its own, which is dropped without a farewell.
    let config = ports.config(&context(2), 1);
    let (kill, killed) = tokio::sync::oneshot::channel::<()>();
    let (bury, buried) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let node = runtime.block_on(async {
            let node = launch(config).await;
            let _ = killed.await;
            node
        });
        drop(runtime);
        drop(node);
        bury.send(()).unwrap();
    });
    assert_eq!(stayer.up("the first link").await, replica(1));
    kill.send(()).unwrap();
    within("its death", buried).await.unwrap();

    let again = |address| bind(address).unwrap();
    ports.sockets[1] = Some((again(ports.peers[1]), again(ports.clients[1])));
    let restarted = std::time::Instant::now();
    let mut second = launch(ports.config(&context(2), 1)).await;
    if !says.is_empty() {
        stayer.transport.send(replica(1), Class::Votes, Bytes::from_static(says));
    }
    let (remote, why) = stayer.down("the restart is noticed").await;
    assert_eq!(remote, replica(1));
    assert_eq!(stayer.up("the new link").await, replica(1));
    second.up("the new link").await;
    (restarted.elapsed(), why)
}

#[tokio::test]
async fn a_killed_replica_that_comes_back_disowns_its_old_links() {
    let (taken, why) = revived(Limits::default().idle_timeout, b"are you there?").await;
    assert!(why.contains("reset by peer"), "{why}");
    assert!(taken < Limits::default().idle_timeout / 2, "{taken:?}");
}

/// What is sent to a dead process is sent again ever more rarely, so the next packet may be seconds away.
#[tokio::test]
async fn a_killed_replica_that_comes_back_is_dialled_at_once_though_nobody_has_anything_to_tell_it() {
    let (taken, _) = revived(std::time::Duration::ZERO, b"").await;
    assert!(taken < Limits::default().keep_alive / 2, "{taken:?}");
}

#[tokio::test]
async fn a_restarted_dialler_replaces_its_old_link() {
    let mut ports = Ports::new(2);
    let mut stayer = launch(ports.config(&context(2), 1)).await;
    let first = hostile::Stranger::new(key(0)).peer(&context(2), ports.peers[1], 1).await.unwrap();
    stayer.up("the first link").await;
    let second = hostile::Stranger::new(key(0)).peer(&context(2), ports.peers[1], 1).await.unwrap();
    let (remote, why) = stayer.down("the old link").await;
    assert_eq!(remote, replica(0));
    assert!(why.contains("newer connection"), "{why}");
    assert_eq!(stayer.up("the new link").await, replica(0));
    assert_eq!(stayer.refused(RefusalKind::Replaced), 1);
    assert_eq!(hostile::reason(&first.connection).await, Some(RefusalKind::Replaced));
    assert!(second.connection.close_reason().is_none());
}

#[tokio::test]
async fn c9_two_live_processes_with_one_key_are_noticed_and_a_restarted_one_is_not() {
    let mut ports = Ports::new(2);
    let mut stayer = launch(ports.config(&context(2), 1)).await;
    let rivals = |stayer: &Node| {
        stayer.transport.links().iter().find_map(|link| link.rivals).map(|places| places.len())
    };
    let (one, other) = (hostile::Stranger::new(key(0)), hostile::Stranger::new(key(0)));
    for turn in [&one, &one, &one, &other, &one] {
        let _link = turn.peer(&context(2), ports.peers[1], 1).await.unwrap();
        stayer.up("a link").await;
        assert_eq!(rivals(&stayer), None);
    }
    let _link = other.peer(&context(2), ports.peers[1], 1).await.unwrap();
    stayer.up("the second place again").await;
    assert_eq!(rivals(&stayer), Some(2));
    assert_eq!(stayer.transport.counters().rivals.get(), 1);
}

#[tokio::test]
async fn e5_a_slow_replica_costs_its_own_lane_only() {
    let mut ports = Ports::new(3);
    let limits = Limits { peer_frame_bytes_max: 128 << 10, lane_bytes_total: 1 << 20, ..Limits::default() };
    let mut nodes = Vec::new();
    for id in 0..3 {
        let mut config = ports.config(&context(3), id);
        config.limits = limits.clone();
        // Replica 1 takes the news of its links out of its inbox, and then nothing more.
        let (sender, inbox) = mpsc::channel(4);
        nodes.push(Node { transport: start(config, sender).await.unwrap(), inbox });
    }
    for node in &mut nodes {
        node.up("links").await;
        node.up("links").await;
    }
    let frame = Bytes::from(vec![1; 100 << 10]);
    for _ in 0..400 {
        nodes[0].transport.broadcast(Class::Bulk, &frame);
        assert_eq!(nodes[2].frames(replica(0), Class::Bulk, 1).await.len(), 1);
    }
    let report = |remote| nodes[0].transport.links().into_iter().find(|link| link.remote == remote).unwrap();
    let bulk = |remote| report(remote).lanes[Class::Bulk.index()].1;
    assert_eq!(bulk(replica(2)).dropped_frames, 0);
    assert!(bulk(replica(1)).dropped_frames > 100);
    assert!(bulk(replica(1)).waiting_bytes_high <= 512 << 10);
    assert_eq!(nodes[0].transport.counters().frames_dropped[2].get(), bulk(replica(1)).dropped_frames);
    assert!(report(replica(1)).up);
}

#[tokio::test]
async fn e5_bulk_that_is_not_read_does_not_stop_votes() {
    let mut ports = Ports::new(2);
    let mut node = launch(ports.config(&context(2), 1)).await;
    let mut lazy = hostile::Stranger::new(key(0)).peer(&context(2), ports.peers[1], 1).await.unwrap();
    node.up("the link").await;
    for _ in 0..64 {
        node.transport.send(replica(0), Class::Bulk, vec![1; 1 << 20].into());
    }
    for number in 0..1000 {
        node.transport.send(replica(0), Class::Votes, numbered(number, 200));
    }
    let votes = within("votes", lazy.read(Class::Votes, 1000)).await;
    assert!(votes.iter().map(|frame| number_of(frame)).eq(0..1000));
    assert!(node.transport.counters().frames_dropped[Class::Bulk.index()].get() > 0);
}

#[tokio::test]
async fn frames_without_a_link_are_given_up_and_counted() {
    let mut ports = Ports::new(2);
    let node = launch(ports.config(&context(2), 1)).await;
    node.transport.send(replica(0), Class::Votes, Bytes::from_static(b"x"));
    node.transport.send(replica(1), Class::Votes, Bytes::from_static(b"to myself"));
    node.transport.send(Remote::Client(LinkId(1)), Class::Votes, Bytes::from_static(b"x"));
    assert_eq!(node.transport.counters().frames_unlinked.get(), 3);
}

#[tokio::test]
async fn a_disconnected_client_learns_why() {
    let (mut nodes, ports) = cluster(1).await;
    let (_client, mut inbox) = client(&context(1), 99, &ports).await;
    let Remote::Client(id) = nodes[0].up("the client").await else { panic!("a replica") };
    within("the replica", inbox.recv()).await.unwrap();
    nodes[0].transport.disconnect(id, "it was rude");
    let Some(ClientInbound::Down { why, .. }) = within("the end", inbox.recv()).await else {
        panic!("no end")
    };
    assert!(why.contains("it was rude"), "{why}");
    let (remote, why) = nodes[0].down("the end").await;
    assert_eq!(remote, Remote::Client(id));
    assert!(why.contains("it was rude"), "{why}");
    assert_eq!(nodes[0].refused(RefusalKind::Disconnected), 1);
}

#[tokio::test]
async fn a_closed_transport_says_goodbye_and_frees_its_ports() {
    let (mut nodes, ports) = cluster(2).await;
    nodes[0].transport.close().await;
    let (remote, why) = nodes[1].down("a farewell").await;
    assert_eq!(remote, replica(0));
    assert!(why.contains("shutting down"), "{why}");
    drop(nodes.remove(0));
    within("the port is free", async {
        while bind(ports.peers[0]).is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_port_in_use_is_named_together_with_the_fix() {
    let taken = loopback();
    let address = taken.local_addr().unwrap();
    let error = bind(address).unwrap_err();
    assert!(matches!(error, TransportError::InUse { address: named } if named == address));
    assert!(error.to_string().contains("stop the program"), "{error}");
    let elsewhere = bind(([192, 0, 2, 1], 0).into()).unwrap_err();
    assert!(matches!(elsewhere, TransportError::Bind { .. }), "{elsewhere}");
}

#[tokio::test]
async fn a_transport_does_not_start_with_another_replicas_key() {
    let mut ports = Ports::new(2);
    let mut config = ports.config(&context(2), 0);
    config.key = Arc::new(key(1));
    let error = start(config, mpsc::channel(1).0).await.err().unwrap();
    assert!(matches!(error, TransportError::NotOurKey { id: ReplicaId(0) }));
}

#[tokio::test]
async fn a_capped_buffer_is_reported_with_the_setting_to_change() {
    let limits = Limits { socket_bytes: 1 << 30, ..Limits::default() };
    let warnings = limits.prepare(&loopback()).unwrap();
    assert!(!warnings.is_empty());
    assert!(warnings[0].to_string().contains("sysctl -w net.core."), "{}", warnings[0]);
}
