//! A destination on this host.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use nix::unistd::{AccessFlags, access};

use super::catalog::MANIFEST;
use super::tree::{Reading, Tree};
use super::{
    Destination, Digest, Found, Listed, Readable, Room, Slot, SshStore, State, Store, StoredPath, missing_destination,
    takes_no_writes, tool_version,
};
use crate::fault::{Failure, Fault, Kind};
use crate::id::JobName;
use crate::sys::cancel::Cancel;
use crate::sys::cmd::Call;
use crate::sys::durable;
use crate::sys::failpoint;
use crate::sys::units::Bytes;

/// No manifest and no list of files is as large as this.
const LARGEST: u64 = 4 << 30;

/// A destination on this host.
#[derive(Debug)]
pub struct LocalStore {
    destination: Destination,
    cancel: Cancel,
}

impl LocalStore {
    /// Nothing is asked of it yet.
    pub fn new(path: &Path, cancel: &Cancel) -> Self {
        Self { destination: Destination::Local(path.to_owned()), cancel: cancel.clone() }
    }

    fn path(&self, slot: &Slot) -> PathBuf {
        self.destination.path().join(slot.relative())
    }

    fn job_path(&self, job: &JobName) -> PathBuf {
        self.destination.path().join(job.as_str())
    }

    /// The destination, or the nearest directory above it that is there.
    fn nearest(&self) -> &Path {
        self.destination.path().ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"))
    }

    fn jobs(&self) -> anyhow::Result<Vec<JobName>> {
        Ok(names_in(self.destination.path())?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    fn scan_job(&self, job: &JobName, found: &mut Vec<Found>) -> anyhow::Result<()> {
        let directory = self.job_path(job);
        for slot in names_in(&directory)?.iter().filter_map(|name| Slot::parse(job.as_str(), name)) {
            self.cancel.check()?;
            // A symlink in the place of a backup is not ours.
            if !is_real_directory(&self.path(&slot))? {
                continue;
            }
            let [manifest, twin] = MANIFEST.map(|name| {
                self.read(&slot, name).unwrap_or_else(|error| {
                    tracing::warn!("{error:#}");
                    None
                })
            });
            found.push(Found { slot, manifest, twin });
        }
        Ok(())
    }
}

impl Store for LocalStore {
    fn destination(&self) -> &Destination {
        &self.destination
    }

    fn probe(&self) -> anyhow::Result<BTreeMap<String, String>> {
        // Not everything that is stored here is copied.
        let tools = if Call::is_installed("rsync") { Some(tool_version("rsync", &self.cancel)?) } else { None };
        let place = self.nearest();
        access(place, AccessFlags::W_OK).map_err(|_| takes_no_writes(&place.display().to_string()))?;
        Ok(tools.into_iter().collect())
    }

    fn room(&self) -> anyhow::Result<Room> {
        let path = self.nearest();
        let stat = nix::sys::statvfs::statvfs(path).with_context(|| format!("cannot look at {}", path.display()))?;
        let bytes = Bytes(stat.blocks_available().saturating_mul(stat.fragment_size()));
        Ok(Room { bytes, files: (stat.files() > 0).then(|| stat.files_available()) })
    }

    fn device(&self) -> anyhow::Result<Option<u64>> {
        let path = self.nearest();
        let metadata = path.metadata().with_context(|| format!("cannot look at {}", path.display()))?;
        Ok(Some(metadata.dev()))
    }

    fn scan(&self, job: Option<&JobName>) -> anyhow::Result<Vec<Found>> {
        if !self.destination.path().is_dir() {
            return Err(missing_destination(&self.destination));
        }
        let mut found = Vec::new();
        for job in job.map_or_else(|| self.jobs(), |job| Ok(vec![job.clone()]))? {
            if is_real_directory(&self.job_path(&job))? {
                self.scan_job(&job, &mut found)?;
            }
        }
        Ok(found)
    }

    fn create(&self, slot: &Slot) -> anyhow::Result<()> {
        let (directory, path) = (self.job_path(&slot.job), self.path(slot));
        durable::create_private_directory(&directory)?;
        anyhow::ensure!(is_real_directory(&directory)?, "{} is not a directory", directory.display());
        if path.symlink_metadata().is_ok() {
            return Err(Fault::new(Kind::Copy, format!("{} exists already", path.display())).into());
        }
        durable::create_private_directory(&path)?;
        durable::sync_directory(&directory)?;
        durable::sync_directory(self.destination.path())
    }

    fn read(&self, slot: &Slot, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
        Tree::open(&self.path(slot))?.read_small(&StoredPath::root().join(name.as_ref()), LARGEST)
    }

    fn put(&self, slot: &Slot, files: &[(StoredPath, &[u8])]) -> anyhow::Result<()> {
        for (path, bytes) in files {
            let path = self.path(slot).join(path.as_path());
            durable::create_private_directory(path.parent().unwrap_or(Path::new("/")))?;
            failpoint::pass(|| "store file".to_owned())
                .map_err(anyhow::Error::from)
                .and_then(|()| durable::create_private_file(&path))
                .and_then(|mut file| Ok(file.write_all(bytes)?))
                .with_context(|| format!("cannot write {}", path.display()))
                .map_err(|error| {
                    anyhow::Error::from(Fault::new(Kind::Copy, "the destination took no more").caused_by(error))
                })?;
        }
        Ok(())
    }

    fn entries(&self, slot: &Slot) -> anyhow::Result<Vec<Listed>> {
        let nodes = Tree::open(&self.path(slot))?.walk(&self.cancel)?;
        Ok(nodes.into_iter().filter(|node| !node.path.is_root()).map(Listed::from).collect())
    }

    fn digests(
        &self,
        slot: &Slot,
        files: &[Readable],
        progress: &(dyn Fn(u64) + Sync),
    ) -> anyhow::Result<Vec<(StoredPath, Digest)>> {
        // Only what is written out can be dropped from memory and read from the disk.
        durable::sync_file_system(&self.path(slot))?;
        let stop = AtomicBool::new(false);
        let reading = Reading { niceness: None, from_disk: true, progress, cancel: &self.cancel, stop: &stop };
        let digests = Tree::open(&self.path(slot))?.digests(files, &reading)?;
        let digests = digests.into_iter().map(Digest::from);
        Ok(files.iter().map(|file| file.path.clone()).zip(digests).collect())
    }

    fn publish(&self, slot: &Slot, files: &[(&str, &[u8])]) -> anyhow::Result<()> {
        let (path, finished) = (self.path(slot), self.path(&slot.with(State::Finished)));
        anyhow::ensure!(finished.symlink_metadata().is_err(), "{} exists already", finished.display());
        durable::sync_file_system(&path)?;
        for (name, bytes) in files {
            durable::write(&path.join(name), bytes)?;
        }
        durable::rename(&path, &finished).map_err(|error| withdrawn(&finished, &path, error))
    }

    fn remove(&self, slot: &Slot) -> anyhow::Result<()> {
        let removing = self.path(&slot.with(State::Removing));
        remove_tree(&removing)?;
        let path = self.path(slot);
        if path.symlink_metadata().is_ok() {
            // Renamed first: a removal that is cut short must not leave half of a backup listed.
            durable::rename(&path, &removing)?;
            remove_tree(&removing)?;
        }
        Ok(())
    }

    fn rsync_name(&self, slot: &Slot, path: &str) -> OsString {
        self.path(slot).join(path).into()
    }

    fn rsync_shell(&self) -> Option<String> {
        None
    }

    fn node(&self) -> Option<&SshStore> {
        None
    }
}

/// What could not be made durable is not there: a backup that nobody reported is none.
fn withdrawn(finished: &Path, unfinished: &Path, error: anyhow::Error) -> anyhow::Error {
    if finished.symlink_metadata().is_err() {
        return error;
    }
    let back = durable::rename(finished, unfinished);
    Failure::join(error, back.err().into_iter().collect())
}

fn remove_tree(path: &Path) -> anyhow::Result<()> {
    match failpoint::pass(|| "remove tree".to_owned()).and_then(|()| std::fs::remove_dir_all(path)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.with_context(|| format!("cannot remove {}", path.display()))?,
    }
    path.parent().map_or(Ok(()), durable::sync_directory)
}

/// What can't be looked at is no reason to take it for absent.
fn is_real_directory(path: &Path) -> anyhow::Result<bool> {
    match path.symlink_metadata() {
        Ok(metadata) => Ok(metadata.is_dir()),
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
    }
}

/// The names in a directory; those that are not UTF-8 are not ours.
fn names_in(directory: &Path) -> anyhow::Result<Vec<String>> {
    let list = || directory.read_dir()?.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>();
    let names = list().with_context(|| format!("cannot list {}", directory.display()))?;
    Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
}
