//! The directory in which a run works: its name says whose it is.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::place::make_scratch;
use crate::fault::{Failure, Fault, Kind};
use crate::id::{CloneName, RunId};
use crate::run::{Intent, Run, clone_directory};
use crate::sys::{failpoint, retry};

/// For how long a directory may be filled by somebody who does not know yet that the run has ended.
const SETTLE: Duration = Duration::from_secs(10);

/// How the directories of runs begin that bring files back to look at them, and to use them.
pub(super) const PREFIXES: [&str; 2] = ["mysnap-drill-", "mysnap-clone-"];

/// How such a directory is told of while there is no run yet.
pub const NAMED_LATER: &str = "mysnap-drill-RUN";

/// What became of work in a run's own directory.
#[derive(Debug)]
pub struct Used<T> {
    /// What it brought.
    pub worked: anyhow::Result<T>,
    /// Why something of the run is left.
    pub left: Option<anyhow::Error>,
}

impl<T> Used<T> {
    /// What it brought; an error where `what` was done, but something is left.
    pub fn finished(self, what: &str) -> anyhow::Result<T> {
        match (self.worked, self.left) {
            (Ok(value), None) => Ok(value),
            (Err(error), left) => Err(Failure::join(error, left.into_iter().collect())),
            (Ok(_), Some(error)) => {
                let fault = Fault::new(Kind::CleanupPending, format!("{what}, but something of the run is left"));
                Err(fault.hint("`mysnap recover` removes it").caused_by(error).into())
            }
        }
    }
}

/// Has `work` use a directory of the run's own below `scratch`. It and the run are gone afterwards.
pub fn in_scratch<T>(
    run: Run,
    scratch: &Path,
    work: impl FnOnce(&Path) -> anyhow::Result<T>,
) -> anyhow::Result<Used<T>> {
    let home = scratch.join(scratch_name(run.id()));
    in_directories(run, std::slice::from_ref(&home), || work(&home))
}

/// The same with several directories, each called by [`scratch_name`].
pub fn in_directories<T>(
    mut run: Run,
    homes: &[PathBuf],
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<Used<T>> {
    homes.iter().try_for_each(|home| run.intend(Intent::Scratch { path: home.clone() }))?;
    let worked = homes.iter().try_for_each(|home| make_scratch(home)).and_then(|()| work());
    let removed = homes.iter().try_for_each(|home| remove_scratch(home, run.id()));
    let cleaned = removed.and_then(|()| run.forget());
    Ok(Used { worked, left: cleaned.err() })
}

/// The name of a directory in which `run` works.
pub fn scratch_name(run: &RunId) -> String {
    format!("mysnap-drill-{run}")
}

/// The same for a clone.
pub fn clone_scratch_name(run: &RunId) -> String {
    format!("mysnap-clone-{run}")
}

/// Removes it with all that is in it; that it is gone already is success. Whatever is neither called by
/// the run's name nor the place of a clone's socket is left alone, and no symlink is followed.
pub fn remove_scratch(path: &Path, run: &RunId) -> anyhow::Result<()> {
    let is_named =
        path.file_name().is_some_and(|name| PREFIXES.iter().any(|prefix| *name == *format!("{prefix}{run}")));
    if !is_named && !is_place_of_a_clone(path) {
        let message = format!("{} is not called by the name of run {run}; it is left alone", path.display());
        return Err(Fault::new(Kind::Refused, message).into());
    }
    let remove = || match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Err(error),
        removed => Ok(removed),
    };
    let removed = failpoint::pass(|| "remove scratch".to_owned()).and_then(|()| retry::until(SETTLE, remove)?);
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// It is called by the name of the clone, which one run has at a time: a later one of that name has cleaned up
/// after the earlier before it made the place again.
fn is_place_of_a_clone(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix("clone-"));
    name.is_some_and(|name| name.parse::<CloneName>().is_ok() && path == clone_directory(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_called_by_the_runs_name_goes() {
        let home = tempfile::tempdir().unwrap();
        let run: RunId = "20261121T092233Z-4f2a".parse().unwrap();
        let (ours, other) = (home.path().join(scratch_name(&run)), home.path().join("mysnap-drill-x"));
        for directory in [&ours, &other] {
            std::fs::create_dir_all(directory.join("data/shop")).unwrap();
        }
        remove_scratch(&ours, &run).unwrap();
        remove_scratch(&ours, &run).unwrap();
        assert!(!ours.exists());
        assert!(remove_scratch(&other, &run).is_err());
        assert!(other.join("data/shop").exists());
    }

    #[test]
    fn the_place_of_a_clone_is_known_by_where_it_is() {
        assert!(is_place_of_a_clone(Path::new("/run/mysnap/clone-shop")));
        for other in
            ["/run/mysnap/clone-", "/run/mysnap/shop", "/run/mysnap/clone-a/b", "/run/clone-shop", "/run/mysnap"]
        {
            assert!(!is_place_of_a_clone(Path::new(other)), "{other}");
        }
    }
}
