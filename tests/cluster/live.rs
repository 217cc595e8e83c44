//! What a replica shows of itself while somebody watches, and what one for trials does when it is told to.

use quorate_host::live::{Excerpt, Moment, SlotLane, Stand, State};
use quorate_node::admin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::processes::{Cluster, block, quorate, text, until};

/// Everything that a replica shows.
async fn shown(cluster: &Cluster, id: usize) -> Option<Excerpt> {
    let address = cluster.file.replicas()[id].addresses.admin;
    admin::fetch(address, "/live?from=0").await.ok()
}

/// The newest lane of each slot that a replica shows.
fn slots(excerpt: &Excerpt) -> Vec<&SlotLane> {
    let lanes = excerpt.moments.iter().filter_map(|moment| match moment {
        Moment::Slot(lane) => Some(lane),
        _ => None,
    });
    let mut newest: Vec<&SlotLane> = Vec::new();
    for lane in lanes {
        newest.retain(|old| (old.view, old.seq) != (lane.view, lane.seq));
        newest.push(lane);
    }
    newest
}

/// Where a replica stands by now.
fn stand(excerpt: &Excerpt) -> Option<&Stand> {
    excerpt.moments.iter().rev().find_map(|moment| match moment {
        Moment::Replica(stand) => Some(stand),
        _ => None,
    })
}

/// Whether a replica shows that this happened.
fn happened(excerpt: &Excerpt, words: &str) -> bool {
    let said = |moment: &Moment| matches!(moment, Moment::Event(event) if event.what.contains(words));
    excerpt.moments.iter().any(said)
}

/// What an admin endpoint answers to these headers: everything, as text.
async fn asked(cluster: &Cluster, id: usize, headers: &str) -> String {
    let address = cluster.file.replicas()[id].addresses.admin;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {headers}\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    text(&answer)
}

#[test]
fn a_replica_shows_a_commit_with_its_quorum_and_after_the_primarys_end_the_new_view() {
    let mut cluster = Cluster::serving(&[]);
    let first = block(shown(&cluster, 1)).unwrap();
    let Some(Moment::Header(header)) = first.moments.first() else { panic!("{first:?}") };
    assert_eq!((header.n, header.f, header.q, header.control), (4, 1, 3, false));
    assert!(
        happened(&first, "link to replica 0 up"),
        "what happened before anybody watched is there: {first:?}"
    );
    cluster.answers(&["kv", "put", "a", "1"], "stored\n");
    let lane = block(until("a slot with all votes", async || {
        let excerpt = shown(&cluster, 1).await?;
        let whole = |lane: &&&SlotLane| lane.commits.len() == 4 && lane.replied.is_some();
        slots(&excerpt).iter().find(whole).map(|lane| (*lane).clone())
    }));
    assert!(lane.prepares.len() >= 3 && lane.view == 0 && lane.operations > 0, "{lane:?}");
    let order = [lane.proposed, lane.prepared, lane.committed, lane.executed, lane.replied];
    let times: Vec<u64> = order.into_iter().flatten().collect();
    assert!(times.len() == 5 && times.is_sorted(), "{lane:?}");
    let status = block(cluster.status(1)).unwrap();
    let excerpt = block(shown(&cluster, 1)).unwrap();
    let standing = stand(&excerpt).unwrap();
    assert_eq!((standing.id, standing.state, standing.view, standing.primary), (1, State::Normal, 0, 0));
    assert_eq!((standing.executed, standing.high), (status.executed, status.high));
    assert_eq!((&standing.links, &standing.behaviour, standing.lies), (&vec![true; 4], &None, 0));

    cluster.kill(0);
    cluster.answers(&["kv", "put", "a", "2"], "replaced\n");
    block(until("a slot of the new view", async || {
        let excerpt = shown(&cluster, 1).await?;
        let standing = stand(&excerpt)?;
        let told =
            happened(&excerpt, &format!("in view {}; its primary is {}", standing.view, standing.primary));
        let again = slots(&excerpt).iter().any(|lane| lane.view > 0 && lane.executed.is_some());
        (told && again && happened(&excerpt, "left view 0") && !standing.links[0]).then_some(())
    }));
}

#[test]
fn an_admin_endpoint_shows_its_page_to_browsers_under_its_own_name_only() {
    let mut cluster = Cluster::init(&[]);
    cluster.start(1);
    let host = cluster.file.replicas()[1].addresses.admin;
    block(until("an admin endpoint", async || cluster.status(1).await));
    block(async {
        let page = asked(&cluster, 1, &format!("/ HTTP/1.1\r\nHost: {host}\r\nAccept: text/html")).await;
        assert!(
            page.contains("200 OK") && page.contains("<html") && page.contains("script-src 'nonce-"),
            "{page}"
        );
        let plain = asked(&cluster, 1, &format!("/ HTTP/1.1\r\nHost: {host}")).await;
        assert!(plain.contains("text/plain") && plain.contains("/live?from=0"), "{plain}");
        for path in ["/", "/live", "/status", "/metrics", "/why", "/history?seq=1"] {
            let foreign =
                asked(&cluster, 1, &format!("{path} HTTP/1.1\r\nHost: evil.example:{}", host.port())).await;
            assert!(
                foreign.contains("403 Forbidden") && foreign.contains(&format!("open http://{host}/")),
                "{foreign}"
            );
        }
        let command = asked(&cluster, 1, &format!("/do HTTP/1.1\r\nHost: {host}")).await;
        assert!(command.contains("404 Not Found"), "there is nothing to command: {command}");
    });
    cluster.until_counted(1, "quorate_admin_requests_refused_total", 6);
}

#[test]
fn a_replica_for_trials_lies_and_loses_its_links_when_it_is_told_to_and_ends_that() {
    let mut cluster = Cluster::init(&["--testing"]);
    for honest in [0, 1, 3] {
        cluster.start(honest);
    }
    cluster.start_with(2, &["--controlled"]);
    block(cluster.until_linked());
    cluster.answers(&["kv", "put", "a", "0"], "stored\n");
    cluster.tell(2, "behave equivocate-prepare");
    block(until("a lie", async || {
        cluster.answers(&["kv", "put", "a", "0"], "replaced\n");
        let excerpt = shown(&cluster, 2).await?;
        let liar = stand(&excerpt)?;
        (liar.behaviour.as_deref() == Some("equivocate-prepare") && liar.lies > 0).then_some(())
    }));
    let liar = block(cluster.status(2)).unwrap();
    let loud = |warnings: &[String]| warnings.iter().any(|warning| warning.contains("LIES ON PURPOSE"));
    assert!(loud(&liar.warnings) && liar.lies["equivocate-prepare"] > 0, "{liar:?}");

    cluster.tell(2, "behave none");
    let honest = block(until("an honest replica", async || {
        cluster.status(2).await.filter(|status| !loud(&status.warnings))
    }));
    assert!(honest.lies["equivocate-prepare"] >= liar.lies["equivocate-prepare"], "what was told stays told");

    cluster.tell(2, "explode");
    cluster.tell(2, "links 2");
    block(until("a replica without links", async || {
        cluster.status(2).await.filter(|status| status.links_down.len() == 3).map(drop)
    }));
    cluster.answers(&["kv", "put", "a", "1"], "replaced\n");
    let alone = block(until("a replica that shows itself alone", async || {
        let excerpt = shown(&cluster, 2).await?;
        (stand(&excerpt)?.links == [false, false, true, false]).then_some(excerpt)
    }));
    assert!(happened(&alone, "told to use no link to 0, 1, 3"), "{alone:?}");
    let [served, missed] = [1, 2].map(|id| block(cluster.status(id)).unwrap().executed);
    assert!(missed < served, "replica 2 heard of {missed} slots, the others of {served}");

    cluster.tell(2, "links all");
    block(cluster.until_agreed());
    assert!(cluster.log(2).contains("`explode` is no order; write `behave NAME`"), "{}", cluster.log(2));
}

#[test]
fn no_replica_of_a_cluster_that_matters_lies_because_it_is_told_to() {
    let mut cluster = Cluster::init(&[]);
    cluster.start_with(2, &["--controlled"]);
    block(until("an admin endpoint", async || cluster.status(2).await));
    cluster.tell(2, "behave mute");
    block(until("a warning", async || cluster.log(2).contains("is to lie (mute)").then_some(())));
    let log = cluster.log(2);
    assert!(log.contains("`testing = false`; fix: "), "{log}");
    let status = block(cluster.status(2)).unwrap();
    assert!(status.lies.is_empty(), "{status:?}");
    let help = quorate(&["replica", "--help"]);
    assert!(!text(&help.stdout).contains("--controlled"), "it is for testbeds only");
}
