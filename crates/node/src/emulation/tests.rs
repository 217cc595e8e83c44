//! Links and files, without sockets: time is an argument.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::Path;

use super::file::{EmulationFile, Rule};
use super::flow::{Fate, Flow};
use super::queue::{Queue, Sent, Taken, UNDER_WAY_BYTES_MAX};

const NOWHERE: Rule = Rule {
    delay_us: 0,
    jitter_us: 0,
    jitter_reorders: false,
    loss: 0.0,
    reorder: 0.0,
    reorder_us: 0,
    bandwidth_bytes_per_second: 0,
    queue_bytes: 1 << 20,
    seed: 0,
};

/// When each of many datagrams is due that are sent one every `every_us`; none for those that never arrive.
fn dues(rule: Rule, seed: u64, count: u64, every_us: u64) -> Vec<Option<u64>> {
    let mut flow = Flow::new(rule, seed);
    let fate = |number: u64| match flow.fate(number * every_us, 1000) {
        Fate::Arrives { due_us, .. } => Some(due_us),
        Fate::Lost | Fate::Dropped => None,
    };
    (0..count).map(fate).collect()
}

#[test]
fn a_datagram_is_under_way_for_the_delay_and_at_most_the_jitter_more() {
    let rule = Rule { delay_us: 40_000, jitter_us: 5_000, jitter_reorders: true, ..NOWHERE };
    let times: Vec<u64> =
        (0..).zip(dues(rule, 1, 2000, 100)).map(|(number, due)| due.unwrap() - number * 100).collect();
    assert!(times.iter().all(|time| (40_000..=45_000).contains(time)));
    let mean = times.iter().sum::<u64>() / 2000;
    assert!((42_300..42_700).contains(&mean), "jitter is evenly spread, so its mean is half of it: {mean}");
    assert!(times.iter().min().unwrap() < &40_100 && times.iter().max().unwrap() > &44_900);
}

#[test]
fn order_is_kept_unless_reordering_is_asked_for() {
    let jitter = Rule { delay_us: 10_000, jitter_us: 8_000, ..NOWHERE };
    let kept = dues(jitter, 3, 1000, 50);
    assert!(kept.is_sorted());
    let free = dues(Rule { jitter_reorders: true, ..jitter }, 3, 1000, 50);
    assert!(!free.is_sorted());
    let held = dues(Rule { jitter_us: 0, reorder: 0.1, reorder_us: 5_000, ..jitter }, 3, 1000, 50);
    let late = (0..).zip(&held).filter(|(number, due)| due.unwrap() == number * 50 + 15_000).count();
    let rest = (0..).zip(&held).filter(|(number, due)| due.unwrap() == number * 50 + 10_000).count();
    assert_eq!(late + rest, 1000, "who is not held back is not held up by those who are");
    assert!((70..130).contains(&late), "a tenth is held back: {late}");
}

#[test]
fn loss_is_the_share_that_the_rule_says_and_the_same_ones_for_the_same_seed() {
    let rule = Rule { loss: 0.02, ..NOWHERE };
    let lost = |seed| dues(rule, seed, 10_000, 10).iter().map(Option::is_none).collect::<Vec<_>>();
    let count = lost(7).iter().filter(|lost| **lost).count();
    // Five standard deviations of 200 in 10,000.
    assert!((130..270).contains(&count), "{count}");
    assert_eq!(lost(7), lost(7));
    assert_ne!(lost(7), lost(8));
}

#[test]
fn the_fate_of_a_datagram_depends_on_its_place_alone() {
    let rule = Rule { delay_us: 1000, jitter_us: 9_000, jitter_reorders: true, loss: 0.1, ..NOWHERE };
    let slow = dues(rule, 5, 500, 1_000_000);
    let fast = dues(rule, 5, 500, 1);
    for (number, (slow, fast)) in (0_u64..).zip(slow.iter().zip(&fast)) {
        assert_eq!(slow.map(|due| due - number * 1_000_000), fast.map(|due| due - number));
    }
}

#[test]
fn a_link_passes_no_more_bytes_than_its_width() {
    let width = 1_000_000;
    let rule = Rule { bandwidth_bytes_per_second: width, queue_bytes: 64 << 10, ..NOWHERE };
    // Ten times as much as passes, for a second.
    let due: Vec<u64> = dues(rule, 1, 10_000, 100).into_iter().flatten().collect();
    assert!(due.is_sorted());
    for (number, at_us) in (1_u64..).zip(&due) {
        let bytes = number * 1000;
        // A millisecond's worth and one datagram may be ahead.
        assert!(bytes <= at_us * width / 1_000_000 + 1000 + 1000, "{bytes} bytes by {at_us} us");
    }
    let passed = due.iter().filter(|at_us| **at_us <= 1_000_000).count() as u64 * 1000;
    assert!(passed > 990_000, "what fits does pass: {passed}");
    let dropped = 10_000 - due.len() as u64;
    assert!((8_900..9_000).contains(&dropped), "what waits is bounded, and the rest is dropped: {dropped}");
    let longest =
        (0..).zip(dues(rule, 1, 10_000, 100)).filter_map(|(number, due)| Some(due? - number * 100)).max();
    assert!(longest.unwrap() <= 66_000, "64 KiB take 66 ms: {longest:?}");
}

#[test]
fn a_narrow_link_still_passes_one_datagram_after_the_other() {
    let rule = Rule { bandwidth_bytes_per_second: 1000, ..NOWHERE };
    let due: Vec<u64> = dues(rule, 1, 4, 0).into_iter().flatten().collect();
    assert_eq!(due, [0, 999_000, 1_999_000, 2_999_000]);
}

fn file(text: &str) -> Result<EmulationFile, String> {
    EmulationFile::parse(text, Path::new("e.toml")).map_err(|error| error.to_string())
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn the_most_exact_target_counts() {
    let text = "seed = 3\n[link.\"127.0.0.1:7101\"]\ndelay_us = 1000\n[link.\"127.0.0.1\"]\ndelay_us = 2000\n\
                [link.anywhere]\ndelay_us = 3000\n";
    let file = file(text).unwrap();
    let delay = |to: &str| file.rule_for(address(to)).unwrap().1.delay_us;
    assert_eq!([delay("127.0.0.1:7101"), delay("127.0.0.1:9"), delay("10.0.0.1:9")], [1000, 2000, 3000]);
    assert_eq!(delay("[::ffff:127.0.0.1]:7101"), 1000, "as a socket for both kinds of addresses writes it");
    assert_eq!(EmulationFile::parse(&file.to_toml(), Path::new("again")).unwrap(), file);
    assert_eq!(EmulationFile::default().rule_for(address("10.0.0.1:9")), None);
}

#[test]
fn a_file_that_cannot_be_emulated_is_refused_by_line_or_link_and_with_the_fix() {
    let refused = |text: &str| file(text).unwrap_err();
    let short = refused("[link.anywhere]\ndelay_us = 99\n");
    assert!(short.contains("[link.\"anywhere\"]: `delay_us` is 99; fix: write 0, or 100 to"), "{short}");
    assert!(refused("[link.anywhere]\njitter_us = 1\n").contains("`jitter_us` is 1;"));
    assert!(refused("[link.anywhere]\ndelay_us = 60000000\n").contains("`delay_us`"));
    assert!(refused("[link.anywhere]\nloss = 1.0\n").contains("`loss` is 1; fix: write a share"));
    assert!(refused("[link.anywhere]\nloss = nan\n").contains("`loss` is NaN"));
    assert!(refused("[link.anywhere]\nreorder = 0.1\n").contains("`reorder_us` is 0"));
    assert!(refused("[link.anywhere]\nbandwidth_bytes_per_second = 10\n").contains("1000 to 12500000000"));
    assert!(refused("[link.anywhere]\nqueue_bytes = 0\n").contains("`queue_bytes` is 0"));
    let misspelt = refused("seed = 1\n[link.anywhere]\ndely_us = 1000\n");
    assert!(misspelt.starts_with("e.toml:3: ") && misspelt.contains("dely_us"), "{misspelt}");
    assert!(refused("[link.\"example.org:80\"]\n").contains("is no target of a link"));
    assert!(refused("seed = \"x\"\n").starts_with("e.toml:1: "));
    let many: String = (0..5000).map(|port| format!("[link.\"10.0.0.1:{}\"]\n", port + 1)).collect();
    assert!(refused(&many).contains("5000 links, more than 4096; fix"));
}

fn sent(queue: &mut Queue, now_us: u64, to: SocketAddr, contents: &[u8]) -> Taken {
    let sent = Sent { destination: to, source: None, congestion: None, contents };
    let link = queue.link_to(to).unwrap();
    queue.take(now_us, link, sent)
}

/// What leaves by `now_us`, by its first byte.
fn leaving(queue: &mut Queue, now_us: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some((_, datagram)) = queue.due(now_us) {
        out.push(datagram.contents[0]);
        queue.sent();
    }
    out
}

#[test]
fn datagrams_of_several_links_leave_when_each_is_due() {
    let (near, far) = (address("10.0.0.1:1"), address("10.0.0.2:1"));
    let text = "[link.\"10.0.0.1\"]\ndelay_us = 1000\n[link.\"10.0.0.2\"]\ndelay_us = 5000\n";
    let mut queue = Queue::new(&file(text).unwrap(), 0);
    assert_eq!(queue.link_to(address("10.0.0.3:1")), None, "nothing is emulated on the way there");
    assert_eq!(sent(&mut queue, 0, far, &[1]), Taken::Kept { held: false, first: true });
    assert_eq!(sent(&mut queue, 0, near, &[2]), Taken::Kept { held: false, first: true });
    assert_eq!(sent(&mut queue, 0, near, &[3]), Taken::Kept { held: false, first: false });
    assert_eq!(queue.next_due(), Some(1000));
    assert_eq!(leaving(&mut queue, 999), [0; 0]);
    assert_eq!(leaving(&mut queue, 1000), [2, 3]);
    assert_eq!(leaving(&mut queue, 4999), [0; 0]);
    assert_eq!(leaving(&mut queue, 9000), [1]);
    assert_eq!(queue.next_due(), None);
}

#[test]
fn nothing_passes_those_that_wait_on_the_same_link() {
    let to = address("10.0.0.1:1");
    let text = "[link.anywhere]\nbandwidth_bytes_per_second = 1000000\n";
    let mut queue = Queue::new(&file(text).unwrap(), 0);
    assert_eq!(sent(&mut queue, 0, to, &[1; 1000]), Taken::Passes);
    assert_eq!(sent(&mut queue, 0, to, &[2; 1500]), Taken::Passes, "a millisecond's worth passes at once");
    assert_eq!(sent(&mut queue, 0, to, &[3; 10]), Taken::Kept { held: false, first: true });
    assert_eq!(sent(&mut queue, 9000, to, &[4; 10]), Taken::Kept { held: false, first: false });
    assert_eq!(leaving(&mut queue, 9000), [3, 4]);
    assert_eq!(sent(&mut queue, 9000, to, &[5; 10]), Taken::Passes);
}

#[test]
fn what_is_under_way_is_bounded() {
    let to = address("10.0.0.1:1");
    let mut queue = Queue::new(&file("[link.anywhere]\ndelay_us = 1000\n").unwrap(), 0);
    let large = vec![0; 1 << 20];
    for _ in 0..UNDER_WAY_BYTES_MAX >> 20 {
        assert!(matches!(sent(&mut queue, 0, to, &large), Taken::Kept { .. }));
    }
    assert_eq!(sent(&mut queue, 0, to, &[0]), Taken::Dropped);
    assert_eq!(leaving(&mut queue, 1000).len(), UNDER_WAY_BYTES_MAX >> 20);
    assert!(matches!(sent(&mut queue, 1000, to, &[0]), Taken::Kept { .. }), "there is room again");
}

#[test]
fn links_and_sockets_have_chances_of_their_own() {
    let text = "[link.\"10.0.0.1\"]\nloss = 0.5\n[link.\"10.0.0.2\"]\nloss = 0.5\n";
    let fates = |text: &str, socket: u64, to: &str| -> Vec<bool> {
        let mut queue = Queue::new(&file(text).unwrap(), socket);
        (0..64).map(|_| sent(&mut queue, 0, address(to), &[0]) == Taken::Lost).collect()
    };
    let one = fates(text, 0, "10.0.0.1:1");
    assert_eq!(one, fates(text, 0, "10.0.0.1:1"));
    assert_ne!(one, fates(text, 0, "10.0.0.2:1"));
    assert_ne!(one, fates(text, 1, "10.0.0.1:1"));
    assert_ne!(one, fates(&format!("seed = 1\n{text}"), 0, "10.0.0.1:1"));
    // A link with a seed of its own keeps its chance wherever it stands.
    let (first, second) = (
        "[link.\"10.0.0.1\"]\nloss = 0.5\nseed = 9\n[link.\"10.0.0.2\"]\nloss = 0.5\n",
        "[link.\"10.0.0.1\"]\nloss = 0.5\n[link.\"10.0.0.2\"]\nloss = 0.5\nseed = 9\n",
    );
    assert_eq!(fates(first, 0, "10.0.0.1:1"), fates(second, 0, "10.0.0.2:1"));
}
