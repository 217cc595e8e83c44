//! Which cluster file goes with a folder, so that the commands that are printed can be typed as they stand.

use std::path::{Path, PathBuf};

use quorate_node::cluster_file::ClusterFile;
use quorate_protocol::types::ClusterId;

/// What stands in a command for a cluster file that is not where one would look for it.
const UNKNOWN: &str = "CLUSTER.toml";

/// `--cluster` with the file of this cluster: the one beside one of these folders, as `quorate init` puts it, or in the
/// current folder.
pub(crate) fn cluster_option(cluster: ClusterId, folders: &[&Path]) -> String {
    let found = candidates(folders).into_iter().find(|path| is_of(path, cluster));
    let found = found.map_or(UNKNOWN.to_owned(), |path| crate::quoted(&path.to_string_lossy()));
    format!("--cluster {found}")
}

/// Where cluster files are: in the current folder, and in those above a data folder.
fn candidates(folders: &[&Path]) -> Vec<PathBuf> {
    let above = folders.iter().flat_map(|folder| folder.ancestors().take(3));
    let beside = above.map(|folder| folder.join("cluster.toml"));
    std::iter::once(PathBuf::from("cluster.toml")).chain(beside).collect()
}

fn is_of(path: &Path, cluster: ClusterId) -> bool {
    path.is_file() && ClusterFile::load(path).is_ok_and(|file| file.id() == cluster)
}
