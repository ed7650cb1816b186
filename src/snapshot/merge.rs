//! Merging a snapshot back into its origin.
//!
//! LVM accepts a merge while the origin is open and starts it at the next activation: success of
//! the command is not "rolled back", only the report is. Both must be unmounted, then the origin is
//! deactivated and activated. A thick origin can be used at once while blocks are copied back; a
//! thin one is swapped. A merge that has begun can't be taken back, and survives a power cut.

use std::time::{Duration, Instant};

use crate::fault::{Failure, Fault, Kind};
use crate::lvm::{self, LvRef, Volume};
use crate::sys::cmd::{self, CommandError};

/// How long a merge may go on without any progress.
const PATIENCE: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(500);

/// How far a merge is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MergeProgress {
    /// What is still to be copied back, in percent of the store.
    pub left: f64,
}

/// Starts the merge of `snapshot` into `origin`; neither may be open. One that LVM has accepted before
/// is begun.
///
/// # Errors
/// The origin is not suspended then. Where LVM has accepted the merge all the same, it must not be mounted before it was
/// deactivated and activated: what is written until then is lost with that.
pub fn start_merge(origin: &LvRef, snapshot: &Volume) -> anyhow::Result<()> {
    refuse_open(origin)?;
    refuse_open(&snapshot.name)?;
    let asked = if snapshot.merging { Ok(()) } else { ask(origin, snapshot) };
    // Killed in between LVM may have accepted it, and a command that was let go of may have it accepted yet.
    if let Err(error) = asked
        && (cmd::settle(lvm::LATE).is_err() || !is_accepted(snapshot)?)
    {
        return Err(error);
    }
    // Accepted is not begun: where anything opened the origin meanwhile, only an activation helps.
    if lvm::volume(&snapshot.name)?.is_some() {
        unharmed(origin, lvm::deactivate(origin))?;
        unharmed(origin, lvm::activate(origin))?;
    }
    Ok(())
}

fn ask(origin: &LvRef, snapshot: &Volume) -> anyhow::Result<()> {
    unharmed(origin, lvm::merge(&snapshot.name))?;
    write_out(origin)
}

/// One that is gone may have been merged, or removed by somebody: nobody knows any more.
fn is_accepted(snapshot: &Volume) -> anyhow::Result<bool> {
    Ok(lvm::volume(&snapshot.name)?.is_some_and(|volume| volume.merging))
}

/// What a command came to, which may have been killed with the origin suspended.
fn unharmed(origin: &LvRef, command: Result<(), CommandError>) -> anyhow::Result<()> {
    let Err(error) = command else { return Ok(()) };
    let suspended = lvm::volume(origin)?.filter(Volume::is_suspended);
    let resumed = suspended.as_ref().map_or(Ok(()), lvm::resume);
    Err(Failure::join(error.into(), resumed.err().into_iter().collect()))
}

/// No server is at work that would do it by the way.
fn write_out(origin: &LvRef) -> anyhow::Result<()> {
    lvm::write_out(&lvm::group(&origin.vg)?)
}

fn refuse_open(name: &LvRef) -> anyhow::Result<()> {
    match lvm::volume(name)? {
        Some(volume) if volume.is_open() => Err(Fault::new(Kind::Busy, format!("volume {name} is in use"))
            .hint("unmount it and stop what uses it: `fuser -vm` names it")
            .into()),
        Some(_) => Ok(()),
        None => Err(Fault::new(Kind::NotFound, format!("there is no volume {name}")).into()),
    }
}

/// Waits until `snapshot` has become part of its origin; `progress` is told how far it is.
pub fn finish_merge(origin: &LvRef, snapshot: &Volume, mut progress: impl FnMut(MergeProgress)) -> anyhow::Result<()> {
    let mut last = (f64::MAX, Instant::now());
    loop {
        let found = lvm::volumes()?.into_iter().find(|v| v.uuid == snapshot.uuid);
        let Some(volume) = found else { return write_out(origin) };
        let left = volume.data_percent.unwrap_or(0.0);
        progress(MergeProgress { left });
        if left < last.0 {
            last = (left, Instant::now());
        }
        if last.1.elapsed() > PATIENCE {
            let message = format!("the merge of {} into {origin} does not go on; {left:.1}% are left", volume.name);
            return Err(Fault::new(Kind::Snapshot, message)
                .hint("`lvs -a` shows it; it goes on by itself, also after a reboot")
                .into());
        }
        // lvmpolld notices the end only every 15 seconds by itself.
        if left <= 0.0
            && let Err(error) = lvm::poll_merge(origin)
        {
            tracing::debug!(%error, "polling is lvmpolld's work then");
        }
        std::thread::sleep(POLL);
    }
}
