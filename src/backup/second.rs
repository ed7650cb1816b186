//! A second server on the snapshots: it prepares what is to be copied, or proves what was.
//!
//! The proof runs on the snapshot itself, after the last byte was read from it: the copy has the same
//! digests, so what holds for the one holds for the other. No second snapshot is needed, which a thick
//! volume could not give, and what was shipped stays what was frozen.

use std::path::Path;

use anyhow::Context as _;

use super::snapshots::MountedSnapshots;
use crate::dump::Dumped;
use crate::fault::{Kind, kind_of};
use crate::instance;
use crate::proof::{self, Dumping, Subject};
use crate::run::events::Observer;
use crate::store::Shown;
use crate::sys::cancel::Cancel;

/// Recovers what is in the snapshots and shuts down; they are read-only again afterwards. `directory` is
/// the run's own.
pub(super) fn prepare(
    subject: Subject<'_>,
    mounted: &mut MountedSnapshots,
    directory: &Path,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<()> {
    let first = Subject { prepared: false, ..subject };
    used(mounted, directory, |mounted, own| mounted.watched(cancel, || proof::prepare(first, own, observer, cancel)))
        .context("what is in the snapshot could not be prepared")?;
    mounted.make_read_only()
}

/// What a server on the snapshots shows, or why what was copied is bad; an error says neither.
pub(super) fn prove(
    subject: Subject<'_>,
    mounted: &mut MountedSnapshots,
    directory: &Path,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<Result<Shown, String>> {
    let examined = used(mounted, directory, |mounted, own| {
        mounted.watched(cancel, || proof::examine(subject, own, observer, cancel))
    });
    let verdict = verdict(examined, cancel)?;
    if verdict.is_err() {
        // A server on a snapshot that is lost says nothing about the copy.
        mounted.health()?;
    }
    Ok(verdict)
}

/// What a server showed, or why the files are bad; an error where nobody could look.
pub(super) fn verdict<T>(examined: anyhow::Result<T>, cancel: &Cancel) -> anyhow::Result<Result<T, String>> {
    match examined {
        Ok(shown) => Ok(Ok(shown)),
        Err(error) if kind_of(&error) == Some(Kind::Verify) => {
            cancel.check()?;
            Ok(Err(format!("{error:#}")))
        }
        Err(error) => Err(error.context("the copy is complete, but no server could be asked to prove it")),
    }
}

/// Dumps from a server on the snapshots; it proves them first.
pub(super) fn dump(
    subject: Subject<'_>,
    mounted: &mut MountedSnapshots,
    directory: &Path,
    to: &Dumping<'_>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<(Shown, Dumped)> {
    used(mounted, directory, |mounted, own| mounted.watched(cancel, || proof::dump(subject, own, to, observer, cancel)))
        .context("what is in the snapshot could not be dumped")
}

/// Has the snapshots writable, and a directory for a server's own files.
fn used<T>(
    mounted: &mut MountedSnapshots,
    directory: &Path,
    using: impl FnOnce(&MountedSnapshots, &Path) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    mounted.make_writable()?;
    let home = instance::home_in_memory(directory)?;
    let value = using(mounted, &home.path().join("own"))?;
    home.release()?;
    Ok(value)
}
