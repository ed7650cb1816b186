//! One database or table out of a backup of files: a second server is started on them, and dumped from.
//!
//! On this host's own destination nothing is copied: the server sees the stored files through an overlay,
//! and what it writes goes to scratch space. Only what it opens for writing is copied there: its own
//! tablespaces, and tables whose last changes have to be recovered. From another node everything has to be
//! brought here first.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::dump::{Dumped, Options};
use crate::fault::{Fault, Kind};
use crate::instance::{Part, installed, overlay, require_places};
use crate::proof::{self, Dumping, Subject};
use crate::recover;
use crate::restore;
use crate::run::Run;
use crate::run::events::{Event, Observer};
use crate::store::{
    Backup, Catalog, Destination, Digest, EntryKind, FileEntry, LocalStore, Manifest, Method, ProofLevel, Readable,
    Staging, Store, Transfer, Work,
};
use crate::sys::cancel::Cancel;
use crate::sys::mount::Mounted;
use crate::sys::units::Bytes;

/// What was asked for.
#[derive(Debug)]
pub struct Request {
    /// The backup, of files.
    pub backup: Backup,
    /// Where there is room for what the server writes, on another volume than the live server's.
    pub scratch: PathBuf,
    /// What is taken out of it.
    pub dump: Options,
    /// How bytes are moved.
    pub transfer: Transfer,
}

/// The steps in words.
pub fn describe(request: &Request, store: &dyn Store) -> Vec<String> {
    let id = &request.backup.manifest.id;
    let scratch = request.scratch.display();
    let bytes = Bytes(request.backup.manifest.files.totals.bytes);
    let bring = match store.destination() {
        Destination::Local(_) => format!("show the files of backup {id} in {scratch}; they are not copied"),
        Destination::Ssh { .. } => format!("copy backup {id} ({bytes}) to {scratch}"),
    };
    vec![bring, "start a second server on them".to_owned(), format!("dump what is wanted to {scratch}")]
}

/// Has `then` use the dump, which is gone afterwards, with all else that was made for it.
pub fn extract<T>(
    request: &Request,
    store: &dyn Store,
    observer: &dyn Observer,
    cancel: &Cancel,
    then: impl FnOnce(&dyn Store, &Backup) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let manifest = &request.backup.manifest;
    recover::recover(observer)?;
    recover::refuse_unfit(&request.scratch, manifest)?;
    installed::has_keys_for(manifest)?;
    require_places(&manifest.roots)?;
    let run = Run::begin("extract", Some(manifest.job.as_str()), &request.scratch)?;
    let used = recover::in_scratch(run, &request.scratch, |home| {
        let (dumped, backup) = dumped(request, store, home, observer, cancel)?;
        then(&dumped, &backup)
    })?;
    used.finished("everything was restored")
}

fn dumped(
    request: &Request,
    store: &dyn Store,
    home: &Path,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<(LocalStore, Backup)> {
    let manifest = &request.backup.manifest;
    let (parts, overlays) = parts(request, store, home, observer, cancel)?;
    let subject = Subject::stored(manifest, &parts);
    let target = LocalStore::new(&home.join("dump"), cancel);
    let staging = Staging::begin(&target, &manifest.job, &manifest.id)?;
    let to = Dumping { options: &request.dump, staging: &staging };
    let (_, dumped) = proof::dump(subject, &home.join("server"), &to, observer, cancel)
        .context("what is stored could not be dumped")?;
    overlays.into_iter().rev().try_for_each(Mounted::release)?;
    let backup = publish(staging, &target, (dumped, manifest.clone()), &request.transfer, observer, cancel)?;
    Ok((target, backup))
}

/// Makes a backup of a dump in scratch space, with what is told of it.
pub fn publish(
    staging: Staging<'_>,
    target: &LocalStore,
    (dumped, manifest): (Dumped, Manifest),
    transfer: &Transfer,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<Backup> {
    for warning in &dumped.warnings {
        observer.warn(warning.clone());
    }
    let work = Work { transfer, progress: &|_| {}, cancel };
    let proof = staging.prove(ProofLevel::Checksum, &[], &dumped.copied, work)?;
    let id = manifest.id.clone();
    let written = Manifest { method: Method::Dump, roots: vec![dumped.root], proof, ..manifest };
    staging.commit(written, &dumped.copied.files)?;
    Ok(Catalog::read(target, None)?.find(id.as_str())?.clone())
}

/// The stored files where a server can use them, and what is mounted for it.
fn parts(
    request: &Request,
    store: &dyn Store,
    home: &Path,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<(Vec<Part>, Vec<Mounted>)> {
    let backup = &request.backup;
    let total = Bytes(backup.manifest.files.totals.bytes);
    let Destination::Local(top) = store.destination() else {
        let progress = |done| observer.event(Event::Progress { done: Bytes(done), total });
        let bring = || restore::beside(store, backup, home, request.transfer, &progress, cancel);
        let parts = observer.phase("restore", bring, |_| format!("{total} into {}", home.display()))?;
        return Ok((parts, Vec::new()));
    };
    let files = backup.files(store)?;
    let read = || whole(store, backup, &files, request);
    observer.phase("verify", read, |bytes| format!("{} match their digests", Bytes(*bytes)))?;
    let shown = || overlay::show(&backup.manifest.roots, &top.join(backup.slot.relative()), home);
    observer.phase("mount", shown, |(parts, _)| format!("{} roots, nothing of them copied", parts.len()))
}

/// Reads what the server will need and compares it with its digests: its own files, and those of the
/// databases that are wanted.
fn whole(store: &dyn Store, backup: &Backup, files: &[FileEntry], request: &Request) -> anyhow::Result<u64> {
    let needed = |entry: &&FileEntry| is_needed(entry, &request.dump);
    let (mut readable, mut expected) = (Vec::new(), Vec::new());
    for entry in files.iter().filter(needed) {
        if let EntryKind::File { size, sha256 } = entry.kind {
            let top = crate::store::StoredPath::root().join(entry.root.as_str().as_ref());
            readable.push(Readable { path: top.below(&entry.path), size });
            expected.push(sha256);
        }
    }
    let found = store.digests(&backup.slot, &readable, &|_| {})?;
    let differs = found.iter().zip(&expected).find(|((_, digest), expected)| *digest != Digest::Is(**expected));
    if let Some(((path, _), _)) = differs {
        let message = format!("backup {} is damaged: {path} is missing or does not match its digest", backup.slot.id);
        return Err(Fault::new(Kind::Verify, message).hint("use another one; `mysnap list` shows them").into());
    }
    Ok(readable.iter().map(|file| file.size).sum())
}

/// A server writes the names of databases into directories' names, other than plain ones with `@` and
/// numbers: a directory that is not certainly another database's is needed.
fn is_needed(entry: &FileEntry, options: &Options) -> bool {
    let path = entry.path.as_bytes();
    let Some(slash) = path.iter().position(|byte| *byte == b'/') else { return true };
    let directory = path.get(..slash).and_then(|name| std::str::from_utf8(name).ok());
    let plain = directory.filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    plain.is_none_or(|name| name == "mysql" || options.selection.has_database(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::{Compression, Pattern, Selection, Sizes};
    use crate::store::{Sha256, StoredPath};

    #[test]
    fn only_other_databases_files_are_not_read() {
        let include = vec![Pattern::exact("shop", Some("orders"))];
        let selection = Selection { include, exclude: Vec::new() };
        let options = Options { selection, workers: 1, compression: Compression::None, sizes: Sizes::default() };
        let needed = |path: &str| {
            let path = StoredPath::new(path).unwrap();
            is_needed(&FileEntry::made_file(&"datadir".parse().unwrap(), path, 1, Sha256::of(b"")), &options)
        };
        for path in ["ibdata1", "mysql/user.frm", "shop/orders.ibd", "a@0020b/x.ibd", "#innodb_redo/#ib_redo1"] {
            assert!(needed(path), "{path}");
        }
        assert!(!needed("crm/people.ibd"));
    }
}
