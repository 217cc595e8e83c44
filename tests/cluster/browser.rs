//! The live page in a real browser, as a person meets it: seen, clicked on and typed at.
//!
//! `.ci/browser` runs these with `QUORATE_BROWSER`, the program to use; without it there is nothing to see. Pictures of
//! what the page looked like are left in `target/browser`, for somebody to look at.

mod chromium;
mod model;
mod recordings;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use self::chromium::{Browser, Look, program as browser_program};
use super::processes::{block, program, quorate, text, until};

/// Room that a person has on a desk, and in a hand.
const DESK: Look = Look { width: 1280, height: 900, dark: false, still: false };
const HAND: Look = Look { width: 360, height: 740, dark: false, still: false };

/// Two browsers at once would only wait for each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The browser, and a folder for what it sees; none if there is no browser to look with.
fn stage(name: &str) -> Option<(Browser, PathBuf, MutexGuard<'static, ()>)> {
    let Some(browser) = browser_program() else {
        println!("UNVERIFIED: {name} in a browser, because QUORATE_BROWSER names none; see .ci/browser");
        return None;
    };
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/browser");
    fs::create_dir_all(&folder).unwrap();
    let browser = Browser::start(&browser, &folder.join(format!("{name}-browser.log")));
    Some((browser, folder, turn))
}

/// A testbed with a page, which ends with this.
struct Testbed {
    child: Child,
    address: String,
}

impl Drop for Testbed {
    fn drop(&mut self) {
        self.end();
        drop(self.child.wait());
    }
}

impl Testbed {
    fn start(log: &Path) -> Self {
        let said = File::create(log).unwrap();
        let mut command = program();
        command.args(["testbed", "--web", "--clients", "2", "--in-flight", "2", "--rate", "150"]);
        command.args(["--durability", "none"]).stdin(Stdio::null());
        let child = command.stdout(said.try_clone().unwrap()).stderr(said).spawn().unwrap();
        let mut testbed = Self { child, address: String::new() };
        testbed.address = block(until("the address of the page", async || {
            let said = fs::read_to_string(log).unwrap_or_default();
            let address = said.split_whitespace().find(|word| word.starts_with("http://127.0.0.1:"))?;
            // Its token is whole once something stands behind it.
            said.contains(&format!("{address}\n")).then(|| address.to_owned())
        }));
        testbed
    }

    /// Ends it as a person does, so that its replicas and its folder go too.
    fn end(&self) {
        let id = self.child.id().to_string();
        drop(std::process::Command::new("kill").args(["-s", "INT", &id]).status());
    }

    /// The address without its token.
    fn origin(&self) -> &str {
        self.address.split('#').next().unwrap_or_default()
    }
}

/// A replica's card.
fn card(id: &str) -> String {
    format!(".card[data-replica='{id}']")
}

/// A number that the page knows of some replica.
fn most(browser: &mut Browser, name: &str) -> u64 {
    let all =
        format!("[...document.querySelectorAll('.card')].map(card => Number(card.dataset.{name} || 0))");
    browser.evaluate(&format!("Math.max(...{all})")).as_u64().unwrap()
}

/// Waits until more slots were executed than now.
#[track_caller]
fn goes_on(browser: &mut Browser, why: &str) {
    let before = most(browser, "executed");
    let more = "[...document.querySelectorAll('.card')].some(card => Number(card.dataset.executed) >";
    browser.wait(&format!("more slots, {why}"), &format!("{more} {})", before + 2));
}

/// The page complained of nothing, and asked nobody but its own server for anything.
#[track_caller]
fn is_clean(browser: &mut Browser, origin: &str) {
    let seen = browser.seen();
    assert!(seen.complaints.is_empty(), "{:?}", seen.complaints);
    assert!(!seen.requests.is_empty(), "requests are seen");
    let foreign = |address: &&String| !address.starts_with(origin) && !address.starts_with("data:");
    let foreign: Vec<_> = seen.requests.iter().filter(foreign).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

/// Nothing is cut off at this width, every control has a name, and words stand out from what they stand on.
#[track_caller]
fn is_fit_for_everybody(browser: &mut Browser, look: Look) {
    browser.look(look);
    let wide = browser.evaluate("document.documentElement.scrollWidth").as_u64().unwrap();
    assert!(wide <= u64::from(look.width), "the page is {wide} wide in a window of {}", look.width);
    let nameless = browser.evaluate(
        "[...document.querySelectorAll('button, select, input, canvas, [role=listbox], [role=option], dialog')]\
         .filter(node => node.offsetParent !== null && !node.closest('[aria-hidden=true]') && node.type !== 'file')\
         .filter(node => !(node.getAttribute('aria-label') || node.getAttribute('aria-labelledby') \
         || (node.labels && node.labels.length) || node.textContent.trim())).map(node => node.outerHTML)",
    );
    assert_eq!(nameless, Value::Array(Vec::new()));
    let faint = browser.evaluate(
        "(() => { const style = getComputedStyle(document.documentElement); \
         const light = name => { const hex = style.getPropertyValue('--' + name).trim().slice(1); \
         const full = hex.length === 3 ? [...hex].map(c => c + c).join('') : hex; \
         const part = at => { const c = parseInt(full.slice(at, at + 2), 16) / 255; \
         return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; }; \
         return 0.2126 * part(0) + 0.7152 * part(2) + 0.0722 * part(4); }; \
         const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05); \
         const pairs = []; \
         for (const ink of ['text', 'faint', 'link', 'bad', 'warn', 'good', 'lie']) \
         for (const paper of ['paper', 'soft']) pairs.push([ink, paper, 4.5]); \
         for (const ink of ['text', 'bad']) pairs.push([ink, 'bad-paper', 4.5]); \
         for (const ink of ['text', 'warn']) pairs.push([ink, 'warn-paper', 4.5]); \
         for (const ink of ['prepare', 'commit']) pairs.push(['paper', ink, 4.5]); \
         for (const ink of ['execute', 'reply', 'edge', 'ink-0', 'ink-1', 'ink-2']) pairs.push([ink, 'paper', 3]); \
         return pairs.filter(([a, b, least]) => !(ratio(a, b) >= least)).map(([a, b]) => `${a} on ${b}: ${ratio(a, b)}`); })()",
    );
    assert_eq!(faint, Value::Array(Vec::new()), "{look:?}");
}

#[test]
fn a_person_sees_commits_kills_the_primary_brings_it_back_has_one_lie_and_splits_the_network() {
    let Some((mut browser, folder, _turn)) = stage("testbed") else { return };
    let testbed = Testbed::start(&folder.join("testbed.log"));
    browser.look(DESK);
    browser.open(&testbed.address);
    let first = browser.wait("the first commit", "document.documentElement.dataset.firstCommitMs");
    println!("time to the first commit shown: {} ms", first.as_str().unwrap());
    browser.wait("a committed slot in the list", "document.querySelector('.slot[data-committed=true]')");
    browser.wait("four replicas", "document.querySelectorAll('.card[data-up=true]').length === 4");
    goes_on(&mut browser, "as clients ask");
    browser.wait(
        "an agreement that was shown to its end",
        "document.querySelectorAll('.steps [data-done=true]').length > 3",
    );
    browser.picture(&folder.join("1-light.png"));
    is_fit_for_everybody(&mut browser, DESK);
    is_fit_for_everybody(&mut browser, Look { dark: true, ..DESK });
    browser.picture(&folder.join("2-dark.png"));
    is_fit_for_everybody(&mut browser, HAND);
    browser.picture(&folder.join("3-narrow.png"));
    browser.look(DESK);

    let old = kill_the_primary(&mut browser);
    browser.picture(&folder.join("4-new-view.png"));
    bring_back(&mut browser, &old);
    have_one_lie(&mut browser, &folder);
    split_and_heal(&mut browser, &folder);
    use_the_keyboard(&mut browser);
    see_the_end(&mut browser, &testbed, &folder);
    is_clean(&mut browser, testbed.origin());
}

/// Kills the primary by a click; gives back which replica that was.
fn kill_the_primary(browser: &mut Browser) -> String {
    let primary =
        browser.wait("a primary", "document.querySelector('.card[data-primary=true]').dataset.replica");
    let (old, view) = (primary.as_str().unwrap().to_owned(), most(browser, "view"));
    browser.click(&format!("{} [data-do=kill]", card(&old)));
    let dead = format!("document.querySelector(\"{}[data-up=false][data-state=stopped]\")", card(&old));
    browser.wait("the killed primary to be shown as stopped", &dead);
    let new_view = format!(
        "[...document.querySelectorAll('.card[data-primary=true]')].some(card => card.dataset.replica !== '{old}' \
         && Number(card.dataset.view) > {view})"
    );
    browser.wait("another primary in a later view", &new_view);
    goes_on(browser, "in the new view");
    let told = "document.querySelector('.log [data-weight=deed]') && !document.querySelector('.now[data-level=bad]')";
    browser.wait("the deed in the log, and a cluster that goes on", told);
    old
}

fn bring_back(browser: &mut Browser, id: &str) {
    browser.click(&format!("{} [data-do=restart]", card(id)));
    let back = format!("document.querySelector(\"{}[data-up=true][data-state=normal]\")", card(id));
    browser.wait("the replica to be back", &back);
    let caught_up = "(() => { const all = [...document.querySelectorAll('.card')].map(card => Number(card.dataset.executed)); \
                     return Math.max(...all) - Math.min(...all) < 50; })()";
    browser.wait("it to have caught up", caught_up);
    browser.wait("a cluster in which all is well", "document.querySelector('.now[data-level=good]')");
}

/// Has a backup equivocate, sees that it does and that the others do not mind, and makes it honest again.
fn have_one_lie(browser: &mut Browser, folder: &Path) {
    let backup = "document.querySelector('.card[data-up=true][data-primary=false]').dataset.replica";
    let backup = browser.wait("a backup", backup);
    let backup = card(backup.as_str().unwrap());
    let choose = |name: &str| format!("document.querySelector(\"{backup} select\").value = '{name}'");
    browser.evaluate(&choose("equivocate"));
    browser.click(&format!("{backup} [data-do=behave]"));
    let lied = format!("Number(document.querySelector(\"{backup}[data-lying=true]\").dataset.lies) > 2");
    browser.wait("lies that were told", &lied);
    goes_on(browser, "though one replica lies");
    browser.wait("a slot in the list that is marked", "document.querySelector('.slot[title^=≠]')");
    let marked = "(() => { const odd = document.querySelector('#odd'), name = document.querySelector('#lane-names [title*=another]'); \
                  return !odd.hidden && odd.textContent.includes('another batch than was committed') && name.textContent.startsWith('≠'); })()";
    browser.wait("a vote for another batch, marked and explained", marked);
    browser.wait("an agreement under way", "document.querySelectorAll('.steps [data-done=true]').length > 3");
    browser.picture(&folder.join("5-liar.png"));
    browser.evaluate(&choose(""));
    browser.click(&format!("{backup} [data-do=behave]"));
    browser.wait("an honest replica", &format!("document.querySelector(\"{backup}[data-lying=false]\")"));
}

fn split_and_heal(browser: &mut Browser, folder: &Path) {
    browser.click("#split");
    browser.wait("the dialog", "document.querySelector('#sides[open]')");
    browser.click("#sides-do");
    let stands = "document.querySelector('.now[data-level=bad]') && document.querySelector('#headline').textContent.includes('split')";
    browser.wait("the page to say that no side has a quorum", stands);
    let why = browser.evaluate("document.querySelector('#reason').textContent.includes('quorate why')");
    assert_eq!(why, true, "it says where to ask on");
    browser.picture(&folder.join("6-split.png"));
    browser.click("#heal");
    browser.wait(
        "nobody without links",
        "[...document.querySelectorAll('.card')].every(card => card.dataset.cut === '0')",
    );
    goes_on(browser, "after the network healed");
}

/// When the testbed ends, the page says so, and offers nothing that can be done no more.
fn see_the_end(browser: &mut Browser, testbed: &Testbed, folder: &Path) {
    testbed.end();
    let ended =
        "document.querySelector('#headline').textContent.startsWith('■ The run has ended; it came to slot ')";
    browser.wait("the end in the headline", ended);
    let verdict = browser.evaluate("document.querySelector('#reason').textContent");
    assert!(verdict.as_str().unwrap().contains("executed the same history"), "{verdict}");
    let idle = "[...document.querySelectorAll('.deeds button, .deeds select, #split, #heal')]";
    assert_eq!(browser.evaluate(&format!("{idle}.length")), 18);
    assert_eq!(browser.evaluate(&format!("{idle}.every(node => node.disabled)")), true);
    assert_eq!(browser.evaluate("document.querySelectorAll('.banner[data-key=trouble]').length"), 0);
    browser.picture(&folder.join("10-ended.png"));
}

/// Everything is within reach of the keyboard.
fn use_the_keyboard(browser: &mut Browser) {
    browser.evaluate("document.activeElement.blur(); document.body.focus(); scrollTo(0, 0)");
    let mut reached = Vec::new();
    for _ in 0..60 {
        browser.press("Tab");
        let name = "(() => { const node = document.activeElement; \
                    const outline = getComputedStyle(node).outlineStyle; \
                    return (node.id || node.dataset.do || node.tagName) + (node === document.body || outline !== 'none' ? '' : ' unseen'); })()";
        reached.push(browser.evaluate(name).as_str().unwrap().to_owned());
    }
    for wanted in ["open", "help", "split", "kill", "restart", "behave", "follow", "slots", "log"] {
        // A button that can do nothing now is passed over.
        let idle = wanted == "restart";
        assert!(idle || reached.iter().any(|name| name == wanted), "{wanted} is not reached: {reached:?}");
    }
    assert!(!reached.iter().any(|name| name.ends_with("unseen")), "focus cannot be seen: {reached:?}");
    browser.evaluate("document.activeElement.blur()");
    browser.press("?");
    browser.wait("help", "document.querySelector('#help-text[open]')");
    browser.press("Escape");
    browser.wait("no help", "!document.querySelector('dialog[open]')");
    // What is closed keeps the focus until the next frame is drawn; a key that comes first is for the page.
    let early = "(() => { const help = document.querySelector('#help-text'); help.showModal(); \
                 const button = help.querySelector('button'); button.focus(); help.close(); \
                 const key = new KeyboardEvent('keydown', { key: ' ', bubbles: true, cancelable: true }); \
                 return button === document.activeElement && !button.dispatchEvent(key); })()";
    assert_eq!(browser.evaluate(early), true, "the button of a closed dialog takes no key");
    browser.press("f");
    browser.press("ArrowLeft");
    browser.wait(
        "a slot that is held",
        "document.querySelector('#follow').getAttribute('aria-pressed') === 'false'",
    );
    browser.settle();
    let slot = "Number(document.querySelector('.slot[aria-selected=true]').dataset.slot)";
    let shown = browser.evaluate(slot);
    browser.press("ArrowLeft");
    browser.wait("an earlier slot", &format!("{slot} < {shown}"));
    let follows = "document.querySelector('#follow').getAttribute('aria-pressed') === 'true'";
    browser.press(" ");
    browser.wait("the newest again", follows);
    browser.press("ArrowLeft");
    browser.wait("a slot that is held once more", &format!("!({follows})"));
    let done = "document.querySelectorAll('.steps [data-done=true]').length";
    browser.wait("its agreement, to the end", &format!("{done} > 3"));
    browser.press("r");
    browser.wait("its beginning again", &format!("{done} < 3"));
    browser.press("f");
    browser.wait("the newest for F", follows);
    browser.evaluate("document.querySelector('#agreement').focus()");
    for (key, replica) in [("ArrowDown", 0), ("ArrowDown", 1), ("ArrowUp", 0)] {
        browser.press(key);
        let looks = format!(
            "document.querySelectorAll('#lane-names button')[{replica}].getAttribute('aria-pressed') === 'true'"
        );
        browser.wait("a look at one replica", &looks);
    }
}

/// The keys that a recording has for itself: event by event, slower and faster.
fn use_the_keys_of_a_recording(browser: &mut Browser) {
    browser.evaluate("document.activeElement.blur()");
    let place = "document.querySelector('#where').textContent";
    for key in [".", ","] {
        let here = browser.evaluate(place);
        browser.press(key);
        browser.wait("another event", &format!("{place} !== {here}"));
    }
    for (key, speed) in [("+", "2"), ("-", "1"), ("-", "0.5"), ("+", "1")] {
        browser.press(key);
        browser.wait("another speed", &format!("document.querySelector('#speed').value === '{speed}'"));
    }
}

#[test]
fn a_recording_of_many_replicas_plays_without_a_server_and_its_words_stay_words() {
    let Some((mut browser, folder, _turn)) = stage("recording") else { return };
    let place = tempfile::tempdir().unwrap();
    let (lines, page) = (place.path().join("run.jsonl"), place.path().join("run.html"));
    fs::write(&lines, recordings::recording(31, 120)).unwrap();
    let made = quorate(&["view", lines.to_str().unwrap(), "--out", page.to_str().unwrap()]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    browser.look(Look { still: true, ..DESK });
    let address = format!("file://{}", page.display());
    browser.open(&address);
    browser.wait("a commit", "document.documentElement.dataset.firstCommitMs");
    browser.wait("31 replicas", "document.querySelectorAll('.card').length === 31");
    // It plays by itself, until somebody says stop, or to its end.
    browser.settle();
    browser.evaluate("(() => { const play = document.querySelector('#play'); if (play.textContent === 'Pause') play.click(); })()");
    browser.wait("a pause", "document.querySelector('#play').textContent === 'Play'");
    browser.evaluate("document.querySelector('#scrubber').value = 0; document.querySelector('#scrubber').dispatchEvent(new Event('input'))");
    browser.click("#after");
    browser.wait(
        "who disagrees",
        "document.querySelector('.banner[data-key=\"2 history\"]').textContent.includes('slot 40')",
    );
    browser.click("#facts .alarms");
    let rows = "[...document.querySelectorAll('#log li')].filter(row => row.offsetParent !== null)";
    let alarms = format!(
        "document.activeElement.id === 'log' && {rows}.length > 0 && {rows}.every(row => row.dataset.weight === 'alarm')"
    );
    browser.wait("the list of alarms, and nothing else in it", &alarms);
    browser.click("#after");
    browser.wait("the dead primary", "document.querySelector(\".card[data-replica='0'][data-up=false]\")");
    use_the_keys_of_a_recording(&mut browser);
    browser.press("ArrowLeft");
    browser.picture(&folder.join("7-recording.png"));
    is_fit_for_everybody(&mut browser, Look { dark: true, still: true, ..DESK });
    is_fit_for_everybody(&mut browser, HAND);
    browser.picture(&folder.join("8-recording-narrow.png"));
    browser.evaluate("document.querySelector('#scrubber').value = 1000; document.querySelector('#scrubber').dispatchEvent(new Event('input'))");
    browser.wait("the verdict", "document.querySelectorAll('#verdict-lines li').length === 2");
    let words = browser.evaluate("document.querySelector('#verdict-lines li:last-child').textContent");
    assert_eq!(words, recordings::MARKUP, "words are shown as they are");
    assert_eq!(browser.evaluate("document.title.startsWith('a trial <img')"), true, "nothing in it was run");
    assert_eq!(browser.evaluate("document.querySelectorAll('main img, main script').length"), 0);
    browser.look(DESK);
    is_quick(&mut browser);
    is_clean(&mut browser, &address);
}

/// A frame with everything in it does not take long, though there are 31 replicas and much happens.
fn is_quick(browser: &mut Browser) {
    browser.click("#play");
    browser.wait("that it plays", "document.querySelector('#play').textContent === 'Pause'");
    // A frame takes the recording on by a quarter of a second at most, so there are some however slow they are.
    let frames = "new Promise(done => { let last = performance.now(), took = []; const frame = now => { took.push(now - last); \
                  last = now; const plays = document.querySelector('#play').textContent === 'Pause'; \
                  if (plays && took.length < 40) requestAnimationFrame(frame); else done(took.sort((a, b) => a - b)); }; \
                  requestAnimationFrame(frame); })";
    let took = browser.evaluate(frames);
    let took: Vec<f64> = took.as_array().unwrap().iter().map(|ms| ms.as_f64().unwrap()).collect();
    assert!(took.len() >= 20, "{took:?}");
    let most = took[took.len() * 3 / 4];
    println!("three of four frames of a recording of 31 replicas that plays: {most:.0} ms at most");
    assert!(most < 400.0, "{took:?}");
}

#[test]
fn a_recording_that_a_server_shows_is_played_and_one_that_is_dropped_takes_its_place() {
    let Some((mut browser, folder, _turn)) = stage("served") else { return };
    let place = tempfile::tempdir().unwrap();
    let lines = place.path().join("run.jsonl");
    fs::write(&lines, recordings::recording(4, 900)).unwrap();
    let log = folder.join("view.log");
    let mut command = program();
    command.args(["view", lines.to_str().unwrap()]).stdin(Stdio::null());
    let child = command.stdout(File::create(&log).unwrap()).stderr(Stdio::null()).spawn().unwrap();
    let mut server = Testbed { child, address: String::new() };
    server.address = block(until("the address", async || {
        fs::read_to_string(&log).ok()?.strip_suffix('\n').map(str::to_owned)
    }));
    browser.look(DESK);
    browser.open(&server.address);
    browser.wait(
        "a recording that plays",
        "!document.querySelector('#player').hidden && document.querySelector('.slot')",
    );
    browser
        .wait("the time that it takes", "document.querySelector('#where').textContent.endsWith('of 0:45.0')");
    browser.picture(&folder.join("9-served.png"));
    let drop = "(() => { const moved = new DataTransfer(); moved.items.add(new File(['no recording\\n'], 'x.txt')); \
                window.dispatchEvent(new DragEvent('drop', { dataTransfer: moved, bubbles: true, cancelable: true })); })()";
    browser.evaluate(drop);
    browser.wait(
        "what is wrong with it",
        "document.querySelector('.banner').textContent.includes('no recording of Quorate')",
    );
    let other = drop.replace(
        "no recording\\n",
        &recordings::recording(7, 3).replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n"),
    );
    browser.evaluate(&other);
    browser.wait("the other recording", "document.querySelectorAll('.card').length === 7");
    is_clean(&mut browser, server.origin());
}
