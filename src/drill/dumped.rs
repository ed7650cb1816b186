//! A drill of a dump: into a server that is made for it.

use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use nix::sys::statvfs::statvfs;

use super::{Found, Request};
use crate::fault::{Fault, Kind, kind_of};
use crate::instance::{Instance, installed};
use crate::load::{self, Dump};
use crate::proof::{self, Subject};
use crate::recover;
use crate::run::events::{Event, Observer};
use crate::server::{Facts, NotTaken, Refusal, running};
use crate::store::{Shown, Store};
use crate::sys::cancel::Cancel;
use crate::sys::units::{Bytes, human_duration, milliseconds};

/// About what a server takes that has nothing in it.
const EMPTY: u64 = 256 << 20;

pub(super) fn work(
    request: &Request,
    store: &dyn Store,
    home: &Path,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<Found> {
    let manifest = &request.backup.manifest;
    let facts = &manifest.server;
    let dump = Dump::open(store, &request.backup)?;
    refuse_full(request, &dump, home)?;
    let began = Instant::now();
    let answers = |server: &Instance| format!("an empty server answers after {}", human_duration(server.started_in()));
    let made = || Instance::empty(facts, home, cancel).map_err(without_blame);
    let mut instance = observer.phase("start", made, answers)?;
    let start_ms = milliseconds(instance.started_in());
    let loaded = observer.phase(
        "load",
        || {
            if !dump.named_zones().is_empty() {
                instance.learn_zones(facts, cancel)?;
            }
            let loaded = load_all(request, store, &instance, observer, cancel);
            loaded.map_err(|error| judged(installed::or_missing_keys(facts, instance.explained(error)), facts))
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

/// Refuses what would end in the middle for want of room, or take the live server's: where that writes to the same file
/// system, as much again stays free.
fn refuse_full(request: &Request, dump: &Dump<'_>, home: &Path) -> anyhow::Result<()> {
    let (scratch, server) = (request.scratch.display(), &request.backup.manifest.server);
    let room = dump.room() + EMPTY;
    let live = recover::would_leave_without_room(home, &request.backup.manifest);
    let live = if running::users_of(&server.datadir)?.is_empty() { None } else { live };
    let needed = if live.is_some() { 2 * room } else { room };
    let found = statvfs(home).with_context(|| format!("cannot look at {scratch}"))?;
    let free = found.blocks_available() * found.fragment_size();
    if free >= needed {
        return Ok(());
    }
    let shared = live.map(|live| format!(", which is the file system of the live server's {}", live.display()));
    let (needed, shared) = (Bytes(needed), shared.unwrap_or_default());
    let message = format!("{needed} are needed in {scratch}{shared}; {} are free", Bytes(free));
    Err(Fault::new(Kind::Refused, message).hint("name a directory with more room with --scratch").into())
}

/// What does not start has nothing of the backup in it yet.
fn without_blame(error: anyhow::Error) -> anyhow::Error {
    if kind_of(&error) != Some(Kind::Verify) {
        return error;
    }
    let fault = Fault::new(Kind::Refused, "no empty server starts on this host, which says nothing about the backup");
    fault.hint("do the server's package and a data directory of its own work here?").caused_by(error).into()
}

/// A dump that an empty server like the one that was dumped does not take is no backup; what ends a load for want of
/// room, or with the connection, says nothing about it. Nor does what another server does not take.
fn judged(error: anyhow::Error, facts: &Facts) -> anyhow::Error {
    let is_not_taken = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<NotTaken>() || cause.downcast_ref().is_some_and(|refusal: &Refusal| !refusal.lacks_room())
    };
    let refused = error.chain().any(is_not_taken);
    // What fails behind the move to its place is of that kind, whatever it is.
    let is_judged = kind_of(&error).is_some_and(|kind| kind != Kind::Copy);
    if is_judged || !refused || !installed::server().is_some_and(|found| found.takes_dumps_of(facts)) {
        return error;
    }
    let fault = Fault::new(Kind::Verify, "an empty server does not take all of the dump");
    // What it says of going on with that server is void: it goes with the scratch space.
    let said = anyhow::anyhow!("{error:#}");
    fault.hint("mend that on the live server, and make a new backup").caused_by(said).into()
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
