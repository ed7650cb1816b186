//! A drill of a dump: into a server that is made for it.

use std::path::Path;
use std::time::Instant;

use super::{Found, Request};
use crate::instance::{Instance, installed};
use crate::load;
use crate::proof::{self, Subject};
use crate::run::events::{Event, Observer};
use crate::store::{Shown, Store};
use crate::sys::cancel::Cancel;
use crate::sys::units::{Bytes, human_duration, milliseconds};

pub(super) fn work(
    request: &Request,
    store: &dyn Store,
    home: &Path,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<Found> {
    let manifest = &request.backup.manifest;
    let facts = &manifest.server;
    let began = Instant::now();
    let answers = |server: &Instance| format!("an empty server answers after {}", human_duration(server.started_in()));
    let mut instance = observer.phase("start", || Instance::empty(facts, home, cancel), answers)?;
    let start_ms = milliseconds(instance.started_in());
    let loaded = observer.phase(
        "load",
        || {
            let loaded = load_all(request, store, &instance, observer, cancel);
            loaded.map_err(|error| installed::or_missing_keys(facts, instance.explained(error)))
        },
        |loaded| format!("{} rows of {} tables, all taken", loaded.rows, loaded.tables),
    );
    cancel.check()?;
    let loaded = loaded?;
    let restore_ms = milliseconds(began.elapsed());
    let stored = Subject::stored(manifest, &[]);
    let subject = Subject { level: request.level, queries: &request.queries, ..stored };
    let position = format!("{} rows of {} tables loaded into an empty server", loaded.rows, loaded.tables);
    let mut shown = Shown { start_ms, position, ..Shown::default() };
    let asked = proof::question(subject, &mut instance, &mut shown, observer, cancel);
    cancel.check()?;
    asked?;
    observer.phase("stop", || instance.stop(), |()| "the second server ended in order".to_owned())?;
    Ok(Found { restore_ms, shown })
}

fn load_all(
    request: &Request,
    store: &dyn Store,
    instance: &Instance,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<load::Loaded> {
    let progress = |done, total| observer.event(Event::Progress { done: Bytes(done), total: Bytes(total) });
    load::everything(store, &request.backup, instance.address(), &progress, cancel)
}
