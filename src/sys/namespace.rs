//! A mount namespace of our own.

use anyhow::Context as _;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Gives the process a mount namespace in which `/` is a recursive *slave*: the host sees none of
/// our mounts and they vanish with us, while what the host unmounts vanishes here too. A private
/// copy instead would pin every snapshot that was mounted at this moment (lvremove fails).
///
/// Must be called before any thread is started: a namespace belongs to a thread.
pub fn unshare_mounts() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("cannot unshare the mount namespace (not root?)")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
        .context("cannot make / a recursive slave mount")
}
