//! The live page of a testbed: who may look and command, what is seen of a killed primary, a liar and a partition; and
//! recorded runs, real and simulated.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::processes::{PATIENCE, block, program, quorate, text, until};

/// A program that serves a page, until it is stopped; its replicas end with it.
struct Page {
    child: Child,
    /// Behind `http://`.
    address: String,
    token: String,
    /// The number of the next moment, and all that came so far.
    next: u64,
    moments: Vec<Value>,
    folder: TempDir,
}

impl Drop for Page {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let told = fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default();
            let words: Vec<&Value> = self.moments.iter().filter(|it| it["kind"] == "event").collect();
            eprintln!("--- the page's program said:\n{told}\n--- what happened: {words:#?}");
        }
    }
}

impl Page {
    /// Starts a program and waits until it says where its page is.
    fn open(words: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let errors = fs::File::create(folder.path().join("stderr")).unwrap();
        let mut command = program();
        command.args(words).current_dir(folder.path()).env("TMPDIR", folder.path());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        // What it says later must find a reader.
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        let (address, token) = line.trim().split_once("/#").unwrap_or_else(|| panic!("no address: {line:?}"));
        let address = address.strip_prefix("http://").unwrap().to_owned();
        assert!(token.len() >= 26, "128 bits: {token}");
        let token = token.to_owned();
        Self { child, address, token, next: 0, moments: Vec::new(), folder }
    }

    /// Sends a request with these headers; gives back the code and the body of the answer.
    fn ask(&self, what: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        write!(
            stream,
            "{what} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}",
            self.address
        )
        .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = text(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// What is new.
    fn look(&mut self) {
        let (code, body) =
            self.ask(&format!("GET /live?from={}", self.next), &[("Authorization", &self.bearer())], "");
        assert_eq!(code, 200, "{body}");
        let excerpt: Value = serde_json::from_str(&body).unwrap();
        self.next = excerpt["next"].as_u64().unwrap();
        self.moments.extend(excerpt["moments"].as_array().unwrap().iter().cloned());
    }

    /// Looks until something is so of all that came, from the so many-th moment on.
    fn see(&mut self, what: &str, from: usize, mut is_so: impl FnMut(&Value) -> bool) {
        block(until(what, async || {
            self.look();
            self.moments[from..].iter().any(&mut is_so).then_some(())
        }));
    }

    /// Gives a command, as the page does.
    fn give(&self, command: &Value) -> (u16, Value) {
        let origin = format!("http://{}", self.address);
        let headers = [
            ("Authorization", self.bearer()),
            ("Origin", origin),
            ("Content-Type", "application/json".to_owned()),
        ];
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (code, body) = self.ask("POST /do", &headers, &command.to_string());
        (code, serde_json::from_str(&body).unwrap())
    }

    #[track_caller]
    fn obeys(&mut self, command: Value) -> usize {
        self.look();
        let seen = self.moments.len();
        let (code, told) = self.give(&command);
        assert_eq!(code, 200, "{command}: {told}");
        assert!(told["done"].is_string(), "{told}");
        seen
    }

    #[track_caller]
    fn refuses(&self, command: Value, why: &str) {
        let (code, told) = self.give(&command);
        assert!((400..500).contains(&code), "{command}: {code} {told}");
        assert!(told["error"].as_str().unwrap().contains(why), "{command}: {told}");
    }

    /// Where a replica stood last.
    fn stand(&self, id: u16) -> &Value {
        self.moments.iter().rev().find(|it| it["kind"] == "replica" && it["id"] == id).unwrap()
    }

    /// Ends the program with a signal, to its own process only.
    fn end(&mut self, signal: &str) -> ExitStatus {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
        let child = &mut self.child;
        block(until("the program to end", async || child.try_wait().unwrap()))
    }
}

/// Whether a moment says where a replica stands, and that is so.
fn stands(moment: &Value, id: u16, is_so: impl Fn(&Value) -> bool) -> bool {
    moment["kind"] == "replica" && moment["id"] == id && is_so(moment)
}

fn happened(moment: &Value, words: &str) -> bool {
    moment["kind"] == "event" && moment["what"].as_str().unwrap().contains(words)
}

/// Nobody without the token looks, and no page but ours commands.
fn strangers_are_refused(page: &Page) {
    let bearer = page.bearer();
    let ours = format!("http://{}", page.address);
    let kill = json!({"command": "kill", "replica": 0}).to_string();
    let refused = |what: &str, headers: &[(&str, &str)], body: &str| {
        let (code, told) = page.ask(what, headers, body);
        assert_eq!(code, 403, "{what} {headers:?}: {told}");
    };
    let (token, evil) = (("Authorization", bearer.as_str()), ("Origin", "http://evil.invalid"));
    refused("GET /live?from=0", &[], "");
    refused("GET /live?from=0", &[("Authorization", "Bearer 00000000000000000000000000000000")], "");
    refused("GET /live?from=0", &[token, evil], "");
    refused("POST /do", &[("Origin", &ours)], &kill);
    refused("POST /do", &[token], &kill);
    refused("POST /do", &[token, evil], &kill);
    let (code, html) = page.ask("GET /", &[("Accept", "text/html")], "");
    assert!(code == 200 && html.contains("<html") && !html.contains(&page.token), "the page holds no secret");
}

#[test]
fn a_page_shows_commits_and_a_new_view_after_its_primary_was_killed_and_counts_lies_until_the_verdict() {
    let words = "testbed --web --clients 4 --durability os --record run.jsonl --json run.json";
    let mut page = Page::open(&words.split_whitespace().collect::<Vec<_>>());
    strangers_are_refused(&page);
    page.see("the clients to begin", 0, |it| happened(it, "the clients begin"));
    page.see("a slot that committed at replica 1", 0, |it| {
        it["kind"] == "slot" && it["replica"] == 1 && it["committed"].is_u64() && it["prepares"][2].is_array()
    });
    assert_eq!((&page.moments[0]["kind"], &page.moments[0]["control"]), (&json!("header"), &json!(true)));
    page.see("answers", 0, |it| it["kind"] == "load" && it["done"].as_u64() > Some(0));
    page.refuses(json!({"command": "restart", "replica": 0}), "replica 0 runs; kill it first");
    page.refuses(json!({"command": "kill", "replica": 9}), "numbered from 0 to 3");
    page.refuses(json!({"command": "explode"}), "the commands are kill, restart");
    page.refuses(json!({"command": "heal"}), "nobody is parted");

    let from = page.obeys(json!({"command": "kill", "replica": 0}));
    page.see("its end", from, |it| stands(it, 0, |it| it["state"] == "stopped" && it["up"] == false));
    page.refuses(json!({"command": "kill", "replica": 0}), "does not run any more; restart it first");
    page.refuses(json!({"command": "behave", "replica": 0, "behaviour": "mute"}), "restart it first");
    page.see("a new view", from, |it| {
        stands(it, 1, |it| it["view"].as_u64() > Some(0) && it["state"] == "normal")
    });
    let executed = page.stand(1)["executed"].as_u64();
    page.see("commits in it", from, |it| stands(it, 1, |it| it["executed"].as_u64() > executed));

    let from = page.obeys(json!({"command": "restart", "replica": 0}));
    let executed = page.stand(1)["executed"].as_u64();
    page.see("that it is normal again", from, |it| {
        stands(it, 0, |it| it["up"] == true && it["state"] == "normal" && it["executed"].as_u64() > executed)
    });

    page.refuses(json!({"command": "behave", "replica": 2, "behaviour": "sing"}), "equivocate");
    page.refuses(json!({"command": "behave", "replica": 2, "behaviour": null}), "honest already");
    // To equivocate one has to be primary.
    let liar = page.stand(2)["primary"].as_u64().unwrap() as u16;
    let from = page.obeys(json!({"command": "behave", "replica": liar, "behaviour": "equivocate"}));
    page.see("lies", from, |it| stands(it, liar, |it| it["lies"].as_u64() > Some(0)));
    page.obeys(json!({"command": "behave", "replica": liar, "behaviour": null}));

    let from = page.obeys(json!({"command": "partition", "sides": [[0, 1], [2, 3]]}));
    page.see("what that means", from, |it| {
        happened(it, "2 honest replicas reach each other, and 3 have to agree")
    });
    let from = page.obeys(json!({"command": "heal"}));
    page.see("that it is over", from, |it| happened(it, "answers are promised"));

    let status = page.end("INT");
    let told = fs::read_to_string(page.folder.path().join("stderr")).unwrap();
    assert!(status.success(), "{status}: {told}");
    assert!(told.contains("recording: run.jsonl"), "{told}");
    let left: Vec<_> =
        fs::read_dir(page.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "the replicas' folder is removed: {left:?}");
    holds_the_deeds(&page.folder.path().join("run.json"), liar);
    holds_the_run(&page.folder.path().join("run.jsonl"), liar);
}

/// The report has what was done at the page, and how long links were cut.
fn holds_the_deeds(path: &Path, liar: u16) {
    let report: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let deeds = report["page_deeds"].as_array().unwrap();
    let done: Vec<&str> = deeds.iter().map(|deed| deed["command"].as_str().unwrap()).collect();
    assert_eq!(
        done,
        ["kill", "restart", "behave", "behave", "partition", "heal"],
        "what was refused is no deed"
    );
    assert_eq!((&deeds[0]["replica"], &deeds[2]["replica"]), (&0.into(), &liar.into()));
    assert_eq!(
        (&deeds[4]["sides"], &deeds[4]["done"]),
        (&json!([[0, 1], [2, 3]]), &"parted 0,1 from 2,3".into())
    );
    assert!(deeds.windows(2).all(|pair| pair[0]["at_ms"].as_u64() <= pair[1]["at_ms"].as_u64()), "{deeds:?}");
    let phases: Vec<&str> =
        report["phases"].as_array().unwrap().iter().map(|phase| phase["phase"].as_str().unwrap()).collect();
    assert!(["away", "parted", "after"].iter().all(|phase| phases.contains(phase)), "{phases:?}");
}

/// The recording has what was seen, and the verdict at its end.
fn holds_the_run(path: &Path, liar: u16) {
    let recorded = fs::read_to_string(path).unwrap();
    let moments: Vec<Value> = recorded.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&moments[0]["kind"], &moments[0]["control"]), (&json!("header"), &json!(false)));
    for words in ["killed replica 0", "restarted replica 0", "parted 0,1 from 2,3", "mended all links"] {
        assert!(moments.iter().any(|it| happened(it, words)), "{words}");
    }
    let verdict = moments.last().unwrap();
    let lines: Vec<&str> =
        verdict["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    let sentence =
        format!("verdict      all 3 correct replicas executed the same history; replica {liar} lied");
    assert!(verdict["kind"] == "verdict" && lines.contains(&sentence.as_str()), "{lines:?}");
    // By one clock: what all saw of a slot lies within its way, however long ago each replica was started.
    let lanes = |seq: u64| {
        let of = move |it: &&Value| it["kind"] == "slot" && it["seq"] == seq && it["executed"].is_u64();
        moments.iter().filter(of).map(|it| it["executed"].as_u64().unwrap())
    };
    let last = moments.iter().rev().find(|it| it["kind"] == "slot" && it["executed"].is_u64()).unwrap();
    let times: Vec<u64> = lanes(last["seq"].as_u64().unwrap()).collect();
    let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    assert!(last - first < 5_000_000, "{times:?}");
}

#[test]
fn a_simulated_run_is_recorded_and_viewed_on_a_page_with_and_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/scenarios/equivocating-primary.toml");
    let simulate = || quorate(&["simulate", scenario.to_str().unwrap(), "--record", &path("run.jsonl")]);
    let output = simulate();
    let out = text(&output.stdout);
    assert!(output.status.success() && out.contains("run.jsonl (") && out.contains(" view "), "{out}");
    let again = simulate();
    let error = text(&again.stderr);
    assert!(again.status.code() == Some(2) && error.contains("there is such a file already"), "{error}");

    let output = quorate(&["view", &path("run.jsonl"), "--out", &path("run.html")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let html = fs::read_to_string(path("run.html")).unwrap();
    let (_, inside) = html.split_once("id=\"recording\">").expect("the recording is inside");
    let inside = inside.split_once("</script>").unwrap().0.trim();
    let kinds: Vec<String> = inside
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].as_str().unwrap().to_owned())
        .collect();
    for kind in ["header", "replica", "slot", "load", "event", "verdict"] {
        assert!(kinds.iter().any(|known| known == kind), "{kind}");
    }
    assert!(kinds[0] == "header" && kinds.last().unwrap() == "verdict");

    let mut page = Page::open(&["view", &path("run.jsonl")]);
    page.see("the verdict", 0, |it| it["kind"] == "verdict");
    assert_eq!(page.moments.len(), kinds.len());
    assert!(page.moments.iter().any(|it| it["kind"] == "replica" && it["lies"].as_u64() > Some(0)), "lies");
    assert_eq!(page.ask("GET /live", &[], "").0, 403);
    let (code, _) = page.ask("POST /do", &[("Authorization", &page.bearer())], "{}");
    assert_eq!(code, 404, "there is nothing to command");
    assert!(page.end("INT").success());

    fs::write(
        path("bad.jsonl"),
        format!("{}\n{{\"kind\":\"slot\",\"t\":}}\n", inside.lines().next().unwrap()),
    )
    .unwrap();
    let output = quorate(&["view", &path("bad.jsonl")]);
    let error = text(&output.stderr);
    assert!(output.status.code() == Some(1) && error.contains("bad.jsonl, line 2, column 20: "), "{error}");
}
