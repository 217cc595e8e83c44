//! The ready applications, as somebody at a terminal uses them.

use serde_json::{Value, json};

use super::processes::{Cluster, text};

#[test]
fn tokens_move_once_and_only_by_their_owner() {
    let cluster = Cluster::serving(&["--application", "ledger", "--clients", "2"]);
    let key = cluster.layout.client_key(1);
    let of_another = |words: &[&str]| cluster.client(&[&["--key", key.to_str().unwrap()], words].concat());
    let own = text(&cluster.client(&["ledger", "account"]).stdout).trim().to_owned();
    let other = text(&of_another(&["ledger", "account"]).stdout).trim().to_owned();
    assert!(own.len() == 64 && other.len() == 64 && own != other, "{own} {other}");

    cluster.answers(&["ledger", "issue", "100"], "done; balance 100, next nonce 1\n");
    let transfer = ["ledger", "transfer", "40", "--to", &other, "--nonce", "1"];
    cluster.answers(&transfer, "done; balance 60, next nonce 2\n");
    let again = cluster.client(&transfer);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("nonce 2 is due"), "{}", text(&again.stderr));
    cluster.answers(&["ledger", "balance", &other], "balance 40, next nonce 0\n");

    let poor = of_another(&["ledger", "transfer", "41", "--to", &own]);
    assert!(text(&poor.stderr).contains("the account has 40 tokens"), "{}", text(&poor.stderr));
    let forger = of_another(&["ledger", "issue", "5"]);
    assert!(text(&forger.stderr).contains("another account issues the tokens"), "{}", text(&forger.stderr));
    cluster.answers(&["ledger", "supply"], &format!("100 tokens, issued by {own}\n"));

    // For programs, fields and no sentences.
    let reply = |words: &[&str]| {
        let output = cluster.client(&[&["--json"], words].concat());
        serde_json::from_str::<Value>(&text(&output.stdout)).unwrap()["reply"].clone()
    };
    assert_eq!(reply(&["ledger", "balance"]), json!({ "balance": 60, "next_nonce": 2 }));
    assert_eq!(reply(&["ledger", "supply"]), json!({ "tokens": 100, "issuer": own }));
}

#[test]
fn a_program_runs_while_its_lock_is_held_and_leaves_it_to_the_next() {
    let cluster = Cluster::serving(&["--application", "lock"]);
    let hold = |words: &[&str]| {
        cluster.client(&[&["lock", "hold", "leader", "--lease", "2s", "--"], words].concat())
    };
    // Longer than its lease, which is renewed meanwhile.
    let done = hold(&["sh", "-c", "echo $QUORATE_FENCING_TOKEN; sleep 3; exit 7"]);
    assert_eq!((done.status.code(), &*text(&done.stdout)), (Some(7), "1\n"), "{}", text(&done.stderr));
    // It was given back, so nobody waits for a lease to end; and the token grew.
    cluster.answers(&["lock", "acquire", "leader", "--lease", "60m"], "token 2\n");
    cluster.answers(&["lock", "holder", "leader"], "this client, token 2\n");
    let holder = cluster.client(&["--json", "lock", "holder", "leader"]);
    let holder: Value = serde_json::from_str(&text(&holder.stdout)).unwrap();
    assert_eq!((&holder["reply"]["own"], &holder["reply"]["token"]), (&true.into(), &2.into()), "{holder}");
    let stale = cluster.client(&["lock", "release", "leader", "1"]);
    assert_eq!(stale.status.code(), Some(4), "{}", text(&stale.stdout));
    cluster.answers(&["lock", "release", "leader", "2"], "released\n");
    let nobody = cluster.client(&["lock", "holder", "leader"]);
    assert_eq!((nobody.status.code(), &*text(&nobody.stdout)), (Some(4), "nobody\n"));
}
