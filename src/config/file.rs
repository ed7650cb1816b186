//! Reading the file only where nobody else could have written it.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Context as _;

use crate::fault::{Fault, Kind};

const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// The text of the file at `path`. What it says runs as root, so that it is refused where another
/// account could have written it, or could replace it through a directory above.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    let real = path.canonicalize().map_err(|error| cannot_read(path, error))?;
    let mut file = File::open(&real).map_err(|error| cannot_read(path, error))?;
    // Of the opened file, so that it can't be exchanged between the look and the read.
    refuse_unsafe(&real, &file.metadata().with_context(|| format!("cannot look at {}", path.display()))?, 0)?;
    for directory in real.ancestors().skip(1) {
        let metadata = directory.metadata().with_context(|| format!("cannot look at {}", directory.display()))?;
        refuse_unsafe(directory, &metadata, STICKY)?;
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(|error| cannot_read(path, error))?;
    Ok(text)
}

fn cannot_read(path: &Path, error: std::io::Error) -> anyhow::Error {
    let missing = error.kind() == std::io::ErrorKind::NotFound;
    let fault = Fault::new(Kind::Config, format!("cannot read configuration {}", path.display())).caused_by(error);
    let hint = "two lines suffice: [job.nightly] and to = \"root@node2:/srv/backup\"";
    if missing { fault.hint(hint).into() } else { fault.into() }
}

/// `excuse`: a bit that makes writing by others harmless, as the sticky bit of /tmp does.
fn refuse_unsafe(path: &Path, metadata: &Metadata, excuse: u32) -> anyhow::Result<()> {
    let owner = metadata.uid();
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        let message = format!("{} belongs to user {owner}, who could change what runs as root", path.display());
        return Err(Fault::new(Kind::Config, message).hint(format!("chown root {}", path.display())).into());
    }
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 && metadata.mode() & excuse == 0 {
        let message = format!("{} can be written by others than its owner", path.display());
        return Err(Fault::new(Kind::Config, message).hint(format!("chmod go-w {}", path.display())).into());
    }
    Ok(())
}
