//! Reading TOML so that every value knows its line, and no unknown key passes: cluster files, presets, figures.

use std::fs::File;
use std::io::{Error, ErrorKind, Read};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::cluster_file::{Problem, nearest};

/// What is wrong with a value, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: `{key}` {problem}; fix: {}", .file.display(), .problem.fix())]
pub struct Misplaced {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The key, with its section.
    pub key: String,
    /// What is wrong with it.
    pub problem: Box<Problem>,
}

/// The text of a file of at most so many bytes.
///
/// # Errors
/// What the system says, or that it is too large.
pub fn read(path: &Path, bytes_max: u64) -> Result<String, Error> {
    let mut text = String::new();
    File::open(path)?.take(bytes_max.saturating_add(1)).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        let why = format!("it has more than {} KiB", bytes_max >> 10);
        return Err(Error::new(ErrorKind::FileTooLarge, why));
    }
    Ok(text)
}

/// A file and its text: turns places in the text into errors.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    file: &'a Path,
    text: &'a str,
}

impl<'a> Source<'a> {
    /// A text; `file` is what errors call it.
    #[must_use]
    pub fn new(text: &'a str, file: &'a Path) -> Self {
        Self { file, text }
    }

    /// The whole text as TOML.
    ///
    /// # Errors
    /// Where it is none.
    pub fn parse(&self) -> Result<Spanned<DeTable<'a>>, Misplaced> {
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

    /// What errors call the file.
    #[must_use]
    pub fn file(&self) -> &'a Path {
        self.file
    }

    /// The line, from 1, of what stands behind so many bytes.
    #[must_use]
    pub fn line(&self, at: usize) -> usize {
        line_of(self.text, at)
    }

    /// Something is wrong with the key that stands behind so many bytes.
    #[must_use]
    pub fn error(&self, at: usize, key: String, problem: Problem) -> Misplaced {
        Misplaced { file: self.file.to_owned(), line: self.line(at), key, problem: Box::new(problem) }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Bytes of text before it.
    pub at: usize,
    /// Its key, with the section.
    pub key: String,
}

impl<T> Located<T> {
    /// Something is wrong with it.
    #[must_use]
    pub fn error(&self, source: &Source<'_>, problem: Problem) -> Misplaced {
        source.error(self.at, self.key.clone(), problem)
    }
}

/// A type that a TOML value can be read as.
pub trait FromToml: Sized {
    /// Reads a value.
    ///
    /// # Errors
    /// What is wrong with it.
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Problem>;
}

/// One table whose keys are all known.
#[derive(Debug)]
pub struct Section<'a> {
    source: Source<'a>,
    prefix: String,
    at: usize,
    table: &'a DeTable<'a>,
}

impl<'a> Section<'a> {
    /// Refuses a table with a key that is not among `known`.
    ///
    /// # Errors
    /// The first such key.
    pub fn open(
        source: Source<'a>,
        prefix: &str,
        table: &'a Spanned<DeTable<'a>>,
        known: &'static [&'static str],
    ) -> Result<Self, Misplaced> {
        Self::checked(source, prefix, table.span().start, table.get_ref(), known)
    }

    fn checked(
        source: Source<'a>,
        prefix: &str,
        at: usize,
        table: &'a DeTable<'a>,
        known: &'static [&'static str],
    ) -> Result<Self, Misplaced> {
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
    ///
    /// # Errors
    /// What is wrong with the value.
    pub fn optional<T: FromToml>(&self, key: &str) -> Result<Option<Located<T>>, Misplaced> {
        let Some(value) = self.table.get(key) else { return Ok(None) };
        let (at, key) = (value.span().start, format!("{}{key}", self.prefix));
        match T::from_toml(value.get_ref()) {
            Ok(value) => Ok(Some(Located { value, at, key })),
            Err(problem) => Err(self.source.error(at, key, problem)),
        }
    }

    /// The value of a key that must be there.
    ///
    /// # Errors
    /// What is wrong with the value, or that there is none.
    pub fn required<T: FromToml>(&self, key: &str) -> Result<Located<T>, Misplaced> {
        let found = self.optional(key)?;
        found.ok_or_else(|| self.source.error(self.at, format!("{}{key}", self.prefix), Problem::Missing))
    }

    /// A value that is read in more than one way.
    #[must_use]
    pub fn raw(&self, key: &str) -> Option<Located<&'a DeValue<'a>>> {
        let value = self.table.get(key)?;
        Some(Located { value: value.get_ref(), at: value.span().start, key: format!("{}{key}", self.prefix) })
    }

    /// A table inside this one, if it is there.
    ///
    /// # Errors
    /// If it is no table, or has a key that is not among `known`.
    pub fn section(
        &self,
        key: &str,
        known: &'static [&'static str],
    ) -> Result<Option<Section<'a>>, Misplaced> {
        let Some(value) = self.raw(key) else { return Ok(None) };
        let Some(table) = value.value.as_table() else {
            let problem = Problem::Kind { expected: "a `[section]`", found: value.value.type_str() };
            return Err(value.error(&self.source, problem));
        };
        Self::checked(self.source, &format!("{}{key}.", self.prefix), value.at, table, known).map(Some)
    }

    /// Every table of an array of tables; none if the key is not there.
    ///
    /// # Errors
    /// If it is no such array, or a table has a key that is not among `known`.
    pub fn sections(&self, key: &str, known: &'static [&'static str]) -> Result<Vec<Section<'a>>, Misplaced> {
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
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }
}
