//! The part of a cluster that runs on one machine.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use quorate_node::admin::{self, HistoryHead};
use quorate_node::cluster_file::ClusterFile;
use quorate_node::init::Layout;
use quorate_node::status::Status;
use quorate_protocol::types::ReplicaId;

use super::WorkerError;
use super::footprint::{DiskUse, Footprint};
use super::orders::{Control, End, PIECE_BYTES_MAX};
use super::process::{Member, Program};
use crate::load::join_all;

/// A replica's process may take this long to end by itself.
const FAREWELL: Duration = Duration::from_secs(3);
/// And this long, if it hands over first what it leads.
const RETIREMENT: Duration = Duration::from_secs(20);

/// A cluster that this machine is part of.
pub(super) struct Site {
    pub(super) file: ClusterFile,
    pub(super) layout: Layout,
    pub(super) program: Program,
    pub(super) members: BTreeMap<u16, Member>,
    /// Removes the folder, unless it is to be kept.
    pub(super) temporary: Option<tempfile::TempDir>,
    pub(super) folder: PathBuf,
}

impl Site {
    fn member(&mut self, replica: u16) -> Result<&mut Member, WorkerError> {
        self.members.get_mut(&replica).ok_or(WorkerError::Stranger(replica))
    }

    pub(super) fn spawn(&mut self, replicas: &[u16]) -> Result<(), WorkerError> {
        for replica in replicas {
            let member = self.members.get_mut(replica).ok_or(WorkerError::Stranger(*replica))?;
            if member.runs() {
                return Err(WorkerError::Senseless("a replica that is to be started runs already"));
            }
            let log_before = member.log_bytes();
            member.begin(self.program.start(*replica, &self.layout, member)?, log_before);
        }
        Ok(())
    }

    /// Kills all before any is waited for.
    pub(super) async fn kill(&mut self, replicas: &[u16]) -> Result<(), WorkerError> {
        // Its memory is forgotten with it, and its time.
        self.survey();
        for replica in replicas {
            self.member(*replica)?.begin_kill(*replica)?;
        }
        for replica in replicas {
            self.member(*replica)?.end_kill(*replica).await?;
        }
        Ok(())
    }

    /// Asks all before any is waited for.
    pub(super) async fn retire(&mut self, replicas: &[u16]) -> Result<(), WorkerError> {
        self.survey();
        for replica in replicas {
            self.member(*replica)?.signal(*replica, "TERM").await?;
        }
        for replica in replicas {
            self.member(*replica)?.end_gently(*replica, RETIREMENT).await?;
        }
        Ok(())
    }

    pub(super) async fn signal(&mut self, signal: &'static str, replicas: &[u16]) -> Result<(), WorkerError> {
        for replica in replicas {
            self.member(*replica)?.signal(*replica, signal).await?;
        }
        Ok(())
    }

    /// Tells replicas something. What lies one has to tell is not forgotten when it is started again.
    pub(super) async fn control(&mut self, replicas: &[u16], control: &Control) -> Result<(), WorkerError> {
        if !self.program.controlled || !control.is_one_line() {
            return Err(WorkerError::Senseless(
                "this cluster takes no control, or not in so many words; it is for `quorate testbed --web`",
            ));
        }
        let line = control.line();
        for replica in replicas {
            if let Control::Behave(behaviour) = control {
                match behaviour {
                    Some(behaviour) => drop(self.program.liars.insert(*replica, behaviour.clone())),
                    None => drop(self.program.liars.remove(replica)),
                }
            }
            let member = self.member(*replica)?;
            if member.runs() {
                member.tell(*replica, &line).await?;
            }
        }
        Ok(())
    }

    /// Those that ended though nobody here ended them.
    pub(super) fn ended(&mut self) -> Result<Vec<End>, WorkerError> {
        let ended = self.members.iter_mut().map(|(replica, member)| member.ended(*replica));
        ended.filter_map(Result::transpose).collect()
    }

    /// Asks a replica's admin endpoint, if the replica is one of this machine's.
    async fn ask<T: serde::de::DeserializeOwned>(&self, replica: u16, what: String) -> Option<T> {
        self.members.get(&replica)?;
        let address = self.file.replica(ReplicaId(replica))?.addresses.admin;
        admin::fetch(address, &what).await.ok()
    }

    pub(super) async fn statuses(&self, replicas: &[u16]) -> Vec<Option<Status>> {
        // Side by side: one that does not answer keeps nobody waiting for the others.
        join_all(replicas.iter().map(|replica| self.ask(*replica, "/status".to_owned()))).await
    }

    pub(super) async fn heads(&self, seq: u64, replicas: &[u16]) -> Vec<Option<String>> {
        let asked = replicas.iter().map(|replica| self.ask(*replica, format!("/history?seq={seq}")));
        let heads: Vec<Option<HistoryHead>> = join_all(asked).await;
        heads.into_iter().map(|head| head.and_then(|head| head.head)).collect()
    }

    pub(super) fn survey(&mut self) -> BTreeMap<u16, Footprint> {
        let layout = &self.layout;
        let look = |(replica, member): (&u16, &mut Member)| {
            let disk = DiskUse::of(&layout.data(ReplicaId(*replica)));
            (*replica, member.survey(disk))
        };
        self.members.iter_mut().map(look).collect()
    }

    pub(super) fn last_words(&self) -> Option<String> {
        self.members.values().map(Member::last_words).find(|words| !words.is_empty())
    }

    /// A piece of a replica's log.
    pub(super) fn log(&mut self, replica: u16, from: u64) -> Result<Vec<u8>, WorkerError> {
        let path = self.member(replica)?.log.clone();
        let read = || {
            let mut file = std::fs::File::open(&path)?;
            file.seek(SeekFrom::Start(from))?;
            let mut piece = Vec::new();
            file.take(PIECE_BYTES_MAX as u64).read_to_end(&mut piece)?;
            Ok(piece)
        };
        read().map_err(|error| WorkerError::Io { path: path.clone(), deed: "read the log", error })
    }

    /// Ends every replica, gently first.
    pub(super) async fn stop(&mut self) {
        for member in self.members.values_mut() {
            member.begin_stop();
        }
        join_all(self.members.values_mut().map(|member| member.end_stop(FAREWELL))).await;
    }
}
