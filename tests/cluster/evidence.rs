//! `quorate evidence`: what it says of a proof, and what it refuses and why.

use std::path::PathBuf;
use std::sync::Arc;

use quorate_host::accusations::Exhibit;
use quorate_protocol::accusation::Accusation;
use quorate_protocol::message::{Prepare, Sworn};
use quorate_protocol::signed::Signer;
use quorate_protocol::types::{Digest, Epoch, ReplicaId, Seq, View};

use super::processes::{Cluster, block, quorate, text, until};

/// Two PREPAREs of replica 2, signed with its key.
fn exhibit(cluster: &Cluster) -> Exhibit {
    let context = cluster.file.context();
    let key = Arc::new(cluster.replica_key(2));
    let signer = Signer::new(key, context.cluster, context.epoch, ReplicaId(2));
    let vote = |digest| {
        let prepare = Prepare { view: View(4), seq: Seq(17), digest: Digest([digest; 32]) };
        Sworn::Prepare(signer.sign(prepare).into_inner())
    };
    Exhibit::new(&context, Accusation::Twice(vote(1), vote(2)))
}

/// Writes a file into the data folder of replica 0.
fn written(cluster: &Cluster, name: &str, bytes: &[u8]) -> PathBuf {
    let path = cluster.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// What `quorate evidence verify` makes of a file in this cluster.
fn verify(cluster: &Cluster, file: &std::path::Path) -> (Option<i32>, String) {
    let cluster = cluster.layout.cluster_file();
    let words = ["evidence", "verify", file.to_str().unwrap(), "--cluster", cluster.to_str().unwrap()];
    let output = quorate(&words);
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn a_proof_is_verified_with_the_cluster_file_alone_and_says_who_what_and_why() {
    let cluster = Cluster::init(&[]);
    let (code, said) = verify(&cluster, &written(&cluster, "proof", &exhibit(&cluster).encode().unwrap()));
    assert_eq!(code, Some(0), "{said}");
    for part in [
        "who       replica 2 of cluster ",
        "epoch 0\n",
        "it signed two different PREPAREs",
        "at sequence 17 in view 4",
        "why       a correct replica prepares one batch at most",
        "PROVEN    both signatures are replica 2's",
        "take it off the network",
    ] {
        assert!(said.contains(part), "`{part}` is missing from:\n{said}");
    }
}

#[test]
fn evidence_that_is_cut_damaged_forged_or_of_others_is_refused_by_what_is_wrong_with_it() {
    let (cluster, stranger) = (Cluster::init(&[]), Cluster::init(&[]));
    let good = exhibit(&cluster);
    let bytes = good.encode().unwrap();
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let renamed = Exhibit { cluster: stranger.file.context().cluster, ..good.clone() };
    let Accusation::Twice(one, _) = &good.accusation else { panic!("two PREPAREs") };
    let twice = Exhibit { accusation: Accusation::Twice(one.clone(), one.clone()), ..good.clone() };
    let later = Exhibit { epoch: Epoch(7), ..good.clone() };
    for (at, bytes, part) in [
        (&cluster, bytes[..60].to_vec(), "cut short: it has 60 bytes"),
        (&cluster, damaged, "the file is damaged"),
        (&cluster, b"[[replica]]\nid = 0\n and more of this".to_vec(), "this is no evidence file"),
        (&stranger, bytes, "REFUSED   it is evidence of cluster "),
        (&stranger, renamed.encode().unwrap(), "is not signed by replica 2: it is forged"),
        (&cluster, twice.encode().unwrap(), "replica 2 may say both"),
        (&cluster, later.encode().unwrap(), "it is evidence of epoch 7"),
    ] {
        let (code, said) = verify(at, &written(at, "evidence", &bytes));
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("REFUSED") && said.contains(part), "`{part}` is missing from:\n{said}");
        assert!(!said.contains("cluster cluster"), "{said}");
    }
    let (code, said) = verify(&cluster, std::path::Path::new("nowhere"));
    assert!(code == Some(1) && said.contains("nowhere"), "{said}");
}

#[test]
fn the_evidence_in_a_folder_is_listed_and_what_is_spoiled_is_named() {
    let cluster = Cluster::init(&[]);
    let data = cluster.layout.data(ReplicaId(0));
    let list = || {
        let output = quorate(&["evidence", "list", data.to_str().unwrap()]);
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    assert_eq!(list(), (Some(0), "no evidence: this replica found nobody to lie\n".to_owned()));
    let good = exhibit(&cluster);
    std::fs::write(data.join(good.file().to_string()), good.encode().unwrap()).unwrap();
    let (code, said) = list();
    assert!(code == Some(0) && said.contains("replica 2"), "{said}");
    // The command that it prints can be typed from anywhere: the cluster file is looked for where it is.
    let told = said.lines().find_map(|line| line.strip_prefix("check     ")).unwrap();
    let words: Vec<&str> = told.split(' ').skip(1).collect();
    assert_eq!(words[4], cluster.layout.cluster_file().to_str().unwrap(), "{told}");
    let checked = quorate(&words);
    assert!(checked.status.success() && text(&checked.stdout).contains("PROVEN"), "{told}");
    std::fs::write(data.join("evidence-1-two-commits"), b"QUORACCU").unwrap();
    let (code, said) = list();
    assert!(
        code == Some(1) && said.contains("evidence-1-two-commits\nREFUSED   the file is cut short"),
        "{said}"
    );
}

#[test]
fn evidence_is_listed_while_the_replica_runs_and_its_status_names_it_after_a_restart() {
    let mut cluster = Cluster::init(&[]);
    let data = cluster.layout.data(ReplicaId(0));
    let good = exhibit(&cluster);
    std::fs::write(data.join(good.file().to_string()), good.encode().unwrap()).unwrap();
    cluster.start(0);
    let file = cluster.layout.cluster_file();
    let status = || text(&quorate(&["status", "--cluster", file.to_str().unwrap()]).stdout);
    let said = block(until("it to answer", async || {
        Some(status())
            .filter(|said| said.contains("its folder keeps proof that replica 2 signed two different"))
    }));
    assert!(said.contains("`quorate evidence list` names the file"), "{said}");
    let output = quorate(&["evidence", "list", data.to_str().unwrap()]);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success() && said.contains("evidence-2-two-prepares"), "{said}");
}
