//! A drill that could not be carried out: why, until one of the same job is. It says nothing about the backup, but
//! whoever has drills run by themselves must not take their silence for a good one.

use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::record;
use crate::fault::{Kind, kind_of};
use crate::id::{JobName, RunId};
use crate::store::{Destination, Store};
use crate::sys::durable;

/// The last drill of a job, where it came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hindered {
    /// The destination from which the backup would have come.
    pub destination: String,
    /// The backup.
    pub backup: RunId,
    /// When it ended.
    pub at: Timestamp,
    /// Why.
    pub why: String,
}

impl Hindered {
    /// That of `job` with a backup of `destination`; none where the last drill said something about its backup.
    pub fn of(job: &JobName, destination: &Destination) -> anyhow::Result<Option<Self>> {
        let path = path(job);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let found: Self = serde_json::from_slice(&text).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some(found).filter(|found| found.destination == destination.to_string()))
    }
}

/// Beside the record of what drills said.
fn path(job: &JobName) -> PathBuf {
    record::path(job).with_extension("hindered")
}

/// Whether `error` of a drill says nothing about the backup, and is told by nobody else: somebody who ends a drill, or
/// runs another one, knows.
pub(super) fn is_of_the_drill(error: &anyhow::Error) -> bool {
    !matches!(kind_of(error), Some(Kind::Verify | Kind::CleanupPending | Kind::Cancelled | Kind::Busy))
}

/// Writes down that a drill could not be carried out.
pub(super) fn save(job: &JobName, hindered: &Hindered) -> anyhow::Result<()> {
    let path = path(job);
    path.parent().map_or(Ok(()), durable::create_private_directory)?;
    let text = serde_json::to_vec_pretty(hindered).context("cannot write down why there was no drill")?;
    durable::write(&path, &text)
}

/// A drill of `job` with a backup in `store` said something.
pub(super) fn forget(job: &JobName, store: &dyn Store) -> anyhow::Result<()> {
    let path = path(job);
    // What can't be read says nothing that must be kept.
    if let Ok(None) = Hindered::of(job, store.destination()) {
        return Ok(());
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;

    #[test]
    fn only_what_says_nothing_about_the_backup_is_of_the_drill() {
        let of = |kind| is_of_the_drill(&Fault::new(kind, "x").into());
        assert!(
            of(Kind::Refused) && of(Kind::Config) && of(Kind::Copy) && is_of_the_drill(&anyhow::anyhow!("no room"))
        );
        assert!(!of(Kind::Verify) && !of(Kind::Cancelled) && !of(Kind::Busy) && !of(Kind::CleanupPending));
    }
}
