//! What is known of snapshots that were kept: whose files are on them, and where.
//!
//! A volume carries tags and no more, and whoever needs a kept snapshot may have no server that could be
//! asked, and no destination at hand. So a run writes this down before it marks its snapshots as kept. It is
//! removed with the last of them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Kind};
use crate::id::{JobName, RunId};
use crate::server::Facts;
use crate::store::Root;
use crate::sys::durable;

/// Where this is kept; it outlives a reboot.
const DIRECTORY: &str = "/var/lib/mysnap/kept";

/// The snapshots that one run kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// 1.
    pub format: u32,
    /// The run, which is also the backup.
    pub run: RunId,
    /// Its job.
    pub job: JobName,
    /// The server whose files they are.
    pub server: Facts,
    /// The moment that the data is of.
    pub taken: Timestamp,
    /// One for each volume.
    pub volumes: Vec<KeptVolume>,
    /// LVM's identifiers of those that a rollback has merged: it can go on with the others alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<String>,
}

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptVolume {
    /// LVM's identifier.
    pub uuid: String,
    /// The type of its file system.
    pub fstype: String,
    /// What lies on it.
    pub parts: Vec<KeptPart>,
}

/// A directory or file of the server's data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptPart {
    /// What it is, and where the live server has it.
    pub root: Root,
    /// Where it is on its file system, from the top.
    pub path: PathBuf,
}

impl Kept {
    /// Writes it down durably.
    pub fn save(&self) -> anyhow::Result<()> {
        durable::create_private_directory(Path::new(DIRECTORY))?;
        let text = serde_json::to_vec_pretty(self).context("cannot write down what is kept")?;
        durable::write(&path(&self.run), &text)
    }

    /// What is known of the snapshots of `run`.
    pub fn of(run: &RunId) -> anyhow::Result<Self> {
        let path = path(run);
        let text = std::fs::read(&path).map_err(|error| {
            let message = format!("nothing is on record of the snapshot of run {run}");
            let hint = "an earlier mysnap, or another host, kept it; its backup can be restored instead (--from)";
            Fault::new(Kind::Refused, message).hint(hint).caused_by(error)
        })?;
        serde_json::from_slice(&text).with_context(|| format!("cannot read {}", path.display()))
    }

    /// LVM's identifiers of what is neither among those that are `there` nor merged.
    pub fn missing(&self, there: &[&str]) -> Vec<&str> {
        let kept = self.volumes.iter().map(|volume| volume.uuid.as_str());
        kept.filter(|uuid| !there.contains(uuid) && self.merged.iter().all(|merged| merged != uuid)).collect()
    }
}

/// A rollback has merged the snapshot with this identifier: it will be gone, and is not missing.
pub fn merged(run: &RunId, uuid: &str) -> anyhow::Result<()> {
    let mut kept = Kept::of(run)?;
    kept.merged.push(uuid.to_owned());
    kept.save()
}

/// Whether anything is known of snapshots of `run`.
pub fn is_known(run: &RunId) -> bool {
    path(run).exists()
}

/// The snapshots of `run` are no more.
pub fn forget(run: &RunId) -> anyhow::Result<()> {
    durable::remove_file(&path(run))
}

fn path(run: &RunId) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{run}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_format_1_is_still_read() {
        let kept: Kept = serde_json::from_str(include_str!("../tests/data/kept-1.json")).unwrap();
        assert!(kept.volumes[0].parts[0].root.is_datadir());
        assert_eq!(serde_json::from_str::<Kept>(&serde_json::to_string(&kept).unwrap()).unwrap(), kept);
    }

    #[test]
    fn what_is_neither_there_nor_merged_is_missing() {
        let mut kept: Kept = serde_json::from_str(include_str!("../tests/data/kept-1.json")).unwrap();
        let first = kept.volumes[0].uuid.clone();
        kept.volumes.push(KeptVolume { uuid: "second".to_owned(), ..kept.volumes[0].clone() });
        assert_eq!(kept.missing(&[&first, "second", "another"]), Vec::<&str>::new());
        assert_eq!(kept.missing(&[&first]), ["second"]);
        assert_eq!(kept.missing(&[]), [first.as_str(), "second"]);
        kept.merged.push(first);
        assert_eq!(kept.missing(&["second"]), Vec::<&str>::new());
        assert_eq!(kept.missing(&[]), ["second"]);
    }
}
