//! Where the files of a dump go: collected, so that a node is not asked for every small one.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::store::{FileEntry, RootName, Sha256, Staging, StoredPath};

/// So much, or so many, is handed on at once.
const BATCH_BYTES: usize = 8 << 20;
const BATCH_FILES: usize = 200;

/// Takes files, and knows them with their digests.
pub(super) struct Shelf<'a> {
    staging: &'a Staging<'a>,
    root: RootName,
    waiting: Mutex<Vec<(StoredPath, Vec<u8>)>>,
    entries: Mutex<Vec<(StoredPath, u64, Sha256)>>,
}

impl<'a> Shelf<'a> {
    pub(super) fn new(staging: &'a Staging<'a>, root: RootName) -> Self {
        Self { staging, root, waiting: Mutex::default(), entries: Mutex::default() }
    }

    /// Takes the file at `path` below the dump's root.
    pub(super) fn put(&self, path: String, bytes: Vec<u8>) -> anyhow::Result<()> {
        let path = StoredPath::new(path).map_err(anyhow::Error::msg)?;
        let entry = (path.clone(), bytes.len() as u64, Sha256::of(&bytes));
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        let batch = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.push((path, bytes));
            let is_full = waiting.len() >= BATCH_FILES
                || waiting.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() >= BATCH_BYTES;
            if is_full { std::mem::take(&mut *waiting) } else { Vec::new() }
        };
        self.hand_on(&batch)
    }

    /// Everything that was put here.
    pub(super) fn finish(self) -> anyhow::Result<Vec<FileEntry>> {
        self.hand_on(&std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner)))?;
        let entries = self.entries.into_inner().unwrap_or_else(PoisonError::into_inner);
        let root = self.root;
        let above = |path: &StoredPath| std::iter::successors(path.parent(), StoredPath::parent).collect::<Vec<_>>();
        let directories: BTreeSet<StoredPath> = entries.iter().flat_map(|(path, ..)| above(path)).collect();
        let directories = directories.into_iter().map(|path| FileEntry::made_directory(&root, path));
        let mut files: Vec<FileEntry> = directories
            .chain(entries.into_iter().map(|(path, size, sha256)| FileEntry::made_file(&root, path, size, sha256)))
            .collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    fn hand_on(&self, batch: &[(StoredPath, Vec<u8>)]) -> anyhow::Result<()> {
        if batch.is_empty() { Ok(()) } else { self.staging.put(&self.root, batch) }
    }
}
