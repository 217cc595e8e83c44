//! What replicas and clients log: nothing alarming while all is well, and each step of an operation under one name on
//! all replicas.

use super::processes::{Cluster, block, put, text, until};

/// Levels of the lines of a log, with what each says. Every line must be one of this form.
#[track_caller]
fn levels(log: &str, json: bool) -> Vec<(String, String)> {
    let of_json = |line: &str| {
        let parsed: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
        for field in ["timestamp", "level", "target", "message"] {
            assert!(parsed[field].is_string(), "`{field}` is missing: {line}");
        }
        (parsed["level"].as_str().unwrap().to_owned(), parsed["message"].as_str().unwrap().to_owned())
    };
    let of_text = |line: &str| {
        let mut words = line.split_whitespace();
        assert!(words.next().is_some_and(|time| time.ends_with('Z')), "no time: {line}");
        (words.next().unwrap_or_default().to_owned(), line.to_owned())
    };
    let lines = log.lines().map(|line| if json { of_json(line) } else { of_text(line) });
    lines.collect()
}

fn healthy_run(format: &str) {
    let mut cluster = Cluster::init(&[]);
    for id in 0..4 {
        cluster.start_with(id, &["--log", "warn,quorate=debug", "--log-format", format]);
    }
    block(cluster.until_linked());
    for value in 0..5 {
        assert!(cluster.client(&["kv", "put", "a", &value.to_string()]).status.success());
    }
    block(cluster.until_agreed());
    // What this machine lacks it lacks in every run; its operator is told at the start.
    let told: Vec<Vec<String>> = (0..4).map(|id| block(cluster.status(id)).unwrap().warnings).collect();
    (0..4).for_each(|id| cluster.stop(id));
    for (id, told) in told.iter().enumerate() {
        let lines = levels(&cluster.log(id), format == "json");
        assert!(lines.iter().any(|(level, _)| level == "INFO"), "{lines:?}");
        assert!(lines.iter().any(|(level, _)| level == "DEBUG"), "{lines:?}");
        let known = ["INFO", "DEBUG", "WARN", "ERROR"];
        assert!(lines.iter().all(|(level, _)| known.contains(&level.as_str())), "{lines:?}");
        let alarming = |(level, words): &&(String, String)| {
            let known = told.iter().any(|warning| words.contains(warning.as_str()));
            level == "ERROR" || level == "WARN" && !known
        };
        let alarming: Vec<_> = lines.iter().filter(alarming).collect();
        assert!(alarming.is_empty(), "replica {id} was well, and logged {alarming:?}");
        assert!(lines.last().is_some_and(|(_, words)| words.contains("stopped")), "{:?}", lines.last());
    }
}

#[test]
fn a_run_without_a_fault_logs_no_warning_and_no_error_as_text() {
    healthy_run("text");
}

#[test]
fn a_run_without_a_fault_logs_no_warning_and_no_error_as_json_and_every_line_is_an_object() {
    healthy_run("json");
}

#[test]
fn a_command_that_fails_says_so_in_the_form_that_its_log_has() {
    let cluster = Cluster::init(&[]);
    let said = cluster.refused(0, &["--data", "/no/such/folder", "--log-format", "json"]);
    let lines = levels(&said, true);
    let (level, message) = lines.last().unwrap();
    assert!(level == "ERROR" && message.contains("there is no data folder; fix: "), "{said}");
    let said = text(&super::processes::quorate(&["status", "--log", "quorate=loud"]).stderr);
    assert!(said.contains("error, warn, info, debug, trace"), "{said}");
}

/// Replicas that log what becomes of each operation.
fn following() -> Cluster {
    let mut cluster = Cluster::init(&[]);
    for id in 0..4 {
        cluster.start_with(id, &["--log", "warn,quorate::request=debug", "--log-format", "json"]);
    }
    block(cluster.until_linked());
    cluster
}

/// The steps of an operation in a log, in order: what happened, and in which slot if it has one.
fn steps(cluster: &Cluster, id: usize, request: &str) -> Vec<(String, Option<u64>)> {
    let log = cluster.log(id);
    let of_request = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let span = &line["span"];
        let same = span["name"] == "request" && span["id"] == request;
        assert!(!same || span["replica"] == id, "{line}");
        same.then(|| (line["message"].as_str().unwrap().to_owned(), line["seq"].as_u64()))
    };
    log.lines().filter_map(of_request).collect()
}

/// Whether these happened in this order, whatever else did.
fn in_order(steps: &[(String, Option<u64>)], expected: &[&str]) -> bool {
    let mut steps = steps.iter();
    expected.iter().all(|expected| steps.any(|(step, _)| step == expected))
}

#[test]
fn an_operation_is_followed_through_all_replicas_by_one_name() {
    let cluster = following();
    let answer = cluster.client(&["--json", "kv", "put", "a", "1"]);
    let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    let (request, seq) = (answer["request"].as_str().unwrap(), answer["sequence"].as_u64().unwrap());
    assert!(request.len() == 16 && request.chars().all(|digit| digit.is_ascii_hexdigit()), "{request}");
    let later = ["prepared", "committed", "executed", "replied"];
    for id in 0..4 {
        let before: &[&str] =
            if id == 0 { &["received", "proposed in slot"] } else { &["voted for in slot"] };
        let expected = [before, &later[..]].concat();
        let found = block(until("all steps of the operation", async || {
            Some(steps(&cluster, id, request)).filter(|found| in_order(found, &expected))
        }));
        assert!(found.iter().all(|(_, slot)| slot.is_none_or(|slot| slot == seq)), "{found:?}");
    }

    let said = text(&cluster.client(&["--verbose", "kv", "get", "a"]).stderr);
    let named =
        said.lines().find_map(|line| line.strip_prefix("request ")).unwrap_or_else(|| panic!("{said}"));
    // Its answers may be those of the others, before the primary has written a line about it.
    block(until("the steps at the primary", async || {
        in_order(&steps(&cluster, 0, named), &["received", "executed"]).then_some(())
    }));
}

#[test]
fn without_their_primary_replicas_tell_that_they_passed_an_operation_on_and_where_it_went_from_there() {
    let mut cluster = following();
    let key = cluster.client_key(0);
    block(async {
        let caller = cluster.caller(key).await;
        // So that it has a session, and the next one is the operation alone.
        caller.call(put("a", "1")).await.unwrap();
        cluster.kill(0);
        caller.call(put("a", "2")).await.unwrap();
        let request = caller.report().await.unwrap().newest.unwrap().to_string();
        let told = until("the operation in the next view", async || {
            let logs: Vec<_> = (1..4).map(|id| steps(&cluster, id, &request)).collect();
            logs.iter().all(|found| in_order(found, &["committed", "executed", "replied"])).then_some(logs)
        })
        .await;
        let [one, two, three] = &told[..] else { panic!("{told:?}") };
        assert!(in_order(one, &["proposed in slot", "prepared"]), "{one:?}");
        for backup in [two, three] {
            assert!(in_order(backup, &["received", "passed on", "voted for in slot"]), "{backup:?}");
        }
    });
}
