//! What a run proved against its liars, and where the proofs are.

use std::collections::BTreeMap;
use std::path::Path;

use quorate_node::init::Layout;
use quorate_node::status::Status;
use quorate_protocol::types::ReplicaId;

/// What replicas that do not lie hold proof of, each once, and who holds it.
pub(super) fn proofs(statuses: &[Option<Status>]) -> BTreeMap<String, Vec<u16>> {
    let mut found: BTreeMap<String, Vec<u16>> = BTreeMap::new();
    for status in statuses.iter().flatten() {
        for accused in &status.accused {
            found.entry(accused.clone()).or_default().push(status.replica);
        }
    }
    found
}

/// For people: a line for each proof, and what becomes of them.
pub(super) fn lines(proofs: &BTreeMap<String, Vec<u16>>, folder: Option<&Path>) -> String {
    let each = proofs.iter().map(|(accused, by)| {
        let by: Vec<String> = by.iter().map(u16::to_string).collect();
        format!("proof        {accused}; on disk at {}\n", by.join(", "))
    });
    let mut text: String = each.collect();
    let Some(holder) = proofs.values().flatten().next() else { return text };
    text += &match folder {
        None => "             gone with the temporary folder; --folder keeps them for `quorate evidence`\n"
            .to_owned(),
        Some(folder) => {
            let data = Layout::new(folder).data(ReplicaId(*holder));
            let data = crate::quoted(&data.to_string_lossy());
            format!("             {} evidence list {data} names the files\n", crate::program())
        }
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_told_once_with_who_holds_it_and_how_it_is_kept() {
        let status = |replica: u16, accused: &[&str]| {
            let accused = accused.iter().map(ToString::to_string).collect();
            Some(Status { replica, accused, ..Status::default() })
        };
        assert_eq!(lines(&proofs(&[status(0, &[]), None]), None), "");
        let found = proofs(&[status(0, &["replica 2 lied"]), None, status(3, &["replica 2 lied"])]);
        let told = lines(&found, None);
        assert!(
            told.starts_with("proof        replica 2 lied; on disk at 0, 3\n") && told.contains("--folder"),
            "{told}"
        );
        let told = lines(&found, Some(Path::new("kept")));
        assert!(told.contains("evidence list kept/data/replica-0 names the files\n"), "{told}");
    }
}
