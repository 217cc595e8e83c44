//! What links tell of themselves to whoever looks for where the time goes.

use super::*;

#[tokio::test]
async fn one_frame_to_a_client_in_sixteen_is_timed_and_packets_outlive_their_links() {
    let (mut nodes, ports) = cluster(1).await;
    let (client, mut inbox) = client(&context(1), 99, &ports).await;
    let link = nodes[0].up("the client").await;
    let counters = |nodes: &[Node]| {
        let counters = nodes[0].transport.counters();
        (counters.client_waits.get().count, counters.packets_sent.get())
    };
    let sent =
        |nodes: &[Node]| -> u64 { nodes[0].transport.links().iter().map(|link| link.packets_sent).sum() };
    for round in 1..=3 {
        for number in 0..16 {
            nodes[0].transport.send(link, Class::Votes, numbered(number, 64));
        }
        let mut came = 0;
        while came < 16 {
            if let Some(ClientInbound::Frames { frames, .. }) = within("frames", inbox.recv()).await {
                came += frames.len();
            }
        }
        // They may be here before whoever wrote them has noted that QUIC had taken them.
        until("the sixteenth is timed", || counters(&nodes).0 == round).await;
    }
    assert!(sent(&nodes) > 0 && counters(&nodes).1 == 0, "a link that is up knows its own packets");
    let before = sent(&nodes);
    client.close().await;
    nodes[0].down("the client's farewell").await;
    until("the link is gone", || sent(&nodes) == 0).await;
    until("its packets are not", || counters(&nodes).1 >= before).await;
}
