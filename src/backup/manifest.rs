//! What a run did, written into its manifest.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use super::freeze::Hold;
use super::ship::Shipped;
use crate::check::{Ground, LiveGround, Request, Target};
use crate::run::Run;
use crate::run::events::Observer;
use crate::server::{Exactness, Facts, LockMode};
use crate::store::{FileList, HoldRecord, Manifest, PhaseRecord, SnapshotRecord};
use crate::sys::clock;
use crate::sys::cmd::Call;
use crate::sys::units::milliseconds;

/// The parts of a run, told while they happen and kept for the manifest.
pub(super) struct Phases<'a> {
    observer: &'a dyn Observer,
    records: Vec<PhaseRecord>,
}

impl<'a> Phases<'a> {
    pub(super) fn new(observer: &'a dyn Observer) -> Self {
        Self { observer, records: Vec::new() }
    }

    /// Those that are over.
    pub(super) fn records(&self) -> &[PhaseRecord] {
        &self.records
    }

    pub(super) fn observer(&self) -> &'a dyn Observer {
        self.observer
    }

    pub(super) fn run<T>(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> anyhow::Result<T>,
        describe: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<T> {
        let observer = self.observer;
        self.timed(name, || observer.phase(name, work, describe))
    }

    /// Keeps how long `work` took, which tells of itself.
    pub(super) fn timed<T>(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let began = Instant::now();
        let value = work()?;
        self.records.push(PhaseRecord { name: name.to_owned(), ms: milliseconds(began.elapsed()) });
        Ok(value)
    }
}

/// What the run stood on.
pub(super) struct About<'a> {
    pub(super) facts: &'a Facts,
    pub(super) lock: LockMode,
    pub(super) target: &'a Target,
    pub(super) keyrings: &'a [PathBuf],
}

impl<'a> About<'a> {
    pub(super) fn snapshots(ground: &'a Ground) -> Self {
        let Ground { facts, lock, covered, target, .. } = ground;
        Self { facts, lock: *lock, target, keyrings: &covered.keyrings }
    }

    pub(super) fn live(ground: &'a LiveGround) -> Self {
        Self { facts: &ground.facts, lock: ground.lock, target: &ground.target, keyrings: &[] }
    }
}

/// What the run brought.
pub(super) struct Evidence<'a> {
    pub(super) hold: &'a Hold,
    pub(super) shipped: &'a Shipped,
    pub(super) snapshots: Vec<SnapshotRecord>,
    pub(super) phases: &'a Phases<'a>,
}

/// The manifest of the run.
pub(super) fn write(
    request: &Request,
    about: &About<'_>,
    run: &Run,
    evidence: Evidence<'_>,
) -> anyhow::Result<Manifest> {
    let Evidence { hold, shipped, snapshots, phases } = evidence;
    Ok(Manifest {
        id: run.id().clone(),
        job: request.job.clone(),
        method: request.method,
        host: crate::sys::process::host_name()?,
        begin: run.record().begun,
        end: clock::now(),
        mysnap: env!("CARGO_PKG_VERSION").to_owned(),
        server: about.facts.clone(),
        position: hold.position.clone(),
        crash_consistent: !request.prepared,
        roots: shipped.roots.clone(),
        files: FileList::of(&shipped.copied.files)?,
        hold: HoldRecord {
            lock: Some(about.lock),
            waited_ms: milliseconds(hold.waited),
            held_ms: milliseconds(hold.held),
            parts: hold.parts.clone(),
            tries: hold.tries,
            at: Some(hold.at),
        },
        snapshots,
        phases: phases.records.clone(),
        tools: tools(about),
        proof: shipped.proof.clone(),
        increment: None,
        warnings: warnings(about, hold, shipped),
    })
}

fn tools(about: &About<'_>) -> BTreeMap<String, String> {
    let mut tools: BTreeMap<String, String> =
        about.target.tools.iter().map(|(name, version)| (format!("destination {name}"), version.clone())).collect();
    for (name, argument) in [("rsync", "--version"), ("lvm", "version")] {
        if !Call::is_installed(name) {
            continue;
        }
        // A tool that worked but does not say its version is no reason to fail a backup.
        let text = Call::new(name).arg(argument).stdout().unwrap_or_default();
        tools.insert(name.to_owned(), text.lines().next().unwrap_or_default().trim().to_owned());
    }
    tools
}

fn warnings(about: &About<'_>, hold: &Hold, shipped: &Shipped) -> Vec<String> {
    let keyrings =
        about.keyrings.iter().map(|path| format!("the keyring {} is not part of the backup", path.display()));
    let skipped = shipped.copied.skipped.iter().map(|s| format!("{} {} is not stored", s.kind, s.path));
    let inexact = match &hold.position.exact {
        Exactness::Exact => None,
        Exactness::NotExact(why) => Some(format!("the position is not exact: {why}")),
    };
    let warnings = shipped.warnings.iter().cloned();
    inexact.into_iter().chain(keyrings).chain(skipped).chain(warnings).collect()
}
