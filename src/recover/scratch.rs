//! The directory in which a run worked: its name says whose it is.

use std::path::Path;

use anyhow::Context as _;

use crate::fault::{Fault, Kind};
use crate::id::RunId;
use crate::sys::failpoint;

pub(super) const SCRATCH_PREFIX: &str = "mysnap-drill-";

/// The name of the directory in which `run` works.
pub fn scratch_name(run: &RunId) -> String {
    format!("{SCRATCH_PREFIX}{run}")
}

/// Removes it with all that is in it; that it is gone already is success. Whatever is not called by
/// the run's name is left alone, and no symlink is followed.
pub fn remove_scratch(path: &Path, run: &RunId) -> anyhow::Result<()> {
    if path.file_name().is_none_or(|name| *name != *scratch_name(run)) {
        let message = format!("{} is not called by the name of run {run}; it is left alone", path.display());
        return Err(Fault::new(Kind::Refused, message).into());
    }
    let removed = failpoint::pass(|| "remove scratch".to_owned()).and_then(|()| std::fs::remove_dir_all(path));
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
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
}
