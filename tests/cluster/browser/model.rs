//! What the page makes of what it is told: its own functions, called in the browser on made-up moments.

use serde_json::{Value, json};

use super::super::processes::{quorate, text};
use super::chromium::Browser;
use super::{recordings, stage};

/// Four replicas in view 2, of whose slot 7 a lane can be told; what is given changes what is told.
const MOMENTS: &str = "const model = newModel(); \
    const tell = (kind, more) => accept(model, { kind, t: 5e6, ...more }); \
    tell('header', { n: 4, f: 1, q: 3, source: 'testbed' }); \
    const stand = (id, executed, more) => tell('replica', { id, executed, committed: executed, view: 2, primary: 2, ...more }); \
    const stands = (executed, more) => [0, 1, 2, 3].forEach(id => stand(id, executed, more)); \
    const lane = (replica, more) => tell('slot', { replica, view: 2, seq: 7, operations: 3, batch: 'aa', proposed: 1, \
    prepares: [[2, 1], [0, 2], [3, 2]], prepared: 3, commits: [[0, 4], [2, 4], [3, 4]], committed: 5, executed: 6, \
    replied: 7, ...more }); \
    const slot = (view = 2) => model.slots.get(`${view}:7`);";

/// A page that shows nothing that matters.
fn page(browser: &mut Browser) {
    let place = tempfile::tempdir().unwrap();
    let (lines, page) = (place.path().join("run.jsonl"), place.path().join("run.html"));
    std::fs::write(&lines, recordings::recording(4, 1)).unwrap();
    let made = quorate(&["view", lines.to_str().unwrap(), "--out", page.to_str().unwrap()]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    browser.open(&format!("file://{}", page.display()));
}

/// What a function of the page gives back.
fn of(browser: &mut Browser, script: &str) -> Value {
    browser.evaluate(&format!("(() => {{ {MOMENTS} {script} }})()"))
}

#[test]
fn a_run_that_has_ended_is_said_to_have_ended_and_what_it_came_to() {
    let Some((mut browser, _, _turn)) = stage("ending") else { return };
    page(&mut browser);
    let seen = |browser: &mut Browser, script: &str, silent: bool| {
        of(
            browser,
            &format!(
                "stands(1041); {script} const it = ending(model, {silent}); return it && [it.level, it.headline, it.reason];"
            ),
        )
    };
    assert_eq!(seen(&mut browser, "", false), Value::Null, "it goes on");
    let verdict =
        "tell('verdict', { lines: ['4 replicas', 'verdict      all replicas executed the same history'] });";
    assert_eq!(
        seen(&mut browser, verdict, true),
        json!([
            "over",
            "The run has ended; it came to slot 1,041 in view 2.",
            "All replicas executed the same history. Below is how it was last."
        ])
    );
    assert_eq!(
        seen(&mut browser, "", true),
        json!([
            "over",
            "The run has ended, or cannot be reached any more; it came to slot 1,041 in view 2.",
            "Nobody honest was seen to disagree. Below is how it was last. This page goes on asking."
        ])
    );
    let wrong = "tell('disagreement', { replica: 3, about: 'history', seq: 9, says: 'ab', others: 'cd' });";
    let ended = seen(&mut browser, wrong, true);
    assert_eq!(ended[0], "bad");
    assert!(ended[2].as_str().unwrap().starts_with("Replica 3 was seen to disagree."), "{ended}");
    let gone =
        "stands(1041); stands(1041, { up: false, state: 'stopped' }); return diagnosis(model).headline;";
    assert_eq!(of(&mut browser, gone), "All 4 replicas are gone; the run came to slot 1,041 in view 2.");
}

#[test]
fn a_replica_of_which_a_slot_was_not_sampled_is_not_said_to_have_missed_it() {
    let Some((mut browser, _, _turn)) = stage("sampled") else { return };
    page(&mut browser);
    let mut far = |script: &str| {
        of(
            &mut browser,
            &format!("[0, 2, 3].forEach(id => lane(id)); {script} return howFar(model, slot());"),
        )
    };
    assert_eq!(far("stands(9);"), json!(["executed by 3", "not sampled at 1"]));
    assert_eq!(
        far("stands(9); stand(1, 6);"),
        json!(["3 of 4 executed", ""]),
        "that one has not come so far"
    );
    assert_eq!(
        far("stands(9); lane(1, { committed: null, executed: null });"),
        json!(["3 of 4 executed", ""])
    );
    let both = "stands(9); lane(0, { executed: null });";
    assert_eq!(
        far(&format!("{both} lane(2, {{ executed: null }});")),
        json!(["committed by 3", "not sampled at 1"])
    );
    assert_eq!(far("stands(9); lane(1);"), json!(["4 of 4 executed", ""]));
}

#[test]
fn a_vote_for_another_batch_than_was_committed_is_found_and_explained() {
    let Some((mut browser, _, _turn)) = stage("strays") else { return };
    page(&mut browser);
    let mut odd = |script: &str, view: u64| {
        let told = "stands(9); [2, 3].forEach(id => lane(id)); lane(0, { otherwise: [[1, 2, 'bb'], [2, 2, 'aa']] });";
        of(
            &mut browser,
            &format!("{told} {script} return straysInWords(model, strays(model, slot({view})));"),
        )
    };
    let one = |why: &str| {
        format!(
            "≠ Replica 1 voted for another batch than was committed, before replica 0: {why}. Only one batch gets 3 of 4 votes."
        )
    };
    assert_eq!(odd("", 2), one("it lies, or was lied to"));
    let honest_too = "lane(3, { prepares: [[1, 2], [2, 1], [3, 2]] });";
    assert_eq!(odd(honest_too, 2), one("it voted for the right one, too, so it lies"));
    assert_eq!(odd("stand(1, 9, { behaviour: 'equivocate' });", 2), one("it lies on purpose"));
    assert_eq!(odd("lane(0);", 2), "", "nobody did");
    // Whoever was shown the other batch holds the votes for that one.
    let deceived = "lane(0); lane(1, { batch: 'bb', prepares: [[2, 1], [1, 2]], prepared: null, commits: [], \
                    otherwise: [[0, 2, 'aa'], [3, 2, 'aa']] });";
    let told = odd(deceived, 2);
    let told = told.as_str().unwrap();
    assert!(
        told.contains("Replica 1 voted for another batch than was committed: it lies, or was lied to"),
        "{told}"
    );
    assert!(
        told.contains(
            "Replica 2 voted for another batch than was committed, before replica 1: it voted for the right"
        ),
        "{told}"
    );
    assert!(!told.contains("Replica 0") && !told.contains("Replica 3"), "{told}");
    let left = |batch: &str| {
        format!(
            "lane(3, {{ view: 1, batch: '{batch}', prepared: null, commits: [], committed: null, executed: null, replied: null, otherwise: [[1, 2, 'bb']] }});"
        )
    };
    assert_eq!(odd(&left("cc"), 1), "", "a new view put another batch in the place of theirs");
    assert!(
        odd(&left("aa"), 1).as_str().unwrap().contains("Replica 1 voted"),
        "who was right is known by the later view"
    );
    assert_eq!(
        odd("model.slots.clear(); lane(3, { prepared: null, otherwise: [[0, 2, 'bb']] });", 2),
        "",
        "who was right is not known"
    );
}

#[test]
fn a_jump_in_a_recording_forgets_neither_a_wrong_history_nor_who_fell_silent_long_ago() {
    let Some((mut browser, _, _turn)) = stage("jump") else { return };
    page(&mut browser);
    let jump = "const lines = [{ kind: 'header', n: 4, f: 1, q: 3, source: 'simulation' }, \
        { t: 1, kind: 'disagreement', replica: 2, about: 'history', seq: 9, says: 'ab', others: 'cd' }, \
        { t: 2, kind: 'replica', id: 3, up: false, state: 'stopped' }]; \
        for (let t = 10; t < 6000; t++) lines.push({ t, kind: t % 2 ? 'slot' : 'replica', id: t % 3, seq: t, up: true }); \
        const bytes = new TextEncoder().encode(lines.map(line => JSON.stringify(line)).join('\\n')); \
        let seen = []; \
        const player = playerOf(readRecording(bytes), { onAnew() {}, onMoments: found => { seen = found; }, onEnd() {} }); \
        player.seek(player.end); \
        return [seen.filter(one => one.kind === 'disagreement').length, \
            seen.filter(one => one.id === 3 && one.kind === 'replica').map(one => one.state), seen.length > 3000];";
    assert_eq!(of(&mut browser, jump), json!([1, ["stopped"], true]));
}

#[test]
fn what_is_over_is_fetched_to_its_end_however_few_moments_come_at_once() {
    let Some((mut browser, _, _turn)) = stage("whole") else { return };
    page(&mut browser);
    let whole = "const real = window.fetch; let asked = []; \
        const answers = [[{ kind: 'header', n: 64, over: true }, { t: 1 }], [{ t: 2 }], []]; \
        window.fetch = async (address, { signal }) => { asked.push(signal instanceof AbortSignal); \
            return { ok: true, json: async () => ({ began: 7, next: asked.length, lost: 0, moments: answers[asked.length - 1] }) }; }; \
        return new Promise(done => { const source = liveSource({ onMoments() {}, onTrouble() {}, onAnew() {}, \
            onWhole: parts => { window.fetch = real; source.stop(); done([parts.length, asked]); } }); });";
    assert_eq!(of(&mut browser, whole), json!([3, [true, true, true]]));
}

#[test]
fn a_replica_that_is_not_heard_can_be_killed_and_one_that_was_killed_started_again() {
    let Some((mut browser, _, _turn)) = stage("deeds") else { return };
    page(&mut browser);
    let buttons = "tell('header', { n: 4, f: 1, q: 3, source: 'testbed', control: true, commands: ['kill', 'restart'] }); \
        stands(9); stand(1, 9, { up: false, state: 'unreachable' }); stand(2, 9, { up: false, state: 'stopped' }); \
        stand(3, 9, { state: 'halted' }); const cards = cardsOf(() => {}); cards.draw(model, true); \
        const can = [...document.querySelectorAll('#cards .deeds')].map(row => \
            [...row.querySelectorAll('button')].filter(node => !node.disabled).map(node => node.dataset.do)); \
        model.replicas[2] = null; cards.draw(model, true); \
        return [can, document.querySelectorAll('#cards .card')[2].innerText.split(/\\n+/).slice(0, 2), \
            document.querySelectorAll('#cards .card')[2].dataset.executed === undefined];";
    let found = of(&mut browser, buttons);
    assert_eq!(found[0], json!([["kill"], ["kill"], ["restart"], ["kill"]]));
    assert_eq!(found[1], json!(["Replica 2", "not heard of"]), "{found}");
    assert_eq!(found[2], true, "what it said before is not shown any more");
}

#[test]
fn a_slot_that_is_held_names_its_primary_and_leads_on_though_it_is_forgotten() {
    let Some((mut browser, _, _turn)) = stage("held") else { return };
    page(&mut browser);
    let held = "stands(9); const slots = from => { for (let seq = from; seq < from + 9; seq++) \
            [0, 1, 2, 3].forEach(id => lane(id, { seq })); }; slots(1); \
        document.querySelector('#lane-names').replaceChildren(); document.querySelector('#slots').replaceChildren(); \
        const agreement = agreementOf(() => {}); agreement.draw(model, 0, true); agreement.step(1); agreement.draw(model, 0, false); \
        const crowned = [...document.querySelectorAll('#lane-names button')].map(node => node.textContent); \
        agreement.step(-1); agreement.draw(model, 0, false); const words = () => document.querySelector('#slot-words').textContent; \
        const newest = words(); model.slots.clear(); slots(20); agreement.step(-1); agreement.draw(model, 0, false); \
        const later = words(); agreement.reset(); agreement.setFollow(true); model.slots.clear(); agreement.draw(model, 0, false); \
        return [crowned, newest.split(' of ')[0], later.split(' of ')[0], words().split(',')[0], \
            document.querySelector('#quorums').childElementCount];";
    assert_eq!(
        of(&mut browser, held),
        json!([["0", "1", "♛ 2", "3"], "Slot 9", "Slot 28", "As soon as something is agreed on", 0])
    );
}

#[test]
fn that_more_lie_than_are_borne_is_said_before_all_else() {
    let Some((mut browser, _, _turn)) = stage("warnings") else { return };
    page(&mut browser);
    let first = "stands(9); [1, 2].forEach(id => { stand(id, 9, { behaviour: 'lying-replies' }); \
        tell('disagreement', { replica: id, about: 'history', seq: 9, says: 'ab', others: 'cd' }); }); \
        return warnings(model).map(one => one.key);";
    assert_eq!(of(&mut browser, first)[0], "lies");
}
