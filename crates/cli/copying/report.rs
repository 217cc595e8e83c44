//! What `quorate backup` and `quorate restore` say when they are done.

use std::fmt::Write as _;

use quorate_host::backup::{Copied, Purpose};
use quorate_host::superblock::{Exclusion, Standing};
use serde_json::{Value, json};

use super::Job;
use crate::belonging::cluster_option;
use crate::quoted;

/// So many bytes, in the unit that fits.
pub(crate) fn bytes(count: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let fits = units.iter().find(|(_, unit)| count >= *unit);
    fits.map_or(format!("{count} bytes"), |(name, unit)| {
        let tenths = u128::from(count) * 10 / u128::from(*unit);
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    })
}

/// The number of a copy, if it has one.
fn number(standing: Standing) -> Option<u64> {
    match standing {
        Standing::Out(
            Exclusion::Copied { number, .. }
            | Exclusion::Carrier { number, .. }
            | Exclusion::Moved { number, .. },
        ) => Some(number),
        Standing::Normal | Standing::Diverged { .. } | Standing::Out(_) => None,
    }
}

/// For people.
pub(super) fn page(job: &Job, copied: &Copied) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = write_page(&mut page, job, copied);
    page
}

fn write_page(page: &mut String, job: &Job, copied: &Copied) -> std::fmt::Result {
    let Copied { identity, standing, files, left_out, damage } = copied;
    let whose = format!("replica {} of cluster {}", identity.replica.0, identity.cluster.0);
    if files.is_empty() {
        writeln!(page, "copied      before: {whose}")?;
    } else {
        let total = bytes(files.iter().map(|(_, bytes)| bytes).sum());
        writeln!(page, "copied      {whose}: {} files, {total}, every byte compared", files.len())?;
    }
    for damage in damage {
        writeln!(page, "damaged     {damage}")?;
    }
    if !left_out.is_empty() {
        writeln!(page, "left out    {}", left_out.join(", "))?;
    }
    if let Some(number) = number(*standing) {
        writeln!(page, "number      {number:016x}")?;
    }
    writeln!(page, "votes       {}", votes(job))?;
    writeln!(
        page,
        "keys        none are in it: who starts it needs the replica's key file and cluster.toml, too"
    )?;
    writeln!(page, "next        {}", next(job, copied))
}

/// Who votes from now on.
fn votes(job: &Job) -> String {
    let from = job.from.display();
    match job.purpose {
        Purpose::Keep => "never from this copy: it executes, catches up and serves the state".to_owned(),
        Purpose::Carry => {
            format!("nobody, until this copy is restored with `--moved`; {from} starts no more")
        }
        Purpose::Settle => format!("this folder, as soon as it is started; {from} has given it away"),
    }
}

/// What to type next.
fn next(job: &Job, copied: &Copied) -> String {
    let (program, to) = (crate::program(), quoted(&job.to.to_string_lossy()));
    let id = copied.identity.replica.0;
    match (job.restores, job.purpose) {
        (true, _) => {
            let cluster = cluster_option(copied.identity.cluster, &[&job.to, &job.from]);
            format!("{program} replica {id} {cluster} --data {to}")
        }
        (false, Purpose::Carry) => format!("{program} restore {to} --moved --to FOLDER"),
        (false, _) => format!("{program} restore {to} --to FOLDER"),
    }
}

/// For programs.
pub(super) fn object(job: &Job, copied: &Copied) -> Value {
    let Copied { identity, standing, files, left_out, damage } = copied;
    let files = files.iter().map(|(file, bytes)| json!({"name": file.to_string(), "bytes": bytes}));
    json!({
        "from": job.from,
        "to": job.to,
        "cluster": identity.cluster.0.to_string(),
        "replica": identity.replica.0,
        "number": number(*standing).map(|number| format!("{number:016x}")),
        "copy_votes": job.purpose == Purpose::Settle,
        "standing": standing.to_string(),
        "files": files.collect::<Vec<_>>(),
        "left_out": left_out,
        "damage": damage.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_the_unit_that_fits() {
        for (count, expected) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (7_400_000, "7.0 MiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
    }
}
