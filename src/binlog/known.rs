//! Which archives there were, as the host of the server remembers: one that is not there any more is missed. Below a
//! mount point that lost its file system another one would begin, and nobody would know until the disk is full or a
//! restore is due.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::home::Home;
use crate::fault::Fault;
use crate::sys::durable;

/// Where this is kept; it outlives a reboot.
const DIRECTORY: &str = "/var/lib/mysnap/archives";

/// An archive that was written to.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// 1.
    format: u32,
    /// Where it is.
    archive: String,
}

/// Each name of an archive has one place, which its configuration says.
fn path(home: &Home) -> Option<PathBuf> {
    let name = home.path().file_name()?.to_str()?;
    Some(Path::new(DIRECTORY).join(format!("{name}.json")))
}

/// Whether there was an archive in `home`. What can't be read is not known.
pub(super) fn is_known(home: &Home) -> bool {
    let read = || serde_json::from_slice::<Known>(&std::fs::read(path(home)?).ok()?).ok();
    read().is_some_and(|known| known.archive == home.to_string())
}

/// What is to be said where there was an archive in `home` and is none.
///
/// # Errors
/// Where the node on which it was can't be asked.
pub fn missed(home: &Home) -> anyhow::Result<Option<Fault>> {
    if is_known(home) { home.missing() } else { Ok(None) }
}

/// Remembers that there is one. Where that can't be written down it is told, and no reason not to archive.
pub(super) fn remember(home: &Home) {
    if is_known(home) {
        return;
    }
    let write = || {
        let path = path(home).context("the archive has no name")?;
        durable::create_private_directory(Path::new(DIRECTORY))?;
        durable::write(&path, &serde_json::to_vec_pretty(&Known { format: 1, archive: home.to_string() })?)
    };
    if let Err(error) = write() {
        tracing::warn!("{error:#}; nobody will miss the archive {home} where it is gone");
    }
}

/// The archive in `home` is no longer missed: the next pass begins one.
pub fn forget(home: &Home) -> anyhow::Result<()> {
    path(home).filter(|_| is_known(home)).map_or(Ok(()), |path| durable::remove_file(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_format_1_is_read_for_ever() {
        let known: Known = serde_json::from_str(include_str!("../../tests/data/archive-1.json")).unwrap();
        assert_eq!(known, Known { format: 1, archive: "root@node2:/srv/binlog/shop".to_owned() });
    }
}
