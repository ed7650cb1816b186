//! Destinations: where backups are kept, here or on another node.
//!
//! A backup of job `nightly` is the directory `nightly/<id>/` of a [`Destination`]: one directory
//! for each root of the server's data, the list of files, the manifest. It is staged under an
//! unfinished name and renamed as the last act, so that what is listed is complete: data written
//! out, then list and manifest, then the directory, then the rename, then the directory above.
//!
//! [`Store`] is what a destination can do, by [`LocalStore`] and [`SshStore`], held to one contract
//! by one suite of tests. [`Staging`] makes a backup, [`Catalog`] finds the ones that are there.

mod catalog;
mod check;
mod connections;
mod destination;
mod digest;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod increment;
mod inventory;
mod local;
mod manifest;
mod nice;
mod path;
mod rsync;
mod slot;
mod ssh;
mod ssh_errors;
mod ssh_output;
mod staging;
pub mod tree;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use catalog::{Backup, Catalog, Item};
pub(crate) use check::check_directory;
pub use check::{Findings, check, check_names};
pub use connections::abandoned as abandoned_connections;
pub use destination::{Destination, Side, SshOptions};
pub use digest::{Hasher, Sha256};
pub use files::{EntryKind, FileEntry, Mode, Totals};
pub use increment::Increment;
pub use local::LocalStore;
pub use manifest::{
    FORMAT, FileList, HoldRecord, Manifest, Method, PhaseRecord, Proof, ProofLevel, Root, RootName, Shown,
    SnapshotRecord,
};
pub use nice::{IoClass, Niceness};
pub use path::{EncodedBytes, StoredPath};
pub use rsync::{Transfer, fetch};
pub use slot::{Slot, State};
pub use ssh::SshStore;
pub use staging::{Copied, Source, Staging, Work};

use crate::fault::{Fault, Kind};
use crate::id::JobName;
use crate::sys::cancel::Cancel;
use crate::sys::cmd::Call;
use crate::sys::units::Bytes;

/// The destination, ready to be used; nothing is asked of it yet.
pub fn open(destination: &Destination, ssh: &SshOptions, cancel: &Cancel) -> anyhow::Result<Box<dyn Store>> {
    Ok(match destination {
        Destination::Local(path) => Box::new(LocalStore::new(path, cancel)),
        Destination::Ssh { .. } => Box::new(SshStore::new(destination, ssh, cancel)?),
    })
}

/// What a destination can do. All waits end when the [`Cancel`] that it was opened with is set.
pub trait Store: fmt::Debug + Send + Sync {
    /// Where it is.
    fn destination(&self) -> &Destination;

    /// Whether it can be reached, takes writes and has the tools that we need there; their versions by name.
    /// Changes nothing.
    fn probe(&self) -> anyhow::Result<BTreeMap<String, String>>;

    /// The room left, on the file system that holds the destination or will hold it.
    fn room(&self) -> anyhow::Result<Room>;

    /// The kernel's number of the device that holds the destination, where it is on this host.
    fn device(&self) -> anyhow::Result<Option<u64>>;

    /// What is there: backups, unfinished ones, with the bytes of their manifests.
    fn scan(&self, job: Option<&JobName>) -> anyhow::Result<Vec<Found>>;

    /// Makes the directory of `slot`, mode 0700; that it exists is an error.
    fn create(&self, slot: &Slot) -> anyhow::Result<()>;

    /// The bytes of a file in `slot`; none where there is none.
    fn read(&self, slot: &Slot, name: &str) -> anyhow::Result<Option<Vec<u8>>>;

    /// Stores new files in an unfinished `slot`, each with the directories above it, mode 0600 and 0700;
    /// that one exists is an error. They are not durable before [`Store::publish`].
    fn put(&self, slot: &Slot, files: &[(StoredPath, &[u8])]) -> anyhow::Result<()>;

    /// Everything in `slot`, symlinks not followed.
    fn entries(&self, slot: &Slot) -> anyhow::Result<Vec<Listed>>;

    /// The digests of regular files in `slot`, in their order, read again: on this host from the
    /// disk; on another node perhaps from its memory. `progress` gets the bytes read so far.
    fn digests(
        &self,
        slot: &Slot,
        files: &[Readable],
        progress: &(dyn Fn(u64) + Sync),
    ) -> anyhow::Result<Vec<(StoredPath, Digest)>>;

    /// Makes an unfinished `slot` a finished one: writes out everything in it, then writes `files`
    /// into it in their order, then renames it, each step durable before the next one begins.
    fn publish(&self, slot: &Slot, files: &[(&str, &[u8])]) -> anyhow::Result<()>;

    /// Removes `slot` with all that it holds; that it is gone already is success. A removal that is
    /// cut short leaves a name that is not listed as a backup, and can be run again.
    fn remove(&self, slot: &Slot) -> anyhow::Result<()>;

    /// How rsync names `path` below `slot`.
    fn rsync_name(&self, slot: &Slot, path: &str) -> OsString;

    /// The remote shell for rsync; none on this host.
    fn rsync_shell(&self) -> Option<String>;

    /// The node that holds it; none where it is on this host.
    fn node(&self) -> Option<&SshStore>;
}

/// The room left at a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Bytes.
    pub bytes: Bytes,
    /// Files; none where the file system has no limit.
    pub files: Option<u64>,
}

/// A directory that [`Store::scan`] found, with the bytes of its manifest and of the twin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Which backup.
    pub slot: Slot,
    /// `manifest.json`, where it could be read.
    pub manifest: Option<Vec<u8>>,
    /// Its twin, where it could be read.
    pub twin: Option<Vec<u8>>,
}

/// Something in a backup's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Where, below the backup's directory.
    pub path: StoredPath,
    /// What it is.
    pub kind: ListedKind,
}

/// What something in a backup's directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedKind {
    /// A regular file of this length.
    File(u64),
    /// A directory.
    Directory,
    /// A symlink to this.
    Symlink(Vec<u8>),
    /// Something that we never store.
    Other,
}

/// A file to be read, with its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readable {
    /// Where, below the backup's directory.
    pub path: StoredPath,
    /// Its length.
    pub size: u64,
}

/// What came of reading a stored file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Digest {
    /// Its digest.
    Is(Sha256),
    /// It could not be read, because of this.
    Unreadable(String),
}

fn missing_destination(destination: &Destination) -> anyhow::Error {
    let fault = Fault::new(Kind::NotFound, format!("destination {destination} does not exist"));
    fault.hint("the first backup makes it; is its file system mounted?").into()
}

/// Its file system is mounted read-only, or the account may not write there.
fn takes_no_writes(place: &str) -> anyhow::Error {
    let fault = Fault::new(Kind::Refused, format!("{place} takes no writes: a read-only file system, or its mode"));
    fault.hint("after an error of its disk a file system goes read-only by itself: `findmnt`, `dmesg`").into()
}

/// A tool on this host, with the first line that it says about its version.
fn tool_version(tool: &str, cancel: &Cancel) -> anyhow::Result<(String, String)> {
    let option = if tool == "ssh" { "-V" } else { "--version" };
    let finished = Call::new(tool).arg(option).cancel(cancel).finish().map_err(|error| {
        let fault = Fault::new(Kind::Refused, format!("{tool} cannot be run on this host")).caused_by(error);
        fault.hint(format!("install {tool}"))
    })?;
    let said = [finished.stdout, finished.stderr].concat();
    let first = String::from_utf8_lossy(&said).lines().next().unwrap_or_default().trim().to_owned();
    Ok((tool.to_owned(), first))
}
