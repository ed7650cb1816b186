//! `backup`: a snapshot under a short lock, copied, read back, and only then called a backup.
//!
//! The order is the guarantee. The snapshot is judged *after* the last byte was read from it, the
//! manifest is written after that, and its rename is the commit. A snapshot that can't be removed
//! then makes the run's cleanup incomplete, not the backup bad.

mod freeze;
pub mod increment;
mod live;
mod manifest;
mod plan;
mod second;
mod ship;
mod snapshots;
mod there;

pub use plan::{describe, describe_live};

use freeze::{Frozen, Hold};
use manifest::{About, Evidence, Phases};
use snapshots::{MountedSnapshots, Snapshots};
use there::There;

use crate::check::{self, Findings, Ground, Request};
use crate::fault::{Failure, Fault, Kind};
use crate::id::JobName;
use crate::instance::Part;
use crate::kept::Kept;
use crate::proof::{Dumping, Subject};
use crate::run::events::Observer;
use crate::run::{self, Record, Run};
use crate::server::Session;
use crate::store::{Manifest, Method, Staging, Store};
use crate::sys::cancel::Cancel;
use crate::sys::clock;
use crate::sys::lockfile::LockFile;
use crate::sys::units::Bytes;
use crate::{recover, snapshot, store};

/// What a backup came to.
#[derive(Debug)]
pub struct Outcome {
    /// The backup, as published.
    pub manifest: Manifest,
    /// Why something of ours is left; the backup is good all the same.
    pub cleanup: Option<anyhow::Error>,
}

/// Makes a backup. On success it is published; whatever happens, nothing of it is left that could
/// be taken for one.
pub fn backup(request: &Request, observer: &dyn Observer, cancel: &Cancel) -> anyhow::Result<Outcome> {
    let mut session = request.server.connect(cancel)?;
    let mut run = Run::begin("backup", Some(request.job.as_str()), &session.facts().datadir)?;
    if request.is_live() {
        let worked = live::work(request, &mut session, &mut run, observer, cancel);
        return end(run, worked, |_| Ok(()));
    }
    let worked = work(request, &mut session, &mut run, observer, cancel);
    end(run, worked, |record| {
        snapshot::abandon(&record.id, &record.volumes().collect::<Vec<_>>())?;
        recover::forget_unkept(&record.id)
    })
}

fn work(
    request: &Request,
    session: &mut Session,
    run: &mut Run,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<Outcome> {
    let mut phases = Phases::new(observer);
    // The copy can be given up without ending the run: then the snapshot is removed in order.
    let copying = cancel.child();
    recover::recover(observer)?;
    let _backups = claim_backups(request, run, cancel)?;
    let survey = || checked(check::survey(request, session, &copying), observer, &copying);
    let ground = phases.run("check", survey, Ground::summary)?;
    let frozen = phases.run("hold", || freeze::take(request, &ground, session, run, cancel), Frozen::summary)?;
    let snapshots = Snapshots::own(frozen.snapshots, request.limits, run.id().clone());
    cancel.check()?;
    let staging = Staging::begin(&*ground.target.store, &request.job, run.id())?;
    let directory = run.runtime_directory()?;
    // Before the snapshots, and so dropped after them: they don't wait for what the node has to clean up.
    let mut brought = None;
    let mut mounted =
        phases.run("mount", || snapshots.mount(&ground.covered, &directory), MountedSnapshots::summary)?;

    cancel.check()?;
    let parts = mounted.parts();
    let subject = subject(request, &ground, &frozen.hold, &parts);
    if request.prepared {
        phases.timed("prepare", || second::prepare(subject, &mut mounted, &directory, observer, &copying))?;
    }
    let there = There { request, ground: &ground, subject, staging: &staging };
    let mut read = match request.method {
        Method::Copy | Method::Increment => {
            Some(ship::ship(request, &ground, &mounted, &staging, &mut phases, &copying)?)
        }
        Method::Dump if request.asks_the_node() => {
            there.bring(&mounted, (there::node_of(&ground)?, &mut brought), &mut phases, &copying)?;
            None
        }
        Method::Dump => {
            let to = Dumping { options: &request.dump, staging: &staging };
            let dump = || second::dump(subject, &mut mounted, &directory, &to, observer, &copying);
            let (shown, dumped) = phases.timed("server", dump)?;
            let mut shipped = ship::dumped(dumped, request, &staging, &mut phases, &copying)?;
            shipped.proof.judge(Ok(shown), clock::now());
            Some(shipped)
        }
    };
    let health = mounted.health()?;
    if request.method == Method::Copy && request.prove.starts_a_server() && !request.asks_the_node() {
        let prove = || second::prove(subject, &mut mounted, &directory, observer, &copying);
        let verdict = phases.timed("server", prove)?;
        if let Some(shipped) = &mut read {
            shipped.proof.judge(verdict, clock::now());
        }
    }

    if request.keep_snapshot {
        // Before the snapshots are marked as kept: a dead run's other ones go.
        keep(request, &ground, &frozen.hold, run, &mounted).save()?;
    }
    // What the node does needs no snapshot; but one that stays must not outlive a run that fails.
    let (kept, released) =
        if request.keep_snapshot { (Some(mounted), None) } else { (None, release(mounted, false, &mut phases)?) };
    let (shipped, left) = there.finish(read, brought, &mut phases, &copying)?;
    let kept = kept.map(|mounted| release(mounted, true, &mut phases)).transpose()?.flatten();
    let cleanup = [released, left, kept].into_iter().flatten().reduce(|first, more| Failure::join(first, vec![more]));

    let evidence = Evidence { hold: &frozen.hold, shipped: &shipped, snapshots: health, phases: &phases };
    let manifest = manifest::write(request, &About::snapshots(&ground), run, evidence)
        .and_then(|manifest| phases.run("publish", || staging.commit(manifest, &shipped.copied.files), published))
        .map_err(|error| Failure::join(error, snapshots::unkeep(run.id()).err().into_iter().collect()))?;
    forget_earlier_attempts(&request.job, &*ground.target.store, observer);
    refuse_bad(&manifest)?;
    Ok(Outcome { manifest, cleanup })
}

/// Nothing is removed from the job's backups while one is made that may stand on them.
fn claim_backups(request: &Request, run: &Run, cancel: &Cancel) -> anyhow::Result<LockFile> {
    run::await_backups(&request.to.place_of(&request.job), &run.record().holder(), cancel)
}

/// Unmounts, and removes or keeps; why something is left.
fn release(mounted: MountedSnapshots, keep: bool, phases: &mut Phases<'_>) -> anyhow::Result<Option<anyhow::Error>> {
    phases.run("release", || Ok(mounted.release(keep)), |left| snapshots::released(keep, left.as_ref()))
}

/// The ground of a survey that refuses nothing.
fn checked<T>(surveyed: (Option<T>, Findings), observer: &dyn Observer, cancel: &Cancel) -> anyhow::Result<T> {
    let (ground, findings) = surveyed;
    cancel.check()?;
    for finding in findings.iter().filter(|f| f.level == check::Level::Warning) {
        observer.warn(format!("{}: {}", finding.subject, finding.text));
    }
    findings.into_result()?;
    ground.ok_or_else(|| Fault::new(Kind::Refused, "the checks found no ground for a backup").into())
}

/// What a second server on the snapshots is about.
fn subject<'a>(request: &'a Request, ground: &'a Ground, hold: &'a Hold, parts: &'a [Part]) -> Subject<'a> {
    Subject {
        facts: &ground.facts,
        position: &hold.position,
        taken: hold.at,
        parts,
        prepared: request.prepared,
        level: request.prove,
        queries: &request.queries,
        patience: request.start_timeout,
    }
}

fn keep(request: &Request, ground: &Ground, hold: &Hold, run: &Run, mounted: &MountedSnapshots) -> Kept {
    Kept {
        format: 1,
        run: run.id().clone(),
        job: request.job.clone(),
        server: ground.facts.clone(),
        taken: hold.at,
        volumes: mounted.described(),
        merged: Vec::new(),
    }
}

/// It is stored for somebody who has nothing else, and counts as no backup.
fn refuse_bad(manifest: &Manifest) -> anyhow::Result<()> {
    let Some(why) = &manifest.proof.failure else { return Ok(()) };
    let fault = Fault::new(Kind::Verify, format!("backup {} is bad, and is kept aside as that: {why}", manifest.id));
    Err(fault.hint(format!("look at the live server first; `mysnap show {}` has the details", manifest.id)).into())
}

/// The record goes when nothing of the run is left; else it stays for `recover`.
fn end(
    run: Run,
    worked: anyhow::Result<Outcome>,
    remove: impl FnOnce(&Record) -> anyhow::Result<()>,
) -> anyhow::Result<Outcome> {
    match worked {
        Ok(Outcome { manifest, cleanup: None }) => {
            let cleanup = run.forget().err();
            Ok(Outcome { manifest, cleanup })
        }
        Ok(outcome) => Ok(outcome),
        Err(error) => {
            let removed = remove(run.record()).and_then(|()| run.forget());
            let cleanup = removed.err().map(|e| e.context("run `mysnap recover`")).into_iter().collect();
            Err(Failure::join(error, cleanup))
        }
    }
}

/// What dead runs of this job left at the destination served as a base for linking; now it only
/// uses room. A failure here is told and harms nothing: it is never listed as a backup.
fn forget_earlier_attempts(job: &JobName, store: &dyn Store, observer: &dyn Observer) {
    let forget = || -> anyhow::Result<()> {
        for slot in store::Catalog::read(store, Some(job))?.leftovers {
            store.remove(&slot)?;
        }
        Ok(())
    };
    if let Err(error) = forget() {
        let at = store.destination();
        observer.warn(format!("unfinished data of earlier runs is left at {at}: {error:#}"));
    }
}

fn published(manifest: &Manifest) -> String {
    let totals = &manifest.files.totals;
    format!("backup {}: {} in {} files", manifest.id, Bytes(totals.bytes), totals.files)
}

impl Ground {
    fn summary(&self) -> String {
        let facts = &self.facts;
        let volumes: Vec<String> = self.covered.origins.iter().map(|o| o.volume.name.to_string()).collect();
        let size = Bytes(self.source.bytes);
        format!("{} {} on {}, {size} to copy", facts.flavour, facts.version, volumes.join(", "))
    }
}

impl Frozen {
    fn summary(&self) -> String {
        self.hold.summary()
    }
}
