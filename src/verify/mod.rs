//! Whether a stored backup is still what was copied: every file against its digest.

use crate::id::{JobName, RunId};
use crate::store::{Backup, Store, check};

/// What a verification found. Names are `root/path`, as the list of files writes them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// The backup's job.
    pub job: JobName,
    /// Which backup.
    pub id: RunId,
    /// How many files were read.
    pub files: u64,
    /// How many bytes were read.
    pub bytes: u64,
    /// What is listed and not there.
    pub missing: Vec<String>,
    /// What has another size, another digest, or is another kind of thing.
    pub changed: Vec<String>,
    /// What is there and not listed.
    pub extra: Vec<String>,
    /// What could not be read, with the reason.
    pub unreadable: Vec<String>,
    /// What is damaged but has a whole twin.
    pub twins_damaged: Vec<String>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        [&self.missing, &self.changed, &self.extra, &self.unreadable, &self.twins_damaged].iter().all(|l| l.is_empty())
    }
}

/// Reads every file of `backup`. What is wrong with it is in the report; `progress` gets the bytes
/// read so far.
pub fn verify(store: &dyn Store, backup: &Backup, progress: &(dyn Fn(u64) + Sync)) -> anyhow::Result<Report> {
    let files = backup.files(store)?;
    let findings = check(store, &backup.slot, &files, progress)?;
    Ok(Report {
        job: backup.slot.job.clone(),
        id: backup.slot.id.clone(),
        files: findings.files,
        bytes: findings.bytes,
        missing: findings.missing,
        changed: findings.changed,
        extra: findings.extra,
        unreadable: findings.unreadable,
        twins_damaged: backup.damaged_twins(store)?,
    })
}
