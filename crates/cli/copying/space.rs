//! Whether a copy fits where it is to go.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use anyhow::bail;
use quorate_host::backup::Contents;
use quorate_host::disk::FileName;
use quorate_host::journal::Reserve;

use super::Job;
use super::report::bytes;

/// What folders and the superblock take, and some slack.
const SLACK: u64 = 1 << 20;

/// Refuses a copy for which there is no room. Where nobody can say how much there is, the copy itself will find out.
pub(super) fn see_that_it_fits(job: &Job, contents: &Contents) -> anyhow::Result<()> {
    let needed = SLACK + contents.files.iter().map(|(file, length)| taken(job, *file, *length)).sum::<u64>();
    let Some(free) = free(&job.to) else { return Ok(()) };
    if free < needed {
        let to = job.to.display();
        let (needed, free) = (bytes(needed), bytes(free));
        bail!(
            "{to}: the copy takes {needed}, and {free} are free there; fix: make room, or choose another disk"
        );
    }
    Ok(())
}

/// Bytes that a file takes on a disk: a journal is mostly holes, unless its space is to be taken.
fn taken(job: &Job, file: FileName, length: u64) -> u64 {
    if file == FileName::Journal && job.reserve == Reserve::Whole {
        return length;
    }
    allocated(&job.from.join(file.to_string())).unwrap_or(length)
}

/// Bytes of the blocks that a file has.
pub(crate) fn allocated(file: &Path) -> Option<u64> {
    fs::metadata(file).ok().map(|metadata| metadata.blocks() * 512)
}

/// Bytes that are free where a folder is, or will be, as `df` says in the words of POSIX.
fn free(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let output = Command::new("df").arg("-Pk").arg(there).env("LC_ALL", "C").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    available(&text)
}

/// The fourth column of the second line, in KiB.
fn available(text: &str) -> Option<u64> {
    text.lines().nth(1)?.split_whitespace().nth(3)?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn free_space_is_what_df_says() {
        let text = "Filesystem     1024-blocks     Used Available Capacity Mounted on\n\
                    /dev/vda         264212084 30434040  64851848      32% /\n";
        assert_eq!(available(text), Some(64_851_848 << 10));
        assert_eq!((available(""), available("df: no\n")), (None, None));
        assert!(free(Path::new("no/such/folder")).is_some_and(|bytes| bytes > 0));
    }
}
