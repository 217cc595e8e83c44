//! Asks every replica for what is new, several times a second, each on its own: one that does not answer keeps nobody
//! waiting for the others.

use std::net::SocketAddr;
use std::time::Duration;

use quorate_host::live::Excerpt;
use quorate_node::admin::{self, HistoryHead};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::stage::Shared;

/// Between two questions to one replica.
const LOOK: Duration = Duration::from_millis(250);
/// Between two comparisons of their histories.
const COMPARE: Duration = Duration::from_secs(1);
/// How long an answer may take until its replica counts as silent.
const PATIENCE: Duration = Duration::from_secs(2);

/// Follows the replicas with these admin endpoints until the tasks are dropped.
pub(super) fn follow(stage: &Shared, addresses: &[SocketAddr]) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for (replica, address) in (0..).zip(addresses.iter().copied()) {
        tasks.spawn(follow_one(stage.clone(), replica, address));
    }
    tasks.spawn(compare(stage.clone(), addresses.to_vec()));
    tasks
}

async fn follow_one(stage: Shared, replica: u16, address: SocketAddr) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        loop {
            let from = stage.lock().ask(replica);
            let answer =
                admin::fetch_within::<Excerpt>(address, &format!("/live?from={from}"), PATIENCE).await;
            let mut stage = stage.lock();
            let more = match answer {
                Ok(excerpt) => stage.heard(replica, excerpt),
                Err(_) => {
                    stage.silent(replica);
                    false
                }
            };
            if !more {
                break;
            }
        }
    }
}

/// Holds the histories of those who answer against each other.
async fn compare(stage: Shared, addresses: Vec<SocketAddr>) {
    let mut look = interval(COMPARE);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let Some((seq, replicas)) = stage.lock().common_slot() else { continue };
        let mut asked = JoinSet::new();
        for replica in replicas {
            let Some(address) = addresses.get(usize::from(replica)).copied() else { continue };
            asked.spawn(async move {
                let path = format!("/history?seq={seq}");
                let head = admin::fetch_within::<HistoryHead>(address, &path, PATIENCE).await;
                Some((replica, head.ok()?.head?))
            });
        }
        let mut heads: Vec<(u16, String)> = asked.join_all().await.into_iter().flatten().collect();
        heads.sort_unstable();
        stage.lock().compared(seq, &heads);
    }
}
