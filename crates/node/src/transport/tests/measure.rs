//! What a frame costs, each replica on a thread of its own. Run on a quiet machine:
//! `cargo test --release -p quorate-node measure -- --ignored --nocapture --test-threads 1`

use std::time::Instant;

use super::*;

/// Processor time this process has used, in seconds. Linux counts it in hundredths.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Runs each replica's `work` on its own thread and runtime; returns what that of replica 0 says.
fn on_threads<W, F>(replicas: u8, limits: &Limits, work: W) -> f64
where
    W: Fn(u8, Node) -> F + Clone + Send + 'static,
    F: Future<Output = f64>,
{
    let mut ports = Ports::new(replicas);
    let ready = Arc::new(tokio::sync::Barrier::new(usize::from(replicas)));
    let threads: Vec<_> = (0..replicas)
        .map(|id| {
            let mut config = ports.config(&context(replicas), id);
            config.limits = limits.clone();
            let (work, ready) = (work.clone(), Arc::clone(&ready));
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let mut node = launch(config).await;
                    for _ in 1..replicas {
                        node.up("links").await;
                    }
                    ready.wait().await;
                    work(id, node).await
                })
            })
        })
        .collect();
    let results: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    results[0]
}

/// Settings to compare.
fn variants() -> Vec<(String, Limits)> {
    let mut all = Vec::new();
    for datagram_bytes_max in [1452, 8952] {
        for packets_per_acknowledgement in [1, 10] {
            let name = format!(
                "datagrams {datagram_bytes_max:5}, acknowledge every {packets_per_acknowledgement:2}"
            );
            all.push((name, Limits { datagram_bytes_max, packets_per_acknowledgement, ..Limits::default() }));
        }
    }
    all
}

async fn ping(id: u8, mut node: Node) -> f64 {
    let rounds = 20_000_u32;
    let frame = Bytes::from(vec![7; 200]);
    let mut times = Vec::new();
    let began = processor_seconds();
    for _ in 0..rounds {
        let start = Instant::now();
        if id == 0 {
            node.transport.send(replica(1), Class::Votes, frame.clone());
            node.frames(replica(1), Class::Votes, 1).await;
        } else {
            node.frames(replica(0), Class::Votes, 1).await;
            node.transport.send(replica(0), Class::Votes, frame.clone());
        }
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let used = (processor_seconds() - began) / f64::from(rounds) * 1e6;
    times.sort_by(f64::total_cmp);
    if id == 0 {
        let (middle, slow) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        println!("   round trip p50 {middle:.1} us, p99 {slow:.1} us, processor {used:.1} us");
    } else {
        // The last answer still has to leave.
        while node.transport.counters().frames_out[0].get() < u64::from(rounds) {
            tokio::task::yield_now().await;
        }
        node.down("the other side is done").await;
    }
    used
}

async fn pour(id: u8, mut node: Node, length: usize, count: usize) -> f64 {
    let began = (Instant::now(), processor_seconds());
    if id == 1 {
        node.frames(replica(0), Class::Proposals, count).await;
        node.transport.send(replica(0), Class::Votes, Bytes::from_static(b"done"));
        node.down("the other side is done").await;
        return 0.0;
    }
    let frame = Bytes::from(vec![7; length]);
    for number in 0..count {
        node.transport.send(replica(1), Class::Proposals, frame.clone());
        // Never more than the lane holds.
        let sent = || node.transport.counters().frames_out[Class::Proposals.index()].get();
        let room = 4096.min((4 << 20) / length) as u64;
        while number as u64 > sent() + room {
            tokio::task::yield_now().await;
        }
    }
    node.frames(replica(1), Class::Votes, 1).await;
    let (wall, used) = (began.0.elapsed().as_secs_f64(), processor_seconds() - began.1);
    assert_eq!(node.transport.counters().frames_dropped[Class::Proposals.index()].get(), 0);
    let per = used / count as f64 * 1e6;
    let rate = count as f64 / wall;
    println!(
        "   {length} B frames: {rate:.0}/s, {:.0} MB/s, processor {per:.2} us each",
        rate * length as f64 / 1e6
    );
    per
}

/// The normal case without any of its work: a proposal, a vote of each backup, a vote of everybody.
async fn agree(id: u8, mut node: Node, proposal: usize, depth: usize) -> f64 {
    let rounds = 5_000;
    let (proposal, vote) = (Bytes::from(vec![7; proposal]), |kind: u8| Bytes::from(vec![kind; 200]));
    let (mut prepares, mut commits, mut done, mut begun, mut finished) = (0, 0, 0, 0, 0);
    let began = (Instant::now(), processor_seconds());
    while done < rounds {
        if id == 0 {
            while begun < rounds && begun < done + depth {
                node.transport.broadcast(Class::Proposals, &proposal);
                begun += 1;
            }
        }
        let Inbound::Frames { frames, class, .. } = node.next("frames").await else {
            panic!("a link was lost")
        };
        for frame in frames {
            match (class, frame[0]) {
                (Class::Proposals, _) => node.transport.broadcast(Class::Votes, &vote(1)),
                (Class::Bulk, _) => finished += 1,
                (Class::Votes, 1) => {
                    prepares += 1;
                    // A backup hears from two others, the primary from three.
                    if prepares % if id == 0 { 3 } else { 2 } == 0 {
                        node.transport.broadcast(Class::Votes, &vote(2));
                    }
                }
                (Class::Votes, _) => {
                    commits += 1;
                    done += usize::from(commits % 3 == 0);
                }
            }
        }
    }
    if id == 0 {
        let (wall, used) = (began.0.elapsed().as_secs_f64(), processor_seconds() - began.1);
        let per = used / rounds as f64 * 1e6;
        println!(
            "   agreement on {} B, {depth} at once: {:.0}/s, {:.0} us each, processor {per:.0} us",
            proposal.len(),
            rounds as f64 / wall,
            wall / rounds as f64 * 1e6
        );
        while finished < 3 {
            let done = matches!(node.next("the others").await, Inbound::Frames { class: Class::Bulk, .. });
            finished += i32::from(done);
        }
        node.transport.close().await;
        return per;
    }
    node.transport.send(replica(0), Class::Bulk, Bytes::from_static(b"done"));
    while !matches!(node.inbox.recv().await, Some(Inbound::Down { remote, .. }) if remote == replica(0)) {}
    0.0
}

#[test]
#[ignore = "a measurement"]
fn measure_links() {
    for (name, limits) in variants() {
        println!("{name}");
        on_threads(2, &limits, ping);
        on_threads(2, &limits, |id, node| pour(id, node, 200, 1_000_000));
        on_threads(2, &limits, |id, node| pour(id, node, 64 << 10, 5_000));
    }
}

#[test]
#[ignore = "a measurement"]
fn measure_agreement() {
    // Interleaved, because a machine changes its mind.
    for _ in 0..3 {
        for (name, limits) in variants() {
            println!("{name}");
            on_threads(4, &limits, |id, node| agree(id, node, 300, 1));
            on_threads(4, &limits, |id, node| agree(id, node, 16 << 10, 2));
        }
    }
}
