//! What is stored, compared with what it should be.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::{FILES, MANIFEST};
use super::files::{EntryKind, FileEntry};
use super::slot::Slot;
use super::{Digest, Listed, ListedKind, Readable, RootName, Store, StoredPath};

/// What differs; each name is `root/path` as the list of files writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// How many files were read.
    pub files: u64,
    /// How many bytes were read.
    pub bytes: u64,
    /// What should be there and is not.
    pub missing: Vec<String>,
    /// What has another size or digest, or is another kind of thing.
    pub changed: Vec<String>,
    /// What is there and should not be.
    pub extra: Vec<String>,
    /// What could not be read, with the reason.
    pub unreadable: Vec<String>,
}

impl Findings {
    /// Whether nothing differs.
    pub fn is_good(&self) -> bool {
        self.all().next().is_none()
    }

    /// Everything that differs.
    pub fn all(&self) -> impl Iterator<Item = String> {
        let named = |what: &'static str, names: &'_ [String]| {
            names.iter().map(|name| format!("{what} {name}")).collect::<Vec<_>>()
        };
        let lists = [
            named("missing", &self.missing),
            named("changed", &self.changed),
            named("extra", &self.extra),
            named("unreadable", &self.unreadable),
        ];
        lists.into_iter().flatten()
    }
}

/// Compares everything in `slot` with `files`, reading every file.
pub fn check(
    store: &dyn Store,
    slot: &Slot,
    files: &[FileEntry],
    progress: &(dyn Fn(u64) + Sync),
) -> anyhow::Result<Findings> {
    let listed = store.entries(slot)?;
    let (mut findings, readable) = compare(files, &listed);
    let mut digests: BTreeMap<StoredPath, Digest> = store.digests(slot, &readable, progress)?.into_iter().collect();
    for entry in files {
        let EntryKind::File { size, sha256 } = &entry.kind else { continue };
        match digests.remove(&stored(&entry.root, &entry.path)) {
            Some(Digest::Is(found)) => {
                findings.files += 1;
                findings.bytes += size;
                if found != *sha256 {
                    findings.changed.push(entry.name());
                }
            }
            Some(Digest::Unreadable(reason)) => findings.unreadable.push(format!("{} ({reason})", entry.name())),
            // Missing, or of another size: named already.
            None => {}
        }
    }
    Ok(findings)
}

/// Where an entry lies below the backup's directory.
fn stored(root: &RootName, path: &StoredPath) -> StoredPath {
    StoredPath::root().join(root.as_str().as_ref()).below(path)
}

/// What differs without reading, and the files to read.
fn compare(files: &[FileEntry], listed: &[Listed]) -> (Findings, Vec<Readable>) {
    let mut found: BTreeMap<&StoredPath, &ListedKind> = listed.iter().map(|one| (&one.path, &one.kind)).collect();
    let (mut findings, mut readable) = (Findings::default(), Vec::new());
    for entry in files {
        let path = stored(&entry.root, &entry.path);
        match (&entry.kind, found.remove(&path)) {
            (_, None) => findings.missing.push(entry.name()),
            (EntryKind::File { size, .. }, Some(ListedKind::File(length))) if size == length => {
                readable.push(Readable { path, size: *size });
            }
            (EntryKind::Directory, Some(ListedKind::Directory)) => {}
            (EntryKind::Symlink { target }, Some(ListedKind::Symlink(to))) if target.0 == *to => {}
            _ => findings.changed.push(entry.name()),
        }
    }
    let roots: BTreeSet<&str> = files.iter().map(|entry| entry.root.as_str()).collect();
    let expected = |path: &StoredPath| {
        let name = std::str::from_utf8(path.as_bytes()).unwrap_or_default();
        MANIFEST.contains(&name) || FILES.contains(&name) || roots.contains(name)
    };
    findings.extra = found.keys().filter(|path| !expected(path)).map(ToString::to_string).collect();
    (findings, readable)
}
