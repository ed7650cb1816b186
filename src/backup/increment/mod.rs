//! An increment: what the server logged since the job's last backup, kept in the archive of its binary logs.
//!
//! No lock and no snapshot: the server begins a new log, the archive gets all of the ones before it, what is there is
//! read and compared with its digests, and a manifest without files says from where to where. It is one only where
//! nothing is missing between its base and its end; else a full backup is due, which the caller makes.

mod chain;

use std::collections::BTreeMap;
use std::time::Duration;

pub use chain::Because;

use chain::{Chain, Way};
use jiff::Timestamp;

use super::manifest::Phases;
use super::{Outcome, end, forget_earlier_attempts};
use crate::binlog;
use crate::binlog::verify::{self, Looked, Report};
use crate::check::Request;
use crate::drill::Drills;
use crate::fault::{Fault, Kind, kind_of};
use crate::id::JobName;
use crate::recover;
use crate::run::Run;
use crate::run::events::{Event, Observer};
use crate::server::{Exactness, Facts, Position, Session};
use crate::store::{
    self, Catalog, FileList, HoldRecord, Increment, Manifest, Method, PhaseRecord, Proof, ProofLevel, Staging, Store,
};
use crate::sys::cancel::Cancel;
use crate::sys::units::Bytes;
use crate::sys::{clock, process};

/// Where a job's increments are kept.
#[derive(Debug, Clone)]
pub struct Incremental {
    /// The archive's name.
    pub archive: JobName,
    /// How it is brought up to the server.
    pub binlog: binlog::Request,
    /// How old the base may be.
    pub full_every: Duration,
}

/// What came of it.
#[derive(Debug)]
pub enum Made {
    /// An increment, published.
    Increment(Box<Outcome>),
    /// Nothing: a full backup is due.
    Due(Because),
}

/// Makes an increment of the job's newest full backup, where it can be one.
///
/// # Errors
/// Where the server, the archive or the destination can't be used. A gap is none: then a full backup is due.
pub fn increment(
    request: &Request,
    how: &Incremental,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<Made> {
    let session = request.server.connect(cancel)?;
    // The same claim as a full backup's: neither may take the other's unfinished data for a dead run's.
    let run = Run::begin("backup", Some(request.job.as_str()), &session.facts().datadir)?;
    match work(request, how, &session, &run, observer, cancel) {
        Ok(Made::Due(because)) => run.forget().map(|()| Made::Due(because)),
        Ok(Made::Increment(outcome)) => ended(run, Ok(*outcome)),
        Err(error) => ended(run, Err(error)),
    }
}

fn ended(run: Run, worked: anyhow::Result<Outcome>) -> anyhow::Result<Made> {
    end(run, worked, |_| Ok(())).map(Box::new).map(Made::Increment)
}

fn work(
    request: &Request,
    how: &Incremental,
    session: &Session,
    run: &Run,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<Made> {
    let mut phases = Phases::new(observer);
    recover::recover(observer)?;
    let store = store::open(&request.to, &request.ssh, cancel)?;
    let tools = store.probe()?;
    let catalog = Catalog::read_if_there(&*store, &request.job)?;
    let chain = match goes_on(&catalog, request, how, &*store)? {
        Ok(chain) => chain,
        Err(because) => return Ok(Made::Due(because)),
    };
    let proved = match prove(&chain, how, &mut phases, observer, cancel) {
        Err(error) if is_gap(&error) => return Ok(Made::Due(chain.broken(&error))),
        proved => proved?,
    };

    cancel.check()?;
    let staging = Staging::begin(&*store, &request.job, run.id())?;
    let manifest = manifest(proved, session.facts(), run, (tools, phases.records()))?;
    let manifest = phases.run("publish", || staging.commit(manifest, &[]), published)?;
    forget_earlier_attempts(&request.job, &*store, observer);
    Ok(Made::Increment(Box::new(Outcome { manifest, cleanup: None })))
}

/// The chain that an increment would be a part of, or why a full backup is due.
fn goes_on<'a>(
    catalog: &'a Catalog,
    request: &Request,
    how: &Incremental,
    store: &dyn Store,
) -> anyhow::Result<Result<Chain<'a>, Because>> {
    let chain = match Chain::of(catalog, how, clock::now()) {
        Ok(chain) => chain,
        Err(because) => return Ok(Err(because)),
    };
    if let Some(because) = chain.failed_a_drill(Drills::of(&request.job, &request.to)) {
        return Ok(Err(because));
    }
    // Asked before the server is to begin a new log, which would be in vain.
    if let Some(missed) = binlog::missed(&how.binlog.home)? {
        return Ok(Err(chain.broken(&missed.into())));
    }
    match chain.begins_with_a_part(store) {
        Err(error) if is_gap(&error) => Ok(Err(chain.broken(&error))),
        part => Ok(part?.map_or(Ok(chain), Err)),
    }
}

/// Whether an error says that something is missing or damaged, so that a new chain must begin.
fn is_gap(error: &anyhow::Error) -> bool {
    matches!(kind_of(error), Some(Kind::Gap | Kind::Verify))
}

/// What an increment is, and that it is.
struct Proved {
    increment: Increment,
    report: Report,
    /// Everything that was logged before it is in the archive.
    at: Timestamp,
}

/// Brings the archive up to the server, and sees that a restore could replay all of it from the base on.
///
/// # Errors
/// `Gap` or `Verify` where it could not.
fn prove(
    chain: &Chain<'_>,
    how: &Incremental,
    phases: &mut Phases<'_>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<Proved> {
    let closed = phases.timed("archive", || binlog::close_off(&how.binlog, observer, cancel))?;
    let way = chain.way(&how.binlog.home, &closed)?;
    let looked = phases.run("prove", || read_back(how, &way, observer, cancel), told)?;
    let last = way.own.last().and_then(|piece| piece.file.gtids_after.clone());
    let increment = Increment {
        base: chain.base.manifest.id.clone(),
        previous: chain.previous.manifest.id.clone(),
        archive: how.archive.clone(),
        timeline: way.timeline.id.clone(),
        from: way.from,
        to: way.to,
        gtids_from: chain.previous.manifest.position.gtid_set.clone(),
        gtids_to: last.filter(|set| !set.is_empty()),
        first_event: looked.times.map(|(first, _)| first),
        last_event: looked.times.map(|(_, last)| last),
        events: looked.events,
        bytes: looked.bytes,
    };
    Ok(Proved { increment, report: looked.report, at: closed.at })
}

/// Reads all that a restore would replay, from the base on: damage to what earlier increments have is damage to this one.
fn read_back(how: &Incremental, way: &Way<'_>, observer: &dyn Observer, cancel: &Cancel) -> anyhow::Result<Looked> {
    let total = Bytes(way.earlier.iter().chain(&way.own).map(|piece| piece.file.size).sum());
    let look = |pieces, before: u64| {
        let progress = |done| observer.event(Event::Progress { done: Bytes(before + done), total });
        verify::look_at(&how.binlog.home, &way.timeline.id, pieces, &progress, cancel)
    };
    let earlier = look(&way.earlier, 0)?.report;
    let mut looked = look(&way.own, earlier.bytes)?;
    looked.report.join(earlier);
    if looked.report.damaged.is_empty() {
        return Ok(looked);
    }
    let message = format!("the archive {} is damaged: {}", how.archive, looked.report.damaged.join("; "));
    Err(Fault::new(Kind::Verify, message).hint("look at the archive's disk: `mysnap binlog verify`").into())
}

fn told(looked: &Looked) -> String {
    let (events, bytes, files) = (looked.events, Bytes(looked.bytes), looked.report.files);
    format!("{events} events, {bytes}; all {files} archived files since the full backup match their digests")
}

fn manifest(
    Proved { increment, report, at }: Proved,
    server: &Facts,
    run: &Run,
    (tools, phases): (BTreeMap<String, String>, &[PhaseRecord]),
) -> anyhow::Result<Manifest> {
    let now = clock::now();
    let position = Position {
        binlog: Some(increment.to.clone()),
        gtid_set: increment.gtids_to.clone(),
        upstream: Vec::new(),
        exact: Exactness::Exact,
    };
    Ok(Manifest {
        id: run.id().clone(),
        job: run.record().job.as_deref().unwrap_or_default().parse().map_err(anyhow::Error::msg)?,
        method: Method::Increment,
        host: process::host_name()?,
        begin: run.record().begun,
        end: now,
        mysnap: env!("CARGO_PKG_VERSION").to_owned(),
        server: server.clone(),
        position,
        crash_consistent: false,
        roots: Vec::new(),
        files: FileList::of(&[])?,
        hold: HoldRecord { at: Some(at), ..HoldRecord::none() },
        snapshots: Vec::new(),
        phases: phases.to_vec(),
        tools: tools.into_iter().map(|(name, version)| (format!("destination {name}"), version)).collect(),
        proof: Proof { files: report.files, bytes: report.bytes, ..Proof::of(ProofLevel::Checksum, now) },
        increment: Some(increment),
        warnings: Vec::new(),
    })
}

fn published(manifest: &Manifest) -> String {
    format!("increment {} of {}", manifest.id, manifest.needs().map(ToString::to_string).unwrap_or_default())
}

/// The steps that an increment would take, or why a full backup is due; nothing is asked of the server.
pub fn describe(request: &Request, how: &Incremental, cancel: &Cancel) -> anyhow::Result<Result<Vec<String>, Because>> {
    let store = store::open(&request.to, &request.ssh, cancel)?;
    let catalog = Catalog::read_if_there(&*store, &request.job)?;
    Ok(goes_on(&catalog, request, how, &*store)?.map(|chain| {
        let (base, previous) = (&chain.base.manifest.id, &chain.previous.manifest.id);
        let from = chain.from();
        vec![
            format!("let the server begin a new binary log, and the archive {} get all before it", how.archive),
            format!("see that nothing is missing from backup {base} to there; else make a full backup"),
            format!("read back all of that, of which {}:{} on (backup {previous}) is new", from.file, from.offset),
            format!("write the manifest to {}/{}: now it is an increment of {base}", request.to, request.job),
        ]
    }))
}
