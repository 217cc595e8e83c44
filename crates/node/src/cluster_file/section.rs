//! Reading TOML so that every value knows its line, and no unknown key passes.

use std::fs::File;
use std::io::{Error, ErrorKind, Read};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::CLUSTER_FILE_BYTES_MAX;
use super::error::{ClusterFileError, Problem, nearest};

/// The text of a file of bounded size.
pub(super) fn read(path: &Path) -> Result<String, ClusterFileError> {
    let unreadable = |why| ClusterFileError::Unreadable { file: path.to_owned(), why };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(CLUSTER_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > CLUSTER_FILE_BYTES_MAX {
        return Err(unreadable(Error::new(ErrorKind::FileTooLarge, "it has more than 8 MiB")));
    }
    Ok(text)
}

/// A file and its text: turns places in the text into errors.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    file: &'a Path,
    text: &'a str,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str, file: &'a Path) -> Self {
        Self { file, text }
    }

    /// The whole text as TOML.
    pub(super) fn parse(&self) -> Result<Spanned<DeTable<'a>>, ClusterFileError> {
        DeTable::parse(self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            // A parser may stop behind the text's last byte; the line is then the last one that has text.
            let end = self.text.trim_end().len();
            let line = line_of(self.text, at.min(end));
            let content = self.text.lines().nth(line - 1).unwrap_or_default().trim();
            let key = content.split('=').next().unwrap_or_default().trim().chars().take(64).collect();
            self.error(at.min(end), key, Problem::Malformed { why: error.message().to_owned() })
        })
    }

    pub(super) fn line(&self, at: usize) -> usize {
        line_of(self.text, at)
    }

    pub(super) fn error(&self, at: usize, key: String, problem: Problem) -> ClusterFileError {
        ClusterFileError::At {
            file: self.file.to_owned(),
            line: self.line(at),
            key,
            problem: Box::new(problem),
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) at: usize,
    pub(super) key: String,
}

impl<T> Located<T> {
    pub(super) fn error(&self, source: &Source<'_>, problem: Problem) -> ClusterFileError {
        source.error(self.at, self.key.clone(), problem)
    }
}

/// A type that a TOML value can be read as.
pub(super) trait FromToml: Sized {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Problem>;
}

/// One table whose keys are all known.
pub(super) struct Section<'a> {
    source: Source<'a>,
    prefix: String,
    at: usize,
    table: &'a DeTable<'a>,
}

impl<'a> Section<'a> {
    /// Refuses a table with a key that is not among `known`.
    pub(super) fn open(
        source: Source<'a>,
        prefix: &str,
        table: &'a Spanned<DeTable<'a>>,
        known: &'static [&'static str],
    ) -> Result<Self, ClusterFileError> {
        Self::checked(source, prefix, table.span().start, table.get_ref(), known)
    }

    fn checked(
        source: Source<'a>,
        prefix: &str,
        at: usize,
        table: &'a DeTable<'a>,
        known: &'static [&'static str],
    ) -> Result<Self, ClusterFileError> {
        let mut unknown: Vec<_> =
            table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())).collect();
        unknown.sort_by_key(|key| key.span().start);
        if let Some(key) = unknown.first() {
            let problem = Problem::Unknown { nearest: nearest(key.get_ref(), known), known };
            return Err(source.error(key.span().start, format!("{prefix}{}", key.get_ref()), problem));
        }
        Ok(Self { source, prefix: prefix.to_owned(), at, table })
    }

    /// The value of a key, if the key is there.
    pub(super) fn optional<T: FromToml>(&self, key: &str) -> Result<Option<Located<T>>, ClusterFileError> {
        let Some(value) = self.table.get(key) else { return Ok(None) };
        let (at, key) = (value.span().start, format!("{}{key}", self.prefix));
        match T::from_toml(value.get_ref()) {
            Ok(value) => Ok(Some(Located { value, at, key })),
            Err(problem) => Err(self.source.error(at, key, problem)),
        }
    }

    /// The value of a key that must be there.
    pub(super) fn required<T: FromToml>(&self, key: &str) -> Result<Located<T>, ClusterFileError> {
        let found = self.optional(key)?;
        found.ok_or_else(|| self.source.error(self.at, format!("{}{key}", self.prefix), Problem::Missing))
    }

    /// A value that is read in more than one way.
    pub(super) fn raw(&self, key: &str) -> Option<Located<&'a DeValue<'a>>> {
        let value = self.table.get(key)?;
        Some(Located { value: value.get_ref(), at: value.span().start, key: format!("{}{key}", self.prefix) })
    }

    /// A table inside this one, if it is there.
    pub(super) fn section(
        &self,
        key: &str,
        known: &'static [&'static str],
    ) -> Result<Option<Section<'a>>, ClusterFileError> {
        let Some(value) = self.raw(key) else { return Ok(None) };
        let Some(table) = value.value.as_table() else {
            let problem = Problem::Kind { expected: "a `[section]`", found: value.value.type_str() };
            return Err(value.error(&self.source, problem));
        };
        Self::checked(self.source, &format!("{}{key}.", self.prefix), value.at, table, known).map(Some)
    }

    /// Every table of an array of tables; none if the key is not there.
    pub(super) fn sections(
        &self,
        key: &str,
        known: &'static [&'static str],
    ) -> Result<Vec<Section<'a>>, ClusterFileError> {
        let Some(value) = self.raw(key) else { return Ok(Vec::new()) };
        let expected = "`[[sections]]`";
        let Some(array) = value.value.as_array() else {
            let found = value.value.type_str();
            return Err(value.error(&self.source, Problem::Kind { expected, found }));
        };
        let mut sections = Vec::new();
        for member in array.iter() {
            let (at, found) = (member.span().start, member.get_ref());
            let Some(table) = found.as_table() else {
                let problem = Problem::Kind { expected, found: found.type_str() };
                return Err(self.source.error(at, value.key.clone(), problem));
            };
            sections.push(Self::checked(self.source, &format!("{}{key}.", self.prefix), at, table, known)?);
        }
        Ok(sections)
    }

    /// Where the section starts.
    pub(super) fn at(&self) -> usize {
        self.at
    }
}
