//! `drill`: a stored backup is brought back to scratch space, a server is started on it and asked how
//! far its data goes. That it starts is what a backup is for; how long it took is the honest time of a
//! restore. Nothing of the live server is touched, and nothing is left but a record of the outcome.

mod dumped;
mod hindered;
mod record;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::fault::{Failure, Fault, Kind, kind_of};
use crate::instance::{Part, installed, require_places};
use crate::proof::{self, Subject};
use crate::recover::{self, Used};
use crate::restore;
use crate::run::Run;
use crate::run::events::{Event, Observer};
use crate::store::{Backup, Method, ProofLevel, Shown, Store, Transfer};
use crate::sys::cancel::Cancel;
use crate::sys::clock;
use crate::sys::units::{Bytes, milliseconds};

pub use crate::instance::START;
pub use hindered::Hindered;
pub use record::{Drills, Report};

/// What was asked for.
#[derive(Debug)]
pub struct Request {
    /// The backup.
    pub backup: Backup,
    /// Where there is room for all of it, on another volume than the server's.
    pub scratch: PathBuf,
    /// How much is looked at.
    pub level: ProofLevel,
    /// What the server must answer with "true", from [`ProofLevel::Queries`] on.
    pub queries: Vec<String>,
    /// How long the server on its files may take to recover and to answer.
    pub start_timeout: Duration,
    /// How bytes are moved.
    pub transfer: Transfer,
}

/// What a drill found, part by part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// From the first byte until the files are complete and every digest matches.
    pub restore_ms: u64,
    /// What the server on them showed.
    #[serde(flatten)]
    pub shown: Shown,
}

/// Does it and records what it says about the backup, good or bad; or why it says nothing.
pub fn drill(request: &Request, store: &dyn Store, observer: &dyn Observer, cancel: &Cancel) -> anyhow::Result<Report> {
    carried_out(request, store, observer, cancel).map_err(|error| {
        if !hindered::is_of_the_drill(&error) || cancel.signal().is_some() {
            return error;
        }
        let Request { backup, .. } = request;
        let hindered = Hindered {
            destination: store.destination().to_string(),
            backup: backup.manifest.id.clone(),
            at: clock::now(),
            why: format!("{error:#}"),
        };
        let noted = hindered::save(&backup.manifest.job, &hindered);
        Failure::join(error, noted.err().into_iter().collect())
    })
}

fn carried_out(
    request: &Request,
    store: &dyn Store,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<Report> {
    let manifest = &request.backup.manifest;
    recover::recover(observer)?;
    recover::refuse_unfit(&request.scratch, manifest)?;
    installed::has_keys_for(manifest)?;
    require_places(&manifest.roots)?;
    let run = Run::begin("drill", Some(manifest.job.as_str()), &request.scratch)?;
    let began = Instant::now();
    let mut took = Duration::ZERO;
    let Used { worked, left: uncleaned } = recover::in_scratch(run, &request.scratch, |home| {
        let worked = work(request, store, home, observer, cancel);
        took = began.elapsed();
        worked
    })?;
    cancel.check()?;
    let report = Report::of(request, store, took, clock::now(), worked.as_ref());
    // A full disk or a cut network says nothing about the backup.
    let told = worked.as_ref().map_or_else(|error| kind_of(error) == Some(Kind::Verify), |_| true);
    let record = || record::save(&report, store).and_then(|()| hindered::forget(&report.job, store));
    let recorded = if told { record() } else { Ok(()) };
    let left: Vec<anyhow::Error> = [uncleaned, recorded.err()].into_iter().flatten().collect();
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
    if manifest.method == Method::Dump {
        return dumped::work(request, store, home, observer, cancel);
    }
    let began = Instant::now();
    let parts = observer.phase(
        "restore",
        || restored(request, store, home, observer, cancel),
        |_| format!("{} into {}, every digest matches", Bytes(manifest.files.totals.bytes), home.display()),
    )?;
    let restore_ms = milliseconds(began.elapsed());
    let stored = Subject::stored(manifest, &parts);
    let Request { level, queries, start_timeout: patience, .. } = request;
    let subject = Subject { level: *level, queries, patience: *patience, ..stored };
    let shown = proof::examine(subject, &home.join("server"), observer, cancel)?;
    Ok(Found { restore_ms, shown })
}

fn restored(
    request: &Request,
    store: &dyn Store,
    home: &Path,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<Vec<Part>> {
    let total = Bytes(request.backup.manifest.files.totals.bytes);
    let progress = |done| observer.event(Event::Progress { done: Bytes(done), total });
    restore::beside(store, &request.backup, home, request.transfer, &progress, cancel)
}
