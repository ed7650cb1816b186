//! A mount namespace of our own.

use anyhow::Context as _;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// An error while our mounts are those of the host: what is bound over a file then is bound over it for
/// every program.
pub fn require_own_mounts() -> anyhow::Result<()> {
    let of = |process: &str| {
        let link = format!("/proc/{process}/ns/mnt");
        std::fs::read_link(&link).with_context(|| format!("cannot read {link}"))
    };
    anyhow::ensure!(of("self")? != of("1")?, "the mount namespace is the host's; this is a bug");
    Ok(())
}

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
