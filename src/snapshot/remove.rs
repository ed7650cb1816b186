//! Removing snapshots: ours only, told by tag, identifier, origin and kind.

use std::time::Duration;

use anyhow::Context as _;

use crate::fault::{Fault, Kind};
use crate::id::RunId;
use crate::lvm::{self, Volume};
use crate::sys::cmd::{self, Call};
use crate::sys::retry;

/// How long a busy volume is tried again.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long an LVM command that was let go of is waited for.
const LATE: Duration = Duration::from_secs(60);

/// Removes the volume with `uuid` if it is one of ours; that it is gone already is success.
///
/// It is ours when it carries our tags, and it is a snapshot, or a store that has not become one.
pub fn remove(uuid: &str, run: &RunId) -> anyhow::Result<()> {
    retry::until(DEADLINE, || {
        let Some(volume) = lvm::volumes()?.into_iter().find(|v| v.uuid == uuid) else { return Ok(()) };
        refuse_what_is_not_ours(&volume, run)?;
        lvm::remove(&volume.name).map_err(anyhow::Error::from)
    })
    .with_context(|| left_behind(uuid))
}

/// Removes every volume that carries the tags of `run`, but for those kept on purpose. A command
/// that was let go of may still make one: it is waited for first.
pub fn remove_all_of(run: &RunId) -> anyhow::Result<Vec<String>> {
    cmd::settle(LATE)?;
    let mut removed = Vec::new();
    for volume in lvm::volumes_of_ours()? {
        if volume.run().as_ref() == Some(run) && !volume.has_tag(lvm::KEEP_TAG) {
            remove(&volume.uuid, run)?;
            removed.push(volume.name.to_string());
        }
    }
    Ok(removed)
}

fn refuse_what_is_not_ours(volume: &Volume, run: &RunId) -> anyhow::Result<()> {
    let made_by_us = volume.run().as_ref() == Some(run);
    let shape = volume.origin.is_some() || (volume.segtype == "linear" && !volume.is_open());
    if made_by_us && shape {
        return Ok(());
    }
    let message = format!("volume {} is not a snapshot of run {run}; it is left alone", volume.name);
    Err(Fault::new(Kind::Refused, message).into())
}

/// Which volume stays, and who uses it.
fn left_behind(uuid: &str) -> String {
    let volume = lvm::volumes().ok().and_then(|all| all.into_iter().find(|v| v.uuid == uuid));
    let Some(volume) = volume else { return format!("cannot remove the snapshot with identifier {uuid}") };
    let holders = Call::new("fuser").args(["-vm"]).arg(volume.name.device()).finish();
    let holders = holders.map(|f| String::from_utf8_lossy(&f.stderr).split_whitespace().collect::<Vec<_>>().join(" "));
    match holders {
        Ok(text) if !text.is_empty() => format!("snapshot {} cannot be removed; it is used by: {text}", volume.name),
        _ => format!("snapshot {} cannot be removed", volume.name),
    }
}
