//! Files back from a copy.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::server::{Facts, Position};
use crate::store::{Backup, RootName, Store, Transfer};
use crate::sys::cancel::Cancel;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Where the data directory goes.
    pub to: PathBuf,
    /// Where other roots go; else to where they were.
    pub roots: BTreeMap<RootName, PathBuf>,
    /// Keep what is there aside, instead of refusing.
    pub replace: bool,
    /// The copy becomes another server: it gets an identity of its own.
    pub clone: bool,
    /// Restore although the installed server is of another family or release.
    pub any_version: bool,
    /// How bytes are moved.
    pub transfer: Transfer,
}

/// What will be done; printed by `--dry-run`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Plan {
    /// The steps, in words, in order.
    pub steps: Vec<String>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Restored {
    /// Where the data directory is.
    pub to: PathBuf,
    /// Where the former one is.
    pub kept_aside: Vec<PathBuf>,
    /// How many files.
    pub files: u64,
    /// How many bytes.
    pub bytes: u64,
    /// Where the server stands once it is started.
    pub position: Position,
    /// What to do next, in order.
    pub next: Vec<String>,
}

/// Looks at the backup and at the target, and decides; refuses what must not be done.
pub fn plan(store: &dyn Store, backup: &Backup, request: &Request) -> anyhow::Result<Plan> {
    let _ = (store, backup, request);
    anyhow::bail!("not built yet")
}

/// Does what was planned. A restore that was cut short can be run again.
pub fn execute(
    plan: &Plan,
    store: &dyn Store,
    progress: &(dyn Fn(u64) + Sync),
    cancel: &Cancel,
) -> anyhow::Result<Restored> {
    let _ = (plan, store, progress, cancel);
    anyhow::bail!("not built yet")
}

/// Starts the service that fits the server and waits until it answers.
pub fn start(server: &Facts, to: &std::path::Path, cancel: &Cancel) -> anyhow::Result<()> {
    let _ = (server, to, cancel);
    anyhow::bail!("not built yet")
}
