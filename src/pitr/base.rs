//! The backup, brought back for the replay.

use std::path::Path;

use crate::instance::{self, Instance, Part, installed};
use crate::load::{self, Dump};
use crate::proof::{self, Subject};
use crate::run::events::{Event, Observer};
use crate::server::{Facts, Replayer};
use crate::store::{Backup, Manifest, Method, Store};
use crate::sys::cancel::Cancel;
use crate::sys::units::Bytes;

/// A base that a server can replay onto.
#[derive(Debug)]
pub(super) struct Base<'a> {
    pub(super) manifest: &'a Manifest,
    /// Its files; of a dump they are made in the workshop.
    pub(super) parts: Vec<Part>,
    /// Where the servers have their own directories.
    pub(super) home: &'a Path,
}

/// Whether it is all of a server: of a dump, where it has the accounts.
pub fn is_whole(backup: &Backup, store: &dyn Store) -> anyhow::Result<bool> {
    Ok(backup.manifest.method == Method::Copy || !Dump::open(store, backup)?.index.accounts.is_empty())
}

/// About so much room it takes as files.
pub(super) fn room(backup: &Backup, store: &dyn Store) -> anyhow::Result<u64> {
    if backup.manifest.method == Method::Copy {
        return Ok(backup.manifest.files.totals.bytes);
    }
    Ok(Dump::open(store, backup)?.room())
}

/// Has the files recover, compares where they stand with what was recorded, and lets go of what the live server
/// replicated from.
pub(super) fn recover_copy(base: &Base<'_>, observer: &dyn Observer, cancel: &Cancel) -> anyhow::Result<()> {
    let subject = Subject::stored(base.manifest, &base.parts);
    proof::prepare(subject, &base.home.join("server"), observer, cancel)?;
    let facts = &base.manifest.server;
    if !facts.replica {
        return Ok(());
    }
    let forget = || {
        let instance = Instance::replay(facts, &base.parts, &base.home.join("replica"), cancel)?;
        let mut replayer = Replayer::connect(instance.address(), facts)?;
        replayer.forget_sources()?;
        replayer.leave(instance::ACCOUNT)?;
        instance.stop()
    };
    observer.phase("replica", forget, |()| "it replicates from nobody any more".to_owned())
}

/// Loads the dump into a new server, whose data stays in the workshop.
pub(super) fn load_dump(
    backup: &Backup,
    store: &dyn Store,
    home: &Path,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<()> {
    let facts: &Facts = &backup.manifest.server;
    let begin = || Instance::empty_to_stay(facts, home, cancel);
    let mut instance = observer.phase("start", begin, |_| "an empty server answers".to_owned())?;
    let progress = |done, total| observer.event(Event::Progress { done: Bytes(done), total: Bytes(total) });
    let load = || {
        // What was logged may name any.
        instance.learn_zones(facts, cancel)?;
        let loaded = load::everything(store, backup, instance.address(), &progress, cancel)?;
        Replayer::connect(instance.address(), facts)?.leave(instance::ACCOUNT)?;
        Ok(loaded)
    };
    let loaded = observer
        .phase("load", load, |loaded| format!("{} rows of {} tables, all taken", loaded.rows, loaded.tables))
        .map_err(|error| installed::or_missing_keys(facts, instance.explained(error)));
    cancel.check()?;
    for warning in loaded?.warnings {
        observer.event(Event::Note { text: warning });
    }
    observer.phase("stop", || instance.stop(), |()| "the second server ended in order".to_owned())
}
