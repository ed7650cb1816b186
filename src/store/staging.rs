//! A backup being made.

use std::path::PathBuf;
use std::time::Duration;

use super::files::{FileEntry, Totals};
use super::manifest::{Manifest, Proof, Root};
use super::rsync::Transfer;
use super::slot::Slot;
use super::tree::Skipped;
use super::{ProofLevel, Store};
use crate::id::{JobName, RunId};
use crate::sys::cancel::Cancel;

/// A root, and where it can be read now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The root.
    pub root: Root,
    /// Where it is in the mounted snapshot.
    pub path: PathBuf,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Every file with the digest of its source.
    pub files: Vec<FileEntry>,
    /// What they add up to.
    pub totals: Totals,
    /// Sockets and the like, which are not stored.
    pub skipped: Vec<Skipped>,
    /// How long it took.
    pub took: Duration,
}

/// A backup being made. Dropped without [`Staging::commit`] it stays unfinished: never listed, and
/// the next run takes from it what it can.
#[derive(Debug)]
#[must_use]
pub struct Staging<'a> {
    store: &'a dyn Store,
    slot: Slot,
}

impl<'a> Staging<'a> {
    /// Makes the unfinished directory.
    pub fn begin(store: &'a dyn Store, job: &JobName, id: &RunId) -> anyhow::Result<Self> {
        let slot = Slot::finished(job, id).with(super::State::Unfinished);
        store.create(&slot)?;
        Ok(Self { store, slot })
    }

    /// Where it is.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Copies `sources` and takes the digest of every file in them. What the newest good backup
    /// already has is linked, not copied again. `progress` gets the bytes sent so far.
    pub fn copy(
        &self,
        sources: &[Source],
        transfer: &Transfer,
        progress: &(dyn Fn(u64) + Sync),
        cancel: &Cancel,
    ) -> anyhow::Result<Copied> {
        let _ = (sources, transfer, progress, cancel, self.store);
        anyhow::bail!("not built yet")
    }

    /// Reads back what was copied and compares it with its source; files that differ are copied
    /// once more. `progress` gets the bytes read back so far.
    pub fn prove(
        &self,
        level: ProofLevel,
        sources: &[Source],
        copied: &Copied,
        transfer: &Transfer,
        progress: &(dyn Fn(u64) + Sync),
    ) -> anyhow::Result<Proof> {
        let _ = (level, sources, copied, transfer, progress);
        anyhow::bail!("not built yet")
    }

    /// Publishes the backup: everything written out, the manifest last, then the rename.
    pub fn commit(self, manifest: &Manifest, files: &[FileEntry]) -> anyhow::Result<()> {
        let _ = (manifest, files);
        anyhow::bail!("not built yet")
    }

    /// Gives it up and removes it.
    pub fn discard(self) -> anyhow::Result<()> {
        self.store.remove(&self.slot)
    }
}
