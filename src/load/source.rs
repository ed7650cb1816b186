//! The dump in its destination: every byte is compared with its digest before it is used.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;

use crate::dump::{INDEX, Index, ObjectText, ROOT, Text};
use crate::fault::{Fault, Kind};
use crate::store::{Backup, EntryKind, Manifest, Method, Sha256, Slot, Store};

/// A dump in its destination.
pub struct Dump<'a> {
    files: Files<'a>,
    /// Files of statements, which are asked for again and again.
    sheets: Mutex<HashMap<String, Arc<Vec<u8>>>>,
    /// What the backup says about itself.
    pub manifest: Manifest,
    /// What is where in it.
    pub index: Index,
}

impl<'a> Dump<'a> {
    /// Reads the index.
    pub fn open(store: &'a dyn Store, backup: &Backup) -> anyhow::Result<Self> {
        let manifest = backup.manifest.clone();
        if manifest.method != Method::Dump {
            let fault = Fault::new(Kind::Refused, format!("backup {} is a copy of files, not a dump", manifest.id));
            return Err(fault.hint("restore it with --to DIR").into());
        }
        let digest = |entry: crate::store::FileEntry| match entry.kind {
            EntryKind::File { sha256, .. } => Some((entry.path.as_bytes().to_vec(), sha256)),
            _ => None,
        };
        let digests = backup.files(store)?.into_iter().filter_map(digest).collect();
        let files = Files { store, slot: backup.slot.clone(), digests };
        let index = Index::decode(&files.bytes(INDEX)?).context("the index of the dump is damaged")?;
        Ok(Self { files, sheets: Mutex::default(), manifest, index })
    }

    /// About so much room it takes as files of a server: rows and their indexes are larger than their text.
    pub fn room(&self) -> u64 {
        let tables = self.index.databases.iter().flat_map(|database| &database.tables);
        2 * tables.flat_map(|table| &table.parts).map(|part| part.bytes).sum::<u64>()
    }

    /// The time zones that its events name.
    pub fn named_zones(&self) -> BTreeSet<&str> {
        let objects = self.index.databases.iter().flat_map(|database| &database.objects);
        objects.filter_map(ObjectText::named_zone).collect()
    }

    /// The file at `path` below the dump's root.
    pub(super) fn bytes(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        self.files.bytes(path)
    }

    /// The statement at that place.
    pub(super) fn statement(&self, text: &Text) -> anyhow::Result<String> {
        let known = self.sheets.lock().unwrap_or_else(PoisonError::into_inner).get(&text.file).cloned();
        let sheet = if let Some(sheet) = known {
            sheet
        } else {
            let sheet = Arc::new(self.bytes(&text.file)?);
            let mut sheets = self.sheets.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(sheets.entry(text.file.clone()).or_insert(sheet))
        };
        let bytes = text.of(&sheet).with_context(|| format!("{} has no statement at {}", text.file, text.at))?;
        String::from_utf8(bytes.to_vec()).with_context(|| format!("a statement of {} is no text", text.file))
    }
}

/// The files of a dump, with their digests.
struct Files<'a> {
    store: &'a dyn Store,
    slot: Slot,
    digests: HashMap<Vec<u8>, Sha256>,
}

impl Files<'_> {
    fn bytes(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let damaged = |what: &str| {
            let fault = Fault::new(Kind::Verify, format!("backup {} is damaged: {path} {what}", self.slot.id));
            fault.hint("restore another one; `mysnap list` shows them")
        };
        let digest = self.digests.get(path.as_bytes()).ok_or_else(|| damaged("is not in its list of files"))?;
        let bytes = self.store.read(&self.slot, &format!("{ROOT}/{path}"))?.ok_or_else(|| damaged("is missing"))?;
        if Sha256::of(&bytes) == *digest { Ok(bytes) } else { Err(damaged("does not match its digest").into()) }
    }
}
