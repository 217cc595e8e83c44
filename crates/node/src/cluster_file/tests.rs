//! Every way in which a cluster file can be wrong, each with the line and the fix that its reader is told.
#![allow(clippy::unwrap_used)]

use super::*;

const PATH: &str = "cluster.toml";

fn addresses(replicas: u16) -> Vec<Addresses> {
    let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    (0..replicas)
        .map(|id| Addresses {
            peer: address(4000 + 3 * id),
            client: address(4001 + 3 * id),
            admin: address(4002 + 3 * id),
        })
        .collect()
}

fn draft(replicas: u16) -> Draft {
    Draft {
        name: "test".into(),
        application: "kv".into(),
        testing: false,
        allow_f0: false,
        clients: Clients::Open,
        parameters: Parameters::default(),
        node: NodeDefaults::default(),
        addresses: addresses(replicas),
    }
}

fn good() -> String {
    ClusterFile::generate(draft(4)).unwrap().0.to_toml()
}

/// The error that `text` is refused with, as its reader sees it.
fn refusal(text: &str) -> (usize, String, Problem, String) {
    let error = ClusterFile::parse(text, Path::new(PATH)).expect_err("the file must be refused");
    let shown = error.to_string();
    match error {
        ClusterFileError::At { file, line, key, problem } => {
            assert_eq!(file, Path::new(PATH));
            assert!(shown.starts_with(&format!("{PATH}:{line}: `{key}` ")), "{shown}");
            assert!(shown.ends_with(&problem.fix()), "{shown}");
            (line, key, *problem, shown)
        }
        ClusterFileError::Unreadable { .. } | ClusterFileError::UnreadablePreset { .. } => panic!("{shown}"),
    }
}

/// The line, from 1, of the `nth` line that starts with `start`.
fn line(text: &str, start: &str, nth: usize) -> usize {
    1 + text.lines().enumerate().filter(|(_, line)| line.starts_with(start)).nth(nth).unwrap().0
}

/// `text` with the `nth` line that starts with `start` replaced.
fn with_line(text: &str, start: &str, nth: usize, new: &str) -> String {
    let at = line(text, start, nth) - 1;
    let lines: Vec<&str> = text.lines().enumerate().map(|(i, old)| if i == at { new } else { old }).collect();
    lines.join("\n")
}

fn value(text: &str, start: &str, nth: usize) -> String {
    text.lines().nth(line(text, start, nth) - 1).unwrap().split('"').nth(1).unwrap().to_owned()
}

#[test]
fn a_generated_file_reads_back_as_itself() {
    let keys: Vec<PublicKey> = (1..4).map(|seed| SecretKey::from_seed(&[seed; 32]).public()).collect();
    let parameters =
        Parameters { window: 256, timeout_us: 1_234_567, watchdog: true, ..Parameters::default() };
    let node =
        NodeDefaults { verifier_threads: 3, execution: Execution::OwnThread, durability: Durability::Os };
    let clients = Clients::Listed(keys.clone());
    let draft = Draft { testing: true, clients, parameters, node, ..draft(7) };
    let (file, secrets) = ClusterFile::generate(draft).unwrap();
    let again = ClusterFile::parse(&file.to_toml(), Path::new(PATH)).unwrap();
    assert_eq!(again.to_toml(), file.to_toml());
    assert_eq!(again.context().config_digest(), file.context().config_digest());
    assert_eq!(again.context().parameters.timeout_us, 1_234_000, "timers are in whole milliseconds");
    assert_eq!((again.context().parameters.window, again.context().parameters.watchdog), (256, true));
    assert_eq!((again.node(), again.testing()), (node, true));
    assert_eq!((again.name(), again.application()), ("test", "kv"));
    assert!(again.clients().admits(&keys[2]) && !again.clients().admits(&secrets[0].public()));
    for (entry, secret) in again.replicas().iter().zip(&secrets) {
        assert_eq!(entry.key, secret.public());
        assert_eq!(again.replica(entry.id), Some(entry));
    }
    assert_eq!(again.replica(ReplicaId(7)), None);
    assert_eq!(again.context().committee.quorum(), 5);
}

#[test]
fn two_clusters_of_one_draft_have_different_ids_and_keys() {
    let (one, one_keys) = ClusterFile::generate(draft(4)).unwrap();
    let (other, other_keys) = ClusterFile::generate(draft(4)).unwrap();
    assert_ne!(one.id(), other.id());
    assert_ne!(one_keys[0].public(), other_keys[0].public());
}

#[test]
fn every_protocol_constant_has_a_key_of_its_own() {
    let mut parameters = Parameters::default();
    for (number, knob) in (1..).zip(&super::parameters::KNOBS) {
        *(knob.field)(&mut parameters) = number;
    }
    for switch in &super::parameters::SWITCHES {
        *(switch.field)(&mut parameters) = true;
    }
    // Names every field, so that a new constant without a key does not compile.
    let Parameters {
        checkpoint_interval,
        checkpoint_bytes,
        window,
        pipeline_depth,
        client_window,
        batch_bytes_max,
        batch_requests_max,
        operation_bytes_max,
        reply_bytes_max,
        reply_cache_bytes_max,
        sessions_per_client_max,
        sessions_max,
        pool_operations_max,
        pool_bytes_max,
        time_tolerance_us,
        timeout_us,
        timeout_max_us,
        watchdog,
        fast_reads,
    } = parameters;
    let all = [
        checkpoint_interval,
        checkpoint_bytes,
        window,
        pipeline_depth,
        client_window,
        batch_bytes_max,
        batch_requests_max,
        operation_bytes_max,
        reply_bytes_max,
        reply_cache_bytes_max,
        sessions_per_client_max,
        sessions_max,
        pool_operations_max,
        pool_bytes_max,
        time_tolerance_us,
        timeout_us,
        timeout_max_us,
    ];
    assert_eq!(all.to_vec(), (1..=17).collect::<Vec<u64>>());
    assert!(watchdog && fast_reads);
}

#[test]
fn a_file_without_parameters_or_tuning_has_the_defaults() {
    let text = good();
    let (start, end) = (text.find("[parameters]").unwrap(), text.find("\n[[replica]]").unwrap());
    let bare = format!("{}{}", &text[..start], &text[end..]);
    let file = ClusterFile::parse(&bare, Path::new(PATH)).unwrap();
    assert_eq!(*file.context().parameters, Parameters::default());
    assert_eq!(file.node(), NodeDefaults::default());
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    let text = with_line(&good(), "testing", 0, "testing = = false");
    let (at, key, problem, _) = refusal(&text);
    assert_eq!((at, key.as_str()), (line(&text, "testing", 0), "testing"));
    assert!(matches!(problem, Problem::Malformed { .. }));
    assert_eq!(problem.fix(), "correct the TOML in that line");
    let text = with_line(&good(), "epoch", 0, "name = \"twice\"");
    assert_eq!(refusal(&text).0, line(&text, "name", 1), "a key that stands twice");
    assert_eq!(refusal("name = \"never closed").0, 1);
    assert_eq!(refusal("").2, Problem::Missing);
}

#[test]
fn a_misspelt_key_is_refused_with_the_name_that_was_meant() {
    let text = with_line(&good(), "window", 0, "widnow = 512");
    let (at, key, problem, shown) = refusal(&text);
    assert_eq!((at, key.as_str()), (line(&text, "widnow", 0), "parameters.widnow"));
    assert!(matches!(problem, Problem::Unknown { nearest: Some("window"), .. }));
    assert!(shown.ends_with("fix: write `window`"), "{shown}");

    let text = with_line(&good(), "peer_address", 2, "peer_adress = \"127.0.0.1:9\"");
    let (at, key, problem, _) = refusal(&text);
    assert_eq!((at, key.as_str()), (line(&text, "peer_adress", 0), "replica.peer_adress"));
    assert_eq!(problem.fix(), "write `peer_address`");

    let text = with_line(&good(), "testing", 0, "tseting = true");
    assert_eq!(refusal(&text).2.fix(), "write `testing`");
    let text = with_line(&good(), "execution", 0, "zebra = 1");
    let (at, _, problem, _) = refusal(&text);
    assert_eq!(at, line(&text, "zebra", 0));
    assert_eq!(problem.fix(), "remove it; known are verifier_threads, execution, durability");
}

#[test]
fn a_missing_key_is_refused_with_its_section() {
    let text = with_line(&good(), "admin_address", 1, "");
    let (at, key, problem, _) = refusal(&text);
    assert_eq!((at, key.as_str()), (line(&text, "[[replica]]", 1), "replica.admin_address"));
    assert_eq!(problem, Problem::Missing);
    assert_eq!(problem.fix(), "add it; a fresh file of `quorate init` shows its form");
    for key in ["name", "application", "id", "randomness", "clients"] {
        let (at, missing, problem, _) = refusal(&with_line(&good(), &format!("{key} ="), 0, ""));
        assert_eq!((at, missing.as_str(), problem), (1, key, Problem::Missing));
    }
}

#[test]
fn a_value_of_another_type_is_refused() {
    for (start, new, fix) in [
        ("epoch", "epoch = \"0\"", "write a whole number, 0 or more"),
        ("testing", "testing = 1", "write true or false"),
        ("name", "name = 7", "write a name in quotes"),
        ("id", "id = 7", "write 64 hexadecimal digits in quotes"),
        ("peer_address", "peer_address = 4000", "write an address in quotes"),
        ("clients", "clients = 3", "write \"open\" or a list of public keys"),
        ("[parameters]", "[[parameters]]", "write a `[section]`"),
        ("durability", "durability = true", "write \"sync\", \"os\" or \"none\""),
    ] {
        let text = with_line(&good(), start, 0, new);
        let (at, _, problem, _) = refusal(&text);
        assert_eq!(at, line(&text, new, 0), "{new}");
        assert!(matches!(problem, Problem::Kind { .. }), "{new}: {problem:?}");
        assert_eq!(problem.fix(), fix);
    }
    let text = good();
    let cut = &text[..text.find("\n[[replica]]").unwrap()];
    let text = cut.replace("epoch = 0", "epoch = 0\nreplica = [1]");
    assert_eq!(refusal(&text).2.fix(), "write `[[sections]]`");
}

#[test]
fn a_value_that_means_nothing_is_refused() {
    for (start, new, fix) in [
        ("name", "name = \"two words\"", "write 1 to 64 letters, digits, `-`, `_` or `.`"),
        ("application", "application = \"\"", "write 1 to 64 letters, digits, `-`, `_` or `.`"),
        ("window", "window = -1", "write a whole number, 0 or more"),
        ("verifier_threads", "verifier_threads = 65", "write a number up to 64"),
        ("verifier_threads", "verifier_threads = 65536", "write a number up to 65535"),
        ("execution", "execution = \"fast\"", "write \"shared\" or \"own-thread\""),
        ("durability", "durability = \"maybe\"", "write \"sync\", \"os\" or \"none\""),
        ("clients", "clients = \"closed\"", "write \"open\" or a list of public keys"),
    ] {
        let text = with_line(&good(), start, 0, new);
        let (at, _, problem, _) = refusal(&text);
        assert_eq!(at, line(&text, new, 0), "{new}");
        assert!(matches!(problem, Problem::Value { .. }), "{new}: {problem:?}");
        assert_eq!(problem.fix(), fix);
    }
}

#[test]
fn an_address_that_nobody_can_reach_is_refused() {
    for address in ["0.0.0.0:4000", "127.0.0.1:0", "localhost:4000", "127.0.0.1", "[::]:1"] {
        let new = format!("client_address = \"{address}\"");
        let text = with_line(&good(), "client_address", 3, &new);
        let (at, key, problem, _) = refusal(&text);
        assert_eq!((at, key.as_str()), (line(&text, &new, 0), "replica.client_address"));
        assert!(problem.fix().contains("an IP address and port that others can reach"));
    }
}

#[test]
fn digits_that_are_not_hexadecimal_are_refused() {
    let good = good();
    let zeros = "0".repeat(63);
    for (start, new) in [
        ("id =", format!("id = \"{zeros}\"")),
        ("randomness", format!("randomness = \"{zeros}g\"")),
        ("key", "key = \"\"".to_owned()),
        ("clients", format!("clients = [\"{zeros}x\"]")),
    ] {
        let text = with_line(&good, start, 0, &new);
        let (at, _, problem, _) = refusal(&text);
        assert_eq!(at, line(&text, &new, 0), "{new}");
        assert!(matches!(problem, Problem::Hex(_)), "{problem:?}");
        assert_eq!(problem.fix(), "write 64 hexadecimal digits, as `quorate init` does");
    }
}

#[test]
fn a_replica_key_that_stands_twice_is_refused() {
    let good = good();
    let text = with_line(&good, "key", 3, &format!("key = \"{}\"", value(&good, "key", 1)));
    let (at, key, problem, _) = refusal(&text);
    assert_eq!((at, key.as_str()), (line(&text, "key", 3), "replica.key"));
    assert_eq!(problem, Problem::Duplicate { first: line(&text, "key", 1) });
    assert_eq!(problem.fix(), "make the two differ");
}

#[test]
fn an_id_that_stands_twice_or_leaves_a_gap_is_refused() {
    let text = with_line(&good(), "id = 2", 0, "id = 1");
    let (at, key, problem, _) = refusal(&text);
    assert_eq!((at, key.as_str()), (line(&text, "id = 1", 1), "replica.id"));
    assert_eq!(problem, Problem::Duplicate { first: line(&text, "id = 1", 0) });

    let text = with_line(&good(), "id = 2", 0, "id = 4");
    let (at, _, problem, _) = refusal(&text);
    assert_eq!(at, line(&text, "id = 4", 0));
    assert_eq!(problem, Problem::Gap { found: 4, replicas: 4 });
    assert_eq!(problem.fix(), "number the replicas from 0, without gaps");
}

#[test]
fn an_address_that_stands_twice_is_refused() {
    let good = good();
    let new = format!("admin_address = \"{}\"", value(&good, "peer_address", 0));
    let text = with_line(&good, "admin_address", 2, &new);
    let (at, key, problem, _) = refusal(&text);
    assert_eq!((at, key.as_str()), (line(&text, "admin_address", 2), "replica.admin_address"));
    assert_eq!(problem, Problem::Duplicate { first: line(&text, "peer_address", 0) });
}

#[test]
fn weak_keys_and_keys_that_are_no_points_are_refused() {
    // The neutral element signs everything; y = 2 is on no point of the curve.
    for (first, weak) in [("01", true), ("02", false)] {
        let new = format!("key = \"{first}{}\"", "00".repeat(31));
        let text = with_line(&good(), "key", 2, &new);
        let (at, key, problem, _) = refusal(&text);
        assert_eq!((at, key.as_str()), (line(&text, "key", 2), "replica.key"));
        assert_eq!(
            matches!(problem, Problem::Key(quorate_protocol::crypto::KeyError::Weak)),
            weak,
            "{problem:?}"
        );
        assert_eq!(problem.fix(), "take the public key of the replica's or client's own key file");
        let new = format!("clients = [\"{first}{}\"]", "00".repeat(31));
        let text = with_line(&good(), "clients", 0, &new);
        let (at, _, problem, _) = refusal(&text);
        assert_eq!(at, line(&text, "clients", 0));
        assert!(matches!(problem, Problem::Key(_)), "{problem:?}");
    }
}

#[test]
fn a_client_key_that_stands_twice_or_is_a_replicas_is_refused() {
    let good = good();
    let key = SecretKey::from_seed(&[9; 32]).public();
    let text = with_line(&good, "clients", 0, &format!("clients = [\n  \"{key}\",\n  \"{key}\",\n]"));
    let (at, _, problem, _) = refusal(&text);
    let first = line(&text, "clients", 0) + 1;
    assert_eq!((at, problem), (first + 1, Problem::Duplicate { first }));

    let text = with_line(&good, "clients", 0, &format!("clients = [\"{}\"]", value(&good, "key", 2)));
    let (at, _, problem, shown) = refusal(&text);
    assert_eq!(at, line(&text, "clients", 0));
    assert_eq!(problem.fix(), "write a key that no replica has");
    assert!(shown.contains("the key of replica 2"), "{shown}");
}

#[test]
fn a_list_of_clients_is_bounded() {
    let entry = format!("\"{}\",", "0".repeat(64));
    let text = with_line(&good(), "clients", 0, &format!("clients = [{}]", entry.repeat(CLIENTS_MAX + 1)));
    let (at, _, problem, _) = refusal(&text);
    assert_eq!(at, line(&text, "clients", 0));
    assert_eq!(problem, Problem::TooMany { found: CLIENTS_MAX + 1, most: CLIENTS_MAX });
    assert!(problem.fix().contains("clients = \"open\""));
}

#[test]
fn too_few_replicas_are_refused_unless_the_file_allows_them() {
    let error = ClusterFile::generate(draft(3)).expect_err("three replicas tolerate nobody");
    assert!(matches!(error, GenerateError::Committee(CommitteeError::NoTolerance(3))), "{error}");
    assert!(matches!(
        ClusterFile::generate(draft(0)),
        Err(GenerateError::Committee(CommitteeError::Size(0)))
    ));
    let small = ClusterFile::generate(Draft { allow_f0: true, ..draft(3) }).unwrap().0.to_toml();
    let text = with_line(&small, "allow_f0", 0, "allow_f0 = false");
    let (at, key, problem, _) = refusal(&text);
    assert_eq!((at, key.as_str()), (line(&text, "[[replica]]", 2), "replica"));
    assert_eq!(problem, Problem::Committee(CommitteeError::NoTolerance(3)));
    assert_eq!(problem.fix(), "add `[[replica]]` sections until there are 4, or say `allow_f0 = true`");

    let good = good();
    let (_, _, problem, _) = refusal(&good[..good.find("\n[[replica]]").unwrap()]);
    assert_eq!(problem, Problem::Committee(CommitteeError::Size(0)));
    assert_eq!(problem.fix(), "have 1 to 256 `[[replica]]` sections, each with its own key");
}

#[test]
fn a_parameter_out_of_its_bounds_is_refused_in_the_units_of_the_file() {
    for (start, new, key, problem_value, fix) in [
        (
            "window",
            "window = 100",
            "parameters.window",
            100,
            "must be a multiple of `checkpoint_interval`, and at least twice as much",
        ),
        (
            "timeout_ms",
            "timeout_ms = 70_000",
            "parameters.timeout_ms",
            70_000,
            "must be at most `timeout_max_ms`",
        ),
        ("timeout_ms", "timeout_ms = 0", "parameters.timeout_ms", 0, "must be at least 1"),
    ] {
        let text = with_line(&good(), start, 0, new);
        let (at, found, problem, _) = refusal(&text);
        assert_eq!((at, found.as_str()), (line(&text, new, 0), key));
        assert_eq!(problem, Problem::Parameter { value: problem_value, fix: fix.to_owned() });
        assert_eq!(problem.fix(), fix);
    }
    let text = with_line(&good(), "timeout_max_ms", 0, "timeout_max_ms = 18_446_744_073_709_551_615");
    let (at, key, problem, _) = refusal(&text);
    assert_eq!((at, key.as_str()), (line(&text, "timeout_max_ms", 0), "parameters.timeout_max_ms"));
    assert_eq!(problem.fix(), "must be at most one hour");
}

#[test]
fn a_default_that_another_value_made_impossible_is_blamed_on_the_section() {
    let text = good();
    let (start, end) = (text.find("[parameters]").unwrap(), text.find("\n[[replica]]").unwrap());
    let text = format!("{}[parameters]\ncheckpoint_interval = 500\n{}", &text[..start], &text[end..]);
    let (at, key, _, _) = refusal(&text);
    assert_eq!((at, key.as_str()), (line(&text, "[parameters]", 0), "parameters.window"));
}

#[test]
fn an_epoch_that_no_genesis_opens_is_refused() {
    let text = with_line(&good(), "epoch", 0, "epoch = 3");
    let (at, key, problem, _) = refusal(&text);
    assert_eq!((at, key.as_str()), (line(&text, "epoch", 0), "epoch"));
    assert_eq!((problem.fix(), problem), ("write `epoch = 0`".into(), Problem::Epoch { found: 3 }));
}

#[test]
fn an_id_that_is_not_the_hash_of_its_configuration_is_refused_with_the_one_that_is() {
    let good = good();
    for (start, new) in [
        ("pipeline_depth", "pipeline_depth = 5"),
        ("watchdog", "watchdog = true"),
        ("fast_reads", "fast_reads = true"),
        ("testing", "testing = true"),
        ("allow_f0", "allow_f0 = true"),
        ("name", "name = \"other\""),
        ("application", "application = \"ledger\""),
        ("randomness", &format!("randomness = \"{}\"", "ab".repeat(32))),
    ] {
        let text = with_line(&good, start, 0, new);
        let (at, key, problem, _) = refusal(&text);
        assert_eq!((at, key.as_str()), (line(&text, "id =", 0), "id"), "{new}");
        let Problem::ClusterId { expected } = problem else { panic!("{problem:?}") };
        assert!(problem.fix().contains(&format!("write `id = \"{expected}\"`")));
        let mended = with_line(&text, "id =", 0, &format!("id = \"{expected}\""));
        ClusterFile::parse(&mended, Path::new(PATH)).expect("the fix is right");
    }
}

#[test]
fn addresses_admission_and_tuning_are_no_part_of_the_identity() {
    let good = good();
    for (start, new) in [
        ("peer_address", "peer_address = \"192.0.2.1:7\""),
        ("clients", "clients = []"),
        ("verifier_threads", "verifier_threads = 2"),
    ] {
        ClusterFile::parse(&with_line(&good, start, 0, new), Path::new(PATH)).unwrap();
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = ClusterFile::load(Path::new("no/such/cluster.toml")).expect_err("there is none");
    assert!(matches!(error, ClusterFileError::Unreadable { .. }));
    let shown = error.to_string();
    assert!(shown.starts_with("no/such/cluster.toml: cannot be read: "), "{shown}");
    assert!(shown.ends_with("fix: pass the path of a file that `quorate init` wrote"), "{shown}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.toml");
    std::fs::write(&path, vec![b'#'; usize::try_from(CLUSTER_FILE_BYTES_MAX).unwrap() + 1]).unwrap();
    assert!(matches!(ClusterFile::load(&path), Err(ClusterFileError::Unreadable { .. })));
}

#[test]
fn a_draft_that_no_file_may_say_is_refused() {
    let mut shared = draft(4);
    shared.addresses[3].peer = shared.addresses[0].peer;
    let name = Draft { name: "a \"quote\"".into(), ..draft(4) };
    let parameters = Draft { parameters: Parameters { window: 1, ..Parameters::default() }, ..draft(4) };
    for bad in [shared, name, parameters] {
        assert!(matches!(ClusterFile::generate(bad), Err(GenerateError::Contents(_))));
    }
}

#[test]
fn a_preset_says_only_parameters_and_tuning() {
    let text = "[parameters]\ntimeout_ms = 2000\n[node]\nexecution = \"own-thread\"\n";
    let preset = Preset::parse(text, Path::new("wan.toml")).unwrap();
    assert_eq!(preset.parameters, Parameters { timeout_us: 2_000_000, ..Parameters::default() });
    assert_eq!(preset.node.execution, Execution::OwnThread);
    assert_eq!(Preset::parse("", Path::new("wan.toml")).unwrap(), Preset::default());
    let error =
        Preset::parse("[parameters]\n\nname = \"x\"", Path::new("wan.toml")).expect_err("not a parameter");
    assert!(error.to_string().starts_with("wan.toml:3: `parameters.name` is not a key"), "{error}");
    let error =
        Preset::parse("[parameters]\nwindow = 4097", Path::new("wan.toml")).expect_err("out of bounds");
    assert!(error.to_string().ends_with("is 4097; fix: must be at most 4096"), "{error}");
}
