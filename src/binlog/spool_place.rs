//! Where a spool lies, and what killed runs left there.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::stream::Request;
use crate::fault::{Fault, Kind};
use crate::server::{ServerLog, Session};
use crate::store::{LocalStore, Store as _};
use crate::sys::cancel::Cancel;
use crate::sys::lockfile::{Attempt, LockFile};
use crate::sys::units::Bytes;

/// Where it lies that is of an archive on another node.
const ELSEWHERE: &str = "/var/tmp";
/// How its name begins.
const NAME: &str = ".spool-";
/// What tells that whoever made it lives.
const LOCK: &str = ".lock";
/// How often another one is made where somebody took the one before for a dead run's.
const TRIES: u32 = 3;

/// Where the spools of an archive lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SpoolPlace {
    parent: PathBuf,
    /// Whether that is the archive's own directory.
    own: bool,
}

/// A directory that is removed with this.
#[derive(Debug)]
pub(super) struct SpoolDirectory {
    directory: tempfile::TempDir,
    _lock: LockFile,
}

impl SpoolPlace {
    /// Where the spools of the archive of `request` lie.
    pub(super) fn of(request: &Request) -> Self {
        match &request.spool {
            Some(parent) => Self { parent: parent.clone(), own: false },
            None if request.home.node().is_none() => Self { parent: request.home.path().to_owned(), own: true },
            None => Self { parent: ELSEWHERE.into(), own: false },
        }
    }

    /// The one for a trial: the archive is another's, and may not be there yet.
    pub(super) fn for_trial(self) -> Self {
        if self.own { Self { parent: ELSEWHERE.into(), ..self } } else { self }
    }

    /// Removes what killed runs left here, of whichever archive.
    pub(super) fn tidy(&self) {
        for parent in [&self.parent, Path::new(ELSEWHERE)] {
            if parent.is_dir()
                && let Err(error) = tidy(parent)
            {
                tracing::warn!("{error:#}");
            }
        }
    }

    /// Makes one.
    pub(super) fn make(&self) -> anyhow::Result<SpoolDirectory> {
        let mut tries = 0;
        loop {
            tries += 1;
            let made = tempfile::Builder::new().prefix(NAME).tempdir_in(&self.parent);
            let directory = made.with_context(|| format!("cannot make a directory in {}", self.parent.display()))?;
            match LockFile::try_lock(&directory.path().join(LOCK)) {
                Ok(Attempt::Held(lock)) => return Ok(SpoolDirectory { directory, _lock: lock }),
                Err(error) if tries == TRIES => return Err(error),
                Ok(Attempt::Busy(_)) | Err(_) => {}
            }
        }
    }

    /// An error where what `logs` are could harm the server of `session` or does not fit; where the archive is, that
    /// has been looked at already.
    pub(super) fn refuse_unfit(&self, session: &Session, logs: &[ServerLog], cancel: &Cancel) -> anyhow::Result<()> {
        if self.own {
            return Ok(());
        }
        let hint = "give its section spool = \"/directory\", on a disk that has room and is not the server's";
        let store = LocalStore::new(&self.parent, cancel);
        if session.is_on_this_host() {
            let facts = session.facts();
            let log = facts.binary_log.as_ref().and_then(|log| log.basename.parent());
            let own = store.device()?;
            for directory in log.into_iter().chain([facts.datadir.as_path()]) {
                if own.is_some() && LocalStore::new(directory, cancel).device()? == own {
                    let (place, server) = (self.parent.display(), directory.display());
                    let message = format!("what the tool reads would fill {place}, the file system of {server}");
                    return Err(Fault::new(Kind::Refused, message).hint(hint).into());
                }
            }
        }
        let largest = logs.iter().map(|log| log.size).max().unwrap_or_default();
        let (room, needed) = (store.room()?.bytes, Bytes(largest.saturating_mul(2)));
        if room < needed {
            let message =
                format!("{} has {room} free, and two of the server's logs need {needed}", self.parent.display());
            return Err(Fault::new(Kind::Refused, message).hint(hint).into());
        }
        Ok(())
    }

    /// What a person is told of it; nothing of the archive's own directory.
    pub(super) fn told(&self, cancel: &Cancel) -> anyhow::Result<Option<String>> {
        if self.own {
            return Ok(None);
        }
        let room = LocalStore::new(&self.parent, cancel).room()?.bytes;
        Ok(Some(format!("what the tool reads goes through {}, {room} free", self.parent.display())))
    }
}

impl SpoolDirectory {
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Removes our spools in `parent` of which whoever made them is dead.
fn tidy(parent: &Path) -> anyhow::Result<()> {
    let entries = parent.read_dir().with_context(|| format!("cannot look into {}", parent.display()))?;
    for entry in entries {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(NAME) {
            continue;
        }
        let path = entry.path();
        // Another one may be at the same.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir()
            && metadata.uid() == nix::unistd::geteuid().as_raw()
            && let Ok(Attempt::Held(_lock)) = LockFile::try_lock(&path.join(LOCK))
        {
            std::fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_run_left_goes_and_what_is_anothers_stays() {
        let parent = tempfile::tempdir().unwrap();
        for name in [".spool-1-abc", ".spoo-12-abc", "1-b"] {
            std::fs::create_dir(parent.path().join(name)).unwrap();
            crate::sys::durable::write(&parent.path().join(name).join("b.000001"), b"x").unwrap();
        }
        std::os::unix::fs::symlink(parent.path().join("1-b"), parent.path().join(".spool-1-link")).unwrap();
        tidy(parent.path()).unwrap();
        let left: Vec<bool> =
            [".spool-1-abc", ".spoo-12-abc", "1-b/b.000001"].map(|name| parent.path().join(name).exists()).to_vec();
        assert_eq!(left, [false, true, true]);
    }

    #[test]
    fn what_a_living_run_has_stays_and_what_a_killed_one_left_goes() {
        let parent = tempfile::tempdir().unwrap();
        let place = SpoolPlace { parent: parent.path().to_owned(), own: false };
        let living = place.make().unwrap();
        let dead = {
            let left = place.make().unwrap();
            left.directory.keep()
        };
        tidy(parent.path()).unwrap();
        assert!(living.path().is_dir() && !dead.exists());
        let path = living.path().to_owned();
        drop(living);
        assert!(!path.exists());
    }
}
