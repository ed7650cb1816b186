//! The backups of a destination, derived from their manifests; never a database of its own.

use std::collections::HashSet;

use anyhow::Context as _;
use jiff::Timestamp;

use super::files::FileEntry;
use super::manifest::{Manifest, Method};
use super::slot::{Slot, State};
use super::{Found, Sha256, Store, files};
use crate::fault::{Fault, Kind, kind_of};
use crate::id::{JobName, RunId};

/// The names of the manifest and its twin in a backup's directory.
pub(super) const MANIFEST: [&str; 2] = ["manifest.json", "manifest.copy.json"];
/// The names of the list of files and its twin.
pub(super) const FILES: [&str; 2] = ["files.jsonl", "files.copy.jsonl"];

/// What is at a destination.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Newest first; the unreadable ones too.
    pub items: Vec<Item>,
    /// What runs left that did not end well, and removals that were cut short.
    pub leftovers: Vec<Slot>,
}

/// A directory that is, or was, a backup.
#[derive(Debug)]
pub enum Item {
    /// A backup.
    Good(Box<Backup>),
    /// One whose proof failed, or an increment whose base is no good one, because of this: for somebody who has
    /// nothing else.
    Bad(Box<Backup>, String),
    /// Its manifest cannot be read, because of this.
    Unreadable(Slot, String),
}

impl Item {
    /// What sorts by time. Of runs that began in one second the one that ended last is the newest; the job only makes
    /// the order of equals certain.
    fn age(&self) -> (Option<Timestamp>, Option<Timestamp>, RunId, JobName) {
        let slot = self.slot();
        let end = match self {
            Self::Good(backup) | Self::Bad(backup, _) => Some(backup.manifest.end),
            Self::Unreadable(..) => None,
        };
        (slot.id.begin(), end, slot.id.clone(), slot.job.clone())
    }

    /// Where it is.
    pub fn slot(&self) -> &Slot {
        match self {
            Self::Good(backup) | Self::Bad(backup, _) => &backup.slot,
            Self::Unreadable(slot, _) => slot,
        }
    }
}

/// A backup whose manifest was read and is whole.
#[derive(Debug, Clone)]
pub struct Backup {
    /// Where it is.
    pub slot: Slot,
    /// What it says about itself.
    pub manifest: Manifest,
    /// Whether the manifest or its twin is damaged; the other one was read.
    pub twin_damaged: Option<String>,
}

impl Catalog {
    /// What is at `store`, of one job or of all.
    pub fn read(store: &dyn Store, job: Option<&JobName>) -> anyhow::Result<Self> {
        Ok(Self::of(store.scan(job)?))
    }

    /// The same of a job at a destination that the first backup makes.
    pub fn read_if_there(store: &dyn Store, job: &JobName) -> anyhow::Result<Self> {
        match Self::read(store, Some(job)) {
            Err(error) if kind_of(&error) == Some(Kind::NotFound) => Ok(Self::default()),
            catalog => catalog,
        }
    }

    fn of(found: Vec<Found>) -> Self {
        let mut catalog = Self::default();
        for one in found {
            if one.slot.state == State::Finished {
                catalog.items.push(item(one));
            } else {
                catalog.leftovers.push(one.slot);
            }
        }
        catalog.items.sort_by_cached_key(|item| std::cmp::Reverse(item.age()));
        catalog.judge_increments();
        catalog
    }

    /// An increment without its base brings nothing back.
    fn judge_increments(&mut self) {
        let bases: HashSet<(JobName, RunId)> = self.good().map(|b| (b.slot.job.clone(), b.slot.id.clone())).collect();
        for item in &mut self.items {
            let Item::Good(backup) = item else { continue };
            let Some(base) = backup.manifest.needs() else { continue };
            if !bases.contains(&(backup.slot.job.clone(), base.clone())) {
                let why = format!("its base {base} is missing, bad or unreadable");
                *item = Item::Bad(backup.clone(), why);
            }
        }
    }

    /// The backups that are whole in themselves, as far as is known, newest first: no increments.
    pub fn good(&self) -> impl Iterator<Item = &Backup> {
        self.usable().filter(|backup| backup.manifest.method != Method::Increment)
    }

    /// The increments whose base is good, newest first.
    pub fn increments(&self) -> impl Iterator<Item = &Backup> {
        self.usable().filter(|backup| backup.manifest.method == Method::Increment)
    }

    /// Both of these, newest first.
    pub fn usable(&self) -> impl Iterator<Item = &Backup> {
        self.items.iter().filter_map(|item| match item {
            Item::Good(backup) => Some(&**backup),
            Item::Bad(..) | Item::Unreadable(..) => None,
        })
    }

    /// The backup that `text` names: `latest`, an id, or the beginning of one. The latest is never a
    /// bad one, and never an increment.
    pub fn find(&self, text: &str) -> anyhow::Result<&Backup> {
        if text == "latest" {
            let newest = self.good().next();
            return Ok(newest.ok_or_else(|| Fault::new(Kind::NotFound, "there is no backup yet"))?);
        }
        let matching: Vec<&Item> =
            self.items.iter().filter(|i| !text.is_empty() && i.slot().id.as_str().starts_with(text)).collect();
        match matching.as_slice() {
            [Item::Good(backup) | Item::Bad(backup, _)] => Ok(backup),
            [Item::Unreadable(slot, why)] => {
                let message = format!("backup {} of job {} is unreadable: {why}", slot.id, slot.job);
                Err(Fault::new(Kind::Verify, message).into())
            }
            [] => {
                let fault = Fault::new(Kind::NotFound, format!("there is no backup {text}"));
                Err(fault.hint("`mysnap list` shows what there is").into())
            }
            several => {
                let names: Vec<String> = several.iter().map(|i| i.slot().relative()).collect();
                let message = format!("{text} names several backups: {}", names.join(", "));
                Err(Fault::new(Kind::Config, message).hint("give more of the id, or the job").into())
            }
        }
    }
}

fn item(found: Found) -> Item {
    let copies = [found.manifest, found.twin].map(|bytes| {
        let manifest = Manifest::decode(&bytes.context("there is no manifest")?)?;
        let same = manifest.id == found.slot.id && manifest.job == found.slot.job;
        anyhow::ensure!(same, "the manifest is that of {}/{}", manifest.job, manifest.id);
        Ok(manifest)
    });
    let slot = found.slot;
    let (manifest, twin_damaged) = match copies {
        [Ok(manifest), twin] => (manifest, twin.err().map(|e| format!("{}: {e:#}", MANIFEST[1]))),
        [Err(error), Ok(manifest)] => (manifest, Some(format!("{}: {error:#}", MANIFEST[0]))),
        [Err(error), Err(_)] => return Item::Unreadable(slot, format!("{error:#}")),
    };
    let failure = manifest.proof.failure.clone();
    let backup = Box::new(Backup { slot, manifest, twin_damaged });
    match failure {
        None => Item::Good(backup),
        Some(why) => Item::Bad(backup, why),
    }
}

impl Backup {
    /// The names of the manifest, the list of files and their twins, where one is damaged.
    pub fn damaged_twins(&self, store: &dyn Store) -> anyhow::Result<Vec<String>> {
        let mut damaged: Vec<String> = self.twin_damaged.iter().cloned().collect();
        for name in FILES {
            let bytes = store.read(&self.slot, name)?;
            if bytes.is_none_or(|bytes| Sha256::of(&bytes) != self.manifest.files.sha256) {
                damaged.push(format!("{name}: missing, or not what the manifest vouches for"));
            }
        }
        Ok(damaged)
    }

    /// The list of its files, or of the twin where the first is damaged.
    pub fn files(&self, store: &dyn Store) -> anyhow::Result<Vec<FileEntry>> {
        let wanted = self.manifest.files.sha256;
        for name in FILES {
            let bytes = store.read(&self.slot, name)?;
            if let Some(bytes) = bytes.filter(|bytes| Sha256::of(bytes) == wanted) {
                return files::decode(&bytes);
            }
            tracing::warn!("{}/{name} is missing or damaged", self.slot.relative());
        }
        let message = format!("the list of files of backup {} and its twin are damaged", self.slot.id);
        Err(Fault::new(Kind::Verify, message).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(id: &str, failure: Option<&str>) -> Found {
        let mut manifest = Manifest::decode(include_bytes!("../../tests/data/manifest-1.json")).unwrap();
        manifest.id = id.parse().unwrap();
        manifest.proof.failure = failure.map(str::to_owned);
        let slot = Slot { job: manifest.job.clone(), id: manifest.id.clone(), state: State::Finished };
        Found { slot, manifest: Some(manifest.encode().unwrap()), twin: None }
    }

    fn increment(id: &str, base: &str) -> Found {
        let mut manifest = Manifest::decode(include_bytes!("../../tests/data/manifest-increment-1.json")).unwrap();
        manifest.id = id.parse().unwrap();
        manifest.increment.as_mut().unwrap().base = base.parse().unwrap();
        let slot = Slot { job: manifest.job.clone(), id: manifest.id.clone(), state: State::Finished };
        Found { slot, manifest: Some(manifest.encode().unwrap()), twin: None }
    }

    #[test]
    fn an_increment_is_never_the_latest_and_is_bad_without_its_base() {
        let (base, bad) = ("20261121T092233Z-4f2a", "20261122T092233Z-4f2a");
        let catalog = Catalog::of(vec![
            found(base, None),
            found(bad, Some("the server did not start")),
            increment("20261121T102233Z-0001", base),
            increment("20261123T092233Z-0002", bad),
            increment("20261123T102233Z-0003", "20261120T092233Z-4f2a"),
        ]);
        assert_eq!(catalog.find("latest").unwrap().slot.id.as_str(), base);
        assert_eq!(catalog.good().count(), 1);
        let usable: Vec<&str> = catalog.increments().map(|backup| backup.slot.id.as_str()).collect();
        assert_eq!(usable, ["20261121T102233Z-0001"]);
        let lost = |item: &&Item| matches!(item, Item::Bad(_, why) if why.contains("its base"));
        assert_eq!(catalog.items.iter().filter(lost).count(), 2);
        assert_eq!(catalog.find("20261121T10").unwrap().manifest.needs().unwrap().as_str(), base);
    }

    #[test]
    fn what_began_in_one_second_is_in_the_order_of_its_ends() {
        let (first, second) = ("20261121T092233Z-ffff", "20261121T092233Z-0000");
        let later = |mut one: Found| {
            let mut manifest = Manifest::decode(one.manifest.as_ref().unwrap()).unwrap();
            manifest.end += jiff::SignedDuration::from_millis(10);
            one.manifest = Some(manifest.encode().unwrap());
            one
        };
        let catalog = Catalog::of(vec![later(found(second, None)), found(first, None)]);
        assert_eq!(catalog.find("latest").unwrap().slot.id.as_str(), second);
    }

    #[test]
    fn a_bad_backup_is_never_the_latest_and_is_found_by_its_id() {
        let catalog = Catalog::of(vec![
            found("20261121T092233Z-4f2a", None),
            found("20261122T092233Z-4f2a", Some("the server did not start")),
        ]);
        assert_eq!(catalog.find("latest").unwrap().slot.id.as_str(), "20261121T092233Z-4f2a");
        assert_eq!(catalog.find("20261122").unwrap().slot.id.as_str(), "20261122T092233Z-4f2a");
        assert_eq!(catalog.good().count(), 1);
        assert!(matches!(catalog.items.first(), Some(Item::Bad(_, why)) if why.contains("did not start")));
    }
}
