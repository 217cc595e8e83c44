//! What a replica's folder takes on its disk, by kind.

use std::path::Path;

use quorate_host::backup::Contents;
use quorate_host::disk::{Disk, DiskError, FileName};
use serde_json::{Map, Value, json};

use crate::copying::{allocated, bytes};

/// Files of one kind.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Kind {
    files: u64,
    /// As long as they are together.
    bytes: u64,
    /// What the file system gave them: a journal is mostly holes until it was used once all around.
    taken: u64,
}

/// The files of a folder, by kind.
#[derive(Debug, Default)]
pub(super) struct Usage {
    kinds: Vec<(&'static str, Kind)>,
    /// Whether it keeps proof of a wrong state.
    pub(super) evidence: bool,
}

/// What a file is called where it is counted.
fn kind_of(file: FileName) -> Option<&'static str> {
    match file {
        FileName::Superblock => Some("superblock"),
        FileName::Journal => Some("journal"),
        FileName::Segment(_) => Some("segments"),
        FileName::Snapshot(_) | FileName::SnapshotDraft => Some("snapshots"),
        FileName::Divergence => Some("divergence"),
        FileName::Accusation(..) | FileName::EvidenceDraft => Some("evidence"),
        FileName::Folder => None,
    }
}

impl Usage {
    /// Looks at the files of a folder.
    pub(super) fn of(disk: &mut impl Disk, folder: &Path) -> Result<Self, DiskError> {
        let mut usage = Self::default();
        for (file, bytes) in Contents::of(disk)?.files {
            let Some(name) = kind_of(file) else { continue };
            usage.evidence |= file == FileName::Divergence;
            let taken = allocated(&folder.join(file.to_string())).unwrap_or(bytes);
            let at = usage.kinds.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
                usage.kinds.push((name, Kind::default()));
                usage.kinds.len() - 1
            });
            let kind = &mut usage.kinds[at].1;
            (kind.files, kind.bytes, kind.taken) = (kind.files + 1, kind.bytes + bytes, kind.taken + taken);
        }
        Ok(usage)
    }

    /// One line for each kind, and one for all.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.kinds.iter().map(|(name, kind)| line(name, *kind)).collect();
        if !lines.is_empty() {
            let taken = self.kinds.iter().map(|(_, kind)| kind.taken).sum();
            lines.push(format!("{} in all", bytes(taken)));
        }
        lines
    }

    /// The same for programs.
    pub(super) fn object(&self) -> Value {
        let kind = |kind: &Kind| json!({"files": kind.files, "bytes": kind.bytes, "taken": kind.taken});
        Value::Object(
            self.kinds.iter().map(|(name, of)| ((*name).to_owned(), kind(of))).collect::<Map<_, _>>(),
        )
    }
}

fn line(name: &str, Kind { files, bytes: length, taken }: Kind) -> String {
    let files = if files == 1 { "1 file".to_owned() } else { format!("{files} files") };
    if taken < length {
        format!("{name}: {files}, {} taken of {}", bytes(taken), bytes(length))
    } else {
        format!("{name}: {files}, {}", bytes(taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sparse_file_takes_is_told_besides_its_length() {
        let kind = Kind { files: 1, bytes: 686 << 20, taken: 7 << 20 };
        assert_eq!(line("journal", kind), "journal: 1 file, 7.0 MiB taken of 686.0 MiB");
        assert_eq!(
            line("segments", Kind { files: 2, bytes: 5000, taken: 8192 }),
            "segments: 2 files, 8.0 KiB"
        );
    }
}
