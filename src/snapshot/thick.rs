//! Classic snapshots: a copy-on-write store of their own.
//!
//! A plain `lvcreate -s` makes the store, waits for udev, zeroes it and deactivates it, all while
//! writers wait. Here that is done beforehand, and `lvconvert --type snapshot` under the lock is
//! all that is left.

use std::fs::OpenOptions;
use std::io::Write as _;

use anyhow::Context as _;

use super::{SnapshotProvider, Spec};
use crate::fault::{Fault, Kind, kind_of};
use crate::lvm::{self, Ready, Volume};
use crate::sys::cmd::{CommandError, Running};
use crate::sys::failpoint;
use crate::sys::retry;

/// The store's head must read as zeroes, or the kernel takes it for an existing store and the
/// conversion fails with "Failed to suspend logical volume".
const HEAD: usize = 64 * 1024;

/// The provider of thick snapshots.
#[derive(Debug, Clone, Copy)]
pub struct Thick;

impl SnapshotProvider for Thick {
    fn prepare(&self, spec: &Spec) -> anyhow::Result<()> {
        spec.kind.load_target()?;
        lvm::create_store(&spec.name, spec.size, &spec.tags()).map_err(|error| no_store(spec, error))?;
        lvm::activate(&spec.name)?;
        zero_head(spec)?;
        lvm::deactivate(&spec.name)?;
        Ok(())
    }

    fn start(&self, spec: &Spec, ready: Option<Ready>) -> Result<Running<'static>, CommandError> {
        lvm::start_thick_snapshot(&spec.origin.name, &spec.name, &spec.group, ready)
    }

    fn activate(&self, _: &Spec) -> anyhow::Result<()> {
        // A thick snapshot of an active origin is active.
        Ok(())
    }

    fn matches(&self, volume: &Volume) -> bool {
        volume.attr.starts_with('s')
    }
}

fn no_store(spec: &Spec, error: CommandError) -> Fault {
    let no_room = error.stderr().is_some_and(|text| text.contains("insufficient free space"));
    let cause = lvm::explained(error, &spec.name.vg);
    let kind = kind_of(&cause).unwrap_or(Kind::Snapshot);
    let fault = Fault::new(kind, format!("cannot make the store of {}", spec.name)).caused_by(cause);
    if no_room {
        return fault.hint(format!("volume group {} has no room; free some, or set snapshot_size", spec.name.vg));
    }
    fault
}

fn zero_head(spec: &Spec) -> anyhow::Result<()> {
    let device = spec.name.device();
    let write = || -> std::io::Result<()> {
        // Never created: where udev has not made the node yet, a plain file must not take its place.
        let mut file = OpenOptions::new().write(true).open(&device)?;
        failpoint::pass(|| "zero the store's head".to_owned())?;
        file.write_all(&vec![0; HEAD])?;
        file.sync_all()
    };
    retry::until(std::time::Duration::from_secs(5), write).with_context(|| format!("cannot zero {}", device.display()))
}
