//! The outcome of the last drill of each job, where `list` and `status` find it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Found, Request};
use crate::id::{JobName, RunId};
use crate::store::{Destination, ProofLevel, Store};
use crate::sys::durable;
use crate::sys::units::milliseconds;

/// Where the records are; they outlive a reboot.
const DIRECTORY: &str = "/var/lib/mysnap/drills";

/// What a drill came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// 1.
    pub format: u32,
    /// The job of the backup.
    pub job: JobName,
    /// The destination from which it came.
    pub destination: String,
    /// The backup.
    pub backup: RunId,
    /// When the drill ended.
    pub at: Timestamp,
    /// How much was looked at.
    pub level: ProofLevel,
    /// How long all of it took: what a restore would take.
    pub total_ms: u64,
    /// What was found; none where it failed.
    pub found: Option<Found>,
    /// Why it failed.
    pub failure: Option<String>,
}

impl Report {
    pub(super) fn of(
        request: &Request,
        store: &dyn Store,
        took: Duration,
        at: Timestamp,
        worked: Result<&Found, &anyhow::Error>,
    ) -> Self {
        let manifest = &request.backup.manifest;
        Self {
            format: 1,
            job: manifest.job.clone(),
            destination: store.destination().to_string(),
            backup: manifest.id.clone(),
            at,
            level: request.level,
            total_ms: milliseconds(took),
            found: worked.ok().cloned(),
            failure: worked.err().map(|error| format!("{error:#}")),
        }
    }
}

fn path(job: &JobName) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{job}.json"))
}

pub(super) fn save(report: &Report) -> anyhow::Result<()> {
    durable::create_private_directory(Path::new(DIRECTORY))?;
    let text = serde_json::to_vec_pretty(report).context("cannot write the record of the drill")?;
    durable::write(&path(&report.job), &text)
}

/// The last drill of `job` with backups of `destination`; none where there was none.
pub fn last(job: &JobName, destination: &Destination) -> anyhow::Result<Option<Report>> {
    let path = path(job);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let report: Report = serde_json::from_slice(&text).with_context(|| format!("cannot read {}", path.display()))?;
    Ok((report.destination == destination.to_string()).then_some(report))
}
