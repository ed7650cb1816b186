//! Devices that a killed LVM command leaves: suspended ones, and ones that no volume has any more.
//!
//! Resuming a device brings its inactive table into force, which is what the dead command had loaded last. Of an origin
//! that is a map onto a device which was never started: each write to the origin then fails, and its file system gives
//! up. `lvchange --refresh` does just that where the live table is as LVM wants it, since it loads none then (LVM
//! 2.03.31, `tests/lab/snapshot/inside.rs`). So what was loaded is dropped first, and the table that was in force before
//! stays in force.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{LvRef, VgName, Volume, changing, lock_group, volumes};
use crate::id::RunId;
use crate::sys::cmd::{Call, CommandError};
use crate::sys::lockfile::LockFile;
use crate::sys::retry;

/// How long another LVM command may hold the group.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the kernel may take to let go of a device that udev has just looked at.
const UDEV: Duration = Duration::from_secs(10);
/// LVM's devices have identifiers that begin so, followed by those of group and volume, of 32 letters each.
const OF_LVM: &str = "LVM-";
const GROUP_ENDS: usize = OF_LVM.len() + 32;
/// What sysfs gives sizes in, whatever the disk has.
const SECTOR: u64 = 512;
/// What the origin of a thick snapshot maps onto.
const REAL: &str = "-real";
/// The device that the volumes of a thin pool map onto.
const SHARED: &str = "-tpool";

/// Brings back `volume`, which a killed command left suspended, as it was before that command.
///
/// # Errors
/// Where another LVM command holds the group, or the kernel refuses.
pub fn resume(volume: &Volume) -> anyhow::Result<()> {
    // Thin volumes map onto their pool, with or without a snapshot: onto nothing that was never started.
    if volume.pool.is_some() {
        return Ok(refresh(&volume.name)?);
    }
    let _alone = alone(&volume.name.vg)?;
    let Some(device) = Device::of(volume) else { return Ok(()) };
    // All of them first: a snapshot whose merge is loaded can't be resumed.
    let stack = device.stack();
    stack.iter().try_for_each(|each| dmsetup("clear", &each.name))?;
    for each in stack.iter().filter(|each| each.is("dm/suspended", "1")) {
        // What has no table in force was never started: there is nothing to go back to.
        if !each.is("size", "0") {
            dmsetup("resume", &each.name)?;
        }
    }
    Ok(())
}

/// Whether the store of the thick snapshot `volume` is larger in the kernel than LVM has it. LVM brings a device that grows
/// into force before it has written that down; killed in between, the store reaches into room that LVM takes for free.
pub fn has_outgrown(volume: &Volume) -> bool {
    let size = |device: &Device| fs::read_to_string(device.path.join("size")).ok()?.trim().parse::<u64>().ok();
    let own = letters(&volume.uuid);
    let stack = Device::of(volume).map(|device| device.stack()).unwrap_or_default();
    let store = stack.iter().find(|device| device.volume() == Some(own.as_str()) && device.uuid.ends_with("-cow"));
    store.and_then(size).is_some_and(|sectors| sectors * SECTOR > volume.size.0)
}

/// Loads what LVM wants, where that is not in force.
fn refresh(volume: &LvRef) -> Result<(), CommandError> {
    changing("lvchange").args(["--refresh", &volume.to_string()]).run()
}

/// Removes the devices that no volume has any more: those that `run` had made, and what the `origins` (identifiers) were
/// mapped onto for its snapshots.
///
/// # Errors
/// Where another LVM command holds the group, or one is in use.
pub fn remove_orphans(run: &RunId, origins: &[&str]) -> anyhow::Result<()> {
    let suspects = suspects(run, origins)?;
    if suspects.is_empty() {
        return Ok(());
    }
    let known = volumes()?;
    for real in suspects.iter().filter(|device| device.uuid.ends_with(REAL)) {
        let origin = known.iter().find(|volume| real.volume() == Some(letters(&volume.uuid).as_str()));
        origin.map_or(Ok(()), |origin| settle(origin, real))?;
    }
    for device in &suspects {
        let group = known.iter().find(|volume| device.is_in_group_of(volume)).map(|volume| &volume.name.vg);
        // Of a group that is gone nothing can be made meanwhile.
        let _alone = group.map(alone).transpose()?;
        if device.is_orphan(&volumes()?) {
            retry::until(UDEV, || if device.exists()? { dmsetup("remove", &device.name) } else { Ok(()) })?;
        }
    }
    Ok(())
}

/// Has `origin` map onto its disk again where no snapshot needs `real` any more. What a dead command had loaded is dropped
/// also where nothing is suspended: the next resume would bring it into force.
fn settle(origin: &Volume, real: &Device) -> anyhow::Result<()> {
    if let Some(device) = Device::of(origin) {
        let _alone = alone(&origin.name.vg)?;
        dmsetup("clear", &device.name)?;
    }
    let is_mapped_onto = !real.next("holders").is_empty();
    if is_mapped_onto && !origin.has_thick_snapshot() { Ok(refresh(&origin.name)?) } else { Ok(()) }
}

/// Devices that may be orphans; the ones that others map onto come last.
fn suspects(run: &RunId, origins: &[&str]) -> anyhow::Result<Vec<Device>> {
    // device-mapper doubles the hyphens of names (lvm(8)).
    let ours = format!("_mysnap_{}", run.to_string().replace('-', "--"));
    let origins: Vec<String> = origins.iter().map(|uuid| format!("{}{REAL}", letters(uuid))).collect();
    let mut found: Vec<Device> = all()?
        .into_iter()
        .filter(|device| device.name.contains(&ours) || origins.iter().any(|real| device.uuid.ends_with(real.as_str())))
        .collect();
    found.sort_by_key(|device| (device.uuid.ends_with(REAL), device.name.ends_with("-cow")));
    Ok(found)
}

/// Those of logical volumes. Asked of device-mapper: one that never had a table is not in sysfs.
fn all() -> anyhow::Result<Vec<Device>> {
    let columns = ["info", "-c", "--noheadings", "--separator", ",", "-o", "major,minor,name,uuid"];
    let text = Call::new("dmsetup").args(columns).deadline(super::DEADLINE).stdout()?;
    Ok(text.lines().filter_map(Device::listed).collect())
}

/// The name of the device that the volumes of `pool` map onto; none where it is not active.
pub(super) fn of_pool(pool: &Volume) -> anyhow::Result<Option<String>> {
    let own = letters(&pool.uuid);
    let is_its = |device: &Device| device.uuid.ends_with(SHARED) && device.volume() == Some(&own);
    Ok(all()?.into_iter().find(is_its).map(|device| device.name))
}

/// Waits for other LVM commands of the group, and keeps them away.
pub(super) fn alone(group: &VgName) -> anyhow::Result<LockFile> {
    retry::until(PATIENCE, || lock_group(group))
}

fn dmsetup(what: &str, name: &str) -> anyhow::Result<()> {
    Ok(Call::new("dmsetup").args([what, name]).deadline(super::DEADLINE).spared().run()?)
}

/// Identifiers without the hyphens that LVM writes them with.
pub(super) fn letters(uuid: &str) -> String {
    uuid.replace('-', "")
}

/// A device of a logical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    path: PathBuf,
    name: String,
    uuid: String,
}

impl Device {
    /// None where it is no device of LVM's.
    fn at(path: &Path) -> Option<Self> {
        let path = path.canonicalize().ok()?;
        let read = |what: &str| fs::read_to_string(path.join("dm").join(what)).ok().map(|text| text.trim().to_owned());
        let (name, uuid) = (read("name")?, read("uuid")?);
        Self { path, name, uuid }.if_of_lvm()
    }

    /// A line of `all`.
    pub(super) fn listed(line: &str) -> Option<Self> {
        let mut columns = line.trim().splitn(4, ',').map(str::to_owned);
        let mut number = || columns.next()?.parse::<u32>().ok();
        let (major, minor) = (number()?, number()?);
        let path = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
        let path = path.canonicalize().unwrap_or(path);
        Self { path, name: columns.next()?, uuid: columns.next()? }.if_of_lvm()
    }

    fn if_of_lvm(self) -> Option<Self> {
        (self.uuid.starts_with(OF_LVM) && self.uuid.len() > GROUP_ENDS).then_some(self)
    }

    /// None where it is not active.
    fn of(volume: &Volume) -> Option<Self> {
        let (major, minor) = volume.device?;
        Self::at(Path::new(&format!("/sys/dev/block/{major}:{minor}")))
    }

    /// The identifier of its volume, without hyphens.
    pub(super) fn volume(&self) -> Option<&str> {
        self.uuid.get(GROUP_ENDS..GROUP_ENDS + 32)
    }

    fn exists(&self) -> anyhow::Result<bool> {
        Ok(all()?.contains(self))
    }

    fn is(&self, attribute: &str, value: &str) -> bool {
        fs::read_to_string(self.path.join(attribute)).is_ok_and(|text| text.trim() == value)
    }

    /// Devices of the same group that are mapped onto this one (`holders`), or that it is mapped onto (`slaves`), also by
    /// a table that is not in force.
    fn next(&self, side: &str) -> Vec<Self> {
        let listed = fs::read_dir(self.path.join(side)).into_iter().flatten().filter_map(Result::ok);
        let devices = listed.filter_map(|entry| Self::at(&entry.path()));
        devices.filter(|other| other.uuid.get(..GROUP_ENDS) == self.uuid.get(..GROUP_ENDS)).collect()
    }

    /// It, and all that it hangs together with; what others are mapped onto comes before them.
    fn stack(&self) -> Vec<Self> {
        fn visit(device: &Device, seen: &mut Vec<Device>, sorted: &mut Vec<Device>) {
            if seen.contains(device) {
                return;
            }
            seen.push(device.clone());
            device.next("slaves").iter().for_each(|below| visit(below, seen, sorted));
            sorted.push(device.clone());
            device.next("holders").iter().for_each(|above| visit(above, seen, sorted));
        }
        let mut sorted = Vec::new();
        visit(self, &mut Vec::new(), &mut sorted);
        sorted
    }

    fn is_in_group_of(&self, volume: &Volume) -> bool {
        // The volumes of a group have devices whose identifiers begin alike.
        Self::of(volume).is_some_and(|device| device.uuid.get(..GROUP_ENDS) == self.uuid.get(..GROUP_ENDS))
    }

    /// No volume is behind it, or nothing is mapped onto it any more.
    fn is_orphan(&self, known: &[Volume]) -> bool {
        if self.uuid.ends_with(REAL) {
            return self.next("holders").is_empty();
        }
        self.volume().is_some_and(|own| known.iter().all(|volume| letters(&volume.uuid) != own))
    }
}
