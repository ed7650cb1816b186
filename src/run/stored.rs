//! Who makes, reads and removes stored backups on this host. Other hosts are not seen.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{RUNTIME_DIRECTORY, server_lock};
use crate::fault::{Fault, Kind, kind_of};
use crate::id::RunId;
use crate::sys::cancel::Cancel;
use crate::sys::durable;
use crate::sys::lockfile::{Attempt, LockFile};

/// So long a backup waits for a removal, which is soon over.
const PATIENCE: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_millis(500);

/// The claim to be the only one that adds to the backups in `place`, or removes from them; `holder` says who.
/// `Busy` names who has it.
pub fn claim_backups(place: &Path, holder: &str) -> anyhow::Result<LockFile> {
    durable::create_private_directory(Path::new(RUNTIME_DIRECTORY))?;
    match LockFile::try_lock(&server_lock(place))? {
        Attempt::Held(mut lock) => {
            lock.describe(holder)?;
            Ok(lock)
        }
        Attempt::Busy(other) => {
            let other = if other.is_empty() { "another run" } else { other.trim() };
            let fault = Fault::new(Kind::Busy, format!("the backups in {} are held by {other}", place.display()));
            Err(fault.hint("wait for it to end, or look at it with `ps`; nothing was touched").into())
        }
    }
}

/// The same, after whoever has it for a while.
pub fn await_backups(place: &Path, holder: &str, cancel: &Cancel) -> anyhow::Result<LockFile> {
    let end = Instant::now() + PATIENCE;
    loop {
        match claim_backups(place, holder) {
            Err(error) if kind_of(&error) == Some(Kind::Busy) && Instant::now() < end => cancel.sleep(PAUSE)?,
            claimed => return claimed,
        }
    }
}

/// Keeps the backup `id` from being removed by a run on this host, for as long as it is held; none where no lock can be
/// had: then a removal makes an error of what is read, and nothing worse.
pub fn read_stored(id: &RunId) -> Option<LockFile> {
    let lock = || {
        durable::create_private_directory(Path::new(RUNTIME_DIRECTORY))?;
        LockFile::try_share(&path_of(id))
    };
    match lock() {
        Ok(Attempt::Held(lock)) => Some(lock),
        Ok(Attempt::Busy(_)) => None,
        Err(error) => {
            tracing::debug!("nothing keeps backup {id} from being removed: {error:#}");
            None
        }
    }
}

/// Whether a backup is being read.
#[derive(Debug)]
pub enum Reading {
    /// Nobody on this host reads it, and nobody begins to.
    Nobody(Removal),
    /// Somebody does.
    Somebody,
}

/// The right to remove a backup.
#[derive(Debug)]
#[must_use]
pub struct Removal {
    path: PathBuf,
    _lock: LockFile,
}

impl Removal {
    /// The backup is gone: so is its lock.
    pub fn forget(self) -> anyhow::Result<()> {
        durable::remove_file(&self.path)
    }
}

/// The right to remove the backup `id`, unless somebody reads it.
pub fn try_remove_stored(id: &RunId) -> anyhow::Result<Reading> {
    let path = path_of(id);
    Ok(match LockFile::try_lock(&path)? {
        Attempt::Held(lock) => Reading::Nobody(Removal { path, _lock: lock }),
        Attempt::Busy(_) => Reading::Somebody,
    })
}

fn path_of(id: &RunId) -> PathBuf {
    Path::new(RUNTIME_DIRECTORY).join(format!("stored-{id}.lock"))
}
