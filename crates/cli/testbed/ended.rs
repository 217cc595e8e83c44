//! Replicas that ended though nobody ended them here: when they are too many, no answer comes any more, and there is
//! nothing left to wait for.

use std::time::Duration;

use anyhow::bail;
use quorate_bench::cluster::{Cluster, named};
use quorate_bench::worker::{End, WorkerError};
use quorate_protocol::committee::{faults, quorum};

/// Between two looks whether all replicas still run.
const LOOK: Duration = Duration::from_millis(200);

/// Waits for something that needs answers, as long as enough replicas run to give any.
///
/// # Errors
/// How the replicas ended, and what to do.
pub(super) async fn or<T>(cluster: &mut Cluster, waited: impl Future<Output = T>) -> anyhow::Result<T> {
    let mut waited = std::pin::pin!(waited);
    loop {
        tokio::select! {
            done = &mut waited => return Ok(done),
            () = tokio::time::sleep(LOOK) => too_many(cluster).await?,
        }
    }
}

/// Sees that no more than f replicas ended by themselves.
///
/// # Errors
/// How they ended, and what to do.
pub(super) async fn too_many(cluster: &mut Cluster) -> anyhow::Result<()> {
    if by_themselves(cluster).await?.len() <= faults(usize::from(cluster.size())) {
        return Ok(());
    }
    // What one stopped at the others come to a moment later.
    tokio::time::sleep(LOOK).await;
    let ready = quorate_apps::NAMES.contains(&cluster.file().application());
    bail!(words(&by_themselves(cluster).await?, cluster.size(), ready));
}

/// The load is over: says which replicas ended by themselves, if any did; gives back whether none did.
///
/// # Errors
/// As [`too_many`].
pub(super) async fn check(cluster: &mut Cluster) -> anyhow::Result<bool> {
    too_many(cluster).await?;
    let ended = by_themselves(cluster).await?;
    for End { replica, words, .. } in &ended {
        eprintln!("replica {replica} ended by itself {words}");
    }
    Ok(ended.is_empty())
}

async fn by_themselves(cluster: &mut Cluster) -> Result<Vec<End>, WorkerError> {
    let ended = cluster.ended().await?;
    Ok(ended.into_iter().filter(|end| !end.by_others).collect())
}

/// How too many of so many replicas ended, and what to do: those that said the same together.
fn words(ended: &[End], replicas: u16, ready: bool) -> String {
    let mut alike: Vec<(&str, Vec<u16>)> = Vec::new();
    for end in ended {
        match alike.iter_mut().find(|(words, _)| *words == end.words) {
            Some((_, who)) => who.push(end.replica),
            None => alike.push((&end.words, vec![end.replica])),
        }
    }
    let told: Vec<String> = alike.iter().map(|(words, who)| format!("{} {words}", named(who))).collect();
    let fix = match ended.iter().any(|end| end.panicked) {
        true if ready => "this is a fault of Quorate: tell its authors, with the logs that `--folder` keeps",
        true => {
            "a command may not make the application panic, for all replicas execute it and stop there: let the reply \
             refuse it; a test with `quorate::simulation` names the request and the command"
        }
        false => "do what they say, or run it again with `--folder`, which keeps their logs",
    };
    format!(
        "{} of {replicas} replicas ended by themselves, and no operation is answered without {}: {}; fix: {fix}",
        ended.len(),
        quorum(usize::from(replicas)),
        told.join("; "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(replica: u16, panicked: bool, words: &str) -> End {
        End { replica, by_others: false, panicked, words: words.to_owned() }
    }

    #[test]
    fn replicas_that_stopped_at_the_same_place_are_told_together_with_what_to_do() {
        let place = "(exit status: 101): panicked at src/lib.rs:7:9: no such account";
        let ended = [end(0, true, place), end(1, true, place), end(3, true, place)];
        assert_eq!(
            words(&ended, 4, false),
            format!(
                "3 of 4 replicas ended by themselves, and no operation is answered without 3: replicas 0, 1 and 3 \
                 {place}; fix: a command may not make the application panic, for all replicas execute it and stop \
                 there: let the reply refuse it; a test with `quorate::simulation` names the request and the command"
            )
        );
        assert!(
            words(&ended, 4, true).contains("a fault of Quorate"),
            "a ready application has no author here"
        );
        let full = [end(0, false, "(exit status: 1): no room"), end(2, false, "(signal: 6): overflow")];
        let told = words(&full, 4, false);
        let both =
            "replica 0 (exit status: 1): no room; replica 2 (signal: 6): overflow; fix: do what they say";
        assert!(told.contains(both), "{told}");
    }
}
