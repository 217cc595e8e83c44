//! C9: replicas whose disk lost something. They come back bound by what they may have promised, or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use quorate_node::status::{Forgot, Status};
use quorate_protocol::types::ReplicaId;
use tempfile::NamedTempFile;

use super::processes::{Cluster, block, quorate, text, until};

/// Slots that one superblock promises: few, so that they are stable soon.
const WINDOW: u64 = 16;

/// Four replicas with a small window.
fn serving(more: &str) -> Cluster {
    let mut preset = NamedTempFile::new().unwrap();
    write!(preset, "[parameters]\ncheckpoint_interval = 8\nwindow = {WINDOW}\n{more}").unwrap();
    Cluster::serving(&["--preset", preset.path().to_str().unwrap()])
}

fn data(cluster: &Cluster, id: u16) -> PathBuf {
    cluster.layout.data(ReplicaId(id))
}

fn until_status(cluster: &Cluster, id: usize, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
    block(until(what, async || cluster.status(id).await.filter(&wanted)))
}

/// Inverts a byte of each record, wherever it is kept.
fn flip_everywhere(file: &Path) {
    let file = File::options().read(true).write(true).open(file).unwrap();
    let (mut page, mut flipped) = (vec![0; 4096], 0);
    let mut at = 0;
    while let Ok(count @ 1..) = file.read_at(&mut page, at) {
        if page[..count].iter().any(|byte| *byte != 0) {
            page[..count].iter_mut().step_by(256).for_each(|byte| *byte ^= 0x55);
            file.write_all_at(&page[..count], at).unwrap();
            flipped += 1;
        }
        at += count as u64;
    }
    assert!(flipped > 0);
}

#[test]
fn c9_a_backup_whose_journal_is_gone_or_rotten_comes_back_bound_and_gets_well() {
    let mut cluster = serving("");
    cluster.answers(&["kv", "put", "a", "1"], "stored\n");
    block(cluster.until_agreed());
    for (victim, primary) in [(3, 0), (2, 1)] {
        cluster.kill(victim);
        let journal = data(&cluster, u16::try_from(victim).unwrap()).join("journal");
        if victim == 3 {
            fs::remove_file(journal).unwrap()
        } else {
            flip_everywhere(&journal)
        }
        cluster.start(victim);
        let bound = until_status(&cluster, victim, "an answer", |_| true);
        assert_eq!(bound.status, "recovering");
        assert!(bound.forgot.is_some_and(|forgot| forgot.high >= WINDOW), "{bound:?}");
        let said = bound.warnings.join("\n");
        assert!(
            said.contains("may have forgotten votes") && said.contains("fix: leave it running"),
            "{said}"
        );
        // Nobody wants anything, and yet its slots become stable. Then nothing binds it any more.
        let high = bound.forgot.unwrap().high;
        assert!(said.contains(&format!("until a checkpoint at sequence {high} is stable")), "{said}");
        let settled = until_status(&cluster, victim, "its slots to be stable", |status| {
            status.low >= high && status.status == "normal"
        });
        assert!(
            settled.forgot.is_some_and(|forgot| forgot.high == high),
            "its view is not over: {settled:?}"
        );
        assert!(!settled.warnings.iter().any(|words| words.contains("forgotten votes")), "{settled:?}");
        // Now it may leave its view with the others, and then all is forgotten and forgiven.
        cluster.kill(primary);
        cluster.answers(&["kv", "put", &format!("after {victim}"), "x"], "stored\n");
        until_status(&cluster, victim, "its box to go", |status| {
            status.status == "normal" && status.forgot.is_none()
        });
        cluster.start(primary);
        block(cluster.until_linked());
        block(cluster.until_agreed());
    }
    cluster.kill(3);
    cluster.start(3);
    let again = until_status(&cluster, 3, "an answer", |_| true);
    assert_eq!((again.status.as_str(), again.forgot), ("normal", None), "the box is gone for good");
    cluster.answers(&["kv", "get", "a"], "1\n");
}

#[test]
fn c9_an_idle_cluster_replaces_and_heals_a_primary_whose_journal_is_gone() {
    let mut cluster = serving("");
    cluster.answers(&["kv", "put", "a", "1"], "stored\n");
    block(cluster.until_agreed());
    cluster.kill(0);
    fs::remove_file(data(&cluster, 0).join("journal")).unwrap();
    cluster.start(0);
    let bound = until_status(&cluster, 0, "an answer", |_| true);
    assert_eq!((bound.status.as_str(), bound.view), ("recovering", 0));
    let well = until_status(&cluster, 0, "its box to go", |status| {
        status.status == "normal" && status.forgot.is_none()
    });
    assert!(well.view >= 1, "{well:?}");
    cluster.answers(&["kv", "get", "a"], "1\n");
}

#[test]
fn c9_a_replica_that_lost_its_folder_or_its_superblock_is_refused_as_itself() {
    let mut cluster = serving("");
    cluster.answers(&["kv", "put", "a", "1"], "stored\n");
    let folder = data(&cluster, 3);
    cluster.kill(3);
    flip_everywhere(&folder.join("superblock"));
    let said = cluster.refused(3, &[]);
    assert!(said.contains("superblock is damaged") && said.contains("fix: leave it stopped"), "{said}");
    fs::remove_file(folder.join("superblock")).unwrap();
    let refuses =
        |said: &str| said.contains("must not be made anew under its key") && said.contains("leave it out");
    let said = cluster.refused(3, &[]);
    assert!(refuses(&said) && said.contains("lost its superblock"), "{said}");
    fs::remove_dir_all(&folder).unwrap();
    let said = cluster.refused(3, &[]);
    assert!(refuses(&said) && said.contains("there is no data folder"), "{said}");
    fs::create_dir(&folder).unwrap();
    let said = cluster.refused(3, &[]);
    assert!(refuses(&said), "{said}");
    // Nor does the program that makes folders make this one again.
    let init = quorate(&["init", cluster.path().to_str().unwrap()]);
    assert!(
        !init.status.success() && text(&init.stderr).contains("exists already"),
        "{}",
        text(&init.stderr)
    );
    assert_eq!(fs::read_dir(&folder).unwrap().filter(|file| !is_lock(file)).count(), 0);
    cluster.answers(&["kv", "get", "a"], "1\n");
}

fn is_lock(file: &std::io::Result<fs::DirEntry>) -> bool {
    file.as_ref().is_ok_and(|file| file.file_name() == "lock")
}

#[test]
fn c9_a_replica_that_is_given_an_older_copy_of_its_folder_notices_and_halts() {
    let mut cluster = Cluster::serving(&[]);
    cluster.answers(&["kv", "put", "a", "1"], "stored\n");
    cluster.stop(3);
    let (folder, copy) = (data(&cluster, 3), cluster.path().join("copy"));
    fs::create_dir(&copy).unwrap();
    let take = |from: &Path, to: &Path| {
        for name in ["superblock", "journal"] {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    };
    take(&folder, &copy);
    cluster.start(3);
    block(cluster.until_linked());
    // Without replica 2 nothing commits unless replica 3 votes for it.
    cluster.kill(2);
    cluster.answers(&["kv", "put", "a", "2"], "replaced\n");
    block(cluster.until_agreed());
    cluster.kill(3);
    take(&copy, &folder);
    cluster.start(3);
    let halted = until_status(&cluster, 3, "it to notice", |status| status.status == "halted");
    let said = halted.alarms.join("\n");
    assert!(said.contains("older copy") && said.contains("must not start again"), "{said}");
    // Whatever starts it again, it votes no more: it executes what the others decide.
    cluster.stop(3);
    cluster.start(3);
    let out = until_status(&cluster, 3, "it to stay out", |status| status.status == "out");
    assert!(out.standing.contains("older copy") && out.standing.contains("fix: "), "{}", out.standing);
    cluster.start(2);
    block(cluster.until_linked());
    cluster.answers(&["kv", "put", "a", "3"], "replaced\n");
    let executed = until_status(&cluster, 0, "an answer", |_| true).executed;
    until_status(&cluster, 3, "it to follow", |status| status.executed >= executed && status.status == "out");
    cluster.stop(3);
    let check = quorate(&["check", folder.to_str().unwrap()]);
    assert_eq!(check.status.code(), Some(1), "{}", text(&check.stdout));
    assert!(text(&check.stdout).contains("older copy"), "{}", text(&check.stdout));
    // That is no matter of its state.
    let file = cluster.layout.cluster_file();
    let why = quorate(&["divergence", folder.to_str().unwrap(), "--cluster", file.to_str().unwrap()]);
    assert_eq!(why.status.code(), Some(0), "{}", text(&why.stderr));
    assert!(text(&why.stdout).contains("never found to be wrong"), "{}", text(&why.stdout));
}

#[test]
fn c9_a_cluster_that_did_not_sync_and_is_killed_as_a_whole_says_that_it_does_not_come_back() {
    let mut cluster = serving("[node]\ndurability = \"os\"\n");
    cluster.answers(&["kv", "put", "a", "1"], "stored\n");
    cluster.stop(3);
    cluster.start(3);
    let kept = until_status(&cluster, 3, "an answer", |_| true);
    assert_eq!((kept.status.as_str(), kept.forgot), ("normal", None), "it was stopped cleanly");
    block(cluster.until_linked());
    cluster.kill_some(&[0, 1, 2, 3]);
    (0..4).for_each(|id| cluster.start(id));
    block(cluster.until_linked());
    for id in 0..4 {
        let bound = until_status(&cluster, id, "it to count the others", |status| {
            status.warnings.iter().any(|words| words.contains("4 of 4 replicas may have forgotten votes"))
        });
        assert_eq!(
            (bound.status.as_str(), bound.forgot),
            ("recovering", Some(Forgot { view: 0, high: WINDOW }))
        );
        let said = bound.warnings.join("\n");
        assert!(said.contains("does not serve again") && said.contains("not `sync`"), "{said}");
    }
}

#[test]
fn c9_more_lost_journals_than_may_fail_are_counted_and_told_by_everybody() {
    let mut cluster = serving("");
    cluster.answers(&["kv", "put", "a", "1"], "stored\n");
    block(cluster.until_agreed());
    cluster.kill_some(&[2, 3]);
    for victim in [2, 3] {
        fs::remove_file(data(&cluster, victim).join("journal")).unwrap();
        cluster.start(usize::from(victim));
    }
    block(cluster.until_linked());
    for id in 0..4 {
        let told = until_status(&cluster, id, "it to count the others", |status| {
            status.warnings.iter().any(|words| words.contains("2 of 4 replicas may have forgotten votes"))
        });
        assert!(!told.warnings.iter().any(|words| words.contains("leave it running")), "{told:?}");
    }
    let file = cluster.layout.cluster_file();
    let output = quorate(&["status", "--cluster", file.to_str().unwrap()]);
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{table}");
    assert!(table.contains("\n2 replicas have forgotten votes, more than f = 1: "), "{table}");
}
