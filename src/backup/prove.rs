//! The proof that a copy needs besides its digests: a server that recovers on what was copied.
//!
//! It runs on the snapshot, after the last byte was read from it: the copy has the same digests, so what
//! holds for the one holds for the other. No second snapshot is needed, which a thick volume could not
//! give, and what was shipped stays what was frozen.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;

use super::snapshots::MountedSnapshots;
use crate::fault::{Kind, kind_of};
use crate::proof::{self, Subject};
use crate::run::RUNTIME_DIRECTORY;
use crate::run::events::Observer;
use crate::store::Shown;
use crate::sys::cancel::Cancel;
use crate::sys::durable;
use crate::sys::mount::Mounted;

/// What a server on the snapshots shows, or why what was copied is bad; an error says neither. `directory`
/// is the run's own.
pub(super) fn by_a_server(
    subject: Subject<'_>,
    mounted: &mut MountedSnapshots,
    directory: &Path,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<Result<Shown, String>> {
    mounted.make_writable()?;
    [Path::new(RUNTIME_DIRECTORY), directory].into_iter().try_for_each(make_passable)?;
    // In memory, and in our namespace alone: it is gone with us, whatever ends us.
    let home = directory.join("server");
    durable::create_private_directory(&home)?;
    let home = Mounted::new(Path::new("tmpfs"), &home, "tmpfs", "mode=0711", true)?;
    let own = home.path().join("own");
    let examined = mounted.watched(cancel, || proof::examine(subject, &own, observer, cancel));
    home.release()?;
    match examined {
        Ok(shown) => Ok(Ok(shown)),
        Err(error) if kind_of(&error) == Some(Kind::Verify) => {
            // A server on a snapshot that is lost says nothing about the copy.
            mounted.health()?;
            Ok(Err(format!("{error:#}")))
        }
        Err(error) => Err(error.context("the copy is complete, but no server could be asked to prove it")),
    }
}

/// The server, which is not root, passes through to its own; it sees nothing else there.
fn make_passable(directory: &Path) -> anyhow::Result<()> {
    let passable = std::fs::Permissions::from_mode(0o711);
    std::fs::set_permissions(directory, passable)
        .with_context(|| format!("cannot set the mode of {}", directory.display()))
}
