//! A Chromium without a window, told what to do over a pipe: its DevTools protocol, as much of it as a person does.
//!
//! Messages are JSON, each ended by a zero byte. Chromium reads them from file descriptor 3 and answers on 4, which a
//! shell makes of the standard input and output of the process; so no port is open, and no dependency is needed.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long the browser may take to answer, and a page to come to what is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Has the page note which keys reach it, and what had the focus then.
const HEARS: &str = "window.keysHeard = []; addEventListener('keydown', event => \
    keysHeard.push(`${Math.round(performance.now())} ${event.key} on ${event.target.id || event.target.nodeName}`), true)";

/// Messages of the browser that wait to be read; then it waits.
const ANSWERS_MAX: usize = 1024;

/// How a window looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) dark: bool,
    /// Whether its user asked for less motion.
    pub(super) still: bool,
}

/// A browser with one page. It ends with this.
pub(super) struct Browser {
    child: Child,
    input: ChildStdin,
    answers: Receiver<Value>,
    last: u64,
    session: String,
    seen: RefCell<Seen>,
    _profile: TempDir,
}

/// What the page did besides what it was asked for.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    /// Errors and warnings of its console, and exceptions that nobody caught.
    pub(super) complaints: Vec<String>,
    /// Addresses that it asked for something.
    pub(super) requests: Vec<String>,
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What the browser says, until it ends.
fn listen(output: impl std::io::Read, to: &SyncSender<Value>) {
    for message in BufReader::new(output).split(0).map_while(Result::ok) {
        let Ok(message) = serde_json::from_slice(&message) else { continue };
        if to.send(message).is_err() {
            return;
        }
    }
}

impl Browser {
    /// Starts this program with an empty page; what it says of itself goes into a file.
    pub(super) fn start(program: &Path, log: &Path) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null", "sh"]).arg(program);
        command.arg(format!("--user-data-dir={}", profile.path().display())).env("HOME", profile.path());
        // Whatever runs these tests has no privileges that a sandbox could take away, or is a container already.
        command.args(["--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-dev-shm-usage"]);
        command.args(["--disable-gpu", "--no-first-run", "--disable-extensions", "--hide-scrollbars"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        command.arg("--force-color-profile=srgb").arg("about:blank");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(log).unwrap());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (to, answers) = sync_channel(ANSWERS_MAX);
        std::thread::spawn(move || listen(output, &to));
        let (session, seen) = (String::new(), RefCell::default());
        let mut browser = Self { child, input, answers, last: 0, session, seen, _profile: profile };
        browser.attach();
        browser
    }

    fn attach(&mut self) {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" }));
        let arguments = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = self.call("Target.attachToTarget", arguments);
        attached["sessionId"].as_str().unwrap().clone_into(&mut self.session);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
        self.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": HEARS }));
    }

    /// Asks for something, and waits for the answer.
    pub(super) fn call(&mut self, method: &str, arguments: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": arguments });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        let mut bytes = serde_json::to_vec(&message).unwrap();
        bytes.push(0);
        self.input.write_all(&bytes).unwrap();
        let until = Instant::now() + PATIENCE * 2;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let answer = match self.answers.recv_timeout(left) {
                Ok(answer) => answer,
                Err(RecvTimeoutError::Timeout) => panic!("the browser does not answer {method}"),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the browser ended before it answered {method}")
                }
            };
            if answer["id"] != self.last {
                self.note(&answer);
                continue;
            }
            assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
            return answer["result"].clone();
        }
    }

    fn note(&self, event: &Value) {
        let (mut seen, what) = (self.seen.borrow_mut(), &event["params"]);
        match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => seen.complaints.push(what["exceptionDetails"].to_string()),
            "Runtime.consoleAPICalled"
                if matches!(what["type"].as_str(), Some("error" | "warning" | "assert")) =>
            {
                seen.complaints.push(what["args"].to_string());
            }
            "Log.entryAdded" if matches!(what["entry"]["level"].as_str(), Some("error" | "warning")) => {
                seen.complaints.push(what["entry"].to_string());
            }
            "Network.requestWillBeSent" => {
                seen.requests.push(what["request"]["url"].as_str().unwrap_or_default().to_owned());
            }
            _ => {}
        }
    }

    /// What the page did so far.
    pub(super) fn seen(&mut self) -> Seen {
        self.evaluate("0");
        self.seen.borrow().clone()
    }

    /// Opens an address, and waits until it is loaded.
    pub(super) fn open(&mut self, address: &str) {
        let opened = self.call("Page.navigate", json!({ "url": address }));
        assert!(opened["errorText"].is_null(), "{opened}");
        self.wait(
            "the page to be loaded",
            "document.readyState === 'complete' && location.href !== 'about:blank'",
        );
    }

    /// The value of an expression in the page.
    pub(super) fn evaluate(&mut self, expression: &str) -> Value {
        let arguments = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", arguments);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true in the page; gives back its value.
    #[track_caller]
    pub(super) fn wait(&mut self, what: &str, expression: &str) -> Value {
        let script = format!(
            "new Promise(done => {{ const end = performance.now() + {}; const look = () => {{ let found; \
             try {{ found = ({expression}); }} catch (error) {{ found = null; }} \
             if (found || performance.now() > end) done(found || null); else setTimeout(look, 25); }}; look(); }})",
            PATIENCE.as_millis()
        );
        let found = self.evaluate(&script);
        if found.is_null() {
            let shown = "`keys heard: ${keysHeard.slice(-12).join('; ')}\\n${document.activeElement.outerHTML.slice(0, 300)}\\n\
                         ${document.body.innerText.slice(0, 3000)}`";
            let shown = self.evaluate(shown);
            let complaints = self.seen().complaints;
            panic!(
                "waited in vain for {what}; the page shows:\n{}\n{complaints:?}",
                shown.as_str().unwrap_or_default()
            );
        }
        found
    }

    /// Clicks on the middle of an element, as a mouse does.
    #[track_caller]
    pub(super) fn click(&mut self, selector: &str) {
        let named = json!(selector);
        let place = self.wait(
            &format!("something to click at {selector}"),
            &format!(
                "(() => {{ const node = document.querySelector({named}); if (!node || node.disabled) return null; \
                 node.scrollIntoView({{ block: 'center' }}); const box = node.getBoundingClientRect(); \
                 const at = [box.x + box.width / 2, box.y + box.height / 2]; \
                 const hit = document.elementFromPoint(...at); \
                 return hit && (node.contains(hit) || hit.contains(node)) ? at : null; }})()"
            ),
        );
        for kind in ["mousePressed", "mouseReleased"] {
            let mouse =
                json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", mouse);
        }
    }

    /// Presses a key: `Tab`, `Escape`, ` `, `?`.
    pub(super) fn press(&mut self, key: &str) {
        let letter = if key.chars().count() == 1 { key } else { "" };
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            " " => 32,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            _ => 0,
        };
        let down = json!({ "type": "keyDown", "key": key, "text": if key == "Enter" { "\r" } else { letter },
            "windowsVirtualKeyCode": code });
        self.call("Input.dispatchKeyEvent", down);
        let up = json!({ "type": "keyUp", "key": key, "windowsVirtualKeyCode": code });
        self.call("Input.dispatchKeyEvent", up);
    }

    /// Changes the window, and what its user prefers.
    pub(super) fn look(&mut self, look: Look) {
        let Look { width, height, dark, still } = look;
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let scheme = if dark { "dark" } else { "light" };
        let motion = if still { "reduce" } else { "no-preference" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": motion }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
        self.settle();
    }

    /// Two frames later whatever changed is drawn.
    pub(super) fn settle(&mut self) {
        self.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))",
        );
    }

    /// A picture of the whole page, in a file.
    pub(super) fn picture(&mut self, file: &Path) {
        self.evaluate("scrollTo(0, 0)");
        let taken =
            self.call("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true }));
        fs::write(file, from_base64(taken["data"].as_str().unwrap())).unwrap();
    }
}

/// Bytes that were written as letters.
fn from_base64(letters: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let values = letters.bytes().filter_map(|letter| ALPHABET.iter().position(|known| *known == letter));
    let mut bytes = Vec::with_capacity(letters.len() / 4 * 3);
    let (mut held, mut bits) = (0_u32, 0);
    for value in values {
        held = held << 6 | u32::try_from(value).unwrap();
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 0xff) as u8);
        }
    }
    bytes
}

/// The browser that these tests are to use, if there is one to be used.
pub(super) fn program() -> Option<PathBuf> {
    std::env::var_os("QUORATE_BROWSER").filter(|name| !name.is_empty()).map(PathBuf::from)
}
