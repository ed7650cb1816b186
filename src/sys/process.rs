//! What this process forbids itself.

use anyhow::Context as _;
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};

/// Nothing that we hold in memory, a password among it, is ever written to a core file; and what
/// we create is ours alone.
pub fn forbid_core_dumps() -> anyhow::Result<()> {
    umask(Mode::from_bits_truncate(0o077));
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("cannot forbid core files")?;
    set_dumpable(false).context("cannot forbid core dumps")
}
