//! `expired.json`: what was removed from the beginning of each timeline, because no backup needed it any more.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::home::{self, Home};
use super::index::{Index, LogFile, is_plain};
use super::rebuild::kind_of_file;
use super::source::number;
use crate::fault::{Fault, Kind};
use crate::sys::durable;
use crate::sys::lockfile::{Attempt, LockFile};

const NAME: &str = "expired.json";
const LOCK: &str = ".expiring";

/// What was removed from the beginning of each timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Expired {
    /// 1.
    format: u32,
    /// The first file that stayed of each timeline; none where all of it went.
    timelines: BTreeMap<String, Option<String>>,
}

impl Default for Expired {
    fn default() -> Self {
        Self { format: 1, timelines: BTreeMap::new() }
    }
}

impl Expired {
    /// Names become paths: none may lead elsewhere.
    pub(super) fn decode(bytes: &[u8]) -> anyhow::Result<Self> {
        let expired: Self = serde_json::from_slice(bytes)?;
        anyhow::ensure!(expired.format == 1, "it has format {}; a newer mysnap is needed", expired.format);
        for name in expired.timelines.iter().flat_map(|(id, first)| std::iter::once(id).chain(first)) {
            anyhow::ensure!(is_plain(name), "it has the strange name {name:?}");
        }
        Ok(expired)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.timelines.is_empty()
    }

    /// Whether anything of a timeline was removed.
    pub(super) fn knows(&self, timeline: &str) -> bool {
        self.timelines.contains_key(timeline)
    }

    /// Everything before `first` of a timeline is to go; all of it where there is none. It is never taken back.
    pub(super) fn raise(&mut self, timeline: &str, first: Option<&str>) {
        let gone = first.is_some_and(|first| self.has(timeline, first));
        if !gone {
            self.timelines.insert(timeline.to_owned(), first.map(str::to_owned));
        }
    }

    /// Whether a file was removed, or is to be.
    pub(super) fn has(&self, timeline: &str, name: &str) -> bool {
        match self.timelines.get(timeline) {
            None => false,
            Some(None) => true,
            Some(Some(first)) => match (number(name), number(first)) {
                (Some((stem, number)), Some((other, first))) => stem == other && number < first,
                _ => false,
            },
        }
    }

    /// Takes it out of `index`.
    pub(super) fn prune(&self, index: &mut Index) {
        for timeline in &mut index.timelines {
            let before = timeline.files.len();
            timeline.files.retain(|file: &LogFile| !self.has(&timeline.id, &file.name));
            if timeline.files.len() < before {
                super::expire::begins_timeline(&mut timeline.files);
            }
        }
        let before = index.timelines.len();
        index.timelines.retain(|timeline| self.timelines.get(&timeline.id) != Some(&None));
        if index.timelines.len() < before
            && let Some(first) = index.timelines.first_mut()
        {
            first.because = None;
        }
    }
}

impl Home {
    /// What was removed. What can't be read says nothing: then `verify` tells of files that are missing.
    pub(super) fn expired(&self) -> Expired {
        self.read_expired().unwrap_or_else(|error| {
            tracing::warn!("{error:#}");
            Expired::default()
        })
    }

    /// The same for whoever removes by it.
    pub(super) fn read_expired(&self) -> anyhow::Result<Expired> {
        let Some(bytes) = self.bytes(NAME)? else { return Ok(Expired::default()) };
        Expired::decode(&bytes).with_context(|| format!("{self}/{NAME} can't be used"))
    }

    pub(super) fn write_expired(&self, expired: &Expired) -> anyhow::Result<()> {
        durable::write(&self.path().join(NAME), &serde_json::to_vec_pretty(expired)?)
    }

    /// The claim to be the only one that removes from here.
    pub(super) fn lock_expiry(&self) -> anyhow::Result<LockFile> {
        match LockFile::try_lock(&self.path().join(LOCK))? {
            Attempt::Held(lock) => Ok(lock),
            Attempt::Busy(_) => {
                let message = format!("another run removes from the archive {}", self.path().display());
                Err(Fault::new(Kind::Busy, message).into())
            }
        }
    }

    /// What still lies there of what is to go; a file's part that a crash took back goes with it.
    pub(super) fn remains(&self, expired: &Expired) -> anyhow::Result<Vec<PathBuf>> {
        let mut remains = Vec::new();
        for id in expired.timelines.keys() {
            let directory = self.timeline(id);
            let names = match home::names(&directory) {
                Err(error) if home::is_missing(&error) => continue,
                names => names?,
            };
            let named = |stored: &String| {
                let whole = kind_of_file(stored).map(|(name, _)| name);
                let name = whole.unwrap_or_else(|| stored.split(".cut-").next().unwrap_or(stored).to_owned());
                expired.has(id, &name) && number(&name).is_some()
            };
            remains.extend(names.iter().filter(|stored| named(stored)).map(|stored| directory.join(stored)));
        }
        Ok(remains)
    }

    /// Writes the index without what was removed, unless somebody is at work who does that; removes the directories of
    /// timelines of which nothing is left.
    pub(super) fn forget_expired(&self) -> anyhow::Result<()> {
        let expired = self.expired();
        for id in expired.timelines.iter().filter(|(_, first)| first.is_none()).map(|(id, _)| id) {
            match std::fs::remove_dir(self.timeline(id)) {
                Err(error) if ![io::ErrorKind::NotFound, io::ErrorKind::DirectoryNotEmpty].contains(&error.kind()) => {
                    return Err(error).with_context(|| format!("cannot remove {}", self.timeline(id).display()));
                }
                _ => {}
            }
        }
        let Ok(_lock) = self.lock() else { return Ok(()) };
        self.read_index()?.map_or(Ok(()), |index| self.write_index(&index))
    }
}
