//! Mounting a snapshot: so that nothing is written to it, or to be used up.

use std::path::Path;

use super::Snapshot;
use crate::fault::{Fault, Kind};
use crate::sys::cmd::Call;
use crate::sys::mount::Mounted;

/// Mounts `snapshot` read-only at `at`; `fstype` is that of its mounted origin.
///
/// LVM freezes the file system while the snapshot is made, so ext4 has nothing to replay; but even
/// a read-only mount makes it finish the removal of files that were open, which MySQL always has.
/// So the device itself is made read-only. XFS refuses a second file system with the same UUID, and
/// would write its log to the snapshot.
pub fn mount(snapshot: &Snapshot, fstype: &str, at: &Path) -> anyhow::Result<Mounted> {
    mount_as(snapshot, fstype, at, false)
}

/// Mounts `snapshot` at `at` for writing: it is not any more what was frozen afterwards.
pub fn mount_writable(snapshot: &Snapshot, fstype: &str, at: &Path) -> anyhow::Result<Mounted> {
    mount_as(snapshot, fstype, at, true)
}

fn mount_as(snapshot: &Snapshot, fstype: &str, at: &Path, writable: bool) -> anyhow::Result<Mounted> {
    let options = match (fstype, writable) {
        ("ext4", _) => "",
        ("xfs", false) => "nouuid,norecovery",
        ("xfs", true) => "nouuid",
        (other, _) => return Err(unsupported(other).into()),
    };
    let device = snapshot.spec.name.device();
    Call::new("blockdev").arg(if writable { "--setrw" } else { "--setro" }).arg(&device).run()?;
    Mounted::new(&device, at, fstype, options, writable)
}

/// The refusal of a file system that is neither ext4 nor xfs.
pub fn unsupported(fstype: &str) -> Fault {
    Fault::new(Kind::Refused, format!("file system {fstype} is not supported on a snapshot"))
        .hint("mysnap mounts ext4 and xfs")
}
