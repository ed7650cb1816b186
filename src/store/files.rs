//! The list of files in a backup: one line of JSON for each.

use std::collections::{HashMap, HashSet};

use anyhow::Context as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::digest::Sha256;
use super::manifest::RootName;
use super::path::{EncodedBytes, StoredPath};

/// A file, directory or symlink in a backup, as it was in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// The root that it lies below.
    pub root: RootName,
    /// Where it lies there.
    pub path: StoredPath,
    /// What it is.
    #[serde(flatten)]
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: Mode,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The owner's name, where it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The group's name, where it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// When it was last written.
    pub mtime: Timestamp,
}

impl FileEntry {
    /// A file that we made ourselves, of `size` bytes.
    pub fn made_file(root: &RootName, path: StoredPath, size: u64, sha256: Sha256) -> Self {
        Self::made(root, path, EntryKind::File { size, sha256 }, 0o600)
    }

    /// A directory that we made ourselves.
    pub fn made_directory(root: &RootName, path: StoredPath) -> Self {
        Self::made(root, path, EntryKind::Directory, 0o700)
    }

    fn made(root: &RootName, path: StoredPath, kind: EntryKind, mode: u32) -> Self {
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let (root, mode, mtime) = (root.clone(), Mode::new(mode), crate::sys::clock::now());
        Self { root, path, kind, mode, uid, gid, user: None, group: None, mtime }
    }

    /// Its name in messages: `datadir/shop/orders.ibd`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.root, self.path)
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Its length in bytes.
        size: u64,
        /// Its digest.
        sha256: Sha256,
    },
    /// A directory.
    Directory,
    /// A symlink.
    Symlink {
        /// Where it points.
        target: EncodedBytes,
    },
}

/// Permission bits, written in octal. A set-user-id bit has no business in a backup and is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mode(u32);

impl Mode {
    /// The permission bits of `st_mode`.
    pub fn new(st_mode: u32) -> Self {
        Self(st_mode & 0o3777)
    }

    /// The bits.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        format!("{:04o}", mode.0)
    }
}

impl TryFrom<String> for Mode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        u32::from_str_radix(&text, 8).map(Self::new).map_err(|_| format!("{text:?} are not permission bits"))
    }
}

/// What a list of files adds up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symlinks.
    pub symlinks: u64,
    /// The bytes of all regular files.
    pub bytes: u64,
}

impl Totals {
    /// What `entries` add up to.
    pub fn of(entries: &[FileEntry]) -> Self {
        let mut totals = Self::default();
        for entry in entries {
            match &entry.kind {
                EntryKind::File { size, .. } => {
                    totals.files += 1;
                    totals.bytes = totals.bytes.saturating_add(*size);
                }
                EntryKind::Directory => totals.directories += 1,
                EntryKind::Symlink { .. } => totals.symlinks += 1,
            }
        }
        totals
    }
}

/// The bytes to store.
pub fn encode(entries: &[FileEntry]) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut bytes, entry).context("cannot write the list of files as JSON")?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// Reads stored bytes and refuses what could lead a restore out of its directory.
pub fn decode(bytes: &[u8]) -> anyhow::Result<Vec<FileEntry>> {
    let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let entries = lines
        .enumerate()
        .map(|(n, line)| {
            serde_json::from_slice(line).with_context(|| format!("line {} of the list of files is damaged", n + 1))
        })
        .collect::<anyhow::Result<Vec<FileEntry>>>()?;
    refuse_hostile(&entries)?;
    Ok(entries)
}

/// Every name once, and everything below a directory that is itself in the list: with a symlink
/// above it a file could land anywhere.
fn refuse_hostile(entries: &[FileEntry]) -> anyhow::Result<()> {
    let mut seen = HashSet::new();
    let directories: HashMap<_, _> =
        entries.iter().map(|e| ((&e.root, &e.path), matches!(e.kind, EntryKind::Directory))).collect();
    for entry in entries {
        let (root, path) = (&entry.root, &entry.path);
        anyhow::ensure!(seen.insert((root, path)), "the list of files names {root}/{path} twice");
        let Some(parent) = path.parent().filter(|parent| !parent.is_root()) else { continue };
        let known = directories.get(&(root, &parent)).copied().unwrap_or(false);
        anyhow::ensure!(known, "the list of files names {root}/{path}, but {root}/{parent} is not a directory in it");
    }
    let link = entries.iter().find(|e| e.path.is_root() && !matches!(e.kind, EntryKind::Directory));
    anyhow::ensure!(link.is_none(), "the list of files names a root that is not a directory");
    Ok(())
}
