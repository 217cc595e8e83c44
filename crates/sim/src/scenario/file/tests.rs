//! Scenario files are read as they are written, and what is wrong with one is said with its line.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::*;

const SMALL: &str = r#"
replicas = 4
heal = "2s"

[[client]]
commands = 3
"#;

fn parse(text: &str) -> Result<ScenarioFile, ScenarioFileError> {
    ScenarioFile::parse(text, Path::new("a.toml"))
}

fn refusal(more: &str) -> String {
    match parse(&format!("{SMALL}{more}")) {
        Ok(_) => panic!("accepted: {more}"),
        Err(error) => error.to_string(),
    }
}

fn written(scenario: Scenario) -> String {
    ScenarioFile { about: "A test".into(), scenario, expect: Expect::default() }.to_toml()
}

#[test]
fn whatever_a_seed_draws_is_the_same_world_after_it_was_written_and_read() {
    for seed in 0..400 {
        let drawn = Scenario::of(seed);
        let text = written(drawn.clone());
        let read = parse(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}")).scenario;
        assert_eq!(written(read.clone()), text, "seed {seed}");
        if seed % 50 == 0 {
            assert_eq!(read.run(), drawn.run(), "seed {seed}");
        }
    }
}

#[test]
fn what_a_file_says_is_what_happens() {
    let text = r#"
about = "Everything at once"
replicas = 7
seed = "0xffffffffffffffff"
heal = "3s"

[parameters]
timeout = "250ms"
checkpoint_interval = 16
window = 32

[network]
delay = "5ms"
loss = 0.05

[[partition]]
groups = [[0, 1, 2], [3, 4], [5, 6]]
start = "100ms"
end = "1s"

[[one_way]]
from = [0]
to = [1]
start = "0s"
end = "1ms"

[[crash]]
replica = "primary"
at = "1s"

[[disk]]
replica = 6
at = "1s"
restart = "10ms"
unsynced = "torn"
damage = "flips"
bits = 3

[[clock]]
replica = 1
at = "1s"
drift_ppm = -50000

[[byzantine]]
replica = 2
behaviour = "delay:by=20ms"

[[client]]
commands = 3

[expect]
live = false
accused = [2]
at_least = { views = 1 }
"#;
    let ScenarioFile { scenario, expect, .. } = parse(text).unwrap();
    let setting = &scenario.setting;
    assert_eq!((setting.seed, setting.replicas), (u64::MAX, 7));
    assert_eq!((setting.parameters.timeout_us, setting.parameters.window), (250_000, 32));
    assert_eq!((setting.profile.delay_us, setting.profile.loss), (5_000, 50_000));
    assert_eq!(setting.cuts.len(), 7, "three groups have three borders, each both ways");
    assert_eq!(scenario.faults.len(), 3);
    assert_eq!(setting.liars.len(), 1);
    assert!(!expect.live && expect.safe);
    assert_eq!(expect.accused, Some(vec![2]));
}

#[test]
fn a_key_that_means_nothing_is_refused_by_its_name_with_its_line() {
    let error = refusal("[network]\nlos = 0.1\n");
    assert!(error.starts_with("a.toml:8: `los = 0.1`: unknown field `los`"), "{error}");
    assert!(error.contains("`loss`"), "it says what there is: {error}");
    let error = refusal("[expect]\nat_least = { vews = 1 }\n");
    assert!(error.contains("a.toml:8") && error.contains("views"), "{error}");
}

#[test]
fn every_refusal_names_the_file_the_line_the_key_and_the_fix() {
    for (more, place, words) in [
        ("[network]\ndelay = \"5\"\n", "a.toml:8", "200ms"),
        ("[network]\nloss = 1.5\n", "a.toml:8", "from 0 to 1"),
        ("[network]\ndelay = \"2h\"\n", "network.delay", "from 0s to 1m"),
        ("[parameters]\nwindow = 7\n", "a.toml:7", "multiple of `checkpoint_interval`"),
        ("[[partition]]\ngroups = [[0], [4]]\nstart = \"0s\"\nend = \"1s\"\n", "a.toml:7", "from 0 to 3"),
        ("[[one_way]]\nfrom = [0]\nto = [1]\nstart = \"1s\"\nend = \"1s\"\n", "one_way.end", "later time"),
        ("[[crash]]\nreplica = 9\nat = \"1s\"\n", "a.toml:7", "from 0 to 3"),
        ("[[crash]]\nreplica = \"all\"\nat = \"1s\"\n", "crash.replica", "when they restart"),
        ("[[crash]]\nreplica = \"one\"\nat = \"1s\"\n", "a.toml:8", "\"primary\" or \"all\""),
        ("[[crash]]\nreplica = 1\nat = \"1s\"\nmoment = 3\n", "crash.restart", "when it restarts"),
        ("[[disk]]\nreplica = 1\nat = \"1s\"\nrestart = \"1s\"\n", "disk.damage", "what is `unsynced`"),
        (
            "[[disk]]\nreplica = 1\nat = \"1s\"\nrestart = \"1s\"\nunsynced = \"lost\"\nbits = 2\n",
            "disk.bits",
            "damage = \"flips\"",
        ),
        ("[[clock]]\nreplica = 1\nat = \"1s\"\n", "a.toml:7", "one of `jump` and `drift_ppm`"),
        ("[[byzantine]]\nreplica = 1\nbehaviour = \"lie\"\n", "byzantine.behaviour", "equivocate"),
        ("[[client]]\ncommands = 1\nin_flight = 0\n", "client.in_flight", "from 1 to 1024"),
        ("[[client]]\n", "a.toml:7", "commands"),
        ("[expect]\naccused = [4]\n", "expect.accused", "from 0 to 3"),
        ("[network\n", "a.toml:7", "`[network`"),
    ] {
        let error = refusal(more);
        assert!(error.starts_with("a.toml:"), "{error}");
        assert!(error.contains(place) && error.contains(words), "{place}, {words}: {error}");
    }
    let error = parse("replicas = 3\nheal = \"1s\"\n[[client]]\ncommands = 1\n").unwrap_err().to_string();
    assert_eq!(error, "a.toml:1: `replicas` is 3; fix: write something from 4 to 64");
    for (text, key, fix) in [
        ("replicas = 4\nheal = \"1s\"\n[expect]\nsafe = true\n", "[[client]]", "`commands = 20`"),
        ("replicas = 4\nheal = \"1s\"\nclient = []\n", "[[client]]", "`commands = 20`"),
        ("replicas = 4\n[[client]]\ncommands = 1\n", "heal", "`heal = \"2s\"`"),
        ("heal = \"1s\"\n[[client]]\ncommands = 1\n", "replicas", "`replicas = 4`"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with(&format!("a.toml: there is no `{key}`; fix: ")), "{error}");
        assert!(error.contains(fix), "{error}");
    }
    let error = ScenarioFile::load(Path::new("no/such.toml")).unwrap_err().to_string();
    assert!(error.contains("no/such.toml") && error.contains("configs/scenarios"), "{error}");
}
