//! What a backup stands on, once everything was looked at.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::coverage::SourceRoot;
use crate::lvm::{Group, Volume};
use crate::server::{Facts, LockMode};
use crate::snapshot::Plan;
use crate::store::{Store, Totals};
use crate::sys::mount::MountPoint;

/// What a backup stands on.
#[derive(Debug)]
pub struct Ground {
    /// What the server says about itself.
    pub facts: Facts,
    /// The lock that fits it.
    pub lock: LockMode,
    /// What must be copied, and the volumes that it lies on.
    pub covered: Covered,
    /// The snapshots to be made, one for each origin.
    pub plan: Plan,
    /// Where the backup goes.
    pub target: Target,
    /// What there is to copy.
    pub source: Totals,
}

/// The roots of the server's data and the volumes below them.
#[derive(Debug, Default)]
pub struct Covered {
    /// The roots, the data directory first.
    pub roots: Vec<SourceRoot>,
    /// The volumes.
    pub origins: Vec<Origin>,
    /// Encryption keys that lie outside the roots, and so outside the backup.
    pub keyrings: Vec<PathBuf>,
}

impl Covered {
    /// The volume that `root` lies on.
    pub fn origin_of(&self, root: &SourceRoot) -> Option<&Origin> {
        self.origins.iter().find(|o| o.mount.device == root.mount.device)
    }
}

/// A volume that holds data of the server.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The volume.
    pub volume: Volume,
    /// Its group.
    pub group: Group,
    /// Its pool, where it is thin.
    pub pool: Option<Volume>,
    /// Where it is mounted.
    pub mount: MountPoint,
}

/// A destination that was asked.
#[derive(Debug)]
pub struct Target {
    /// The destination.
    pub store: Box<dyn Store>,
    /// The tools there, with their versions.
    pub tools: BTreeMap<String, String>,
}
