//! Snapshots of ours that others have mounted, and may have written to.
//!
//! A snapshot has its origin's UUID and label. Where the host died while there was one, an entry of `/etc/fstab` that goes
//! by these may mount the snapshot at the boot, in its origin's place: the server goes on, and what it writes is on the
//! snapshot alone. Such a one is no leftover. It is marked by a tag as soon as a run sees it mounted, so that it
//! survives the unmount too; from then on only a person removes it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::fault::{Fault, Kind};
use crate::id::RunId;
use crate::lvm::{self, Volume};
use crate::sys::RUNTIME_DIRECTORY;
use crate::sys::mount::{MountPoint, mount_points_of_host};

/// A snapshot of ours that others have mounted, or had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Elsewhere {
    /// Its name.
    pub volume: String,
    /// The run that made it.
    pub run: RunId,
    /// Where it is mounted; none where it is not any more.
    pub at: Option<PathBuf>,
}

impl Elsewhere {
    /// None for what is not ours, or was never seen mounted by others. To look into one that is kept on purpose a
    /// person may mount it, as long as nothing is written to it.
    fn of(volume: &Volume, mounts: &[MountPoint]) -> Option<Self> {
        let run = volume.run()?;
        let is_kept = volume.has_tag(lvm::KEEP_TAG);
        let by_others = |mount: &&MountPoint| {
            Some(mount.device) == volume.device
                // Our own are below it, and nobody else sees them.
                && !mount.path.starts_with(RUNTIME_DIRECTORY)
                && !(is_kept && mount.is_read_only())
        };
        let at = mounts.iter().find(by_others).map(|mount| mount.path.clone());
        let is_one = at.is_some() || volume.has_tag(lvm::ELSEWHERE_TAG);
        is_one.then(|| Self { volume: volume.name.to_string(), run, at })
    }

    /// What a person does about it.
    pub fn remedy(&self) -> &'static str {
        if self.at.is_some() {
            "copy the data from there, or dump it, before you unmount it or write to its origin again; \
             docs/operations.md, \"fstab by UUID\", has the way back"
        } else {
            "copy what you need from it (mount it by hand), then `mysnap release` removes it; docs/operations.md, \
             \"fstab by UUID\""
        }
    }
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { volume, run, .. } = self;
        match self.at.as_deref().map(Path::display) {
            Some(at) => write!(
                f,
                "snapshot {volume} of run {run} is mounted at {at}, and not by mysnap: what was written there since is on \
                 it alone; it is left alone"
            ),
            None => write!(
                f,
                "snapshot {volume} of run {run} was mounted by others: what was written there is on it alone; it is left \
                 alone"
            ),
        }
    }
}

/// Which of `volumes` others have mounted, or had.
///
/// # Errors
/// Where it can't be found out what is mounted.
pub fn elsewhere(volumes: &[Volume]) -> anyhow::Result<Vec<Elsewhere>> {
    let mounts = mount_points_of_host()?;
    Ok(volumes.iter().filter_map(|volume| Elsewhere::of(volume, &mounts)).collect())
}

/// Marks those of `volumes` that others have mounted, once.
///
/// # Errors
/// Where one can't be marked: once unmounted, it would be taken for a leftover.
pub fn mark_elsewhere(volumes: &[Volume]) -> anyhow::Result<()> {
    let mounts = mount_points_of_host()?;
    volumes.iter().filter(|volume| Elsewhere::of(volume, &mounts).is_some()).try_for_each(mark)
}

fn mark(volume: &Volume) -> anyhow::Result<()> {
    if volume.has_tag(lvm::ELSEWHERE_TAG) {
        return Ok(());
    }
    Ok(lvm::add_tag(&volume.name, lvm::ELSEWHERE_TAG)?)
}

/// An error where others have `volume` mounted, or had; it is marked.
pub(super) fn refuse(volume: &Volume) -> anyhow::Result<()> {
    let Some(found) = Elsewhere::of(volume, &mount_points_of_host()?) else { return Ok(()) };
    mark(volume)?;
    Err(refusal(&found, Kind::CleanupPending).into())
}

/// An error where others have `volume` mounted now.
///
/// # Errors
/// That, or that it can't be found out.
pub fn refuse_mounted(volume: &Volume) -> anyhow::Result<()> {
    let found = Elsewhere::of(volume, &mount_points_of_host()?).filter(|found| found.at.is_some());
    found.map_or(Ok(()), |found| Err(refusal(&found, Kind::Refused).into()))
}

/// An error where others have `volume` mounted, or had: it is not what was frozen any more.
///
/// # Errors
/// That, or that it can't be found out.
pub fn refuse_elsewhere(volume: &Volume) -> anyhow::Result<()> {
    let found = Elsewhere::of(volume, &mount_points_of_host()?);
    found.map_or(Ok(()), |found| Err(refusal(&found, Kind::Refused).into()))
}

fn refusal(found: &Elsewhere, kind: Kind) -> Fault {
    Fault::new(kind, found.to_string()).hint(found.remedy())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::mount::parse_mountinfo;

    const RUN: &str = "mysnap.run=20261121T092233Z-4f2a";

    fn volume(tags: &[&str]) -> Volume {
        let json = include_str!("../../tests/data/lvm/trixie/thick.lvs.json");
        let mut volume = lvm::parse_volumes(json).unwrap().remove(0);
        volume.device = Some((252, 7));
        volume.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        volume
    }

    fn mounted(device: &str, at: &str, options: &str) -> Vec<MountPoint> {
        parse_mountinfo(&format!("36 35 {device} / {at} {options} - ext4 /dev/x rw")).into_iter().collect()
    }

    /// `before` where it is not mounted any more.
    fn at(tags: &[&str], mounts: &[MountPoint]) -> Option<PathBuf> {
        Elsewhere::of(&volume(tags), mounts).map(|found| found.at.unwrap_or_else(|| "before".into()))
    }

    #[test]
    fn what_others_have_mounted_is_told_by_its_device_and_stays_so_by_its_tag() {
        let boot = mounted("252:7", "/var/lib/mysql", "rw");
        assert_eq!(at(&[lvm::TAG, RUN], &boot), Some("/var/lib/mysql".into()));
        assert_eq!(at(&[lvm::TAG, RUN], &mounted("252:8", "/var/lib/mysql", "rw")), None);
        assert_eq!(at(&[lvm::TAG, RUN], &mounted("252:7", "/run/mysnap/20261121T092233Z-4f2a/0", "rw")), None);
        assert_eq!(at(&[lvm::TAG, RUN], &mounted("252:7", "/run/mysnap2", "rw")), Some("/run/mysnap2".into()));
        assert_eq!(at(&[lvm::TAG, RUN, lvm::ELSEWHERE_TAG], &[]), Some("before".into()));
        assert_eq!(at(&["backup", lvm::ELSEWHERE_TAG], &boot), None, "not ours");
        let inactive = Volume { device: None, ..volume(&[lvm::TAG, RUN]) };
        assert_eq!(Elsewhere::of(&inactive, &boot), None);
    }

    #[test]
    fn a_kept_one_may_be_looked_into() {
        let looks = mounted("252:7", "/mnt", "ro,noatime");
        assert_eq!(at(&[lvm::TAG, RUN, lvm::KEEP_TAG], &looks), None);
        assert_eq!(at(&[lvm::TAG, RUN], &looks), Some("/mnt".into()), "it may have been written to before");
        assert!(at(&[lvm::TAG, RUN, lvm::KEEP_TAG], &mounted("252:7", "/var/lib/mysql", "rw")).is_some());
    }

    #[test]
    fn it_is_said_where_it_is_and_nothing_that_would_lose_the_data() {
        let run: RunId = "20261121T092233Z-4f2a".parse().unwrap();
        let now = Elsewhere { volume: "vg0/x".into(), run, at: Some("/var/lib/mysql".into()) };
        for part in ["vg0/x", "20261121T092233Z-4f2a", "is mounted at /var/lib/mysql", "on it alone"] {
            assert!(now.to_string().contains(part), "{part}: {now}");
        }
        let then = Elsewhere { at: None, ..now.clone() };
        assert!(then.to_string().contains("was mounted by others"), "{then}");
        assert!(!now.remedy().contains("recover") && !now.remedy().contains("release"), "{}", now.remedy());
        assert!(then.remedy().contains("`mysnap release`"), "{}", then.remedy());
    }
}
