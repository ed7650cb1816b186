//! A mount namespace of our own.

use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::Context as _;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// The namespace in which we were started. That of process 1 would not do: in a container nobody may look at it.
static STARTED_IN: OnceLock<PathBuf> = OnceLock::new();

/// An error while our mounts are those of whoever started us: what is bound over a file then is bound over it for
/// every program.
pub fn require_own_mounts() -> anyhow::Result<()> {
    let own = current()?;
    let is_own = STARTED_IN.get().is_some_and(|before| *before != own);
    anyhow::ensure!(is_own, "the mount namespace is the host's; this is a bug");
    Ok(())
}

/// The same, unless it was done before.
pub fn ensure_own_mounts() -> anyhow::Result<()> {
    if require_own_mounts().is_ok() { Ok(()) } else { unshare_mounts() }
}

fn current() -> anyhow::Result<PathBuf> {
    const LINK: &str = "/proc/self/ns/mnt";
    std::fs::read_link(LINK).with_context(|| format!("cannot read {LINK}"))
}

/// Gives the process a mount namespace in which `/` is a recursive *slave*: the host sees none of
/// our mounts and they vanish with us, while what the host unmounts vanishes here too. A private
/// copy instead would pin every snapshot that was mounted at this moment (lvremove fails).
///
/// Must be called by the main thread before another one is started that mounts something or starts a program: a
/// namespace belongs to a thread.
pub fn unshare_mounts() -> anyhow::Result<()> {
    let before = current()?;
    STARTED_IN.get_or_init(|| before);
    unshare(CloneFlags::CLONE_NEWNS).context("cannot unshare the mount namespace (not root?)")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
        .context("cannot make / a recursive slave mount")
}
