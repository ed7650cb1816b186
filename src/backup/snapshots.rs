//! The snapshots of a run while it reads them: mounted, watched, judged, removed.

use std::path::Path;

use crate::check::Covered;
use crate::fault::{Failure, Fault, Kind};
use crate::id::RunId;
use crate::instance::Part;
use crate::kept::{KeptPart, KeptVolume};
use crate::lvm::{self, Volume};
use crate::snapshot::{self, Health, Limits, Loss, Snapshot};
use crate::store::{Root, SnapshotRecord, Source};
use crate::sys::cancel::Cancel;
use crate::sys::mount::Mounted;
use crate::sys::units::Bytes;

/// The snapshots; removed when this is dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct Snapshots {
    all: Vec<Snapshot>,
    limits: Limits,
    run: RunId,
}

/// The same, mounted. Fields drop in this order: unmounted first, then removed.
#[derive(Debug)]
#[must_use]
pub(super) struct MountedSnapshots {
    mounts: Vec<Mounted>,
    /// The type of each one's file system.
    fstypes: Vec<String>,
    sources: Vec<Source>,
    snapshots: Snapshots,
}

impl Snapshots {
    pub(super) fn own(snapshots: Vec<Snapshot>, limits: Limits, run: RunId) -> Self {
        Self { all: snapshots, limits, run }
    }

    /// Mounts each snapshot below `directory` and finds the server's files in it.
    pub(super) fn mount(self, covered: &Covered, directory: &Path) -> anyhow::Result<MountedSnapshots> {
        let mut mounted =
            MountedSnapshots { mounts: Vec::new(), fstypes: Vec::new(), sources: Vec::new(), snapshots: self };
        for (number, snapshot) in mounted.snapshots.all.iter().enumerate() {
            let at = directory.join(number.to_string());
            crate::sys::durable::create_private_directory(&at)?;
            let origin = covered.origins.iter().find(|o| o.volume.uuid == snapshot.spec.origin.uuid);
            let fstype = origin.map_or("", |o| o.mount.fstype.as_str());
            mounted.mounts.push(snapshot::mount(snapshot, fstype, &at)?);
            mounted.fstypes.push(fstype.to_owned());
            mounted.sources.extend(sources_on(snapshot, covered, &at)?);
        }
        Ok(mounted)
    }

    fn remove(&mut self) -> anyhow::Result<()> {
        let mut failed = Vec::new();
        for snapshot in std::mem::take(&mut self.all) {
            failed.extend(snapshot::remove(&snapshot.uuid, &self.run).err());
        }
        if failed.is_empty() { Ok(()) } else { Err(Failure::join(failed.remove(0), failed)) }
    }

    fn keep(&mut self) -> anyhow::Result<()> {
        for snapshot in std::mem::take(&mut self.all) {
            lvm::add_tag(&snapshot.spec.name, lvm::KEEP_TAG)?;
        }
        Ok(())
    }
}

impl Drop for Snapshots {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!("{error:#}; `mysnap recover` removes it");
        }
    }
}

/// Nothing stays for a backup that is not there: without the tag it is removed with all else of `run`, by `recover` where
/// the run dies before.
pub(super) fn unkeep(run: &RunId) -> anyhow::Result<()> {
    kept_by(run, &lvm::volumes_of_ours()?).try_for_each(|volume| Ok(lvm::remove_tag(&volume.name, lvm::KEEP_TAG)?))
}

fn kept_by<'a>(run: &'a RunId, volumes: &'a [Volume]) -> impl Iterator<Item = &'a Volume> {
    volumes.iter().filter(move |volume| volume.is_kept_by(run))
}

/// The roots that lie on the origin of `snapshot`, as they are found below `at`.
fn sources_on(snapshot: &Snapshot, covered: &Covered, at: &Path) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for root in &covered.roots {
        if covered.origin_of(root).is_none_or(|o| o.volume.uuid != snapshot.spec.origin.uuid) {
            continue;
        }
        let path = at.join(root.path_on_file_system());
        let is_file = path.symlink_metadata().map_err(|error| {
            let message = format!("{} is not in the snapshot of {}", root.live.display(), snapshot.spec.origin.name);
            Fault::new(Kind::Snapshot, message).caused_by(error)
        })?;
        let root = Root {
            name: root.name.parse().map_err(anyhow::Error::msg)?,
            live_path: root.live.clone(),
            kinds: root.kinds.clone(),
            is_file: is_file.is_file(),
            volume: snapshot.spec.origin.name.to_string(),
        };
        sources.push(Source { root, path });
    }
    Ok(sources)
}

impl MountedSnapshots {
    pub(super) fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The same, as a second server takes them.
    pub(super) fn parts(&self) -> Vec<Part> {
        self.sources.iter().map(|source| Part { root: source.root.clone(), here: source.path.clone() }).collect()
    }

    /// Lets them be written to, in the same places. They are not what was frozen any more.
    pub(super) fn make_writable(&mut self) -> anyhow::Result<()> {
        self.mount_again(snapshot::mount_writable)
    }

    /// Ends that.
    pub(super) fn make_read_only(&mut self) -> anyhow::Result<()> {
        self.mount_again(snapshot::mount)
    }

    fn mount_again(&mut self, mount: fn(&Snapshot, &str, &Path) -> anyhow::Result<Mounted>) -> anyhow::Result<()> {
        let mounts = std::mem::take(&mut self.mounts);
        let places: Vec<_> = mounts.iter().map(|mount| mount.path().to_owned()).collect();
        mounts.into_iter().try_for_each(Mounted::release)?;
        for ((snapshot, fstype), at) in self.snapshots.all.iter().zip(&self.fstypes).zip(places) {
            self.mounts.push(mount(snapshot, fstype, &at)?);
        }
        Ok(())
    }

    /// What whoever uses the kept snapshots must know of them.
    pub(super) fn described(&self) -> Vec<KeptVolume> {
        let each = self.snapshots.all.iter().zip(&self.fstypes).zip(&self.mounts);
        each.map(|((snapshot, fstype), mount)| {
            let here = self.sources.iter().filter_map(|source| {
                let path = source.path.strip_prefix(mount.path()).ok()?.to_owned();
                Some(KeptPart { root: source.root.clone(), path })
            });
            KeptVolume { uuid: snapshot.uuid.clone(), fstype: fstype.clone(), parts: here.collect() }
        })
        .collect()
    }

    pub(super) fn summary(&self) -> String {
        let names: Vec<String> = self.snapshots.all.iter().map(|s| s.spec.name.to_string()).collect();
        format!("{} read-only, seen by nobody else", names.join(", "))
    }

    /// Runs `work` while the snapshots are watched, see [`snapshot::watched`].
    pub(super) fn watched<T>(&self, cancel: &Cancel, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        snapshot::watched(&self.snapshots.all, self.snapshots.limits, cancel, work)
    }

    /// How the snapshots are after the last byte was read: all valid, or the backup is none.
    pub(super) fn health(&self) -> anyhow::Result<Vec<SnapshotRecord>> {
        self.snapshots.all.iter().map(judged).collect()
    }

    /// Unmounts and removes, or keeps; an error means that something is left, not that the data
    /// read before is bad.
    pub(super) fn release(mut self, keep: bool) -> Option<anyhow::Error> {
        let mut failed: Vec<anyhow::Error> =
            std::mem::take(&mut self.mounts).into_iter().filter_map(|mount| mount.release().err()).collect();
        let snapshots = if keep { self.snapshots.keep() } else { self.snapshots.remove() };
        failed.extend(snapshots.err());
        let first = (!failed.is_empty()).then(|| failed.remove(0))?;
        Some(Failure::join(first, failed))
    }
}

pub(super) fn released(keep: bool, cleanup: Option<&anyhow::Error>) -> String {
    match cleanup {
        None if keep => "unmounted; the snapshot is kept, `mysnap release` removes it".to_owned(),
        None => "nothing is left of the run but its backup".to_owned(),
        Some(error) => format!("cleanup is pending: {error:#}"),
    }
}

fn judged(snapshot: &Snapshot) -> anyhow::Result<SnapshotRecord> {
    let sample = snapshot::look(snapshot)?;
    let used = match sample.health {
        Health::Good { used } => used,
        Health::Overflowed => return Err(snapshot::lost(snapshot, Loss::Overflowed)),
        Health::PoolFailed => return Err(snapshot::lost(snapshot, Loss::PoolFailed)),
        Health::Gone => return Err(snapshot::lost(snapshot, Loss::Gone)),
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a percentage below 100")]
    let used_percent = used.clamp(0.0, 100.0).ceil() as u8;
    let Bytes(size) = sample.size;
    let spec = &snapshot.spec;
    Ok(SnapshotRecord {
        origin: spec.origin.name.to_string(),
        name: spec.name.to_string(),
        kind: spec.kind.name().to_owned(),
        size,
        used_percent,
        valid_after_copy: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_keeps_is_told_by_its_tags() {
        let run: RunId = "20261121T092233Z-4f2a".parse().unwrap();
        let volume = |tags: &[&str]| {
            let json = include_str!("../../tests/data/lvm/trixie/thick.lvs.json");
            let mut volume = lvm::parse_volumes(json).unwrap().remove(0);
            volume.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
            volume
        };
        let own = volume(&[lvm::TAG, "mysnap.run=20261121T092233Z-4f2a", lvm::KEEP_TAG]);
        let unkept = volume(&[lvm::TAG, "mysnap.run=20261121T092233Z-4f2a"]);
        let other = volume(&[lvm::TAG, "mysnap.run=20261121T092233Z-ffff", lvm::KEEP_TAG]);
        assert_eq!(kept_by(&run, &[unkept, own.clone(), other]).collect::<Vec<_>>(), [&own]);
    }
}
