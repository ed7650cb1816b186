//! Mounting a snapshot: so that nothing is written to it, or to be used up.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context as _;
use nix::sys::stat::{major, minor};

use super::Snapshot;
use crate::fault::{Failure, Fault, Kind};
use crate::sys::cmd::Call;
use crate::sys::mount::Mounted;

/// Mounts `snapshot` read-only at `at`; `fstype` is that of its mounted origin.
///
/// LVM freezes the file system while the snapshot is made, so ext4 has nothing to replay; but even
/// a read-only mount makes it finish the removal of files that were open, which MySQL always has.
/// So the device itself is made read-only. XFS refuses a second file system with the same UUID, and
/// would write its log to the snapshot.
///
/// # Errors
/// Also where another volume has the snapshot's name by now: nothing is done to that.
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
    // Names are all that the tools take, and anybody may give a volume another one.
    let number = snapshot.device()?.ok_or_else(|| exchanged(snapshot))?;
    if number_of(&device, MetadataExt::rdev)? != number {
        return Err(exchanged(snapshot).into());
    }
    Call::new("blockdev").arg(if writable { "--setrw" } else { "--setro" }).arg(&device).run()?;
    let mounted = Mounted::new(&device, at, fstype, options, writable)?;
    if number_of(at, MetadataExt::dev)? != number {
        return Err(Failure::join(exchanged(snapshot).into(), mounted.release().err().into_iter().collect()));
    }
    Ok(mounted)
}

/// The kernel's numbers of what is at `path`: of the device that it is, or that it lies on.
fn number_of(path: &Path, of: fn(&std::fs::Metadata) -> u64) -> anyhow::Result<(u32, u32)> {
    let found = path.metadata().with_context(|| format!("cannot look at {}", path.display()))?;
    let number = of(&found);
    Ok((u32::try_from(major(number))?, u32::try_from(minor(number))?))
}

/// LVM knows the snapshot by its identifier, and under its name there is something else, or nothing.
fn exchanged(snapshot: &Snapshot) -> Fault {
    let name = &snapshot.spec.name;
    Fault::new(Kind::Snapshot, format!("{} is not the snapshot {name} any more", name.device().display()))
        .hint("somebody renamed or removed it meanwhile: `lvs -a -o +lv_uuid,lv_tags` shows what there is; try again")
}

/// The refusal of a file system that is neither ext4 nor xfs.
pub fn unsupported(fstype: &str) -> Fault {
    Fault::new(Kind::Refused, format!("file system {fstype} is not supported on a snapshot"))
        .hint("mysnap mounts ext4 and xfs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_its_own_numbers_and_those_of_what_it_lies_on() {
        let null = Path::new("/dev/null");
        assert_eq!(number_of(null, MetadataExt::rdev).unwrap(), (1, 3));
        assert_ne!(number_of(null, MetadataExt::dev).unwrap(), (1, 3));
        assert!(number_of(Path::new("/dev/none-such"), MetadataExt::rdev).is_err());
    }
}
