//! Thin snapshots: blocks shared with the origin in a pool.

use super::{SnapshotProvider, Spec};
use crate::lvm::{self, Ready, Volume};
use crate::sys::cmd::{CommandError, Running};

/// The provider of thin snapshots.
#[derive(Debug, Clone, Copy)]
pub struct Thin;

impl SnapshotProvider for Thin {
    fn prepare(&self, spec: &Spec) -> anyhow::Result<()> {
        spec.kind.load_target()
    }

    fn start(&self, spec: &Spec, ready: Option<Ready>) -> Result<Running<'static>, CommandError> {
        lvm::start_thin_snapshot(&spec.origin.name, &spec.name, &spec.tags(), &spec.group, ready)
    }

    /// Thin snapshots carry the activation skip flag (lvmthin(7)); it also keeps a leftover from
    /// being activated at boot.
    fn activate(&self, spec: &Spec) -> anyhow::Result<()> {
        Ok(lvm::activate(&spec.name)?)
    }

    fn matches(&self, volume: &Volume) -> bool {
        volume.attr.starts_with('V') && volume.segtype == "thin"
    }
}
