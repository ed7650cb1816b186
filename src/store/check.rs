//! What is stored, compared with what it should be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::catalog::{FILES, MANIFEST};
use super::files::{EntryKind, FileEntry};
use super::slot::Slot;
use super::tree::{Node, NodeKind, Reading, Tree};
use super::{Digest, Listed, ListedKind, Readable, Sha256, Store, StoredPath};

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

    /// What differs in one line, for an error: the first of it by name, the rest counted.
    pub fn summary(&self) -> String {
        const NAMED: usize = 20;
        let all: Vec<String> = self.all().collect();
        let named = all.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        if all.len() > NAMED { format!("{named} and {} more", all.len() - NAMED) } else { named }
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
    let (findings, readable) = compare(files, &store.entries(slot)?, stored);
    let digests = store.digests(slot, &readable, progress)?;
    Ok(judge(findings, files, digests, stored))
}

/// The same without reading: what is missing, extra or of another size.
pub fn check_names(store: &dyn Store, slot: &Slot, files: &[FileEntry]) -> anyhow::Result<Findings> {
    Ok(compare(files, &store.entries(slot)?, stored).0)
}

/// Compares everything in a directory on this host with the `files` of one root.
pub(crate) fn check_directory(
    directory: &Path,
    files: &[FileEntry],
    reading: &Reading<'_>,
) -> anyhow::Result<Findings> {
    let place = |entry: &FileEntry| entry.path.clone();
    let tree = Tree::open(directory)?;
    let nodes: Vec<Listed> = tree.walk(reading.cancel)?.into_iter().map(Listed::from).collect();
    let (findings, readable) = compare(files, &nodes, place);
    let digests = tree.digests(&readable, reading)?.into_iter().map(Digest::from);
    let digests = readable.into_iter().map(|file| file.path).zip(digests).collect();
    Ok(judge(findings, files, digests, place))
}

/// Where an entry lies below the backup's directory.
fn stored(entry: &FileEntry) -> StoredPath {
    StoredPath::root().join(entry.root.as_str().as_ref()).below(&entry.path)
}

/// What differs without reading, and the files to read.
fn compare(
    files: &[FileEntry],
    listed: &[Listed],
    place: impl Fn(&FileEntry) -> StoredPath,
) -> (Findings, Vec<Readable>) {
    let mut found: BTreeMap<&StoredPath, &ListedKind> = listed.iter().map(|one| (&one.path, &one.kind)).collect();
    let (mut findings, mut readable) = (Findings::default(), Vec::new());
    for entry in files {
        let path = place(entry);
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
        path.is_root() || MANIFEST.contains(&name) || FILES.contains(&name) || roots.contains(name)
    };
    findings.extra = found.keys().filter(|path| !expected(path)).map(ToString::to_string).collect();
    (findings, readable)
}

/// Adds to `findings` what reading showed.
fn judge(
    mut findings: Findings,
    files: &[FileEntry],
    digests: Vec<(StoredPath, Digest)>,
    place: impl Fn(&FileEntry) -> StoredPath,
) -> Findings {
    let mut digests: BTreeMap<StoredPath, Digest> = digests.into_iter().collect();
    for entry in files {
        let EntryKind::File { size, sha256 } = &entry.kind else { continue };
        match digests.remove(&place(entry)) {
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
    findings
}

impl From<Node> for Listed {
    fn from(node: Node) -> Self {
        let size = node.size();
        let kind = match node.kind {
            NodeKind::File => ListedKind::File(size),
            NodeKind::Directory => ListedKind::Directory,
            NodeKind::Symlink(target) => ListedKind::Symlink(target),
            NodeKind::Other(_) => ListedKind::Other,
        };
        Self { path: node.path, kind }
    }
}

impl From<anyhow::Result<Sha256>> for Digest {
    fn from(result: anyhow::Result<Sha256>) -> Self {
        match result {
            Ok(digest) => Self::Is(digest),
            Err(error) => Self::Unreadable(format!("{error:#}")),
        }
    }
}
