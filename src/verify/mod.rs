//! Whether a stored backup is still what was copied: every file against its digest.

use crate::binlog::{self, Home, Start};
use crate::fault::{Fault, Kind};
use crate::id::{JobName, RunId};
use crate::store::{Backup, Increment, Store, check};
use crate::sys::cancel::Cancel;

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

/// An increment with what it stands on.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a> {
    /// The increment.
    pub backup: &'a Backup,
    /// What it adds.
    pub increment: &'a Increment,
    /// The backup with which a restore begins.
    pub base: &'a Backup,
    /// The archive.
    pub home: &'a Home,
}

/// Reads every archived file that leads from the base to the end of the increment, those of earlier increments too.
pub fn increment(
    store: &dyn Store,
    chain: &Chain<'_>,
    progress: &dyn Fn(u64),
    cancel: &Cancel,
) -> anyhow::Result<Report> {
    let Chain { backup, increment, base, home } = *chain;
    let mut report = Report {
        job: backup.slot.job.clone(),
        id: backup.slot.id.clone(),
        files: 0,
        bytes: 0,
        missing: Vec::new(),
        changed: Vec::new(),
        extra: Vec::new(),
        unreadable: Vec::new(),
        twins_damaged: backup.damaged_twins(store)?,
    };
    let no_archive = || Fault::new(Kind::Verify, format!("there is no archive in {}", home.path().display()));
    let index = home.read_index()?.ok_or_else(no_archive)?;
    let no_position = || Fault::new(Kind::Verify, format!("backup {} has no position", base.manifest.id));
    let from = base.manifest.position.binlog.as_ref().ok_or_else(no_position)?;
    match index.path(Some(&increment.timeline), &Start::Position(from), Some(&increment.to)) {
        Ok(pieces) => {
            let looked = binlog::verify::look_at(home, &increment.timeline, &pieces, progress, cancel)?.report;
            (report.files, report.bytes, report.changed) = (looked.files, looked.bytes, looked.damaged);
        }
        Err(error) => report.missing.push(format!("{error:#}")),
    }
    Ok(report)
}
