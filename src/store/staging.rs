//! A backup being made.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::catalog::{Catalog, FILES, MANIFEST};
use super::check::{self, Findings};
use super::files::{self, FileEntry, Totals};
use super::manifest::{FileList, Manifest, Proof, ProofLevel, Root, RootName};
use super::rsync::{Rsync, Transfer};
use super::slot::{Slot, State};
use super::tree::{Reading, Skipped};
use super::{Destination, Store, StoredPath, inventory};
use crate::fault::{Fault, Kind};
use crate::id::{JobName, RunId};
use crate::sys::cancel::Cancel;
use crate::sys::clock;

/// How many earlier generations rsync may link to, at most (its own limit is 20).
const GENERATIONS: usize = 4;

/// A root, and where it can be read now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The root.
    pub root: Root,
    /// Where it is in the mounted snapshot, symlinks followed.
    pub path: PathBuf,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// How a long piece of work goes on.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    /// How bytes are moved.
    pub transfer: &'a Transfer,
    /// Gets the bytes done so far.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Ends it.
    pub cancel: &'a Cancel,
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
        let slot = Slot::finished(job, id).with(State::Unfinished);
        store.create(&slot)?;
        Ok(Self { store, slot })
    }

    /// One whose unfinished directory another process has made, which publishes it.
    pub fn of_another(store: &'a dyn Store, job: &JobName, id: &RunId) -> Self {
        Self { store, slot: Slot::finished(job, id).with(State::Unfinished) }
    }

    /// Where it is.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// The destination that it is made at.
    pub fn destination(&self) -> &Destination {
        self.store.destination()
    }

    /// Copies `sources` and takes the digest of every file in them, side by side, so that most is
    /// read from the disk once. What an earlier generation already has is linked, not copied again.
    /// Progress is the bytes sent.
    pub fn copy(&self, sources: &[Source], work: Work<'_>) -> anyhow::Result<Copied> {
        let began = Instant::now();
        let earlier = self.earlier()?;
        let stop = AtomicBool::new(false);
        let reading = Reading {
            niceness: Some(work.transfer.niceness),
            from_disk: false,
            progress: &|_| {},
            cancel: work.cancel,
            stop: &stop,
        };
        let (sent, read) = std::thread::scope(|scope| {
            let reader = scope.spawn(|| take_inventory(sources, &reading));
            let sent = self.send(sources, &earlier, work);
            stop.store(sent.is_err(), Ordering::Relaxed);
            (sent, reader.join())
        });
        sent?;
        let (files, skipped) = read.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(Copied { totals: Totals::of(&files), files, skipped, took: began.elapsed() })
    }

    /// Stores files that we made, below the root of that name. Directories are made on the way.
    pub fn put(&self, root: &RootName, files: &[(StoredPath, Vec<u8>)]) -> anyhow::Result<()> {
        let top = StoredPath::root().join(root.as_str().as_ref());
        let files: Vec<(StoredPath, &[u8])> =
            files.iter().map(|(path, bytes)| (top.below(path), bytes.as_slice())).collect();
        self.store.put(&self.slot, &files)
    }

    /// Reads back what was copied and compares it with its source; what differs is copied once more,
    /// compared by content. Progress is the bytes read back.
    pub fn prove(
        &self,
        level: ProofLevel,
        sources: &[Source],
        copied: &Copied,
        work: Work<'_>,
    ) -> anyhow::Result<Proof> {
        let mut proof = Proof::of(level, clock::now());
        if level == ProofLevel::None {
            return Ok(proof);
        }
        let read_back = || check::check(self.store, &self.slot, &copied.files, work.progress);
        let mut findings = read_back()?;
        if !findings.is_good() {
            proof.repaired = findings.all().collect();
            tracing::warn!(files = proof.repaired.len(), "stored files differ from their source; copying them again");
            for source in sources {
                self.rsync(source, work.transfer, &[], true).run(work.cancel, |_| {})?;
            }
            findings = read_back()?;
        }
        if !findings.is_good() {
            return Err(differs(&self.slot, &findings));
        }
        Ok(Proof { at: clock::now(), files: findings.files, bytes: findings.bytes, ..proof })
    }

    /// Publishes the backup. Everything is written out before the manifest is, and the manifest
    /// before the rename that makes it a backup, so that a power cut leaves all of it or nothing.
    pub fn commit(self, mut manifest: Manifest, files: &[FileEntry]) -> anyhow::Result<Manifest> {
        manifest.files = FileList::of(files)?;
        let (list, bytes) = (files::encode(files)?, manifest.encode()?);
        // What can't be read back must not be published: a name that we would refuse, for example.
        Manifest::decode(&bytes).and_then(|_| files::decode(&list))?;
        let lists = FILES.iter().rev().map(|name| (*name, list.as_slice()));
        let manifests = MANIFEST.iter().rev().map(|name| (*name, bytes.as_slice()));
        self.store.publish(&self.slot, &lists.chain(manifests).collect::<Vec<_>>())?;
        Ok(manifest)
    }

    /// Gives it up and removes it.
    pub fn discard(self) -> anyhow::Result<()> {
        self.store.remove(&self.slot)
    }

    fn send(&self, sources: &[Source], earlier: &[Slot], work: Work<'_>) -> anyhow::Result<()> {
        let sent = std::cell::Cell::new(0);
        for source in sources {
            let before = sent.get();
            self.rsync(source, work.transfer, earlier, false).run(work.cancel, |bytes| {
                sent.set(before + bytes);
                (work.progress)(sent.get());
            })?;
        }
        Ok(())
    }

    fn rsync<'t>(&self, source: &Source, transfer: &'t Transfer, earlier: &[Slot], checksum: bool) -> Rsync<'t> {
        let name = source.root.name.as_str();
        let mut from = source.path.clone().into_os_string();
        if !source.root.is_file {
            from.push("/");
        }
        let inside = |slot: &Slot| OsString::from(self.store.destination().path().join(slot.relative()).join(name));
        Rsync {
            transfer,
            shell: self.store.rsync_shell(),
            from,
            to: self.store.rsync_name(&self.slot, &format!("{name}/")),
            link_dest: earlier.iter().map(inside).collect(),
            checksum,
        }
    }

    /// The newest good backup, and what dead runs left since: their files are whole or absent.
    fn earlier(&self) -> anyhow::Result<Vec<Slot>> {
        let catalog = Catalog::read(self.store, Some(&self.slot.job))?;
        let newest = catalog.good().next().map(|backup| backup.slot.clone());
        let is_left = |slot: &Slot| slot.state == State::Unfinished && *slot != self.slot;
        let mut left: Vec<Slot> = catalog.leftovers.into_iter().filter(is_left).collect();
        // Of a file that arrived in part rsync goes on from the first one that it finds.
        left.sort_by(|a, b| b.id.cmp(&a.id));
        Ok(newest.into_iter().chain(left).take(GENERATIONS).collect())
    }
}

fn take_inventory(sources: &[Source], reading: &Reading<'_>) -> anyhow::Result<(Vec<FileEntry>, Vec<Skipped>)> {
    let (mut files, mut skipped) = (Vec::new(), Vec::new());
    for source in sources {
        let (more, other) = inventory::take(source, reading)?;
        files.extend(more);
        skipped.extend(other);
    }
    Ok((files, skipped))
}

fn differs(slot: &Slot, findings: &Findings) -> anyhow::Error {
    let message = format!("what is stored of backup {} differs from its source: {}", slot.id, findings.summary());
    Fault::new(Kind::Verify, message).hint("check the disk and the memory of the destination").into()
}
