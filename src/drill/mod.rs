//! `drill`: a stored backup is brought back to scratch space, a server is started on it and asked how
//! far its data goes. That it starts is what a backup is for; how long it took is the honest time of a
//! restore. Nothing of the live server is touched, and nothing is left but a record of the outcome.

mod position;
pub mod record;
mod scratch;

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::fault::{Failure, Fault, Kind, kind_of};
use crate::instance::{Instance, Part};
use crate::recover;
use crate::restore;
use crate::run::events::{Event, Observer};
use crate::run::{Intent, Run};
use crate::server::Checked;
use crate::store::{Backup, Store, Transfer};
use crate::sys::cancel::Cancel;
use crate::sys::clock;
use crate::sys::units::{Bytes, human_duration, milliseconds};

pub use record::Report;

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// A server recovers on the files and answers, and its binary log ends where the backup says.
    Start,
    /// Besides, it reads every table.
    #[default]
    Tables,
}

/// What was asked for.
#[derive(Debug)]
pub struct Request {
    /// The backup.
    pub backup: Backup,
    /// Where there is room for all of it, on another volume than the server's.
    pub scratch: PathBuf,
    /// How much is looked at.
    pub level: Level,
    /// How bytes are moved.
    pub transfer: Transfer,
}

/// What a drill found, part by part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// From the first byte until the files are complete and every digest matches.
    pub restore_ms: u64,
    /// From the start of the server until it answered, recovery included.
    pub start_ms: u64,
    /// How it was compared with the recorded position.
    pub position: String,
    /// How many tables were read.
    pub tables: u64,
    /// How many could not be, because their engine has no check.
    pub uncheckable: u64,
}

/// Does it and records what it says about the backup, good or bad.
pub fn drill(request: &Request, store: &dyn Store, observer: &dyn Observer, cancel: &Cancel) -> anyhow::Result<Report> {
    let manifest = &request.backup.manifest;
    recover::recover(observer)?;
    scratch::refuse_unfit(&request.scratch, manifest)?;
    let mut run = Run::begin("drill", Some(manifest.job.as_str()), &request.scratch)?;
    let home = request.scratch.join(recover::scratch_name(run.id()));
    run.intend(Intent::Scratch { path: home.clone() })?;
    let began = Instant::now();
    let worked = scratch::make(&home).and_then(|()| work(request, store, &home, observer, cancel));
    let took = began.elapsed();
    let cleaned = recover::remove_scratch(&home, run.id()).and_then(|()| run.forget());
    cancel.check()?;
    let report = Report::of(request, store, took, clock::now(), worked.as_ref());
    // A full disk or a cut network says nothing about the backup.
    let told = worked.as_ref().map_or_else(|error| kind_of(error) == Some(Kind::Verify), |_| true);
    let recorded = if told { record::save(&report) } else { Ok(()) };
    let left: Vec<anyhow::Error> = [cleaned.err(), recorded.err()].into_iter().flatten().collect();
    match worked {
        Err(error) => Err(Failure::join(error, left)),
        Ok(_) => match left.into_iter().next() {
            None => Ok(report),
            Some(error) => {
                let fault = Fault::new(Kind::CleanupPending, "the drill went well, but something of it is left");
                Err(fault.hint("`mysnap recover` removes it").caused_by(error).into())
            }
        },
    }
}

fn work(
    request: &Request,
    store: &dyn Store,
    home: &Path,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<Found> {
    let manifest = &request.backup.manifest;
    let began = Instant::now();
    let parts = observer.phase(
        "restore",
        || restored(request, store, home, observer, cancel),
        |_| format!("{} into {}, every digest matches", Bytes(manifest.files.totals.bytes), home.display()),
    )?;
    let restore_ms = milliseconds(began.elapsed());
    let own = home.join("server");
    let mut instance = observer.phase(
        "start",
        || Instance::start(&manifest.server, &parts, &own, cancel),
        |server| {
            format!(
                "{} {} answers after {}",
                manifest.server.flavour,
                manifest.server.version,
                human_duration(server.started_in())
            )
        },
    )?;
    let start_ms = milliseconds(instance.started_in());
    let look = || position::compare(&manifest.position, instance.inspector()?);
    let position = observer.phase("position", look, Clone::clone)?;
    let mut found = Found { restore_ms, start_ms, position, ..Found::default() };
    if request.level == Level::Tables {
        let read = || read_tables(&mut instance, &mut found, cancel);
        observer.phase("tables", read, Clone::clone)?;
    }
    observer.phase("stop", || instance.stop(), |()| "the server ended in order".to_owned())?;
    Ok(found)
}

fn restored(
    request: &Request,
    store: &dyn Store,
    home: &Path,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<Vec<Part>> {
    let manifest = &request.backup.manifest;
    let parts: Vec<Part> =
        manifest.roots.iter().map(|root| Part { root: root.clone(), here: home.join(root.name.as_str()) }).collect();
    let (data, others): (Vec<&Part>, Vec<&Part>) = parts.iter().partition(|part| part.root.is_datadir());
    let to = data.first().map(|part| part.here.clone()).unwrap_or_default();
    let roots = others.iter().map(|part| (part.root.name.clone(), part.here.clone())).collect();
    let transfer = request.transfer;
    let wanted =
        restore::Request { to, roots, replace: false, clone: false, any_version: false, start: false, transfer };
    let plan = restore::plan(store, &request.backup, &wanted)?;
    let total = Bytes(manifest.files.totals.bytes);
    let progress = |done| observer.event(Event::Progress { done: Bytes(done), total });
    restore::execute(&plan, store, &progress, cancel)?;
    Ok(parts)
}

fn read_tables(instance: &mut Instance, found: &mut Found, cancel: &Cancel) -> anyhow::Result<String> {
    let inspector = instance.inspector()?;
    let mut damaged = Vec::new();
    for table in inspector.tables()? {
        cancel.check()?;
        match inspector.check(&table)? {
            Checked::Whole => found.tables += 1,
            Checked::Uncheckable => found.uncheckable += 1,
            Checked::Damaged(why) => damaged.push(format!("{table}: {why}")),
        }
    }
    if damaged.is_empty() {
        return Ok(format!("{} tables are whole, {} of engines that have no check", found.tables, found.uncheckable));
    }
    let fault = Fault::new(Kind::Verify, format!("{} tables are damaged: {}", damaged.len(), damaged.join("; ")));
    Err(fault.hint("were they before the backup? CHECK TABLE on the live server says so; keep an older backup").into())
}
