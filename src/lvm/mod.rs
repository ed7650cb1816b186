//! LVM's own tools, called by name and read by their JSON reports.
//!
//! What changes anything is *spared*: never killed, because SIGKILL between LVM's suspend and
//! resume leaves the origin suspended and the server frozen. Under the database lock LVM does not
//! wait for another LVM command (`wait_for_locks=0`): a busy group fails at once instead.

mod devices;
mod names;
mod pool_check;
mod ready;
#[cfg(test)]
mod recorded;
mod report;
mod uncounted;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

pub use devices::{has_outgrown, remove_orphans, resume};
pub use names::{CLONED_TAG, ELSEWHERE_TAG, KEEP_TAG, LvName, LvRef, TAG, VgName, run_of, run_tag};
pub use pool_check::unforgiving_thin_check;
pub use ready::Ready;
pub use report::{Group, Volume, parse_volumes};
pub use uncounted::forget_uncounted;

use crate::fault::{Fault, Kind};
use crate::sys::cmd::{Call, CommandError, Running};
use crate::sys::lockfile::{Attempt, LockFile};
use crate::sys::units::Bytes;

/// How long an LVM command may take before we let go of it.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long one that was let go of is waited for.
pub const LATE: Duration = Duration::from_secs(60);

/// A busy group fails at once instead of making us wait, and leaves no command behind that would
/// begin its work much later.
const NO_WAITING: &str = "global{wait_for_locks=0}";
/// What makes an LVM command short: no waiting for locks, no locking of memory, no dmeventd. Its backup of the metadata
/// is left for after the unlock too.
const UNDER_LOCK: &str = "global{wait_for_locks=0}activation{reserved_memory=0 reserved_stack=0 monitoring=0}";

/// The same for a removal, for which the origin of a thick snapshot is suspended too.
const WHILE_SUSPENDED: &str = "activation{reserved_memory=0 reserved_stack=0}";

/// A report takes no lock: it would wait for as long as another command holds the group. Metadata
/// that changes meanwhile is replaced whole, with a checksum, so that the old or the new is read.
fn reading(tool: &str) -> Call<'static> {
    let call = Call::new(tool).args(["--nolocking", "--reportformat", "json", "--units", "b", "--nosuffix"]);
    call.deadline(DEADLINE)
}

fn changing(tool: &str) -> Call<'static> {
    Call::new(tool).args(["-q", "-y"]).deadline(DEADLINE).spared()
}

/// Every logical volume of the host, hidden ones too.
pub fn volumes() -> anyhow::Result<Vec<Volume>> {
    parse_volumes(&reading("lvs").args(["-a", "-o", report::VOLUME_FIELDS]).stdout()?)
}

/// The volumes that carry our tag, hidden ones too.
pub fn volumes_of_ours() -> anyhow::Result<Vec<Volume>> {
    Ok(volumes()?.into_iter().filter(|v| v.has_tag(TAG)).collect())
}

/// One volume; none where there is none of that name.
pub fn volume(name: &LvRef) -> anyhow::Result<Option<Volume>> {
    Ok(volumes()?.into_iter().find(|v| v.name == *name))
}

/// A volume group with its devices.
pub fn group(name: &VgName) -> anyhow::Result<Group> {
    let mut group = group_without_devices(name)?;
    group.devices = report::parse_devices(&reading("pvs").args(["-o", report::DEVICE_FIELDS]).stdout()?, name)?;
    Ok(group)
}

/// The room that a volume group has.
pub fn free_in(name: &VgName) -> anyhow::Result<Bytes> {
    Ok(group_without_devices(name)?.free)
}

fn group_without_devices(name: &VgName) -> anyhow::Result<Group> {
    let groups = report::parse_groups(&reading("vgs").args(["-o", report::GROUP_FIELDS]).stdout()?)?;
    groups.into_iter().find(|g| g.name == *name).with_context(|| format!("there is no volume group {name}"))
}

/// Whether the device with these kernel numbers is suspended: every write to it then waits.
pub fn is_suspended((major, minor): (u32, u32)) -> bool {
    std::fs::read(format!("/sys/dev/block/{major}:{minor}/dm/suspended")).is_ok_and(|text| text.starts_with(b"1"))
}

/// What brings the suspended volume of `device` back, in words.
pub fn how_to_resume(device: &Path) -> String {
    let device = device.display();
    format!(
        "after a killed command `dmsetup clear {device}` and then `dmsetup resume {device}` bring it back; not \
         `lvchange --refresh`, which may put half of what that command did in force"
    )
}

/// An error while another LVM command holds the group.
pub fn probe_group_lock(name: &VgName) -> anyhow::Result<()> {
    // LVM makes the file with the first command on the group; without it nobody can hold it.
    if group_lock(name).exists() { lock_group(name).map(drop) } else { Ok(()) }
}

/// Keeps other LVM commands away from the group, with the lock that they take themselves.
fn lock_group(name: &VgName) -> anyhow::Result<LockFile> {
    match LockFile::try_lock(&group_lock(name))? {
        Attempt::Held(lock) => Ok(lock),
        Attempt::Busy(_) => Err(group_busy(name)),
    }
}

fn group_lock(name: &VgName) -> PathBuf {
    Path::new("/run/lock/lvm").join(format!("V_{name}"))
}

fn group_busy(name: &VgName) -> anyhow::Error {
    Fault::new(Kind::Busy, format!("volume group {name} is held by another LVM command"))
        .hint("`ps -ef | grep -E 'lv|vg|pv'` shows which; try again when it has ended")
        .into()
}

/// Names the other command, where `error` says that the group was locked.
pub fn explained(error: CommandError, group: &VgName) -> anyhow::Error {
    let locked = error.stderr().is_some_and(|text| text.contains("Can't get lock for") || text.contains("Can't lock"));
    if locked { group_busy(group).context(error) } else { error.into() }
}

/// A plain, inactive volume that will become a snapshot's store; tagged in the same call.
pub fn create_store(store: &LvRef, size: Bytes, tags: &[String]) -> Result<(), CommandError> {
    // -Wn -Zn: an inactive volume can't be wiped or zeroed by lvcreate; the caller does it.
    changing("lvcreate")
        .args(["--config", NO_WAITING, "-an", "-Wn", "-Zn", "-n", store.lv.as_str(), "-L", &format!("{}b", size.0)])
        .args(tags.iter().flat_map(|tag| ["--addtag", tag]))
        .arg(store.vg.as_str())
        .run()
}

/// Makes the prepared `store` the snapshot of `origin`; does not wait.
pub fn start_thick_snapshot(
    origin: &LvRef,
    store: &LvRef,
    group: &Group,
    ready: Option<Ready>,
) -> Result<Running<'static>, CommandError> {
    // lvconvert knows no -A.
    let config = format!("{UNDER_LOCK}backup{{backup=0 archive=0}}");
    let names = [&origin.to_string(), &store.to_string()];
    ready::start(under_lock("lvconvert", &config, group).args(["--type", "snapshot", "-Zn"]).args(names), ready)
}

/// Makes `snapshot` of the thin volume `origin`, tagged in the same call, not active; does not
/// wait.
pub fn start_thin_snapshot(
    origin: &LvRef,
    snapshot: &LvRef,
    tags: &[String],
    group: &Group,
    ready: Option<Ready>,
) -> Result<Running<'static>, CommandError> {
    let call = under_lock("lvcreate", UNDER_LOCK, group)
        .args(["-An", "-s", "-n", snapshot.lv.as_str()])
        .args(tags.iter().flat_map(|tag| ["--addtag", tag]))
        .arg(origin.to_string());
    ready::start(call, ready)
}

fn under_lock(tool: &str, config: &str, group: &Group) -> Call<'static> {
    looking_at(group, changing(tool).args(["--config", config]))
}

/// The group's own devices spare a scan of all others.
fn looking_at<'a>(group: &Group, call: Call<'a>) -> Call<'a> {
    if group.devices.is_empty() { call } else { call.args(["--devices", &group.devices.join(",")]) }
}

/// Activates a volume, one with the activation skip flag too.
pub fn activate(volume: &LvRef) -> Result<(), CommandError> {
    changing("lvchange").args(["-ay", "-K", &volume.to_string()]).run()
}

/// Deactivates a volume.
pub fn deactivate(volume: &LvRef) -> Result<(), CommandError> {
    changing("lvchange").args(["-an", &volume.to_string()]).run()
}

/// Adds a tag.
pub fn add_tag(volume: &LvRef, tag: &str) -> Result<(), CommandError> {
    changing("lvchange").args(["--addtag", tag, &volume.to_string()]).run()
}

/// Takes a tag away.
pub fn remove_tag(volume: &LvRef, tag: &str) -> Result<(), CommandError> {
    changing("lvchange").args(["--deltag", tag, &volume.to_string()]).run()
}

/// Makes a volume larger by `by` or a little more: LVM takes whole sectors and rounds up to extents.
pub fn extend(volume: &LvRef, by: Bytes) -> Result<(), CommandError> {
    let sectors = by.0.div_ceil(512);
    changing("lvextend").args(["--config", NO_WAITING, "-L", &format!("+{sectors}s"), &volume.to_string()]).run()
}

/// Removes the volume of this name if it is the one with this identifier. Success does not say
/// which: where another has taken the name meanwhile, nothing is removed.
pub fn remove(volume: &Volume) -> Result<(), CommandError> {
    let same = format!("lv_uuid={}", volume.uuid);
    changing("lvremove").args(["--config", WHILE_SUSPENDED, "-S", &same, &volume.name.to_string()]).run()
}

/// Writes LVM's own backup of the group's metadata, which the commands under the lock leave out.
pub fn backup_metadata(group: &VgName) -> Result<(), CommandError> {
    changing("vgcfgbackup").arg(group.as_str()).run()
}

/// Has the disks of `group` write out what LVM wrote. LVM itself sends them no flush, and with a cache that forgets the
/// whole group can't be read after a power cut: "Checksum error", "Volume group not found" (`tests/power_cuts`). Beside a
/// server at work that is a matter of milliseconds, since each commit flushes the same disks.
pub fn write_out(group: &Group) -> anyhow::Result<()> {
    for device in &group.devices {
        let flushed = std::fs::File::open(device).and_then(|device| device.sync_all());
        flushed.with_context(|| format!("cannot have {device} write out what LVM wrote"))?;
    }
    Ok(())
}

/// Asks for `snapshot` to be merged into its origin. Success means that LVM accepted it, not that
/// it is done: with the origin open it begins at the next activation.
pub fn merge(snapshot: &LvRef) -> Result<(), CommandError> {
    changing("lvconvert").args(["--merge", "-b", &snapshot.to_string()]).run()
}

/// Lets LVM poll a running merge now instead of after its usual 15 seconds.
pub fn poll_merge(origin: &LvRef) -> Result<(), CommandError> {
    changing("lvchange").args(["--poll", "y", &origin.to_string()]).run()
}

/// Loads the kernel's target (`snapshot`, `thin`), or says that it has none.
pub fn load_target(target: &str) -> anyhow::Result<()> {
    let known = || -> anyhow::Result<bool> {
        let targets = Call::new("dmsetup").arg("targets").stdout()?;
        Ok(targets.lines().any(|line| line.split_whitespace().next() == Some(target)))
    };
    if known()? {
        return Ok(());
    }
    let module = if target == "snapshot" { "dm-snapshot" } else { "dm-thin-pool" };
    let loaded = Call::new("modprobe").arg(module).run();
    if known()? {
        return Ok(());
    }
    let fault = Fault::new(Kind::Refused, format!("the kernel has no device-mapper target {target}"))
        .hint(format!("load or install the kernel module {module}"));
    Err(match loaded {
        Err(error) => fault.caused_by(error).into(),
        Ok(()) => fault.into(),
    })
}

/// The readers of all reports, and of what `dmsetup` lists.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz(report: &str) {
    drop(parse_volumes(report));
    drop(report::parse_groups(report));
    drop("vg0".parse().map(|group| report::parse_devices(report, &group)));
    drop(report.parse::<LvRef>());
    for device in report.lines().filter_map(devices::Device::listed) {
        device.volume();
    }
}
