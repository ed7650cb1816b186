//! What a run is about to do, on disk before it does it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{RUNTIME_DIRECTORY, STATE_DIRECTORY};
use crate::id::RunId;
use crate::sys::durable;
use crate::sys::failpoint;
use crate::sys::lockfile::{Attempt, LockFile};

/// One irreversible step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum Intent {
    /// A snapshot is about to be made.
    Snapshot {
        /// Volume group.
        group: String,
        /// The snapshot's name.
        name: String,
        /// The origin's name.
        origin: String,
        /// The origin's LVM UUID.
        origin_uuid: String,
    },
    /// A snapshot stays on purpose; the run's end does not remove it.
    Keep {
        /// Volume group.
        group: String,
        /// The snapshot's name.
        name: String,
    },
    /// Data goes to an unfinished place in a destination.
    Stage {
        /// The destination, as configured.
        destination: String,
    },
    /// A directory of the run's own is about to be filled.
    Scratch {
        /// The directory.
        path: PathBuf,
    },
    /// Keys are about to be laid beside a target, of use only with the data that is put there.
    Keys {
        /// The file with the keys.
        path: PathBuf,
        /// The data; it is here until it is put in its place.
        staged: PathBuf,
    },
    /// A server for people is about to be started beside the live one; the run's job is its name.
    Clone(CloneRecord),
    /// A snapshot is about to be merged into its origin.
    Merge {
        /// Volume group.
        group: String,
        /// The snapshot's name.
        name: String,
        /// The origin's name.
        origin: String,
        /// Where the origin was mounted.
        mount_point: PathBuf,
        /// The service that was stopped.
        unit: Option<String>,
        /// LVM's identifiers of both volumes.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        uses: Vec<String>,
    },
}

impl Intent {
    fn volumes(&self) -> &[String] {
        match self {
            Self::Snapshot { origin_uuid, .. } => std::slice::from_ref(origin_uuid),
            Self::Clone(CloneRecord { uses, .. }) | Self::Merge { uses, .. } => uses,
            _ => &[],
        }
    }
}

/// A server for people, as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneRecord {
    /// The run that kept the snapshot, or the backup.
    pub of: RunId,
    /// The moment that its data is of.
    pub taken: Timestamp,
    /// What its data lies on.
    pub ground: CloneGround,
    /// LVM's identifiers of volumes that must stay as they are while it lives: kept snapshots, and the
    /// origins of thick ones.
    pub uses: Vec<String>,
    /// Its socket.
    pub socket: PathBuf,
    /// Where it listens besides.
    pub listen: Option<SocketAddr>,
}

/// What the data of a clone lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloneGround {
    /// A thin snapshot of its own of one that is kept.
    Thin,
    /// A thick snapshot that is kept.
    Thick,
    /// Restored files.
    Files,
}

/// A run's record; the format is versioned by its field `format`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// 1.
    pub format: u32,
    /// The run.
    pub id: RunId,
    /// `backup`, `restore`, `rollback`, …
    pub verb: String,
    /// The job, where the verb has one.
    pub job: Option<String>,
    /// Process id, for people; being alive is told by the lock.
    pub pid: u32,
    /// When it began.
    pub begun: Timestamp,
    /// What it was about to do, oldest first.
    pub intents: Vec<Intent>,
    /// From when on what it offers can be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Timestamp>,
}

impl Record {
    pub(super) fn new(id: RunId, verb: &str, job: Option<&str>, begun: Timestamp) -> Self {
        let job = job.map(str::to_owned);
        let (verb, pid, intents) = (verb.to_owned(), std::process::id(), Vec::new());
        Self { format: 1, id, verb, job, pid, begun, intents, ready: None }
    }

    /// The run in words: `backup nightly (pid 812, run 20261121T…, since 2026-11-21T09:22:33Z)`.
    pub fn holder(&self) -> String {
        let job = self.job.as_deref().map(|j| format!(" {j}")).unwrap_or_default();
        let since = self.begun.strftime("%Y-%m-%dT%H:%M:%SZ");
        format!("{}{job} (pid {}, run {}, since {since})", self.verb, self.pid, self.id)
    }

    /// Whether the run makes, or made, a snapshot of the volume with `uuid`, stands on it, or merges it.
    pub fn needs(&self, uuid: &str) -> bool {
        self.volumes().any(|used| used == uuid)
    }

    /// The identifiers of the volumes that it makes, or made, a snapshot of, stands on, or merges.
    pub fn volumes(&self) -> impl Iterator<Item = &str> {
        self.intents.iter().flat_map(Intent::volumes).map(String::as_str)
    }

    /// The clone that the run is.
    pub fn clone_record(&self) -> Option<&CloneRecord> {
        self.intents.iter().find_map(|intent| match intent {
            Intent::Clone(clone) => Some(clone),
            _ => None,
        })
    }

    /// What a person does who needs what the run has.
    pub(super) fn way_out(&self) -> String {
        match (self.clone_record(), &self.job) {
            (Some(_), Some(name)) => format!("`mysnap clone stop {name}` ends it"),
            _ => "wait for it to end".to_owned(),
        }
    }

    /// Writes the record durably.
    pub fn save(&self) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(self).context("cannot write the run's record")?;
        durable::write(&self.path(), &text)
    }

    /// Removes the record and its lock file.
    pub fn remove(&self) -> anyhow::Result<()> {
        forget(&self.id)
    }

    /// The run's own directory below the runtime directory: mount points, which are empty
    /// directories once their mounts are gone.
    pub fn directory(&self) -> PathBuf {
        Path::new(RUNTIME_DIRECTORY).join(self.id.as_str())
    }

    /// Removes that directory and its mount points, and nothing that has contents; whether it was
    /// there.
    pub fn remove_directory(&self) -> anyhow::Result<bool> {
        let directory = self.directory();
        let remove = || -> std::io::Result<()> {
            failpoint::pass(|| "remove mount points".to_owned())?;
            for entry in std::fs::read_dir(&directory)? {
                std::fs::remove_dir(entry?.path())?;
            }
            std::fs::remove_dir(&directory)
        };
        match remove() {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot remove {}", directory.display())),
        }
    }

    /// The lock of a dead run, so that only one cleans up after it; `None` while the run lives, or another one cleans up.
    pub fn try_adopt(&self) -> anyhow::Result<Option<LockFile>> {
        match LockFile::try_lock(&self.lock_path())? {
            Attempt::Held(lock) => Ok(Some(lock)),
            Attempt::Busy(_) => Ok(None),
        }
    }

    /// Whether it is on disk no more: the run ended, or another one cleaned up after it.
    pub fn is_gone(&self) -> bool {
        !self.path().exists()
    }

    fn path(&self) -> PathBuf {
        path_of(&self.id)
    }

    pub(super) fn lock_path(&self) -> PathBuf {
        lock_path_of(&self.id)
    }
}

fn path_of(id: &RunId) -> PathBuf {
    Path::new(STATE_DIRECTORY).join(format!("{id}.json"))
}

fn lock_path_of(id: &RunId) -> PathBuf {
    Path::new(STATE_DIRECTORY).join(format!("{id}.lock"))
}

/// Removes all that a run has on record; its lock file goes last, because it is what finds the rest.
pub fn forget(id: &RunId) -> anyhow::Result<()> {
    let unfinished = durable::unfinished_name(&path_of(id));
    for path in files()?.into_iter().filter(|path| name_of(path).starts_with(&unfinished)) {
        durable::remove_file(&path)?;
    }
    durable::remove_file(&path_of(id))?;
    durable::remove_file(&lock_path_of(id))
}

/// Whether the run `id` is alive.
pub fn lives(id: &RunId) -> anyhow::Result<bool> {
    let path = lock_path_of(id);
    // Where it has forgotten itself there is none, and a look must not make one.
    Ok(path.exists() && matches!(LockFile::try_lock(&path)?, Attempt::Busy(_)))
}

/// Runs that died before their record was whole, with their locks: they had done nothing yet.
pub fn stillborn() -> anyhow::Result<Vec<(RunId, LockFile)>> {
    let mut found = Vec::new();
    for path in files()? {
        let Some(id) = name_of(&path).strip_suffix(".lock").and_then(|name| name.parse().ok()) else { continue };
        // One that has a record, or none any more, is no stillborn one, and a look must not make a lock.
        if path_of(&id).exists() || !path.exists() {
            continue;
        }
        if let Attempt::Held(lock) = LockFile::try_lock(&path)?
            && !path_of(&id).exists()
        {
            found.push((id, lock));
        }
    }
    Ok(found)
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// What is in the directory of records; nothing where it is not there.
fn files() -> anyhow::Result<Vec<PathBuf>> {
    let directory = match std::fs::read_dir(STATE_DIRECTORY) {
        Ok(directory) => directory,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {STATE_DIRECTORY}")),
    };
    let paths = directory.map(|entry| entry.map(|e| e.path())).collect::<std::io::Result<_>>();
    paths.context("cannot read the directory of records")
}

/// Every record on disk, oldest first, and the files that cannot be read as one.
pub fn all() -> anyhow::Result<(Vec<Record>, Vec<anyhow::Error>)> {
    let (mut records, mut unreadable) = (Vec::new(), Vec::new());
    for path in files()? {
        if path.extension().is_some_and(|e| e == "json") {
            match load(&path) {
                Ok(record) => records.push(record),
                // Its run ended, or another one cleaned up after it, since the directory was listed.
                Err(_) if !path.exists() => {}
                Err(error) => unreadable.push(error),
            }
        }
    }
    records.sort_by(|a: &Record, b| a.id.cmp(&b.id));
    Ok((records, unreadable))
}

fn load(path: &Path) -> anyhow::Result<Record> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not a run's record", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_format_1_is_still_read() {
        let text = include_str!("../../tests/data/record-1.json");
        let record: Record = serde_json::from_str(text).unwrap();
        assert_eq!(record.intents.len(), 4);
        assert_eq!(serde_json::from_str::<Record>(&serde_json::to_string(&record).unwrap()).unwrap(), record);
        assert!(record.needs("QwQ1pX-0000-0000-0000-0000-0000-abcdef"));
        assert_eq!(record.clone_record(), None);
    }

    #[test]
    fn a_record_of_a_clone_tells_what_it_stands_on_and_how_to_end_it() {
        let record: Record = serde_json::from_str(include_str!("../../tests/data/record-clone-1.json")).unwrap();
        assert_eq!(record.clone_record().unwrap().listen, Some(([127, 0, 0, 1], 3307).into()));
        assert!(record.needs("QwQ1pX-0000-0000-0000-0000-0000-abcdef") && !record.needs("another"));
        assert_eq!(record.way_out(), "`mysnap clone stop shop` ends it");
        assert_eq!(serde_json::from_str::<Record>(&serde_json::to_string(&record).unwrap()).unwrap(), record);
    }
}
