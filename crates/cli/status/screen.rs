//! The table that is drawn over itself, as wide as the terminal is; where there is none, one table below the other.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{Write, stdout};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::rows::{Row, Seen};

/// What is used where the terminal does not say how large it is.
const USUAL: Size = Size { lines: 24, columns: 80 };
/// From so many columns on there is room for more of them in the table.
const WIDE: usize = 116;
/// Changes that are remembered, the newest last.
const NEWS_MAX: usize = 8;
/// For so many looks something that has changed stands out.
const STANDS_OUT: u8 = 3;
/// Between two columns.
const GAP: &str = "  ";

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
const REVERSE: &str = "\x1b[7m";
const PLAIN: &str = "\x1b[0m";

/// What is shown at once.
pub(super) struct Frame {
    /// Since 1970.
    pub(super) at: Duration,
    pub(super) cluster: String,
    pub(super) rows: Vec<Row>,
    pub(super) troubles: Vec<String>,
}

/// How large a terminal is, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    lines: usize,
    columns: usize,
}

struct Column {
    title: &'static str,
    /// Whether it is there in wide terminals only.
    wide: bool,
    /// Whether a change of it is worth a look.
    telling: bool,
    cell: fn(&Seen) -> String,
}

const fn column(title: &'static str, cell: fn(&Seen) -> String) -> Column {
    Column { title, wide: false, telling: false, cell }
}

const fn telling(title: &'static str, cell: fn(&Seen) -> String) -> Column {
    Column { telling: true, ..column(title, cell) }
}

const fn wide(title: &'static str, cell: fn(&Seen) -> String) -> Column {
    Column { wide: true, ..column(title, cell) }
}

/// All columns but that of the replica, the last one as long as there is room.
const COLUMNS: [Column; 13] = [
    telling("view", |seen| seen.view.to_string()),
    telling("primary", |seen| seen.primary.to_string()),
    column("executed", |seen| seen.executed.to_string()),
    column("per s", |seen| seen.executed_per_second.map_or_else(nothing, |rate| format!("{rate:.0}"))),
    column("p50 ms", |seen| milliseconds(seen.agreement_p50_us)),
    column("p99 ms", |seen| milliseconds(seen.agreement_p99_us)),
    column("lag", |seen| seen.lag.to_string()),
    wide("committed", |seen| seen.committed.to_string()),
    wide("stable", |seen| seen.stable.to_string()),
    wide("waiting", |seen| seen.pooled.to_string()),
    wide("clients", |seen| seen.clients.to_string()),
    telling("links", |seen| format!("{}/{}", seen.links_up, seen.links)),
    telling("status", |seen| seen.status.clone()),
];

fn nothing() -> String {
    "-".to_owned()
}

fn milliseconds(us: Option<u64>) -> String {
    us.map_or_else(nothing, |us| {
        let ms = us as f64 / 1000.0;
        if ms < 100.0 { format!("{ms:.1}") } else { format!("{ms:.0}") }
    })
}

/// Where the table goes, and what has changed on it.
pub(super) struct Screen {
    /// Whether it is a terminal, to be drawn over.
    drawn_over: bool,
    entered: bool,
    /// What was in the telling cells, by replica and column.
    last: BTreeMap<(u16, usize), String>,
    /// For how many looks more a cell stands out.
    stands_out: BTreeMap<(u16, usize), u8>,
    news: VecDeque<String>,
    /// What a terminal is left with.
    farewell: Vec<String>,
}

impl Screen {
    pub(super) fn new(drawn_over: bool) -> Self {
        Self {
            drawn_over,
            entered: false,
            last: BTreeMap::new(),
            stands_out: BTreeMap::new(),
            news: VecDeque::new(),
            farewell: Vec::new(),
        }
    }

    /// Shows a look in the place of the one before, or below it.
    pub(super) fn show(&mut self, frame: &Frame) {
        let news = self.compare(frame);
        if !self.drawn_over {
            let lines = self.lines(frame, usize::MAX).into_iter().map(|(plain, _)| plain);
            let lines: Vec<String> = lines.chain(news).collect();
            println!("{}\n", lines.join("\n"));
            return;
        }
        self.news.extend(news);
        while self.news.len() > NEWS_MAX {
            self.news.pop_front();
        }
        let size = size();
        let mut lines = self.lines(frame, size.columns);
        let clipped = self.news.iter().map(|news| clip(news, size.columns));
        lines.extend(clipped.map(|line| (line.clone(), line)));
        lines.truncate(size.lines.saturating_sub(1).max(1));
        let shown: Vec<String> =
            lines.iter().map(|(_, decorated)| format!("{decorated}{CLEAR_LINE}")).collect();
        let enter = if self.entered { "" } else { ENTER };
        self.entered = true;
        print!("{enter}{HOME}{}\r\n{CLEAR_BELOW}", shown.join("\r\n"));
        // A terminal gets what was said when a line ends, and the last one does not.
        drop(stdout().flush());
        self.farewell = lines.into_iter().map(|(plain, _)| plain).collect();
    }

    /// Gives the terminal back as it was, with the last look on it.
    pub(super) fn leave(&mut self) {
        if std::mem::take(&mut self.entered) {
            println!("{LEAVE}{}", self.farewell.join("\n"));
        }
    }

    /// What is another thing than at the look before, in words; marks the cells.
    fn compare(&mut self, frame: &Frame) -> Vec<String> {
        self.stands_out.retain(|_, looks| {
            *looks -= 1;
            *looks > 0
        });
        let (clock, mut news) = (clock(frame.at), Vec::new());
        for row in &frame.rows {
            let mut changes = Vec::new();
            for (at, column) in COLUMNS.iter().enumerate().filter(|(_, column)| column.telling) {
                let cell = row.seen.as_ref().map_or_else(String::new, column.cell);
                let Some(old) = self.last.insert((row.replica, at), cell.clone()) else { continue };
                if old == cell {
                    continue;
                }
                self.stands_out.insert((row.replica, at), STANDS_OUT);
                // Who comes or goes does so in all columns, and one of them is enough.
                if column.title == "status" || !(old.is_empty() || cell.is_empty()) {
                    let told = |cell: String| if cell.is_empty() { "no answer".to_owned() } else { cell };
                    changes.push(format!("{} {} -> {}", column.title, told(old), told(cell)));
                }
            }
            if !changes.is_empty() {
                news.push(format!("{clock}  replica {}: {}", row.replica, changes.join(", ")));
            }
        }
        news
    }

    /// Head, table and troubles; each line as it is, and with what stands out in it.
    fn lines(&self, frame: &Frame, columns: usize) -> Vec<(String, String)> {
        let same = |line: String| (line.clone(), line);
        let mut lines = vec![same(clip(&head(frame), columns))];
        lines.extend(self.table(&frame.rows, columns));
        let below = self.drawn_over && !(self.news.is_empty() && frame.troubles.is_empty());
        lines.extend(below.then(|| same(String::new())));
        lines.extend(frame.troubles.iter().map(|trouble| same(clip(trouble, columns))));
        lines
    }

    fn table(&self, rows: &[Row], columns: usize) -> Vec<(String, String)> {
        let shown: Vec<(usize, &Column)> =
            COLUMNS.iter().enumerate().filter(|(_, column)| !column.wide || columns >= WIDE).collect();
        let cells: Vec<Option<Vec<String>>> = rows
            .iter()
            .map(|row| {
                row.seen.as_ref().map(|seen| shown.iter().map(|(_, column)| (column.cell)(seen)).collect())
            })
            .collect();
        let width = |place: usize, title: &str| {
            let longest = cells.iter().flatten().map(|cells| cells[place].len()).max();
            longest.unwrap_or(0).max(title.len())
        };
        let widths: Vec<usize> =
            shown.iter().enumerate().map(|(place, (_, column))| width(place, column.title)).collect();
        let mut titles = "id".to_owned();
        for (place, (_, column)) in shown.iter().enumerate() {
            titles += &pad(column.title, (place, &widths));
        }
        let titles = clip(&titles, columns);
        let mut lines = vec![(titles.clone(), titles)];
        for (row, cells) in rows.iter().zip(&cells) {
            let replica = format!("{:>2}", row.replica);
            let Some(cells) = cells else {
                let line = format!("{replica}{GAP}{}", row.error.as_deref().unwrap_or("no answer"));
                let line = clip(&line, columns);
                lines.push((line.clone(), if self.is_new(row) { reverse(&line) } else { line }));
                continue;
            };
            let (mut plain, mut decorated) = (replica.clone(), replica);
            for (place, (cell, (at, _))) in cells.iter().zip(&shown).enumerate() {
                let padded =
                    clip(&pad(cell, (place, &widths)), columns.saturating_sub(plain.chars().count()));
                decorated += &if self.stands_out.contains_key(&(row.replica, *at)) {
                    let blank = padded.len() - padded.trim_start().len();
                    format!("{}{}", &padded[..blank], reverse(&padded[blank..]))
                } else {
                    padded.clone()
                };
                plain += &padded;
            }
            if let Some(remark) =
                row.seen.as_ref().map(|seen| &seen.remark).filter(|remark| !remark.is_empty())
            {
                let room = columns.saturating_sub(plain.chars().count());
                let remark = clip(&format!(", {remark}"), room);
                plain += &remark;
                decorated += &remark;
            }
            lines.push((plain, decorated));
        }
        lines
    }

    fn is_new(&self, row: &Row) -> bool {
        (0..COLUMNS.len()).any(|at| self.stands_out.contains_key(&(row.replica, at)))
    }
}

/// Numbers end where their titles do; the last column is text.
fn pad(cell: &str, (place, widths): (usize, &[usize])) -> String {
    let width = widths[place];
    if place + 1 == widths.len() { format!("{GAP}{cell}") } else { format!("{GAP}{cell:>width$}") }
}

fn head(frame: &Frame) -> String {
    let seen: Vec<&Seen> = frame.rows.iter().filter_map(|row| row.seen.as_ref()).collect();
    let fastest = seen
        .iter()
        .filter_map(|seen| seen.executed_per_second)
        .fold(None, |most: Option<f64>, rate| Some(most.map_or(rate, |most| most.max(rate))));
    let rate = fastest.map_or(String::new(), |rate| format!("; {rate:.0} operations per second"));
    let (answer, all) = (seen.len(), frame.rows.len());
    let cluster: String = frame.cluster.chars().take(8).collect();
    format!("{}  cluster {cluster}; {answer} of {all} replicas answer{rate}", clock(frame.at))
}

/// The time of day.
fn clock(at: Duration) -> String {
    let seconds = at.as_secs() % 86_400;
    format!("{:02}:{:02}:{:02} UTC", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// As much of a line as there is room for, on one line; what is left out is told by an ellipsis.
fn clip(line: &str, columns: usize) -> String {
    let line = line.replace(['\n', '\r'], " ");
    if line.chars().count() <= columns {
        return line;
    }
    let kept: String = line.chars().take(columns.saturating_sub(1)).collect();
    if columns == 0 { String::new() } else { format!("{kept}…") }
}

fn reverse(text: &str) -> String {
    format!("{REVERSE}{text}{PLAIN}")
}

/// How large the terminal is now. Only a system call knows, which no safe code of ours can make: `stty` makes it.
fn size() -> Size {
    let asked = File::open("/dev/tty")
        .and_then(|terminal| Command::new("stty").arg("size").stdin(terminal).stderr(Stdio::null()).output());
    let said = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    size_of(&said)
}

/// What `stty size` says: lines, then columns. Both are 0 where nobody told the terminal.
fn size_of(said: &str) -> Size {
    let mut numbers = said.split_whitespace().map(|word| word.parse().unwrap_or(0));
    let mut next = |usual: usize| numbers.next().filter(|number| *number > 0).unwrap_or(usual);
    Size { lines: next(USUAL.lines), columns: next(USUAL.columns) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(replica: u16, view: u64, status: &str) -> Row {
        let seen = Seen {
            view,
            primary: 3,
            executed: 123_456_789,
            executed_per_second: Some(12_345.6),
            agreement_p50_us: Some(2_345),
            agreement_p99_us: Some(123_456),
            lag: 12,
            links_up: 3,
            links: 3,
            status: status.to_owned(),
            ..Seen::default()
        };
        Row { replica, seen: Some(seen), error: None }
    }

    fn silent(replica: u16) -> Row {
        Row { replica, seen: None, error: Some("no answer from 127.0.0.1:7302: refused".repeat(4)) }
    }

    fn frame(rows: Vec<Row>) -> Frame {
        let troubles = vec!["no quorum: 1 of 4 replicas execute, 3 are needed ".repeat(3)];
        Frame { at: Duration::from_secs(3_661), cluster: "0123456789".to_owned(), rows, troubles }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_eighty_columns_have_room_for_every_word() {
        let screen = Screen::new(true);
        let frame = frame(vec![row(0, 7, "normal"), row(1, 7, "view-changing"), silent(2)]);
        for columns in [20, 80, 116, 120, 200] {
            for (plain, _) in screen.lines(&frame, columns) {
                assert!(plain.chars().count() <= columns, "{columns}: {plain}");
            }
        }
        let at_80: Vec<String> = screen.lines(&frame, 80).into_iter().map(|(plain, _)| plain).collect();
        assert_eq!(at_80[1], "id  view  primary   executed  per s  p50 ms  p99 ms  lag  links  status");
        assert_eq!(
            at_80[3],
            " 1     7        3  123456789  12346     2.3     123   12    3/3  view-changing"
        );
        let wide: Vec<String> = screen.lines(&frame, 120).into_iter().map(|(plain, _)| plain).collect();
        assert!(wide[1].contains("committed") && wide[1].contains("clients"), "{}", wide[1]);
        assert!(wide[3].ends_with("  view-changing"), "{}", wide[3]);
        assert!(
            at_80[0].starts_with("01:01:01 UTC  cluster 01234567; 2 of 3 replicas answer; "),
            "{}",
            at_80[0]
        );
    }

    #[test]
    fn what_has_changed_stands_out_for_a_while_and_is_told() {
        let mut screen = Screen::new(true);
        let before = frame(vec![row(0, 7, "normal"), row(1, 7, "normal")]);
        assert!(screen.compare(&before).is_empty(), "nothing was another before");
        let after = frame(vec![row(0, 8, "halted"), silent(1)]);
        let news = screen.compare(&after);
        assert_eq!(news.len(), 2, "{news:?}");
        assert!(news[0].ends_with("replica 0: view 7 -> 8, status normal -> halted"), "{news:?}");
        assert!(news[1].ends_with("replica 1: status normal -> no answer"), "{news:?}");
        let marked = |screen: &Screen| -> Vec<bool> {
            screen.table(&after.rows, 80).iter().map(|(_, decorated)| decorated.contains(REVERSE)).collect()
        };
        assert_eq!(marked(&screen), [false, true, true]);
        let decorated = &screen.table(&after.rows, 80)[1].1;
        assert!(decorated.contains(&format!("     {REVERSE}8{PLAIN}  ")), "{decorated:?}");
        for _ in 0..STANDS_OUT {
            assert!(screen.compare(&after).is_empty());
        }
        assert_eq!(marked(&screen), [false, false, false]);
    }

    #[test]
    fn a_terminal_that_does_not_know_its_size_has_the_usual_one() {
        assert_eq!(size_of("50 120\n"), Size { lines: 50, columns: 120 });
        assert_eq!(size_of("0 0\n"), USUAL);
        assert_eq!(size_of(""), USUAL);
        assert_eq!(size_of("stty: no"), USUAL);
    }
}
