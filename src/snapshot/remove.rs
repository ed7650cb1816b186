//! Removing snapshots: ours only, told by tag, identifier, origin and kind.

use std::time::{Duration, Instant};

use super::elsewhere;
use super::loss::repair;
use crate::fault::{Fault, Kind};
use crate::id::RunId;
use crate::lvm::{self, Volume};
use crate::sys::cmd::{self, Call, CommandError};

/// How long a busy volume is tried again.
const DEADLINE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long udev may look into a volume that an LVM command has just changed.
const UDEV: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// Removes the volume with `uuid` if it is one of ours; that it is gone already is success.
///
/// It is ours when it carries our tags, and it is a snapshot, or a store that has not become one.
/// LVM compares the identifier again under its own lock, so that a rename between our look and the
/// removal costs another look, not another volume.
///
/// # Errors
/// Where others have it mounted, or have had it: what they wrote is nowhere else. It is marked, see [`super::Elsewhere`].
pub fn remove(uuid: &str, run: &RunId) -> anyhow::Result<()> {
    remove_unless(uuid, run, elsewhere::refuse)
}

/// The same for a person, who knows what is on it: only what is mounted at this moment stays.
pub fn release(uuid: &str, run: &RunId) -> anyhow::Result<()> {
    remove_unless(uuid, run, elsewhere::refuse_mounted)
}

fn remove_unless(uuid: &str, run: &RunId, refuse: fn(&Volume) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let (end, settled) = (Instant::now() + DEADLINE, Instant::now() + UDEV);
    let mut pause = PAUSE;
    let (mut failed, mut origin, mut has_failed) = (None, None, false);
    while let Some(volume) = lvm::volumes()?.into_iter().find(|v| v.uuid == uuid) {
        if is_store_in_use(&volume, run) && Instant::now() < settled {
            std::thread::sleep(PAUSE);
            continue;
        }
        refuse_what_is_not_ours(&volume, run)?;
        // Each time: it may be mounted while it is tried again.
        refuse(&volume)?;
        if Instant::now() >= end {
            return Err(still_there(&volume, failed));
        }
        refuse_in_failed_pool(&volume)?;
        if failed.is_some() {
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        // For the second command it may be a plain volume already.
        origin = volume.origin_uuid.clone().or(origin);
        failed = lvm::remove(&volume).err();
        has_failed |= failed.is_some();
        if failed.is_some() {
            wait_for_what_was_let_go(UDEV)?;
            origin.as_deref().map_or(Ok(()), resume_after_a_killed_command)?;
            // Where it can't be looked at, the next removal fails as this one did, and says why.
            drop(lvm::forget_uncounted(&volume));
        }
    }
    // A second command that goes well knows nothing of the devices of the first.
    if has_failed { lvm::remove_orphans(run, origin.as_deref().as_slice()) } else { Ok(()) }
}

/// The snapshot may be gone by then, and nobody would look again.
fn resume_after_a_killed_command(origin: &str) -> anyhow::Result<()> {
    let volume = lvm::volumes()?.into_iter().find(|volume| volume.uuid == origin);
    let suspended = volume.filter(Volume::is_suspended);
    suspended.as_ref().map_or(Ok(()), lvm::resume)
}

/// Leaves nothing of `run`, which has failed, but for snapshots left to people. First of all `origins` (LVM's
/// identifiers) that a command which died left suspended are brought back, as they were before that command: to remove
/// a snapshot would resume its origin with what that command had loaded.
///
/// # Errors
/// Where one of its LVM commands still runs, or something can't be brought back or removed: `recover` has to go on.
pub fn abandon(run: &RunId, origins: &[&str]) -> anyhow::Result<()> {
    wait_for_what_was_let_go(lvm::LATE)?;
    origins.iter().try_for_each(|origin| resume_after_a_killed_command(origin))?;
    remove_all_of(run)?;
    if origins.is_empty() { Ok(()) } else { lvm::remove_orphans(run, origins) }
}

/// Removes every volume that carries the tags of `run`, but for those left to people.
pub fn remove_all_of(run: &RunId) -> anyhow::Result<Vec<String>> {
    wait_for_what_was_let_go(lvm::LATE)?;
    let mut removed = Vec::new();
    for volume in lvm::volumes_of_ours()? {
        if volume.run().as_ref() == Some(run) && !volume.is_left_to_people() {
            remove(&volume.uuid, run)?;
            removed.push(volume.name.to_string());
        }
    }
    Ok(removed)
}

/// An LVM command that still runs may yet make what is to be removed; and it holds the group, so that no other command
/// comes to anything.
fn wait_for_what_was_let_go(patience: Duration) -> anyhow::Result<()> {
    cmd::settle(patience).map_err(|error| {
        Fault::new(Kind::CleanupPending, "an LVM command still runs: what it works on cannot be removed yet")
            .hint(
                "the disk or udev hangs, or another LVM command holds the group; never `kill -9` it: see to the cause, \
                 then run `mysnap recover`",
            )
            .caused_by(error)
            .into()
    })
}

/// Nobody uses a store that has not become a snapshot, or is none any more: what is in use and carries our tags is
/// somebody's, unless it is in use for a moment only.
fn is_store_in_use(volume: &Volume, run: &RunId) -> bool {
    volume.run().as_ref() == Some(run) && volume.origin.is_none() && volume.is_open()
}

fn refuse_what_is_not_ours(volume: &Volume, run: &RunId) -> anyhow::Result<()> {
    let shape = volume.origin.is_some() || volume.segtype == "linear";
    if volume.run().as_ref() != Some(run) || !shape || is_store_in_use(volume, run) {
        let message = format!("volume {} is not a snapshot of run {run}; it is left alone", volume.name);
        return Err(Fault::new(Kind::Refused, message).into());
    }
    // lvremove would take the snapshots of what it removes with it, and they aren't ours.
    if volume.has_thick_snapshot() {
        let message = format!("snapshot {} has a snapshot of its own, which we did not make", volume.name);
        return Err(Fault::new(Kind::Refused, message).hint("`lvs -a` shows it; remove that one first").into());
    }
    Ok(())
}

/// A removal now would keep the pool, and the server's own volume in it, from being repaired.
fn refuse_in_failed_pool(volume: &Volume) -> anyhow::Result<()> {
    let Some(name) = volume.pool_name() else { return Ok(()) };
    if !lvm::volume(&name)?.is_some_and(|pool| pool.is_frozen_pool()) {
        return Ok(());
    }
    let message = format!("snapshot {} stays until its pool is repaired, which has failed", volume.name);
    Err(Fault::new(Kind::CleanupPending, message).hint(repair(&name.to_string())).into())
}

/// Which volume stays, why, and who uses it.
fn still_there(volume: &Volume, failed: Option<CommandError>) -> anyhow::Error {
    let mut message = format!("snapshot {} cannot be removed", volume.name);
    let holders = holders(volume);
    if !holders.is_empty() {
        message = format!("{message}; it is used by {holders}");
    }
    // In a mount namespace of its own, as of a container, it may have it mounted, where we can't tell.
    let hint = "look what it does with it, since what it wrote there goes too; end it, then run `mysnap recover`";
    let fault = Fault::new(Kind::CleanupPending, message).hint(hint);
    match failed {
        Some(error) => fault.caused_by(error).into(),
        None => fault.into(),
    }
}

/// What `fuser` says: those who have files on it open, and those who have the device itself open.
fn holders(volume: &Volume) -> String {
    let ask = |how: &str| Call::new("fuser").arg(how).arg(volume.name.device()).finish();
    let answers = ["-vm", "-v"].map(|how| ask(how).map(|f| words(&f.stderr)).unwrap_or_default());
    answers.into_iter().find(|text| text.contains(' ')).unwrap_or_default()
}

fn words(text: &[u8]) -> String {
    String::from_utf8_lossy(text).lines().skip(1).flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}
