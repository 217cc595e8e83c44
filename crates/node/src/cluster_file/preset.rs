//! Presets: the `[parameters]` and `[node]` sections of a cluster file, on their own, for clusters yet to be made.

use std::path::Path;

use quorate_protocol::parameters::Parameters;

use super::error::ClusterFileError;
use super::{CLUSTER_FILE_BYTES_MAX, NodeDefaults, parameters, parse};
use crate::sections::{self, Section, Source};

/// Protocol constants and local tuning that suit one kind of network or purpose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preset {
    /// Protocol constants.
    pub parameters: Parameters,
    /// Local tuning.
    pub node: NodeDefaults,
}

impl Preset {
    /// Reads and checks the file at `path`; what it does not say keeps its default.
    ///
    /// # Errors
    /// [`ClusterFileError`] names the file, the line, the key and the fix.
    pub fn load(path: &Path) -> Result<Self, ClusterFileError> {
        let text = sections::read(path, CLUSTER_FILE_BYTES_MAX);
        let unreadable = |why| ClusterFileError::UnreadablePreset { file: path.to_owned(), why };
        Self::parse(&text.map_err(unreadable)?, path)
    }

    /// Checks the text of a preset; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`Preset::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ClusterFileError> {
        let source = Source::new(text, path);
        let table = source.parse()?;
        let top = Section::open(source, "", &table, &["parameters", "node"])?;
        let section = top.section("parameters", parameters::NAMES)?;
        let parameters = parameters::read(&source, section.as_ref(), Parameters::default(), 1)?;
        Ok(Self { parameters, node: parse::node_defaults(&source, &top)? })
    }
}
