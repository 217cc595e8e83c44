//! Writes a picture down as SVG.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use quorate_protocol::types::{ReplicaId, Time};

use super::Subject;
use super::layout::{Item, LANE, LEFT, LINE, Layout, Look, TOP};
use super::sketch::{Fate, Mark, Phase, Sent, Sketch};
use crate::network::Party;

/// Width of a letter, in tenths.
const LETTER: i64 = 62;
/// Most lines of what went wrong.
const WORDS_MAX: usize = 24;

const STYLE: &str = "
svg{--paper:#fff;--ink:#1d232b;--faint:#7a8592;--lane:#c9d0d8;--request:#5b6b7d;--pre-prepare:#1f6feb;
--prepare:#0b8768;--commit:#7b45c4;--checkpoint:#a36600;--view-change:#c2326b;--fetch:#8a5a44;--bad:#c92a2a;
--bad-paper:#fdecec;--good:#2b8a3e;--good-paper:#ebf8ee;--box:#f3f5f8}
@media(prefers-color-scheme:dark){svg{--paper:#14171c;--ink:#e3e7ec;--faint:#8d98a5;--lane:#3b444e;--request:#a6b5c5;
--pre-prepare:#6cb0ff;--prepare:#4fd3ae;--commit:#c39bff;--checkpoint:#f0b44c;--view-change:#ff86b0;--fetch:#d8a98f;
--bad:#ff7b7b;--bad-paper:#3a1a1c;--good:#69db7c;--good-paper:#16301c;--box:#20262d}}
text{font:10.5px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:var(--ink)}
.title{font:600 17px system-ui,'DejaVu Sans',sans-serif}.name{font:600 12px system-ui,'DejaVu Sans',sans-serif;
text-anchor:middle}.note,.legend{font:11.5px system-ui,'DejaVu Sans',sans-serif}.note,.time{fill:var(--faint)}
.time,.left{text-anchor:end}.mid{text-anchor:middle}.halo{paint-order:stroke;stroke:var(--paper);stroke-width:3.5px;
stroke-linejoin:round}.lane{stroke:var(--lane);stroke-width:1.5}.down{stroke:var(--bad);stroke-width:1.5;
stroke-dasharray:2 5}.row{stroke:var(--lane);stroke-width:.5;stroke-dasharray:1 6}.a{fill:none;stroke-width:1.3}
.lost{stroke-dasharray:5 3}.x{stroke-width:2.2;fill:none}.box{fill:var(--box);stroke:var(--lane)}
.bad-box{fill:var(--bad-paper);stroke:var(--bad)}.proof-box{fill:var(--checkpoint);stroke:var(--checkpoint)}
.proof{fill:var(--paper);font-weight:600}.good-box{fill:var(--good-paper);stroke:var(--good)}
.bad{fill:var(--bad)}.good{fill:var(--good)}.ring{fill:none;stroke:var(--bad);stroke-width:2.5}
.under{fill:var(--paper);opacity:.86}.view-box{fill:var(--paper);stroke:var(--view-change)}
";

const PHASES: [(Phase, &str, &str); 7] = [
    (Phase::Request, "request", "request, reply"),
    (Phase::PrePrepare, "pre-prepare", "pre-prepare"),
    (Phase::Prepare, "prepare", "prepare"),
    (Phase::Commit, "commit", "commit"),
    (Phase::Checkpoint, "checkpoint", "checkpoint"),
    (Phase::ViewChange, "view-change", "view change"),
    (Phase::Fetch, "fetch", "fetch"),
];

fn class(phase: Phase) -> &'static str {
    PHASES.iter().find(|(of, ..)| *of == phase).map_or("request", |(_, class, _)| class)
}

/// A time, in milliseconds.
pub(super) fn moment(at: Time) -> String {
    match at.0 % 1_000 {
        0 => format!("{} ms", at.0 / 1_000),
        rest => format!("{}.{rest:03} ms", at.0 / 1_000),
    }
}

fn span(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..10_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        10_000..1_000_000 => format!("{} ms", us / 1_000),
        _ => format!("{}.{:02} s", us / 1_000_000, us % 1_000_000 / 10_000),
    }
}

/// Any text, so that it means nothing to SVG.
fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            letter if letter.is_control() => safe.push(' '),
            letter => safe.push(letter),
        }
    }
    safe
}

/// At most so many letters of a text.
fn short(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(letters.saturating_sub(1)).collect();
    cut.push('\u{2026}');
    cut
}

fn wide(text: &str) -> i64 {
    i64::try_from(text.chars().count()).unwrap_or(0) * LETTER / 10
}

fn name(party: Party) -> String {
    match party {
        Party::Client(index) => format!("client {}", index + 1),
        Party::Replica(id) => format!("replica {id}"),
    }
}

pub(super) fn paint(layout: &Layout, sketch: &Sketch, subject: &Subject) -> String {
    let mut painter = Painter { svg: String::new(), layout, sketch, subject };
    let words = painter.words();
    let height = layout.end + 40 + i64::try_from(words.len()).unwrap_or(0) * 16 + 24;
    painter.head(height);
    painter.lanes();
    painter.everywhere();
    for (index, (at, mark)) in sketch.marks().enumerate() {
        painter.arrows(index, *at, mark);
    }
    for item in &layout.items {
        painter.item(item);
    }
    painter.names(TOP - 34);
    for y in &layout.names {
        painter.names(*y);
    }
    painter.end(&words);
    painter.svg.push_str("</svg>\n");
    painter.svg
}

struct Painter<'a> {
    svg: String,
    layout: &'a Layout,
    sketch: &'a Sketch,
    subject: &'a Subject,
}

impl Painter<'_> {
    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Nothing goes wrong in memory.
        let _written = self.svg.write_fmt(text);
        self.svg.push('\n');
    }

    fn lanes_of(&self) -> impl Iterator<Item = Party> + use<> {
        let clients = (0..self.subject.clients).map(Party::Client);
        clients.chain((0..self.subject.replicas).map(|id| Party::Replica(ReplicaId(id))))
    }

    fn head(&mut self, height: i64) {
        let width = self.layout.width;
        self.put(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\"><style>{STYLE}</style>"
        ));
        let title = safe(&self.subject.title);
        self.put(format_args!("<title>{title}</title><defs>"));
        for (_, class, _) in PHASES {
            self.put(format_args!(
                "<marker id=\"{class}\" viewBox=\"0 0 8 8\" refX=\"7.5\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
                 markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M0 .8 8 4 0 7.2Z\" fill=\"var(--{class})\"/>\
                 </marker>"
            ));
        }
        self.put(format_args!(
            "</defs><rect width=\"100%\" height=\"100%\" fill=\"var(--paper)\"/>\
             <text class=\"title\" x=\"24\" y=\"32\">{title}</text>"
        ));
        let shown = self.sketch.marks().filter(|(_, mark)| matches!(mark, Mark::Sent(_))).count() as u64;
        let (before, later, again) = (self.sketch.forgotten(), self.sketch.later(), self.sketch.repeated());
        let all = shown + before + later + again;
        let mut note = match (before, later) {
            (0, 0) => format!("{shown} of {all} messages"),
            (before, 0) => format!("the last {shown} of {all} messages: {before} came before these"),
            (0, later) => format!("the first {shown} of {all} messages: {later} came after these"),
            (before, later) => {
                format!("{shown} of {all} messages: {before} came before these, {later} after them")
            }
        };
        if again > 0 {
            note.push_str(&format!(", {again} only say again what was said twice"));
        }
        self.put(format_args!(
            "<text class=\"note\" x=\"24\" y=\"52\">{note}; without STATUS; quiet stretches are cut short</text>"
        ));
        self.legend();
    }

    fn legend(&mut self) {
        let used: BTreeSet<Phase> = self
            .sketch
            .marks()
            .filter_map(|(_, mark)| if let Mark::Sent(sent) = mark { Some(sent.phase) } else { None })
            .collect();
        let mut x = 24;
        for (_, class, words) in PHASES.iter().filter(|(phase, ..)| used.contains(phase)) {
            self.put(format_args!(
                "<path class=\"a\" d=\"M{x} 70h24\" stroke=\"var(--{class})\" marker-end=\"url(#{class})\"/>\
                 <text class=\"legend\" x=\"{}\" y=\"74\">{words}</text>",
                x + 30
            ));
            x += 30 + wide(words) + 26;
        }
        self.put(format_args!(
            "<path class=\"a lost\" d=\"M{x} 70h18\" stroke=\"var(--faint)\"/>{}\
             <text class=\"legend\" x=\"{}\" y=\"74\">lost</text>\
             <rect class=\"good-box\" x=\"{}\" y=\"63\" width=\"25\" height=\"13\" rx=\"3\"/>\
             <text class=\"good\" x=\"{}\" y=\"73\">n1</text><text class=\"legend\" x=\"{}\" y=\"74\">executed</text>",
            cross(x + 22, 70, "faint"),
            x + 32,
            x + 78,
            x + 84,
            x + 109
        ));
        x += 109 + wide("executed") + 26;
        self.legend_of_lies(x);
    }

    /// What liars do, and what is proven of it, where there is any of that.
    fn legend_of_lies(&mut self, mut x: i64) {
        let lies = self.sketch.marks().any(|(_, mark)| matches!(mark, Mark::Lies(..)));
        let proofs = self.sketch.marks().any(|(_, mark)| matches!(mark, Mark::Proves(..)));
        let both = [
            (lies, "bad", "lies", "lies told by then"),
            (proofs, "proof", "proof", "proof on its disk: who, what"),
        ];
        for (_, look, word, words) in both.into_iter().filter(|(any, ..)| *any) {
            let width = wide(word) + 12;
            self.put(format_args!(
                "<rect class=\"{look}-box\" x=\"{x}\" y=\"63\" width=\"{width}\" height=\"13\" rx=\"3\"/>\
                 <text class=\"mid {look}\" x=\"{}\" y=\"73\">{word}</text><text class=\"legend\" x=\"{}\" y=\"74\">{words}</text>",
                x + width / 2,
                x + width + 6
            ));
            x += width + 6 + wide(words) + 26;
        }
    }

    /// The names of all lanes, on one line.
    fn names(&mut self, y: i64) {
        for lane in self.lanes_of() {
            let x = self.layout.x(lane);
            let lies = matches!(lane, Party::Replica(id) if self.subject.liars.contains(&id));
            let (frame, text) = if lies { ("bad-box", "name bad") } else { ("box", "name") };
            let words = if lies { format!("{} (liar)", name(lane)) } else { name(lane) };
            self.put(format_args!(
                "<rect class=\"{frame}\" x=\"{}\" y=\"{}\" width=\"116\" height=\"22\" rx=\"5\"/>\
                 <text class=\"{text}\" x=\"{x}\" y=\"{}\">{words}</text>",
                x - 58,
                y - 11,
                y + 4
            ));
        }
    }

    /// The lanes, thin where nobody is there, and the times.
    fn lanes(&mut self) {
        let (top, end) = (TOP - 22, self.layout.end);
        for (at, y) in &self.layout.times {
            let right = self.layout.width - 24;
            let (text, y_text) = (moment(*at), y + 4);
            self.put(format_args!(
                "<path class=\"row\" d=\"M{LEFT} {y}H{right}\"/><text class=\"time\" x=\"{}\" y=\"{y_text}\">{text}</text>",
                LEFT - 52
            ));
        }
        for lane in self.lanes_of() {
            let x = self.layout.x(lane);
            let (mut from, mut down) = (top, matches!(lane, Party::Replica(id) if self.sketch.was_down(id)));
            for (at, mark) in self.sketch.marks() {
                let changes = match mark {
                    Mark::Down(id) => (Party::Replica(*id) == lane).then_some(true),
                    Mark::Up(id) => (Party::Replica(*id) == lane).then_some(false),
                    _ => None,
                };
                let Some(now) = changes else { continue };
                let y = self.layout.y(*at);
                self.put(format_args!("<path class=\"{}\" d=\"M{x} {from}V{y}\"/>", line(down)));
                (from, down) = (y, now);
            }
            self.put(format_args!("<path class=\"{}\" d=\"M{x} {from}V{end}\"/>", line(down)));
        }
        for quiet in &self.layout.quiet {
            let (right, y) = (self.layout.width - 24, quiet.y);
            self.put(format_args!(
                "<rect x=\"{LEFT}\" y=\"{}\" width=\"{}\" height=\"9\" fill=\"var(--paper)\"/>\
                 <text class=\"note\" x=\"24\" y=\"{}\">{} quiet</text>",
                y - 4,
                right - LEFT,
                y + 4,
                span(quiet.us)
            ));
        }
    }

    fn everywhere(&mut self) {
        for (at, mark) in self.sketch.marks() {
            let Mark::Everywhere(words) = mark else { continue };
            let (y, right) = (self.layout.y(*at), self.layout.width - 24);
            self.put(format_args!(
                "<path d=\"M{LEFT} {y}H{right}\" stroke=\"var(--good)\" stroke-width=\"1.5\"/>\
                 <text class=\"halo good left\" x=\"{right}\" y=\"{}\">{}</text>",
                y - 5,
                safe(words)
            ));
        }
    }

    fn arrows(&mut self, index: usize, at: Time, mark: &Mark) {
        let Mark::Sent(sent) = mark else { return };
        let label = self.layout.items.iter().find(|item| item.mark == index);
        let from_y = label.map_or_else(|| self.layout.y(at), |item| item.y);
        for (to, fate) in &sent.copies {
            self.arrow(sent, from_y, *to, *fate);
        }
    }

    fn mark(&self, index: usize) -> &Mark {
        &self.sketch.marks().nth(index).expect("items stand for marks").1
    }

    fn arrow(&mut self, sent: &Sent, y: i64, to: Party, fate: Fate) {
        let (x, to_x, class) = (self.layout.x(sent.from), self.layout.x(to), class(sent.phase));
        let tip = format!("{} to {}: {}", name(sent.from), name(to), safe(&sent.text));
        match fate {
            Fate::Arrives(at) => {
                let to_y = self.layout.y(at).max(y + 4);
                let dead = at <= self.subject.end && self.is_down(to, at);
                let beside = to_x + if to_x > x { -2 } else { 2 };
                let (head, mark) = if dead {
                    (String::new(), cross(beside, to_y, class))
                } else {
                    (format!(" marker-end=\"url(#{class})\""), String::new())
                };
                self.put(format_args!(
                    "<path class=\"a\" d=\"M{x} {y}L{beside} {to_y}\" stroke=\"var(--{class})\"{head}>\
                     <title>{tip}, comes at {}</title></path>{mark}",
                    moment(at)
                ));
            }
            Fate::Lost | Fate::Held => {
                let (stop_x, stop_y) = (x + (to_x - x) * 2 / 3, y + 14);
                let (word, end) = if fate == Fate::Lost {
                    ("lost", cross(stop_x, stop_y, class))
                } else {
                    ("held back", bars(stop_x, stop_y, class))
                };
                self.put(format_args!(
                    "<path class=\"a lost\" d=\"M{x} {y}L{stop_x} {stop_y}\" stroke=\"var(--{class})\">\
                     <title>{tip}, {word}</title></path>{end}"
                ));
            }
        }
    }

    /// Whether nobody is there to get a message.
    fn is_down(&self, lane: Party, when: Time) -> bool {
        let Party::Replica(id) = lane else { return false };
        let before = self.sketch.marks().rev().skip_while(|(at, _)| *at > when);
        let last = before.map(|(_, mark)| mark).find_map(|mark| match mark {
            Mark::Down(other) if *other == id => Some(true),
            Mark::Up(other) if *other == id => Some(false),
            _ => None,
        });
        last.unwrap_or_else(|| self.sketch.was_down(id))
    }

    fn item(&mut self, item: &Item) {
        let (x, y) = (self.layout.x(item.lane), item.y);
        let room = usize::try_from((LANE - 24) * 10 / LETTER).unwrap_or(20);
        let (words, full) = (safe(&short(&item.text, room)), safe(&item.text));
        match item.look {
            Look::Message | Look::Answer => {
                let colour = match self.mark(item.mark) {
                    Mark::Sent(sent) => class(sent.phase),
                    _ => "good",
                };
                self.put(format_args!(
                    "<circle cx=\"{x}\" cy=\"{y}\" r=\"2.2\" fill=\"var(--{colour})\"/>\
                     <rect class=\"under\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"11\"/>\
                     <text x=\"{}\" y=\"{}\" style=\"fill:var(--{colour})\">{words}<title>{full}</title></text>",
                    x + 5,
                    y - 11,
                    wide(&short(&item.text, room)) + 4,
                    x + 7,
                    y - 2
                ));
            }
            Look::View | Look::Bad | Look::Proof | Look::Good | Look::Plain => {
                let (frame, ink) = match item.look {
                    Look::View => ("view-box", ""),
                    Look::Bad => ("bad-box", " bad"),
                    Look::Proof => ("proof-box", " proof"),
                    Look::Good => ("good-box", " good"),
                    Look::Plain | Look::Message | Look::Answer => ("box", ""),
                };
                let width = wide(&short(&item.text, room)) + 12;
                // Left of the lane: right of it stand messages.
                let left = x - width - 3;
                self.put(format_args!(
                    "<rect class=\"{frame}\" x=\"{left}\" y=\"{}\" width=\"{width}\" height=\"{}\" rx=\"3\"/>\
                     <text class=\"mid{ink}\" x=\"{}\" y=\"{}\">{words}<title>{full}</title></text>",
                    y - 1,
                    LINE - 1,
                    left + width / 2,
                    y + 9
                ));
            }
        }
    }

    /// What went wrong, in lines that fit.
    fn words(&self) -> Vec<String> {
        let Some((violation, _)) = &self.subject.violation else { return Vec::new() };
        let letters = usize::try_from((self.layout.width - 72) * 10 / LETTER).unwrap_or(80);
        let mut lines: Vec<String> = Vec::new();
        for paragraph in violation.lines() {
            let mut line = String::new();
            for word in paragraph.split(' ') {
                if !line.is_empty() && line.chars().count() + word.chars().count() >= letters {
                    lines.push(std::mem::take(&mut line));
                }
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(&short(word, letters));
            }
            lines.push(line);
        }
        lines.truncate(WORDS_MAX);
        lines
    }

    fn end(&mut self, words: &[String]) {
        let (end, width) = (self.layout.end, self.layout.width);
        if words.is_empty() {
            let what = if self.sketch.later() > 0 { "the run goes on until" } else { "the end, at" };
            self.put(format_args!(
                "<text class=\"note\" x=\"24\" y=\"{}\">{what} {}</text>",
                end + 24,
                moment(self.subject.end)
            ));
            return;
        }
        if let Some((_, Some(culprit))) = &self.subject.violation {
            let x = self.layout.x(Party::Replica(*culprit));
            self.put(format_args!(
                "<circle class=\"ring\" cx=\"{x}\" cy=\"{}\" r=\"9\"/>{}",
                end - 8,
                cross(x, end - 8, "bad")
            ));
        }
        let height = i64::try_from(words.len()).unwrap_or(0) * 16 + 34;
        self.put(format_args!(
            "<rect class=\"bad-box\" x=\"24\" y=\"{}\" width=\"{}\" height=\"{height}\" rx=\"6\"/>\
             <text class=\"legend bad\" x=\"38\" y=\"{}\" style=\"font-weight:600\">at {}: violated</text>",
            end + 8,
            width - 48,
            end + 28,
            moment(self.subject.end)
        ));
        for (index, line) in (0..).zip(words) {
            let y = end + 46 + index * 16;
            self.put(format_args!("<text xml:space=\"preserve\" x=\"38\" y=\"{y}\">{}</text>", safe(line)));
        }
    }
}

fn line(down: bool) -> &'static str {
    if down { "down" } else { "lane" }
}

fn cross(x: i64, y: i64, colour: &str) -> String {
    format!("<path class=\"x\" d=\"M{} {}l8 8m0 -8l-8 8\" stroke=\"var(--{colour})\"/>", x - 4, y - 4)
}

fn bars(x: i64, y: i64, colour: &str) -> String {
    format!("<path class=\"x\" d=\"M{} {}v10m5 -10v10\" stroke=\"var(--{colour})\"/>", x - 2, y - 5)
}
