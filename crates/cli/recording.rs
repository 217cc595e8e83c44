//! Recorded runs as files: one moment a line, the header first. Written by the testbed and the simulator, read by
//! `quorate view`.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use quorate_host::live::{Happening, Header, Moment, VERSION, Weight};
use serde::Deserialize;

use crate::testbed::amount::told;

/// Bytes that a recording may have, unless it is said otherwise.
pub(crate) const BYTES_MAX: u64 = 256 << 20;
/// Bytes of a recording that can be looked at: all of it is in memory then, and in the page.
const READ_BYTES_MAX: u64 = 1 << 30;

/// Why there is no recording, or no more of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordingError {
    /// Nothing is written over.
    #[error("--record {}: there is such a file already; name another one, or remove it", .0.display())]
    Exists(PathBuf),
    /// It cannot be made, or not be written any more.
    #[error("--record {}: cannot be written: {error}; name a file in a folder that exists and has room", .path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// It cannot be read.
    #[error("{}: cannot be read: {error}", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// It is too large to be looked at.
    #[error("{}: it has {}, and at most {} can be looked at; take lines out of it", .path.display(), told(*.bytes), told(READ_BYTES_MAX))]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// How large it is.
        bytes: u64,
    },
    /// A line is no moment.
    #[error("{}, line {line}, column {column}: {why}; {fix}", .path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Which column of it, from 1.
        column: usize,
        /// What is wrong.
        why: String,
        /// What to do.
        fix: &'static str,
    },
    /// It is a recording of a later program.
    #[error("{}: a recording of version {found}, and this program reads up to {VERSION}; use a newer `quorate view`", .path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
}

/// A recording that is being written.
#[derive(Debug)]
pub(crate) struct RecordingFile {
    path: PathBuf,
    file: File,
    /// Whole lines that are not written yet.
    pending: Vec<u8>,
    /// Bytes that were written, and those that may be.
    written: u64,
    most: u64,
    /// The last line is written.
    is_over: bool,
}

impl RecordingFile {
    /// Begins a recording that may have so many bytes; its header is written at once.
    ///
    /// # Errors
    /// [`RecordingError::Exists`] if there is a file, [`RecordingError::Write`] if none can be made.
    pub(crate) fn create(path: &Path, most: u64, header: &Header) -> Result<Self, RecordingError> {
        let file = File::options().write(true).create_new(true).open(path).map_err(|error| {
            let path = path.to_owned();
            match error.kind() {
                ErrorKind::AlreadyExists => RecordingError::Exists(path),
                _ => RecordingError::Write { path, error },
            }
        })?;
        let (path, pending) = (path.to_owned(), Vec::new());
        let mut recording = Self { path, file, pending, written: 0, most, is_over: false };
        recording.add(&Moment::Header(header.clone()));
        recording.flush()?;
        Ok(recording)
    }

    /// Notes a moment. What comes after the last line is forgotten.
    pub(crate) fn add(&mut self, moment: &Moment) {
        if self.is_over {
            return;
        }
        let line = line(moment);
        let (room, last) = (self.room(), self.last_line(moment.at()));
        if (line.len() + last.len()) as u64 > room {
            self.pending.extend(last);
            self.is_over = true;
        } else {
            self.pending.extend(line);
        }
    }

    /// Bytes that may still come.
    fn room(&self) -> u64 {
        self.most.saturating_sub(self.written + self.pending.len() as u64)
    }

    /// What ends a recording that came to its bound.
    fn last_line(&self, t: u64) -> Vec<u8> {
        let most = told(self.most);
        let what = format!(
            "the recording ends here, at its bound of {most}; the run goes on (`testbed --record-max` allows more)"
        );
        line(&Moment::Event(Happening { t, replica: None, what, weight: Weight::Warning }))
    }

    /// Writes what was noted. A line is there whole, or not at all, also on a disk that is full.
    ///
    /// # Errors
    /// [`RecordingError::Write`]; then nothing more is recorded.
    pub(crate) fn flush(&mut self) -> Result<(), RecordingError> {
        let written = self.file.write_all(&self.pending);
        if let Err(error) = written {
            self.is_over = true;
            self.pending = Vec::new();
            // If that fails too, whoever reads the file is told about the line that is not whole.
            drop(self.file.set_len(self.written));
            return Err(RecordingError::Write { path: self.path.clone(), error });
        }
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that were written.
    pub(crate) fn bytes(&self) -> u64 {
        self.written
    }
}

fn line(moment: &Moment) -> Vec<u8> {
    let mut line =
        serde_json::to_vec(moment).expect("a moment has strings as keys, and nothing that can fail");
    line.push(b'\n');
    line
}

/// Writes a whole recording.
///
/// # Errors
/// As [`RecordingFile::create`] and [`RecordingFile::flush`].
#[cfg(any(test, feature = "byzantine"))]
pub(crate) fn write(path: &Path, moments: (&Header, &[Moment])) -> Result<RecordingFile, RecordingError> {
    let (header, moments) = moments;
    let mut file = RecordingFile::create(path, BYTES_MAX, header)?;
    moments.iter().for_each(|moment| file.add(moment));
    file.flush()?;
    Ok(file)
}

/// A recording as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recording {
    pub(crate) header: Header,
    /// Its lines in the order of time, the header first, those of kinds that we do not know among them.
    pub(crate) lines: Vec<String>,
    /// What they say, as far as we know it, without the header.
    pub(crate) moments: Vec<Moment>,
}

/// Kinds of moments that this program knows.
const KINDS: [&str; 7] = ["header", "replica", "slot", "load", "event", "disagreement", "verdict"];

/// What every line has. What else one of a kind has that we do not know is the page's affair.
#[derive(Debug, Deserialize)]
struct Line {
    kind: String,
    t: Option<u64>,
    version: Option<u64>,
}

const NO_RECORDING: &str = "name a file that --record of `quorate testbed` or `quorate simulate` wrote";
const CUT: &str = "a recording whose program was killed may end in half a line: delete that line";

impl Recording {
    /// Reads a recording from a file.
    ///
    /// # Errors
    /// [`RecordingError`] names the file, and the line and column of what is wrong in it.
    pub(crate) fn load(path: &Path) -> Result<Self, RecordingError> {
        let failed = |error| RecordingError::Read { path: path.to_owned(), error };
        let bytes = path.metadata().map_err(failed)?.len();
        if bytes > READ_BYTES_MAX {
            return Err(RecordingError::TooLarge { path: path.to_owned(), bytes });
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
            let column = 1 + good.iter().rev().take_while(|byte| **byte != b'\n').count();
            let why = "this is no text".to_owned();
            RecordingError::Line { path: path.to_owned(), line, column, why, fix: NO_RECORDING }
        })?;
        Self::parse(&text, path)
    }

    /// The same of a text; `path` is what to call it.
    fn parse(text: &str, path: &Path) -> Result<Self, RecordingError> {
        let wrong = |line: usize, (column, why, fix): Complaint| RecordingError::Line {
            path: path.to_owned(),
            line,
            column: column.max(1),
            why,
            fix,
        };
        let last = text.lines().count();
        let mut header = None;
        let mut timed = Vec::new();
        for (number, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
            let fix = if number == last && number > 1 { CUT } else { NO_RECORDING };
            let found = parsed::<Line>(text, fix).map_err(|why| wrong(number, why))?;
            if header.is_none() {
                header = Some(header_of(text, &found, path, |why| wrong(number, why))?);
                continue;
            }
            let known = KINDS.contains(&found.kind.as_str());
            let moment =
                known.then(|| parsed::<Moment>(text, fix)).transpose().map_err(|why| wrong(number, why))?;
            let t = moment.as_ref().map(Moment::at).or(found.t);
            let untimed = || wrong(number, (1, "this moment has no time, `t`".to_owned(), NO_RECORDING));
            timed.push((t.ok_or_else(untimed)?, text, moment));
        }
        let empty = || wrong(1, (1, "there is nothing in it".to_owned(), NO_RECORDING));
        let (header, first) = header.ok_or_else(empty)?;
        // Replicas are asked one after the other, so what they say is not in order.
        timed.sort_by_key(|(t, ..)| *t);
        let lines =
            std::iter::once(first).chain(timed.iter().map(|(_, text, _)| (*text).to_owned())).collect();
        let moments = timed.into_iter().filter_map(|(.., moment)| moment).collect();
        Ok(Self { header, lines, moments })
    }
}

/// Where a line is wrong, why, and what to do.
type Complaint = (usize, String, &'static str);

fn parsed<T: serde::de::DeserializeOwned>(text: &str, fix: &'static str) -> Result<T, Complaint> {
    serde_json::from_str(text).map_err(|error| (error.column(), plain(&error), fix))
}

/// The first line, as it is and as what it says.
fn header_of(
    text: &str,
    found: &Line,
    path: &Path,
    wrong: impl Fn(Complaint) -> RecordingError,
) -> Result<(Header, String), RecordingError> {
    if found.kind != "header" {
        let why = format!("a recording begins with its header, and this is a `{}`", found.kind);
        return Err(wrong((1, why, NO_RECORDING)));
    }
    match found.version {
        Some(version) if version > u64::from(VERSION) => {
            return Err(RecordingError::Version { path: path.to_owned(), found: version });
        }
        Some(_) => {}
        None => return Err(wrong((1, "the header has no `version`".to_owned(), NO_RECORDING))),
    }
    match parsed::<Moment>(text, NO_RECORDING).map_err(&wrong)? {
        Moment::Header(header) => Ok((header, text.to_owned())),
        other => Err(wrong((1, format!("this is no header: {other:?}"), NO_RECORDING))),
    }
}

/// What the parser says, without the place, which is named otherwise.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(why, _)| why).to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header { version: VERSION, title: "a trial".to_owned(), n: 4, f: 1, q: 3, ..Header::default() }
    }

    fn event(t: u64) -> Moment {
        Moment::Event(Happening { t, replica: Some(1), what: "it speaks".to_owned(), weight: Weight::Note })
    }

    fn error_of(text: &str) -> String {
        Recording::parse(text, Path::new("run.jsonl")).unwrap_err().to_string()
    }

    #[test]
    fn what_is_recorded_is_read_again_in_the_order_of_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.jsonl");
        let file = write(&path, (&header(), &[event(2), event(1)])).unwrap();
        assert_eq!(file.bytes(), path.metadata().unwrap().len());
        let read = Recording::load(&path).unwrap();
        assert_eq!((read.header, read.lines.len()), (header(), 3));
        assert_eq!(read.moments, [event(1), event(2)]);
    }

    #[test]
    fn a_file_that_is_there_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.jsonl");
        std::fs::write(&path, "mine").unwrap();
        let error = RecordingFile::create(&path, BYTES_MAX, &header()).unwrap_err().to_string();
        assert!(error.contains("there is such a file already; name another one"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        let nowhere = folder.path().join("no/such/run.jsonl");
        let error = RecordingFile::create(&nowhere, BYTES_MAX, &header()).unwrap_err().to_string();
        assert!(error.contains("cannot be written") && error.contains("a folder that exists"), "{error}");
    }

    #[test]
    fn a_recording_ends_at_its_bound_with_a_line_that_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.jsonl");
        let mut file = RecordingFile::create(&path, 1024, &header()).unwrap();
        for t in 0..100 {
            file.add(&event(t));
            file.flush().unwrap();
        }
        assert!(path.metadata().unwrap().len() <= 1024);
        let read = Recording::load(&path).unwrap();
        let last = read.lines.last().unwrap();
        assert!(last.contains("at its bound of 1.0 KiB") && last.contains("--record-max"), "{last}");
        assert_eq!(read.lines.iter().filter(|line| line.contains("bound")).count(), 1);
    }

    #[test]
    fn a_full_disk_ends_a_recording_with_whole_lines_and_an_error_that_is_told_once() {
        // A device that is always full.
        let path = Path::new("/dev/full");
        let Ok(file) = File::options().write(true).open(path) else { return };
        let mut recording = RecordingFile {
            path: path.to_owned(),
            file,
            pending: Vec::new(),
            written: 0,
            most: BYTES_MAX,
            is_over: false,
        };
        recording.add(&event(1));
        let error = recording.flush().unwrap_err().to_string();
        assert!(error.contains("/dev/full: cannot be written"), "{error}");
        recording.add(&event(2));
        assert!(recording.flush().is_ok(), "nothing more is written, so nothing more fails");
    }

    #[test]
    fn what_is_no_recording_is_named_with_its_line_and_column() {
        let header = serde_json::to_string(&Moment::Header(header())).unwrap();
        for (text, words) in [
            (String::new(), "run.jsonl, line 1, column 1: there is nothing in it"),
            ("[1]".to_owned(), "line 1, column"),
            (
                "{\"kind\":\"event\",\"t\":1}".to_owned(),
                "line 1, column 1: a recording begins with its header",
            ),
            ("{\"kind\":\"header\"}".to_owned(), "the header has no `version`"),
            (format!("{header}\n{{\"t\":1}}\n{header}"), "line 2, column 7: missing field `kind`"),
            (
                format!("{header}\n{{\"kind\":\"event\",\"t\":true}}\nx"),
                "line 2, column 24: invalid type: boolean",
            ),
            (format!("{header}\n{{\"kind\":\"event\",\"t\":1}}\n{header}"), "missing field `what`"),
            (
                format!("{header}\n\n{{\"kind\":\"weather\"}}\n{header}"),
                "line 3, column 1: this moment has no time",
            ),
            (format!("{header}\n{{\"kind\":\"ev"), "EOF while parsing a string; a recording whose"),
        ] {
            let error = error_of(&text);
            assert!(error.contains(words) && error.contains(", column "), "{text}: {error}");
        }
        let newer = "{\"kind\":\"header\",\"version\":9}";
        assert!(error_of(newer).contains("version 9, and this program reads up to 1"), "{}", error_of(newer));
    }

    #[test]
    fn kinds_and_fields_that_we_do_not_know_are_left_to_the_page() {
        let header = serde_json::to_string(&Moment::Header(header())).unwrap();
        let text = format!("{header}\n{{\"kind\":\"weather\",\"t\":7,\"rain\":[1,2]}}\r\n\n");
        let read = Recording::parse(&text, Path::new("run.jsonl")).unwrap();
        assert_eq!((read.lines.len(), read.moments.len()), (2, 0));
        assert!(read.lines[1].contains("rain"));
    }
}
