//! A place for a server's own files.

use std::path::Path;

use crate::sys::durable;
use crate::sys::mount::Mounted;

/// Makes a directory for them in `directory`, which is the run's own. It is in memory, little of it, and in
/// our mount namespace alone: it is gone with us, whatever ends us. The server, which is not root, passes
/// through to it and sees nothing else there.
pub fn home_in_memory(directory: &Path) -> anyhow::Result<Mounted> {
    directory.parent().into_iter().chain([directory]).try_for_each(durable::make_passable)?;
    let home = directory.join("server");
    durable::create_private_directory(&home)?;
    Mounted::new(Path::new("tmpfs"), &home, "tmpfs", "mode=0711,size=256m", true)
}
